//! A flush of a mirror, until every host that mirrors it has said that it has all.

use std::collections::{BTreeMap, BTreeSet};

use crate::console::error::{Code, ErrorLine};
use crate::count::counted;
use crate::name::{HostName, NodeId, RelPath};
use crate::time::{Span, Time};
use crate::watch::types::WatchNo;
use crate::wire::mirror::{Reached, Standing};
use crate::wire::names::Hash;
use crate::wire::versions::{Dot, IndexId, Knowledge};

/// How long a host may be silent, or say the same again and again while nothing is under way there.
const PATIENCE: Span = Span::from_secs(5);
/// A flush of a mirror, until every host that mirrors it has all, or will not have it soon.
pub(super) struct Reach {
    pub(super) watch: WatchNo,
    pub(super) cookie: u64,
    /// Which tree, and what of it.
    pub(super) tree: Hash,
    pub(super) within: RelPath,
    pub(super) shown: String,
    /// What this host knew, in parts that fit into a packet; empty until it is settled who is there.
    pub(super) parts: Vec<Knowledge>,
    pub(super) hosts: BTreeMap<NodeId, Host>,
    pub(super) errors: Vec<ErrorLine>,
    pub(super) number: u32,
    pub(super) wait: Span,
    /// When hosts are asked next.
    pub(super) due: Time,
}

/// A host that has not said that it has all.
pub(super) struct Host {
    pub(super) name: HostName,
    /// The parts that it has not said that it knows.
    pub(super) left: BTreeSet<u16>,
    /// The question that it was asked last, and the one that it answered last.
    pub(super) asked: u32,
    pub(super) answered: u32,
    /// What it said last, and since when it says that.
    pub(super) said: Option<(Standing, Reached)>,
    pub(super) since: Time,
}

impl Host {
    /// What has become of it: all is there, or why not; None if that is to be seen.
    pub(super) fn verdict(&self, now: Time) -> Option<Result<(), (Code, String)>> {
        let late = now >= self.since + PATIENCE;
        let Some((standing, Reached { covers, busy, left })) = self.said else {
            return late
                .then(|| Err((Code::Timeout, "does not say whether it has all".to_owned())));
        };
        let paths = |count: u64| counted(count, "path");
        let why = if standing.stopped {
            (Code::Mirrored, "the mirror stands still".to_owned())
        } else if !self.left.is_empty() || !covers || standing.looks || left.lacking > 0 {
            if !late || busy || standing.looks {
                return None;
            }
            match left.lacking {
                0 => (Code::Behind, "does not know of all changes yet".to_owned()),
                lacking => (Code::Behind, format!("lacks {}", paths(lacking))),
            }
        } else if left.held > 0 {
            let held = counted(left.held, "deletion");
            (Code::TooMuchToDelete, format!("{held} held back"))
        } else if left.listed > 0 {
            (Code::Mirrored, format!("{} listed", paths(left.listed)))
        } else {
            return Some(Ok(()));
        };
        Some(Err((why.0, format!("{}: see msync mirror", why.1))))
    }

    /// It says how it stands.
    pub(super) fn heard(&mut self, now: Time, said: (Standing, Reached)) {
        if self.said != Some(said) || said.1.busy {
            (self.said, self.since) = (Some(said), now);
        }
    }
}

/// Knowledge in parts of so many bytes, one at least.
pub(super) fn parts(known: &Knowledge, room: usize) -> Vec<Knowledge> {
    let all: Vec<_> = known.iter().collect();
    let part = |ids: &[(IndexId, u64)]| {
        let mut part = Knowledge::default();
        ids.iter().for_each(|&(id, seq)| part.learn(id, seq));
        part
    };
    match all.chunks((room / Dot::LEN).max(1)).map(part).collect::<Vec<_>>() {
        none if none.is_empty() => vec![Knowledge::default()],
        some => some,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::mirror::Left;

    const START: Time = Time::from_micros(1_000_000);

    fn host() -> Host {
        let name = HostName::parse(b"h").unwrap();
        let (left, since) = (BTreeSet::from([0]), START);
        Host { name, left, asked: 1, answered: 0, said: None, since }
    }

    fn said(covers: bool, busy: bool, left: Left) -> (Standing, Reached) {
        (Standing::plain(Hash(1), IndexId(2), 3, 4), Reached { covers, busy, left })
    }

    fn why(host: &Host, now: Time) -> Option<String> {
        host.verdict(now).map(|verdict| verdict.err().map_or_else(String::new, |(_, why)| why))
    }

    #[test]
    fn a_host_has_all_when_it_says_so_and_lacks_it_when_nothing_happens_any_more() {
        let (mut host, late) = (host(), START + PATIENCE);
        assert_eq!((why(&host, START), host.verdict(late).is_some()), (None, true));
        host.heard(START, said(false, false, Left::default()));
        assert_eq!(why(&host, START), None);
        host.heard(late, said(false, false, Left::default()));
        assert!(why(&host, late).unwrap().starts_with("does not know of all"));
        // As long as something is under way there, it may get it.
        host.heard(late, said(false, true, Left::default()));
        assert_eq!(why(&host, late), None);
        host.left.clear();
        assert_eq!(why(&host, late), None, "it may have said that of something else");
        let lacks = Left { lacking: 2, ..Left::default() };
        host.heard(late, said(true, false, lacks));
        assert_eq!(why(&host, late), None);
        assert!(why(&host, late + PATIENCE).unwrap().starts_with("lacks 2 paths"));
        host.heard(late, said(true, true, Left::default()));
        assert_eq!(why(&host, late).as_deref(), Some(""));
    }

    #[test]
    fn what_waits_for_people_is_said_at_once() {
        let mut host = host();
        host.left.clear();
        for (left, wanted) in [
            (Left { held: 1, ..Left::default() }, "1 deletion held back"),
            (Left { listed: 3, ..Left::default() }, "3 paths listed"),
        ] {
            host.heard(START, said(true, true, left));
            assert!(why(&host, START).unwrap().starts_with(wanted));
        }
        let (standing, reached) = said(false, false, Left::default());
        host.heard(START, (Standing { stopped: true, ..standing }, reached));
        assert!(why(&host, START).unwrap().starts_with("the mirror stands still"));
        host.heard(
            START,
            (Standing { looks: true, ..standing }, Reached { covers: true, ..reached }),
        );
        assert_eq!(why(&host, START + PATIENCE * 100), None);
    }

    #[test]
    fn knowledge_comes_in_parts_that_fit() {
        let mut known = Knowledge::default();
        assert_eq!(parts(&known, 500), [Knowledge::default()]);
        (1..=100).for_each(|id| known.learn(IndexId(id), u64::MAX));
        let all = parts(&known, 500);
        assert!(all.iter().all(|part| part.len() * Dot::LEN <= 500));
        let mut joined = Knowledge::default();
        all.iter().for_each(|part| joined.join(part));
        assert_eq!(joined, known);
    }
}
