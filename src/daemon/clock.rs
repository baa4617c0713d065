//! The only place that reads the clock. Everything else is given the time.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods)]

use crate::stamp::{HybridClock, MAX_MILLIS, Stamp};
use crate::time::Time;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
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

/// The wall clock as the fleet compares it: whole milliseconds since 1970; 0 before that.
pub fn wall_millis() -> u64 {
    let after = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(after.as_millis()).unwrap_or(u64::MAX).min(MAX_MILLIS)
}

/// The daemon's clock of stamps, shared by its threads, over the wall clock.
#[derive(Default, Debug)]
pub(super) struct FleetClock(Mutex<HybridClock>);

impl FleetClock {
    /// A new stamp, higher than all before.
    pub(super) fn draw(&self) -> Stamp {
        self.lock().draw(wall_millis())
    }

    /// Another host's stamp: what is drawn from now on is higher. False: it is too far ahead.
    pub(super) fn adopt(&self, stamp: Stamp) -> bool {
        self.lock().adopt(stamp, wall_millis())
    }

    /// The height that was kept when this host's daemon ran before. False: it is too far ahead.
    pub(super) fn restore(&self, kept: Stamp) -> bool {
        self.lock().restore(kept, wall_millis())
    }

    /// The highest stamp, and the wall clock in milliseconds.
    pub(super) fn read(&self) -> (Stamp, u64) {
        (self.lock().height(), wall_millis())
    }

    fn lock(&self) -> MutexGuard<'_, HybridClock> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        assert!(wall_millis().abs_diff(secs as u64 * 1_000) < 60_000);
    }

    #[test]
    fn before_1970_the_nanoseconds_still_count_upward() {
        assert_eq!(before_epoch(Duration::from_secs(3)), (-3, 0));
        assert_eq!(before_epoch(Duration::from_millis(250)), (-1, 750_000_000));
        assert_eq!(before_epoch(Duration::from_millis(2_250)), (-3, 750_000_000));
    }
}
