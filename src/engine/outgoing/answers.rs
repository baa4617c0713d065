//! What targets answer, and what follows from it.

use super::batch::Said;
use super::repair::Stream;
use super::target::{Presence, Sample};
use super::{Event, Gone, Outgoing, Phase};
use crate::engine::window::{Loss, Round};
use crate::ids::{BatchNo, BlockNo, BlockRange, EntryNo, TargetNo};
use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::wire::feedback::{Feedback, State, Status, Verdict};
use crate::wire::outcome::{Need, Outcome, Runs};

/// How often the block that a target misses first is sent again before the target is given up.
const FRUITLESS: u32 = 10;
/// And for how long that must have gone on.
const FRUITLESS_FOR: Span = Span::from_secs(2);
/// Samples over fewer blocks than this say too little.
const SAMPLE_BLOCKS: u32 = 8;

impl Outgoing {
    /// A target's answer, from its own address.
    pub fn feedback(&mut self, now: Time, from: NodeId, batch: BatchNo, feedback: Feedback) {
        let Some(&target) = self.index.get(&from) else { return };
        if self.targets[target].is_gone() {
            return self.abort_one(now, target);
        }
        if let Feedback::Busy = feedback {
            self.targets[target].busy = Some(now);
            return;
        }
        self.hear(now, target);
        match feedback {
            Feedback::Accept { verdict: Verdict::Accepted, grant } => {
                self.targets[target].grant = grant.into();
            }
            Feedback::Accept { verdict: Verdict::Shared(with), grant } => {
                self.targets[target].grant = grant.into();
                self.events.push_back(Event::Shared(TargetNo::of(target), with));
            }
            Feedback::Accept { verdict: Verdict::Refused { reason, path }, .. } => {
                self.lose(target, Gone::Refused(reason, path));
            }
            Feedback::Need(runs) => self.need(target, batch, runs),
            Feedback::Done(runs) => self.done(target, batch, runs),
            Feedback::Status(status) => self.status(now, target, &status),
            Feedback::Ended => {
                if let Phase::Closing(_) = self.phase {
                    self.targets[target].ended = true;
                } else {
                    // It has closed what is not over: it took somebody's word for ours, or gave up.
                    self.lose(target, Gone::Left);
                }
            }
            Feedback::Spool(spool) => self.spool(now, target, spool),
            Feedback::Busy => {}
        }
        self.commit_straggler(target);
        self.advance(now);
    }

    fn hear(&mut self, now: Time, at: usize) {
        self.backoff = 0;
        let target = &mut self.targets[at];
        target.heard = now;
        target.busy = None;
        target.silent_polls = 0;
        match target.presence {
            Presence::Joining => target.presence = Presence::Active,
            Presence::Suspended => {
                target.sample = None;
                self.events.push_back(Event::Resumed(TargetNo::of(at)));
                self.becomes(at, Presence::Active);
            }
            Presence::Active | Presence::Gone => {}
        }
    }

    fn need(&mut self, target: usize, number: BatchNo, runs: Runs<Need>) {
        let dry_run = self.config.mode.changes_nothing();
        let Some(batch) = self.get_mut(number) else { return };
        let entries = batch.entries;
        let said = &mut batch.said[target];
        let Some(next) = goes_on(said.needs, &runs, entries) else { return };
        said.needs = next;
        if !dry_run {
            for (entry, need) in runs.iter() {
                if need == Need::All {
                    batch.want(entry);
                }
            }
        }
        let whole = next == entries;
        self.says(number, target, |said| {
            said.has_needs |= whole;
            match dry_run {
                true => said.done |= whole,
                false => said.state = said.state.max(State::Body),
            }
        });
        if dry_run {
            self.events.push_back(Event::Needs(number, TargetNo::of(target), runs));
        }
    }

    fn done(&mut self, target: usize, number: BatchNo, runs: Runs<Outcome>) {
        let Some(batch) = self.get_mut(number) else { return };
        let entries = batch.entries;
        let said = &mut batch.said[target];
        let Some(next) = goes_on(said.outcomes, &runs, entries) else { return };
        said.outcomes = next;
        if next == entries {
            self.says(number, target, |said| {
                said.has_needs = true;
                said.state = State::Done;
                said.done = true;
            });
        }
        let wanted = self.get(number).map(|batch| batch.wanted.clone()).unwrap_or_default();
        self.events.push_back(Event::Outcomes(number, TargetNo::of(target), runs, wanted));
    }

    fn status(&mut self, now: Time, at: usize, status: &Status) {
        let target = &mut self.targets[at];
        target.grant = status.grant.into();
        if status.poll > self.polls.last() {
            return;
        }
        let newer = status.poll > target.answered;
        target.answered = target.answered.max(status.poll);
        if newer {
            self.sample(now, at, status);
        }
        self.polls.answered(at, status.poll);

        let mut first_missed = None;
        let mut asked = 0;
        for (number, said) in status.first.onwards().zip(&status.batches) {
            let Some(batch) = self.get_mut(number) else { continue };
            let (offered, passed) = match batch.passed {
                true => (batch.offered, batch.layout.end()),
                false => (batch.offered, batch.next.min(batch.layout.end())),
            };
            let Said { state: before, has_needs, .. } = batch.said[at];
            // What is staged stays so, though an older answer may come late.
            if before < State::Staged || said.state > before {
                self.says(number, at, |known| known.state = said.state);
            }
            let (stream, sent) = match said.state {
                State::Offer => (Stream::Offer, offered),
                // Before its whole NEED is here, nobody has read what it needs from the disk.
                State::Body if has_needs => (Stream::Data, passed),
                _ => continue,
            };
            let missing: Vec<BlockRange> = said
                .missing
                .iter()
                .map(|range| range.below(sent))
                .filter(|range| !range.is_empty())
                .collect();
            let first = missing.first().map(|range| (number, stream, range.start));
            first_missed = first_missed.or(first);
            asked += self.repairs.ask(at, status.poll, number, stream, &missing);
        }
        self.done_below(at, status.first);
        self.count_misses(now, at, first_missed, asked);
        self.end_round(now);
    }

    /// All batches before `first` are done by a target, though its DONE may still be on its way.
    fn done_below(&mut self, at: usize, first: BatchNo) {
        let below = first.since(self.first).unwrap_or(0).min(self.batches.len());
        for number in self.first.onwards().take(below) {
            self.says(number, at, |said| said.state = State::Done);
        }
    }

    fn count_misses(
        &mut self,
        now: Time,
        at: usize,
        first: Option<(BatchNo, Stream, BlockNo)>,
        asked: u32,
    ) {
        let target = &mut self.targets[at];
        target.stats.repairs += u64::from(asked);
        if first.is_none() || first != target.first_missed {
            target.first_missed = first;
            target.fruitless = 0;
            target.fruitless_since = now;
        } else if asked > 0 {
            target.fruitless += 1;
            if target.fruitless > FRUITLESS && now >= target.fruitless_since + FRUITLESS_FOR {
                return self.lose(at, Gone::NoData);
            }
        }
        if asked > 0 && self.repairs.ready <= now && self.targets.len() > 1 {
            let round_trip = self.targets[at].stats.round_trip.unwrap_or(Span::ZERO);
            self.repairs.ready = now + round_trip.at_most(Span::from_millis(2));
        }
    }

    /// Learns a target's loss, rate and round trip from an answer.
    fn sample(&mut self, now: Time, at: usize, status: &Status) {
        let Some(record) = self.polls.record(status.poll) else { return };
        let target = &mut self.targets[at];
        if status.asked {
            let held = Span::from_micros(status.held.into());
            target.round_trip(now.since(record.at) - held);
        }
        let new = Sample { received: status.received, sent: record.sent_to_all, at: now };
        let Some(old) = target.sample else {
            target.sample = Some(new);
            return;
        };
        let sent = new.sent.wrapping_sub(old.sent);
        let received = new.received.wrapping_sub(old.received);
        let took = now.since(old.at);
        if sent >= SAMPLE_BLOCKS && took > Span::ZERO {
            let lost = sent.saturating_sub(received);
            target.stats.lost += u64::from(lost);
            target.loss.lost = target.loss.lost.saturating_add(lost);
            target.loss.sent = target.loss.sent.saturating_add(sent);
            let bytes = f64::from(received) * f64::from(self.config.block);
            target.rate = Some(bytes / took.secs_f64());
            target.sample = Some(new);
        }
    }

    /// Closes polls that all have answered, and the round if one of them ends it.
    pub(super) fn end_round(&mut self, now: Time) {
        let Some(newest) = self.polls.complete() else { return };
        if let Some(sent) = self.polls.record(newest).map(|record| record.sent) {
            self.confirmed = self.confirmed.max(sent);
        }
        self.repairs.ready = now;
        if self.polls.round.is_none_or(|round| newest < round) {
            return;
        }
        let began =
            self.polls.round.take().and_then(|round| self.polls.record(round)).map(|r| r.at);
        let active = || self.targets.iter().enumerate().filter(|(_, target)| target.is_active());
        let slowest = active()
            .filter_map(|(at, target)| Some((target.rate?, at)))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        let round = Round {
            took: now.since(began.unwrap_or(now)),
            round_trip: active().filter_map(|(_, target)| target.stats.round_trip).max(),
            rate: slowest.map(|(rate, _)| rate),
            loss: active()
                .map(|(_, target)| target.loss)
                .max_by(|a, b| a.share().total_cmp(&b.share()))
                .unwrap_or_default(),
            limited: std::mem::take(&mut self.limited),
        };
        let answered = active().map(|(_, target)| target.answered).min().unwrap_or_default();
        if let Some((_, at)) = slowest {
            self.targets[at].stats.slowest += 1;
        }
        let grant = self.smallest_grant();
        self.window.round(round, grant);
        for target in &mut self.targets {
            target.rate = None;
            target.loss = Loss::default();
        }
        self.repairs.settle(answered);
    }
}

/// Where a sequence of codes that has got to `next` gets to with `runs`; None if they do not go on
/// there.
fn goes_on<C: crate::wire::outcome::Code>(next: u16, runs: &Runs<C>, entries: u16) -> Option<u16> {
    let count: u32 = runs.runs.iter().map(|&(_, count)| u32::from(count)).sum();
    let end = u32::from(runs.first.get()) + count;
    let some = count > 0 || entries == 0;
    (runs.first == EntryNo::new(next) && some && end <= u32::from(entries)).then_some(end as u16)
}
