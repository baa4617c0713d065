//! What goes into a transfer at its sender, and what comes out of it.

use std::net::SocketAddrV4;

use crate::engine::destination::Destination;
use crate::engine::disk_job::{DeletionTally, Mode};
use crate::ids::{BatchNo, BlockRange, EntryNo, TargetNo, TransferNo};
use crate::name::{NodeId, RelPath};
use crate::stamp::Stamp;
use crate::time::Span;
use crate::wire::header::Header;
use crate::wire::outcome::{Need, Outcome, Reason, Runs, SpoolCode};

/// What a transfer is to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// This daemon.
    pub me: NodeId,
    /// The transfer's number.
    pub number: TransferNo,
    /// The lowest number of this daemon's transfers that are open.
    pub oldest: TransferNo,
    /// Whom it is for, at most [`crate::wire::begin::MAX_TARGETS`].
    pub targets: Vec<(NodeId, SocketAddrV4)>,
    /// What it is to do.
    pub mode: Mode,
    /// All targets put it into place, or none: it waits for that to be agreed when all is staged.
    pub atomic: bool,
    /// The payload of a block, in bytes.
    pub block: u16,
    /// How many batches are on their way at once, 1 to [`crate::wire::feedback::MAX_OPEN`].
    pub parallel: usize,
    /// Its place in the order of all transfers; none if it changes nothing.
    pub stamp: Stamp,
    /// How long this sender may be silent before its path is free for others.
    pub timeout: Span,
    /// How long a target may be silent before it leaves: as long as that, or for a shorter time if it asks for what it
    /// has missed.
    pub patience: Span,
}

/// Something to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Transmit {
    /// A packet, to be sealed.
    Packet {
        /// Where to.
        to: Destination,
        /// All but its counter.
        header: Header,
        /// What follows the header.
        payload: Vec<u8>,
    },
    /// Neighbouring blocks of a body, to be read.
    Data {
        /// Where to.
        to: Destination,
        /// The header of the first; the others differ in their block.
        header: Header,
        /// Which blocks.
        blocks: BlockRange,
    },
}

/// Why a target is not part of the transfer any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Gone {
    /// It has not answered for too long.
    Silent,
    /// It has left the group, or has been started anew.
    Left,
    /// It cannot go on.
    Refused(Reason, Vec<u8>),
    /// It answers, but no block reaches it.
    NoData,
}

/// What the driver has to know or do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Compare the files of this batch with its manifest once more, then call
    /// [`Outgoing::verified`](super::Outgoing::verified).
    Verify(BatchNo),
    /// What a target needs.
    Needs(BatchNo, TargetNo, Runs<Need>),
    /// What a target did.
    Outcomes(BatchNo, TargetNo, Runs<Outcome>),
    /// These entries were struck and must be offered again, or given up.
    Struck(BatchNo, Vec<(EntryNo, Reason)>),
    /// The batch is done, by all that are left.
    Closed(BatchNo),
    /// A target is silent, and nobody waits for it any more.
    Suspended(TargetNo),
    /// A target answers again.
    Resumed(TargetNo),
    /// A target has left the transfer.
    Gone(TargetNo, Gone),
    /// Another host, by its address, is sending to the same path at this target.
    Shared(TargetNo, Vec<u8>),
    /// What each target that is left has spooled: call
    /// [`Outgoing::decide`](super::Outgoing::decide).
    Tallied(Vec<(TargetNo, DeletionTally)>),
    /// How much a target has deleted, and how much it could not delete.
    Ran(TargetNo, u64, u64),
    /// What a target has spooled, and what became of it.
    Page(TargetNo, Vec<(SpoolCode, RelPath)>),
    /// All of it is staged at all targets that are left: find out whether they agree, then call
    /// [`Outgoing::agreed`](super::Outgoing::agreed).
    Staged,
    /// Everything is done; only the targets still have to be told.
    Finished,
}
