//! Histograms as `.hgrm` files: the percentile listing that HdrHistogram's plotters read, in milliseconds.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

/// Lines for each halving of the distance to 100 %, as HdrHistogram's own tools write them.
const TICKS: u32 = 5;

/// The listing.
#[must_use]
pub fn listing(histogram: &Histogram<u64>) -> String {
    let mut text =
        format!("{:>14} {:>16} {:>12} {:>16}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut below = 0;
    for bucket in histogram.iter_quantiles(TICKS) {
        below += bucket.count_since_last_iteration();
        let quantile = bucket.quantile_iterated_to();
        let value = bucket.value_iterated_to() as f64 / 1e6;
        // Writing to a String cannot fail.
        let _ = write!(text, "{value:>14.6} {quantile:>16.12} {below:>12}");
        let _ = match quantile {
            ..1.0 => writeln!(text, " {:>16.2}", 1.0 / (1.0 - quantile)),
            _ => writeln!(text, " {:>16}", "inf"),
        };
    }
    let ms = |ns: f64| ns / 1e6;
    let _ = writeln!(
        text,
        "#[Mean    = {:>12.6}, StdDeviation   = {:>12.6}]",
        ms(histogram.mean()),
        ms(histogram.stdev())
    );
    let _ = writeln!(
        text,
        "#[Max     = {:>12.6}, Total count    = {:>12}]",
        ms(histogram.max() as f64),
        histogram.len()
    );
    text
}

/// A file name of a leg's: letters, digits and dashes.
#[must_use]
pub fn file_name(leg: &str) -> String {
    let mut name = String::new();
    for c in leg.replace('→', "-to-").chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' => name.push(c),
            _ if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            _ => {}
        }
    }
    name.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_below_some_line() {
        let mut histogram = Histogram::new_with_bounds(1, 64_000_000_000, 3).expect("bounds");
        for value in 1..=1_000_u64 {
            histogram.saturating_record(value * 1_000_000);
        }
        let text = listing(&histogram);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.contains("Value") && !line.is_empty())
            .map(|line| line.split_whitespace().map(|cell| cell.parse().expect("a number")).collect())
            .collect();
        assert!(rows.iter().all(|row| row.len() == 4), "{text}");
        assert!(
            rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][2] <= pair[1][2]),
            "rising: {text}"
        );
        let half = rows.iter().find(|row| row[1] == 0.5).expect("the median");
        assert!((499.0..502.0).contains(&half[0]) && (500.0..502.0).contains(&half[2]), "{half:?}");
        assert_eq!(rows.last().map(|row| (row[2], row[3])), Some((1_000.0, f64::INFINITY)));
    }

    #[test]
    fn names_of_files() {
        assert_eq!(file_name("INVITE→200"), "INVITE-to-200");
        assert_eq!(file_name("INVITE in→out"), "INVITE-in-to-out");
        assert_eq!(file_name("../x y/"), "x-y");
    }
}
