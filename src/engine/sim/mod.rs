//! A simulated fleet: one sender and its targets over a network that loses, doubles, reorders and
//! delays, with a seed and a virtual clock. No real time passes.

mod disk;
mod host;
mod net;
mod scenarios;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;

use crate::engine::job::{Answer, Options};
use crate::engine::outgoing::{Config, Event, Gone, Outgoing, To, Transmit};
use crate::engine::rng::Rng;
use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::wire::feedback::Feedback;
use crate::wire::header::Header;
use crate::wire::layout::Layout;
use crate::wire::manifest::Manifest;

use disk::{Handle, MemDisk};
use host::Host;
use net::Net;

/// A packet on its way. A block of a body is only its length; its bytes follow from the manifest.
#[derive(Clone, Debug)]
struct Packet {
    from: SocketAddrV4,
    header: Header,
    payload: Rc<Vec<u8>>,
    /// The source of a block's bytes.
    body: Option<Rc<Source>>,
}

/// A batch as its sender has it.
#[derive(Debug)]
struct Source {
    manifest: Arc<Manifest>,
    layout: Arc<Layout>,
}

enum Happening {
    /// To the target of this index and life.
    ToTarget(usize, u32, Packet),
    /// To all targets.
    ToAll(Packet),
    ToSender(u32, SocketAddrV4, Header, Rc<Vec<u8>>),
    DiskDone(usize, u32, Answer<Handle>),
    WakeSender(u32),
    WakeTarget(usize, u32),
    Act(Action),
}

/// What a scenario does to the fleet.
#[derive(Clone, Copy, Debug)]
enum Action {
    KillTarget(usize),
    RestartTarget(usize),
    /// The group notices that a target was started anew.
    Replaced(usize),
    KillSender,
    RestartSender,
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

/// The sending host.
struct Sender {
    life: u32,
    number: u32,
    outgoing: Option<Outgoing>,
    /// Batches that are still to be handed in.
    input: Vec<Manifest>,
    next_input: usize,
    open: Vec<(u32, Rc<Source>)>,
    /// By target: entries whose outcome came, and why it left.
    outcomes: Vec<u64>,
    gone: Vec<Option<Gone>>,
    finished: Option<Time>,
    wake: Option<Time>,
    block: u16,
    parallel: usize,
    dry_run: bool,
    delete: bool,
    /// By target: names of what was spooled, and how many were deleted.
    named: Vec<u64>,
    deleted: Vec<u64>,
}

struct Sim {
    now: Time,
    order: u64,
    steps: u64,
    queue: BinaryHeap<Reverse<Queued>>,
    rng: Rng,
    net: Net,
    sender: Sender,
    targets: Vec<Host>,
    /// Bytes of packets and of blocks sent, feedback packets received.
    wire_bytes: u64,
    feedback: u64,
    /// Actions by the number of the step before which they happen.
    script: Vec<(u64, Action)>,
}

fn address(index: usize) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(0x0a00_0001 + index as u32), 5_000)
}

const SENDER: usize = 0xffff;

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
            rng,
            sender: Sender {
                life: 0,
                number: 100,
                outgoing: None,
                input,
                next_input: 0,
                open: Vec::new(),
                outcomes: vec![0; targets],
                gone: vec![None; targets],
                finished: None,
                wake: None,
                block: 1_424,
                parallel: 8,
                dry_run: false,
                delete: false,
                named: vec![0; targets],
                deleted: vec![0; targets],
            },
            targets: hosts,
            wire_bytes: 0,
            feedback: 0,
            script: Vec::new(),
        }
    }

    /// The sender's node id in its present life.
    fn sender_node(&self) -> NodeId {
        NodeId(0x5e4d_0000 + u64::from(self.sender.life))
    }

    fn start(&mut self) {
        let config = Config {
            me: self.sender_node(),
            number: self.sender.number,
            oldest: self.sender.number,
            targets: self.targets.iter().map(|host| (host.node(), host.addr())).collect(),
            options: Options {
                dry_run: self.sender.dry_run,
                delete: self.sender.delete,
                ..Options::default()
            },
            block: self.sender.block,
            parallel: self.sender.parallel,
            timeout: Span::from_secs(10),
        };
        let count = self.targets.len();
        self.sender.outgoing = Some(Outgoing::new(config, self.now));
        self.sender.next_input = 0;
        self.sender.open.clear();
        self.sender.outcomes = vec![0; count];
        self.sender.gone = vec![None; count];
        self.sender.finished = None;
        self.drive_sender();
    }

    fn at(&mut self, at: Time, what: Happening) {
        self.order += 1;
        self.queue.push(Reverse(Queued { at, order: self.order, what }));
    }

    /// Runs until the transfer is finished and nothing is on its way, or until `limit`. Whether it
    /// finished.
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
            let over = self.sender.outgoing.as_ref().is_none_or(Outgoing::is_over);
            if over
                && self.sender.finished.is_some()
                && self.script.is_empty()
                && self.targets.iter().all(Host::is_idle)
            {
                return true;
            }
        }
        self.sender.finished.is_some()
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::ToAll(packet) => {
                for target in 0..self.targets.len() {
                    match self.net.fan_out() {
                        None => {}
                        Some(Span::ZERO) => self.hand_to(target, &packet),
                        Some(later) => {
                            let life = self.targets[target].life;
                            let at = self.now + later;
                            self.at(at, Happening::ToTarget(target, life, packet.clone()));
                        }
                    }
                }
            }
            Happening::ToTarget(target, life, packet) => {
                if self.targets[target].life == life {
                    self.hand_to(target, &packet);
                }
            }
            Happening::ToSender(life, from, header, payload) => {
                if life != self.sender.life {
                    return;
                }
                self.feedback += 1;
                let me = self.sender_node();
                let Some(outgoing) = &mut self.sender.outgoing else { return };
                let known =
                    self.targets.iter().any(|h| h.addr() == from && h.node() == header.node);
                if let (Ok((sender, feedback)), true) =
                    (Feedback::parse(header.kind, &payload), known)
                {
                    if sender == me && header.transfer == outgoing.number() {
                        outgoing.feedback(self.now, header.node, header.batch, feedback);
                        self.drive_sender();
                    }
                }
            }
            Happening::DiskDone(target, life, answer) => {
                if self.targets[target].life == life {
                    let now = self.now;
                    self.targets[target].answer(now, answer);
                    self.drive_target(target);
                }
            }
            Happening::WakeSender(life) => {
                if life == self.sender.life && self.sender.wake.is_some_and(|wake| wake <= self.now)
                {
                    self.sender.wake = None;
                    let now = self.now;
                    if let Some(outgoing) = &mut self.sender.outgoing {
                        outgoing.timeout(now);
                    }
                    self.drive_sender();
                }
            }
            Happening::WakeTarget(target, life) => {
                if self.targets[target].life == life {
                    let now = self.now;
                    self.targets[target].timeout(now);
                    self.drive_target(target);
                }
            }
            Happening::Act(action) => self.act(action),
        }
    }

    fn hand_to(&mut self, target: usize, packet: &Packet) {
        let now = self.now;
        if self.targets[target].packet(now, packet) {
            self.drive_target(target);
        }
    }

    fn drive_target(&mut self, target: usize) {
        let now = self.now;
        for (after, answer) in self.targets[target].jobs() {
            let life = self.targets[target].life;
            self.at(now + after, Happening::DiskDone(target, life, answer));
        }
        while let Some(outbound) = self.targets[target].transmit(now) {
            let from = self.targets[target].addr();
            let payload = Rc::new(outbound.payload);
            for after in self.net.back() {
                let life = self.sender.life;
                let what = Happening::ToSender(life, from, outbound.header, Rc::clone(&payload));
                self.at(now + after, what);
            }
        }
        if let Some(wake) = self.targets[target].new_wake() {
            let life = self.targets[target].life;
            self.at(wake.max(now), Happening::WakeTarget(target, life));
        }
    }

    fn drive_sender(&mut self) {
        let now = self.now;
        let Some(mut outgoing) = self.sender.outgoing.take() else { return };
        loop {
            while let Some(event) = outgoing.poll_event() {
                self.sender_event(&mut outgoing, event);
            }
            if outgoing.wants_batch() {
                self.hand_in(&mut outgoing);
                continue;
            }
            let Some(transmit) = outgoing.poll_transmit(now, 44, true) else { break };
            self.transmit(transmit);
        }
        let wake = outgoing.poll_timeout(true);
        self.sender.outgoing = Some(outgoing);
        if let Some(wake) = wake {
            let wake = wake.max(now + Span::from_micros(1));
            if wake.micros() < u64::MAX
                && self.sender.wake.is_none_or(|old| wake < old || old <= now)
            {
                self.sender.wake = Some(wake);
                let life = self.sender.life;
                self.at(wake, Happening::WakeSender(life));
            }
        }
    }

    fn hand_in(&mut self, outgoing: &mut Outgoing) {
        let Some(manifest) = self.sender.input.get(self.sender.next_input) else {
            return outgoing.end_input(self.now);
        };
        self.sender.next_input += 1;
        let manifest = Arc::new(manifest.clone());
        let layout = Arc::new(Layout::new(&manifest, self.sender.block.into()).unwrap());
        let bytes: Arc<[u8]> = manifest.emit().into();
        let entries = manifest.entries.len();
        let number = outgoing.batch(self.now, bytes, entries, Arc::clone(&layout));
        self.sender.open.push((number, Rc::new(Source { manifest, layout })));
    }

    fn sender_event(&mut self, outgoing: &mut Outgoing, event: Event) {
        match event {
            Event::Verify(batch) => outgoing.verified(self.now, batch, &[]),
            Event::Outcomes(_, target, runs, _) => {
                self.sender.outcomes[target] += runs.iter().count() as u64;
            }
            Event::Needs(_, target, runs) => {
                self.sender.outcomes[target] += runs.iter().count() as u64;
            }
            Event::Closed(batch, _) => self.sender.open.retain(|(number, _)| *number != batch),
            Event::Gone(target, why) => self.sender.gone[target] = Some(why),
            Event::Finished => self.sender.finished = Some(self.now),
            Event::Tallied(tallies) => {
                let most = tallies.iter().map(|(_, tally)| tally.spooled).max().unwrap_or(0);
                outgoing.decide(self.now, most > 0 && !self.sender.dry_run, most > 0);
            }
            Event::Ran(target, deleted, _) => self.sender.deleted[target] += deleted,
            Event::Page(target, names) => self.sender.named[target] += names.len() as u64,
            Event::Struck(..) | Event::Suspended(_) | Event::Resumed(_) | Event::Shared(..) => {}
        }
    }

    fn transmit(&mut self, transmit: Transmit) {
        let from = address(SENDER);
        match transmit {
            Transmit::Packet { to, header, payload } => {
                let len = payload.len();
                let packet = Packet { from, header, payload: Rc::new(payload), body: None };
                self.deliver(to, packet, len);
            }
            Transmit::Data { to, header, blocks } => {
                let source = self.sender.open.iter().find(|(number, _)| *number == header.batch);
                let Some(source) = source.map(|(_, source)| Rc::clone(source)) else { return };
                for block in blocks {
                    let bytes = source.layout.bytes_of(block);
                    let len = (bytes.end - bytes.start) as usize;
                    let header = Header { block, ..header };
                    let body = Some(Rc::clone(&source));
                    let packet = Packet { from, header, payload: Rc::default(), body };
                    self.deliver(to, packet, len);
                }
            }
        }
    }

    fn deliver(&mut self, to: To, packet: Packet, len: usize) {
        use crate::wire::header::OVERHEAD;
        self.wire_bytes += (len + OVERHEAD) as u64;
        let now = self.now;
        for after in self.net.out(now, len + OVERHEAD) {
            let what = match to {
                To::Group => Happening::ToAll(packet.clone()),
                To::One(addr) => {
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
        match action {
            Action::KillTarget(target) => self.targets[target].kill(),
            Action::RestartTarget(target) => {
                let seed = self.rng.next_u64();
                self.targets[target].restart(seed);
                let at = self.now + Span::from_millis(300);
                self.at(at, Happening::Act(Action::Replaced(target)));
            }
            Action::Replaced(target) => {
                let old = self.targets[target].old_node();
                if let (Some(outgoing), Some(old)) = (&mut self.sender.outgoing, old) {
                    outgoing.member_gone(self.now, old);
                    self.drive_sender();
                }
            }
            Action::KillSender => {
                self.sender.outgoing = None;
                self.sender.life += 1;
                self.sender.wake = None;
                self.sender.finished = Some(self.now);
            }
            Action::RestartSender => {
                // Its next life uses the same numbers again.
                for target in 0..self.targets.len() {
                    let old = NodeId(0x5e4d_0000 + u64::from(self.sender.life) - 1);
                    let now = self.now;
                    self.targets[target].member_gone(now, old);
                    self.drive_target(target);
                }
                self.start();
            }
            Action::Abort => {
                if let Some(outgoing) = &mut self.sender.outgoing {
                    outgoing.abort(self.now);
                    self.drive_sender();
                }
            }
        }
    }

    fn disk(&self, target: usize) -> &MemDisk {
        self.targets[target].disk()
    }
}
