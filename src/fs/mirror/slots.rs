//! Slots: lasting names in `.makuosan/stage`. What has one is spared whenever the rest of it goes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::look::{Here, look_at};
use super::ops::Ops;
use crate::engine::disk_job::TransferKey;
use crate::fs::disk::Disk;
use crate::fs::home;
use crate::fs::rights::Rights;
use crate::fs::slots::SLOT;
use crate::fs::staging::{Staged, Staging};
use crate::fs::sweep;
use crate::ids::{BatchNo, EntryNo};
use crate::sys::fsat::{self, Rename};
use crate::sys::random;

/// With this many slots or more, the whole file system is synced instead of each.
const SYNC_ALL_FROM: usize = 64;

/// A slot, by a number that no other has had.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(pub u64);

impl Slot {
    pub(super) fn name(self) -> Vec<u8> {
        [SLOT, format!("{:016x}", self.0).as_bytes()].concat()
    }

    /// Where that waits which had the name, until the slot is free for it: only where the two cannot be exchanged.
    pub(super) fn second_name(self) -> Vec<u8> {
        [&self.name()[..], b"-old"].concat()
    }
}

/// A slot that is free.
pub(super) fn fresh(staging: &mut Staging) -> io::Result<Slot> {
    let slot = Slot(random::u64()?);
    staging.slots.insert(slot.0);
    Ok(slot)
}

/// Gives what is staged a slot.
pub(super) fn give(staging: &mut Staging, staged: Staged, us: u32) -> io::Result<Slot> {
    home::have_marked(staging.top(staged.place())?, us)?;
    let slot = fresh(staging)?;
    let renamed = staging.find(staged).and_then(|(dir, number)| {
        fsat::rename_at(dir, &number, dir, &slot.name(), Rename::NoReplace)
    });
    renamed.map(|()| slot).inspect_err(|_| {
        staging.slots.remove(&slot.0);
    })
}

/// Where a slot is.
pub(super) struct Place<'a> {
    /// The `.makuosan`.
    pub top: BorrowedFd<'a>,
    /// The directory of its slots.
    pub stage: BorrowedFd<'a>,
}

impl Disk {
    /// Gives what an entry of a planned batch has in staging a slot, and takes it out of the batch: it will
    /// neither be committed nor discarded with that. None if it has nothing there.
    ///
    /// # Errors
    /// It cannot be renamed; it goes with the batch then.
    pub fn keep_staged(
        &mut self,
        key: TransferKey,
        batch: BatchNo,
        entry: EntryNo,
    ) -> io::Result<Option<Slot>> {
        let planned = self.transfers.get_mut(&key).and_then(|of| of.batches.get_mut(&batch));
        let room = planned.and_then(|planned| planned.staged.get_mut(entry.index()));
        let (Some(room), Some(staging)) = (room, &mut self.staging) else { return Ok(None) };
        let &mut Some(Ok(staged)) = room else { return Ok(None) };
        let slot = give(staging, staged, self.rights.uid())?;
        *room = None;
        Ok(Some(slot))
    }
}

impl Ops<'_> {
    /// What is in a slot; None if nothing is, or something that is not mirrored, or if what it is on is not mounted.
    ///
    /// # Errors
    /// That cannot be told.
    pub fn in_slot(&mut self, slot: Slot) -> io::Result<Option<Here>> {
        match find(self.staging, self.rights, &slot.name())? {
            Some(place) => look_at(place.stage, &slot.name()),
            None => Ok(None),
        }
    }

    /// Removes what is in a slot, which is free then.
    ///
    /// # Errors
    /// As [`Ops::in_slot`]; it cannot be removed.
    pub fn empty_slot(&mut self, slot: Slot) -> io::Result<()> {
        for name in [slot.name(), slot.second_name()] {
            if let Some(place) = find(self.staging, self.rights, &name)? {
                sweep::remove(place.stage, &name)?;
            }
        }
        self.staging.slots.remove(&slot.0);
        Ok(())
    }

    /// Syncs what is in slots, and that it is there.
    ///
    /// # Errors
    /// As [`Ops::in_slot`]; those of fsync(2) and syncfs(2).
    pub fn sync_slots(&mut self, slots: &[Slot]) -> io::Result<()> {
        if slots.len() >= SYNC_ALL_FROM {
            return self.sync_all();
        }
        for slot in slots {
            let Some(place) = find(self.staging, self.rights, &slot.name())? else { continue };
            match fsat::open_regular_at(place.stage, &slot.name(), libc::O_RDONLY) {
                Ok(fd) => fsat::sync_fd(fd.as_fd())?,
                // Its mode does not let this process open it, or it is no file.
                Err(_) => fsat::sync_fs(place.stage)?,
            }
        }
        self.staging.places().try_for_each(|(_, stage)| fsat::sync_fd(stage))
    }
}

/// Where something has this name among the slots, as far as what they are on is there.
pub(super) fn find<'a>(
    staging: &'a mut Staging,
    rights: &Rights,
    name: &[u8],
) -> io::Result<Option<Place<'a>>> {
    if find_open(staging, name)?.is_none() {
        staging.open_left(rights);
    }
    find_open(staging, name)
}

fn find_open<'a>(staging: &'a Staging, name: &[u8]) -> io::Result<Option<Place<'a>>> {
    for (top, stage) in staging.places() {
        match fsat::stat_at(stage, name) {
            Ok(_) => return Ok(Some(Place { top, stage })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}
