//! A simulated fleet: senders and their targets, and a network between them that loses, duplicates,
//! reorders and delays packets, all by a seed and with a virtual clock. No real time passes.

mod disk;
mod edges;
mod host;
mod hostile;
mod net;
mod outages;
mod scenarios;
mod sender;
mod strikes;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;

use crate::engine::destination::Destination;
use crate::engine::disk_job::DiskAnswer;
use crate::engine::rng::Rng;
use crate::ids::EntryNo;
use crate::time::{Span, Time};
use crate::wire::bits::Bits;
use crate::wire::feedback::Feedback;
use crate::wire::header::{Header, PacketKind, Role};
use crate::wire::layout::Layout;
use crate::wire::manifest::Manifest;

use disk::{Handle, MemDisk};
use host::Host;
use net::Net;
use sender::Sender;

/// A packet on its way. A block of a body is only its length; its bytes follow from the manifest.
#[derive(Clone, Debug)]
struct Packet {
    from: SocketAddrV4,
    header: Header,
    payload: Rc<Vec<u8>>,
    /// The source of a block's bytes, and which entries' bytes it really has.
    body: Option<(Rc<Source>, Rc<Bits<EntryNo>>)>,
}

/// A batch as its sender has it.
#[derive(Debug)]
struct Source {
    manifest: Arc<Manifest>,
    layout: Arc<Layout>,
}

enum Happening {
    /// A packet comes to the target with this index, if it is still in this life.
    ToTarget(usize, u32, Packet),
    /// A packet comes to all targets.
    ToAll(Packet),
    ToSender(SocketAddrV4, Header, Rc<Vec<u8>>),
    DiskDone(usize, u32, DiskAnswer<Handle>),
    WakeSender(usize, u32),
    WakeTarget(usize, u32),
    Act(Action),
}

/// What a scenario does to the fleet.
#[derive(Clone, Copy, Debug)]
enum Action {
    KillTarget(usize),
    RestartTarget(usize),
    /// The group notices that a target was restarted.
    Replaced(usize),
    /// A target is cut off from the network, or back.
    Cut(usize),
    Mend(usize),
    /// All packets that a target sends are lost, or no longer.
    Mute(usize, bool),
    /// A target's receiver stands still for so long, while its daemon sends BUSY.
    Stall(usize, Span),
    Busy(usize),
    KillSender,
    RestartSender,
    /// A sender's client stops reading, or reads again.
    Pause(usize),
    Resume(usize),
    Abort,
}

struct Queued {
    at: Time,
    order: u64,
    what: Happening,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Whether a packet is lost, by the target that it goes to or comes from, and its header.
type Filter = Box<dyn FnMut(usize, &Header) -> bool>;

struct Sim {
    now: Time,
    order: u64,
    steps: u64,
    queue: BinaryHeap<Reverse<Queued>>,
    rng: Rng,
    net: Net,
    senders: Vec<Sender>,
    targets: Vec<Host>,
    /// How many bytes senders have sent, and how many packets have come back.
    wire_bytes: u64,
    feedback: u64,
    /// What happens before which step.
    script: Vec<(u64, Action)>,
    filter: Option<Filter>,
    /// Of a thousand packets, so many are copied by a hostile member, and changed.
    hostile: u64,
    /// A target whose answers are changed.
    liar: Option<usize>,
}

fn address(index: usize) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(0x0a00_0001 + index as u32), 5_000)
}

/// A timer that expires so often with nothing to do is spinning.
const MOST_SPINS: u32 = 100;

impl Sim {
    fn new(seed: u64, targets: usize, input: Vec<Manifest>) -> Self {
        let mut rng = Rng::new(seed);
        let hosts =
            (0..targets).map(|index| Host::new(index, rng.next_u64(), 212_992 * 2)).collect();
        Sim {
            now: Time::from_micros(1_000_000),
            order: 0,
            steps: 0,
            queue: BinaryHeap::new(),
            net: Net::new(rng.next_u64()),
            senders: vec![Sender::new(0, 100, input, seed)],
            rng,
            targets: hosts,
            wire_bytes: 0,
            feedback: 0,
            script: Vec::new(),
            filter: None,
            hostile: 0,
            liar: None,
        }
    }

    fn at(&mut self, at: Time, what: Happening) {
        self.order += 1;
        self.queue.push(Reverse(Queued { at, order: self.order, what }));
    }

    /// Lets something happen after so long.
    fn after(&mut self, span: Span, action: Action) {
        self.at(self.now + span, Happening::Act(action));
    }

    /// Runs until all transfers are finished and nothing is on its way, or until `limit`. Whether
    /// they finished.
    fn run(&mut self, limit: Span) -> bool {
        let end = self.now + limit;
        loop {
            while self.script.first().is_some_and(|&(step, _)| step <= self.steps) {
                let (_, action) = self.script.remove(0);
                self.act(action);
            }
            let Some(Reverse(next)) = self.queue.pop() else { break };
            if next.at > end {
                self.order += 1;
                self.queue.push(Reverse(next));
                self.now = end;
                break;
            }
            self.now = next.at;
            self.steps += 1;
            self.happen(next.what);
            if self.senders.iter().all(Sender::is_over)
                && self.script.is_empty()
                && self.targets.iter().all(Host::is_idle)
            {
                return true;
            }
        }
        self.senders.iter().all(|sender| sender.finished.is_some())
    }

    fn happen(&mut self, what: Happening) {
        let now = self.now;
        match what {
            Happening::ToAll(packet) => {
                for target in 0..self.targets.len() {
                    match self.net.fan_out() {
                        None => {}
                        Some(Span::ZERO) => self.hand_to_target(target, &packet),
                        Some(later) => {
                            let life = self.targets[target].life;
                            self.at(now + later, Happening::ToTarget(target, life, packet.clone()));
                        }
                    }
                }
            }
            Happening::ToTarget(target, life, packet) => {
                if self.targets[target].life == life {
                    self.hand_to_target(target, &packet);
                }
            }
            Happening::ToSender(from, header, payload) => {
                self.hand_to_sender(from, &header, &payload)
            }
            Happening::DiskDone(target, life, answer) => {
                let host = &mut self.targets[target];
                if host.life != life {
                } else if host.stalled > now {
                    let at = host.stalled;
                    self.at(at, Happening::DiskDone(target, life, answer));
                } else {
                    host.answer(now, answer);
                    self.drive_target(target);
                }
            }
            Happening::WakeSender(who, life) => {
                let sender = &mut self.senders[who];
                if life == sender.life && sender.wake.is_some_and(|wake| wake <= now) {
                    sender.wake = None;
                    if let Some(outgoing) = &mut sender.outgoing {
                        outgoing.timeout(now);
                    }
                    let before = self.wire_bytes;
                    self.drive_sender(who);
                    let sender = &mut self.senders[who];
                    let soon = now + Span::from_micros(1);
                    let spins =
                        self.wire_bytes == before && sender.wake.is_some_and(|wake| wake <= soon);
                    sender.spins = if spins { sender.spins + 1 } else { 0 };
                    assert!(sender.spins < MOST_SPINS, "sender {who} spins");
                }
            }
            Happening::WakeTarget(target, life) => {
                if self.targets[target].life == life {
                    self.targets[target].timeout(now);
                    self.drive_target(target);
                }
            }
            Happening::Act(action) => self.act(action),
        }
    }

    fn is_lost(&mut self, target: usize, header: &Header) -> bool {
        self.targets[target].is_cut || self.filter.as_mut().is_some_and(|f| f(target, header))
    }

    fn hand_to_target(&mut self, target: usize, packet: &Packet) {
        let now = self.now;
        if self.is_lost(target, &packet.header) {
            return;
        }
        let host = &mut self.targets[target];
        if host.stalled > now {
            // The socket's buffer takes a few.
            host.queued += 1;
            if host.queued <= 64 {
                let (at, life) = (host.stalled, host.life);
                self.at(at, Happening::ToTarget(target, life, packet.clone()));
            }
            return;
        }
        host.queued = 0;
        if self.targets[target].packet(now, packet) {
            self.drive_target(target);
        }
    }

    fn hand_to_sender(&mut self, from: SocketAddrV4, header: &Header, payload: &[u8]) {
        self.feedback += 1;
        let known = self.targets.iter().any(|h| h.addr() == from && h.node() == header.node);
        let Ok((node, feedback)) = Feedback::parse(header.kind, payload) else { return };
        for who in 0..self.senders.len() {
            let sender = &mut self.senders[who];
            let Some(outgoing) = &mut sender.outgoing else { continue };
            let addressed =
                outgoing.number() == header.transfer && self.senders[who].node() == node;
            if known && addressed {
                if let Some(outgoing) = &mut self.senders[who].outgoing {
                    outgoing.feedback(self.now, header.node, header.batch, feedback);
                }
                return self.drive_sender(who);
            }
        }
    }

    fn drive_target(&mut self, target: usize) {
        let now = self.now;
        for (at, answer) in self.targets[target].jobs(now) {
            let life = self.targets[target].life;
            self.at(at, Happening::DiskDone(target, life, answer));
        }
        while let Some(outbound) = self.targets[target].transmit(now) {
            self.send_back(target, outbound.to, outbound.header, outbound.payload);
        }
        let now = self.now;
        if let Some(wake) = self.targets[target].new_wake(now) {
            let life = self.targets[target].life;
            self.at(wake.max(now), Happening::WakeTarget(target, life));
        }
    }

    /// A target's packet to a sender.
    fn send_back(&mut self, target: usize, to: SocketAddrV4, header: Header, payload: Vec<u8>) {
        let from = self.targets[target].addr();
        let is_there = self.senders.iter().any(|sender| sender.addr() == to);
        if self.is_lost(target, &header) || self.targets[target].is_mute || !is_there {
            return;
        }
        let (mut header, mut payload) = (header, payload);
        if self.liar == Some(target) {
            hostile::change(&mut self.rng, &mut header, &mut payload);
        }
        let payload = Rc::new(payload);
        for after in self.net.back() {
            let what = Happening::ToSender(from, header, Rc::clone(&payload));
            self.at(self.now + after, what);
        }
    }

    fn drive_sender(&mut self, who: usize) {
        let now = self.now;
        while let Some(packets) = self.senders[who].drive(now) {
            for (to, packet, len) in packets {
                self.deliver(to, packet, len);
            }
        }
        let sender = &mut self.senders[who];
        let Some(wake) = sender.poll_timeout() else { return };
        let wake = wake.max(now + Span::from_micros(1));
        if wake.micros() < u64::MAX && sender.wake.is_none_or(|old| wake < old || old <= now) {
            sender.wake = Some(wake);
            let life = sender.life;
            self.at(wake, Happening::WakeSender(who, life));
        }
    }

    fn deliver(&mut self, to: Destination, packet: Packet, len: usize) {
        use crate::wire::header::OVERHEAD;
        self.wire_bytes += (len + OVERHEAD) as u64;
        let now = self.now;
        if self.hostile > 0 && self.rng.below(1_000) < self.hostile {
            let evil = hostile::copy(&mut self.rng, &packet);
            self.at(now + Span::from_micros(100), Happening::ToAll(evil));
        }
        for after in self.net.out(now, len + OVERHEAD) {
            let what = match to {
                Destination::Group => Happening::ToAll(packet.clone()),
                Destination::One(_, addr) => {
                    let found = self.targets.iter().position(|host| host.addr() == addr);
                    let Some(target) = found else { continue };
                    if self.net.fan_out().is_none() {
                        continue;
                    }
                    Happening::ToTarget(target, self.targets[target].life, packet.clone())
                }
            };
            self.at(now + after, what);
        }
    }

    fn act(&mut self, action: Action) {
        let now = self.now;
        match action {
            Action::KillTarget(target) => self.targets[target].kill(),
            Action::RestartTarget(target) => {
                let seed = self.rng.next_u64();
                self.targets[target].restart(seed);
                self.after(Span::from_millis(300), Action::Replaced(target));
            }
            Action::Replaced(target) => {
                let Some(old) = self.targets[target].old_node() else { return };
                for who in 0..self.senders.len() {
                    if let Some(outgoing) = &mut self.senders[who].outgoing {
                        outgoing.member_gone(now, old);
                        self.drive_sender(who);
                    }
                }
            }
            Action::Cut(target) => self.targets[target].is_cut = true,
            Action::Mend(target) => self.targets[target].is_cut = false,
            Action::Mute(target, mute) => self.targets[target].is_mute = mute,
            Action::Stall(target, span) => {
                self.targets[target].stalled = now + span;
                self.act(Action::Busy(target));
            }
            Action::Busy(target) => {
                if self.targets[target].stalled > now {
                    for (key, to) in self.targets[target].open() {
                        let me = self.targets[target].node();
                        let mut header = Header::new(PacketKind::Busy, me, Role::Control);
                        header.transfer = key.number;
                        self.send_back(target, to, header, Feedback::Busy.emit(key.node, 64));
                    }
                    self.after(Span::from_secs(1), action);
                }
            }
            Action::KillSender => {
                self.senders[0].kill(now);
            }
            Action::RestartSender => {
                // Its next life uses the same numbers again.
                self.senders[0].life -= 1;
                let old = self.senders[0].node();
                self.senders[0].life += 1;
                for target in 0..self.targets.len() {
                    self.targets[target].member_gone(now, old);
                    self.drive_target(target);
                }
                self.start_one(0);
            }
            Action::Pause(who) => self.senders[who].paused = true,
            Action::Resume(who) => {
                self.senders[who].paused = false;
                self.drive_sender(who);
            }
            Action::Abort => {
                if let Some(outgoing) = &mut self.senders[0].outgoing {
                    outgoing.abort(now);
                    self.drive_sender(0);
                }
            }
        }
    }

    fn disk(&self, target: usize) -> &MemDisk {
        self.targets[target].disk()
    }
}
