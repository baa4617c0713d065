//! The end of a transfer: END or ABORT is said until everyone has confirmed it.

use super::polling::ONE_BY_ONE;
use super::target::Targets;
use crate::engine::destination::Destination;
use crate::ids::TargetNo;
use crate::wire::bits::Bits;
use crate::wire::header::PacketKind;

/// END and ABORT are said so many times.
const TRIES: u32 = 6;

/// How a transfer ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// Everything is done.
    End,
    /// Before its end: nothing more is committed.
    Abort,
}

/// A transfer that ends.
#[derive(Debug)]
pub(super) struct Closing {
    ending: Ending,
    /// How often it has been said.
    tries: u32,
    /// Who has confirmed it.
    confirmed: Bits<TargetNo>,
}

impl Closing {
    pub(super) fn new(ending: Ending) -> Self {
        Closing { ending, tries: 0, confirmed: Bits::default() }
    }

    /// The packet that says it.
    pub(super) fn kind(&self) -> PacketKind {
        match self.ending {
            Ending::End => PacketKind::End,
            Ending::Abort => PacketKind::Abort,
        }
    }

    /// Whether everything is done.
    pub(super) fn is_end(&self) -> bool {
        self.ending == Ending::End
    }

    /// A target confirms it.
    pub(super) fn confirm(&mut self, target: TargetNo) {
        self.confirmed.insert(target);
    }

    /// Whether everyone has confirmed it that others wait for.
    pub(super) fn is_confirmed(&self, targets: &Targets) -> bool {
        targets.active().all(|(target, _)| self.confirmed.contains(target))
    }

    /// Whether it has been said often enough.
    pub(super) fn is_tired(&self) -> bool {
        self.tries >= TRIES
    }

    /// It is said (again): where to.
    pub(super) fn say(&mut self, targets: &Targets) -> Vec<Destination> {
        self.tries += 1;
        let left: Vec<Destination> = targets
            .active()
            .filter(|(target, _)| !self.confirmed.contains(*target))
            .map(|(_, target)| target.to())
            .collect();
        let group = left.len() > ONE_BY_ONE || (self.tries == 1 && targets.len() > 1);
        if group { vec![targets.everyone()] } else { left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outgoing::target::{self, Presence};

    const A: TargetNo = TargetNo::new(0);
    const B: TargetNo = TargetNo::new(1);

    #[test]
    fn all_hear_it_first_and_then_those_who_have_not_confirmed_it() {
        let mut targets = target::some(3);
        let mut closing = Closing::new(Ending::End);
        assert_eq!(closing.kind(), PacketKind::End);
        assert_eq!(closing.say(&targets), [Destination::Group]);
        closing.confirm(A);
        assert_eq!(closing.say(&targets).len(), 2);
        closing.confirm(B);
        assert!(!closing.is_confirmed(&targets));
        // Nobody waits for one that is silent.
        targets.set_presence(TargetNo::new(2), Presence::Suspended);
        assert!(closing.is_confirmed(&targets));
        assert_eq!(closing.say(&targets), []);
    }

    #[test]
    fn a_large_fleet_hears_it_through_the_group_and_not_for_ever() {
        let targets = target::some(ONE_BY_ONE as u16 + 1);
        let mut closing = Closing::new(Ending::Abort);
        for _ in 0..TRIES {
            assert!(!closing.is_tired());
            assert_eq!(closing.say(&targets), [Destination::Group]);
        }
        assert!(closing.is_tired());
        assert_eq!(closing.kind(), PacketKind::Abort);
    }

    #[test]
    fn one_target_hears_it_alone() {
        let targets = target::some(1);
        assert_eq!(Closing::new(Ending::End).say(&targets), [targets[A].to()]);
        assert!(Closing::new(Ending::End).is_confirmed(&target::some(0)));
    }
}
