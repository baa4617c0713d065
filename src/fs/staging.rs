//! Where files are written before they are renamed into place: `.makuosan/stage` at the top of the base
//! directory, and on every other mount below it that receives something.
//!
//! A *place* is one such directory, with mode 0700 and files named by numbers. A rename works only
//! within one mount (by mount ID, or before Linux 5.8 by device; statx(2)) and one device (btrfs
//! subvolumes share a mount); rename(2) fails with EXDEV otherwise. The place of another mount is at
//! its top, or if nothing may be created there, in the nearest existing directory. Its path is first
//! recorded in that of the base directory, so that the next start can clean up after a daemon that was killed. It is
//! removed as soon as there are no transfers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::claim::{self, Claim, NotOurs, RECORD, STAGE};
use super::errors::leads_nowhere;
use super::grain::Grain;
use super::home;
use super::measured::{Measured, Mount};
use super::paths::split;
use super::rights::{Fresh, Keeps, PRIVATE, Rights};
use super::root::{Dirs, Root};
use super::sweep;
use crate::name::{MAX_PATH, RelPath};
use crate::sys::fsat::{self, Stat};

/// The most other mounts that can have a place at the same time.
const MOST_PLACES: usize = 64;

/// All places.
#[derive(Debug)]
pub(super) struct Staging {
    root: Arc<Root>,
    home: Place,
    other_mounts: Vec<Place>,
    /// Where else something of ours is kept, by the directory that it is in: the name of its record.
    left: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The slots in use, which are spared whenever a place is emptied.
    pub(super) slots: BTreeSet<u64>,
    /// The number of the next name.
    next: u64,
}

/// A staged object: its place, and its number there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Staged {
    place: PlaceId,
    number: u64,
}

impl Staged {
    /// Where it is.
    pub fn place(self) -> PlaceId {
        self.place
    }
}

/// A place; 0 is that of the base directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PlaceId(usize);

#[derive(Debug)]
struct Place {
    /// Its `.makuosan`, which is locked as long as this is open.
    top: OwnedFd,
    fd: OwnedFd,
    measured: Measured,
    /// None for the base directory's.
    within: Option<Within>,
}

/// The directory that contains a place.
#[derive(Debug)]
struct Within {
    fd: OwnedFd,
    path: Vec<u8>,
    /// The name of the place's record.
    record: Vec<u8>,
}

/// The file name of a number.
pub(super) fn name_of(number: u64) -> Vec<u8> {
    format!("{number:x}").into_bytes()
}

/// What the names of slots begin with; their number follows, and perhaps more.
pub(super) const SLOT: &[u8] = b"slot-";

/// Whether a name in a place is that of a slot among these.
fn is_slot(name: &[u8], slots: &BTreeSet<u64>) -> bool {
    let number = name.strip_prefix(SLOT).and_then(|rest| rest.get(..16));
    let number = number.and_then(|digits| std::str::from_utf8(digits).ok());
    number.and_then(|n| u64::from_str_radix(n, 16).ok()).is_some_and(|n| slots.contains(&n))
}

impl Staging {
    /// Creates `.makuosan/stage`, or takes over an existing one of ours and empties it, but for these `slots`.
    ///
    /// # Errors
    /// It cannot be created, is not ours ([`NotOurs`]), or is locked by another process.
    pub fn open(root: Arc<Root>, rights: &Rights, slots: &BTreeSet<u64>) -> io::Result<Self> {
        let claim = claim::claim(root.as_fd(), rights.uid())?;
        fsat::lock(claim.fd.as_fd()).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(
                io::ErrorKind::WouldBlock,
                "another daemon has this base directory (.makuosan is locked)",
            ),
            _ => e,
        })?;
        let fd = home::furnish(&claim, rights.uid())?;
        let left = clear_recorded(&root, &fd, rights, slots)?;
        let records: BTreeSet<&Vec<u8>> = left.values().collect();
        sweep::empty(fd.as_fd(), |name| records.contains(&name.to_vec()) || is_slot(name, slots))?;
        let home = Place { top: claim.fd, measured: Measured::of(&fd)?, fd, within: None };
        let slots = slots.clone();
        Ok(Staging { root, home, other_mounts: Vec::new(), left, slots, next: 0 })
    }

    fn place(&self, id: PlaceId) -> io::Result<&Place> {
        match id.0.checked_sub(1) {
            None => Ok(&self.home),
            Some(at) => {
                self.other_mounts.get(at).ok_or_else(|| io::Error::from_raw_os_error(libc::ESTALE))
            }
        }
    }

    /// The attributes of new files in a place, and what can be made of them.
    ///
    /// # Errors
    /// ESTALE if the place is gone.
    pub fn fresh(&self, place: PlaceId) -> io::Result<(Fresh, Keeps, Grain)> {
        let Measured { fresh, keeps, grain, .. } = self.place(place)?.measured;
        Ok((fresh, keeps, grain))
    }

    /// How exactly the file system of `stat` keeps times, and which attributes. For one other than that
    /// of the base directory this is unknown until something is staged there.
    pub fn known_of(&self, stat: &Stat) -> (Grain, Keeps) {
        let mut places = std::iter::once(&self.home).chain(&self.other_mounts);
        let known = places.find(|place| {
            let mount = place.measured.mount;
            mount.dev == stat.dev || mount.is_same_mount(Mount::of(stat))
        });
        let known = known.map(|place| (place.measured.grain, place.measured.keeps));
        known.unwrap_or((Grain::EXACT, Keeps::ALL))
    }

    /// The time in seconds by the clock of the base directory's file system; the end of time if it does
    /// not tell.
    pub fn now(&self) -> i64 {
        let home = self.home.fd.as_fd();
        let moved = fsat::chmod_fd(home, 0o700).and_then(|()| fsat::stat_fd(home));
        moved.map_or(i64::MAX, |stat| stat.ctime.secs)
    }

    /// The place for what will be renamed into the directory `parent`, which need not exist yet.
    ///
    /// # Errors
    /// There is none, and none can be created.
    pub fn place_for(
        &mut self,
        dirs: &mut Dirs,
        parent: &[u8],
        rights: &Rights,
    ) -> io::Result<PlaceId> {
        let mut nearest = parent;
        let stat = loop {
            match dirs.dir(nearest) {
                Ok(fd) => break fsat::stat_fd(fd.as_fd())?,
                Err(e) if nearest.is_empty() => return Err(e),
                Err(_) => nearest = split(nearest).0,
            }
        };
        let mount = Mount::of(&stat);
        if mount == self.home.measured.mount {
            return Ok(PlaceId(0));
        }
        let mut others = self.other_mounts.iter();
        if let Some(at) = others.position(|place| place.measured.mount == mount) {
            return Ok(PlaceId(at + 1));
        }
        if self.other_mounts.len() >= MOST_PLACES {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let top = mount.top(nearest, |up| dirs.dir(up).and_then(|fd| fsat::stat_fd(fd.as_fd())));
        let made = self.settle(top, rights).or_else(|e| match e.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) if top != nearest => self.settle(nearest, rights),
            _ if top != nearest && claim::is_in_use(&e) => self.settle(nearest, rights),
            _ => Err(e),
        })?;
        if made.measured.mount != mount {
            return Err(io::Error::from_raw_os_error(libc::EXDEV)); // mounted or replaced meanwhile
        }
        self.other_mounts.push(made);
        Ok(PlaceId(self.other_mounts.len()))
    }

    /// Creates a place in the directory `path` of another mount.
    fn settle(&mut self, path: &[u8], rights: &Rights) -> io::Result<Place> {
        let within = self.root.open_dir(path, fsat::PATH_ONLY)?;
        // Nothing is recorded for what is somebody's own, which may be met again and again.
        match claim::existing(within.as_fd(), rights.uid()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let known = self.left.get(path).cloned();
        let record = known.clone().map_or_else(|| self.record(path), Ok)?;
        let forget = |staging: &Staging| {
            if known.is_none() {
                let _ = fsat::unlink_at(staging.home.fd.as_fd(), &record);
            }
        };
        let claimed = keeping_mtime(within.as_fd(), || claim::claim(within.as_fd(), rights.uid()));
        let claim = claimed.inspect_err(|_| forget(self))?;
        let furnished = have_to_oneself(&claim.fd).and_then(|()| {
            let fd = home::furnish(&claim, rights.uid())?;
            sweep::empty(fd.as_fd(), |name| is_slot(name, &self.slots))?;
            Ok((Measured::of(&fd)?, fd))
        });
        match furnished {
            Ok((measured, fd)) => {
                self.left.remove(path);
                let within = Within { fd: within, path: path.to_vec(), record };
                Ok(Place { top: claim.fd, fd, measured, within: Some(within) })
            }
            Err(e) => {
                // One that was there stays recorded: it is ours, and may hold something.
                let gone = claim.made && clear(&within, &claim, rights, &self.slots).is_ok();
                if gone || claim::is_in_use(&e) {
                    forget(self);
                }
                Err(e)
            }
        }
    }

    /// Records that there will be a place in the directory `path`. The name of the record.
    fn record(&mut self, path: &[u8]) -> io::Result<Vec<u8>> {
        let home = self.home.fd.as_fd();
        let (mut file, record) = loop {
            self.next += 1;
            let record = [RECORD, &name_of(self.next)].concat();
            match create(home, &record, PRIVATE) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                made => break (made?, record),
            }
        };
        let written = file.write_all(path).and_then(|()| file.sync_all());
        written.inspect_err(|_| drop(fsat::unlink_at(home, &record)))?;
        Ok(record)
    }

    /// Creates something in a place with `make`, which gets the directory and an unused name.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn make<T>(
        &mut self,
        place: PlaceId,
        rights: &Rights,
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> io::Result<T>,
    ) -> io::Result<(Staged, T)> {
        self.next += 1;
        let staged = Staged { place, number: self.next };
        let name = name_of(self.next);
        let made = match make(self.place(place)?.fd.as_fd(), &name) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) && place.0 == 0 => {
                self.refurnish(rights)?;
                make(self.home.fd.as_fd(), &name)?
            }
            made => made?,
        };
        Ok((staged, made))
    }

    /// Makes sure that there is a place in the base directory.
    ///
    /// # Errors
    /// It was removed while the daemon was running, and cannot be made again.
    pub fn ensure_home(&mut self, rights: &Rights) -> io::Result<()> {
        match fsat::stat_at(self.home.top.as_fd(), STAGE) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.refurnish(rights),
            found => found.map(drop),
        }
    }

    /// Makes the place of the base directory again: it was removed while the daemon was running.
    fn refurnish(&mut self, rights: &Rights) -> io::Result<()> {
        let claim = claim::claim(self.root.as_fd(), rights.uid())?;
        let [now, before] = [&claim.fd, &self.home.top].map(|fd| fsat::stat_fd(fd.as_fd()));
        let (now, before) = (now?, before?);
        if (now.dev, now.ino) != (before.dev, before.ino) {
            fsat::lock(claim.fd.as_fd())?;
        }
        self.home.fd = home::furnish(&claim, rights.uid())?;
        if (now.dev, now.ino) != (before.dev, before.ino) {
            self.home.top = claim.fd;
        }
        Ok(())
    }

    /// A new empty file that is already unlinked, for reading and writing.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn nameless(&mut self, rights: &Rights) -> io::Result<File> {
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
        let (staged, fd) =
            self.make(PlaceId(0), rights, |dir, name| fsat::open_at(dir, name, flags, PRIVATE))?;
        self.discard(staged);
        Ok(fd.into())
    }

    /// The directory and the name of a staged object.
    ///
    /// # Errors
    /// ESTALE if its place is gone.
    pub fn find(&self, staged: Staged) -> io::Result<(BorrowedFd<'_>, Vec<u8>)> {
        Ok((self.place(staged.place)?.fd.as_fd(), name_of(staged.number)))
    }

    /// Removes a staged object of any type.
    pub fn discard(&self, staged: Staged) {
        if let Ok((dir, name)) = self.find(staged) {
            if fsat::unlink_at(dir, &name).is_err() {
                let _ = fsat::rmdir_at(dir, &name);
            }
        }
    }

    /// Syncs the file systems of all places.
    ///
    /// # Errors
    /// Those of syncfs(2).
    pub fn sync_all(&self) -> io::Result<()> {
        std::iter::once(&self.home)
            .chain(&self.other_mounts)
            .try_for_each(|p| fsat::sync_fs(p.fd.as_fd()))
    }

    /// Removes the places on other mounts, when nothing is staged there any more. One that cannot be
    /// removed stays on record.
    pub fn tidy(&mut self) {
        for place in self.other_mounts.drain(..) {
            let Some(Within { fd, path, record }) = place.within else { continue };
            match keeping_mtime(fd.as_fd(), || home::remove(fd.as_fd(), place.top.as_fd())) {
                Ok(true) => drop(fsat::unlink_at(self.home.fd.as_fd(), &record)),
                Ok(false) | Err(_) => drop(self.left.insert(path, record)),
            }
        }
    }

    /// Opens the places where something is left, as far as they can be reached. Whether all can.
    pub fn open_left(&mut self, rights: &Rights) -> bool {
        for path in self.left.keys().cloned().collect::<Vec<_>>() {
            if self.other_mounts.len() >= MOST_PLACES {
                return false;
            }
            let there = self.root.open_dir(&path, fsat::PATH_ONLY);
            // Where nothing is mounted any more, nothing is made.
            let there = there.and_then(|within| claim::existing(within.as_fd(), rights.uid()));
            if let Ok(place) = there.and_then(|_| self.settle(&path, rights)) {
                self.other_mounts.push(place);
            }
        }
        self.left.is_empty()
    }

    /// Each place that is open, with its `.makuosan` before it.
    pub fn places(&self) -> impl Iterator<Item = (BorrowedFd<'_>, BorrowedFd<'_>)> {
        let all = std::iter::once(&self.home).chain(&self.other_mounts);
        all.map(|place| (place.top.as_fd(), place.fd.as_fd()))
    }

    /// The `.makuosan` of a place.
    ///
    /// # Errors
    /// ESTALE if the place is gone.
    pub fn top(&self, place: PlaceId) -> io::Result<BorrowedFd<'_>> {
        Ok(self.place(place)?.top.as_fd())
    }

    /// The directory of a place in which things are staged.
    ///
    /// # Errors
    /// ESTALE if the place is gone.
    pub fn stage(&self, place: PlaceId) -> io::Result<BorrowedFd<'_>> {
        Ok(self.place(place)?.fd.as_fd())
    }
}

/// Keeps other daemons out of a place on another mount.
fn have_to_oneself(fd: &OwnedFd) -> io::Result<()> {
    match fsat::lock(fd.as_fd()) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(NotOurs::InUse.into()),
        // Not every file system has locks.
        _ => Ok(()),
    }
}

/// Empties and removes a place in `within`, but for these `slots`. Whether nothing is left.
fn clear(
    within: &OwnedFd,
    claim: &Claim,
    rights: &Rights,
    slots: &BTreeSet<u64>,
) -> io::Result<bool> {
    let kept = |name: &[u8]| is_slot(name, slots);
    keeping_mtime(within.as_fd(), || home::clear(within.as_fd(), claim, rights.uid(), kept))
}

/// Does `work`, which creates or removes a name in `dir`, and then restores the mtime of `dir` where
/// that is permitted.
fn keeping_mtime<T>(dir: BorrowedFd<'_>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = fsat::stat_fd(dir)?.mtime;
    let done = work();
    let _ = fsat::set_mtime_at(dir, b".", before);
    done
}

/// Removes the places that an earlier daemon recorded in `stage`, but for these `slots`. Returns the records
/// of those where something is left, by the directory that they are in.
fn clear_recorded(
    root: &Root,
    stage: &OwnedFd,
    rights: &Rights,
    slots: &BTreeSet<u64>,
) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut kept = BTreeMap::new();
    for record in sweep::names(stage.as_fd())? {
        if !record.starts_with(RECORD) {
            continue;
        }
        let Ok(path) = read(stage, &record) else { continue };
        if RelPath::parse(&path).is_err() {
            continue; // incomplete: the daemon was killed before it created the place
        }
        let cleared = root.open_dir(&path, fsat::PATH_ONLY).and_then(|within| {
            let claim = claim::existing(within.as_fd(), rights.uid())?;
            // Another daemon may have a base directory there.
            have_to_oneself(&claim.fd)?;
            clear(&within, &claim, rights, slots)
        });
        let is_done = match cleared {
            Ok(nothing_left) => nothing_left,
            // Slots may be where nothing is mounted at the moment.
            Err(e) => claim::is_not_ours(&e) || (leads_nowhere(&e) && slots.is_empty()),
        };
        if !is_done {
            kept.insert(path, record);
        }
    }
    Ok(kept)
}

fn read(dir: &OwnedFd, name: &[u8]) -> io::Result<Vec<u8>> {
    let file = fsat::open_regular_at(dir.as_fd(), name, libc::O_RDONLY)?;
    let mut bytes = Vec::new();
    File::from(file).take(MAX_PATH as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Creates a file for writing, which must not exist yet.
pub(super) fn create(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> io::Result<File> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
    fsat::open_at(dir, name, flags, mode).map(File::from)
}
