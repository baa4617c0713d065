//! How far each target is with a batch, and how many targets a batch still waits for.

use std::ops::{AddAssign, SubAssign};

use super::target::Presence;
use crate::wire::feedback::State;

/// How far a target says it is with a batch, as far as its sender has use for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Stage {
    /// It waits for the manifest, or looks at its entries.
    Planning,
    /// It receives blocks of the body.
    Body,
    /// It has all blocks and writes them.
    Staging,
    /// It can commit.
    Staged,
    /// It commits, or has nothing to commit: its outcomes are on their way.
    Reporting,
}

/// How far a target is with a batch, as its sender knows.
///
/// What it needs and how far it is come in different packets, and either may be lost: a target can be
/// staged before its sender has heard what it needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TargetProgress {
    /// What it needs is not known in full.
    Needs(Stage),
    /// What it needs is known.
    At(Stage),
    /// All that it had to say is here: its outcomes, or in a dry run what it needs.
    Done,
}

impl TargetProgress {
    /// Nothing has been heard yet.
    pub(super) const NEW: TargetProgress = TargetProgress::Needs(Stage::Planning);

    /// Whether it is known what the target needs.
    pub(super) fn needs_known(self) -> bool {
        !matches!(self, TargetProgress::Needs(_))
    }

    /// Whether nothing more is awaited from the target.
    pub(super) fn is_done(self) -> bool {
        self == TargetProgress::Done
    }

    /// The stage that the target is in, unless it is done.
    pub(super) fn stage(self) -> Option<Stage> {
        match self {
            TargetProgress::Needs(stage) | TargetProgress::At(stage) => Some(stage),
            TargetProgress::Done => None,
        }
    }

    /// Moves it to another stage; what is done stays done.
    fn at(self, stage: Stage) -> Self {
        match self {
            TargetProgress::Needs(_) => TargetProgress::Needs(stage),
            TargetProgress::At(_) => TargetProgress::At(stage),
            TargetProgress::Done => TargetProgress::Done,
        }
    }

    /// A STATUS says how far the target is. What is staged stays so, though an older STATUS may come
    /// late.
    #[must_use]
    pub(super) fn status(self, state: State) -> Self {
        let said = Stage::of(state);
        match self.stage() {
            Some(known) if known < Stage::Staged || said > known => self.at(said),
            _ => self,
        }
    }

    /// A STATUS speaks of later batches only: its outcomes are on their way, if they are not here.
    #[must_use]
    pub(super) fn passed(self) -> Self {
        self.at(Stage::Reporting)
    }

    /// A part of NEED has come, or with `whole` the last part.
    #[must_use]
    pub(super) fn need(self, whole: bool, dry_run: bool) -> Self {
        match self {
            TargetProgress::Needs(_) if dry_run && whole => TargetProgress::Done,
            TargetProgress::Needs(stage) if dry_run => TargetProgress::Needs(stage),
            TargetProgress::Needs(stage) if whole => TargetProgress::At(stage.max(Stage::Body)),
            TargetProgress::Needs(stage) => TargetProgress::Needs(stage.max(Stage::Body)),
            known => known,
        }
    }

    /// What is awaited from a target with this presence.
    pub(super) fn awaited(self, presence: Presence) -> Awaited {
        let active = presence.is_active();
        let staged = self.stage().is_none_or(|stage| stage >= Stage::Staged);
        Awaited {
            needs: usize::from(active && !self.needs_known()),
            staged: usize::from(active && !staged),
            done: usize::from(active && !self.is_done()),
            done_by_any: usize::from(presence != Presence::Gone && !self.is_done()),
        }
    }
}

impl Stage {
    fn of(state: State) -> Self {
        match state {
            State::Waiting | State::Offer | State::Planning => Stage::Planning,
            State::Body => Stage::Body,
            State::Staging => Stage::Staging,
            State::Staged => Stage::Staged,
            State::Committing | State::Done => Stage::Reporting,
        }
    }
}

/// How many targets have not said what is awaited.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Awaited {
    /// Of the targets that others wait for: what they need, that they are staged, that they are done.
    pub(super) needs: usize,
    pub(super) staged: usize,
    pub(super) done: usize,
    /// Of all targets that are not gone, also those that are silent: that they are done.
    pub(super) done_by_any: usize,
}

impl AddAssign for Awaited {
    fn add_assign(&mut self, other: Awaited) {
        self.needs += other.needs;
        self.staged += other.staged;
        self.done += other.done;
        self.done_by_any += other.done_by_any;
    }
}

impl SubAssign for Awaited {
    fn sub_assign(&mut self, other: Awaited) {
        self.needs -= other.needs;
        self.staged -= other.staged;
        self.done -= other.done;
        self.done_by_any -= other.done_by_any;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_status_does_not_take_back_what_is_staged() {
        let early = TargetProgress::NEW.need(true, false);
        assert_eq!(early, TargetProgress::At(Stage::Body));
        assert_eq!(early.status(State::Offer), TargetProgress::At(Stage::Planning));
        let staged = early.status(State::Staging).status(State::Staged);
        assert_eq!(staged, TargetProgress::At(Stage::Staged));
        assert_eq!(staged.status(State::Body), staged);
        assert_eq!(staged.status(State::Committing), TargetProgress::At(Stage::Reporting));
        assert_eq!(staged.passed().status(State::Staged), staged.passed());
        assert_eq!(TargetProgress::Done.status(State::Body), TargetProgress::Done);
        assert_eq!(TargetProgress::Done.passed(), TargetProgress::Done);
    }

    #[test]
    fn what_a_target_needs_may_be_heard_last() {
        let staged = TargetProgress::NEW.status(State::Staged);
        assert_eq!(staged, TargetProgress::Needs(Stage::Staged));
        let awaited = staged.awaited(Presence::Active);
        assert_eq!((awaited.needs, awaited.staged, awaited.done), (1, 0, 1));
        assert_eq!(staged.need(false, false), staged);
        assert_eq!(staged.need(true, false), TargetProgress::At(Stage::Staged));
    }

    #[test]
    fn in_a_dry_run_all_is_done_when_the_needs_are_known() {
        assert_eq!(TargetProgress::NEW.need(false, true), TargetProgress::NEW);
        assert_eq!(TargetProgress::NEW.need(true, true), TargetProgress::Done);
    }

    #[test]
    fn nobody_waits_for_a_silent_target_but_its_batches_stay() {
        let progress = TargetProgress::NEW;
        let all = Awaited { needs: 1, staged: 1, done: 1, done_by_any: 1 };
        assert_eq!(progress.awaited(Presence::Joining), all);
        assert_eq!(progress.awaited(Presence::Active), all);
        let kept = Awaited { done_by_any: 1, ..Awaited::default() };
        assert_eq!(progress.awaited(Presence::Suspended), kept);
        assert_eq!(progress.awaited(Presence::Gone), Awaited::default());
        assert_eq!(TargetProgress::Done.awaited(Presence::Active), Awaited::default());
    }
}
