//! The Date header of a 200 to REGISTER (RFC 3261 sections 10.3 and 20.17).
//!
//! The engine has no calendar. The node says once in a while what the wall clock shows at some engine time; the
//! text is made from that. A wall clock that jumps changes the text and nothing else.

use crate::time::Time;

/// Wall-clock time: Unix seconds at an engine time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    at: Time,
    unix_seconds: u64,
}

/// Octets of a date: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) const LEN: usize = 29;

const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// The last second of the year 9999: four digits are all the format has.
const LAST: u64 = 253_402_300_799;

impl WallClock {
    pub(crate) const fn new(at: Time, unix_seconds: u64) -> Self {
        Self { at, unix_seconds }
    }

    /// RFC 1123 text of the time `now`.
    pub(crate) fn date(&self, now: Time) -> [u8; LEN] {
        text(self.unix_seconds.saturating_add(now.since(self.at).as_secs()).min(LAST))
    }
}

fn text(unix_seconds: u64) -> [u8; LEN] {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    // The calendar repeats every 400 years of 146,097 days. Count from 1 March of the year 0, so that a leap day is
    // the last day of its year: 719,468 days before 1970.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March have 31, 30, 31, 30, 31 days, twice and a bit: 153 days in five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 2 } else { month_from_march - 10 };
    let year = era * 400 + year_of_era + u64::from(month < 2);

    let mut out = *b"Day, 00 Mon 0000 00:00:00 GMT";
    let mut put = |at: usize, text: &[u8]| {
        if let Some(to) = out.get_mut(at..at + text.len()) {
            to.copy_from_slice(text);
        }
    };
    let two = |n: u64| [b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8];
    put(0, DAYS[(days % 7) as usize]);
    put(5, &two(day));
    put(8, MONTHS[(month % 12) as usize]);
    put(12, &two(year / 100));
    put(14, &two(year));
    put(17, &two(second / 3600));
    put(20, &two(second / 60 % 60));
    put(23, &two(second % 60));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn known_dates() {
        for (unix, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (1_773_077_445, "Mon, 09 Mar 2026 17:30:45 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(core::str::from_utf8(&text(unix)).unwrap(), expected);
        }
    }

    #[test]
    fn day_by_day_against_a_counting_calendar() {
        let (mut year, mut month, mut day) = (1970u64, 0usize, 1u64);
        for n in 0..150_000 {
            let expected = format!(
                "{}, {day:02} {} {year:04}",
                core::str::from_utf8(DAYS[n % 7]).unwrap(),
                core::str::from_utf8(MONTHS[month]).unwrap()
            );
            assert!(
                core::str::from_utf8(&text(n as u64 * 86_400)).unwrap().starts_with(&expected),
                "{expected}"
            );
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month];
            day += 1;
            if day > days {
                (day, month) = (1, month + 1);
            }
            if month == 12 {
                (month, year) = (0, year + 1);
            }
        }
    }

    #[test]
    fn the_clock_moves_with_engine_time() {
        let start = Time::from_nanos(77);
        let clock = WallClock::new(start, 784_111_777);
        assert_eq!(&clock.date(start.after(Duration::from_secs(23)))[..], b"Sun, 06 Nov 1994 08:50:00 GMT");
        assert_eq!(&clock.date(Time::START)[..], b"Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
