//! Challenges: what a node must echo to prove that it receives packets at its address. A challenge is
//! computed and not stored, so asking for many costs no memory.

use std::net::SocketAddrV4;

use crate::crypto::{HmacKey, equal};
use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::wire::hello::Challenge;

/// How long the same node gets the same challenge, which is valid in this slot of time and the next.
pub(super) const SLOT: Span = Span::from_secs(15);

/// A node and the address that it claims.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Peer {
    pub node: NodeId,
    pub addr: SocketAddrV4,
}

/// Makes challenges and checks their echoes.
pub(super) struct Challenges {
    key: HmacKey,
}

impl Challenges {
    /// `secret` is drawn when the process starts, so that no challenge is valid in the next life.
    pub fn new(secret: [u8; 16]) -> Self {
        Challenges { key: HmacKey::new(&secret) }
    }

    /// The challenge for `peer`.
    pub fn issue(&self, now: Time, peer: Peer) -> Challenge {
        self.of_slot(slot(now), peer)
    }

    /// Whether `echo` is the challenge that `peer` got in this slot or the one before.
    pub fn is_valid(&self, now: Time, peer: Peer, echo: &Challenge) -> bool {
        let now = slot(now);
        equal(echo, &self.of_slot(now, peer))
            || now.checked_sub(1).is_some_and(|last| equal(echo, &self.of_slot(last, peer)))
    }

    fn of_slot(&self, slot: u64, peer: Peer) -> Challenge {
        self.key.mac(&[
            &peer.node.0.to_be_bytes(),
            &peer.addr.ip().octets(),
            &peer.addr.port().to_be_bytes(),
            &slot.to_be_bytes(),
        ])
    }
}

fn slot(now: Time) -> u64 {
    now.micros() / SLOT.micros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_challenge_is_for_one_node_one_address_one_process_and_two_slots() {
        let challenges = Challenges::new([1; 16]);
        let addr = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 5_000);
        let peer = Peer { node: NodeId(7), addr };
        let at = |secs| Time::ZERO + Span::from_secs(secs);
        let echo = challenges.issue(at(31), peer);
        for (secs, valid) in [(29, false), (30, true), (44, true), (59, true), (60, false)] {
            assert_eq!(challenges.is_valid(at(secs), peer, &echo), valid, "{secs}");
        }
        let moved = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 5_000);
        let ported = SocketAddrV4::new(*addr.ip(), 5_001);
        for other in [
            Peer { node: NodeId(8), addr },
            Peer { node: NodeId(7), addr: moved },
            Peer { node: NodeId(7), addr: ported },
        ] {
            assert!(!challenges.is_valid(at(31), other, &echo));
        }
        assert!(!Challenges::new([2; 16]).is_valid(at(31), peer, &echo));
        let first = challenges.issue(Time::ZERO, peer);
        assert!(challenges.is_valid(Time::ZERO, peer, &first));
        assert!(challenges.is_valid(at(15), peer, &first));
    }
}
