//! What is found out about a directory in which files are staged, and holds for all that is in it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::claim::PROBE;
use super::grain::Grain;
use super::paths::split;
use super::rights::{Fresh, Keeps, PRIVATE};
use crate::sys::fsat::{self, Stat};

/// What is the same for everything in a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub mount: Mount,
    pub grain: Grain,
    pub keeps: Keeps,
    /// Which attributes new files get.
    pub fresh: Fresh,
}

/// What two directories must have in common for a rename between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mount {
    id: Option<u64>,
    pub dev: u64,
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

    /// Whether what has this `stat` is mounted on a name of a directory on this one. Where mounts are not known, only
    /// directories are: see [`Mount::is_same_mount`].
    pub fn is_other(self, stat: &Stat) -> bool {
        let tells = self.id.is_some() || stat.kind == fsat::FileType::Directory;
        tells && !self.is_same_mount(Mount::of(stat))
    }

    /// The highest directory on this mount that leads to `path`, which is on it, as `stat` tells.
    pub fn top(self, path: &[u8], mut stat: impl FnMut(&[u8]) -> io::Result<Stat>) -> &[u8] {
        let mut top = path;
        while !top.is_empty() {
            let up = split(top).0;
            match stat(up) {
                Ok(stat) if Mount::of(&stat) == self => top = up,
                _ => break,
            }
        }
        top
    }
}

impl Measured {
    /// Finds out which attributes new files in `fd` get, and how exactly times are kept.
    pub fn of(fd: &OwnedFd) -> io::Result<Self> {
        let made = |mode| {
            let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
            let file = fsat::open_at(fd.as_fd(), PROBE, flags, mode)?;
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
