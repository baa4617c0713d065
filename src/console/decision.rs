//! What people decide of mirrors.
#![forbid(unsafe_code)]

use crate::name::RelPath;

/// What is decided of a mirrored tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// `mirror release`: deletions of others that are held may go.
    Release(RelPath),
    /// `mirror adopt`: what was found here takes the place of what others have.
    Adopt(RelPath),
    /// `conflicts take`: a version gets the name; this one, or the only one.
    Take(RelPath, Option<String>),
    /// `conflicts drop`: versions go; this one, or all at the path and below it.
    Drop(RelPath, Option<String>),
}

impl Decision {
    /// What it is about.
    pub fn path(&self) -> &RelPath {
        match self {
            Decision::Release(path)
            | Decision::Adopt(path)
            | Decision::Take(path, _)
            | Decision::Drop(path, _) => path,
        }
    }
}
