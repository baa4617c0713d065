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
use crate::wire::versions::{Dot, Version};

/// What is asked of a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Deletions that are held may go; a tree that stands still goes on, or what is at this path in it and below.
    Release(RelPath),
    /// What is listed at this path and below it takes the place of what others have.
    Adopt(RelPath),
    /// A version that does not have the name takes it.
    Take(RelPath, Dot),
    /// A version that does not have the name is dropped: this one, or all at the path and below it.
    Drop(RelPath, Option<Dot>),
}

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

impl Mirrors {
    /// Does what was asked. How many paths that concerned.
    ///
    /// # Errors
    /// It cannot be written down, or cannot be done now.
    pub fn ask(&self, tree: TreeNo, disk: &mut Disk, asked: &Asked) -> Result<u64, MirrorError> {
        self.with(tree, |tree| tree.ask(disk, asked)).unwrap_or(Ok(0))
    }

    /// The conflicts of a tree, in the order of a walk, `most` of them.
    pub fn conflicts(&self, tree: TreeNo, most: usize) -> Vec<Conflict> {
        let all = |tree: &mut Tree| {
            let mut found = Vec::new();
            for within in &tree.conflicts {
                let Some(path) = tree.full(within) else { continue };
                for (version, dots) in tree.index.losers(within) {
                    let Some(dot) = dots.first().copied() else { continue };
                    found.push(Conflict { path: path.clone(), dot, version });
                }
                if found.len() >= most {
                    break;
                }
            }
            found.truncate(most);
            found
        };
        self.with(tree, all).unwrap_or_default()
    }
}

impl Tree {
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
                for within in self.listed_under(path) {
                    if let Looked::Changed(_) = self.index.push(&within) {
                        self.listed.remove(&within);
                        paths.insert(within);
                    }
                }
            }
            Asked::Take(path, dot) => {
                let Some(within) = self.within(path).map(Box::<[u8]>::from) else { return Ok(0) };
                let Some((version, dots)) = self.loser(&within, *dot) else { return Ok(0) };
                self.take(disk, path, &within, (version, &dots), &mut staged)?;
                paths.insert(within);
            }
            Asked::Drop(path, dot) => {
                for within in self.conflicts_under(path) {
                    for (version, dots) in self.index.losers(&within) {
                        let is_meant = dot.is_none_or(|dot| dots.contains(&dot));
                        if is_meant && self.index.drop_conflict(&within, &version).is_some() {
                            paths.insert(within.clone());
                        }
                    }
                }
            }
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

    fn loser(&self, within: &[u8], dot: Dot) -> Option<(Version, Vec<Dot>)> {
        self.index.losers(within).into_iter().find(|(_, dots)| dots.contains(&dot))
    }

    fn listed_under(&self, path: &RelPath) -> Vec<Box<[u8]>> {
        self.under(&self.listed, path)
    }

    fn conflicts_under(&self, path: &RelPath) -> Vec<Box<[u8]>> {
        self.under(&self.conflicts, path)
    }

    fn under(&self, set: &BTreeSet<Box<[u8]>>, path: &RelPath) -> Vec<Box<[u8]>> {
        let is_under = |within: &[u8]| self.full(within).is_some_and(|full| full.is_under(path));
        set.iter().filter(|within| is_under(within)).cloned().collect()
    }
}
