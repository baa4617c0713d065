//! What mirrors do to the disk, path by path. An index says what is to be done, and is told what was found;
//! nothing here knows of it.
//!
//! - [`mod@look`]: what is at a path, as hosts compare it.
//! - [`slots`]: lasting names in `.makuosan/stage`, where a version waits for its name, and where afterwards
//!   that lies which had the name before.
//! - [`place`], [`set`], [`remove`]: a version gets its name, other attributes, or goes.
//! - `conflicts`: versions that do not have their name. [`trash`]: what was removed or replaced.
//!
//! Whoever else writes in the tree does not wait for any of this. So what was renamed is looked at afterwards;
//! what nobody expected is told, and its bytes are kept.

use std::io;

use super::disk::Disk;
use super::rights::Rights;
use super::root::Dirs;
use super::staging::Staging;
use crate::engine::disk_job::TransferKey;
use crate::ids::{BatchNo, EntryNo};
use crate::mirror::types::Object;
use crate::name::RelPath;
use crate::wire::versions::Version;
use look::Found;
use slots::Slot;
use tally::Tallies;

mod conflicts;
mod kept;
pub mod look;
pub mod place;
pub mod remove;
pub mod set;
pub mod slots;
pub(super) mod tally;
#[cfg(test)]
mod tests;
pub mod trash;

/// What was found at a path.
pub type Here = (Version, Object);

/// What can be done to the disk of a host, while nothing else is done to it by this daemon.
#[derive(Debug)]
pub struct Ops<'a> {
    staging: &'a mut Staging,
    dirs: &'a mut Dirs,
    rights: &'a Rights,
    tallies: &'a mut Tallies,
    /// The wall clock, in seconds since 1970.
    now: i64,
}

impl Disk {
    /// What can be done to this disk for mirrors. It is `now` by the wall clock, in seconds since 1970.
    ///
    /// # Errors
    /// EROFS if it is never changed; `.makuosan` was removed and cannot be made again.
    pub fn mirror(&mut self, now: i64) -> io::Result<Ops<'_>> {
        let Disk { dirs, rights, tallies, staging, .. } = self;
        let staging = staging.as_mut().ok_or_else(|| io::Error::from_raw_os_error(libc::EROFS))?;
        staging.ensure_home(rights)?;
        dirs.forget();
        Ok(Ops { staging, dirs, rights, tallies, now })
    }

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
        let slot = slots::keep(staging, staged, self.rights.uid())?;
        *room = None;
        Ok(Some(slot))
    }
}

impl Ops<'_> {
    /// What is at a path.
    ///
    /// # Errors
    /// As [`look::look`].
    pub fn look(&mut self, path: &RelPath) -> io::Result<Found> {
        look::look(self.dirs, path)
    }

    /// Syncs the file systems of all places where mirrors have put something.
    ///
    /// # Errors
    /// Those of syncfs(2).
    pub fn sync_all(&self) -> io::Result<()> {
        self.staging.sync_all()
    }
}
