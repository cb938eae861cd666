//! `.hgrm` files of a session's curves, as HdrHistogram's plotters read them: milliseconds.

use std::fmt::Write as _;

use strowger_load::record::Latency;

use crate::session::{Curve, Session};

/// Lines for each halving of the distance to 100 %.
const TICKS: f64 = 5.0;

/// Name and text of each file.
#[must_use]
pub fn files(session: &Session) -> Vec<(String, String)> {
    session.curves.iter().map(|curve| (file_name(curve), listing(&curve.latency))).collect()
}

/// `kamailio-call-200-INVITE-in-out.hgrm`.
fn file_name(curve: &Curve) -> String {
    let mut name = format!("{}-{}-{:.0}-", curve.peer, curve.scenario, curve.rate);
    for c in curve.leg.chars() {
        match c {
            c if c.is_ascii_alphanumeric() => name.push(c),
            _ if !name.ends_with('-') => name.push('-'),
            _ => {}
        }
    }
    format!("{}.hgrm", name.trim_end_matches('-'))
}

/// The percentile listing.
fn listing(latency: &Latency) -> String {
    let mut text =
        format!("{:>14} {:>16} {:>12} {:>16}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let total: u64 = latency.buckets.iter().map(|(_, count)| count).sum();
    let mut below = 0;
    let mut wanted = 0.0;
    for (at, (value, count)) in latency.buckets.iter().enumerate() {
        below += count;
        let quantile = below as f64 / total as f64;
        let last = at + 1 == latency.buckets.len();
        if quantile < wanted && !last {
            continue;
        }
        let value = *value as f64 / 1e6;
        // Writing to a String cannot fail.
        let _ = write!(text, "{value:>14.6} {quantile:>16.12} {below:>12}");
        let _ = if last {
            writeln!(text, " {:>16}", "inf")
        } else {
            writeln!(text, " {:>16.2}", 1.0 / (1.0 - quantile))
        };
        // Each halving of what is left has as many lines.
        while !last && wanted <= quantile {
            let halvings = (1.0 / (1.0 - wanted)).log2().floor();
            wanted += 0.5_f64.powf(halvings + 1.0) / TICKS;
        }
    }
    let ms = |ns: f64| ns / 1e6;
    let _ = writeln!(
        text,
        "#[Mean    = {:>12.6}, StdDeviation   = {:>12.6}]",
        ms(latency.mean_ns),
        ms(latency.stdev_ns)
    );
    let _ = writeln!(text, "#[Max     = {:>12.6}, Total count    = {total:>12}]", ms(latency.max_ns as f64));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_below_some_line() {
        let buckets: Vec<(u64, u64)> = (1..=1000).map(|value| (value * 1_000_000, 1)).collect();
        let text = listing(&Latency { buckets, mean_ns: 5e8, max_ns: 1_000_000_000, ..Latency::default() });
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|cell| cell.parse().unwrap()).collect())
            .collect();
        assert!((20..100).contains(&rows.len()), "{}", rows.len());
        assert!(rows.windows(2).all(|pair| pair[0][0] < pair[1][0] && pair[0][2] < pair[1][2]), "{text}");
        assert!(
            rows.iter().any(|row| (row[1] - 0.5).abs() < 0.01 && (row[0] - 500.0).abs() < 10.0),
            "{text}"
        );
        assert_eq!(rows.last().unwrap()[..], [1000.0, 1.0, 1000.0, f64::INFINITY]);
        assert!(text.contains("Total count    =         1000]"));
    }

    #[test]
    fn names_of_files() {
        let curve = Curve {
            peer: "copy".into(),
            scenario: "call".into(),
            leg: "INVITE in→out".into(),
            rate: 200.0,
            ..Curve::default()
        };
        assert_eq!(file_name(&curve), "copy-call-200-INVITE-in-out.hgrm");
    }
}
