//! The end of a transfer that is for all of its targets or none: when all is staged, others find out how it ends.

use super::closing::Ending;
use super::target::Presence;
use super::types::{Event, Gone};
use super::{Outgoing, Phase};
use crate::ids::{BatchNo, TargetNo};
use crate::time::Time;
use crate::wire::header::PacketKind;

impl Outgoing {
    /// The answer to [`Event::Staged`]: whether those that are left have put it into place.
    pub fn agreed(&mut self, now: Time, in_place: bool) {
        if !matches!(self.phase, Phase::Agreeing) {
            return;
        }
        match in_place {
            true => self.close(now, Ending::End),
            false => self.give_up(now),
        }
    }

    /// All but this target have agreed: it takes no part in the end.
    pub fn leave_out(&mut self, target: TargetNo) {
        if self.targets.get(target).is_some_and(|target| !target.is_gone()) {
            self.outbox.send(self.targets[target].to(), PacketKind::Abort, Vec::new());
            self.set_presence(target, Presence::Gone);
            self.excuse(target);
        }
    }

    /// The last batch.
    pub fn last_batch(&self) -> BatchNo {
        self.sending.batches.total().0
    }

    /// All batches are done, and what was to be deleted.
    pub(super) fn all_done(&mut self, now: Time) {
        if !self.config.atomic || self.config.mode.changes_nothing() {
            return self.close(now, Ending::End);
        }
        // Who has not been heard may lack something.
        let silent: Vec<TargetNo> = self.targets.suspended().map(|(target, _)| target).collect();
        silent.into_iter().for_each(|target| self.drop_target(target, Gone::Silent));
        self.phase = Phase::Agreeing;
        self.outbox.event(Event::Staged);
    }
}
