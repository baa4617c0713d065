//! What a target has and the sender has not.
//!
//! Every entry of a transfer names something that is there at the sender, sent or not. When the close
//! entry of a directory says that all of it was named, the target lists its own: what is not among
//! the names is spooled, and of a directory everything below it, what is deepest first. Nothing of it
//! is read again before it goes, but all of it is compared with what it was when it was spooled.
//!
//! What stays, and keeps the directories that it is in, without a word: what a pattern excludes,
//! `.makuosan`, what is mounted, what vanishes or changes meanwhile. What cannot be looked at or listed,
//! or has a path too long to be told, stays too, and is spooled as failed.
//!
//! A directory that is not listed loses nothing: one below or above what the transfer is about, one
//! that could not be opened here or is below such a one, one that the sender does not call listed. The
//! base directory has no entries: it is listed if the transfer is about it and was walked to its end,
//! for if the sender cannot list its own, there is no transfer.
//!
//! Batches are followed in order, whatever the order in which they were planned: from the one with
//! the setup on. Where nothing is committed, that is done when they are planned, else when they are
//! committed, so that whatever fails then counts.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::meta::Rights;
use super::names::Names;
use super::opened::{MOST, above};
use super::root::{Dirs, reason, split};
use super::spool::{Record, Seen, Spool};
use super::staging::{Mount, Staging};
use crate::engine::job::{Mode, Tally};
use crate::name::RelPath;
use crate::pattern::Patterns;
use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::bytes::Reader;
use crate::wire::manifest::{Entry, Kind, Manifest, Setup};
use crate::wire::outcome::{Reason, SpoolCode};

/// What a transfer would delete.
#[derive(Debug, Default)]
pub(super) struct Surplus {
    pub mode: Mode,
    about: Option<RelPath>,
    patterns: Patterns,
    /// The directories that are open, and the base if the transfer is about it.
    dirs: HashMap<Vec<u8>, Named>,
    /// The batch that is followed next, once the first one is known.
    next: Option<u32>,
    /// Those that came before it.
    early: BTreeMap<u32, (Arc<Manifest>, Vec<bool>)>,
    /// A batch is missing: nobody knows what it named.
    broken: bool,
    spool: Option<Spool>,
    /// How many entries the listed directories have.
    entries: u64,
    tallied: bool,
    /// How much was deleted and how much failed, once that was done.
    pub ran: Option<(u64, u64)>,
}

/// A directory of the transfer, with all that was named in it so far.
#[derive(Debug, Default)]
struct Named {
    names: Names,
    opens: u32,
    failed: bool,
}

/// What one looks around with.
pub(super) struct Within<'a> {
    pub dirs: &'a mut Dirs,
    pub staging: &'a mut Staging,
    pub rights: &'a Rights,
}

/// A directory, as what is in it is compared with it.
#[derive(Clone, Copy)]
struct Parent {
    id: (u64, u64),
    mount: Mount,
    keeps_mtime: bool,
}

impl Parent {
    fn of(stat: &Stat, keeps_mtime: bool) -> Self {
        Parent { id: (stat.dev, stat.ino), mount: Mount::of(stat), keeps_mtime }
    }
}

/// A directory that would go, while what is in it is looked at.
struct Doomed {
    record: Record,
    names: Names,
    here: Parent,
    /// Something in it stays.
    stays: bool,
    /// Something in it cannot even be told.
    fails: Option<Reason>,
}

/// What becomes of one thing.
enum Fate {
    /// It is spooled, or not there any more.
    Goes,
    /// It stays, and so does what it is in.
    Stays,
    /// That depends on what is in it.
    Depends(Box<Doomed>),
}

impl Surplus {
    /// Takes in what the transfer is about, with the batch that says so, which is the first.
    ///
    /// # Errors
    /// EINVAL if it cannot be, or is not what was said before.
    pub fn set_up(&mut self, batch: u32, setup: &Setup) -> Result<(), Reason> {
        const INVALID: Reason = Reason::Os(libc::EINVAL as u16);
        let mut reader = Reader::new(&setup.patterns);
        let patterns = match setup.patterns.is_empty() {
            true => Patterns::default(),
            false => Patterns::parse(&mut reader).map_err(|_| INVALID)?,
        };
        reader.end().map_err(|_| INVALID)?;
        if self.mode.path_is_gone() && setup.path.is_base() {
            return Err(INVALID);
        }
        if let Some(known) = &self.about {
            let same = *known == setup.path && self.patterns.rules() == patterns.rules();
            return if same { Ok(()) } else { Err(INVALID) };
        }
        if setup.path.is_base() {
            self.dirs.insert(Vec::new(), Named::default());
        }
        (self.about, self.patterns, self.next) = (Some(setup.path.clone()), patterns, Some(batch));
        Ok(())
    }

    /// Whether what is spooled may be deleted: all of it has been counted, and that is what the
    /// transfer is for.
    pub fn may_run(&self) -> bool {
        self.tallied && self.mode.deletes()
    }

    /// What is spooled, if anything is.
    pub fn spool(&mut self) -> Option<&mut Spool> {
        self.spool.as_mut().filter(|_| !self.broken)
    }

    /// A batch of a transfer that commits nothing was planned; `failed` says of each entry whether
    /// it cannot be had.
    ///
    /// # Errors
    /// What is found cannot be spooled.
    pub fn planned(
        &mut self,
        within: &mut Within<'_>,
        batch: u32,
        manifest: &Arc<Manifest>,
        failed: Vec<bool>,
    ) -> io::Result<()> {
        if self.next.is_none_or(|next| next <= batch) {
            self.early.insert(batch, (manifest.clone(), failed));
        }
        while let Some((manifest, failed)) = self.next.and_then(|next| self.early.remove(&next)) {
            self.next = self.next.map(|next| next.saturating_add(1));
            for (entry, failed) in manifest.entries.iter().zip(failed) {
                match entry.kind {
                    Kind::Close { listed } => self.closed(within, entry, listed)?,
                    _ => self.named(entry, failed),
                }
            }
        }
        Ok(())
    }

    /// A batch is about to be committed.
    pub fn committing(&mut self, batch: u32) {
        self.broken |= self.next != Some(batch);
        self.next = Some(batch.saturating_add(1));
    }

    /// Something is there at the sender. If it is a directory, it is open from now on.
    pub fn named(&mut self, entry: &Entry, failed: bool) {
        let path = entry.path.as_bytes();
        let (dir, name) = split(path);
        if let Some(named) = self.dirs.get_mut(dir) {
            named.failed |= !named.names.push(name, FileType::Unknown);
        }
        if entry.kind != Kind::Open {
            return;
        }
        if self.dirs.len() < MOST || self.dirs.contains_key(path) {
            let named = self.dirs.entry(path.to_vec()).or_default();
            named.opens += 1;
            named.failed |= failed;
        }
    }

    /// A directory is closed; if `listed`, what else is in it here is spooled.
    ///
    /// # Errors
    /// It cannot be spooled.
    pub fn closed(
        &mut self,
        within: &mut Within<'_>,
        entry: &Entry,
        listed: bool,
    ) -> io::Result<()> {
        let path = entry.path.as_bytes();
        match self.dirs.get_mut(path) {
            Some(named) if named.opens > 1 => named.opens -= 1,
            Some(_) => {
                let below_failed = above(path).any(|dir| self.has_failed(dir));
                let named = self.dirs.remove(path).unwrap_or_default();
                let is_ours = self.about.as_ref().is_some_and(|about| entry.path.is_under(about));
                if listed && is_ours && !named.failed && !below_failed && !self.tallied {
                    self.list(within, &entry.path, named.names)?;
                }
            }
            None => {}
        }
        Ok(())
    }

    fn has_failed(&self, dir: &[u8]) -> bool {
        self.dirs.get(dir).is_some_and(|named| named.failed)
    }

    /// All batches are done: spools what is left to be spooled, and says how much there is.
    ///
    /// # Errors
    /// It cannot be spooled.
    pub fn tally(&mut self, within: &mut Within<'_>) -> io::Result<Tally> {
        self.broken |= !self.early.is_empty();
        if !self.tallied && !self.broken && self.mode.spools() {
            match self.about.clone() {
                Some(about) if self.mode.path_is_gone() => self.doom(within, about)?,
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
        Ok(Tally { spooled: self.spool().map_or(0, |spool| spool.count()), entries })
    }

    /// Spools what is in a directory and not among `names`.
    fn list(&mut self, within: &mut Within<'_>, dir: &RelPath, mut names: Names) -> io::Result<()> {
        let opened = within.dirs.root().open_dir(dir.as_bytes(), fsat::LISTING);
        let listed = opened.and_then(|fd| Ok((fsat::stat_fd(fd.as_fd())?, Names::list(&fd)?, fd)));
        let Ok((stat, mut there, fd)) = listed else { return Ok(()) };
        if within.rights.is_shut_out(&stat) && stat.mode & 0o100 == 0 {
            return Ok(()); // it can be listed, but nothing in it looked at
        }
        within.dirs.hold(dir.as_bytes(), fd);
        self.entries += there.len() as u64;
        names.sort();
        // The base directory's own attributes are nobody's business.
        let here = Parent::of(&stat, self.mode.sends_and_deletes() && !dir.is_base());
        while let Some((name, _)) = there.next() {
            if names.contains(name) {
                continue;
            }
            // What is too long here cannot have been sent either.
            if let Ok(path) = dir.join(name) {
                self.spool_tree(within, path, here)?;
            }
        }
        Ok(())
    }

    /// Spools what is gone at the sender.
    fn doom(&mut self, within: &mut Within<'_>, path: RelPath) -> io::Result<()> {
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

    /// Spools `path`, which is in the directory `parent`, after everything that is below it.
    fn spool_tree(
        &mut self,
        within: &mut Within<'_>,
        path: RelPath,
        parent: Parent,
    ) -> io::Result<()> {
        let mut open = match self.look(within, path, parent)? {
            Fate::Depends(top) => vec![*top],
            Fate::Goes | Fate::Stays => return Ok(()),
        };
        while let Some(dir) = open.last_mut() {
            if let Some((name, _)) = dir.names.next() {
                let Ok(path) = dir.record.path.join(name) else {
                    dir.fails = Some(Reason::Os(libc::ENAMETOOLONG as u16));
                    continue;
                };
                match self.look(within, path, dir.here)? {
                    Fate::Goes => {}
                    Fate::Stays => dir.stays = true,
                    Fate::Depends(next) => open.push(*next),
                }
            } else if let Some(Doomed { mut record, stays, fails, .. }) = open.pop() {
                if let Some(reason) = fails {
                    record.code = SpoolCode::Failed(reason);
                }
                if fails.is_some() || !stays {
                    self.push(within, &record)?;
                }
                if let Some(up) = open.last_mut() {
                    up.stays |= stays || fails.is_some();
                }
            }
        }
        Ok(())
    }

    /// Looks at what is not named. What is no directory is spooled at once.
    fn look(&mut self, within: &mut Within<'_>, path: RelPath, parent: Parent) -> io::Result<Fate> {
        let found = within
            .dirs
            .parent(&path)
            .and_then(|(dir, name)| Ok((fsat::stat_at(dir.as_fd(), name)?, dir, name)));
        let (stat, dir, name) = match found {
            Ok(found) => found,
            Err(e) => return self.lost(within, path, &e),
        };
        let is_dir = stat.kind == FileType::Directory;
        if Mount::of(&stat) != parent.mount || self.patterns.excludes(&path, is_dir) {
            return Ok(Fate::Stays);
        }
        let record = Record {
            seen: Seen::of(&stat),
            parent: parent.id,
            keeps_mtime: parent.keeps_mtime,
            ..blank(path.clone())
        };
        if !is_dir {
            return self.push(within, &record).map(|()| Fate::Goes);
        }
        let opened = fsat::open_at(dir.as_fd(), name, fsat::LISTING, 0)
            .and_then(|fd| Ok((fsat::stat_fd(fd.as_fd())?, Names::list(&fd)?, fd)));
        let (here, names, fd) = match opened {
            Ok(opened) => opened,
            Err(e) => return self.lost(within, path, &e),
        };
        if !record.seen.is_still(&here) {
            return Ok(Fate::Stays);
        }
        self.entries += names.len() as u64;
        within.dirs.hold(record.path.as_bytes(), fd);
        let stays = names.has_staging;
        let here = Parent::of(&here, false);
        Ok(Fate::Depends(Box::new(Doomed { record, names, here, stays, fails: None })))
    }

    /// What cannot be looked at or listed.
    fn lost(
        &mut self,
        within: &mut Within<'_>,
        path: RelPath,
        error: &io::Error,
    ) -> io::Result<Fate> {
        match error.raw_os_error() {
            Some(libc::ENOENT) => Ok(Fate::Goes),
            // It, or what it is in, is something else by now.
            Some(libc::ENOTDIR | libc::ELOOP) => Ok(Fate::Stays),
            _ => {
                let record = Record { code: failed(error), ..blank(path) };
                self.push(within, &record).map(|()| Fate::Stays)
            }
        }
    }

    fn push(&mut self, within: &mut Within<'_>, record: &Record) -> io::Result<()> {
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => none.insert(Spool::new(within.staging.nameless(within.rights)?)),
        };
        spool.push(record)
    }
}

fn blank(path: RelPath) -> Record {
    let code = SpoolCode::Spooled;
    Record { path, seen: Seen::default(), parent: (0, 0), keeps_mtime: false, code }
}

/// The code of what cannot go, for `error`.
fn failed(error: &io::Error) -> SpoolCode {
    SpoolCode::Failed(reason(error))
}
