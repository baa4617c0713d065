//! Membership: joins the group, exchanges HELLO and BYE, and tells the other threads of changes.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::fleet::Fleet;
use super::oddities::Oddities;
use crate::daemon::messages::{ToReceiver, ToSender};
use crate::daemon::shared::{Peer, Shared, lock};
use crate::engine::catch_up::To;
use crate::engine::destination::Destination;
use crate::engine::members::{DepartureReason, Event, Members, Packet};
use crate::engine::probe::Probe;
use crate::errno::ErrorText;
use crate::ids::TransferNo;
use crate::log;
use crate::name::{Interface, NodeId};
use crate::net::Transmit;
use crate::seal::Seal;
use crate::sys::random;
use crate::time::{Span, Time};
use crate::wire::feedback::Feedback;
use crate::wire::fetch::Fetch;
use crate::wire::header::{Header, PacketKind, Role};
use crate::wire::hello::Hello;
use crate::wire::mirror::Mirror;
use crate::wire::records::Records;

/// How often joining the group is retried.
const JOIN_EVERY: Span = Span::from_secs(2);
/// How often the group is joined again, in case nobody has told that an interface is another one now.
const REJOIN_EVERY: Span = Span::from_secs(30);
/// The same, where the kernel tells nothing.
const WATCH_EVERY: Span = Span::from_secs(1);
/// How often at the most the interface is looked at, however often it changes.
const LOOK_EVERY: Span = Span::from_millis(100);
/// After writing for this long, the receiver is reported as busy, and again each time that it lasts as long.
const BUSY_AFTER: Span = Span::from_millis(500);

/// The table of members, and what is needed to maintain it.
pub(crate) struct Membership {
    pub(super) members: Members,
    shared: Arc<Shared>,
    seal: Seal,
    pub(super) odd: Oddities,
    /// The hosts that are known.
    pub(super) fleet: Fleet,
    /// When joining the group was last tried.
    joined_at: Time,
    /// Something has changed since.
    changed: bool,
    /// Why that did not work, if it has been said.
    trouble: String,
    /// The last address that packets to the group have left from.
    address: Option<Ipv4Addr>,
    /// Whether the kernel tells when interfaces change.
    is_told: bool,
    /// Those that have left, and of which nobody was told yet.
    left: Vec<NodeId>,
    /// When it is looked again whether the receiver is busy.
    pub(super) busy_at: Time,
}

impl Membership {
    pub(crate) fn new(shared: Arc<Shared>, members: Members, fleet: Fleet, now: Time) -> Self {
        let seal = Seal::new(shared.me(), Role::Control, shared.keys.as_ref());
        Membership {
            members,
            seal,
            odd: Oddities::default(),
            fleet,
            joined_at: now,
            changed: false,
            trouble: String::new(),
            address: shared.net.address(),
            is_told: false,
            left: Vec::new(),
            busy_at: now,
            shared,
        }
    }

    /// When the next action is due.
    pub(super) fn next(&self) -> Time {
        let join = self.join_at();
        self.members.poll_timeout().map_or(join, |at| at.min(join))
    }

    /// Does what is due and tells the other threads of changes. All own transfers before `oldest` are
    /// closed.
    pub(super) fn drive(&mut self, now: Time, oldest: TransferNo) {
        self.members.set_oldest_open(oldest);
        self.set_clock();
        self.members.timeout(now);
        self.transmit();
        while let Some(event) = self.members.poll_event() {
            self.tell(now, event);
        }
        self.odd.look(&mut self.members);
    }

    /// A HELLO has come. Whether it is that of a member, and was taken.
    pub(super) fn hello(
        &mut self,
        now: Time,
        from: NodeId,
        addr: SocketAddrV4,
        counter: u64,
        hello: &Hello,
    ) -> bool {
        self.set_clock();
        let is_taken = self.members.hello(now, from, addr, counter, hello);
        if let Some(member) = self.members.get(from).filter(|_| is_taken) {
            self.fleet.hello(member, hello.records, &self.members, &self.shared);
        }
        is_taken
    }

    fn set_clock(&mut self) {
        let (height, wall) = self.shared.clock.read();
        self.members.set_clock(height, wall);
    }

    /// The kernel tells when interfaces change.
    pub(crate) fn will_be_told(&mut self) {
        self.is_told = true;
    }

    /// An interface has changed, or takes nothing: it is looked at again soon.
    pub(super) fn look_at_network(&mut self) {
        self.changed = true;
    }

    /// Those that have left since this was asked last.
    pub(super) fn take_left(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.left)
    }

    /// Says something of records, to all or to one member.
    pub(super) fn say_records(&mut self, to: To, records: &Records) {
        self.say(to, PacketKind::Records, &records.emit());
    }

    /// Says something of a mirrored tree, to all or to one member.
    pub(super) fn say_mirror(&mut self, to: To, mirror: &Mirror) {
        self.say(to, PacketKind::Mirror, &mirror.emit());
    }

    /// Asks a member for something, or answers one.
    pub(super) fn say_fetch(&mut self, node: NodeId, fetch: &Fetch) {
        self.say(To::Node(node), PacketKind::Fetch, &fetch.emit());
    }

    pub(super) fn say(&mut self, to: To, kind: PacketKind, payload: &[u8]) {
        let (node, addr) = match to {
            To::Group => (None, self.shared.net.group()),
            To::Node(node) => match self.members.get(node) {
                Some(member) => (Some(node), member.addr),
                None => return,
            },
        };
        let header = Header::new(kind, self.shared.me(), Role::Control);
        let packet = self.seal.packet(node, header, payload);
        self.send(addr, &packet);
    }

    /// Why the group is not joined, if it is not.
    pub(super) fn unjoined(&self) -> Option<String> {
        let why = || match self.trouble.is_empty() {
            true => "it is tried again".to_owned(),
            false => self.trouble.clone(),
        };
        (!self.shared.net.joined()).then(why)
    }

    /// Sends packets of a probe, all of one length, to a member, or to the group.
    pub(super) fn say_probe(&mut self, node: Option<NodeId>, probes: &[Probe]) {
        let member = node.map(|node| self.members.get(node));
        let to = match member {
            None => self.shared.net.group(),
            Some(Some(member)) => member.addr,
            Some(None) => return,
        };
        let header = Header::new(PacketKind::Probe, self.shared.me(), Role::Control);
        let packet = |probe: &Probe| self.seal.packet(node, header, &probe.emit());
        let packets: Vec<Vec<u8>> = probes.iter().map(packet).collect();
        let segment = packets.first().map_or(1, Vec::len);
        // What does not go is missed by those who are asked what has come.
        let _ = self.shared.net.send(&Transmit { to, bytes: &packets.concat(), segment });
    }

    /// Announces that this host leaves.
    pub(super) fn leave(&mut self) {
        self.members.leave();
        self.transmit();
    }

    /// Joins the group if that is due.
    pub(super) fn keep_joined(&mut self, now: Time) {
        if now < self.join_at() {
            return;
        }
        self.joined_at = now;
        self.changed = false;
        let net = &self.shared.net;
        let (joined, mtu, group) = (net.joined(), net.mtu(), net.group());
        let result = net.join();
        let (now_mtu, address) = (net.mtu(), net.address().or(self.address));
        let moved = match (std::mem::replace(&mut self.address, address), address) {
            (Some(was), Some(is)) if was != is => {
                self.begin_anew(now, was, is);
                true
            }
            _ => false,
        };
        match result {
            Ok(()) => {
                self.trouble.clear();
                self.members.set_mtu(now_mtu);
                if !joined {
                    log::notice(format_args!("joined {group}"));
                } else if mtu != now_mtu && !moved {
                    log::notice(format_args!(
                        "the MTU of the interface is {now_mtu} now; it was {mtu}"
                    ));
                }
                if !joined || mtu != now_mtu || moved {
                    self.members.announce(now);
                }
            }
            Err(error) => {
                let why = ErrorText(&error).to_string();
                let text = match joined {
                    true => format!("cannot reach {group} any more: {why}"),
                    false => format!("cannot join {group} yet: {why}"),
                };
                // It is tried again and again.
                if std::mem::replace(&mut self.trouble, why) != self.trouble {
                    log::limited(log::Level::WARNING, "join", None, format_args!("{text}"));
                }
            }
        }
    }

    /// This host has another address. The others know this node by the one that it had, so it takes leave
    /// of them and is another node.
    fn begin_anew(&mut self, now: Time, was: Ipv4Addr, is: Ipv4Addr) {
        let what = match self.shared.net.interface() {
            Interface::Named(name) => format!("interface {name} has"),
            Interface::Any | Interface::Address(_) => {
                "this host sends to the group from".to_owned()
            }
        };
        let text = format_args!("{what} the address {is} now; it was {was}");
        log::limited(log::Level::NOTICE, "address", None, text);
        let me = match random::u64() {
            Ok(number) => NodeId(number),
            // The others take it for a forger until they have forgotten it.
            Err(error) => {
                return log::error(format_args!("random numbers: {}", ErrorText(&error)));
            }
        };
        self.members.say_bye();
        self.transmit();
        self.shared.begin_anew(me);
        self.seal = Seal::new(me, Role::Control, self.shared.keys.as_ref());
        self.shared.receiver.send(ToReceiver::Anew);
        self.shared.sender.send(ToSender::Anew);
        self.members.begin_anew(now, me, self.shared.receive_buffer());
    }

    fn join_at(&self) -> Time {
        let every = match (self.changed, self.shared.net.joined(), self.is_told) {
            (true, ..) => LOOK_EVERY,
            (false, false, true) => JOIN_EVERY,
            (false, true, true) => REJOIN_EVERY,
            (false, _, false) => WATCH_EVERY,
        };
        self.joined_at + every
    }

    /// Tells senders that this host is busy, while the receiver is blocked by a disk and cannot answer.
    pub(super) fn say_busy(&mut self, now: Time) {
        if now < self.busy_at {
            return;
        }
        self.busy_at = now + BUSY_AFTER;
        let since = self.shared.writing_since.load(Ordering::Relaxed);
        if since == 0 || now.micros() < since + BUSY_AFTER.micros() {
            return;
        }
        let senders = lock(&self.shared.recvs).clone();
        for (key, addr) in senders {
            let mut header = Header::new(PacketKind::Busy, self.shared.me(), Role::Control);
            header.transfer = key.number;
            let packet =
                self.seal.packet(Some(key.node), header, &Feedback::Busy.emit(key.node, 64));
            self.send(addr, &packet);
        }
    }

    fn tell(&mut self, now: Time, event: Event) {
        match event {
            Event::Joined(member) => {
                let (name, ip) = (&member.name, member.addr.ip());
                log::many(log::Level::NOTICE, "members", format_args!("{name} ({ip}) joined"));
                lock(&self.shared.strangers).joined(*ip);
                self.shared.set_peer(
                    member.node,
                    Some(Peer { addr: member.addr, name: member.name.clone() }),
                );
            }
            Event::Changed(member) => {
                self.shared.receiver.send(ToReceiver::Oldest(member.node, member.oldest_open));
            }
            // One that is too far ahead is not adopted.
            Event::Height(stamp) => drop(self.shared.clock.adopt(stamp)),
            Event::Left { member, reason } => {
                let how = match reason {
                    DepartureReason::Bye => "left".to_owned(),
                    DepartureReason::Silent => "timed out and is no longer a member".to_owned(),
                    DepartureReason::Replaced { .. } => "restarted".to_owned(),
                    DepartureReason::Moved(to) => format!("is at {} now", to.ip()),
                    DepartureReason::Dropped => {
                        "did not answer in a transfer and is no longer a member".to_owned()
                    }
                };
                let level = match reason {
                    DepartureReason::Silent | DepartureReason::Dropped => log::Level::WARNING,
                    DepartureReason::Bye
                    | DepartureReason::Replaced { .. }
                    | DepartureReason::Moved(_) => log::Level::NOTICE,
                };
                let (name, ip) = (&member.name, member.addr.ip());
                log::many(level, "members", format_args!("{name} ({ip}) {how}"));
                self.fleet.left(now, &member);
                self.left.push(member.node);
                self.shared.set_peer(member.node, None);
                lock(&self.shared.stats).remove(&member.node);
                self.shared.sender.send(ToSender::Gone(member.node));
                self.shared.receiver.send(ToReceiver::Gone(member.node));
            }
        }
    }

    fn transmit(&mut self) {
        while let Some((to, packet)) = self.members.poll_transmit() {
            let (kind, payload) = match &packet {
                Packet::Hello(hello) => (PacketKind::Hello, Hello::emit(hello)),
                Packet::Bye => (PacketKind::Bye, Vec::new()),
            };
            let header = Header::new(kind, self.shared.me(), Role::Control);
            let packet = self.seal.packet(to.node(), header, &payload);
            let to = match to {
                Destination::Group => self.shared.net.group(),
                Destination::One(_, addr) => addr,
            };
            self.send(to, &packet);
        }
    }

    fn send(&self, to: SocketAddrV4, packet: &[u8]) {
        if let Err(error) = self.shared.net.send_one(to, packet) {
            // That the network is not reached has been said.
            let joined = self.shared.net.joined();
            log::limited(
                if joined { log::Level::WARNING } else { log::Level::DEBUG },
                "hello",
                None,
                format_args!("cannot send to {to}: {}", ErrorText(&error)),
            );
        }
    }
}
