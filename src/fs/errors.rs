//! What errors of the system mean for an entry.

use std::io;

use crate::wire::outcome::Reason;

/// What an error on the way to an entry, or at it, means for that entry.
pub(super) fn reason(error: &io::Error) -> Reason {
    match error.raw_os_error() {
        Some(libc::ELOOP) => Reason::LinkInPath,
        Some(libc::ENOTDIR) => Reason::NotADirectoryInPlace,
        _ => Reason::from_io(error),
    }
}

/// Whether no entry can be brought here after `reason`: the disk is full or read-only.
pub(super) fn is_fatal(reason: Reason) -> bool {
    const FATAL: [i32; 3] = [libc::ENOSPC, libc::EDQUOT, libc::EROFS];
    matches!(reason, Reason::Os(code) if FATAL.contains(&code.into()))
}

/// Whether a path leads nowhere, or through something that is no directory by now.
pub(super) fn leads_nowhere(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}
