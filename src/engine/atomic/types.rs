//! What hosts say to each other about a transaction, and of whom it is.

use std::sync::Arc;

use crate::ids::TargetNo;
use crate::name::HostName;
use crate::wire::begin::MAX_TARGETS;
use crate::wire::bits::Bits;

/// Which transfer is all or none: when its sender began it, and who that is. Later ones are greater.
pub use crate::engine::catch_up::RecordId as Transaction;

/// Which of the targets commit.
pub type Included = Bits<TargetNo>;

/// For whom a transaction is, and how many of them are enough.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    targets: Arc<[HostName]>,
    needed: u16,
}

impl Plan {
    /// For these hosts, in any order. None if there are none or too many, or if more are needed than there
    /// are, or nobody.
    pub fn new(mut targets: Vec<HostName>, needed: u16) -> Option<Self> {
        targets.sort();
        targets.dedup();
        let fits = (1..=MAX_TARGETS).contains(&targets.len());
        let is_fine = fits && (1..=targets.len()).contains(&usize::from(needed));
        is_fine.then(|| Plan { targets: targets.into(), needed })
    }

    /// Its targets, ascending.
    pub fn targets(&self) -> &[HostName] {
        &self.targets
    }

    /// How many must be ready.
    pub fn needed(&self) -> u16 {
        self.needed
    }

    /// Which target a host is.
    pub fn number(&self, host: &HostName) -> Option<TargetNo> {
        self.targets.binary_search(host).ok().map(TargetNo::of)
    }

    /// The targets with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (TargetNo, &HostName)> {
        self.targets.iter().enumerate().map(|(at, host)| (TargetNo::of(at), host))
    }

    /// All of them.
    pub fn all(&self) -> Included {
        Included::of(self.numbered().map(|(number, _)| number))
    }
}

/// Why a target does not vote for a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It could not stage all of it, or sees that it could not put it in place.
    Failed,
    /// Another transaction that is not over here is about the same paths.
    Overlaps,
    /// It keeps records since after the transaction began only.
    Young,
    /// Too many are in doubt here.
    TooMany,
    /// It has promised others to refuse it, or it was aborted here.
    Refused,
}

/// Why a transaction was aborted at a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Nobody has committed it, and nobody will.
    Undecided,
    /// Others commit it, this target is left out.
    Excluded,
    /// An operator said so, for this target alone.
    Operator,
}

/// What a host answers who was asked what became of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Known {
    /// A target: it has a record that it commits.
    Committed(Included),
    /// A target: it has aborted.
    Aborted(Why),
    /// A target: it has voted, and has promised to refuse what the sender may still say.
    Promised,
    /// A target: it has not voted, and never will.
    NeverVoted,
    /// The sender: it has decided.
    Decided(Included),
    /// The sender: it has not decided, and never will.
    NoDecision,
    /// It cannot know: it keeps records since after the transaction began only, or has forgotten it.
    Unknown,
}

/// What is said about one transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// The sender: is all of it staged? Also said again to those who have voted: the sender is alive.
    Prepare(Plan),
    /// A target: yes, durably; or no, for now.
    Vote(Result<(), Refusal>),
    /// The sender: it is decided; these put it in place.
    Commit(Included),
    /// The sender: it is not to be put in place.
    Abort(Why),
    /// A target: it is in place, but for so many entries.
    Done(u32),
    /// A target: it has aborted.
    Refused(Why),
    /// A target that is in doubt: what became of it?
    Ask,
    /// What is known of it.
    Answer(Known),
    /// The sender: all targets know how it ended; it may be forgotten.
    Over,
}
