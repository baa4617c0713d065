//! Fleets whose hosts talk of their records over a simulated network: seeded loss and delay, a virtual clock. A
//! transfer is only that after a while all who are still there have what it was about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::dialogue::{Config, Dialogue};
use super::journal::Journal;
use super::pulls::Pulled;
use super::types::{Lists, MAX_RECORDS, State, To};
use super::{Audience, Deed, Hash, Names, Record, RecordId};
use crate::engine::rng::Rng;
use crate::errno::ENOSPC;
use crate::name::{HostName, NodeId, RelPath};
use crate::stamp::Stamp;
use crate::time::{Span, Time};
use crate::wire::begin::Recorded;
use crate::wire::behind::{Behind, Why};
use crate::wire::outcome::Reason;
use crate::wire::records::Records;

const ROOM: usize = 1_424;
/// How long a transfer takes.
const TRANSFER: Span = Span::from_millis(20);
/// How often each host says HELLO.
const HELLO: u64 = 15_000_000;

/// Every record names its own path.
struct OwnPath;

impl Lists for OwnPath {
    fn names(&mut self, _: &RecordId, _: Hash) -> Option<bool> {
        None
    }

    fn names_all_of(&mut self, _: &RecordId, _: &RecordId) -> Option<bool> {
        None
    }
}

struct Host {
    name: Arc<HostName>,
    node: NodeId,
    is_up: bool,
    journal: Journal,
    dialogue: Dialogue,
    /// When it is to do something.
    due: Option<Time>,
    /// Its next pulls end like this.
    ends: Pulled,
}

enum Happening {
    Packet {
        to: usize,
        from: usize,
        records: Vec<u8>,
    },
    /// One HELLO comes to all, or the first of a host is answered.
    Hello {
        from: usize,
        to: Option<usize>,
    },
    /// This one is to say HELLO, if it is still the same.
    SaysHello {
        host: usize,
        node: NodeId,
    },
    Transferred {
        id: RecordId,
        from: usize,
        to: BTreeSet<usize>,
    },
}

pub(super) struct Fleet {
    pub now: Time,
    rng: Rng,
    /// Lost, of 100.
    loss: u64,
    hosts: Vec<Host>,
    queue: BTreeMap<(Time, u64), Happening>,
    /// Who is to do something, and when; some of these are out of date.
    dues: BTreeSet<(Time, usize)>,
    count: u64,
    stamp: u64,
    /// Packets of records that were sent, by whether to all.
    pub to_group: u64,
    pub to_one: u64,
    /// Transfers, and their targets.
    pub transfers: u64,
    pub served: u64,
}

fn config(seed: u64) -> Config {
    Config { room: ROOM, seed, born: Stamp::ZERO, takes_all: false, takes: true, gives: true }
}

fn host_name(host: usize) -> Arc<HostName> {
    Arc::new(HostName::parse(format!("h{host}").as_bytes()).unwrap())
}

impl Fleet {
    pub fn new(hosts: usize, loss: u64, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let now = Time::ZERO + Span::from_secs(100);
        let hosts = (0..hosts)
            .map(|host| {
                let name = host_name(host);
                let journal = Journal::new(Arc::clone(&name), MAX_RECORDS);
                let node = NodeId(rng.next_u64() | 1);
                let dialogue = Dialogue::new(now, config(rng.next_u64()), &journal);
                let (is_up, ends) = (false, Pulled::Complete);
                Host { name, node, is_up, journal, dialogue, due: None, ends }
            })
            .collect();
        Fleet {
            now,
            rng,
            loss,
            hosts,
            queue: BTreeMap::new(),
            dues: BTreeSet::new(),
            count: 0,
            stamp: 1_000,
            to_group: 0,
            to_one: 0,
            transfers: 0,
            served: 0,
        }
    }

    /// A fleet whose hosts all start at once.
    pub fn started(hosts: usize, loss: u64, seed: u64) -> Self {
        let mut fleet = Fleet::new(hosts, loss, seed);
        (0..hosts).for_each(|host| fleet.start(host));
        fleet
    }

    pub fn start(&mut self, host: usize) {
        let (node, seed) = (NodeId(self.rng.next_u64() | 1), self.rng.next_u64());
        let first = self.now + Span::from_micros(self.rng.below(HELLO));
        let h = &mut self.hosts[host];
        (h.is_up, h.node) = (true, node);
        h.dialogue = Dialogue::new(self.now, config(seed), &h.journal);
        self.set_due(host, Some(self.now));
        self.at(first, Happening::SaysHello { host, node });
        self.hello(host, None);
        // All others answer its first HELLO.
        for other in 0..self.hosts.len() {
            if other != host && self.hosts[other].is_up {
                self.hello(other, Some(host));
            }
        }
    }

    pub fn stop(&mut self, host: usize) {
        self.hosts[host].is_up = false;
        let node = self.hosts[host].node;
        for other in 0..self.hosts.len() {
            if self.hosts[other].is_up {
                self.hosts[other].dialogue.gone(self.now, node);
                self.set_due(other, Some(self.now));
            }
        }
    }

    pub fn disk_is_full(&mut self, host: usize, full: bool) {
        self.hosts[host].ends =
            if full { Pulled::Failed(Why::Failed(Reason::Os(ENOSPC))) } else { Pulled::Complete };
    }

    /// What a host says that it lacks.
    pub fn behind(&self, host: usize) -> Behind {
        let h = &self.hosts[host];
        h.dialogue.behind(&h.journal)
    }

    pub fn gives_nothing(&mut self, host: usize) {
        self.hosts[host].ends = Pulled::Declined;
    }

    /// A host sends a path to all that are up, except for some that miss it.
    pub fn send(&mut self, host: usize, path: &str, missing: &[usize]) -> RecordId {
        self.stamp += 1;
        let id =
            RecordId { stamp: Stamp::at(self.stamp), host: Arc::clone(&self.hosts[host].name) };
        let path = RelPath::parse_or_base(path.as_bytes()).unwrap();
        let mut names = Names::default();
        names.add(Hash::of_path(&path));
        let record = Record {
            id: id.clone(),
            path,
            deed: Deed::default(),
            audience: Audience::All,
            patterns: None,
            names: Names::default(),
        };
        for at in 0..self.hosts.len() {
            let h = &mut self.hosts[at];
            if h.is_up && !missing.contains(&at) {
                h.journal.began(record.clone());
                let end = Recorded { names, deletes: false, folds: None };
                h.journal.ended(&id, end, true, &mut OwnPath);
                self.set_due(at, Some(self.now));
            }
        }
        id
    }

    fn at(&mut self, at: Time, happening: Happening) {
        self.count += 1;
        self.queue.insert((at, self.count), happening);
    }

    fn set_due(&mut self, host: usize, due: Option<Time>) {
        self.hosts[host].due = due;
        self.dues.extend(due.map(|due| (due, host)));
    }

    fn delay(&mut self) -> Time {
        self.now + Span::from_micros(100 + self.rng.below(400))
    }

    fn hello(&mut self, from: usize, to: Option<usize>) {
        let at = self.delay();
        self.at(at, Happening::Hello { from, to });
    }

    fn hears_hello(&mut self, from: usize, to: usize) {
        let now = self.now;
        let (node, name) = (self.hosts[from].node, Arc::clone(&self.hosts[from].name));
        let summary = self.hosts[from].journal.summary();
        let h = &mut self.hosts[to];
        if !h.is_up || from == to || self.rng.below(100) < self.loss {
            return;
        }
        h.dialogue.hello(now, node, &name, Some(summary), &h.journal);
        // Of the same records, nothing is to be done: with a thousand hosts, that is said often.
        let is_same = h.journal.summary() == summary
            && !h.journal.iter().any(|(_, state, _)| state != State::Complete);
        if h.due.is_some() || !is_same {
            self.drain(to);
        }
    }

    fn drain(&mut self, host: usize) {
        let now = self.now;
        let h = &mut self.hosts[host];
        if !h.is_up {
            return;
        }
        h.dialogue.timeout(now, &mut h.journal, &mut OwnPath);
        let mut out = Vec::new();
        while let Some((to, records)) = h.dialogue.poll_transmit(now) {
            let records = records.emit();
            assert!(records.len() <= ROOM);
            out.push((to, records));
        }
        let mut serves = Vec::new();
        while let Some(serve) = h.dialogue.poll_serve() {
            serves.push(serve);
        }
        let has_news = h.dialogue.take_news();
        let due = h.dialogue.poll_timeout(now, &h.journal);
        self.set_due(host, due.map(|at| at.max(now + Span::from_micros(1))));
        for (to, records) in out {
            let to: Vec<usize> = match to {
                To::Group => {
                    self.to_group += 1;
                    (0..self.hosts.len()).filter(|at| *at != host).collect()
                }
                To::Node(node) => {
                    self.to_one += 1;
                    self.hosts.iter().position(|h| h.node == node).into_iter().collect()
                }
            };
            for to in to {
                if self.hosts[to].is_up && self.rng.below(100) >= self.loss {
                    let at = self.delay();
                    let records = records.clone();
                    self.at(at, Happening::Packet { to, from: host, records });
                }
            }
        }
        for serve in serves {
            self.transfers += 1;
            self.served += serve.nodes.len() as u64;
            let to: BTreeSet<usize> = serve
                .nodes
                .iter()
                .filter_map(|node| self.hosts.iter().position(|h| h.node == *node && h.is_up))
                .collect();
            let node = self.hosts[host].node;
            for &to in &to {
                let h = &mut self.hosts[to];
                assert!(h.journal.is_wanted(&serve.id), "h{to} does not want {}", serve.id);
                h.journal.pulls(&serve.id);
                h.dialogue.begun(&serve.id, node);
                self.set_due(to, Some(self.now));
            }
            let at = self.now + TRANSFER;
            self.at(at, Happening::Transferred { id: serve.id, from: host, to });
        }
        if has_news {
            self.hello(host, None);
        }
    }

    /// Lets time pass until nothing more happens, but HELLOs, or this time is over.
    pub fn run(&mut self, span: Span) {
        let until = self.now + span;
        loop {
            let due = self.dues.first().map(|(at, _)| *at);
            let next = self.queue.keys().next().map(|(at, _)| *at);
            let next = [next, due].into_iter().flatten().min();
            let Some(next) = next.filter(|at| *at <= until) else { break };
            self.now = self.now.max(next);
            while let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= self.now) {
                match entry.remove() {
                    Happening::Packet { to, from, records } => {
                        let (now, node) = (self.now, self.hosts[from].node);
                        let h = &mut self.hosts[to];
                        if h.is_up {
                            let records = Records::parse(&records).unwrap();
                            let me = (h.node, Stamp::at(self.stamp).millis());
                            h.dialogue.packet(now, me, node, records, &mut h.journal, &mut OwnPath);
                        }
                        self.drain(to);
                    }
                    Happening::Hello { from, .. } if !self.hosts[from].is_up => {}
                    Happening::Hello { from, to: Some(to) } => self.hears_hello(from, to),
                    Happening::Hello { from, to: None } => {
                        (0..self.hosts.len()).for_each(|to| self.hears_hello(from, to));
                    }
                    Happening::SaysHello { host, node } => {
                        let h = &self.hosts[host];
                        if h.is_up && h.node == node {
                            let wait = HELLO * 2 / 3 + self.rng.below(HELLO * 2 / 3);
                            let again = self.now + Span::from_micros(wait);
                            self.at(again, Happening::SaysHello { host, node });
                            self.hello(host, None);
                        }
                    }
                    Happening::Transferred { id, from, to } => {
                        let now = self.now;
                        let declines = self.hosts[from].ends == Pulled::Declined;
                        for to in to {
                            let h = &mut self.hosts[to];
                            if h.is_up {
                                let ends = if declines { Pulled::Declined } else { h.ends };
                                h.dialogue.pulled(now, &id, ends, &mut h.journal, &mut OwnPath);
                            }
                            self.drain(to);
                        }
                        self.hosts[from].dialogue.served(&id);
                        self.drain(from);
                    }
                }
            }
            while let Some((at, host)) =
                self.dues.first().copied().filter(|(at, _)| *at <= self.now)
            {
                self.dues.pop_first();
                if self.hosts[host].due == Some(at) && self.hosts[host].is_up {
                    self.drain(host);
                }
            }
        }
        self.now = until;
    }

    pub fn has(&self, host: usize, id: &RecordId) -> Option<State> {
        self.hosts[host].journal.get(id).map(|(_, state, _)| state)
    }

    pub fn all_have(&self, id: &RecordId) -> bool {
        (0..self.hosts.len())
            .all(|h| !self.hosts[h].is_up || self.has(h, id) == Some(State::Complete))
    }

    pub fn all_agree(&self) -> bool {
        let up: Vec<&Host> = self.hosts.iter().filter(|h| h.is_up).collect();
        up.iter().all(|h| h.journal.summary() == up[0].journal.summary())
    }

    pub fn packets(&self) -> u64 {
        self.to_group + self.to_one
    }
}
