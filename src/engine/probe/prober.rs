//! The host that probes the others.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};

use super::{BURST, BURSTS, FIRST, Probe, Report, SMALL, Sample, TRAIN, TRAINS};
use crate::ids::Ticket;
use crate::name::NodeId;
use crate::time::{Span, Time};

/// A question is asked again after so long, and given up after so long.
const AGAIN: Span = Span::from_millis(100);
const PATIENCE: Span = Span::from_secs(1);
/// Between two trains to the group: a slow port has sent some of the one before.
const TRAIN_EVERY: Span = Span::from_millis(15);
/// Between two bursts to hosts.
const BURST_EVERY: Span = Span::from_millis(4);
/// With more hosts, several get their bursts at once.
const HOSTS_IN_TURN: usize = 25;
/// Before it is asked what has come.
const LAST: Span = Span::from_millis(50);
/// While another host probes, for so long it is tried again.
const BUSY: Span = Span::from_secs(3);
/// All small packets to hosts, and those to one: less if there are many.
const ALL_SMALL: usize = 8_000;
const LEAST_SMALL: usize = 90;
const MOST_SMALL: usize = 165;

/// What is to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// To whom.
    pub nodes: Vec<NodeId>,
    /// Its ticket, which is random.
    pub ticket: Ticket,
    /// The payload of a large packet, in bytes.
    pub large: u16,
    /// The payload of a small packet.
    pub small: u16,
}

/// Packets to one host, or to the group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// To whom; None is the group.
    pub to: Option<NodeId>,
    /// What they say, all of one length.
    pub probes: Vec<Probe>,
}

/// What has come of it at one host.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Result {
    /// What it says that has come; None if it has not answered.
    pub report: Option<Report>,
    /// How long its slowest answer took.
    pub answered: Option<Span>,
}

#[derive(Debug)]
enum Stage {
    /// It asks whether it may: until then, and again then.
    Beginning(Time, Time),
    /// Another host probes: it begins again then.
    Waiting(Time),
    /// The next train goes then.
    Trains(u8, Time),
    /// The next bursts go then.
    Bursts(Time),
    /// It asks what has come: until then, and again then.
    Asking(Time, Time),
    Over,
}

/// A probe of this host's.
#[derive(Debug)]
pub struct Prober {
    plan: Plan,
    stage: Stage,
    since: Time,
    /// When each was asked first, and what came of it; `asked` is None if it has answered.
    hosts: BTreeMap<NodeId, (Option<Time>, Result)>,
    bursts: VecDeque<(NodeId, bool, u8)>,
    is_busy: bool,
}

impl Prober {
    /// Begins.
    pub fn new(now: Time, plan: Plan) -> Self {
        let hosts = plan.nodes.iter().map(|node| (*node, (Some(now), Result::default()))).collect();
        let of = |large: bool, burst: u8| plan.nodes.iter().map(move |node| (*node, large, burst));
        let bursts =
            (FIRST..FIRST + BURSTS).flat_map(|burst| of(true, burst).chain(of(false, burst)));
        let bursts = bursts.collect();
        let stage = Stage::Beginning(now + PATIENCE, now);
        Prober { plan, stage, since: now, hosts, bursts, is_busy: false }
    }

    /// How many small packets each host gets.
    pub fn small_to_each(&self) -> u16 {
        let each = (ALL_SMALL / self.hosts.len().max(1)).clamp(LEAST_SMALL, MOST_SMALL);
        each as u16 / u16::from(BURSTS) * u16::from(BURSTS)
    }

    /// When [`drive`](Prober::drive) has something to do.
    pub fn next(&self) -> Option<Time> {
        match self.stage {
            Stage::Beginning(until, again) | Stage::Asking(until, again) => Some(until.min(again)),
            Stage::Waiting(at) | Stage::Trains(_, at) | Stage::Bursts(at) => Some(at),
            Stage::Over => None,
        }
    }

    /// What came of it, once it is over; None if another host probed all the time.
    pub fn results(&self) -> Option<Option<impl Iterator<Item = (NodeId, Result)> + '_>> {
        let all = || self.hosts.iter().map(|(node, (_, result))| (*node, *result));
        matches!(self.stage, Stage::Over).then(|| (!self.is_busy).then(all))
    }

    /// A host has answered.
    pub fn answer(&mut self, now: Time, node: NodeId, probe: &Probe) {
        let Some((asked, result)) = self.hosts.get_mut(&node) else { return };
        if probe.ticket() != self.plan.ticket {
            return;
        }
        match (probe, &self.stage) {
            (Probe::Busy(_), Stage::Beginning(..)) => self.is_busy = true,
            (Probe::Report(_, report), Stage::Beginning(..) | Stage::Asking(..)) => {
                if let Some(since) = asked.take() {
                    let took = now.since(since);
                    result.answered = Some(result.answered.map_or(took, |was| was.at_least(took)));
                    result.report = Some(*report);
                }
            }
            _ => return,
        }
        let all = self.is_busy || self.hosts.values().all(|(asked, _)| asked.is_none());
        match &mut self.stage {
            Stage::Beginning(until, _) | Stage::Asking(until, _) if all => *until = now,
            _ => {}
        }
    }

    /// Does what is due. Returns what to send.
    pub fn drive(&mut self, now: Time) -> Vec<Outgoing> {
        if self.next().is_none_or(|at| now < at) {
            return Vec::new();
        }
        let ticket = self.plan.ticket;
        match self.stage {
            Stage::Beginning(until, _) if now >= until => {
                self.stage = match self.is_busy {
                    false => Stage::Trains(0, now),
                    true if now >= self.since + BUSY => Stage::Over,
                    // Not at once with another one that waits, too.
                    true => Stage::Waiting(now + Span::from_millis(1_000 + ticket.get() % 700)),
                };
                Vec::new()
            }
            Stage::Beginning(until, _) => {
                self.stage = Stage::Beginning(until, now + AGAIN);
                self.questions(Probe::Begin(ticket))
            }
            Stage::Waiting(_) => {
                self.is_busy = false;
                self.ask_all(now);
                self.stage = Stage::Beginning(now + PATIENCE, now);
                Vec::new()
            }
            Stage::Trains(train, _) => {
                self.stage = match train {
                    ..TRAINS => Stage::Trains(train + 1, now + TRAIN_EVERY),
                    _ => Stage::Bursts(now + TRAIN_EVERY),
                };
                let large = train < TRAINS;
                let probe = |sample| Probe::Train(ticket, sample);
                let count = if large { 0..TRAIN } else { 0..SMALL };
                vec![Outgoing { to: None, probes: self.samples(large, train, count, probe) }]
            }
            Stage::Bursts(_) if self.bursts.is_empty() => {
                self.ask_all(now);
                self.stage = Stage::Asking(now + LAST + PATIENCE, now + LAST);
                Vec::new()
            }
            Stage::Bursts(_) => {
                self.stage = Stage::Bursts(now + BURST_EVERY);
                let turns = self.hosts.len().div_ceil(HOSTS_IN_TURN).min(self.bursts.len());
                let small = self.small_to_each() / u16::from(BURSTS);
                let turns: Vec<_> = self.bursts.drain(..turns).collect();
                let burst = |(node, large, burst): (NodeId, bool, u8)| {
                    let probe = |sample| Probe::Request(ticket, sample);
                    let count = if large { 0..BURST } else { BURST..BURST + small };
                    let probes = self.samples(large, burst, count, probe);
                    Outgoing { to: Some(node), probes }
                };
                turns.into_iter().map(burst).collect()
            }
            Stage::Asking(until, _) if now >= until => {
                // A host that has answered before, and does not now, has not said what came.
                for (asked, result) in self.hosts.values_mut() {
                    result.report = result.report.filter(|_| asked.is_none());
                }
                self.stage = Stage::Over;
                Vec::new()
            }
            Stage::Asking(until, _) => {
                self.stage = Stage::Asking(until, now + AGAIN);
                self.questions(Probe::Ask(ticket))
            }
            Stage::Over => Vec::new(),
        }
    }

    fn ask_all(&mut self, now: Time) {
        self.hosts.values_mut().for_each(|(asked, _)| *asked = Some(now));
    }

    fn questions(&self, probe: Probe) -> Vec<Outgoing> {
        let silent = self.hosts.iter().filter(|(_, (asked, _))| asked.is_some());
        silent.map(|(node, _)| Outgoing { to: Some(*node), probes: vec![probe] }).collect()
    }

    fn samples(
        &self,
        large: bool,
        train: u8,
        numbers: std::ops::Range<u16>,
        probe: impl Fn(Sample) -> Probe,
    ) -> Vec<Probe> {
        let len = if large { self.plan.large } else { self.plan.small };
        numbers.map(|number| probe(Sample { large, train, number, len })).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::probe::{Meter, Probed};
    use crate::engine::rng::Rng;

    fn plan(nodes: u64) -> Plan {
        let nodes = (1..=nodes).map(NodeId).collect();
        Plan { nodes, ticket: Ticket::new(77), large: 1_424, small: 64 }
    }

    /// How long it took, the results, what was echoed, and how many packets and bytes were sent to the group.
    type Ran = (Span, Option<Vec<(NodeId, Result)>>, Vec<Meter>, (usize, usize));

    /// A network in which `reaches` says what gets from one node to another; 0 is the prober, 99 the group.
    fn run(plan: Plan, reaches: impl Fn(u64, u64, &Probe) -> bool) -> Ran {
        let (begun, me) = (Time::ZERO + Span::from_secs(5), NodeId(0));
        let mut now = begun;
        let mut hosts: Vec<Probed> = plan.nodes.iter().map(|_| Probed::default()).collect();
        let mut echoed = vec![Meter::default(); hosts.len()];
        let mut sent = (0, 0);
        let mut prober = Prober::new(now, plan);
        while let Some(at) = prober.next() {
            now = at.max(now);
            for Outgoing { to, probes } in prober.drive(now) {
                let numbers = match to {
                    Some(node) => node.0..=node.0,
                    None => 1..=hosts.len() as u64,
                };
                for probe in probes {
                    let len = probe.emit().len();
                    sent = if to.is_none() { (sent.0 + 1, sent.1 + len) } else { sent };
                    for number in numbers.clone() {
                        if !reaches(0, number, &probe) {
                            continue;
                        }
                        let at = number as usize - 1;
                        let Some(answer) = hosts[at].packet(now, me, &probe, || Some(3)) else {
                            continue;
                        };
                        if !reaches(number, 0, &answer) {
                            continue;
                        }
                        match answer {
                            Probe::Echo(_, sample) => echoed[at].take(now, sample),
                            answer => prober.answer(now, NodeId(number), &answer),
                        }
                    }
                }
            }
        }
        let results = prober.results().unwrap().map(Iterator::collect);
        (now.since(begun), results, echoed, sent)
    }

    #[test]
    fn where_all_comes_all_is_reported_and_it_is_bounded() {
        for hosts in [1, 4, 100, 1_000] {
            let (took, results, echoed, (packets, bytes)) = run(plan(hosts), |_, _, _| true);
            let each = Prober::new(Time::ZERO, plan(hosts)).small_to_each();
            for ((_, result), echoed) in results.unwrap().into_iter().zip(echoed) {
                let Report { group, alone, dropped } = result.report.unwrap();
                assert_eq!((group.large, group.small, dropped), (250, 50, Some(0)));
                assert_eq!((alone.large, alone.small), (36, each));
                assert_eq!((echoed.came().large, echoed.came().small), (36, each));
                assert_eq!(group.late + alone.late + echoed.came().late, 0);
            }
            assert!(packets <= 300 && bytes <= 300 * 1_500, "{packets}, {bytes}");
            // With a hundred hosts, of which some do not answer.
            assert!(hosts > 100 || took < Span::from_secs(2), "{hosts}: {took:?}");
        }
    }

    #[test]
    fn a_host_that_is_silent_takes_two_seconds_and_no_more() {
        let (took, results, ..) = run(plan(100), |from, to, _| from != 7 && to != 7);
        let silent: Vec<u64> = results
            .unwrap()
            .iter()
            .filter(|(_, result)| result.report.is_none())
            .map(|(node, _)| node.0)
            .collect();
        assert_eq!(silent, [7]);
        assert!(took < Span::from_millis(3_500), "{took:?}");
    }

    #[test]
    fn a_question_that_is_lost_is_asked_again() {
        let rng = std::cell::RefCell::new(Rng::new(1));
        let (_, results, ..) = run(plan(3), |_, _, probe| {
            !matches!(probe, Probe::Begin(_) | Probe::Ask(_) | Probe::Report(..))
                || rng.borrow_mut().below(4) > 0
        });
        assert!(results.unwrap().iter().all(|(_, result)| result.report.is_some()));
    }

    #[test]
    fn while_another_host_probes_it_waits_and_then_gives_up() {
        let mut prober = Prober::new(Time::ZERO, plan(2));
        let mut now = Time::ZERO;
        while let Some(at) = prober.next() {
            now = at.max(now);
            for Outgoing { to, probes } in prober.drive(now) {
                assert!(matches!(probes[..], [Probe::Begin(_)]));
                prober.answer(now, to.unwrap(), &Probe::Busy(Ticket::new(77)));
            }
        }
        assert!(prober.results().is_some_and(|results| results.is_none()));
        assert!(now.since(Time::ZERO) < Span::from_secs(5), "{now:?}");
        // What others answer, or another probe's, is nothing to it.
        let mut prober = Prober::new(Time::ZERO, plan(1));
        prober.answer(Time::ZERO, NodeId(9), &Probe::Busy(Ticket::new(77)));
        prober.answer(Time::ZERO, NodeId(1), &Probe::Busy(Ticket::new(78)));
        assert!(!prober.is_busy);
    }
}
