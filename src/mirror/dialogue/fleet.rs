//! Fleets whose hosts talk of a tree over a simulated network: seeded loss and delay, a virtual clock. A transfer is
//! only that after a while all who take it know what it leads to.

use std::collections::{BTreeMap, BTreeSet};

use super::types::{Config, Own, Serve};
use super::{Dialogue, QUIET};
use crate::engine::catch_up::To;
use crate::engine::rng::Rng;
use crate::name::NodeId;
use crate::time::{Span, Time};
use crate::wire::mirror::{Mirror, Standing};
use crate::wire::names::Hash;
use crate::wire::versions::{Dot, IndexId, Knowledge};

const TREE: Hash = Hash(7);
const ROOM: usize = 1_424;
/// How long a transfer takes.
const TRANSFER: Span = Span::from_millis(20);
/// How often each host says HELLO.
const HELLO: u64 = 15_000_000;

pub(super) struct Host {
    pub by: IndexId,
    pub height: u64,
    pub knowledge: Knowledge,
    pub needed: Vec<Dot>,
    /// It gives no bytes that are lacking.
    pub has_no_bytes: bool,
    node: NodeId,
    side: usize,
    is_up: bool,
    pub dialogue: Dialogue,
    due: Option<Time>,
}

impl Host {
    fn with<T>(&mut self, now: Time, act: impl FnOnce(&mut Dialogue, &Own<'_>) -> T) -> T {
        let Host { by, height, knowledge, needed, dialogue, .. } = self;
        let hash = knowledge.hash();
        let wall = now.micros() / 1_000;
        act(
            dialogue,
            &Own { by: *by, height: *height, knowledge, hash, needed, in_part: false, wall },
        )
    }

    fn standing(&self) -> Standing {
        let (by, height, hash) = (self.by, self.height, self.knowledge.hash());
        let settled = self.dialogue.settled();
        Standing { settled, ..Standing::plain(TREE, by, height, hash) }
    }
}

enum Happening {
    Packet { to: usize, from: usize, mirror: Vec<u8> },
    Hello { from: usize, to: usize, standing: Standing },
    SaysHello { host: usize, node: NodeId },
    Ends { from: usize, to: Vec<usize>, knows: Knowledge, serves: bool },
}

pub(super) struct Fleet {
    pub now: Time,
    rng: Rng,
    /// Lost, of 100.
    loss: u64,
    pub hosts: Vec<Host>,
    queue: BTreeMap<(Time, u64), Happening>,
    dues: BTreeSet<(Time, usize)>,
    count: u64,
    /// Questions begun, all packets, transfers that were served, and their targets.
    pub questions: u64,
    pub packets: u64,
    pub serves: u64,
    pub served: u64,
}

impl Fleet {
    /// All start at once, and know the same.
    pub fn started(hosts: usize, loss: u64, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let now = Time::ZERO + Span::from_secs(100);
        let hosts: Vec<Host> = (0..hosts)
            .map(|_| {
                let knowledge = Knowledge::default();
                let (by, node) = (IndexId(rng.next_u64()), NodeId(rng.next_u64() | 1));
                let dialogue = Fleet::dialogue(now, by, 1);
                let (height, needed, due) = (0, Vec::new(), None);
                let (side, is_up, has_no_bytes) = (0, false, false);
                Host {
                    by,
                    height,
                    knowledge,
                    needed,
                    has_no_bytes,
                    node,
                    side,
                    is_up,
                    dialogue,
                    due,
                }
            })
            .collect();
        let (queue, dues) = (BTreeMap::new(), BTreeSet::new());
        let mut fleet = Fleet {
            now,
            rng,
            loss,
            hosts,
            queue,
            dues,
            count: 0,
            questions: 0,
            packets: 0,
            serves: 0,
            served: 0,
        };
        (0..fleet.hosts.len()).for_each(|host| fleet.start(host));
        fleet
    }

    fn dialogue(now: Time, by: IndexId, seed: u64) -> Dialogue {
        let config = Config { tree: TREE, room: ROOM, seed, gives: true };
        let knowledge = Knowledge::default();
        let hash = knowledge.hash();
        let own = Own {
            by,
            height: 0,
            knowledge: &knowledge,
            hash,
            needed: &[],
            in_part: false,
            wall: 0,
        };
        Dialogue::new(now, config, &own)
    }

    pub fn start(&mut self, host: usize) {
        let (now, seed) = (self.now, self.rng.next_u64());
        let first = now + Span::from_micros(self.rng.below(HELLO));
        let h = &mut self.hosts[host];
        (h.is_up, h.node) = (true, NodeId(seed | 1));
        h.dialogue = Fleet::dialogue(now, h.by, seed);
        h.with(now, |dialogue, own| dialogue.changed(now, own));
        let node = h.node;
        self.drain(host);
        self.at(first, Happening::SaysHello { host, node });
        self.hello(host);
        // All others answer its first HELLO.
        for other in 0..self.hosts.len() {
            let (from, to) = (other, host);
            if from != to && self.hosts[from].is_up {
                let (at, standing) = (self.delay(), self.hosts[from].standing());
                self.at(at, Happening::Hello { from, to, standing });
            }
        }
    }

    pub fn stop(&mut self, host: usize) {
        self.hosts[host].is_up = false;
        (0..self.hosts.len()).for_each(|other| self.gone(other, host));
    }

    fn gone(&mut self, at: usize, who: usize) {
        let (now, node) = (self.now, self.hosts[who].node);
        if at != who && self.hosts[at].is_up {
            self.hosts[at].with(now, |dialogue, own| dialogue.gone(now, node, own));
            self.drain(at);
        }
    }

    /// Hosts hear only those on their side from now on.
    pub fn part(&mut self, side: impl Fn(usize) -> usize) {
        (0..self.hosts.len()).for_each(|host| self.hosts[host].side = side(host));
        for (at, who) in self.pairs().filter(|(a, b)| side(*a) != side(*b)).collect::<Vec<_>>() {
            self.gone(at, who);
        }
    }

    /// All hear all again.
    pub fn heal(&mut self) {
        self.hosts.iter_mut().for_each(|host| host.side = 0);
        (0..self.hosts.len()).for_each(|host| self.hello(host));
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let hosts = self.hosts.len();
        (0..hosts).flat_map(move |a| (0..hosts).map(move |b| (a, b)))
    }

    /// A host notices a change, and sends it to all that it hears, but not to some.
    pub fn change(&mut self, host: usize, missing: &[usize]) {
        let from = self.hosts[host].knowledge.clone();
        let h = &mut self.hosts[host];
        h.height += 1;
        h.knowledge.learn(h.by, h.height);
        let now = self.now;
        h.with(now, |dialogue, own| dialogue.changed(now, own));
        let all = 0..self.hosts.len();
        let to = all.filter(|to| *to != host && !missing.contains(to)).collect();
        self.transfer(host, to, &from, false);
    }

    /// A host lacks bytes that it knows of.
    pub fn needs(&mut self, host: usize, dot: Dot) {
        let (now, h) = (self.now, &mut self.hosts[host]);
        h.needed = vec![dot];
        h.with(now, |dialogue, own| dialogue.changed(now, own));
        self.drain(host);
    }

    fn hears(&self, from: usize, to: usize) -> bool {
        let (from, to) = (&self.hosts[from], &self.hosts[to]);
        from.is_up && to.is_up && from.side == to.side
    }

    fn transfer(&mut self, from: usize, to: Vec<usize>, start: &Knowledge, serves: bool) {
        let (now, node) = (self.now, self.hosts[from].node);
        let knows = self.hosts[from].knowledge.clone();
        let taken = |fleet: &mut Fleet, to: &usize| {
            fleet.hears(from, *to)
                && fleet.hosts[*to]
                    .with(now, |dialogue, own| dialogue.begun(now, node, (start, &knows), own))
        };
        let to: Vec<usize> = to.into_iter().filter(|to| taken(self, to)).collect();
        to.iter().for_each(|to| self.drain(*to));
        self.at(now + TRANSFER, Happening::Ends { from, to, knows, serves });
        self.drain(from);
    }

    fn at(&mut self, at: Time, happening: Happening) {
        self.count += 1;
        self.queue.insert((at, self.count), happening);
    }

    fn delay(&mut self) -> Time {
        self.now + Span::from_micros(100 + self.rng.below(400))
    }

    fn is_lost(&mut self) -> bool {
        self.rng.below(100) < self.loss
    }

    /// A host says HELLO to all.
    fn hello(&mut self, from: usize) {
        let standing = self.hosts[from].standing();
        for to in (0..self.hosts.len()).filter(|to| *to != from).collect::<Vec<_>>() {
            if !self.is_lost() {
                let at = self.delay();
                self.at(at, Happening::Hello { from, to, standing });
            }
        }
    }

    fn drain(&mut self, host: usize) {
        let now = self.now;
        let h = &mut self.hosts[host];
        if !h.is_up {
            return;
        }
        h.with(now, |dialogue, own| dialogue.timeout(now, own));
        let out: Vec<_> = std::iter::from_fn(|| h.dialogue.poll_transmit()).collect();
        let serve = h.dialogue.poll_serve();
        h.due = h.with(now, |dialogue, own| dialogue.poll_timeout(now, own));
        assert!(h.due.is_none_or(|due| due > now), "h{host} does nothing");
        self.dues.extend(h.due.map(|due| (due, host)));
        for (to, mirror) in out {
            self.packets += 1;
            self.questions += u64::from(matches!(mirror, Mirror::Asking { .. }));
            let mirror = mirror.emit();
            assert!(mirror.len() <= ROOM);
            let is_for = |h: &Host| match to {
                To::Group => true,
                To::Node(node) => h.node == node,
            };
            let all = 0..self.hosts.len();
            let to: Vec<usize> = all.filter(|to| *to != host && is_for(&self.hosts[*to])).collect();
            for to in to {
                if !self.is_lost() {
                    let (at, mirror) = (self.delay(), mirror.clone());
                    self.at(at, Happening::Packet { to, from: host, mirror });
                }
            }
        }
        if let Some(Serve { from, nodes, needed }) = serve {
            if !needed.is_empty() && self.hosts[host].has_no_bytes {
                self.hosts[host].with(now, |dialogue, own| dialogue.served(now, true, own));
                return self.drain(host);
            }
            self.serves += 1;
            self.served += nodes.len() as u64;
            let of = |node: &NodeId| self.hosts.iter().position(|h| h.node == *node);
            let to = nodes.iter().filter_map(of).collect();
            self.transfer(host, to, &from, true);
        }
    }

    fn happens(&mut self, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::Packet { to, from, mirror } if self.hears(from, to) => {
                let mirror = Mirror::parse(&mirror).unwrap();
                let (me, node) = (self.hosts[to].node, self.hosts[from].node);
                self.hosts[to]
                    .with(now, |dialogue, own| dialogue.packet(now, me, node, mirror, own));
                self.drain(to);
            }
            Happening::Hello { from, to, standing } if self.hears(from, to) => {
                let node = self.hosts[from].node;
                self.hosts[to]
                    .with(now, |dialogue, own| dialogue.hello(now, node, Some(standing), own));
                self.drain(to);
            }
            Happening::Packet { .. } | Happening::Hello { .. } => {}
            Happening::SaysHello { host, node } => {
                if self.hosts[host].is_up && self.hosts[host].node == node {
                    let wait = HELLO * 2 / 3 + self.rng.below(HELLO * 2 / 3);
                    self.at(now + Span::from_micros(wait), Happening::SaysHello { host, node });
                    self.hello(host);
                }
            }
            Happening::Ends { from, to, knows, serves } => {
                let node = self.hosts[from].node;
                for to in to {
                    let complete = self.hears(from, to);
                    let h = &mut self.hosts[to];
                    if complete {
                        h.knowledge.join(&knows);
                        if serves {
                            h.needed.clear();
                        }
                    }
                    if h.is_up {
                        h.with(now, |dialogue, own| dialogue.ended(now, node, complete, own));
                    }
                    self.drain(to);
                }
                if serves && self.hosts[from].is_up {
                    self.hosts[from].with(now, |dialogue, own| dialogue.served(now, false, own));
                    self.drain(from);
                }
            }
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Span) {
        let until = self.now + span;
        loop {
            let due = self.dues.first().map(|(at, _)| *at);
            let next = self.queue.keys().next().map(|(at, _)| *at);
            let next = [next, due].into_iter().flatten().min();
            let Some(next) = next.filter(|at| *at <= until) else { break };
            self.now = self.now.max(next);
            while let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= self.now) {
                let happening = entry.remove();
                self.happens(happening);
            }
            while let Some((at, host)) = self.dues.first().copied().filter(|due| due.0 <= self.now)
            {
                self.dues.pop_first();
                if self.hosts[host].due == Some(at) {
                    self.drain(host);
                }
            }
        }
        self.now = until;
    }

    /// Runs until all has been compared with all, and forgets what was counted.
    pub fn quiet(&mut self) {
        self.run(QUIET + Span::from_secs(40));
        assert!(self.hosts.iter().all(|host| !host.is_up || host.dialogue.settled()));
        (self.questions, self.packets, self.serves, self.served) = (0, 0, 0, 0);
    }

    pub fn all_know_the_same(&self) -> bool {
        let up: Vec<&Host> = self.hosts.iter().filter(|host| host.is_up).collect();
        up.iter().all(|host| host.knowledge == up[0].knowledge)
    }
}
