//! What a commit does around single paths: names that are one here, and directories that it must open up.

use std::io;
use std::os::fd::AsFd;

use super::disk::{Disk, DiskTransfer};
use super::identity::ObjectId;
use super::paths::{above, split};
use crate::name::RelPath;
use crate::sys::fsat;
use crate::wire::outcome::Reason;

impl Disk {
    /// Notes what is found by the sender's name at `path`. If that is the same entry as another of its
    /// names, this is why it must not be written.
    pub(super) fn same_name(
        &mut self,
        transfer: &mut DiskTransfer,
        path: &RelPath,
    ) -> Option<Reason> {
        let (dir, name) = split(path.as_bytes());
        let folding = transfer.opened.folding(dir).filter(|folding| !folding.is_plain())?;
        let fd = self.dirs.dir(dir).ok()?;
        let found = fsat::stat_at(fd.as_fd(), name).ok()?;
        folding.meet(Some(fd.as_fd()), name, Some(&found)).map(Reason::SameName)
    }

    /// Does `work` at `path`. If the permission bits of directories above it forbid that, and they are
    /// this process's own and open in this transfer, grants itself access and tries again.
    pub(super) fn with_owner_access<T>(
        &mut self,
        transfer: &mut DiskTransfer,
        path: &RelPath,
        mut work: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> io::Result<T> {
        let first = work(self);
        if !matches!(&first, Err(e) if e.raw_os_error() == Some(libc::EACCES)) {
            return first;
        }
        let mut changed = false;
        for dir in above(path.as_bytes()) {
            let Some(known) = transfer.opened.get(dir) else { continue };
            if !known.lacks_owner_access || known.original_mode.is_some() {
                continue;
            }
            let (parent, name) = self.dirs.parent(&known.entry.path)?;
            let fd = fsat::open_at(parent.as_fd(), name, fsat::PATH_ONLY, 0)?;
            let stat = fsat::stat_fd(fd.as_fd())?;
            if known.id != Some(ObjectId::of(&stat)) {
                continue;
            }
            fsat::chmod_at(parent.as_fd(), name, fd.as_fd(), stat.mode | 0o700)?;
            known.original_mode = Some(stat.mode);
            changed = true;
        }
        if changed { work(self) } else { first }
    }
}
