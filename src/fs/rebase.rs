//! A disk moves to another base directory, which has come to the path of the old one.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::disk::{Disk, StagedFile};
use super::errors::reason;
use super::root::{Dirs, Root};
use super::staging::Staging;
use super::state::dir::{Keeps, StateDir};
use crate::engine::disk_job::{DiskAnswer, DiskJob, TransferKey};
use crate::ids::{BatchNo, EntryNo};
use crate::name::STAGING;
use crate::wire::outcome::Reason;

impl Disk {
    /// Makes sure that `job` is done in the directory that `look` gives, which is called for jobs that
    /// read or change what is there. If it cannot be, the answer is why, and nothing of the transfer is
    /// left.
    ///
    /// A transfer that has begun in another directory cannot go on in this one.
    pub fn follow(
        &mut self,
        job: &DiskJob,
        look: impl FnOnce() -> Result<Arc<Root>, Reason>,
    ) -> Option<DiskAnswer<StagedFile>> {
        let (key, batch) = match *job {
            DiskJob::Plan { key, batch, .. } | DiskJob::Commit { key, batch, .. } => (key, batch),
            DiskJob::Tally { key } | DiskJob::Delete { key } => (key, BatchNo::ZERO),
            DiskJob::Close { key, .. } => {
                self.left_behind.remove(&key);
                return None;
            }
            DiskJob::Stage { .. } | DiskJob::Page { .. } => return None,
        };
        let moved = look().and_then(|root| {
            self.move_to(root).map_err(|error| match error.kind() {
                // Another daemon works there.
                io::ErrorKind::WouldBlock => Reason::StagingNotOurs,
                _ => reason(&error),
            })
        });
        let reason = match moved {
            Ok(()) if self.left_behind.contains(&key) => Reason::BaseChanged,
            Ok(()) => return None,
            Err(reason) => reason,
        };
        self.forget(key);
        Some(DiskAnswer::Fatal { key, batch, entry: EntryNo::ZERO, reason })
    }

    /// Works in `root` from now on.
    ///
    /// # Errors
    /// Those of [`Staging::open`]. There is nothing to work in then, until a later call succeeds.
    fn move_to(&mut self, root: Arc<Root>) -> io::Result<()> {
        if Arc::ptr_eq(self.dirs.root(), &root) {
            return Ok(());
        }
        let begun: Vec<TransferKey> = self.transfers.keys().copied().collect();
        begun.iter().for_each(|&key| self.forget(key));
        self.left_behind.extend(begun);
        // Given up first: the new one may be the same, reached by another mount.
        if let Some(staging) = self.staging.take() {
            self.spared = staging.slots;
        }
        if !self.config.readonly {
            self.staging = Some(Staging::open(Arc::clone(&root), &self.rights, &self.spared)?);
        }
        // What was ready there cannot come here.
        self.transactions.ready.clear();
        let before = self.dirs.root().path().join(OsStr::from_bytes(STAGING));
        let lists = self.transactions.lists.take();
        self.transactions.lists = match lists {
            Some(lists) if lists.path().starts_with(&before) => {
                drop(lists);
                StateDir::in_base(Keeps::Prepared, &root, self.rights.uid()).ok()
            }
            lists => lists,
        };
        self.dirs = Dirs::new(root);
        Ok(())
    }
}
