//! Making the disk what the index says, path by path, in the order that a crash needs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::hands::Hands;
use super::tree::{Tree, sync_mounts, sync_paths};
use super::types::MirrorError;
use crate::fs::mirror::ops::Ops;
use crate::fs::mirror::remove::Removed;
use crate::fs::mirror::slots::Slot;
use crate::mirror::look::{Found, Looked};
use crate::mirror::show::{Loser, Todo, above};
use crate::mirror::types::Intent;
use crate::name::RelPath;
use crate::wire::outcome::Reason;
use crate::wire::versions::{Dot, UNREAD, Version};

/// So many deletions of others are done without a question, and so large a part of the tree.
const FEW: usize = 100;
const PART: usize = 10;
const MANY: usize = 10_000;
/// Deletions count together within this time.
const WITHIN_MILLIS: u64 = 60_000;

/// Staged objects by what they are.
pub(super) type Staged = BTreeMap<(Box<[u8]>, Version), Slot>;

/// What could not be done, by the path below the top.
pub(super) type Failures = BTreeMap<Box<[u8]>, io::Error>;

/// Counts what happens within a minute.
fn count_more(counted: &mut (u64, usize), now: u64, more: usize) -> usize {
    if now.abs_diff(counted.0) > WITHIN_MILLIS {
        *counted = (now, 0);
    }
    counted.1 += more;
    counted.1
}

impl Tree {
    /// Makes the disk what the index says at these paths, as far as the bytes are here: staged, kept, or nowhere needed.
    ///
    /// # Errors
    /// The index cannot be written down: nothing more is done then.
    pub(super) fn settle(
        &mut self,
        hands: &mut Hands<'_, '_>,
        paths: &BTreeSet<Box<[u8]>>,
        mut staged: Staged,
    ) -> Result<Failures, MirrorError> {
        let mut failures = Failures::new();
        self.tell_time();
        // What is to become a directory may be a file that was changed here, or removed.
        let is_file = |dir: &&[u8]| {
            self.index.entry(dir).placed.found.is_some_and(|(placed, _)| !placed.is_directory())
        };
        let mut all: BTreeSet<Box<[u8]>> = BTreeSet::new();
        all.extend(paths.iter().flat_map(|path| above(path)).filter(is_file).map(Box::from));
        all.extend(paths.iter().cloned());
        self.decide(hands.ops)?;
        let mut held = BTreeSet::new();
        for within in &all {
            let Some(path) = self.full(within) else { continue };
            hands.dirs.forget();
            match self.sight(hands.dirs, &path, false) {
                Ok(Some(_)) if self.undecided.contains(within) => drop(held.insert(within.clone())),
                Ok(Some(found)) => {
                    let looked = self.look_at(hands, within, &path, found);
                    looked.err().map(|error| failures.insert(within.clone(), error));
                }
                Ok(None) => {
                    failures.insert(within.clone(), io::Error::from_raw_os_error(libc::EXDEV));
                    held.insert(within.clone());
                }
                Err(error) => drop(failures.insert(within.clone(), error)),
            }
        }
        let can = |(path, _): &(Box<[u8]>, Todo)| !failures.contains_key(path);
        // What is held waits until what it is on is there again.
        for within in &held {
            self.lacking.remove(within);
            self.open.insert(within.clone());
        }
        let paths: BTreeSet<Box<[u8]>> = paths.difference(&held).cloned().collect();
        let work = self.index.work(paths.iter().map(|path| &**path));
        let work: Vec<(Box<[u8]>, Todo)> = work.into_iter().filter(can).collect();
        self.count_removals(&work);
        let slots = self.intend(hands, &work, &mut staged, &mut failures)?;
        let mut touched = paths;
        let mut back = Vec::new();
        for (within, todo) in work {
            touched.insert(within.clone());
            let Some(path) = self.full(&within) else { continue };
            let done = match todo {
                Todo::Nothing => Ok(()),
                Todo::Directory { version, dots } => {
                    self.directory(hands, &within, &path, version, dots)
                }
                Todo::Place { version, dots } => match slots.get(&within) {
                    Some(slot) => {
                        let intent = self.index.entry(&within).intent;
                        let done = self.place(hands, &within, &path, *slot);
                        if let (Err(_), Some(intent)) = (&done, intent) {
                            back.push((within.clone(), path.clone(), intent));
                        }
                        done
                    }
                    None => self.set(hands, &within, &path, version, dots),
                },
                Todo::Remove { dots } => self.remove(hands, &within, &path, dots),
            };
            if let Err(error) = done {
                failures.insert(within, error);
            }
        }
        for within in &touched {
            if let Err(error) = self.keep_losers(hands, within, &mut staged) {
                failures.entry(within.clone()).or_insert(error);
            }
        }
        // Directories that were made may be where nothing was staged.
        let dirs = &mut *hands.dirs;
        let ops = &*hands.ops;
        let sync = |paths: &[RelPath]| match paths {
            [] => Ok(()),
            _ => ops.sync_all().and_then(|()| sync_mounts(dirs, paths)),
        };
        self.write(sync)?;
        for slot in staged.into_values() {
            let _ = hands.ops.empty_slot(slot);
        }
        for (within, path, intent) in back {
            self.put_back(hands.ops, &within, &path, &intent);
        }
        for within in &touched {
            self.take_stock(hands, within);
            self.has_failed(within, failures.get(within).map(Reason::from_io));
        }
        Ok(failures)
    }

    /// Finds the bytes of what is to be placed, and writes down that it will be.
    fn intend(
        &mut self,
        hands: &mut Hands<'_, '_>,
        work: &[(Box<[u8]>, Todo)],
        staged: &mut Staged,
        failures: &mut Failures,
    ) -> Result<BTreeMap<Box<[u8]>, Slot>, MirrorError> {
        let mut slots = BTreeMap::new();
        for (within, todo) in work {
            let Todo::Place { version, dots } = todo else { continue };
            let slot = match staged.remove(&(within.clone(), *version)) {
                Some(slot) => Some(slot),
                None => self.kept(hands, within, dots),
            };
            let Some(slot) = slot else { continue };
            match hands.ops.in_slot(slot) {
                Ok(Some((found, object))) => {
                    let version = found.with_digest(version.content().map_or(UNREAD, |it| it.1));
                    let (ino, dots) = (object.ino, dots.clone());
                    self.index.begin(within, Intent { version, ino, dots, slot: slot.0 });
                    slots.insert(within.clone(), slot);
                }
                Ok(None) => {}
                Err(error) => drop(failures.insert(within.clone(), error)),
            }
        }
        let all: Vec<Slot> = slots.values().copied().collect();
        let dirs = &mut *hands.dirs;
        let at = |error| MirrorError::Io(self.path.clone(), error);
        if !all.is_empty() {
            hands.ops.sync_slots(&all).map_err(at)?;
        }
        self.write(|paths| sync_paths(dirs, paths))?;
        Ok(slots)
    }

    /// A version that is kept as a conflict gets the name: its bytes.
    fn kept(&self, hands: &mut Hands<'_, '_>, within: &[u8], dots: &[Dot]) -> Option<Slot> {
        let path = self.full(within)?;
        dots.iter().find_map(|dot| hands.ops.take_conflict(&path, *dot).ok())
    }

    fn place(
        &mut self,
        hands: &mut Hands<'_, '_>,
        within: &[u8],
        path: &RelPath,
        slot: Slot,
    ) -> io::Result<()> {
        let put = match hands.ops.place(path, slot) {
            Ok(put) => put,
            Err(error) => {
                let staged = hands.ops.in_slot(slot).ok().flatten();
                let _ = self.index.recover(within, staged, None, true);
                return Err(error);
            }
        };
        let out = self.came_out(hands, within, slot, &put);
        let edited = self.index.committed(within, out, put.here.1);
        self.put_away(hands.ops, within, path, slot, out, edited)
    }

    /// What came out of a name is a version that others have to have, too, or it goes to the trash.
    pub(super) fn put_away(
        &mut self,
        ops: &mut Ops<'_>,
        within: &[u8],
        path: &RelPath,
        slot: Slot,
        out: Found,
        edited: Option<Dot>,
    ) -> io::Result<()> {
        let loser = out.and_then(|(version, _)| {
            let losers = self.index.losers(within);
            let it = losers.into_iter().find(|(other, _)| *other == version);
            it.and_then(|(_, dots)| dots.first().copied())
        });
        match edited.or(loser) {
            Some(dot) if out.is_some() => ops.keep_conflict(path, dot, slot),
            _ => ops.discard(slot, path),
        }
    }

    /// What was not placed is kept until it can be: it may be that nobody else has it any more. That it was not is
    /// written down before: an empty slot means that it was.
    pub(super) fn put_back(
        &mut self,
        ops: &mut Ops<'_>,
        within: &[u8],
        path: &RelPath,
        intent: &Intent,
    ) {
        let (slot, entry) = (Slot(intent.slot), self.index.entry(within));
        let found = ops.in_slot(slot).ok().flatten();
        if found.is_some_and(|(_, object)| object.ino != intent.ino) {
            let _ = ops.discard(slot, path);
        }
        let dot = entry.live().map(|(dot, _)| dot).find(|dot| intent.dots.contains(dot));
        if let Some(dot) = dot.filter(|dot| ops.keep_conflict(path, *dot, slot).is_ok()) {
            self.kept_at.entry(within.into()).or_default().push(dot);
        }
        let _ = ops.empty_slot(slot);
    }

    fn directory(
        &mut self,
        hands: &mut Hands<'_, '_>,
        within: &[u8],
        path: &RelPath,
        version: Option<Version>,
        mut dots: Vec<Dot>,
    ) -> io::Result<()> {
        let placed = self.index.entry(within).placed.found;
        if let Some(placed) = placed.filter(|placed| !placed.0.is_directory()) {
            let losers = self.index.losers(within);
            let loser = losers.iter().find(|(version, _)| *version == placed.0);
            let removed = match loser.and_then(|(_, dots)| dots.first()) {
                Some(dot) => hands.ops.set_aside(path, placed, *dot)?,
                None => hands.ops.remove(path, placed)?,
            };
            if removed == Removed::Gone {
                // It was removed here, and nobody has noticed yet.
                let _ = self.index.look(within, None, false);
                dots = self.index.view(within).dots;
            }
            if !self.is_away(hands, within, path, removed)? {
                return Ok(());
            }
        }
        let here = hands.ops.make_dir(path, version.as_ref())?;
        self.index.made(within, here, dots);
        Ok(())
    }

    /// Whether what was in the way is. If it was not what was placed, that is noted.
    fn is_away(
        &mut self,
        hands: &mut Hands<'_, '_>,
        within: &[u8],
        path: &RelPath,
        removed: Removed,
    ) -> io::Result<bool> {
        match removed {
            Removed::Done | Removed::Gone => Ok(true),
            Removed::NotEmpty => Err(io::ErrorKind::DirectoryNotEmpty.into()),
            Removed::Other(here) => self.look_at(hands, within, path, Some(here)).map(|_| false),
            Removed::Aside(slot, here) => {
                let here = hands.read_slot(slot, Some(here));
                match self.index.look(within, here, true) {
                    Looked::Changed(dot) => hands.ops.keep_conflict(path, dot, slot)?,
                    _ => hands.ops.discard(slot, path)?,
                }
                Ok(false)
            }
        }
    }

    fn remove(
        &mut self,
        hands: &mut Hands<'_, '_>,
        within: &[u8],
        path: &RelPath,
        dots: Vec<Dot>,
    ) -> io::Result<()> {
        if !self.released && (self.holds || self.held.contains(within)) {
            self.held.insert(within.into());
            return Ok(());
        }
        let Some(expected) = self.index.entry(within).placed.found else {
            return Ok(());
        };
        let removed = hands.ops.remove(path, expected)?;
        let out = if removed == Removed::Done { Some(expected) } else { None };
        if self.is_away(hands, within, path, removed)? {
            // It is what was placed.
            let _ = self.index.removed(within, out, dots);
        }
        Ok(())
    }

    /// Counts deletions of others: many at once wait until somebody says that they are meant.
    fn count_removals(&mut self, work: &[(Box<[u8]>, Todo)]) {
        let is_file =
            |within: &[u8]| self.index.entry(within).on_disk().is_some_and(|on| !on.is_directory());
        let removals = work.iter().filter(|(_, todo)| matches!(todo, Todo::Remove { .. }));
        let files = removals.filter(|(within, _)| is_file(within)).count();
        let now = (self.wall)();
        let all = count_more(&mut self.removals, now, files);
        let is_any_left = files < 2
            || self.index.entries_from(&[]).any(|(_, entry)| entry.live().next().is_some());
        self.holds = (self.are_many(all) || !is_any_left) && !self.released;
    }

    fn are_many(&self, deletions: usize) -> bool {
        deletions > FEW && deletions > (self.index.map().len() / PART).min(MANY)
    }

    /// Whether so many local deletions, with those of a minute, are to be held.
    pub(super) fn holds_local(&mut self, missing: usize) -> bool {
        if self.released || missing == 0 {
            return false;
        }
        let all = count_more(&mut self.going, (self.wall)(), missing);
        let placed = || self.index.entries_from(&[]).filter(|(_, one)| one.placed.found.is_some());
        let is_emptied = missing >= 2 && placed().take(missing + 1).count() <= missing;
        let holds = self.are_many(all) || is_emptied;
        if holds {
            crate::log::warning(format_args!(
                "mirror {}: {all} deletions here are held: 'msync mirror release' lets them go",
                self.shown()
            ));
        }
        holds
    }

    /// The versions that are to be kept: those that do not have their name, and one that could not be given it yet.
    pub(super) fn worth_keeping(&mut self, within: &[u8]) -> Vec<Loser> {
        let mut all = self.index.losers(within);
        if let Todo::Place { version, dots } = self.index.todo(within) {
            let live = self.index.entry(within);
            let of = live.live().filter(|(dot, other)| *other == version && dots.contains(dot));
            all.push((version, of.map(|(dot, _)| dot).collect()));
        }
        all
    }

    /// What lost its name is kept with all its bytes, and what is no version any more is not.
    fn keep_losers(
        &mut self,
        hands: &mut Hands<'_, '_>,
        within: &[u8],
        staged: &mut Staged,
    ) -> io::Result<()> {
        let Some(path) = self.full(within) else { return Ok(()) };
        let all = self.worth_keeping(within);
        let before = self.kept_at.remove(within).unwrap_or_default();
        let is_of = |dot: &Dot| all.iter().any(|(_, dots)| dots.contains(dot));
        let mut others: Vec<Dot> = before.iter().filter(|dot| !is_of(dot)).copied().collect();
        let mut kept = Vec::new();
        for (version, dots) in &all {
            let Some(first) = dots.first() else { continue };
            if let Some(slot) = staged.remove(&(within.into(), *version)) {
                hands.ops.keep_conflict(&path, *first, slot)?;
            } else if !before.iter().any(|dot| dots.contains(dot)) {
                // It may be kept as what another host called the same.
                for at in (0..others.len()).rev() {
                    let found = hands.ops.conflict(&path, others[at])?;
                    if found.is_none_or(|found| found.0 != version.unread()) {
                        continue;
                    }
                    let slot = hands.ops.take_conflict(&path, others[at])?;
                    let is_it = hands.read_slot(slot, found).is_some_and(|it| it.0 == *version);
                    let dot = if is_it { *first } else { others[at] };
                    hands.ops.keep_conflict(&path, dot, slot)?;
                    if is_it {
                        others.swap_remove(at);
                        break;
                    }
                }
            }
            for dot in dots {
                if hands.ops.conflict(&path, *dot)?.is_some() {
                    kept.push(*dot);
                }
            }
        }
        for dot in others {
            hands.ops.drop_conflict(&path, dot)?;
        }
        if !kept.is_empty() {
            self.kept_at.insert(within.into(), kept);
        }
        Ok(())
    }

    /// Why a path that is still to be done could not be. Of one whose bytes are lacking, what was known stays.
    pub(super) fn has_failed(&mut self, within: &[u8], why: Option<Reason>) {
        match why.filter(|_| self.open.contains(within)) {
            Some(why) => drop(self.failed.insert(within.into(), why)),
            None if self.lacking.contains_key(within) => {}
            None => drop(self.failed.remove(within)),
        }
    }

    /// What is still to be done at a path, and what is lacking there.
    pub(super) fn take_stock(&mut self, hands: &mut Hands<'_, '_>, within: &[u8]) {
        let todo = self.index.todo(within);
        let losers = self.index.losers(within);
        let path = self.full(within);
        let mut lacking: Vec<Dot> = Vec::new();
        for (version, dots) in &self.worth_keeping(within) {
            let is_kept = version.is_directory()
                || path.as_ref().is_some_and(|path| {
                    dots.iter()
                        .any(|dot| hands.ops.conflict(path, *dot).is_ok_and(|it| it.is_some()))
                });
            if !is_kept {
                lacking.extend(dots.first());
            }
        }
        let key: Box<[u8]> = within.into();
        if !self.index.entry(within).listed {
            self.listed.remove(within);
        }
        match losers.is_empty() {
            true => drop(self.conflicts.remove(within)),
            false => drop(self.conflicts.insert(key.clone())),
        }
        match todo == Todo::Nothing && lacking.is_empty() {
            true => drop(self.open.remove(within)),
            false => drop(self.open.insert(key.clone())),
        }
        if !matches!(todo, Todo::Remove { .. }) {
            self.held.remove(within);
        }
        match lacking.is_empty() {
            true => drop(self.lacking.remove(within)),
            false => drop(self.lacking.insert(key, lacking)),
        }
    }
}
