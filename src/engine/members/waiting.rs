//! The queue of answers to strangers. What is dropped from it costs time and nothing else: their next
//! HELLO is answered.

use std::collections::{BTreeMap, BTreeSet};

use super::challenge::Peer;
use crate::time::Time;
use crate::wire::hello::Challenge;

/// The longest queue; at the rate of answers, it takes about ten seconds.
pub(super) const MAX_WAITING: usize = 1_024;

/// An answer to one peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    /// The challenge of the peer, if one has come.
    pub echo: Option<Challenge>,
    /// How often this answer has been sent.
    pub sent: u32,
    due: Time,
}

/// Answers by peer and by time, one for each peer.
#[derive(Default, Debug)]
pub(super) struct Waiting {
    answers: BTreeMap<Peer, Answer>,
    order: BTreeSet<(Time, Peer)>,
}

impl Waiting {
    /// Answers `peer` at `due`, or earlier if it gets an answer earlier anyway. False: no room.
    pub fn add(&mut self, peer: Peer, echo: Option<Challenge>, due: Time) -> bool {
        let mut answer = Answer { echo, sent: 0, due };
        if let Some(old) = self.remove(peer) {
            answer.echo = echo.or(old.echo);
            answer.due = due.min(old.due);
        } else if self.answers.len() >= MAX_WAITING {
            return false;
        }
        self.insert(peer, answer);
        true
    }

    /// `answer` was sent; it is to be sent once more at `due`.
    pub fn repeat(&mut self, peer: Peer, answer: Answer, due: Time) {
        self.insert(peer, Answer { due, sent: answer.sent + 1, ..answer });
    }

    /// `answer` could not be sent yet.
    pub fn postpone(&mut self, peer: Peer, answer: Answer, due: Time) {
        self.insert(peer, Answer { due, ..answer });
    }

    /// When the first answer is due.
    pub fn first_due(&self) -> Option<Time> {
        self.order.first().map(|first| first.0)
    }

    /// The first answer that is due.
    pub fn first(&self, now: Time) -> Option<(Peer, Answer)> {
        let &(due, peer) = self.order.first()?;
        if due > now {
            return None;
        }
        self.answers.get(&peer).map(|answer| (peer, *answer))
    }

    /// Removes the answer to `peer`.
    pub fn remove(&mut self, peer: Peer) -> Option<Answer> {
        let answer = self.answers.remove(&peer)?;
        self.order.remove(&(answer.due, peer));
        Some(answer)
    }

    /// Removes all answers.
    pub fn clear(&mut self) {
        self.answers.clear();
        self.order.clear();
    }

    /// How many peers wait.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    fn insert(&mut self, peer: Peer, answer: Answer) {
        self.answers.insert(peer, answer);
        self.order.insert((answer.due, peer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::NodeId;
    use std::net::{Ipv4Addr, SocketAddrV4};

    fn peer(node: u64) -> Peer {
        Peer { node: NodeId(node), addr: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1) }
    }

    fn at(micros: u64) -> Time {
        Time::from_micros(micros)
    }

    #[test]
    fn earliest_first_and_one_for_each_peer() {
        let mut waiting = Waiting::default();
        assert!(waiting.add(peer(1), None, at(30)));
        assert!(waiting.add(peer(2), None, at(20)));
        assert!(waiting.add(peer(1), Some([1; 16]), at(10)));
        assert!(waiting.add(peer(1), None, at(40)));
        assert_eq!((waiting.len(), waiting.first_due()), (2, Some(at(10))));
        assert_eq!(waiting.first(at(9)), None);
        let (first, answer) = waiting.first(at(10)).unwrap();
        assert_eq!((first, answer.echo, answer.sent), (peer(1), Some([1; 16]), 0));
        waiting.remove(first);
        waiting.repeat(first, answer, at(50));
        assert_eq!(waiting.first(at(60)).unwrap().0, peer(2));
        assert!(waiting.remove(peer(2)).is_some());
        assert_eq!(waiting.first(at(60)).unwrap().1.sent, 1);
        assert!(waiting.add(peer(1), None, at(70)), "heard of again: as if never answered");
        assert_eq!(waiting.first(at(60)).unwrap().1.sent, 0);
        waiting.clear();
        assert_eq!((waiting.len(), waiting.first_due()), (0, None));
    }

    #[test]
    fn there_is_an_end_to_it() {
        let mut waiting = Waiting::default();
        let room = (0..5_000).filter(|&node| waiting.add(peer(node), None, at(node))).count();
        assert_eq!((room, waiting.len()), (MAX_WAITING, MAX_WAITING));
        assert!(waiting.add(peer(0), None, at(1)), "already there");
        assert_eq!(waiting.order.len(), MAX_WAITING);
    }
}
