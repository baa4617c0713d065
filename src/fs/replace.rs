//! Putting something into the place of something of another type.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::identity::ObjectId;
use super::paths::split;
use super::rights::Rights;
use super::root::Dirs;
use super::staging::Staging;
use super::sweep;
use crate::name::RelPath;
use crate::sys::fsat::{self, Rename, Stat};

/// Makes a directory where something else is, the object `what`, which goes. Its status comes back. For a
/// moment the name does not exist.
///
/// # Errors
/// ESTALE if it is another object by now. Nothing has changed then, nor with any other error.
pub(super) fn by_directory(
    (dirs, staging, rights): (&mut Dirs, &mut Staging, &Rights),
    path: &RelPath,
    what: ObjectId,
) -> io::Result<Stat> {
    let place = staging.place_for(dirs, split(path.as_bytes()).0, rights)?;
    let (dir, name) = dirs.parent(path)?;
    // Moved away, it can come back.
    let (staged, moved) = staging.make(place, rights, |there, number| {
        fsat::rename_at(dir.as_fd(), name, there, number, Rename::NoReplace)?;
        fsat::stat_at(there, number)
    })?;
    let made = match ObjectId::of(&moved) == what {
        true => fsat::mkdir_at(dir.as_fd(), name, 0o700),
        false => Err(io::Error::from_raw_os_error(libc::ESTALE)),
    };
    if let Err(e) = made {
        let (there, number) = staging.find(staged)?;
        fsat::rename_at(there, &number, dir.as_fd(), name, Rename::NoReplace)?;
        return Err(e);
    }
    staging.discard(staged);
    fsat::stat_at(dir.as_fd(), name)
}

/// Replaces an empty directory by something that is not a directory.
///
/// # Errors
/// ENOTEMPTY if it is not empty; nothing has changed then.
pub(super) fn empty_dir(
    from: (BorrowedFd<'_>, &[u8]),
    to: (BorrowedFd<'_>, &[u8]),
) -> io::Result<()> {
    if !sweep::is_empty(to.0, to.1)? {
        return Err(io::Error::from_raw_os_error(libc::ENOTEMPTY));
    }
    match fsat::rename_at(from.0, from.1, to.0, to.1, Rename::Exchange) {
        Ok(()) => match fsat::rmdir_at(from.0, from.1) {
            Err(e) if e.raw_os_error() == Some(libc::ENOTEMPTY) => {
                // Something was created in it at the last moment: put it back.
                fsat::rename_at(from.0, from.1, to.0, to.1, Rename::Exchange)?;
                Err(e)
            }
            result => result,
        },
        // The file system has no RENAME_EXCHANGE, or the directory may not be moved: there is a
        // moment in which the name does not exist.
        Err(_) => {
            fsat::rmdir_at(to.0, to.1)?;
            fsat::rename_at(from.0, from.1, to.0, to.1, Rename::Replace)
        }
    }
}
