//! How the memory for incoming transfers is divided among their senders.

use std::collections::HashMap;

use crate::name::NodeId;

/// The most that one batch takes: the largest manifest, decoded, with its body.
const LARGEST: usize = 22 << 20;
/// How far the lowest batch of the first transfer may exceed the budget, counting its own sender only.
const FIRST_BEYOND: usize = 24 << 20;
/// How far all others together may exceed it: one sender that takes more than its part does not take
/// theirs from them.
const OTHERS_BEYOND: usize = 32 << 20;
/// Enough for nearly every manifest.
const ENOUGH: usize = 8 << 20;
/// The most memory beyond the budget that is ever in use.
pub const BEYOND: usize = 56 << 20;

/// Which part of the budget a batch may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rank {
    /// The lowest open batch of the first transfer: it never waits for others.
    First,
    /// The lowest open batch of another transfer. A part of the memory is kept for these, so that none
    /// waits forever for a transfer that stands still, or for its own later batches.
    Lowest,
    /// Any other batch.
    Later,
}

/// The memory in use, by sender.
#[derive(Debug)]
pub(super) struct Budget {
    size: usize,
    used: usize,
    by_node: HashMap<NodeId, usize>,
}

impl Budget {
    pub(super) fn new(size: usize) -> Self {
        Budget { size, used: 0, by_node: HashMap::new() }
    }

    /// The memory in use, in bytes.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    fn of(&self, node: NodeId) -> usize {
        self.by_node.get(&node).copied().unwrap_or(0)
    }

    /// What counts as in use when `node` wants memory: of every other sender, no more than an equal part.
    fn seen_by(&self, node: NodeId) -> usize {
        let others = || self.by_node.iter().filter(|(other, _)| **other != node);
        let part = self.size / (others().count() + 1);
        self.of(node) + others().map(|(_, used)| (*used).min(part)).sum::<usize>()
    }

    /// Takes `bytes`, if a batch of this rank may have them.
    pub(super) fn reserve(&mut self, node: NodeId, rank: Rank, bytes: usize) -> bool {
        let fits = |used: usize, most: usize| used.saturating_add(bytes) <= most;
        let fits = match rank {
            // A sender can be first again and again: all of its transfers together are bounded.
            Rank::First => {
                fits(self.of(node), self.size + FIRST_BEYOND) && fits(self.used, self.size + BEYOND)
            }
            Rank::Lowest => {
                fits(self.seen_by(node), self.size) && fits(self.used, self.size + OTHERS_BEYOND)
            }
            Rank::Later => {
                fits(self.seen_by(node), self.size / 8 * 5)
                    && fits(self.used, self.size + OTHERS_BEYOND)
            }
        };
        if fits {
            self.take(node, bytes);
        }
        fits
    }

    /// Takes `bytes` in any case.
    pub(super) fn take(&mut self, node: NodeId, bytes: usize) {
        if bytes > 0 {
            self.used += bytes;
            *self.by_node.entry(node).or_default() += bytes;
        }
    }

    /// Whether a batch that was refused may be offered again.
    pub(super) fn has_room(&self, node: NodeId, rank: Rank) -> bool {
        match rank {
            Rank::First => {
                self.of(node) <= self.size + FIRST_BEYOND - LARGEST
                    && self.used <= self.size + BEYOND - LARGEST
            }
            Rank::Lowest => {
                self.seen_by(node) < self.size / 4 * 3
                    && self.used <= self.size + OTHERS_BEYOND - ENOUGH
            }
            Rank::Later => self.seen_by(node) < self.size / 2 && self.used < self.size,
        }
    }

    /// Gives `bytes` back.
    pub(super) fn release(&mut self, node: NodeId, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
        if let Some(used) = self.by_node.get_mut(&node) {
            *used = used.saturating_sub(bytes);
            if *used == 0 {
                self.by_node.remove(&node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 32 << 20;
    const GREEDY: NodeId = NodeId(1);
    const HONEST: NodeId = NodeId(2);

    #[test]
    fn who_takes_all_there_is_leaves_the_others_their_part() {
        for rank in [Rank::First, Rank::Lowest] {
            let mut budget = Budget::new(SIZE);
            while budget.reserve(GREEDY, rank, 1 << 20) {}
            assert!(budget.used() <= SIZE + FIRST_BEYOND);
            assert!(!budget.has_room(GREEDY, Rank::Lowest));
            assert!(budget.has_room(HONEST, Rank::Lowest));
            // The body of a batch, and its manifest.
            assert!(budget.reserve(HONEST, Rank::Lowest, 5 << 20), "{}", budget.used());
            let mut more = 0;
            while budget.reserve(HONEST, Rank::Lowest, 1 << 20) {
                more += 1;
            }
            assert!(more >= 3, "{more}");
            // Given back, it is there for all.
            budget.release(GREEDY, budget.of(GREEDY));
            budget.release(HONEST, budget.of(HONEST));
            assert!(budget.used() == 0 && budget.by_node.is_empty());
            assert!(budget.reserve(HONEST, Rank::Lowest, SIZE));
        }
    }

    #[test]
    fn however_many_senders_there_are_it_has_an_end() {
        let mut budget = Budget::new(SIZE);
        for node in 0..1_000 {
            for rank in [Rank::Later, Rank::Lowest, Rank::First] {
                while budget.reserve(NodeId(node), rank, 777_777) {}
            }
        }
        assert!(budget.used() <= SIZE + BEYOND, "{}", budget.used());
    }

    #[test]
    fn whoever_is_first_has_room_for_one_batch_beside_all_others() {
        let mut budget = Budget::new(SIZE);
        for node in 2..9 {
            while budget.reserve(NodeId(node), Rank::Lowest, 1 << 20) {}
        }
        assert!(budget.used() > SIZE + OTHERS_BEYOND / 2, "{}", budget.used());
        assert!(budget.has_room(GREEDY, Rank::First));
        assert!(budget.reserve(GREEDY, Rank::First, LARGEST));
    }
}
