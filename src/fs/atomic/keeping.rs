//! What a disk knows of its transactions: those that transfers are making, and those that are ready.

use std::collections::{BTreeMap, BTreeSet};

use super::list::{ListId, ListReader, ListWriter, Operation, SlotAt};
use crate::fs::errors::reason;
use crate::fs::paths::split;
use crate::fs::staging::{Staged, Staging};
use crate::fs::state::dir::StateDir;
use crate::sys::fsat::Stat;
use crate::wire::outcome::Reason;

/// The number of the slot that keeps room for new names.
pub(super) const RESERVE: u64 = 0;
/// How much a directory may grow by at once.
const BLOCK: u64 = 4 << 10;
/// Not more room than this is kept in a place.
const MOST_ROOM: u64 = 32 << 20;

/// The transaction that a transfer makes.
#[derive(Debug)]
pub(in crate::fs) struct Keeping {
    pub no: u64,
    pub(super) list: ListWriter,
    /// How much was spooled for deletion when a directory was closed last.
    pub(super) spooled: u64,
    /// The directories above what was deleted last that keep something.
    pub(super) kept_in: BTreeSet<Vec<u8>>,
    /// The directory that was looked at last, and what was found.
    pub parent: Option<(Vec<u8>, Result<Stat, Reason>)>,
    /// How much room new names may take, by the number of their place.
    pub(super) room: BTreeMap<usize, u64>,
    /// The directory of the newest one of them.
    newest_in: Vec<u8>,
}

impl Keeping {
    /// One with a list that nothing is in.
    pub(super) fn new(no: u64, list: ListWriter) -> Self {
        let (kept_in, room, newest_in) = Default::default();
        Keeping { no, list, spooled: 0, kept_in, parent: None, room, newest_in }
    }

    /// The memory that it takes, in bytes.
    pub fn memory(&self) -> usize {
        self.list.memory() + self.kept_in.iter().map(|dir| 64 + dir.len()).sum::<usize>()
    }

    /// Adds an operation.
    pub(super) fn push(&mut self, operation: &Operation) -> Result<(), Reason> {
        self.list.push(operation).map_err(|e| reason(&e))
    }

    /// Where the list says that something is.
    pub(super) fn slot_of(&mut self, staging: &Staging, staged: Staged) -> Result<SlotAt, Reason> {
        let path = staging.path_of(staged.place()).map_err(|e| reason(&e))?;
        Ok(SlotAt { place: self.list.place(path), number: staged.number() })
    }

    /// There will be a new name, which takes room in its directory.
    pub(super) fn needs_room(&mut self, slot: SlotAt, path: &[u8]) {
        let (dir, name) = split(path);
        let block = if self.newest_in == dir { 0 } else { BLOCK };
        if block > 0 {
            self.newest_in = dir.to_vec();
        }
        let room = self.room.entry(slot.place).or_default();
        *room = (*room + block + 2 * (name.len() as u64 + 16)).min(MOST_ROOM);
    }

    /// A directory of which this is in it stays.
    pub(super) fn stays(&mut self, path: &[u8]) {
        self.kept_in.retain(|dir| path.starts_with(dir));
        self.kept_in.insert(split(path).0.to_vec());
    }
}

/// A transaction that is ready.
#[derive(Debug)]
pub(in crate::fs) struct Ready {
    pub id: ListId,
    /// Nothing of it was done yet, that is sure.
    pub untouched: bool,
    /// How far its slots are emptied.
    pub(super) clearing: Option<ListReader>,
}

/// All that are ready, by their numbers.
#[derive(Debug, Default)]
pub(in crate::fs) struct Transactions {
    /// Where the lists are; None if there can be no transactions.
    pub lists: Option<StateDir>,
    pub ready: BTreeMap<u64, Ready>,
}

/// The name of a transaction's list.
pub(super) fn name_of(no: u64) -> Vec<u8> {
    format!("{no:016x}").into_bytes()
}
