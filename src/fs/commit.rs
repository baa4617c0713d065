//! Committing: what was staged goes into place, in entry order.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;

use super::disk::{Disk, Pending, StagedFile, Transfer, index, is_fatal, never_planned};
use super::meta::{self, Applied};
use super::opened::above;
use super::root::{reason, split};
use super::staging::Staged;
use super::surplus::Within;
use super::sweep;
use super::walk::Identity;
use crate::engine::job::{Answer, TransferKey};
use crate::name::RelPath;
use crate::sys::fsat::{self, FileType, Rename};
use crate::wire::manifest::{Entry, Kind};
use crate::wire::outcome::{Need, Outcome, Reason};

/// From this many on, files or directories are synced with the whole of their file system.
const SYNC_ALL_FROM: usize = 64;

/// What is to be synced after a commit.
#[derive(Default)]
struct Touched {
    /// Directories in which names changed, and those whose attributes did.
    dirs: BTreeSet<Vec<u8>>,
    /// Attributes of other things changed.
    others: bool,
}

impl Disk {
    pub(super) fn commit(
        &mut self,
        key: TransferKey,
        batch: u32,
        strikes: &[u16],
    ) -> Answer<StagedFile> {
        let Some(mut transfer) = self.transfers.remove(&key) else {
            return never_planned(key, batch);
        };
        if let Some(needs) = transfer.idle.get(&batch) {
            let mut outcomes: Vec<Outcome> = needs.iter().map(|&n| self.untouched(n)).collect();
            for &strike in strikes {
                if let Some(outcome) = outcomes.get_mut(usize::from(strike)) {
                    *outcome = Outcome::Struck;
                }
            }
            self.transfers.insert(key, transfer);
            return Answer::Done { key, batch, outcomes };
        }
        // Batches commit in order: none before this one can still be committed.
        let later = transfer.batches.split_off(&batch);
        for mut skipped in std::mem::replace(&mut transfer.batches, later).into_values() {
            self.discard(&mut skipped);
        }
        let answer = match transfer.batches.remove(&batch) {
            None => never_planned(key, batch),
            Some(mut pending) => {
                let done = self.commit_batch(&mut transfer, batch, &mut pending, strikes);
                self.discard(&mut pending);
                match done {
                    Ok(outcomes) => Answer::Done { key, batch, outcomes },
                    Err((entry, reason)) => Answer::Fatal { key, batch, entry, reason },
                }
            }
        };
        self.transfers.insert(key, transfer);
        answer
    }

    fn commit_batch(
        &mut self,
        transfer: &mut Transfer,
        batch: u32,
        pending: &mut Pending,
        strikes: &[u16],
    ) -> Result<Vec<Outcome>, (u16, Reason)> {
        let mut struck = vec![false; pending.needs.len()];
        for &strike in strikes {
            if let Some(struck) = struck.get_mut(usize::from(strike)) {
                *struck = true;
            }
        }
        let idle = self.staging.is_none();
        let fsync = self.config.fsync && !idle;
        let spools = transfer.surplus.mode.spools() && !idle;
        if spools {
            transfer.surplus.committing(batch);
        }
        if fsync {
            self.sync_staged(pending, &struck)?;
        }
        let manifest = pending.manifest.clone();
        let mut touched = Touched::default();
        let mut outcomes = Vec::with_capacity(manifest.entries.len());
        let is_whole = pending.is_whole;
        let staged = pending.staged.iter_mut();
        for (at, (entry, staged)) in manifest.entries.iter().zip(staged).enumerate() {
            let need = pending.needs.get(at).copied().unwrap_or(Need::Skip);
            if let (&Kind::Close { listed }, true) = (&entry.kind, spools) {
                // Before its attributes may shut this process out.
                let spooled = self.spool_surplus(transfer, entry, listed);
                spooled.map_err(|e| (index(at), Reason::from_io(&e)))?;
            }
            let proven = pending.proven.get(&index(at));
            let outcome = match struck.get(at) {
                Some(true) => Outcome::Struck,
                _ if idle => self.untouched(need),
                _ => {
                    let staged = (staged, is_whole);
                    self.commit_entry(transfer, entry, need, staged, proven, &mut touched)
                }
            };
            if spools && !matches!(entry.kind, Kind::Close { .. }) {
                let failed = matches!(outcome, Outcome::Failed(_) | Outcome::Silent);
                transfer.surplus.named(entry, failed);
            }
            match outcome {
                Outcome::Failed(reason) if is_fatal(reason) => return Err((index(at), reason)),
                _ => outcomes.push(outcome),
            }
        }
        if fsync {
            self.sync_touched(touched).map_err(|e| (0, Reason::from_io(&e)))?;
        }
        Ok(outcomes)
    }

    /// Spools what else is in a directory that is about to be closed.
    fn spool_surplus(
        &mut self,
        transfer: &mut Transfer,
        entry: &Entry,
        listed: bool,
    ) -> io::Result<()> {
        let Some(staging) = &mut self.staging else { return Ok(()) };
        let mut within = Within { dirs: &mut self.dirs, staging, rights: &self.rights };
        // What a dry run could not list, is not.
        let listed = listed && !transfer.opened.is_let_in(entry.path.as_bytes());
        transfer.surplus.closed(&mut within, entry, listed)
    }

    /// The outcome of what nothing is done for.
    fn untouched(&self, need: Need) -> Outcome {
        match need {
            Need::Failed(reason) => Outcome::Failed(reason),
            Need::Silent => Outcome::Silent,
            Need::ReadOnly => Outcome::ReadOnly,
            Need::Skip | Need::Attributes | Need::All => Outcome::Skipped,
        }
    }

    fn commit_entry(
        &mut self,
        transfer: &mut Transfer,
        entry: &Entry,
        need: Need,
        (staged, is_whole): (&mut Option<Result<Staged, Reason>>, bool),
        proven: Option<&Identity>,
        touched: &mut Touched,
    ) -> Outcome {
        let path = entry.path.as_bytes();
        if transfer.opened.is_below_failed(path) {
            return Outcome::Silent;
        }
        let done = match (&entry.kind, need) {
            (_, Need::Skip | Need::Failed(_) | Need::Silent | Need::ReadOnly) => {
                return self.untouched(need);
            }
            (Kind::Open, _) => self.open(transfer, entry),
            (Kind::Close { .. }, _) if transfer.opened.has_failed(path) => {
                transfer.opened.release(path);
                return Outcome::Silent;
            }
            (Kind::Close { .. }, _) => {
                let done = self.close_dir(transfer, entry);
                transfer.opened.release(path);
                done
            }
            (_, Need::Attributes) => {
                touched.others = true;
                let done = self.apply(transfer, entry, proven);
                done.map(|_| Outcome::Updated).map_err(|e| reason(&e))
            }
            (_, Need::All) => match staged {
                Some(Ok(one)) if is_whole => {
                    let one = *one;
                    self.put(transfer, entry, one).map(|()| {
                        *staged = None;
                        Outcome::Updated
                    })
                }
                Some(Err(reason)) => Err(*reason),
                _ => Err(Reason::Os(libc::EIO as u16)),
            },
        };
        if self.config.fsync && done.is_ok() {
            touched.dirs.insert(split(path).0.to_vec());
            if matches!(entry.kind, Kind::Open | Kind::Close { .. }) {
                touched.dirs.insert(path.to_vec());
            }
        }
        done.unwrap_or_else(Outcome::Failed)
    }

    /// Makes a directory.
    fn open(&mut self, transfer: &mut Transfer, entry: &Entry) -> Result<Outcome, Reason> {
        let path = entry.path.as_bytes();
        let made = self.let_in(transfer, &entry.path, |disk| {
            let (dir, name) = disk.dirs.parent(&entry.path)?;
            match fsat::mkdir_at(dir.as_fd(), name, 0o700) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    fsat::stat_at(dir.as_fd(), name).map(Some)
                }
                made => made.map(|()| None),
            }
        });
        let made = match made {
            Ok(Some(stat)) if stat.kind == FileType::Symlink => Err(Reason::LinkInPath),
            Ok(Some(stat)) if stat.kind != FileType::Directory => Err(Reason::NotADirectoryInPlace),
            Ok(found) => Ok(found),
            Err(e) => Err(reason(&e)),
        };
        self.dirs.forget_at(path);
        let known = transfer.opened.get(path);
        match made {
            Ok(None) => {
                if let Some(known) = known {
                    known.created = true;
                }
                Ok(Outcome::Updated)
            }
            Ok(Some(stat)) => {
                // Made meanwhile: by this transfer, if it opened it twice, or by somebody else.
                if let Some(known) = known {
                    known.shut_out |= self.rights.is_shut_out(&stat);
                }
                Ok(Outcome::Skipped)
            }
            Err(reason) => {
                transfer.opened.fail(path);
                Err(reason)
            }
        }
    }

    /// Gives a directory its attributes.
    fn close_dir(&mut self, transfer: &mut Transfer, entry: &Entry) -> Result<Outcome, Reason> {
        let applied = self.apply(transfer, entry, None).map_err(|e| reason(&e))?;
        let news = match transfer.opened.get(entry.path.as_bytes()) {
            None => applied.access || applied.mtime,
            Some(known) => {
                // If it is open once more, later entries may have to be let in anew.
                let opened_up = known.own_mode.take().is_some();
                known.shut_out = applied.shuts_out;
                // Of one that was made, that was the news.
                !known.created && (known.differs || (applied.access && !opened_up))
            }
        };
        Ok(if news { Outcome::Updated } else { Outcome::Skipped })
    }

    fn apply(
        &mut self,
        transfer: &mut Transfer,
        entry: &Entry,
        proven: Option<&Identity>,
    ) -> io::Result<Applied> {
        self.let_in(transfer, &entry.path, |disk| {
            meta::apply(&mut disk.dirs, &disk.rights, disk.staging.as_ref(), entry, proven)
        })
    }

    /// Renames what is staged into place.
    fn put(
        &mut self,
        transfer: &mut Transfer,
        entry: &Entry,
        staged: Staged,
    ) -> Result<(), Reason> {
        let put = self.let_in(transfer, &entry.path, |disk| {
            let Some(staging) = &disk.staging else {
                return Err(io::Error::from_raw_os_error(libc::EROFS));
            };
            let (dir, name) = disk.dirs.parent(&entry.path)?;
            let (from, number) = staging.find(staged)?;
            let (from, to) = ((from, &number[..]), (dir.as_fd(), name));
            match fsat::rename_at(from.0, from.1, to.0, to.1, Rename::Replace) {
                Err(e) if e.raw_os_error() == Some(libc::EISDIR) => {
                    replace_empty_dir(from, to)?;
                    disk.dirs.forget_at(entry.path.as_bytes());
                    Ok(())
                }
                result => result,
            }
        });
        put.map_err(|e| match e.raw_os_error() {
            Some(libc::ENOTEMPTY | libc::EEXIST) => Reason::DirectoryInPlace,
            _ => reason(&e),
        })
    }

    /// Does `work` at `path`; if permission bits of a directory above it forbid that, and the directory
    /// is this process's own and open in this transfer, once more with those bits set.
    fn let_in<T>(
        &mut self,
        transfer: &mut Transfer,
        path: &RelPath,
        mut work: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> io::Result<T> {
        let first = work(self);
        if !matches!(&first, Err(e) if e.raw_os_error() == Some(libc::EACCES)) {
            return first;
        }
        let mut changed = false;
        for dir in above(path.as_bytes()) {
            let Some(known) = transfer.opened.get(dir) else { continue };
            if !known.shut_out || known.own_mode.is_some() {
                continue;
            }
            let (parent, name) = self.dirs.parent(&known.entry.path)?;
            let flags = libc::O_PATH | libc::O_DIRECTORY;
            let fd = fsat::open_at(parent.as_fd(), name, flags, 0)?;
            let stat = fsat::stat_fd(fd.as_fd())?;
            fsat::chmod_at(parent.as_fd(), name, fd.as_fd(), stat.mode | 0o700)?;
            known.own_mode = Some(stat.mode);
            changed = true;
        }
        if changed { work(self) } else { first }
    }

    /// Waits until the files that a commit is to rename are on their device.
    fn sync_staged(&self, pending: &Pending, struck: &[bool]) -> Result<(), (u16, Reason)> {
        let Some(staging) = &self.staging else { return Ok(()) };
        let all = pending.manifest.entries.iter().zip(&pending.staged).zip(struck).enumerate();
        let files: Vec<(usize, Staged)> = all
            .filter(|(_, ((entry, _), struck))| {
                !**struck && matches!(entry.kind, Kind::File { .. })
            })
            .filter_map(|(at, ((_, staged), _))| staged.and_then(Result::ok).map(|s| (at, s)))
            .collect();
        if files.len() >= SYNC_ALL_FROM {
            return staging.sync_all().map_err(|e| (0, Reason::from_io(&e)));
        }
        for (at, staged) in files {
            let synced = match &pending.file {
                Some(file) => fsat::sync_fd(file.as_fd()),
                None => staging.find(staged).and_then(|(dir, name)| {
                    match fsat::open_at(dir, &name, libc::O_RDONLY | libc::O_NONBLOCK, 0) {
                        Ok(fd) => fsat::sync_fd(fd.as_fd()),
                        // With its final mode this process cannot read it.
                        Err(_) => staging.sync_all(),
                    }
                }),
            };
            synced.map_err(|e| (index(at), Reason::from_io(&e)))?;
        }
        Ok(())
    }

    /// Waits until what a commit changed is on its device.
    fn sync_touched(&mut self, touched: Touched) -> io::Result<()> {
        let Some(staging) = &self.staging else { return Ok(()) };
        let whole = touched.others || touched.dirs.len() >= SYNC_ALL_FROM;
        if whole {
            staging.sync_all()?;
        }
        let mut synced = BTreeSet::new();
        for path in &touched.dirs {
            match self.dirs.root().open_dir(path, fsat::LISTING) {
                Ok(fd) if !whole => fsat::sync_fd(fd.as_fd())?,
                // Perhaps on a mount where nothing was staged.
                Ok(fd) if synced.insert(fsat::stat_fd(fd.as_fd())?.dev) => {
                    fsat::sync_fs(fd.as_fd())?;
                }
                Ok(_) => {}
                // With its final mode this process cannot read it; or it is gone by now.
                Err(_) => staging.sync_all()?,
            }
        }
        Ok(())
    }
}

/// Puts what is not a directory in the place of an empty directory.
///
/// ENOTEMPTY if it is not empty; it then stays where it is.
fn replace_empty_dir(
    from: (std::os::fd::BorrowedFd<'_>, &[u8]),
    to: (std::os::fd::BorrowedFd<'_>, &[u8]),
) -> io::Result<()> {
    if !sweep::is_empty(to.0, to.1)? {
        return Err(io::Error::from_raw_os_error(libc::ENOTEMPTY));
    }
    match fsat::rename_at(from.0, from.1, to.0, to.1, Rename::Exchange) {
        Ok(()) => match fsat::rmdir_at(from.0, from.1) {
            Err(e) if e.raw_os_error() == Some(libc::ENOTEMPTY) => {
                // Somebody was quicker: as if it had been so before.
                fsat::rename_at(from.0, from.1, to.0, to.1, Rename::Exchange)?;
                Err(e)
            }
            result => result,
        },
        // No exchange on this file system, or a directory that may not be moved: for a moment
        // there is nothing.
        Err(_) => {
            fsat::rmdir_at(to.0, to.1)?;
            fsat::rename_at(from.0, from.1, to.0, to.1, Rename::Replace)
        }
    }
}
