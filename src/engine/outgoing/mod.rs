//! One transfer, seen by its sender.
//!
//! Batches go in, packets come out; the bytes of bodies are never seen here: [`Transmit::Data`] names
//! blocks, and the driver reads them. What travels first travels in order, in two streams: manifests
//! (OFFER), which run ahead, and bodies (DATA), where the blocks that anyone needs are sent once.
//! Repairs go before anything new.

mod answers;
mod batch;
mod polls;
mod repair;
mod spool;
mod steps;
mod target;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddrV4;
use std::sync::Arc;

use crate::engine::destination::Destination;
use crate::engine::disk_job::{DeletionTally, Mode};
use crate::engine::window::{Pacer, Window};
use crate::ids::{BatchNo, BlockRange, EntryNo, TargetNo, TransferNo};
use crate::name::{NodeId, RelPath};
use crate::time::{Span, Time};
use crate::wire::begin::Bits;
use crate::wire::header::{HEADER_LEN, Header, PacketKind, Role, TRAILER_LEN};
use crate::wire::layout::Layout;
use crate::wire::outcome::{Need, Outcome, Reason, Runs, SpoolCode};

use batch::{Batch, Lack};
use polls::Polls;
use repair::Repairs;
use spool::Step;
use target::Target;

/// Transfers to more targets than this ask slices of them in turn, and spread their answers.
pub(crate) const AT_ONCE: usize = 16;
/// The most batches kept for targets that lag.
const MAX_KEPT: usize = 64;
/// The shortest time after which a poll is repeated.
const PATIENCE: Span = Span::from_millis(20);
/// The longest.
const MAX_PATIENCE: Span = Span::from_millis(500);

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
    /// The payload of a block, in bytes.
    pub block: u16,
    /// How many batches are on their way at once, 1 to [`crate::wire::feedback::MAX_OPEN`].
    pub parallel: usize,
    /// How long a target may be silent before it leaves.
    pub timeout: Span,
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
    /// [`Outgoing::verified`].
    Verify(BatchNo),
    /// What a target needs, in a dry run.
    Needs(BatchNo, TargetNo, Runs<Need>),
    /// What a target did; and the entries whose bytes anyone needed.
    Outcomes(BatchNo, TargetNo, Runs<Outcome>, Bits<EntryNo>),
    /// These entries were struck and must be offered again, or given up.
    Struck(BatchNo, Vec<(EntryNo, Reason)>),
    /// The batch is done, by all that are left. These entries' bytes were needed by any.
    Closed(BatchNo, Bits<EntryNo>),
    /// A target is silent, and nobody waits for it any more.
    Suspended(TargetNo),
    /// A target answers again.
    Resumed(TargetNo),
    /// A target has left the transfer.
    Gone(TargetNo, Gone),
    /// Another host, by its address, is sending to the same path of this target.
    Shared(TargetNo, Vec<u8>),
    /// What each target that is left has spooled: call [`Outgoing::decide`].
    Tallied(Vec<(TargetNo, DeletionTally)>),
    /// How much a target has deleted, and how much it could not delete.
    Ran(TargetNo, u64, u64),
    /// What a target has spooled, and what became of it.
    Page(TargetNo, Vec<(SpoolCode, RelPath)>),
    /// Everything is done. What follows is only told to the targets.
    Finished,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Batches are on their way, or will be.
    Running,
    /// All batches are done; what is spooled for deletion is dealt with.
    Spooling(Step),
    /// END or ABORT is repeated until everyone has confirmed it.
    Closing(PacketKind),
    /// Nothing is left to do.
    Over,
}

/// A transfer, seen by its sender.
#[derive(Debug)]
pub struct Outgoing {
    config: Config,
    targets: Vec<Target>,
    index: HashMap<NodeId, usize>,
    phase: Phase,
    /// The number of the first of `batches`: the lowest that is not done everywhere.
    first: BatchNo,
    batches: VecDeque<Batch>,
    input_ended: bool,
    /// Packets that wait for nothing.
    control: VecDeque<Transmit>,
    events: VecDeque<Event>,
    polls: Polls,
    repairs: Repairs,
    window: Window,
    pacer: Pacer,
    /// Bytes of blocks sent, and how many of them are confirmed.
    sent: u64,
    confirmed: u64,
    /// Blocks sent to all.
    sent_to_all: u32,
    /// What was sent since the last poll, in bytes.
    unpolled: u64,
    /// How many blocks may leave at once.
    most: u32,
    /// Whether the window held something back since the last round.
    limited: bool,
    /// When the last poll left, when the last one to all, when one was last repeated, and how patient
    /// to be.
    asked_at: Time,
    spoken_at: Time,
    again_at: Time,
    backoff: u32,
    closing_tries: u32,
    /// Whether the names of what is spooled are wanted.
    names: bool,
}

impl Outgoing {
    /// Opens a transfer. With no targets it is over when its input is.
    pub fn new(config: Config, now: Time) -> Self {
        let targets: Vec<Target> =
            config.targets.iter().map(|&(node, addr)| Target::new(node, addr, now)).collect();
        let index = targets.iter().enumerate().map(|(at, target)| (target.node, at)).collect();
        let block = u64::from(config.block);
        let mut outgoing = Outgoing {
            targets,
            index,
            phase: Phase::Running,
            first: BatchNo::FIRST,
            batches: VecDeque::new(),
            input_ended: false,
            control: VecDeque::new(),
            events: VecDeque::new(),
            polls: Polls::default(),
            repairs: Repairs::default(),
            window: Window::new(block),
            pacer: Pacer::default(),
            sent: 0,
            confirmed: 0,
            sent_to_all: 0,
            unpolled: 0,
            most: 1,
            limited: false,
            asked_at: now,
            spoken_at: now,
            again_at: now,
            backoff: 0,
            closing_tries: 0,
            names: false,
            config,
        };
        outgoing.begin(0..outgoing.targets.len());
        outgoing
    }

    /// The transfer's number.
    pub fn number(&self) -> TransferNo {
        self.config.number
    }

    /// A target's node id.
    pub fn node(&self, target: TargetNo) -> Option<NodeId> {
        self.targets.get(target.index()).map(|target| target.node)
    }

    /// Whether another batch may be handed in now.
    pub fn wants_batch(&self) -> bool {
        let open = self.batches.iter().filter(|batch| batch.lack.done > 0).count();
        self.phase == Phase::Running
            && !self.input_ended
            && open < self.config.parallel
            && self.batches.len() < MAX_KEPT
    }

    /// Hands in the next batch: its manifest as bytes, how many entries it has and where their bytes
    /// are. Gives its number.
    pub fn batch(
        &mut self,
        now: Time,
        manifest: Arc<[u8]>,
        entries: usize,
        layout: Arc<Layout>,
    ) -> BatchNo {
        let number = self.first.after(self.batches.len());
        let mut batch =
            Batch::new(manifest, entries, layout, self.config.block, self.targets.len());
        for (target, said) in self.targets.iter().zip(&batch.said) {
            batch.lack += Lack::of(target.presence, said);
        }
        self.batches.push_back(batch);
        self.backoff = 0;
        self.advance(now);
        number
    }

    /// No further batch will come.
    pub fn end_input(&mut self, now: Time) {
        self.input_ended = true;
        self.advance(now);
    }

    /// Whether a batch's entry is needed by anyone. False for batches that are closed.
    pub fn is_wanted(&self, batch: BatchNo, entry: EntryNo) -> bool {
        self.get(batch).is_some_and(|batch| batch.wanted.contains(entry))
    }

    /// Whether blocks that anyone needs hold bytes of a batch's entry. These bytes have to be right
    /// even if [`Outgoing::is_wanted`] is false: a target may need them that could not say so yet.
    pub fn is_sent(&self, batch: BatchNo, entry: EntryNo) -> bool {
        self.get(batch).is_some_and(|batch| batch.sends(entry))
    }

    /// Some files of a batch are not what its manifest says: no target will have them. Their blocks
    /// may hold anything.
    pub fn strike(&mut self, now: Time, number: BatchNo, entries: &[(EntryNo, Reason)]) {
        let Some(batch) = self.get_mut(number) else { return };
        let (new, frozen) = (batch.strike(entries), batch.frozen);
        if frozen {
            self.say_struck(number, new);
        } else if !new.is_empty() && batch.layout.streams() {
            // Nothing is left of this batch that is worth waiting for.
            self.freeze(number);
        }
        self.advance(now);
    }

    /// The answer to [`Event::Verify`].
    pub fn verified(&mut self, now: Time, number: BatchNo, changed: &[(EntryNo, Reason)]) {
        self.strike(now, number, changed);
        self.freeze(number);
        self.advance(now);
    }

    /// A member has left the group, or has been replaced.
    pub fn member_gone(&mut self, now: Time, node: NodeId) {
        if let Some(&target) = self.index.get(&node) {
            self.lose(target, Gone::Left);
            self.advance(now);
        }
    }

    /// Calls it off: nothing more is committed.
    pub fn abort(&mut self, now: Time) {
        if !matches!(self.phase, Phase::Closing(_) | Phase::Over) {
            self.control.clear();
            self.give_up(now);
        }
    }

    /// Whether nothing is left to do or to send.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over && self.control.is_empty()
    }

    /// What the driver has to know or do.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// How many bytes of packets carried blocks so far.
    pub fn bytes_sent(&self) -> u64 {
        let blocks = self.sent / u64::from(self.config.block.max(1));
        self.sent + blocks * (HEADER_LEN + TRAILER_LEN) as u64
    }

    /// How many bytes of streamed files that are not done have been sent once.
    pub fn streaming(&self) -> u64 {
        let open = self.batches.iter().filter(|batch| batch.layout.streams());
        open.map(|batch| batch.layout.bytes_of(batch.next).start).sum()
    }

    /// The slowest target's delivered rate in bytes a second, and the window in bytes.
    pub fn pace(&self) -> (Option<f64>, u64) {
        (self.window.rate(), self.window.size(self.smallest_grant()))
    }

    /// What each target's line shows: lost blocks, repairs asked for, round trip, times slowest.
    pub fn target_stats(&self) -> impl Iterator<Item = (NodeId, target::Stats)> + '_ {
        self.targets.iter().map(|target| (target.node, target.stats))
    }

    fn get(&self, number: BatchNo) -> Option<&Batch> {
        self.batches.get(number.since(self.first)?)
    }

    fn get_mut(&mut self, number: BatchNo) -> Option<&mut Batch> {
        self.batches.get_mut(number.since(self.first)?)
    }

    fn header(&self, kind: PacketKind) -> Header {
        let mut header = Header::new(kind, self.config.me, Role::Sender);
        header.transfer = self.config.number;
        header
    }

    /// Where what is for all goes: with one target, to that one.
    fn everyone(&self) -> Destination {
        match self.targets.as_slice() {
            [only] => Destination::One(only.addr),
            _ => Destination::Group,
        }
    }

    fn smallest_grant(&self) -> u64 {
        let grants = self.targets.iter().filter(|t| t.is_active()).map(|t| t.grant);
        grants.min().unwrap_or(u64::MAX)
    }
}

pub use target::Stats;
