//! Entries by their paths.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map;

/// A map from paths to bytes, in the order of a walk.
#[derive(Clone, Default, Debug)]
pub struct Map(BTreeMap<Key, Vec<u8>>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Key(Box<[u8]>);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |byte: &u8| (*byte != b'/', *byte);
        self.0.iter().map(key).cmp(other.0.iter().map(key))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The entries from one on, in ascending order.
#[derive(Debug)]
pub struct Entries<'a>(btree_map::Range<'a, Key, Vec<u8>>);

impl Map {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a path.
    pub fn get(&self, path: &[u8]) -> Option<Vec<u8>> {
        self.0.get(&Key(path.into())).cloned()
    }

    /// Gives a path this value; whether it had none.
    pub fn insert(&mut self, path: &[u8], value: &[u8]) -> bool {
        self.0.insert(Key(path.into()), value.to_vec()).is_none()
    }

    /// Removes a path; whether it was there.
    pub fn remove(&mut self, path: &[u8]) -> bool {
        self.0.remove(&Key(path.into())).is_some()
    }

    /// The entry of `path`, if it is there, and all that come after it: at first those below it.
    pub fn entries_from(&self, path: &[u8]) -> Entries<'_> {
        Entries(self.0.range(Key(path.into())..))
    }
}

impl Entries<'_> {
    /// The next one: its path and its value.
    pub fn next_entry(&mut self) -> Option<(&[u8], &[u8])> {
        self.0.next().map(|(path, value)| (&*path.0, &**value))
    }
}
