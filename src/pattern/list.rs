//! A list of patterns that somebody edits.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::error::PatternError;
use super::{Patterns, Rule, check};

/// The memory that all lists of one budget may take, in bytes: three of the longest.
const TOTAL: usize = 48 << 20;
/// What each list has of its own, so that others cannot take it.
const OWN: usize = 64 << 10;

/// Memory that several lists share.
#[derive(Clone, Debug, Default)]
pub struct PatternBudget(Arc<AtomicUsize>);

impl PatternBudget {
    /// A list takes `before` bytes and wants `after`. Says whether there is room.
    pub fn charge(&self, before: usize, after: usize) -> bool {
        let (before, after) = (before.saturating_sub(OWN), after.saturating_sub(OWN));
        let change = |used: usize| match used.saturating_sub(before) + after {
            now if now > TOTAL && after > before => None,
            now => Some(now),
        };
        self.0.fetch_update(Relaxed, Relaxed, change).is_ok()
    }
}

/// About how many bytes a pattern takes in a list: its text, a token for each byte, its place in the list
/// and in the index, its hash.
fn weight(pattern: &[u8]) -> usize {
    64 + 3 * pattern.len()
}

/// Patterns that are added and removed, each once, in order.
#[derive(Debug, Default)]
pub struct PatternList {
    budget: PatternBudget,
    /// What is charged to the budget.
    charged: usize,
    patterns: Arc<Patterns>,
    /// The hashes of all of them: nearly all that are looked for in vain are not here.
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl PatternList {
    /// An empty list that shares `budget` with others.
    pub fn new(budget: PatternBudget) -> Self {
        let mut list = PatternList::default();
        list.budget = budget;
        list
    }

    /// The list, ready to match.
    pub fn patterns(&self) -> &Arc<Patterns> {
        &self.patterns
    }

    fn find(&self, rule: &Rule) -> Option<usize> {
        let is_it =
            |(include, text): (bool, &[u8])| include == rule.include && text == rule.pattern;
        let maybe = self.hashes.contains(&self.hasher.hash_one(rule));
        maybe.then(|| self.patterns.rules().position(is_it)).flatten()
    }

    /// Adds a pattern, unless it is there.
    ///
    /// # Errors
    /// What is wrong with it, or that the list is full.
    pub fn add(&mut self, rule: &Rule) -> Result<(), PatternError> {
        check(&rule.pattern)?;
        if self.find(rule).is_some() {
            return Ok(());
        }
        let after = self.charged + weight(&rule.pattern);
        if !self.budget.charge(self.charged, after) {
            return Err(PatternError::TooMuchTogether);
        }
        let added = Arc::make_mut(&mut self.patterns).push(rule.include, &rule.pattern);
        match added {
            Ok(()) => {
                self.charged = after;
                self.hashes.insert(self.hasher.hash_one(rule));
            }
            Err(_) => drop(self.budget.charge(after, self.charged)),
        }
        added
    }

    /// Removes a pattern. False if it is not there.
    ///
    /// # Errors
    /// None: the patterns that stay have been in one list before.
    pub fn remove(&mut self, rule: &Rule) -> Result<bool, PatternError> {
        let Some(at) = self.find(rule) else { return Ok(false) };
        let mut rest = Patterns::default();
        for (number, (include, text)) in self.patterns.rules().enumerate() {
            if number != at {
                rest.push(include, text)?;
            }
        }
        self.patterns = Arc::new(rest);
        self.hashes.remove(&self.hasher.hash_one(rule));
        let after = self.charged.saturating_sub(weight(&rule.pattern));
        self.budget.charge(self.charged, after);
        self.charged = after;
        Ok(true)
    }

    /// Removes all patterns.
    pub fn clear(&mut self) {
        *self = PatternList::new(self.budget.clone());
    }
}

impl Drop for PatternList {
    fn drop(&mut self) {
        self.budget.charge(self.charged, 0);
    }
}
