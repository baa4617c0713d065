//! What a commit does in a transfer that puts all into place at once: it adds to the list what is to be done.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::list::Operation;
use crate::errno;
use crate::fs::attributes::{Examined, known_of};
use crate::fs::digest::Digester;
use crate::fs::disk::{Disk, DiskTransfer, PlannedBatch};
use crate::fs::errors::reason;
use crate::fs::heritage;
use crate::fs::identity::{Identity, ObjectId};
use crate::fs::paths::split;
use crate::fs::rights::{PRIVATE, Wanted, is_kind};
use crate::fs::staging::Staged;
use crate::name::RelPath;
use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::manifest::{Digest, Entry, Kind};
use crate::wire::outcome::{Lacks, Outcome, Reason};

const STALE: Reason = Reason::Os(errno::ESTALE);

impl Disk {
    /// Reads what is staged of a batch once more, where it is known by digests. What is not as it was sent fails.
    pub(in crate::fs) fn verify_staged(&mut self, planned: &mut PlannedBatch) {
        let Some(staging) = &self.staging else { return };
        for (at, digest) in &planned.manifest.digests {
            let Some(room) = planned.staged.get_mut(at.index()) else { continue };
            let &mut Some(Ok(staged)) = room else { continue };
            let found = staging.find(staged).and_then(|at| read_back(&mut self.digester, at));
            match found {
                Ok(Some(found)) if found == *digest => continue,
                Ok(_) => *room = Some(Err(Reason::Damaged)),
                Err(e) => *room = Some(Err(reason(&e))),
            }
            staging.discard(staged);
        }
    }

    /// Keeps what is staged for an entry.
    pub(in crate::fs) fn keep_put(
        &mut self,
        transfer: &mut DiskTransfer,
        entry: &Entry,
        staged: Staged,
    ) -> Result<(), Reason> {
        let found = self.foresee(transfer, &entry.path)?;
        self.foresee_tree(&entry.path, found.as_ref())?;
        self.keep_in_slot(transfer, &entry.path, staged, (false, found.is_some()))
    }

    /// The rest of it, when nothing is in the way any more.
    pub(super) fn keep_in_slot(
        &mut self,
        transfer: &mut DiskTransfer,
        path: &RelPath,
        staged: Staged,
        (is_dir, replaces): (bool, bool),
    ) -> Result<(), Reason> {
        let (Some(staging), Some(atomic)) = (&self.staging, &mut transfer.atomic) else {
            return Err(Reason::Os(errno::EROFS));
        };
        let (dir, number) = staging.find(staged).map_err(|e| reason(&e))?;
        let ino = fsat::stat_at(dir, &number).map_err(|e| reason(&e))?.ino;
        let name = split(path.as_bytes()).1;
        // Whether it can have its name there can be told here, too.
        match fsat::stat_at(dir, name) {
            Err(e) if e.raw_os_error() == Some(libc::ENAMETOOLONG) => return Err(reason(&e)),
            _ => {}
        }
        let slot = atomic.slot_of(staging, staged)?;
        if !replaces {
            atomic.needs_room(slot, path.as_bytes());
        }
        let path = path.clone();
        atomic.push(&Operation::Put { slot, ino, is_dir, replaces, path })
    }

    /// Keeps a directory that is to be made.
    pub(in crate::fs) fn keep_dir(
        &mut self,
        transfer: &mut DiskTransfer,
        entry: &Entry,
    ) -> Result<Outcome, Reason> {
        let path = entry.path.as_bytes();
        let kept = self.foresee(transfer, &entry.path).and_then(|found| {
            let replaces = transfer.opened.get(path).is_some_and(|known| known.replaces.is_some());
            match found.as_ref().map(|stat| stat.kind) {
                // Somebody has made it since it was planned.
                Some(FileType::Directory) => return Ok(found),
                Some(FileType::Symlink) if !replaces => return Err(Reason::LinkInPath),
                Some(_) if !replaces => return Err(Reason::NotADirectoryInPlace),
                _ => {}
            }
            let parent = split(path).0;
            let kept = match heritage::of(&mut self.dirs, parent, &self.rights) {
                // Made elsewhere, it would not inherit that.
                Some(_) => self.keep_make(transfer, &entry.path),
                None => {
                    let staged = self.stage_dir(path)?;
                    let how = (true, found.is_some());
                    self.keep_in_slot(transfer, &entry.path, staged, how)
                }
            };
            kept.map(|()| None)
        });
        match kept {
            Ok(None) => Ok(Outcome::Updated),
            Ok(Some(stat)) => {
                if let Some(known) = transfer.opened.get(path) {
                    known.lacks_owner_access |= self.rights.lacks_owner_access(&stat);
                    known.id.get_or_insert(ObjectId::of(&stat));
                    known.existed = true;
                }
                Ok(Outcome::Skipped)
            }
            Err(reason) => {
                transfer.opened.fail(path);
                Err(reason)
            }
        }
    }

    fn keep_make(&mut self, transfer: &mut DiskTransfer, path: &RelPath) -> Result<(), Reason> {
        let (Some(staging), Some(atomic)) = (&mut self.staging, &mut transfer.atomic) else {
            return Err(Reason::Os(errno::EROFS));
        };
        let parent = split(path.as_bytes()).0;
        let place = staging.place_for(&mut self.dirs, parent, &self.rights);
        let staged = staging.free(place.map_err(|e| reason(&e))?);
        let slot = atomic.slot_of(staging, staged)?;
        atomic.needs_room(slot, path.as_bytes());
        atomic.push(&Operation::Make { slot, path: path.clone() })
    }

    fn stage_dir(&mut self, path: &[u8]) -> Result<Staged, Reason> {
        let Some(staging) = &mut self.staging else { return Err(Reason::Os(errno::EROFS)) };
        let place = staging.place_for(&mut self.dirs, split(path).0, &self.rights);
        let made = place.and_then(|place| {
            staging.make(place, &self.rights, |dir, name| fsat::mkdir_at(dir, name, 0o700))
        });
        made.map(|(staged, ())| staged).map_err(|e| reason(&e))
    }

    /// Keeps the attributes of a directory.
    pub(in crate::fs) fn keep_close(
        &mut self,
        transfer: &mut DiskTransfer,
        entry: &Entry,
        examined: Option<Examined>,
    ) -> Result<Outcome, Reason> {
        let known = transfer.opened.get(entry.path.as_bytes());
        let own = known.as_ref().filter(|known| known.keeps).map(|known| known.entry.clone());
        let entry = own.as_ref().unwrap_or(entry);
        let is_new = known.as_ref().is_some_and(|known| known.id.is_none());
        let news = known.as_ref().is_none_or(|known| known.differs);
        let id = known.and_then(|known| known.id).or(examined.map(|examined| examined.id));
        let (ino, lacks) = match (is_new, id) {
            // That it was made is told already.
            (true, _) => (None, Lacks::NONE),
            (false, Some(id)) => (Some(id.ino), self.foresee_attributes(entry, id)?.1),
            (false, None) => return Err(STALE),
        };
        let atomic = transfer.atomic.as_mut().ok_or(STALE)?;
        atomic.push(&Operation::Close { entry: entry.clone(), ino })?;
        let updated = news && !is_new;
        Ok(match lacks {
            Lacks::NONE if updated => Outcome::Updated,
            Lacks::NONE => Outcome::Skipped,
            lacks => Outcome::Lacking { updated, lacks },
        })
    }

    /// A directory that needs nothing is closed. If something in it will be deleted, or it must be opened up for what
    /// is in it, it gets its attributes back afterwards.
    pub(in crate::fs) fn keep_skipped(&mut self, transfer: &mut DiskTransfer, entry: &Entry) {
        let spooled = transfer.surplus.spool().map_or(0, |spool| spool.count());
        let Some(atomic) = &mut transfer.atomic else { return };
        if !matches!(entry.kind, Kind::Close { .. }) {
            return;
        }
        let has_more = std::mem::replace(&mut atomic.spooled, spooled) != spooled;
        let found = self.dirs.parent(&entry.path);
        let found = found.and_then(|(dir, name)| fsat::stat_at(dir.as_fd(), name));
        let Ok(stat) = found else { return };
        let is_dir = stat.kind == FileType::Directory;
        if is_dir && (has_more || self.rights.lacks_owner_access(&stat)) {
            let &Stat { mode, uid, gid, mtime, .. } = &stat;
            let entry = Entry { mode, uid, gid, mtime, ..entry.clone() };
            // If the list cannot be written, all fails in the end.
            let _ = atomic.push(&Operation::Close { entry, ino: Some(stat.ino) });
        }
    }

    /// Keeps the attributes of something that is no directory.
    pub(in crate::fs) fn keep_attributes(
        &mut self,
        transfer: &mut DiskTransfer,
        entry: &Entry,
        examined: Option<Examined>,
    ) -> Result<Outcome, Reason> {
        let examined = examined.ok_or(STALE)?;
        let (stat, lacks) = self.foresee_attributes(entry, examined.id)?;
        let proven = examined.proven == Some(Identity::of(&stat));
        let keeps = known_of(self.staging.as_ref(), &stat).1;
        if self.rights.must_replace(entry, &stat, keeps, proven) {
            return Err(STALE);
        }
        let atomic = transfer.atomic.as_mut().ok_or(STALE)?;
        let (entry, ino, ctime) = (entry.clone(), stat.ino, stat.ctime);
        atomic.push(&Operation::Attributes { entry, ino, ctime, proven })?;
        Ok(match lacks {
            Lacks::NONE => Outcome::Updated,
            lacks => Outcome::Lacking { updated: true, lacks },
        })
    }

    /// What will get attributes, and which of them it will lack.
    fn foresee_attributes(&mut self, entry: &Entry, id: ObjectId) -> Result<(Stat, Lacks), Reason> {
        let found = self.dirs.parent(&entry.path);
        let found = found.and_then(|(dir, name)| fsat::stat_at(dir.as_fd(), name));
        let stat = found.map_err(|e| reason(&e))?;
        if ObjectId::of(&stat) != id || !is_kind(&entry.kind, stat.kind) {
            return Err(STALE);
        }
        if stat.is_held {
            return Err(Reason::Os(errno::EPERM));
        }
        let (grain, keeps) = known_of(self.staging.as_ref(), &stat);
        let has = Wanted::of(&stat);
        let wanted = match self.rights.may_change(&stat) {
            true => self.rights.wanted(entry, has, keeps),
            false => has,
        };
        let time = Lacks::of([(Lacks::TIME, !grain.in_range(entry.mtime))]);
        Ok((stat, self.rights.lacks(entry, wanted).and(time)))
    }
}

/// The digest of a staged file.
fn read_back(
    digester: &mut Digester,
    (dir, name): (BorrowedFd<'_>, Vec<u8>),
) -> io::Result<Option<Digest>> {
    let mut read = || {
        let identity = Identity::of(&fsat::stat_at(dir, &name)?);
        digester.digest(dir, &name, &identity, &|| false)
    };
    match read() {
        // Its final mode does not let this process open it.
        Err(e) if e.raw_os_error() == Some(libc::EACCES) => {
            let path = fsat::open_at(dir, &name, libc::O_PATH, 0)?;
            let mode = fsat::stat_fd(path.as_fd())?.mode;
            fsat::chmod_at(dir, &name, path.as_fd(), PRIVATE)?;
            let found = read();
            fsat::chmod_at(dir, &name, path.as_fd(), mode)?;
            found
        }
        found => found,
    }
}
