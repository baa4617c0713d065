//! The paths that incoming transfers are about, and which transfers get in each other's way.

use std::net::SocketAddrV4;

use crate::name::RelPath;

/// The path that a transfer is about.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) path: RelPath,
    /// The transfer wants the path for itself.
    pub(super) exclusive: bool,
    /// The address of its sender.
    pub(super) from: SocketAddrV4,
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
