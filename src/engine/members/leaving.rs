//! Who leaves: members that say so, that are silent, or that are somewhere else by now; and this daemon.

use std::net::SocketAddrV4;

use super::challenge::Peer;
use super::roster::Entry;
use super::{DepartureReason, Event, Members, Packet};
use crate::engine::destination::Destination;
use crate::name::NodeId;
use crate::time::Time;

/// How often BYE is sent: if it were lost, the others would wait for a minute.
const BYES: usize = 3;
impl Members {
    /// A BYE has come, and its trailer is right.
    pub fn bye(&mut self, now: Time, from: NodeId, addr: SocketAddrV4, counter: u64) {
        if self.has_left {
            return;
        }
        if from == self.config.me {
            self.counts.own += 1;
            return;
        }
        let Some(entry) = self.roster.get_mut(from) else {
            self.counts.strangers += 1;
            self.strangers.remove(Peer { node: from, addr });
            return;
        };
        // It may come from elsewhere: a daemon that has another address says it from there.
        if !self.config.authentic {
            self.counts.members += 1;
            let peer = Peer { node: from, addr: entry.member.addr };
            self.doubt(now, peer, None);
        } else if counter <= entry.counter {
            self.counts.replayed += 1;
        } else {
            self.counts.members += 1;
            entry.counter = counter;
            self.remove(now, from, DepartureReason::Bye);
        }
    }

    /// A member was silent in a transfer for too long. It becomes a member again like any other node.
    pub fn drop_member(&mut self, now: Time, node: NodeId) {
        self.remove(now, node, DepartureReason::Dropped);
    }

    /// Sends BYE, and before it what is to be said of records: it is what others go by while this daemon is
    /// away. Nothing else happens from then on.
    pub fn leave(&mut self) {
        if !self.has_left {
            self.has_left = true;
            self.strangers.clear();
            self.say_bye();
            if self.records.is_some() {
                let hello = Packet::Hello(self.plain_hello());
                self.out.push_front((Destination::Group, hello));
            }
        }
    }

    /// Sends BYE, for the node that this daemon has been so far; to be followed by
    /// [`begin_anew`](Members::begin_anew).
    pub fn say_bye(&mut self) {
        self.out.clear();
        self.out.extend(std::iter::repeat_n((Destination::Group, Packet::Bye), BYES));
    }

    /// This daemon has another address. Others know a node by its address, so it is the node `me` there,
    /// as if it had been restarted.
    pub fn begin_anew(&mut self, now: Time, me: NodeId, rcvbuf: u32) {
        (self.config.me, self.config.rcvbuf) = (me, rcvbuf);
        self.announce(now);
    }

    /// Asks a member whether it is still there. If not, `moved_to` is where it is now, if that is known.
    pub(super) fn doubt(&mut self, now: Time, member: Peer, moved_to: Option<SocketAddrV4>) {
        // Whoever cannot be asked stays, until its silence has lasted.
        if self.doubts.begin(now, member.node, moved_to) && !self.ask(now, member) {
            self.doubts.forget(member.node);
        }
    }

    pub(super) fn remove(&mut self, now: Time, node: NodeId, reason: DepartureReason) {
        self.has_odd_news |= !self.records_possible(node);
        let Some(Entry { member, counter, .. }) = self.roster.remove(node) else { return };
        self.doubts.forget(node);
        self.strangers.remove(Peer { node, addr: member.addr });
        self.departed.add(now, node, counter);
        self.events.push_back(Event::Left { member, reason });
    }

    pub(super) fn remove_silent(&mut self, now: Time) {
        for node in self.roster.silent(now, self.config.silence) {
            self.remove(now, node, DepartureReason::Silent);
        }
    }
}
