//! What a new file has of the directory that it will be in, as if it were made there: a default ACL, flags,
//! a group. It is written elsewhere, below `.makuosan`, whose own heritage it must not have.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::paths::split;
use super::rights::{PRIVATE, Rights, Wanted};
use super::root::Dirs;
use super::staging::create;
use crate::sys::fsat;

const SET_GID: u32 = 0o2000;

/// The directory that a file in `parent` inherits from, if that makes a difference: the nearest one that
/// exists, as those that are made in it inherit the same.
pub(super) fn of(dirs: &mut Dirs, mut parent: &[u8], rights: &Rights) -> Option<OwnedFd> {
    let dir = loop {
        match dirs.dir(parent) {
            Ok(dir) => break dir,
            Err(_) if parent.is_empty() => return None,
            Err(_) => parent = split(parent).0,
        }
    };
    let fd = fsat::open_at(dir.as_fd(), b".", fsat::LISTING, 0).ok()?;
    let gives_group =
        || !rights.is_root() && fsat::stat_fd(fd.as_fd()).is_ok_and(|s| s.mode & SET_GID != 0);
    (fsat::bequeaths(fd.as_fd()) || gives_group()).then_some(fd)
}

/// Creates a file `name` in `dir` that inherits from another directory, closed to everybody else, with the
/// attributes that it has then. Where the file system cannot do that, it inherits from `dir`.
pub(super) fn create_as_in(
    from: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    name: &[u8],
) -> io::Result<(File, Wanted)> {
    let made = fsat::open_nameless(from, PRIVATE).and_then(|fd| {
        fsat::name_it(fd.as_fd(), dir, name)?;
        Ok(File::from(fd))
    });
    let file = match made {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(e),
        Err(_) => create(dir, name, PRIVATE)?,
        Ok(file) => file,
    };
    let has = Wanted::of(&fsat::stat_fd(file.as_fd())?);
    Ok((file, has))
}
