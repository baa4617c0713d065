//! A model of a fleet in which the machines and their records are real: files are numbers, staging and putting in place
//! are operations on a small disk. Random histories of transactions, deaths at every boundary (before and after each record,
//! packet and operation), power loss, lost and doubled packets, partitions, replaced disks, local edits and
//! rollbacks run against it; at the end nobody has committed what another one, not left out, has aborted.

mod check;
mod disk;
mod history;
mod jobs;
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::rules::Rules;
use super::{Action, Coordinator, Included, Message, Phase, Plan, Record, Target, Transaction};
use crate::engine::rng::Rng;
use crate::name::HostName;
use crate::stamp::Stamp;
use crate::time::{Span, Time};
use disk::{Disk, Ino};

/// The transactions of a history: two that put files in place, and one that takes the first back.
const A: usize = 0;
const B: usize = 1;
const BACK: usize = 2;
/// How long a sender waits for votes.
const PATIENCE: Span = Span::from_secs(30);

/// What the model does, and a mutant does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Duty {
    /// Whether an operation is done is seen by its slot.
    Slot,
    /// What is taken back is staged by a link.
    Link,
    /// What was staged is on disk before the vote.
    StageSync,
    /// What was put in place is on disk before it is recorded.
    ApplySync,
    /// Only one at a time is open on the same paths.
    Lock,
}

#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Switches {
    rules: Rules,
    off: u32,
}

impl Switches {
    fn has(self, duty: Duty) -> bool {
        self.off & 1 << duty as u32 == 0
    }
}

/// The host dies.
struct Dies;

#[derive(Clone, Debug)]
enum Job {
    Stage(usize),
    Apply(usize),
}

struct Host {
    name: Arc<HostName>,
    is_up: bool,
    is_dead: bool,
    is_wiped: bool,
    /// Hosts hear each other that are in the same.
    part: u64,
    /// After how many steps it dies, and whether with its power.
    fuse: Option<(u32, bool)>,
    records: Vec<Record>,
    disk: Disk,
    target: Target,
    coordinator: Coordinator,
    jobs: VecDeque<Job>,
    /// Transactions that it has committed, in their order, and aborted.
    committed: Vec<usize>,
    aborted: BTreeSet<usize>,
    /// Which of the files `p` and `r` somebody has written last, and after which was committed.
    edits: BTreeMap<usize, (Ino, usize)>,
    /// Somebody said that an outcome need not be kept.
    has_forgotten: bool,
}

/// A transaction that was begun.
struct Begun {
    id: Transaction,
    plan: Plan,
    decided: Option<Included>,
}

struct Packet {
    from: usize,
    to: usize,
    of: Transaction,
    message: Message,
}

pub(super) struct World {
    now: Time,
    tick: u64,
    hosts: Vec<Host>,
    begun: BTreeMap<usize, Begun>,
    net: VecDeque<Packet>,
    inodes: Ino,
    rng: Rng,
    switches: Switches,
    traces: bool,
    trace: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    /// One of the first two is begun by its sender, and may do without so many targets.
    Begin {
        which: usize,
        less: usize,
    },
    Back {
        by: usize,
    },
    /// A packet arrives; its host may die of it after some steps, or leave what is to be done for later.
    Packet {
        which: usize,
        dies: Option<(u32, bool)>,
        works: bool,
    },
    Double(usize),
    Lose(usize),
    LoseTo(usize),
    Partition(u64),
    /// A sender's time has come; later than it had waited for.
    Drive {
        host: usize,
        late: bool,
        dies: Option<(u32, bool)>,
    },
    /// A target's time has come.
    Ask {
        host: usize,
        dies: Option<(u32, bool)>,
    },
    Work {
        host: usize,
        dies: Option<(u32, bool)>,
    },
    GiveUp(usize),
    Dies(usize, bool),
    Up {
        host: usize,
        dies: Option<(u32, bool)>,
        works: bool,
    },
    /// One of the senders is gone for good.
    Gone(usize),
    Wipe(usize),
    Forget(usize),
    Edit {
        host: usize,
        r: bool,
    },
}

impl World {
    /// Two senders, and so many targets; the second sender may be one of those of the first's.
    pub(super) fn new(targets: usize, seed: u64, switches: Switches, traces: bool) -> Self {
        let mut world = World {
            now: Time::ZERO,
            tick: 0,
            hosts: Vec::new(),
            begun: BTreeMap::new(),
            net: VecDeque::new(),
            inodes: 10,
            rng: Rng::new(seed),
            switches,
            traces,
            trace: Vec::new(),
        };
        for at in 0..targets + 2 {
            let name = Arc::new(HostName::parse(format!("h{at}").as_bytes()).unwrap());
            let records = vec![Record::Born(Stamp::at(1))];
            let host = Host {
                is_up: true,
                is_dead: false,
                is_wiped: false,
                part: 0,
                fuse: None,
                disk: Disk::new(at),
                target: Target::with_rules(Arc::clone(&name), &records, switches.rules),
                coordinator: Coordinator::with_rules(
                    Time::ZERO,
                    Arc::clone(&name),
                    &records,
                    switches.rules,
                ),
                name,
                records,
                jobs: VecDeque::new(),
                committed: Vec::new(),
                aborted: BTreeSet::new(),
                edits: BTreeMap::new(),
                has_forgotten: false,
            };
            world.hosts.push(host);
        }
        world
    }

    fn say(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.traces {
            let line = format!("t{} {}", self.tick, line(self));
            self.trace.push(line);
        }
    }

    fn index(&self, of: &Transaction) -> usize {
        *self.begun.iter().find(|(_, begun)| begun.id == *of).unwrap().0
    }

    fn host(&self, name: &HostName) -> usize {
        self.hosts.iter().position(|host| *host.name == *name).unwrap()
    }

    /// A boundary: the host may die here.
    fn step(&mut self, at: usize) -> Result<(), Dies> {
        match &mut self.hosts[at].fuse {
            Some((0, _)) => Err(Dies),
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn act(&mut self, at: usize, actions: Vec<Action>) -> Result<(), Dies> {
        for action in actions {
            self.step(at)?;
            self.say(|world| match &action {
                Action::Send(to, of, message) => {
                    format!("  h{at} tells {to} of {}: {message:?}", world.index(of))
                }
                Action::Record(record) => format!("  h{at} keeps {record:?}"),
                Action::Stage(of) | Action::Apply(of) | Action::Drop(of) => {
                    let what = format!("{action:?}");
                    let word = what.split('(').next().unwrap_or("");
                    format!("  h{at}: {word} {}", world.index(of))
                }
            });
            match action {
                Action::Record(record) => self.keep(at, record),
                Action::Stage(of) => {
                    let job = Job::Stage(self.index(&of));
                    self.hosts[at].jobs.push_back(job);
                }
                Action::Apply(of) => {
                    let job = Job::Apply(self.index(&of));
                    self.hosts[at].jobs.push_back(job);
                }
                Action::Drop(of) => self.drop_staged(at, self.index(&of))?,
                Action::Send(to, of, message) => {
                    let to = self.host(&to);
                    self.net.push_back(Packet { from: at, to, of, message });
                }
            }
        }
        Ok(())
    }

    /// A record comes to the disk.
    fn keep(&mut self, at: usize, record: Record) {
        let of = record.transaction().map(|of| self.index(of));
        match (&record, of) {
            (Record::Commit(..), Some(of)) => self.hosts[at].committed.push(of),
            (Record::Abort(..), Some(of)) => {
                self.hosts[at].aborted.insert(of);
            }
            (Record::Decision(_, _, included), Some(of)) => {
                let begun = self.begun.get_mut(&of).unwrap();
                begun.decided.get_or_insert(included.clone());
            }
            _ => {}
        }
        let (kind, payload) = record.emit();
        assert_eq!(Record::parse(kind, &payload).as_ref(), Ok(&record));
        self.hosts[at].records.push(record);
    }

    /// Runs what a host does; it may die of it.
    fn with(
        &mut self,
        at: usize,
        dies: Option<(u32, bool)>,
        works: bool,
        what: impl FnOnce(&mut World) -> Vec<Action>,
    ) {
        self.hosts[at].fuse = dies;
        let actions = what(self);
        let mut done = self.act(at, actions);
        while let (true, Ok(()), Some(job)) = (works, &done, self.next_job(at, works)) {
            done = self.work(at, &job);
        }
        let power = self.hosts[at].fuse.take().is_some_and(|(_, power)| power);
        if done.is_err() {
            self.dies(at, power);
        }
    }

    fn next_job(&mut self, at: usize, works: bool) -> Option<Job> {
        works.then(|| self.hosts[at].jobs.pop_front()).flatten()
    }

    fn dies(&mut self, at: usize, power: bool) {
        self.say(|_| format!("h{at} dies{}", if power { " with its power" } else { "" }));
        let host = &mut self.hosts[at];
        host.is_up = false;
        host.fuse = None;
        host.jobs.clear();
        if power {
            host.disk.lose(&mut self.rng);
        }
    }

    /// The machines are made anew from the records, in full or in short.
    fn up(&mut self, at: usize, dies: Option<(u32, bool)>, works: bool) {
        self.say(|_| format!("h{at} is up"));
        let (rules, now) = (self.switches.rules, self.now);
        let host = &mut self.hosts[at];
        host.is_up = true;
        let name = || Arc::clone(&host.name);
        host.target = Target::with_rules(name(), &host.records, rules);
        host.coordinator = Coordinator::with_rules(now, name(), &host.records, rules);
        let mut short = host.target.log().records();
        short.extend(host.coordinator.decisions().records());
        let target = Target::with_rules(name(), &short, rules);
        let coordinator = Coordinator::with_rules(now, name(), &short, rules);
        assert_eq!(target.log(), host.target.log());
        assert_eq!(coordinator.decisions(), host.coordinator.decisions());
        host.records = short;
        self.sweep(at);
        self.with(at, dies, works, |world| world.hosts[at].target.restart(now));
    }

    fn hear(&mut self, packet: Packet, dies: Option<(u32, bool)>, works: bool) {
        let Packet { from, to, of, message } = packet;
        if !self.hosts[to].is_up || self.hosts[from].part != self.hosts[to].part {
            return;
        }
        self.say(|_| format!("  h{from} -> h{to} {}: {message:?}", of.host));
        self.with(to, dies, works, |world| {
            let (now, from) = (world.now, Arc::clone(&world.hosts[from].name));
            let host = &mut world.hosts[to];
            match of.host == host.name {
                true => host.coordinator.hear(now, &from, &of, message),
                false => host.target.hear(now, &from, &of, message),
            }
        });
    }

    fn begin(&mut self, at: usize, which: usize, less: usize) {
        if self.begun.contains_key(&which) || !self.hosts[at].is_up {
            return;
        }
        // The other sender can be a target of the second.
        let all = self.hosts.len();
        let from = if which == B && all % 2 == 0 { 0 } else { 2 };
        let targets = (from..all).filter(|other| *other != at && (*other != 1));
        let hosts: Vec<HostName> =
            targets.map(|other| HostName::clone(&self.hosts[other].name)).collect();
        let needed = hosts.len() - less.min(hosts.len() - 1);
        let plan = Plan::new(hosts, needed as u16).unwrap();
        let stamp = Stamp::at(1_000 + self.tick);
        let id = Transaction { stamp, host: Arc::clone(&self.hosts[at].name) };
        self.say(|_| format!("h{at} begins {which}, {plan:?}"));
        self.begun.insert(which, Begun { id: id.clone(), plan: plan.clone(), decided: None });
        self.with(at, None, true, |world| {
            let now = world.now;
            world.hosts[at].coordinator.begin(now, &id, plan, PATIENCE)
        });
    }

    pub(super) fn event(&mut self, event: &Event) {
        self.tick += 1;
        self.now += Span::from_millis(100);
        let all = self.hosts.len();
        let waiting = self.net.len();
        match *event {
            Event::Begin { which, less } => self.begin(which, which, less),
            Event::Back { by } if self.hosts.iter().any(|host| host.committed.contains(&A)) => {
                self.begin(by, BACK, 0);
            }
            Event::Packet { which, dies, works } if waiting > 0 => {
                let packet = self.net.remove(which % waiting).unwrap();
                self.hear(packet, dies, works);
            }
            Event::Double(which) if waiting > 0 => {
                let Packet { from, to, of, message } = &self.net[which % waiting];
                let (of, message) = (of.clone(), message.clone());
                let packet = Packet { from: *from, to: *to, of, message };
                self.hear(packet, None, true);
            }
            Event::Lose(which) if waiting > 0 => {
                self.net.remove(which % waiting);
            }
            Event::LoseTo(host) => self.net.retain(|packet| packet.to != host % all),
            Event::Partition(parts) => {
                for (at, host) in self.hosts.iter_mut().enumerate() {
                    host.part = parts >> at & 1;
                }
            }
            Event::Drive { host, late, dies } if self.hosts[host % 2].is_up => {
                let due = self.hosts[host % 2].coordinator.timeout().unwrap_or(self.now);
                let late = if late { PATIENCE } else { Span::ZERO };
                self.now = self.now.max(due) + late;
                self.with(host % 2, dies, true, |world| {
                    let now = world.now;
                    world.hosts[host % 2].coordinator.time(now)
                });
            }
            Event::Ask { host, dies } if self.hosts[host % all].is_up => {
                let due = self.hosts[host % all].target.timeout().unwrap_or(self.now);
                self.now = self.now.max(due);
                self.with(host % all, dies, true, |world| {
                    let now = world.now;
                    world.hosts[host % all].target.time(now)
                });
            }
            Event::Work { host, dies } if self.hosts[host % all].is_up => {
                self.with(host % all, dies, true, |_| Vec::new());
            }
            Event::GiveUp(host) if self.hosts[host % 2].is_up => {
                let ids: Vec<_> = self.begun.values().map(|begun| begun.id.clone()).collect();
                for id in ids {
                    self.with(host % 2, None, true, |world| {
                        let now = world.now;
                        world.hosts[host % 2].coordinator.give_up(now, &id)
                    });
                }
            }
            Event::Dies(host, power) if self.hosts[host % all].is_up => {
                self.dies(host % all, power)
            }
            Event::Up { host, dies, works } => {
                let host = host % all;
                if !self.hosts[host].is_up && !self.hosts[host].is_dead {
                    self.up(host, dies, works);
                }
            }
            Event::Gone(host) => {
                if self.hosts[host % 2].is_up {
                    self.dies(host % 2, false);
                }
                self.hosts[host % 2].is_dead = true;
            }
            Event::Wipe(host) => self.wipe(host % all),
            Event::Forget(host) if self.hosts[host % all].is_up => self.forget(host % all),
            Event::Edit { host, r } => self.edit(host % all, r),
            _ => {}
        }
    }

    fn wipe(&mut self, at: usize) {
        if self.hosts[at].is_up {
            self.dies(at, false);
        }
        self.say(|_| format!("h{at} has a new disk"));
        let born = Stamp::at(1_000 + self.tick);
        let host = &mut self.hosts[at];
        host.records = vec![Record::Born(born)];
        host.disk = Disk::default();
        host.is_wiped = true;
    }

    fn forget(&mut self, at: usize) {
        let ids: Vec<_> = self.begun.values().map(|begun| begun.id.clone()).collect();
        for id in ids {
            let ended = |phase: &Phase| phase.has_ended() && *phase != Phase::Over;
            if self.hosts[at].target.log().phase(&id).is_some_and(ended) {
                self.hosts[at].has_forgotten = true;
                self.say(|_| format!("h{at} forgets"));
                self.with(at, None, true, |world| world.hosts[at].target.forget(&id));
            }
        }
    }

    /// Nothing fails any more, and time passes.
    fn quiet(&mut self) {
        self.say(|_| "-- quiet".to_owned());
        for at in 0..self.hosts.len() {
            self.hosts[at].part = 0;
            if !self.hosts[at].is_up && !self.hosts[at].is_dead {
                self.up(at, None, true);
            }
        }
        for _ in 0..8 {
            self.now += Span::from_secs(61);
            for at in
                (0..self.hosts.len()).filter(|at| !self.hosts[*at].is_dead).collect::<Vec<_>>()
            {
                self.with(at, None, true, |world| {
                    let (now, host) = (world.now, &mut world.hosts[at]);
                    let mut actions = host.coordinator.time(now);
                    actions.extend(host.target.time(now));
                    actions
                });
            }
            while let Some(packet) = self.net.pop_front() {
                self.tick += 1;
                self.hear(packet, None, true);
            }
        }
    }
}
