//! What a walk of the base directory yields, and why it may not even begin.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::before::Missing;
use super::identity::Identity;
use super::moment::Moment;
use crate::errno::ErrorText;
use crate::name::{Escaped, RelPath};
use crate::wire::manifest::{Digest, Entry, FileTime, Kind};
use crate::wire::versions::Dot;

/// What the content of a regular file is.
#[derive(Clone, Debug)]
pub enum Content {
    /// What is in the file, which must be unchanged until all have it.
    Unchanged(Identity),
    /// What was in it at one moment.
    OfMoment(Arc<Moment>),
    /// What is in the file that is kept as this version of a path in a mirror.
    Elsewhere(Box<(RelPath, Dot, Identity)>),
}

/// An entry to be sent, with what is needed to read it.
#[derive(Clone, Debug)]
pub struct FoundEntry {
    /// The entry.
    pub entry: Entry,
    /// Of a regular file: its content.
    pub content: Option<Content>,
    /// Of a regular file, if digests are wanted: the digest of its content.
    pub digest: Option<Digest>,
    /// Of a regular file: how many whole seconds ago it changed last.
    pub age: Option<u32>,
    /// Of a regular file with a digest: where targets are likely to have the same.
    pub origin: Option<RelPath>,
}

impl FoundEntry {
    /// An item that says that whatever is at `path` stays.
    pub fn kept(path: RelPath) -> Self {
        FoundEntry::remark(path, Kind::Keep)
    }

    /// An item that says that whatever is at `path` goes.
    pub(super) fn gone(path: RelPath) -> Self {
        FoundEntry::remark(path, Kind::Gone)
    }

    /// An item that says something about a path.
    pub(super) fn remark(path: RelPath, kind: Kind) -> Self {
        let mtime = FileTime::default();
        FoundEntry::of(Entry { path, kind, mode: 0, uid: 0, gid: 0, mtime }, None)
    }

    /// An entry that has no content to be read.
    pub fn bare(entry: Entry) -> Self {
        FoundEntry::of(entry, None)
    }

    /// An item for this entry, with this content.
    pub(super) fn of(entry: Entry, content: Option<Content>) -> Self {
        FoundEntry { entry, content, digest: None, age: None, origin: None }
    }

    /// An item for an entry that has no content to be read.
    pub(super) fn without_content(entry: Entry) -> WalkItem {
        WalkItem::Found(FoundEntry::bare(entry))
    }
}

/// One step of a walk.
#[derive(Debug)]
pub enum WalkItem {
    /// An entry to be sent.
    Found(FoundEntry),
    /// Something that cannot be examined or listed. A directory that cannot be listed is sent
    /// itself, but not its contents.
    Failed {
        /// Its path; possibly too long to be sent.
        path: Vec<u8>,
        /// Why.
        error: io::Error,
    },
    /// A Unix domain socket: those are never sent.
    Socket(RelPath),
    /// Something that was there before is missing: nothing is to be deleted at this path and below.
    Missing(RelPath, Missing),
    /// Something that belongs to another user, while only one user's entries are sent.
    OwnerUnmatch {
        /// Its path.
        path: RelPath,
        /// Its owner.
        uid: u32,
        /// The user whose entries are sent.
        want: u32,
    },
}

/// Why a walk cannot begin.
#[derive(Debug)]
pub enum WalkError {
    /// A component of the path is a symbolic link.
    Link {
        /// The path.
        path: RelPath,
        /// The path without symbolic links, relative if it is below the base directory; None if
        /// the link is dangling.
        real: Option<Vec<u8>>,
    },
    /// The path cannot be examined.
    Io {
        /// The path.
        path: RelPath,
        /// Why.
        error: io::Error,
    },
}

impl WalkError {
    /// Whether nothing is at the path.
    pub fn is_gone(&self) -> bool {
        let WalkError::Io { error, .. } = self else { return false };
        matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR))
    }
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalkError::Link { path, real: Some(real) } => {
                write!(f, "Symbolic link in path {path}; it is really {}", Escaped(real))
            }
            WalkError::Link { path, real: None } => write!(f, "Symbolic link in path {path}"),
            WalkError::Io { path, error } => {
                write!(f, "{} {path}", ErrorText(error))
            }
        }
    }
}

impl std::error::Error for WalkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WalkError::Link { .. } => None,
            WalkError::Io { error, .. } => Some(error),
        }
    }
}
