//! What an incoming transfer asks of the disk, and what the disk answers.
//!
//! Jobs of one transfer are done in the order in which they were given. `H` is whatever the disk
//! gives to let the blocks of a streamed file be written while they arrive.

use std::fmt;
use std::sync::Arc;

use crate::ids::{BatchNo, EntryNo, TransferNo};
use crate::name::{NodeId, RelPath};
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
    /// There are none, or none is needed.
    None,
    /// Here, the whole body, with anything at all where nothing was needed.
    Memory(Vec<u8>),
    /// In the streamed file already.
    File,
}

/// One thing for the disk to do.
#[derive(Debug)]
pub enum DiskJob {
    /// Look at each entry and say what it needs; open the streamed file if it needs data.
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
    },
    /// Write everything under names that nobody sees.
    Stage {
        /// The transfer.
        key: TransferKey,
        /// The batch.
        batch: BatchNo,
        /// Its bytes.
        body: Body,
    },
    /// Rename everything staged into place, in entry order, but the struck entries.
    Commit {
        /// The transfer.
        key: TransferKey,
        /// The batch.
        batch: BatchNo,
        /// The entries that are not to be touched, ascending.
        strikes: Vec<EntryNo>,
    },
    /// How much is spooled? Nothing more will be: all batches are done.
    Tally {
        /// The transfer.
        key: TransferKey,
    },
    /// Delete what is spooled, as far as it is unchanged.
    Delete {
        /// The transfer.
        key: TransferKey,
    },
    /// What is spooled, by name; after [`DiskJob::Delete`] with what became of it.
    Page {
        /// The transfer.
        key: TransferKey,
        /// How many spooled names to pass over.
        skip: u64,
        /// How many bytes of names fit the answer.
        room: usize,
    },
    /// The transfer is over: discard what is staged and not committed. After an abort, directories
    /// that were opened and not closed get their own attributes back.
    Close {
        /// The transfer.
        key: TransferKey,
        /// Whether it ended early.
        aborted: bool,
    },
}

/// What became of a job.
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
        /// What it comes to.
        tally: DeletionTally,
    },
    /// The answer to [`DiskJob::Delete`].
    Deleted {
        /// The transfer.
        key: TransferKey,
        /// How much was deleted.
        deleted: u64,
        /// How much could not be.
        failed: u64,
    },
    /// The answer to [`DiskJob::Page`].
    Page {
        /// The transfer.
        key: TransferKey,
        /// How many names were passed over.
        skip: u64,
        /// Names in order, each with what became of it; none if there are no more.
        names: Vec<(SpoolCode, RelPath)>,
    },
    /// In place of any of these: the disk is full or read-only, and this host's part ends here.
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
