//! All transfers that come in to one daemon: which packet is for which, and when they end.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddrV4;

use super::claim::{Claim, Conflict, InDoubt, Watched};
use super::closed::{ClosedTransfers, Ending};
use super::shared::Shared;
use super::transfer::{IncomingTransfer, Refusal};
use super::types::{AbortReason, Arrived, Config, Event, Outbound, Place, SILENCE};
use crate::engine::disk_job::{DiskAnswer, DiskJob, TransferKey};
use crate::ids::{BatchNo, TargetNo, TransferNo};
use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::wire::begin::{Begin, End};
use crate::wire::feedback::{Deleted, Feedback, Verdict};
use crate::wire::header::{Header, MIN_BLOCK, PacketKind};
use crate::wire::outcome::Reason;

/// The most transfers that are open at once, and the most closed ones that the disk is still busy with.
pub const MAX_TRANSFERS: usize = 128;
/// The most open transfers of one sender: as many as it has console clients.
const MAX_OF_ONE: usize = 64;
/// The most transfers of one sender that are open, or closed with the disk still busy: one that begins
/// and aborts all it can leaves places to others.
const MAX_BEGUN: usize = 96;
/// The most replies about transfers that are not open that wait to be sent.
const MAX_ANSWERS: usize = 1_024;

/// All transfers that come in to this daemon.
pub struct Reception<H> {
    shared: Shared,
    transfers: Vec<IncomingTransfer<H>>,
    /// Closed transfers that the disk may still be busy with, and the memory that they take.
    closing: HashMap<TransferKey, usize>,
    closed: ClosedTransfers,
    /// Answers about transfers that are not open.
    answers: VecDeque<Outbound>,
    events: VecDeque<Event>,
}

impl<H> Reception<H> {
    /// Without any transfer yet.
    pub fn new(config: Config) -> Self {
        Reception {
            shared: Shared::new(config),
            transfers: Vec::new(),
            closing: HashMap::new(),
            closed: ClosedTransfers::default(),
            answers: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// What this host watches from now on.
    pub fn set_watched(&mut self, watched: Vec<Watched>) {
        self.shared.watched = watched;
    }

    /// The transactions that are in doubt here from now on.
    pub fn set_doubtful(&mut self, doubtful: Vec<InDoubt>) {
        self.shared.doubtful = doubtful;
    }

    /// Whether all of a transfer up to this batch is staged here.
    pub fn is_staged(&self, key: TransferKey, last: BatchNo) -> bool {
        self.position(key).is_some_and(|at| self.transfers[at].is_staged(last))
    }

    /// A packet of a member's transfer, of any kind but DATA, from the member's own address.
    pub fn packet(&mut self, now: Time, from: SocketAddrV4, header: &Header, payload: &[u8]) {
        let key = TransferKey { node: header.node, number: header.transfer };
        if header.kind == PacketKind::Begin {
            return self.begin(now, from, key, payload);
        }
        let Some(at) = self.position(key) else {
            return self.confirm_closed(from, key, header.kind);
        };
        let transfer = &mut self.transfers[at];
        transfer.heard = now;
        match header.kind {
            PacketKind::Offer => self.offer(now, at, header, payload),
            PacketKind::Poll => {
                transfer.poll(&mut self.shared, now, header, payload);
                self.readmit(now);
            }
            PacketKind::Commit => transfer.commit(&mut self.shared, header.batch, payload),
            PacketKind::Delete => transfer.delete(&mut self.shared, now, payload),
            PacketKind::End => {
                let Ok(end) = End::parse(payload) else { return };
                let arrived = transfer.arrived(header.batch, end);
                self.close(now, at, Ok(arrived));
            }
            PacketKind::Abort => self.close(now, at, Err(AbortReason::Sender)),
            _ => {}
        }
    }

    fn offer(&mut self, now: Time, at: usize, header: &Header, payload: &[u8]) {
        let key = self.transfers[at].key;
        let first = self.is_first(key);
        let others = match header.batch {
            BatchNo::FIRST => self.others(now, key),
            _ => Vec::new(),
        };
        let transfer = &mut self.transfers[at];
        if let Err(Refusal { reason, what }) =
            transfer.offer(&mut self.shared, first, header, payload, &others)
        {
            return self.refuse(now, key, reason, what);
        }
        if header.batch == BatchNo::FIRST {
            self.bury_dead(now, key);
        }
    }

    /// What the open transfers of live senders, but this one, are about.
    fn others(&self, now: Time, key: TransferKey) -> Vec<Claim> {
        let others = self.transfers.iter().filter(|t| t.key != key && !t.is_dead(now));
        others.filter_map(|t| t.claim.clone()).collect()
    }

    /// Closes the transfers of dead senders whose path this one has taken.
    fn bury_dead(&mut self, now: Time, key: TransferKey) {
        let claim = self.position(key).and_then(|at| self.transfers[at].claim.clone());
        let Some(claim) = claim else { return };
        let in_the_way = |t: &IncomingTransfer<H>| {
            let held =
                t.claim.as_ref().and_then(|other| claim.conflict(std::slice::from_ref(other)));
            t.key != key && t.is_dead(now) && matches!(held, Some(Conflict::Held(_)))
        };
        while let Some(at) = self.transfers.iter().position(in_the_way) {
            self.close(now, at, Err(AbortReason::Silence));
        }
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
    pub fn write_failed(&mut self, key: TransferKey, batch: BatchNo, reason: Reason) {
        if let Some(at) = self.position(key) {
            self.transfers[at].write_failed(&mut self.shared, batch, reason);
        }
    }

    /// The disk has done a job.
    pub fn answer(&mut self, now: Time, answer: DiskAnswer<H>) {
        match answer {
            DiskAnswer::Planned { key, batch, needs, file } => {
                let Some(at) = self.position(key) else { return };
                self.transfers[at].planned(&mut self.shared, now, batch, needs, file);
            }
            DiskAnswer::Digested { key, bytes } => {
                let Some(at) = self.position(key) else { return };
                return self.transfers[at].digested(&mut self.shared, now, bytes);
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
            DiskAnswer::Tallied { key, tally } => {
                self.deletion_done(now, key, Deleted::Tally(tally))
            }
            DiskAnswer::Deleted { key, deleted, failed } => {
                self.deletion_done(now, key, Deleted::Ran { deleted, failed });
            }
            DiskAnswer::Page { key, skip, names } => {
                self.deletion_done(now, key, Deleted::Page { skip, names });
            }
            DiskAnswer::Fatal { key, batch, entry, reason } => {
                let path = self.position(key).and_then(|at| self.transfers[at].path(batch, entry));
                return self.refuse(now, key, reason, path.unwrap_or_default());
            }
        }
        self.readmit(now);
    }

    fn deletion_done(&mut self, now: Time, key: TransferKey, report: Deleted) {
        if let Some(at) = self.position(key) {
            self.transfers[at].deletion_done(&mut self.shared, now, report);
        }
    }

    /// A member has left, or has been replaced by its next life.
    pub fn member_gone(&mut self, now: Time, node: NodeId) {
        while let Some(at) = self.transfers.iter().position(|t| t.key.node == node) {
            self.close(now, at, Err(AbortReason::Left));
        }
        self.closed.member_gone(now, node);
    }

    /// This daemon begins anew as the node `me`, with this receive buffer: nobody hears any more what it
    /// says about its transfers.
    pub fn begin_anew(&mut self, now: Time, me: NodeId, receive_buffer: u32) {
        while !self.transfers.is_empty() {
            self.close(now, 0, Err(AbortReason::Moved));
        }
        self.shared.config.me = me;
        self.shared.config.receive_buffer = receive_buffer;
    }

    /// A member says that all its transfers before `oldest` are closed. Those that are open here are;
    /// nothing follows for those that are not known here, since anybody may have said this.
    pub fn oldest_open(&mut self, now: Time, node: NodeId, oldest: TransferNo) {
        let over = |t: &IncomingTransfer<H>| t.key.node == node && t.key.number.is_before(oldest);
        while let Some(at) = self.transfers.iter().position(over) {
            self.close(now, at, Err(AbortReason::Sender));
        }
    }

    /// A deadline has passed.
    pub fn timeout(&mut self, now: Time) {
        while let Some(at) = self.transfers.iter().position(|t| now >= t.heard + SILENCE) {
            self.close(now, at, Err(AbortReason::Silence));
        }
        self.closed.timeout(now);
    }

    /// When [`Reception::timeout`] or [`Reception::poll_transmit`] have something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        let silence = self.transfers.iter().map(|t| t.heard + SILENCE);
        let due = self.transfers.iter().filter_map(IncomingTransfer::poll_timeout);
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
        self.shared.active = active as u32;
        let shared = &self.shared;
        self.transfers.iter_mut().find_map(|transfer| transfer.poll_transmit(shared, now))
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
        // No daemon writes that its transfer is closed.
        if key.number.is_before(begin.oldest) {
            return;
        }
        self.oldest_open(now, key.node, begin.oldest);
        if self.closed.contains(key) {
            return self.confirm_closed(from, key, PacketKind::Begin);
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
                self.events.push_back(Event::Opened(key, begin.stamp));
                self.transfers.len() - 1
            }
        };
        self.transfers[at].begin(now);
    }

    fn has_place(&self, node: NodeId) -> bool {
        let of_one = self.transfers.iter().filter(|t| t.key.node == node).count();
        let closing = self.closing.keys().filter(|key| key.node == node).count();
        let most = self.transfers.len().max(self.closing.len());
        most < MAX_TRANSFERS && of_one < MAX_OF_ONE && of_one + closing < MAX_BEGUN
    }

    /// Tells a sender that still speaks of a transfer that is not open how it ended.
    fn confirm_closed(&mut self, from: SocketAddrV4, key: TransferKey, kind: PacketKind) {
        use PacketKind::{Abort, Begin, Commit, Delete, End, Poll};
        if !matches!(kind, Begin | Poll | Commit | Delete | End | Abort) {
            return;
        }
        match self.closed.ending(key) {
            Some(Ending::Refused(verdict)) => self.verdict(from, key, verdict),
            Some(Ending::Ended) => self.say(from, key, Feedback::Ended),
            // This daemon has never known it: only its end can be confirmed.
            None if matches!(kind, End | Abort) => self.say(from, key, Feedback::Ended),
            None => {}
        }
    }

    fn verdict(&mut self, to: SocketAddrV4, key: TransferKey, verdict: Verdict) {
        let feedback = self.shared.accept(verdict);
        self.say(to, key, feedback);
    }

    fn say(&mut self, to: SocketAddrV4, key: TransferKey, feedback: Feedback) {
        // There is one answer to a packet at most, and answers leave as fast as packets come; but a queue
        // that nobody drains must not grow.
        if self.answers.len() < MAX_ANSWERS {
            let header = self.shared.header(key, feedback.kind(), BatchNo::ZERO);
            let payload = feedback.emit(key.node, MIN_BLOCK.into());
            self.answers.push_back(Outbound { to_node: key.node, to, header, payload });
        }
    }

    fn refuse(&mut self, now: Time, key: TransferKey, reason: Reason, path: Vec<u8>) {
        let Some(at) = self.position(key) else { return };
        let from = self.transfers[at].from;
        let verdict = Verdict::Refused { reason, path };
        self.close(now, at, Err(AbortReason::Failed(reason)));
        self.closed.set_refused(key, verdict.clone());
        self.verdict(from, key, verdict);
    }

    /// Closes a transfer: at its end, or early for this reason.
    fn close(&mut self, now: Time, at: usize, how: Result<Arrived, AbortReason>) {
        let transfer = self.transfers.remove(at);
        let key = transfer.key;
        // The disk may still have its memory, and gives it back with `DiskAnswer::Closed`.
        *self.closing.entry(key).or_default() += transfer.memory();
        let ended = how.as_ref().ok().map(Arrived::ended);
        self.shared.jobs.push_back(DiskJob::Close { key, ended });
        self.closed.add(now, key);
        if matches!(how, Ok(_) | Err(AbortReason::Sender)) {
            self.say(transfer.from, key, Feedback::Ended);
        }
        self.events.push_back(match how {
            Ok(arrived) => Event::Ended(key, arrived),
            Err(reason) => Event::Aborted(key, reason),
        });
        self.readmit(now);
    }

    /// Memory may be free: the transfers that wait for it go on, oldest first.
    fn readmit(&mut self, now: Time) {
        let first = self.transfers.iter().map(|t| t.key).min();
        for transfer in &mut self.transfers {
            let is_first = Some(transfer.key) == first;
            transfer.readmit(&mut self.shared, now, is_first);
        }
    }
}
