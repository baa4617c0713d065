//! The directories that are watched: each by the number that the kernel gave it, with its name and the directory
//! that it is in. One that moves keeps its number; its path, and the paths of all that is below it, follow from
//! one change here.
//!
//! A directory takes less than 100 bytes; there may be millions.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::index::Index;
use crate::name::{MAX_PATH, RelPath};
use crate::sys::inotify::Wd;

/// What stands for the parent of the top, and for that of a directory that has left the tree.
const NOWHERE: Wd = Wd(-1);
/// Names that are not used any more are cleared away when they take more than this, and than the others.
const LITTER: usize = 64 << 10;

/// The watched directories of one tree.
#[derive(Debug, Default)]
pub(super) struct Table {
    dirs: Vec<Dir>,
    by_wd: Index,
    by_name: Index,
    /// All names, end to end.
    names: Vec<u8>,
    /// How many bytes of them are not used any more.
    litter: usize,
    hasher: RandomState,
    /// What the entries of all directories add up to.
    entries: u64,
}

#[derive(Clone, Copy, Debug)]
struct Dir {
    wd: Wd,
    parent: Wd,
    name_at: u32,
    entries: u32,
    name_len: u8,
    /// In which round it was met last.
    round: u8,
}

impl Table {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.dirs.len()
    }

    /// How many entries there are in all of them.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// The memory that it takes, in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.dirs.capacity() * size_of::<Dir>()
            + self.names.capacity()
            + self.by_wd.memory()
            + self.by_name.memory()
    }

    /// Whether this one is there.
    pub(super) fn has(&self, wd: Wd) -> bool {
        self.at(wd).is_some()
    }

    /// The directory of this name in `parent`.
    pub(super) fn child(&self, parent: Wd, name: &[u8]) -> Option<Wd> {
        let is_it = |at: u32| {
            let dir = self.dirs.get(at as usize);
            dir.is_some_and(|dir| dir.parent == parent && self.name(dir) == name)
        };
        let at = self.by_name.find(self.hash(parent, name), is_it)?;
        self.dirs.get(at as usize).map(|dir| dir.wd)
    }

    /// The directory that it is in, and its name there; None for the top, and for what has left the tree.
    pub(super) fn place(&self, wd: Wd) -> Option<(Wd, &[u8])> {
        let dir = self.get(wd)?;
        (dir.parent != NOWHERE).then(|| (dir.parent, self.name(dir)))
    }

    /// The path of a directory below the top `top`, whose path is `base`; None if it is not below it.
    pub(super) fn path(&self, wd: Wd, top: Wd, base: &RelPath) -> Option<RelPath> {
        let (mut names, mut len, mut at) = (Vec::new(), 0, wd);
        while at != top {
            let (parent, name) = self.place(at)?;
            len += name.len() + 1;
            // Stale news can make a circle.
            if len > MAX_PATH {
                return None;
            }
            names.push(name);
            at = parent;
        }
        let mut path = base.as_bytes().to_vec();
        for name in names.into_iter().rev() {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        RelPath::parse_or_base(&path).ok()
    }

    /// A directory is at this place now. If another one was there, that has left the tree. The top has no parent.
    pub(super) fn put(&mut self, wd: Wd, place: Option<(Wd, &[u8])>) {
        let (parent, name) = place.unwrap_or((NOWHERE, b""));
        if self.get(wd).is_some_and(|dir| dir.parent == parent && self.name(dir) == name) {
            return;
        }
        if let Some(other) = self.child(parent, name).filter(|_| parent != NOWHERE) {
            self.detach(other);
        }
        let (Ok(name_at), Ok(name_len)) =
            (u32::try_from(self.names.len()), u8::try_from(name.len()))
        else {
            return;
        };
        grow(&mut self.names, name.len());
        self.names.extend_from_slice(name);
        let at = match self.at(wd) {
            Some(at) => {
                self.unname(at);
                at
            }
            None => {
                // There are at most as many as numbers of the kernel's.
                let at = self.dirs.len() as u32;
                grow(&mut self.dirs, 1);
                self.dirs.push(Dir { wd, parent, name_at, entries: 0, name_len, round: 0 });
                let dirs = &self.dirs;
                self.by_wd.insert(hash_of_wd(wd), at, |at| {
                    hash_of_wd(dirs.get(at as usize).map_or(NOWHERE, |dir| dir.wd))
                });
                at
            }
        };
        if let Some(dir) = self.dirs.get_mut(at as usize) {
            (dir.parent, dir.name_at, dir.name_len) = (parent, name_at, name_len);
        }
        self.enter_name(at);
        self.clear_litter();
    }

    /// A directory has left the tree, with all that is below it.
    pub(super) fn detach(&mut self, wd: Wd) {
        self.put(wd, None);
    }

    /// A directory is watched no longer.
    pub(super) fn remove(&mut self, wd: Wd) {
        let Some(at) = self.at(wd) else { return };
        self.unname(at);
        let last = self.dirs.len().saturating_sub(1) as u32;
        let dirs = &self.dirs;
        let hash_of = |at: u32| hash_of_wd(dirs.get(at as usize).map_or(NOWHERE, |dir| dir.wd));
        self.by_wd.remove(hash_of_wd(wd), at, hash_of);
        if at != last {
            let moved = dirs.get(last as usize).map_or(NOWHERE, |dir| dir.wd);
            self.by_wd.remove(hash_of_wd(moved), last, hash_of);
            self.leave_name(last);
        }
        let gone = self.dirs.swap_remove(at as usize);
        self.entries = self.entries.saturating_sub(gone.entries.into());
        if at != last {
            let dirs = &self.dirs;
            let moved = dirs.get(at as usize).map_or(NOWHERE, |dir| dir.wd);
            self.by_wd.insert(hash_of_wd(moved), at, |at| {
                hash_of_wd(dirs.get(at as usize).map_or(NOWHERE, |dir| dir.wd))
            });
            self.enter_name(at);
        }
        self.clear_litter();
    }

    /// So many entries are in a directory.
    pub(super) fn set_entries(&mut self, wd: Wd, entries: u32) {
        let Some(at) = self.at(wd) else { return };
        let Some(dir) = self.dirs.get_mut(at as usize) else { return };
        let before = std::mem::replace(&mut dir.entries, entries);
        self.entries = self.entries.saturating_sub(before.into()) + u64::from(entries);
    }

    /// An entry has come into a directory, or gone.
    pub(super) fn count(&mut self, wd: Wd, has_come: bool) {
        let Some(before) = self.get(wd).map(|dir| dir.entries) else { return };
        let now = if has_come { before.saturating_add(1) } else { before.saturating_sub(1) };
        self.set_entries(wd, now);
    }

    /// How many entries there are in a directory itself.
    pub(super) fn entries_in(&self, wd: Wd) -> u32 {
        self.get(wd).map_or(0, |dir| dir.entries)
    }

    /// A directory was met in this round.
    pub(super) fn meet(&mut self, wd: Wd, round: u8) {
        if let Some(dir) = self.at(wd).and_then(|at| self.dirs.get_mut(at as usize)) {
            dir.round = round;
        }
    }

    /// Those that were not met in this round.
    pub(super) fn not_met(&self, round: u8) -> Vec<Wd> {
        self.dirs.iter().filter(|dir| dir.round != round).map(|dir| dir.wd).collect()
    }

    /// Those that are not below `top`, nor it.
    pub(super) fn strays(&self, top: Wd) -> Vec<Wd> {
        let base = RelPath::base();
        let all = self.dirs.iter().map(|dir| dir.wd);
        all.filter(|&wd| self.path(wd, top, &base).is_none()).collect()
    }

    /// How many entries are at or below each of these directories.
    pub(super) fn entries_below(&self, roots: &[Wd]) -> Vec<u64> {
        let mut sums = vec![0; roots.len()];
        let places: HashMap<Wd, usize> = roots.iter().copied().zip(0..).collect();
        for dir in &self.dirs {
            let (mut at, mut steps) = (dir.wd, 0);
            // A path has no more components than bytes.
            while steps < MAX_PATH {
                if let Some(sum) = places.get(&at).and_then(|&place| sums.get_mut(place)) {
                    *sum += u64::from(dir.entries);
                    break;
                }
                let Some((parent, _)) = self.place(at) else { break };
                (at, steps) = (parent, steps + 1);
            }
        }
        sums
    }

    fn at(&self, wd: Wd) -> Option<u32> {
        let is_it = |at: u32| self.dirs.get(at as usize).is_some_and(|dir| dir.wd == wd);
        self.by_wd.find(hash_of_wd(wd), is_it)
    }

    fn get(&self, wd: Wd) -> Option<&Dir> {
        self.at(wd).and_then(|at| self.dirs.get(at as usize))
    }

    fn name(&self, dir: &Dir) -> &[u8] {
        let at = dir.name_at as usize;
        self.names.get(at..at + usize::from(dir.name_len)).unwrap_or_default()
    }

    fn hash(&self, parent: Wd, name: &[u8]) -> u64 {
        self.hasher.hash_one((parent, name))
    }

    fn hash_at(&self, at: u32) -> u64 {
        let dir = self.dirs.get(at as usize);
        dir.map_or(0, |dir| self.hash(dir.parent, self.name(dir)))
    }

    /// Has a directory found by its name.
    fn enter_name(&mut self, at: u32) {
        let mut index = std::mem::take(&mut self.by_name);
        if self.dirs.get(at as usize).is_some_and(|dir| dir.parent != NOWHERE) {
            index.insert(self.hash_at(at), at, |at| self.hash_at(at));
        }
        self.by_name = index;
    }

    fn leave_name(&mut self, at: u32) {
        let mut index = std::mem::take(&mut self.by_name);
        index.remove(self.hash_at(at), at, |at| self.hash_at(at));
        self.by_name = index;
    }

    /// The name of a directory is not used any more.
    fn unname(&mut self, at: u32) {
        self.leave_name(at);
        if let Some(dir) = self.dirs.get_mut(at as usize) {
            self.litter += usize::from(std::mem::take(&mut dir.name_len));
            dir.parent = NOWHERE;
        }
    }

    fn clear_litter(&mut self) {
        if self.litter <= LITTER || self.litter * 2 <= self.names.len() {
            return;
        }
        let mut names = Vec::with_capacity(self.names.len() - self.litter);
        for dir in &mut self.dirs {
            let at = dir.name_at as usize;
            let name = self.names.get(at..at + usize::from(dir.name_len)).unwrap_or_default();
            dir.name_at = names.len() as u32;
            names.extend_from_slice(name);
        }
        (self.names, self.litter) = (names, 0);
    }
}

/// Neighbouring numbers are far from each other.
fn hash_of_wd(wd: Wd) -> u64 {
    (wd.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24
}

/// Makes room for a few more, not for twice as many: this may be the most that a daemon keeps.
fn grow<T>(all: &mut Vec<T>, more: usize) {
    if all.capacity() - all.len() < more {
        all.reserve_exact(more + 256 + all.len() / 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: Wd = Wd(1);

    fn shown(table: &Table, wd: i32) -> Option<String> {
        let base = RelPath::parse(b"srv/www").unwrap();
        table.path(Wd(wd), TOP, &base).map(|path| path.to_string())
    }

    fn table() -> Table {
        let mut table = Table::default();
        table.put(TOP, None);
        table.put(Wd(2), Some((TOP, b"a")));
        table.put(Wd(3), Some((Wd(2), b"b")));
        table.put(Wd(4), Some((Wd(3), b"c")));
        table
    }

    #[test]
    fn a_directory_that_moves_takes_all_below_it_along() {
        let mut table = table();
        assert_eq!(shown(&table, 4).unwrap(), "srv/www/a/b/c");
        assert_eq!(shown(&table, 1).unwrap(), "srv/www");
        table.put(Wd(3), Some((TOP, b"moved")));
        assert_eq!(shown(&table, 4).unwrap(), "srv/www/moved/c");
        assert_eq!((table.child(Wd(2), b"b"), table.child(TOP, b"moved")), (None, Some(Wd(3))));
        assert_eq!(table.len(), 4);
    }

    #[test]
    fn another_directory_of_the_same_name_takes_the_place() {
        let mut table = table();
        table.put(Wd(5), Some((TOP, b"a")));
        assert_eq!(table.child(TOP, b"a"), Some(Wd(5)));
        assert_eq!((shown(&table, 2), shown(&table, 4)), (None, None));
        assert_eq!(table.strays(TOP), [Wd(2), Wd(3), Wd(4)]);
        table.put(Wd(2), Some((Wd(5), b"back")));
        assert_eq!(shown(&table, 4).unwrap(), "srv/www/a/back/b/c");
        assert_eq!(table.strays(TOP), []);
    }

    #[test]
    fn what_goes_is_forgotten_and_the_others_stay() {
        let mut table = table();
        table.remove(Wd(2));
        assert_eq!((table.len(), shown(&table, 3), table.child(TOP, b"a")), (3, None, None));
        table.put(Wd(3), Some((TOP, b"b")));
        assert_eq!(shown(&table, 4).unwrap(), "srv/www/b/c");
        table.remove(Wd(7));
        for wd in [4, 3, 1] {
            table.remove(Wd(wd));
        }
        assert_eq!((table.len(), table.entries()), (0, 0));
    }

    #[test]
    fn a_circle_has_no_path() {
        let mut table = table();
        table.put(Wd(2), Some((Wd(4), b"x")));
        assert_eq!(shown(&table, 4), None);
        assert_eq!(table.entries_below(&[TOP]), [0]);
    }

    #[test]
    fn entries_are_summed_up() {
        let mut table = table();
        for wd in 1..=4 {
            table.set_entries(Wd(wd), 10);
        }
        table.count(Wd(4), true);
        table.count(TOP, false);
        assert_eq!((table.entries(), table.entries_in(TOP)), (40, 9));
        assert_eq!(table.entries_below(&[Wd(3), Wd(9)]), [21, 0]);
        table.remove(Wd(3));
        assert_eq!(table.entries(), 30);
    }

    #[test]
    fn what_was_not_met_is_found() {
        let mut table = table();
        (1..=3).for_each(|wd| table.meet(Wd(wd), 7));
        assert_eq!(table.not_met(7), [Wd(4)]);
    }

    #[test]
    fn a_directory_takes_less_than_100_bytes_whatever_comes_and_goes() {
        let mut table = Table::default();
        table.put(TOP, None);
        for wd in 2..100_002 {
            let parent = if wd < 1_002 { TOP } else { Wd(2 + wd % 1_000) };
            table.put(Wd(wd), Some((parent, format!("directory-{wd:08}").as_bytes())));
        }
        assert!(table.memory() < 90 * table.len(), "{}", table.memory() / table.len());
        // Each is replaced several times.
        for wd in 100_002..400_002 {
            table.remove(Wd(wd - 99_000));
            table.put(Wd(wd), Some((TOP, format!("directory-{wd:08}").as_bytes())));
        }
        assert!(table.len() < 100_100);
        assert!(table.memory() < 100 * table.len(), "{}", table.memory() / table.len());
        assert_eq!(table.child(TOP, b"directory-00400001"), Some(Wd(400_001)));
    }
}
