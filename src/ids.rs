//! The numbers of a transfer's parts: a type for each kind, so that none is taken for another.
//!
//! Numbers of one kind can be compared and counted up, and nothing else; numbers of different kinds
//! do not meet. What travels in packets is [`get`](BatchNo::get), in the width given here.
#![forbid(unsafe_code)]

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
        pub struct $name($raw);

        impl $name {
            /// The number zero.
            pub const ZERO: $name = $name(0);

            /// From the number as it stands in a packet.
            pub const fn new(raw: $raw) -> Self {
                $name(raw)
            }

            /// The number as it stands in a packet.
            pub const fn get(self) -> $raw {
                self.0
            }

            /// This number and all that come after it, ascending.
            pub fn onwards(self) -> impl Iterator<Item = $name> + Clone {
                (self.0..=<$raw>::MAX).map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A sender's number for one of its transfers. [`TransferNo::ZERO`] stands for none.
    TransferNo(u32)
}
number! {
    /// A batch of a transfer; [`BatchNo::FIRST`] is the first.
    BatchNo(u32)
}
number! {
    /// A block of a batch's manifest or body, from 0.
    BlockNo(u32)
}
number! {
    /// An entry of a batch's manifest, from 0.
    EntryNo(u16)
}
number! {
    /// What a host gives to what it asks of another one, drawn at random; it comes back in the transfer.
    Ticket(u64)
}
number! {
    /// A target of a transfer: its place in the list that BEGIN gives, from 0.
    TargetNo(u16)
}
number! {
    /// A poll of a transfer. [`PollNo::ZERO`] stands for none: the first is 1.
    PollNo(u32)
}

impl TransferNo {
    /// The number of the next transfer: after the last comes 1 again.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.wrapping_add(1) {
            0 => TransferNo(1),
            next => TransferNo(next),
        }
    }

    /// Whether this number was given before `other`, though the count may have started anew since.
    pub const fn is_before(self, other: TransferNo) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }
}

impl BatchNo {
    /// The first batch of a transfer.
    pub const FIRST: BatchNo = BatchNo(1);

    /// The batch that comes `count` batches after this one.
    #[must_use]
    pub fn after(self, count: usize) -> Self {
        BatchNo(self.0.saturating_add(u32::try_from(count).unwrap_or(u32::MAX)))
    }

    /// The next batch.
    #[must_use]
    pub fn next(self) -> Self {
        self.after(1)
    }

    /// The batch before; of 0, 0.
    #[must_use]
    pub const fn previous(self) -> Self {
        BatchNo(self.0.saturating_sub(1))
    }

    /// How many batches come from `first` up to before this one; `None` if this one is before `first`.
    pub fn since(self, first: BatchNo) -> Option<usize> {
        self.0.checked_sub(first.0).map(|count| count as usize)
    }
}

impl PollNo {
    /// The next poll.
    #[must_use]
    pub const fn next(self) -> Self {
        PollNo(self.0.saturating_add(1))
    }

    /// How many polls come from `first` up to before this one; `None` if this one is before `first`.
    pub fn since(self, first: PollNo) -> Option<usize> {
        self.0.checked_sub(first.0).map(|count| count as usize)
    }
}

impl BlockNo {
    /// After the last block of any batch.
    pub const END: BlockNo = BlockNo(u32::MAX);

    /// The block that comes `count` blocks after this one.
    #[must_use]
    pub const fn after(self, count: u32) -> Self {
        BlockNo(self.0.saturating_add(count))
    }

    /// The next block.
    #[must_use]
    pub const fn next(self) -> Self {
        self.after(1)
    }
}

impl EntryNo {
    /// The entry that comes `count` entries after this one.
    #[must_use]
    pub const fn after(self, count: u16) -> Self {
        EntryNo(self.0.saturating_add(count))
    }
}

/// A number that is the index of an element in a list: what a set of such numbers has to know.
pub trait Index: Copy {
    /// The number of the element at `index`.
    fn of(index: usize) -> Self;
    /// As the index of an element.
    fn index(self) -> usize;
}

macro_rules! index {
    ($name:ident) => {
        impl $name {
            /// The number of the element at `index`. Indices past 65,535 become 65,535, where no
            /// manifest and no list of targets has an element.
            pub fn of(index: usize) -> Self {
                $name(u16::try_from(index).unwrap_or(u16::MAX))
            }

            /// As the index of an element.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl Index for $name {
            fn of(index: usize) -> Self {
                $name::of(index)
            }

            fn index(self) -> usize {
                $name::index(self)
            }
        }
    };
}

index!(EntryNo);
index!(TargetNo);

/// Neighbouring blocks: from `start` up to before `end`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct BlockRange {
    /// The first.
    pub start: BlockNo,
    /// The one after the last.
    pub end: BlockNo,
}

impl BlockRange {
    /// From `start` up to before `end`.
    pub const fn new(start: BlockNo, end: BlockNo) -> Self {
        BlockRange { start, end }
    }

    /// `count` blocks from `start` on.
    pub const fn from_len(start: BlockNo, count: u32) -> Self {
        BlockRange { start, end: start.after(count) }
    }

    /// One block.
    pub const fn one(block: BlockNo) -> Self {
        BlockRange::from_len(block, 1)
    }

    /// How many blocks.
    pub const fn len(self) -> u32 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.start.0 >= self.end.0
    }

    /// Whether `block` is among them.
    pub fn contains(self, block: BlockNo) -> bool {
        self.start <= block && block < self.end
    }

    /// Those before `mark`.
    #[must_use]
    pub fn below(self, mark: BlockNo) -> Self {
        BlockRange { start: self.start, end: self.end.min(mark) }
    }

    /// Each block, ascending.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = BlockNo> + Clone {
        (self.start.0..self.end.0).map(BlockNo)
    }
}

impl fmt::Display for BlockRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// The blocks of a range of numbers.
#[cfg(test)]
pub(crate) fn blocks(numbers: std::ops::Range<u32>) -> BlockRange {
    BlockRange::new(BlockNo(numbers.start), BlockNo(numbers.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_count_up_and_pass_over_zero() {
        assert_eq!(TransferNo::new(7).next(), TransferNo::new(8));
        assert_eq!(TransferNo::new(u32::MAX).next(), TransferNo::new(1));
    }

    #[test]
    fn the_order_of_transfers_survives_the_end_of_the_count() {
        let last = TransferNo::new(u32::MAX);
        assert!(last.is_before(last.next()) && !last.next().is_before(last));
        assert!(!last.is_before(last));
    }

    #[test]
    fn batches_and_polls_have_a_distance_only_forwards() {
        assert_eq!(BatchNo::FIRST.after(3).since(BatchNo::FIRST), Some(3));
        assert_eq!(BatchNo::FIRST.since(BatchNo::new(2)), None);
        assert_eq!(BatchNo::new(u32::MAX).next(), BatchNo::new(u32::MAX));
        assert_eq!(BatchNo::FIRST.previous().previous(), BatchNo::ZERO);
        assert_eq!(PollNo::ZERO.next().since(PollNo::ZERO), Some(1));
    }

    #[test]
    fn a_range_of_blocks_is_half_open() {
        let range = BlockRange::from_len(BlockNo::new(3), 2);
        assert_eq!((range.len(), range.is_empty()), (2, false));
        assert!(range.contains(BlockNo::new(4)) && !range.contains(BlockNo::new(5)));
        assert_eq!(range.iter().map(BlockNo::get).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(range.below(BlockNo::new(4)).len(), 1);
        let backwards = BlockRange::new(BlockNo::new(5), BlockNo::new(3));
        assert_eq!((backwards.len(), backwards.iter().count()), (0, 0));
        assert_eq!(BlockRange::from_len(BlockNo::new(u32::MAX), 9).len(), 0);
    }

    #[test]
    fn an_index_that_no_list_has_stays_one() {
        assert_eq!(EntryNo::of(1_023).index(), 1_023);
        assert_eq!(TargetNo::of(1 << 20).index(), usize::from(u16::MAX));
        assert_eq!(EntryNo::new(u16::MAX).after(2), EntryNo::new(u16::MAX));
    }

    #[test]
    fn counting_onwards_ends_with_the_last_number() {
        let all: Vec<EntryNo> = EntryNo::new(u16::MAX - 1).onwards().collect();
        assert_eq!(all, [EntryNo::new(u16::MAX - 1), EntryNo::new(u16::MAX)]);
    }
}
