//! Setting owner, mode and mtime: of new files in staging, and of what exists already.

use std::io;
use std::os::fd::AsFd;

use super::grain::Grain;
use super::identity::{Identity, ObjectId};
use super::rights::{Rights, Wanted, changes, is_kind};
use super::root::Dirs;
use super::staging::Staging;
use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::manifest::{Entry, Kind};

/// Gives a new file, open as `fd`, the attributes of `entry`; `fresh` is what it has now.
///
/// The owner is set before the mode, because changing it clears the set-id bits (chown(2)).
pub(super) fn set_attributes(
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

/// What was found when an entry was planned, and may be changed when it is committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Examined {
    /// Which object it was.
    pub id: ObjectId,
    /// Of a file whose content was as sent, by its digest: its state at that time.
    pub proven: Option<Identity>,
}

impl Examined {
    /// An object about whose content nothing is known.
    pub fn object(id: ObjectId) -> Self {
        Examined { id, proven: None }
    }
}

/// What [`apply`] changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Applied {
    /// Owner, group or mode.
    pub access: bool,
    /// The mtime.
    pub mtime: bool,
    /// This process now lacks permissions in it, as in [`Rights::lacks_owner_access`].
    pub lacks_owner_access: bool,
}

/// Sets those attributes of the object at an entry's path that differ, following no symbolic link.
///
/// The mtime of a regular file tells when its content last changed, which may have happened just now.
/// So it is set only if the file has not changed since its content was proven to be as sent.
///
/// # Errors
/// ESTALE if it is not the `examined` object any more, or must not be changed in place by now
/// ([`Rights::must_replace`]); for a directory of another type ELOOP or ENOTDIR.
pub(super) fn apply(
    dirs: &mut Dirs,
    rights: &Rights,
    staging: Option<&Staging>,
    entry: &Entry,
    examined: Examined,
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
    let proven = examined.proven == Some(Identity::of(&stat));
    if examined.id != ObjectId::of(&stat) || rights.must_replace(entry, &stat, proven) {
        return Err(io::Error::from_raw_os_error(libc::ESTALE));
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
        // Changing the owner may have cleared the set-id bits.
        fsat::chmod_at(dir.as_fd(), name, fd.as_fd(), wanted.mode)?;
        applied.access = true;
    }
    let Wanted { uid, gid, mode } = wanted;
    let grain = staging.map_or(Grain::EXACT, |staging| staging.grain(&stat));
    let timely = stat.kind != FileType::File || proven;
    if timely && !grain.same(stat.mtime, entry.mtime) {
        fsat::set_mtime_path(dir.as_fd(), name, fd.as_fd(), entry.mtime)?;
        applied.mtime = true;
    }
    applied.lacks_owner_access = rights.lacks_owner_access(&Stat { uid, gid, mode, ..stat });
    Ok(applied)
}
