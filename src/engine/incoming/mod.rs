//! All transfers that come in to one daemon: routing, memory, tombstones.
//!
//! Memory for incoming transfers has one budget. A batch that does not fit waits, says so, and is
//! offered again; the lowest open batch of the first transfer, by its key, goes beyond the budget if
//! it must, so there is always progress; and no sender takes what is there for others.

mod batch;
mod budget;
mod closed;
mod transfer;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddrV4;

use crate::engine::disk_job::{DiskAnswer, DiskJob, TransferKey};
use crate::engine::rng::Rng;
use crate::ids::{BatchNo, TargetNo, TransferNo};
use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::wire::begin::Begin;
use crate::wire::feedback::{Feedback, Spool, Verdict};
use crate::wire::header::{Header, PacketKind, Role};
use crate::wire::outcome::Reason;

pub use budget::BEYOND;
use budget::Budget;
use closed::ClosedTransfers;
use transfer::{Claim, IncomingTransfer};

/// The most transfers open at once; and the most closed ones that the disk may be busy with.
pub const MAX_TRANSFERS: usize = 128;
/// The most of one sender: as many as it has console clients.
const MAX_OF_ONE: usize = 64;
/// The most of one sender that are open, or that the disk may be busy with: places are left to others
/// though one begins and calls off what it can.
const MOST_BEGUN: usize = 96;
/// A transfer whose sender is silent for so long is over.
pub const SILENCE: Span = Span::from_secs(30);

/// What a daemon's incoming transfers have to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// This daemon.
    pub me: NodeId,
    /// What the kernel says of the receive buffer, in bytes.
    pub receive_buffer: u32,
    /// The memory for manifests and bodies, in bytes.
    pub budget: usize,
    /// For jitter.
    pub seed: u64,
}

/// A packet to be sealed and sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outbound {
    /// Where to.
    pub to: SocketAddrV4,
    /// All but its counter.
    pub header: Header,
    /// What follows the header.
    pub payload: Vec<u8>,
}

/// Where the payload of a block belongs.
#[derive(Debug)]
pub enum Place<'a, H> {
    /// Nowhere: it is not needed (any more).
    Nowhere,
    /// Here.
    Memory(&'a mut [u8]),
    /// In this file, at this offset in bytes.
    File(&'a H, u64),
}

/// What is worth a line in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A transfer began.
    Opened(TransferKey),
    /// A transfer is complete here.
    Ended(TransferKey),
    /// A transfer ended early.
    Aborted(TransferKey, AbortReason),
}

/// Why a transfer ended early.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AbortReason {
    /// Its sender said so.
    Sender,
    /// Its sender is no member any more.
    Left,
    /// Its sender has been silent for [`SILENCE`].
    Silence,
    /// It cannot go on here.
    Failed(Reason),
}

impl fmt::Display for AbortReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AbortReason::Sender => f.write_str("its sender called it off"),
            AbortReason::Left => f.write_str("its sender has left"),
            AbortReason::Silence => f.write_str("its sender is silent"),
            AbortReason::Failed(reason) => write!(f, "{reason}"),
        }
    }
}

/// All transfers that come in.
pub struct Reception<H> {
    shared: Shared,
    transfers: Vec<IncomingTransfer<H>>,
    /// Closed transfers that the disk may still be busy with, and the memory that this takes.
    closing: HashMap<TransferKey, usize>,
    closed: ClosedTransfers,
    answers: VecDeque<Outbound>,
    events: VecDeque<Event>,
}

/// What all transfers share.
struct Shared {
    config: Config,
    rng: Rng,
    jobs: VecDeque<DiskJob>,
    spare: Vec<Vec<u8>>,
    budget: Budget,
    senders: u32,
}

impl Shared {
    fn answer(&self, key: TransferKey, kind: PacketKind, batch: BatchNo) -> Header {
        let mut header = Header::new(kind, self.config.me, Role::Receiver);
        header.transfer = key.number;
        header.batch = batch;
        header
    }

    fn grant(&self) -> u32 {
        self.config.receive_buffer / 4 / self.senders.max(1)
    }

    fn buffer(&mut self, len: usize) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.resize(len, 0);
        buffer
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < 2 {
            self.spare.push(buffer);
        }
    }
}

impl<H> Reception<H> {
    /// Nothing has come in yet.
    pub fn new(config: Config) -> Self {
        let rng = Rng::new(config.seed);
        let budget = Budget::new(config.budget);
        Reception {
            shared: Shared {
                config,
                rng,
                jobs: VecDeque::new(),
                spare: Vec::new(),
                budget,
                senders: 0,
            },
            transfers: Vec::new(),
            closing: HashMap::new(),
            closed: ClosedTransfers::default(),
            answers: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// A packet of a member's transfer, of any kind but DATA, from the member's own address.
    pub fn packet(&mut self, now: Time, from: SocketAddrV4, header: &Header, payload: &[u8]) {
        let key = TransferKey { node: header.node, number: header.transfer };
        if header.kind == PacketKind::Begin {
            return self.begin(now, from, key, payload);
        }
        let Some(at) = self.position(key) else {
            return self.bury_again(from, key, header.kind);
        };
        let first = self.is_first(key);
        let transfer = &mut self.transfers[at];
        transfer.heard = now;
        let failed = match header.kind {
            PacketKind::Offer if header.batch == BatchNo::FIRST => {
                let others = self.others(key);
                self.transfers[at].offer(&mut self.shared, first, header, payload, &others)
            }
            PacketKind::Offer => transfer.offer(&mut self.shared, first, header, payload, &[]),
            PacketKind::Poll => {
                transfer.poll(&mut self.shared, now, header, payload);
                self.readmit(now);
                None
            }
            PacketKind::Commit => {
                transfer.commit(&mut self.shared, header.batch, payload);
                None
            }
            PacketKind::Delete => {
                transfer.delete(&mut self.shared, now, payload);
                None
            }
            PacketKind::End => return self.close(now, at, None),
            PacketKind::Abort => return self.close(now, at, Some(AbortReason::Sender)),
            _ => None,
        };
        if let Some((reason, what)) = failed {
            self.refuse(now, key, reason, what);
        }
    }

    /// What the other open transfers are about.
    fn others(&self, key: TransferKey) -> Vec<Claim> {
        self.transfers.iter().filter(|t| t.key != key).filter_map(|t| t.claim.clone()).collect()
    }

    /// A block of a body has come, `len` bytes long: where does it go?
    ///
    /// The caller must put it there at once; the block counts as received.
    pub fn data(&mut self, now: Time, header: &Header, len: usize) -> Place<'_, H> {
        let key = TransferKey { node: header.node, number: header.transfer };
        match self.position(key) {
            Some(at) => {
                let first = self.is_first(key);
                self.transfers[at].data(&mut self.shared, now, first, header, len)
            }
            None => Place::Nowhere,
        }
    }

    /// The block that was last placed in a file could not be written.
    pub fn write_failed(&mut self, now: Time, key: TransferKey, batch: BatchNo, reason: Reason) {
        let path = self.position(key).and_then(|at| self.transfers[at].path_of_body(batch));
        self.refuse(now, key, reason, path.unwrap_or_default());
    }

    /// The disk has done a job.
    pub fn answer(&mut self, now: Time, answer: DiskAnswer<H>) {
        match answer {
            DiskAnswer::Planned { key, batch, needs, file } => {
                let Some(at) = self.position(key) else { return };
                self.transfers[at].planned(&mut self.shared, now, batch, needs, file);
            }
            DiskAnswer::Staged { key, batch, buffer } => {
                if let Some(buffer) = buffer {
                    self.shared.recycle(buffer);
                }
                let Some(at) = self.position(key) else { return };
                self.transfers[at].staged(&mut self.shared, now, batch);
            }
            DiskAnswer::Done { key, batch, outcomes } => {
                let Some(at) = self.position(key) else { return };
                self.transfers[at].done(&mut self.shared, now, batch, outcomes);
            }
            DiskAnswer::Closed { key } => {
                let freed = self.closing.remove(&key).unwrap_or(0);
                self.shared.budget.release(key.node, freed);
            }
            DiskAnswer::Tallied { key, tally } => self.spooled(now, key, Spool::Tally(tally)),
            DiskAnswer::Deleted { key, deleted, failed } => {
                self.spooled(now, key, Spool::Ran { deleted, failed });
            }
            DiskAnswer::Page { key, skip, names } => {
                self.spooled(now, key, Spool::Page { skip, names });
            }
            DiskAnswer::Fatal { key, batch, entry, reason } => {
                let path = self.position(key).and_then(|at| self.transfers[at].path(batch, entry));
                return self.refuse(now, key, reason, path.unwrap_or_default());
            }
        }
        self.readmit(now);
    }

    fn spooled(&mut self, now: Time, key: TransferKey, spool: Spool) {
        if let Some(at) = self.position(key) {
            self.transfers[at].spooled(&mut self.shared, now, spool);
        }
    }

    /// A member has left, or has been replaced by its next life.
    pub fn member_gone(&mut self, now: Time, node: NodeId) {
        while let Some(at) = self.transfers.iter().position(|t| t.key.node == node) {
            self.close(now, at, Some(AbortReason::Left));
        }
        self.closed.member_gone(now, node);
    }

    /// A member says that all its transfers below `oldest` are closed.
    pub fn oldest_open(&mut self, now: Time, node: NodeId, oldest: TransferNo) {
        let over = |t: &IncomingTransfer<H>| t.key.node == node && t.key.number.is_before(oldest);
        while let Some(at) = self.transfers.iter().position(over) {
            self.close(now, at, Some(AbortReason::Sender));
        }
        self.closed.below(node, oldest);
    }

    /// A deadline has passed.
    pub fn timeout(&mut self, now: Time) {
        while let Some(at) = self.transfers.iter().position(|t| now >= t.heard + SILENCE) {
            self.close(now, at, Some(AbortReason::Silence));
        }
        self.closed.timeout(now);
    }

    /// When [`Reception::timeout`] or [`Reception::poll_transmit`] have something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        let silence = self.transfers.iter().map(|t| t.heard + SILENCE);
        let due = self.transfers.iter().filter_map(IncomingTransfer::due);
        silence.chain(due).chain(self.closed.poll_timeout()).min()
    }

    /// What the disk has to do next.
    pub fn poll_job(&mut self) -> Option<DiskJob> {
        while let Some(job) = self.shared.jobs.pop_front() {
            // The body of a batch moves here, after its last block has been put in place.
            let DiskJob::Stage { key, batch, .. } = job else { return Some(job) };
            let body = self.position(key).and_then(|at| self.transfers[at].take_body(batch));
            if let Some(body) = body {
                return Some(DiskJob::Stage { key, batch, body });
            }
        }
        None
    }

    /// What is to be sent now.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Outbound> {
        if let Some(outbound) = self.answers.pop_front() {
            return Some(outbound);
        }
        let active = self.transfers.iter().filter(|t| now < t.heard + Span::from_secs(1)).count();
        self.shared.senders = active as u32;
        let shared = &mut self.shared;
        self.transfers.iter_mut().find_map(|transfer| transfer.transmit(shared, now))
    }

    /// What is worth a line in the log.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The open transfers and where their senders are.
    pub fn open(&self) -> impl Iterator<Item = (TransferKey, SocketAddrV4)> + '_ {
        self.transfers.iter().map(|t| (t.key, t.from))
    }

    /// The memory in use, in bytes.
    pub fn memory(&self) -> usize {
        self.shared.budget.used()
    }

    fn position(&self, key: TransferKey) -> Option<usize> {
        self.transfers.iter().position(|t| t.key == key)
    }

    /// Whether a transfer never waits for memory. All targets agree on which one that is, or two of
    /// them could each hold up what the other waits for.
    fn is_first(&self, key: TransferKey) -> bool {
        self.transfers.iter().all(|t| key <= t.key)
    }

    fn begin(&mut self, now: Time, from: SocketAddrV4, key: TransferKey, payload: &[u8]) {
        let Ok(begin) = Begin::parse(payload) else { return };
        let me = self.shared.config.me;
        let Some(index) = begin.targets.iter().position(|&node| node == me) else { return };
        self.oldest_open(now, key.node, begin.oldest);
        if self.closed.knows(key) {
            return self.bury_again(from, key, PacketKind::Begin);
        }
        let at = match self.position(key) {
            Some(at) => at,
            None if !self.has_place(key.node) => {
                const EAGAIN: u16 = 11;
                let verdict = Verdict::Refused { reason: Reason::Os(EAGAIN), path: Vec::new() };
                return self.verdict(from, key, verdict);
            }
            None => {
                let target = TargetNo::of(begin.first.index() + index);
                self.transfers.push(IncomingTransfer::new(key, from, now, target, &begin));
                self.events.push_back(Event::Opened(key));
                self.transfers.len() - 1
            }
        };
        let transfer = &mut self.transfers[at];
        transfer.heard = now;
        transfer.accept(now);
    }

    fn has_place(&self, node: NodeId) -> bool {
        let of_one = self.transfers.iter().filter(|t| t.key.node == node).count();
        let closing = self.closing.keys().filter(|key| key.node == node).count();
        let most = self.transfers.len().max(self.closing.len());
        most < MAX_TRANSFERS && of_one < MAX_OF_ONE && of_one + closing < MOST_BEGUN
    }

    /// Says again how a closed transfer ended, to a sender that seems not to know.
    fn bury_again(&mut self, from: SocketAddrV4, key: TransferKey, kind: PacketKind) {
        use PacketKind::{Abort, Begin, Commit, Delete, End, Poll};
        if !matches!(kind, Begin | Poll | Commit | Delete | End | Abort) {
            return;
        }
        match self.closed.verdict(key) {
            Some(Some(verdict)) => self.verdict(from, key, verdict),
            Some(None) => self.say(from, key, Feedback::Ended),
            // A transfer that this daemon never knew: only its end can be confirmed.
            None if matches!(kind, End | Abort) => self.say(from, key, Feedback::Ended),
            None => {}
        }
    }

    fn verdict(&mut self, to: SocketAddrV4, key: TransferKey, verdict: Verdict) {
        let grant = self.shared.grant();
        self.say(to, key, Feedback::Accept { verdict, grant });
    }

    fn say(&mut self, to: SocketAddrV4, key: TransferKey, feedback: Feedback) {
        // One answer to each packet, and packets are not answered faster than they are read: but a
        // queue that nobody drains must not grow.
        if self.answers.len() < 1_024 {
            let header = self.shared.answer(key, feedback.kind(), BatchNo::ZERO);
            self.answers.push_back(Outbound { to, header, payload: feedback.emit(key.node, 480) });
        }
    }

    fn refuse(&mut self, now: Time, key: TransferKey, reason: Reason, path: Vec<u8>) {
        let Some(at) = self.position(key) else { return };
        let from = self.transfers[at].from;
        let verdict = Verdict::Refused { reason, path };
        self.close(now, at, Some(AbortReason::Failed(reason)));
        self.closed.refused(key, verdict.clone());
        self.verdict(from, key, verdict);
    }

    fn close(&mut self, now: Time, at: usize, why: Option<AbortReason>) {
        let transfer = self.transfers.remove(at);
        let key = transfer.key;
        // Whatever the disk still has of it stays until it is done with that.
        *self.closing.entry(key).or_default() += transfer.memory();
        self.shared.jobs.push_back(DiskJob::Close { key, aborted: why.is_some() });
        self.closed.closed(now, key);
        if matches!(why, None | Some(AbortReason::Sender)) {
            self.say(transfer.from, key, Feedback::Ended);
        }
        self.events.push_back(match why {
            None => Event::Ended(key),
            Some(why) => Event::Aborted(key, why),
        });
        self.readmit(now);
    }

    /// Memory may be free again: let those go on that waited for it, oldest first.
    fn readmit(&mut self, now: Time) {
        let first = self.transfers.iter().map(|t| t.key).min();
        for transfer in &mut self.transfers {
            let is_first = Some(transfer.key) == first;
            transfer.readmit(&mut self.shared, now, is_first);
        }
    }
}
