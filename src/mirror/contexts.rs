//! Contexts: what was known where an entry came from, while the rest of what was sent with it has not come.

use std::collections::{BTreeMap, BTreeSet};

use crate::wire::versions::Knowledge;

/// The most contexts of a tree at a time. Who sends when there are so many must wait.
pub const MAX_CONTEXTS: usize = 64;

/// The contexts that entries refer to, by numbers that are never used again. Each has only what K does not cover; one
/// that K covers is gone, and its number stands for K alone.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Contexts {
    last: u32,
    held: BTreeMap<u32, Knowledge>,
}

/// What `more` has that `known` does not cover.
pub(super) fn beyond(more: &Knowledge, known: &Knowledge) -> Knowledge {
    let mut out = Knowledge::default();
    more.iter().filter(|(id, seq)| *seq > known.of(*id)).for_each(|(id, seq)| out.learn(id, seq));
    out
}

impl Contexts {
    /// What an entry with this number knows beside K.
    pub(super) fn get(&self, number: u32) -> Option<&Knowledge> {
        self.held.get(&number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Knowledge)> {
        self.held.iter().map(|(number, known)| (*number, known))
    }

    /// None, after this number was given.
    pub(super) fn after(last: u32) -> Self {
        Contexts { last, held: BTreeMap::new() }
    }

    /// The number that was given last.
    pub(super) fn last(&self) -> u32 {
        self.last
    }

    /// Puts one back that was kept.
    pub(super) fn put(&mut self, number: u32, known: Knowledge) {
        self.last = self.last.max(number);
        self.held.insert(number, known);
    }

    /// The number of the one that knows this, a new one if there is none; None if there are too many. `used` says which
    /// are referred to: it is asked when there are too many.
    pub(super) fn number(
        &mut self,
        known: Knowledge,
        used: impl FnOnce() -> BTreeSet<u32>,
    ) -> Option<u32> {
        if known.is_empty() {
            return Some(0);
        }
        if let Some((number, _)) = self.iter().find(|(_, held)| **held == known) {
            return Some(number);
        }
        if self.held.len() >= MAX_CONTEXTS {
            let used = used();
            self.held.retain(|number, _| used.contains(number));
        }
        if self.held.len() >= MAX_CONTEXTS {
            return None;
        }
        self.last += 1;
        self.held.insert(self.last, known);
        Some(self.last)
    }

    /// K is this now.
    pub(super) fn covered_by(&mut self, known: &Knowledge) {
        self.held.values_mut().for_each(|held| *held = beyond(held, known));
        self.held.retain(|_, held| !held.is_empty());
    }
}
