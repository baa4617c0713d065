//! Doing what is on a list. It can end anywhere, and be done again: each operation is told by its slot whether it was
//! done. One that fails is counted and named, and the rest goes on.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::keeping::RESERVE;
use super::list::{Operation, SlotAt};
use crate::engine::atomic::redo::{self, Holds, Step};
use crate::fs::attributes::{self, Examined};
use crate::fs::errors::{leads_nowhere, reason};
use crate::fs::exchange;
use crate::fs::identity::{Identity, ObjectId, Seen};
use crate::fs::paths::{above, split};
use crate::fs::rights::Rights;
use crate::fs::root::Dirs;
use crate::fs::spool::Record;
use crate::fs::staging::{PlaceId, Staged, Staging};
use crate::name::RelPath;
use crate::sys::fsat::{self, FileType, Rename, Stat};
use crate::wire::manifest::{Entry, FileTime};
use crate::wire::outcome::Reason;

/// How often it is tried again because the name was taken, or was free, in the meantime.
const TRIES: usize = 8;
/// After how many operations paths are resolved anew.
const LOOK_UP_EACH: u64 = 64;
/// So many failures are named.
const MOST_NAMED: usize = 16;

/// What became of the operations of a transaction.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// How many are done.
    pub done: u64,
    /// How many could not be.
    pub failed: u64,
    /// Some of these, and why.
    pub first: Vec<(RelPath, Reason)>,
}

/// Does operations.
pub(super) struct Applier<'a> {
    pub staging: &'a mut Staging,
    pub dirs: &'a mut Dirs,
    pub rights: &'a Rights,
    pub no: u64,
    /// None was done before, that is sure.
    pub untouched: bool,
    /// Is asked before anything is changed.
    pub fuse: &'a mut dyn FnMut() -> io::Result<()>,
    pub places: Vec<Option<PlaceId>>,
    /// The directories that were opened up for this process, with the permission bits that they had.
    pub opened_up: Vec<(RelPath, ObjectId, u32)>,
    /// For each device, a directory in which attributes were set.
    pub touched: BTreeMap<u64, Vec<u8>>,
    pub applied: Applied,
}

/// One of two names: a directory, and the name in it.
type At<'a> = (BorrowedFd<'a>, &'a [u8]);

impl Applier<'_> {
    /// Does one operation, and counts it.
    pub fn run(&mut self, operation: &Operation, places: &[Vec<u8>]) {
        if (self.applied.done + self.applied.failed) % LOOK_UP_EACH == 0 {
            self.dirs.forget();
        }
        let path = operation.path();
        let mut done = self.once(operation, places);
        if matches!(&done, Err(e) if e.raw_os_error() == Some(libc::EACCES)) {
            match self.open_up(path) {
                Ok(false) => {}
                Ok(true) => done = self.once(operation, places),
                Err(e) => done = Err(e),
            }
        }
        match done {
            Ok(()) => self.applied.done += 1,
            Err(e) => {
                self.applied.failed += 1;
                if self.applied.first.len() < MOST_NAMED {
                    let why = match e.raw_os_error() {
                        Some(libc::ENOTEMPTY | libc::EEXIST) => Reason::DirectoryInPlace,
                        _ => reason(&e),
                    };
                    self.applied.first.push((path.clone(), why));
                }
            }
        }
    }

    fn once(&mut self, operation: &Operation, places: &[Vec<u8>]) -> io::Result<()> {
        match operation {
            Operation::Put { slot, ino, is_dir, replaces, path } => {
                let staged = self.staged(*slot, places)?;
                self.put(staged, *ino, (*is_dir, *replaces), path)
            }
            Operation::Make { slot, path } => {
                let staged = self.staged(*slot, places)?;
                self.make(staged, path)
            }
            Operation::Attributes { entry, ino, ctime, proven } => {
                self.attributes(entry, *ino, (*ctime, *proven))
            }
            Operation::Close { entry, ino } => self.close(entry, *ino),
            Operation::Delete { slot, record } => {
                let staged = self.staged(*slot, places)?;
                self.delete(staged, record)
            }
        }
    }

    fn staged(&mut self, slot: SlotAt, places: &[Vec<u8>]) -> io::Result<Staged> {
        self.places.resize(places.len(), None);
        let place = match self.places.get(slot.place) {
            Some(Some(place)) => *place,
            _ => {
                let path = places.get(slot.place).ok_or(io::ErrorKind::InvalidData)?;
                let place = self.staging.place_at(path, self.rights)?.of(self.no);
                // The room that was kept for what is done here.
                self.staging.discard(Staged::new(place, RESERVE));
                place
            }
        };
        if let Some(known) = self.places.get_mut(slot.place) {
            *known = Some(place);
        }
        Ok(Staged::new(place, slot.number))
    }

    fn put(
        &mut self,
        staged: Staged,
        ino: u64,
        (is_dir, replaces): (bool, bool),
        path: &RelPath,
    ) -> io::Result<()> {
        let (stage, name) = self.staging.find(staged)?;
        let slot = (stage, &name[..]);
        let holds = if self.untouched { Holds::Own } else { holds(slot, ino)? };
        let step = redo::of_put(holds);
        if step == Step::Done {
            return Ok(());
        }
        let (dir, last) = self.dirs.parent(path)?;
        let to = (dir.as_fd(), last);
        let done = match step {
            Step::PutBack => {
                (self.fuse)()?;
                let is_ours = fsat::stat_at(to.0, to.1).is_ok_and(|stat| stat.ino == ino);
                let how = if is_ours { Rename::Exchange } else { Rename::NoReplace };
                let back = fsat::rename_at(slot.0, slot.1, to.0, to.1, how);
                back.and(Err(io::Error::from_raw_os_error(libc::ENOTEMPTY)))
            }
            _ if is_dir => put_dir(slot, to, self.fuse),
            _ => put_other(slot, to, replaces, self.fuse),
        };
        if is_dir {
            self.dirs.forget_at(path.as_bytes());
        }
        done
    }

    fn make(&mut self, staged: Staged, path: &RelPath) -> io::Result<()> {
        let (stage, name) = self.staging.find(staged)?;
        let (dir, last) = self.dirs.parent(path)?;
        let mut done = Ok(());
        for _ in 0..TRIES {
            (self.fuse)()?;
            done = fsat::mkdir_at(dir.as_fd(), last, 0o700);
            if !matches!(&done, Err(e) if e.kind() == io::ErrorKind::AlreadyExists) {
                break;
            }
            match fsat::stat_at(dir.as_fd(), last) {
                Ok(stat) if stat.kind == FileType::Directory => return Ok(()),
                _ => {}
            }
            (self.fuse)()?;
            match fsat::rename_at(dir.as_fd(), last, stage, &name, Rename::NoReplace) {
                // The slot has what was there before: this was put there since.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
                }
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        self.dirs.forget_at(path.as_bytes());
        done
    }

    fn delete(&mut self, staged: Staged, record: &Record) -> io::Result<()> {
        let (stage, name) = self.staging.find(staged)?;
        let slot = (stage, &name[..]);
        let (dir, last) = match self.dirs.parent(&record.path) {
            Ok(found) => found,
            // It went with what it was in.
            Err(e) if leads_nowhere(&e) => return Ok(()),
            Err(e) => return Err(e),
        };
        let to = (dir.as_fd(), last);
        let ino = record.seen.ino;
        let holds = if self.untouched { Holds::Nothing } else { holds(slot, ino)? };
        let step = redo::of_delete(holds, holds == Holds::Own && exchange::is_tree(slot));
        if step == Step::Do {
            if fsat::stat_fd(dir.as_fd())?.ino != record.parent.ino {
                return Ok(());
            }
            let found = match fsat::stat_at(to.0, to.1).map_err(|e| (e.kind(), e)) {
                Err((io::ErrorKind::NotFound, _)) => return Ok(()),
                found => found.map_err(|(_, e)| e)?,
            };
            // Devices may have other numbers after a start.
            let seen = Seen { dev: found.dev, ..record.seen };
            // What has changed since stays.
            if !seen.is_still(&found) {
                return Ok(());
            }
            (self.fuse)()?;
            let moved = fsat::rename_at(to.0, to.1, slot.0, slot.1, Rename::NoReplace);
            self.dirs.forget_at(record.path.as_bytes());
            match moved.map_err(|e| (e.raw_os_error(), e)) {
                // To move a directory is to change it, too.
                Err((Some(libc::EACCES | libc::EPERM), _)) if seen.is_dir => {
                    return match fsat::rmdir_at(to.0, to.1) {
                        Err(e) if is_not_empty(&e) => Ok(()),
                        removed => removed,
                    };
                }
                moved => moved.map_err(|(_, e)| e)?,
            }
        }
        let is_own = step == Step::Done
            || (holds_own(slot, ino) && !(record.seen.is_dir && exchange::is_tree(slot)));
        if is_own {
            return Ok(());
        }
        // Somebody has put it there, or something into it, at the last moment.
        (self.fuse)()?;
        fsat::rename_at(slot.0, slot.1, to.0, to.1, Rename::NoReplace)
    }

    fn attributes(
        &mut self,
        entry: &Entry,
        ino: u64,
        (ctime, proven): (FileTime, bool),
    ) -> io::Result<()> {
        let (dir, name) = self.dirs.parent(&entry.path)?;
        let stat = fsat::stat_at(dir.as_fd(), name)?;
        let is_same = stat.ctime == ctime;
        if stat.ino != ino || (self.untouched && !is_same) {
            return Err(io::Error::from_raw_os_error(libc::ESTALE));
        }
        let proven = (proven && is_same).then(|| Identity::of(&stat));
        self.touch(entry, &stat);
        self.set(entry, Examined { proven, ..Examined::object(ObjectId::of(&stat)) })
    }

    fn close(&mut self, entry: &Entry, ino: Option<u64>) -> io::Result<()> {
        let (dir, name) = self.dirs.parent(&entry.path)?;
        let stat = fsat::stat_at(dir.as_fd(), name)?;
        if ino.is_some_and(|ino| ino != stat.ino) {
            return Err(io::Error::from_raw_os_error(libc::ESTALE));
        }
        self.touch(entry, &stat);
        let id = ObjectId::of(&stat);
        self.opened_up.retain(|(_, known, _)| *known != id);
        self.set(entry, Examined::object(id))
    }

    fn touch(&mut self, entry: &Entry, stat: &Stat) {
        let dir = || split(entry.path.as_bytes()).0.to_vec();
        self.touched.entry(stat.dev).or_insert_with(dir);
    }

    fn set(&mut self, entry: &Entry, examined: Examined) -> io::Result<()> {
        (self.fuse)()?;
        let staging = Some(&*self.staging);
        attributes::apply(self.dirs, self.rights, staging, entry, examined).map(drop)
    }

    /// Gives this process access to directories of its own above `path`. Whether it had not had it.
    fn open_up(&mut self, path: &RelPath) -> io::Result<bool> {
        let mut changed = false;
        for dir in above(path.as_bytes()) {
            let (up, name) = split(dir);
            let up = self.dirs.dir(up)?;
            let fd = fsat::open_at(up.as_fd(), name, fsat::PATH_ONLY, 0)?;
            let stat = fsat::stat_fd(fd.as_fd())?;
            if !self.rights.lacks_owner_access(&stat) {
                continue;
            }
            (self.fuse)()?;
            fsat::chmod_at(up.as_fd(), name, fd.as_fd(), stat.mode | 0o700)?;
            if let Ok(path) = RelPath::parse(dir) {
                self.opened_up.push((path, ObjectId::of(&stat), stat.mode));
            }
            changed = true;
        }
        Ok(changed)
    }

    /// Gives directories that were opened up the permission bits back that they had, deepest first.
    pub fn close_up(&mut self) {
        for (path, id, mode) in std::mem::take(&mut self.opened_up).into_iter().rev() {
            let Ok((dir, name)) = self.dirs.parent(&path) else { continue };
            let Ok(fd) = fsat::open_at(dir.as_fd(), name, fsat::PATH_ONLY, 0) else { continue };
            if fsat::stat_fd(fd.as_fd()).is_ok_and(|stat| ObjectId::of(&stat) == id)
                && (self.fuse)().is_ok()
            {
                // Nobody else could have had it changed.
                let _ = fsat::chmod_at(dir.as_fd(), name, fd.as_fd(), mode);
            }
        }
    }
}

/// What a slot holds, in which something with this inode number may be.
fn holds(slot: At<'_>, ino: u64) -> io::Result<Holds> {
    match fsat::stat_at(slot.0, slot.1) {
        Ok(stat) if stat.ino == ino => Ok(Holds::Own),
        Ok(_) => Ok(Holds::Other { is_tree: exchange::is_tree(slot) }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Holds::Nothing),
        Err(e) => Err(e),
    }
}

fn holds_own(slot: At<'_>, ino: u64) -> bool {
    fsat::stat_at(slot.0, slot.1).is_ok_and(|stat| stat.ino == ino)
}

fn is_not_empty(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST))
}

/// Gives a new directory its name. One that is there already stays.
fn put_dir(slot: At<'_>, to: At<'_>, fuse: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 0..TRIES {
        fuse()?;
        match fsat::rename_at(slot.0, slot.1, to.0, to.1, Rename::NoReplace) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            done => return done,
        }
        match fsat::stat_at(to.0, to.1).map_err(|e| (e.kind(), e)) {
            Ok(stat) if stat.kind == FileType::Directory => return Ok(()),
            Ok(_) => match exchange::with_no_tree(slot, to) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                done => return done,
            },
            Err((io::ErrorKind::NotFound, _)) => {}
            Err((_, e)) => return Err(e),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EAGAIN))
}

/// Gives what is no directory its name, which something may have.
fn put_other(
    slot: At<'_>,
    to: At<'_>,
    mut is_there: bool,
    fuse: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let mut tries = 0..TRIES;
    loop {
        fuse()?;
        let tried = match is_there {
            true => exchange::with_no_tree(slot, to),
            false => fsat::rename_at(slot.0, slot.1, to.0, to.1, Rename::NoReplace),
        };
        let error = match tried {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let is_dir = || fsat::stat_at(to.0, to.1).is_ok_and(|at| at.kind == FileType::Directory);
        match (is_there, error.raw_os_error()) {
            _ if tries.next().is_none() => return Err(error),
            (true, Some(libc::ENOENT)) => is_there = false,
            (false, Some(libc::EEXIST)) => is_there = true,
            // To move an empty directory is to change it, too.
            (true, Some(libc::EACCES | libc::EPERM)) if is_dir() => {
                fsat::rmdir_at(to.0, to.1)?;
                is_there = false;
            }
            _ => return Err(error),
        }
    }
}

/// Whether this is done when all else is.
pub(super) fn is_last(operation: &Operation) -> bool {
    matches!(operation, Operation::Close { .. })
}
