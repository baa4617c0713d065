//! What is at a path, as hosts compare it, but for the contents of regular files: those were not read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use md5::{Digest as _, Md5};

use super::ops::Ops;
use crate::fs::errors::leads_nowhere;
use crate::fs::measured::Mount;
use crate::fs::root::{Dirs, Root};
use crate::fs::sweep;
use crate::mirror::types::Object;
use crate::name::RelPath;
use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::versions::{UNREAD, Version, What, short};

/// What was found at a path.
pub type Here = (Version, Object);

/// What is at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// What it is; None if nothing is there, or something that is not mirrored (a socket).
    pub here: Option<Here>,
    /// It is on another mount than the directory that it is in. What is mounted somewhere else next time hides
    /// what was there, which is not deleted then.
    pub is_mount: bool,
}

impl Ops<'_> {
    /// What is at a path.
    ///
    /// # Errors
    /// As [`look`].
    pub fn look(&mut self, path: &RelPath) -> io::Result<Found> {
        look(self.dirs, path)
    }
}

/// Looks at a path below the base directory, following no symbolic link.
///
/// # Errors
/// Whether something is there cannot be told: any error but that something of the path is missing, or is
/// not a directory.
pub fn look(dirs: &mut Dirs, path: &RelPath) -> io::Result<Found> {
    if path.is_base() {
        let here = look_fd(dirs.root().as_fd())?;
        return Ok(Found { here, is_mount: false });
    }
    let (dir, name) = match dirs.parent(path) {
        Err(e) if leads_nowhere(&e) => return Ok(Found::default()),
        found => found?,
    };
    let Some((stat, here)) = stat_and_look(dir.as_fd(), name)? else { return Ok(Found::default()) };
    let above = Mount::of(&fsat::stat_fd(dir.as_fd())?);
    Ok(Found { here, is_mount: !Mount::of(&stat).is_same_mount(above) })
}

/// The names in a directory, in no order.
///
/// # Errors
/// It cannot be listed.
pub fn names(root: &Root, path: &RelPath) -> io::Result<Vec<Vec<u8>>> {
    let fd = root.open_dir(path.as_bytes(), fsat::LISTING)?;
    sweep::names(fd.as_fd())
}

/// What `name` in `dir` is.
pub(super) fn look_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Here>> {
    Ok(stat_and_look(dir, name)?.and_then(|(_, here)| here))
}

fn stat_and_look(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<(Stat, Option<Here>)>> {
    let stat = match fsat::stat_at(dir, name) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        stat => stat?,
    };
    if stat.kind != FileType::Symlink {
        return Ok(Some((stat, here(&stat, &[]))));
    }
    // It and its target must be of one and the same.
    match fsat::open_at(dir, name, libc::O_PATH, 0) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => Ok(Some((stat, look_fd(opened?.as_fd())?))),
    }
}

/// What `fd` is open on.
pub(super) fn look_fd(fd: BorrowedFd<'_>) -> io::Result<Option<Here>> {
    let stat = fsat::stat_fd(fd)?;
    let target = match stat.kind {
        FileType::Symlink => fsat::readlink_at(fd, b"")?,
        _ => Vec::new(),
    };
    Ok(here(&stat, &target))
}

fn here(stat: &Stat, target: &[u8]) -> Option<Here> {
    let what = match stat.kind {
        FileType::File => What::File { size: stat.size, mtime: stat.mtime, digest: UNREAD },
        FileType::Directory => What::Directory,
        FileType::Symlink => What::Symlink { target: target_digest(target) },
        FileType::Fifo => What::Fifo,
        FileType::Char => What::Char(stat.rdev.0, stat.rdev.1),
        FileType::Block => What::Block(stat.rdev.0, stat.rdev.1),
        FileType::Socket | FileType::Unknown => return None,
    };
    let mode = if stat.kind == FileType::Symlink { 0 } else { stat.mode };
    let version = Version { what, mode, uid: stat.uid, gid: stat.gid };
    Some((version, Object { ino: stat.ino, ctime: stat.ctime }))
}

/// What stands for the target of a symbolic link: the first 8 bytes of its MD5, the highest first.
fn target_digest(target: &[u8]) -> u64 {
    short(&Md5::digest(target).into())
}
