//! What the threads tell each other, and what they share of one transfer.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{Receiver, Sender};

use super::order::Order;
use super::unread::Unread;
use crate::console::command::Watch;
use crate::console::reply::{HostReport, Progress, Said, Total};
use crate::engine::disk_job::DiskAnswer;
use crate::engine::outgoing::Outgoing;
use crate::fs::batch::SourceBatch;
use crate::fs::disk::StagedFile;
use crate::ids::{BatchNo, TransferNo};
use crate::name::{HostName, NodeId, RelPath};
use crate::wire::feedback::Feedback;
use crate::wire::hello::Hello;

/// Something for the control thread.
#[derive(Debug)]
pub(super) enum ToControl {
    /// A HELLO came.
    Hello { from: NodeId, addr: SocketAddrV4, counter: u64, hello: Hello },
    /// A BYE came.
    Bye { from: NodeId, addr: SocketAddrV4, counter: u64 },
    /// Another packet of a member came.
    Heard(NodeId),
    /// Lines for a client.
    Lines { client: u32, lines: Vec<Said> },
    /// How far a client's transfer is.
    Progress { client: u32, progress: Progress },
    /// A client's transfer is over.
    Over { client: u32, number: TransferNo, hosts: Vec<HostReport>, total: Total },
    /// A client's transfer was given up: this host, by its address, holds the path.
    Held { client: u32, number: TransferNo, who: String },
    /// A member was silent in a transfer for too long.
    Drop(NodeId),
    /// A thread has ended that never should.
    Died(&'static str),
}

/// Something for the sender thread.
pub(super) enum ToSender {
    /// A new transfer.
    Start(Box<NewTransfer>),
    /// A target's answer, from its own address.
    Feedback { node: NodeId, number: TransferNo, batch: BatchNo, feedback: Feedback },
    /// A walker has something.
    Walked,
    /// A client's unread output has become less.
    Resume,
    /// A transfer's client has gone.
    Abort(TransferNo),
    /// A member has left.
    Gone(NodeId),
    /// The daemon ends: abort everything.
    Stop,
}

/// Something for the receiver thread.
#[derive(Debug)]
pub(super) enum ToReceiver {
    /// The disk has done a job.
    Answer(DiskAnswer<StagedFile>),
    /// A member has left.
    Gone(NodeId),
    /// A member's transfers before this one are closed.
    Oldest(NodeId, TransferNo),
    /// The daemon ends.
    Stop,
}

/// What a walker hands to the sender thread.
#[derive(Debug)]
pub(super) enum Walked {
    /// The next batch.
    Batch(SourceBatch),
    /// That was all; or all of what was to be offered again.
    End,
}

/// A transfer for the sender thread, with its ends of what ties it to its client and its walker.
pub(super) struct NewTransfer {
    pub(super) outgoing: Outgoing,
    pub(super) order: Arc<Order>,
    pub(super) client: u32,
    /// The level of the client's lines.
    pub(super) level: u8,
    pub(super) watch: Watch,
    /// The targets, in the order in which `outgoing` numbers them.
    pub(super) hosts: Vec<Host>,
    /// What the client has not read.
    pub(super) unread: Unread,
    /// `error:` lines that the walker has written.
    pub(super) errors: Arc<AtomicU64>,
    /// Tells the walker, and who counts for the progress, to stop.
    pub(super) cancelled: Arc<AtomicBool>,
    pub(super) walked: Receiver<Walked>,
    /// Files for the walker to look at once more: they changed while they were sent.
    pub(super) again: Sender<Vec<RelPath>>,
    /// What there is in all, if the client watches.
    pub(super) totals: Option<Arc<Totals>>,
    /// The payload of a block, in bytes.
    pub(super) block: u16,
}

/// A host that a transfer is for.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) name: HostName,
    pub(super) address: Ipv4Addr,
}

/// How much there is to send in all, for those who watch the progress of a transfer.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) entries: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Everything is counted.
    pub(super) whole: AtomicBool,
}
