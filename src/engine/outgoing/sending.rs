//! What is sent next: blocks again, or for the first time, as far as the flow allows; or a poll.

use super::batches::Batches;
use super::flow::{Flow, Limits};
use super::repair::{Ask, Block, Misses, Repairs, Run, Stream, Who};
use super::target::Presence;
use crate::ids::{BatchNo, BlockNo, BlockRange, PollNo, TargetNo};
use crate::time::Time;
use crate::wire::feedback::Status;

/// The batches, and what of them is on its way.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) batches: Batches,
    pub(super) flow: Flow,
    pub(super) repairs: Repairs,
    /// No body is sent.
    dry_run: bool,
    /// How many blocks were sent again.
    pub(super) again: u64,
    /// Nothing new is sent: what was sent last has reached nobody.
    pub(super) held: bool,
}

/// What is to leave now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// These blocks.
    Blocks(Run),
    /// A poll of all; `twice` if nothing follows that would do if it were lost.
    Poll {
        /// See above.
        twice: bool,
    },
}

/// What a STATUS says that a target misses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Missed {
    /// The first block of it.
    pub(super) first: Option<Block>,
    /// How many blocks are sent again for it.
    pub(super) again: u32,
}

impl Sending {
    pub(super) fn new(block: u16, dry_run: bool) -> Self {
        Sending {
            batches: Batches::new(),
            flow: Flow::new(block),
            repairs: Repairs::default(),
            dry_run,
            again: 0,
            held: false,
        }
    }

    /// Whether any block waits to be sent.
    pub(super) fn has_blocks(&self) -> bool {
        !self.repairs.is_empty() || self.has_new()
    }

    /// Whether any block waits that was never sent.
    fn has_new(&self) -> bool {
        self.next_offer().is_some() || self.next_body(1).is_some()
    }

    fn next_offer(&self) -> Option<(BatchNo, BlockNo)> {
        if self.held { None } else { self.batches.next_offer() }
    }

    fn next_body(&self, most: u32) -> Option<(BatchNo, BlockRange)> {
        if self.dry_run || self.held { None } else { self.batches.next_body(most) }
    }

    /// When blocks that wait may leave, as far as that is known. Without room in the window an answer
    /// has to come first.
    pub(super) fn send_at(&self, grant: u64) -> Time {
        match (self.flow.has_room(grant), self.has_new()) {
            (false, _) => Time::from_micros(u64::MAX),
            (true, true) => self.flow.next(),
            (true, false) => self.flow.next().max(self.repairs.ready_at()),
        }
    }

    /// What leaves now: no blocks unless `blocks_too`. `last_poll`: the newest poll; `alone`: whether
    /// what is for one target goes to that one alone.
    pub(super) fn next(
        &mut self,
        now: Time,
        limits: Limits,
        blocks_too: bool,
        last_poll: PollNo,
        alone: bool,
    ) -> Option<Turn> {
        self.batches.end_first_passes();
        let (has_blocks, has_room) = (self.has_blocks(), self.flow.has_room(limits.grant));
        if has_blocks && !has_room {
            self.flow.hold_back();
        } else if has_blocks && blocks_too {
            let most = self.flow.allow(now, limits);
            if let Some(run) = most.and_then(|most| self.next_run(now, most, last_poll)) {
                let alone = alone && matches!(run.who, Who::One(_));
                self.flow.blocks_sent(now, run.blocks.len(), alone);
                return Some(Turn::Blocks(run));
            }
        }
        let due = self.flow.poll_is_due(has_blocks, limits);
        due.then_some(Turn::Poll { twice: !has_blocks || !has_room })
    }

    fn next_run(&mut self, now: Time, most: u32, last_poll: PollNo) -> Option<Run> {
        if self.repairs.are_ready(now) {
            let run = self.repairs.next(most, last_poll);
            self.again += run.map_or(0, |run| u64::from(run.blocks.len()));
            return run;
        }
        if let Some((batch, block)) = self.next_offer() {
            self.batches.get_mut(batch)?.offer_sent();
            let blocks = BlockRange::one(block);
            return Some(Run { batch, stream: Stream::Offer, blocks, who: Who::Several });
        }
        let (batch, blocks) = self.next_body(most)?;
        self.batches.get_mut(batch)?.body_sent(blocks);
        self.batches.end_first_passes();
        Some(Run { batch, stream: Stream::Data, blocks, who: Who::Several })
    }

    /// A target's STATUS says how far it is with each batch, and what it misses. `sent`: how many blocks
    /// had been sent to all when it was asked.
    pub(super) fn status(
        &mut self,
        now: Time,
        at: TargetNo,
        presence: Presence,
        status: &Status,
        misses: &mut Misses,
        sent: u32,
    ) -> Missed {
        let mut missed = Missed { first: None, again: 0 };
        let mut lists = Vec::new();
        for (batch, said) in status.first.onwards().zip(&status.batches) {
            let Some(known) = self.batches.get_mut(batch) else { continue };
            let Some((stream, sent)) = known.status(at, presence, said.state) else { continue };
            let ranges = said.missing.iter().map(|range| range.below(sent));
            let missing: Vec<BlockRange> = ranges.filter(|range| !range.is_empty()).collect();
            let first = missing.first().map(|range| Block { batch, stream, number: range.start });
            missed.first = missed.first.or(first);
            lists.push((batch, stream, missing));
        }
        let ask = misses.ask(now, missed.first, status.received, sent);
        for (batch, stream, missing) in lists {
            let wanted = match (ask, missed.first) {
                (Ask::All, _) => missing,
                (Ask::First, Some(first)) if (first.batch, first.stream) == (batch, stream) => {
                    vec![BlockRange::one(first.number)]
                }
                _ => continue,
            };
            missed.again += self.repairs.ask(at, status.poll, batch, stream, &wanted);
        }
        self.batches.passed(at, presence, status.first);
        missed
    }

    /// Takes out the first batch if it is done by all targets that are left.
    pub(super) fn pop_done(&mut self) -> Option<BatchNo> {
        let done = self.batches.pop_done()?;
        self.repairs.forget_below(self.batches.first());
        Some(done)
    }

    /// Nothing is sent any more.
    pub(super) fn stop(&mut self) {
        self.batches.clear();
        self.repairs = Repairs::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outgoing::batch;
    use crate::engine::outgoing::target::{self, Targets};
    use crate::ids::EntryNo;
    use crate::ids::blocks;
    use crate::time::Span;
    use crate::wire::feedback::{BatchStatus, State};
    use crate::wire::outcome::{Need, Runs};

    const A: TargetNo = TargetNo::new(0);
    const B: TargetNo = TargetNo::new(1);
    const FIRST: BatchNo = BatchNo::FIRST;
    const BLOCK: u16 = 1_000;
    const LIMITS: Limits = Limits { grant: u64::MAX, most: 4 };
    const START: Time = Time::from_micros(1_000_000);

    fn one_file(size: u64, targets: &Targets, dry_run: bool) -> Sending {
        let mut sending = Sending::new(BLOCK, dry_run);
        sending.batches.push(batch::of_file(size, BLOCK, targets), 1);
        sending
    }

    fn next(sending: &mut Sending, now: Time) -> Option<Turn> {
        let turn = sending.next(now, LIMITS, true, PollNo::ZERO, true);
        if let Some(Turn::Poll { .. }) = turn {
            sending.flow.polled();
        }
        turn
    }

    fn need(sending: &mut Sending, target: TargetNo) {
        let runs = Runs { first: EntryNo::ZERO, runs: vec![(Need::All, 2)] };
        let batch = sending.batches.get_mut(FIRST).unwrap();
        assert!(batch.need(target, Presence::Active, &runs, false));
    }

    fn run(stream: Stream, blocks: BlockRange, who: Who) -> Option<Turn> {
        Some(Turn::Blocks(Run { batch: FIRST, stream, blocks, who }))
    }

    fn misses(sending: &mut Sending, target: TargetNo, missing: BlockRange) -> Missed {
        let status = Status {
            poll: PollNo::new(1),
            asked: true,
            held: 0,
            grant: u32::MAX,
            received: 0,
            digested: 0,
            first: FIRST,
            batches: vec![BatchStatus { state: State::Body, missing: vec![missing] }],
        };
        let mut misses = Misses::new(Time::ZERO);
        sending.status(Time::ZERO, target, Presence::Active, &status, &mut misses, 0)
    }

    #[test]
    fn manifests_lead_bodies_follow_and_repairs_go_first() {
        let targets = target::some(2);
        let mut sending = one_file(10_000, &targets, false);
        let several = Who::Several;
        assert_eq!(next(&mut sending, START), run(Stream::Offer, blocks(0..1), several));
        // Nothing can follow: what was sent is asked for, to be sure twice.
        assert_eq!(next(&mut sending, START), Some(Turn::Poll { twice: true }));
        assert_eq!(next(&mut sending, START), None);
        [A, B].into_iter().for_each(|target| need(&mut sending, target));
        assert_eq!(next(&mut sending, START), run(Stream::Data, blocks(0..4), several));
        let missed = misses(&mut sending, B, blocks(1..9));
        let number = BlockNo::new(1);
        let first = Some(Block { batch: FIRST, stream: Stream::Data, number });
        assert_eq!(missed, Missed { first, again: 3 });
        // The window is small: it is asked for in small pieces.
        assert_eq!(next(&mut sending, START), run(Stream::Data, blocks(1..2), Who::One(B)));
        assert_eq!(next(&mut sending, START), run(Stream::Data, blocks(2..3), Who::One(B)));
        assert_eq!(next(&mut sending, START), Some(Turn::Poll { twice: false }));
        assert_eq!(next(&mut sending, START), run(Stream::Data, blocks(3..4), Who::One(B)));
        assert_eq!(next(&mut sending, START), run(Stream::Data, blocks(4..8), several));
        assert_eq!(sending.again, 3);
        // What went to one alone is not counted for all.
        assert_eq!(sending.flow.sent_so_far().to_all, 1 + 4 + 4);
    }

    #[test]
    fn repairs_that_wait_for_other_answers_let_new_blocks_pass() {
        let targets = target::some(1);
        let mut sending = one_file(10_000, &targets, false);
        need(&mut sending, A);
        next(&mut sending, START);
        next(&mut sending, START);
        misses(&mut sending, A, blocks(0..1));
        sending.repairs.wait_for_others(START, Some(Span::from_millis(1)));
        assert_eq!(next(&mut sending, START), run(Stream::Data, blocks(4..5), Who::Several));
        assert_eq!(next(&mut sending, START), Some(Turn::Poll { twice: false }));
        assert_eq!(sending.send_at(LIMITS.grant), sending.flow.next());
        let later = START + Span::from_millis(1);
        assert_eq!(next(&mut sending, later), run(Stream::Data, blocks(0..1), Who::One(A)));
    }

    #[test]
    fn a_full_window_waits_for_answers() {
        let targets = target::some(1);
        let mut sending = one_file(100_000, &targets, false);
        need(&mut sending, A);
        let mut sent = 0;
        while let Some(turn) = next(&mut sending, START) {
            if let Turn::Blocks(run) = turn {
                sent += run.blocks.len();
            }
        }
        assert_eq!(sent, 16);
        assert!(sending.has_blocks() && sending.flow.take_limited());
        assert_eq!(sending.send_at(LIMITS.grant), Time::from_micros(u64::MAX));
    }

    #[test]
    fn what_is_held_is_sent_again_and_nothing_new() {
        let targets = target::some(1);
        let mut sending = one_file(10_000, &targets, false);
        need(&mut sending, A);
        next(&mut sending, START);
        assert_eq!(next(&mut sending, START), run(Stream::Data, blocks(0..4), Who::Several));
        sending.held = true;
        sending.flow.polled();
        assert!(!sending.has_blocks() && next(&mut sending, START).is_none());
        misses(&mut sending, A, blocks(1..2));
        assert_eq!(next(&mut sending, START), run(Stream::Data, blocks(1..2), Who::One(A)));
        sending.held = false;
        sending.flow.polled();
        assert_eq!(next(&mut sending, START), run(Stream::Data, blocks(4..8), Who::Several));
    }

    #[test]
    fn a_dry_run_sends_no_body() {
        let targets = target::some(1);
        let mut sending = one_file(10_000, &targets, true);
        need(&mut sending, A);
        assert!(next(&mut sending, START).is_some());
        assert!(!sending.has_blocks());
        assert_eq!(sending.send_at(LIMITS.grant), START.min(sending.flow.next()));
    }

    #[test]
    fn what_has_stopped_sends_nothing() {
        let targets = target::some(1);
        let mut sending = one_file(10_000, &targets, false);
        need(&mut sending, A);
        next(&mut sending, START);
        sending.stop();
        assert!(!sending.has_blocks() && sending.pop_done().is_none());
    }
}
