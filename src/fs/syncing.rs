//! Syncing what a commit renames and changes.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;

use super::disk::{Disk, PlannedBatch};
use super::staging::Staged;
use crate::ids::EntryNo;
use crate::sys::fsat;
use crate::wire::manifest::Kind;
use crate::wire::outcome::Reason;

/// With this many files or directories, or more, the whole file system is synced instead of each.
const SYNC_ALL_FROM: usize = 64;

/// What has to be synced after a commit.
#[derive(Default)]
pub(super) struct Touched {
    /// Directories in which names changed, or whose attributes did.
    pub dirs: BTreeSet<Vec<u8>>,
    /// Attributes of anything else changed.
    pub others: bool,
}

impl Disk {
    /// Syncs the files that a commit will rename.
    pub(super) fn sync_staged(
        &self,
        planned: &PlannedBatch,
        struck: &[bool],
    ) -> Result<(), (EntryNo, Reason)> {
        let Some(staging) = &self.staging else { return Ok(()) };
        let all = planned.manifest.entries.iter().zip(&planned.staged).zip(struck).enumerate();
        let files: Vec<(usize, Staged)> = all
            .filter(|(_, ((entry, _), struck))| {
                !**struck && matches!(entry.kind, Kind::File { .. })
            })
            .filter_map(|(at, ((_, staged), _))| staged.and_then(Result::ok).map(|s| (at, s)))
            .collect();
        if files.len() >= SYNC_ALL_FROM {
            return staging.sync_all().map_err(|e| (EntryNo::ZERO, Reason::from_io(&e)));
        }
        for (at, staged) in files {
            let synced = match &planned.file {
                Some(file) => fsat::sync_fd(file.as_fd()),
                None => staging.find(staged).and_then(|(dir, name)| {
                    match fsat::open_regular_at(dir, &name, libc::O_RDONLY) {
                        Ok(fd) => fsat::sync_fd(fd.as_fd()),
                        // Its final mode does not let this process open it.
                        Err(_) => staging.sync_all(),
                    }
                }),
            };
            synced.map_err(|e| (EntryNo::of(at), Reason::from_io(&e)))?;
        }
        Ok(())
    }

    /// Syncs what a commit has changed.
    pub(super) fn sync_touched(&mut self, touched: Touched) -> io::Result<()> {
        let Some(staging) = &self.staging else { return Ok(()) };
        let whole = touched.others || touched.dirs.len() >= SYNC_ALL_FROM;
        if whole {
            staging.sync_all()?;
        }
        let mut synced = BTreeSet::new();
        for path in &touched.dirs {
            match self.dirs.root().open_dir(path, fsat::LISTING) {
                Ok(fd) if !whole => fsat::sync_fd(fd.as_fd())?,
                // It may be on a mount where nothing was staged.
                Ok(fd) if synced.insert(fsat::stat_fd(fd.as_fd())?.dev) => {
                    fsat::sync_fs(fd.as_fd())?;
                }
                Ok(_) => {}
                // Its final mode does not let this process open it, or it is gone by now.
                Err(_) => staging.sync_all()?,
            }
        }
        Ok(())
    }
}
