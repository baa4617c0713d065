//! What is at a path, as hosts compare it, but for the contents of regular files: those were not read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use md5::{Digest as _, Md5};

use super::ops::Ops;
use crate::fs::errors::leads_nowhere;
use crate::fs::root::Root;
use crate::fs::sweep;
use crate::mirror::types::Object;
use crate::name::RelPath;
use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::versions::{UNREAD, Version, What, short};

/// What was found at a path.
pub type Here = (Version, Object);

impl Ops<'_> {
    /// What is at a path, whatever it is on.
    ///
    /// # Errors
    /// Whether something is there cannot be told: any error but that something of the path is missing, or is
    /// not a directory.
    pub fn look(&mut self, path: &RelPath) -> io::Result<Option<Here>> {
        match self.dirs.parent(path) {
            _ if path.is_base() => look_fd(self.dirs.root().as_fd()),
            Err(e) if leads_nowhere(&e) => Ok(None),
            found => found.and_then(|(dir, name)| look_at(dir.as_fd(), name)),
        }
    }
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

pub(super) fn stat_and_look(
    dir: BorrowedFd<'_>,
    name: &[u8],
) -> io::Result<Option<(Stat, Option<Here>)>> {
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
