//! The only place that reads the clock. Everything else is given the time.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods)]

use crate::time::Time;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

static START: OnceLock<Instant> = OnceLock::new();

/// The time by `CLOCK_MONOTONIC`, counted from just before the first call in this process: never
/// [`Time::ZERO`], so that zero can stand for "long ago".
pub fn now() -> Time {
    let elapsed = START.get_or_init(Instant::now).elapsed().as_micros();
    Time::from_micros(u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_add(1))
}

/// The wall clock: seconds since 1970-01-01 00:00 UTC, and nanoseconds (below 1,000,000,000) to add
/// to them, even where the seconds are negative.
pub fn wall() -> (i64, u32) {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => (seconds(after), after.subsec_nanos()),
        Err(before) => before_epoch(before.duration()),
    }
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

/// The wall clock `span` before 1970.
fn before_epoch(span: Duration) -> (i64, u32) {
    match span.subsec_nanos() {
        0 => (-seconds(span), 0),
        nanos => (-seconds(span) - 1, 1_000_000_000 - nanos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_is_never_zero() {
        let first = now();
        assert!(first > Time::ZERO);
        std::thread::sleep(Duration::from_millis(2));
        assert!(now().since(first).micros() >= 2_000);
    }

    #[test]
    fn the_wall_clock_is_the_systems() {
        let (secs, nanos) = wall();
        assert!(secs > 1_700_000_000, "after 2023: {secs}");
        assert!(nanos < 1_000_000_000);
    }

    #[test]
    fn before_1970_the_nanoseconds_still_count_upward() {
        assert_eq!(before_epoch(Duration::from_secs(3)), (-3, 0));
        assert_eq!(before_epoch(Duration::from_millis(250)), (-1, 750_000_000));
        assert_eq!(before_epoch(Duration::from_millis(2_250)), (-3, 750_000_000));
    }
}
