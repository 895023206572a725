//! Times as the mapping log and the API write them: one calendar for both.

use std::fmt::{Display, Formatter, Result};

/// Milliseconds of Unix time; written as RFC 3339 in UTC: `2025-03-01T08:09:10.123Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc(pub u64);

impl Display for Utc {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (day, ms) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
        let (second, milli) = (ms / 1_000 % 60, ms % 1_000);
        let (year, month, day) = date_of(day);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"
        )
    }
}

/// A day counted from 1970-01-01, written as `2025-03-01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub u64);

impl Display for Day {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (year, month, day) = date_of(self.0);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl Day {
    /// Reads `2025-03-01`; None for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let year = number(parts.next()?, 4)?;
        let month = number(parts.next()?, 2)?;
        let day = number(parts.next()?, 2)?;
        if parts.next().is_some() {
            return None;
        }
        Self::of_date(year, month, day)
    }

    /// The day of a Gregorian date; None if there is no such date from 1970 on.
    #[must_use]
    pub fn of_date(year: u64, month: u64, day: u64) -> Option<Self> {
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
            return None;
        }
        // As in `date_of`, the other way round: years begin on 1 March.
        let (shifted, month_from_march) = match month {
            3.. => (year, month - 3),
            _ => (year - 1, month + 9),
        };
        let in_year = (153 * month_from_march + 2) / 5 + day - 1;
        let days = 365 * shifted + shifted / 4 - shifted / 100 + shifted / 400 + in_year;
        let found = Self(days.checked_sub(719_468)?);
        // 31 April is 1 May to the arithmetic: only a date that comes back is one.
        (date_of(found.0) == (year, month, day)).then_some(found)
    }
}

impl Utc {
    /// Reads RFC 3339: `2025-03-01T08:09:10Z`, with a fraction or without, with `Z` or an offset
    /// such as `+01:00`; also with a blank in place of `T`. None for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        let rest = rest.strip_prefix(['T', 't', ' '])?;
        let at = rest.find(['Z', 'z', '+', '-'])?;
        let (clock, zone) = rest.split_at(at);
        let ms = Day::parse(date)?.0 * 86_400_000 + time_of_day(clock)?;
        let shifted = ms as i64 - offset_ms(zone)?;
        u64::try_from(shifted).ok().map(Self)
    }
}

/// Milliseconds of `08:09:10` or `08:09:10.123`; further digits are cut off.
pub(crate) fn time_of_day(text: &str) -> Option<u64> {
    let (clock, fraction) = match text.split_once('.') {
        Some((clock, fraction)) => (clock, fraction),
        None => (text, "0"),
    };
    let mut parts = clock.split(':');
    let hour = number(parts.next()?, 2).filter(|hour| *hour < 24)?;
    let minute = number(parts.next()?, 2).filter(|minute| *minute < 60)?;
    // 60 is a leap second, which Unix time does not have: the next second.
    let second = number(parts.next()?, 2).filter(|second| *second <= 60)?;
    if parts.next().is_some() || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let digits = number(fraction, fraction.len())?;
    let ms = digits * 1_000 / 10_u64.pow(fraction.len() as u32);
    Some(((hour * 60 + minute) * 60 + second) * 1_000 + ms)
}

/// `Z`, `+01:00` or `+0100`: how far a local clock is ahead of UTC, in milliseconds.
pub(crate) fn offset_ms(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = zone[1..].replace(':', "");
    let hhmm = number(&digits, 4)?;
    let (hours, minutes) = (hhmm / 100, hhmm % 100);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) as i64 * 60_000)
}

/// Exactly `digits` decimal digits.
fn number(text: &str, digits: usize) -> Option<u64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Gregorian date of a day counted from 1970-01-01.
fn date_of(day: u64) -> (u64, u64, u64) {
    // Counted from 1 March of year 0, a leap day is the last day of its year,
    // and the calendar repeats every 400 years = 146097 days.
    let from_march = day + 719_468;
    let (era, day) = (from_march / 146_097, from_march % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Five months from March are 153 days, and so are the next five.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_to_the_millisecond() {
        // Expected values from date(1) of GNU coreutils.
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (1_709_164_800_001, "2024-02-29T00:00:00.001Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
            (1_740_787_750_123, "2025-03-01T00:09:10.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ];
        for (unix_ms, expected) in cases {
            assert_eq!(Utc(unix_ms).to_string(), expected);
        }
        // What a damaged table may hold must not bring the daemon down.
        assert!(Utc(u64::MAX).to_string().ends_with('Z'));
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        // Expected values from date(1) of GNU coreutils.
        let cases = [
            ("2025-03-01T00:09:10.123Z", Some(1_740_787_750_123)),
            ("2025-03-01T00:09:10Z", Some(1_740_787_750_000)),
            ("2025-03-01 01:09:10.1239+01:00", Some(1_740_787_750_123)),
            ("2025-02-28T19:09:10-0500", Some(1_740_787_750_000)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800_000)),
            ("2023-02-29T00:00:00Z", None),
            ("2025-03-01T24:00:00Z", None),
            ("2025-03-01T00:09Z", None),
            ("2025-03-01T00:09:10", None),
            ("2025-3-1T00:09:10Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("1970-01-01T00:00:00+01:00", None),
            ("yesterday", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Utc::parse(text), expected.map(Utc), "{text}");
        }
    }

    #[test]
    fn the_calendar_has_no_gap_in_800_years() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for number in 0..800 * 365 {
            assert_eq!(date_of(number), (year, month, day));
            assert_eq!(Day::of_date(year, month, day), Some(Day(number)));
            assert_eq!(Day::parse(&Day(number).to_string()), Some(Day(number)));
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(is_leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }
}
