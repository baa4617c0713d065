//! When a tree is sent as a whole again, because not every change was told: not too often, however often that
//! happens.

use super::types::Why;
use crate::time::{Span, Time};

/// The least time from the end of one to the next.
const SHORTEST: Span = Span::from_secs(10);
/// What that grows to, doubling, where one follows the other.
const LONGEST: Span = Span::from_secs(300);
/// After so long without any it is the shortest again.
const QUIET: Span = Span::from_secs(600);

/// The times when a tree is sent as a whole.
#[derive(Debug)]
pub(super) struct Rescans {
    wanted: Option<Why>,
    /// When it was wanted.
    since: Time,
    /// The tree was searched for it.
    pub(super) is_searched: bool,
    gap: Span,
    ended: Option<Time>,
}

impl Rescans {
    pub(super) fn new() -> Self {
        let (wanted, since, ended) = (None, Time::ZERO, None);
        Rescans { wanted, since, is_searched: false, gap: SHORTEST, ended }
    }

    /// One is to be made. Whether that is new.
    pub(super) fn want(&mut self, now: Time, why: Why) -> bool {
        // A search that has begun may have missed what is wanted now.
        self.is_searched = false;
        match self.wanted {
            Some(Why::Released) => false,
            Some(_) if why != Why::Released => false,
            _ => {
                (self.wanted, self.since) = (Some(why), now);
                true
            }
        }
    }

    /// The next one does not wait for anything: what it is for does not come again and again.
    pub(super) fn hurry(&mut self) {
        (self.ended, self.gap) = (None, SHORTEST);
    }

    /// Why one is to be made, if it is.
    pub(super) fn wanted(&self) -> Option<&Why> {
        self.wanted.as_ref()
    }

    /// Whether one was to be made at that time already.
    pub(super) fn is_wanted_since(&self, then: Time) -> bool {
        self.wanted.is_some() && self.since <= then
    }

    /// When it is to be made, if it is.
    pub(super) fn due(&self) -> Option<Time> {
        let why = self.wanted.as_ref()?;
        Some(match self.ended {
            Some(ended) if *why != Why::Released => self.since.max(ended + self.gap),
            _ => self.since,
        })
    }

    /// It begins.
    pub(super) fn take(&mut self) -> Option<Why> {
        self.is_searched = false;
        self.wanted.take()
    }

    /// It has ended.
    pub(super) fn end(&mut self, now: Time) {
        self.gap = match self.ended {
            Some(ended) if now.since(ended) < QUIET.at_least(self.gap * 2) => {
                (self.gap * 2).at_most(LONGEST)
            }
            _ => SHORTEST,
        };
        self.ended = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Time {
        Time::from_micros(secs * 1_000_000)
    }

    #[test]
    fn the_first_is_made_at_once_and_what_loops_becomes_rare() {
        let mut rescans = Rescans::new();
        let (mut made, mut now) = (Vec::new(), 1);
        while now < 2_000 {
            rescans.want(at(now), Why::Overflow);
            if rescans.due() <= Some(at(now)) {
                assert_eq!(rescans.take(), Some(Why::Overflow));
                rescans.end(at(now));
                made.push(now);
            }
            now += 1;
        }
        let gaps: Vec<u64> = made.windows(2).map(|two| two[1] - two[0]).collect();
        assert_eq!(gaps[..7], [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(made[0], 1);
        rescans.take();
        rescans.want(at(10_000), Why::Overflow);
        assert_eq!(rescans.due(), Some(at(10_000)));
        rescans.take();
        rescans.end(at(10_000));
        rescans.want(at(10_001), Why::Overflow);
        assert_eq!(rescans.due(), Some(at(10_010)));
    }

    #[test]
    fn what_somebody_asked_for_does_not_wait() {
        let mut rescans = Rescans::new();
        rescans.want(at(1), Why::Overflow);
        rescans.take();
        rescans.end(at(1));
        assert!(rescans.want(at(2), Why::Mounts));
        assert!(!rescans.want(at(3), Why::Overflow));
        assert!(rescans.want(at(3), Why::Released));
        assert!(!rescans.want(at(4), Why::Overflow));
        assert_eq!((rescans.wanted(), rescans.due()), (Some(&Why::Released), Some(at(3))));
        assert!(rescans.is_wanted_since(at(3)) && !rescans.is_wanted_since(at(2)));
    }
}
