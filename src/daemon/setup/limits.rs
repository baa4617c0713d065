//! The limits of resources that this process was started with (setrlimit(2)).

use crate::count::counted;
use crate::sys::ids;

/// The limit on open files: cached directories, staged files, clients, and some to spare.
const OPEN_FILES: u64 = 4_096;
/// With fewer, a transfer may lack some.
const FEW_FILES: u64 = 64;
/// With less address space, in bytes, the daemon could end when other hosts use what memory they may:
/// their budgets, and some 100 MiB for the rest.
const LITTLE_SPACE: u64 = 256 << 20;

/// How many files incoming transfers may keep open: what is left after clients, directories, and what is
/// open for a moment. None if the limit is unknown.
pub(super) fn for_transfers() -> Option<usize> {
    usize::try_from(ids::open_files_limit()?).ok().map(|limit| limit / 8 * 3)
}

/// Raises the limit on open files, as far as that goes. One line for each limit that is still too low.
pub(super) fn raise() -> impl Iterator<Item = String> {
    // As many as there are must do.
    let _ = ids::raise_nofile(OPEN_FILES);
    let files = ids::open_files_limit().filter(|limit| *limit < FEW_FILES);
    let space = ids::address_space_limit().filter(|limit| *limit < LITTLE_SPACE);
    let files = files.map(|limit| {
        format!(
            "only {} may be open (ulimit -n): below {FEW_FILES}, transfers may fail",
            counted(limit, "file")
        )
    });
    let space = space.map(|limit| {
        format!(
            "only {} MiB of address space (ulimit -v): below {} MiB, the daemon may end in a transfer",
            limit >> 20,
            LITTLE_SPACE >> 20
        )
    });
    files.into_iter().chain(space)
}
