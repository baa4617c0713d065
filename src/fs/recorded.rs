//! The places on other mounts that are on record in that of the base directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::claim::{self, Claim, NotOurs, RECORD};
use super::errors::leads_nowhere;
use super::home;
use super::rights::Rights;
use super::root::Root;
use super::slots::is_slot;
use super::sweep;
use crate::name::{MAX_PATH, RelPath};
use crate::sys::fsat;

/// Keeps other daemons out of a place on another mount.
pub(super) fn have_to_oneself(fd: &OwnedFd) -> io::Result<()> {
    match fsat::lock(fd.as_fd()) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(NotOurs::InUse.into()),
        // Not every file system has locks.
        _ => Ok(()),
    }
}

/// Empties and removes a place in `within`, but for these `slots`. Whether nothing is left.
pub(super) fn clear(
    within: &OwnedFd,
    claim: &Claim,
    rights: &Rights,
    slots: &BTreeSet<u64>,
) -> io::Result<bool> {
    let kept = |name: &[u8]| is_slot(name, slots);
    keeping_mtime(within.as_fd(), || home::clear(within.as_fd(), claim, rights.uid(), kept))
}

/// Does `work`, which creates or removes a name in `dir`, and then restores the mtime of `dir` where
/// that is permitted.
pub(super) fn keeping_mtime<T>(
    dir: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let before = fsat::stat_fd(dir)?.mtime;
    let done = work();
    let _ = fsat::set_mtime_at(dir, b".", before);
    done
}

/// Removes the places that an earlier daemon recorded in `stage`, but for these `slots`. Returns the records
/// of those where something is left, by the directory that they are in.
pub(super) fn clear_all(
    root: &Root,
    stage: &OwnedFd,
    rights: &Rights,
    slots: &BTreeSet<u64>,
) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut kept = BTreeMap::new();
    for record in sweep::names(stage.as_fd())? {
        if !record.starts_with(RECORD) {
            continue;
        }
        let Ok(path) = read(stage, &record) else { continue };
        if RelPath::parse(&path).is_err() {
            continue; // incomplete: the daemon was killed before it created the place
        }
        let cleared = root.open_dir(&path, fsat::PATH_ONLY).and_then(|within| {
            let claim = claim::existing(within.as_fd(), rights.uid())?;
            // Another daemon may have a base directory there.
            have_to_oneself(&claim.fd)?;
            clear(&within, &claim, rights, slots)
        });
        let is_done = match cleared {
            Ok(nothing_left) => nothing_left,
            // Slots may be where nothing is mounted at the moment.
            Err(e) => claim::is_not_ours(&e) || (leads_nowhere(&e) && slots.is_empty()),
        };
        if !is_done {
            kept.insert(path, record);
        }
    }
    Ok(kept)
}

fn read(dir: &OwnedFd, name: &[u8]) -> io::Result<Vec<u8>> {
    let file = fsat::open_regular_at(dir.as_fd(), name, libc::O_RDONLY)?;
    let mut bytes = Vec::new();
    File::from(file).take(MAX_PATH as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
