//! A transfer that is for all of its targets or none, until it is known which.

use crate::daemon::messages::{Agree, AtomicNews, ToControl};
use crate::daemon::shared::Shared;
use crate::engine::atomic::{Plan, Transaction};
use crate::ids::{BatchNo, TargetNo, TransferNo};
use crate::name::HostName;
use crate::wire::bits::Bits;
use crate::wire::outcome::{Outcome, Runs};

/// What becomes of it.
#[derive(Debug)]
pub(super) struct Agreement {
    of: Transaction,
    plan: Plan,
    /// The targets that lack something.
    failed: Bits<TargetNo>,
    /// It was asked whether all agree.
    is_asked: bool,
    /// It is in place, where it was decided.
    pub(super) is_in_place: bool,
}

impl Agreement {
    pub(super) fn new(of: Transaction, plan: Plan) -> Self {
        let (failed, is_asked, is_in_place) = Default::default();
        Agreement { of, plan, failed, is_asked, is_in_place }
    }

    /// A target is gone, or something has failed there. Whether too few are left.
    pub(super) fn fails(&mut self, target: TargetNo) -> bool {
        self.failed.insert(target);
        let left = self.plan.targets().len() - self.failed.iter().count();
        !self.is_asked && left < usize::from(self.plan.needed())
    }

    /// A target says what it did. Whether too few are left.
    pub(super) fn outcomes(&mut self, target: TargetNo, runs: &Runs<Outcome>) -> bool {
        runs.iter().any(|(_, outcome)| outcome.has_failed()) && self.fails(target)
    }

    /// All of it is staged at all targets that are left: whether all agree is found out.
    pub(super) fn ask<'a>(
        &mut self,
        shared: &Shared,
        number: TransferNo,
        last: BatchNo,
        name: impl Fn(TargetNo) -> &'a HostName,
    ) {
        self.is_asked = true;
        let lost = self.failed.iter().map(|target| name(target).clone()).collect();
        let (of, plan) = (self.of.clone(), self.plan.clone());
        let agree = Agree { of, number, plan, last, lost };
        shared.control.send(ToControl::Atomic(AtomicNews::Agree(agree)));
    }

    /// Nobody wants it any more.
    pub(super) fn give_up(&self, shared: &Shared) {
        if self.is_asked && !self.is_in_place {
            let news = AtomicNews::GiveUp(self.of.clone());
            shared.control.send(ToControl::Atomic(news));
        }
    }
}
