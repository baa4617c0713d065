//! What the parts of this room tell each other.

use super::record::RecordId;
use crate::name::NodeId;
use crate::wire::names::Hash;

/// The most records of a journal. Beyond, the oldest are dropped.
pub const MAX_RECORDS: usize = 65_536;
/// The most bytes of paths and names of hosts in them, beyond which the oldest are dropped, too.
pub(super) const MAX_BYTES: usize = 16 << 20;

/// The most names of a record into which others are folded.
pub const MAX_FOLDED: u64 = 65_536;

/// How far this host is with what a record is about. Greater is further.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    /// It was for others.
    Elsewhere,
    /// Nothing of it has come, and nothing is asked for: this host had other files before it kept records.
    Strange,
    /// Nothing of it has come.
    Lacking,
    /// Some of it may have come.
    Partial,
    /// Nobody who was asked could give all of it, or it is not to be asked for.
    Noted,
    /// All of it is here, or something later in its place.
    Complete,
}

/// The lists of entries of the records that a host keeps.
pub trait Lists {
    /// Whether the list of a record names a path; None if it is not kept here. Of a record of which only some has
    /// come, the list is of that.
    fn names(&mut self, id: &RecordId, path: Hash) -> Option<bool>;

    /// Whether the list of `later` names every entry of that of `earlier`; None if one of them is not kept
    /// here.
    fn names_all_of(&mut self, later: &RecordId, earlier: &RecordId) -> Option<bool>;
}

/// What became of a record that another host has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Learned {
    /// It was known.
    Known,
    /// A later one that is known covers it, or it is older than all that are kept.
    Moot,
    /// It is kept from now on.
    New(State),
}

/// What has to be done to what is kept on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A record is new, or is in a new state.
    Put(RecordId),
    /// A record and its list are no longer needed.
    Drop(RecordId),
}

/// To whom a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum To {
    /// Every member.
    Group,
    /// This one.
    Node(NodeId),
}

/// The rules that a test can switch off, one at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rules {
    /// What a later record names is not taken of an earlier one.
    pub guard: bool,
    /// Of a later record, what it names is guarded, and not all that it reaches.
    pub guard_named: bool,
    /// Only deletion, or naming all, covers.
    pub cover_all: bool,
    /// What is here in part or whole is only dropped for what is here as a whole.
    pub drop_done: bool,
    /// Only what has ended counts.
    pub ended: bool,
    /// What was sent from here is not pulled.
    pub own: bool,
    /// Only what is alike is folded, and nothing over what came between.
    pub fold_like: bool,
}

impl Rules {
    pub const ALL: Rules = Rules {
        guard: true,
        guard_named: true,
        cover_all: true,
        drop_done: true,
        ended: true,
        own: true,
        fold_like: true,
    };
}
