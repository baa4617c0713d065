//! What is seen for `doctor`.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;

use super::checkups::Checkup;
use super::client::{Client, Work};
use super::control_loop::Control;
use super::samples::carrier;
use crate::console::command::Doctor;
use crate::console::doctor::{
    self, About, Finding, GroupFacts, HostFacts, LinkFacts, MemberFacts, ProbeFacts, Probed,
};
use crate::console::error::ErrorLine;
use crate::console::fleet::HostRow;
use crate::daemon::clock;
use crate::daemon::shared::lock;
use crate::engine::members::{Member, Oddity};
use crate::engine::probe::{self, Meter, Outgoing, Plan, Prober};
use crate::errno::ErrorText;
use crate::ids::Ticket;
use crate::name::{Escaped, HostName, Interface, NodeId};
use crate::net::{interface_of, source_to};
use crate::sys::kept_clock::clock_is_kept;
use crate::sys::link::{self, Link};
use crate::sys::netconf::reverse_path_filter;
use crate::sys::{fsat, ids, ifaddr, random};
use crate::time::Time;
use crate::wire::header::{OVERHEAD, block_for_mtu};

/// The payload of a small packet of a probe.
const SMALL_LEN: u16 = 64;
/// So many members are asked for as to the way back.
const WAYS: usize = 8;

impl Control {
    /// A client asks what keeps files from arriving.
    pub(super) fn doctor(&mut self, now: Time, at: usize, order: Doctor) {
        self.clients[at].work = Work::Doctor;
        // Those who have gone meanwhile take no room.
        let clients = &self.clients;
        self.checkups.waiting.retain(|(client, _)| waits(clients, *client).is_some());
        self.checkups.waiting.push_back((clients[at].id, order));
        self.drive_doctor(now);
    }

    /// Does what is due for those who ask.
    pub(super) fn drive_doctor(&mut self, now: Time) {
        if let Some(checkup) = &mut self.checkups.running {
            let at = waits(&self.clients, checkup.client);
            if at.is_some() {
                let outgoing = checkup.prober.drive(now);
                for Outgoing { to, probes } in outgoing {
                    self.membership.say_probe(to, &probes);
                }
            }
            if at.is_none() || checkup.prober.next().is_none() {
                let over = self.checkups.running.take();
                if let (Some(at), Some(checkup)) = (at, over) {
                    self.probe_over(at, checkup);
                }
                *lock(&self.shared.echoes) = None;
            }
        }
        if self.checkups.running.is_none() && self.membership.members.settled(now) {
            if let Some((client, order)) = self.checkups.waiting.pop_front() {
                if let Some(at) = waits(&self.clients, client) {
                    self.look(now, at, client, &order);
                }
            }
        }
    }

    /// Looks at all that can be seen from here, and then begins a probe.
    fn look(&mut self, now: Time, at: usize, client: u32, order: &Doctor) {
        self.membership.look_at_network();
        self.membership.keep_joined(now);
        let known = self.hosts(now);
        let named = match self.named(&order.targets, &known) {
            Ok(named) => named,
            Err(error) => {
                self.clients[at].work = Work::Idle;
                return self.answer_error(at, &error);
            }
        };
        let own = self.settings.name.to_string();
        let facts = self.host_facts(now);
        let group = self.group_facts(now, &facts, known);
        let mut found = Vec::new();
        if named.is_empty() || named.contains(&own) {
            found = doctor::of_host(&facts);
        }
        match named.as_slice() {
            [] => found.extend(doctor::of_group(&group)),
            some => {
                let one = |name: &String| doctor::of_group(&group.clone().only(name, *name == own));
                found.extend(some.iter().flat_map(one));
            }
        }
        let is_meant =
            |name: &HostName| named.is_empty() || named.iter().any(|it| name.as_str() == it);
        let members = self.membership.members.members().filter(|member| is_meant(&member.name));
        let hosts: Vec<(NodeId, String)> =
            members.map(|member| (member.node, member.name.to_string())).collect();
        let ticket = random::u64().ok().map(Ticket::new);
        let ticket =
            ticket.filter(|_| order.probe && !hosts.is_empty() && self.shared.net.joined());
        let Some(ticket) = ticket else { return self.found(at, &found, order.json) };
        let meters = hosts.iter().map(|(node, _)| (*node, Meter::default())).collect();
        *lock(&self.shared.echoes) = Some((ticket, meters));
        let large = block_for_mtu(self.shared.net.mtu());
        let nodes = hosts.iter().map(|(node, _)| *node).collect();
        let prober = Prober::new(now, Plan { nodes, ticket, large, small: SMALL_LEN });
        let (json, dropped) = (order.json, self.shared.net.dropped());
        self.checkups.running =
            Some(Checkup { client, json, found, prober, hosts, large, dropped });
    }

    /// A probe is over.
    fn probe_over(&mut self, at: usize, checkup: Checkup) {
        let Checkup { json, mut found, prober, hosts, large, dropped, .. } = checkup;
        let own = self.settings.name.to_string();
        let Some(Some(results)) = prober.results() else {
            let advice = "try again when that is over";
            found.push(Finding::warn("probe", &own, "another host probes the network", advice));
            return self.found(at, &found, json);
        };
        let echoes = lock(&self.shared.echoes).take().map(|(_, meters)| meters).unwrap_or_default();
        let of = |(node, result): (NodeId, probe::Result)| {
            let name = hosts.iter().find(|(other, _)| *other == node);
            Probed {
                name: name.map(|(_, name)| name.clone()).unwrap_or_default(),
                report: result.report,
                echoed: echoes.get(&node).map(Meter::came).unwrap_or_default(),
                answered: result.answered,
            }
        };
        let now_dropped = self.shared.net.dropped();
        let mut facts = ProbeFacts {
            own,
            group: self.shared.net.group().to_string(),
            large_len: large.saturating_add(OVERHEAD as u16),
            to_group: (u16::from(probe::TRAINS) * probe::TRAIN, probe::SMALL),
            to_each: (u16::from(probe::BURSTS) * probe::BURST, prober.small_to_each()),
            own_dropped: now_dropped.zip(dropped).map_or(0, |(is, was)| is.saturating_sub(was)),
            hosts: results.map(of).collect(),
        };
        facts.hosts.sort_by(|one, other| one.name.cmp(&other.name));
        found.extend(doctor::of_probe(&facts));
        self.found(at, &found, json);
    }

    fn found(&mut self, at: usize, found: &[Finding], json: bool) {
        self.clients[at].work = Work::Idle;
        self.answer(at, doctor::doctor(found, json));
    }

    /// The hosts that a client means, by their names, or strangers by their addresses.
    ///
    /// # Errors
    /// One of them is not known.
    fn named(&self, targets: &[String], known: &[HostRow]) -> Result<Vec<String>, ErrorLine> {
        let strangers = lock(&self.shared.strangers).about(clock::now());
        let find = |typed: &String| {
            let is = |row: &&HostRow| {
                row.name.as_str() == typed
                    || row.address.is_some_and(|address| address.to_string() == *typed)
            };
            let host = known.iter().find(is).map(|row| row.name.to_string());
            let stranger = || strangers.iter().map(|(address, ..)| address.to_string());
            host.or_else(|| stranger().find(|address| address == typed))
                .ok_or_else(|| ErrorLine::unknown_host(typed))
        };
        let mut named = targets.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        named.sort();
        named.dedup();
        Ok(named)
    }

    fn group_facts(&self, now: Time, facts: &HostFacts, hosts: Vec<HostRow>) -> GroupFacts {
        let member = |member: &Member| MemberFacts {
            name: member.name.to_string(),
            version: member.version.clone(),
            mtu: member.mtu,
            apart: (member.clock.ahead.millis().unsigned_abs(), member.clock.ahead.to_string()),
        };
        let odd = |odd: &Oddity| {
            let (host, is_name) = match odd {
                Oddity::Clock(who, _) | Oddity::Stamps(who, _) => (who.name.to_string(), false),
                Oddity::OwnStamps(_) => (facts.name.clone(), false),
                Oddity::Name { name, .. } => (name.to_string(), true),
            };
            (host, is_name, odd.to_string(), odd.advice().to_owned())
        };
        let strangers = lock(&self.shared.strangers).about(now);
        let members = &self.membership.members;
        GroupFacts {
            host: facts.name.clone(),
            about: About::All,
            version: facts.version.clone(),
            mtu: self.shared.net.mtu(),
            alone: facts.link.as_ref().is_some_and(|link| link.loopback),
            members: members.members().map(member).collect(),
            strangers: strangers
                .iter()
                .map(|(at, has, _)| (at.to_string(), has.to_string()))
                .collect(),
            mirrors: facts.mirrors.clone(),
            odd: members.oddities().iter().map(odd).collect(),
            hosts,
        }
    }

    fn host_facts(&self, now: Time) -> HostFacts {
        let (shared, settings) = (&self.shared, &self.settings);
        let (net, writes) = (&shared.net, settings.writes);
        let root = shared.base.look();
        let room = root.as_ref().ok().and_then(|root| {
            let room = fsat::room(root.as_fd(), ids::effective().uid == 0).ok()?;
            Some([room.bytes, room.free_bytes, room.objects, room.free_objects])
        });
        let unwritable = root.as_ref().ok().and_then(|root| fsat::can_write(root.as_fd()).err());
        let name = carrier(net);
        let link = name.as_deref().and_then(|name| Some((name, link::link(name).ok()??)));
        let is_own = |address: &Ipv4Addr| net.address() == Some(*address);
        let others = self.membership.members.members().map(|member| *member.addr.ip()).take(WAYS);
        // Somebody who may be there, if there is no member.
        let near = net.address().into_iter().flat_map(|own| [1, 2].map(|bit| own.to_bits() ^ bit));
        let mut others =
            others.chain(near.map(Ipv4Addr::from).filter(|it| net.subnet_contains(*it)));
        let is_astray = |address: &Ipv4Addr| {
            let source = source_to(*address).ok().filter(|source| !is_own(source));
            let by = source.and_then(|source| interface_of(source).ok()?);
            by.is_some() && by != name
        };
        let filter = |(name, link): (&[u8], Link)| match link.loopback {
            true => Some(0),
            false => reverse_path_filter(ifaddr::index(name).ok()?).ok(),
        };
        HostFacts {
            name: settings.name.to_string(),
            version: crate::VERSION.to_owned(),
            pid: std::process::id(),
            started: settings.setting.started.1.clone(),
            base: Escaped(shared.base.path().as_os_str().as_encoded_bytes()).to_string(),
            refused: root.as_ref().err().map(ToString::to_string),
            writes,
            unwritable: unwritable.map(|error| ErrorText(&error).to_string()),
            room,
            clock_kept: clock_is_kept().ok(),
            open_files: ids::open_files_limit(),
            buffer: (net.receive_buffer() as u64, net.wanted_buffer() as u64),
            watches: self.watches.rows(now),
            mirrors: self.equals.rows(now, &self.membership.members),
            most_watches: self.inputs.kernel.most_watches(),
            interface: net.interface().to_string(),
            any: *net.interface() == Interface::Any,
            address: net.address(),
            link: link.map(|(name, link)| link_facts(name, link, net.mtu())),
            group: net.group().to_string(),
            unjoined: self.membership.unjoined(),
            counted: self.samples.counted(now, net, &self.inputs.kernel),
            path_filter: link.and_then(filter),
            astray: others.find(is_astray),
        }
    }
}

/// Which of the clients this is, if it still waits.
fn waits(clients: &[Client], number: u32) -> Option<usize> {
    let is_it = |one: &Client| one.id == number && matches!(one.work, Work::Doctor);
    clients.iter().position(is_it)
}

fn link_facts(name: &[u8], Link { up, running, loopback, .. }: Link, mtu: u16) -> LinkFacts {
    // Any socket will do for asking.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok();
    let port = socket.and_then(|socket| link::port(socket.as_fd(), name).ok()?);
    LinkFacts {
        name: Escaped(name).to_string(),
        up,
        running,
        loopback,
        mtu,
        mbits: port.map(|port| port.mbits),
        full_duplex: port.and_then(|port| port.full_duplex),
    }
}
