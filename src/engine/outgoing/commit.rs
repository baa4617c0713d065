//! What the commit of one batch leaves out, and to whom it has been sent.

use std::collections::BTreeMap;

use super::progress::{Stage, TargetProgress};
use crate::ids::{EntryNo, PollNo, TargetNo};
use crate::wire::begin::Commit;
use crate::wire::bits::Bits;
use crate::wire::outcome::Reason;

/// The commit of one batch.
#[derive(Debug)]
pub(super) struct BatchCommit {
    /// The entries that changed while they were sent: no target is to have them.
    strikes: BTreeMap<EntryNo, Reason>,
    /// For each target: the newest poll when COMMIT was last sent to it.
    sent: Vec<Option<PollNo>>,
}

impl BatchCommit {
    pub(super) fn new(targets: usize) -> Self {
        BatchCommit { strikes: BTreeMap::new(), sent: vec![None; targets] }
    }

    /// Adds strikes; gives those that are new.
    pub(super) fn strike(&mut self, entries: &[(EntryNo, Reason)]) -> Vec<(EntryNo, Reason)> {
        let mut new = entries.to_vec();
        new.retain(|&(entry, reason)| self.strikes.insert(entry, reason).is_none());
        new
    }

    /// All strikes, by entry.
    pub(super) fn strikes(&self) -> Vec<(EntryNo, Reason)> {
        self.strikes.iter().map(|(&entry, &reason)| (entry, reason)).collect()
    }

    /// The COMMIT for these targets, which leaves now.
    pub(super) fn send(&mut self, targets: &[TargetNo], last_poll: PollNo) -> Commit {
        for target in targets {
            if let Some(sent) = self.sent.get_mut(target.index()) {
                *sent = Some(last_poll);
            }
        }
        Commit {
            targets: Bits::of(targets.iter().copied()),
            strikes: Bits::of(self.strikes.keys().copied()),
        }
    }

    /// Whether COMMIT is to be sent (again) to a target with this progress that has answered the poll
    /// `answered`. `streams`: whether the body of the batch is one long file.
    pub(super) fn is_due(
        &self,
        target: TargetNo,
        progress: TargetProgress,
        answered: PollNo,
        streams: bool,
    ) -> bool {
        let sent = self.sent.get(target.index()).copied().flatten();
        let heard_since = sent.is_none_or(|poll| answered > poll);
        let waits = match progress.stage() {
            // What it has was right when it was read.
            Some(Stage::Staged) => true,
            // A strike may still come, unless all there is has been struck.
            Some(Stage::Body) => streams && !self.strikes.is_empty(),
            _ => false,
        };
        waits && heard_since
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::feedback::State;

    const A: TargetNo = TargetNo::new(0);
    const B: TargetNo = TargetNo::new(1);
    const CHANGED: (EntryNo, Reason) = (EntryNo::new(3), Reason::Changed);

    fn at(state: State) -> TargetProgress {
        TargetProgress::NEW.need(true, false).status(state)
    }

    #[test]
    fn an_entry_is_struck_once() {
        let mut commit = BatchCommit::new(2);
        assert_eq!(commit.strike(&[CHANGED]), [CHANGED]);
        let other = (EntryNo::new(1), Reason::Changed);
        assert_eq!(commit.strike(&[CHANGED, other]), [other]);
        assert_eq!(commit.strikes(), [other, CHANGED]);
        let packet = commit.send(&[B], PollNo::new(4));
        assert_eq!(
            packet,
            Commit { targets: Bits::of([B]), strikes: Bits::of([other.0, CHANGED.0]) }
        );
    }

    #[test]
    fn commit_is_repeated_when_a_later_poll_is_answered() {
        let mut commit = BatchCommit::new(2);
        let staged = at(State::Staged);
        assert!(commit.is_due(A, staged, PollNo::ZERO, false));
        commit.send(&[A], PollNo::new(4));
        assert!(!commit.is_due(A, staged, PollNo::new(4), false));
        assert!(commit.is_due(A, staged, PollNo::new(5), false));
        assert!(commit.is_due(B, staged, PollNo::new(4), false));
        for done in [at(State::Committing), at(State::Done), TargetProgress::Done] {
            assert!(!commit.is_due(A, done, PollNo::new(5), false));
        }
    }

    #[test]
    fn a_target_that_lacks_bytes_is_told_only_if_nothing_is_left_to_wait_for() {
        let mut commit = BatchCommit::new(1);
        let body = at(State::Body);
        assert!(!commit.is_due(A, body, PollNo::new(1), true));
        commit.strike(&[CHANGED]);
        assert!(commit.is_due(A, body, PollNo::new(1), true));
        assert!(!commit.is_due(A, body, PollNo::new(1), false));
        assert!(!commit.is_due(A, at(State::Staging), PollNo::new(1), true));
    }
}
