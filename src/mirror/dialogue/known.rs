//! What this host knows, by its hash: since when, and which others it is known to cover.

use std::collections::VecDeque;

use crate::time::Time;

/// How many hashes are remembered.
const MOST: usize = 64;

/// The hash of what this host knows, and those of knowledge that has nothing beyond it: what it knew before,
/// what transfers led to, and what members asked with.
#[derive(Debug)]
pub(super) struct Known {
    hash: u64,
    /// Since when it knows this.
    pub since: Time,
    covered: VecDeque<u64>,
}

impl Known {
    /// It knows this from now on.
    pub fn new(now: Time, hash: u64) -> Self {
        Known { hash, since: now, covered: VecDeque::new() }
    }

    /// It knows this now.
    pub fn is(&mut self, now: Time, hash: u64) {
        if self.hash != hash {
            let before = std::mem::replace(&mut self.hash, hash);
            self.since = now;
            self.covers_too(before);
        }
    }

    /// It is at least what has this hash.
    pub fn covers_too(&mut self, hash: u64) {
        if !self.covers(hash) {
            self.covered.truncate(MOST - 1);
            self.covered.push_front(hash);
        }
    }

    /// Whether it is known to be at least what has this hash.
    pub fn covers(&self, hash: u64) -> bool {
        self.hash == hash || self.covered.contains(&hash)
    }
}
