//! What is kept in a directory beside `stage`, each thing by its path in the tree, in directories of its own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::fs::home;
use crate::sys::fsat::{self, FileType};

/// The directory `name` in a `.makuosan` of ours, which is made if it is missing.
pub(super) fn dir(top: BorrowedFd<'_>, name: &'static [u8], us: u32) -> io::Result<OwnedFd> {
    home::have_marked(top, us)?;
    home::open_own(top, name, us)
}

/// The directory at `path` below `dir`; what is missing of it is made.
pub(super) fn dirs(dir: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    match fsat::open_beneath(dir, path, fsat::PATH_ONLY) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    let mut at = fsat::open_at(dir, b".", fsat::PATH_ONLY, 0)?;
    for name in path.split(|&b| b == b'/').filter(|name| !name.is_empty()) {
        match fsat::mkdir_at(at.as_fd(), name, 0o700) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        at = fsat::open_at(at.as_fd(), name, fsat::PATH_ONLY, 0)?;
    }
    Ok(at)
}

/// Calls `each` for all that is below `dir` and no directory: its path, the directory that it is in, its name.
///
/// # Errors
/// A directory cannot be listed; those of `each`.
pub(super) fn each(
    dir: BorrowedFd<'_>,
    mut each: impl FnMut(&[u8], BorrowedFd<'_>, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut todo: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(path) = todo.pop() {
        let here = match fsat::open_beneath(dir, &path, fsat::LISTING) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            here => here?,
        };
        let mut names = Vec::new();
        fsat::list(here.as_fd(), |name, kind, _| names.push((name.to_vec(), kind)))?;
        for (name, kind) in names {
            let below =
                if path.is_empty() { name.clone() } else { [&path[..], b"/", &name].concat() };
            let kind = match kind {
                FileType::Unknown => fsat::stat_at(here.as_fd(), &name).map(|stat| stat.kind)?,
                kind => kind,
            };
            match kind {
                FileType::Directory => todo.push(below),
                _ => each(&below, here.as_fd(), &name)?,
            }
        }
    }
    Ok(())
}
