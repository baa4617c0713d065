//! The polls that have not been answered by all that were asked.

use std::collections::VecDeque;

use crate::ids::{PollNo, TargetNo};
use crate::time::{Span, Time};
use crate::wire::bits::Bits;

/// Old records are kept so that late answers still find theirs.
const MAX_RECORDS: usize = 256;

/// What had been sent when a poll left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Sent {
    /// Bytes of blocks.
    pub(super) bytes: u64,
    /// Blocks that went to all.
    pub(super) to_all: u32,
}

#[derive(Debug)]
struct Record {
    number: PollNo,
    at: Time,
    sent: Sent,
    /// Who has not answered it or a later one.
    waiting: Bits<TargetNo>,
    count: usize,
    open: bool,
}

/// The last polls, and who owes answers to them.
#[derive(Default, Debug)]
pub(super) struct Polls {
    last: PollNo,
    records: VecDeque<Record>,
    /// How many of the first records are closed: nothing is looked for there.
    closed: usize,
    /// The poll whose end ends the round.
    round: Option<PollNo>,
}

/// What the newest poll shows that everyone has answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Answered {
    /// How many bytes had been sent when it left: they are confirmed.
    pub(super) bytes: Option<u64>,
    /// How long the round took that it ends, if it ends one.
    pub(super) round: Option<Span>,
}

impl Polls {
    /// The newest poll; [`PollNo::ZERO`] before the first.
    pub(super) fn last(&self) -> PollNo {
        self.last
    }

    /// Notes a new poll that these targets must answer; gives its number.
    pub(super) fn ask(
        &mut self,
        at: Time,
        sent: Sent,
        asked: impl Iterator<Item = TargetNo>,
    ) -> PollNo {
        let number = self.last.next();
        self.last = number;
        let mut waiting = Bits::default();
        let mut count = 0;
        for target in asked {
            waiting.insert(target);
            count += 1;
        }
        // What nobody answers confirms nothing.
        let open = count > 0;
        self.records.push_back(Record { number, at, sent, waiting, count, open });
        if self.records.len() > MAX_RECORDS {
            self.records.pop_front();
            self.closed = self.closed.saturating_sub(1);
        }
        self.round.get_or_insert(number);
        number
    }

    /// When a poll left, and what had been sent by then; `None` if that is forgotten.
    pub(super) fn record(&self, number: PollNo) -> Option<(Time, Sent)> {
        let first = self.records.front()?.number;
        self.records.get(number.since(first)?).map(|record| (record.at, record.sent))
    }

    /// A target has answered the poll `number`, and so all before it.
    pub(super) fn answered(&mut self, target: TargetNo, number: PollNo) {
        for record in self.records.range_mut(self.closed..) {
            if record.number > number {
                break;
            }
            record.answered(target);
        }
    }

    /// Nobody waits for a target any more.
    pub(super) fn excuse(&mut self, target: TargetNo) {
        self.records.range_mut(self.closed..).for_each(|record| record.answered(target));
    }

    /// Closes the polls that everyone has answered, and says what the newest of them shows.
    pub(super) fn close(&mut self, now: Time) -> Option<Answered> {
        let mut newest = None;
        for record in self.records.range_mut(self.closed..) {
            if record.open && record.count == 0 {
                record.open = false;
                newest = Some(record.number);
            }
        }
        let still = self.records.range(self.closed..).take_while(|record| !record.open);
        self.closed += still.count();
        let newest = newest?;
        let bytes = self.record(newest).map(|(_, sent)| sent.bytes);
        let round = self.round.take_if(|round| newest >= *round);
        let round = round.map(|round| self.record(round).map_or(now, |(at, _)| at));
        Some(Answered { bytes, round: round.map(|began| now.since(began)) })
    }

    fn open(&self) -> impl Iterator<Item = &Record> {
        self.records.range(self.closed..).filter(|record| record.open)
    }

    /// Whether any poll waits for an answer.
    pub(super) fn outstanding(&self) -> bool {
        self.oldest().is_some()
    }

    /// When the oldest poll left that waits for an answer.
    pub(super) fn oldest(&self) -> Option<Time> {
        self.open().next().map(|record| record.at)
    }

    /// Who has not answered a poll for as long as `patience`.
    pub(super) fn silent(&self, now: Time, patience: Span) -> Bits<TargetNo> {
        let old = self.open().filter(|record| record.at + patience <= now);
        Bits::of(old.flat_map(|record| record.waiting.iter()))
    }
}

impl Record {
    fn answered(&mut self, target: TargetNo) {
        if self.waiting.contains(target) {
            self.waiting.remove(target);
            self.count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TargetNo = TargetNo::new(0);
    const B: TargetNo = TargetNo::new(1);

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1_000)
    }

    fn sent(bytes: u64) -> Sent {
        Sent { bytes, to_all: 1 }
    }

    #[test]
    fn an_answer_counts_for_all_polls_before_it() {
        let mut polls = Polls::default();
        let first = polls.ask(at(0), sent(10), [A, B].into_iter());
        let second = polls.ask(at(0), sent(20), [A, B].into_iter());
        assert_eq!((first, second), (PollNo::new(1), PollNo::new(2)));
        polls.answered(A, second);
        assert_eq!(polls.close(at(1)), None);
        polls.answered(B, first);
        assert_eq!(polls.close(at(1)).and_then(|answered| answered.bytes), Some(10));
        assert_eq!(polls.silent(at(1), Span::ZERO).iter().collect::<Vec<_>>(), [B]);
        polls.excuse(B);
        assert_eq!(polls.close(at(1)).and_then(|answered| answered.bytes), Some(20));
        assert!(!polls.outstanding());
        assert_eq!(polls.record(second), Some((at(0), sent(20))));
    }

    #[test]
    fn a_round_lasts_from_its_poll_until_all_have_answered_that() {
        let mut polls = Polls::default();
        let first = polls.ask(at(0), sent(0), [A].into_iter());
        let second = polls.ask(at(1), sent(0), [A].into_iter());
        polls.answered(A, first);
        assert_eq!(polls.close(at(5)).and_then(|a| a.round), Some(Span::from_millis(5)));
        // The next poll begins the next round: this one belongs to none.
        polls.answered(A, second);
        assert_eq!(polls.close(at(6)).map(|a| a.round), Some(None));
        let third = polls.ask(at(7), sent(0), [A].into_iter());
        polls.answered(A, third);
        assert_eq!(polls.close(at(9)).and_then(|a| a.round), Some(Span::from_millis(2)));
    }

    #[test]
    fn a_poll_that_nobody_answers_confirms_nothing() {
        let mut polls = Polls::default();
        polls.ask(at(0), sent(10), std::iter::empty());
        assert!(!polls.outstanding());
        assert_eq!((polls.oldest(), polls.close(at(1))), (None, None));
    }

    #[test]
    fn closed_records_are_kept_and_not_looked_through() {
        let mut polls = Polls::default();
        for millis in 0..1_000 {
            let poll = polls.ask(at(millis), sent(millis), [A].into_iter());
            assert_eq!(polls.oldest(), Some(at(millis)));
            polls.answered(A, poll);
            assert_eq!(polls.close(at(millis)).and_then(|a| a.bytes), Some(millis));
            assert_eq!(polls.closed, polls.records.len());
        }
        assert_eq!(polls.record(PollNo::new(900)), Some((at(899), sent(899))));
    }

    #[test]
    fn records_are_bounded() {
        let mut polls = Polls::default();
        for _ in 0..10_000 {
            polls.ask(at(0), sent(0), [A].into_iter());
        }
        assert_eq!((polls.records.len(), polls.closed), (MAX_RECORDS, 0));
        assert!(polls.record(PollNo::new(1)).is_none());
        assert!(polls.record(PollNo::new(10_000)).is_some());
    }
}
