//! Messages between the threads, and the parts of a transfer that several threads hold.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{Receiver, SendError, Sender};

use super::again::{Results, Unreached};
use super::order::Order;
use super::unread::Unread;
use crate::console::command::Follow;
use crate::console::reply::{Progress, Said};
use crate::engine::atomic::{Failure, Fate, Plan, Saying, Transaction};
use crate::engine::catch_up::{Pulled, RecordId};
use crate::engine::disk_job::{DiskAnswer, DiskJob, TransferKey};
use crate::engine::incoming::{InDoubt, Watched};
use crate::engine::members::Member;
use crate::engine::outgoing::Outgoing;
use crate::engine::probe::Probe;
use crate::fs::atomic::transactions::{Applied, Prepared};
use crate::fs::batch::SourceBatch;
use crate::fs::disk::StagedFile;
use crate::fs::root::Root;
use crate::ids::Ticket;
use crate::ids::{BatchNo, TransferNo};
use crate::keeping::mirrors::{Asked, MirrorError, Seen, Told, TreeNo};
use crate::keeping::recording::Recording;
use crate::name::{HostName, NodeId, RelPath};
use crate::time::{Span, Time};
use crate::wire::feedback::Feedback;
use crate::wire::fetch::Fetch;
use crate::wire::hello::Hello;
use crate::wire::mirror::Mirror;
use crate::wire::records::Records;
use crate::wire::setup::MirrorSetup;
use crate::wire::versions::Knowledge;

/// The client of a transfer that no client asked for.
pub(super) const NO_CLIENT: u32 = 0;

/// A message to the control thread.
#[derive(Debug)]
pub(super) enum ToControl {
    /// A HELLO arrived.
    Hello { from: NodeId, addr: SocketAddrV4, counter: u64, hello: Hello },
    /// A BYE arrived.
    Bye { from: NodeId, addr: SocketAddrV4, counter: u64 },
    /// The kernel has refused a packet.
    LookAtNetwork,
    /// Any other packet arrived from this member.
    Heard(NodeId),
    /// Output lines for a client.
    Lines { client: u32, lines: Vec<Said> },
    /// The progress of a client's transfer.
    Progress { client: u32, progress: Progress },
    /// A client's transfer has finished. Some hosts are `unreached`, and may be served with smaller
    /// packets.
    Over { client: u32, number: TransferNo, results: Results, unreached: Option<Unreached> },
    /// A client's transfer was abandoned because of this.
    Held { client: u32, number: TransferNo, by: Holder },
    /// What members say of their records.
    Records(NodeId, Records),
    /// What a member wants to have of this host, or says of what this host wants.
    Fetch(NodeId, Fetch),
    /// What a member says of this host's probe.
    Probe(NodeId, Probe),
    /// A transfer that this host has asked for is over, with these results; whether it came to its end.
    Fetched(Ticket, Results, bool),
    /// What makes up for a record has begun to come from this member.
    PullBegun(RecordId, NodeId),
    /// It is over.
    Pulled(RecordId, Pulled),
    /// The records that are kept have changed.
    Recorded,
    /// This member timed out in a transfer.
    Drop(NodeId),
    /// A member was silent in a transfer of a mirror.
    Silent(NodeId),
    /// How a mirrored tree stands has changed.
    Mirrored(TreeNo),
    /// What a member says of a mirrored tree.
    Mirror(NodeId, Mirror),
    /// A transfer of a mirror begins to come from a member.
    MirrorBegun(TreeNo, NodeId, Box<MirrorSetup>),
    /// It is over: whether all of it was taken.
    MirrorEnded(TreeNo, NodeId, bool),
    /// What had changed in a mirrored tree has its dots.
    Looked(TreeNo, Result<Seen, String>),
    /// Something of a mirror that was held is there again.
    MirrorBack(TreeNo),
    /// What came of what this client asked of a mirrored tree.
    Answered(u32, TreeNo, Result<Told, MirrorError>),
    /// Something about a transfer that is for all of its targets or none.
    Atomic(AtomicNews),
    /// The watcher has something.
    Watch(crate::watch::types::Event),
    /// This thread ended unexpectedly.
    Died(&'static str),
}

/// What the control thread is told of transactions.
#[derive(Debug)]
pub(super) enum AtomicNews {
    /// A member says something of one.
    Said(NodeId, Transaction, Saying),
    /// A transfer of one has begun to come: for whom it is, and its path.
    Begun(Transaction, TransferKey, Plan, RelPath),
    /// All of it is ready to be put into place here, or why not.
    Ready(Transaction, Result<Prepared, Vec<Failure>>),
    /// It was put into place; when that began.
    Applied(Transaction, Applied, Time),
    /// All targets of a transfer from here have staged all of it, but for those that are lost.
    Agree(Agree),
    /// Nobody wants any more what this host has begun.
    GiveUp(Transaction),
}

/// A transfer that is to be for all of its targets or none.
#[derive(Debug)]
pub(super) struct Agree {
    pub(super) of: Transaction,
    pub(super) number: TransferNo,
    pub(super) plan: Plan,
    pub(super) last: BatchNo,
    /// The targets that lack something of it.
    pub(super) lost: Vec<HostName>,
}

/// What became of a transaction at one of its targets.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) host: HostName,
    pub(super) fate: Fate,
    /// What could not be done there.
    pub(super) failures: Vec<Failure>,
    /// How long after the decision that host began to put it into place, at most, and how long it took.
    pub(super) times: Option<(Span, Span)>,
}

/// What holds the path of a transfer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Holder {
    /// A transfer from the host with this address.
    Transfer(String),
    /// A watch: the host of this name watches this path.
    Watch(String, String),
    /// A transaction of this name, which is in doubt at the host of that name.
    InDoubt(String, String),
    /// Nothing does: the daemon stops.
    Nobody,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Holder::Transfer(address) => write!(f, "a transfer from {address}"),
            Holder::Watch(host, path) => write!(f, "{host} watches {path}"),
            Holder::InDoubt(host, name) => write!(f, "{name}, which is in doubt on {host}"),
            Holder::Nobody => f.write_str("nobody"),
        }
    }
}

/// A message to the sender thread.
pub(super) enum ToSender {
    /// Starts a transfer.
    Start(Box<NewTransfer>),
    /// An answer from a target; its source address has been checked.
    Feedback { node: NodeId, number: TransferNo, batch: BatchNo, feedback: Feedback },
    /// What became of a transaction: whether it was decided for it, and at each target.
    Agreed(TransferNo, bool, Vec<Ended>),
    /// A walker has queued a batch.
    Walked,
    /// A client has read enough of its output for its transfer to continue.
    Resume,
    /// The client of this transfer has disconnected.
    Abort(TransferNo),
    /// A member has left.
    Gone(NodeId),
    /// This daemon has another address, and another node id.
    Anew,
    /// The daemon is stopping: abort all transfers.
    Stop,
}

/// A message to the receiver thread.
#[derive(Debug)]
pub(super) enum ToReceiver {
    /// The disk thread has finished a job.
    Answer(DiskAnswer<StagedFile>),
    /// A member has left.
    Gone(NodeId),
    /// This daemon has another address, and another node id.
    Anew,
    /// This is what the daemon watches now.
    Watched(Vec<Watched>),
    /// A sender asks whether all of a transfer is staged, up to this batch.
    Ready(Transaction, TransferKey, BatchNo),
    /// This is in doubt here now.
    Doubtful(Vec<InDoubt>),
    /// All transfers of this member before this one are closed.
    Oldest(NodeId, TransferNo),
    /// The daemon is stopping.
    Stop,
}

/// A message to the disk thread.
#[derive(Debug)]
pub(super) enum ToDisk {
    /// The next job.
    Job(DiskJob),
    /// The digest of a long file is there.
    Digested,
    /// Something is to be done in a mirrored tree; for this client, if one asked for it.
    Mirror(TreeNo, Option<u32>, MirrorWork),
    /// Something is to be done for a transaction.
    Atomic(Transaction, AtomicWork),
    /// No more jobs follow.
    Stop,
}

/// What is to be done for a transaction.
#[derive(Debug)]
pub(super) enum AtomicWork {
    /// Make ready what this transfer has staged.
    Prepare(TransferKey),
    /// Put it into place.
    Apply,
    /// Remove what was staged.
    Drop,
}

/// What is to be done in a mirrored tree.
#[derive(Debug)]
pub(super) enum MirrorWork {
    /// Is its directory the one that the index speaks of?
    Check,
    /// What is still to be done is tried again.
    Settle,
    /// Deletions that are long ago are forgotten, and those that all others know of, who know this.
    Bury(Knowledge),
    /// A member knows of changes of this index that it does not know itself: it goes on as another one.
    Renew,
    /// This was asked.
    Ask(Asked),
}

/// Where the disk's jobs go. When it is dropped, no more follow.
#[derive(Debug)]
pub(super) struct Jobs(pub(super) Sender<ToDisk>);

impl Jobs {
    pub(super) fn send(&self, job: DiskJob) -> Result<(), SendError<ToDisk>> {
        self.0.send(ToDisk::Job(job))
    }

    /// Has what a transfer has staged made ready for its transaction.
    pub(super) fn prepare(&self, of: Transaction, key: TransferKey) {
        // If the disk thread has panicked, the daemon ends.
        let _ = self.0.send(ToDisk::Atomic(of, AtomicWork::Prepare(key)));
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        // The disk thread may have panicked.
        let _ = self.0.send(ToDisk::Stop);
    }
}

/// What a walker is to do when it has walked.
#[derive(Debug)]
pub(super) enum Errand {
    /// Look at these files again.
    Files(Vec<Again>),
    /// Look whether directories have changed since they were listed.
    Look,
}

/// What a walker passes to the sender thread.
#[derive(Debug)]
pub(super) enum Walked {
    /// The next batch.
    Batch(SourceBatch),
    /// The end of the walk, or of what was to be offered again.
    End,
    /// The end, and no directory has to be looked at any more.
    Quiet,
}

/// A file that is offered once more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Again {
    pub(super) path: RelPath,
    /// How often it has changed while it was sent.
    pub(super) changes: u32,
    /// A target wants its digest.
    pub(super) with_digest: bool,
}

/// Everything the sender thread needs for a new transfer, including its ends of the channels to the
/// client and the walker.
pub(super) struct NewTransfer {
    pub(super) outgoing: Outgoing,
    /// What is kept of it; None if nothing is.
    pub(super) recording: Option<Recording>,
    /// Only files of one user are sent.
    pub(super) own_only: bool,
    /// If it is for all targets or none: what it is called, and for whom it is.
    pub(super) atomic: Option<(Transaction, Plan)>,
    /// The base directory as it was when the transfer started.
    pub(super) root: Arc<Root>,
    pub(super) order: Arc<Order>,
    pub(super) client: u32,
    /// The command as the client wrote it.
    pub(super) command: String,
    /// The client's log level.
    pub(super) level: u8,
    pub(super) follow: Follow,
    /// The targets, in the order of their numbers in `outgoing`.
    pub(super) hosts: Vec<Member>,
    /// The client's unread output.
    pub(super) unread: Unread,
    /// How many `error:` lines the walker has written.
    pub(super) errors: Arc<AtomicU64>,
    /// How many bytes of long files the walker's digests are through with.
    pub(super) digested: Arc<AtomicU64>,
    /// Tells the walker and the progress counter to stop.
    pub(super) cancelled: Arc<AtomicBool>,
    pub(super) walked: Receiver<Walked>,
    /// What the walker is to do again.
    pub(super) errands: Sender<Errand>,
    /// The totals, if the client watches the progress.
    pub(super) totals: Option<Arc<Totals>>,
    /// Payload bytes per block.
    pub(super) block: u16,
}

/// How much there is to send in total, for progress reports.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) entries: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Whether counting has finished.
    pub(super) whole: AtomicBool,
}
