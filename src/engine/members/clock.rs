//! What is known of a member's clock, against ours.

use crate::stamp::{Offset, Stamp};
use crate::wire::hello::Hello;

/// What is known of a member's clock.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Clock {
    /// How far its wall clock is ahead of ours. While that is too far, as it was when this was last worth
    /// saying.
    pub ahead: Offset,
    /// A stamp of its that is too far ahead of our wall clock, though its wall clock is not: the first
    /// that was.
    pub far: Option<Stamp>,
}

impl Clock {
    /// As a HELLO has it, when our wall clock is at `wall`.
    pub(super) fn of(hello: &Hello, wall: u64) -> Self {
        let ahead = Offset::between(hello.wall, wall);
        Clock { ahead, far: far(hello.height, wall).filter(|_| !ahead.is_too_far()) }
    }

    /// Whether there is something to say, now that it is like this.
    pub(super) fn has_news(&self, now: &Clock) -> bool {
        now.ahead.differs_from(self.ahead) || now.far.is_some() != self.far.is_some()
    }

    /// It is like this now; nothing that there is to say has changed.
    pub(super) fn drift(&mut self, now: &Clock) {
        if self.is_sound() {
            self.ahead = now.ahead;
        }
    }

    /// Whether what its daemon and this one send can be put in order.
    pub fn is_sound(&self) -> bool {
        !self.ahead.is_too_far() && self.far.is_none()
    }
}

/// The stamp, if it is too far ahead of a wall clock.
pub(super) fn far(stamp: Stamp, wall: u64) -> Option<Stamp> {
    stamp.ahead_of(wall).is_ahead_too_far().then_some(stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_too_far_off_stays_what_was_said_of_it() {
        let clock = |millis: u64| Clock { ahead: Offset::between(millis, 0), far: None };
        let mut known = clock(0);
        known.drift(&clock(500));
        assert_eq!(known, clock(500));
        let mut known = clock(4_000_000);
        known.drift(&clock(4_000_500));
        assert_eq!(known, clock(4_000_000));
    }
}
