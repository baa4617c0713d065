//! What this host gives to others that lack it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::journal::Journal;
use super::record::RecordId;
use crate::name::NodeId;
use crate::time::{Span, Time};

/// How long others may join in, from the first who wants something: a rack that is switched on is served once.
const GATHER: Span = Span::from_secs(1);
/// The transfers at a time.
const AT_ONCE: usize = 4;
/// The records that are waited for here at most.
const MOST: usize = 4_096;

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
        true
    }

    /// The transfer of a record is over, or could not begin.
    pub fn over(&mut self, id: &RecordId) {
        self.running.remove(id);
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
            let Some(id) = self.next(journal) else { break };
            let Some(nodes) = self.wanted.remove(&id) else { break };
            self.running.insert(id.clone(), nodes.clone());
            self.serve.push_back(Serve { id, nodes });
        }
        if self.wanted.is_empty() {
            self.at = None;
        }
    }

    /// The latest that does not touch what is being sent.
    fn next(&self, journal: &Journal) -> Option<RecordId> {
        let overlaps = |id: &RecordId, other: &RecordId| match (journal.get(id), journal.get(other))
        {
            (Some((one, ..)), Some((other, ..))) => {
                one.path.is_under(&other.path) || other.path.is_under(&one.path)
            }
            _ => false,
        };
        let is_free = |id: &&RecordId| !self.running.keys().any(|running| overlaps(id, running));
        self.wanted.keys().rev().find(is_free).cloned()
    }

    pub fn poll_timeout(&self) -> Option<Time> {
        self.at.filter(|_| self.running.len() < AT_ONCE)
    }

    pub fn poll_serve(&mut self) -> Option<Serve> {
        self.serve.pop_front()
    }
}
