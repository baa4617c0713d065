//! File systems that take several names for one: without regard to case, or to how a letter is written
//! in bytes, or with short names beside the long ones.
//!
//! A directory is known for such a one when a name in it is found under its other case as well; that costs
//! one look for each directory that is not. Only where names are taken for one is it kept which names the
//! sender has: two that are one entry here cannot both be right, and what the sender has under another
//! spelling is not surplus. An additional hard link is told from another spelling by the directory's
//! list, which has each entry once, under the name that it was made with.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::identity::ObjectId;
use super::names::Names;
use super::paths::split;
use super::root::Root;
use crate::name::RelPath;
use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::outcome::name_number;

/// The names that the sender has in one directory, as far as several can be one entry here.
#[derive(Debug, Default)]
pub(super) struct Folding {
    /// None until it is known, or taken over from the directory above.
    folds: Option<bool>,
    /// It was found out here.
    tested: bool,
    key: RandomState,
    /// By the hash of the object that a name leads to, and by that of the name in lower case.
    known: HashMap<u64, Name>,
}

/// One of the sender's names.
#[derive(Clone, Copy, Debug)]
struct Name {
    hash: u64,
    /// As in [`Reason::SameName`](crate::wire::outcome::Reason::SameName).
    number: u32,
}

impl Folding {
    /// Whether each name is an entry of its own here, as almost everywhere.
    pub fn is_plain(&self) -> bool {
        self.folds == Some(false)
    }

    /// The directory is one in a directory of which this is known; it `exists` already or not.
    pub fn inherit(&mut self, folds: Option<bool>, exists: bool) {
        if self.folds.is_none() && (folds == Some(true) || !exists) {
            self.folds = folds;
        }
    }

    /// What is known so far.
    pub fn folds(&self) -> Option<bool> {
        self.folds
    }

    /// The memory that it takes, in bytes.
    pub fn memory(&self) -> usize {
        self.known.capacity() * (size_of::<u64>() + size_of::<Name>() + 1)
    }

    /// Finds out by `name`, which is `found` in `dir`, whether the directory takes several names for one.
    pub fn test(&mut self, dir: BorrowedFd<'_>, name: &[u8], found: &Stat) {
        if self.tested {
            return;
        }
        let Some(other) = in_other_case(name) else { return };
        let folds = match fsat::stat_at(dir, &other) {
            Ok(stat) => ObjectId::of(&stat) == ObjectId::of(found),
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            Err(_) => return,
        };
        (self.folds, self.tested) = (Some(folds), true);
        if !folds {
            self.known = HashMap::new();
        }
    }

    /// The sender has `name`, which is `found` in `dir` or does not exist here yet. If that is the same
    /// entry as another name of the sender, the number of that one.
    pub fn meet(
        &mut self,
        dir: Option<BorrowedFd<'_>>,
        name: &[u8],
        found: Option<&Stat>,
    ) -> Option<u32> {
        if let (Some(dir), Some(found)) = (dir, found) {
            self.test(dir, name, found);
        }
        if self.is_plain() || (self.folds.is_none() && (found.is_none() || !is_odd(name))) {
            return None;
        }
        let own = Name { hash: self.hash(name), number: name_number(name) };
        let keys = [found.map(|stat| self.of_object(stat)), Some(self.of_text(name))];
        if self.folds == Some(true) {
            let others = keys.into_iter().flatten().filter_map(|key| self.known.get(&key));
            let other = others.copied().find(|other| other.hash != own.hash);
            let are_two = |other: &Name| match (dir, found) {
                (Some(dir), Some(_)) => self.lists_both(dir, own.hash, other.hash),
                _ => false,
            };
            if let Some(other) = other.filter(|other| !are_two(other)) {
                return Some(other.number);
            }
        }
        for key in keys.into_iter().flatten() {
            self.known.insert(key, own);
        }
        None
    }

    /// Whether an entry of the directory, which is not among the sender's names, is the same one as such
    /// a name. `listed` is empty at first.
    pub fn holds(&self, name: &[u8], stat: &Stat, there: &Names, listed: &mut Vec<u64>) -> bool {
        if self.folds != Some(true) {
            return false;
        }
        let mut keys = [self.of_object(stat), self.of_text(name)].into_iter();
        let Some(other) = keys.find_map(|key| self.known.get(&key)) else { return false };
        if listed.is_empty() {
            listed.extend(there.iter().map(|name| self.hash(name)));
            listed.sort_unstable();
        }
        listed.binary_search(&other.hash).is_err()
    }

    /// Whether the directory has an entry for each of two names, by their hashes: hard links.
    fn lists_both(&self, dir: BorrowedFd<'_>, one: u64, other: u64) -> bool {
        let mut listed = (false, false);
        let fd = fsat::open_at(dir, b".", fsat::LISTING, 0);
        let done = fd.and_then(|fd| {
            fsat::list(fd.as_fd(), |name, _, _| {
                let hash = self.hash(name);
                listed = (listed.0 || hash == one, listed.1 || hash == other);
            })
        });
        done.is_ok() && listed == (true, true)
    }

    fn hash(&self, name: &[u8]) -> u64 {
        self.key.hash_one(name)
    }

    fn of_object(&self, stat: &Stat) -> u64 {
        let is_dir = stat.kind == FileType::Directory;
        self.key.hash_one((is_dir, stat.dev, stat.ino))
    }

    fn of_text(&self, name: &[u8]) -> u64 {
        self.key.hash_one(("text", name.to_ascii_lowercase()))
    }
}

/// A name that only differs in case; None if there is none.
fn in_other_case(name: &[u8]) -> Option<Vec<u8>> {
    if name.iter().any(u8::is_ascii_alphabetic) {
        let flip = |b: &u8| if b.is_ascii_alphabetic() { b ^ 0x20 } else { *b };
        return Some(name.iter().map(flip).collect());
    }
    let text = std::str::from_utf8(name).ok()?;
    let other = [text.to_uppercase(), text.to_lowercase()].into_iter().find(|case| case != text);
    other.map(String::into_bytes)
}

/// Whether a name could be one of several for one entry although it has no letters of two cases.
fn is_odd(name: &[u8]) -> bool {
    !name.is_ascii() || name.contains(&b'~') || matches!(name.last(), Some(b'.' | b' '))
}

/// The path beside `path` whose name has this number.
pub fn namesake(root: &Root, path: &RelPath, number: u32) -> Option<RelPath> {
    let (dir, own) = split(path.as_bytes());
    let names = Names::list(&root.open_dir(dir, fsat::LISTING).ok()?).ok()?;
    let name = names.iter().find(|name| name_number(name) == number && *name != own)?;
    RelPath::parse_or_base(dir).ok()?.join(name).ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;

    fn stat(temp: &TempDir, name: &str) -> Stat {
        fsat::stat_at((*temp.root()).as_fd(), name.as_bytes()).unwrap()
    }

    fn folding() -> Folding {
        Folding { folds: Some(true), tested: true, ..Folding::default() }
    }

    #[test]
    fn a_directory_with_exact_names_is_plain_after_one_look() {
        let temp = TempDir::new("plain");
        for name in ["README", "readme", "12", "x"] {
            temp.write(name, name);
        }
        let root = temp.root();
        let mut folding = Folding::default();
        for name in ["12", "README", "readme", "x"] {
            let found = stat(&temp, name);
            let met = folding.meet(Some((*root).as_fd()), name.as_bytes(), Some(&found));
            assert_eq!((met, folding.memory()), (None, 0), "{name}");
        }
        assert!(folding.is_plain());
    }

    #[test]
    fn names_that_differ_in_case_are_one_before_they_are_there() {
        let mut folding = folding();
        for (name, other) in [("README", None), ("x", None), ("readme", Some("README"))] {
            let met = folding.meet(None, name.as_bytes(), None);
            assert_eq!(met, other.map(|name| name_number(name.as_bytes())), "{name}");
        }
        assert_eq!(folding.meet(None, b"README", None), None, "once more");
    }

    #[test]
    fn another_hard_link_is_an_entry_of_its_own() {
        let temp = TempDir::new("links");
        temp.write("a", "");
        std::fs::hard_link(temp.join("a"), temp.join("b")).unwrap();
        let (root, mut folding) = (temp.root(), folding());
        for name in ["a", "b"] {
            let found = stat(&temp, name);
            assert_eq!(folding.meet(Some((*root).as_fd()), name.as_bytes(), Some(&found)), None);
        }
        // Nothing is called "A" here: where it is found, it is "a".
        let met = folding.meet(Some((*root).as_fd()), b"A", Some(&stat(&temp, "a")));
        assert!(met.is_some());
        let list = |names: &[&str]| {
            let mut list = Names::default();
            names.iter().for_each(|name| assert!(list.push(name.as_bytes(), FileType::File)));
            list
        };
        let a = stat(&temp, "a");
        let held = |listed: &[&str]| folding.holds(b"c", &a, &list(listed), &mut Vec::new());
        assert!(!held(&["a", "b", "c"]), "a further link");
        assert!(held(&["c"]), "the only name of it");
    }

    #[test]
    fn every_name_with_letters_has_another_case() {
        for (name, other) in [("aB1.c", Some("Ab1.C")), ("É", Some("é")), ("é", Some("É"))] {
            assert_eq!(in_other_case(name.as_bytes()).as_deref(), other.map(str::as_bytes));
        }
        for name in [&b"12"[..], b"\xff1", "語".as_bytes()] {
            assert_eq!(in_other_case(name), None);
        }
        assert!(is_odd("語".as_bytes()) && is_odd(b"1.") && !is_odd(b"1.2"));
    }
}
