//! What is in a `.makuosan` of ours: `stage`, where files are staged, made when it is needed; `conflicts` and
//! `trash`, if a mirror has anything to keep there. All that is in `stage` is the daemon's, and goes when a
//! daemon starts, but for slots that are spared. What version 2.0 left beside it goes, too; whatever else is
//! there stays.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::claim::{self, CONFLICTS, Claim, MARKER, RECORD, STAGE, TRASH};
use super::sweep;
use crate::sys::fsat::{self, Rename};

/// Opens `stage`, or makes it, and puts the marker beside it. What version 2.0 staged goes; its records of
/// other mounts are in `stage` afterwards, where this version has them. The caller has the lock.
///
/// # Errors
/// `stage` is not ours, or cannot be made; what version 2.0 left cannot be removed.
pub(super) fn furnish(claim: &Claim, us: u32) -> io::Result<OwnedFd> {
    let top = claim.fd.as_fd();
    let records = if claim.is_marked { Vec::new() } else { clear_2_0(top, us)? };
    let stage = open_own(top, STAGE, us)?;
    for name in records {
        fsat::rename_at(top, &name, stage.as_fd(), &name, Rename::Replace)?;
    }
    if !claim.is_marked {
        claim::mark(top)?;
    }
    Ok(stage)
}

/// Opens the directory `name` in a `.makuosan` of ours, or makes it, and sees to it that nobody else gets in.
///
/// # Errors
/// It is not ours, or cannot be made.
pub(super) fn open_own(top: BorrowedFd<'_>, name: &'static [u8], us: u32) -> io::Result<OwnedFd> {
    match fsat::mkdir_at(top, name, 0o700) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    let path = fsat::open_at(top, name, libc::O_PATH, 0)?;
    let stat = fsat::stat_fd(path.as_fd())?;
    claim::judge(name, &stat, &fsat::stat_fd(top)?, us)?;
    let own = fsat::open_at(path.as_fd(), b".", fsat::LISTING, 0)?;
    fsat::remove_acls(own.as_fd())?;
    if stat.mode != 0o700 {
        claim::close(own.as_fd(), 0o700)?;
    }
    Ok(own)
}

/// Sees to it that a `.makuosan` of ours is known by its marker, so that there may be more in it than
/// version 2.0 has made.
///
/// # Errors
/// ENOSPC if there is no room for the marker.
pub(super) fn have_marked(top: BorrowedFd<'_>, us: u32) -> io::Result<()> {
    if claim::is_marked(top, us)? {
        return Ok(());
    }
    claim::mark(top)?;
    match claim::is_marked(top, us)? {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
    }
}

/// Empties `stage` and removes it, and with it the `.makuosan` in `dir`, unless there is something else,
/// or it is `kept`. Whether nothing of ours is left.
///
/// # Errors
/// Something in it cannot be removed.
pub(super) fn clear(
    dir: BorrowedFd<'_>,
    claim: &Claim,
    us: u32,
    kept: impl Fn(&[u8]) -> bool,
) -> io::Result<bool> {
    let top = claim.fd.as_fd();
    if !claim.is_marked {
        for record in clear_2_0(top, us)? {
            fsat::unlink_at(top, &record)?;
        }
    }
    match fsat::open_at(top, STAGE, fsat::LISTING, 0) {
        Ok(stage) => sweep::empty(stage.as_fd(), kept)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    remove(dir, top)
}

/// Removes `stage`, if it is empty, and with it the `.makuosan` in `dir`, unless there is something else.
/// Whether nothing of ours is left.
///
/// # Errors
/// `stage` cannot be removed; see [`claim::remove`].
pub(super) fn remove(dir: BorrowedFd<'_>, top: BorrowedFd<'_>) -> io::Result<bool> {
    match fsat::rmdir_at(top, STAGE) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST)) => Ok(false),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => {
            let keeps = [CONFLICTS, TRASH].iter().any(|name| fsat::stat_at(top, name).is_ok());
            claim::remove(dir, top).map(|()| !keeps)
        }
    }
}

/// Removes what version 2.0 left in a `.makuosan` without a marker, but for its records of other mounts;
/// their names.
fn clear_2_0(top: BorrowedFd<'_>, us: u32) -> io::Result<Vec<Vec<u8>>> {
    let mut records = Vec::new();
    for name in sweep::names(top)? {
        if name == MARKER || name == STAGE || !claim::is_of_2_0(top, &name, us)? {
            continue;
        }
        if name.starts_with(RECORD) {
            records.push(name);
            continue;
        }
        sweep::remove(top, &name)?;
    }
    Ok(records)
}
