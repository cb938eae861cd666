//! Numbers as people read them.

use crate::spread::Spread;

/// With thousands apart.
#[must_use]
pub fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, part) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, part)| (whole, Some(part)));
    let mut shown = String::new();
    if value < 0.0 {
        shown.push('−');
    }
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    if let Some(part) = part {
        shown.push('.');
        shown.push_str(part);
    }
    shown
}

/// To three digits: 12,345; 123; 12.3; 1.23.
#[must_use]
pub fn three(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 99.95 || v == 0.0 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    grouped(value, decimals)
}

/// A median, with its range where there is one.
#[must_use]
pub fn spread(spread: Option<Spread>) -> String {
    match spread {
        None => "–".to_owned(),
        Some(Spread { median, count: 1, .. }) => three(median),
        Some(Spread { median, low, high, .. }) => {
            format!("{} ({}–{})", three(median), three(low), three(high))
        }
    }
}

/// Octets in the unit that fits.
#[must_use]
pub fn octets(bytes: f64) -> String {
    match bytes {
        b if b >= 1e9 => format!("{} GB", three(b / 1e9)),
        b if b >= 1e6 => format!("{} MB", three(b / 1e6)),
        b if b >= 1e4 => format!("{} kB", three(b / 1e3)),
        b => format!("{} B", three(b)),
    }
}

/// Seconds since 1970 as a date and time in UTC (proleptic Gregorian calendar).
#[must_use]
pub fn date(unix: u64) -> String {
    let (days, second) = (unix / 86_400, unix % 86_400);
    // Years begin in March, so that the leap day is the last one.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3600, second % 3600 / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_people_read_them() {
        assert_eq!(grouped(1_234_567.4, 0), "1,234,567");
        assert_eq!(grouped(-1234.5, 1), "−1,234.5");
        assert_eq!(
            [three(12_345.6), three(99.96), three(12.34), three(1.234), three(0.0)],
            ["12,346", "100", "12.3", "1.23", "0"]
        );
        assert_eq!(spread(Spread::of([1.0, 2.0, 30.0])), "2.00 (1.00–30.0)");
        assert_eq!(octets(2_500_000.0), "2.50 MB");
    }

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_795_383_840), "2026-11-22 21:44 UTC");
    }
}
