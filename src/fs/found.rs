//! What a walk finds, and why there may be nothing to walk.

use std::fmt;
use std::io;

use super::identity::Identity;
use crate::name::{Escaped, RelPath};
use crate::wire::manifest::{Digest, Entry};

/// An entry to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The entry.
    pub entry: Entry,
    /// What it must still be when it is read, if it is a regular file.
    pub identity: Option<Identity>,
    /// The digest of its content, if it is a regular file and digests are wanted.
    pub digest: Option<Digest>,
}

impl Found {
    /// What has no content, or is sent without it.
    pub(super) fn without_content(entry: Entry) -> WalkItem {
        WalkItem::Found(Found { entry, identity: None, digest: None })
    }
}

/// One step of a walk.
#[derive(Debug)]
pub enum WalkItem {
    /// An entry to be sent.
    Found(Found),
    /// Something that cannot be looked at or listed. A directory that cannot be listed is sent
    /// without what is in it.
    Failed {
        /// Where; possibly no path that could be sent.
        path: Vec<u8>,
        /// Why.
        error: io::Error,
    },
    /// A Unix domain socket, which is not sent.
    Socket(RelPath),
    /// What another user owns, while only one user's entries are sent.
    OwnerUnmatch {
        /// Where.
        path: RelPath,
        /// Its owner.
        uid: u32,
        /// The user whose entries are sent.
        want: u32,
    },
}

/// Why there is nothing to walk.
#[derive(Debug)]
pub enum WalkError {
    /// A component of the path is a symbolic link.
    Link {
        /// The path.
        path: RelPath,
        /// Where it leads: below the base directory if relative. None if nowhere.
        real: Option<Vec<u8>>,
    },
    /// The path cannot be looked at.
    Io {
        /// The path.
        path: RelPath,
        /// Why.
        error: io::Error,
    },
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalkError::Link { path, real: Some(real) } => {
                write!(f, "Symbolic link in path {path}; it is really {}", Escaped(real))
            }
            WalkError::Link { path, real: None } => write!(f, "Symbolic link in path {path}"),
            WalkError::Io { path, error } => {
                let text = error.to_string();
                write!(f, "{} {path}", text.split(" (os error").next().unwrap_or(&text))
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
