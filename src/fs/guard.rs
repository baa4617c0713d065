//! What an incoming transfer leaves alone, whatever its sender has.

use std::fmt::Debug;

use crate::name::RelPath;
use crate::sys::fsat::{FileType, Stat};
use crate::wire::manifest::FileTime;

/// What one incoming transfer leaves alone here.
pub trait Guard: Debug + Send + Sync {
    /// Whether nothing is to be written or deleted at this path: a later transfer says what is there.
    fn keeps(&self, path: &RelPath) -> bool;

    /// What was edited here after this time stays, too.
    fn edited_after(&self) -> Option<FileTime>;
}

/// Whether something that is not as the transfer has it was edited here: neither its content nor its
/// attributes are from before.
pub(super) fn is_edited(guard: &dyn Guard, stat: &Stat) -> bool {
    let after = |time: FileTime| guard.edited_after().is_some_and(|since| time > since);
    stat.kind != FileType::Directory && after(stat.mtime) && after(stat.ctime)
}
