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
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::claim::{self, RECORD, STAGE};
use super::exchange;
use super::grain::Grain;
use super::home;
use super::measured::{Measured, Mount};
use super::paths::split;
use super::recorded;
use super::rights::{Fresh, Keeps, PRIVATE, Rights};
use super::root::{Dirs, Root};
use super::slots;
use super::sweep;
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
    /// What is staged now is for this transaction.
    pub(super) transaction: Option<u64>,
    /// Finds out whether names can be exchanged in a place.
    pub(super) probe: exchange::Probe,
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
    /// One by its number.
    pub fn new(place: PlaceId, number: u64) -> Self {
        Staged { place, number }
    }

    /// Where it is.
    pub fn place(self) -> PlaceId {
        self.place
    }

    /// Its number.
    pub fn number(self) -> u64 {
        self.number
    }

    fn name(self) -> Vec<u8> {
        match self.place.transaction {
            None => slots::name_of(self.number),
            Some(no) => slots::name_in(no, self.number),
        }
    }
}

/// A place, and the transaction for which something is there, if it is for one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PlaceId {
    /// 0 is that of the base directory.
    at: usize,
    transaction: Option<u64>,
}

impl PlaceId {
    /// That of the base directory.
    const HOME: PlaceId = PlaceId { at: 0, transaction: None };

    /// The same place for a transaction.
    pub fn of(self, transaction: u64) -> Self {
        PlaceId { transaction: Some(transaction), ..self }
    }
}

#[derive(Debug)]
struct Place {
    /// Its `.makuosan`, which is locked as long as this is open.
    top: OwnedFd,
    fd: OwnedFd,
    measured: Measured,
    /// None for the base directory's.
    within: Option<Within>,
    /// What a transaction needs was found here.
    takes_slots: bool,
}

/// The directory that contains a place.
#[derive(Debug)]
struct Within {
    fd: OwnedFd,
    path: Vec<u8>,
    /// The name of the place's record.
    record: Vec<u8>,
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
        let left = recorded::clear_all(&root, &fd, rights, slots)?;
        let records: BTreeSet<&Vec<u8>> = left.values().collect();
        sweep::empty(fd.as_fd(), |name| {
            records.contains(&name.to_vec()) || slots::is_slot(name, slots)
        })?;
        let measured = Measured::of(&fd)?;
        let home = Place { top: claim.fd, measured, fd, within: None, takes_slots: false };
        let (slots, transaction, probe) = (slots.clone(), None, exchange::probe as exchange::Probe);
        let other_mounts = Vec::new();
        Ok(Staging { root, home, other_mounts, left, slots, transaction, probe, next: 0 })
    }

    fn place(&self, id: PlaceId) -> io::Result<&Place> {
        match id.at.checked_sub(1) {
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
        let at = self.place_near(dirs, parent, rights)?;
        if self.transaction.is_some() {
            self.have_slots(at, rights)?;
        }
        Ok(PlaceId { at, transaction: self.transaction })
    }

    fn place_near(&mut self, dirs: &mut Dirs, parent: &[u8], rights: &Rights) -> io::Result<usize> {
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
            return Ok(0);
        }
        let mut others = self.other_mounts.iter();
        if let Some(at) = others.position(|place| place.measured.mount == mount) {
            return Ok(at + 1);
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
        Ok(self.other_mounts.len())
    }

    /// Sees to it that a place is fit for what a transaction leaves there.
    fn have_slots(&mut self, at: usize, rights: &Rights) -> io::Result<()> {
        let place = match at.checked_sub(1) {
            None => Some(&mut self.home),
            Some(at) => self.other_mounts.get_mut(at),
        };
        let place = place.ok_or_else(|| io::Error::from_raw_os_error(libc::ESTALE))?;
        if !place.takes_slots {
            home::have_marked(place.top.as_fd(), rights.uid())?;
            (self.probe)(place.fd.as_fd())?;
            place.takes_slots = true;
        }
        Ok(())
    }

    /// The directory of which a place is the one, empty for the base.
    ///
    /// # Errors
    /// ESTALE if the place is gone.
    pub fn path_of(&self, place: PlaceId) -> io::Result<&[u8]> {
        let within = self.place(place)?.within.as_ref();
        Ok(within.map_or(&b""[..], |within| &within.path))
    }

    /// The place that is in the directory `path`.
    ///
    /// # Errors
    /// ESTALE if what is mounted there, and has it, is not there now.
    pub fn place_at(&mut self, path: &[u8], rights: &Rights) -> io::Result<PlaceId> {
        let is_it = |place: &Place| place.within.as_ref().is_some_and(|at| at.path == path);
        let at = match self.other_mounts.iter().position(is_it) {
            _ if path.is_empty() => 0,
            Some(at) => at + 1,
            None => {
                let dir = self.root.open_dir(path, fsat::PATH_ONLY)?;
                if Mount::of(&fsat::stat_fd(dir.as_fd())?) == self.home.measured.mount {
                    return Err(io::Error::from_raw_os_error(libc::ESTALE));
                }
                let made = self.settle(path, rights)?;
                self.other_mounts.push(made);
                self.other_mounts.len()
            }
        };
        Ok(PlaceId { at, transaction: None })
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
        let claimed =
            recorded::keeping_mtime(within.as_fd(), || claim::claim(within.as_fd(), rights.uid()));
        let claim = claimed.inspect_err(|_| forget(self))?;
        let furnished = recorded::have_to_oneself(&claim.fd).and_then(|()| {
            let fd = home::furnish(&claim, rights.uid())?;
            sweep::empty(fd.as_fd(), |name| slots::is_slot(name, &self.slots))?;
            Ok((Measured::of(&fd)?, fd))
        });
        match furnished {
            Ok((measured, fd)) => {
                self.left.remove(path);
                let within = Within { fd: within, path: path.to_vec(), record };
                Ok(Place { top: claim.fd, fd, measured, within: Some(within), takes_slots: false })
            }
            Err(e) => {
                // One that was there stays recorded: it is ours, and may hold something.
                let gone =
                    claim.made && recorded::clear(&within, &claim, rights, &self.slots).is_ok();
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
            let record = [RECORD, &slots::name_of(self.next)].concat();
            match create(home, &record, PRIVATE) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                made => break (made?, record),
            }
        };
        let written = file.write_all(path).and_then(|()| file.sync_all());
        written.inspect_err(|_| drop(fsat::unlink_at(home, &record)))?;
        Ok(record)
    }

    /// A name in a place under which nothing is.
    pub fn free(&mut self, place: PlaceId) -> Staged {
        self.next += 1;
        Staged { place, number: self.next }
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
        let staged = self.free(place);
        let name = staged.name();
        let made = match make(self.place(place)?.fd.as_fd(), &name) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) && place.at == 0 => {
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
            self.make(PlaceId::HOME, rights, |dir, name| fsat::open_at(dir, name, flags, PRIVATE))?;
        self.discard(staged);
        Ok(fd.into())
    }

    /// The directory and the name of a staged object.
    ///
    /// # Errors
    /// ESTALE if its place is gone.
    pub fn find(&self, staged: Staged) -> io::Result<(BorrowedFd<'_>, Vec<u8>)> {
        Ok((self.place(staged.place)?.fd.as_fd(), staged.name()))
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
            match recorded::keeping_mtime(fd.as_fd(), || {
                home::remove(fd.as_fd(), place.top.as_fd())
            }) {
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

/// Creates a file for writing, which must not exist yet.
pub(super) fn create(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> io::Result<File> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
    fsat::open_at(dir, name, flags, mode).map(File::from)
}
