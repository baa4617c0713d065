//! Taking in what other hosts give: sets are merged, and the disk follows.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::all::{Mirrors, lock};
use super::hands::Hands;
use super::settling::{Failures, Staged};
use super::taken::Taken;
use super::tree::{Tree, new_id};
use super::types::{MirrorError, TreeNo};
use super::unread::size_of;
use crate::engine::disk_job::TransferKey;
use crate::errno;
use crate::fs::disk::Disk;
use crate::fs::long_digests::LONG;
use crate::fs::mirror::reading::Reader;
use crate::fs::mirror::slots::Slot;
use crate::fs::root::Dirs;
use crate::ids::{BatchNo, EntryNo};
use crate::mirror::merge::Part;
use crate::stamp::Stamp;
use crate::wire::manifest::{Kind, Manifest};
use crate::wire::outcome::{Outcome, Reason};
use crate::wire::versions::{Knowledge, Member, Version};

/// How long a deletion is remembered, and how many are at the least.
const KEPT_MILLIS: u64 = 30 * 24 * 60 * 60 * 1_000;
/// Files with so many bytes or less are read once more before they are placed.
const CHECKED: u64 = 16 << 20;
const MOST_GRAVES: usize = 100_000;

impl Mirrors {
    /// Which tree an incoming transfer is about, if it is part of a mirror.
    pub fn tree_of(&self, key: TransferKey) -> Option<TreeNo> {
        lock(&self.taking).get(&key).copied()
    }

    /// A batch of a mirror is to be planned: the objects of it that are lacking here. None if it is of none.
    ///
    /// # Errors
    /// It cannot be taken at all.
    pub fn plan(
        &self,
        key: TransferKey,
        batch: BatchNo,
        manifest: &Manifest,
    ) -> Result<Option<BTreeSet<EntryNo>>, MirrorError> {
        let tree = match &manifest.setup {
            Some(setup) if setup.mirror.is_some() => {
                let none = || MirrorError::Stopped("no mirror here".to_owned());
                let tree = self.find(&setup.path).ok_or_else(none)?;
                self.with(tree, |tree| tree.begin_taking(key, batch, setup)).unwrap_or(Ok(()))?;
                lock(&self.taking).insert(key, tree);
                tree
            }
            _ => match self.tree_of(key) {
                Some(tree) => tree,
                None => return Ok(None),
            },
        };
        Ok(self.with(tree, |tree| tree.wanted(key, manifest)))
    }

    /// A batch of a mirror is to be committed, of a transfer for which [`Mirrors::plan`] was asked.
    pub fn commit(
        &self,
        tree: TreeNo,
        disk: &mut Disk,
        key: TransferKey,
        batch: BatchNo,
        manifest: &Arc<Manifest>,
        strikes: &[EntryNo],
    ) -> Vec<Outcome> {
        let done = self.with(tree, |tree| tree.commit(disk, key, batch, manifest, strikes));
        done.unwrap_or_default()
    }

    /// A transfer is over; `is_whole`: all of it was committed.
    pub fn close(
        &self,
        disk: &mut Disk,
        key: TransferKey,
        is_whole: bool,
    ) -> Option<(TreeNo, bool)> {
        let tree = lock(&self.taking).remove(&key)?;
        let is_taken = self.with(tree, |tree| tree.end(disk, key, is_whole))?;
        Some((tree, is_taken))
    }

    /// Forgets deletions that are long ago, or too many, or covered by what `all` others know.
    ///
    /// # Errors
    /// That cannot be written down.
    pub fn bury(&self, tree: TreeNo, all: &Knowledge) -> Result<(), MirrorError> {
        let bury = |tree: &mut Tree| {
            tree.tell_time();
            let older = Stamp::at((tree.wall)().saturating_sub(KEPT_MILLIS));
            let most = (tree.index.map().len() / 10).max(MOST_GRAVES);
            tree.index.bury(all, older, most);
            tree.write(|_| Ok(()))
        };
        self.with(tree, bury).unwrap_or(Ok(()))
    }

    /// A tree goes on with another id of its index.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn renew(&self, tree: TreeNo) -> Result<(), MirrorError> {
        let renew = |tree: &mut Tree| {
            tree.index.renew(new_id()?);
            tree.write(|_| Ok(()))
        };
        self.with(tree, renew).unwrap_or(Ok(()))
    }

    /// Finds out whether the directory of a tree is the one that its index speaks of.
    pub fn check(&self, tree: TreeNo, disk: &Disk) {
        self.with(tree, |tree| tree.is_in_place(disk.root()));
    }

    /// Tries again what is still to be done in a tree.
    ///
    /// # Errors
    /// The index cannot be written down.
    pub fn settle_open(&self, tree: TreeNo, disk: &mut Disk) -> Result<(), MirrorError> {
        self.with(tree, |tree| {
            let paths = tree.within_reach();
            tree.settle_now(disk, &paths, Staged::new()).map(drop)
        })
        .unwrap_or(Ok(()))
    }
}

impl Tree {
    fn begin_taking(
        &mut self,
        key: TransferKey,
        batch: BatchNo,
        setup: &crate::wire::setup::Setup,
    ) -> Result<(), MirrorError> {
        if let Some(why) = &self.stopped {
            return Err(MirrorError::Stopped(why.clone()));
        }
        let Some(mirror) = &setup.mirror else { return Ok(()) };
        let taking = self.index.take_in(mirror.clone(), new_id()?).ok();
        let is_broken = taking.is_none();
        self.taken.insert(key, Taken { taking, last: None, next: Some(batch), is_broken });
        Ok(())
    }

    /// The objects that are lacking here.
    fn wanted(&mut self, key: TransferKey, manifest: &Manifest) -> BTreeSet<EntryNo> {
        let Some(mut taken) = self.taken.remove(&key) else { return BTreeSet::new() };
        let mut wanted = BTreeSet::new();
        for (at, entry) in EntryNo::ZERO.onwards().zip(&manifest.entries) {
            if let Kind::Set { members, .. } = &entry.kind {
                taken.last = Some((entry.path.clone(), members.clone()));
                continue;
            }
            let (Some(dot), Some((path, members))) = (manifest.dot(at), &taken.last) else {
                continue;
            };
            let Some(within) = self.within(path) else { continue };
            let version = members.iter().find(|m| m.dot == dot).and_then(|m| m.version);
            if let (Some(version), true, true) =
                (version, taken.taking.is_some(), *path == entry.path)
            {
                let has_content = !self.lacking.contains_key(within)
                    && self.has_content(within, &version).is_some();
                let is_kept =
                    has_content || self.kept_at.get(within).is_some_and(|kept| kept.contains(&dot));
                let is_held = self.ground.is_held(path);
                if !is_kept && !is_held && self.index.wants(within, dot, &version) {
                    wanted.insert(at);
                }
            }
        }
        self.taken.insert(key, taken);
        wanted
    }

    fn commit(
        &mut self,
        disk: &mut Disk,
        key: TransferKey,
        batch: BatchNo,
        manifest: &Arc<Manifest>,
        strikes: &[EntryNo],
    ) -> Vec<Outcome> {
        let Some(mut taken) = self.taken.remove(&key) else { return Vec::new() };
        taken.is_broken |= taken.next != Some(batch);
        taken.next = Some(batch.next());
        self.tell_time();
        let mut outcomes = vec![Outcome::Skipped; manifest.entries.len()];
        let mut paths: BTreeSet<Box<[u8]>> = BTreeSet::new();
        let (mut staged, mut unstaged) = (Staged::new(), Vec::new());
        let mut from: Vec<Option<Box<[u8]>>> = vec![None; manifest.entries.len()];
        for (at, entry) in EntryNo::ZERO.onwards().zip(&manifest.entries) {
            let Some(within) = self.within(&entry.path).map(Box::<[u8]>::from) else { continue };
            let outcome = match (&entry.kind, manifest.dot(at)) {
                (Kind::Set { members, context }, _) => {
                    let done = self.merge_set(&mut taken, &within, members, context.as_ref());
                    paths.insert(within);
                    done
                }
                (_, Some(_)) if strikes.binary_search(&at).is_ok() => Outcome::Struck,
                (_, Some(dot)) => match disk.keep_staged(key, batch, at) {
                    Ok(Some(slot)) => {
                        from[at.index()] = Some(within.clone());
                        paths.insert(within.clone());
                        match self.index.entry(&within).live().find(|(other, _)| *other == dot) {
                            Some((_, version)) if !self.is_that(disk, slot, version) => {
                                self.empty(disk, slot);
                                Outcome::Failed(Reason::Changed)
                            }
                            Some((_, version)) => {
                                if let Some(before) = staged.insert((within, version), slot) {
                                    self.empty(disk, before);
                                }
                                Outcome::Updated
                            }
                            None => {
                                self.empty(disk, slot);
                                Outcome::Updated
                            }
                        }
                    }
                    Ok(None) => {
                        let why = disk.staging_failed(key, batch, at);
                        unstaged.extend(why.map(|why| (within, why)));
                        why.map_or(Outcome::Skipped, Outcome::Failed)
                    }
                    Err(error) => Outcome::Failed(Reason::from_io(&error)),
                },
                _ => Outcome::Skipped,
            };
            if let Some(room) = outcomes.get_mut(at.index()) {
                *room = outcome;
            }
        }
        let failures = match self.settle_now(disk, &paths, staged) {
            Ok(failures) => failures,
            Err(error) => {
                crate::log::error(format_args!("mirror {}: {error}", self.shown()));
                taken.is_broken = true;
                outcomes.iter_mut().for_each(|one| *one = Outcome::Failed(Reason::Os(errno::EIO)));
                Failures::new()
            }
        };
        for (within, why) in unstaged {
            self.has_failed(&within, Some(why));
        }
        for (room, within) in outcomes.iter_mut().zip(&from) {
            let failed = within.as_ref().and_then(|within| failures.get(within));
            if let Some(error) = failed {
                *room = Outcome::Failed(Reason::from_io(error));
            }
        }
        self.taken.insert(key, taken);
        outcomes
    }

    fn merge_set(
        &mut self,
        taken: &mut Taken,
        within: &[u8],
        members: &[Member],
        context: Option<&Arc<Knowledge>>,
    ) -> Outcome {
        let Some(taking) = &mut taken.taking else { return Outcome::Skipped };
        let (path, context) = (within.into(), context.cloned());
        let part = Part { path, members: members.to_vec(), context };
        if let Err(why) = self.index.merge_part(taking, &part) {
            crate::log::warning(format_args!("mirror {}: a set is refused: {why:?}", self.shown()));
            taken.is_broken = true;
        }
        Outcome::Skipped
    }

    /// Whether all of it was taken.
    fn end(&mut self, disk: &mut Disk, key: TransferKey, is_whole: bool) -> bool {
        let Some(Taken { taking, is_broken, .. }) = self.taken.remove(&key) else { return false };
        let Some(taking) = taking.filter(|_| is_whole && !is_broken) else { return false };
        let mut changed = match self.index.finish(taking) {
            Ok(changed) => BTreeSet::from_iter(changed),
            Err(_) => return false,
        };
        // What was in the way of something may be gone by now.
        let open = self.within_reach();
        changed.extend(open.into_iter().filter(|within| !self.lacking.contains_key(within)));
        if let Err(error) = self.settle_now(disk, &changed, Staged::new()) {
            crate::log::error(format_args!("mirror {}: {error}", self.shown()));
        }
        true
    }

    /// The paths at which something is still to be done, and can be.
    fn within_reach(&self) -> BTreeSet<Box<[u8]>> {
        let is_held = |within: &[u8]| self.full(within).is_none_or(|it| self.ground.is_held(&it));
        self.open.iter().filter(|within| !is_held(within)).cloned().collect()
    }

    pub(super) fn settle_now(
        &mut self,
        disk: &mut Disk,
        paths: &BTreeSet<Box<[u8]>>,
        staged: Staged,
    ) -> Result<Failures, MirrorError> {
        let mut dirs = Dirs::new(Arc::clone(disk.root()));
        let now = i64::try_from((self.wall)() / 1_000).unwrap_or(i64::MAX);
        if !self.is_in_place(&Arc::clone(disk.root())) {
            let why = self.stopped.clone().unwrap_or_default();
            return Err(MirrorError::Stopped(why));
        }
        let path = self.path.clone();
        let at = |error| MirrorError::Io(path.clone(), error);
        let mut ops = disk.mirror(now).map_err(at)?;
        if std::mem::take(&mut self.finds) {
            // What is kept there was out of reach.
            self.find_kept(&mut ops).map_err(at)?;
        }
        let reader = Reader::new(self.wall);
        let mut hands = Hands { ops: &mut ops, dirs: &mut dirs, reader, reads: LONG };
        let failures = self.settle(&mut hands, paths, staged)?;
        ops.tidy_trash();
        Ok(failures)
    }

    /// Whether what was staged has the content of the version that it came as: the file may have been changed on the host
    /// that sent it. Of what is longer than this, that host alone has seen to it.
    fn is_that(&self, disk: &mut Disk, slot: Slot, version: Version) -> bool {
        let here = disk.mirror(0).and_then(|mut ops| match ops.in_slot(slot)? {
            Some(here) if size_of(here) <= CHECKED => {
                ops.read_slot(&mut Reader::new(self.wall), slot, here)
            }
            _ => Ok(None),
        });
        match here {
            Ok(Some((read, _))) => read.content() == version.content(),
            // What cannot be read has come as well.
            Ok(None) | Err(_) => true,
        }
    }

    fn empty(&self, disk: &mut Disk, slot: Slot) {
        if let Ok(mut ops) = disk.mirror(0) {
            let _ = ops.empty_slot(slot);
        }
    }
}
