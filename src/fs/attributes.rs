//! Setting owner, mode and mtime: of new files in staging, and of what exists already.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::grain::Grain;
use super::identity::{Identity, ObjectId};
use super::rights::{Keeps, Rights, Wanted, changes, is_kind};
use super::root::Dirs;
use super::staging::Staging;
use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::manifest::{Entry, Kind};
use crate::wire::outcome::Lacks;

/// Gives a new file, open as `fd`, the attributes of `entry`; `fresh` is what it has now.
///
/// The owner is set before the mode, because changing it clears the set-id bits (chown(2)).
pub(super) fn set_attributes(
    fd: &impl AsFd,
    entry: &Entry,
    (rights, keeps): (&Rights, Keeps),
    fresh: Wanted,
) -> io::Result<Lacks> {
    let fd = fd.as_fd();
    let wanted = rights.wanted(entry, fresh, keeps);
    if let Some(wanted) = rights.before_it_goes(wanted, fresh) {
        if wanted.mode != fresh.mode {
            fsat::chmod_fd(fd, wanted.mode)?;
        }
        fsat::set_mtime_fd(fd, entry.mtime)?;
        return Ok(rights.lacks(entry, give(fd, wanted, fresh, rights)?));
    }
    let owned = give(fd, wanted, fresh, rights)?;
    let wanted = if owned == wanted { wanted } else { rights.without_owner(entry, owned, keeps) };
    if wanted.mode != fresh.mode {
        fsat::chmod_fd(fd, wanted.mode)?;
    }
    fsat::set_mtime_fd(fd, entry.mtime)?;
    Ok(rights.lacks(entry, wanted))
}

/// Sets owner and group, as far as that is permitted: what the object has then. A user that does not exist
/// in this namespace (user_namespaces(7)), or that a file system does not take, is one that root may
/// not set.
pub(super) fn give(
    fd: BorrowedFd<'_>,
    wanted: Wanted,
    has: Wanted,
    rights: &Rights,
) -> io::Result<Wanted> {
    let (uid, gid) = changes(wanted, has.uid, has.gid);
    if uid.is_none() && gid.is_none() {
        return Ok(wanted);
    }
    let may_not = |e: &io::Error| {
        matches!(
            e.raw_os_error(),
            Some(libc::EPERM | libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS)
        )
    };
    match fsat::chown_fd(fd, uid, gid) {
        Err(e) if rights.is_root() && may_not(&e) => {
            let kept = Wanted { uid: has.uid, gid: has.gid, ..wanted };
            let alone =
                gid.filter(|_| uid.is_some()).map(|gid| fsat::chown_fd(fd, None, Some(gid)));
            Ok(match alone {
                Some(Ok(())) => Wanted { gid: wanted.gid, ..kept },
                _ => kept,
            })
        }
        done => done.map(|()| wanted),
    }
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
    /// What it lacks, because this process may not set it.
    pub lacks: Lacks,
}

/// How exactly the file system of `stat` keeps times, and which attributes it keeps.
pub(super) fn known_of(staging: Option<&Staging>, stat: &Stat) -> (Grain, Keeps) {
    staging.map_or((Grain::EXACT, Keeps::ALL), |staging| staging.known_of(stat))
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
    let (grain, keeps) = known_of(staging, &stat);
    if examined.id != ObjectId::of(&stat) || rights.must_replace(entry, &stat, keeps, proven) {
        return Err(io::Error::from_raw_os_error(libc::ESTALE));
    }
    let mut applied = Applied::default();
    let has = Wanted::of(&stat);
    if !rights.may_change(&stat) {
        applied.lacks = rights.lacks(entry, has);
        return Ok(applied);
    }
    let timely = stat.kind != FileType::File || proven;
    let timely = timely && !grain.same(stat.mtime, entry.mtime);
    let wanted = rights.wanted(entry, has, keeps);
    if let Some(wanted) = rights.before_it_goes(wanted, has) {
        if stat.kind != FileType::Symlink && wanted.mode != has.mode {
            fsat::chmod_at(dir.as_fd(), name, fd.as_fd(), wanted.mode)?;
        }
        if timely {
            fsat::set_mtime_path(dir.as_fd(), name, fd.as_fd(), entry.mtime)?;
        }
        let owned = give(fd.as_fd(), wanted, has, rights)?;
        let lacks = rights.lacks(entry, owned);
        return Ok(Applied { access: owned != has, mtime: timely, lacks, ..applied });
    }
    let owned = give(fd.as_fd(), wanted, has, rights)?;
    applied.access = (owned.uid, owned.gid) != (has.uid, has.gid);
    let wanted = if owned == wanted { wanted } else { rights.without_owner(entry, owned, keeps) };
    if stat.kind != FileType::Symlink && (applied.access || wanted.mode != stat.mode) {
        // Changing the owner may have cleared the set-id bits.
        fsat::chmod_at(dir.as_fd(), name, fd.as_fd(), wanted.mode)?;
        applied.access = true;
    }
    let Wanted { uid, gid, mode } = wanted;
    if timely {
        fsat::set_mtime_path(dir.as_fd(), name, fd.as_fd(), entry.mtime)?;
        applied.mtime = true;
    }
    let out_of_range = [(Lacks::TIME, !grain.in_range(entry.mtime))];
    applied.lacks = rights.lacks(entry, wanted).and(Lacks::of(out_of_range));
    applied.lacks_owner_access = rights.lacks_owner_access(&Stat { uid, gid, mode, ..stat });
    Ok(applied)
}
