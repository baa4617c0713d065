//! What is known of the disk.

use crate::wire::manifest::FileTime;
use crate::wire::versions::{Dot, Version};

/// Which object is, or was, at a path: an inode, and when it was changed last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Object {
    /// Its inode number.
    pub ino: u64,
    /// When anything about it last changed.
    pub ctime: FileTime,
}

/// What was put at a path, or found there and told to others: the disk is compared with this.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Placed {
    /// What was found there afterwards; None if nothing is to be there.
    pub found: Option<(Version, Object)>,
    /// The dots that it stands for.
    pub dots: Vec<Dot>,
}

/// What is about to be put at a path: written down before it happens, so that the slot can tell after a crash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Intent {
    /// What the staged object is, as lstat tells.
    pub version: Version,
    /// Its inode.
    pub ino: u64,
    /// The dots that it stands for.
    pub dots: Vec<Dot>,
    /// The slot that it lies in. Its number is never used again: what lies in a later one says nothing of this.
    pub slot: u64,
}
