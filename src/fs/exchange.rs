//! Exchanging what two names have.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use super::claim::PROBE;
use super::rights::PRIVATE;
use super::sweep;
use crate::sys::fsat::{self, FileType, Rename};

/// The second name for finding out what can be done.
const PROBE_OTHER: &[u8] = b"probe-other";

/// Finds out whether names in a directory can be exchanged.
pub(super) type Probe = fn(BorrowedFd<'_>) -> io::Result<()>;

/// The kernel or the file system cannot exchange names.
#[derive(Debug)]
pub(super) struct NoExchange;

impl fmt::Display for NoExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the file system cannot exchange names")
    }
}

impl std::error::Error for NoExchange {}

/// Whether an error says that names cannot be exchanged.
pub(super) fn is_missing(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NoExchange>())
}

/// Finds out whether names in `dir` can be exchanged.
///
/// # Errors
/// One of which [`is_missing`] is true if not; there is no room.
pub(super) fn probe(dir: BorrowedFd<'_>) -> io::Result<()> {
    let both = [PROBE, PROBE_OTHER];
    let make = |name: &[u8]| {
        sweep::remove(dir, name)?;
        let fd = fsat::open_at(dir, name, libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY, PRIVATE)?;
        fsat::stat_fd(std::os::fd::AsFd::as_fd(&fd)).map(|stat| stat.ino)
    };
    let tried = make(PROBE).and_then(|_| make(PROBE_OTHER)).and_then(|other| {
        let swapped = fsat::rename_at(dir, PROBE, dir, PROBE_OTHER, Rename::Exchange);
        let done = swapped.is_ok() && fsat::stat_at(dir, PROBE)?.ino == other;
        if done { Ok(()) } else { Err(io::Error::other(NoExchange)) }
    });
    both.iter().try_for_each(|name| sweep::remove(dir, name)).and(tried)
}

/// Exchanges what two names have. If the second one was that of a directory with something in it, it is put back.
///
/// # Errors
/// ENOTEMPTY then; those of rename(2), EINVAL where names cannot be exchanged.
pub(super) fn with_no_tree(
    from: (BorrowedFd<'_>, &[u8]),
    to: (BorrowedFd<'_>, &[u8]),
) -> io::Result<()> {
    fsat::rename_at(from.0, from.1, to.0, to.1, Rename::Exchange)?;
    if !is_tree(from) {
        return Ok(());
    }
    fsat::rename_at(from.0, from.1, to.0, to.1, Rename::Exchange)?;
    Err(io::Error::from_raw_os_error(libc::ENOTEMPTY))
}

/// Whether this is a directory with something in it.
pub(super) fn is_tree((dir, name): (BorrowedFd<'_>, &[u8])) -> bool {
    let is_dir = fsat::stat_at(dir, name).is_ok_and(|stat| stat.kind == FileType::Directory);
    // One that cannot be listed may have something in it.
    is_dir && !sweep::is_empty(dir, name).unwrap_or(false)
}
