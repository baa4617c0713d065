//! The names that a sender has in one directory, to find out what only the target has.
//!
//! Only keyed hashes of the names are kept, 8 bytes each, so that directories of millions of files fit
//! into memory. If two names have the same hash, which happens once in 10^19 pairs and which no sender
//! can bring about, a file is kept that could be deleted.

use std::hash::{BuildHasher, RandomState};

/// A set of names.
#[derive(Debug, Default)]
pub(super) struct NameSet {
    hashes: Vec<u64>,
    key: RandomState,
}

impl NameSet {
    /// Adds a name.
    pub fn insert(&mut self, name: &[u8]) {
        if self.hashes.len() == self.hashes.capacity() {
            self.settle();
            if self.hashes.len() > self.hashes.capacity() / 2 {
                self.hashes.reserve(self.hashes.len().max(16));
            }
        }
        self.hashes.push(self.key.hash_one(name));
    }

    /// Sorts it, and drops what is in it twice.
    pub fn settle(&mut self) {
        self.hashes.sort_unstable();
        self.hashes.dedup();
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether `name` is in it, which must be settled.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.hashes.binary_search(&self.key.hash_one(name)).is_ok()
    }

    /// The memory that it takes, in bytes.
    pub fn memory(&self) -> usize {
        self.hashes.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_in_it_and_nothing_else() {
        let mut set = NameSet::default();
        for n in 0..10_000u32 {
            set.insert(&n.to_be_bytes());
        }
        set.settle();
        assert!((0..10_000u32).all(|n| set.contains(&n.to_be_bytes())));
        assert!((10_000..20_000u32).all(|n| !set.contains(&n.to_be_bytes())));
    }

    #[test]
    fn the_same_names_again_take_no_memory() {
        let mut set = NameSet::default();
        for n in 0..1_000_000u32 {
            set.insert(&(n % 100).to_be_bytes());
        }
        assert!(set.memory() < 4_096, "{}", set.memory());
    }
}
