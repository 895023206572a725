//! Waiting with an end.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time between two looks.
const STEP: Duration = Duration::from_millis(20);

/// Looks again and again until there is something, at most `secs` seconds; `None` after that.
pub fn poll<T>(secs: f64, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + Duration::from_secs_f64(secs);
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(STEP);
    }
}

/// Waits until `look` finds something.
///
/// # Errors
/// It did not within `secs` seconds; the error says what was expected and what the last look saw.
pub fn wait_until<T>(
    expected: &str,
    secs: f64,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let mut last = None;
    let found = poll(secs, || match look() {
        Ok(found) => found,
        Err(error) => {
            last = Some(error);
            None
        }
    });
    match (found, last) {
        (Some(found), _) => Ok(found),
        (None, Some(error)) => Err(error.context(format!(
            "expected within {secs} s: {expected}; the last attempt failed"
        ))),
        (None, None) => bail!("expected within {secs} s: {expected}; it did not happen"),
    }
}
