//! When a target was last heard and spoken to, and when its silence has lasted too long.

use crate::time::{Span, Time};

/// A target that says nothing to so many polls, and for [`SILENT_FOR`], is suspended.
const SILENT_POLLS: u32 = 5;
/// See [`SILENT_POLLS`].
const SILENT_FOR: Span = Span::from_secs(1);
/// A target that has missed no more polls than this may only be slow.
const SLOW_POLLS: u32 = 2;
/// A target whose disk is busy may take so long in all.
const BUSY_FOR: Span = Span::from_secs(60);
/// A suspended target is asked so often whether it is back.
const PROBE_EVERY: Span = Span::from_millis(500);
/// A target that is gone, and speaks, is told so at most this often.
const REJECT_EVERY: Span = Span::from_millis(20);

/// The contact with one target.
#[derive(Debug)]
pub(super) struct Contact {
    heard: Time,
    /// When it last said BUSY, unless it has been heard since.
    busy: Option<Time>,
    /// Repeated polls since it was last heard.
    silent_polls: u32,
    /// When a target that is suspended or gone was last spoken to.
    probed: Time,
}

impl Contact {
    pub(super) fn new(now: Time) -> Self {
        Contact { heard: now, busy: None, silent_polls: 0, probed: now }
    }

    /// It has said something.
    pub(super) fn heard(&mut self, now: Time) {
        self.heard = now;
        self.busy = None;
        self.silent_polls = 0;
    }

    /// It has said BUSY: it lives, and cannot answer now.
    pub(super) fn busy(&mut self, now: Time) {
        self.busy = Some(now);
    }

    /// It has not answered a poll in time. Whether it is to be suspended.
    pub(super) fn missed_poll(&mut self, now: Time) -> bool {
        self.silent_polls += 1;
        let silent = self.silent_polls >= SILENT_POLLS && now >= self.heard + SILENT_FOR;
        if silent {
            self.probed = now;
        }
        silent
    }

    /// Whether it has been silent for so short that it may only be slow.
    pub(super) fn may_be_slow(&self) -> bool {
        self.silent_polls <= SLOW_POLLS
    }

    /// When it leaves if it stays silent.
    pub(super) fn limit(&self, timeout: Span) -> Time {
        let limit = self.heard + timeout;
        match self.busy {
            // A daemon that says BUSY each second lives; it is given up when it stops saying so.
            Some(busy) => limit.max((busy + timeout).min(self.heard + BUSY_FOR.at_least(timeout))),
            None => limit,
        }
    }

    /// When a suspended target is asked again whether it is back.
    pub(super) fn probe_at(&self) -> Time {
        self.probed + PROBE_EVERY
    }

    /// A suspended target is asked whether it is back.
    pub(super) fn probe(&mut self, now: Time) {
        self.probed = now;
    }

    /// Whether a target that is gone, and speaks, is to be told so now.
    pub(super) fn reject(&mut self, now: Time) -> bool {
        let due = now >= self.probed + REJECT_EVERY;
        if due {
            self.probed = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_micros(1_000_000);

    #[test]
    fn silence_needs_both_polls_and_time() {
        let mut contact = Contact::new(START);
        let later = START + SILENT_FOR;
        assert!((0..4).all(|_| !contact.missed_poll(later)));
        assert!(contact.missed_poll(later));
        contact.heard(later);
        assert!((0..100).all(|_| !contact.missed_poll(later)));
    }

    #[test]
    fn two_missed_polls_may_be_a_slow_answer() {
        let mut contact = Contact::new(START);
        contact.missed_poll(START);
        contact.missed_poll(START);
        assert!(contact.may_be_slow());
        contact.missed_poll(START);
        assert!(!contact.may_be_slow());
    }

    #[test]
    fn a_busy_target_may_be_silent_for_longer_but_not_for_ever() {
        let mut contact = Contact::new(START);
        let timeout = Span::from_secs(10);
        assert_eq!(contact.limit(timeout), START + timeout);
        contact.busy(START + Span::from_secs(8));
        assert_eq!(contact.limit(timeout), START + Span::from_secs(18));
        contact.busy(START + Span::from_secs(59));
        assert_eq!(contact.limit(timeout), START + BUSY_FOR);
        assert_eq!(contact.limit(Span::from_secs(90)), START + Span::from_secs(90));
        contact.heard(START + Span::from_secs(60));
        assert_eq!(contact.limit(timeout), START + Span::from_secs(70));
    }

    #[test]
    fn a_target_that_is_gone_is_told_so_once_in_a_while() {
        let mut contact = Contact::new(START);
        assert!(!contact.reject(START));
        assert!(contact.reject(START + REJECT_EVERY));
        assert!(!contact.reject(START + REJECT_EVERY));
    }
}
