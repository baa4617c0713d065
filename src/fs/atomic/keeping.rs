//! What a disk knows of its transactions: those that transfers are making, and those that are ready.

use std::collections::{BTreeMap, BTreeSet};

use super::list::{ListId, ListReader, ListWriter, Operation, SlotAt};
use crate::fs::errors::reason;
use crate::fs::paths::split;
use crate::fs::staging::{Staged, Staging};
use crate::fs::state::dir::StateDir;
use crate::sys::fsat::Stat;
use crate::wire::outcome::Reason;

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
}

impl Keeping {
    /// One with a list that nothing is in.
    pub(super) fn new(no: u64, list: ListWriter) -> Self {
        Keeping { no, list, spooled: 0, kept_in: BTreeSet::new(), parent: None }
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
