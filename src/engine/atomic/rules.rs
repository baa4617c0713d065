//! The rules that keep a transaction whole, by name. Tests switch each off, to see that something goes wrong without it.

/// A rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rule {
    /// Who is not in the included set aborts.
    Excluded,
    /// Who has promised does not believe the sender's decision.
    NotSender,
    /// Who has promised refuses a late commit.
    RefuseLate,
    /// Who asks has promised before.
    PromiseFirst,
    /// Who is asked, and has voted, promises.
    PromiseAsked,
    /// Who is asked, and has not voted, never will.
    RefuseAsked,
    /// About what is older than the records, nothing is known.
    Born,
    /// An abort of an excluded target, or by an operator, proves nothing.
    AbortProves,
    /// What was forgotten leaves a mark.
    Mark,
    /// It is over only when all targets know how it ended.
    AllKnow,
    /// A sender that has not decided is silent.
    Silent,
    /// The decision is on disk before it is told.
    DecideFirst,
    /// A vote is on disk before it is told.
    VoteFirst,
}

/// Which rules hold: all, outside tests.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Rules {
    off: u32,
}

impl Rules {
    /// Whether a rule holds.
    pub(super) fn has(self, rule: Rule) -> bool {
        self.off & 1 << rule as u32 == 0
    }

    /// All but one more.
    #[cfg(test)]
    pub(super) fn without(self, rule: Rule) -> Rules {
        Rules { off: self.off | 1 << rule as u32 }
    }
}
