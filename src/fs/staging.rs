//! Where files are written before they are renamed into place: `.makuosan/stage` at the top of the base
//! directory, and on every other mount below it that receives something.
//!
//! A *place* is one such directory, with mode 0700 and files named by numbers. A rename works only
//! within one mount (by mount ID, or before Linux 5.8 by device; statx(2)) and one device (btrfs
//! subvolumes share a mount); rename(2) fails with EXDEV otherwise. The place of another mount is at
//! its top, or if nothing may be created there, in the nearest existing directory. Its path is first
//! recorded in that of the base directory, so that the next start can clean up after a daemon that was killed. It is
//! removed as soon as there are no transfers.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::claim::{self, Claim, NotOurs, PROBE, RECORD};
use super::grain::Grain;
use super::home;
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
    /// The directory that contains it, and the name of its record; None for the base directory's.
    within: Option<(OwnedFd, Vec<u8>)>,
}

/// What is the same for everything in a place.
#[derive(Clone, Copy, Debug)]
struct Measured {
    mount: Mount,
    grain: Grain,
    keeps: Keeps,
    /// Which attributes new files get.
    fresh: Fresh,
}

/// What two directories must have in common for a rename between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mount {
    id: Option<u64>,
    dev: u64,
}

impl Mount {
    pub fn of(stat: &Stat) -> Self {
        Mount { id: stat.mount, dev: stat.dev }
    }

    /// Whether both are on one mount. The device says nothing about that where the mounts are known:
    /// within an overlay files have other devices than their directories, and a subvolume of btrfs has
    /// one of its own; a bind mount has the device of what it shows.
    pub fn is_same_mount(self, other: Mount) -> bool {
        match (self.id, other.id) {
            (Some(one), Some(other)) => one == other,
            _ => self.dev == other.dev,
        }
    }
}

/// The file name of a number.
pub(super) fn name_of(number: u64) -> Vec<u8> {
    format!("{number:x}").into_bytes()
}

impl Staging {
    /// Creates `.makuosan/stage`, or takes over an existing one of ours and empties it.
    ///
    /// # Errors
    /// It cannot be created, is not ours ([`NotOurs`]), or is locked by another process.
    pub fn open(root: Arc<Root>, rights: &Rights) -> io::Result<Self> {
        let claim = claim::claim(root.as_fd(), rights.uid())?;
        fsat::lock(claim.fd.as_fd()).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(
                io::ErrorKind::WouldBlock,
                "another daemon has this base directory (.makuosan is locked)",
            ),
            _ => e,
        })?;
        let fd = home::furnish(&claim, rights.uid())?;
        let kept = clear_recorded(&root, &fd, rights)?;
        sweep::empty(fd.as_fd(), &kept)?;
        let home = Place { top: claim.fd, measured: Measured::of(&fd)?, fd, within: None };
        Ok(Staging { root, home, other_mounts: Vec::new(), next: 0 })
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
        let mut top = nearest;
        while !top.is_empty() {
            let up = split(top).0;
            match dirs.dir(up).and_then(|fd| fsat::stat_fd(fd.as_fd())) {
                Ok(stat) if Mount::of(&stat) == mount => top = up,
                _ => break,
            }
        }
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
        let (file, record) = loop {
            self.next += 1;
            let record = [RECORD, &name_of(self.next)].concat();
            match create(self.home.fd.as_fd(), &record, PRIVATE) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                made => break (made?, record),
            }
        };
        let claimed = (&file).write_all(path).and_then(|()| file.sync_all()).and_then(|()| {
            keeping_mtime(within.as_fd(), || claim::claim(within.as_fd(), rights.uid()))
        });
        let claim = claimed.inspect_err(|_| {
            let _ = fsat::unlink_at(self.home.fd.as_fd(), &record);
        })?;
        let furnished = have_to_oneself(&claim.fd).and_then(|()| {
            let fd = home::furnish(&claim, rights.uid())?;
            sweep::empty(fd.as_fd(), &[])?;
            Ok((Measured::of(&fd)?, fd))
        });
        match furnished {
            Ok((measured, fd)) => {
                Ok(Place { top: claim.fd, fd, measured, within: Some((within, record)) })
            }
            Err(e) => {
                // One that was there stays recorded: it is ours, and may hold something.
                let gone = claim.made && clear(&within, &claim, rights).is_ok();
                if gone || claim::is_in_use(&e) {
                    let _ = fsat::unlink_at(self.home.fd.as_fd(), &record);
                }
                Err(e)
            }
        }
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
            let Some((within, record)) = &place.within else { continue };
            let gone =
                keeping_mtime(within.as_fd(), || home::remove(within.as_fd(), place.top.as_fd()));
            if gone.is_ok() {
                let _ = fsat::unlink_at(self.home.fd.as_fd(), record);
            }
        }
    }
}

impl Measured {
    /// Finds out which attributes new files in `fd` get, and how exactly times are kept.
    fn of(fd: &OwnedFd) -> io::Result<Self> {
        let made = |mode| {
            let file = create(fd.as_fd(), PROBE, mode)?;
            fsat::stat_fd(file.as_fd())
        };
        let open = made(0o777)?;
        fsat::unlink_at(fd.as_fd(), PROBE)?;
        let private = made(PRIVATE)?;
        let grain = Grain::probe(fd.as_fd(), PROBE);
        let keeps = probe(fd.as_fd());
        fsat::unlink_at(fd.as_fd(), PROBE)?;
        let fresh = Fresh::of(&private, &open);
        let mount = Mount::of(&fsat::stat_fd(fd.as_fd())?);
        Ok(Measured { mount, grain: grain?, keeps: keeps?, fresh })
    }
}

/// Finds out which attributes the probe can be given.
fn probe(dir: BorrowedFd<'_>) -> io::Result<Keeps> {
    // Any but root, and bits that no umask makes.
    const MODE: u32 = 0o751;
    const ID: u32 = 1;
    let path = fsat::open_at(dir, PROBE, libc::O_PATH, 0)?;
    let modes = fsat::chmod_at(dir, PROBE, path.as_fd(), MODE).is_ok()
        && fsat::stat_fd(path.as_fd())?.mode == MODE;
    let owners = fsat::chown_fd(path.as_fd(), Some(ID), Some(ID)).is_ok() && {
        let stat = fsat::stat_fd(path.as_fd())?;
        (stat.uid, stat.gid) == (ID, ID)
    };
    Ok(Keeps { owners, modes })
}

/// Keeps other daemons out of a place on another mount.
fn have_to_oneself(fd: &OwnedFd) -> io::Result<()> {
    match fsat::lock(fd.as_fd()) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(NotOurs::InUse.into()),
        // Not every file system has locks.
        _ => Ok(()),
    }
}

/// Empties and removes a place in `within`.
fn clear(within: &OwnedFd, claim: &Claim, rights: &Rights) -> io::Result<()> {
    keeping_mtime(within.as_fd(), || home::clear(within.as_fd(), claim, rights.uid()))
}

/// Does `work`, which creates or removes a name in `dir`, and then restores the mtime of `dir` where
/// that is permitted.
fn keeping_mtime<T>(dir: BorrowedFd<'_>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = fsat::stat_fd(dir)?.mtime;
    let done = work();
    let _ = fsat::set_mtime_at(dir, b".", before);
    done
}

/// Removes the places that an earlier daemon recorded in `stage`. Returns the records of those that
/// could not be removed, which must be kept.
fn clear_recorded(root: &Root, stage: &OwnedFd, rights: &Rights) -> io::Result<Vec<Vec<u8>>> {
    let mut kept = Vec::new();
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
            clear(&within, &claim, rights)
        });
        match cleared {
            Ok(()) => {}
            Err(e) if claim::is_not_ours(&e) => {}
            Err(e) => match e.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => {}
                _ => kept.push(record),
            },
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
