//! The life of a transaction here: from its first batch, over the moment when it is ready and no transfer's any more,
//! to the end of its slots.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;

use super::apply::{Applier, is_last};
use super::keeping::{Keeping, RESERVE, Ready, name_of};
use super::list::{self, ListReader, ListWriter, Operation};
use crate::engine::disk_job::TransferKey;
use crate::errno;
use crate::fs::disk::Disk;
use crate::fs::errors::reason;
use crate::fs::mirror::tally::Tallies;
use crate::fs::mirror::trash::Trash;
use crate::fs::rights::PRIVATE;
use crate::fs::slots::prefix_of;
use crate::fs::staging::{PlaceId, Staged, Staging, create};
use crate::fs::state::dir::StateDir;
use crate::fs::state::error::StateError;
use crate::fs::sweep;
use crate::name::RelPath;
use crate::sys::fsat;
use crate::wire::outcome::Reason;

pub use super::apply::Applied;
pub use super::list::ListId;

/// How many slots are emptied in one go.
const PIECE: usize = 1_000;

/// A transaction that is ready to be put into place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prepared {
    /// Its number.
    pub no: u64,
    /// What its list is known by, which [`Disk::keep_transactions`] wants to be told after a start.
    pub list: ListId,
    /// How many operations there are on it.
    pub operations: u64,
}

/// The transactions that have a list in `lists`.
///
/// # Errors
/// It cannot be listed.
pub fn numbers(lists: &StateDir) -> Result<Vec<u64>, StateError> {
    let number = |name: Vec<u8>| {
        let no = u64::from_str_radix(std::str::from_utf8(&name).ok()?, 16).ok()?;
        (name_of(no) == name).then_some(no)
    };
    Ok(lists.names()?.into_iter().filter_map(number).collect())
}

impl Disk {
    /// Keeps the lists of transactions in `lists`. These, which were [`Prepared`] before the daemon was started, are
    /// ready once more; the slots of all of them were spared when the disk was opened. All others that have lists are
    /// dropped. Those of which the lists are missing or damaged come back: nothing can be done of them.
    ///
    /// # Errors
    /// Lists cannot be read or removed.
    pub fn keep_transactions(
        &mut self,
        lists: StateDir,
        ready: &[(u64, ListId)],
    ) -> Result<Vec<u64>, StateError> {
        let mut lost = Vec::new();
        for &(no, id) in ready {
            let file = lists.open_file(&name_of(no), libc::O_RDONLY)?;
            if file.is_some_and(|file| list::check(&file, id).is_ok()) {
                let ready = Ready { id, untouched: false, clearing: None };
                self.transactions.ready.insert(no, ready);
            } else {
                lost.push(no);
            }
        }
        for no in numbers(&lists)? {
            if !self.transactions.ready.contains_key(&no) {
                lists.remove(&name_of(no))?;
            }
        }
        self.transactions.lists = Some(lists);
        Ok(lost)
    }

    /// What this transfer brings is kept for the transaction `no`, which no other has. It is called before the first
    /// batch is planned.
    ///
    /// # Errors
    /// Why nothing can be kept here: nothing is staged then.
    pub fn begin_atomic(&mut self, key: TransferKey, no: u64) -> Result<(), Reason> {
        let may_open = self.may_open(key.node);
        let us = &self.rights;
        let Some(staging) = &mut self.staging else { return Err(Reason::ReadOnly) };
        let lists = self.transactions.lists.as_ref().ok_or(Reason::Os(errno::EROFS))?;
        if !may_open {
            return Err(Reason::Os(errno::EMFILE));
        }
        staging.slots.insert(no);
        staging.transaction = Some(no);
        let fit = staging.ensure_home(us).and_then(|()| staging.place_for(&mut self.dirs, b"", us));
        staging.transaction = None;
        let file = fit.map_err(|e| reason(&e)).and_then(|_| lists.begin(&name_of(no)).map_err(why));
        match file {
            Ok(file) => {
                let keeping = Keeping::new(no, ListWriter::new(file));
                self.transfers.entry(key).or_default().atomic = Some(keeping);
                Ok(())
            }
            Err(why) => {
                staging.slots.remove(&no);
                Err(why)
            }
        }
    }

    /// All batches of a transfer are here, and what is to be deleted is known: from now on its transaction is ready,
    /// and no part of the transfer, whose end does nothing to it. With `fsync`, all of it is synced.
    ///
    /// # Errors
    /// What of it cannot be had, and why: it goes with the transfer then.
    pub fn prepare(&mut self, key: TransferKey) -> Result<Prepared, (RelPath, Reason)> {
        let none = || (RelPath::base(), Reason::Os(errno::EINVAL));
        let fail = |why: Reason| (RelPath::base(), why);
        let transfer = self.transfers.get_mut(&key).ok_or_else(none)?;
        let (Some(staging), Some(lists)) = (&mut self.staging, &self.transactions.lists) else {
            return Err(fail(Reason::ReadOnly));
        };
        if let Some((path, _)) = transfer.late.first() {
            return Err((path.clone(), Reason::Os(errno::ENOTEMPTY)));
        }
        let atomic = transfer.atomic.as_mut().ok_or_else(none)?;
        for (place, len) in std::mem::take(&mut atomic.room) {
            let path = atomic.list.places().get(place).map_or(&b""[..], |path| path);
            let place = staging.place_at(path, &self.rights).map(|place| place.of(atomic.no));
            let kept = place.and_then(|place| reserve(staging, place, len));
            kept.map_err(|e| fail(reason(&e)))?;
        }
        let fsync = self.config.fsync;
        if fsync {
            staging.sync_all().map_err(|e| fail(reason(&e)))?;
        }
        let id = atomic.list.finish(fsync).map_err(|e| fail(reason(&e)))?;
        let (no, operations) = (atomic.no, atomic.list.count);
        lists.complete(&name_of(no)).map_err(|e| fail(why(e)))?;
        if fsync {
            lists.sync().map_err(|e| fail(why(e)))?;
        }
        transfer.atomic = None;
        let ready = Ready { id, untouched: true, clearing: None };
        self.transactions.ready.insert(no, ready);
        Ok(Prepared { no, list: id, operations })
    }

    /// Puts all of a transaction into place. If that was begun before, the rest is done.
    ///
    /// # Errors
    /// There is no such transaction, or its list cannot be read.
    pub fn apply_transaction(&mut self, no: u64) -> io::Result<Applied> {
        self.apply_with(no, &mut || Ok(()))
    }

    pub(super) fn apply_with(
        &mut self,
        no: u64,
        fuse: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<Applied> {
        let none = || io::Error::from(io::ErrorKind::NotFound);
        let fsync = self.config.fsync;
        let ready = self.transactions.ready.get_mut(&no).ok_or_else(none)?;
        let untouched = std::mem::replace(&mut ready.untouched, false);
        let id = ready.id;
        let mut applier = Applier {
            staging: self.staging.as_mut().ok_or_else(none)?,
            dirs: &mut self.dirs,
            rights: &self.rights,
            no,
            untouched,
            fuse,
            places: Vec::new(),
            opened_up: Vec::new(),
            touched: BTreeMap::new(),
            applied: Applied::default(),
        };
        applier.dirs.forget();
        let lists = self.transactions.lists.as_ref().ok_or_else(none)?;
        let mut has_last = false;
        for last in [false, true] {
            let mut reader = open(lists, no, id)?;
            while let Some(operation) = reader.next()? {
                if is_last(&operation) == last {
                    applier.run(&operation, &reader.places);
                } else {
                    has_last = true;
                }
            }
            if !has_last {
                break;
            }
        }
        applier.close_up();
        applier.dirs.forget();
        let Applier { applied, touched, staging, .. } = applier;
        if fsync {
            staging.sync_all()?;
            self.sync_file_systems(touched)?;
        }
        Ok(applied)
    }

    /// Empties some of the slots of a transaction, of which nothing is to be done any more. Whether there are more: if
    /// not, nothing is left of it.
    pub fn clear_transaction(&mut self, no: u64) -> bool {
        let Some(ready) = self.transactions.ready.get_mut(&no) else { return false };
        let (Some(staging), Some(lists)) = (&mut self.staging, &self.transactions.lists) else {
            return false;
        };
        let mut reader = match ready.clearing.take() {
            Some(reader) => Some(reader),
            None => open(lists, no, ready.id).ok(),
        };
        let mut left = PIECE;
        while let Some(Ok(Some(operation))) = reader.as_mut().map(ListReader::next) {
            let Some(slot) = operation.slot() else { continue };
            let path = reader.as_ref().and_then(|reader| reader.places.get(slot.place));
            let place = path.map(|path| staging.place_at(path, &self.rights));
            if let Some(Ok(place)) = place {
                let staged = Staged::new(place.of(no), slot.number);
                let _ = empty((staging, self.rights.uid(), &mut self.tallies), staged, &operation);
            }
            left -= 1;
            if left == 0 {
                ready.clearing = reader;
                return true;
            }
        }
        self.transactions.ready.remove(&no);
        let _ = lists.remove(&name_of(no));
        self.empty_slots(no);
        if let (true, Some(staging)) = (self.transfers.is_empty(), &mut self.staging) {
            staging.tidy();
        }
        false
    }

    /// Removes all of a transaction that was decided against.
    pub fn drop_transaction(&mut self, no: u64) {
        while self.clear_transaction(no) {}
    }

    /// Whether lists can be kept.
    pub fn keeps_transactions(&self) -> bool {
        self.transactions.lists.is_some()
    }

    /// Whether a transaction is ready, or was begun.
    pub fn is_ready(&self, no: u64) -> bool {
        self.transactions.ready.contains_key(&no)
    }

    /// Removes what was kept by a transfer that ends early.
    pub(in crate::fs) fn abandon(&mut self, atomic: Keeping) {
        let no = atomic.no;
        drop(atomic);
        if let Some(lists) = &self.transactions.lists {
            lists.abandon(&name_of(no));
        }
        self.empty_slots(no);
    }

    fn empty_slots(&mut self, no: u64) {
        let Some(staging) = &mut self.staging else { return };
        // What cannot be reached now goes at a start.
        staging.open_left(&self.rights);
        let prefix = prefix_of(no);
        for (_, stage) in staging.places() {
            for name in sweep::names(stage).unwrap_or_default() {
                if name.starts_with(&prefix) {
                    let _ = sweep::remove(stage, &name);
                }
            }
        }
        staging.slots.remove(&no);
    }
}

/// Removes what is in a slot. A directory that somebody has put something into, and that could not go back, is not
/// removed.
fn empty(
    (staging, us, tallies): (&Staging, u32, &mut Tallies),
    staged: Staged,
    operation: &Operation,
) -> io::Result<()> {
    let (stage, name) = staging.find(staged)?;
    match sweep::remove(stage, &name) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST)) => {
            let mut trash = Trash { us, now: staging.now(), tallies };
            let top = staging.top(staged.place())?;
            trash.take(top, (stage, &name), operation.path()).map(drop)
        }
        removed => removed,
    }
}

/// Keeps so much room in a place.
fn reserve(staging: &Staging, place: PlaceId, len: u64) -> io::Result<()> {
    let (stage, name) = staging.find(Staged::new(place, RESERVE))?;
    let file = create(stage, &name, PRIVATE)?;
    fsat::allocate(file.as_fd(), len)
}

fn open(lists: &StateDir, no: u64, id: ListId) -> io::Result<ListReader> {
    let file = lists.open_file(&name_of(no), libc::O_RDONLY).map_err(into_io)?;
    Ok(ListReader::new(file.ok_or(io::ErrorKind::NotFound)?, id))
}

fn into_io(error: StateError) -> io::Error {
    match error {
        StateError::Io(_, error) => error,
        _ => io::Error::from_raw_os_error(libc::EIO),
    }
}

fn why(error: StateError) -> Reason {
    reason(&into_io(error))
}
