//! One transfer, seen by its sender.
//!
//! Batches go in, packets come out; the bytes of bodies are never seen here: [`Transmit::Data`] names
//! blocks, and the driver reads them.
//!
//! **The driving rule.** After each call that hands something in ([`Outgoing::batch`],
//! [`Outgoing::feedback`], [`Outgoing::timeout`], …) the driver takes all events
//! ([`Outgoing::poll_event`]) and does what they ask for, then hands in batches as long as
//! [`Outgoing::wants_batch`], then sends what [`Outgoing::poll_transmit`] gives until that is nothing,
//! then waits until the time of [`Outgoing::poll_timeout`].
//!
//! What leaves next, by rank: packets that wait for nothing (BEGIN, COMMIT, POLL and the like); blocks
//! that are sent again; manifests, which run ahead; bodies, where the blocks that anyone needs are sent
//! once. After each call [`Outgoing`] does all that can be done by then: it lets batches be verified,
//! commits them and drops those that are done, both in order, and ends.
//!
//! Each part owns its state and knows nothing of [`Outgoing`], which joins them:
//! - `target`, with `contact` and `measure`: who takes part, who is silent, how fast each receives;
//!   `joining`: BEGIN.
//! - `sending` chooses what leaves next of `batches` (what is sent once, in which order) and `repair`
//!   (what is sent again), as far as `flow` (window and pace) allows.
//! - `batch`, with `progress`: where one batch stands and how far each target is with it; `commit`: what
//!   its commit leaves out, and who has been told.
//! - `polling`, with `polls`: whom to ask, and how long to wait for answers.
//! - `deletion` and `closing`: what comes after the last batch.
//! - `outbox`: what waits for the driver.
//!
//! What joins them is in four files: here what the driver hands in and what follows from it, in
//! `answers` what targets answer, in `deadlines` what time brings, in `agreeing` how one ends that is for all of
//! its targets or none.

mod agreeing;
mod answers;
mod batch;
mod batches;
mod closing;
mod commit;
mod contact;
mod deadlines;
mod deletion;
mod figures;
mod flow;
mod joining;
mod measure;
mod outbox;
mod polling;
mod polls;
mod progress;
mod repair;
mod sending;
mod target;
#[cfg(test)]
mod testing;
mod types;

use std::ops::Range;
use std::sync::Arc;

use crate::ids::{BatchNo, EntryNo, TargetNo, TransferNo};
use crate::name::NodeId;
use crate::time::Time;
use crate::wire::begin::{End, Recorded};
use crate::wire::header::PacketKind;
use crate::wire::layout::Layout;
use crate::wire::manifest::Manifest;
use crate::wire::outcome::Reason;
use crate::wire::poll::Poll;

use batch::OutgoingBatch;
use batches::Lacking;
use closing::{Closing, Ending};
use deletion::{Deletion, Next};
use flow::Limits;
use outbox::Outbox;
use polling::Polling;
use repair::{Run, Stream, Who};
use sending::{Sending, Turn};
use target::{Presence, Targets};

pub use measure::Stats;
pub use types::{Config, Event, Gone, Transmit};

/// Whether further batches may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Input {
    Open,
    Ended,
}

/// Where the transfer stands, in this order.
#[derive(Debug)]
enum Phase {
    /// Batches are on their way, or will be.
    Running(Input),
    /// All batches are done; what is spooled for deletion is dealt with.
    Deleting(Deletion),
    /// All is staged, and others find out whether it is put into place.
    Agreeing,
    /// END or ABORT is repeated until everyone has confirmed it.
    Closing(Closing),
    /// Nothing is left to do.
    Over,
}

/// A transfer, seen by its sender.
#[derive(Debug)]
pub struct Outgoing {
    config: Config,
    phase: Phase,
    targets: Targets,
    sending: Sending,
    polling: Polling,
    outbox: Outbox,
    recorded: Option<Recorded>,
}

impl Outgoing {
    /// Opens a transfer. With no targets it is over when its input is.
    pub fn new(config: Config, now: Time) -> Self {
        let mut outgoing = Outgoing {
            phase: Phase::Running(Input::Open),
            targets: Targets::new(&config.targets, now),
            sending: Sending::new(config.block, config.mode.changes_nothing()),
            polling: Polling::new(now),
            outbox: Outbox::new(config.me, config.number),
            recorded: None,
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
        self.targets.get(target).map(|target| target.node())
    }

    /// Whether another batch may be handed in now.
    pub fn wants_batch(&self) -> bool {
        matches!(self.phase, Phase::Running(Input::Open))
            && self.sending.batches.have_room(self.config.parallel)
    }

    /// Hands in the next batch: its manifest, and where the bytes of its files are. Gives its number.
    pub fn batch(&mut self, now: Time, manifest: &Manifest, layout: Arc<Layout>) -> BatchNo {
        let (bytes, entries, block) =
            (manifest.emit().into(), manifest.entries.len(), self.config.block);
        let batch = OutgoingBatch::new(bytes, entries, layout, block, &self.targets);
        let number = self.sending.batches.push(batch, manifest.files());
        self.polling.be_impatient();
        self.advance(now);
        number
    }

    /// What is to be kept of it: before [`Outgoing::end_input`], and again before [`Outgoing::decide`].
    pub fn set_recorded(&mut self, recorded: Option<Recorded>) {
        self.recorded = recorded;
    }

    /// What END has said that is to be kept of it; None if nothing is, or it has not come to its end.
    pub fn recorded(&self) -> Option<Recorded> {
        self.recorded.filter(|_| self.is_closing())
    }

    /// No further batch will come.
    pub fn end_input(&mut self, now: Time) {
        if let Phase::Running(input) = &mut self.phase {
            *input = Input::Ended;
        }
        self.advance(now);
    }

    /// Whether a batch's entry is needed by anyone. False for batches that are closed.
    pub fn is_wanted(&self, batch: BatchNo, entry: EntryNo) -> bool {
        self.sending.batches.get(batch).is_some_and(|batch| batch.is_wanted(entry))
    }

    /// Whether blocks that anyone needs hold bytes of a batch's entry. These bytes have to be right
    /// even if [`Outgoing::is_wanted`] is false: a target may need them that could not say so yet.
    pub fn is_sent(&self, batch: BatchNo, entry: EntryNo) -> bool {
        self.sending.batches.get(batch).is_some_and(|batch| batch.sends(entry))
    }

    /// Some files of a batch are not what its manifest says: no target will have them. Their blocks
    /// may hold anything.
    pub fn strike(&mut self, now: Time, number: BatchNo, entries: &[(EntryNo, Reason)]) {
        let Some(batch) = self.sending.batches.get_mut(number) else { return };
        let new = batch.strike(entries);
        if batch.is_committing() {
            self.report_struck(number, new);
        } else if !new.is_empty() && batch.layout().streams() {
            // Nothing is left of this batch that is worth waiting for.
            self.commit(number);
        }
        self.advance(now);
    }

    /// The answer to [`Event::Verify`].
    pub fn verified(&mut self, now: Time, number: BatchNo, changed: &[(EntryNo, Reason)]) {
        self.strike(now, number, changed);
        self.commit(number);
        self.advance(now);
    }

    /// The answer to [`Event::Tallied`]: whether to delete, and whether the names are wanted.
    pub fn decide(&mut self, now: Time, delete: bool, names: bool) {
        if let Phase::Deleting(deletion) = &mut self.phase {
            let next = deletion.decide(&self.targets, delete, names);
            self.go_on_deleting(now, next);
        }
    }

    /// A member has left the group, or has been replaced.
    pub fn member_gone(&mut self, now: Time, node: NodeId) {
        if let Some(target) = self.targets.of_node(node) {
            self.drop_target(target, Gone::Left);
            self.advance(now);
        }
    }

    /// Calls it off: nothing more is committed.
    pub fn abort(&mut self, now: Time) {
        if !self.is_closing() {
            self.outbox.drop_packets();
            self.give_up(now);
        }
    }

    /// Whether nothing is left to do or to send.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over) && self.outbox.is_empty()
    }

    /// What the driver has to know or do.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.outbox.next_event()
    }

    // Who takes part.

    /// Names targets that have not answered in BEGIN.
    fn begin(&mut self, some: Range<usize>) {
        for (to, begin) in joining::begins(&self.config, &self.targets, some) {
            self.outbox.send(to, PacketKind::Begin, begin.emit());
        }
    }

    /// A target comes or goes.
    fn set_presence(&mut self, target: TargetNo, presence: Presence) {
        let before = self.targets.set_presence(target, presence);
        self.sending.batches.set_presence(target, before, presence);
        self.hold();
    }

    /// Where nothing arrives at any target, nothing new is sent: it would come to nothing.
    fn hold(&mut self) {
        let deaf = self.targets.active().all(|(_, target)| target.misses.is_deaf());
        self.sending.held = deaf && self.targets.any_active();
    }

    /// A target has been silent for too long: nobody waits for it.
    fn suspend(&mut self, target: TargetNo) {
        self.excuse(target);
        self.outbox.event(Event::Suspended(target));
        self.set_presence(target, Presence::Suspended);
    }

    /// A target takes no part any more.
    fn drop_target(&mut self, target: TargetNo, why: Gone) {
        if self.targets[target].is_gone() {
            return;
        }
        self.set_presence(target, Presence::Gone);
        self.excuse(target);
        if !self.is_closing() {
            self.outbox.event(Event::Gone(target, why));
        }
    }

    fn excuse(&mut self, target: TargetNo) {
        self.polling.excuse(target);
        self.sending.repairs.excuse(target);
    }

    // What follows.

    /// Does what can be done now: verifies and commits batches, drops those that are done, ends.
    fn advance(&mut self, now: Time) {
        match &mut self.phase {
            Phase::Over | Phase::Agreeing => {}
            Phase::Closing(closing) => {
                if closing.is_confirmed(&self.targets) {
                    self.phase = Phase::Over;
                }
            }
            Phase::Deleting(deletion) => {
                let next = deletion.advance(&self.targets);
                self.go_on_deleting(now, next);
            }
            Phase::Running(_) if self.targets.all_gone() => self.give_up(now),
            &mut Phase::Running(input) => self.advance_batches(now, input),
        }
    }

    fn advance_batches(&mut self, now: Time, input: Input) {
        if !self.config.mode.changes_nothing() && self.targets.any_active() {
            if let Some(number) = self.sending.batches.verify_next() {
                self.outbox.event(Event::Verify(number));
            }
        }
        while let Some(number) = self.sending.pop_done() {
            self.outbox.event(Event::Closed(number));
        }
        if input == Input::Ended && self.sending.batches.is_empty() {
            if self.config.mode.spools() {
                self.phase = Phase::Deleting(Deletion::new(&self.targets));
                self.go_on_deleting(now, Some(Next::Ask));
            } else {
                self.all_done(now);
            }
        }
    }

    /// Fixes what a batch's commit leaves out, and tells all targets to commit.
    fn commit(&mut self, number: BatchNo) {
        let strikes = self.sending.batches.get_mut(number).and_then(OutgoingBatch::commit);
        let Some(strikes) = strikes else { return };
        self.report_struck(number, strikes);
        let active: Vec<TargetNo> = self.targets.active().map(|(target, _)| target).collect();
        self.send_commit(number, &active);
    }

    fn report_struck(&mut self, number: BatchNo, strikes: Vec<(EntryNo, Reason)>) {
        if !strikes.is_empty() {
            self.outbox.event(Event::Struck(number, strikes));
        }
    }

    fn send_commit(&mut self, number: BatchNo, targets: &[TargetNo]) {
        let to = match targets {
            [] => return,
            [only] => self.targets[*only].to(),
            _ => self.targets.everyone(),
        };
        let Some(batch) = self.sending.batches.get_mut(number) else { return };
        let commit = batch.send_commit(targets, self.polling.last());
        let mut header = self.outbox.header(PacketKind::Commit);
        header.batch = number;
        self.outbox.packet(to, header, commit.emit());
    }

    fn go_on_deleting(&mut self, now: Time, next: Option<Next>) {
        match next {
            None => {}
            Some(Next::Decide(tallies)) => self.outbox.event(Event::Tallied(tallies)),
            Some(Next::Ask) => {
                self.polling.be_impatient();
                self.ask_for_deletion(now);
                self.advance(now);
            }
            Some(Next::End) => self.all_done(now),
        }
    }

    fn ask_for_deletion(&mut self, now: Time) {
        let Phase::Deleting(deletion) = &self.phase else { return };
        self.polling.asked(now);
        for (to, order) in deletion.orders(&self.targets) {
            self.outbox.send(to, PacketKind::Delete, order.emit());
        }
    }

    /// Whether the end has been said.
    fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing(_) | Phase::Over)
    }

    /// Ends it before its end.
    fn give_up(&mut self, now: Time) {
        self.sending.stop();
        self.recorded = None;
        self.close(now, Ending::Abort);
    }

    /// Ends it: END or ABORT is said until everyone has confirmed it.
    fn close(&mut self, now: Time, ending: Ending) {
        self.outbox.event(Event::Finished);
        self.phase = Phase::Closing(Closing::new(ending));
        self.say_closing(now);
        self.advance(now);
    }

    fn say_closing(&mut self, now: Time) {
        let Phase::Closing(closing) = &mut self.phase else { return };
        self.polling.asked(now);
        let mut header = self.outbox.header(closing.kind());
        let mut payload = Vec::new();
        if closing.is_end() {
            let (last, files) = self.sending.batches.total();
            header.batch = last;
            payload = End { files, recorded: self.recorded }.emit();
        }
        for to in closing.say(&self.targets) {
            self.outbox.packet(to, header, payload.clone());
        }
    }

    // Sending.

    /// Sends POLL: to all, asking the next slice of them; or to those who are to answer now.
    fn poll(&mut self, now: Time, these: Option<&[TargetNo]>) {
        let sent = self.sending.flow.sent_so_far();
        let Some(question) = self.polling.ask(now, &self.targets, these, sent) else { return };
        let batches = &self.sending.batches;
        let lacking = match these {
            Some(these) => batches.lacking(these),
            None => Lacking { first: batches.first(), need: 0, done: 0 },
        };
        let poll = Poll {
            offers: batches.offer_mark(),
            data: batches.data_mark(),
            spread: polling::spread(&self.targets),
            want_first: lacking.first,
            want_need: lacking.need,
            want_done: lacking.done,
            asked: question.asked,
        };
        let mut header = self.outbox.header(PacketKind::Poll);
        header.batch = batches.first();
        header.set_poll(question.number);
        for to in question.to {
            self.outbox.packet(to, header, poll.emit());
        }
        if these.is_none() {
            self.sending.flow.polled();
        }
    }

    /// What is to be sent now, at most `most` blocks at once; no blocks at all unless `blocks_too`.
    pub fn poll_transmit(&mut self, now: Time, most: u32, blocks_too: bool) -> Option<Transmit> {
        if let Some(transmit) = self.outbox.next_packet() {
            return Some(transmit);
        }
        if !matches!(self.phase, Phase::Running(_)) || self.targets.is_empty() {
            return None;
        }
        let limits = Limits { grant: self.targets.smallest_grant(), most };
        let (last_poll, alone) = (self.polling.last(), self.targets.len() > 1);
        match self.sending.next(now, limits, blocks_too, last_poll, alone)? {
            Turn::Blocks(run) => Some(self.transmit(run)),
            Turn::Poll { twice } => {
                self.poll(now, None);
                if twice {
                    self.outbox.double_last();
                }
                self.outbox.next_packet()
            }
        }
    }

    fn transmit(&self, run: Run) -> Transmit {
        let Run { batch, stream, blocks, who } = run;
        let (to, alone) = match who {
            Who::One(target) if self.targets.len() > 1 => (self.targets[target].to(), true),
            _ => (self.targets.everyone(), false),
        };
        let kind = match stream {
            Stream::Offer => PacketKind::Offer,
            Stream::Data => PacketKind::Data,
        };
        let mut header = self.outbox.header(kind);
        (header.batch, header.block, header.alone) = (batch, blocks.start, alone);
        match stream {
            Stream::Offer => {
                let payload = self.sending.batches.get(batch).map(|b| b.offer(blocks.start));
                Transmit::Packet { to, header, payload: payload.unwrap_or_default() }
            }
            Stream::Data => Transmit::Data { to, header, blocks },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{A, B, Driver, FIRST};
    use super::*;
    use crate::engine::disk_job::{DeletionTally, Mode};
    use crate::wire::feedback::{Deleted, Feedback, State};

    const FILE: EntryNo = EntryNo::new(1);

    fn staged(driver: &mut Driver) {
        for target in [A, B] {
            driver.need(target);
        }
        driver.sent();
        for target in [A, B] {
            driver.status(target, State::Staged);
        }
    }

    fn finish(driver: &mut Driver) {
        for target in [A, B] {
            driver.hear(target, Feedback::Ended);
        }
    }

    #[test]
    fn a_transfer_offers_sends_verifies_commits_and_ends() {
        let mut driver = Driver::new(2, Mode::default());
        assert!(driver.outgoing.wants_batch());
        assert_eq!(driver.batch(3_000), FIRST);
        use PacketKind::{Begin, Commit, Data, End, Offer, Poll};
        assert_eq!(driver.kinds(), [Begin, Offer, Poll, Poll]);
        driver.need(A);
        assert!(driver.sent().is_empty(), "the other may need it, too");
        driver.need(B);
        assert!(driver.outgoing.is_wanted(FIRST, FILE) && driver.outgoing.is_sent(FIRST, FILE));
        assert_eq!(driver.kinds(), [Data, Poll, Poll]);
        driver.status(A, State::Staged);
        assert!(driver.events().is_empty());
        driver.status(B, State::Staged);
        assert_eq!(driver.events(), [Event::Verify(FIRST)]);
        driver.outgoing.verified(driver.now, FIRST, &[]);
        assert_eq!(driver.kinds(), [Commit]);
        driver.done(A);
        driver.done(B);
        assert!(matches!(
            driver.events()[..],
            [Event::Outcomes(..), Event::Outcomes(..), Event::Closed(..)]
        ));
        driver.outgoing.end_input(driver.now);
        assert_eq!((driver.events(), driver.kinds()), (vec![Event::Finished], vec![End]));
        finish(&mut driver);
        assert!(driver.outgoing.is_over() && driver.outgoing.poll_timeout(true).is_none());
    }

    #[test]
    fn what_changes_before_the_commit_is_left_out_and_reported() {
        let mut driver = Driver::new(2, Mode::default());
        driver.batch(3_000);
        staged(&mut driver);
        driver.events();
        let changed = [(FILE, Reason::Changed)];
        driver.outgoing.verified(driver.now, FIRST, &changed);
        assert_eq!(driver.events(), [Event::Struck(FIRST, changed.to_vec())]);
        // Once.
        driver.outgoing.strike(driver.now, FIRST, &changed);
        assert_eq!(driver.events(), []);
    }

    #[test]
    fn a_long_file_that_changes_is_committed_without_waiting_for_the_rest() {
        let mut driver = Driver::new(2, Mode::default());
        driver.batch(crate::wire::layout::STREAM_OVER + 1);
        driver.sent();
        [A, B].into_iter().for_each(|target| driver.need(target));
        assert_eq!(driver.kinds().first(), Some(&PacketKind::Data));
        driver.outgoing.strike(driver.now, FIRST, &[(FILE, Reason::Changed)]);
        assert_eq!(driver.kinds().first(), Some(&PacketKind::Commit));
        assert!(matches!(driver.events()[..], [Event::Struck(..)]));
    }

    #[test]
    fn what_only_targets_have_is_counted_decided_and_deleted_at_the_end() {
        let delete = Mode::Send { delete: true, ignore_times: false, dry_run: false };
        let mut driver = Driver::new(2, delete);
        driver.sent();
        driver.outgoing.end_input(driver.now);
        assert_eq!(driver.kinds(), [PacketKind::Delete; 2]);
        let tally = DeletionTally { spooled: 1, failed: 0, entries: 9 };
        for target in [A, B] {
            driver.hear(target, Feedback::Deleted(Deleted::Tally(tally)));
        }
        let tallies = [0, 1].map(|at| (TargetNo::new(at), tally)).to_vec();
        assert_eq!(driver.events(), [Event::Tallied(tallies)]);
        driver.outgoing.decide(driver.now, true, false);
        assert_eq!(driver.kinds(), [PacketKind::Delete; 2]);
        for target in [A, B] {
            driver.hear(target, Feedback::Deleted(Deleted::Ran { deleted: 1, failed: 0 }));
        }
        assert_eq!(driver.kinds(), [PacketKind::End]);
        assert_eq!(driver.events().last(), Some(&Event::Finished));
    }

    #[test]
    fn an_abort_drops_what_waits_and_takes_nothing_more() {
        let mut driver = Driver::new(2, Mode::default());
        driver.batch(3_000);
        driver.outgoing.abort(driver.now);
        assert_eq!(driver.kinds(), [PacketKind::Abort]);
        assert!(!driver.outgoing.wants_batch() && !driver.outgoing.is_over());
        driver.outgoing.abort(driver.now);
        assert_eq!(driver.events(), [Event::Finished]);
        finish(&mut driver);
        assert!(driver.outgoing.is_over());
    }

    #[test]
    fn without_targets_it_is_over_when_all_have_left() {
        let mut driver = Driver::new(1, Mode::default());
        driver.batch(3_000);
        driver.sent();
        driver.outgoing.member_gone(driver.now, B);
        assert_eq!(driver.events(), []);
        driver.outgoing.member_gone(driver.now, A);
        let gone = Event::Gone(TargetNo::ZERO, Gone::Left);
        assert_eq!(driver.events(), [gone, Event::Finished]);
        assert!(driver.sent().is_empty() && driver.outgoing.is_over());
    }
}
