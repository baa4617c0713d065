//! What is left of closed transfers, so that their late packets do nothing.

use std::collections::{BTreeMap, HashMap};

use crate::engine::job::TransferKey;
use crate::ids::TransferNo;
use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::wire::feedback::Verdict;

/// A departed sender's tombstones stay for so long.
const LINGER: Span = Span::from_secs(60);
/// The most tombstones of one sender; older transfers count as closed all the same.
const MAX_TOMBS: usize = 128;
/// The most senders remembered: every member, and as many that left.
const MAX_NODES: usize = 2_048;

#[derive(Default)]
pub(super) struct Tombs {
    nodes: HashMap<NodeId, Graveyard>,
}

#[derive(Default)]
struct Graveyard {
    /// Every number before this is closed.
    below: Option<TransferNo>,
    closed: BTreeMap<TransferNo, Option<Verdict>>,
    gone: Option<Time>,
}

impl Tombs {
    pub(super) fn closed(&mut self, now: Time, key: TransferKey) {
        if self.nodes.len() >= MAX_NODES && !self.nodes.contains_key(&key.node) {
            let oldest = self.nodes.iter().filter_map(|(node, g)| Some((g.gone?, *node))).min();
            match oldest {
                Some((_, node)) => drop(self.nodes.remove(&node)),
                None => return,
            }
        }
        let graveyard = self.nodes.entry(key.node).or_default();
        graveyard.closed.insert(key.number, None);
        if graveyard.closed.len() > MAX_TOMBS {
            let Some((number, _)) = graveyard.closed.pop_first() else { return };
            graveyard.raise(number.next());
        }
        if graveyard.gone.is_some() {
            graveyard.gone = Some(now);
        }
    }

    pub(super) fn refused(&mut self, key: TransferKey, verdict: Verdict) {
        if let Some(graveyard) = self.nodes.get_mut(&key.node) {
            graveyard.closed.insert(key.number, Some(verdict));
        }
    }

    pub(super) fn below(&mut self, node: NodeId, oldest: TransferNo) {
        if let Some(graveyard) = self.nodes.get_mut(&node) {
            graveyard.raise(oldest);
        }
    }

    pub(super) fn knows(&self, key: TransferKey) -> bool {
        self.verdict(key).is_some()
    }

    /// How a closed transfer ended: with a refusal, or without. None if it is not known as closed.
    pub(super) fn verdict(&self, key: TransferKey) -> Option<Option<Verdict>> {
        let graveyard = self.nodes.get(&key.node)?;
        let below = graveyard.below.is_some_and(|below| key.number.is_before(below));
        match graveyard.closed.get(&key.number) {
            Some(verdict) => Some(verdict.clone()),
            None => below.then_some(None),
        }
    }

    pub(super) fn member_gone(&mut self, now: Time, node: NodeId) {
        if let Some(graveyard) = self.nodes.get_mut(&node) {
            graveyard.gone.get_or_insert(now);
        }
    }

    pub(super) fn timeout(&mut self, now: Time) {
        self.nodes.retain(|_, graveyard| graveyard.gone.is_none_or(|gone| now < gone + LINGER));
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.nodes.values().filter_map(|graveyard| graveyard.gone).min().map(|gone| gone + LINGER)
    }
}

impl Graveyard {
    fn raise(&mut self, below: TransferNo) {
        if self.below.is_none_or(|old| old.is_before(below)) {
            self.below = Some(below);
        }
        self.closed.retain(|&number, _| !number.is_before(below));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> TransferKey {
        TransferKey { node: NodeId(1), number: TransferNo::new(number) }
    }

    #[test]
    fn a_closed_transfer_stays_closed_while_its_sender_lives_and_a_minute_longer() {
        let mut tombs = Tombs::default();
        let now = Time::from_micros(1);
        tombs.closed(now, key(5));
        tombs.timeout(now + Span::from_secs(10_000));
        assert!(tombs.knows(key(5)) && !tombs.knows(key(6)) && !tombs.knows(key(4)));
        tombs.member_gone(now, NodeId(1));
        tombs.timeout(now + Span::from_secs(59));
        assert!(tombs.knows(key(5)));
        tombs.timeout(now + Span::from_secs(60));
        assert!(!tombs.knows(key(5)));
    }

    #[test]
    fn tombstones_are_bounded_and_old_numbers_stay_closed() {
        let mut tombs = Tombs::default();
        for number in 0..10_000 {
            tombs.closed(Time::ZERO, key(number));
        }
        assert!(tombs.nodes[&NodeId(1)].closed.len() <= MAX_TOMBS);
        assert!((0..10_000).all(|number| tombs.knows(key(number))));
        tombs.below(NodeId(1), TransferNo::new(20_000));
        assert!(tombs.nodes[&NodeId(1)].closed.is_empty());
        assert!(tombs.knows(key(19_999)) && !tombs.knows(key(20_000)));
        for node in 0..10_000 {
            tombs
                .closed(Time::ZERO, TransferKey { node: NodeId(node), number: TransferNo::new(1) });
        }
        assert!(tombs.nodes.len() <= MAX_NODES);
    }
}
