//! What a transfer would delete, collected on the spool: whole trees, deepest first, each object with its
//! state at that time.
//!
//! Kept silently, together with the directories above: what a pattern excludes, `.makuosan`, mount
//! points, and what disappears or changes meanwhile. What cannot be examined or listed, or has too
//! long a path, is kept as well, and is on the spool as failed.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::errors::{is_of_file_system, leads_nowhere, reason};
use super::guard::{self, Guard};
use super::identity::{ObjectId, Seen};
use super::measured::Mount;
use super::names::Names;
use super::paths::split;
use super::rights::Rights;
use super::root::Dirs;
use super::spool::{Record, Spool};
use super::staging::Staging;
use super::subject::Subject;
use crate::errno;
use crate::name::RelPath;
use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::outcome::{Reason, SpoolCode};

/// What is collected.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// What its patterns exclude stays.
    pub subject: Subject,
    /// What this says stays, too.
    pub guard: Option<Arc<dyn Guard>>,
    pub spool: Option<Spool>,
    /// How many records on the spool failed from the start.
    pub failed: u64,
    /// How many entries all listed directories have together.
    pub entries: u64,
}

/// What is needed to examine the disk and to write the spool.
pub(super) struct Within<'a> {
    pub dirs: &'a mut Dirs,
    pub staging: &'a mut Staging,
    pub rights: &'a Rights,
}

/// What objects in a directory are compared with.
#[derive(Clone, Copy)]
pub(super) struct Parent {
    id: ObjectId,
    mount: Mount,
    keeps_mtime: bool,
    /// How many bytes the path of the directory has that was listed.
    listed: u16,
}

impl Parent {
    /// The directory at `path`, which was listed.
    pub fn of(stat: &Stat, path: &[u8], keeps_mtime: bool) -> Self {
        // A path has 4,096 bytes at most.
        let listed = path.len() as u16;
        Parent { id: ObjectId::of(stat), mount: Mount::of(stat), keeps_mtime, listed }
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

impl Collected {
    /// A directory that was to be listed cannot be: what only this host has in it stays, and that is
    /// an error. It is none where there is no such directory any more.
    pub fn not_listed(
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

    /// Spools a path that no longer exists at the sender. `keeps_mtime`: the transfer sends its directory.
    pub fn spool_gone(
        &mut self,
        within: &mut Within<'_>,
        path: RelPath,
        keeps_mtime: bool,
    ) -> io::Result<()> {
        let found = within.dirs.parent(&path).and_then(|(dir, name)| {
            Ok((fsat::stat_fd(dir.as_fd())?, fsat::stat_at(dir.as_fd(), name)?))
        });
        match found {
            Ok((dir, _)) => {
                self.entries += 1;
                let above = split(path.as_bytes()).0.to_vec();
                self.spool_tree(within, path, Parent::of(&dir, &above, keeps_mtime)).map(drop)
            }
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(()),
            Err(e) => {
                self.entries += 1;
                let record = Record { code: failed(&e), ..blank(path) };
                self.push(within, &record)
            }
        }
    }

    /// Spools `path`, which is in the directory `parent`, after everything below it. Whether it goes
    /// itself.
    pub fn spool_tree(
        &mut self,
        within: &mut Within<'_>,
        path: RelPath,
        parent: Parent,
    ) -> io::Result<bool> {
        let mut open = match self.examine(within, path, parent)? {
            Verdict::Directory(top) => vec![*top],
            Verdict::Deleted => return Ok(true),
            Verdict::Kept => return Ok(false),
        };
        let mut goes = false;
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
                goes = fails.is_none() && !keeps_some;
                if fails.is_some() || !keeps_some {
                    self.push(within, &record)?;
                }
                if let Some(up) = open.last_mut() {
                    up.keeps_some |= keeps_some || fails.is_some();
                }
            }
        }
        Ok(goes)
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
            || self.is_guarded(&path, &stat)
        {
            return Ok(Verdict::Kept);
        }
        let record = Record {
            seen: Seen::of(&stat),
            parent: parent.id,
            keeps_mtime: parent.keeps_mtime,
            listed: parent.listed,
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
        let here = Parent { listed: parent.listed, ..Parent::of(&here, b"", false) };
        Ok(Verdict::Directory(Box::new(Candidate { record, names, here, keeps_some, fails: None })))
    }

    fn is_guarded(&self, path: &RelPath, stat: &Stat) -> bool {
        let Some(guard) = self.guard.as_deref() else { return false };
        // What is in a directory is asked for, one by one.
        let is_dir = stat.kind == FileType::Directory;
        !is_dir && (guard.keeps(path) || guard::is_edited(guard, stat))
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

    /// Takes from the spool what `stays`, and what fails now for a reason that it gives.
    ///
    /// # Errors
    /// The spool cannot be read or written.
    pub fn take_back(
        &mut self,
        within: &mut Within<'_>,
        stays: impl Fn(&Record) -> Option<SpoolCode>,
    ) -> io::Result<()> {
        let Some(mut before) = self.spool.take() else { return Ok(()) };
        self.failed = 0;
        let mut pushed = Ok(());
        before.each(|record| {
            let code = match record.code {
                SpoolCode::Spooled => stays(record).unwrap_or(SpoolCode::Spooled),
                failed => failed,
            };
            if pushed.is_ok() && code != SpoolCode::Kept {
                pushed = self.push(within, &Record { code, ..record.clone() });
            }
            record.code
        })?;
        pushed
    }

    fn push(&mut self, within: &mut Within<'_>, record: &Record) -> io::Result<()> {
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => none.insert(match within.staging.nameless(within.rights) {
                Err(e) if is_of_file_system(reason(&e)) => Spool::in_memory()?,
                file => Spool::new(file?),
            }),
        };
        self.failed += u64::from(record.code != SpoolCode::Spooled);
        spool.push(record)
    }
}

fn blank(path: RelPath) -> Record {
    let code = SpoolCode::Spooled;
    let (seen, parent) = (Seen::default(), ObjectId::default());
    Record { path, seen, parent, keeps_mtime: false, listed: 0, code }
}

/// The code of an object that cannot be deleted because of `error`.
fn failed(error: &io::Error) -> SpoolCode {
    SpoolCode::Failed(reason(error))
}
