//! What is in a `.makuosan` of ours: `stage`, where files are staged, made when it is needed. All that is in
//! `stage` is the daemon's, and goes when a daemon starts. What version 2.0 left beside it goes, too; whatever
//! else is there stays.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::claim::{self, Claim, MARKER, RECORD, STAGE};
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
    let stage = open_stage(top, us)?;
    for name in records {
        fsat::rename_at(top, &name, stage.as_fd(), &name, Rename::Replace)?;
    }
    if !claim.is_marked {
        claim::mark(top)?;
    }
    Ok(stage)
}

fn open_stage(top: BorrowedFd<'_>, us: u32) -> io::Result<OwnedFd> {
    match fsat::mkdir_at(top, STAGE, 0o700) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    let path = fsat::open_at(top, STAGE, libc::O_PATH, 0)?;
    let stat = fsat::stat_fd(path.as_fd())?;
    claim::judge_stage(&stat, &fsat::stat_fd(top)?, us)?;
    let stage = fsat::open_at(path.as_fd(), b".", fsat::LISTING, 0)?;
    fsat::remove_acls(stage.as_fd())?;
    if stat.mode != 0o700 {
        claim::close(stage.as_fd(), 0o700)?;
    }
    Ok(stage)
}

/// Empties `stage` and removes it, and with it the `.makuosan` in `dir`, unless there is something else.
///
/// # Errors
/// Something in it cannot be removed.
pub(super) fn clear(dir: BorrowedFd<'_>, claim: &Claim, us: u32) -> io::Result<()> {
    let top = claim.fd.as_fd();
    if !claim.is_marked {
        for record in clear_2_0(top, us)? {
            fsat::unlink_at(top, &record)?;
        }
    }
    match fsat::open_at(top, STAGE, fsat::LISTING, 0) {
        Ok(stage) => sweep::empty(stage.as_fd(), &[])?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    remove(dir, top)
}

/// Removes `stage`, which is empty, and with it the `.makuosan` in `dir`, unless there is something else.
///
/// # Errors
/// `stage` is not empty; see [`claim::remove`].
pub(super) fn remove(dir: BorrowedFd<'_>, top: BorrowedFd<'_>) -> io::Result<()> {
    match fsat::rmdir_at(top, STAGE) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => claim::remove(dir, top),
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
