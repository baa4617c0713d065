//! The host that somebody probes.
#![forbid(unsafe_code)]

use super::{Meter, Probe, Report, SMALL, TRAIN, TRAINS};
use crate::ids::Ticket;
use crate::name::NodeId;
use crate::time::{Span, Time};

/// For so long after its start, another probe may not begin.
const ALONE: Span = Span::from_secs(1);
/// A probe of which nothing has come for so long is over, and after so long in any case.
const SILENT: Span = Span::from_secs(1);
const LONGEST: Span = Span::from_secs(10);
/// So many requests of one probe are echoed.
const MOST_ECHOES: u16 = TRAINS as u16 * TRAIN + SMALL;

/// The probe of another host, as far as it has come.
#[derive(Default, Debug)]
pub struct Probed(Option<Coming>);

#[derive(Debug)]
struct Coming {
    node: NodeId,
    ticket: Ticket,
    since: Time,
    heard: Time,
    group: Meter,
    alone: Meter,
    echoes: u16,
    /// What the sockets had dropped before.
    dropped: Option<u32>,
}

impl Probed {
    /// A packet of a member has come; its sockets have `dropped` so many so far. Returns what to answer.
    pub fn packet(
        &mut self,
        now: Time,
        node: NodeId,
        probe: &Probe,
        dropped: impl Fn() -> Option<u32>,
    ) -> Option<Probe> {
        let ticket = probe.ticket();
        if matches!(probe, Probe::Begin(_)) {
            match &self.0 {
                Some(one) if (one.node, one.ticket) == (node, ticket) => {}
                Some(one) if one.is_under_way(now, node) => return Some(Probe::Busy(ticket)),
                _ => self.0 = Some(Coming::new(node, ticket, now, dropped())),
            }
        }
        let one = self.0.as_mut().filter(|one| (one.node, one.ticket) == (node, ticket))?;
        one.heard = now;
        match *probe {
            Probe::Begin(_) | Probe::Ask(_) => {
                let grown = dropped().zip(one.dropped).map(|(is, was)| is.saturating_sub(was));
                let (group, alone) = (one.group.came(), one.alone.came());
                Some(Probe::Report(ticket, Report { group, alone, dropped: grown }))
            }
            Probe::Train(_, sample) => {
                one.group.take(now, sample);
                None
            }
            Probe::Request(_, sample) if one.echoes < MOST_ECHOES => {
                one.echoes += 1;
                one.alone.take(now, sample);
                Some(Probe::Echo(ticket, sample))
            }
            Probe::Request(..) | Probe::Echo(..) | Probe::Busy(_) | Probe::Report(..) => None,
        }
    }
}

impl Coming {
    fn new(node: NodeId, ticket: Ticket, now: Time, dropped: Option<u32>) -> Self {
        let (group, alone) = (Meter::default(), Meter::default());
        Coming { node, ticket, since: now, heard: now, group, alone, echoes: 0, dropped }
    }

    /// Whether it keeps `node` from beginning another one.
    fn is_under_way(&self, now: Time, node: NodeId) -> bool {
        let goes_on = now < self.heard + SILENT && now < self.since + LONGEST;
        now < self.since + ALONE || (goes_on && self.node != node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::probe::Sample;

    fn at(millis: u64) -> Time {
        Time::ZERO + Span::from_millis(millis)
    }

    const SAMPLE: Sample = Sample { large: true, train: 0, number: 0, len: 100 };

    #[test]
    fn one_host_is_answered_at_a_time_and_one_probe_a_second() {
        let (a, b, one, two) = (NodeId(1), NodeId(2), Ticket::new(1), Ticket::new(2));
        let mut probed = Probed::default();
        let mut ask = |millis, node, probe| probed.packet(at(millis), node, &probe, || Some(7));
        let fine = |answer| matches!(answer, Some(Probe::Report(..)));
        // Nothing is answered that was not begun.
        for probe in [Probe::Ask(one), Probe::Request(one, SAMPLE), Probe::Train(one, SAMPLE)] {
            assert_eq!(ask(0, a, probe), None);
        }
        assert!(fine(ask(0, a, Probe::Begin(one))));
        assert!(fine(ask(10, a, Probe::Begin(one))));
        assert_eq!(ask(20, a, Probe::Begin(two)), Some(Probe::Busy(two)));
        assert_eq!(ask(20, b, Probe::Begin(two)), Some(Probe::Busy(two)));
        assert_eq!(ask(30, b, Probe::Request(one, SAMPLE)), None);
        assert_eq!(ask(30, b, Probe::Ask(two)), None);
        // As long as something comes of it, it goes on; not for ever.
        assert!(fine(ask(900, a, Probe::Ask(one))));
        assert_eq!(ask(1_500, b, Probe::Begin(two)), Some(Probe::Busy(two)));
        for second in 2..10 {
            assert!(fine(ask(second * 1_000 - 100, a, Probe::Ask(one))));
        }
        assert_eq!(ask(9_500, b, Probe::Begin(two)), Some(Probe::Busy(two)));
        assert!(fine(ask(10_001, b, Probe::Begin(two))));
        assert_eq!(ask(10_002, a, Probe::Ask(one)), None);
        // Its own next one does not wait for the end of that before.
        assert!(fine(ask(11_000, b, Probe::Ask(two))));
        assert!(fine(ask(11_002, b, Probe::Begin(one))));
    }

    #[test]
    fn what_has_come_is_reported_and_echoes_have_an_end() {
        let (node, ticket) = (NodeId(1), Ticket::new(1));
        let mut probed = Probed::default();
        probed.packet(at(0), node, &Probe::Begin(ticket), || Some(7));
        let mut echoes = 0;
        for number in 0..1_000 {
            let sample = Sample { number, ..SAMPLE };
            probed.packet(at(1), node, &Probe::Train(ticket, sample), || None);
            match probed.packet(at(1), node, &Probe::Request(ticket, sample), || None) {
                Some(Probe::Echo(_, echoed)) => {
                    assert_eq!(echoed, sample);
                    echoes += 1;
                }
                answer => assert_eq!(answer, None),
            }
        }
        assert_eq!(echoes, MOST_ECHOES);
        let answer = probed.packet(at(2), node, &Probe::Ask(ticket), || Some(12));
        let Some(Probe::Report(_, report)) = answer else { panic!("{answer:?}") };
        assert_eq!((report.group.large, report.alone.large), (1_000, MOST_ECHOES));
        assert_eq!(report.dropped, Some(5));
    }
}
