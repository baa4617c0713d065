//! What others have asked this host for: questions in parts, and those that wait to be served.

use std::collections::{BTreeMap, BTreeSet};

use super::types::Serve;
use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::wire::mirror::{MAX_NEEDED, Question};
use crate::wire::versions::{Dot, Knowledge};

/// How long others are waited for, so that one transfer serves all who return.
pub(super) const GATHER: Span = Span::from_secs(2);
/// How much later each begins that others go before, and how many count.
const STEP: Span = Span::from_millis(250);
const MOST_STEPS: usize = 8;
/// How many questions are kept that have not come as a whole, and how long.
const UNFINISHED: usize = 16;
const STALE: Span = Span::from_secs(5);

#[derive(Debug)]
struct Unfinished {
    number: u32,
    begun: Time,
    bytes: Vec<u8>,
}

/// Who is served next.
#[derive(Debug)]
struct Gathering {
    first: Time,
    from: Knowledge,
    /// Those that asked, by the number of their questions.
    nodes: BTreeMap<NodeId, u32>,
    /// Those that know the same as one of them.
    same: BTreeSet<NodeId>,
    needed: BTreeSet<Dot>,
}

/// Questions of others, until they are served.
#[derive(Debug, Default)]
pub(super) struct Giving {
    unfinished: BTreeMap<NodeId, Unfinished>,
    gathering: Option<Gathering>,
    /// Who is being served, by the number of their questions.
    pub serving: Option<BTreeMap<NodeId, u32>>,
}

impl Giving {
    /// Takes a part of a question: the question if it is complete, or how much of it has come.
    pub fn part(
        &mut self,
        now: Time,
        node: NodeId,
        (number, len, offset): (u32, usize, usize),
        bytes: &[u8],
    ) -> Result<Vec<u8>, usize> {
        let known = self.unfinished.get(&node).is_some_and(|known| known.number == number);
        if !known {
            if offset > 0 {
                return Err(0);
            }
            self.unfinished.retain(|_, known| now.since(known.begun) < STALE);
            if self.unfinished.len() >= UNFINISHED && !self.unfinished.contains_key(&node) {
                return Err(0);
            }
            self.unfinished.insert(node, Unfinished { number, begun: now, bytes: Vec::new() });
        }
        let Some(known) = self.unfinished.get_mut(&node) else { return Err(0) };
        let have = known.bytes.len();
        // What is repeated may begin before what is lacking.
        if let Some(new) = have.checked_sub(offset).and_then(|old| bytes.get(old..)) {
            known.bytes.extend_from_slice(new);
        }
        match known.bytes.len() {
            have if have < len => Err(have),
            _ => Ok(self.unfinished.remove(&node).map(|known| known.bytes).unwrap_or_default()),
        }
    }

    /// Whether a node waits to be served, or is being served.
    pub fn waits(&self, node: NodeId) -> bool {
        self.gathering.as_ref().is_some_and(|gathering| gathering.nodes.contains_key(&node))
            || self.serving.as_ref().is_some_and(|nodes| nodes.contains_key(&node))
    }

    /// Is to serve a node that has asked.
    pub fn add(
        &mut self,
        now: Time,
        (node, number): (NodeId, u32),
        same: impl Iterator<Item = NodeId>,
        question: Question,
    ) {
        let Question { knowledge, needed } = question;
        let gathering = self.gathering.get_or_insert_with(|| Gathering {
            first: now,
            from: knowledge.clone(),
            nodes: BTreeMap::new(),
            same: BTreeSet::new(),
            needed: BTreeSet::new(),
        });
        gathering.from = gathering.from.meet(&knowledge);
        gathering.nodes.insert(node, number);
        gathering.same.extend(same);
        let room = MAX_NEEDED.saturating_sub(gathering.needed.len());
        gathering.needed.extend(needed.into_iter().take(room));
    }

    /// When it is time to serve, if so many others go before.
    pub fn due(&self, before: usize) -> Option<Time> {
        let gathering = self.gathering.as_ref().filter(|_| self.serving.is_none())?;
        Some(gathering.first + GATHER + STEP * before.min(MOST_STEPS) as u64)
    }

    /// Begins to serve.
    pub fn serve(&mut self) -> Option<Serve> {
        let Gathering { from, nodes, same, needed, .. } = self.gathering.take()?;
        let all: BTreeSet<NodeId> = nodes.keys().copied().chain(same).collect();
        self.serving = Some(nodes);
        let (nodes, needed) = (all.into_iter().collect(), needed.into_iter().collect());
        Some(Serve { from, nodes, needed })
    }

    /// Somebody sends a delta from there on: whoever waits for that need not wait.
    pub fn begun(&mut self, from: &Knowledge) {
        let bytes = |gathering: &Gathering| !gathering.needed.is_empty();
        self.gathering.take_if(|gathering| gathering.from.is_at_least(from) && !bytes(gathering));
    }

    /// Of how many nodes questions are kept that have not come as a whole.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.unfinished.len()
    }

    /// A node has left.
    pub fn gone(&mut self, node: NodeId) {
        self.unfinished.remove(&node);
        if let Some(gathering) = &mut self.gathering {
            gathering.nodes.remove(&node);
            gathering.same.remove(&node);
            if gathering.nodes.is_empty() {
                self.gathering = None;
            }
        }
    }
}
