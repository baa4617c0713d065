//! The paths that incoming transfers are about, and which transfers get in each other's way.

use std::net::SocketAddrV4;

use crate::name::{NodeId, RelPath};
use crate::wire::setup::{Setup, Watch};

/// The path that a transfer is about.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) path: RelPath,
    /// The transfer wants the path for itself.
    pub(super) exclusive: bool,
    /// The address of its sender.
    pub(super) from: SocketAddrV4,
}

/// What this host watches, and sends itself when it changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watched {
    /// The tree.
    pub path: RelPath,
    /// All of it has been sent once.
    pub is_old: bool,
}

impl Watched {
    /// Whether a transfer with this setup, from the node `from` to `me`, is part of a watch that has to give way to
    /// this one. Of two that begin at the same time, or have not heard of each other, one has to.
    fn bars(&self, setup: &Setup, me: NodeId, from: NodeId) -> bool {
        let overlaps = setup.path.is_under(&self.path) || self.path.is_under(&setup.path);
        overlaps
            && match setup.watch {
                Watch::No => false,
                Watch::Begins => self.is_old || me < from,
                Watch::GoesOn => self.is_old && me < from,
            }
    }
}

/// The path of the watch on this host, `me`, that a transfer with this setup from the node `from` has to give way to.
pub(super) fn barred(
    watched: &[Watched],
    setup: &Setup,
    me: NodeId,
    from: NodeId,
) -> Option<Vec<u8>> {
    let found = watched.iter().find(|watched| watched.bars(setup, me, from))?;
    Some(found.path.as_bytes().to_vec())
}

/// A transaction of which it is not known here how it ends, about this path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InDoubt {
    /// The path.
    pub path: RelPath,
    /// What it is called.
    pub name: String,
}

/// What is in doubt here at a path, or at a part of it.
pub(super) fn doubtful(all: &[InDoubt], path: &RelPath) -> Option<Vec<u8>> {
    let found = all.iter().find(|one| path.is_under(&one.path) || one.path.is_under(path))?;
    Some(found.name.clone().into_bytes())
}

/// What is in the way of a transfer: another one to the same path, or to a part of it. Both name its
/// sender by its address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Conflict {
    /// One of the two wants the path for itself: the later one cannot go on.
    Held(Vec<u8>),
    /// Both may go on, but their senders should know.
    Shared(Vec<u8>),
}

impl Claim {
    /// The first conflict with the claims of other open transfers.
    pub(super) fn conflict(&self, others: &[Claim]) -> Option<Conflict> {
        let other = others.iter().find(|other| {
            let overlaps = self.path.is_under(&other.path) || other.path.is_under(&self.path);
            overlaps && (self.exclusive || other.exclusive || other.from != self.from)
        })?;
        let address = other.from.ip().to_string().into_bytes();
        Some(match self.exclusive || other.exclusive {
            true => Conflict::Held(address),
            false => Conflict::Shared(address),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn claim(path: &str, exclusive: bool, host: u8) -> Claim {
        let path = match path {
            "" => RelPath::base(),
            path => RelPath::parse(path.as_bytes()).unwrap(),
        };
        Claim { path, exclusive, from: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, host), 1) }
    }

    #[test]
    fn of_two_watches_of_a_tree_one_has_to_give_way() {
        let (low, high) = (NodeId(1), NodeId(2));
        let bars = |path: &str, is_old, watch, me, from| {
            let path = RelPath::parse(path.as_bytes()).unwrap();
            let setup = Setup { path, watch, ..Setup::default() };
            let path = RelPath::parse(b"d/e").unwrap();
            barred(&[Watched { path, is_old }], &setup, me, from).is_some()
        };
        for path in ["d", "d/e", "d/e/f"] {
            // Who has begun earlier stays, whoever it is.
            assert!(bars(path, true, Watch::Begins, high, low));
            assert!(!bars(path, false, Watch::GoesOn, low, high));
            for watch in [Watch::Begins, Watch::GoesOn] {
                let is_old = watch == Watch::GoesOn;
                let barred = [(low, high), (high, low)]
                    .map(|(me, from)| bars(path, is_old, watch, me, from));
                assert_eq!(barred, [true, false]);
            }
            assert!(!bars(path, true, Watch::No, low, high));
        }
        assert!(!bars("d/f", true, Watch::Begins, low, high));
    }

    #[test]
    fn paths_that_do_not_overlap_are_no_conflict() {
        let other = [claim("a/b", true, 1)];
        for path in ["a/c", "a/bc", "b"] {
            assert_eq!(claim(path, true, 2).conflict(&other), None, "{path}");
        }
    }

    #[test]
    fn an_exclusive_claim_holds_its_path_and_all_above_and_below() {
        for path in ["", "a", "a/b", "a/b/c"] {
            for (new, old) in [(true, false), (false, true), (true, true)] {
                // Of the same sender too: one of its transfers could delete what the other sends.
                for host in [1, 2] {
                    let conflict = claim(path, new, host).conflict(&[claim("a/b", old, 1)]);
                    assert_eq!(conflict, Some(Conflict::Held(b"10.0.0.1".to_vec())), "{path}");
                }
            }
        }
    }

    #[test]
    fn two_senders_share_a_path_and_one_sender_uses_it_twice() {
        let others = [claim("b", true, 3), claim("a", false, 1)];
        let shared = Some(Conflict::Shared(b"10.0.0.1".to_vec()));
        assert_eq!(claim("a/b", false, 2).conflict(&others), shared);
        assert_eq!(claim("a/b", false, 1).conflict(&others), None);
    }
}
