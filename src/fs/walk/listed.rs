//! The walk of a list of paths: what is there of them, then which of them are gone.
//!
//! The directories that lead to a listed path are gone through, as are those above the start. What is
//! below a listed path that is no directory here is not there either, and needs no word: what takes the
//! place of a directory takes that of all that is in it.

use std::io;

use super::super::before::{self, Guard, Missing};
use super::super::found::{FoundEntry, WalkItem};
use super::super::names::Names;
use super::super::paths::above;
use super::Walker;
use crate::name::RelPath;
use crate::sys::fsat::FileType;

/// Shorter files are sent as fast as they are compared.
const LEAST_MOVED: u64 = 16 << 10;

impl Walker {
    /// Whether all that is in the directory at `path` is walked.
    pub(super) fn is_whole(&self, path: &RelPath) -> bool {
        match &self.options.list {
            None => self.options.recursive,
            Some(list) => {
                self.open.last().is_some_and(|above| above.whole)
                    || list.find(path).is_some_and(|listed| listed.whole)
            }
        }
    }

    /// Whether nothing is deleted in the directory at `path`, as its list says.
    pub(super) fn keeps(&self, path: &RelPath) -> bool {
        let listed = self.options.list.as_ref().and_then(|list| list.find(path));
        listed.is_some_and(|listed| listed.keeps)
    }

    /// Whether `path` is only on the way to something that is listed.
    pub(super) fn leads_to_listed(&self, path: &RelPath) -> bool {
        let Some(list) = &self.options.list else { return false };
        !self.open.last().is_some_and(|above| above.whole) && list.find(path).is_none()
    }

    /// The names in a directory that is not walked as a whole.
    pub(super) fn listed_names(&self, dir: &RelPath) -> Names {
        let mut names = Names::default();
        let Some(list) = &self.options.list else { return names };
        let depth = if dir.is_base() { 0 } else { dir.components().count() };
        let mut last: &[u8] = &[];
        for listed in list.get(list.at(dir)) {
            match listed.path.components().nth(depth) {
                Some(name) if name != last && !name.is_empty() => {
                    names.push(name, FileType::Unknown);
                    last = name;
                }
                _ => {}
            }
        }
        names
    }

    /// Where targets are likely to have the file at `path`, if to look there is worth its while.
    pub(super) fn origin(&self, path: &RelPath, size: u64) -> Option<RelPath> {
        let list = self.options.list.as_ref().filter(|_| size > LEAST_MOVED)?;
        list.origin(path)
    }

    /// Nothing can be found at `path`, which is listed, or leads to what is. False if it is not of a list.
    pub(super) fn listed_is_missing(&mut self, path: &RelPath, error: &io::Error) -> bool {
        let Some(above) = self.open.last().filter(|above| !above.whole) else { return false };
        let guarded = above.guarded;
        let list = match &self.options.list {
            Some(list) if path.is_under(&self.start) => list.clone(),
            _ => return false,
        };
        let is_gone = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR));
        for listed in list.get(list.at(path)) {
            if self.is_excluded_below(path, &listed.path) {
                continue;
            }
            if is_gone && self.options.keep {
                if !guarded {
                    self.note_gone(&listed.path);
                }
                continue;
            }
            let raw = error.raw_os_error().unwrap_or(libc::EIO);
            let error = io::Error::from_raw_os_error(raw);
            let path = listed.path.as_bytes().to_vec();
            self.ready.push_back(WalkItem::Failed { path, error });
            if self.options.keep {
                self.ready.push_back(WalkItem::Found(FoundEntry::kept(listed.path.clone())));
            }
        }
        true
    }

    /// `path` is listed and no directory: what is listed below it is not there.
    pub(super) fn listed_below_is_missing(&mut self, path: &RelPath) {
        let list = match &self.options.list {
            Some(list) if !self.options.keep && !self.open.last().is_some_and(|up| up.whole) => {
                list.clone()
            }
            _ => return,
        };
        for listed in list.get(list.at(path)).iter().filter(|listed| listed.path != *path) {
            let error = io::Error::from_raw_os_error(libc::ENOTDIR);
            let path = listed.path.as_bytes().to_vec();
            self.ready.push_back(WalkItem::Failed { path, error });
        }
    }

    /// Whether a pattern leaves out a path that is not there, or a directory that would lead to it from `top` on.
    fn is_excluded_below(&self, top: &RelPath, path: &RelPath) -> bool {
        let leads = |dir: &&[u8]| dir.len() >= top.as_bytes().len();
        let mut dirs =
            above(path.as_bytes()).filter(leads).filter_map(|dir| RelPath::parse(dir).ok());
        // What it was, only its targets know.
        let itself = !self.options.keep && self.is_skipped(path, FileType::File);
        itself || dirs.any(|dir| self.is_skipped(&dir, FileType::Directory))
    }

    /// A listed path is gone, unless it is so because of a mount that is missing.
    fn note_gone(&mut self, path: &RelPath) {
        if self.gone.back().is_some_and(|last| path.is_under(last)) {
            return;
        }
        if let Some((before, guard)) = &self.options.before {
            let mut before = before::lock(before);
            match (before.missing_about(self.dirs.root(), path), guard) {
                (Some(mount), Guard::Keeps | Guard::KeepsMounts) => {
                    if self.missed.as_ref() != Some(&mount) {
                        self.missed = Some(mount.clone());
                        self.ready.push_back(WalkItem::Missing(mount, Missing::Mount));
                    }
                    return;
                }
                (Some(_), Guard::Forgets) => before.forget_mounts_about(path),
                _ => {}
            }
        }
        self.gone.push_back(path.clone());
    }

    /// Gives the next path that is gone, once all that is there was given. False if there is none.
    pub(super) fn give_gone(&mut self) -> bool {
        let Some(path) = self.gone.pop_front() else { return false };
        self.ready.push_back(WalkItem::Found(FoundEntry::gone(path)));
        true
    }
}
