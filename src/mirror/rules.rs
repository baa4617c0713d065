//! The rules that keep mirrors honest, by name. Tests switch each off, to see that something goes wrong without it.

use crate::wire::versions::Version;

/// A rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rule {
    /// A tombstone stays beside live dots.
    Tomb,
    /// Who drops a conflict takes a dot for it.
    DropDot,
    /// An entry leaves with its own context.
    WireContext,
    /// An entry that was taken before K moved refers to the context that it came with.
    Context,
    /// K moves after the last entry.
    KnownLast,
    /// A delta is taken only where K covers what it starts from.
    Gap,
    /// Who is below the floor gets everything.
    Floor,
    /// The floor is joined before the first entry.
    FloorTravels,
    /// Every dropped tombstone raises the floor.
    FloorAll,
    /// A local change replaces the dots that were shown, and not those that would be now.
    PlacedDots,
    /// A peer's change ends the hold of a local deletion.
    HeldChange,
    /// A held local deletion gets no dot.
    Hold,
    /// The first own dot of a run has a new id.
    StartId,
    /// A peer that knows a higher number of this index ends its id.
    Guard,
    /// So does one that has heard of it only with an entry.
    GuardContext,
    /// What is listed is neither overwritten nor removed.
    NoPush,
    /// Equal versions show as one.
    Equal,
    /// Versions with different contents are not equal, whatever else they have in common.
    Digest,
    /// What was found is not what was placed if its content is another one, whatever else they have in common.
    FoundDigest,
    /// What an exchange brought out is looked at.
    Look,
    /// What a removal moved away is looked at.
    Back,
    /// After a crash the slot decides.
    Slot,
    /// After a crash, what is in the slot is looked at.
    SlotLook,
    /// A live descendant implies its parents.
    Implied,
}

/// Which rules hold: all, outside tests.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Rules {
    off: u64,
}

impl Rules {
    /// Whether a rule holds.
    pub(super) fn has(self, rule: Rule) -> bool {
        self.off & 1 << rule as u64 == 0
    }

    /// Whether two versions are the same; `rule` is that their contents count.
    pub(super) fn is_equal(self, rule: Rule, one: Version, other: Version) -> bool {
        one == other || !self.has(rule) && one.unread() == other.unread()
    }

    /// All but one more.
    #[cfg(test)]
    pub(super) fn without(self, rule: Rule) -> Rules {
        Rules { off: self.off | 1 << rule as u64 }
    }
}
