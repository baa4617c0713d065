//! The end of a transfer that deletes: what the targets have spooled is counted, then deleted, then
//! named, each step by every target before the next.

use super::polling::ONE_BY_ONE;
use super::target::{Target, Targets};
use super::types::Event;
use crate::engine::destination::Destination;
use crate::engine::disk_job::DeletionTally;
use crate::ids::TargetNo;
use crate::wire::begin::Delete;
use crate::wire::bits::Bits;
use crate::wire::feedback::Deleted;

/// What the targets are asked for, and who has answered.
#[derive(Debug)]
pub(super) enum Deletion {
    /// How much they have spooled; by target.
    Counting(Vec<Option<DeletionTally>>),
    /// Nothing: the driver decides.
    Deciding {
        /// How many names each target has.
        counts: Vec<u64>,
    },
    /// To delete it.
    Deleting {
        /// How many names each target has.
        counts: Vec<u64>,
        /// Who has.
        ran: Bits<TargetNo>,
        /// Whether the names are wanted.
        names: bool,
    },
    /// What it is, page by page.
    Naming(Vec<Pages>),
}

/// The names of one target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages {
    /// How many are here.
    here: u64,
    /// How many there are, as the target has counted them: it is asked for no more.
    count: u64,
}

impl Pages {
    /// How many names the next page is to pass over; `None` if all are here.
    fn next(self) -> Option<u64> {
        (self.here < self.count).then_some(self.here)
    }
}

/// What comes next when all targets that are left have answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// The driver decides, from what each target has spooled.
    Decide(Vec<(TargetNo, DeletionTally)>),
    /// The targets are asked for the next step.
    Ask,
    /// Nothing is left to do.
    End,
}

impl Deletion {
    /// The first step.
    pub(super) fn new(targets: &Targets) -> Self {
        Deletion::Counting(vec![None; targets.len()])
    }

    /// Asks for all names, if there are any.
    fn name(&mut self, targets: &Targets, counts: &[u64]) -> Next {
        let pages = counts.iter().map(|&count| Pages { here: 0, count });
        *self = Deletion::Naming(pages.collect());
        if self.awaited(targets).next().is_some() { Next::Ask } else { Next::End }
    }

    /// The driver has decided whether to delete, and whether the names are wanted. `None` if it was
    /// not asked.
    pub(super) fn decide(&mut self, targets: &Targets, delete: bool, names: bool) -> Option<Next> {
        let Deletion::Deciding { counts } = self else { return None };
        let counts = std::mem::take(counts);
        Some(match (delete, names) {
            (true, names) => {
                *self = Deletion::Deleting { counts, ran: Bits::default(), names };
                Next::Ask
            }
            (false, true) => self.name(targets, &counts),
            (false, false) => Next::End,
        })
    }

    /// A target's answer: what the driver has to know of it.
    pub(super) fn answer(&mut self, at: TargetNo, report: Deleted) -> Option<Event> {
        match (self, report) {
            (Deletion::Counting(tallies), Deleted::Tally(tally)) => {
                *tallies.get_mut(at.index())? = Some(tally);
                None
            }
            (Deletion::Deleting { ran, names, .. }, Deleted::Ran { deleted, failed }) => {
                if ran.contains(at) {
                    return None;
                }
                ran.insert(at);
                // What could not be deleted is always named.
                *names |= failed > 0;
                Some(Event::Ran(at, deleted, failed))
            }
            (Deletion::Naming(pages), Deleted::Page { skip, mut names }) => {
                let pages = pages.get_mut(at.index())?;
                if pages.next() != Some(skip) {
                    return None;
                }
                let left = usize::try_from(pages.count - pages.here).unwrap_or(usize::MAX);
                names.truncate(left);
                pages.here += names.len() as u64;
                if names.is_empty() {
                    pages.count = pages.here;
                    return None;
                }
                Some(Event::Page(at, names))
            }
            _ => None,
        }
    }

    /// Whether a target that is left owes an answer. One that is silent for a while is waited for:
    /// nobody else would delete for it.
    fn awaits(&self, at: TargetNo, target: &Target) -> bool {
        !target.is_gone()
            && match self {
                Deletion::Counting(tallies) => tallies.get(at.index()).is_some_and(Option::is_none),
                Deletion::Deciding { .. } => false,
                Deletion::Deleting { ran, .. } => !ran.contains(at),
                Deletion::Naming(_) => self.page(at).is_some(),
            }
    }

    /// The targets that owe an answer.
    pub(super) fn awaited(&self, targets: &Targets) -> impl Iterator<Item = TargetNo> {
        targets.iter().filter(|(at, target)| self.awaits(*at, target)).map(|(at, _)| at)
    }

    /// Whether the driver decides, and nothing is asked of the targets.
    pub(super) fn is_deciding(&self) -> bool {
        matches!(self, Deletion::Deciding { .. })
    }

    /// Goes on to the next step if all that are left have answered.
    pub(super) fn advance(&mut self, targets: &Targets) -> Option<Next> {
        if self.awaited(targets).next().is_some() {
            return None;
        }
        match self {
            Deletion::Counting(tallies) => {
                let left = targets.iter().filter(|(_, target)| !target.is_gone());
                let left = left.filter_map(|(at, _)| Some((at, (*tallies.get(at.index())?)?)));
                let left = left.collect();
                let counts = tallies.iter().map(|tally| tally.map_or(0, |tally| tally.names()));
                *self = Deletion::Deciding { counts: counts.collect() };
                Some(Next::Decide(left))
            }
            Deletion::Deciding { .. } => None,
            Deletion::Deleting { names: true, counts, .. } => {
                let counts = std::mem::take(counts);
                Some(self.name(targets, &counts))
            }
            Deletion::Deleting { names: false, .. } | Deletion::Naming(_) => Some(Next::End),
        }
    }

    /// What is to be said now to those who have not answered, and to whom.
    pub(super) fn orders(&self, targets: &Targets) -> Vec<(Destination, Delete)> {
        let order = match self {
            Deletion::Counting(_) => Delete::Tally,
            Deletion::Deciding { .. } => return Vec::new(),
            // Who was lost while it was counted may hear this, and is not to delete what nobody judged.
            Deletion::Deleting { .. } => Delete::Run(Bits::of(self.awaited(targets))),
            Deletion::Naming(_) => {
                let awaited = self.awaited(targets);
                return awaited.filter_map(|at| self.page_order(targets, at)).collect();
            }
        };
        let to: Vec<Destination> = self.awaited(targets).map(|at| targets[at].to()).collect();
        let to = if to.len() > ONE_BY_ONE { vec![targets.everyone()] } else { to };
        to.into_iter().map(|to| (to, order.clone())).collect()
    }

    /// The order for a target's next page of names, if there may be one.
    pub(super) fn page_order(
        &self,
        targets: &Targets,
        at: TargetNo,
    ) -> Option<(Destination, Delete)> {
        self.page(at).map(|skip| (targets[at].to(), Delete::Page(skip)))
    }

    fn page(&self, at: TargetNo) -> Option<u64> {
        let Deletion::Naming(pages) = self else { return None };
        pages.get(at.index()).copied().and_then(Pages::next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outgoing::target::{self, Presence};
    use crate::name::RelPath;
    use crate::wire::outcome::SpoolCode;

    const A: TargetNo = TargetNo::new(0);
    const B: TargetNo = TargetNo::new(1);
    const TALLY: DeletionTally = DeletionTally { spooled: 3, entries: 10, failed: 0 };

    fn ran(failed: u64) -> Deleted {
        Deleted::Ran { deleted: 3, failed }
    }

    fn page(skip: u64, count: usize) -> Deleted {
        let name = RelPath::parse(b"d/gone").unwrap();
        Deleted::Page { skip, names: vec![(SpoolCode::Deleted, name); count] }
    }

    fn decided(targets: &Targets, delete: bool, names: bool) -> (Deletion, Option<Next>) {
        let mut deletion = Deletion::Deciding { counts: vec![TALLY.names(); targets.len()] };
        let next = deletion.decide(targets, delete, names);
        (deletion, next)
    }

    #[test]
    fn all_are_counted_before_the_driver_decides() {
        let mut targets = target::some(3);
        let mut deletion = Deletion::new(&targets);
        assert_eq!(deletion.decide(&targets, true, true), None);
        assert_eq!(deletion.answer(A, Deleted::Tally(TALLY)), None);
        assert_eq!(deletion.answer(B, ran(0)), None);
        assert_eq!(deletion.advance(&targets), None);
        let orders = [B, TargetNo::new(2)].map(|at| (targets[at].to(), Delete::Tally));
        assert_eq!(deletion.orders(&targets), orders);
        // One that is silent is waited for, one that is gone is not.
        targets.set_presence(B, Presence::Suspended);
        targets.set_presence(TargetNo::new(2), Presence::Gone);
        assert_eq!(deletion.advance(&targets), None);
        deletion.answer(B, Deleted::Tally(TALLY));
        let next = deletion.advance(&targets);
        assert_eq!(next, Some(Next::Decide(vec![(A, TALLY), (B, TALLY)])));
        assert!(deletion.is_deciding() && deletion.advance(&targets).is_none());
        assert_eq!(deletion.orders(&targets), []);
    }

    #[test]
    fn the_decision_is_to_delete_or_to_name_or_neither() {
        let targets = target::some(1);
        let (deletion, next) = decided(&targets, true, false);
        assert!(matches!(deletion, Deletion::Deleting { names: false, .. }));
        assert_eq!(next, Some(Next::Ask));
        let (deletion, next) = decided(&targets, false, true);
        assert!(matches!(deletion, Deletion::Naming(_)));
        assert_eq!(next, Some(Next::Ask));
        assert_eq!(decided(&targets, false, false).1, Some(Next::End));
    }

    #[test]
    fn only_those_that_were_judged_are_told_to_delete() {
        let mut targets = target::some(ONE_BY_ONE as u16 + 3);
        let mut deletion = Deletion::new(&targets);
        for at in targets.numbers().skip(1) {
            deletion.answer(at, Deleted::Tally(TALLY));
        }
        // The first is lost during the count, and hears what is for all nevertheless.
        targets.set_presence(A, Presence::Gone);
        let Some(Next::Decide(judged)) = deletion.advance(&targets) else { panic!("{deletion:?}") };
        deletion.decide(&targets, true, false);
        let named = Bits::of(judged.iter().map(|(at, _)| *at));
        assert!(!named.contains(A) && named.contains(B));
        assert_eq!(deletion.orders(&targets), [(Destination::Group, Delete::Run(named.clone()))]);
        // When it is repeated, only those that have not answered are named.
        deletion.answer(B, ran(0));
        let [(Destination::Group, Delete::Run(again))] = &deletion.orders(&targets)[..] else {
            panic!("{deletion:?}")
        };
        assert!(!again.contains(B) && again.iter().all(|at| named.contains(at)));
    }

    #[test]
    fn each_target_deletes_once_and_failures_are_named() {
        let targets = target::some(2);
        let (mut deletion, _) = decided(&targets, true, false);
        assert_eq!(deletion.answer(A, ran(1)), Some(Event::Ran(A, 3, 1)));
        assert_eq!(deletion.answer(A, ran(1)), None);
        assert_eq!(deletion.advance(&targets), None);
        deletion.answer(B, ran(0));
        assert_eq!(deletion.advance(&targets), Some(Next::Ask));
        let (mut deletion, _) = decided(&targets, true, false);
        for target in [A, B] {
            deletion.answer(target, ran(0));
        }
        assert_eq!(deletion.advance(&targets), Some(Next::End));
    }

    #[test]
    fn names_come_page_by_page_and_each_once() {
        let targets = target::some(1);
        let (mut deletion, _) = decided(&targets, false, true);
        assert_eq!(deletion.orders(&targets), [(targets[A].to(), Delete::Page(0))]);
        assert!(
            matches!(deletion.answer(A, page(0, 2)), Some(Event::Page(A, names)) if names.len() == 2)
        );
        assert_eq!(deletion.answer(A, page(0, 2)), None);
        assert_eq!(deletion.page_order(&targets, A), Some((targets[A].to(), Delete::Page(2))));
        assert_eq!(deletion.advance(&targets), None);
        assert_eq!(deletion.answer(A, page(2, 0)), None);
        assert_eq!(deletion.page_order(&targets, A), None);
        assert_eq!(deletion.advance(&targets), Some(Next::End));
    }

    #[test]
    fn no_more_names_are_asked_for_and_told_than_were_counted() {
        let targets = target::some(1);
        let (mut deletion, _) = decided(&targets, false, true);
        assert!(
            matches!(deletion.answer(A, page(0, 9)), Some(Event::Page(A, names)) if names.len() == 3)
        );
        assert_eq!(deletion.page_order(&targets, A), None);
        assert_eq!(deletion.answer(A, page(3, 9)), None);
        assert_eq!(deletion.advance(&targets), Some(Next::End));
        // Where nothing was counted, nothing is asked.
        let mut deletion = Deletion::Deciding { counts: vec![0] };
        assert_eq!(deletion.decide(&targets, false, true), Some(Next::End));
    }

    #[test]
    fn a_large_fleet_is_told_at_once() {
        let targets = target::some(ONE_BY_ONE as u16 + 1);
        assert_eq!(Deletion::new(&targets).orders(&targets), [(Destination::Group, Delete::Tally)]);
    }
}
