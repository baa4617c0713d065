//! The batches that a target keeps of one transfer: those that are open, and those that it has done
//! and others have not.

use std::collections::VecDeque;

use super::batch::IncomingBatch;
use super::budget::Rank;
use super::shared::Shared;
use crate::ids::BatchNo;
use crate::name::NodeId;
use crate::wire::feedback::MAX_OPEN;

/// The most batches that are kept.
const MAX_KEPT: usize = 128;

pub(super) struct Batches<H> {
    /// The sender.
    node: NodeId,
    /// The first that is kept: the lowest that is not done everywhere.
    low: BatchNo,
    kept: VecDeque<IncomingBatch<H>>,
}

impl<H> Batches<H> {
    /// No batch of a transfer of `node` yet.
    pub(super) fn new(node: NodeId) -> Self {
        Batches { node, low: BatchNo::FIRST, kept: VecDeque::new() }
    }

    pub(super) fn get(&self, number: BatchNo) -> Option<&IncomingBatch<H>> {
        self.kept.get(number.since(self.low)?)
    }

    pub(super) fn get_mut(&mut self, number: BatchNo) -> Option<&mut IncomingBatch<H>> {
        self.kept.get_mut(number.since(self.low)?)
    }

    /// The batch, opened with all before it if it is new and not too far ahead.
    pub(super) fn get_or_open(&mut self, number: BatchNo) -> Option<&mut IncomingBatch<H>> {
        let at = number.since(self.low)?;
        let ahead = number.since(self.lowest_open()).unwrap_or(0);
        if at >= MAX_KEPT || ahead >= MAX_OPEN {
            return None;
        }
        while self.kept.len() <= at {
            self.kept.push_back(IncomingBatch::new(self.node));
        }
        self.kept.get_mut(at)
    }

    /// Opens all batches up to `number`, as far ahead as may be open.
    pub(super) fn open_up_to(&mut self, number: BatchNo) {
        let last = self.lowest_open().after(MAX_OPEN - 1);
        self.get_or_open(number.min(last));
    }

    /// The first batch that is not done here.
    pub(super) fn lowest_open(&self) -> BatchNo {
        self.low.after(self.kept.iter().take_while(|batch| batch.is_done()).count())
    }

    /// Which part of the memory a batch may use; `first`: its transfer is the first of all.
    pub(super) fn rank(&self, first: bool, number: BatchNo) -> Rank {
        Self::rank_beside(self.lowest_open(), first, number)
    }

    /// The same, if `lowest` is the lowest open batch.
    pub(super) fn rank_beside(lowest: BatchNo, first: bool, number: BatchNo) -> Rank {
        match (number == lowest, first) {
            (true, true) => Rank::First,
            (true, false) => Rank::Lowest,
            (false, _) => Rank::Later,
        }
    }

    /// All that are kept, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (BatchNo, &IncomingBatch<H>)> {
        self.low.onwards().zip(&self.kept)
    }

    /// All that are kept, in order.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (BatchNo, &mut IncomingBatch<H>)> {
        self.low.onwards().zip(&mut self.kept)
    }

    /// Forgets the batches before `low` that are done here. The lowest that is kept then.
    pub(super) fn forget_below(&mut self, shared: &mut Shared, low: BatchNo) -> BatchNo {
        while self.low < low && self.kept.front().is_some_and(IncomingBatch::is_done) {
            if let Some(mut batch) = self.kept.pop_front() {
                batch.free(shared);
            }
            self.low = self.low.next();
        }
        self.low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incoming::testing::{KEY, shared};

    fn number(number: u32) -> BatchNo {
        BatchNo::new(number)
    }

    /// Batches of which the first `done` are done.
    fn done(shared: &mut Shared, done: u32) -> Batches<()> {
        let mut batches = Batches::new(KEY.node);
        for at in 1..=done {
            batches.get_or_open(number(at)).unwrap().force_done(shared);
        }
        batches
    }

    #[test]
    fn a_batch_opens_with_all_before_it_but_not_too_far_ahead() {
        let mut batches: Batches<()> = Batches::new(KEY.node);
        assert!(batches.get_or_open(number(0)).is_none());
        assert!(batches.get_or_open(number(MAX_OPEN as u32 + 1)).is_none());
        assert_eq!(batches.iter().count(), 0);
        assert!(batches.get_or_open(number(5)).is_some());
        assert_eq!(batches.iter().count(), 5);
        batches.open_up_to(number(u32::MAX));
        assert_eq!(batches.iter().count(), MAX_OPEN);
    }

    #[test]
    fn as_many_are_kept_as_there_may_be() {
        let mut shared = shared();
        let mut batches = done(&mut shared, MAX_KEPT as u32);
        assert_eq!(batches.lowest_open(), number(MAX_KEPT as u32 + 1));
        assert!(batches.get_or_open(number(MAX_KEPT as u32 + 1)).is_none());
        assert_eq!(batches.forget_below(&mut shared, number(3)), number(3));
        assert!(batches.get_or_open(number(MAX_KEPT as u32 + 1)).is_some());
        assert!(batches.get(number(2)).is_none() && batches.get(number(3)).is_some());
    }

    #[test]
    fn what_is_open_here_is_not_forgotten() {
        let mut shared = shared();
        let mut batches = done(&mut shared, 2);
        batches.get_or_open(number(4));
        assert_eq!(batches.forget_below(&mut shared, number(9)), number(3));
        assert_eq!(batches.iter().map(|(number, _)| number.get()).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn only_the_lowest_open_batch_ranks_before_later_ones() {
        let mut shared = shared();
        let mut batches = done(&mut shared, 1);
        batches.get_or_open(number(3));
        assert_eq!(batches.rank(true, number(2)), Rank::First);
        assert_eq!(batches.rank(false, number(2)), Rank::Lowest);
        assert_eq!(batches.rank(true, number(3)), Rank::Later);
    }
}
