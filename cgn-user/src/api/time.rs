//! Times as the API writes them.

/// Milliseconds of Unix time as RFC 3339 in UTC: `2025-03-01T08:09:10.123Z`.
pub(crate) fn utc(unix_ms: u64) -> String {
    let secs = (unix_ms / 1000) as libc::time_t;
    // SAFETY: all bytes zero is a `tm` (integers, and a pointer that is not read).
    let mut date: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to our own variables, and the call keeps neither.
    if unsafe { libc::gmtime_r(&secs, &mut date) }.is_null() {
        return format!("{unix_ms} ms after 1970");
    }
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        i64::from(date.tm_year) + 1900,
        date.tm_mon + 1,
        date.tm_mday,
        date.tm_hour,
        date.tm_min,
        date.tm_sec,
        unix_ms % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_are_utc_to_the_millisecond() {
        // Expected values from date(1) of GNU coreutils.
        for (unix_ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (1_740_787_750_123, "2025-03-01T00:09:10.123Z"),
        ] {
            assert_eq!(utc(unix_ms), expected);
        }
        // What a damaged table may hold must not bring the daemon down.
        assert!(utc(u64::MAX).contains("18446744073709551615") || utc(u64::MAX).ends_with('Z'));
    }
}
