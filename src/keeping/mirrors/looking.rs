//! Looking at what is in a tree, against its index: what was changed here gets its dots.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::all::Mirrors;
use super::tree::{Tree, sync_paths};
use super::types::{MirrorError, TreeNo};
use crate::errno::ErrorText;
use crate::fs::mirror::look::{Here, names};
use crate::fs::mirror::reading::Reader;
use crate::fs::root::{Dirs, Root};
use crate::mirror::look::{Found, Looked};
use crate::mirror::show::{Todo, above};
use crate::name::RelPath;
use crate::pattern::Patterns;

/// So many paths are looked at without a pause for others.
const SLICE: usize = 512;

/// How a tree is looked at.
#[derive(Clone, Debug)]
pub struct Looking {
    /// The base directory.
    pub root: Arc<Root>,
    /// What is left out.
    pub patterns: Arc<Patterns>,
    /// What is missing counts as deleted. Else nothing is said of it.
    pub deletes: bool,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Seen {
    /// How many local changes.
    pub changed: u64,
    /// How many paths could not be looked at.
    pub failed: u64,
    /// What is too long to be read now, or does not hold still.
    pub later: Vec<RelPath>,
}

impl Seen {
    /// Something cannot be looked at.
    pub(super) fn fail(&mut self, path: &RelPath, error: &io::Error) {
        if self.failed == 0 {
            crate::log::warning(format_args!("mirror: {path}: {}", ErrorText(error)));
        }
        self.failed += 1;
    }
}

/// A path to be looked at; `whole`: with all that is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Look {
    /// The path.
    pub path: RelPath,
    /// All that is in it, too.
    pub whole: bool,
}

impl Mirrors {
    /// Looks at these paths.
    ///
    /// # Errors
    /// The dots of what was changed cannot be written down: nothing of it may leave.
    pub fn look(&self, tree: TreeNo, how: &Looking, paths: Vec<Look>) -> Result<Seen, MirrorError> {
        let mut search = self.search(tree, how);
        // What is not there any more is not listed.
        search.tops.extend(paths.iter().filter(|look| look.whole).map(|look| look.path.clone()));
        let mut stack: Vec<Look> = paths;
        stack.reverse();
        while !stack.is_empty() {
            let slice = stack.split_off(stack.len().saturating_sub(SLICE));
            let done = self.with(tree, |tree| -> Result<Vec<Look>, MirrorError> {
                let mut below = Vec::new();
                search.check(tree)?;
                tree.tell_time();
                for one in slice.into_iter().rev() {
                    search.one(tree, one, &mut below)?;
                }
                search.write(tree)?;
                Ok(below)
            });
            stack.extend(done.unwrap_or(Ok(Vec::new()))?);
            self.read_unread(tree, &mut search)?;
        }
        while let Some(top) = search.tops.pop() {
            let mut after = None;
            loop {
                let done = self.with(tree, |tree| search.below(tree, &top, after.take()));
                let done = done.unwrap_or(Ok(None))?;
                self.read_unread(tree, &mut search)?;
                match done {
                    Some(last) => after = Some(last),
                    None => break,
                }
            }
        }
        self.with(tree, |tree| search.let_go(tree)).unwrap_or(Ok(()))?;
        Ok(search.seen)
    }

    /// Looks at everything: what is in the tree, and what the index says should be.
    ///
    /// # Errors
    /// As [`Mirrors::look`].
    pub fn look_at_all(&self, tree: TreeNo, how: &Looking) -> Result<Seen, MirrorError> {
        let Some(top) = self.paths().find(|(of, _)| *of == tree).map(|(_, path)| path.clone())
        else {
            return Ok(Seen::default());
        };
        let seen = self.look(tree, how, vec![Look { path: top, whole: true }])?;
        self.with(tree, |tree| tree.vouch(&how.root)).unwrap_or(Ok(()))?;
        Ok(seen)
    }

    /// Whether something that was held is there again.
    pub fn is_back(&self, tree: TreeNo, how: &Looking) -> bool {
        let is_back = |tree: &mut Tree| {
            let held = |tree: &Tree| tree.ground.away().count();
            let before = held(tree);
            tree.is_in_place(&how.root);
            held(tree) < before
        };
        self.with(tree, is_back).unwrap_or(false)
    }

    /// While differences are listed, nothing else is done with the tree: then all is read.
    pub(super) fn search<'a>(&self, tree: TreeNo, how: &'a Looking) -> Search<'a> {
        let known = self.with(tree, |tree| (tree.lists || tree.ground.lists_any(), tree.wall));
        let (lists, wall) = known.unwrap_or((false, || 0));
        Search {
            how,
            seen: Seen::default(),
            dirs: Dirs::new(how.root.clone()),
            reader: Reader::new(wall),
            reads_long: lists,
            unread: Vec::new(),
            tops: Vec::new(),
            missing: Vec::new(),
            above: BTreeSet::new(),
        }
    }
}

pub(super) struct Search<'a> {
    pub(super) how: &'a Looking,
    pub(super) seen: Seen,
    pub(super) dirs: Dirs,
    pub(super) reader: Reader,
    /// Long files are read, too.
    pub(super) reads_long: bool,
    /// What is to be read, and looked at once more.
    pub(super) unread: Vec<(RelPath, Here)>,
    /// The paths below which the index may have something that is not there.
    tops: Vec<RelPath>,
    /// What is missing. It is looked at last, and all together.
    missing: Vec<RelPath>,
    /// What is above what was changed: it may be that nothing is to be there any more.
    above: BTreeSet<Box<[u8]>>,
}

impl Search<'_> {
    /// What is missing has gone, unless that is so much that somebody has to say that it is meant.
    pub(super) fn let_go(&mut self, tree: &mut Tree) -> Result<(), MirrorError> {
        self.check(tree)?;
        let missing = std::mem::take(&mut self.missing);
        let hold = tree.holds_local(missing.len());
        for path in missing {
            let Some(found) = self.find(tree, &path) else { continue };
            let Some(within) = tree.within(&path).map(Box::<[u8]>::from) else { continue };
            let looked = tree.index.look(&within, found, hold);
            if looked == Looked::Held {
                tree.gone.insert(within);
                continue;
            }
            tree.gone.remove(&within);
            if looked == Looked::Unread {
                // It is back, which the watcher tells.
                continue;
            }
            self.note(tree, &within, looked);
        }
        self.write(tree)
    }

    /// Makes sure that what is looked at is what the index speaks of.
    pub(super) fn check(&self, tree: &mut Tree) -> Result<(), MirrorError> {
        match tree.is_in_place(&self.how.root) {
            true => Ok(()),
            false => Err(MirrorError::Stopped(tree.stopped.clone().unwrap_or_default())),
        }
    }

    /// Looks at one path. What is in it, and is to be looked at next, goes to `below`.
    fn one(
        &mut self,
        tree: &mut Tree,
        look: Look,
        below: &mut Vec<Look>,
    ) -> Result<(), MirrorError> {
        let is_top = look.path == tree.path;
        let Some(found) = self.find(tree, &look.path) else { return Ok(()) };
        let is_directory = found.is_some_and(|(version, _)| version.is_directory());
        if !is_top && self.how.patterns.excludes(&look.path, is_directory) {
            return Ok(());
        }
        if !is_top {
            self.look(tree, &look.path, found)?;
        }
        if is_directory && look.whole {
            self.list(&look.path, below);
        }
        if !is_directory {
            // What was in it went with it.
            self.tops.push(look.path);
        }
        Ok(())
    }

    /// Looks at what the index has below a path, some after those that were looked at. The last of them.
    fn below(
        &mut self,
        tree: &mut Tree,
        top: &RelPath,
        after: Option<Box<[u8]>>,
    ) -> Result<Option<Box<[u8]>>, MirrorError> {
        self.check(tree)?;
        tree.tell_time();
        let top: Box<[u8]> = tree.within(top).unwrap_or_default().into();
        let inside = if top.is_empty() { Vec::new() } else { [&top[..], b"/"].concat() };
        let from = after.as_deref().unwrap_or(&top);
        let lists = tree.lists || tree.ground.lists_any();
        let paths: Vec<Box<[u8]>> = tree
            .index
            .entries_from(from)
            .skip_while(|(path, _)| **path == *from)
            .take_while(|(path, _)| path.starts_with(&inside))
            .filter(|(_, entry)| entry.placed.found.is_some() || lists)
            .map(|(path, _)| path)
            .take(SLICE)
            .collect();
        for path in &paths {
            if let Some(path) = tree.full(path) {
                self.missing(tree, &path)?;
            }
        }
        self.write(tree)?;
        Ok(paths.last().cloned())
    }

    /// Looks at a path that the index has, and that may be missing.
    fn missing(&mut self, tree: &mut Tree, path: &RelPath) -> Result<(), MirrorError> {
        let Some(found) = self.find(tree, path) else { return Ok(()) };
        let is_directory = found.is_some_and(|(version, _)| version.is_directory());
        match self.how.patterns.excludes(path, is_directory) {
            true => Ok(()),
            false => self.look(tree, path, found),
        }
    }

    /// What is at a path; None if that cannot be told, or is held.
    pub(super) fn find(&mut self, tree: &mut Tree, path: &RelPath) -> Option<Found> {
        self.dirs.forget();
        let enters = !self.how.patterns.excludes(path, true);
        match tree.sight(&mut self.dirs, path, enters) {
            Ok(found) => found,
            Err(error) => {
                self.seen.fail(path, &error);
                None
            }
        }
    }

    pub(super) fn look(
        &mut self,
        tree: &mut Tree,
        path: &RelPath,
        found: Found,
    ) -> Result<(), MirrorError> {
        let Some(within) = tree.within(path).filter(|within| !tree.undecided.contains(*within))
        else {
            return Ok(());
        };
        let lists = tree.lists || tree.ground.lists(path);
        if found.is_none() && !lists {
            if self.how.deletes && tree.index.entry(within).placed.found.is_some() {
                self.missing.push(path.clone());
            }
            return Ok(());
        }
        tree.gone.remove(within);
        let looked = match lists {
            true => tree.index.list(within, found),
            false => tree.index.look(within, found, false),
        };
        if let (Looked::Unread, Some(here)) = (looked, found) {
            self.unread.push((path.clone(), here));
            return Ok(());
        }
        self.note(tree, within, looked);
        Ok(())
    }

    fn note(&mut self, tree: &mut Tree, within: &[u8], looked: Looked) {
        tree.note(within, looked);
        if let Looked::Changed(_) = looked {
            self.seen.changed += 1;
            self.above.extend(above(within).filter(|dir| !dir.is_empty()).map(Box::from));
        }
    }

    fn list(&mut self, path: &RelPath, below: &mut Vec<Look>) {
        let names = names(self.dirs.root(), path);
        let names = match names {
            Ok(names) => names,
            Err(error) => return self.seen.fail(path, &error),
        };
        let names: BTreeSet<Vec<u8>> = names.into_iter().collect();
        for name in names.into_iter().rev() {
            let path = match path.is_base() {
                true => RelPath::parse(&name),
                false => RelPath::parse(&[path.as_bytes(), b"/", &name].concat()),
            };
            // `.makuosan` is none.
            below.extend(path.ok().map(|path| Look { path, whole: true }));
        }
    }

    pub(super) fn write(&mut self, tree: &mut Tree) -> Result<(), MirrorError> {
        for dir in std::mem::take(&mut self.above) {
            if tree.index.todo(&dir) != Todo::Nothing {
                tree.open.insert(dir);
            }
        }
        let dirs = &mut self.dirs;
        tree.write(|paths| sync_paths(dirs, paths))
    }
}

impl Tree {
    /// Keeps the figures of a path that was looked at, and whether something is to be done there.
    pub(super) fn note(&mut self, within: &[u8], looked: Looked) {
        match looked {
            Looked::Listed => drop(self.listed.insert(within.into())),
            _ => drop(self.listed.remove(within)),
        }
        let is_open = match looked {
            Looked::Listed | Looked::Held | Looked::Unread => false,
            Looked::Same => self.index.todo(within) != Todo::Nothing,
            // What did not have the name may have it now, or the other way round.
            Looked::Changed(_) => {
                self.index.todo(within) != Todo::Nothing
                    || self.conflicts.contains(within)
                    || !self.index.losers(within).is_empty()
            }
        };
        if is_open {
            self.open.insert(within.into());
        }
    }
}
