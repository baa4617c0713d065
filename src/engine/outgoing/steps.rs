//! What a transfer does next: of itself, when a deadline passes, and when it may send.

use std::ops::Range;

use super::batch::{Lack, Said};
use super::repair::{Repairs, Stream, Who};
use super::spool::Step;
use super::target::{Presence, SILENT_FOR, SILENT_POLLS};
use super::{AT_ONCE, Event, Gone, MAX_PATIENCE, Outgoing, PATIENCE, Phase, Transmit};
use crate::engine::destination::Destination;
use crate::ids::{BatchNo, BlockNo, BlockRange, EntryNo, TargetNo};
use crate::time::{Span, Time};
use crate::wire::begin::{Begin, Bits, Commit};
use crate::wire::feedback::State;
use crate::wire::header::PacketKind;
use crate::wire::outcome::Reason;
use crate::wire::poll::{Asked, Mark, Poll};

/// A target that has missed no more polls than this may only be slow.
const SOON: u32 = 2;
/// Silent targets get the next poll each by itself, up to so many.
pub(super) const ONE_BY_ONE: usize = 16;
/// Answers to polls of a large fleet come at this many a second at the most.
const ANSWERS_PER_SECOND: u64 = 20_000;
/// A poll leaves after so many bytes at the latest.
const POLL_EVERY: u64 = 512 << 10;
/// So many bytes of bodies wait in the targets' memory to be staged, at the most: each has room for
/// more from one sender.
const BODIES_AHEAD: u64 = 16 << 20;
/// END and ABORT are said so many times.
const CLOSING_TRIES: u32 = 6;
/// A suspended target is asked so often whether it is back.
const PROBE: Span = Span::from_millis(500);
/// All hear of a transfer so often, though there may be nothing to send: it is not over.
pub(super) const IDLE: Span = Span::from_secs(1);

impl Outgoing {
    /// Names targets that have not answered in BEGIN.
    pub(super) fn begin(&mut self, targets: Range<usize>) {
        let capacity = Begin::capacity(self.config.block.into()).max(1);
        let mut first = targets.start;
        while first < targets.end {
            let last = (first + capacity).min(targets.end);
            let to = match targets.len() {
                1 => Destination::One(self.targets[first].addr),
                _ => self.everyone(),
            };
            let begin = Begin {
                mode: self.config.mode,
                block: self.config.block,
                oldest: self.config.oldest,
                total: self.targets.len() as u16,
                first: TargetNo::of(first),
                targets: self.targets[first..last].iter().map(|target| target.node).collect(),
            };
            let header = self.header(PacketKind::Begin);
            self.control.push_back(Transmit::Packet { to, header, payload: begin.emit() });
            first = last;
        }
    }

    /// A target says something new of a batch.
    pub(super) fn says(&mut self, number: BatchNo, at: usize, change: impl FnOnce(&mut Said)) {
        let place = number.since(self.first);
        let Some(batch) = place.and_then(|place| self.batches.get_mut(place)) else { return };
        let presence = self.targets[at].presence;
        let said = &mut batch.said[at];
        batch.lack -= Lack::of(presence, said);
        change(said);
        batch.lack += Lack::of(presence, said);
    }

    /// A target comes or goes.
    pub(super) fn becomes(&mut self, at: usize, presence: Presence) {
        let before = std::mem::replace(&mut self.targets[at].presence, presence);
        for batch in &mut self.batches {
            batch.lack -= Lack::of(before, &batch.said[at]);
            batch.lack += Lack::of(presence, &batch.said[at]);
        }
    }

    /// Does what can be done now: verifies and commits batches, drops those that are done, ends.
    pub(super) fn advance(&mut self, now: Time) {
        if let Phase::Spooling(step) = self.phase {
            return self.advance_spool(now, step);
        }
        if self.phase != Phase::Running {
            if self.targets.iter().all(|target| target.ended || !target.is_active()) {
                self.phase = Phase::Over;
            }
            return;
        }
        if !self.targets.is_empty() && self.targets.iter().all(|target| target.is_gone()) {
            return self.give_up(now);
        }
        let dry_run = self.config.mode.changes_nothing();
        let some_active = self.targets.iter().any(|target| target.is_active());
        for at in 0..self.batches.len() {
            let number = self.first.after(at);
            let batch = &mut self.batches[at];
            if dry_run || batch.frozen {
                continue;
            }
            let ready = some_active && batch.lack.staged == 0 && batch.lack.needs == 0;
            if ready && !batch.verifying {
                batch.verifying = true;
                self.events.push_back(Event::Verify(number));
            }
            // Batches are committed in order: what comes later waits.
            break;
        }
        while self.batches.front().is_some_and(|batch| batch.lack.done_ever == 0) {
            let Some(batch) = self.batches.pop_front() else { break };
            self.events.push_back(Event::Closed(self.first, batch.wanted));
            self.first = self.first.next();
            self.repairs.forget_below(self.first);
        }
        if self.input_ended && self.batches.is_empty() {
            match self.config.mode.spools() {
                true => self.start_spool(now),
                false => self.close(now, PacketKind::End),
            }
        }
    }

    /// Fixes what a batch's commit leaves out, and tells all targets to commit.
    pub(super) fn freeze(&mut self, number: BatchNo) {
        let Some(batch) = self.get_mut(number) else { return };
        if std::mem::replace(&mut batch.frozen, true) {
            return;
        }
        let strikes: Vec<_> =
            batch.strikes.iter().map(|(&entry, &reason)| (entry, reason)).collect();
        self.say_struck(number, strikes);
        let active = |target: &&usize| self.targets[**target].is_active();
        let all: Vec<usize> = (0..self.targets.len()).collect();
        let targets: Vec<usize> = all.iter().filter(active).copied().collect();
        self.send_commit(number, &targets);
    }

    pub(super) fn say_struck(&mut self, number: BatchNo, strikes: Vec<(EntryNo, Reason)>) {
        if !strikes.is_empty() {
            self.events.push_back(Event::Struck(number, strikes));
        }
    }

    fn send_commit(&mut self, number: BatchNo, targets: &[usize]) {
        let last_poll = self.polls.last();
        let to = match targets {
            [] => return,
            [only] => Destination::One(self.targets[*only].addr),
            _ => self.everyone(),
        };
        let mut header = self.header(PacketKind::Commit);
        header.batch = number;
        let Some(batch) = self.get_mut(number) else { return };
        for &target in targets {
            batch.said[target].committed_at = Some(last_poll);
        }
        let strikes = Bits::of(batch.strikes.keys().copied());
        let commit =
            Commit { targets: Bits::of(targets.iter().map(|&at| TargetNo::of(at))), strikes };
        self.control.push_back(Transmit::Packet { to, header, payload: commit.emit() });
    }

    /// Sends COMMIT to a target that answers a later poll and has not got it.
    pub(super) fn commit_straggler(&mut self, at: usize) {
        let target = &self.targets[at];
        if target.presence != Presence::Active {
            return;
        }
        let mut numbers = Vec::new();
        for (number, batch) in self.first.onwards().zip(&self.batches).take_while(|(_, b)| b.frozen)
        {
            let said = &batch.said[at];
            let heard_since = said.committed_at.is_none_or(|poll| target.answered > poll);
            let waits = match said.state {
                // What it has was right when it was read.
                State::Staged => true,
                // A strike may still come, unless all there is has been struck.
                State::Body => batch.layout.streams() && !batch.strikes.is_empty(),
                _ => false,
            };
            if !said.done && waits && heard_since {
                numbers.push(number);
            }
        }
        for number in numbers {
            self.send_commit(number, &[at]);
        }
    }

    /// A target takes no part any more.
    pub(super) fn lose(&mut self, at: usize, why: Gone) {
        if self.targets[at].is_gone() {
            return;
        }
        self.becomes(at, Presence::Gone);
        self.polls.excuse(at);
        self.repairs.excuse(at);
        if !matches!(self.phase, Phase::Closing(_) | Phase::Over) {
            self.events.push_back(Event::Gone(TargetNo::of(at), why));
        }
    }

    /// Tells a target that is gone, and speaks, that this is over for it.
    pub(super) fn abort_one(&mut self, now: Time, at: usize) {
        if now < self.targets[at].probed + PATIENCE {
            return;
        }
        self.targets[at].probed = now;
        let header = self.header(PacketKind::Abort);
        let to = Destination::One(self.targets[at].addr);
        self.control.push_back(Transmit::Packet { to, header, payload: Vec::new() });
    }

    /// Ends it: END or ABORT is said until everyone has confirmed it.
    pub(super) fn close(&mut self, now: Time, kind: PacketKind) {
        self.phase = Phase::Closing(kind);
        self.events.push_back(Event::Finished);
        self.closing_tries = 0;
        self.say_closing(now, kind);
        self.advance(now);
    }

    /// Ends it before its end.
    pub(super) fn give_up(&mut self, now: Time) {
        self.batches.clear();
        self.repairs = Repairs::default();
        self.close(now, PacketKind::Abort);
    }

    fn say_closing(&mut self, now: Time, kind: PacketKind) {
        self.asked_at = now;
        self.closing_tries += 1;
        let header = self.header(kind);
        let left: Vec<Destination> = self
            .targets
            .iter()
            .filter(|target| target.is_active() && !target.ended)
            .map(|target| Destination::One(target.addr))
            .collect();
        let group = left.len() > ONE_BY_ONE || (self.closing_tries == 1 && self.targets.len() > 1);
        let to = if group { vec![self.everyone()] } else { left };
        for to in to {
            self.control.push_back(Transmit::Packet { to, header, payload: Vec::new() });
        }
    }

    pub(super) fn patience(&self) -> Span {
        let round_trips = self.targets.iter().filter(|target| target.is_active());
        let longest = round_trips.filter_map(|target| target.stats.round_trip).max();
        let spread = Span::from_micros(self.spread().into()) * 2;
        let patience = (longest.unwrap_or(Span::ZERO) * 4).at_least(PATIENCE) + spread;
        (patience * (1 << self.backoff.min(8))).at_most(MAX_PATIENCE + spread)
    }

    /// Over how many microseconds the answers of all targets spread.
    fn spread(&self) -> u32 {
        match self.targets.len() {
            0..=AT_ONCE => 0,
            count => (count as u64 * 1_000_000 / ANSWERS_PER_SECOND) as u32,
        }
    }

    /// When [`Outgoing::timeout`] or [`Outgoing::poll_transmit`] have something to do, the latter
    /// with the same `blocks_too`.
    pub fn poll_timeout(&self, blocks_too: bool) -> Option<Time> {
        match self.phase {
            _ if !self.control.is_empty() => Some(Time::ZERO),
            Phase::Over => None,
            Phase::Spooling(Step::Decide) => Some(self.spoken_at + IDLE),
            Phase::Spooling(_) => {
                Some((self.asked_at + self.patience()).min(self.spoken_at + IDLE))
            }
            Phase::Closing(_) => Some(self.asked_at + self.patience()),
            Phase::Running => {
                let suspended = self.targets.iter().filter(|t| t.presence == Presence::Suspended);
                let away =
                    suspended.map(|t| (t.probed + PROBE).min(t.limit(self.config.timeout))).min();
                let again = self.waits().then(|| self.ask_again_at());
                let send = (blocks_too && self.has_blocks()).then(|| self.send_at());
                let idle = Some(self.spoken_at + IDLE);
                away.into_iter().chain(again).chain(send).chain(idle).min()
            }
        }
    }

    /// When blocks that wait may leave, as far as that is known. Without room in the window an answer
    /// has to come first.
    fn send_at(&self) -> Time {
        match (self.has_room(), self.has_new()) {
            (false, _) => Time::from_micros(u64::MAX),
            (true, true) => self.pacer.next(),
            (true, false) => self.pacer.next().max(self.repairs.ready),
        }
    }

    /// When what was not answered is asked again: some time after the last poll, or after the oldest
    /// that somebody owes an answer to, though others have followed it.
    fn ask_again_at(&self) -> Time {
        let oldest = self.polls.oldest().map_or(self.asked_at, |at| at.max(self.again_at));
        oldest.min(self.asked_at) + self.patience()
    }

    /// Whether an answer of any kind is awaited.
    fn waits(&self) -> bool {
        self.polls.outstanding()
            || self.batches.iter().any(|batch| batch.lack.done > 0)
            || self.targets.iter().any(|target| target.presence == Presence::Joining)
    }

    /// A deadline has passed.
    pub fn timeout(&mut self, now: Time) {
        match self.phase {
            Phase::Over => {}
            Phase::Spooling(step) => self.spool_timeout(now, step),
            Phase::Closing(kind) => {
                if now >= self.asked_at + self.patience() {
                    if self.closing_tries >= CLOSING_TRIES {
                        self.phase = Phase::Over;
                    } else {
                        self.backoff += 1;
                        self.say_closing(now, kind);
                    }
                }
            }
            Phase::Running => {
                if self.waits() && now >= self.ask_again_at() {
                    self.ask_again(now);
                }
                self.probe_suspended(now);
                if now >= self.spoken_at + IDLE {
                    // Its targets would take it for dead.
                    self.poll(now, None);
                }
                self.advance(now);
            }
        }
    }

    /// Repeats what has not been answered, to those who have not answered it.
    fn ask_again(&mut self, now: Time) {
        let patience = self.patience();
        // While polls leave, only those who do not answer them are asked.
        let quiet = now >= self.asked_at + patience;
        let silent = self.polls.silent(now, patience);
        self.backoff += 1;
        self.again_at = now;
        for at in 0..self.targets.len() {
            let target = &mut self.targets[at];
            let joining = target.presence == Presence::Joining;
            if !target.is_active() || !(silent.contains(TargetNo::of(at)) || joining) {
                continue;
            }
            target.silent_polls += 1;
            if target.silent_polls >= SILENT_POLLS && now >= target.heard + SILENT_FOR {
                target.probed = now;
                self.polls.excuse(at);
                self.repairs.excuse(at);
                self.events.push_back(Event::Suspended(TargetNo::of(at)));
                self.becomes(at, Presence::Suspended);
            } else if joining {
                self.begin(at..at + 1);
            }
        }
        self.end_round(now);
        let lowest = self.batches.iter().find(|batch| quiet && batch.lack.done > 0);
        let behind = |at: usize| lowest.is_some_and(|batch| !batch.said[at].done);
        let asked: Vec<usize> = (0..self.targets.len())
            .filter(|&at| {
                self.targets[at].is_active() && (silent.contains(TargetNo::of(at)) || behind(at))
            })
            .collect();
        if !asked.is_empty() {
            self.poll(now, Some(&asked));
        } else if quiet {
            self.asked_at = now;
        }
    }

    fn probe_suspended(&mut self, now: Time) {
        for at in 0..self.targets.len() {
            if self.targets[at].presence != Presence::Suspended {
                continue;
            }
            if now >= self.targets[at].limit(self.config.timeout) {
                self.lose(at, Gone::Silent);
            } else if now >= self.targets[at].probed + PROBE {
                self.targets[at].probed = now;
                self.begin(at..at + 1);
                self.poll(now, Some(&[at]));
            }
        }
    }

    /// Sends POLL: to all, asking the next slice of them; or to those who are to answer now.
    pub(super) fn poll(&mut self, now: Time, these: Option<&[usize]>) {
        let total = self.targets.len();
        if total == 0 {
            // Nobody would answer.
            self.spoken_at = now;
            return;
        }
        let asked = match these {
            Some(these) => Asked::These(Bits::of(these.iter().map(|&at| TargetNo::of(at)))),
            None if total <= AT_ONCE => Asked::Slice(TargetNo::ZERO, total as u16),
            None => {
                // Half of the answers are for slices, the rest for those who miss something.
                let since = now.since(self.asked_at).micros().max(1);
                let share = since * ANSWERS_PER_SECOND / 2 / 1_000_000;
                let share = (share as usize).clamp(1, AT_ONCE);
                // Those who take no part any more have no share in it.
                let active = |at: &usize| self.targets[*at % total].is_active();
                let from = self.polls.slice % total;
                let first = (from..from + total).find(active).unwrap_or(from);
                let last = (first..first + total).filter(active).take(share).last();
                let end = last.unwrap_or(first) + 1;
                self.polls.slice = end;
                Asked::Slice(TargetNo::of(first % total), (end - first) as u16)
            }
        };
        let counts = |at: usize| {
            self.targets[at].is_active() && asked.includes(TargetNo::of(at), total as u16)
        };
        let waiting: Vec<usize> = (0..total).filter(|&at| counts(at)).collect();
        let (sent, sent_to_all) = (self.sent, self.sent_to_all);
        let number = self.polls.ask(now, sent, sent_to_all, waiting.into_iter());
        let (want_first, want_need, want_done) = self.wants(these);
        let poll = Poll {
            offers: self.offer_mark(),
            data: self.data_mark(),
            spread: self.spread(),
            want_first,
            want_need,
            want_done,
            asked,
        };
        let mut header = self.header(PacketKind::Poll);
        header.batch = self.first;
        header.set_poll(number);
        let to = match these {
            Some(these) if these.len() <= ONE_BY_ONE && !self.may_be_behind(these) => {
                these.iter().map(|&at| Destination::One(self.targets[at].addr)).collect()
            }
            _ => vec![self.everyone()],
        };
        for to in to {
            if to == self.everyone() {
                self.spoken_at = now;
            }
            self.control.push_back(Transmit::Packet { to, header, payload: poll.emit() });
        }
        if these.is_none() {
            self.unpolled = 0;
        }
        if these.is_none() || self.polls.outstanding() {
            self.asked_at = now;
        }
    }

    /// Whether all of these have been silent for so short that what they were sent may still be queued
    /// before them. A poll by another way would overtake it, and make it look lost.
    fn may_be_behind(&self, these: &[usize]) -> bool {
        these.iter().all(|&at| {
            let target = &self.targets[at];
            target.presence == Presence::Active && target.silent_polls <= SOON
        })
    }

    /// Which batches' NEED and DONE are lacking, of the targets asked.
    fn wants(&self, these: Option<&[usize]>) -> (BatchNo, u16, u16) {
        let Some(these) = these else { return (self.first, 0, 0) };
        let lacks = |number: BatchNo, at: usize| -> (bool, bool) {
            let Some(said) = self.get(number).and_then(|batch| batch.said.get(at)) else {
                return (false, false);
            };
            (!said.has_needs && !said.done, !said.done)
        };
        let mut numbers = self.first.onwards().take(self.batches.len());
        let lacking = |number: &BatchNo| these.iter().any(|&at| lacks(*number, at).1);
        let want_first = numbers.find(lacking).unwrap_or(self.first);
        let (mut need, mut done) = (0, 0);
        for bit in 0..16 {
            for &at in these {
                let (lacks_need, lacks_done) = lacks(want_first.after(bit), at);
                need |= u16::from(lacks_need) << bit;
                done |= u16::from(lacks_done) << bit;
            }
        }
        (want_first, need, done)
    }

    fn offer_mark(&self) -> Mark {
        match self.batches.iter().position(|batch| !batch.is_offered()) {
            Some(at) => Mark { batch: self.first.after(at), block: self.batches[at].offered },
            None => Mark { batch: self.first.after(self.batches.len()), block: BlockNo::ZERO },
        }
    }

    fn data_mark(&self) -> Mark {
        match self.batches.iter().position(|batch| !batch.passed) {
            Some(at) => Mark { batch: self.first.after(at), block: self.batches[at].next },
            None => Mark { batch: self.first.after(self.batches.len()), block: BlockNo::ZERO },
        }
    }

    /// Whether any block waits to be sent.
    fn has_blocks(&self) -> bool {
        !self.repairs.is_empty() || self.next_offer().is_some() || self.next_data(1).is_some()
    }

    fn has_room(&self) -> bool {
        let in_flight = self.sent - self.confirmed;
        in_flight + u64::from(self.config.block) <= self.window.size(self.smallest_grant())
    }

    fn next_offer(&self) -> Option<(usize, BlockNo)> {
        let at = self.batches.iter().position(|batch| !batch.is_offered())?;
        Some((at, self.batches[at].offered))
    }

    /// The next blocks of the first pass, if its batch may be sent yet.
    fn next_data(&self, most: u32) -> Option<(usize, BlockRange)> {
        let at = self.batches.iter().position(|batch| !batch.passed)?;
        let batch = &self.batches[at];
        if batch.lack.needs > 0 || self.config.mode.changes_nothing() || batch.frozen {
            return None;
        }
        if batch.next == BlockNo::ZERO && !self.is_room_for(at) {
            return None;
        }
        Some((at, batch.union.next_run(batch.next, most)?))
    }

    /// Whether the body of a batch may begin: those before it, as far as some target still has them in
    /// memory, leave room for it there. What a target has no room for is lost, and sent again to all.
    fn is_room_for(&self, at: usize) -> bool {
        let in_memory = |batch: &super::Batch| match batch.layout.streams() {
            true => 0,
            false => batch.layout.len(),
        };
        let before = self.batches.iter().take(at).filter(|batch| batch.lack.staged > 0);
        let before: u64 = before.map(in_memory).sum();
        before == 0 || before + self.batches.get(at).map_or(0, in_memory) <= BODIES_AHEAD
    }

    /// Marks the first pass of batches that have nothing (more) to send as done.
    fn pass(&mut self) {
        while let Some(batch) = self.batches.iter_mut().find(|batch| !batch.passed) {
            let through = batch.union.next_run(batch.next, 1).is_none();
            let offered = batch.is_offered();
            if batch.frozen || (batch.lack.needs == 0 && offered && through) {
                batch.passed = true;
            } else {
                return;
            }
        }
    }

    /// What is to be sent now, at most `most` blocks at once; no blocks at all unless `blocks_too`.
    pub fn poll_transmit(&mut self, now: Time, most: u32, blocks_too: bool) -> Option<Transmit> {
        self.most = most;
        if let Some(transmit) = self.control.pop_front() {
            return Some(transmit);
        }
        if self.phase != Phase::Running || self.targets.is_empty() {
            return None;
        }
        self.pass();
        if self.has_blocks() {
            if !self.has_room() {
                self.limited = true;
            } else if blocks_too && now >= self.pacer.next() && self.unpolled < self.poll_every() {
                if let Some(transmit) = self.transmit_blocks(now, most) {
                    return Some(transmit);
                }
            }
            if self.unpolled < self.poll_every() && (self.has_room() || self.unpolled == 0) {
                return None;
            }
        }
        if self.unpolled > 0 {
            self.poll(now, None);
            if !self.has_blocks() || !self.has_room() {
                // Nothing follows that would do if this one were lost.
                self.control.extend(self.control.back().cloned());
            }
            return self.control.pop_front();
        }
        None
    }

    fn poll_every(&self) -> u64 {
        // A small window is asked for in small pieces, or it stands still between them.
        match self.window.size(self.smallest_grant()) {
            small if small < POLL_EVERY => small / 3,
            large => {
                // Whole bursts, or what is left of one leaves by itself before each poll.
                let burst = u64::from(self.most) * u64::from(self.config.block);
                let every = (large / 4).min(POLL_EVERY);
                if every > burst { every - every % burst.max(1) } else { every }
            }
        }
    }

    fn transmit_blocks(&mut self, now: Time, most: u32) -> Option<Transmit> {
        let room =
            self.window.size(self.smallest_grant()).saturating_sub(self.sent - self.confirmed);
        // No further than the next poll is due.
        let room = room.min(self.poll_every().saturating_sub(self.unpolled));
        let room = u32::try_from(room / u64::from(self.config.block)).unwrap_or(u32::MAX);
        let most = self.window.burst(most).min(room).max(1);
        if !self.repairs.is_empty() && now >= self.repairs.ready {
            return self.transmit_repair(now, most);
        }
        if let Some((at, block)) = self.next_offer() {
            self.batches[at].offered = block.next();
            self.sent_blocks(now, 1, false);
            return Some(self.offer_packet(self.first.after(at), block, self.everyone(), false));
        }
        let (at, blocks) = self.next_data(most)?;
        self.batches[at].next = blocks.end;
        self.sent_blocks(now, blocks.len(), false);
        self.pass();
        Some(self.data(self.first.after(at), blocks, self.everyone(), false))
    }

    fn has_new(&self) -> bool {
        self.next_offer().is_some() || self.next_data(1).is_some()
    }

    fn transmit_repair(&mut self, now: Time, most: u32) -> Option<Transmit> {
        let last_poll = self.polls.last();
        let (block, count, who) =
            self.repairs.next(if self.repairs.first_is_offer() { 1 } else { most }, last_poll)?;
        let (to, alone) = match who {
            Who::One(target) if self.targets.len() > 1 => {
                (Destination::One(self.targets[target].addr), true)
            }
            _ => (self.everyone(), false),
        };
        self.sent_blocks(now, count, alone);
        Some(match block.stream {
            Stream::Offer => self.offer_packet(block.batch, block.number, to, alone),
            Stream::Data => {
                self.data(block.batch, BlockRange::from_len(block.number, count), to, alone)
            }
        })
    }

    fn sent_blocks(&mut self, now: Time, count: u32, alone: bool) {
        let bytes = u64::from(count) * u64::from(self.config.block);
        self.sent += bytes;
        self.unpolled += bytes;
        if !alone {
            self.sent_to_all = self.sent_to_all.wrapping_add(count);
        }
        self.pacer.sent(now, bytes, &self.window);
    }

    fn offer_packet(
        &self,
        number: BatchNo,
        block: BlockNo,
        to: Destination,
        alone: bool,
    ) -> Transmit {
        let mut header = self.header(PacketKind::Offer);
        (header.batch, header.block, header.alone) = (number, block, alone);
        let payload = self.get(number).map(|batch| batch.offer(block)).unwrap_or_default();
        Transmit::Packet { to, header, payload }
    }

    fn data(&self, number: BatchNo, blocks: BlockRange, to: Destination, alone: bool) -> Transmit {
        let mut header = self.header(PacketKind::Data);
        (header.batch, header.block, header.alone) = (number, blocks.start, alone);
        Transmit::Data { to, header, blocks }
    }
}
