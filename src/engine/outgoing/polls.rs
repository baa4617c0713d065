//! The polls that have not been answered by all that were asked.

use std::collections::VecDeque;

use crate::ids::{PollNo, TargetNo};
use crate::time::{Span, Time};
use crate::wire::begin::Bits;

#[derive(Debug)]
pub(super) struct Record {
    pub(super) number: PollNo,
    pub(super) at: Time,
    /// What had been sent when it left: bytes of blocks, and blocks to all.
    pub(super) sent: u64,
    pub(super) sent_to_all: u32,
    /// Who has not answered it or a later one.
    waiting: Bits<TargetNo>,
    count: usize,
    open: bool,
}

#[derive(Default, Debug)]
pub(super) struct Polls {
    last: PollNo,
    records: VecDeque<Record>,
    /// The poll whose end ends the round.
    pub(super) round: Option<PollNo>,
    pub(super) slice: usize,
}

/// Old records are kept so that late answers still find theirs.
const MAX_RECORDS: usize = 256;

impl Polls {
    /// The number of the newest poll; 0 before the first.
    pub(super) fn last(&self) -> PollNo {
        self.last
    }

    /// Notes a new poll that these targets must answer; gives its number.
    pub(super) fn ask(
        &mut self,
        at: Time,
        sent: u64,
        sent_to_all: u32,
        asked: impl Iterator<Item = usize>,
    ) -> PollNo {
        self.last = self.last.next();
        let mut waiting = Bits::default();
        let mut count = 0;
        for target in asked {
            waiting.insert(TargetNo::of(target));
            count += 1;
        }
        let number = self.last;
        self.records.push_back(Record {
            number,
            at,
            sent,
            sent_to_all,
            waiting,
            count,
            // What nobody answers confirms nothing.
            open: count > 0,
        });
        if self.records.len() > MAX_RECORDS {
            self.records.pop_front();
        }
        self.round.get_or_insert(number);
        number
    }

    pub(super) fn record(&self, number: PollNo) -> Option<&Record> {
        let first = self.records.front()?.number;
        self.records.get(number.since(first)?)
    }

    /// A target has answered the poll `number`, and so all before it.
    pub(super) fn answered(&mut self, target: usize, number: PollNo) {
        for record in self.records.iter_mut().filter(|record| record.open) {
            if record.number > number {
                break;
            }
            record.answered(target);
        }
    }

    /// Nobody waits for a target any more.
    pub(super) fn excuse(&mut self, target: usize) {
        self.records.iter_mut().for_each(|record| record.answered(target));
    }

    /// Closes the polls that all have answered, and gives the newest of them.
    pub(super) fn complete(&mut self) -> Option<PollNo> {
        let mut newest = None;
        for record in self.records.iter_mut().filter(|record| record.open && record.count == 0) {
            record.open = false;
            newest = Some(record.number);
        }
        newest
    }

    /// Whether any poll waits for an answer.
    pub(super) fn outstanding(&self) -> bool {
        self.records.iter().any(|record| record.open)
    }

    /// When the oldest poll left that waits for an answer.
    pub(super) fn oldest(&self) -> Option<Time> {
        self.records.iter().find(|record| record.open).map(|record| record.at)
    }

    /// Who has not answered a poll for as long as `patience`.
    pub(super) fn silent(&self, now: Time, patience: Span) -> Bits<TargetNo> {
        let old = self.records.iter().filter(|record| record.open && record.at + patience <= now);
        Bits::of(old.flat_map(|record| record.waiting_targets()))
    }
}

impl Record {
    fn answered(&mut self, target: usize) {
        let target = TargetNo::of(target);
        if self.waiting.contains(target) {
            self.waiting.remove(target);
            self.count -= 1;
        }
    }

    fn waiting_targets(&self) -> impl Iterator<Item = TargetNo> + '_ {
        self.waiting.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_all_polls_before_it() {
        let mut polls = Polls::default();
        assert_eq!(polls.ask(Time::ZERO, 10, 1, 0..2), PollNo::new(1));
        assert_eq!(polls.ask(Time::ZERO, 20, 2, 0..2), PollNo::new(2));
        polls.answered(0, PollNo::new(2));
        assert_eq!(polls.complete(), None);
        polls.answered(1, PollNo::new(1));
        assert_eq!(polls.complete(), Some(PollNo::new(1)));
        assert_eq!(
            polls.silent(Time::ZERO, Span::ZERO).iter().collect::<Vec<_>>(),
            [TargetNo::new(1)]
        );
        polls.excuse(1);
        assert_eq!(polls.complete(), Some(PollNo::new(2)));
        assert!(!polls.outstanding());
        assert_eq!(polls.record(PollNo::new(2)).map(|record| record.sent), Some(20));
    }

    #[test]
    fn records_are_bounded() {
        let mut polls = Polls::default();
        for _ in 0..10_000 {
            polls.ask(Time::ZERO, 0, 0, 0..1);
        }
        assert_eq!(polls.records.len(), MAX_RECORDS);
        assert!(
            polls.record(PollNo::new(1)).is_none() && polls.record(PollNo::new(10_000)).is_some()
        );
    }
}
