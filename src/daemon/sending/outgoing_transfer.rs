//! One outgoing transfer with all that belongs to it: its walker, its open batches, its report.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::IoSliceMut;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::TryRecvError;

use super::packets_out::Wire;
use super::report::Report;
use crate::daemon::messages::{NewTransfer, ToControl, Walked};
use crate::daemon::shared::{Shared, lock};
use crate::engine::destination::Destination;
use crate::engine::outgoing::{Event, Gone, Transmit};
use crate::fs::batch::SourceBatch;
use crate::fs::source::Source;
use crate::ids::{BatchNo, BlockRange, EntryNo, TransferNo};
use crate::name::{Escaped, NodeId, RelPath};
use crate::time::{Span, Time};
use crate::wire::bits::Bits;
use crate::wire::feedback::Feedback;
use crate::wire::header::Header;
use crate::wire::layout::Layout;
use crate::wire::manifest::Manifest;
use crate::wire::outcome::Reason;

/// The bodies of so many batches stay in memory; those of older ones are read again for repairs.
const BODIES: usize = 4;
/// A file that changes while it is sent is offered so many times.
const TRIES: u32 = 3;
/// How often progress is told.
const PROGRESS: Span = Span::from_millis(200);

/// A batch that is on its way.
#[derive(Debug)]
struct Open {
    manifest: Arc<Manifest>,
    layout: Arc<Layout>,
    source: Source,
    body: Option<Vec<u8>>,
    /// The entries whose bytes are in `body`.
    loaded: Bits<EntryNo>,
}

/// A transfer that the sender thread drives.
pub(super) struct OutgoingTransfer {
    shared: Arc<Shared>,
    new: NewTransfer,
    report: Report,
    batches: BTreeMap<BatchNo, Open>,
    /// The memory of a body that is not needed any more, for the next one.
    spare: Vec<u8>,
    walk_ended: bool,
    input_ended: bool,
    struck: Vec<RelPath>,
    tries: HashMap<RelPath, u32>,
    more: bool,
    finished: bool,
    aborted: bool,
    /// Another host, by its address, has the path for itself.
    held: Option<String>,
    told: Time,
    /// What is still to be reported. Before it becomes lines it takes little memory, whatever the
    /// number of hosts, so it waits here for a client that reads slowly.
    untold: VecDeque<Event>,
}

impl OutgoingTransfer {
    pub(super) fn new(shared: Arc<Shared>, new: NewTransfer, now: Time) -> Self {
        OutgoingTransfer {
            shared,
            report: Report::new(&new, now),
            new,
            batches: BTreeMap::new(),
            spare: Vec::new(),
            walk_ended: false,
            input_ended: false,
            struck: Vec::new(),
            tries: HashMap::new(),
            more: true,
            finished: false,
            aborted: false,
            held: None,
            told: now,
            untold: VecDeque::new(),
        }
    }

    pub(super) fn number(&self) -> TransferNo {
        self.new.outgoing.number()
    }

    /// Whether the last turn ended before there was nothing left to send.
    pub(super) fn has_more(&self) -> bool {
        self.more
    }

    pub(super) fn is_over(&self) -> bool {
        self.new.outgoing.is_over() && self.untold.is_empty()
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let watch = (self.report.watches() && !self.finished).then(|| self.told + PROGRESS);
        self.new.outgoing.poll_timeout(!self.paused()).into_iter().chain(watch).min()
    }

    pub(super) fn timeout(&mut self, now: Time) {
        if self.new.outgoing.poll_timeout(true).is_some_and(|at| at <= now) {
            self.new.outgoing.timeout(now);
        }
        if self.report.watches() && !self.finished && now >= self.told + PROGRESS {
            self.told = now;
            let streaming = self.new.outgoing.streaming();
            self.report.progress(&self.shared, now, streaming, self.new.totals.as_deref());
        }
    }

    pub(super) fn feedback(&mut self, now: Time, node: NodeId, batch: BatchNo, feedback: Feedback) {
        self.new.outgoing.feedback(now, node, batch, feedback);
        self.events(now);
    }

    pub(super) fn member_gone(&mut self, now: Time, node: NodeId) {
        self.new.outgoing.member_gone(now, node);
        self.events(now);
    }

    /// Its client has gone, or the daemon ends.
    pub(super) fn abort(&mut self, now: Time) {
        self.aborted = true;
        self.untold.clear();
        self.new.outgoing.abort(now);
        self.events(now);
    }

    /// Sends at most `turn` times.
    pub(super) fn drive(&mut self, now: Time, wire: &mut Wire, turn: usize) {
        self.events(now);
        self.feed(now);
        let most = Wire::most(self.new.block.into());
        self.more = false;
        for _ in 0..turn {
            let blocks_too = !self.paused() && wire.open(now);
            let Some(transmit) = self.new.outgoing.poll_transmit(now, most, blocks_too) else {
                return;
            };
            match transmit {
                Transmit::Packet { to, header, payload } => wire.packet(now, to, header, &payload),
                Transmit::Data { to, header, blocks } => {
                    self.data(now, wire, to, header, blocks);
                    self.events(now);
                }
            }
        }
        self.more = true;
    }

    fn paused(&self) -> bool {
        self.new.unread.is_too_much()
    }

    /// Hands in what the walker has found, as far as it is wanted.
    fn feed(&mut self, now: Time) {
        while !self.walk_ended && !self.paused() && self.new.outgoing.wants_batch() {
            match self.new.walked.try_recv() {
                Ok(Walked::Batch(batch)) => self.open(now, &batch),
                Ok(Walked::End) => self.walk_ended = true,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    // It has panicked, and not said that this was all.
                    self.walk_ended = true;
                    self.report.failed(&self.shared, "the walk has failed");
                }
            }
        }
        if self.walk_ended && !self.input_ended {
            if !self.struck.is_empty() {
                let paths = std::mem::take(&mut self.struck);
                self.walk_ended = self.new.again.send(paths).is_err();
            } else if self.batches.is_empty() {
                self.input_ended = true;
                self.new.outgoing.end_input(now);
                self.events(now);
            }
        }
    }

    fn open(&mut self, now: Time, batch: &SourceBatch) {
        let manifest = &batch.manifest;
        let Some(layout) = Layout::new(manifest, self.new.block.into()).filter(Layout::is_sound)
        else {
            // Only a file that needs more than 2^32 blocks: the others go without it.
            let (files, others) = batch.without_files();
            for path in &files {
                self.report.trouble(&self.shared, path, "File too large");
            }
            if !files.is_empty() {
                self.open(now, &others);
            }
            return;
        };
        let layout = Arc::new(layout);
        let source = Source::new(Arc::clone(&self.shared.root), batch, Arc::clone(&layout));
        let bytes = manifest.emit().into();
        let number =
            self.new.outgoing.batch(now, bytes, manifest.entries.len(), Arc::clone(&layout));
        self.report.open(number, Arc::clone(manifest));
        let open = Open {
            manifest: Arc::clone(manifest),
            layout,
            source,
            body: None,
            loaded: Bits::default(),
        };
        self.batches.insert(number, open);
        self.events(now);
    }

    /// Reads and sends neighbouring blocks.
    fn data(
        &mut self,
        now: Time,
        wire: &mut Wire,
        to: Destination,
        header: Header,
        blocks: BlockRange,
    ) {
        let number = header.batch;
        let outgoing = &self.new.outgoing;
        let Some(open) = self.batches.get_mut(&number) else { return };
        let layout = Arc::clone(&open.layout);
        let mut struck = Vec::new();
        if layout.streams() {
            let read =
                |offset: u64, slices: &mut [IoSliceMut<'_>]| open.source.read_at(offset, slices);
            if let Err(reason) = wire.blocks(now, to, header, blocks, &layout, read) {
                struck.extend(layout.slots().first().map(|slot| (slot.entry, reason)));
            }
        } else {
            let bytes = layout.bytes_of_all(blocks);
            let lacking = layout.slots_in(&bytes).iter().any(|slot| {
                !open.loaded.contains(slot.entry) && outgoing.is_sent(number, slot.entry)
            });
            if open.body.is_none() || lacking {
                let wanted = |entry: EntryNo| outgoing.is_sent(number, entry);
                let memory = open.body.take().unwrap_or_else(|| std::mem::take(&mut self.spare));
                let (body, failed) = open.source.load(memory, &wanted);
                let slots = layout.slots().iter().map(|slot| slot.entry);
                open.loaded = Bits::of(slots.filter(|&entry| wanted(entry)));
                open.body = Some(body);
                struck = failed;
            }
            let body = open.body.as_deref().unwrap_or_default();
            let copy = |offset: u64, slices: &mut [IoSliceMut<'_>]| -> Result<(), ()> {
                let mut at = offset as usize;
                for slice in slices {
                    let from = body.get(at..at + slice.len()).ok_or(())?;
                    slice.copy_from_slice(from);
                    at += slice.len();
                }
                Ok(())
            };
            // The body is as long as its layout says.
            let _ = wire.blocks(now, to, header, blocks, &layout, copy);
            self.keep_few_bodies(number);
        }
        if !struck.is_empty() {
            self.new.outgoing.strike(now, number, &struck);
        }
    }

    fn keep_few_bodies(&mut self, used: BatchNo) {
        let held = self.batches.values().filter(|open| open.body.is_some()).count();
        if held > BODIES {
            let mut others = self.batches.iter_mut().filter(|(number, _)| **number != used);
            if let Some((_, oldest)) = others.find(|(_, open)| open.body.is_some()) {
                self.spare = oldest.body.take().unwrap_or_default();
            }
        }
    }

    /// Does what the transfer asks for, and reports what it says as fast as the client reads.
    fn events(&mut self, now: Time) {
        loop {
            while let Some(event) = self.new.outgoing.poll_event() {
                self.event(now, event);
            }
            if self.paused() && !self.aborted {
                return;
            }
            let Some(event) = self.untold.pop_front() else { return };
            self.tell(now, event);
        }
    }

    /// Does what an event asks for; what there is to say of it comes later.
    fn event(&mut self, now: Time, event: Event) {
        let (shared, report) = (&self.shared, &mut self.report);
        let outgoing = &mut self.new.outgoing;
        match event {
            Event::Verify(number) => {
                let changed = self
                    .batches
                    .get(&number)
                    .map(|open| open.source.verify(&|entry| outgoing.is_wanted(number, entry)));
                outgoing.verified(now, number, &changed.unwrap_or_default());
            }
            Event::Struck(number, entries) => self.strike(number, &entries),
            Event::Closed(number, _) => {
                if let Some(body) = self.batches.remove(&number).and_then(|open| open.body) {
                    self.spare = body;
                }
                self.untold.push_back(event);
            }
            Event::Suspended(target) => report.suspended(target),
            Event::Resumed(target) => report.resumed(target),
            Event::Gone(_, Gone::Refused(Reason::Held, ref who)) => {
                // Nobody has committed anything yet: this target has not even said what it needs.
                self.held = Some(Escaped(who).to_string());
                outgoing.abort(now);
            }
            Event::Gone(..) if self.held.is_some() => {}
            Event::Gone(target, ref why) => {
                if *why == Gone::Silent {
                    if let Some(node) = outgoing.node(target) {
                        shared.control.send(ToControl::Drop(node));
                    }
                }
                self.untold.push_back(event);
            }
            _ => self.untold.push_back(event),
        }
    }

    /// Reports an event.
    fn tell(&mut self, now: Time, event: Event) {
        let (shared, report) = (&self.shared, &mut self.report);
        let outgoing = &mut self.new.outgoing;
        match event {
            Event::Needs(number, target, runs) => report.needs(shared, number, target, &runs),
            Event::Outcomes(number, target, runs, wanted) => {
                report.outcomes(shared, number, target, &runs, &wanted);
            }
            Event::Closed(number, wanted) => report.close(number, &wanted),
            Event::Shared(target, with) => report.shared(shared, target, &with),
            Event::Tallied(tallies) => {
                let (delete, names) = report.tallied(shared, &tallies);
                outgoing.decide(now, delete, names);
            }
            Event::Ran(target, deleted, failed) => report.ran(target, deleted, failed),
            Event::Page(target, names) => report.page(shared, target, &names),
            Event::Gone(target, why) => report.gone(shared, target, &why),
            Event::Finished => self.finish(now),
            // These say nothing.
            Event::Verify(_) | Event::Struck(..) | Event::Suspended(_) | Event::Resumed(_) => {}
        }
    }

    /// Files that changed are offered again, a few times; what cannot be read is reported.
    fn strike(&mut self, number: BatchNo, entries: &[(EntryNo, Reason)]) {
        const ENOENT: u16 = 2;
        for &(entry, reason) in entries {
            let found =
                self.batches.get(&number).and_then(|open| open.manifest.entries.get(entry.index()));
            let Some(path) = found.map(|entry| entry.path.clone()) else { continue };
            let tries = self.tries.entry(path.clone()).or_insert(0);
            *tries += 1;
            if matches!(reason, Reason::Changed | Reason::Os(ENOENT)) && *tries < TRIES {
                self.struck.push(path);
            } else {
                self.report.trouble(&self.shared, &path, &reason.to_string());
            }
        }
    }

    fn finish(&mut self, now: Time) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let (shared, report) = (&self.shared, &mut self.report);
        let NewTransfer { outgoing, errors, cancelled, .. } = &mut self.new;
        cancelled.store(true, Ordering::Relaxed);
        let mut stats = lock(&shared.stats);
        for (node, seen) in outgoing.target_stats().filter(|(node, _)| shared.knows(*node)) {
            let known = stats.entry(node).or_default();
            known.lost += seen.lost;
            known.repairs += seen.repairs;
            known.slowest += seen.slowest;
            known.round_trip = seen.round_trip.or(known.round_trip);
        }
        drop(stats);
        // Who is told that it is over must not find it at work.
        lock(&shared.sends).remove(&outgoing.number());
        if let Some(who) = self.held.take() {
            let (client, number) = (report.client(), outgoing.number());
            shared.control.send(ToControl::Held { client, number, who });
        } else if !self.aborted {
            let wire = outgoing.bytes_sent();
            report.over(shared, now, outgoing.number(), wire, errors.load(Ordering::Relaxed));
        }
        self.batches.clear();
        self.spare = Vec::new();
    }
}
