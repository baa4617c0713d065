//! The counters of nodes that have left: while an echo that they sent is still valid, replaying it must
//! not make them members again.

use std::collections::{BTreeMap, VecDeque};

use super::challenge::SLOT;
use crate::name::NodeId;
use crate::time::{Span, Time};

/// The most nodes that are kept. Not many more can join in the time that they are kept: each needs an
/// answer first, and answers are limited.
pub(super) const MAX_DEPARTED: usize = 4_096;
/// How long they are kept: after that, what they echoed is no longer valid.
const KEPT: Span = Span::from_micros(2 * SLOT.micros());

/// Highest counters by node id.
#[derive(Default, Debug)]
pub(super) struct Departed {
    counters: BTreeMap<NodeId, (u64, Time)>,
    /// When each is forgotten, in that order; a node that came back and left again is here twice.
    ends: VecDeque<(Time, NodeId)>,
}

impl Departed {
    /// Keeps the counter of a node that leaves.
    pub fn add(&mut self, now: Time, node: NodeId, counter: u64) {
        self.forget(now);
        while self.ends.len() >= MAX_DEPARTED {
            self.pop();
        }
        let end = now + KEPT;
        self.counters.insert(node, (counter, end));
        self.ends.push_back((end, node));
    }

    /// Whether `node` has left and had used `counter` before.
    pub fn has_used(&self, now: Time, node: NodeId, counter: u64) -> bool {
        self.counters.get(&node).is_some_and(|&(used, end)| now < end && counter <= used)
    }

    fn forget(&mut self, now: Time) {
        while self.ends.front().is_some_and(|&(end, _)| end <= now) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((end, node)) = self.ends.pop_front() {
            if self.counters.get(&node).is_some_and(|kept| kept.1 == end) {
                self.counters.remove(&node);
            }
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.counters.len().max(self.ends.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Time {
        Time::ZERO + Span::from_secs(secs)
    }

    #[test]
    fn counters_are_kept_for_two_slots() {
        let mut departed = Departed::default();
        departed.add(at(10), NodeId(1), 5);
        assert!(departed.has_used(at(39), NodeId(1), 5));
        assert!(departed.has_used(at(39), NodeId(1), 4));
        assert!(!departed.has_used(at(39), NodeId(1), 6));
        assert!(!departed.has_used(at(39), NodeId(2), 5));
        assert!(!departed.has_used(at(40), NodeId(1), 5));
        // It came back and went again.
        departed.add(at(20), NodeId(1), 9);
        departed.add(at(45), NodeId(2), 1);
        assert!(departed.has_used(at(49), NodeId(1), 9));
        assert_eq!(departed.len(), 2);
    }

    #[test]
    fn there_is_an_end_to_them() {
        let mut departed = Departed::default();
        for node in 0..10_000 {
            departed.add(at(1), NodeId(node), node);
        }
        assert_eq!(departed.len(), MAX_DEPARTED);
        assert!(departed.has_used(at(1), NodeId(9_999), 0));
        departed.add(at(31), NodeId(0), 0);
        assert_eq!(departed.len(), 1);
    }
}
