//! One outgoing transfer with all that belongs to it: its walker, its open batches, its report.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::TryRecvError;

use super::agreement::Agreement;
use super::kept::Kept;
use super::open_batches::OpenBatches;
use super::packets_out::PacketsOut;
use super::state::{self, Ending, State};
use crate::console::error::{Code, ErrorLine};
use crate::console::metrics::Ended;
use crate::daemon::counters::add;
use crate::daemon::messages::{Again, Errand, Holder, NO_CLIENT, NewTransfer, ToControl, Walked};
use crate::daemon::reporting::advance::UnderWay;
use crate::daemon::reporting::report::Report;
use crate::daemon::shared::{Shared, lock};
use crate::engine::outgoing::{Event, Gone, Transmit};
use crate::errno;
use crate::fs::batch::SourceBatch;
use crate::ids::{BatchNo, EntryNo, TransferNo};
use crate::name::{NodeId, RelPath};
use crate::time::{Span, Time};
use crate::wire::begin::Recorded;
use crate::wire::feedback::Feedback;
use crate::wire::layout::Layout;
use crate::wire::outcome::{Need, Outcome, Reason};

/// How often progress is reported.
const PROGRESS: Span = Span::from_millis(200);

/// A transfer that the sender thread drives.
pub(super) struct OutgoingTransfer {
    pub(super) shared: Arc<Shared>,
    pub(super) parts: NewTransfer,
    state: State,
    /// The walker does not have to look at directories again.
    is_quiet: bool,
    pub(super) batches: OpenBatches,
    pub(super) kept: Kept,
    /// If it is for all of its targets or none.
    pub(super) agreement: Option<Agreement>,
    pub(super) retries: Retries,
    pub(super) report: Report,
    /// How many bytes of it the kernel has refused.
    refused: u64,
    /// How many bytes of it were sent once more, so far.
    repaired: u64,
    /// When progress was last reported.
    progress_at: Time,
    /// What is still to be reported. Before it becomes lines it takes little memory, whatever the
    /// number of hosts, so it waits here for a client that reads slowly.
    pending_reports: VecDeque<Event>,
}

/// Files that are offered again.
#[derive(Default, Debug)]
pub(super) struct Retries {
    /// Those that the walker is to look at once more.
    pub(super) paths: Vec<Again>,
    /// Of these, the ones with digests.
    pub(super) with_digests: HashSet<RelPath>,
    /// How often each that changed was offered.
    pub(super) tries: HashMap<RelPath, u32>,
}

/// Whether a transfer's turn ended before there was nothing left to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    More,
    Done,
}

impl OutgoingTransfer {
    pub(super) fn new(shared: Arc<Shared>, mut new: NewTransfer, now: Time) -> Self {
        OutgoingTransfer {
            kept: Kept::new(new.recording.take()),
            agreement: new.atomic.take().map(|(of, plan)| Agreement::new(of, plan)),
            report: Report::new(&new, shared.me(), now),
            shared,
            is_quiet: false,
            parts: new,
            state: State::Walking,
            batches: OpenBatches::default(),
            retries: Retries::default(),
            refused: 0,
            repaired: 0,
            progress_at: now,
            pending_reports: VecDeque::new(),
        }
    }

    pub(super) fn number(&self) -> TransferNo {
        self.parts.outgoing.number()
    }

    pub(super) fn is_over(&self) -> bool {
        self.parts.outgoing.is_over() && self.pending_reports.is_empty()
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let blocks_too = !self.waits_for_client();
        self.parts.outgoing.poll_timeout(blocks_too).into_iter().chain(self.progress_due()).min()
    }

    pub(super) fn timeout(&mut self, now: Time) {
        if self.parts.outgoing.poll_timeout(true).is_some_and(|at| at <= now) {
            self.parts.outgoing.timeout(now);
        }
        if self.progress_due().is_some_and(|at| at <= now) {
            self.progress_at = now;
            let outgoing = &self.parts.outgoing;
            let own = self.parts.digested.load(Ordering::Relaxed);
            let under_way =
                UnderWay { streamed: outgoing.streaming(), digested: own.min(outgoing.digested()) };
            self.report.progress(&self.shared, now, under_way, self.parts.totals.as_deref());
        }
    }

    /// When progress is to be reported, if anybody watches it.
    fn progress_due(&self) -> Option<Time> {
        let watched = self.report.watches() && self.state != State::Finished;
        watched.then(|| self.progress_at + PROGRESS)
    }

    pub(super) fn feedback(&mut self, now: Time, node: NodeId, batch: BatchNo, feedback: Feedback) {
        self.parts.outgoing.feedback(now, node, batch, feedback);
        self.events(now);
    }

    pub(super) fn member_gone(&mut self, now: Time, node: NodeId) {
        self.parts.outgoing.member_gone(now, node);
        self.events(now);
    }

    /// Its client has gone, or the daemon ends.
    pub(super) fn abort(&mut self, now: Time) {
        self.state.cancel();
        let finished = self.pending_reports.contains(&Event::Finished);
        self.pending_reports.clear();
        self.agreement.iter().for_each(|agreement| agreement.give_up(&self.shared));
        self.parts.outgoing.abort(now);
        if finished {
            self.finish(now);
        }
        self.events(now);
    }

    /// Sends at most `turn` times.
    pub(super) fn drive(&mut self, now: Time, out: &mut PacketsOut, turn: usize) -> Turn {
        let refused = out.refused();
        let done = self.send(now, out, turn);
        // What is still in the buffer is this transfer's.
        out.flush(now);
        self.refused += out.refused() - refused;
        let repaired = self.parts.outgoing.bytes_repaired();
        add(&self.shared.counters.repaired, repaired - self.repaired);
        self.repaired = repaired;
        if out.was_too_long() {
            self.stop(now, "the MTU of this host's interface was lowered");
        }
        done
    }

    /// Nobody hears any more what it says.
    pub(super) fn address_changed(&mut self, now: Time) {
        self.stop(now, "the address of this host has changed");
    }

    /// It fails on all hosts for something that has happened here.
    fn stop(&mut self, now: Time, why: &str) {
        // One that is held is given up already, and begins again.
        if !self.parts.outgoing.is_over() && !matches!(self.state, State::Held(_)) {
            self.report.stopped(&self.shared, why);
            self.parts.outgoing.abort(now);
            self.events(now);
        }
    }

    fn send(&mut self, now: Time, out: &mut PacketsOut, turn: usize) -> Turn {
        self.events(now);
        self.feed(now);
        let most = PacketsOut::most(self.parts.block.into());
        for _ in 0..turn {
            let blocks_too = !self.waits_for_client() && out.open(now);
            match self.parts.outgoing.poll_transmit(now, most, blocks_too) {
                None => return Turn::Done,
                Some(Transmit::Packet { to, header, payload }) => {
                    out.packet(now, to, header, &payload);
                }
                Some(Transmit::Data { to, header, blocks }) => {
                    let outgoing = &self.parts.outgoing;
                    let sent = |entry: EntryNo| outgoing.is_sent(header.batch, entry);
                    let struck = self.batches.send(now, out, to, header, blocks, &sent);
                    if !struck.is_empty() {
                        self.parts.outgoing.strike(now, header.batch, &struck);
                    }
                    self.events(now);
                }
            }
        }
        Turn::More
    }

    /// Whether the client has so much to read that the transfer pauses.
    fn waits_for_client(&self) -> bool {
        self.parts.unread.is_too_much()
    }

    /// Hands in what the walker has found, as far as it is wanted.
    fn feed(&mut self, now: Time) {
        while self.state == State::Walking
            && !self.waits_for_client()
            && self.parts.outgoing.wants_batch()
        {
            match self.parts.walked.try_recv() {
                Ok(Walked::Batch(batch)) => self.open(now, &batch),
                Ok(Walked::End) => self.state.walked(),
                Ok(Walked::Quiet) => {
                    self.is_quiet = true;
                    self.state.walked();
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    // It has panicked, and not said that this was all.
                    self.state.walked();
                    self.is_quiet = true;
                    if self.is_replay() {
                        // Who gets it must not take this for all.
                        self.parts.outgoing.abort(now);
                        return self.events(now);
                    }
                    let error = ErrorLine::new(Code::Other, "the walk has failed");
                    self.report.error(&self.shared, error);
                }
            }
        }
        if self.state != State::Walked {
            return;
        }
        if !self.retries.paths.is_empty() {
            self.retries.with_digests.clear();
            let files = std::mem::take(&mut self.retries.paths);
            self.walk_again(Errand::Files(files));
        } else if !self.batches.is_empty() {
            // They may still have to be read again.
        } else if !self.is_quiet {
            self.walk_again(Errand::Look);
        } else {
            self.state.complete();
            if !self.parts.order.mode.spools() {
                self.parts.outgoing.set_recorded(self.kept.recorded(&self.shared, false));
            }
            self.parts.outgoing.end_input(now);
            self.events(now);
        }
    }

    fn walk_again(&mut self, what: Errand) {
        match self.parts.errands.send(what) {
            Ok(()) => self.state.walk_again(),
            // It has panicked.
            Err(_) => self.is_quiet = true,
        }
    }

    fn open(&mut self, now: Time, batch: &SourceBatch) {
        let manifest = &batch.manifest;
        let Some(layout) = Layout::new(manifest, self.parts.block.into()).filter(Layout::is_sound)
        else {
            // Only a file that needs more than 2^32 blocks: the others go without it.
            let (files, others) = batch.without_files();
            for path in &files {
                let error = ErrorLine::of_path(path, Reason::Os(errno::EFBIG));
                self.report.error(&self.shared, error);
            }
            if !files.is_empty() {
                self.open(now, &others);
            }
            return;
        };
        let layout = Arc::new(layout);
        let number = self.parts.outgoing.batch(now, manifest, Arc::clone(&layout));
        self.report.open(number, Arc::clone(manifest));
        self.kept.open(&self.shared, number, manifest);
        self.batches.open(number, &self.parts.root, batch, layout);
        if !batch.declined.is_empty() {
            let declined: Vec<_> =
                batch.declined.iter().map(|entry| (*entry, Reason::Changed)).collect();
            self.parts.outgoing.strike(now, number, &declined);
        }
        self.events(now);
    }

    /// Does what the transfer asks for, and reports what it says as fast as the client reads.
    pub(super) fn events(&mut self, now: Time) {
        loop {
            while let Some(event) = self.parts.outgoing.poll_event() {
                self.event(now, event);
            }
            if self.waits_for_client() && !self.state.is_unheard() {
                return;
            }
            let Some(event) = self.pending_reports.pop_front() else { return };
            self.report_event(now, event);
        }
    }

    /// Does what an event asks for; what there is to say of it comes later.
    fn event(&mut self, now: Time, event: Event) {
        let outgoing = &mut self.parts.outgoing;
        match event {
            Event::Verify(number) => {
                let wanted = |entry: EntryNo| outgoing.is_wanted(number, entry);
                let changed = self.batches.verify(number, &wanted);
                if self.agreement.is_none() {
                    self.kept.commits();
                }
                outgoing.verified(now, number, &changed);
            }
            Event::Struck(number, entries) => {
                self.kept.strike(number, &entries);
                self.strike(number, &entries);
            }
            Event::Needs(number, _, ref runs) => {
                // Where something is done, its outcome says so.
                if self.parts.order.mode.changes_nothing() {
                    let unsure = runs.iter().filter(|(_, need)| *need == Need::Unsure);
                    self.offer_with_digest(number, unsure.map(|(entry, _)| entry).collect());
                }
                self.pending_reports.push_back(event);
            }
            Event::Outcomes(number, target, ref runs) => {
                let unsure = runs.iter().filter(|(_, outcome)| *outcome == Outcome::Again);
                let unsure: Vec<EntryNo> = unsure.map(|(entry, _)| entry).collect();
                let agreement = self.agreement.as_mut();
                let ends = agreement.is_some_and(|agreement| agreement.outcomes(target, runs));
                self.offer_with_digest(number, unsure);
                self.pending_reports.push_back(event);
                if ends {
                    self.parts.outgoing.abort(now);
                }
            }
            Event::Closed(number) => {
                self.batches.close(number);
                self.kept.close(&self.shared, number);
                self.pending_reports.push_back(event);
            }
            Event::Suspended(target) => self.report.suspended(target),
            Event::Resumed(target) => self.report.resumed(target),
            Event::Gone(target, ref why) => {
                if let Some(by) = state::holder(why, self.report.name(target)) {
                    // Nobody has committed anything yet: it has not even said what it needs.
                    if self.state.hold(by) {
                        outgoing.abort(now);
                    }
                    return;
                }
                if matches!(self.state, State::Held(_)) {
                    return;
                }
                if *why == Gone::Silent {
                    if let Some(node) = outgoing.node(target) {
                        let said = match self.parts.order.mirror {
                            Some(_) => ToControl::Silent(node),
                            None => ToControl::Drop(node),
                        };
                        self.shared.control.send(said);
                    }
                }
                self.pending_reports.push_back(event);
                if self.agreement.as_mut().is_some_and(|agreement| agreement.fails(target)) {
                    self.parts.outgoing.abort(now);
                }
            }
            _ => self.pending_reports.push_back(event),
        }
    }

    /// Reports an event.
    fn report_event(&mut self, now: Time, event: Event) {
        let (shared, report) = (&self.shared, &mut self.report);
        match event {
            Event::Needs(number, target, runs) => report.needs(shared, number, target, &runs),
            Event::Outcomes(number, target, runs) => report.outcomes(shared, number, target, &runs),
            Event::Closed(number) => report.close(number),
            Event::Shared(target, with) => report.shared(shared, target, &with),
            Event::Tallied(tallies) => {
                let (delete, names) = report.tallied(shared, &tallies);
                self.parts.outgoing.set_recorded(self.settled());
                if delete && self.agreement.is_none() {
                    self.kept.commits();
                }
                self.parts.outgoing.decide(now, delete, names);
            }
            Event::Ran(target, deleted, failed) => report.ran(target, deleted, failed),
            Event::Page(target, names) => report.page(shared, target, &names),
            Event::Gone(target, why) => {
                let host = &self.parts.hosts[target.index()];
                report.gone(shared, target, &why, host);
            }
            Event::Staged => self.staged(now),
            Event::Finished => self.finish(now),
            // These say nothing.
            Event::Verify(_) | Event::Struck(..) | Event::Suspended(_) | Event::Resumed(_) => {}
        }
    }

    /// What END is to say of a transfer that deletes, now that it is known how much there is to delete.
    fn settled(&self) -> Option<Recorded> {
        let NewTransfer { order, errors, own_only, .. } = &self.parts;
        let settles = !own_only && self.report.settles(errors.load(Ordering::Relaxed));
        // If it was not to be, nothing was done.
        let nothing = order.mode.only_deletes() && !settles;
        self.kept.recorded(&self.shared, settles).filter(|_| !nothing)
    }

    /// Whether it is sent once more for hosts that lack it.
    pub(super) fn is_replay(&self) -> bool {
        self.parts.order.is_replay
    }

    fn finish(&mut self, now: Time) {
        let Some(ending) = self.state.finish() else { return };
        if self.agreement.as_ref().is_some_and(|agreement| !agreement.is_in_place) {
            self.report.came_to_nothing(&self.shared);
        }
        let (shared, report) = (&self.shared, &mut self.report);
        let NewTransfer { outgoing, errors, cancelled, .. } = &mut self.parts;
        cancelled.store(true, Ordering::Relaxed);
        if let Some(stamp) = self.kept.finish(shared, outgoing.recorded()) {
            report.recorded(stamp);
        }
        let mut stats = lock(&shared.stats);
        for (target, node, seen) in outgoing.target_stats() {
            report.lossy(shared, target, &seen);
            if !shared.knows(node) {
                continue;
            }
            let known = stats.entry(node).or_default();
            known.lost += seen.lost;
            known.repairs += seen.repairs;
            known.slowest += seen.slowest;
            known.round_trip = seen.round_trip.or(known.round_trip);
        }
        drop(stats);
        let number = outgoing.number();
        // Whoever is told that it is over must not find it at work.
        lock(&shared.sends).remove(&number);
        match ending {
            Ending::Report => {
                let errors = errors.load(Ordering::Relaxed);
                // What the kernel refused was never on the wire.
                let wire = outgoing.bytes_sent().saturating_sub(self.refused);
                report.over(shared, now, number, wire, errors);
            }
            Ending::Held(by) => {
                shared.control.send(ToControl::Held { client: report.client(), number, by });
            }
            Ending::Silent => {
                report.ended(shared, now, number, Ended::Aborted);
                if report.client() == NO_CLIENT {
                    let (client, by) = (NO_CLIENT, Holder::Nobody);
                    shared.control.send(ToControl::Held { client, number, by });
                }
            }
        }
        self.batches = OpenBatches::default();
    }
}
