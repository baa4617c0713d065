//! Daemons on the same network that cannot take part: they have no key, another key, or another
//! version of the protocol.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use crate::time::{Span, Time};
use crate::wire::hello::Foreign;

/// The most addresses that are remembered.
const MOST: usize = 64;
/// A daemon not heard for this long is no longer shown.
const ABOUT: Span = Span::from_secs(60);
/// A daemon not heard for this long may be replaced by another.
const KEPT: Span = Span::from_secs(600);
/// After this many HELLOs with our key's mark but a wrong MAC, the sender is taken to have another
/// key.
const SUSPECT: u8 = 3;

/// Why a daemon cannot take part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Strange {
    /// It has no key, and this daemon has one.
    Unkeyed,
    /// It has a key, and this daemon has none.
    Keyed,
    /// It has another key.
    OtherKey,
    /// It speaks another version of the protocol.
    OtherVersion(Foreign),
}

/// In words that follow "it has".
impl fmt::Display for Strange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Strange::Unkeyed => f.write_str("no key"),
            Strange::Keyed => f.write_str("a key"),
            Strange::OtherKey => f.write_str("another key"),
            Strange::OtherVersion(foreign) => foreign.fmt(f),
        }
    }
}

/// The strangers, by address.
#[derive(Default, Debug)]
pub(super) struct Strangers {
    known: BTreeMap<Ipv4Addr, (Strange, Time)>,
    suspects: BTreeMap<Ipv4Addr, u8>,
}

impl Strangers {
    /// Whether this address is a known stranger's.
    pub(super) fn knows(&self, addr: Ipv4Addr) -> bool {
        self.known.contains_key(&addr)
    }

    /// Notes a packet from a stranger. True the first time, when it is to be logged.
    pub(super) fn seen(&mut self, now: Time, addr: Ipv4Addr, strange: Strange) -> bool {
        if let Some(known) = self.known.get_mut(&addr) {
            *known = (strange, now);
            return false;
        }
        if self.known.len() >= MOST {
            let oldest = self.known.iter().min_by_key(|(_, (_, heard))| *heard);
            match oldest.map(|(addr, (_, heard))| (*addr, *heard)) {
                Some((addr, heard)) if heard + KEPT <= now => self.known.remove(&addr),
                _ => return false,
            };
        }
        self.known.insert(addr, (strange, now));
        true
    }

    /// Notes a HELLO with a wrong MAC. True once there have been several.
    pub(super) fn suspect(&mut self, addr: Ipv4Addr) -> bool {
        if self.suspects.len() >= MOST && !self.suspects.contains_key(&addr) {
            self.suspects.clear();
        }
        let count = self.suspects.entry(addr).or_default();
        *count = count.saturating_add(1);
        *count >= SUSPECT
    }

    /// This address has become a member.
    pub(super) fn joined(&mut self, addr: Ipv4Addr) {
        self.known.remove(&addr);
        self.suspects.remove(&addr);
    }

    /// The strangers heard recently, and how long ago.
    pub(super) fn about(&self, now: Time) -> Vec<(Ipv4Addr, Strange, Span)> {
        let about = self.known.iter().filter(|(_, (_, heard))| now < *heard + ABOUT);
        about.map(|(addr, (strange, heard))| (*addr, strange.clone(), now.since(*heard))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Time {
        Time::ZERO + Span::from_secs(secs)
    }

    #[test]
    fn each_is_said_once_and_shown_while_it_is_heard() {
        let mut strangers = Strangers::default();
        let [one, two] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
        assert!(strangers.seen(at(1), one, Strange::Unkeyed));
        assert!(!strangers.seen(at(2), one, Strange::OtherKey));
        assert!(strangers.seen(at(50), two, Strange::Keyed));
        let about = strangers.about(at(51));
        assert_eq!(about[0], (one, Strange::OtherKey, Span::from_secs(49)));
        assert_eq!(about[1], (two, Strange::Keyed, Span::from_secs(1)));
        assert_eq!(strangers.about(at(100)).len(), 1);
        assert!(!strangers.seen(at(500), one, Strange::Unkeyed));
        strangers.joined(one);
        assert!(!strangers.knows(one) && strangers.knows(two));
    }

    #[test]
    fn there_is_an_end_to_them_and_old_ones_make_room() {
        let mut strangers = Strangers::default();
        let addr = |n: u32| Ipv4Addr::from(0x0a00_0000 + n);
        let mut said = 0;
        for n in 0..1_000 {
            said += usize::from(strangers.seen(at(n.into()), addr(n), Strange::Unkeyed));
            assert!(strangers.known.len() <= MOST);
        }
        // The first 64, and those that replaced one not heard for ten minutes.
        assert_eq!(said, MOST + MOST);
        for n in 0..1_000 {
            assert!(!strangers.suspect(addr(n)));
            assert!(strangers.suspects.len() <= MOST);
        }
        assert!(!strangers.suspect(addr(999)));
        assert!(strangers.suspect(addr(999)));
    }
}
