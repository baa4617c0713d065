//! Finding what a target has and the sender has not: what `--delete` would remove.
//!
//! Every entry of a transfer names something that exists at the sender, whether it is sent or not. When
//! the close entry of a directory says that everything in it was named, the target lists its own
//! directory. What was not named goes onto the spool, directories with everything below them, deepest
//! first. Before it is deleted, each object is compared with its state at that time.
//!
//! Kept silently, together with the directories above: what a pattern excludes, `.makuosan`, mount
//! points, and what disappears or changes meanwhile. What cannot be examined or listed, or has too
//! long a path, is kept as well, and is on the spool as failed; so is a directory of the sender's that
//! this host cannot list.
//!
//! Nothing is deleted from a directory that is outside of the transfer's path, that could not be opened
//! here (or one above it), or that the sender could not list completely. The base directory has no
//! entries. It is listed at the end of a transfer of everything: had the sender failed to list its
//! own, there would be no transfer.
//!
//! Batches are evaluated in order, whatever the order in which they arrive, from the one with the setup
//! on: when they are committed, so that failures are taken into account, or if the transfer commits
//! nothing, when they are planned.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::errors::{leads_nowhere, reason};
use super::identity::{ObjectId, Seen};
use super::name_set::NameSet;
use super::names::Names;
use super::opened::MOST;
use super::paths::{above, post_order, split};
use super::rights::Rights;
use super::root::Dirs;
use super::spool::{Record, Spool};
use super::staging::{Mount, Staging};
use super::subject::Subject;
use crate::engine::disk_job::{DeletionTally, Mode};
use crate::errno;
use crate::ids::BatchNo;
use crate::name::RelPath;
use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::manifest::{Entry, Kind, Manifest, Setup};
use crate::wire::outcome::{Reason, SpoolCode};

/// The search of one transfer for what it would delete.
#[derive(Debug, Default)]
pub(super) struct Surplus {
    pub mode: Mode,
    subject: Subject,
    /// The directories that are open, and the base if the transfer sends everything.
    dirs: HashMap<Vec<u8>, Named>,
    /// The batch to evaluate next, once the first one is known.
    next: Option<BatchNo>,
    /// Batches that were planned before their turn.
    early: BTreeMap<BatchNo, (Arc<Manifest>, Vec<bool>)>,
    /// A batch is missing, so it is unknown what it named.
    broken: bool,
    spool: Option<Spool>,
    /// How many records on the spool failed from the start.
    failed: u64,
    /// How many entries all listed directories have together.
    entries: u64,
    tallied: bool,
    /// The directory that was listed last. A walk lists each once, in one order, so that nothing is on
    /// the spool twice.
    last_listed: Option<RelPath>,
    /// The bytes of the paths and the names in `dirs`, and of the manifests in `early`.
    named_bytes: usize,
    /// How many objects were deleted and how many could not be, once that was done.
    pub ran: Option<(u64, u64)>,
}

/// An open directory, with the names in it that the sender has.
#[derive(Debug, Default)]
struct Named {
    names: NameSet,
    opens: u32,
    failed: bool,
}

/// What is needed to examine the disk and to write the spool.
pub(super) struct Within<'a> {
    pub dirs: &'a mut Dirs,
    pub staging: &'a mut Staging,
    pub rights: &'a Rights,
}

/// What objects in a directory are compared with.
#[derive(Clone, Copy)]
struct Parent {
    id: ObjectId,
    mount: Mount,
    keeps_mtime: bool,
}

impl Parent {
    fn of(stat: &Stat, keeps_mtime: bool) -> Self {
        Parent { id: ObjectId::of(stat), mount: Mount::of(stat), keeps_mtime }
    }
}

/// A directory that would be deleted, while its contents are examined.
struct Candidate {
    record: Record,
    names: Names,
    here: Parent,
    /// Something in it is kept.
    keeps_some: bool,
    /// Something in it has too long a path.
    fails: Option<Reason>,
}

/// What becomes of one object.
enum Verdict {
    /// It is on the spool, or does not exist any more.
    Deleted,
    /// It is kept, and so are the directories above it.
    Kept,
    /// It is a directory, and that depends on its contents.
    Directory(Box<Candidate>),
}

impl Surplus {
    /// Notes what the transfer sends, from the setup in `batch`, one of the first ones.
    ///
    /// # Errors
    /// EINVAL if the setup is not valid.
    pub fn set_up(&mut self, batch: BatchNo, setup: &Setup) -> Result<(), Reason> {
        if self.mode.path_is_gone() && setup.path.is_base() {
            return Err(Reason::Os(errno::EINVAL));
        }
        self.subject.add(batch, setup)?;
        if self.next.is_none() {
            self.next = self.subject.whole_since();
            if self.next.is_some() && setup.path.is_base() {
                self.dirs.insert(Vec::new(), Named::default());
            }
        }
        Ok(())
    }

    /// Whether what is on the spool may be deleted: it was counted, and the transfer is one that
    /// deletes.
    pub fn may_run(&self) -> bool {
        self.tallied && self.mode.deletes()
    }

    /// The memory that it takes, in bytes.
    pub fn memory(&self) -> usize {
        let dirs = self.dirs.len() * (size_of::<Named>() + size_of::<Vec<u8>>());
        let spool = self.spool.as_ref().map_or(0, Spool::memory);
        dirs + self.named_bytes + spool + self.subject.memory()
    }

    /// The spool, unless it is empty or incomplete.
    pub fn spool(&mut self) -> Option<&mut Spool> {
        self.spool.as_mut().filter(|_| !self.broken)
    }

    /// A batch of a transfer that commits nothing was planned. `failed` says which entries cannot be
    /// brought here.
    ///
    /// # Errors
    /// The spool cannot be written.
    pub fn planned(
        &mut self,
        within: &mut Within<'_>,
        batch: BatchNo,
        manifest: &Arc<Manifest>,
        failed: Vec<bool>,
    ) -> io::Result<()> {
        if !self.broken && self.next.is_none_or(|next| next <= batch) {
            let before = self.early.insert(batch, (manifest.clone(), failed));
            let before = before.map_or(0, |(manifest, _)| early_memory(&manifest));
            self.named_bytes = self.named_bytes.saturating_sub(before) + early_memory(manifest);
        }
        while let Some((manifest, failed)) = self.next.and_then(|next| self.early.remove(&next)) {
            self.named_bytes = self.named_bytes.saturating_sub(early_memory(&manifest));
            self.next = self.next.map(BatchNo::next);
            for (entry, failed) in manifest.entries.iter().zip(failed) {
                match entry.kind {
                    Kind::Close { listed } => self.closed(within, entry, listed, false)?,
                    _ => self.named(entry, failed),
                }
            }
        }
        Ok(())
    }

    /// `batch` is about to be evaluated: all of them must be, in order.
    pub fn committing(&mut self, batch: BatchNo) {
        self.broken |= self.next != Some(batch);
        self.next = Some(batch.next());
        if self.broken {
            (self.dirs, self.early, self.spool) = Default::default();
            self.named_bytes = 0;
        }
    }

    /// Something exists at the sender. If `entry` opens a directory, that is open from now on.
    pub fn named(&mut self, entry: &Entry, failed: bool) {
        let path = entry.path.as_bytes();
        let (dir, name) = split(path);
        if let Some(named) = self.dirs.get_mut(dir) {
            let before = named.names.memory();
            named.names.insert(name);
            self.named_bytes += named.names.memory().saturating_sub(before);
        }
        if entry.kind != Kind::Open || self.broken {
            return;
        }
        if self.dirs.len() < MOST || self.dirs.contains_key(path) {
            let named_bytes = &mut self.named_bytes;
            let named = self.dirs.entry(path.to_vec()).or_insert_with(|| {
                *named_bytes += path.len();
                Named::default()
            });
            named.opens += 1;
            named.failed |= failed;
        }
    }

    /// A directory is closed. If the sender `listed` it completely, what only this host has in it
    /// goes onto the spool. Where this host can list it only because the transfer has changed its
    /// permission bits, or those of a directory above it, a dry run could not, so it is not listed.
    ///
    /// # Errors
    /// It cannot be spooled.
    pub fn closed(
        &mut self,
        within: &mut Within<'_>,
        entry: &Entry,
        listed: bool,
        closed_to_us: bool,
    ) -> io::Result<()> {
        let path = entry.path.as_bytes();
        match self.dirs.get_mut(path) {
            Some(named) if named.opens > 1 => named.opens -= 1,
            Some(_) => {
                let below_failed = above(path).any(|dir| self.has_failed(dir));
                let named = self.dirs.remove(path).unwrap_or_default();
                let bytes = path.len() + named.names.memory();
                self.named_bytes = self.named_bytes.saturating_sub(bytes);
                let is_ours = self.subject.path().is_some_and(|about| entry.path.is_under(about));
                let in_order = self
                    .last_listed
                    .as_ref()
                    .is_none_or(|last| post_order(last.as_bytes(), path) == Ordering::Less);
                let sound = !named.failed && !below_failed && in_order;
                if listed && is_ours && sound && !self.tallied {
                    self.last_listed = Some(entry.path.clone());
                    match closed_to_us {
                        true => self.not_listed(within, &entry.path, &denied())?,
                        false => self.list(within, &entry.path, named.names)?,
                    }
                }
            }
            None => {}
        }
        Ok(())
    }

    fn has_failed(&self, dir: &[u8]) -> bool {
        self.dirs.get(dir).is_some_and(|named| named.failed)
    }

    /// All batches are done: completes the spool, and says how much is on it.
    ///
    /// # Errors
    /// It cannot be spooled.
    pub fn tally(&mut self, within: &mut Within<'_>) -> io::Result<DeletionTally> {
        self.broken |= !self.early.is_empty();
        if !self.tallied && !self.broken && self.mode.spools() {
            match self.subject.path().cloned() {
                Some(about) if self.mode.path_is_gone() => self.spool_gone(within, about)?,
                Some(about) if about.is_base() => {
                    let named = self.dirs.remove(about.as_bytes()).unwrap_or_default();
                    if !named.failed {
                        self.list(within, &about, named.names)?;
                    }
                }
                _ => {}
            }
        }
        self.tallied = true;
        let entries = if self.broken { 0 } else { self.entries };
        let failed = if self.spool().is_some() { self.failed } else { 0 };
        let spooled = self.spool().map_or(0, |spool| spool.count() - failed);
        Ok(DeletionTally { spooled, failed, entries })
    }

    /// Spools what is in a directory and not in `names`.
    fn list(
        &mut self,
        within: &mut Within<'_>,
        dir: &RelPath,
        mut names: NameSet,
    ) -> io::Result<()> {
        let opened = within.dirs.root().open_dir(dir.as_bytes(), fsat::LISTING);
        let listed = opened.and_then(|fd| Ok((fsat::stat_fd(fd.as_fd())?, Names::list(&fd)?, fd)));
        let (stat, mut there, fd) = match listed {
            Ok(listed) => listed,
            Err(e) => return self.not_listed(within, dir, &e),
        };
        if within.rights.lacks_owner_access(&stat) && stat.mode & 0o100 == 0 {
            // It can be listed, but nothing in it can be examined.
            return self.not_listed(within, dir, &denied());
        }
        within.dirs.hold(dir.as_bytes(), fd);
        self.entries += there.len() as u64;
        names.settle();
        // No transfer sets attributes of the base directory.
        let here = Parent::of(&stat, self.mode.sends_and_deletes() && !dir.is_base());
        while let Some((name, _)) = there.next() {
            if names.contains(name) {
                continue;
            }
            // A path that is too long here cannot have been sent either.
            if let Ok(path) = dir.join(name) {
                self.spool_tree(within, path, here)?;
            }
        }
        Ok(())
    }

    /// A directory that was to be listed cannot be: what only this host has in it stays, and that is
    /// an error. It is none where there is no such directory any more.
    fn not_listed(
        &mut self,
        within: &mut Within<'_>,
        dir: &RelPath,
        error: &io::Error,
    ) -> io::Result<()> {
        if leads_nowhere(error) {
            return Ok(());
        }
        let record = Record { code: failed(error), ..blank(dir.clone()) };
        self.push(within, &record)
    }

    /// Spools a path that no longer exists at the sender.
    fn spool_gone(&mut self, within: &mut Within<'_>, path: RelPath) -> io::Result<()> {
        let found = within.dirs.parent(&path).and_then(|(dir, name)| {
            Ok((fsat::stat_fd(dir.as_fd())?, fsat::stat_at(dir.as_fd(), name)?))
        });
        match found {
            Ok((dir, _)) => {
                self.entries += 1;
                self.spool_tree(within, path, Parent::of(&dir, false))
            }
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(()),
            Err(e) => {
                self.entries += 1;
                let record = Record { code: failed(&e), ..blank(path) };
                self.push(within, &record)
            }
        }
    }

    /// Spools `path`, which is in the directory `parent`, after everything below it.
    fn spool_tree(
        &mut self,
        within: &mut Within<'_>,
        path: RelPath,
        parent: Parent,
    ) -> io::Result<()> {
        let mut open = match self.examine(within, path, parent)? {
            Verdict::Directory(top) => vec![*top],
            Verdict::Deleted | Verdict::Kept => return Ok(()),
        };
        while let Some(dir) = open.last_mut() {
            if let Some((name, _)) = dir.names.next() {
                let Ok(path) = dir.record.path.join(name) else {
                    dir.fails = Some(Reason::Os(errno::ENAMETOOLONG));
                    continue;
                };
                match self.examine(within, path, dir.here)? {
                    Verdict::Deleted => {}
                    Verdict::Kept => dir.keeps_some = true,
                    Verdict::Directory(next) => open.push(*next),
                }
            } else if let Some(Candidate { mut record, keeps_some, fails, .. }) = open.pop() {
                if let Some(reason) = fails {
                    record.code = SpoolCode::Failed(reason);
                }
                if fails.is_some() || !keeps_some {
                    self.push(within, &record)?;
                }
                if let Some(up) = open.last_mut() {
                    up.keeps_some |= keeps_some || fails.is_some();
                }
            }
        }
        Ok(())
    }

    /// Examines something that the sender has not. Unless it is a directory, it is spooled at once.
    fn examine(
        &mut self,
        within: &mut Within<'_>,
        path: RelPath,
        parent: Parent,
    ) -> io::Result<Verdict> {
        let found = within
            .dirs
            .parent(&path)
            .and_then(|(dir, name)| Ok((fsat::stat_at(dir.as_fd(), name)?, dir, name)));
        let (stat, dir, name) = match found {
            Ok(found) => found,
            Err(e) => return self.unreadable(within, path, &e),
        };
        let is_dir = stat.kind == FileType::Directory;
        if !Mount::of(&stat).is_same_mount(parent.mount)
            || self.subject.patterns().excludes(&path, is_dir)
        {
            return Ok(Verdict::Kept);
        }
        let record = Record {
            seen: Seen::of(&stat),
            parent: parent.id,
            keeps_mtime: parent.keeps_mtime,
            ..blank(path.clone())
        };
        if !is_dir {
            return self.push(within, &record).map(|()| Verdict::Deleted);
        }
        let opened = fsat::open_at(dir.as_fd(), name, fsat::LISTING, 0)
            .and_then(|fd| Ok((fsat::stat_fd(fd.as_fd())?, Names::list(&fd)?, fd)));
        let (here, names, fd) = match opened {
            Ok(opened) => opened,
            Err(e) => return self.unreadable(within, path, &e),
        };
        // What is mounted by being opened has a mount of its own by now.
        if !record.seen.is_still(&here) || !Mount::of(&here).is_same_mount(parent.mount) {
            return Ok(Verdict::Kept);
        }
        self.entries += names.len() as u64;
        within.dirs.hold(record.path.as_bytes(), fd);
        let keeps_some = names.has_staging;
        let here = Parent::of(&here, false);
        Ok(Verdict::Directory(Box::new(Candidate { record, names, here, keeps_some, fails: None })))
    }

    /// What becomes of something that cannot be examined or listed.
    fn unreadable(
        &mut self,
        within: &mut Within<'_>,
        path: RelPath,
        error: &io::Error,
    ) -> io::Result<Verdict> {
        match error.raw_os_error() {
            Some(libc::ENOENT) => Ok(Verdict::Deleted),
            // It, or a directory above it, has been replaced.
            Some(libc::ENOTDIR | libc::ELOOP) => Ok(Verdict::Kept),
            _ => {
                let record = Record { code: failed(error), ..blank(path) };
                self.push(within, &record).map(|()| Verdict::Kept)
            }
        }
    }

    fn push(&mut self, within: &mut Within<'_>, record: &Record) -> io::Result<()> {
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => none.insert(Spool::new(within.staging.nameless(within.rights)?)),
        };
        self.failed += u64::from(record.code != SpoolCode::Spooled);
        spool.push(record)
    }
}

/// What a batch takes that was planned before its turn, in bytes.
fn early_memory(manifest: &Manifest) -> usize {
    manifest.memory() + manifest.entries.len()
}

fn denied() -> io::Error {
    io::Error::from_raw_os_error(libc::EACCES)
}

fn blank(path: RelPath) -> Record {
    let code = SpoolCode::Spooled;
    Record { path, seen: Seen::default(), parent: ObjectId::default(), keeps_mtime: false, code }
}

/// The code of an object that cannot be deleted because of `error`.
fn failed(error: &io::Error) -> SpoolCode {
    SpoolCode::Failed(reason(error))
}
