//! What this host gives to others that lack it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::journal::Journal;
use super::record::RecordId;
use crate::name::{NodeId, RelPath};
use crate::time::{Span, Time};

/// How long others may join in, from the first who wants something: a rack that is switched on is served once.
const GATHER: Span = Span::from_secs(1);
/// The transfers at a time.
const AT_ONCE: usize = 4;
/// The records that are waited for here at most.
const MOST: usize = 4_096;
/// So many that have to wait for others are passed over in the search for one that has not.
const PASSED: usize = 64;

/// A record that is to be sent once more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Serve {
    /// Which one.
    pub id: RecordId,
    /// To whom.
    pub nodes: BTreeSet<NodeId>,
}

/// What is wanted of this host.
#[derive(Debug, Default)]
pub(super) struct Giving {
    wanted: BTreeMap<RecordId, BTreeSet<NodeId>>,
    /// When the first of them is served.
    at: Option<Time>,
    running: BTreeMap<RecordId, BTreeSet<NodeId>>,
    /// All that is wanted waits for what is running.
    stuck: bool,
    serve: VecDeque<Serve>,
}

impl Giving {
    /// A node wants a record. False if it cannot have it now.
    pub fn want(&mut self, now: Time, node: NodeId, id: &RecordId) -> bool {
        if self.running.get(id).is_some_and(|nodes| nodes.contains(&node)) {
            return true;
        }
        if self.wanted.len() >= MOST && !self.wanted.contains_key(id) {
            return false;
        }
        self.wanted.entry(id.clone()).or_default().insert(node);
        self.at.get_or_insert(now + GATHER);
        self.stuck = false;
        true
    }

    /// The transfer of a record is over, or could not begin.
    pub fn over(&mut self, id: &RecordId) {
        self.running.remove(id);
        self.stuck = false;
    }

    /// A node has left.
    pub fn gone(&mut self, node: NodeId) {
        self.wanted.retain(|_, nodes| {
            nodes.remove(&node);
            !nodes.is_empty()
        });
    }

    pub fn timeout(&mut self, now: Time, journal: &Journal) {
        if self.at.is_none_or(|at| at > now) {
            return;
        }
        while self.running.len() < AT_ONCE {
            let Some(id) = self.next(journal) else {
                self.stuck = true;
                break;
            };
            let Some(nodes) = self.wanted.remove(&id) else { break };
            self.running.insert(id.clone(), nodes.clone());
            self.serve.push_back(Serve { id, nodes });
        }
        if self.wanted.is_empty() {
            self.at = None;
        }
    }

    /// The latest that does not touch what is being sent, nor anything later that waits for that: whoever gets it
    /// must know by then what came after it.
    fn next(&self, journal: &Journal) -> Option<RecordId> {
        let path = |id: &RecordId| journal.get(id).map(|(record, ..)| record.path);
        let mut before: Vec<RelPath> = self.running.keys().filter_map(path).collect();
        let most = before.len() + PASSED;
        for id in self.wanted.keys().rev() {
            let Some(own) = path(id) else { return Some(id.clone()) };
            if !before.iter().any(|other| own.is_under(other) || other.is_under(&own)) {
                return Some(id.clone());
            }
            before.push(own);
            if before.len() > most {
                break;
            }
        }
        None
    }

    pub fn poll_timeout(&self) -> Option<Time> {
        self.at.filter(|_| self.running.len() < AT_ONCE && !self.stuck)
    }

    pub fn poll_serve(&mut self) -> Option<Serve> {
        self.serve.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Audience, Deed, Names, Record, State};
    use super::*;
    use crate::name::HostName;
    use crate::stamp::Stamp;

    fn host() -> Arc<HostName> {
        Arc::new(HostName::parse(b"web1").unwrap())
    }

    fn id(millis: u64) -> RecordId {
        RecordId { stamp: Stamp::at(millis), host: host() }
    }

    fn served(giving: &mut Giving, now: Time, journal: &Journal) -> Vec<u64> {
        giving.timeout(now, journal);
        std::iter::from_fn(|| giving.poll_serve()).map(|serve| serve.id.stamp.millis()).collect()
    }

    #[test]
    fn what_touches_something_later_waits_for_that() {
        let mut journal = Journal::new(host(), 100);
        let mut giving = Giving::default();
        for (millis, path) in [(1, "a/b"), (2, "c"), (3, ""), (4, "a"), (5, "d")] {
            let record = Record {
                id: id(millis),
                path: RelPath::parse_or_base(path.as_bytes()).unwrap(),
                deed: Deed { recursive: true, ..Deed::default() },
                audience: Audience::All,
                patterns: None,
                names: Names { count: 9, sum: millis },
            };
            journal.restore(record, State::Complete, true);
            assert!(giving.want(Time::ZERO, NodeId(7), &id(millis)));
        }
        let now = giving.poll_timeout().unwrap();
        assert_eq!(served(&mut giving, now, &journal), [5, 4]);
        // Nothing is to be done until one of them is over.
        assert_eq!(giving.poll_timeout(), None);
        giving.over(&id(5));
        assert_eq!(giving.poll_timeout(), Some(now));
        assert_eq!(served(&mut giving, now, &journal), [0; 0]);
        giving.over(&id(4));
        assert_eq!(served(&mut giving, now, &journal), [3]);
        giving.over(&id(3));
        assert_eq!(served(&mut giving, now, &journal), [2, 1]);
        assert_eq!(giving.poll_timeout(), None);
    }
}
