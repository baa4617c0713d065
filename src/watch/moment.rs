//! The time, as a watch knows it.

use super::scan::Wall;
use crate::time::Time;

/// A search finds what is so much older than it asks for: clocks of file systems have ticks, up to 2 s long.
const SLACK: i64 = 3;

/// The time, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Time,
    pub(super) wall: Wall,
}

/// Since when something has to have changed to be found by a search that begins now, when the last one began
/// `then`. The wall clock may have been set meanwhile, in either direction.
pub(super) fn since(then: Moment, at: Moment) -> Wall {
    let passed = i64::try_from(at.now.since(then.now).micros() / 1_000_000).unwrap_or(i64::MAX);
    (then.wall.0.min(at.wall.0.saturating_sub(passed)) - SLACK, 0)
}
