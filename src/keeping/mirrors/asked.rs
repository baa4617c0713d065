//! What people decide of a mirrored tree: what is adopted, what is released, which version of a conflict stays.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::all::Mirrors;
use super::settling::Staged;
use super::tree::Tree;
use super::types::{MirrorError, TreeNo};
use crate::fs::disk::Disk;
use crate::fs::root::Dirs;
use crate::mirror::look::Looked;
use crate::name::RelPath;
use crate::wire::outcome::Reason;
use crate::wire::versions::{Dot, Version};

/// What is asked of a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Deletions that are held may go; a tree that stands still goes on, or what is at this path in it and below.
    Release(RelPath),
    /// What is listed at this path and below it takes the place of what others have.
    Adopt(RelPath),
    /// A version that does not have the name takes it: this one, or the only one.
    Take(RelPath, Option<String>),
    /// A version that does not have the name is dropped: this one, or all at the path and below it.
    Drop(RelPath, Option<String>),
    /// The versions that do not have their names, at the path and below it.
    Conflicts(RelPath),
    /// What waits for something, at the path and below it.
    Waiting(RelPath),
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// It is done, at so many paths.
    Done(u64),
    /// The conflicts, in the order of a walk.
    Conflicts(Vec<Conflict>),
    /// What waits.
    Waiting(Vec<Waiting>),
}

/// The most paths of which all is told; who wants to know of more names a path.
pub const MOST_TOLD: usize = 10_000;

/// So many versions of a path are named in a line.
const MOST_NAMES: usize = 8;

/// A version without its name: where, what, and by which dots.
type Loser = (Box<[u8]>, Version, Vec<Dot>);

/// A version that does not have its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// The path.
    pub path: RelPath,
    /// Its dot.
    pub dot: Dot,
    /// What it is.
    pub version: Version,
}

/// Something that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// The path.
    pub path: RelPath,
    /// For what.
    pub wait: Wait,
}

/// For what something waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// For somebody who decides whether what was found here is adopted.
    Listed,
    /// For somebody who says that its deletion, here or on another host, was meant.
    Held,
    /// For its contents, which have not come; why they could not be placed, if they could not.
    Contents(Option<Reason>),
    /// For nothing but that it can be done; why it could not, if that was tried.
    Rest(Option<Reason>),
}

impl Mirrors {
    /// Does what was asked.
    ///
    /// # Errors
    /// It cannot be written down, or cannot be done now; there is no such version.
    pub fn ask(&self, tree: TreeNo, disk: &mut Disk, asked: &Asked) -> Result<Told, MirrorError> {
        self.with(tree, |tree| match asked {
            Asked::Conflicts(path) => Ok(Told::Conflicts(tree.conflicts_at(path))),
            Asked::Waiting(path) => Ok(Told::Waiting(tree.waiting_at(path))),
            asked => tree.ask(disk, asked).map(Told::Done),
        })
        .unwrap_or(Ok(Told::Done(0)))
    }
}

impl Tree {
    fn conflicts_at(&self, path: &RelPath) -> Vec<Conflict> {
        let one = |(within, version, dots): Loser| {
            Some(Conflict { path: self.full(&within)?, dot: dots.first().copied()?, version })
        };
        self.losers_under(path).into_iter().filter_map(one).take(MOST_TOLD + 1).collect()
    }

    fn waiting_at(&self, path: &RelPath) -> Vec<Waiting> {
        let sets = [&self.listed, &self.held, &self.gone, &self.open];
        let all: BTreeSet<Box<[u8]>> = sets.iter().flat_map(|set| self.under(set, path)).collect();
        let one = |within: Box<[u8]>| {
            let failed = self.failed.get(&within).copied();
            let wait = match () {
                () if self.listed.contains(&within) => Wait::Listed,
                () if self.held.contains(&within) || self.gone.contains(&within) => Wait::Held,
                () if self.lacking.contains_key(&within) => Wait::Contents(failed),
                () => Wait::Rest(failed),
            };
            Some(Waiting { path: self.full(&within)?, wait })
        };
        all.into_iter().filter_map(one).take(MOST_TOLD + 1).collect()
    }

    fn ask(&mut self, disk: &mut Disk, asked: &Asked) -> Result<u64, MirrorError> {
        self.tell_time();
        let mut paths: BTreeSet<Box<[u8]>> = BTreeSet::new();
        let mut staged = Staged::new();
        match asked {
            Asked::Release(_) if !self.is_in_place(&Arc::clone(disk.root())) => {
                self.go_on(disk.root())?;
                return Ok(1);
            }
            Asked::Release(path) if !self.ground.held_at(path).is_empty() => {
                let held = self.ground.held_at(path);
                for at in &held {
                    let released = self.ground.release(disk.root(), at);
                    released.map_err(|error| MirrorError::Io(at.clone(), error))?;
                    self.give_up_intents(at);
                }
                self.write(|_| Ok(()))?;
                return Ok(held.len() as u64);
            }
            Asked::Release(_) => {
                paths = std::mem::take(&mut self.held);
                self.released = true;
                for within in std::mem::take(&mut self.gone) {
                    let Some(path) = self.full(&within) else { continue };
                    let mut dirs = Dirs::new(Arc::clone(disk.root()));
                    if let Ok(Some(found)) = self.sight(&mut dirs, &path, false) {
                        let _ = self.index.look(&within, found, false);
                        paths.insert(within);
                    }
                }
            }
            Asked::Adopt(path) => {
                if !self.index.has_heard() && !self.first {
                    let why = "nothing was heard of other hosts yet: see --first";
                    return Err(MirrorError::Stopped(why.to_owned()));
                }
                for within in self.under(&self.listed, path) {
                    if let Looked::Changed(_) = self.index.push(&within) {
                        self.listed.remove(&within);
                        paths.insert(within);
                    }
                }
            }
            Asked::Take(path, name) => {
                let (within, version, dots) = match self.meant(path, name.as_deref())?.as_slice() {
                    [one] => one.clone(),
                    _ => {
                        let why = format!("{path} has several: name one of {}", self.names(path));
                        return Err(MirrorError::Unknown(why));
                    }
                };
                self.take(disk, path, &within, (version, &dots), &mut staged)?;
                paths.insert(within);
            }
            Asked::Drop(path, name) => {
                let all = match name {
                    Some(name) => self.meant(path, Some(name))?,
                    None => self.losers_under(path),
                };
                for (within, version, _) in all {
                    if self.index.drop_conflict(&within, &version).is_some() {
                        paths.insert(within);
                    }
                }
            }
            Asked::Conflicts(_) | Asked::Waiting(_) => {}
        }
        let done = self.settle_now(disk, &paths, staged);
        if std::mem::take(&mut self.released) {
            // What was let go does not count against what comes next.
            (self.removals, self.going) = ((0, 0), (0, 0));
        }
        done.map(|_| paths.len() as u64)
    }

    /// A version gets the name, by a new dot: what is kept of it under its old one is what is placed.
    fn take(
        &mut self,
        disk: &mut Disk,
        path: &RelPath,
        within: &[u8],
        (version, dots): (Version, &[Dot]),
        staged: &mut Staged,
    ) -> Result<(), MirrorError> {
        let at = |error| MirrorError::Io(path.clone(), error);
        let mut ops = disk.mirror(0).map_err(at)?;
        let kept = dots.iter().find_map(|dot| Some((*dot, ops.take_conflict(path, *dot).ok()?)));
        if kept.is_none() && !version.is_directory() {
            return Err(MirrorError::Stopped("its contents are not here yet".to_owned()));
        }
        if self.index.take_conflict(within, &version).is_none() {
            if let Some((dot, slot)) = kept {
                ops.keep_conflict(path, dot, slot).map_err(at)?;
            }
            let why = "the directory of this name has files in it: move it away first";
            return Err(MirrorError::Stopped(why.to_owned()));
        }
        staged.extend(kept.map(|(_, slot)| ((within.into(), version), slot)));
        Ok(())
    }

    /// The versions of this path that do not have the name, or the one that is called so.
    fn meant(&self, path: &RelPath, name: Option<&str>) -> Result<Vec<Loser>, MirrorError> {
        let mut all = self.losers_under(path);
        all.retain(|(within, ..)| self.within(path) == Some(within));
        if all.is_empty() {
            let why = format!("{path} has no other version: see msync conflicts");
            return Err(MirrorError::Unknown(why));
        }
        if let Some(name) = name {
            let dot = Dot::read(name);
            all.retain(|(.., dots)| dot.is_some_and(|dot| dots.contains(&dot)));
            if all.is_empty() {
                let why = format!("{path} has no version {name}, but {}", self.names(path));
                return Err(MirrorError::Unknown(why));
            }
        }
        Ok(all)
    }

    /// What the versions of a path that do not have the name are called.
    fn names(&self, path: &RelPath) -> String {
        let all = self.within(path).map(|within| self.index.losers(within)).unwrap_or_default();
        let names: Vec<String> =
            all.iter().filter_map(|(_, dots)| dots.first()).map(Dot::to_string).collect();
        match names.get(..MOST_NAMES).filter(|_| names.len() > MOST_NAMES) {
            Some(some) => format!("{} and {} more", some.join(", "), names.len() - MOST_NAMES),
            None => names.join(", "),
        }
    }

    /// The versions at a path and below it that do not have their names.
    fn losers_under(&self, path: &RelPath) -> Vec<Loser> {
        let of = |within: Box<[u8]>| {
            let losers = self.index.losers(&within).into_iter();
            losers.map(move |(version, dots)| (within.clone(), version, dots))
        };
        self.under(&self.conflicts, path).into_iter().flat_map(of).collect()
    }

    fn under(&self, set: &BTreeSet<Box<[u8]>>, path: &RelPath) -> Vec<Box<[u8]>> {
        let is_under = |within: &[u8]| self.full(within).is_some_and(|full| full.is_under(path));
        set.iter().filter(|within| is_under(within)).cloned().collect()
    }
}
