//! Which blocks are to be sent again, and for whom.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::ids::{BatchNo, BlockNo, BlockRange, PollNo};
use crate::time::Time;

/// The stream that a block belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Stream {
    Offer,
    Data,
}

/// A block that was sent before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Block {
    pub(super) batch: BatchNo,
    pub(super) stream: Stream,
    pub(super) number: BlockNo,
}

/// Who misses a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    One(usize),
    Several,
}

/// One answer asks for so many blocks at the most; the rest is asked for again.
const MAX_ASKED: u32 = 4_096;
/// So many blocks wait for repair at the most.
const MAX_PENDING: usize = 16_384;

#[derive(Default, Debug)]
pub(super) struct Repairs {
    pending: BTreeMap<Block, Who>,
    /// For each block sent again: the newest poll at that time. A target that answers that poll, or
    /// one before it, cannot know of the block yet.
    resent: BTreeMap<Block, PollNo>,
    /// Answers of the same round may ask for the same blocks: wait for them until then.
    pub(super) ready: Time,
}

impl Repairs {
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether the next run is of a manifest.
    pub(super) fn first_is_offer(&self) -> bool {
        self.pending.first_key_value().is_some_and(|(block, _)| block.stream == Stream::Offer)
    }

    /// A target that answers `poll` misses these blocks. How many of them are to be sent again for it.
    pub(super) fn ask(
        &mut self,
        target: usize,
        poll: PollNo,
        batch: BatchNo,
        stream: Stream,
        missing: &[BlockRange],
    ) -> u32 {
        let mut asked = 0;
        for number in missing.iter().flat_map(|range| range.iter()).take(MAX_ASKED as usize) {
            let block = Block { batch, stream, number };
            if self.resent.get(&block).is_some_and(|&at| at >= poll) {
                continue;
            }
            if self.pending.len() >= MAX_PENDING {
                break;
            }
            match self.pending.entry(block) {
                Entry::Vacant(entry) => {
                    entry.insert(Who::One(target));
                    asked += 1;
                }
                Entry::Occupied(mut entry) => {
                    if let Who::One(other) = *entry.get() {
                        if other != target {
                            entry.insert(Who::Several);
                            asked += 1;
                        }
                    }
                }
            }
        }
        asked
    }

    /// The next run of neighbouring blocks that the same targets miss, `most` at most.
    pub(super) fn next(&mut self, most: u32, last_poll: PollNo) -> Option<(Block, u32, Who)> {
        let (&first, &who) = self.pending.first_key_value()?;
        let mut count = 0;
        while count < most {
            let block = Block { number: first.number.after(count), ..first };
            if self.pending.get(&block) != Some(&who) {
                break;
            }
            self.pending.remove(&block);
            self.resent.insert(block, last_poll);
            count += 1;
        }
        Some((first, count.max(1), who))
    }

    /// All targets have answered `poll` or a later one.
    pub(super) fn settle(&mut self, poll: PollNo) {
        self.resent.retain(|_, at| *at >= poll);
    }

    /// All batches before `first` are done.
    pub(super) fn forget_below(&mut self, first: BatchNo) {
        let from = Block { batch: first, stream: Stream::Offer, number: BlockNo::ZERO };
        self.pending = self.pending.split_off(&from);
        self.resent = self.resent.split_off(&from);
    }

    /// A target is gone: what only it misses is missed by nobody.
    pub(super) fn excuse(&mut self, target: usize) {
        self.pending.retain(|_, who| *who != Who::One(target));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::blocks;

    const ONE: BatchNo = BatchNo::FIRST;

    fn poll(number: u32) -> PollNo {
        PollNo::new(number)
    }

    #[test]
    fn runs_go_to_those_who_miss_them() {
        let mut repairs = Repairs::default();
        assert_eq!(repairs.ask(0, poll(5), ONE, Stream::Data, &[blocks(3..6), blocks(9..10)]), 4);
        assert_eq!(repairs.ask(1, poll(5), ONE, Stream::Data, &[blocks(5..7)]), 2);
        let block =
            |number| Block { batch: ONE, stream: Stream::Data, number: BlockNo::new(number) };
        assert_eq!(repairs.next(8, poll(5)), Some((block(3), 2, Who::One(0))));
        assert_eq!(repairs.next(8, poll(5)), Some((block(5), 1, Who::Several)));
        assert_eq!(repairs.next(8, poll(5)), Some((block(6), 1, Who::One(1))));
        assert_eq!(repairs.next(8, poll(5)), Some((block(9), 1, Who::One(0))));
        assert_eq!(repairs.next(8, poll(5)), None);
    }

    #[test]
    fn what_was_sent_after_a_poll_is_not_asked_for_by_its_answers() {
        let mut repairs = Repairs::default();
        repairs.ask(0, poll(5), ONE, Stream::Data, &[blocks(3..4)]);
        assert!(repairs.next(8, poll(5)).is_some());
        assert_eq!(repairs.ask(1, poll(5), ONE, Stream::Data, &[blocks(3..4)]), 0);
        assert_eq!(repairs.ask(1, poll(6), ONE, Stream::Data, &[blocks(3..4)]), 1);
        repairs.settle(poll(6));
        assert!(repairs.resent.is_empty());
    }

    #[test]
    fn an_absurd_answer_asks_for_a_bounded_number() {
        let mut repairs = Repairs::default();
        for batch in 0..100 {
            repairs.ask(0, poll(5), BatchNo::new(batch), Stream::Data, &[blocks(0..u32::MAX)]);
        }
        assert!(repairs.pending.len() <= MAX_PENDING);
        repairs.forget_below(BatchNo::new(1_000));
        assert!(repairs.is_empty());
    }
}
