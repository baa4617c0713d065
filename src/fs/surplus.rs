//! Finding what a target has and the sender has not: what `--delete` would remove.
//!
//! Every entry of a transfer names something that exists at the sender, whether it is sent or not. When
//! the close entry of a directory says that everything in it was named, the target lists its own
//! directory. What was not named goes onto the spool, directories with everything below them, deepest
//! first (`collect`). Before it is deleted, each object is compared with its state at that time. A
//! directory of the sender's that this host cannot list is on the spool as failed.
//!
//! What is named once its directory has been listed, because it was moved there, is taken back from the
//! spool, and so is what is in a directory of which the sender says then that it is kept.
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

use super::collect::{Collected, Parent, Within};
use super::folding::Folding;
use super::guard::Guard;
use super::name_set::NameSet;
use super::names::Names;
use super::opened::MOST;
use super::paths::{above, post_order, split};
use super::root::Dirs;
use super::spool::Spool;
use crate::engine::disk_job::{DeletionTally, Mode};
use crate::errno;
use crate::ids::BatchNo;
use crate::name::{RelPath, tree_order};
use crate::sys::fsat;
use crate::wire::manifest::{Entry, Kind, Manifest};
use crate::wire::outcome::{Reason, SpoolCode};

/// The search of one transfer for what it would delete.
#[derive(Debug, Default)]
pub(super) struct Surplus {
    pub mode: Mode,
    /// The directories that are open, and the base if the transfer sends everything.
    dirs: HashMap<Vec<u8>, Named>,
    /// The batch to evaluate next, once the first one is known.
    next: Option<BatchNo>,
    /// Batches that were planned before their turn.
    early: BTreeMap<BatchNo, (Arc<Manifest>, Vec<Told>)>,
    /// A batch is missing, so it is unknown what it named.
    broken: bool,
    collected: Collected,
    tallied: bool,
    /// Paths that were named after their directories had been listed.
    named_late: NameSet,
    /// Directories in which nothing is deleted, because the sender's did not come to rest.
    restless: NameSet,
    /// Only what is named is there to be deleted.
    is_listed: bool,
    /// The path that was said to be gone last. They come in one order, each once.
    last_gone: Option<RelPath>,
    /// The directory that was listed last. A walk lists each once, in one order, so that nothing is on
    /// the spool twice.
    last_listed: Option<RelPath>,
    /// The bytes of the paths and the names in `dirs`, and of the manifests in `early`.
    named_bytes: usize,
    /// How many objects were deleted and how many could not be, once that was done.
    pub ran: Option<(u64, u64)>,
}

/// What became, or would become, of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    Well,
    /// It cannot be brought here.
    Failed,
    /// A directory that is not empty goes for it.
    InPlace,
}

/// An open directory, with the names in it that the sender has.
#[derive(Debug, Default)]
struct Named {
    names: NameSet,
    folding: Folding,
    opens: u32,
    failed: bool,
}

impl Named {
    /// The memory of the names, in bytes.
    fn memory(&self) -> usize {
        self.names.memory() + self.folding.memory()
    }
}

impl Surplus {
    /// What this says stays.
    pub fn guard(&mut self, guard: Option<&Arc<dyn Guard>>) {
        self.collected.guard = guard.cloned();
    }

    /// Notes what the transfer sends, as far as `batch` says it: the first one does, or the first ones.
    ///
    /// # Errors
    /// EINVAL if that is not valid.
    pub fn set_up(&mut self, batch: BatchNo, manifest: &Manifest) -> Result<(), Reason> {
        let about_base = manifest.setup.as_ref().is_some_and(|setup| setup.path.is_base());
        if self.mode.path_is_gone() && about_base {
            return Err(Reason::Os(errno::EINVAL));
        }
        let is_first = self.collected.subject.path().is_none();
        self.collected.subject.add(batch, manifest)?;
        if is_first && self.collected.subject.path().is_some() {
            self.next = Some(batch);
            self.is_listed = manifest.setup.as_ref().is_some_and(|setup| setup.listed);
            if about_base && !self.is_listed {
                self.dirs.insert(Vec::new(), Named::default());
            }
        }
        Ok(())
    }

    /// What the transfer sends, if that is known.
    pub fn about(&self) -> Option<&RelPath> {
        self.collected.subject.path()
    }

    /// Whether what is on the spool may be deleted: it was counted, and the transfer is one that
    /// deletes.
    pub fn may_run(&self) -> bool {
        self.tallied && self.mode.deletes()
    }

    /// The memory that it takes, in bytes.
    pub fn memory(&self) -> usize {
        let dirs = self.dirs.len() * (size_of::<Named>() + size_of::<Vec<u8>>());
        let spool = self.collected.spool.as_ref().map_or(0, Spool::memory);
        dirs + self.named_bytes
            + spool
            + self.collected.subject.memory()
            + self.named_late.memory()
            + self.restless.memory()
    }

    /// Whether there is a spool, which is an open file.
    pub fn has_spool(&self) -> bool {
        self.collected.spool.is_some()
    }

    /// The spool, unless it is empty or incomplete.
    pub fn spool(&mut self) -> Option<&mut Spool> {
        self.collected.spool.as_mut().filter(|_| !self.broken)
    }

    /// A batch of a transfer that commits nothing was planned.
    ///
    /// # Errors
    /// The spool cannot be written.
    pub fn planned(
        &mut self,
        within: &mut Within<'_>,
        batch: BatchNo,
        manifest: &Arc<Manifest>,
        told: Vec<Told>,
    ) -> io::Result<()> {
        if !self.broken && self.next.is_none_or(|next| next <= batch) {
            let before = self.early.insert(batch, (manifest.clone(), told));
            let before = before.map_or(0, |(manifest, _)| early_memory(&manifest));
            self.named_bytes = self.named_bytes.saturating_sub(before) + early_memory(manifest);
        }
        while let Some((manifest, told)) = self.next.and_then(|next| self.early.remove(&next)) {
            self.named_bytes = self.named_bytes.saturating_sub(early_memory(&manifest));
            self.next = self.next.map(BatchNo::next);
            for (entry, told) in manifest.entries.iter().zip(told) {
                if told == Told::InPlace {
                    self.in_place(within, &entry.path)?;
                }
                match entry.kind {
                    Kind::Close { listed } => self.closed(within, entry, listed, false)?,
                    Kind::Gone => self.gone(within, &entry.path)?,
                    Kind::Set { .. } => {}
                    _ => self.named(within.dirs, entry, told == Told::Failed),
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
            (self.dirs, self.early, self.collected.spool) = Default::default();
            self.named_bytes = 0;
        }
    }

    /// At `path` is a directory that is not empty, and the sender has something else there: spools it.
    /// Whether all of it may go.
    ///
    /// # Errors
    /// It cannot be spooled.
    pub fn in_place(&mut self, within: &mut Within<'_>, path: &RelPath) -> io::Result<bool> {
        let is_ours = self.about().is_some_and(|about| path.is_under(about));
        if self.broken || self.tallied || !is_ours || !self.mode.sends_and_deletes() {
            return Ok(false);
        }
        let (dir, _) = within.dirs.parent(path)?;
        let above = split(path.as_bytes()).0;
        let parent = Parent::of(&fsat::stat_fd(dir.as_fd())?, above, !above.is_empty());
        self.collected.spool_tree(within, path.clone(), parent)
    }

    /// Something that is in the sender's list does not exist there: spools what is here.
    ///
    /// # Errors
    /// It cannot be spooled.
    pub fn gone(&mut self, within: &mut Within<'_>, path: &RelPath) -> io::Result<()> {
        let is_ours = self.about().is_some_and(|about| path != about && path.is_under(about));
        let in_order = self.last_gone.as_ref().is_none_or(|last| {
            !path.is_under(last) && tree_order(last.as_bytes(), path.as_bytes()).is_lt()
        });
        let spools = self.is_listed && self.mode.spools();
        if self.broken || self.tallied || !spools || !is_ours || !in_order {
            return Ok(());
        }
        self.last_gone = Some(path.clone());
        let keeps_mtime = self.mode.sends_and_deletes() && path.components().nth(1).is_some();
        self.collected.spool_gone(within, path.clone(), keeps_mtime)
    }

    /// Something exists at the sender. If `entry` opens a directory, that is open from now on.
    pub fn named(&mut self, dirs: &mut Dirs, entry: &Entry, failed: bool) {
        let path = entry.path.as_bytes();
        let last = self.last_listed.as_ref().map(RelPath::as_bytes);
        let is_late = self.last_gone.is_some()
            || last.is_some_and(|last| post_order(path, last) != Ordering::Greater);
        if is_late && !entry.path.is_base() {
            self.named_late.insert(path);
        }
        if entry.kind == Kind::Keep && (is_late || entry.path.is_base()) {
            self.restless.insert(path);
        }
        if entry.path.is_base() {
            return;
        }
        let (dir, name) = split(path);
        if let Some(named) = self.dirs.get_mut(dir) {
            let before = named.memory();
            named.names.insert(name);
            if !named.folding.is_plain() {
                // Whatever is found under that name is no surplus, even if it is called otherwise.
                if let Ok(fd) = dirs.dir(dir) {
                    if let Ok(found) = fsat::stat_at(fd.as_fd(), name) {
                        named.folding.meet(Some(fd.as_fd()), name, Some(&found));
                    }
                }
            }
            self.named_bytes = (self.named_bytes + named.memory()).saturating_sub(before);
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
                let bytes = path.len() + named.memory();
                self.named_bytes = self.named_bytes.saturating_sub(bytes);
                let is_ours =
                    self.collected.subject.path().is_some_and(|about| entry.path.is_under(about));
                let in_order = self
                    .last_listed
                    .as_ref()
                    .is_none_or(|last| post_order(last.as_bytes(), path) == Ordering::Less);
                // What is back was spooled when it was gone, with all that is in it.
                let in_order = in_order && self.last_gone.is_none();
                let sound = !named.failed && !below_failed && in_order;
                if listed && is_ours && sound && !self.tallied {
                    self.last_listed = Some(entry.path.clone());
                    match closed_to_us {
                        true => self.collected.not_listed(within, &entry.path, &denied())?,
                        false => self.list(within, &entry.path, named)?,
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
            match self.collected.subject.path().cloned() {
                _ if self.is_listed => {}
                Some(about) if self.mode.path_is_gone() => {
                    self.collected.spool_gone(within, about, false)?
                }
                Some(about) if about.is_base() => {
                    let named = self.dirs.remove(about.as_bytes()).unwrap_or_default();
                    if !named.failed {
                        self.list(within, &about, named)?;
                    }
                }
                _ => {}
            }
            self.take_back(within)?;
        }
        self.tallied = true;
        let entries = if self.broken { 0 } else { self.collected.entries };
        let failed = if self.spool().is_some() { self.collected.failed } else { 0 };
        let spooled = self.spool().map_or(0, |spool| spool.count() - failed);
        Ok(DeletionTally { spooled, failed, entries })
    }

    /// Takes back what was named after it had been spooled, and what nobody can be sure of.
    fn take_back(&mut self, within: &mut Within<'_>) -> io::Result<()> {
        self.named_late.settle();
        self.restless.settle();
        if self.named_late.is_empty() && self.restless.is_empty() {
            return Ok(());
        }
        let (named, restless) = (&self.named_late, &self.restless);
        self.collected.take_back(within, |record| {
            let path = record.path.as_bytes();
            let dir = path.get(..record.listed.into()).unwrap_or_default();
            match (named.contains(path), restless.contains(dir)) {
                (true, _) => Some(SpoolCode::Kept),
                (false, true) => Some(SpoolCode::Failed(Reason::Restless)),
                (false, false) => None,
            }
        })
    }

    /// Spools what is in a directory and not among the sender's names.
    fn list(&mut self, within: &mut Within<'_>, dir: &RelPath, named: Named) -> io::Result<()> {
        let opened = within.dirs.root().open_dir(dir.as_bytes(), fsat::LISTING);
        let listed = opened.and_then(|fd| Ok((fsat::stat_fd(fd.as_fd())?, Names::list(&fd)?, fd)));
        let (stat, there, fd) = match listed {
            Ok(listed) => listed,
            Err(e) => return self.collected.not_listed(within, dir, &e),
        };
        if within.rights.lacks_owner_access(&stat) && stat.mode & 0o100 == 0 {
            // It can be listed, but nothing in it can be examined.
            return self.collected.not_listed(within, dir, &denied());
        }
        within.dirs.hold(dir.as_bytes(), fd);
        self.collected.entries += there.len() as u64;
        let Named { mut names, folding, .. } = named;
        names.settle();
        // No transfer sets attributes of the base directory.
        let here =
            Parent::of(&stat, dir.as_bytes(), self.mode.sends_and_deletes() && !dir.is_base());
        let dir_fd = within.dirs.dir(dir.as_bytes())?;
        let mut listed = Vec::new();
        for name in there.iter().filter(|name| !names.contains(name)) {
            let mut is_sent = || {
                let found = fsat::stat_at(dir_fd.as_fd(), name);
                found.is_ok_and(|stat| folding.holds(name, &stat, &there, &mut listed))
            };
            if folding.folds() == Some(true) && is_sent() {
                continue;
            }
            // A path that is too long here cannot have been sent either.
            if let Ok(path) = dir.join(name) {
                self.collected.spool_tree(within, path, here)?;
            }
        }
        Ok(())
    }
}

/// What a batch takes that was planned before its turn, in bytes.
fn early_memory(manifest: &Manifest) -> usize {
    manifest.memory() + manifest.entries.len()
}

fn denied() -> io::Error {
    io::Error::from_raw_os_error(libc::EACCES)
}
