//! Where things are written before they are renamed into place: `.makuosan` at the top of the base
//! directory, and on every other mount below it that something is sent to.
//!
//! A *place* is one such directory, mode 0700, its files named by a number. A rename works only
//! within one mount (by mount id, or device before Linux 5.8) and one device (btrfs subvolumes share a
//! mount). The place of another mount is at its top, or where nothing may be made there, in the
//! nearest directory that exists. Its path is recorded in `.makuosan` first, so that whatever a killed
//! daemon left there goes at the next start. It goes anyway when no transfer is left.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::grain::Grain;
use super::paths::split;
use super::rights::{Fresh, PRIVATE, Rights};
use super::root::{Dirs, Root};
use super::sweep;
use crate::name::{MAX_PATH, RelPath, STAGING};
use crate::sys::fsat::{self, Stat};

/// What names of records begin with; the rest is a number.
const RECORD: &[u8] = b"mount-";
/// What other mounts are tidied away after; more could only be from a daemon gone mad.
const MOST_PLACES: usize = 64;

/// All places.
#[derive(Debug)]
pub(super) struct Staging {
    root: Arc<Root>,
    home: Place,
    abroad: Vec<Place>,
    /// The number of the next name.
    next: u64,
}

/// Something staged: a number of a place.
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

/// A place: 0 is `.makuosan` of the base directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PlaceId(usize);

#[derive(Debug)]
struct Place {
    fd: OwnedFd,
    mount: Mount,
    grain: Grain,
    fresh: Fresh,
    /// The directory it is in, and the name of its record; None for the base directory's own.
    within: Option<(OwnedFd, Vec<u8>)>,
}

/// Within what a rename works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mount {
    id: Option<u64>,
    dev: u64,
}

impl Mount {
    pub fn of(stat: &Stat) -> Self {
        Mount { id: stat.mount, dev: stat.dev }
    }
}

/// The name of a number.
pub(super) fn name_of(number: u64) -> Vec<u8> {
    format!("{number:x}").into_bytes()
}

impl Staging {
    /// Makes `.makuosan`, or takes over and empties what is there.
    ///
    /// # Errors
    /// It cannot be made, is no directory or another user's, or another process has it.
    pub fn open(root: Arc<Root>, rights: &Rights) -> io::Result<Self> {
        let fd = take_over(root.as_fd(), rights)?;
        fsat::lock(fd.as_fd()).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(
                io::ErrorKind::WouldBlock,
                "another daemon has this base directory (.makuosan is locked)",
            ),
            _ => e,
        })?;
        if Mount::of(&fsat::stat_fd(fd.as_fd())?) != Mount::of(&fsat::stat_fd(root.as_fd())?) {
            // Nothing could be renamed out of it.
            return Err(io::Error::from_raw_os_error(libc::EXDEV));
        }
        let kept = clear_recorded(&root, &fd, rights)?;
        sweep::empty(fd.as_fd(), &kept)?;
        let home = Place::new(fd, None)?;
        Ok(Staging { root, home, abroad: Vec::new(), next: 0 })
    }

    fn place(&self, id: PlaceId) -> io::Result<&Place> {
        match id.0.checked_sub(1) {
            None => Ok(&self.home),
            Some(at) => {
                self.abroad.get(at).ok_or_else(|| io::Error::from_raw_os_error(libc::ESTALE))
            }
        }
    }

    /// What new files of a place have.
    ///
    /// # Errors
    /// ESTALE if the place is gone.
    pub fn fresh(&self, place: PlaceId) -> io::Result<Fresh> {
        Ok(self.place(place)?.fresh)
    }

    /// How exactly the file system of `stat` keeps times, as far as that is known: of another than
    /// the base directory's it is from when something is first staged there.
    pub fn grain(&self, stat: &Stat) -> Grain {
        let mut places = std::iter::once(&self.home).chain(&self.abroad);
        let known = places.find(|place| place.mount.dev == stat.dev);
        known.map_or(Grain::EXACT, |place| place.grain)
    }

    /// The place for what is to be renamed into the directory `parent`, which may not exist yet.
    ///
    /// # Errors
    /// There is none, and none can be made.
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
        if mount == self.home.mount {
            return Ok(PlaceId(0));
        }
        if let Some(at) = self.abroad.iter().position(|place| place.mount == mount) {
            return Ok(PlaceId(at + 1));
        }
        if self.abroad.len() >= MOST_PLACES {
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
            _ => Err(e),
        })?;
        if made.mount != mount {
            return Err(io::Error::from_raw_os_error(libc::EXDEV)); // mounted or replaced meanwhile
        }
        self.abroad.push(made);
        Ok(PlaceId(self.abroad.len()))
    }

    /// Makes a place in the directory `path` of another mount.
    fn settle(&mut self, path: &[u8], rights: &Rights) -> io::Result<Place> {
        let within = self.root.open_dir(path, fsat::PATH_ONLY)?;
        let (file, record) = loop {
            self.next += 1;
            let record = [RECORD, &name_of(self.next)].concat();
            match create(self.home.fd.as_fd(), &record, PRIVATE) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                made => break (made?, record),
            }
        };
        let made = (&file).write_all(path).and_then(|()| file.sync_all()).and_then(|()| {
            let fd = keeping_mtime(within.as_fd(), || take_over(within.as_fd(), rights))?;
            sweep::empty(fd.as_fd(), &[])?;
            Place::new(fd, None)
        });
        match made {
            Ok(place) => Ok(Place { within: Some((within, record)), ..place }),
            Err(e) => {
                let gone =
                    keeping_mtime(within.as_fd(), || fsat::rmdir_at(within.as_fd(), STAGING));
                // What is there and not ours is no leftover of ours either.
                if gone.map_or_else(|e| e.raw_os_error() != Some(libc::ENOTEMPTY), |()| true) {
                    let _ = fsat::unlink_at(self.home.fd.as_fd(), &record);
                }
                Err(e)
            }
        }
    }

    /// Makes something new in a place by `make`, which gets the directory and an unused name.
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
                // Somebody has removed `.makuosan`.
                let fd = take_over(self.root.as_fd(), rights)?;
                fsat::lock(fd.as_fd())?;
                self.home.fd = fd;
                make(self.home.fd.as_fd(), &name)?
            }
            made => made?,
        };
        Ok((staged, made))
    }

    /// A new empty file without a name, to be read and written.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn nameless(&mut self, rights: &Rights) -> io::Result<File> {
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
        let (staged, fd) =
            self.make(PlaceId(0), rights, |dir, name| fsat::open_at(dir, name, flags, PRIVATE))?;
        self.discard(staged);
        Ok(fd.into())
    }

    /// The directory and the name of something staged.
    ///
    /// # Errors
    /// ESTALE if its place is gone.
    pub fn find(&self, staged: Staged) -> io::Result<(BorrowedFd<'_>, Vec<u8>)> {
        Ok((self.place(staged.place)?.fd.as_fd(), name_of(staged.number)))
    }

    /// Removes something staged, whatever it is by now.
    pub fn discard(&self, staged: Staged) {
        if let Ok((dir, name)) = self.find(staged) {
            if fsat::unlink_at(dir, &name).is_err() {
                let _ = fsat::rmdir_at(dir, &name);
            }
        }
    }

    /// Waits until everything in the places is on its device.
    ///
    /// # Errors
    /// Those of `syncfs`.
    pub fn sync_all(&self) -> io::Result<()> {
        std::iter::once(&self.home)
            .chain(&self.abroad)
            .try_for_each(|p| fsat::sync_fs(p.fd.as_fd()))
    }

    /// Removes the places of other mounts; nothing is staged there any more. One that cannot go
    /// stays recorded.
    pub fn tidy(&mut self) {
        for place in self.abroad.drain(..) {
            let Some((within, record)) = &place.within else { continue };
            let gone = keeping_mtime(within.as_fd(), || fsat::rmdir_at(within.as_fd(), STAGING));
            if gone.is_ok() {
                let _ = fsat::unlink_at(self.home.fd.as_fd(), record);
            }
        }
    }
}

impl Place {
    /// Finds out what new files have in `fd`.
    fn new(fd: OwnedFd, within: Option<(OwnedFd, Vec<u8>)>) -> io::Result<Self> {
        const PROBE: &[u8] = b"probe";
        let made = |mode| {
            let file = create(fd.as_fd(), PROBE, mode)?;
            fsat::stat_fd(file.as_fd())
        };
        let open = made(0o777)?;
        fsat::unlink_at(fd.as_fd(), PROBE)?;
        let private = made(PRIVATE)?;
        let grain = Grain::probe(fd.as_fd(), PROBE);
        fsat::unlink_at(fd.as_fd(), PROBE)?;
        let fresh = Fresh::of(&private, &open);
        let mount = Mount::of(&fsat::stat_fd(fd.as_fd())?);
        Ok(Place { fd, mount, grain: grain?, fresh, within })
    }
}

/// Makes `.makuosan` in `dir`, or opens what is there, and sees to it that nobody else gets in.
fn take_over(dir: BorrowedFd<'_>, rights: &Rights) -> io::Result<OwnedFd> {
    match fsat::mkdir_at(dir, STAGING, 0o700) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let fd = fsat::open_at(dir, STAGING, fsat::LISTING, 0)?;
    let stat = fsat::stat_fd(fd.as_fd())?;
    if !rights.may_change(&stat) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(".makuosan belongs to another user ({})", stat.uid),
        ));
    }
    if stat.uid != rights.uid() {
        fsat::chown_fd(fd.as_fd(), Some(rights.uid()), None)?;
    }
    if stat.mode != 0o700 {
        fsat::chmod_fd(fd.as_fd(), 0o700)?;
    }
    Ok(fd)
}

/// Does `work`, which makes or removes a name in `dir`, and gives `dir` its mtime back, if it may.
fn keeping_mtime<T>(dir: BorrowedFd<'_>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = fsat::stat_fd(dir)?.mtime;
    let done = work();
    let _ = fsat::set_mtime_at(dir, b".", before);
    done
}

/// Empties and removes the places that an earlier daemon recorded in `home`. The records of those
/// that could not be, which are to be kept.
fn clear_recorded(root: &Root, home: &OwnedFd, rights: &Rights) -> io::Result<Vec<Vec<u8>>> {
    let mut kept = Vec::new();
    for record in sweep::names(home.as_fd())? {
        if !record.starts_with(RECORD) {
            continue;
        }
        let Ok(path) = read(home, &record) else { continue };
        if RelPath::parse(&path).is_err() {
            continue; // it was killed while it wrote this, before it made anything
        }
        let cleared = root.open_dir(&path, fsat::PATH_ONLY).and_then(|within| {
            keeping_mtime(within.as_fd(), || {
                let fd = fsat::open_at(within.as_fd(), STAGING, fsat::LISTING, 0)?;
                if rights.may_change(&fsat::stat_fd(fd.as_fd())?) {
                    sweep::empty(fd.as_fd(), &[])?;
                    fsat::rmdir_at(within.as_fd(), STAGING)?;
                }
                Ok(())
            })
        });
        match cleared.map_err(|e| e.raw_os_error()) {
            Ok(()) | Err(Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => {}
            Err(_) => kept.push(record),
        }
    }
    Ok(kept)
}

fn read(dir: &OwnedFd, name: &[u8]) -> io::Result<Vec<u8>> {
    let file = fsat::open_at(dir.as_fd(), name, libc::O_RDONLY | libc::O_NONBLOCK, 0)?;
    let mut bytes = Vec::new();
    File::from(file).take(MAX_PATH as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes a file that was not there, for writing.
pub(super) fn create(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> io::Result<File> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
    fsat::open_at(dir, name, flags, mode).map(File::from)
}
