//! The members, by node id and by address, and whose silence has lasted too long.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use super::challenge::Peer;
use super::limit::AnswerLimit;
use super::types::Member;
use crate::name::{HostName, NodeId};
use crate::time::{Span, Time};

/// More members of one name than this do not count as [`Roster::namesakes`].
pub(super) const MOST_NAMESAKES: usize = 4;

/// A member, and what is kept of it beside what everyone may know.
pub(super) struct Entry {
    pub member: Member,
    /// The highest counter of its HELLOs.
    pub counter: u64,
    /// Limits the answers to it.
    pub answers: AnswerLimit,
}

/// The members. No two have one node id or one address.
#[derive(Default)]
pub(super) struct Roster {
    entries: BTreeMap<NodeId, Entry>,
    by_addr: BTreeMap<SocketAddrV4, NodeId>,
    /// How many have each name.
    names: BTreeMap<HostName, usize>,
    /// No member has been silent for too long before this.
    silence_check: Option<Time>,
}

impl Roster {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// All members, by node id.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.entries.values().map(|entry| &entry.member)
    }

    pub fn contains(&self, node: NodeId) -> bool {
        self.entries.contains_key(&node)
    }

    pub fn get(&self, node: NodeId) -> Option<&Entry> {
        self.entries.get(&node)
    }

    pub fn get_mut(&mut self, node: NodeId) -> Option<&mut Entry> {
        self.entries.get_mut(&node)
    }

    /// The member at an address.
    pub fn at(&self, addr: SocketAddrV4) -> Option<NodeId> {
        self.by_addr.get(&addr).copied()
    }

    /// How many members have a name.
    pub fn named(&self, name: &HostName) -> usize {
        self.names.get(name).copied().unwrap_or(0)
    }

    /// The others that are called like this member. None if there are many: then it does not say who
    /// they are.
    pub fn namesakes(&self, of: &Member) -> Vec<Peer> {
        let is_one = |member: &&Member| member.name == of.name && member.node != of.node;
        let namesakes: Vec<Peer> = self
            .iter()
            .filter(is_one)
            .map(|member| Peer { node: member.node, addr: member.addr })
            .collect();
        if namesakes.len() > MOST_NAMESAKES { Vec::new() } else { namesakes }
    }

    /// Adds a member whose node id and address no other has. It may be silent for `silence`.
    pub fn add(&mut self, member: Member, counter: u64, silence: Span) {
        let end = member.heard + silence;
        self.silence_check = Some(self.silence_check.map_or(end, |check| check.min(end)));
        self.by_addr.insert(member.addr, member.node);
        *self.names.entry(member.name.clone()).or_default() += 1;
        let answers = AnswerLimit::default();
        self.entries.insert(member.node, Entry { member, counter, answers });
    }

    pub fn remove(&mut self, node: NodeId) -> Option<Entry> {
        let entry = self.entries.remove(&node)?;
        self.by_addr.remove(&entry.member.addr);
        if let Some(count) = self.names.get_mut(&entry.member.name) {
            *count -= 1;
            if *count == 0 {
                self.names.remove(&entry.member.name);
            }
        }
        Some(entry)
    }

    #[cfg(test)]
    pub fn address_count(&self) -> usize {
        self.by_addr.len()
    }

    /// When to look for members that are silent.
    pub fn silence_check(&self) -> Option<Time> {
        self.silence_check
    }

    /// The members that have been silent for `silence`, which the caller removes.
    pub fn silent(&mut self, now: Time, silence: Span) -> Vec<NodeId> {
        if self.silence_check.is_none_or(|check| now < check) {
            return Vec::new();
        }
        let (silent, heard): (Vec<&Member>, Vec<&Member>) =
            self.iter().partition(|member| member.heard + silence <= now);
        let silent = silent.iter().map(|member| member.node).collect();
        self.silence_check = heard.iter().map(|member| member.heard + silence).min();
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::members::clock::Clock;
    use crate::ids::TransferNo;
    use std::net::Ipv4Addr;

    const SILENCE: Span = Span::from_secs(60);

    fn at(secs: u64) -> Time {
        Time::ZERO + Span::from_secs(secs)
    }

    fn member(node: u64, heard: Time) -> Member {
        Member {
            node: NodeId(node),
            name: HostName::parse(b"host").unwrap(),
            addr: SocketAddrV4::new(Ipv4Addr::LOCALHOST, node as u16),
            version: "2".to_owned(),
            mtu: 1_500,
            rcvbuf: 0,
            receives: true,
            joined: heard,
            heard,
            oldest_open: TransferNo::ZERO,
            clock: Clock::default(),
            mirrors: Vec::new(),
        }
    }

    #[test]
    fn members_are_found_by_node_and_by_address() {
        let mut roster = Roster::default();
        for node in 1..=3 {
            roster.add(member(node, at(1)), node, SILENCE);
        }
        let addr = member(2, at(1)).addr;
        assert_eq!((roster.len(), roster.at(addr)), (3, Some(NodeId(2))));
        assert_eq!(roster.remove(NodeId(2)).map(|entry| entry.counter), Some(2));
        assert!(roster.at(addr).is_none() && !roster.contains(NodeId(2)));
        assert!(roster.remove(NodeId(2)).is_none() && roster.contains(NodeId(3)));
        let named = |roster: &Roster| roster.named(&member(9, at(1)).name);
        assert_eq!(named(&roster), 2);
        let nodes: Vec<NodeId> = roster.iter().map(|member| member.node).collect();
        assert_eq!(nodes, [NodeId(1), NodeId(3)]);
        roster.remove(NodeId(1));
        roster.remove(NodeId(3));
        assert_eq!((named(&roster), roster.names.len()), (0, 0));
    }

    #[test]
    fn namesakes_are_few_or_none() {
        let mut roster = Roster::default();
        for node in 1..=6 {
            roster.add(member(node, at(1)), node, SILENCE);
            let namesakes = roster.namesakes(&member(node, at(1)));
            let expected = if node == 6 { 0 } else { node - 1 };
            assert_eq!(namesakes.len() as u64, expected);
            assert!(namesakes.iter().all(|peer| peer.node != NodeId(node)));
        }
        roster.remove(NodeId(6));
        let name = HostName::parse(b"other").unwrap();
        assert_eq!(roster.namesakes(&Member { name, ..member(6, at(1)) }), []);
    }

    #[test]
    fn silence_ends_membership_when_it_has_lasted_long_enough() {
        let mut roster = Roster::default();
        assert_eq!((roster.silence_check(), roster.silent(at(99), SILENCE)), (None, Vec::new()));
        roster.add(member(1, at(10)), 0, SILENCE);
        roster.add(member(2, at(5)), 0, SILENCE);
        assert_eq!(roster.silence_check(), Some(at(65)));
        assert_eq!(roster.silent(at(64), SILENCE), []);
        // It was heard meanwhile.
        roster.get_mut(NodeId(2)).unwrap().member.heard = at(20);
        assert_eq!(roster.silent(at(65), SILENCE), []);
        assert_eq!(roster.silence_check(), Some(at(70)));
        assert_eq!(roster.silent(at(70), SILENCE), [NodeId(1)]);
        roster.remove(NodeId(1));
        assert_eq!(roster.silence_check(), Some(at(80)));
    }
}
