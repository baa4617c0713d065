//! What is odd about members, so that what they and this daemon send cannot be put in order, or cannot
//! be kept in mind by the name of a host: clocks that differ by too much, and names that are two.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use super::clock::Clock;
use super::types::Member;
use crate::name::{HostName, NodeId};
use crate::stamp::{Offset, Stamp};

/// The most members that a name is said to be of.
const NAMED: usize = 4;

/// What is odd about these members, and about this daemon, whose name is `own`. `is_two`: whether a name
/// is not of one host.
pub(super) fn of<'a>(
    members: impl Iterator<Item = &'a Member>,
    own_far: Option<Stamp>,
    own: &HostName,
    is_two: impl Fn(&HostName) -> bool,
) -> BTreeSet<Oddity> {
    let mut odd: BTreeSet<Oddity> = own_far.map(Oddity::OwnStamps).into_iter().collect();
    let mut names: BTreeMap<&HostName, Vec<(Ipv4Addr, NodeId)>> = BTreeMap::new();
    for member in members {
        let Clock { ahead, far } = member.clock;
        if ahead.is_too_far() {
            odd.insert(Oddity::Clock(member.into(), ahead));
        }
        odd.extend(far.map(|stamp| Oddity::Stamps(member.into(), stamp)));
        if is_two(&member.name) {
            names.entry(&member.name).or_default().push((*member.addr.ip(), member.node));
        }
    }
    odd.extend(names.into_iter().map(|(name, mut members)| {
        members.sort();
        Oddity::Name { name: name.clone(), ours: name == own, members }
    }));
    odd
}

/// A member, as it is named.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Who {
    /// Its name.
    pub name: HostName,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its node id.
    pub node: NodeId,
}

impl From<&Member> for Who {
    fn from(member: &Member) -> Who {
        Who { node: member.node, name: member.name.clone(), address: *member.addr.ip() }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.address)
    }
}

/// Something odd. Two that say the same are equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Oddity {
    /// The wall clock of a member differs too much from ours.
    Clock(Who, Offset),
    /// The stamps of a member are too far ahead: of a time when its wall clock was wrong.
    Stamps(Who, Stamp),
    /// Our own stamps are too far ahead of our own wall clock.
    OwnStamps(Stamp),
    /// A name that several members have, or one of them and this daemon.
    Name {
        /// The name.
        name: HostName,
        /// Whether it is ours too.
        ours: bool,
        /// The members, by address.
        members: Vec<(Ipv4Addr, NodeId)>,
    },
}

impl Oddity {
    /// What follows from it, and what to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Oddity::Clock(..) => {
                "transfers between the two leave no record; set both clocks right, for example by NTP"
            }
            Oddity::Stamps(..) => "transfers with it leave no record; restart makuosan there",
            Oddity::OwnStamps(_) => "transfers leave no record; restart makuosan here",
            Oddity::Name { ours: true, .. } => {
                "transfers leave no record; start each with a name of its own (-N)"
            }
            Oddity::Name { .. } => {
                "transfers with them leave no record; start each with a name of its own (-N)"
            }
        }
    }

    /// Whether it is about this member; what is wrong here is about all.
    pub fn is_about(&self, node: NodeId) -> bool {
        match self {
            Oddity::Clock(who, _) | Oddity::Stamps(who, _) => who.node == node,
            Oddity::OwnStamps(_) => true,
            Oddity::Name { ours, members, .. } => {
                *ours || members.iter().any(|member| member.1 == node)
            }
        }
    }

    /// The address of the member that it is about, if that is one.
    pub fn address(&self) -> Option<Ipv4Addr> {
        match self {
            Oddity::Clock(who, _) | Oddity::Stamps(who, _) => Some(who.address),
            Oddity::OwnStamps(_) => None,
            Oddity::Name { members, .. } => members.last().map(|member| member.0),
        }
    }
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Oddity::Clock(who, ahead) => {
                write!(f, "the clock of {who} is {ahead} this host's")
            }
            Oddity::Stamps(who, stamp) => {
                write!(f, "the clock of {who} was set back: its daemon still counts from {stamp}")
            }
            Oddity::OwnStamps(stamp) => {
                write!(f, "the clock of this host was set back: makuosan still counts from {stamp}")
            }
            Oddity::Name { name, ours, members } => {
                let shown = members.iter().take(NAMED);
                let shown: Vec<String> =
                    shown.map(|(address, node)| format!("{address} (node {node})")).collect();
                let all = match members.len().saturating_sub(NAMED) {
                    0 => shown.join(" and "),
                    more => format!("{} and {more} more", shown.join(", ")),
                };
                let whose = if *ours { "this host and of " } else { "" };
                write!(f, "{name} is the name of {whose}{all}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(node: u64) -> Who {
        let name = HostName::parse(b"web1").unwrap();
        Who { node: NodeId(node), name, address: [10, 0, 0, node as u8].into() }
    }

    #[test]
    fn oddities_name_hosts_and_say_what_is_odd() {
        let (now, hour) = (1_795_804_200_000, 3_600_000);
        let late = Oddity::Clock(who(3), Offset::between(now, now + 2 * hour));
        assert_eq!(
            late.to_string(),
            "the clock of web1 (10.0.0.3) is 2 h 0 min behind this host's"
        );
        let name = |ours, count: u64| Oddity::Name {
            name: who(1).name,
            ours,
            members: (1..=count).map(|node| (who(node).address, NodeId(node))).collect(),
        };
        let node = |node: u64| format!("{} (node {})", who(node).address, NodeId(node));
        let [one, two, three, four] = [1, 2, 3, 4].map(node);
        assert_eq!(
            name(true, 1).to_string(),
            format!("web1 is the name of this host and of {one}")
        );
        assert_eq!(name(false, 2).to_string(), format!("web1 is the name of {one} and {two}"));
        let many = name(false, 200).to_string();
        assert_eq!(many, format!("web1 is the name of {one}, {two}, {three}, {four} and 196 more"));
        let about = |odd: &Oddity| [1, 2, 3].map(|node| odd.is_about(NodeId(node)));
        assert_eq!(about(&late), [false, false, true]);
        assert_eq!(about(&name(false, 2)), [true, true, false]);
        assert_eq!(about(&name(true, 1)), [true; 3]);
        assert_eq!(about(&Oddity::OwnStamps(Stamp::at(now))), [true; 3]);
    }
}
