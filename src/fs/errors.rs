//! What errors of system calls mean for an entry.

use std::io;

use super::claim;
use super::exchange;
use crate::errno;
use crate::wire::outcome::Reason;

/// The reason to report for an entry when opening its path, or working on it, fails.
pub(super) fn reason(error: &io::Error) -> Reason {
    match error.raw_os_error() {
        _ if claim::is_not_ours(error) => Reason::StagingNotOurs,
        _ if exchange::is_missing(error) => Reason::NoExchange,
        Some(libc::ELOOP) => Reason::LinkInPath,
        Some(libc::ENOTDIR) => Reason::NotADirectoryInPlace,
        _ => Reason::from_io(error),
    }
}

/// Whether `reason` is that a file system takes nothing more: it is full, over quota or read-only.
pub(super) fn is_of_file_system(reason: Reason) -> bool {
    is_want_of_room(reason) || reason == Reason::Os(errno::EROFS)
}

/// Whether `reason` is that there is no room: it could be there later.
pub(super) fn is_want_of_room(reason: Reason) -> bool {
    matches!(reason, Reason::Os(errno::ENOSPC | errno::EDQUOT))
}

/// Whether a path no longer leads anywhere: part of it is missing, or no longer a directory.
pub(super) fn leads_nowhere(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}
