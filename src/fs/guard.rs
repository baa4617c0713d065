//! What an incoming transfer leaves alone, whatever its sender has.

use std::fmt::Debug;
use std::sync::Arc;

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

/// What is left alone beside what a guard says: trees that are mirrored.
#[derive(Debug)]
struct Mirrored {
    trees: Vec<RelPath>,
    other: Option<Arc<dyn Guard>>,
}

impl Guard for Mirrored {
    fn keeps(&self, path: &RelPath) -> bool {
        let is_mirrored = self.trees.iter().any(|top| path.is_under(top));
        is_mirrored || self.other.as_ref().is_some_and(|other| other.keeps(path))
    }

    fn edited_after(&self) -> Option<FileTime> {
        self.other.as_ref().and_then(|other| other.edited_after())
    }
}

/// A guard that also leaves these trees alone.
pub(super) fn beside(
    guard: Option<&Arc<dyn Guard>>,
    mirrored: &[RelPath],
) -> Option<Arc<dyn Guard>> {
    match mirrored {
        [] => guard.cloned(),
        trees => Some(Arc::new(Mirrored { trees: trees.to_vec(), other: guard.cloned() })),
    }
}

/// Whether something that is not as the transfer has it was edited here: neither its content nor its
/// attributes are from before.
pub(super) fn is_edited(guard: &dyn Guard, stat: &Stat) -> bool {
    let after = |time: FileTime| guard.edited_after().is_some_and(|since| time > since);
    stat.kind != FileType::Directory && after(stat.mtime) && after(stat.ctime)
}
