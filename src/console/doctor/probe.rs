//! What is judged of a probe: how packets get to each host, and back.
#![forbid(unsafe_code)]

use super::Finding;
use crate::console::moment::lasting;
use crate::count::counted;
use crate::engine::probe::{Came, Report};
use crate::time::Span;

/// A host that takes longer than this to answer is busy.
const PROMPT: Span = Span::from_millis(300);
/// A port is slow below this, in Mbit/s, if others are so many times faster: what is faster passes within the time that a
/// busy host may take to look.
const SLOW: u64 = 150;
const FASTER: u64 = 3;
/// The same where there is nobody to compare with, and of what comes back, of which there is less to measure.
const VERY_SLOW: u64 = 40;
const SLOW_BACK: u64 = 15;
/// So many packets of a direction, and so many of a thousand, may be lost.
const FEW: u64 = 1;
const FEW_OF_1000: u64 = 10;
/// Of a thousand, so many are as good as all, or as none.
const MOST_OF_1000: u64 = 800;

/// A probe, and what came of it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ProbeFacts {
    /// This host.
    pub own: String,
    /// The group, as it is let through firewalls.
    pub group: String,
    /// The length of a large packet, with its headers.
    pub large_len: u16,
    /// How many large and small packets went to the group, and to each host.
    pub to_group: (u16, u16),
    /// See [`to_group`](ProbeFacts::to_group).
    pub to_each: (u16, u16),
    /// How many packets this host's own sockets have dropped meanwhile.
    pub own_dropped: u32,
    /// The hosts.
    pub hosts: Vec<Probed>,
}

/// What came of a probe at one host.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Probed {
    /// Its name.
    pub name: String,
    /// What it says that has come.
    pub report: Option<Report>,
    /// What of it came back.
    pub echoed: Came,
    /// How long its slowest answer took.
    pub answered: Option<Span>,
}

/// How many of how many were lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Lost(u64, u64);

impl Lost {
    fn of(sent: u64, came: u64) -> Self {
        Lost(sent.saturating_sub(came), sent)
    }

    fn of_1000(self) -> u64 {
        self.0 * 1_000 / self.1.max(1)
    }

    fn is_some(self) -> bool {
        self.0 > FEW && self.of_1000() >= FEW_OF_1000
    }

    fn is_most(self) -> bool {
        self.of_1000() >= MOST_OF_1000
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.0, self.1)
    }
}

/// What is to be said of a probe.
pub fn of_probe(facts: &ProbeFacts) -> Vec<Finding> {
    let own = &facts.own;
    let mut found = Vec::new();
    if facts.own_dropped > 0 {
        let text = format!(
            "{} of what came back was dropped here: the receive buffer was full",
            counted(facts.own_dropped.into(), "packet")
        );
        let advice = "this host is too busy, or net.core.rmem_max is too small";
        found.push(Finding::warn("busy", own, text, advice));
    }
    // The median of all is that of the others as soon as there are some; of few, the fastest tells.
    let median = |of: fn(&Probed) -> Option<u64>| {
        let mut all: Vec<u64> = facts.hosts.iter().filter_map(of).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().filter(|_| all.len() > 1)
    };
    let medians = (median(|host| rates(host).0), median(|host| rates(host).1));
    found.extend(facts.hosts.iter().map(|host| of_one(facts, host, medians)));
    found
}

/// The rate of packets that came to a host, and of those that came back, in Mbit/s.
fn rates(host: &Probed) -> (Option<u64>, Option<u64>) {
    let rate = |came: Came| {
        came.fastest.map(|(bytes, micros)| u64::from(bytes) * 8 / u64::from(micros).max(1))
    };
    (host.report.and_then(|report| rate(report.group)), rate(host.echoed))
}

/// The judgement of one host: the first of these that fits, as the others follow from it.
fn of_one(facts: &ProbeFacts, host: &Probed, medians: (Option<u64>, Option<u64>)) -> Finding {
    let (name, group) = (&host.name, &facts.group);
    let Some(report) = host.report else {
        let text = match host.answered {
            Some(_) => "it has answered once, and then not any more",
            None => "it does not answer, though it was a member until now",
        };
        let advice =
            "see whether the host runs, its daemon is not stopped, and what firewalls let through";
        return Finding::fail("answer", name, text, advice);
    };
    let count = |came: Came| u64::from(came.large) + u64::from(came.small);
    let sent = |(large, small): (u16, u16)| u64::from(large) + u64::from(small);
    let large = Lost::of(facts.to_group.0.into(), report.group.large.into());
    let small = Lost::of(facts.to_group.1.into(), report.group.small.into());
    let to_group = Lost::of(sent(facts.to_group), count(report.group));
    let alone = Lost::of(sent(facts.to_each), count(report.alone));
    let large_alone = Lost::of(facts.to_each.0.into(), report.alone.large.into());
    let back = Lost::of(count(report.alone), count(host.echoed));
    let large_back = Lost::of(report.alone.large.into(), host.echoed.large.into());
    let small_back = Lost::of(report.alone.small.into(), host.echoed.small.into());
    let len = facts.large_len;
    let mtu = "some port between has a smaller MTU: set the same on all hosts and switches, or that one on all hosts \
               (ip link set ... mtu)";
    if large.is_most() && !small.is_most() {
        let text = format!(
            "{large} packets of {len} bytes were lost on the way to it, and small ones came"
        );
        return Finding::fail("large", name, text, mtu);
    }
    if large_back.is_most() && !small_back.is_most() && large_back.1 > 0 {
        let text = format!(
            "{large_back} packets of {len} bytes were lost on the way back from it, and small ones came"
        );
        return Finding::fail("large", name, text, mtu);
    }
    if to_group.is_most() && !alone.is_most() {
        let text = format!("{to_group} packets to the group were lost, and those to it alone came");
        let advice = format!(
            "a switch with IGMP snooping needs a querier (or snooping off), or a firewall has to let UDP to {group} \
             through, there too"
        );
        return Finding::fail("multicast", name, text, &advice);
    }
    if let Some(dropped @ 1..) = report.dropped {
        let text =
            format!("it has dropped {dropped} of the packets itself: its receive buffer was full");
        let advice = "the host is too busy, or its net.core.rmem_max is too small";
        return Finding::warn("busy", name, text, advice);
    }
    if let Some(finding) = slow(host, medians) {
        return finding;
    }
    if let Some(took) = host.answered.filter(|took| *took > PROMPT) {
        let text = format!("it took {} ms to answer", took.millis());
        return Finding::warn(
            "busy",
            name,
            text,
            "the host or its daemon is too busy: see its load",
        );
    }
    lossy(facts, host, [to_group, alone, large_alone, back])
        .unwrap_or_else(|| fine(&report, host, [to_group, alone, back]))
}

fn slow(host: &Probed, medians: (Option<u64>, Option<u64>)) -> Option<Finding> {
    let (there, back) = rates(host);
    let is_slow = |rate: &u64, below: u64, median: Option<u64>| match median {
        Some(median) => *rate < below && median >= *rate * FASTER,
        None => *rate < below.min(VERY_SLOW),
    };
    let there = there.filter(|rate| is_slow(rate, SLOW, medians.0));
    let back = back.filter(|rate| is_slow(rate, SLOW_BACK, medians.1));
    let (rate, way, median) = match (there, back) {
        (Some(rate), _) => (rate, "to it", medians.0),
        (None, Some(rate)) => (rate, "to it and back", medians.1),
        (None, None) => return None,
    };
    let others = match median {
        Some(median) if median < 10_000 => format!(", to the others at {median}"),
        Some(_) => ", to the others much faster".to_owned(),
        // There is nobody to compare with.
        None => String::new(),
    };
    let text = format!("packets go {way} at {rate} Mbit/s{others}");
    let advice = "see to the cable and the port there, and what it has negotiated (ethtool)";
    Some(Finding::warn("rate", &host.name, text, advice))
}

fn lossy(facts: &ProbeFacts, host: &Probed, lost: [Lost; 4]) -> Option<Finding> {
    let name = &host.name;
    let [to_group, alone, _, back] = lost;
    // What this host has dropped itself did not get lost on the way.
    let is_back = back.is_some() && facts.own_dropped == 0;
    let there = Lost(to_group.0 + alone.0, to_group.1 + alone.1);
    let advice = "see to the cable, the ports on that way, and their error counters (ethtool -S)";
    let (text, worst) = match (there.is_some() || to_group.is_some(), is_back) {
        (false, false) => return None,
        (true, false) if !alone.is_some() && to_group.of_1000() > 4 * alone.of_1000() + 20 => {
            let text =
                format!("{to_group} packets to the group were lost, and {alone} to it alone");
            let advice =
                "see to the limits of multicast of the switches (storm control), and its querier";
            return Some(grade(name, text, advice, to_group));
        }
        (true, false) => (
            format!("{there} packets were lost on the way to it, and {back} on the way back"),
            there,
        ),
        (false, true) => (
            format!(
                "{back} packets were lost on the way back from it, and {there} on the way to it"
            ),
            back,
        ),
        (true, true) => {
            let worst = if there.of_1000() > back.of_1000() { there } else { back };
            (
                format!("{there} packets were lost on the way to it, and {back} on the way back"),
                worst,
            )
        }
    };
    Some(grade(name, text, advice, worst))
}

fn grade(name: &str, text: String, advice: &str, lost: Lost) -> Finding {
    match lost.of_1000() {
        // Transfers take many times as long.
        200.. => Finding::fail("loss", name, text, advice),
        _ => Finding::warn("loss", name, text, advice),
    }
}

fn fine(report: &Report, host: &Probed, [to_group, alone, back]: [Lost; 3]) -> Finding {
    let came = |lost: Lost| format!("{} of {}", lost.1 - lost.0, lost.1);
    let late = u64::from(report.group.late) + u64::from(report.alone.late);
    let order = match late {
        0 => "in order".to_owned(),
        late => format!("{late} of them late"),
    };
    let rate = match rates(host).0 {
        Some(rate) if rate < 10_000 => format!(", at {rate} Mbit/s"),
        _ => String::new(),
    };
    let took = match host.answered {
        Some(took) if took >= Span::from_secs(1) => format!(" within {}", lasting(took)),
        Some(took) => format!(" within {} ms", took.millis().max(1)),
        None => String::new(),
    };
    let text = format!(
        "{} packets to the group and {} to it came, {order}{rate}; {} came back; it answers{took}",
        came(to_group),
        came(alone),
        came(back)
    );
    Finding::ok("probe", &host.name, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::doctor::Grade;

    /// A host to which all comes, at this rate in Mbit/s.
    fn host(name: &str, mbits: u32) -> Probed {
        let fastest = Some((49 * 1_500, 49 * 1_500 * 8 / mbits));
        let group = Came { large: 250, small: 50, late: 0, fastest };
        let alone = Came { large: 36, small: 165, ..group };
        Probed {
            name: name.to_owned(),
            report: Some(Report { group, alone, dropped: Some(0) }),
            echoed: alone,
            answered: Some(Span::from_millis(1)),
        }
    }

    fn report(host: &mut Probed) -> &mut Report {
        host.report.as_mut().unwrap()
    }

    fn facts(hosts: Vec<Probed>) -> ProbeFacts {
        ProbeFacts {
            own: "web1".to_owned(),
            group: "224.0.0.108:5000".to_owned(),
            large_len: 1_500,
            to_group: (250, 50),
            to_each: (36, 165),
            own_dropped: 0,
            hosts,
        }
    }

    /// What is found of `web2`, which has been changed, among others that are sound.
    #[track_caller]
    fn found(change: impl Fn(&mut Probed)) -> Finding {
        let mut odd = host("web2", 900);
        change(&mut odd);
        let all = of_probe(&facts(vec![host("web3", 900), odd, host("web4", 800)]));
        for finding in &all {
            let is_odd = finding.host == "web2";
            assert!(is_odd || finding.grade == Grade::Ok, "{finding:?}");
            assert_eq!(finding.advice.is_empty(), finding.grade == Grade::Ok, "{finding:?}");
        }
        all.into_iter().find(|finding| finding.host == "web2").unwrap()
    }

    #[test]
    fn without_a_fault_all_is_ok() {
        let fine = found(|_| {});
        assert_eq!((fine.grade, fine.check), (Grade::Ok, "probe"));
        assert!(fine.text.starts_with(
            "300 of 300 packets to the group and 201 of 201 to it came, in order, at 9"
        ));
        // A packet that is lost now and then is none either, nor one that came late.
        let rare = found(|host| {
            report(host).group.large -= 1;
            report(host).alone.late += 1;
            host.echoed.small -= 1;
        });
        assert_eq!(rare.grade, Grade::Ok, "{rare:?}");
        assert!(
            rare.text.contains("299 of 300") && rare.text.contains("1 of them late"),
            "{rare:?}"
        );
        // Where all are slow, none is.
        let slow = of_probe(&facts(["a", "b", "c"].map(|name| host(name, 90)).to_vec()));
        assert!(slow.iter().all(|finding| finding.grade == Grade::Ok), "{slow:?}");
        let unknown = found(|host| report(host).dropped = None);
        assert_eq!(unknown.grade, Grade::Ok);
    }

    #[test]
    fn each_fault_of_the_network_is_told_from_the_others() {
        use Grade::{Fail, Warn};
        let none = Came::default();
        let is = |finding: Finding, check, grade, words: &str| {
            assert_eq!((finding.check, finding.grade), (check, grade), "{finding:?}");
            assert!(finding.text.contains(words) || finding.advice.contains(words), "{finding:?}");
        };
        is(found(|host| host.report = None), "answer", Fail, "not any more");
        is(
            found(|host| (host.report, host.answered) = (None, None)),
            "answer",
            Fail,
            "does not answer",
        );
        is(found(|host| report(host).group = none), "multicast", Fail, "IGMP snooping");
        // A port with a smaller MTU: nothing large comes, by whichever way, and so nothing large comes back.
        let mtu = found(|host| {
            (report(host).group.large, report(host).alone.large, host.echoed.large) = (0, 0, 0);
        });
        is(mtu, "large", Fail, "MTU");
        is(found(|host| host.echoed.large = 0), "large", Fail, "on the way back");
        is(found(|host| report(host).dropped = Some(5)), "busy", Warn, "rmem_max");
        is(found(|host| host.answered = Some(Span::from_millis(800))), "busy", Warn, "800 ms");
        // A slow port loses some, too.
        let slow = found(|host| {
            report(host).group.fastest = Some((49 * 1_500, 58_800));
            report(host).group.large -= 60;
        });
        is(slow, "rate", Warn, "at 10 Mbit/s");
        let back = found(|host| host.echoed.fastest = Some((11 * 1_500, 13_200)));
        is(back, "rate", Warn, "to it and back at 10 Mbit/s");
        let there = found(|host| {
            (report(host).group.large, report(host).group.small) = (238, 47);
            report(host).alone.small -= 10;
            host.echoed.small -= 10;
        });
        is(
            there,
            "loss",
            Warn,
            "25 of 501 packets were lost on the way to it, and 0 of 191 on the way back",
        );
        let back = found(|host| host.echoed.small -= 10);
        is(back, "loss", Warn, "10 of 201 packets were lost on the way back");
        let both = found(|host| {
            report(host).group.large = 125;
            host.echoed.small = 80;
        });
        is(both, "loss", Fail, "way back");
        is(found(|host| report(host).group.large = 200), "loss", Warn, "storm control");
    }

    #[test]
    fn one_other_host_that_is_slow_is_told_and_what_is_dropped_here_is_no_loss() {
        let slow = of_probe(&facts(vec![host("web2", 10)]));
        assert_eq!((slow[0].check, slow[0].grade), ("rate", Grade::Warn));
        let mut lacking = host("web2", 900);
        lacking.echoed.small -= 50;
        let all = of_probe(&ProbeFacts { own_dropped: 50, ..facts(vec![lacking]) });
        let short: Vec<_> = all.iter().map(|f| (f.check, f.host.as_str(), f.grade)).collect();
        assert_eq!(short, [("busy", "web1", Grade::Warn), ("probe", "web2", Grade::Ok)]);
        assert_eq!(of_probe(&facts(vec![])), []);
    }
}
