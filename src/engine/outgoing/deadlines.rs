//! What time brings: answers that are late, targets that are silent, an end that is not confirmed.

use super::batch::OutgoingBatch;
use super::target::Presence;
use super::types::Gone;
use super::{Outgoing, Phase};
use crate::ids::TargetNo;
use crate::time::Time;

impl Outgoing {
    /// When [`Outgoing::timeout`] or [`Outgoing::poll_transmit`] have something to do, the latter
    /// with the same `blocks_too`.
    pub fn poll_timeout(&self, blocks_too: bool) -> Option<Time> {
        if !self.outbox.is_empty() {
            return Some(Time::ZERO);
        }
        let idle = self.polling.idle_at();
        match &self.phase {
            Phase::Over => None,
            Phase::Agreeing => Some(idle),
            Phase::Deleting(deletion) if deletion.is_deciding() => Some(idle),
            Phase::Deleting(_) => Some(self.polling.late_at(&self.targets).min(idle)),
            Phase::Closing(_) => Some(self.polling.late_at(&self.targets)),
            Phase::Running(_) => {
                let patience = self.config.patience;
                let contacts = self.targets.suspended().map(|(_, target)| &target.contact);
                let away = contacts.map(|c| c.probe_at().min(c.limit(patience))).min();
                let again = self.awaits_answers().then(|| self.polling.repeat_at(&self.targets));
                let send = (blocks_too && self.sending.has_blocks())
                    .then(|| self.sending.send_at(self.targets.smallest_grant()));
                away.into_iter().chain(again).chain(send).chain([idle]).min()
            }
        }
    }

    /// Whether an answer of any kind is awaited.
    fn awaits_answers(&self) -> bool {
        self.polling.outstanding()
            || self.sending.batches.await_anything()
            || self.targets.any_joining()
    }

    /// A deadline has passed.
    pub fn timeout(&mut self, now: Time) {
        match &self.phase {
            Phase::Over => {}
            Phase::Deleting(_) => self.deletion_timeout(now),
            Phase::Agreeing => {
                if now >= self.polling.idle_at() {
                    self.poll(now, None);
                }
            }
            Phase::Closing(closing) => {
                if now < self.polling.late_at(&self.targets) {
                    return;
                }
                if closing.is_tired() {
                    self.phase = Phase::Over;
                } else {
                    self.polling.be_patient();
                    self.say_closing(now);
                }
            }
            Phase::Running(_) => {
                if self.awaits_answers() && now >= self.polling.repeat_at(&self.targets) {
                    self.ask_again(now);
                }
                self.probe_suspended(now);
                if now >= self.polling.idle_at() {
                    // Its targets would take it for dead.
                    self.poll(now, None);
                }
                self.advance(now);
            }
        }
    }

    /// Asks again those who have not deleted or counted yet; who is silent for too long leaves.
    fn deletion_timeout(&mut self, now: Time) {
        if now >= self.polling.idle_at() {
            // Those that have answered hear nothing else.
            self.poll(now, None);
        }
        let Phase::Deleting(deletion) = &self.phase else { return };
        if deletion.is_deciding() || now < self.polling.late_at(&self.targets) {
            return;
        }
        self.polling.be_patient();
        let patience = self.config.patience;
        let late = |at: &TargetNo| now >= self.targets[*at].contact.limit(patience);
        let silent: Vec<TargetNo> = deletion.awaited(&self.targets).filter(late).collect();
        silent.into_iter().for_each(|target| self.drop_target(target, Gone::Silent));
        self.ask_for_deletion(now);
        self.advance(now);
    }

    /// Repeats what has not been answered, to those who have not answered it.
    fn ask_again(&mut self, now: Time) {
        let patience = self.polling.patience(&self.targets);
        // While polls leave, only those who do not answer them are asked.
        let quiet = now >= self.polling.late_at(&self.targets);
        let silent = self.polling.silent(now, patience);
        self.polling.repeat(now);
        for at in self.targets.numbers() {
            let target = &mut self.targets[at];
            let joining = target.presence() == Presence::Joining;
            if !target.is_active() || !(silent.contains(at) || joining) {
                continue;
            }
            if target.contact.missed_poll(now) {
                self.suspend(at);
            } else if joining {
                self.begin(at.index()..at.index() + 1);
            }
        }
        self.end_round(now);
        let lowest = self.sending.batches.first_awaited().filter(|_| quiet);
        let done = |at, batch: &OutgoingBatch| batch.progress(at).is_some_and(|p| p.is_done());
        let behind = |at| lowest.is_some_and(|batch| !done(at, batch));
        let active = self.targets.active().map(|(target, _)| target);
        let asked: Vec<TargetNo> =
            active.filter(|at| silent.contains(*at) || behind(*at)).collect();
        if !asked.is_empty() {
            self.poll(now, Some(&asked));
        } else if quiet {
            self.polling.asked(now);
        }
    }

    fn probe_suspended(&mut self, now: Time) {
        let suspended: Vec<TargetNo> = self.targets.suspended().map(|(target, _)| target).collect();
        for target in suspended {
            let contact = &mut self.targets[target].contact;
            if now >= contact.limit(self.config.patience) {
                self.drop_target(target, Gone::Silent);
            } else if now >= contact.probe_at() {
                contact.probe(now);
                self.begin(target.index()..target.index() + 1);
                self.poll(now, Some(&[target]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::disk_job::Mode;
    use crate::engine::outgoing::testing::{A, B, Driver};
    use crate::engine::outgoing::types::Event;
    use crate::time::Span;
    use crate::wire::feedback::{Feedback, State};
    use crate::wire::header::PacketKind;

    const B_NO: TargetNo = TargetNo::new(1);

    #[test]
    fn a_silent_target_is_asked_again_suspended_probed_and_given_up() {
        let mut driver = Driver::new(2, Mode::default());
        driver.batch(3_000);
        driver.sent();
        for _ in 0..40 {
            driver.status(A, State::Offer);
            driver.wait(Span::from_millis(50));
        }
        assert_eq!(driver.events(), [Event::Suspended(B_NO)]);
        let to = driver.outgoing.targets[B_NO].to();
        let asked = driver.wait(Span::from_millis(600));
        assert!(
            asked.contains(&(PacketKind::Begin, to)) && asked.contains(&(PacketKind::Poll, to))
        );
        for _ in 0..40 {
            driver.status(A, State::Offer);
            driver.wait(Span::from_millis(200));
        }
        assert_eq!(driver.events(), [Event::Gone(B_NO, Gone::Silent)]);
    }

    #[test]
    fn a_target_that_speaks_again_takes_part_again() {
        let mut driver = Driver::new(2, Mode::default());
        driver.batch(3_000);
        driver.wait(Span::from_secs(3));
        assert_eq!(driver.events().len(), 2);
        driver.need(B);
        assert_eq!(driver.events(), [Event::Resumed(B_NO)]);
    }

    #[test]
    fn all_hear_something_each_second_though_nothing_is_sent() {
        let mut driver = Driver::new(2, Mode::default());
        driver.sent();
        [A, B].into_iter().for_each(|target| driver.status(target, State::Done));
        for _ in 0..3 {
            let sent = driver.wait(Span::from_secs(1));
            let everyone = driver.outgoing.targets.everyone();
            assert!(sent.contains(&(PacketKind::Poll, everyone)), "{sent:?}");
            [A, B].into_iter().for_each(|target| driver.status(target, State::Done));
        }
        assert_eq!(driver.events(), []);
    }

    #[test]
    fn an_end_that_nobody_confirms_is_said_a_few_times() {
        let mut driver = Driver::new(2, Mode::default());
        driver.sent();
        driver.outgoing.end_input(driver.now);
        let sent = driver.wait(Span::from_secs(5));
        // To all once, then to each by itself.
        assert_eq!(sent.iter().filter(|(kind, _)| *kind == PacketKind::End).count(), 1 + 5 * 2);
        assert!(driver.outgoing.is_over());
    }

    #[test]
    fn a_target_that_is_silent_while_others_delete_is_waited_for_and_then_given_up() {
        let delete = Mode::Send { delete: true, ignore_times: false, dry_run: false };
        let mut driver = Driver::new(1, delete);
        driver.sent();
        driver.outgoing.end_input(driver.now);
        let sent = driver.wait(Span::from_secs(9));
        assert!(sent.iter().filter(|(kind, _)| *kind == PacketKind::Delete).count() > 10);
        assert_eq!(driver.events(), []);
        driver.hear(A, Feedback::Busy);
        driver.wait(Span::from_secs(5));
        assert_eq!(driver.events(), [], "it lives");
        driver.wait(Span::from_secs(20));
        assert_eq!(driver.events()[0], Event::Gone(TargetNo::ZERO, Gone::Silent));
    }
}
