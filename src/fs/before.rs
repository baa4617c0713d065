//! What a tree was like at earlier transfers, so that a mount that is missing now is not taken for files
//! that were deleted.
//!
//! Only what this daemon has seen since it started is known: mounts since its start, other directories
//! since they were sent.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::measured::Mount;
use super::names::Names;
use super::root::{Dirs, Root};
use crate::name::RelPath;
use crate::sys::fsat;

/// The most mounts that are remembered.
const MOST_MOUNTS: usize = 1_024;
/// The most directories with something in them that are remembered, 8 to 16 bytes each.
const MOST_FILLED: usize = 1_000_000;

/// What a tree was like, shared by all transfers.
pub type SharedBefore = Arc<Mutex<Before>>;

/// Locks it.
pub fn lock(before: &SharedBefore) -> MutexGuard<'_, Before> {
    before.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a tree was like.
#[derive(Debug, Default)]
pub struct Before {
    mounts: BTreeSet<RelPath>,
    /// Hashes of the paths of directories in which there was something.
    filled: HashSet<u64>,
    key: RandomState,
}

/// What a transfer does when something is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guard {
    /// Nothing: it deletes nothing.
    Notes,
    /// It deletes nothing there.
    Keeps,
    /// The same of mounts alone: that something was emptied has been seen.
    KeepsMounts,
    /// It deletes there as anywhere, and what is missing is forgotten.
    Forgets,
}

/// What is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    /// A directory was a mount, and is none now.
    Mount,
    /// Something was in a directory, and nothing is now.
    Contents,
}

impl Before {
    /// Knows the mounts below `base`, from the text of `/proc/self/mountinfo`.
    pub fn of_mounts(base: &Path, mountinfo: &[u8]) -> Self {
        let mut before = Before::default();
        for line in mountinfo.split(|&b| b == b'\n') {
            let Some(at) = line.split(|&b| b == b' ').nth(4).map(unescaped) else { continue };
            let base = base.as_os_str().as_encoded_bytes();
            let below = at.strip_prefix(base).unwrap_or_default();
            // The root directory is the one that ends with a slash.
            let below = if base.ends_with(b"/") { Some(below) } else { below.strip_prefix(b"/") };
            if let Some(Ok(path)) = below.filter(|path| !path.is_empty()).map(RelPath::parse) {
                before.remember_mount(path);
            }
        }
        before
    }

    fn remember_mount(&mut self, path: RelPath) {
        if self.mounts.len() < MOST_MOUNTS {
            self.mounts.insert(path);
        }
    }

    /// A directory is met: whether something is missing. `entries` is how many there are in it, if it was
    /// listed.
    pub(super) fn meet(
        &mut self,
        path: &RelPath,
        is_mount: bool,
        entries: Option<usize>,
        guard: Guard,
    ) -> Option<Missing> {
        let hash = self.key.hash_one(path.as_bytes());
        if entries.is_some_and(|entries| entries > 0) && self.filled.len() < MOST_FILLED {
            self.filled.insert(hash);
        }
        if is_mount {
            self.remember_mount(path.clone());
        }
        let missing = if !is_mount && self.mounts.contains(path) {
            Missing::Mount
        } else if entries == Some(0) && self.filled.contains(&hash) {
            Missing::Contents
        } else {
            return None;
        };
        match guard {
            Guard::Notes => None,
            Guard::KeepsMounts if missing == Missing::Contents => {
                self.filled.remove(&hash);
                None
            }
            Guard::Keeps | Guard::KeepsMounts => Some(missing),
            Guard::Forgets => {
                self.mounts.remove(path);
                self.filled.remove(&hash);
                None
            }
        }
    }

    /// What is not among the `names` in `dir`, and was a mount or led to one.
    pub(super) fn gone(&mut self, dir: &RelPath, names: &Names, guard: Guard) -> Vec<RelPath> {
        let next = |mount: &RelPath| {
            let is_below = mount != dir && mount.is_under(dir);
            let name = mount.components().nth(dir.components().count()).filter(|_| is_below)?;
            let is_there = names.iter().any(|there| there == name);
            dir.join(name).ok().filter(|_| !is_there)
        };
        let mut gone: Vec<RelPath> = self.mounts.iter().filter_map(next).collect();
        gone.dedup();
        match guard {
            Guard::Keeps | Guard::KeepsMounts => return gone,
            Guard::Forgets => {
                self.mounts.retain(|mount| !gone.iter().any(|path| mount.is_under(path)));
            }
            Guard::Notes => {}
        }
        Vec::new()
    }

    /// The mount that `path` is below, or that is below `path`, and that is none now.
    pub fn missing_about(&self, root: &Arc<Root>, path: &RelPath) -> Option<RelPath> {
        let mut dirs = Dirs::new(Arc::clone(root));
        let mut is_mounted = |mount: &RelPath| {
            let stats = dirs.parent(mount).and_then(|(dir, name)| {
                Ok((fsat::stat_fd(dir.as_fd())?, fsat::stat_at(dir.as_fd(), name)?))
            });
            stats.is_ok_and(|(dir, here)| !Mount::of(&dir).is_same_mount(Mount::of(&here)))
        };
        let mut about = self.mounts.iter().filter(|at| at.is_under(path) || path.is_under(at));
        about.find(|mount| !is_mounted(mount)).cloned()
    }

    /// Forgets the mounts about `path`.
    pub fn forget_mounts_about(&mut self, path: &RelPath) {
        self.mounts.retain(|mount| !mount.is_under(path) && !path.is_under(mount));
    }
}

/// A path of `/proc/self/mountinfo`, in which some bytes are written in octal.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.first_chunk::<3>().filter(|_| first == b'\\');
        let value = octal.and_then(|digits| {
            digits.iter().try_fold(0u32, |sum, digit| {
                (b'0'..=b'7').contains(digit).then(|| sum * 8 + u32::from(digit - b'0'))
            })
        });
        match value.and_then(|value| u8::try_from(value).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TempDir, path};
    use super::*;

    #[test]
    fn the_mounts_below_the_base_are_read() {
        let info = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            30 22 8:2 / /srv/www rw - ext4 /dev/sda2 rw\n\
            31 30 8:3 / /srv/www/a\\040b/c rw - ext4 /dev/sda3 rw\n\
            32 22 8:4 / /srv/www-old rw - ext4 /dev/sda4 rw\n\
            33 22 0:5 / /srv/www/x\\134040 rw - tmpfs tmpfs rw\nbroken\n";
        let of = |base: &str| {
            let before = Before::of_mounts(Path::new(base), info);
            before.mounts.iter().map(|path| path.to_string()).collect::<Vec<_>>()
        };
        let shown = |text: &str| path(text).to_string();
        assert_eq!(of("/srv/www"), [shown("a b/c"), shown("x\\040")]);
        assert_eq!(of("/").len(), 4);
        assert_eq!(of("/srv/none"), [""; 0]);
    }

    #[test]
    fn a_mount_is_missed_until_it_is_back_or_forgotten() {
        let mut before = Before::default();
        let m = path("d/m");
        assert_eq!(before.meet(&m, true, Some(3), Guard::Keeps), None);
        assert_eq!(before.meet(&m, false, Some(3), Guard::Notes), None);
        for _ in 0..2 {
            assert_eq!(before.meet(&m, false, Some(3), Guard::Keeps), Some(Missing::Mount));
        }
        assert_eq!(before.meet(&m, true, Some(0), Guard::Keeps), Some(Missing::Contents));
        assert_eq!(before.meet(&m, false, Some(0), Guard::Forgets), None);
        assert_eq!(before.meet(&m, false, Some(0), Guard::Keeps), None);
        let e = path("emptied");
        assert_eq!(before.meet(&e, false, Some(2), Guard::KeepsMounts), None);
        assert_eq!(before.meet(&e, false, Some(0), Guard::Keeps), Some(Missing::Contents));
        assert_eq!(before.meet(&e, true, Some(0), Guard::KeepsMounts), None);
        assert_eq!(before.meet(&e, false, Some(0), Guard::KeepsMounts), Some(Missing::Mount));
    }

    #[test]
    fn what_led_to_a_mount_is_missed() {
        let mut before = Before::default();
        for at in ["a/b/m", "a/b/n", "z"] {
            before.meet(&path(at), true, None, Guard::Notes);
        }
        let base = RelPath::base();
        assert_eq!(before.gone(&base, &Names::one(b"a"), Guard::Keeps), [path("z")]);
        assert_eq!(before.gone(&path("a"), &Names::default(), Guard::Keeps), [path("a/b")]);
        assert_eq!(before.gone(&path("b"), &Names::default(), Guard::Keeps), []);
        assert_eq!(before.gone(&base, &Names::default(), Guard::Notes), []);
        assert_eq!(before.gone(&base, &Names::one(b"z"), Guard::Forgets), []);
        assert_eq!(before.gone(&base, &Names::default(), Guard::Keeps), [path("z")]);
        // None of them is one now.
        let temp = TempDir::new("missing-mounts");
        let missing = |before: &Before, at: &RelPath| before.missing_about(&temp.root(), at);
        assert_eq!(missing(&before, &path("z/x")), Some(path("z")));
        assert_eq!(missing(&before, &path("y")), None);
        before.forget_mounts_about(&base);
        assert_eq!(missing(&before, &base), None);
    }
}
