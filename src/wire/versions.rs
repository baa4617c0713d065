//! What hosts say of a mirrored tree: dots, versions, and the knowledge of it. `mirror` decides with them.

use std::fmt;

use super::manifest::FileTime;
use crate::stamp::Stamp;

/// A host's index of a tree: drawn at random, and drawn anew whenever it is not sure that no dot is used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IndexId(pub u64);

impl fmt::Display for IndexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A change: where it was noticed, and its number there, from 1 on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Dot {
    /// Where.
    pub by: IndexId,
    /// Its number.
    pub seq: u64,
}

/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum What {
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// When its content last changed.
        mtime: FileTime,
    },
    /// A directory. Neither its size nor its time count.
    Directory,
    /// A symbolic link, by a digest of what it points to.
    Symlink {
        /// The first bytes of the MD5 of its target.
        target: u64,
    },
    /// A FIFO.
    Fifo,
    /// A character device.
    Char(u32, u32),
    /// A block device.
    Block(u32, u32),
}

/// Content and attributes of an object, as far as hosts compare them. What has the same looks the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version {
    /// What it is.
    pub what: What,
    /// Its permission bits (the low twelve); 0 of a symbolic link.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A member of the set of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its dot.
    pub dot: Dot,
    /// When it was noticed, by the hybrid clock. It decides nothing but which of two has the name.
    pub stamp: Stamp,
    /// The version; None for a deletion (a tombstone).
    pub version: Option<Version>,
}

/// The most hosts that a [`Knowledge`] has.
pub const MAX_IDS: usize = 4_096;
/// The most members of a set. What has more is not taken.
pub const MAX_MEMBERS: usize = 64;

/// Which changes are known: of each index, all up to a number.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Knowledge(Vec<(IndexId, u64)>);

impl Knowledge {
    /// The highest number that is known of an index; 0 without any.
    pub fn of(&self, id: IndexId) -> u64 {
        match self.0.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => self.0.get(at).map_or(0, |(_, seq)| *seq),
            Err(_) => 0,
        }
    }

    /// Whether a change is known.
    pub fn covers(&self, dot: Dot) -> bool {
        dot.seq <= self.of(dot.by)
    }

    /// Whether all is known that `other` knows.
    pub fn is_at_least(&self, other: &Knowledge) -> bool {
        other.0.iter().all(|(id, seq)| self.of(*id) >= *seq)
    }

    /// Knows all up to this number from now on.
    pub fn learn(&mut self, id: IndexId, seq: u64) {
        match self.0.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => self.0[at].1 = self.0[at].1.max(seq),
            Err(at) if seq > 0 => self.0.insert(at, (id, seq)),
            Err(_) => {}
        }
    }

    /// Knows all that `other` knows, too, from now on.
    pub fn join(&mut self, other: &Knowledge) {
        other.0.iter().for_each(|(id, seq)| self.learn(*id, *seq));
    }

    /// What both know.
    pub fn meet(&self, other: &Knowledge) -> Knowledge {
        let both = self.0.iter().map(|(id, seq)| (*id, (*seq).min(other.of(*id))));
        Knowledge(both.filter(|(_, seq)| *seq > 0).collect())
    }

    /// How many indexes it speaks of.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each index with the highest number that is known of it, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (IndexId, u64)> + '_ {
        self.0.iter().copied()
    }
}
