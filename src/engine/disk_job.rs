//! What an incoming transfer asks of the disk, and what the disk answers.
//!
//! The jobs of one transfer are done in the order in which they were given. `H` is a handle of a
//! streamed file, to which its blocks are written while they arrive.

use std::fmt;
use std::sync::Arc;

use crate::ids::{BatchNo, EntryNo, TransferNo};
use crate::name::{NodeId, RelPath};
use crate::stamp::Stamp;
pub use crate::wire::begin::Recorded;
use crate::wire::layout::Layout;
use crate::wire::manifest::Manifest;
pub use crate::wire::mode::Mode;
pub use crate::wire::outcome::DeletionTally;
use crate::wire::outcome::{Need, Outcome, Reason, SpoolCode};

/// Which transfer: its sender and the sender's number for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TransferKey {
    /// The sender.
    pub node: NodeId,
    /// The sender's number.
    pub number: TransferNo,
}

impl fmt::Display for TransferKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.number)
    }
}

/// Where the bytes of a complete body are.
#[derive(PartialEq, Eq, Debug)]
pub enum Body {
    /// There are none, or none are needed.
    None,
    /// Here is the whole body; parts that were not needed hold anything.
    Memory(Vec<u8>),
    /// In the streamed file already.
    File,
    /// Nowhere: writing the streamed file failed, for this reason.
    Lost(Reason),
}

/// One thing for the disk to do.
#[derive(Debug)]
pub enum DiskJob {
    /// Compare each entry with what is there and say what it needs; open the streamed file if it needs
    /// data.
    Plan {
        /// The transfer.
        key: TransferKey,
        /// The batch.
        batch: BatchNo,
        /// Its entries.
        manifest: Arc<Manifest>,
        /// Where their bytes are in the body.
        layout: Arc<Layout>,
        /// What the transfer is to do.
        mode: Mode,
        /// Its place in the order of all transfers; none if it changes nothing.
        stamp: Stamp,
    },
    /// Write everything under temporary names.
    Stage {
        /// The transfer.
        key: TransferKey,
        /// The batch.
        batch: BatchNo,
        /// Its bytes.
        body: Body,
    },
    /// Put everything that is staged into place, in the order of the entries, but for the struck ones.
    Commit {
        /// The transfer.
        key: TransferKey,
        /// The batch.
        batch: BatchNo,
        /// The entries that are left out, ascending.
        strikes: Vec<EntryNo>,
    },
    /// Count what is spooled for deletion. Nothing more will be: all batches are done.
    Tally {
        /// The transfer.
        key: TransferKey,
    },
    /// Delete what is spooled, if it has not changed since.
    Delete {
        /// The transfer.
        key: TransferKey,
    },
    /// Name what is spooled; after [`DiskJob::Delete`], with what became of it.
    Page {
        /// The transfer.
        key: TransferKey,
        /// How many names to pass over.
        skip: u64,
        /// How many bytes of names fit into the answer.
        room: usize,
    },
    /// The transfer is over: discard what is staged and not committed, and give directories that were
    /// opened and not closed their own attributes back.
    Close {
        /// The transfer.
        key: TransferKey,
        /// What its end said; None if it ended early.
        ended: Option<Ended>,
    },
}

impl DiskJob {
    /// The transfer that it is for.
    pub fn key(&self) -> TransferKey {
        match self {
            DiskJob::Plan { key, .. }
            | DiskJob::Stage { key, .. }
            | DiskJob::Commit { key, .. }
            | DiskJob::Tally { key }
            | DiskJob::Delete { key }
            | DiskJob::Page { key, .. }
            | DiskJob::Close { key, .. } => *key,
        }
    }
}

/// The end of a transfer, at a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// All of it is here as it was sent.
    pub is_complete: bool,
    /// Every batch was committed, whatever became of what is in them.
    pub is_whole: bool,
    /// What is to be kept of it; None if nothing is.
    pub recorded: Option<Recorded>,
}

/// What the disk answers to a job.
#[derive(Debug)]
pub enum DiskAnswer<H> {
    /// The answer to [`DiskJob::Plan`].
    Planned {
        /// The transfer.
        key: TransferKey,
        /// The batch.
        batch: BatchNo,
        /// One for each entry.
        needs: Vec<Need>,
        /// The streamed file, if the batch has one and needs it.
        file: Option<H>,
    },
    /// Not an answer: how far the disk is with the digests of the files that were announced.
    Digested {
        /// The transfer.
        key: TransferKey,
        /// How many of their bytes it is through with.
        bytes: u64,
    },
    /// The answer to [`DiskJob::Stage`]. An entry that could not be staged fails in [`DiskAnswer::Done`].
    Staged {
        /// The transfer.
        key: TransferKey,
        /// The batch.
        batch: BatchNo,
        /// The memory of the body, to be used again.
        buffer: Option<Vec<u8>>,
    },
    /// The answer to [`DiskJob::Commit`].
    Done {
        /// The transfer.
        key: TransferKey,
        /// The batch.
        batch: BatchNo,
        /// One for each entry.
        outcomes: Vec<Outcome>,
    },
    /// The answer to [`DiskJob::Close`].
    Closed {
        /// The transfer.
        key: TransferKey,
    },
    /// The answer to [`DiskJob::Tally`].
    Tallied {
        /// The transfer.
        key: TransferKey,
        /// The numbers.
        tally: DeletionTally,
    },
    /// The answer to [`DiskJob::Delete`].
    Deleted {
        /// The transfer.
        key: TransferKey,
        /// How many entries were deleted.
        deleted: u64,
        /// How many could not be.
        failed: u64,
    },
    /// The answer to [`DiskJob::Page`].
    Page {
        /// The transfer.
        key: TransferKey,
        /// How many names were passed over.
        skip: u64,
        /// The next names, each with what became of it; none if there are no more.
        names: Vec<(SpoolCode, RelPath)>,
    },
    /// Instead of any of these: this host can take no further part.
    Fatal {
        /// The transfer.
        key: TransferKey,
        /// The batch.
        batch: BatchNo,
        /// The entry at which it happened.
        entry: EntryNo,
        /// Why.
        reason: Reason,
    },
}
