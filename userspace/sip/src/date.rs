//! Date: `rfc1123-date` of RFC 3261 section 20.17, GMT only.

use crate::class;
use crate::error::{ValueError, ValueFault};

/// `rfc1123-date = wkday "," SP date1 SP time SP "GMT"` (RFC 3261 sections 20.17 and 25.1); it exists on the calendar.
///
/// Always 29 bytes, one SP wherever there is white space. Names of days and months and the zone are read in any case. Not
/// checked: that the day of the week is the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// 0 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60: leap seconds happen.
    pub second: u8,
}

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];

impl Date {
    /// Parses `Sat, 13 Nov 2010 23:29:00 GMT`. The day of the week has to be one, not the right one.
    ///
    /// # Errors
    /// [`ValueFault::Unexpected`] for another form or zone (RFC 4475 section 3.1.2.12); [`ValueFault::Number`] for a
    /// day or time that does not exist.
    pub fn parse(text: &[u8]) -> Result<Date, ValueError> {
        let unexpected = |at| ValueError::new(ValueFault::Unexpected, at);
        let text: &[u8; 29] = text.try_into().map_err(|_| unexpected(text.len().min(29)))?;
        for (at, byte) in
            [(3, b','), (4, b' '), (7, b' '), (11, b' '), (16, b' '), (19, b':'), (22, b':'), (25, b' ')]
        {
            if text[at] != byte {
                return Err(unexpected(at));
            }
        }
        if !DAYS.iter().any(|d| d.eq_ignore_ascii_case(&text[..3])) {
            return Err(unexpected(0));
        }
        if !text[26..].eq_ignore_ascii_case(b"GMT") {
            return Err(unexpected(26));
        }
        let number = |from: usize, to: usize| {
            class::decimal(&text[from..to]).ok_or(ValueError::new(ValueFault::Unexpected, from))
        };
        let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(&text[8..11])).ok_or(unexpected(8))?;
        let date = Date {
            year: number(12, 16)? as u16,
            month: month as u8 + 1,
            day: number(5, 7)? as u8,
            hour: number(17, 19)? as u8,
            minute: number(20, 22)? as u8,
            second: number(23, 25)? as u8,
        };
        let leap =
            date.year.is_multiple_of(4) && (!date.year.is_multiple_of(100) || date.year.is_multiple_of(400));
        let days = match date.month {
            2 => 28 + u8::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if !(1..=days).contains(&date.day) || date.hour > 23 || date.minute > 59 || date.second > 60 {
            return Err(ValueError::new(ValueFault::Number, 5));
        }
        Ok(date)
    }

    /// Seconds since 1970-01-01 00:00:00 GMT.
    #[must_use]
    pub fn unix_seconds(&self) -> i64 {
        // Days of the civil calendar, with the year beginning in March so that the leap day is its last.
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let of_era = year.rem_euclid(400);
        let month = (i64::from(self.month) + 9) % 12;
        let of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
        ((days * 24 + i64::from(self.hour)) * 60 + i64::from(self.minute)) * 60 + i64::from(self.second)
    }

    /// The date as the Date header has it, for a time in seconds since 1970. Years 0 to 9999; outside, the nearest.
    #[must_use]
    pub fn format(unix_seconds: i64) -> [u8; 29] {
        let seconds = unix_seconds.clamp(-62_167_219_200, 253_402_300_799);
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let mut text = *b"Thu, 00 Jan 0000 00:00:00 GMT";
        text[..3].copy_from_slice(DAYS[days.rem_euclid(7) as usize]);
        text[8..11].copy_from_slice(MONTHS[(month - 1).rem_euclid(12) as usize]);
        let mut put = |at: usize, digits: usize, number: i64| {
            let mut rest = number;
            for place in text[at..at + digits].iter_mut().rev() {
                *place = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        };
        put(5, 2, day);
        put(12, 4, year);
        put(17, 2, second / 3600);
        put(20, 2, second / 60 % 60);
        put(23, 2, second % 60);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sat, 13 Nov 2010 23:29:00 GMT", 1_289_690_940),
            ("Tue, 29 Feb 2000 12:00:01 GMT", 951_825_601),
            ("Wed, 31 Dec 1969 23:59:59 GMT", -1),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
        ] {
            assert_eq!(Date::parse(text.as_bytes()).unwrap().unix_seconds(), seconds, "{text}");
            assert_eq!(Date::format(seconds), text.as_bytes());
        }
    }

    #[test]
    fn every_day_of_four_centuries_goes_there_and_back() {
        for day in (-60_000..90_000).map(|d: i64| d * 86_400 + 12_345) {
            assert_eq!(Date::parse(&Date::format(day)).unwrap().unix_seconds(), day);
        }
    }

    #[test]
    fn what_is_not_a_date() {
        for text in [
            "Fri, 01 Jan 2010 16:00:00 EST",
            "Mon, 29 Feb 1900 00:00:00 GMT",
            "Mon, 31 Apr 2020 00:00:00 GMT",
            "Mon, 00 Apr 2020 00:00:00 GMT",
            "Mon, 01 Apr 2020 24:00:00 GMT",
            "Mon, 01 Apr 2020 00:60:00 GMT",
            "Mon, 01 Apr 2020 00:00:61 GMT",
            "Mon, 01 Foo 2020 00:00:00 GMT",
            "Foo, 01 Apr 2020 00:00:00 GMT",
            "Mon, 1 Apr 2020 00:00:00 GMT",
            "Mon, 01 Apr 2020 00:00:00 GMTx",
            "Mon, +1 Apr 2020 00:00:00 GMT",
            "",
        ] {
            assert!(Date::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
