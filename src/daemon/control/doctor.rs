//! What is seen for `doctor`.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;

use super::control_loop::Control;
use super::samples::carrier;
use crate::console::doctor::{self, HostFacts, LinkFacts};
use crate::errno::ErrorText;
use crate::name::{Escaped, Interface};
use crate::net::{interface_of, source_to};
use crate::sys::kept_clock::clock_is_kept;
use crate::sys::link::{self, Link};
use crate::sys::netconf::reverse_path_filter;
use crate::sys::{fsat, ids, ifaddr};
use crate::time::Time;

/// So many members are asked for as to the way back.
const WAYS: usize = 8;

impl Control {
    /// A client asks what keeps files from arriving.
    pub(super) fn doctor(&mut self, now: Time, at: usize, json: bool) {
        self.membership.look_at_network();
        self.membership.keep_joined(now);
        let found = doctor::of_host(&self.host_facts(now));
        self.answer(at, doctor::doctor(&found, json));
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
