//! The open directories of one incoming transfer: those whose open entry was planned and whose close
//! entry has not been committed yet.

use std::collections::HashMap;

use super::folding::Folding;
use super::identity::ObjectId;
use super::paths::above;
use crate::wire::manifest::Entry;
use crate::wire::outcome::Lacks;

/// The most directories that a transfer can have open. A walk has 2,048 at most, as no path is deeper;
/// the batches in flight can open and close some more.
pub(super) const MOST: usize = 32_768;

/// An open directory.
#[derive(Debug)]
pub(super) struct OpenDir {
    /// Its open entry.
    pub entry: Entry,
    /// It existed before the transfer.
    pub existed: bool,
    /// Which directory it is, once it exists.
    pub id: Option<ObjectId>,
    /// Its attributes were not as sent before the transfer changed anything in it.
    pub differs: bool,
    /// Something in it will be created or replaced, which changes its mtime.
    pub dirty: bool,
    /// This process owns it but lacks permissions in it.
    pub lacks_owner_access: bool,
    /// This transfer has created it.
    pub created: bool,
    /// Its attributes are to be as they are, which its open entry has: a later transfer has set them.
    pub keeps: bool,
    /// What it lacks although its attributes need nothing.
    pub lacks: Lacks,
    /// What is in its place, and is no directory.
    pub replaces: Option<ObjectId>,
    /// Its permission bits before they were changed to work in it, if they were.
    pub original_mode: Option<u32>,
    /// The names in it.
    pub folding: Folding,
    failed: bool,
    opens: u32,
}

/// All of them, by path.
#[derive(Debug, Default)]
pub(super) struct Opened {
    dirs: HashMap<Vec<u8>, OpenDir>,
    /// The names in the base directory.
    base: Folding,
    failed: usize,
    /// The bytes of all their paths.
    paths: usize,
}

impl Opened {
    /// An open entry was planned; `id` is that of an existing directory, `differs` and
    /// `lacks_owner_access` are as in [`OpenDir`]. False if too many directories are open.
    pub fn open(
        &mut self,
        entry: &Entry,
        id: Option<ObjectId>,
        differs: bool,
        lacks_owner_access: bool,
    ) -> bool {
        let path = entry.path.as_bytes();
        if self.dirs.len() >= MOST && !self.dirs.contains_key(path) {
            return false;
        }
        self.set_failed(path, false);
        // If it is opened again before it is closed, what was found first stays: by now this
        // transfer may have changed it.
        let paths = &mut self.paths;
        let known = self.dirs.entry(path.to_vec()).or_insert_with(|| {
            *paths += path.len();
            OpenDir {
                entry: entry.clone(),
                existed: id.is_some(),
                id,
                differs,
                dirty: false,
                lacks_owner_access: false,
                created: false,
                keeps: false,
                replaces: None,
                lacks: Lacks::NONE,
                original_mode: None,
                folding: Folding::default(),
                failed: false,
                opens: 0,
            }
        });
        known.entry = entry.clone();
        known.lacks_owner_access |= lacks_owner_access;
        known.opens += 1;
        true
    }

    /// The directory at `path`, if it is open.
    pub fn get(&mut self, path: &[u8]) -> Option<&mut OpenDir> {
        self.dirs.get_mut(path)
    }

    /// The names in the directory at `path`, if it is the base directory or open.
    pub fn folding(&mut self, path: &[u8]) -> Option<&mut Folding> {
        match path {
            [] => Some(&mut self.base),
            _ => self.dirs.get_mut(path).map(|known| &mut known.folding),
        }
    }

    /// The directory at `path` cannot be used: everything below it fails silently from now on.
    pub fn fail(&mut self, path: &[u8]) {
        self.set_failed(path, true);
    }

    /// It is tried once more.
    pub fn try_again(&mut self, path: &[u8]) {
        self.set_failed(path, false);
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

    /// Whether `path` is below a directory in which this process lacks permissions.
    pub fn is_below_unusable(&self, path: &[u8]) -> bool {
        above(path).any(|dir| self.dirs.get(dir).is_some_and(|known| known.lacks_owner_access))
    }

    /// Whether `path` is below a directory in whose place is something else as yet.
    pub fn is_below_replaced(&self, path: &[u8]) -> bool {
        above(path).any(|dir| self.dirs.get(dir).is_some_and(|known| known.replaces.is_some()))
    }

    /// Whether the open directory `path` can be listed only because this transfer has changed the
    /// permission bits of it, or of one above it. (A dry run changes none.)
    pub fn is_readable_by_changed_mode(&self, path: &[u8]) -> bool {
        let lacks = |dir: &[u8], bits| {
            let mode = self.dirs.get(dir).and_then(|known| known.original_mode);
            mode.is_some_and(|mode| mode & bits != bits)
        };
        lacks(path, 0o500) || above(path).any(|dir| lacks(dir, 0o100))
    }

    /// A close entry was committed: the directory is forgotten, unless it was opened more than once.
    pub fn release(&mut self, path: &[u8]) {
        let Some(known) = self.dirs.get_mut(path) else { return };
        known.opens = known.opens.saturating_sub(1);
        if known.opens == 0 {
            self.failed -= usize::from(known.failed);
            self.dirs.remove(path);
            self.paths -= path.len();
        }
    }

    /// The memory that they take, in bytes.
    pub fn memory(&self) -> usize {
        // Each path is the key, and part of the entry.
        let dirs = self.dirs.len() * (size_of::<OpenDir>() + 2 * size_of::<Vec<u8>>());
        let names = self.dirs.values().map(|dir| dir.folding.memory()).sum::<usize>();
        dirs + 2 * self.paths + names + self.base.memory()
    }

    /// Removes and returns all directories, deepest first.
    pub fn drain(&mut self) -> Vec<OpenDir> {
        (self.failed, self.paths) = (0, 0);
        let mut all: Vec<OpenDir> = self.dirs.drain().map(|(_, dir)| dir).collect();
        all.sort_unstable_by_key(|dir| std::cmp::Reverse(dir.entry.path.as_bytes().len()));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::RelPath;
    use crate::wire::manifest::{FileTime, Kind};

    fn dir(path: &str) -> Entry {
        let path = RelPath::parse(path.as_bytes()).unwrap();
        Entry { path, kind: Kind::Open, mode: 0o755, uid: 0, gid: 0, mtime: FileTime::default() }
    }

    #[test]
    fn what_is_below_a_failed_directory_is_silent_until_it_is_closed() {
        let mut opened = Opened::default();
        assert!(opened.open(&dir("a"), Some(ObjectId::default()), false, false));
        assert!(opened.open(&dir("a/b"), None, false, false));
        opened.fail(b"a/b");
        opened.fail(b"a/b");
        assert!(opened.is_below_failed(b"a/b/c") && opened.is_below_failed(b"a/b/c/d"));
        assert!(!opened.is_below_failed(b"a/b") && !opened.is_below_failed(b"a/bc"));
        // Opened once more, it may have got better; and both closes count.
        assert!(opened.open(&dir("a/b"), None, false, false));
        assert!(!opened.is_below_failed(b"a/b/c"));
        opened.fail(b"a/b");
        opened.release(b"a/b");
        assert!(opened.has_failed(b"a/b"));
        opened.release(b"a/b");
        assert!(!opened.is_below_failed(b"a/b/c"));
        assert_eq!(opened.failed, 0);
        assert_eq!(opened.drain().len(), 1);
        assert_eq!((opened.paths, opened.memory()), (0, 0));
    }

    #[test]
    fn no_transfer_opens_without_end() {
        let mut opened = Opened::default();
        for n in 0..MOST {
            assert!(opened.open(&dir(&format!("d{n}")), None, false, false));
        }
        assert!(!opened.open(&dir("more"), None, false, false));
        assert!(opened.open(&dir("d1"), None, false, false));
    }
}
