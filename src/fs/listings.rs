//! What each directory of a walk was like when it was listed, so that it can be found out later which of
//! them have changed since.
//!
//! A file that is moved, during a walk, from a directory that is not listed yet to one that already is,
//! is seen in neither. But the directory that it came to has changed after it was listed, and is listed
//! once more. When a look at all directories finds none changed, all listings were true together at the
//! moment when that look began: what was in the tree then is in one of them.
//!
//! For each directory there is its path, of which only what differs from the one before is kept, and 21
//! bytes.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::names::Names;
use super::root::Dirs;
use crate::name::RelPath;
use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::manifest::FileTime;

/// What changed less than this ago could change again and keep its ctime: timestamps come from a clock
/// that advances once per timer tick, every 10 ms at worst (CONFIG_HZ=100; inode(7)).
const YOUNG: Duration = Duration::from_millis(20);
/// The same where timestamps have no fractions: that clock advances once a second, and that of FAT every
/// other second.
const YOUNG_IN_SECONDS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(1)];
/// The stamp of a directory that was gone at the last look; those of others are odd.
const GONE: u64 = 2;
/// Where the fixed part of a record has what, and its length. The flag comes first.
const STAMP: usize = 1;
const NAMES: usize = 9;
const SHARED: usize = 17;
const LEN: usize = 19;
const FIXED: usize = 21;

/// The time, as seconds since 1970 and nanoseconds.
pub type Clock = fn() -> (i64, u32);

/// The listings of a walk, shared by whoever adds to them.
pub type SharedListings = Arc<Mutex<Listings>>;

/// Locks them.
pub fn lock(listings: &SharedListings) -> MutexGuard<'_, Listings> {
    listings.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The listings of a walk.
#[derive(Debug)]
pub struct Listings {
    began: (i64, u32),
    now: Clock,
    key: RandomState,
    records: Vec<u8>,
    /// The path of the last record.
    last: Vec<u8>,
    /// Hashes of all paths, once they are asked for.
    known: Option<HashSet<u64>>,
    /// The directory that is listed once more.
    again: Option<(RelPath, Listing)>,
}

/// The place of a listing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listing(usize);

/// What a directory was like. Zeros are like nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Snapshot {
    /// Which directory, and its ctime.
    stamp: u64,
    /// What was in it: names and inode numbers.
    names: u64,
    /// It has changed since the walk began, or shortly before.
    fresh: bool,
}

/// What a look at all directories has found.
#[derive(Debug, Default)]
pub struct Look {
    /// Those with other contents than when they were listed.
    pub changed: Vec<(RelPath, Listing)>,
    /// All listings were true at the moment when this look began.
    pub is_quiet: bool,
}

impl Listings {
    /// Without any listing; the walk begins now.
    pub fn new(now: Clock) -> Self {
        let (records, last) = (Vec::new(), Vec::new());
        let (known, again) = (None, None);
        Listings { began: now(), now, key: RandomState::new(), records, last, known, again }
    }

    /// Lists the directory `fd`.
    ///
    /// # Errors
    /// Those of [`Names::list`].
    pub(super) fn take(&self, fd: &OwnedFd) -> io::Result<(Names, Snapshot)> {
        let stat = fsat::stat_fd(fd.as_fd())?;
        let (names, sum) = Names::list_summed(fd)?;
        let stamp = match still_young(stat.ctime, (self.now)()) {
            // It may have changed meanwhile, or do so, and nothing would show it.
            Some(_) => 0,
            None => self.stamp(&stat),
        };
        Ok((names, Snapshot { stamp, names: sum, fresh: self.is_fresh(stat.ctime) }))
    }

    /// Notes what was listed at `path`.
    pub(super) fn note(&mut self, path: &RelPath, snapshot: Snapshot) -> Listing {
        if let Some((again, at)) = &self.again {
            if again == path {
                let at = *at;
                self.set(at, snapshot);
                return at;
            }
        }
        let bytes = path.as_bytes();
        if let Some(known) = &mut self.known {
            known.insert(self.key.hash_one(bytes));
        }
        let shared = bytes.iter().zip(&self.last).take_while(|(a, b)| a == b).count();
        let suffix = bytes.get(shared..).unwrap_or_default();
        let at = Listing(self.records.len());
        let len = FIXED + suffix.len();
        if self.records.capacity() - self.records.len() < len {
            // Not twice what there is: this may be the most that a daemon keeps.
            self.records.reserve_exact(len + 4_096 + self.records.len() / 4);
        }
        self.records.extend_from_slice(&[0; SHARED]);
        // A path has 4,096 bytes at most.
        self.records.extend_from_slice(&(shared as u16).to_le_bytes());
        self.records.extend_from_slice(&(suffix.len() as u16).to_le_bytes());
        self.records.extend_from_slice(suffix);
        self.last.truncate(shared);
        self.last.extend_from_slice(suffix);
        self.set(at, snapshot);
        at
    }

    /// Something in a directory was not there when it was looked at: its listing proves nothing.
    pub(super) fn doubt(&mut self, at: Listing) {
        let fresh = self.get(at).is_none_or(|snapshot| snapshot.fresh);
        self.set(at, Snapshot { stamp: 0, names: 0, fresh });
    }

    /// The same of the directory that `path` is in.
    pub fn doubt_parent_of(&mut self, path: &RelPath) {
        let Some((parent, _)) = path.split_last() else { return };
        let mut all = Cursor::default();
        while let Some(at) = all.next(&self.records) {
            if all.path == parent.as_bytes() {
                return self.doubt(at);
            }
        }
    }

    /// From now on, [`Listings::is_known`] can be asked, and `path` is listed once more.
    pub fn list_again(&mut self, path: RelPath, at: Listing) {
        self.again = Some((path, at));
        if self.known.is_none() {
            let mut known = HashSet::new();
            let mut all = Cursor::default();
            while all.next(&self.records).is_some() {
                known.insert(self.key.hash_one(&*all.path));
            }
            self.known = Some(known);
        }
    }

    /// Whether directories are listed again.
    pub(super) fn is_again(&self) -> bool {
        self.again.is_some()
    }

    /// Whether there is a listing of another directory than the one that is listed once more: if so, it
    /// is looked at by itself.
    pub(super) fn is_known(&self, path: &RelPath) -> bool {
        let known = self.known.as_ref();
        known.is_some_and(|known| known.contains(&self.key.hash_one(path.as_bytes())))
            && self.again.as_ref().is_none_or(|(again, _)| again != path)
    }

    /// Looks at all directories.
    pub fn look(&mut self, dirs: &mut Dirs, cancelled: &AtomicBool) -> Look {
        let mut look = Look { changed: Vec::new(), is_quiet: true };
        let mut all = Cursor::default();
        let mut may_wait = true;
        dirs.forget();
        while let Some(at) = all.next(&self.records) {
            let Ok(path) = RelPath::parse_or_base(&all.path) else { continue };
            if cancelled.load(Ordering::Relaxed) {
                look.is_quiet = false;
                break;
            }
            let Some(before) = self.get(at) else { continue };
            match stat(dirs, &path) {
                Ok(stat) if self.stamp(&stat) == before.stamp => {}
                Ok(_) => {
                    look.is_quiet = false;
                    let now = self.take_anew(dirs, &path, &mut may_wait).ok();
                    let same = now.filter(|now| now.names == before.names);
                    match same {
                        Some(now) => self.set(at, Snapshot { fresh: true, ..now }),
                        None => {
                            self.set(at, Snapshot { fresh: true, ..before });
                            look.changed.push((path, at));
                        }
                    }
                }
                // Where its contents have gone, another directory has changed, unless it was moved
                // just now.
                Err(_) if before.stamp == GONE => {}
                Err(_) => {
                    look.is_quiet = false;
                    self.set(at, Snapshot { stamp: GONE, fresh: true, ..before });
                }
            }
        }
        dirs.forget();
        look
    }

    /// Lists a directory once more. Waits, once in each look, until what has changed just now is old
    /// enough for the next change to show.
    fn take_anew(
        &self,
        dirs: &mut Dirs,
        path: &RelPath,
        may_wait: &mut bool,
    ) -> io::Result<Snapshot> {
        if *may_wait {
            if let Some(wait) = still_young(stat(dirs, path)?.ctime, (self.now)()) {
                std::thread::sleep(wait);
                *may_wait = false;
            }
        }
        let fd = dirs.root().open_dir(path.as_bytes(), fsat::LISTING)?;
        self.take(&fd).map(|(_, snapshot)| snapshot)
    }

    /// The directories that have changed since the walk began.
    pub fn restless(&self) -> Vec<RelPath> {
        let mut found = Vec::new();
        let mut all = Cursor::default();
        while let Some(at) = all.next(&self.records) {
            if self.get(at).is_some_and(|snapshot| snapshot.fresh) {
                found.extend(RelPath::parse_or_base(&all.path));
            }
        }
        found
    }

    fn stamp(&self, stat: &Stat) -> u64 {
        // Never zero.
        self.key.hash_one((stat.dev, stat.ino, stat.ctime.secs, stat.ctime.nanos)) | 1
    }

    fn is_fresh(&self, ctime: FileTime) -> bool {
        let (secs, _) = self.began;
        ctime.secs >= secs - 2
    }

    fn get(&self, Listing(at): Listing) -> Option<Snapshot> {
        let number = |from: usize| {
            let bytes = self.records.get(at + from..at + from + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let fresh = *self.records.get(at)? != 0;
        Some(Snapshot { stamp: number(STAMP)?, names: number(NAMES)?, fresh })
    }

    fn set(&mut self, Listing(at): Listing, snapshot: Snapshot) {
        let Some(record) = self.records.get_mut(at..at + SHARED) else { return };
        let (flag, rest) = record.split_at_mut(STAMP);
        let (stamp, names) = rest.split_at_mut(NAMES - STAMP);
        flag.fill(snapshot.fresh.into());
        stamp.copy_from_slice(&snapshot.stamp.to_le_bytes());
        names.copy_from_slice(&snapshot.names.to_le_bytes());
    }
}

/// Goes from record to record.
#[derive(Default)]
struct Cursor {
    at: usize,
    path: Vec<u8>,
}

impl Cursor {
    fn next(&mut self, records: &[u8]) -> Option<Listing> {
        let record = records.get(self.at..)?;
        let number = |from: usize| {
            let bytes = record.get(from..from + 2)?;
            Some(usize::from(u16::from_le_bytes(bytes.try_into().ok()?)))
        };
        let (shared, len) = (number(SHARED)?, number(LEN)?);
        self.path.truncate(shared);
        self.path.extend_from_slice(record.get(FIXED..FIXED + len)?);
        let at = Listing(self.at);
        self.at += FIXED + len;
        Some(at)
    }
}

/// The status of the directory `path`.
fn stat(dirs: &mut Dirs, path: &RelPath) -> io::Result<Stat> {
    if path.is_base() {
        return fsat::stat_fd(dirs.root().as_fd());
    }
    let (dir, name) = dirs.parent(path)?;
    let stat = fsat::stat_at(dir.as_fd(), name)?;
    match stat.kind {
        FileType::Directory => Ok(stat),
        _ => Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
    }
}

/// How long until `ctime` is [`YOUNG`] old, or a whole second if it is one; None if it is, or if it lies
/// in the future, where it cannot come from this host's clock.
pub(super) fn still_young(ctime: FileTime, (secs, nanos): (i64, u32)) -> Option<Duration> {
    let nanos_of = |secs: i64, nanos: u32| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
    let age = nanos_of(secs, nanos) - nanos_of(ctime.secs, ctime.nanos);
    let age = Duration::from_nanos(u64::try_from(age).ok()?);
    let young = match ctime.nanos {
        0 => YOUNG_IN_SECONDS[(ctime.secs & 1) as usize],
        _ => YOUNG,
    };
    young.checked_sub(age).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::super::root::Root;
    use super::super::testing::*;
    use super::*;
    use std::sync::atomic::{AtomicI64, AtomicU32};

    /// Long after everything, so that nothing is young; and the walk began long before.
    fn listings() -> Listings {
        Listings { began: (0, 0), now: || (i64::MAX, 0), ..Listings::new(|| (i64::MAX, 0)) }
    }

    /// Lists and notes the directory at `path`.
    fn list(listings: &mut Listings, root: &Root, path: &RelPath) -> Listing {
        let fd = root.open_dir(path.as_bytes(), fsat::LISTING).unwrap();
        let (_, snapshot) = listings.take(&fd).unwrap();
        listings.note(path, snapshot)
    }

    /// What a look finds, by path; and whether all was quiet.
    fn look(listings: &mut Listings, dirs: &mut Dirs) -> (Vec<String>, bool) {
        let Look { changed, is_quiet } = listings.look(dirs, &AtomicBool::new(false));
        (changed.iter().map(|(path, _)| path.to_string()).collect(), is_quiet)
    }

    fn quiet() -> (Vec<String>, bool) {
        (Vec::new(), true)
    }

    fn changed(paths: &[&str]) -> (Vec<String>, bool) {
        (paths.iter().map(|path| (*path).to_owned()).collect(), false)
    }

    /// After the next tick of the clock of ctimes.
    fn later() {
        std::thread::sleep(YOUNG);
    }

    #[test]
    fn only_what_has_changed_is_found_and_until_it_is_listed_again() {
        let temp = TempDir::new("listings");
        for name in ["a/b/f", "a/bc/f", "ab/f", "z/f"] {
            temp.write(name, "1");
        }
        let (root, mut all) = (temp.root(), listings());
        let mut dirs = Dirs::new(root.clone());
        let paths = ["a", "a/b", "a/bc", "ab", "z"].map(path);
        list(&mut all, &root, &RelPath::base());
        let at = paths.each_ref().map(|path| list(&mut all, &root, path));
        assert_eq!(look(&mut all, &mut dirs), quiet());
        later();
        std::fs::rename(temp.join("z/f"), temp.join("a/bc/g")).unwrap();
        assert_eq!(look(&mut all, &mut dirs), changed(&["a/bc", "z"]));
        assert_eq!(look(&mut all, &mut dirs), changed(&["a/bc", "z"]));
        for n in [2, 4] {
            all.list_again(paths[n].clone(), at[n]);
            assert!(!all.is_known(&paths[n]) && all.is_known(&paths[0]));
            assert_eq!(list(&mut all, &root, &paths[n]), at[n]);
        }
        assert!(!all.is_known(&path("a/x")));
        assert_eq!(look(&mut all, &mut dirs), quiet());
        // The same names for other files.
        later();
        std::fs::rename(temp.join("a/bc/g"), temp.join("a/bc/f")).unwrap();
        assert_eq!(look(&mut all, &mut dirs), changed(&["a/bc"]));
    }

    #[test]
    fn what_has_the_same_contents_again_is_not_listed_again_but_looked_at() {
        let temp = TempDir::new("listings-same");
        temp.write("a/f", "1");
        let (root, mut all) = (temp.root(), listings());
        let mut dirs = Dirs::new(root.clone());
        let at = list(&mut all, &root, &path("a"));
        later();
        temp.write("a/g", "1");
        std::fs::remove_file(temp.join("a/g")).unwrap();
        assert_eq!(look(&mut all, &mut dirs), changed(&[]));
        assert_eq!(look(&mut all, &mut dirs), quiet());
        // But not if something in it was missed.
        all.doubt(at);
        assert_eq!(look(&mut all, &mut dirs), changed(&["a"]));
        all.list_again(path("a"), at);
        list(&mut all, &root, &path("a"));
        assert_eq!(look(&mut all, &mut dirs), quiet());
        all.doubt_parent_of(&path("a/f"));
        assert_eq!(look(&mut all, &mut dirs), changed(&["a"]));
    }

    #[test]
    fn a_directory_that_goes_and_comes_is_seen() {
        let temp = TempDir::new("listings-gone");
        temp.write("a/b/f", "1");
        let (root, mut all) = (temp.root(), listings());
        let mut dirs = Dirs::new(root.clone());
        list(&mut all, &root, &path("a/b"));
        assert_eq!(look(&mut all, &mut dirs), quiet());
        std::fs::rename(temp.join("a/b"), temp.join("c")).unwrap();
        assert_eq!(look(&mut all, &mut dirs), changed(&[]));
        assert_eq!(look(&mut all, &mut dirs), quiet());
        std::fs::rename(temp.join("c"), temp.join("a/b")).unwrap();
        assert!(!look(&mut all, &mut dirs).1);
        std::fs::remove_dir_all(temp.join("a/b")).unwrap();
        temp.write("a/b", "no directory");
        assert_eq!(look(&mut all, &mut dirs), changed(&[]));
        assert_eq!(all.restless(), [path("a/b")]);
    }

    #[test]
    fn what_is_young_when_it_is_listed_has_to_be_looked_at_again() {
        let temp = TempDir::new("listings-young");
        temp.write("a/f", "1");
        let (root, mut all) = (temp.root(), listings());
        let mut dirs = Dirs::new(root.clone());
        static SECS: AtomicI64 = AtomicI64::new(0);
        static NANOS: AtomicU32 = AtomicU32::new(0);
        let ctime = fsat::stat_at(root.as_fd(), b"a").unwrap().ctime;
        SECS.store(ctime.secs, Ordering::Relaxed);
        NANOS.store(ctime.nanos, Ordering::Relaxed);
        all.now = || (SECS.load(Ordering::Relaxed), NANOS.load(Ordering::Relaxed));
        list(&mut all, &root, &path("a"));
        for _ in 0..3 {
            assert_eq!(look(&mut all, &mut dirs), changed(&[]));
        }
        SECS.store(ctime.secs + 3, Ordering::Relaxed);
        assert_eq!(look(&mut all, &mut dirs), changed(&[]));
        assert_eq!(look(&mut all, &mut dirs), quiet());
    }

    #[test]
    fn a_million_directories_take_a_few_megabytes() {
        let mut all = listings();
        let some = Snapshot { stamp: 1, names: 1, fresh: false };
        for n in 0..100_000 {
            all.note(&path(format!("some/where/d{:03}/directory-{n}", n / 1_000)), some);
        }
        assert!(all.records.capacity() < 5 << 20, "{}", all.records.capacity());
        let mut cursor = Cursor::default();
        let mut count = 0;
        while cursor.next(&all.records).is_some() {
            count += 1;
        }
        assert_eq!((count, &*cursor.path), (100_000, &b"some/where/d099/directory-99999"[..]));
    }
}
