//! A watched tree on the disk, with its watches and the names in it that have changed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::dirty::{Dirty, Key, Settling};
use super::table::Table;
use super::types::Config;
use crate::fs::root::Root;
use crate::name::RelPath;
use crate::sys::fsat;
use crate::sys::inotify::{Inotify, Wd};
use crate::time::Time;

/// A watched tree.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) root: Arc<Root>,
    pub(super) config: Config,
    pub(super) inotify: Inotify,
    pub(super) table: Table,
    /// The watched directory itself.
    pub(super) top: Wd,
    /// The base directory, if that is another one and could be watched.
    base: Option<Wd>,
    /// Its device and inode.
    pub(super) identity: (u64, u64),
    pub(super) dirty: Dirty,
}

/// What came of watching a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Adopted {
    /// It was watched already, at this place.
    Known(Wd),
    /// It was not, or at another place. So many entries were below another one that was watched at this place.
    New(Wd, u64),
    /// It is another way to a directory that is watched where it also is.
    Twice,
}

impl Ground {
    /// Opens a tree and watches its top.
    ///
    /// # Errors
    /// It cannot be opened, or watched: which of the two.
    pub(super) fn open(root: Arc<Root>, config: Config) -> Result<Self, (io::Error, bool)> {
        let inotify = Inotify::new().map_err(|e| (e, false))?;
        let dir = root.open_dir(config.path.as_bytes(), fsat::LISTING).map_err(|e| (e, true))?;
        let stat = fsat::stat_fd(dir.as_fd()).map_err(|e| (e, true))?;
        let top = inotify.watch(dir.as_fd()).map_err(|e| {
            let of_directory = !matches!(e.raw_os_error(), Some(libc::ENOSPC | libc::ENOMEM));
            (e, of_directory)
        })?;
        let is_base = config.path.is_base();
        let base = (!is_base).then(|| inotify.watch_itself(root.as_fd()).ok()).flatten();
        let mut table = Table::default();
        table.put(top, None);
        let dirty = Dirty::new(config.delay);
        let identity = (stat.dev, stat.ino);
        Ok(Ground { root, config, inotify, table, top, base, identity, dirty })
    }

    /// Whether the top is at its path.
    pub(super) fn is_in_place(&self) -> bool {
        self.here().is_some_and(|(identity, _)| identity == self.identity)
            && self.table.has(self.top)
    }

    /// Whether an event of this directory is about where the tree is.
    pub(super) fn is_above(&self, wd: Wd) -> bool {
        wd == self.top || Some(wd) == self.base
    }

    /// What is at the path of the top: its device and inode, and its mount.
    pub(super) fn here(&self) -> Option<((u64, u64), Option<u64>)> {
        let dir = self.root.open_dir(self.config.path.as_bytes(), fsat::PATH_ONLY).ok()?;
        let stat = fsat::stat_fd(dir.as_fd()).ok()?;
        Some(((stat.dev, stat.ino), stat.mount))
    }

    /// The path of a name.
    pub(super) fn path(&self, key: &Key) -> Option<RelPath> {
        let mut path = self.table.path(key.0, self.top, &self.config.path)?;
        for component in key.1.split(|&b| b == b'/').filter(|name| !name.is_empty()) {
            path = path.join(component).ok()?;
        }
        Some(path)
    }

    /// The name of a path at or below the top, as one in the top.
    pub(super) fn key(&self, path: &RelPath) -> Key {
        let below = path.as_bytes().get(self.config.path.as_bytes().len()..).unwrap_or_default();
        (self.top, below.strip_prefix(b"/").unwrap_or(below).into())
    }

    /// Whether what is at this path is left out, by itself.
    pub(super) fn excludes(&self, path: &RelPath, is_directory: bool) -> bool {
        *path != self.config.path && self.config.patterns.excludes(path, is_directory)
    }

    /// Watches the directory `name` in `parent`, which is open as `dir`.
    ///
    /// # Errors
    /// Those of `openat` and `inotify_add_watch`.
    pub(super) fn adopt(
        &mut self,
        parent: Wd,
        name: &[u8],
        dir: BorrowedFd<'_>,
    ) -> io::Result<Adopted> {
        let opened = fsat::open_at(dir, name, fsat::PATH_ONLY, 0)?;
        let wd = self.inotify.watch(opened.as_fd())?;
        if !self.table.has(wd) {
            return Ok(self.put(wd, parent, name));
        }
        if self.table.place(wd) == Some((parent, name)) {
            return Ok(Adopted::Known(wd));
        }
        if wd == self.top || self.is_still_there(wd, &opened) {
            return Ok(Adopted::Twice);
        }
        Ok(self.put(wd, parent, name))
    }

    fn put(&mut self, wd: Wd, parent: Wd, name: &[u8]) -> Adopted {
        let before = self.table.child(parent, name).filter(|&before| before != wd);
        let entries = before.map(|before| self.table.entries_below(&[before]).iter().sum());
        self.table.put(wd, Some((parent, name)));
        Adopted::New(wd, entries.unwrap_or(0))
    }

    /// Whether the directory `opened` also is where it was when it was watched.
    fn is_still_there(&self, wd: Wd, opened: &OwnedFd) -> bool {
        let Some(path) = self.table.path(wd, self.top, &self.config.path) else { return false };
        let there = self.root.open_dir(path.as_bytes(), fsat::PATH_ONLY);
        let stat = |fd: &OwnedFd| fsat::stat_fd(fd.as_fd()).map(|stat| (stat.dev, stat.ino)).ok();
        there.is_ok_and(|there| stat(&there) == stat(opened))
    }

    /// Watches a directory no longer.
    pub(super) fn abandon(&mut self, wd: Wd) {
        self.inotify.leave(wd);
        self.dirty.forget_in(wd);
        self.table.remove(wd);
    }

    /// A name was found to have changed.
    pub(super) fn found(&mut self, now: Time, key: Key) {
        self.dirty.touch(now, key, Settling::Settled);
    }
}
