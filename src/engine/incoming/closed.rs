//! What is left of closed transfers, so that their late packets do nothing.

use std::collections::{BTreeMap, HashMap};

use crate::engine::disk_job::TransferKey;
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
pub(super) struct ClosedTransfers {
    nodes: HashMap<NodeId, ClosedOfSender>,
}

#[derive(Default)]
struct ClosedOfSender {
    /// Every number before this is closed.
    below: Option<TransferNo>,
    closed: BTreeMap<TransferNo, Option<Verdict>>,
    gone: Option<Time>,
}

impl ClosedTransfers {
    pub(super) fn closed(&mut self, now: Time, key: TransferKey) {
        if self.nodes.len() >= MAX_NODES && !self.nodes.contains_key(&key.node) {
            let oldest = self.nodes.iter().filter_map(|(node, g)| Some((g.gone?, *node))).min();
            match oldest {
                Some((_, node)) => drop(self.nodes.remove(&node)),
                None => return,
            }
        }
        let of_sender = self.nodes.entry(key.node).or_default();
        of_sender.closed.insert(key.number, None);
        if of_sender.closed.len() > MAX_TOMBS {
            let Some((number, _)) = of_sender.closed.pop_first() else { return };
            of_sender.raise(number.next());
        }
        if of_sender.gone.is_some() {
            of_sender.gone = Some(now);
        }
    }

    pub(super) fn refused(&mut self, key: TransferKey, verdict: Verdict) {
        if let Some(of_sender) = self.nodes.get_mut(&key.node) {
            of_sender.closed.insert(key.number, Some(verdict));
        }
    }

    pub(super) fn below(&mut self, node: NodeId, oldest: TransferNo) {
        if let Some(of_sender) = self.nodes.get_mut(&node) {
            of_sender.raise(oldest);
        }
    }

    pub(super) fn knows(&self, key: TransferKey) -> bool {
        self.verdict(key).is_some()
    }

    /// How a closed transfer ended: with a refusal, or without. None if it is not known as closed.
    pub(super) fn verdict(&self, key: TransferKey) -> Option<Option<Verdict>> {
        let of_sender = self.nodes.get(&key.node)?;
        let below = of_sender.below.is_some_and(|below| key.number.is_before(below));
        match of_sender.closed.get(&key.number) {
            Some(verdict) => Some(verdict.clone()),
            None => below.then_some(None),
        }
    }

    pub(super) fn member_gone(&mut self, now: Time, node: NodeId) {
        if let Some(of_sender) = self.nodes.get_mut(&node) {
            of_sender.gone.get_or_insert(now);
        }
    }

    pub(super) fn timeout(&mut self, now: Time) {
        self.nodes.retain(|_, of_sender| of_sender.gone.is_none_or(|gone| now < gone + LINGER));
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.nodes.values().filter_map(|of_sender| of_sender.gone).min().map(|gone| gone + LINGER)
    }
}

impl ClosedOfSender {
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
        let mut closed = ClosedTransfers::default();
        let now = Time::from_micros(1);
        closed.closed(now, key(5));
        closed.timeout(now + Span::from_secs(10_000));
        assert!(closed.knows(key(5)) && !closed.knows(key(6)) && !closed.knows(key(4)));
        closed.member_gone(now, NodeId(1));
        closed.timeout(now + Span::from_secs(59));
        assert!(closed.knows(key(5)));
        closed.timeout(now + Span::from_secs(60));
        assert!(!closed.knows(key(5)));
    }

    #[test]
    fn tombstones_are_bounded_and_old_numbers_stay_closed() {
        let mut closed = ClosedTransfers::default();
        for number in 0..10_000 {
            closed.closed(Time::ZERO, key(number));
        }
        assert!(closed.nodes[&NodeId(1)].closed.len() <= MAX_TOMBS);
        assert!((0..10_000).all(|number| closed.knows(key(number))));
        closed.below(NodeId(1), TransferNo::new(20_000));
        assert!(closed.nodes[&NodeId(1)].closed.is_empty());
        assert!(closed.knows(key(19_999)) && !closed.knows(key(20_000)));
        for node in 0..10_000 {
            closed
                .closed(Time::ZERO, TransferKey { node: NodeId(node), number: TransferNo::new(1) });
        }
        assert!(closed.nodes.len() <= MAX_NODES);
    }
}
