//! What is judged of the hosts of the group, by what they say of themselves.
#![forbid(unsafe_code)]

use super::{Finding, mirrors};
use crate::console::fleet::{HostRow, Presence};
use crate::console::mirror_row::MirrorRow;
use crate::count::counted;

/// A clock that differs by more than this many milliseconds is worth a word.
const APART: u64 = 60_000;

/// Of whom something is to be said.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum About {
    /// Of all.
    #[default]
    All,
    /// Of this host alone.
    Own,
    /// Of one other host.
    Other,
}

/// What is known of the group.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct GroupFacts {
    /// The host that it is said of if nothing is wrong with any.
    pub host: String,
    /// Of whom it is.
    pub about: About,
    /// The version of this daemon, and the MTU of its interface.
    pub version: String,
    /// See [`version`](GroupFacts::version).
    pub mtu: u16,
    /// The group cannot have other hosts: it is on the loopback interface.
    pub alone: bool,
    /// The members.
    pub members: Vec<MemberFacts>,
    /// What the daemons that cannot take part have, by their addresses.
    pub strangers: Vec<(String, String)>,
    /// Names that are two, and clocks that are far off: the host, whether it is a name, what it is, what to do.
    pub odd: Vec<(String, bool, String, String)>,
    /// The hosts that are known, this one too.
    pub hosts: Vec<HostRow>,
    /// What is mirrored here, with those that mirror it, too.
    pub mirrors: Vec<MirrorRow>,
}

impl GroupFacts {
    /// What of it is about one host, whether this one or another.
    #[must_use]
    pub fn only(mut self, name: &str, is_own: bool) -> Self {
        self.members.retain(|member| member.name == name);
        self.strangers.retain(|(address, _)| address == name);
        self.odd.retain(|odd| odd.0 == name);
        self.hosts.retain(|row| row.name.as_str() == name);
        self.mirrors.iter_mut().for_each(|row| row.peers.retain(|peer| peer.host == name));
        let about = if is_own { About::Own } else { About::Other };
        GroupFacts { host: name.to_owned(), about, ..self }
    }
}

/// What a member says of itself.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MemberFacts {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The MTU of its interface.
    pub mtu: u16,
    /// How far its clock is from ours, in milliseconds, and the same in words.
    pub apart: (u64, String),
}

/// What is to be said of the group: of each point, what is wrong, or that nothing is.
pub fn of_group(facts: &GroupFacts) -> Vec<Finding> {
    let host = &facts.host;
    let mut all: Vec<Finding> = members(facts).into_iter().collect();
    let mut point = |check, found: Vec<Finding>, fine: &str| match found.is_empty() {
        true => all.push(Finding::ok(check, host, fine)),
        false => all.extend(found),
    };
    point("stranger", strangers(facts), "no daemon is heard that cannot take part");
    point("name", names(facts), "each name is of one host");
    point("version", versions(facts), &format!("all have makuosan {}", facts.version));
    point("clocks", clocks(facts), "no clock is a minute or more apart");
    point("mtus", mtus(facts), &format!("all have an MTU of {}", facts.mtu));
    point("away", away(facts), "no host that is known is away");
    point("behind", behind(facts), "no host is known to lack anything");
    point("mirrors", mirrors::apart(&facts.mirrors), "no mirror is known to differ for long");
    point("held", mirrors::held(&facts.mirrors), "no other host is known to hold deletions back");
    all
}

fn members(facts: &GroupFacts) -> Option<Finding> {
    let (check, host) = ("members", &facts.host);
    let count = counted(facts.members.len() as u64, "other member");
    let advice = "start makuosan there, and let its UDP port through firewalls, to the group and to each host";
    Some(match (facts.about, facts.members.is_empty()) {
        (About::Own, _) => return None,
        (About::Other, true) => Finding::fail(check, host, "it is no member now", advice),
        (About::Other, false) => Finding::ok(check, host, "it is a member"),
        (About::All, true) if !facts.alone => {
            Finding::warn(check, host, "no other member is heard", advice)
        }
        (About::All, _) => Finding::ok(check, host, format!("there are {count}")),
    })
}

fn strangers(facts: &GroupFacts) -> Vec<Finding> {
    let of = |(address, has): &(String, String)| {
        let advice = "what is sent does not reach it: give all hosts the same key and version, or another fleet \
                      another group (-m) or port (-p)";
        Finding::fail("stranger", address, format!("a daemon has {has}"), advice)
    };
    facts.strangers.iter().map(of).collect()
}

fn names(facts: &GroupFacts) -> Vec<Finding> {
    let names = facts.odd.iter().filter(|odd| odd.1);
    names.map(|(host, _, text, advice)| Finding::fail("name", host, text, advice)).collect()
}

fn clocks(facts: &GroupFacts) -> Vec<Finding> {
    let odd = facts.odd.iter().filter(|odd| !odd.1);
    let mut found: Vec<Finding> =
        odd.map(|(host, _, text, advice)| Finding::warn("clocks", host, text, advice)).collect();
    for MemberFacts { name, apart: (millis, words), .. } in &facts.members {
        if *millis >= APART && !found.iter().any(|finding| finding.host == *name) {
            let text = format!("its clock is {words} this host's");
            found.push(Finding::warn(
                "clocks",
                name,
                text,
                "set both clocks right, for example by NTP",
            ));
        }
    }
    found
}

fn versions(facts: &GroupFacts) -> Vec<Finding> {
    let others = facts.members.iter().filter(|member| member.version != facts.version);
    let of = |member: &MemberFacts| {
        let text = format!("it has makuosan {}, this host {}", member.version, facts.version);
        Finding::warn("version", &member.name, text, "install the same version on all hosts")
    };
    others.map(of).collect()
}

fn mtus(facts: &GroupFacts) -> Vec<Finding> {
    let others = facts.members.iter().filter(|member| member.mtu != facts.mtu);
    let of = |member: &MemberFacts| {
        let text =
            format!("its interface has an MTU of {}, that of this host {}", member.mtu, facts.mtu);
        let advice = "set the same MTU on all hosts, and no larger one than the network carries";
        Finding::warn("mtus", &member.name, text, advice)
    };
    others.map(of).collect()
}

fn away(facts: &GroupFacts) -> Vec<Finding> {
    let away = facts.hosts.iter().filter(|row| row.presence == Presence::Away);
    let of = |row: &HostRow| {
        let text = format!("it is away, last seen {}", row.seen.1);
        let advice =
            format!("start makuosan there; if it will not return: msync forget {}", row.name);
        Finding::warn("away", row.name.as_str(), text, &advice)
    };
    away.map(of).collect()
}

fn behind(facts: &GroupFacts) -> Vec<Finding> {
    let of = |row: &HostRow| {
        let advice = match row.presence {
            Presence::Away => "it gets that when it is back",
            _ => {
                "it catches up by itself, from a host that has it; if that takes long, see its log"
            }
        };
        Finding::fail("behind", row.name.as_str(), row.said(), advice)
    };
    facts.hosts.iter().filter(|row| row.is_behind()).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::doctor::Grade;
    use crate::console::moment::Moment;
    use crate::name::HostName;
    use crate::wire::behind::Behind;

    fn member(name: &str) -> MemberFacts {
        let (name, version) = (name.to_owned(), "2.0.0".to_owned());
        MemberFacts { name, version, mtu: 1_500, apart: (59_999, "0 min behind".to_owned()) }
    }

    fn row(name: &str, presence: Presence, count: u32) -> HostRow {
        HostRow {
            name: HostName::parse(name.as_bytes()).unwrap(),
            address: None,
            presence,
            seen: Moment(0, "noon".to_owned()),
            receives: true,
            lacks: Some(Behind { count, ..Behind::default() }),
            since: None,
            complete: None,
        }
    }

    fn sound() -> GroupFacts {
        GroupFacts {
            host: "web1".to_owned(),
            version: "2.0.0".to_owned(),
            mtu: 1_500,
            members: vec![member("web2"), member("web3")],
            hosts: vec![row("web1", Presence::Own, 0), row("web2", Presence::Live, 0)],
            ..GroupFacts::default()
        }
    }

    /// What is not as it should be, in short.
    fn faults(facts: &GroupFacts) -> Vec<(Grade, &'static str, String)> {
        let bad = of_group(facts).into_iter().filter(|finding| finding.grade > Grade::Ok);
        bad.map(|finding| (finding.grade, finding.check, finding.host)).collect()
    }

    #[test]
    fn each_point_of_a_sound_group_is_one_line() {
        assert_eq!(faults(&sound()), []);
        assert_eq!(of_group(&sound()).len(), 10);
        let alone = GroupFacts { members: vec![], alone: true, ..sound() };
        assert_eq!(faults(&alone), []);
    }

    #[test]
    fn each_fault_of_a_group_names_its_host() {
        use Grade::{Fail, Warn};
        let odd = |is_name| {
            let odd = vec![("web2".to_owned(), is_name, "odd".to_owned(), "mend it".to_owned())];
            GroupFacts { odd, ..sound() }
        };
        let with = |change: fn(&mut MemberFacts)| {
            let mut facts = sound();
            change(&mut facts.members[0]);
            facts
        };
        let hosts = |row| GroupFacts { hosts: vec![row], ..sound() };
        let strangers = vec![("10.0.0.9".to_owned(), "no key".to_owned())];
        let cases = [
            (Warn, "members", "web1", GroupFacts { members: vec![], ..sound() }),
            (Fail, "stranger", "10.0.0.9", GroupFacts { strangers, ..sound() }),
            (Fail, "name", "web2", odd(true)),
            (Warn, "clocks", "web2", odd(false)),
            (Warn, "clocks", "web2", with(|member| member.apart.0 = APART)),
            (Warn, "version", "web2", with(|member| member.version = "2.0.1".to_owned())),
            (Warn, "mtus", "web2", with(|member| member.mtu = 9_000)),
            (Warn, "away", "web3", hosts(row("web3", Presence::Away, 0))),
            (Fail, "behind", "web3", hosts(row("web3", Presence::Live, 2))),
            (Fail, "behind", "web1", hosts(row("web1", Presence::Own, 2))),
        ];
        for (grade, check, host, facts) in cases {
            assert_eq!(faults(&facts), [(grade, check, host.to_owned())], "{facts:?}");
        }
        let both = GroupFacts {
            members: vec![MemberFacts { apart: (1 << 40, String::new()), ..member("web2") }],
            ..odd(false)
        };
        assert_eq!(faults(&both).len(), 1);
        let one =
            GroupFacts { members: vec![], about: About::Other, host: "web9".to_owned(), ..sound() };
        assert_eq!(faults(&one), [(Fail, "members", "web9".to_owned())]);
        let own = GroupFacts { about: About::Own, ..one };
        assert_eq!(faults(&own), []);
    }
}
