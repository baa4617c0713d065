//! The end of a transfer that deletes: what the targets have spooled is counted, then deleted, then
//! named, each step by every target before the next.

use super::steps::{IDLE, ONE_BY_ONE};
use super::{Event, Gone, Outgoing, Phase, Transmit};
use crate::engine::destination::Destination;
use crate::engine::disk_job::DeletionTally;
use crate::ids::TargetNo;
use crate::time::Time;
use crate::wire::begin::Delete;
use crate::wire::feedback::Spool;
use crate::wire::header::PacketKind;

/// What the targets are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// How much they have spooled.
    Tally,
    /// Nothing: the driver decides.
    Decide,
    /// To delete it.
    Run,
    /// What it is, page by page.
    Names,
}

impl Outgoing {
    /// All batches are done.
    pub(super) fn start_spool(&mut self, now: Time) {
        self.enter(now, Step::Tally);
    }

    /// The answer to [`Event::Tallied`]: whether to delete, and whether the names are wanted.
    pub fn decide(&mut self, now: Time, delete: bool, names: bool) {
        if self.phase != Phase::Spooling(Step::Decide) {
            return;
        }
        self.names = names;
        match (delete, names) {
            (true, _) => self.enter(now, Step::Run),
            (false, true) => self.enter(now, Step::Names),
            (false, false) => self.close(now, PacketKind::End),
        }
    }

    fn enter(&mut self, now: Time, step: Step) {
        self.phase = Phase::Spooling(step);
        self.backoff = 0;
        self.ask_spool(now, step);
        self.advance_spool(now, step);
    }

    /// A target's answer.
    pub(super) fn spool(&mut self, now: Time, at: usize, spool: Spool) {
        let Phase::Spooling(step) = self.phase else { return };
        let target = &mut self.targets[at];
        match (step, spool) {
            (Step::Tally, Spool::Tally(tally)) => target.tally = Some(tally),
            (Step::Run, Spool::Ran { deleted, failed }) if !target.ran => {
                target.ran = true;
                // What could not be deleted is always named.
                self.names |= failed > 0;
                self.events.push_back(Event::Ran(TargetNo::of(at), deleted, failed));
            }
            (Step::Names, Spool::Page { skip, names }) if target.page == Some(skip) => {
                target.page =
                    (!names.is_empty()).then_some(skip.saturating_add(names.len() as u64));
                if let Some(next) = target.page {
                    self.events.push_back(Event::Page(TargetNo::of(at), names));
                    self.ask_page(now, at, next);
                }
            }
            _ => {}
        }
    }

    /// Goes on to the next step when all that are left have answered.
    pub(super) fn advance_spool(&mut self, now: Time, step: Step) {
        if (0..self.targets.len()).any(|at| self.lacks(at, step)) {
            return;
        }
        match step {
            Step::Tally => {
                let tallies: Vec<(TargetNo, DeletionTally)> = self
                    .targets
                    .iter()
                    .enumerate()
                    .filter(|(_, target)| !target.is_gone())
                    .filter_map(|(at, target)| Some((TargetNo::of(at), target.tally?)))
                    .collect();
                self.phase = Phase::Spooling(Step::Decide);
                self.events.push_back(Event::Tallied(tallies));
            }
            Step::Decide => {}
            Step::Run if self.names => self.enter(now, Step::Names),
            Step::Run | Step::Names => self.close(now, PacketKind::End),
        }
    }

    fn lacks(&self, at: usize, step: Step) -> bool {
        let target = &self.targets[at];
        // One that is silent for a while is waited for: nobody else would delete for it.
        !target.is_gone()
            && match step {
                Step::Tally => target.tally.is_none(),
                Step::Decide => true,
                Step::Run => !target.ran,
                Step::Names => target.page.is_some(),
            }
    }

    fn ask_spool(&mut self, now: Time, step: Step) {
        self.asked_at = now;
        let order = match step {
            Step::Tally => Delete::Tally,
            Step::Run => Delete::Run,
            Step::Decide => return,
            Step::Names => {
                for at in 0..self.targets.len() {
                    if let (true, Some(skip)) = (self.lacks(at, step), self.targets[at].page) {
                        self.ask_page(now, at, skip);
                    }
                }
                return;
            }
        };
        let lacking: Vec<usize> =
            (0..self.targets.len()).filter(|&at| self.lacks(at, step)).collect();
        let to = match lacking.len() {
            0..=ONE_BY_ONE => {
                lacking.iter().map(|&at| Destination::One(self.targets[at].addr)).collect()
            }
            _ => vec![self.everyone()],
        };
        let header = self.header(PacketKind::Delete);
        for to in to {
            self.control.push_back(Transmit::Packet { to, header, payload: order.emit() });
        }
    }

    fn ask_page(&mut self, now: Time, at: usize, skip: u64) {
        self.asked_at = now;
        let to = Destination::One(self.targets[at].addr);
        let header = self.header(PacketKind::Delete);
        let payload = Delete::Page(skip).emit();
        self.control.push_back(Transmit::Packet { to, header, payload });
    }

    /// Asks again those who have not answered; who is silent for too long leaves.
    pub(super) fn spool_timeout(&mut self, now: Time, step: Step) {
        if now >= self.spoken_at + IDLE {
            // Those that have answered hear nothing else.
            self.poll(now, None);
        }
        if step == Step::Decide || now < self.asked_at + self.patience() {
            return;
        }
        self.backoff += 1;
        for at in 0..self.targets.len() {
            if self.lacks(at, step) && now >= self.targets[at].limit(self.config.timeout) {
                self.lose(at, Gone::Silent);
            }
        }
        self.ask_spool(now, step);
        self.advance(now);
    }
}
