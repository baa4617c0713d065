//! Limits on answers: a burst of so many at once, then one in every interval (token buckets).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::time::{Span, Time};

/// How many answers may leave at once, and how long it takes until one more may.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub burst: u64,
    pub interval: Span,
}

impl Rate {
    pub const fn per_second(burst: u64, rate: u64) -> Self {
        Rate { burst, interval: Span::from_micros(1_000_000 / rate) }
    }
}

/// A token bucket, kept as the time at which it will be full again.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct AnswerLimit {
    full: Time,
}

impl AnswerLimit {
    /// When the next token is available; it may be in the past.
    pub fn ready(&self, rate: Rate) -> Time {
        let gap = rate.interval * rate.burst.saturating_sub(1);
        Time::from_micros(self.full.micros().saturating_sub(gap.micros()))
    }

    /// Whether there is a token.
    pub fn has(&self, now: Time, rate: Rate) -> bool {
        self.ready(rate) <= now
    }

    /// When it is half full; it may be in the past.
    pub fn half_full(&self, rate: Rate) -> Time {
        let gap = rate.interval * (rate.burst / 2);
        Time::from_micros(self.full.micros().saturating_sub(gap.micros()))
    }

    /// Takes a token if there is one.
    pub fn take(&mut self, now: Time, rate: Rate) -> bool {
        let has = self.has(now, rate);
        if has {
            self.full = self.full.max(now) + rate.interval;
        }
        has
    }
}

/// A limit for each source address, kept for a bounded number of them.
#[derive(Default, Debug)]
pub(super) struct SourceLimits {
    limits: BTreeMap<Ipv4Addr, AnswerLimit>,
}

/// The most limits that are kept. Those that are not full are far fewer, since all answers together
/// are limited too.
pub(super) const MAX_SOURCES: usize = 2_048;

impl SourceLimits {
    /// When the next token of `source` is available; it may be in the past.
    pub fn ready(&self, source: Ipv4Addr, rate: Rate) -> Time {
        self.limits.get(&source).map_or(Time::ZERO, |limit| limit.ready(rate))
    }

    /// Takes a token of `source` if it has one and there is room to remember that.
    pub fn take(&mut self, now: Time, source: Ipv4Addr, rate: Rate) -> bool {
        if let Some(limit) = self.limits.get_mut(&source) {
            return limit.take(now, rate);
        }
        if self.limits.len() >= MAX_SOURCES {
            // A full bucket need not be remembered.
            self.limits.retain(|_, limit| limit.full > now);
        }
        if self.limits.len() >= MAX_SOURCES {
            return false;
        }
        self.limits.entry(source).or_default().take(now, rate)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.limits.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::per_second(4, 2);

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1_000)
    }

    #[test]
    fn a_burst_and_then_a_rate() {
        let mut limit = AnswerLimit::default();
        for _ in 0..4 {
            assert!(limit.take(at(10_000), RATE));
        }
        assert!(!limit.take(at(10_000), RATE));
        assert_eq!(limit.ready(RATE), at(10_500));
        assert!(!limit.take(at(10_499), RATE));
        assert!(limit.take(at(10_500), RATE));
        let taken = (10_501..20_501).filter(|&t| limit.take(at(t), RATE)).count();
        assert_eq!(taken, 20);
    }

    #[test]
    fn half_full_is_half_of_the_burst() {
        let mut limit = AnswerLimit::default();
        let now = at(10_000);
        let halves: Vec<bool> = (0..4)
            .map(|_| {
                limit.take(now, RATE);
                limit.half_full(RATE) <= now
            })
            .collect();
        assert_eq!(halves, [true, true, false, false]);
    }

    #[test]
    fn sources_are_apart_and_bounded() {
        let mut sources = SourceLimits::default();
        let now = at(10_000);
        for source in 0..MAX_SOURCES as u32 {
            assert!(sources.take(now, Ipv4Addr::from(source), RATE));
        }
        let late = Ipv4Addr::from(1 << 30);
        assert!(!sources.take(now, late, RATE), "no room");
        assert!(sources.take(now, Ipv4Addr::from(0), RATE), "known");
        assert!(sources.take(at(10_500), late, RATE), "the others are full again");
        assert!(sources.len() <= 2);
    }
}
