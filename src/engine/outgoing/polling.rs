//! Whom to ask how far they are, and how long to wait for answers.

use super::polls::{Answered, Polls, Sent};
use super::target::{Presence, Targets};
use crate::engine::destination::Destination;
use crate::ids::{PollNo, TargetNo};
use crate::time::{Span, Time};
use crate::wire::bits::Bits;
use crate::wire::poll::Asked;

/// Transfers to more targets than this ask slices of them in turn, and spread their answers.
const AT_ONCE: usize = 16;
/// Silent targets get what is for them each by itself, up to so many.
pub(super) const ONE_BY_ONE: usize = 16;
/// The answers of a large fleet come at this many a second at the most.
const ANSWERS_PER_SECOND: u64 = 20_000;
/// The shortest time after which a poll is repeated.
const PATIENCE: Span = Span::from_millis(20);
/// The longest.
const MAX_PATIENCE: Span = Span::from_millis(500);
/// All hear of a transfer so often, though there may be nothing to send: it is not over.
const IDLE: Span = Span::from_secs(1);

/// When targets were asked, and what they still owe an answer to.
#[derive(Debug)]
pub(super) struct Polling {
    polls: Polls,
    /// Where the next slice of a large fleet begins.
    next_slice: usize,
    /// When something was last asked.
    asked_at: Time,
    /// When all last heard something.
    spoken_at: Time,
    /// When a poll was last repeated.
    repeated_at: Time,
    /// How often the patience is doubled.
    backoff: u32,
}

/// A poll that is to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Question {
    pub(super) number: PollNo,
    pub(super) asked: Asked,
    /// Where it goes.
    pub(super) to: Vec<Destination>,
}

impl Polling {
    pub(super) fn new(now: Time) -> Self {
        Polling {
            polls: Polls::default(),
            next_slice: 0,
            asked_at: now,
            spoken_at: now,
            repeated_at: now,
            backoff: 0,
        }
    }

    /// Makes a poll of `these` targets, or of all, where the next slice of them is to answer. `None`
    /// if there is no target.
    pub(super) fn ask(
        &mut self,
        now: Time,
        targets: &Targets,
        these: Option<&[TargetNo]>,
        sent: Sent,
    ) -> Option<Question> {
        if targets.is_empty() {
            self.spoken_at = now;
            return None;
        }
        let total = targets.len() as u16;
        let asked = match these {
            Some(these) => Asked::These(Bits::of(these.iter().copied())),
            None if targets.len() <= AT_ONCE => Asked::Slice(TargetNo::ZERO, total),
            None => self.slice(now, targets),
        };
        let active = targets.active().map(|(target, _)| target);
        let waiting = active.filter(|target| asked.includes(*target, total));
        let number = self.polls.ask(now, sent, waiting);
        let to = match these {
            Some(these) if these.len() <= ONE_BY_ONE && !may_be_slow(targets, these) => {
                these.iter().map(|&target| targets[target].to()).collect()
            }
            _ => vec![targets.everyone()],
        };
        if to.contains(&targets.everyone()) {
            self.spoken_at = now;
        }
        if these.is_none() || self.polls.outstanding() {
            self.asked_at = now;
        }
        Some(Question { number, asked, to })
    }

    /// The next targets of a large fleet: as many as may answer in the time since the last question.
    fn slice(&mut self, now: Time, targets: &Targets) -> Asked {
        let total = targets.len();
        // Half of the answers are for slices, the rest for those who miss something.
        let since = now.since(self.asked_at).micros().max(1);
        let share = since * ANSWERS_PER_SECOND / 2 / 1_000_000;
        let share = (share as usize).clamp(1, AT_ONCE);
        // Those who take no part any more have no share in it.
        let active = |at: &usize| targets[TargetNo::of(*at % total)].is_active();
        let from = self.next_slice % total;
        let first = (from..from + total).find(active).unwrap_or(from);
        let last = (first..first + total).filter(active).take(share).last();
        let end = last.unwrap_or(first) + 1;
        self.next_slice = end;
        Asked::Slice(TargetNo::of(first % total), (end - first) as u16)
    }

    /// Something else than a poll has been asked.
    pub(super) fn asked(&mut self, now: Time) {
        self.asked_at = now;
    }

    /// An answer, or something new to ask for, has come: patience is short again.
    pub(super) fn be_impatient(&mut self) {
        self.backoff = 0;
    }

    /// What was asked is asked again: patience gets longer.
    pub(super) fn be_patient(&mut self) {
        self.backoff += 1;
    }

    /// Polls are repeated.
    pub(super) fn repeat(&mut self, now: Time) {
        self.be_patient();
        self.repeated_at = now;
    }

    /// How long to wait for an answer.
    pub(super) fn patience(&self, targets: &Targets) -> Span {
        let round_trip = targets.longest_round_trip().unwrap_or(Span::ZERO);
        let spread = Span::from_micros(spread(targets).into()) * 2;
        let patience = (round_trip * 4).at_least(PATIENCE) + spread;
        (patience * (1 << self.backoff.min(8))).at_most(MAX_PATIENCE + spread)
    }

    /// When the answers to what was asked last are late.
    pub(super) fn late_at(&self, targets: &Targets) -> Time {
        self.asked_at + self.patience(targets)
    }

    /// When polls are to be repeated: some time after the last one, or after the oldest that somebody
    /// owes an answer to, though others have followed it.
    pub(super) fn repeat_at(&self, targets: &Targets) -> Time {
        let oldest = self.polls.oldest().map_or(self.asked_at, |at| at.max(self.repeated_at));
        oldest.min(self.asked_at) + self.patience(targets)
    }

    /// When all are to hear that the transfer is not over.
    pub(super) fn idle_at(&self) -> Time {
        self.spoken_at + IDLE
    }

    /// Who has owed an answer for as long as `patience`.
    pub(super) fn silent(&self, now: Time, patience: Span) -> Bits<TargetNo> {
        self.polls.silent(now, patience)
    }

    /// A target has answered a poll, and so all before it.
    pub(super) fn answered(&mut self, target: TargetNo, poll: PollNo) {
        self.polls.answered(target, poll);
    }

    /// Nobody waits for a target any more.
    pub(super) fn excuse(&mut self, target: TargetNo) {
        self.polls.excuse(target);
    }

    /// What the newest poll shows that all have answered since this was last called.
    pub(super) fn close(&mut self, now: Time) -> Option<Answered> {
        self.polls.close(now)
    }

    /// Whether any poll waits for an answer.
    pub(super) fn outstanding(&self) -> bool {
        self.polls.outstanding()
    }

    /// The newest poll; [`PollNo::ZERO`] before the first.
    pub(super) fn last(&self) -> PollNo {
        self.polls.last()
    }

    /// When a poll left, and what had been sent by then; `None` if that is forgotten.
    pub(super) fn record(&self, poll: PollNo) -> Option<(Time, Sent)> {
        self.polls.record(poll)
    }
}

/// Over how many microseconds the answers of all targets spread.
pub(super) fn spread(targets: &Targets) -> u32 {
    match targets.len() {
        0..=AT_ONCE => 0,
        count => (count as u64 * 1_000_000 / ANSWERS_PER_SECOND) as u32,
    }
}

/// Whether all of these have been silent for so short that what they were sent may still be queued
/// before them. A poll by another way would overtake it, and make it look lost.
fn may_be_slow(targets: &Targets, these: &[TargetNo]) -> bool {
    these.iter().all(|&target| {
        let target = &targets[target];
        target.presence() == Presence::Active && target.contact.may_be_slow()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outgoing::target;

    const NONE: Sent = Sent { bytes: 0, to_all: 0 };

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1_000)
    }

    fn active(count: u16) -> Targets {
        let mut targets = target::some(count);
        for target in targets.numbers() {
            targets.set_presence(target, Presence::Active);
        }
        targets
    }

    fn slice(first: u16, count: u16) -> Asked {
        Asked::Slice(TargetNo::new(first), count)
    }

    #[test]
    fn a_small_fleet_is_asked_at_once() {
        let (mut polling, targets) = (Polling::new(at(0)), active(3));
        let question = polling.ask(at(1), &targets, None, NONE).unwrap();
        assert_eq!(question.number, PollNo::new(1));
        assert_eq!((question.asked, question.to), (slice(0, 3), vec![Destination::Group]));
        assert!(polling.outstanding());
        assert_eq!(polling.ask(at(1), &active(0), None, NONE), None);
    }

    #[test]
    fn a_large_fleet_is_asked_in_slices_that_pass_over_who_is_gone() {
        let (mut polling, mut targets) = (Polling::new(at(0)), active(40));
        targets.set_presence(TargetNo::new(16), Presence::Gone);
        let mut asked = |millis| polling.ask(at(millis), &targets, None, NONE).unwrap().asked;
        assert_eq!(asked(100), slice(0, 16));
        assert_eq!(asked(200), slice(17, 16));
        // Around the end, where one counts for nothing.
        assert_eq!(asked(300), slice(33, 16));
        // Two answers in 200 microseconds.
        assert_eq!(asked(300), slice(9, 1));
    }

    #[test]
    fn who_may_only_be_slow_is_asked_through_the_group() {
        let (mut polling, mut targets) = (Polling::new(at(0)), active(3));
        let these = [TargetNo::new(2)];
        let question = polling.ask(at(1), &targets, Some(&these), NONE).unwrap();
        assert_eq!(question.to, [Destination::Group]);
        for _ in 0..3 {
            targets[these[0]].contact.missed_poll(at(1));
        }
        let question = polling.ask(at(2), &targets, Some(&these), NONE).unwrap();
        assert_eq!(question.to, [targets[these[0]].to()]);
        assert_eq!(question.asked, Asked::These(Bits::of(these)));
        // The group has not heard this one.
        assert_eq!(polling.idle_at(), at(1) + IDLE);
    }

    #[test]
    fn patience_follows_the_round_trip_and_doubles() {
        let (mut polling, mut targets) = (Polling::new(at(0)), active(2));
        assert_eq!(polling.patience(&targets), PATIENCE);
        targets[TargetNo::new(1)].measure.answer_took(Span::from_millis(10));
        assert_eq!(polling.patience(&targets), Span::from_millis(40));
        polling.repeat(at(1));
        assert_eq!(polling.patience(&targets), Span::from_millis(80));
        (0..20).for_each(|_| polling.be_patient());
        assert_eq!(polling.patience(&targets), MAX_PATIENCE);
        polling.be_impatient();
        assert_eq!(polling.patience(&targets), Span::from_millis(40));
        // Two hundred answers take 10 ms.
        assert_eq!(polling.patience(&active(200)), PATIENCE + Span::from_millis(20));
    }

    #[test]
    fn an_old_poll_that_somebody_owes_an_answer_to_is_repeated_though_others_followed() {
        let (mut polling, targets) = (Polling::new(at(0)), active(2));
        let first = polling.ask(at(10), &targets, None, NONE).unwrap().number;
        polling.ask(at(20), &targets, None, NONE);
        assert_eq!(polling.repeat_at(&targets), at(30));
        polling.answered(TargetNo::new(0), first);
        assert_eq!(polling.silent(at(30), PATIENCE).iter().collect::<Vec<_>>(), [TargetNo::new(1)]);
        polling.answered(TargetNo::new(1), first);
        polling.close(at(21));
        assert_eq!(polling.repeat_at(&targets), at(40));
        polling.repeat(at(40));
        assert_eq!(polling.late_at(&targets), at(60));
    }
}
