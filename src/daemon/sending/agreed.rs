//! How a transfer that is for all of its targets or none goes on when all is staged, and when it is known how it ended.

use std::sync::atomic::Ordering;

use super::outgoing_transfer::OutgoingTransfer;
use crate::daemon::messages::Ended;
use crate::engine::atomic::Fate;
use crate::ids::TargetNo;
use crate::time::Time;

impl OutgoingTransfer {
    /// All of it is staged at all targets that are left.
    pub(super) fn staged(&mut self, now: Time) {
        let outgoing = &mut self.parts.outgoing;
        let failed = self.parts.errors.load(Ordering::Relaxed) > 0 || self.report.has_failed_here();
        match &mut self.agreement {
            Some(agreement) if !failed => {
                let name = |target| self.report.name(target);
                agreement.ask(&self.shared, outgoing.number(), outgoing.last_batch(), name);
            }
            _ => outgoing.agreed(now, false),
        }
    }

    /// It is known whether it is decided for it, and how it ended at each target.
    pub(super) fn agreed(&mut self, now: Time, decided: bool, all: &[Ended]) {
        let Some(agreement) = &mut self.agreement else { return };
        agreement.is_in_place = decided;
        self.report.agreed(&self.shared, decided, all);
        let outgoing = &mut self.parts.outgoing;
        for ended in all.iter().filter(|ended| !matches!(ended.fate, Fate::Committed(_))) {
            let at = self.parts.hosts.iter().position(|host| host.name == ended.host);
            at.into_iter().for_each(|at| outgoing.leave_out(TargetNo::of(at)));
        }
        self.kept.commits();
        outgoing.agreed(now, decided);
        self.events(now);
    }
}
