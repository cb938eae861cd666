//! Times as people write them: `250ms`, `10s`, `10s..60s`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// A time, or a range to draw from evenly. At most a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span {
    from_ns: u64,
    to_ns: u64,
}

/// A day, in nanoseconds: above it a time is a slip.
const LONGEST: u64 = 86_400_000_000_000;

impl Span {
    /// One time, in nanoseconds.
    #[must_use]
    pub const fn nanoseconds(ns: u64) -> Self {
        Self { from_ns: ns, to_ns: ns }
    }

    /// Nanoseconds. `random` is any number; it chooses in a range.
    #[must_use]
    pub fn draw(&self, random: u64) -> u64 {
        match self.to_ns - self.from_ns {
            0 => self.from_ns,
            width => self.from_ns + random % (width + 1),
        }
    }

    /// The longest it can be.
    #[must_use]
    pub fn longest(&self) -> u64 {
        self.to_ns
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.to_ns == 0
    }
}

/// What is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time such as 250ms, 10s, 2m or 10s..60s, up to a day")]
pub struct SpanError(String);

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let error = || SpanError(text.to_owned());
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        let span = Self { from_ns: time(from).ok_or_else(error)?, to_ns: time(to).ok_or_else(error)? };
        if span.from_ns > span.to_ns { Err(error()) } else { Ok(span) }
    }
}

impl TryFrom<String> for Span {
    type Error = SpanError;

    fn try_from(text: String) -> Result<Self, SpanError> {
        text.parse()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Time(self.from_ns))?;
        if self.to_ns != self.from_ns {
            write!(f, "..{}", Time(self.to_ns))?;
        }
        Ok(())
    }
}

struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];
        let unit = units.iter().find(|(_, unit)| self.0.is_multiple_of(*unit) && self.0 >= *unit);
        match unit {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => f.write_str("0s"),
        }
    }
}

fn time(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let unit = match text.get(digits..)? {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let time = text.get(..digits)?.parse::<u64>().ok()?.checked_mul(unit)?;
    (time <= LONGEST).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let read = |text: &str| text.parse::<Span>().ok();
        assert_eq!(read("250ms"), Some(Span::nanoseconds(250_000_000)));
        assert_eq!(read("0s"), Some(Span::default()));
        assert_eq!(read("24h"), Some(Span::nanoseconds(LONGEST)));
        assert_eq!(read("1s..2s"), Some(Span { from_ns: 1_000_000_000, to_ns: 2_000_000_000 }));
        for wrong in
            ["", "5", "s", "-1s", "1.5s", "1 s", "2s..1s", "25h", "99999999999999999999s", "1s..", "1d"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        for text in ["250ms", "10s", "10s..60s", "0s", "1500us"] {
            assert_eq!(read(text).expect("a time").to_string(), text);
        }
    }

    #[test]
    fn a_range_is_drawn_from_end_to_end() {
        let span: Span = "10ns..13ns".parse().expect("a time");
        let mut drawn: Vec<u64> = (0..100).map(|random| span.draw(random)).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn, [10, 11, 12, 13]);
        assert_eq!(Span::nanoseconds(7).draw(u64::MAX), 7);
    }
}
