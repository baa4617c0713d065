//! A transaction that is in doubt: when the others are asked, what they said, and what that proves.

use std::collections::BTreeMap;

use super::types::{Included, Known, Plan};
use crate::ids::TargetNo;
use crate::name::HostName;
use crate::time::{Span, Time};

/// After how long the others are asked again for the first time, and at the longest: twice as long each time that
/// all have been asked.
const AGAIN: (Span, Span) = (Span::from_secs(1), Span::from_secs(60));
/// The most targets that are asked at a time: a fleet in doubt is not to flood itself.
pub(super) const ASKED: usize = 32;

/// One in doubt.
#[derive(Clone, Debug)]
pub(super) struct Doubt {
    /// When the others are asked.
    pub next: Time,
    wait: Span,
    /// Which target is asked next, by its place.
    place: usize,
    /// What the targets said last.
    answers: BTreeMap<TargetNo, Known>,
    /// What the sender said last.
    sender: Option<Known>,
}

impl Doubt {
    pub fn new(next: Time) -> Self {
        Doubt { next, wait: AGAIN.0, place: 0, answers: BTreeMap::new(), sender: None }
    }

    /// Which targets are asked now.
    pub fn ask(&mut self, now: Time, plan: &Plan, own: &HostName) -> Vec<HostName> {
        let targets = plan.targets();
        let count = targets.len().min(ASKED);
        let turn = (0..count).map(|at| &targets[(self.place + at) % targets.len()]);
        let asked = turn.filter(|host| *host != own).cloned().collect();
        self.place += count;
        self.next = now + self.wait;
        if self.place >= targets.len() {
            self.place %= targets.len();
            self.wait = (self.wait * 2).at_most(AGAIN.1);
        }
        asked
    }

    /// What a target said, or the sender.
    pub fn hear(&mut self, target: Option<TargetNo>, known: Known) {
        match target {
            Some(target) => drop(self.answers.insert(target, known)),
            None => self.sender = Some(known),
        }
    }

    /// Which targets the sender has decided upon, if it said so: no other one commits.
    fn decided(&self) -> Option<&Included> {
        match &self.sender {
            Some(Known::Decided(included)) => Some(included),
            _ => None,
        }
    }

    /// Whether a target has said that it will not commit because the sender says so.
    fn refuses(&self, target: TargetNo) -> bool {
        self.answers.get(&target).is_some_and(|known| *known != Known::Unknown)
            || self.decided().is_some_and(|decided| !decided.contains(target))
    }

    /// The targets whose word is missing for it to be known that nobody commits.
    pub fn missing<'a>(
        &'a self,
        plan: &'a Plan,
        own: &'a HostName,
    ) -> impl Iterator<Item = (&'a HostName, Option<&'a Known>)> {
        let others = plan.numbered().filter(move |(_, host)| *host != own);
        let missing = others.filter(|(number, _)| !self.refuses(*number));
        missing.map(|(number, host)| (host, self.answers.get(&number)))
    }

    /// Whether so many never voted that there cannot have been enough.
    pub fn too_few(&self, plan: &Plan) -> bool {
        let never = self.answers.values().filter(|known| **known == Known::NeverVoted).count();
        never > plan.targets().len() - usize::from(plan.needed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_many_are_asked_in_turn_and_then_less_often() {
        let name = |at: usize| HostName::parse(format!("h{at:04}").as_bytes()).unwrap();
        let plan = Plan::new((0..100).map(name).collect(), 100).unwrap();
        let (own, mut now) = (name(7), Time::ZERO);
        let mut doubt = Doubt::new(now);
        let mut waits = Vec::new();
        for _ in 0..3 {
            let mut asked = Vec::new();
            for _ in 0..4 {
                let some = doubt.ask(now, &plan, &own);
                assert!((ASKED - 1..=ASKED).contains(&some.len()));
                asked.extend(some);
                waits.push(doubt.next.since(now).millis() / 1_000);
                now = doubt.next;
            }
            asked.sort();
            asked.dedup();
            assert_eq!(asked.len(), 99);
        }
        assert_eq!(waits, [1, 1, 1, 1, 2, 2, 2, 4, 4, 4, 8, 8]);
        (0..100).for_each(|_| drop(doubt.ask(now, &plan, &own)));
        assert_eq!(doubt.next.since(now), AGAIN.1);
    }

    #[test]
    fn whoever_said_nothing_or_knows_nothing_is_missing() {
        let name = |name: &str| HostName::parse(name.as_bytes()).unwrap();
        let plan = Plan::new(["a", "b", "c", "d"].map(name).into(), 3).unwrap();
        let number = |host: &str| plan.number(&name(host));
        let mut doubt = Doubt::new(Time::ZERO);
        let own = name("a");
        let missing = |doubt: &Doubt| -> Vec<String> {
            doubt.missing(&plan, &own).map(|(host, _)| host.to_string()).collect()
        };
        doubt.hear(number("b"), Known::Promised);
        doubt.hear(number("c"), Known::Unknown);
        assert_eq!(missing(&doubt), ["c", "d"]);
        doubt.hear(None, Known::Decided(Included::of(number("a").into_iter().chain(number("d")))));
        assert_eq!(missing(&doubt), ["d"]);
        doubt.hear(number("d"), Known::NeverVoted);
        assert!(missing(&doubt).is_empty() && !doubt.too_few(&plan));
        doubt.hear(number("b"), Known::NeverVoted);
        assert!(doubt.too_few(&plan));
    }
}
