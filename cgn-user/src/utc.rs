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
    fn the_calendar_has_no_gap_in_800_years() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for number in 0..800 * 365 {
            assert_eq!(date_of(number), (year, month, day));
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
