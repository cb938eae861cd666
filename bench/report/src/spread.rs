//! Several measurements of the same: the median, and how far they lie apart.

/// Median and range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub low: f64,
    /// The largest.
    pub high: f64,
    /// How many.
    pub count: usize,
}

impl Spread {
    /// Of these; none when there are none, or one is not a number.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        if values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(*values.get(middle - 1)?, *values.get(middle)?),
            _ => *values.get(middle)?,
        };
        Some(Self { median, low, high, count: values.len() })
    }

    /// Whether the two ranges share a value. With one measurement each there is no range, and a tenth of the value
    /// stands for it: runs on a quiet machine repeat no better.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (a, b) = (self.widened(), other.widened());
        a.0 <= b.1 && b.0 <= a.1
    }

    fn widened(&self) -> (f64, f64) {
        if self.count > 1 {
            return (self.low, self.high);
        }
        let slack = self.median.abs() * 0.1;
        (self.low - slack, self.high + slack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([1.0, f64::NAN]), None);
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0, count: 3 }));
        assert_eq!(Spread::of([4.0, 1.0]).unwrap().median, 2.5);
    }

    #[test]
    fn ranges_that_share_a_value_say_nothing() {
        let of = |values: &[f64]| Spread::of(values.iter().copied()).unwrap();
        assert!(of(&[1.0, 2.0, 3.0]).overlaps(&of(&[3.0, 4.0])));
        assert!(!of(&[1.0, 2.0, 2.9]).overlaps(&of(&[3.0, 4.0])));
        assert!(of(&[100.0]).overlaps(&of(&[119.0])), "single runs differ by ten percent each");
        assert!(!of(&[100.0]).overlaps(&of(&[125.0])));
    }
}
