//! The hosts that are known: those that are there, and those that were and will be again.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::attendance::Known;
use crate::console::absent::Absence;
use crate::console::error::{Code, ErrorLine};
use crate::console::fleet::{HostRow, Presence};
use crate::console::moment::Moment;
use crate::daemon::clock;
use crate::daemon::shared::{Shared, lock};
use crate::daemon::strangers::Strange;
use crate::engine::catch_up::Journal;
use crate::engine::members::{Member, Members};
use crate::keeping;
use crate::keeping::hosts::{Host, Hosts, Seen};
use crate::log;
use crate::name::HostName;
use crate::stamp::Stamp;
use crate::sys::localtime;
use crate::time::Time;
use crate::wire::behind::Behind;
use crate::wire::hello::Said;
use crate::wire::names::Hash;

/// The hosts that are known.
#[derive(Debug)]
pub(crate) struct Fleet {
    hosts: Hosts,
}

/// A host that is known, other than this one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KnownHost {
    pub(crate) name: HostName,
    /// Where it is, or was last.
    pub(crate) address: Ipv4Addr,
    pub(crate) presence: Presence,
    /// When it was last seen, by the wall clock in milliseconds.
    pub(crate) last: u64,
    /// Whether it can be a target.
    pub(crate) receives: bool,
    /// What it lacks. None if it keeps no records: then nobody knows.
    pub(crate) lacks: Option<Behind>,
}

impl Fleet {
    pub(crate) fn new(hosts: Hosts) -> Self {
        Fleet { hosts }
    }

    /// A member has said HELLO, and this of its records.
    pub(super) fn hello(
        &mut self,
        member: &Member,
        said: Option<Said>,
        members: &Members,
        shared: &Shared,
    ) {
        if members.is_two(&member.name) {
            return;
        }
        let keeper = shared.keeper.as_ref().map(|keeper| keeping::lock(keeper));
        let (said, settled, agrees) = match (members.records_possible(member.node), said, keeper) {
            (true, Some(Said { summary, behind }), Some(mut keeper)) => {
                let agrees = keeper.journal().agrees_with(&summary);
                if agrees {
                    keeper.agrees(&member.name, behind);
                }
                (Some(behind), Some(keeper.settled()), agrees)
            }
            (true, said, _) => (said.map(|said| said.behind), None, false),
            // What is sent now leaves no record.
            (false, ..) => (self.hosts.get(&member.name).and_then(|host| host.said), None, false),
        };
        let (address, receives) = (*member.addr.ip(), member.receives);
        let mirrors = &member.mirrors[..];
        let seen = Seen { address, receives, said, settled, agrees, mirrors };
        self.hosts.seen(clock::wall_millis(), &member.name, seen);
    }

    /// The hosts that mirror a tree: those that are there, and those that are away and not forgotten.
    pub(super) fn mirroring(&self, tree: Hash, members: &Members) -> BTreeSet<HostName> {
        let has = |member: &&Member| member.mirrors.iter().any(|standing| standing.tree == tree);
        let live = members.members().filter(has).map(|member| &member.name);
        self.hosts.mirroring(tree, clock::wall_millis()).chain(live).cloned().collect()
    }

    /// Whether a host has said last that it lacks something, or has not said that it lacks nothing; None if it is no
    /// member.
    pub(super) fn lacks(&self, host: &HostName, members: &Members) -> Option<bool> {
        members.members().find(|member| member.name == *host)?;
        let said = self.hosts.get(host).and_then(|host| host.said);
        Some(said.is_none_or(|behind| behind.count > 0))
    }

    /// A member has left.
    pub(super) fn left(&mut self, now: Time, member: &Member) {
        let silent = now.since(member.heard).millis();
        self.hosts.left(clock::wall_millis().saturating_sub(silent), &member.name);
    }

    /// Keeps what has changed; times, too, if this host is about to stop.
    pub(super) fn keep(&mut self, stops: bool) {
        self.hosts.keep(clock::wall_millis(), stops);
    }

    /// Forgets a host.
    ///
    /// # Errors
    /// It is there, or is this one, of the name `me`; or no host of its name is known.
    pub(super) fn forget(
        &mut self,
        name: &HostName,
        me: &HostName,
        members: &Members,
    ) -> Result<(), ErrorLine> {
        let (code, why) = if name == me || members.is_named(name) {
            (Code::Refused, format!("{name} is there: only a host that is away can be forgotten"))
        } else if self.hosts.forget(name) {
            log::notice(format_args!("host {name} is forgotten"));
            return Ok(());
        } else {
            (Code::UnknownHost, format!("no host {name} is known: see members -v"))
        };
        Err(ErrorLine::new(code, why).about(name, ""))
    }

    /// All hosts that are known, by name: members, those that are away, and those that say in another version of the
    /// protocol that they are there.
    pub(super) fn known(&self, now: Time, members: &Members, shared: &Shared) -> Vec<KnownHost> {
        let keeper = shared.keeper.as_ref().map(|keeper| keeping::lock(keeper));
        self.list(now, members, shared, keeper.as_ref().map(|keeper| keeper.journal()))
    }

    /// The same, for a command: who of them is there.
    pub(super) fn roster(&self, now: Time, members: &Members, shared: &Shared) -> Vec<Known> {
        let known = self.list(now, members, shared, None).into_iter().map(|host| {
            let absence = match host.presence {
                Presence::Own | Presence::Live => None,
                Presence::Away => Some(Absence::Away),
                Presence::Odd(_) if members.is_named(&host.name) => Some(Absence::SharedName),
                Presence::Odd(_) => Some(Absence::OtherVersion),
            };
            let KnownHost { name, address, receives, lacks, .. } = host;
            Known { name, address, receives, keeps: lacks.is_some(), absence }
        });
        known.collect()
    }

    /// Without the journal, it is not counted what those lack that are away.
    fn list(
        &self,
        now: Time,
        members: &Members,
        shared: &Shared,
        journal: Option<&Journal>,
    ) -> Vec<KnownHost> {
        let strangers = lock(&shared.strangers).about(now);
        let foreign = |name: &HostName| {
            strangers.iter().find_map(|(_, strange, _)| match strange {
                Strange::OtherVersion(foreign) if foreign.name.as_ref() == Some(name) => {
                    Some(format!("it has {strange}"))
                }
                _ => None,
            })
        };
        let wall = clock::wall_millis();
        let mut known: Vec<KnownHost> = members
            .members()
            .map(|member| {
                let host = self.hosts.get(&member.name);
                let is_two = members.is_two(&member.name);
                KnownHost {
                    name: member.name.clone(),
                    address: *member.addr.ip(),
                    presence: match is_two {
                        true => Presence::Odd("it is the name of several hosts".to_owned()),
                        false => Presence::Live,
                    },
                    last: wall.saturating_sub(now.since(member.heard).millis()),
                    receives: member.receives,
                    lacks: host
                        .filter(|_| !is_two)
                        .and_then(|host| host.lacks_now(&member.name, journal)),
                }
            })
            .collect();
        let is_there =
            |name: &HostName, known: &[KnownHost]| known.iter().any(|one| one.name == *name);
        let away = self.hosts.iter().filter(|(name, _)| !members.is_named(name));
        known.extend(away.map(|(name, host)| {
            let Host { address, last, receives, .. } = *host;
            let presence = foreign(name).map_or(Presence::Away, Presence::Odd);
            let lacks = host.lacks(name, journal);
            KnownHost { name: name.clone(), address, presence, last, receives, lacks }
        }));
        for (address, strange, ago) in &strangers {
            let Strange::OtherVersion(foreign) = strange else { continue };
            let Some(name) = foreign.name.as_ref().filter(|name| !is_there(name, &known)) else {
                continue;
            };
            known.push(KnownHost {
                name: name.clone(),
                address: *address,
                presence: Presence::Odd(format!("it has {strange}")),
                last: wall.saturating_sub(ago.millis()),
                receives: true,
                lacks: None,
            });
        }
        known.sort_by(|one, other| one.name.cmp(&other.name).then(one.address.cmp(&other.address)));
        known
    }
}

impl KnownHost {
    /// As clients are shown it.
    pub(super) fn row(self) -> HostRow {
        let KnownHost { name, address, presence, last, receives, lacks } = self;
        let stamp = |stamp: Stamp| (stamp > Stamp::ZERO).then(|| moment(stamp.millis()));
        HostRow {
            name,
            address: Some(address).filter(|address| !address.is_unspecified()),
            presence,
            seen: moment(last),
            receives,
            lacks,
            since: lacks.and_then(|behind| stamp(behind.since)),
            complete: lacks.and_then(|behind| stamp(behind.complete)),
        }
    }
}

fn moment(millis: u64) -> Moment {
    let secs = (millis / 1_000) as i64;
    Moment(secs, localtime::local(secs).to_string())
}
