//! The directories of one incoming transfer that are open: their open entry came, and their close
//! entry has not been done with.

use std::collections::HashMap;

use super::paths::above;
use crate::wire::manifest::Entry;

/// The most directories that a transfer can have open. One that nests them as a walk does has 2,048
/// at most (a path is no deeper), and as many more as the batches on their way open and close.
pub(super) const MOST: usize = 32_768;

/// One of them.
#[derive(Debug)]
pub(super) struct OpenDir {
    /// What its open entry said.
    pub entry: Entry,
    /// It was there before the transfer.
    pub existed: bool,
    /// Its own attributes were not as sent, before the transfer changed anything in it.
    pub differs: bool,
    /// Something in it will be made or replaced, and so change its mtime.
    pub dirty: bool,
    /// It is this process's own, but its permission bits shut this process out.
    pub shut_out: bool,
    /// This transfer has made it.
    pub created: bool,
    /// Its own permission bits, if they were changed so that one can work in it.
    pub own_mode: Option<u32>,
    failed: bool,
    opens: u32,
}

/// All of them, by path.
#[derive(Debug, Default)]
pub(super) struct Opened {
    dirs: HashMap<Vec<u8>, OpenDir>,
    failed: usize,
}

impl Opened {
    /// An open entry was planned: `existed` says whether the directory is there, `differs` whether
    /// its attributes do, `shut_out` as in [`OpenDir`]. False if too many are open.
    pub fn open(&mut self, entry: &Entry, existed: bool, differs: bool, shut_out: bool) -> bool {
        let path = entry.path.as_bytes();
        if self.dirs.len() >= MOST && !self.dirs.contains_key(path) {
            return false;
        }
        self.set_failed(path, false);
        // Opened once more before it is closed, it keeps what was found first: by now this transfer
        // may have changed it.
        let known = self.dirs.entry(path.to_vec()).or_insert_with(|| OpenDir {
            entry: entry.clone(),
            existed,
            differs,
            dirty: false,
            shut_out: false,
            created: false,
            own_mode: None,
            failed: false,
            opens: 0,
        });
        known.entry = entry.clone();
        known.shut_out |= shut_out;
        known.opens += 1;
        true
    }

    /// The directory at `path`, if it is open.
    pub fn get(&mut self, path: &[u8]) -> Option<&mut OpenDir> {
        self.dirs.get_mut(path)
    }

    /// The directory at `path` cannot be had: everything below it is silent from now on.
    pub fn fail(&mut self, path: &[u8]) {
        self.set_failed(path, true);
    }

    fn set_failed(&mut self, path: &[u8], failed: bool) {
        if let Some(known) = self.dirs.get_mut(path) {
            self.failed = self.failed + usize::from(failed) - usize::from(known.failed);
            known.failed = failed;
        }
    }

    /// Whether the directory at `path` failed.
    pub fn has_failed(&self, path: &[u8]) -> bool {
        self.failed > 0 && self.dirs.get(path).is_some_and(|known| known.failed)
    }

    /// Whether `path` is below a directory that failed.
    pub fn is_below_failed(&self, path: &[u8]) -> bool {
        self.failed > 0 && above(path).any(|dir| self.has_failed(dir))
    }

    /// Whether `path` is below a directory that shuts this process out.
    pub fn is_below_shut_out(&self, path: &[u8]) -> bool {
        above(path).any(|dir| self.dirs.get(dir).is_some_and(|known| known.shut_out))
    }

    /// Whether `path`, an open directory, can be listed only because this transfer has changed
    /// permission bits of it or of one above it. (A dry run does not.)
    pub fn is_let_in(&self, path: &[u8]) -> bool {
        let lacks = |dir: &[u8], bits| {
            let mode = self.dirs.get(dir).and_then(|known| known.own_mode);
            mode.is_some_and(|mode| mode & bits != bits)
        };
        lacks(path, 0o500) || above(path).any(|dir| lacks(dir, 0o100))
    }

    /// A close entry is done with: the directory is forgotten, unless it is open once more.
    pub fn release(&mut self, path: &[u8]) {
        let Some(known) = self.dirs.get_mut(path) else { return };
        known.opens = known.opens.saturating_sub(1);
        if known.opens == 0 {
            self.failed -= usize::from(known.failed);
            self.dirs.remove(path);
        }
    }

    /// All that are left, the deepest first.
    pub fn drain(&mut self) -> Vec<OpenDir> {
        self.failed = 0;
        let mut all: Vec<OpenDir> = self.dirs.drain().map(|(_, dir)| dir).collect();
        all.sort_unstable_by_key(|dir| std::cmp::Reverse(dir.entry.path.as_bytes().len()));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::RelPath;
    use crate::wire::manifest::{Kind, Stamp};

    fn dir(path: &str) -> Entry {
        let path = RelPath::parse(path.as_bytes()).unwrap();
        Entry { path, kind: Kind::Open, mode: 0o755, uid: 0, gid: 0, mtime: Stamp::default() }
    }

    #[test]
    fn what_is_below_a_failed_directory_is_silent_until_it_is_closed() {
        let mut opened = Opened::default();
        assert!(opened.open(&dir("a"), true, false, false));
        assert!(opened.open(&dir("a/b"), false, false, false));
        opened.fail(b"a/b");
        opened.fail(b"a/b");
        assert!(opened.is_below_failed(b"a/b/c") && opened.is_below_failed(b"a/b/c/d"));
        assert!(!opened.is_below_failed(b"a/b") && !opened.is_below_failed(b"a/bc"));
        // Opened once more, it may have got better; and both closes count.
        assert!(opened.open(&dir("a/b"), false, false, false));
        assert!(!opened.is_below_failed(b"a/b/c"));
        opened.fail(b"a/b");
        opened.release(b"a/b");
        assert!(opened.has_failed(b"a/b"));
        opened.release(b"a/b");
        assert!(!opened.is_below_failed(b"a/b/c"));
        assert_eq!(opened.failed, 0);
        assert_eq!(opened.drain().len(), 1);
    }

    #[test]
    fn no_transfer_opens_without_end() {
        let mut opened = Opened::default();
        for n in 0..MOST {
            assert!(opened.open(&dir(&format!("d{n}")), false, false, false));
        }
        assert!(!opened.open(&dir("more"), false, false, false));
        assert!(opened.open(&dir("d1"), false, false, false));
    }
}
