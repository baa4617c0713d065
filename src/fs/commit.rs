//! Committing: renames what was staged into place, in the order of the entries.

use std::io;
use std::os::fd::AsFd;

use super::attributes::{self, Applied, Examined};
use super::collect::Within;
use super::disk::{Disk, DiskTransfer, PlannedBatch, StagedFile, never_planned};
use super::errors::{is_want_of_room, reason};
use super::identity::ObjectId;
use super::paths::split;
use super::replace;
use super::staging::Staged;
use super::syncing::Touched;
use crate::engine::disk_job::{DiskAnswer, TransferKey};
use crate::errno;
use crate::ids::{BatchNo, EntryNo};
use crate::sys::fsat::{self, FileType, Rename};
use crate::wire::manifest::{Entry, Kind};
use crate::wire::outcome::{Lacks, Need, Outcome, Reason};

/// What became of an entry of which attributes were set.
fn applied(applied: Applied) -> Outcome {
    match applied.lacks {
        Lacks::NONE => Outcome::Updated,
        lacks => Outcome::Lacking { updated: applied.access || applied.mtime, lacks },
    }
}

impl Disk {
    pub(super) fn commit(
        &mut self,
        key: TransferKey,
        batch: BatchNo,
        strikes: &[EntryNo],
    ) -> DiskAnswer<StagedFile> {
        let Some(mut transfer) = self.transfers.remove(&key) else {
            return never_planned(key, batch);
        };
        if let Some(needs) = transfer.only_needs.remove(&batch) {
            let mut outcomes: Vec<Outcome> = needs.iter().map(|&n| self.untouched(n)).collect();
            for &strike in strikes {
                if let Some(outcome) = outcomes.get_mut(strike.index()) {
                    *outcome = Outcome::Struck;
                }
            }
            self.transfers.insert(key, transfer);
            return DiskAnswer::Done { key, batch, outcomes };
        }
        // Batches are committed in order, so an earlier one cannot be committed any more.
        let later = transfer.batches.split_off(&batch);
        for mut skipped in std::mem::replace(&mut transfer.batches, later).into_values() {
            self.discard(&mut skipped);
        }
        let answer = match transfer.batches.remove(&batch) {
            None => never_planned(key, batch),
            Some(mut planned) => {
                let done = self.commit_batch(&mut transfer, batch, &mut planned, strikes);
                self.discard(&mut planned);
                match done {
                    Ok(outcomes) => DiskAnswer::Done { key, batch, outcomes },
                    Err((entry, reason)) => DiskAnswer::Fatal { key, batch, entry, reason },
                }
            }
        };
        self.transfers.insert(key, transfer);
        answer
    }

    fn commit_batch(
        &mut self,
        transfer: &mut DiskTransfer,
        batch: BatchNo,
        planned: &mut PlannedBatch,
        strikes: &[EntryNo],
    ) -> Result<Vec<Outcome>, (EntryNo, Reason)> {
        let mut struck = vec![false; planned.needs.len()];
        for &strike in strikes {
            if let Some(struck) = struck.get_mut(strike.index()) {
                *struck = true;
            }
        }
        let idle = self.staging.is_none();
        let is_atomic = transfer.atomic.is_some();
        let fsync = self.config.fsync && !idle && !is_atomic;
        let spools = transfer.surplus.mode.spools() && !idle;
        if spools {
            transfer.surplus.committing(batch);
        }
        if fsync {
            self.sync_staged(planned, &struck)?;
        }
        if let Some(atomic) = &mut transfer.atomic {
            atomic.parent = None;
            self.verify_staged(planned);
        }
        let manifest = planned.manifest.clone();
        let mut touched = Touched::default();
        let mut outcomes = Vec::with_capacity(manifest.entries.len());
        let is_whole = planned.is_whole;
        for (at, entry) in manifest.entries.iter().enumerate() {
            let need = planned.needs.get(at).copied().unwrap_or(Need::Skip);
            if let (&Kind::Close { listed }, true) = (&entry.kind, spools) {
                // Before setting its mode, which may take away this process's access.
                let spooled = self.spool_surplus(transfer, entry, listed);
                spooled.map_err(|e| (EntryNo::of(at), reason(&e)))?;
            }
            if entry.kind == Kind::Gone && spools && struck.get(at) != Some(&true) {
                let spooled = self.spool_gone(transfer, entry);
                spooled.map_err(|e| (EntryNo::of(at), reason(&e)))?;
            }
            let examined = planned.examined.get(&EntryNo::of(at)).copied();
            let outcome = match struck.get(at) {
                Some(true) => Outcome::Struck,
                _ if idle => self.untouched(need),
                // Unless something could give way to it.
                _ if entry.kind == Kind::Open
                    && need == Need::All
                    && transfer.room.is_out(
                        &mut self.dirs,
                        split(entry.path.as_bytes()).0,
                        need,
                    )
                    && !planned.staged.iter().skip(at).any(|one| matches!(one, Some(Ok(_))))
                    && !transfer.opened.is_below_failed(entry.path.as_bytes()) =>
                {
                    transfer.opened.fail(entry.path.as_bytes());
                    Outcome::Failed(Reason::NotTried)
                }
                _ => loop {
                    let (this, others) =
                        planned.staged.split_at_mut((at + 1).min(planned.needs.len()));
                    let (Some(this), staged) = (this.last_mut(), others) else {
                        break Outcome::Failed(Reason::Os(errno::EINVAL));
                    };
                    let this = (this, is_whole);
                    let done =
                        self.commit_entry(transfer, entry, need, this, examined, &mut touched);
                    if entry.kind != Kind::Open || !self.gave_way(&done, staged) {
                        break done;
                    }
                    transfer.opened.try_again(entry.path.as_bytes());
                },
            };
            let lacks = planned.lacks.get(&EntryNo::of(at)).copied().unwrap_or_default();
            let is_device = matches!(entry.kind, Kind::Char(..) | Kind::Block(..));
            let outcome = match outcome {
                // Root makes devices; where it may not, as in a container, that is nobody's fault.
                Outcome::Failed(Reason::Os(errno::EPERM)) if is_device && self.rights.is_root() => {
                    Outcome::Lacking { updated: false, lacks: Lacks::DEVICE }
                }
                Outcome::Updated | Outcome::Skipped if lacks != Lacks::NONE => {
                    Outcome::Lacking { updated: outcome == Outcome::Updated, lacks }
                }
                Outcome::Failed(Reason::DirectoryInPlace) if spools => {
                    let staged = planned.staged.get_mut(at).and_then(Option::take);
                    let late = self.put_later(transfer, entry, staged);
                    late.map_err(|e| (EntryNo::of(at), reason(&e)))?
                }
                outcome => outcome,
            };
            let failed = matches!(outcome, Outcome::Failed(_) | Outcome::Silent | Outcome::Struck);
            transfer.incomplete.note(&entry.path, failed);
            if spools && !matches!(entry.kind, Kind::Close { .. } | Kind::Gone | Kind::Set { .. }) {
                let failed = failed && outcome != Outcome::Struck;
                transfer.surplus.named(&mut self.dirs, entry, failed);
            }
            outcomes.push(match outcome {
                // Once the whole tree was walked, there may be room.
                Outcome::Failed(reason)
                    if is_want_of_room(reason) && manifest.age(EntryNo::of(at)).is_some() =>
                {
                    Outcome::Again
                }
                outcome => outcome,
            });
        }
        if fsync {
            self.sync_touched(touched).map_err(|e| (EntryNo::ZERO, Reason::from_io(&e)))?;
        }
        Ok(outcomes)
    }

    /// Where there was no room for a directory, the last file that is staged gives way to it: without the
    /// directory there would be none. Whether one did.
    fn gave_way(&self, done: &Outcome, staged: &mut [Option<Result<Staged, Reason>>]) -> bool {
        let (Outcome::Failed(reason), Some(staging)) = (done, &self.staging) else { return false };
        let last = staged.iter_mut().rev().find(|one| matches!(one, Some(Ok(_))));
        let Some(last) = last.filter(|_| is_want_of_room(*reason)) else { return false };
        if let Some(Ok(one)) = last.replace(Err(*reason)) {
            staging.discard(one);
        }
        true
    }

    /// Adds to the spool what only the target has in a directory that is about to be closed.
    fn spool_surplus(
        &mut self,
        transfer: &mut DiskTransfer,
        entry: &Entry,
        listed: bool,
    ) -> io::Result<()> {
        let Some(staging) = &mut self.staging else { return Ok(()) };
        let mut within = Within { dirs: &mut self.dirs, staging, rights: &self.rights };
        let changed = transfer.opened.is_readable_by_changed_mode(entry.path.as_bytes());
        transfer.surplus.closed(&mut within, entry, listed, changed)
    }

    /// Adds to the spool what is gone at the sender.
    fn spool_gone(&mut self, transfer: &mut DiskTransfer, entry: &Entry) -> io::Result<()> {
        let Some(staging) = &mut self.staging else { return Ok(()) };
        let mut within = Within { dirs: &mut self.dirs, staging, rights: &self.rights };
        transfer.surplus.gone(&mut within, &entry.path)
    }

    /// In the place of a staged object is a directory that is not empty: if the transfer deletes, it goes
    /// with the rest, and then the object takes its place.
    fn put_later(
        &mut self,
        transfer: &mut DiskTransfer,
        entry: &Entry,
        staged: Option<Result<Staged, Reason>>,
    ) -> io::Result<Outcome> {
        let (Some(staging), Some(Ok(staged))) = (&mut self.staging, staged) else {
            return Ok(Outcome::Failed(Reason::DirectoryInPlace));
        };
        let deletes = transfer.surplus.mode.sends_and_deletes();
        let mut within = Within { dirs: &mut self.dirs, staging, rights: &self.rights };
        if deletes && transfer.surplus.in_place(&mut within, &entry.path)? {
            transfer.late.push((entry.path.clone(), staged));
            return Ok(Outcome::Late);
        }
        staging.discard(staged);
        Ok(Outcome::Failed(match deletes {
            // Something in it stays.
            true => Reason::Os(errno::ENOTEMPTY),
            false => Reason::DirectoryInPlace,
        }))
    }

    /// The outcome of an entry that is left as it is.
    fn untouched(&self, need: Need) -> Outcome {
        match need {
            Need::Failed(reason) => Outcome::Failed(reason),
            Need::Silent => Outcome::Silent,
            Need::ReadOnly => Outcome::ReadOnly,
            Need::Unsure => Outcome::Again,
            // Planned in a dry run only.
            Need::Late => Outcome::Skipped,
            Need::Skip | Need::Attributes | Need::All => Outcome::Skipped,
        }
    }

    fn commit_entry(
        &mut self,
        transfer: &mut DiskTransfer,
        entry: &Entry,
        need: Need,
        (staged, is_whole): (&mut Option<Result<Staged, Reason>>, bool),
        examined: Option<Examined>,
        touched: &mut Touched,
    ) -> Outcome {
        let path = entry.path.as_bytes();
        if transfer.opened.is_below_failed(path) {
            return Outcome::Silent;
        }
        let is_close = matches!(entry.kind, Kind::Close { .. });
        let untried = |disk: &mut Self, transfer: &DiskTransfer| {
            transfer.room.is_out(&mut disk.dirs, split(path).0, need)
        };
        let done = match (&entry.kind, need) {
            (
                _,
                Need::Skip
                | Need::Failed(_)
                | Need::Silent
                | Need::ReadOnly
                | Need::Unsure
                | Need::Late,
            ) => {
                self.keep_skipped(transfer, entry);
                return self.untouched(need);
            }
            (Kind::Open, _) => self.open(transfer, entry),
            (Kind::Close { .. }, _) if transfer.opened.has_failed(path) => {
                transfer.opened.release(path);
                return Outcome::Silent;
            }
            (Kind::Close { .. }, _) => {
                let done = self.close_dir(transfer, entry, examined);
                transfer.opened.release(path);
                done
            }
            (_, Need::Attributes) if untried(self, transfer) => Err(Reason::NotTried),
            (_, Need::Attributes) => {
                touched.others = true;
                match transfer.atomic {
                    Some(_) => self.keep_attributes(transfer, entry, examined),
                    None => {
                        let done = self.apply(transfer, entry, examined);
                        done.map(applied).map_err(|e| reason(&e))
                    }
                }
            }
            (Kind::Symlink(to), Need::All) if transfer.incomplete.is_behind(&entry.path, to) => {
                Err(Reason::Incomplete)
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
                _ => Err(Reason::Os(errno::EIO)),
            },
        };
        if !is_close && !matches!(staged, Some(Err(_))) {
            transfer.room.note(&mut self.dirs, split(path).0, &done);
        }
        if self.config.fsync && done.is_ok() {
            touched.dirs.insert(split(path).0.to_vec());
            if matches!(entry.kind, Kind::Open | Kind::Close { .. }) {
                touched.dirs.insert(path.to_vec());
            }
        }
        done.unwrap_or_else(Outcome::Failed)
    }

    /// Creates a directory.
    fn open(&mut self, transfer: &mut DiskTransfer, entry: &Entry) -> Result<Outcome, Reason> {
        if transfer.atomic.is_some() {
            return self.keep_dir(transfer, entry);
        }
        let path = entry.path.as_bytes();
        let replaces = transfer.opened.get(path).and_then(|known| known.replaces.take());
        let made = self.with_owner_access(transfer, &entry.path, |disk| {
            let (dir, name) = disk.dirs.parent(&entry.path)?;
            match fsat::mkdir_at(dir.as_fd(), name, 0o700) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    let stat = fsat::stat_at(dir.as_fd(), name)?;
                    match (replaces, &mut disk.staging) {
                        (Some(what), Some(staging)) if stat.kind != FileType::Directory => {
                            let by = (&mut disk.dirs, staging, &disk.rights);
                            replace::by_directory(by, &entry.path, what).map(|stat| (stat, true))
                        }
                        _ => Ok((stat, false)),
                    }
                }
                made => made.and_then(|()| fsat::stat_at(dir.as_fd(), name)).map(|s| (s, true)),
            }
        });
        let made = match (self.same_name(transfer, &entry.path), made) {
            (Some(reason), _) => Err(reason),
            (_, Ok((stat, _))) if stat.kind == FileType::Symlink => Err(Reason::LinkInPath),
            (_, Ok((stat, _))) if stat.kind != FileType::Directory => {
                Err(Reason::NotADirectoryInPlace)
            }
            (_, Ok(found)) => Ok(found),
            (_, Err(e)) => Err(reason(&e)),
        };
        self.dirs.forget_at(path);
        let known = transfer.opened.get(path);
        match made {
            Ok((stat, true)) => {
                if let Some(known) = known {
                    known.created = true;
                    known.id = Some(ObjectId::of(&stat));
                }
                Ok(Outcome::Updated)
            }
            Ok((stat, false)) => {
                // Created since it was planned: by this transfer, if it opens it twice, or by others.
                if let Some(known) = known {
                    known.lacks_owner_access |= self.rights.lacks_owner_access(&stat);
                    known.id.get_or_insert(ObjectId::of(&stat));
                }
                Ok(Outcome::Skipped)
            }
            Err(reason) => {
                transfer.opened.fail(path);
                Err(reason)
            }
        }
    }

    /// Sets the attributes of a directory.
    fn close_dir(
        &mut self,
        transfer: &mut DiskTransfer,
        entry: &Entry,
        examined: Option<Examined>,
    ) -> Result<Outcome, Reason> {
        if transfer.atomic.is_some() {
            return self.keep_close(transfer, entry, examined);
        }
        let opened = transfer.opened.get(entry.path.as_bytes());
        // What was written in it has changed its time.
        let own = opened.as_ref().filter(|known| known.keeps).map(|known| known.entry.clone());
        let entry = own.as_ref().unwrap_or(entry);
        let examined = opened.and_then(|known| known.id).map(Examined::object).or(examined);
        let applied = self.apply(transfer, entry, examined).map_err(|e| reason(&e))?;
        let news = match transfer.opened.get(entry.path.as_bytes()) {
            None => applied.access || applied.mtime,
            Some(known) => {
                // If it is open a second time, later entries may need access again.
                let opened_up = known.original_mode.take().is_some();
                known.lacks_owner_access = applied.lacks_owner_access;
                // One that was created has been reported already.
                !known.created && (known.differs || (applied.access && !opened_up))
            }
        };
        let (updated, lacks) = (news, applied.lacks);
        Ok(match (lacks, updated) {
            (Lacks::NONE, true) => Outcome::Updated,
            (Lacks::NONE, false) => Outcome::Skipped,
            _ => Outcome::Lacking { updated, lacks },
        })
    }

    fn apply(
        &mut self,
        transfer: &mut DiskTransfer,
        entry: &Entry,
        examined: Option<Examined>,
    ) -> io::Result<Applied> {
        let Some(examined) = examined else {
            return Err(io::Error::from_raw_os_error(libc::ESTALE));
        };
        self.with_owner_access(transfer, &entry.path, |disk| {
            attributes::apply(&mut disk.dirs, &disk.rights, disk.staging.as_ref(), entry, examined)
        })
    }

    /// Renames a staged object into place.
    fn put(
        &mut self,
        transfer: &mut DiskTransfer,
        entry: &Entry,
        staged: Staged,
    ) -> Result<(), Reason> {
        if transfer.atomic.is_some() {
            return self.keep_put(transfer, entry, staged);
        }
        if let Some(reason) = self.same_name(transfer, &entry.path) {
            return Err(reason);
        }
        let put = self.with_owner_access(transfer, &entry.path, |disk| {
            let Some(staging) = &disk.staging else {
                return Err(io::Error::from_raw_os_error(libc::EROFS));
            };
            let (dir, name) = disk.dirs.parent(&entry.path)?;
            let (from, number) = staging.find(staged)?;
            let (from, to) = ((from, &number[..]), (dir.as_fd(), name));
            match fsat::rename_at(from.0, from.1, to.0, to.1, Rename::Replace) {
                Err(e) if e.raw_os_error() == Some(libc::EISDIR) => {
                    replace::empty_dir(from, to)?;
                    disk.dirs.forget_at(entry.path.as_bytes());
                    Ok(())
                }
                result => result,
            }
        });
        put.map_err(|e| match e.raw_os_error() {
            Some(libc::ENOTEMPTY | libc::EEXIST) => Reason::DirectoryInPlace,
            _ => reason(&e),
        })?;
        self.same_name(transfer, &entry.path);
        Ok(())
    }
}
