//! Why what is kept could not be put into place later, as far as that can be told.

use std::os::fd::AsFd;

use crate::errno;
use crate::fs::disk::{Disk, DiskTransfer};
use crate::fs::errors::reason;
use crate::fs::measured::Mount;
use crate::fs::paths::split;
use crate::fs::sweep;
use crate::name::RelPath;
use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::outcome::Reason;

const STICKY: u32 = 0o1000;

impl Disk {
    /// What is at `path`, where something will be put or removed; None if nothing is.
    ///
    /// # Errors
    /// Why that will fail.
    pub(super) fn foresee(
        &mut self,
        transfer: &mut DiskTransfer,
        path: &RelPath,
    ) -> Result<Option<Stat>, Reason> {
        let (dir, name) = split(path.as_bytes());
        if let Some(why) = self.same_name(transfer, path) {
            return Err(why);
        }
        let Some(above) = self.foresee_in(transfer, dir)? else { return Ok(None) };
        let fd = self.dirs.dir(dir).map_err(|e| reason(&e))?;
        let found = match fsat::stat_at(fd.as_fd(), name).map_err(|e| (e.raw_os_error(), e)) {
            Ok(found) => found,
            Err((Some(libc::ENOENT), _)) => return Ok(None),
            // It will open it up.
            Err((Some(libc::EACCES), _)) if self.rights.lacks_owner_access(&above) => {
                return Ok(None);
            }
            Err((_, e)) => return Err(reason(&e)),
        };
        if !Mount::of(&found).is_same_mount(Mount::of(&above)) {
            return Err(Reason::Os(errno::EBUSY));
        }
        let us = self.rights.uid();
        let sticks = above.mode & STICKY != 0 && found.uid != us && above.uid != us;
        if found.is_held || (sticks && !self.rights.may_change(&found)) {
            return Err(Reason::Os(errno::EPERM));
        }
        Ok(Some(found))
    }

    /// The directory `dir`, in which names will change; None if it is made before.
    fn foresee_in(
        &mut self,
        transfer: &mut DiskTransfer,
        dir: &[u8],
    ) -> Result<Option<Stat>, Reason> {
        let fd = match self.dirs.dir(dir).map_err(|e| (e.raw_os_error(), e)) {
            Ok(fd) => fd,
            Err((Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP), _))
                if transfer.opened.get(dir).is_some_and(|known| !known.existed) =>
            {
                return Ok(None);
            }
            Err((Some(libc::EACCES), _)) if transfer.opened.is_below_unusable(dir) => {
                return Ok(None);
            }
            Err((_, e)) => return Err(reason(&e)),
        };
        let known = transfer.atomic.as_ref().and_then(|atomic| atomic.parent.as_ref());
        if let Some((_, found)) = known.filter(|(path, _)| path == dir) {
            return found.map(Some);
        }
        let stat = fsat::stat_fd(fd.as_fd()).map_err(|e| reason(&e))?;
        let found = match fsat::may_change(fd.as_fd()).map_err(|e| (e.raw_os_error(), e)) {
            _ if stat.is_held => Err(Reason::Os(errno::EPERM)),
            Ok(()) => Ok(stat),
            Err((Some(libc::EACCES), _)) if self.rights.lacks_owner_access(&stat) => Ok(stat),
            Err((_, e)) => Err(reason(&e)),
        };
        if let Some(atomic) = &mut transfer.atomic {
            atomic.parent = Some((dir.to_vec(), found));
        }
        found.map(Some)
    }

    /// Why something that is no directory cannot come to `path`, where this was found.
    pub(super) fn foresee_tree(
        &mut self,
        path: &RelPath,
        found: Option<&Stat>,
    ) -> Result<(), Reason> {
        if found.is_none_or(|found| found.kind != FileType::Directory) {
            return Ok(());
        }
        let at = self.dirs.parent(path);
        match at.and_then(|(dir, name)| sweep::is_empty(dir.as_fd(), name)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Reason::DirectoryInPlace),
            Err(e) => Err(reason(&e)),
        }
    }
}
