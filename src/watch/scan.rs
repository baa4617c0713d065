//! Watching and searching the directories of a tree. Each is watched first and listed afterwards, so that what
//! comes into it is seen in one way or the other. It is done in small steps, so that events are read meanwhile.
//!
//! What cannot be watched is searched again and again, for what has changed since the last time.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::AsFd;

use super::dirty::Key;
use super::ground::{Adopted, Ground};
use crate::name::STAGING;
use crate::sys::fsat::{self, FileType, Stat};
use crate::sys::inotify::Wd;
use crate::time::{Span, Time};

/// The most directories without a watch that are known by name: with more, the whole tree is searched for them.
const MOST_TOPS: usize = 65_536;

/// How often directories without a watch are searched.
pub(super) const UNWATCHED: Span = Span::from_secs(60);

/// The wall clock, in seconds since 1970 and nanoseconds.
pub(super) type Wall = (i64, u32);

/// A search of a whole tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Search {
    /// All of it is sent afterwards.
    ForRescan,
    /// What has changed since this is told.
    Slow(Wall),
    /// The same, but only in directories without a watch.
    Unwatched(Wall),
}

/// What a search of a whole tree came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Searched {
    pub(super) search: Search,
    /// Every directory was listed.
    pub(super) whole: bool,
}

/// The directories that are to be watched and searched.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Those that have come just now, or are tried again (false).
    new: VecDeque<(Key, bool)>,
    /// Those that are watched and to be listed.
    listings: VecDeque<(Wd, How)>,
    /// Those that are not watched, and to be listed.
    walks: Vec<(Key, bool)>,
    /// Those that are not watched in one that is.
    tops: BTreeSet<Key>,
    /// Not all of these are known.
    more_tops: bool,
    /// The same of the time before the search that is on.
    before: (BTreeSet<Key>, bool),
    /// There were no more watches.
    is_full: bool,
    search: Option<Search>,
    round: u8,
    whole: bool,
    /// How many directories are not watched: at the last search, and counted at the one that is on.
    unwatched: u64,
    counted: u64,
}

/// How a directory is listed.
#[derive(Clone, Copy, Debug)]
struct How {
    /// With all directories below it, known or not.
    deep: bool,
    /// What is new in it is sent anyway.
    told: bool,
    /// An event said that it has come.
    is_event: bool,
}

impl Scan {
    /// How many directories have no watch.
    pub(super) fn unwatched(&self) -> u64 {
        self.unwatched.max(self.counted)
    }

    /// Whether that is because the kernel gives no more.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether there is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.new.is_empty()
            && self.listings.is_empty()
            && self.walks.is_empty()
            && self.search.is_none()
    }

    /// Whether a whole tree is being searched.
    pub(super) fn is_searching(&self) -> bool {
        self.search.is_some()
    }

    /// A directory may have come.
    pub(super) fn has_come(&mut self, key: Key) {
        self.new.push_back((key, true));
    }

    /// Begins to search the whole tree, in place of a search that is on.
    pub(super) fn begin(&mut self, ground: &mut Ground, search: Search) {
        let is_partial = matches!(search, Search::Unwatched(_)) && !self.more_tops;
        let tops = std::mem::take(&mut self.tops);
        (self.search, self.whole, self.is_full) = (Some(search), true, false);
        self.counted = 0;
        if is_partial {
            // Some of them may get a watch now.
            self.new.extend(tops.iter().cloned().map(|key| (key, false)));
            self.before = (tops, false);
            return;
        }
        self.listings.clear();
        self.walks.clear();
        self.before = (tops, std::mem::take(&mut self.more_tops));
        let told = search == Search::ForRescan;
        self.round = self.round.wrapping_add(1);
        ground.table.meet(ground.top, self.round);
        self.listings.push_back((ground.top, How { deep: true, told, is_event: false }));
    }

    /// Watches what has come. To be called before anything else is done with what was read.
    pub(super) fn watch_new(&mut self, ground: &mut Ground, now: Time) {
        while let Some(((parent, name), is_event)) = self.new.pop_front() {
            let path = ground.table.path(parent, ground.top, &ground.config.path);
            let Some(path) = path else { continue };
            let Ok(child) = path.join(&name) else { continue };
            if ground.excludes(&child, true) {
                continue;
            }
            let dir = ground.root.open_dir(path.as_bytes(), fsat::PATH_ONLY);
            let how = How { deep: false, told: false, is_event };
            match dir.and_then(|dir| self.adopt(ground, now, (parent, &name), &dir, how)) {
                Ok(()) => {}
                Err(error) => self.failed(&error),
            }
        }
    }

    /// Does one more step. What a search came to, when it is through.
    pub(super) fn step(&mut self, ground: &mut Ground, now: Time) -> Option<Searched> {
        self.watch_new(ground, now);
        if let Some((wd, how)) = self.listings.pop_front() {
            if let Err(error) = self.list(ground, now, wd, how) {
                self.failed(&error);
            }
        } else if let Some((key, told)) = self.walks.pop() {
            if let Err(error) = self.walk(ground, now, &key, told) {
                self.failed(&error);
            }
        }
        if !self.listings.is_empty() || !self.walks.is_empty() || !self.new.is_empty() {
            return None;
        }
        let search = self.search.take()?;
        self.unwatched = std::mem::take(&mut self.counted);
        self.before = Default::default();
        if !matches!(search, Search::Unwatched(_)) {
            for wd in ground.table.not_met(self.round) {
                ground.abandon(wd);
            }
        }
        Some(Searched { search, whole: self.whole })
    }

    fn failed(&mut self, error: &io::Error) {
        // What went while it was looked for is told by an event.
        self.whole &= has_gone(error);
    }

    /// Watches the directory `name` in `parent`, and has it listed if need be.
    fn adopt(
        &mut self,
        ground: &mut Ground,
        now: Time,
        (parent, name): (Wd, &[u8]),
        dir: &impl AsFd,
        how: How,
    ) -> io::Result<()> {
        let key = || -> Key { (parent, name.into()) };
        let mut weight = 0;
        let is_whole = match ground.adopt(parent, name, dir.as_fd()) {
            Ok(Adopted::Known(wd)) => {
                ground.table.meet(wd, self.round);
                if how.deep {
                    self.listings.push_back((wd, how));
                }
                return Ok(());
            }
            Ok(Adopted::New(wd, before)) => {
                weight = before;
                ground.table.meet(wd, self.round);
                self.listings.push_back((wd, How { deep: true, told: true, is_event: false }));
                true
            }
            Ok(Adopted::Twice) => self.walk_later(key(), how),
            Err(e) if is_lasting(&e) => return Err(e),
            Err(e) => {
                self.is_full |= e.raw_os_error() == Some(libc::ENOSPC);
                self.walk_later(key(), how)
            }
        };
        if is_whole && !how.told {
            ground.dirty.touch_whole(now, key(), weight);
        }
        Ok(())
    }

    /// A directory has no watch: it is listed now, and again later. Whether it is a new one.
    fn walk_later(&mut self, key: Key, how: How) -> bool {
        let is_new = how.is_event || !(self.before.1 || self.before.0.contains(&key));
        match self.tops.len() < MOST_TOPS {
            true => drop(self.tops.insert(key.clone())),
            false => self.more_tops = true,
        }
        self.walks.push((key, how.told || is_new));
        is_new
    }

    /// What is told of files: those that have changed since this.
    fn since(&self, is_watched: bool) -> Option<Wall> {
        match self.search? {
            Search::ForRescan => None,
            Search::Slow(since) => Some(since),
            Search::Unwatched(since) => (!is_watched).then_some(since),
        }
    }

    fn list(&mut self, ground: &mut Ground, now: Time, wd: Wd, how: How) -> io::Result<()> {
        let path = ground.table.path(wd, ground.top, &ground.config.path);
        let Some(path) = path else { return Ok(()) };
        let dir = ground.root.open_dir(path.as_bytes(), fsat::LISTING)?;
        let since = self.since(true).filter(|_| !how.told);
        let listed = Listed::of(&dir, since)?;
        ground.table.set_entries(wd, listed.count);
        for name in listed.changed {
            ground.found(now, (wd, name));
        }
        for name in listed.directories {
            let Ok(child) = path.join(&name) else { continue };
            if ground.excludes(&child, true) {
                continue;
            }
            if let Err(error) = self.adopt(ground, now, (wd, &name), &dir, how) {
                self.failed(&error);
            }
        }
        Ok(())
    }

    fn walk(&mut self, ground: &mut Ground, now: Time, key: &Key, told: bool) -> io::Result<()> {
        let Some(path) = ground.path(key) else { return Ok(()) };
        let dir = ground.root.open_dir(path.as_bytes(), fsat::LISTING)?;
        let since = self.since(false).filter(|_| !told);
        let has_changed = since.is_some_and(|since| {
            fsat::stat_fd(dir.as_fd()).is_ok_and(|stat| is_since(&stat, since))
        });
        self.counted += 1;
        // What has gone from it does not show otherwise.
        let is_whole = has_changed && ground.config.deletes;
        if is_whole {
            ground.dirty.touch_whole(now, key.clone(), 0);
        } else if has_changed {
            ground.found(now, key.clone());
        }
        let listed = Listed::of(&dir, since.filter(|_| !is_whole))?;
        let below = |name: &[u8]| -> Key { (key.0, [&*key.1, b"/", name].concat().into()) };
        for name in listed.changed {
            ground.found(now, below(&name));
        }
        for name in listed.directories {
            let Ok(child) = path.join(&name) else { continue };
            if !ground.excludes(&child, true) {
                self.walks.push((below(&name), told || is_whole));
            }
        }
        Ok(())
    }
}

/// What is in a directory.
struct Listed {
    count: u32,
    directories: Vec<Box<[u8]>>,
    /// What has changed.
    changed: Vec<Box<[u8]>>,
}

impl Listed {
    fn of(dir: &impl AsFd, since: Option<Wall>) -> io::Result<Self> {
        let mut listed = Listed { count: 0, directories: Vec::new(), changed: Vec::new() };
        fsat::list(dir.as_fd(), |name, kind, _| {
            if name == STAGING {
                return;
            }
            listed.count = listed.count.saturating_add(1);
            let is_to_be_asked = kind == FileType::Unknown || since.is_some();
            let stat = is_to_be_asked.then(|| fsat::stat_at(dir.as_fd(), name).ok()).flatten();
            let kind = stat.map_or(kind, |stat| stat.kind);
            if kind == FileType::Directory {
                listed.directories.push(name.into());
            }
            if stat.zip(since).is_some_and(|(stat, since)| is_since(&stat, since)) {
                listed.changed.push(name.into());
            }
        })?;
        Ok(listed)
    }
}

/// Whether an error says that what was listed is not there any more.
fn has_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}

/// Whether an error will be the same when the directory is tried again, unless an event comes.
fn is_lasting(error: &io::Error) -> bool {
    has_gone(error) || matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM))
}

/// Whether something has changed since then.
fn is_since(stat: &Stat, since: Wall) -> bool {
    (stat.ctime.secs, stat.ctime.nanos) >= since
}
