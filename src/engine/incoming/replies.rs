//! What a target has yet to say of a transfer, and when.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::{BatchNo, EntryNo};
use crate::time::Time;
use crate::wire::feedback::{Feedback, MAX_OPEN};

/// One thing to be said now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Reply {
    /// ACCEPT.
    Accept,
    /// NEED of a batch, from this entry on.
    Need(BatchNo, EntryNo),
    /// DONE of a batch, from this entry on.
    Done(BatchNo, EntryNo),
    /// This.
    Ready(Feedback),
    /// STATUS; `asked`: a poll has asked for it.
    Status { asked: bool },
}

/// What a target has yet to say of a transfer, and when.
#[derive(Default, Debug)]
pub(super) struct Replies {
    accept: Option<Time>,
    needs: Codes,
    dones: Codes,
    ready: VecDeque<(Time, Feedback)>,
    status: Option<StatusDue>,
}

#[derive(Clone, Copy, Debug)]
struct StatusDue {
    at: Time,
    asked: bool,
}

/// The batches whose codes (NEED or DONE) are to be said: when, and from which entry on. They may take
/// several packets.
#[derive(Default, Debug)]
struct Codes(BTreeMap<BatchNo, (Time, EntryNo)>);

impl Codes {
    fn first_due(&self, now: Time) -> Option<(BatchNo, EntryNo)> {
        let due = self.0.iter().find(|(_, (at, _))| *at <= now);
        due.map(|(&batch, &(_, next))| (batch, next))
    }

    /// A packet has taken the codes up to before `next`, of `len` in all.
    fn went_on(&mut self, batch: BatchNo, next: EntryNo, len: usize) {
        if next.index() >= len {
            self.0.remove(&batch);
        } else if let Some((_, first)) = self.0.get_mut(&batch) {
            *first = next;
        }
    }

    fn forget_below(&mut self, low: BatchNo) {
        self.0 = self.0.split_off(&low);
    }
}

impl Replies {
    /// BEGIN has come: ACCEPT is said at `at`, if nothing else is said before.
    pub(super) fn accept(&mut self, at: Time) {
        self.accept.get_or_insert(at);
    }

    /// What a batch needs is new, and is said from its first entry on.
    pub(super) fn need(&mut self, batch: BatchNo, at: Time) {
        self.needs.0.insert(batch, (at, EntryNo::ZERO));
    }

    /// What a batch needs is asked for: if it is not being said already, it is said again.
    pub(super) fn need_again(&mut self, batch: BatchNo, at: Time) {
        self.needs.0.entry(batch).or_insert((at, EntryNo::ZERO));
    }

    /// What became of a batch is new, and is said from its first entry on.
    pub(super) fn done(&mut self, batch: BatchNo, at: Time) {
        self.dones.0.insert(batch, (at, EntryNo::ZERO));
    }

    /// What became of a batch is asked for: if it is not being said already, it is said again.
    pub(super) fn done_again(&mut self, batch: BatchNo, at: Time) {
        self.dones.0.entry(batch).or_insert((at, EntryNo::ZERO));
    }

    /// Says this at `at`, or never if too much waits already: the sender will ask again.
    pub(super) fn ready(&mut self, at: Time, feedback: Feedback) {
        if self.ready.len() < MAX_OPEN {
            self.ready.push_back((at, feedback));
        }
    }

    /// A poll asks for STATUS. One that is due already is not put off.
    pub(super) fn answer_poll(&mut self, at: Time) {
        let at = self.status.map_or(at, |before| before.at.min(at));
        self.status = Some(StatusDue { at, asked: true });
    }

    /// STATUS says something new that no poll has asked for.
    pub(super) fn tell_status(&mut self, at: Time) {
        self.status.get_or_insert(StatusDue { at, asked: false });
    }

    /// Whether STATUS will be said anyway.
    pub(super) fn has_status(&self) -> bool {
        self.status.is_some()
    }

    /// Batches before `low` are forgotten.
    pub(super) fn forget_below(&mut self, low: BatchNo) {
        self.needs.forget_below(low);
        self.dones.forget_below(low);
    }

    /// When the next thing is to be said.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let codes = self.needs.0.values().chain(self.dones.0.values()).map(|&(at, _)| at);
        let ready = self.ready.iter().map(|&(at, _)| at);
        let status = self.status.map(|status| status.at);
        self.accept.into_iter().chain(status).chain(codes).chain(ready).min()
    }

    /// What is to be said now. NEED and DONE stay until [`Replies::need_said`] and
    /// [`Replies::done_said`] tell how far they have got.
    pub(super) fn next(&mut self, now: Time) -> Option<Reply> {
        let reply = self.first(now)?;
        // Whoever says anything takes part.
        self.accept = None;
        Some(reply)
    }

    fn first(&mut self, now: Time) -> Option<Reply> {
        if self.accept.is_some_and(|at| at <= now) {
            return Some(Reply::Accept);
        }
        if let Some((batch, first)) = self.needs.first_due(now) {
            return Some(Reply::Need(batch, first));
        }
        if let Some((batch, first)) = self.dones.first_due(now) {
            return Some(Reply::Done(batch, first));
        }
        if let Some(index) = self.ready.iter().position(|(at, _)| *at <= now) {
            return self.ready.remove(index).map(|(_, feedback)| Reply::Ready(feedback));
        }
        let due = self.status.take_if(|status| status.at <= now)?;
        Some(Reply::Status { asked: due.asked })
    }

    /// A NEED has said what a batch's entries before `next` need, of `len` entries in all.
    pub(super) fn need_said(&mut self, batch: BatchNo, next: EntryNo, len: usize) {
        self.needs.went_on(batch, next, len);
    }

    /// A DONE has said what became of a batch's entries before `next`, of `len` entries in all.
    pub(super) fn done_said(&mut self, batch: BatchNo, next: EntryNo, len: usize) {
        self.dones.went_on(batch, next, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: BatchNo = BatchNo::FIRST;

    fn at(micros: u64) -> Time {
        Time::from_micros(micros)
    }

    fn entry(number: u16) -> EntryNo {
        EntryNo::new(number)
    }

    #[test]
    fn anything_that_is_said_takes_the_place_of_an_accept() {
        let mut replies = Replies::default();
        replies.accept(at(10));
        replies.accept(at(5));
        assert_eq!((replies.next(at(9)), replies.poll_timeout()), (None, Some(at(10))));
        assert_eq!(replies.next(at(10)), Some(Reply::Accept));
        replies.accept(at(20));
        replies.tell_status(at(12));
        assert_eq!(replies.next(at(12)), Some(Reply::Status { asked: false }));
        assert_eq!(replies.poll_timeout(), None);
    }

    #[test]
    fn codes_go_on_until_all_are_said_and_start_again_when_they_are_new() {
        let mut replies = Replies::default();
        replies.need(ONE, at(3));
        assert_eq!(replies.next(at(3)), Some(Reply::Need(ONE, entry(0))));
        replies.need_said(ONE, entry(60), 100);
        replies.need_again(ONE, at(9));
        assert_eq!(replies.next(at(3)), Some(Reply::Need(ONE, entry(60))));
        replies.need_said(ONE, entry(100), 100);
        assert_eq!(replies.next(at(9)), None);
        replies.need_again(ONE, at(9));
        assert_eq!(replies.next(at(9)), Some(Reply::Need(ONE, entry(0))));
    }

    #[test]
    fn what_is_due_goes_out_in_a_fixed_order() {
        let mut replies = Replies::default();
        replies.answer_poll(at(1));
        replies.ready(at(9), Feedback::Ended);
        replies.ready(at(2), Feedback::Busy);
        replies.done(ONE, at(2));
        replies.need(ONE.next(), at(2));
        let mut said = Vec::new();
        while let Some(reply) = replies.next(at(5)) {
            match reply {
                Reply::Need(batch, _) => replies.need_said(batch, entry(1), 1),
                Reply::Done(batch, _) => replies.done_said(batch, entry(1), 1),
                _ => {}
            }
            said.push(reply);
        }
        let expected = [
            Reply::Need(ONE.next(), entry(0)),
            Reply::Done(ONE, entry(0)),
            Reply::Ready(Feedback::Busy),
            Reply::Status { asked: true },
        ];
        assert_eq!(said, expected);
        assert_eq!(replies.poll_timeout(), Some(at(9)));
    }

    #[test]
    fn a_poll_asks_for_a_status_that_is_due_no_later() {
        let mut replies = Replies::default();
        replies.tell_status(at(5));
        replies.answer_poll(at(50));
        replies.tell_status(at(1));
        assert_eq!(replies.poll_timeout(), Some(at(5)));
        assert_eq!(replies.next(at(5)), Some(Reply::Status { asked: true }));
        assert!(!replies.has_status());
    }

    #[test]
    fn what_waits_is_bounded_and_forgotten_with_its_batch() {
        let mut replies = Replies::default();
        for _ in 0..1_000 {
            replies.ready(at(1), Feedback::Busy);
        }
        assert_eq!(std::iter::from_fn(|| replies.next(at(1))).count(), MAX_OPEN);
        replies.need(ONE, at(1));
        replies.done(ONE, at(1));
        replies.done(ONE.next(), at(7));
        replies.forget_below(ONE.next());
        assert_eq!((replies.next(at(1)), replies.poll_timeout()), (None, Some(at(7))));
    }
}
