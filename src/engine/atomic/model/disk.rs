//! A disk: names of files in place and in slots, what of that survives, and the lists of operations.

use std::collections::BTreeMap;

use crate::engine::rng::Rng;

pub(super) type Ino = u32;
/// Which file: `p`, `q` or `r`.
pub(super) type File = usize;

pub(super) const P: File = 0;
pub(super) const Q: File = 1;
pub(super) const R: File = 2;

/// Where an inode can be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Place {
    At(File),
    /// Of a transaction, for a file.
    Slot(usize, File),
}

pub(super) type Names = BTreeMap<Place, Ino>;

/// A change of names.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Make(Place, Ino),
    Remove(Place),
    /// What is at the first comes to the second, and the other way round if there is something.
    Exchange(Place, Place),
    Link(Place, Place),
}

impl Change {
    fn apply(self, names: &mut Names) {
        match self {
            Change::Make(place, ino) => {
                names.insert(place, ino);
            }
            Change::Remove(place) => {
                names.remove(&place);
            }
            Change::Exchange(from, to) => {
                if let Some(ino) = names.remove(&from) {
                    let was = names.insert(to, ino);
                    was.map(|was| names.insert(from, was));
                }
            }
            Change::Link(from, to) => {
                if let Some(ino) = names.get(&from).copied() {
                    names.insert(to, ino);
                }
            }
        }
    }
}

/// An operation of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    /// What was staged gets its name.
    Put(File, Ino),
    /// What was seen goes to its slot.
    Delete(File, Ino),
}

#[derive(Clone, Default, Debug)]
pub(super) struct Disk {
    pub names: Names,
    /// What is surely there after the power was lost, and the changes since.
    synced: Names,
    since: Vec<Change>,
    /// The operations of each transaction that is staged or was committed here.
    pub lists: BTreeMap<usize, Vec<Operation>>,
}

impl Disk {
    pub fn new(at: usize) -> Self {
        let at = at as Ino;
        let names = Names::from([(Place::At(P), 1_000 + at), (Place::At(R), 2_000 + at)]);
        Disk { synced: names.clone(), names, ..Disk::default() }
    }

    pub fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.since.push(change);
    }

    pub fn sync(&mut self) {
        self.since.clear();
        self.synced = self.names.clone();
    }

    /// The power is lost: some of what was not synced is done.
    pub fn lose(&mut self, rng: &mut Rng) {
        for change in std::mem::take(&mut self.since) {
            if rng.below(2) == 0 {
                change.apply(&mut self.synced);
            }
        }
        self.names = self.synced.clone();
    }

    pub fn at(&self, place: Place) -> Option<Ino> {
        self.names.get(&place).copied()
    }
}
