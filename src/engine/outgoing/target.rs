//! The targets of an outgoing transfer.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::ops::{Index, IndexMut};

use super::contact::Contact;
use super::measure::{Measure, Stats};
use super::repair::Misses;
use crate::engine::destination::Destination;
use crate::engine::window::Round;
use crate::ids::{PollNo, TargetNo};
use crate::name::NodeId;
use crate::time::{Span, Time};

/// Whether a target takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Presence {
    /// It has been asked to take part.
    Joining,
    /// It takes part.
    Active,
    /// It has been silent; nobody waits for it.
    Suspended,
    /// It takes no part any more.
    Gone,
}

impl Presence {
    /// Whether the others wait for it.
    pub(super) fn is_active(self) -> bool {
        matches!(self, Presence::Joining | Presence::Active)
    }
}

/// One target.
#[derive(Debug)]
pub(super) struct Target {
    node: NodeId,
    addr: SocketAddrV4,
    presence: Presence,
    /// How many bytes it takes in flight.
    grant: u64,
    /// The newest poll that it answered.
    pub(super) answered: PollNo,
    /// How many bytes of announced files it is through with.
    pub(super) digested: u64,
    pub(super) contact: Contact,
    pub(super) measure: Measure,
    pub(super) misses: Misses,
}

impl Target {
    fn new(node: NodeId, addr: SocketAddrV4, now: Time) -> Self {
        Target {
            node,
            addr,
            presence: Presence::Joining,
            grant: u64::MAX,
            answered: PollNo::ZERO,
            digested: 0,
            contact: Contact::new(now),
            measure: Measure::default(),
            misses: Misses::new(now),
        }
    }

    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    pub(super) fn presence(&self) -> Presence {
        self.presence
    }

    /// Whether the others wait for it.
    pub(super) fn is_active(&self) -> bool {
        self.presence.is_active()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.presence == Presence::Gone
    }

    /// Where what is for it alone goes.
    pub(super) fn to(&self) -> Destination {
        Destination::One(self.node, self.addr)
    }
}

/// All targets of a transfer, in the order of its BEGIN.
#[derive(Debug)]
pub(super) struct Targets {
    list: Vec<Target>,
    by_node: HashMap<NodeId, TargetNo>,
    joining: usize,
    active: usize,
    suspended: usize,
}

impl Index<TargetNo> for Targets {
    type Output = Target;

    fn index(&self, target: TargetNo) -> &Target {
        &self.list[target.index()]
    }
}

impl IndexMut<TargetNo> for Targets {
    fn index_mut(&mut self, target: TargetNo) -> &mut Target {
        &mut self.list[target.index()]
    }
}

impl Targets {
    pub(super) fn new(targets: &[(NodeId, SocketAddrV4)], now: Time) -> Self {
        let list: Vec<Target> =
            targets.iter().map(|&(node, addr)| Target::new(node, addr, now)).collect();
        let by_node =
            list.iter().enumerate().map(|(at, target)| (target.node, TargetNo::of(at))).collect();
        let joining = list.len();
        Targets { list, by_node, joining, active: 0, suspended: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The target that a node is.
    pub(super) fn of_node(&self, node: NodeId) -> Option<TargetNo> {
        self.by_node.get(&node).copied()
    }

    pub(super) fn get(&self, target: TargetNo) -> Option<&Target> {
        self.list.get(target.index())
    }

    /// The numbers of all targets.
    pub(super) fn numbers(&self) -> impl Iterator<Item = TargetNo> + Clone + use<> {
        (0..self.list.len()).map(TargetNo::of)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TargetNo, &Target)> {
        self.numbers().zip(&self.list)
    }

    /// The targets that others wait for.
    pub(super) fn active(&self) -> impl Iterator<Item = (TargetNo, &Target)> {
        self.iter().filter(|(_, target)| target.is_active())
    }

    /// Whether anybody waits for a target.
    pub(super) fn any_active(&self) -> bool {
        self.joining + self.active > 0
    }

    /// Whether a target has not answered BEGIN.
    pub(super) fn any_joining(&self) -> bool {
        self.joining > 0
    }

    /// Whether there were targets, and none is left.
    pub(super) fn all_gone(&self) -> bool {
        !self.is_empty() && self.joining + self.active + self.suspended == 0
    }

    /// A target comes or goes; gives what it was before.
    pub(super) fn set_presence(&mut self, target: TargetNo, presence: Presence) -> Presence {
        let before = std::mem::replace(&mut self[target].presence, presence);
        if let Some(count) = self.count(before) {
            *count -= 1;
        }
        if let Some(count) = self.count(presence) {
            *count += 1;
        }
        before
    }

    fn count(&mut self, presence: Presence) -> Option<&mut usize> {
        match presence {
            Presence::Joining => Some(&mut self.joining),
            Presence::Active => Some(&mut self.active),
            Presence::Suspended => Some(&mut self.suspended),
            Presence::Gone => None,
        }
    }

    /// The targets that nobody waits for, but that may come back.
    pub(super) fn suspended(&self) -> impl Iterator<Item = (TargetNo, &Target)> {
        let some = (self.suspended > 0).then(|| self.iter());
        some.into_iter().flatten().filter(|(_, target)| target.presence == Presence::Suspended)
    }

    /// Where what is for all goes: with one target, to that one.
    pub(super) fn everyone(&self) -> Destination {
        match self.list.as_slice() {
            [only] => only.to(),
            _ => Destination::Group,
        }
    }

    /// A target takes so many bytes in flight.
    pub(super) fn set_grant(&mut self, target: TargetNo, grant: u32) {
        self[target].grant = grant.into();
    }

    /// How many bytes all targets that others wait for take in flight.
    pub(super) fn smallest_grant(&self) -> u64 {
        let grants = self.list.iter().filter(|target| target.is_active()).map(|t| t.grant);
        grants.min().unwrap_or(u64::MAX)
    }

    /// The longest round trip of the targets that others wait for.
    pub(super) fn longest_round_trip(&self) -> Option<Span> {
        self.active().filter_map(|(_, target)| target.measure.round_trip()).max()
    }

    /// The newest poll that all targets have answered that others wait for.
    pub(super) fn all_answered(&self) -> PollNo {
        self.active().map(|(_, target)| target.answered).min().unwrap_or(PollNo::ZERO)
    }

    /// Sums up a round that took so long, and begins the next. `limited`: whether the window held
    /// anything back in it.
    pub(super) fn end_round(&mut self, took: Span, limited: bool) -> Round {
        let slowest = self
            .active()
            .filter_map(|(at, target)| Some((target.measure.rate()?, at)))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        let losses = self.active().map(|(_, target)| target.measure.loss());
        let round = Round {
            took,
            round_trip: self.longest_round_trip(),
            rate: slowest.map(|(rate, _)| rate),
            loss: losses.max_by(|a, b| a.share().total_cmp(&b.share())).unwrap_or_default(),
            limited,
        };
        if let Some((_, at)) = slowest {
            self[at].measure.was_slowest();
        }
        self.list.iter_mut().for_each(|target| target.measure.begin_round());
        round
    }

    /// What there is to show of each target.
    pub(super) fn stats(&self) -> impl Iterator<Item = (TargetNo, NodeId, Stats)> + '_ {
        self.iter().map(|(at, target)| (at, target.node, target.measure.stats()))
    }
}

/// Some targets, for tests.
#[cfg(test)]
pub(super) fn some(count: u16) -> Targets {
    let ip = |at: u16| SocketAddrV4::new([10, 0, 0, at as u8].into(), 5_000);
    let list: Vec<_> = (0..count).map(|at| (NodeId(u64::from(at) + 10), ip(at))).collect();
    Targets::new(&list, Time::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outgoing::measure::Sample;

    const A: TargetNo = TargetNo::new(0);
    const B: TargetNo = TargetNo::new(1);

    #[test]
    fn presence_is_counted() {
        let mut targets = some(2);
        assert!(targets.any_joining() && targets.any_active() && !targets.all_gone());
        assert_eq!(targets.set_presence(A, Presence::Active), Presence::Joining);
        assert_eq!(targets.set_presence(B, Presence::Suspended), Presence::Joining);
        assert!(!targets.any_joining());
        assert_eq!(targets.suspended().map(|(at, _)| at).collect::<Vec<_>>(), [B]);
        assert_eq!(targets.active().map(|(at, _)| at).collect::<Vec<_>>(), [A]);
        targets.set_presence(A, Presence::Gone);
        assert!(!targets.any_active() && !targets.all_gone());
        targets.set_presence(B, Presence::Gone);
        assert!(targets.all_gone());
        assert!(!some(0).all_gone());
    }

    #[test]
    fn one_target_is_spoken_to_alone() {
        assert_eq!(some(1).everyone(), some(1)[A].to());
        assert_eq!(some(2).everyone(), Destination::Group);
    }

    #[test]
    fn a_target_that_nobody_waits_for_limits_nothing() {
        let mut targets = some(2);
        targets.set_grant(A, 5);
        targets.set_grant(B, 9);
        targets[A].answered = PollNo::new(1);
        targets[B].answered = PollNo::new(4);
        assert_eq!((targets.smallest_grant(), targets.all_answered()), (5, PollNo::new(1)));
        targets.set_presence(A, Presence::Suspended);
        assert_eq!((targets.smallest_grant(), targets.all_answered()), (9, PollNo::new(4)));
        targets.set_presence(B, Presence::Gone);
        assert_eq!((targets.smallest_grant(), targets.all_answered()), (u64::MAX, PollNo::ZERO));
    }

    #[test]
    fn a_round_shows_the_slowest_and_who_loses_most() {
        let mut targets = some(2);
        for (target, received) in [(A, 50), (B, 90)] {
            let sample = |received, sent, at| Sample { received, sent, at };
            targets[target].measure.sample(sample(0, 0, Time::ZERO), 1_000);
            let then = Time::from_micros(1_000_000);
            targets[target].measure.sample(sample(received, 100, then), 1_000);
        }
        let round = targets.end_round(Span::from_millis(3), true);
        assert_eq!((round.rate, round.loss.lost), (Some(50_000.0), 50));
        assert_eq!(targets.stats().map(|(.., stats)| stats.slowest).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(targets.end_round(Span::ZERO, false).rate, None);
    }
}
