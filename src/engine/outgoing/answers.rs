//! What targets answer, and what follows from it.

use super::measure::Sample;
use super::sending::Missed;
use super::target::Presence;
use super::types::{Event, Gone};
use super::{Outgoing, Phase};
use crate::ids::{BatchNo, TargetNo};
use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::wire::feedback::{Deleted, Feedback, Status, Verdict};
use crate::wire::header::PacketKind;
use crate::wire::outcome::{Need, Outcome, Runs};

impl Outgoing {
    /// How many bytes of the files that were announced all targets are through with that are waited for.
    pub fn digested(&self) -> u64 {
        self.targets.active().map(|(_, target)| target.digested).min().unwrap_or(u64::MAX)
    }

    /// A target's answer, from its own address.
    pub fn feedback(&mut self, now: Time, from: NodeId, batch: BatchNo, feedback: Feedback) {
        let Some(target) = self.targets.of_node(from) else { return };
        if self.targets[target].is_gone() {
            if self.targets[target].contact.reject(now) {
                self.outbox.send(self.targets[target].to(), PacketKind::Abort, Vec::new());
            }
            return;
        }
        if let Feedback::Busy = feedback {
            return self.targets[target].contact.busy(now);
        }
        self.heard(now, target);
        match feedback {
            Feedback::Accept { verdict, grant } => self.accept(target, verdict, grant),
            Feedback::Need(runs) => self.need(target, batch, runs),
            Feedback::Done(runs) => self.done(target, batch, runs),
            Feedback::Status(status) => self.status(now, target, &status),
            Feedback::Ended => match &mut self.phase {
                Phase::Closing(closing) => closing.confirm(target),
                // It has closed what is not over: it took somebody's word for ours, or gave up.
                _ => self.drop_target(target, Gone::Left),
            },
            Feedback::Deleted(report) => self.deleted(now, target, report),
            Feedback::Busy => {}
        }
        if self.targets[target].presence() == Presence::Active {
            for number in self.sending.batches.commits_due(target, self.targets[target].answered) {
                self.send_commit(number, &[target]);
            }
        }
        self.advance(now);
    }

    fn heard(&mut self, now: Time, target: TargetNo) {
        self.polling.be_impatient();
        self.targets[target].contact.heard(now);
        match self.targets[target].presence() {
            Presence::Joining => self.set_presence(target, Presence::Active),
            Presence::Suspended => {
                self.targets[target].measure.was_away();
                self.outbox.event(Event::Resumed(target));
                self.set_presence(target, Presence::Active);
            }
            Presence::Active | Presence::Gone => {}
        }
    }

    fn accept(&mut self, target: TargetNo, verdict: Verdict, grant: u32) {
        match verdict {
            Verdict::Accepted => self.targets.set_grant(target, grant),
            Verdict::Shared(with) => {
                self.targets.set_grant(target, grant);
                self.outbox.event(Event::Shared(target, with));
            }
            Verdict::Refused { reason, path } => {
                self.drop_target(target, Gone::Refused(reason, path));
            }
        }
    }

    fn need(&mut self, target: TargetNo, number: BatchNo, runs: Runs<Need>) {
        let (presence, dry_run) =
            (self.targets[target].presence(), self.config.mode.changes_nothing());
        let Some(batch) = self.sending.batches.get_mut(number) else { return };
        if batch.need(target, presence, &runs, dry_run) {
            self.outbox.event(Event::Needs(number, target, runs));
        }
    }

    fn done(&mut self, target: TargetNo, number: BatchNo, runs: Runs<Outcome>) {
        let presence = self.targets[target].presence();
        let Some(batch) = self.sending.batches.get_mut(number) else { return };
        if batch.outcomes(target, presence, &runs) {
            self.outbox.event(Event::Outcomes(number, target, runs));
        }
    }

    /// A target says what it has spooled, or what became of it.
    fn deleted(&mut self, now: Time, target: TargetNo, report: Deleted) {
        let Phase::Deleting(deletion) = &mut self.phase else { return };
        let Some(event) = deletion.answer(target, report) else { return };
        if let (Event::Page(..), Some((to, order))) =
            (&event, deletion.page_order(&self.targets, target))
        {
            self.polling.asked(now);
            self.outbox.send(to, PacketKind::Delete, order.emit());
        }
        self.outbox.event(event);
    }

    fn status(&mut self, now: Time, at: TargetNo, status: &Status) {
        self.targets.set_grant(at, status.grant);
        if status.poll > self.polling.last() {
            return;
        }
        if status.poll > self.targets[at].answered {
            self.targets[at].answered = status.poll;
            self.measure(now, at, status);
        }
        self.polling.answered(at, status.poll);
        let target = &mut self.targets[at];
        target.digested = target.digested.max(status.digested);
        let sent = self.polling.record(status.poll).map_or(0, |(_, sent)| sent.to_all);
        let (presence, misses) = (target.presence(), &mut target.misses);
        let missed = self.sending.status(now, at, presence, status, misses, sent);
        self.count_misses(now, at, missed);
        self.hold();
        self.end_round(now);
    }

    /// Learns a target's loss, rate and round trip from an answer.
    fn measure(&mut self, now: Time, at: TargetNo, status: &Status) {
        let Some((left, sent)) = self.polling.record(status.poll) else { return };
        let measure = &mut self.targets[at].measure;
        if status.asked {
            measure.answer_took(now.since(left) - Span::from_micros(status.held.into()));
        }
        let sample = Sample { received: status.received, sent: sent.to_all, at: now };
        measure.sample(sample, self.config.block);
    }

    fn count_misses(&mut self, now: Time, at: TargetNo, missed: Missed) {
        let target = &mut self.targets[at];
        target.measure.repaired(missed.again);
        if target.misses.count(now, missed.first, missed.again) {
            self.drop_target(at, Gone::NoData);
            // It hears this, and is free for what comes next.
            self.outbox.send(self.targets[at].to(), PacketKind::Abort, Vec::new());
        } else if missed.again > 0 && self.targets.len() > 1 {
            let round_trip = self.targets[at].measure.round_trip();
            self.sending.repairs.wait_for_others(now, round_trip);
        }
    }

    /// Closes polls that all have answered, and the round if one of them ends it.
    pub(super) fn end_round(&mut self, now: Time) {
        let Some(answered) = self.polling.close(now) else { return };
        if let Some(bytes) = answered.bytes {
            self.sending.flow.confirm(bytes);
        }
        self.sending.repairs.all_have_asked(now);
        if let Some(took) = answered.round {
            let round = self.targets.end_round(took, self.sending.flow.take_limited());
            self.sending.flow.end_round(round, self.targets.smallest_grant());
            self.sending.repairs.settle(self.targets.all_answered());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::disk_job::Mode;
    use crate::engine::outgoing::testing::{A, B, Driver, FIRST, runs};
    use crate::wire::feedback::State;
    use crate::wire::outcome::Reason;

    const FIRST_TARGET: TargetNo = TargetNo::ZERO;

    fn refused() -> Feedback {
        let verdict = Verdict::Refused { reason: Reason::Held, path: Vec::new() };
        Feedback::Accept { verdict, grant: 0 }
    }

    #[test]
    fn a_target_that_refuses_is_gone_and_told_so_when_it_speaks() {
        let mut driver = Driver::new(2, Mode::default());
        driver.sent();
        driver.hear(A, refused());
        let why = Gone::Refused(Reason::Held, Vec::new());
        assert_eq!(driver.events(), [Event::Gone(FIRST_TARGET, why)]);
        driver.now += Span::from_millis(20);
        driver.hear(A, Feedback::Ended);
        driver.hear(A, Feedback::Ended);
        assert_eq!((driver.kinds(), driver.events()), (vec![PacketKind::Abort], vec![]));
    }

    #[test]
    fn a_target_that_ends_before_the_end_has_left() {
        let mut driver = Driver::new(2, Mode::default());
        driver.hear(A, Feedback::Ended);
        assert_eq!(driver.events(), [Event::Gone(FIRST_TARGET, Gone::Left)]);
        // Nobody knows this one.
        driver.hear(NodeId(99), Feedback::Ended);
        assert_eq!(driver.events(), []);
    }

    #[test]
    fn in_a_dry_run_needs_are_all_there_is() {
        let dry_run = Mode::Send { delete: false, ignore_times: false, dry_run: true };
        let mut driver = Driver::new(2, dry_run);
        driver.batch(3_000);
        driver.sent();
        driver.need(A);
        assert_eq!(driver.events(), [Event::Needs(FIRST, FIRST_TARGET, runs(Need::All))]);
        driver.need(B);
        assert!(matches!(driver.events()[..], [Event::Needs(..), Event::Closed(..)]));
        assert!(driver.sent().is_empty());
    }

    #[test]
    fn a_commit_that_was_lost_is_sent_again_to_that_target_alone() {
        let mut driver = Driver::new(2, Mode::default());
        driver.batch(3_000);
        driver.sent();
        [A, B].into_iter().for_each(|target| driver.need(target));
        driver.sent();
        [A, B].into_iter().for_each(|target| driver.status(target, State::Staged));
        driver.outgoing.verified(driver.now, FIRST, &[]);
        driver.sent();
        driver.done(B);
        // It answers a poll that left before COMMIT.
        driver.status(A, State::Staged);
        assert!(driver.sent().is_empty());
        driver.now += Span::from_millis(30);
        driver.outgoing.timeout(driver.now);
        driver.sent();
        driver.status(A, State::Staged);
        let alone = driver.outgoing.targets[FIRST_TARGET].to();
        assert_eq!(driver.sent(), [(PacketKind::Commit, alone)]);
    }

    #[test]
    fn an_answer_to_a_poll_that_was_never_sent_says_nothing() {
        let mut driver = Driver::new(1, Mode::default());
        driver.batch(3_000);
        driver.need(A);
        driver.status(A, State::Staged);
        assert!(
            driver.events().contains(&Event::Verify(FIRST)),
            "poll 0 is the one before the first"
        );
        let status = Status {
            poll: crate::ids::PollNo::new(9),
            asked: true,
            held: 0,
            grant: 1,
            received: 0,
            digested: 0,
            first: FIRST.after(1_000),
            batches: Vec::new(),
        };
        driver.hear(A, Feedback::Status(status));
        let target = &driver.outgoing.targets[FIRST_TARGET];
        assert_eq!(target.answered, crate::ids::PollNo::ZERO);
    }
}
