//! Setting the attributes of what is staged, and of what is in place.

use std::io;
use std::os::fd::AsFd;

use super::grain::Grain;
use super::identity::Identity;
use super::rights::{Rights, Wanted, changes, is_kind};
use super::root::Dirs;
use super::staging::Staging;
use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::manifest::{Entry, Kind};

/// Gives a new file, open at `fd`, what `entry` says; `fresh` is what it has.
///
/// Owner before mode, as a change of owner takes the set-id bits; mtime last.
pub(super) fn dress(
    fd: &impl AsFd,
    entry: &Entry,
    rights: &Rights,
    fresh: Wanted,
) -> io::Result<()> {
    let fd = fd.as_fd();
    let wanted = rights.wanted(entry, fresh.uid, fresh.gid);
    let (uid, gid) = changes(wanted, fresh.uid, fresh.gid);
    if uid.is_some() || gid.is_some() {
        fsat::chown_fd(fd, uid, gid)?;
    }
    if wanted.mode != fresh.mode {
        fsat::chmod_fd(fd, wanted.mode)?;
    }
    fsat::set_mtime_fd(fd, entry.mtime)
}

/// What [`apply`] changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Applied {
    /// Owner, group or mode.
    pub access: bool,
    /// The mtime.
    pub mtime: bool,
    /// It is now such that it shuts this process out.
    pub shuts_out: bool,
}

/// Gives what is at an entry's path the attributes that differ, through no link. The mtime of a
/// regular file stays: it says when its content changed, and that may have been just now; unless it is
/// still what it was when its content was `proven` to be as sent.
///
/// # Errors
/// ESTALE if something of another type is there; ELOOP, ENOTDIR if that is so of a directory.
pub(super) fn apply(
    dirs: &mut Dirs,
    rights: &Rights,
    staging: Option<&Staging>,
    entry: &Entry,
    proven: Option<&Identity>,
) -> io::Result<Applied> {
    let (dir, name) = dirs.parent(&entry.path)?;
    let fd = fsat::open_at(dir.as_fd(), name, libc::O_PATH, 0)?;
    let stat = fsat::stat_fd(fd.as_fd())?;
    if !is_kind(&entry.kind, stat.kind) {
        let code = match (&entry.kind, stat.kind) {
            (Kind::Open | Kind::Close { .. }, FileType::Symlink) => libc::ELOOP,
            (Kind::Open | Kind::Close { .. }, _) => libc::ENOTDIR,
            _ => libc::ESTALE,
        };
        return Err(io::Error::from_raw_os_error(code));
    }
    let mut applied = Applied::default();
    if !rights.may_change(&stat) {
        return Ok(applied);
    }
    let wanted = rights.wanted(entry, stat.uid, stat.gid);
    let (uid, gid) = changes(wanted, stat.uid, stat.gid);
    if uid.is_some() || gid.is_some() {
        fsat::chown_fd(fd.as_fd(), uid, gid)?;
        applied.access = true;
    }
    if stat.kind != FileType::Symlink && (applied.access || wanted.mode != stat.mode) {
        // A change of owner may have taken the set-id bits.
        fsat::chmod_at(dir.as_fd(), name, fd.as_fd(), wanted.mode)?;
        applied.access = true;
    }
    let Wanted { uid, gid, mode } = wanted;
    let grain = staging.map_or(Grain::EXACT, |staging| staging.grain(&stat));
    let timely = stat.kind != FileType::File || proven == Some(&Identity::of(&stat));
    if timely && !grain.same(stat.mtime, entry.mtime) {
        fsat::set_mtime_at(dir.as_fd(), name, entry.mtime)?;
        applied.mtime = true;
    }
    applied.shuts_out = rights.is_shut_out(&Stat { uid, gid, mode, ..stat });
    Ok(applied)
}
