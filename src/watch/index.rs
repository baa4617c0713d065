//! A hash table of small numbers, which stand for what is stored elsewhere: 5 to 11 bytes for each.

/// No number.
const FREE: u32 = u32::MAX;
/// The slots that a table begins with.
const FEWEST: usize = 16;

/// A hash table of numbers below [`u32::MAX`]. What they stand for, and how that is hashed, the caller knows.
#[derive(Debug, Default)]
pub(super) struct Index {
    slots: Vec<u32>,
    count: usize,
}

impl Index {
    /// The number with this hash for which `is_it` holds.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.slot_of(hash, is_it).and_then(|slot| self.slots.get(slot)).copied()
    }

    /// Adds a number that is not there.
    pub(super) fn insert(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        if (self.count + 1) * 4 > self.slots.len() * 3 {
            self.resize(FEWEST.max(self.slots.len() * 2), &hash_of);
        }
        self.place(hash, number);
        self.count += 1;
    }

    /// Removes the number with this hash, if it is there.
    pub(super) fn remove(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        let Some(mut hole) = self.slot_of(hash, |other| other == number) else { return };
        let mask = self.mask();
        let mut at = hole;
        // What was moved on because of a number that goes, moves back.
        loop {
            at = (at + 1) & mask;
            let Some(&other) = self.slots.get(at).filter(|&&other| other != FREE) else { break };
            let home = hash_of(other) as usize & mask;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.set(hole, other);
                hole = at;
            }
        }
        self.set(hole, FREE);
        self.count = self.count.saturating_sub(1);
        if self.slots.len() > FEWEST && self.count * 8 < self.slots.len() {
            self.resize(self.slots.len() / 2, &hash_of);
        }
    }

    /// The memory that it takes, in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<u32>()
    }

    fn mask(&self) -> usize {
        self.slots.len().saturating_sub(1)
    }

    fn set(&mut self, slot: usize, number: u32) {
        if let Some(there) = self.slots.get_mut(slot) {
            *there = number;
        }
    }

    fn slot_of(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<usize> {
        let mask = self.mask();
        let mut slot = hash as usize & mask;
        loop {
            match self.slots.get(slot) {
                Some(&number) if number == FREE => return None,
                Some(&number) if is_it(number) => return Some(slot),
                Some(_) => slot = (slot + 1) & mask,
                None => return None,
            }
        }
    }

    fn place(&mut self, hash: u64, number: u32) {
        let mask = self.mask();
        let mut slot = hash as usize & mask;
        while self.slots.get(slot).is_some_and(|&there| there != FREE) {
            slot = (slot + 1) & mask;
        }
        self.set(slot, number);
    }

    fn resize(&mut self, slots: usize, hash_of: &impl Fn(u32) -> u64) {
        let old = std::mem::replace(&mut self.slots, vec![FREE; slots]);
        for number in old.into_iter().filter(|&number| number != FREE) {
            self.place(hash_of(number), number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rng::Rng;
    use std::collections::BTreeSet;

    #[test]
    fn it_holds_what_a_set_holds() {
        // Few different hashes, so that many numbers are in each other's way.
        let hash_of = |number: u32| u64::from(number % 37);
        let (mut index, mut set) = (Index::default(), BTreeSet::new());
        let mut rng = Rng::new(1);
        for round in 0..20_000u64 {
            let number = rng.below(200) as u32;
            // It grows, and then becomes small again.
            if rng.below(20_000) > round {
                if set.insert(number) {
                    index.insert(hash_of(number), number, hash_of);
                }
            } else {
                set.remove(&number);
                index.remove(hash_of(number), number, hash_of);
            }
            let number = rng.below(200) as u32;
            let found = index.find(hash_of(number), |other| other == number);
            assert_eq!(found, set.get(&number).copied(), "round {round}");
            assert_eq!(index.count, set.len());
        }
        assert!(index.slots.len() <= FEWEST.max(8 * set.len()));
    }
}
