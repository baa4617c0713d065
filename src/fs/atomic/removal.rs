//! Keeping what is to be deleted: as it is when the list is made, it will be, or it stays.

use std::io;

use super::list::Operation;
use crate::errno;
use crate::fs::disk::{Disk, DiskTransfer};
use crate::fs::errors::{leads_nowhere, reason};
use crate::fs::identity::ObjectId;
use crate::fs::paths::split;
use crate::fs::spool::Record;
use crate::sys::fsat;
use crate::wire::outcome::{Reason, SpoolCode};
use std::os::fd::AsFd;

impl Disk {
    /// Adds to the list what is spooled for deletion: how much is, and how much could not be.
    ///
    /// # Errors
    /// The spool cannot be read or written.
    pub(in crate::fs) fn keep_deletions(
        &mut self,
        transfer: &mut DiskTransfer,
    ) -> io::Result<(u64, u64)> {
        let mut surplus = std::mem::take(&mut transfer.surplus);
        let (mut deleted, mut failed) = (0, 0);
        let passed = surplus.spool().map_or(Ok(()), |spool| {
            spool.each(|record| {
                let code = self.keep_deletion(transfer, record);
                match code {
                    SpoolCode::Deleted => deleted += 1,
                    SpoolCode::Failed(_) if record.code == SpoolCode::Spooled => failed += 1,
                    SpoolCode::Failed(_) | SpoolCode::Spooled | SpoolCode::Kept => {}
                }
                code
            })
        });
        surplus.ran = Some((deleted, failed));
        transfer.surplus = surplus;
        passed.map(|()| (deleted, failed))
    }

    fn keep_deletion(&mut self, transfer: &mut DiskTransfer, record: &Record) -> SpoolCode {
        let path = record.path.as_bytes();
        let kept = match record.code {
            SpoolCode::Spooled => self.try_deletion(transfer, record),
            other => Ok(other),
        };
        let mut code = kept.unwrap_or_else(SpoolCode::Failed);
        if let Some(at) = transfer.late.iter().position(|(path, _)| *path == record.path) {
            let (path, staged) = transfer.late.swap_remove(at);
            let put = match code {
                SpoolCode::Deleted => self.keep_in_slot(transfer, &path, staged, (false, false)),
                _ => Err(Reason::Os(errno::ENOTEMPTY)),
            };
            if let (Err(why), Some(staging)) = (put, &self.staging) {
                staging.discard(staged);
                if !matches!(code, SpoolCode::Failed(_)) {
                    code = SpoolCode::Failed(why);
                }
            }
        }
        if let (Some(atomic), false) = (&mut transfer.atomic, code == SpoolCode::Deleted) {
            atomic.stays(path);
        }
        code
    }

    fn try_deletion(
        &mut self,
        transfer: &mut DiskTransfer,
        record: &Record,
    ) -> Result<SpoolCode, Reason> {
        let path = record.path.as_bytes();
        let dir = split(path).0;
        if transfer.atomic.as_ref().is_some_and(|atomic| atomic.kept_in.contains(path)) {
            return Ok(SpoolCode::Kept);
        }
        match self.dirs.dir(dir).and_then(|fd| fsat::stat_fd(fd.as_fd())) {
            Ok(stat) if ObjectId::of(&stat) == record.parent => {}
            Ok(_) => return Ok(SpoolCode::Kept),
            Err(e) if leads_nowhere(&e) => return Ok(SpoolCode::Kept),
            Err(e) => return Err(reason(&e)),
        }
        match self.foresee(transfer, &record.path)? {
            None => return Ok(SpoolCode::Deleted),
            Some(stat) if !record.seen.is_still(&stat) => return Ok(SpoolCode::Kept),
            Some(_) => {}
        }
        let (Some(staging), Some(atomic)) = (&mut self.staging, &mut transfer.atomic) else {
            return Err(Reason::Os(errno::EROFS));
        };
        let place = staging.place_for(&mut self.dirs, dir, &self.rights).map_err(|e| reason(&e))?;
        let staged = staging.free(place);
        let slot = atomic.slot_of(staging, staged)?;
        atomic.push(&Operation::Delete { slot, record: record.clone() })?;
        Ok(SpoolCode::Deleted)
    }
}
