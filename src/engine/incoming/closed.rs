//! Transfers that are closed: their late packets open nothing again, and a sender that has missed how
//! its transfer ended is told once more.

use std::collections::{HashMap, VecDeque};

use crate::engine::disk_job::TransferKey;
use crate::ids::TransferNo;
use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::wire::feedback::Verdict;

/// How long the transfers of a sender that has left are remembered.
const LINGER: Span = Span::from_secs(60);
/// The most transfers of one sender that are remembered, the last that were closed.
const MAX_OF_SENDER: usize = 128;
/// The most senders that are remembered: every member, and as many that left.
const MAX_SENDERS: usize = 2_048;

/// How a transfer ended here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// With its END or ABORT, or because its sender has gone.
    Ended,
    /// This target refused to go on, with this verdict.
    Refused(Verdict),
}

/// All transfers that are closed.
#[derive(Default)]
pub(super) struct ClosedTransfers {
    senders: HashMap<NodeId, ClosedOfSender>,
}

#[derive(Default)]
struct ClosedOfSender {
    /// In the order in which they were closed.
    endings: VecDeque<(TransferNo, Ending)>,
    /// When the sender left.
    left: Option<Time>,
}

impl ClosedTransfers {
    /// A transfer has been closed.
    pub(super) fn add(&mut self, now: Time, key: TransferKey) {
        if self.senders.len() >= MAX_SENDERS && !self.senders.contains_key(&key.node) {
            let left = self.senders.iter().filter_map(|(node, of)| Some((of.left?, *node)));
            match left.min() {
                Some((_, node)) => drop(self.senders.remove(&node)),
                None => return,
            }
        }
        let of_sender = self.senders.entry(key.node).or_default();
        of_sender.endings.push_back((key.number, Ending::Ended));
        if of_sender.endings.len() > MAX_OF_SENDER {
            of_sender.endings.pop_front();
        }
        if of_sender.left.is_some() {
            of_sender.left = Some(now);
        }
    }

    /// A transfer that has been closed was refused.
    pub(super) fn set_refused(&mut self, key: TransferKey, verdict: Verdict) {
        let Some(of_sender) = self.senders.get_mut(&key.node) else { return };
        let last = of_sender.endings.iter_mut().rev().find(|(number, _)| *number == key.number);
        if let Some((_, ending)) = last {
            *ending = Ending::Refused(verdict);
        }
    }

    /// Whether a transfer is closed.
    pub(super) fn contains(&self, key: TransferKey) -> bool {
        self.ending(key).is_some()
    }

    /// How a closed transfer ended; None if it is not known to be closed.
    pub(super) fn ending(&self, key: TransferKey) -> Option<Ending> {
        let mut endings = self.senders.get(&key.node)?.endings.iter().rev();
        endings.find(|(number, _)| *number == key.number).map(|(_, ending)| ending.clone())
    }

    /// A member has left.
    pub(super) fn member_gone(&mut self, now: Time, node: NodeId) {
        if let Some(of_sender) = self.senders.get_mut(&node) {
            of_sender.left.get_or_insert(now);
        }
    }

    /// Forgets the senders that left long enough ago.
    pub(super) fn timeout(&mut self, now: Time) {
        self.senders.retain(|_, of_sender| of_sender.left.is_none_or(|left| now < left + LINGER));
    }

    /// When [`ClosedTransfers::timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.senders.values().filter_map(|of_sender| of_sender.left).min().map(|left| left + LINGER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::outcome::Reason;

    fn key(number: u32) -> TransferKey {
        TransferKey { node: NodeId(1), number: TransferNo::new(number) }
    }

    #[test]
    fn a_closed_transfer_stays_closed_while_its_sender_lives_and_a_minute_longer() {
        let mut closed = ClosedTransfers::default();
        let now = Time::from_micros(1);
        closed.add(now, key(5));
        closed.timeout(now + Span::from_secs(10_000));
        assert!(closed.contains(key(5)) && !closed.contains(key(6)) && !closed.contains(key(4)));
        closed.member_gone(now, NodeId(1));
        closed.timeout(now + Span::from_secs(59));
        assert!(closed.contains(key(5)));
        closed.timeout(now + Span::from_secs(60));
        assert!(!closed.contains(key(5)));
    }

    #[test]
    fn how_it_ended_is_remembered() {
        let mut closed = ClosedTransfers::default();
        let verdict = Verdict::Refused { reason: Reason::Held, path: b"a".to_vec() };
        closed.add(Time::ZERO, key(5));
        closed.add(Time::ZERO, key(6));
        closed.set_refused(key(6), verdict.clone());
        assert_eq!(closed.ending(key(5)), Some(Ending::Ended));
        assert_eq!(closed.ending(key(6)), Some(Ending::Refused(verdict)));
        assert_eq!(closed.ending(key(7)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_last_transfers_stay_closed() {
        let mut closed = ClosedTransfers::default();
        for number in 0..10_000 {
            closed.add(Time::ZERO, key(number));
        }
        assert!(closed.senders[&NodeId(1)].endings.len() <= MAX_OF_SENDER);
        let last = 10_000 - MAX_OF_SENDER as u32;
        assert!((last..10_000).all(|number| closed.contains(key(number))));
        // Whatever numbers come, those of others are not closed by them.
        closed.add(Time::ZERO, key(u32::MAX));
        assert!(closed.contains(key(9_999)) && !closed.contains(key(10_000)));
        for node in 0..10_000 {
            let number = TransferNo::new(1);
            closed.add(Time::ZERO, TransferKey { node: NodeId(node), number });
        }
        assert!(closed.senders.len() <= MAX_SENDERS);
    }
}
