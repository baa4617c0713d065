//! Counting, showing and deleting what is on the spool.
//!
//! Each path is resolved when its turn comes, following no symbolic link, and the object is deleted
//! only if it and its directory are still those that were found. So whatever is moved or replaced in
//! the meantime is kept.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::collect::Within;
use super::disk::{Disk, StagedFile};
use super::errors::{leads_nowhere, reason};
use super::identity::ObjectId;
use super::paths::split;
use super::rights::Rights;
use super::root::Dirs;
use super::spool::Record;
use super::staging::{Staged, Staging};
use crate::engine::disk_job::{DeletionTally, DiskAnswer, TransferKey};
use crate::ids::{BatchNo, EntryNo};
use crate::name::RelPath;
use crate::sys::fsat::{self, Rename, Stat};
use crate::wire::outcome::SpoolCode;

/// After how many deletions the path of a directory is resolved anew.
const LOOK_UP_EACH: u32 = 64;

impl Disk {
    pub(super) fn tally(&mut self, key: TransferKey) -> DiskAnswer<StagedFile> {
        let (Some(transfer), Some(staging)) = (self.transfers.get_mut(&key), &mut self.staging)
        else {
            return DiskAnswer::Tallied { key, tally: DeletionTally::default() };
        };
        let mut within = Within { dirs: &mut self.dirs, staging, rights: &self.rights };
        match transfer.surplus.tally(&mut within) {
            Ok(tally) => DiskAnswer::Tallied { key, tally },
            Err(e) => fatal(key, &e),
        }
    }

    pub(super) fn page(
        &mut self,
        key: TransferKey,
        skip: u64,
        room: usize,
    ) -> DiskAnswer<StagedFile> {
        let spool = self.transfers.get_mut(&key).and_then(|transfer| transfer.surplus.spool());
        match spool.map_or(Ok(Vec::new()), |spool| spool.page(skip, room)) {
            Ok(names) => DiskAnswer::Page { key, skip, names },
            Err(e) => fatal(key, &e),
        }
    }

    pub(super) fn delete(&mut self, key: TransferKey) -> DiskAnswer<StagedFile> {
        let none = DiskAnswer::Deleted { key, deleted: 0, failed: 0 };
        if self.transfers.get(&key).is_some_and(|of| of.atomic.is_some()) {
            return self.keep_all_deletions(key);
        }
        let Some(transfer) = self.transfers.get_mut(&key) else { return none };
        let (surplus, late) = (&mut transfer.surplus, &mut transfer.late);
        let Some(staging) = self.staging.as_ref().filter(|_| surplus.may_run()) else {
            return none;
        };
        if let Some((deleted, failed)) = surplus.ran {
            return DiskAnswer::Deleted { key, deleted, failed };
        }
        let mut remover = Remover {
            dirs: &mut self.dirs,
            rights: &self.rights,
            run: None,
            touched: BTreeMap::new(),
        };
        let (mut deleted, mut failed) = (0, 0);
        let passed = surplus.spool().map_or(Ok(()), |spool| {
            spool.each(|record| {
                let mut code = remover.remove(record);
                if let Some(at) = late.iter().position(|(path, _)| *path == record.path) {
                    code = remover.put(staging, late.swap_remove(at), code);
                }
                match code {
                    SpoolCode::Deleted => deleted += 1,
                    // What failed from the start was counted with the tally.
                    SpoolCode::Failed(_) if record.code == SpoolCode::Spooled => failed += 1,
                    SpoolCode::Failed(_) | SpoolCode::Spooled | SpoolCode::Kept => {}
                }
                code
            })
        });
        remover.leave();
        let touched = remover.touched;
        surplus.ran = Some((deleted, failed));
        let synced = if self.config.fsync { self.sync_file_systems(touched) } else { Ok(()) };
        match passed.and(synced) {
            Ok(()) => DiskAnswer::Deleted { key, deleted, failed },
            Err(e) => fatal(key, &e),
        }
    }

    /// The same in a transfer that puts all into place at once.
    fn keep_all_deletions(&mut self, key: TransferKey) -> DiskAnswer<StagedFile> {
        let Some(mut transfer) = self.transfers.remove(&key) else {
            return DiskAnswer::Deleted { key, deleted: 0, failed: 0 };
        };
        let ran = transfer.surplus.ran;
        let kept = match ran {
            Some(ran) => Ok(ran),
            None if !transfer.surplus.may_run() => Ok((0, 0)),
            None => self.keep_deletions(&mut transfer),
        };
        self.transfers.insert(key, transfer);
        match kept {
            Ok((deleted, failed)) => DiskAnswer::Deleted { key, deleted, failed },
            Err(e) => fatal(key, &e),
        }
    }

    /// Syncs the file systems of these directories, by way of a directory above if one is gone.
    pub(super) fn sync_file_systems(&self, touched: BTreeMap<u64, Vec<u8>>) -> io::Result<()> {
        for (dev, path) in touched {
            let mut at = &path[..];
            loop {
                let fd = self.dirs.root().open_dir(at, fsat::LISTING);
                match fd.and_then(|fd| Ok((fsat::stat_fd(fd.as_fd())?.dev, fd))) {
                    Ok((found, fd)) if found == dev => break fsat::sync_fs(fd.as_fd())?,
                    // The directory was deleted by now, or cannot be opened.
                    _ if !at.is_empty() => at = split(at).0,
                    _ => break,
                }
            }
        }
        Ok(())
    }
}

fn fatal(key: TransferKey, error: &io::Error) -> DiskAnswer<StagedFile> {
    DiskAnswer::Fatal { key, batch: BatchNo::ZERO, entry: EntryNo::ZERO, reason: reason(error) }
}

struct Remover<'a> {
    dirs: &'a mut Dirs,
    rights: &'a Rights,
    run: Option<Run>,
    /// For each device, a directory in which something was deleted.
    touched: BTreeMap<u64, Vec<u8>>,
}

/// Consecutive deletions in one directory.
struct Run {
    path: Vec<u8>,
    fd: Arc<OwnedFd>,
    /// Its status before the deletions.
    stat: Stat,
    /// Its permission bits were changed for the deletions.
    mode_changed: bool,
    keeps_mtime: bool,
    changed: bool,
    left: u32,
}

impl Remover<'_> {
    fn remove(&mut self, record: &Record) -> SpoolCode {
        if record.code != SpoolCode::Spooled {
            return record.code;
        }
        match self.try_remove(record) {
            Ok(true) => SpoolCode::Deleted,
            Ok(false) => SpoolCode::Kept,
            Err(e) => SpoolCode::Failed(reason(&e)),
        }
    }

    /// Whether it is gone. If not, it has changed, or something in it is kept.
    fn try_remove(&mut self, record: &Record) -> io::Result<bool> {
        let (dir, name) = split(record.path.as_bytes());
        let run = match self.enter(dir, record.keeps_mtime) {
            Ok(run) => run,
            Err(e) if leads_nowhere(&e) => return Ok(false),
            Err(e) => return Err(e),
        };
        if ObjectId::of(&run.stat) != record.parent {
            return Ok(false);
        }
        let fd = run.fd.as_fd();
        let is_dir = record.seen.is_dir();
        let removed = match fsat::stat_at(fd, name) {
            Ok(stat) if !record.seen.is_still(&stat) => return Ok(false),
            Ok(_) if is_dir => fsat::rmdir_at(fd, name),
            Ok(_) => fsat::unlink_at(fd, name),
            Err(e) => Err(e),
        };
        match removed.map_err(|e| (e.raw_os_error(), e)) {
            Ok(()) => {
                run.changed = true;
                if is_dir {
                    self.dirs.forget_at(record.path.as_bytes());
                }
                Ok(true)
            }
            Err((Some(libc::ENOENT), _)) => Ok(true),
            Err((Some(libc::ENOTEMPTY | libc::EEXIST | libc::ENOTDIR | libc::EISDIR), _)) => {
                Ok(false)
            }
            Err((_, e)) => Err(e),
        }
    }

    /// Puts what was waiting for it into the place of a directory that was to be deleted.
    fn put(&mut self, staging: &Staging, late: (RelPath, Staged), code: SpoolCode) -> SpoolCode {
        let (path, staged) = late;
        let put = match (code, &self.run) {
            (SpoolCode::Deleted, Some(run)) => staging.find(staged).and_then(|(from, number)| {
                let name = split(path.as_bytes()).1;
                fsat::rename_at(from, &number, run.fd.as_fd(), name, Rename::NoReplace)
            }),
            _ => Err(io::Error::from_raw_os_error(libc::ENOTEMPTY)),
        };
        match (put, code) {
            (Ok(()), _) => code,
            (Err(e), code) => {
                staging.discard(staged);
                if matches!(code, SpoolCode::Failed(_)) {
                    code
                } else {
                    SpoolCode::Failed(reason(&e))
                }
            }
        }
    }

    /// Opens the directory `path` to delete something in it.
    fn enter(&mut self, path: &[u8], keeps_mtime: bool) -> io::Result<&mut Run> {
        let goes_on = self
            .run
            .as_ref()
            .is_some_and(|run| run.left > 0 && run.path == path && run.keeps_mtime == keeps_mtime);
        if !goes_on {
            self.leave();
            self.dirs.forget();
            let fd = self.dirs.dir(path)?;
            let stat = fsat::stat_fd(fd.as_fd())?;
            let mode_changed = !path.is_empty()
                && self.rights.lacks_owner_access(&stat)
                && self.set_mode(path, &fd, stat.mode | 0o700).is_ok();
            let path = path.to_vec();
            let left = LOOK_UP_EACH;
            self.run =
                Some(Run { path, fd, stat, mode_changed, keeps_mtime, changed: false, left });
        }
        let run = self.run.as_mut().ok_or(io::ErrorKind::NotFound)?;
        run.left -= 1;
        Ok(run)
    }

    /// Ends the deletions in a directory: restores its mtime and mode.
    fn leave(&mut self) {
        let Some(run) = self.run.take() else { return };
        if run.changed {
            if run.keeps_mtime {
                // If this is not permitted, the transfer could not set it either.
                let _ = fsat::set_mtime_at(run.fd.as_fd(), b".", run.stat.mtime);
            }
            self.touched.entry(run.stat.dev).or_insert_with(|| run.path.clone());
        }
        if run.mode_changed {
            let _ = self.set_mode(&run.path, &run.fd, run.stat.mode);
        }
    }

    fn set_mode(&mut self, path: &[u8], fd: &OwnedFd, mode: u32) -> io::Result<()> {
        let (dir, name) = split(path);
        let dir = self.dirs.dir(dir)?;
        fsat::chmod_at(dir.as_fd(), name, fd.as_fd(), mode)
    }
}
