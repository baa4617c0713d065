//! When a daemon says HELLO to the group.

use crate::engine::rng::Rng;
use crate::time::{Span, Time};

/// How long after the first HELLO the first transfer may start.
pub const SETTLE: Span = Span::from_millis(500);

/// When HELLO is sent after the start, in milliseconds.
const START: [u64; 4] = [0, 200, 500, 1_000];

/// Which HELLO is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// One of those at the start.
    Start,
    /// One of those that say that this daemon is still there.
    Keepalive,
}

/// When HELLO is sent: several times at the start, then every now and then.
#[derive(Debug)]
pub(super) struct Schedule {
    started: Time,
    /// How many of [`START`] are past.
    past: usize,
    next: Time,
}

impl Schedule {
    /// Starts now.
    pub fn new(now: Time) -> Self {
        Schedule { started: now, past: 0, next: now }
    }

    /// When the next HELLO is due.
    pub fn next(&self) -> Time {
        self.next
    }

    /// When the other daemons have had the time to answer.
    pub fn settles(&self) -> Time {
        self.started + SETTLE
    }

    /// Takes the HELLO that is due, if one is. `keepalive` is how far apart they are on average after
    /// the start.
    pub fn take(&mut self, now: Time, keepalive: Span, rng: &mut Rng) -> Option<Due> {
        if now < self.next {
            return None;
        }
        let due = if self.past < START.len() { Due::Start } else { Due::Keepalive };
        // After a long sleep, one HELLO stands for all that were missed.
        while self.start_time().is_some_and(|time| time <= now) {
            self.past += 1;
        }
        let keepalive = keepalive.at_least(Span::from_secs(1));
        let third = keepalive / 3;
        let later = now + (keepalive - third) + Span::from_micros(rng.below((third * 2).micros()));
        self.next = self.start_time().unwrap_or(later);
        Some(due)
    }

    /// When the next HELLO of the start is due, if there is one left.
    fn start_time(&self) -> Option<Time> {
        START.get(self.past).map(|&millis| self.started + Span::from_millis(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(5_000_000 + millis * 1_000)
    }

    #[test]
    fn a_start_is_said_several_times_and_then_every_now_and_then() {
        let (mut schedule, mut rng) = (Schedule::new(at(0)), Rng::new(1));
        let keepalive = Span::from_secs(15);
        let mut take = |schedule: &mut Schedule, now| schedule.take(now, keepalive, &mut rng);
        for millis in START {
            assert_eq!(schedule.next(), at(millis));
            assert_eq!(take(&mut schedule, at(millis)), Some(Due::Start));
            assert_eq!(take(&mut schedule, at(millis)), None, "once");
        }
        for _ in 0..50 {
            let last = schedule.next();
            assert_eq!(take(&mut schedule, last), Some(Due::Keepalive));
            let pause = schedule.next().since(last);
            assert!(pause >= Span::from_secs(10) && pause <= Span::from_secs(20), "{pause}");
        }
    }

    #[test]
    fn what_was_slept_through_is_said_once() {
        let (mut schedule, mut rng) = (Schedule::new(at(0)), Rng::new(1));
        let keepalive = Span::from_secs(15);
        assert_eq!(schedule.take(at(600), keepalive, &mut rng), Some(Due::Start));
        assert_eq!((schedule.next(), schedule.settles()), (at(1_000), at(500)));
    }
}
