//! What errors of system calls mean for an entry.

use std::io;

use super::claim;
use crate::wire::outcome::Reason;

/// The reason to report for an entry when opening its path, or working on it, fails.
pub(super) fn reason(error: &io::Error) -> Reason {
    match error.raw_os_error() {
        _ if claim::is_not_ours(error) => Reason::StagingNotOurs,
        Some(libc::ELOOP) => Reason::LinkInPath,
        Some(libc::ENOTDIR) => Reason::NotADirectoryInPlace,
        _ => Reason::from_io(error),
    }
}

/// Whether `reason` will stop every other entry as well: the disk is full, over quota or read-only.
pub(super) fn is_fatal(reason: Reason) -> bool {
    const FATAL: [i32; 3] = [libc::ENOSPC, libc::EDQUOT, libc::EROFS];
    matches!(reason, Reason::Os(code) if FATAL.contains(&code.into()))
}

/// Whether a path no longer leads anywhere: part of it is missing, or no longer a directory.
pub(super) fn leads_nowhere(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}
