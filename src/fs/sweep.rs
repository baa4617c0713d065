//! Emptying a directory of our own, however deep its contents are.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::sys::fsat::{self, Rename};

/// How the names begin under which things are kept that were in a directory; the rest is a number.
pub(super) const LIFTED: &[u8] = b"lifted-";

/// The names in `dir`, without `.` and `..`.
pub(super) fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let fd = fsat::open_at(dir, b".", fsat::LISTING, 0)?;
    let mut names = Vec::new();
    fsat::list(fd.as_fd(), |name, _, _| names.push(name.to_vec()))?;
    Ok(names)
}

/// Whether the directory `name` in `dir` is empty.
pub(super) fn is_empty(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
    let fd = fsat::open_at(dir, name, fsat::LISTING, 0)?;
    let mut empty = true;
    fsat::list(fd.as_fd(), |_, _, _| empty = false)?;
    Ok(empty)
}

/// Removes everything in `dir` except what is `kept`, following no symbolic link. The contents of a directory
/// in it are first moved up into `dir`, so that two descriptors are enough for any depth.
///
/// # Errors
/// That of the first object that cannot be removed.
pub(super) fn empty(dir: BorrowedFd<'_>, kept: impl Fn(&[u8]) -> bool) -> io::Result<()> {
    let mut lifted = 0;
    loop {
        let mut found = names(dir)?;
        found.retain(|name| !kept(name));
        if found.is_empty() {
            return Ok(());
        }
        for name in found {
            match remove(dir, &name) {
                Err(e) if matches!(e.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST)) => {
                    lift(dir, &name, &mut lifted)?;
                    fsat::rmdir_at(dir, &name)?;
                }
                removed => removed?,
            }
        }
    }
}

/// Removes `name` in `dir`, if it is there: anything but a directory that is not empty.
///
/// # Errors
/// ENOTEMPTY or EEXIST if it is one; those of `unlinkat`.
pub(super) fn remove(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let unlinked = match fsat::unlink_at(dir, name) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        unlinked => unlinked,
    };
    match unlinked.as_ref().map_err(io::Error::raw_os_error) {
        // For a directory: EISDIR on Linux, EPERM by POSIX (unlink(2)).
        Err(Some(libc::EISDIR | libc::EPERM)) => match fsat::rmdir_at(dir, name) {
            // It is not a directory and still cannot be unlinked: an immutable file.
            Err(e) if e.raw_os_error() == Some(libc::ENOTDIR) => unlinked,
            removed => removed,
        },
        _ => unlinked,
    }
}

/// Moves the contents of the directory `name` in `dir` to new names in `dir`.
fn lift(dir: BorrowedFd<'_>, name: &[u8], lifted: &mut u64) -> io::Result<()> {
    // Moving a directory needs write permission on it, since its `..` changes (rename(2)).
    let from = fsat::open_at(dir, name, fsat::PATH_ONLY, 0)?;
    fsat::chmod_at(dir, name, from.as_fd(), 0o700)?;
    for child in names(from.as_fd())? {
        if let Ok(path) = fsat::open_at(from.as_fd(), &child, fsat::PATH_ONLY, 0) {
            fsat::chmod_at(from.as_fd(), &child, path.as_fd(), 0o700)?;
        }
        loop {
            *lifted += 1;
            let new = [LIFTED, lifted.to_string().as_bytes()].concat();
            let moved = fsat::rename_at(from.as_fd(), &child, dir, &new, Rename::NoReplace);
            match moved {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                other => break other?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;

    #[test]
    fn everything_goes_but_what_is_kept_and_what_links_lead_to() {
        let temp = TempDir::new("sweep");
        let other = TempDir::new("spared");
        std::fs::write(other.join("f"), b"").unwrap();
        std::os::unix::fs::symlink(other.path(), temp.join("link")).unwrap();
        std::fs::write(temp.join("lifted-1"), b"").unwrap();
        std::fs::write(temp.join("kept"), b"").unwrap();
        let deep: String = (0..300).map(|n| format!("d{n}/")).collect();
        std::fs::create_dir_all(temp.join(&deep)).unwrap();
        std::os::unix::fs::symlink(other.path(), temp.join(&deep).join("link")).unwrap();
        for n in 0..50 {
            std::fs::write(temp.join(&format!("d0/d1/{n}")), b"").unwrap();
        }
        let dir = std::fs::File::open(temp.path()).unwrap();
        empty(dir.as_fd(), |name| name == b"kept").unwrap();
        assert_eq!(names(dir.as_fd()).unwrap(), [b"kept"]);
        assert!(other.join("f").exists());
    }
}
