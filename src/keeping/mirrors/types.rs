//! What is said of mirrored trees.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::errno::ErrorText;
use crate::fs::mirror::giving::Given;
use crate::fs::state::error::StateError;
use crate::name::RelPath;
use crate::wire::mirror::Left;
use crate::wire::outcome::Reason;
use crate::wire::setup::MirrorSetup;
use crate::wire::versions::{Dot, IndexId, Knowledge};

/// Which of the mirrored trees of this daemon.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TreeNo(pub usize);

/// How a mirrored tree stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// Whose index it is.
    pub id: IndexId,
    /// The number of its last own dot.
    pub height: u64,
    /// What is known of the tree.
    pub known: Arc<Knowledge>,
    /// The hash of that.
    pub hash: u64,
    /// Up to where deletions may be forgotten here.
    pub floor: Arc<Knowledge>,
    /// How many paths it has.
    pub entries: u64,
    /// How many paths have more than one version.
    pub conflicts: u64,
    /// How many objects are listed: found where the index could not vouch for them.
    pub listed: u64,
    /// How many paths are not yet as they should be.
    pub open: u64,
    /// The versions of which the bytes are not here, the first of them.
    pub needed: Arc<Vec<Dot>>,
    /// How many there are.
    pub lacking: u64,
    /// How many deletions are held.
    pub held: u64,
    /// How many of these are of this host.
    pub gone: u64,
    /// The first path that could not be made as it should be, and why, if there is one.
    pub failed: Option<(RelPath, Reason)>,
    /// Some entries go beyond what is known.
    pub in_part: bool,
    /// What is not as it should be.
    pub left: Left,
    /// How many files that have changed here are still to be read: what they are is not known before.
    pub reading: u64,
    /// What differs is being listed, since the index cannot vouch for what is here.
    pub lists: bool,
    /// Why the tree is neither sent nor written, if that is so.
    pub stopped: Option<String>,
    /// The directories below its top of which that is so, and why.
    pub away: Arc<Vec<(RelPath, String)>>,
}

impl State {
    /// Whether the tree, or something in it, is not what the index speaks of.
    pub fn is_held(&self) -> bool {
        self.stopped.is_some() || !self.away.is_empty()
    }
}

/// What is to be sent of a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delta {
    /// From what to what it leads.
    pub setup: MirrorSetup,
    /// Versions that are to be in it, whatever is known.
    pub needed: Vec<Dot>,
}

/// Some paths of a delta, in the order of a walk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Chunk {
    /// The paths.
    pub entries: Vec<Given>,
    /// The last path that was looked at, below the top of the tree, if there are more after it.
    pub more: Option<Box<[u8]>>,
}

/// Why something cannot be done with a mirrored tree.
#[derive(Debug)]
pub enum MirrorError {
    /// What lasts of it cannot be written or read.
    State(StateError),
    /// What is in the tree cannot be looked at.
    Io(RelPath, io::Error),
    /// The kernel gives no random numbers.
    Random(io::Error),
    /// It stands still, for this reason.
    Stopped(String),
    /// There is nothing of this kind.
    Unknown(String),
}

impl fmt::Display for MirrorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MirrorError::State(error) => write!(f, "{error}"),
            MirrorError::Io(path, error) => write!(f, "{path}: {}", ErrorText(error)),
            MirrorError::Random(error) => write!(f, "random numbers: {}", ErrorText(error)),
            MirrorError::Stopped(why) | MirrorError::Unknown(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for MirrorError {}

impl From<StateError> for MirrorError {
    fn from(error: StateError) -> Self {
        MirrorError::State(error)
    }
}
