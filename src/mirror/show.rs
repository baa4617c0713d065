//! What should be on disk: a function of the index alone.

use std::collections::BTreeSet;

use super::entry::Entry;
use super::index::Index;
use super::rules::{Rule, Rules};
use crate::wire::versions::{Dot, Version, What};

/// The permission bits of a directory that nobody has told the attributes of: something is in it, and that is all.
pub const IMPLIED_MODE: u32 = 0o755;

/// What should be at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// A directory without attributes of its own, since something is in it.
    Implied,
    /// This.
    One(Version),
}

/// What should be at a path, and the dots that it stands for: what is changed there takes their place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// What.
    pub shown: Shown,
    /// The dots.
    pub dots: Vec<Dot>,
}

/// What is to be done at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Todo {
    /// Nothing, or nothing yet.
    Nothing,
    /// This version is to be put there, in place of what is there; it may be that its bytes are not here yet.
    Place {
        /// The version.
        version: Version,
        /// What it stands for.
        dots: Vec<Dot>,
    },
    /// A directory is to be there, in place of what is there if that is none.
    Directory {
        /// Its attributes; None for [`IMPLIED_MODE`].
        version: Option<Version>,
        /// What it stands for.
        dots: Vec<Dot>,
    },
    /// What was placed there is to be removed.
    Remove {
        /// What that stands for.
        dots: Vec<Dot>,
    },
}

/// A version that does not have the name, and its dots.
pub type Loser = (Version, Vec<Dot>);

/// What is below a path.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Below {
    /// A live version.
    live: bool,
    /// Something that is listed.
    listed: bool,
}

pub(super) fn is_directory(version: Version) -> bool {
    version.what == What::Directory
}

/// What a set shows where that is below it.
pub(super) fn view(entry: &Entry, below: Below, rules: Rules) -> View {
    let must_be_directory = (below.live || below.listed) && rules.has(Rule::Implied);
    let winner = entry
        .members
        .iter()
        .filter_map(|member| Some((member.stamp, member.dot, member.version?)))
        .filter(|(_, _, version)| !must_be_directory || is_directory(*version))
        .max_by_key(|(stamp, dot, _)| (*stamp, *dot));
    let is_shown = |dot: Dot, version: Option<Version>| match (version, winner) {
        // Who sees the file sees that it was not deleted.
        (None, _) => true,
        (Some(_), None) => false,
        (Some(version), Some((_, best, shown))) => {
            let is_same = rules.is_equal(Rule::Digest, version, shown)
                || is_directory(version) && is_directory(shown);
            dot == best || rules.has(Rule::Equal) && is_same
        }
    };
    let shown = entry.members.iter().filter(|member| is_shown(member.dot, member.version));
    View {
        dots: shown.map(|member| member.dot).collect(),
        shown: match winner {
            Some((_, _, version)) => Shown::One(version),
            None if must_be_directory => Shown::Implied,
            None => Shown::Nothing,
        },
    }
}

/// The directories above a path, the nearest first; the top of the tree, which is empty, is the last.
pub fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = (!path.is_empty()).then_some(path);
    std::iter::from_fn(move || {
        let at = rest?.iter().rposition(|byte| *byte == b'/');
        let parent = &rest?[..at.unwrap_or(0)];
        rest = at.map(|_| parent);
        Some(parent)
    })
}

fn is_below(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() && !path.is_empty()
        || path.strip_prefix(dir).is_some_and(|rest| rest.first() == Some(&b'/'))
}

impl Index {
    pub(super) fn below(&self, path: &[u8]) -> Below {
        let mut below = Below::default();
        for (other, entry) in self.entries_from(path) {
            if &*other == path {
                continue;
            }
            if !is_below(&other, path) || below.live {
                break;
            }
            below.live |= entry.live().next().is_some();
            below.listed |= entry.listed;
        }
        below
    }

    /// Whether something live is below a path.
    pub(super) fn has_live_below(&self, path: &[u8]) -> bool {
        self.below(path).live
    }

    /// The paths below one of which it knows anything.
    pub fn below_of<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = Box<[u8]>> + 'a {
        let after = self.entries_from(path).map(|(other, _)| other);
        after.skip_while(|other| **other == *path).take_while(|other| is_below(other, path))
    }

    /// What should be at a path.
    pub fn view(&self, path: &[u8]) -> View {
        view(&self.entry(path), self.below(path), self.rules)
    }

    /// The versions that should be at a path beside the one that has the name, each once, with their dots: their bytes are
    /// to be in `.makuosan/conflicts/`, and nothing else is.
    pub fn losers(&self, path: &[u8]) -> Vec<Loser> {
        let entry = self.entry(path);
        let shown = match view(&entry, self.below(path), self.rules).shown {
            Shown::One(version) => Some(version),
            Shown::Implied | Shown::Nothing => None,
        };
        let mut losers: Vec<Loser> = Vec::new();
        for (dot, version) in entry.live().filter(|(_, version)| Some(*version) != shown) {
            if is_directory(version) && shown.is_some_and(is_directory) {
                continue;
            }
            match losers.iter_mut().find(|(other, _)| *other == version) {
                Some((_, dots)) => dots.push(dot),
                None => losers.push((version, vec![dot])),
            }
        }
        losers
    }

    /// What is to be done at a path, against what was placed there. What is there is looked at before ([`Index::look`]).
    /// That only the dots are others, or that a listed object is what the others have, is settled here.
    pub fn todo(&mut self, path: &[u8]) -> Todo {
        let mut entry = self.entry(path);
        let below = self.below(path);
        if entry.listed && !self.adopt_equal(path, &mut entry, below) {
            return Todo::Nothing;
        }
        let View { shown, dots } = view(&entry, below, self.rules);
        let on_disk = entry.on_disk();
        let is_there = match shown {
            Shown::Nothing => on_disk.is_none(),
            Shown::One(version) if is_directory(version) => {
                on_disk == Some(version)
                    || on_disk.is_some_and(is_directory) && entry.placed.dots == dots
            }
            Shown::One(version) => entry.stands_for(version),
            Shown::Implied => on_disk.is_some_and(is_directory) && entry.placed.dots == dots,
        };
        if is_there {
            if entry.placed.dots != dots {
                entry.placed.dots = dots;
                self.put(path, entry, false);
            }
            return Todo::Nothing;
        }
        match shown {
            Shown::Nothing => Todo::Remove { dots },
            _ if self.is_blocked(path) => Todo::Nothing,
            Shown::Implied => Todo::Directory { version: None, dots },
            Shown::One(version) if is_directory(version) => {
                Todo::Directory { version: Some(version), dots }
            }
            Shown::One(version) => Todo::Place { version, dots },
        }
    }

    /// A listed object that is what the others have stands for their dots. False if it is not.
    fn adopt_equal(&mut self, path: &[u8], entry: &mut Entry, below: Below) -> bool {
        let Some(found) = entry.on_disk() else { return false };
        let equal = entry.live().filter(|(_, version)| *version == found);
        let mut dots: Vec<Dot> = equal.map(|(dot, _)| dot).collect();
        let has_directory = entry.live().any(|(_, version)| is_directory(version));
        let is_implied = is_directory(found) && below.live && !has_directory;
        if is_implied {
            dots = view(entry, below, self.rules).dots;
        } else if dots.is_empty() && self.rules.has(Rule::NoPush) {
            return false;
        }
        entry.placed.dots = dots;
        entry.listed = false;
        self.put(path, entry.clone(), true);
        true
    }

    /// Whether something that is listed, and no directory, is where a directory above the path should be.
    fn is_blocked(&self, path: &[u8]) -> bool {
        above(path)
            .map(|dir| self.entry(dir))
            .any(|entry| entry.listed && !entry.on_disk().is_some_and(is_directory))
    }

    /// What is to be done at these paths and the directories above them, in an order in which it can be done: what is in
    /// the way of a file first, then all that is to be there, what is above before what is below it, and the other
    /// removals last.
    pub fn work<'a>(
        &mut self,
        paths: impl IntoIterator<Item = &'a [u8]>,
    ) -> Vec<(Box<[u8]>, Todo)> {
        let mut all = BTreeSet::<&[u8]>::new();
        for path in paths {
            all.extend(std::iter::once(path).chain(above(path)).filter(|path| !path.is_empty()));
        }
        let todo = all.into_iter().map(|path| (Box::<[u8]>::from(path), self.todo(path)));
        let (mut removals, others): (Vec<_>, Vec<_>) = todo
            .filter(|(_, todo)| *todo != Todo::Nothing)
            .partition(|(_, todo)| matches!(todo, Todo::Remove { .. }));
        removals.reverse();
        let is_place = |(_, todo): &&(_, Todo)| matches!(todo, Todo::Place { .. });
        let files: BTreeSet<Box<[u8]>> =
            others.iter().filter(is_place).map(|(path, _)| path.clone()).collect();
        let (mut work, last): (Vec<_>, Vec<_>) =
            removals.into_iter().partition(|(path, _)| above(path).any(|dir| files.contains(dir)));
        work.extend(others);
        work.extend(last);
        work
    }

    /// All entries, and whether another one is below each.
    fn walk(&self) -> impl Iterator<Item = (Box<[u8]>, Entry, bool)> + '_ {
        let mut entries = self.entries_from(&[]).peekable();
        std::iter::from_fn(move || {
            let (path, entry) = entries.next()?;
            let is_above = entries.peek().is_some_and(|(next, _)| is_below(next, &path));
            Some((path, entry, is_above))
        })
    }

    /// The paths where there may be something to do, after a start: a scan that does not look below each.
    pub fn unplaced(&self) -> impl Iterator<Item = Box<[u8]>> + '_ {
        let is_unplaced = |(path, entry, is_above): (Box<[u8]>, Entry, bool)| {
            let view = view(&entry, Below::default(), self.rules);
            let may_be_implied = match view.shown {
                Shown::One(version) => is_above && !is_directory(version),
                Shown::Nothing | Shown::Implied => is_above,
            };
            let is_there = matches!(view.shown, Shown::One(_)) == entry.placed.found.is_some();
            let is_placed = is_there && view.dots == entry.placed.dots && !may_be_implied;
            (!is_placed || entry.listed).then_some(path)
        };
        self.walk().filter_map(is_unplaced)
    }

    /// All conflicts: paths, and the versions that do not have the name.
    pub fn conflicts(&self) -> impl Iterator<Item = (Box<[u8]>, Vec<Loser>)> + '_ {
        let may_conflict = |entry: &Entry, is_above: bool| match entry.live().count() {
            0 => false,
            1 => is_above && !entry.live().all(|(_, version)| is_directory(version)),
            _ => true,
        };
        self.walk()
            .filter(move |(_, entry, is_above)| may_conflict(entry, *is_above))
            .map(|(path, ..)| (path.clone(), self.losers(&path)))
            .filter(|(_, losers)| !losers.is_empty())
    }

    /// The versions that should be here and of which `has` says that their bytes are not: path, dot and version. What is
    /// placed is here; where something is listed nothing is needed yet.
    pub fn needed<'a>(
        &'a self,
        has: impl Fn(&[u8], &Version) -> bool + 'a,
    ) -> impl Iterator<Item = (Box<[u8]>, Dot, Version)> + 'a {
        self.entries_from(&[]).flat_map(move |(path, entry)| {
            let lacks = |(dot, version): (Dot, Version)| {
                let is_here = entry.listed
                    || entry.placed.dots.contains(&dot) && entry.placed.found.is_some()
                    || entry.on_disk() == Some(version)
                    || matches!(version.what, What::Directory)
                    || has(&path, &version);
                (!is_here).then_some((path.clone(), dot, version))
            };
            entry.live().filter_map(lacks).collect::<Vec<_>>()
        })
    }
}
