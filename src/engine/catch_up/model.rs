//! A model of a fleet in which only records are real: files are numbers, a transfer takes one file after
//! another, packets are not there. Random histories of sends, edits, deaths, returns, partitions, full disks and
//! lost journals run against it; at the end all who are alive must have what they were owed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::journal::Journal;
use super::types::{Learned, Lists, Rules, State};
use super::{Audience, Deed, Hash, Names, Record, RecordId};
use crate::engine::rng::Rng;
use crate::name::{HostName, RelPath};
use crate::stamp::Stamp;
use crate::wire::begin::Recorded;

pub(super) const FILES: [&str; 3] = ["a/1", "a/2", "b/1"];
pub(super) const PATHS: [&str; 6] = ["", "a", "b", "a/1", "a/2", "b/1"];

/// The rules that a test can switch off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Switches {
    pub journal: Rules,
    /// A donor gives only what the list names.
    pub list: bool,
    /// A donor gives only what is still as the list says.
    pub same: bool,
    /// What a donor could not give is asked of the next one.
    pub note: bool,
    /// A file that was edited after the record stays.
    pub local: bool,
    /// Of two transfers at the same time, the later one's files stay.
    pub guard_all: bool,
}

impl Switches {
    pub const ALL: Switches = Switches {
        journal: Rules::ALL,
        list: true,
        same: true,
        note: true,
        local: true,
        guard_all: true,
    };
}

type File = usize;
type Value = u32;

/// The lists of one host, as hashes.
#[derive(Default, Clone)]
struct MemLists(BTreeMap<RecordId, BTreeSet<Hash>>);

impl Lists for MemLists {
    fn names(&mut self, id: &RecordId, path: Hash) -> Option<bool> {
        self.0.get(id).map(|list| list.contains(&path))
    }

    fn names_all_of(&mut self, later: &RecordId, earlier: &RecordId) -> Option<bool> {
        Some(self.0.get(later)?.is_superset(self.0.get(earlier)?))
    }
}

struct Host {
    name: Arc<HostName>,
    index: usize,
    skew: i64,
    is_up: bool,
    is_dead: bool,
    part: u64,
    is_full: bool,
    height: u64,
    life: u32,
    /// What is on its disk: what it is, and when it was written.
    tree: BTreeMap<File, (Value, i64)>,
    /// Under which record it came; none if it was edited here.
    released: BTreeMap<File, Option<RecordId>>,
    dirty: BTreeMap<File, i64>,
    journal: Journal,
    lists: MemLists,
    tried: BTreeMap<RecordId, BTreeSet<usize>>,
}

/// A transfer that was sent, as it really was.
#[derive(Clone, Debug)]
struct Sent {
    record: Record,
    by: usize,
    at: i64,
    files: BTreeMap<File, Value>,
    has_ended: bool,
}

struct Running {
    id: RecordId,
    source: usize,
    life: u32,
    targets: BTreeMap<usize, u32>,
    todo: Vec<File>,
    pulls: bool,
    declined: BTreeSet<File>,
}

pub(super) struct World {
    now: i64,
    hosts: Vec<Host>,
    sent: BTreeMap<RecordId, Sent>,
    running: Vec<Running>,
    values: Value,
    written: BTreeMap<Value, i64>,
    switches: Switches,
    log: Vec<String>,
}

/// What was wrong, and what happened until then.
#[derive(Debug)]
pub(super) struct Wrong {
    pub what: String,
    pub log: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    Edit { host: usize, file: File, removes: bool },
    Send { host: usize, path: usize, deletes: bool, to: Option<Vec<usize>> },
    Step { which: usize, times: usize },
    Crash(usize),
    Up(usize),
    Die(usize),
    Partition(u64),
    Full(usize),
    LoseJournal(usize),
    Wipe(usize),
    Hear(usize, usize),
    Pull(usize, usize),
}

fn path(index: usize) -> RelPath {
    RelPath::parse_or_base(PATHS[index].as_bytes()).unwrap()
}

fn file(index: File) -> RelPath {
    RelPath::parse(FILES[index].as_bytes()).unwrap()
}

fn hash(index: File) -> Hash {
    Hash::of_path(&file(index))
}

impl Host {
    fn new(index: usize, skew: i64, rules: Rules) -> Self {
        let name = Arc::new(HostName::parse(format!("h{index}").as_bytes()).unwrap());
        Host {
            journal: Journal::with_rules(Arc::clone(&name), rules),
            name,
            index,
            skew,
            is_up: true,
            is_dead: false,
            part: 0,
            is_full: false,
            height: 0,
            life: 0,
            tree: BTreeMap::new(),
            released: BTreeMap::new(),
            dirty: BTreeMap::new(),
            lists: MemLists::default(),
            tried: BTreeMap::new(),
        }
    }

    fn lose_journal(&mut self, rules: Rules) {
        self.journal = Journal::with_rules(Arc::clone(&self.name), rules);
        self.lists = MemLists::default();
        self.tried.clear();
        self.height = 0;
    }

    fn go_down(&mut self) {
        self.is_up = false;
        self.life += 1;
    }
}

impl World {
    pub(super) fn new(skews: &[i64], switches: Switches) -> Self {
        let hosts = skews
            .iter()
            .enumerate()
            .map(|(index, skew)| Host::new(index, *skew, switches.journal))
            .collect();
        World {
            now: 0,
            hosts,
            sent: BTreeMap::new(),
            running: Vec::new(),
            values: 0,
            written: BTreeMap::new(),
            switches,
            log: Vec::new(),
        }
    }

    fn wall(&self, host: usize) -> i64 {
        // Stamps are not negative.
        self.now + self.hosts[host].skew + 1_000
    }

    fn reach(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.hosts[a], &self.hosts[b]);
        a.is_up && b.is_up && a.part == b.part
    }

    fn say(&mut self, line: String) {
        self.log.push(format!("t{} {line}", self.now));
    }

    fn wrong<T>(&mut self, what: String) -> Result<T, Wrong> {
        Err(Wrong { what, log: std::mem::take(&mut self.log) })
    }

    /// What a host writes of one file; false if its disk is full.
    fn put(
        &mut self,
        host: usize,
        id: &RecordId,
        f: File,
        value: Value,
        pulls: bool,
    ) -> Result<bool, Wrong> {
        let now = self.wall(host);
        let is_local = pulls && self.is_local(host, id, f);
        let h = &mut self.hosts[host];
        let has = h.tree.get(&f).map(|(value, _)| *value);
        if is_local && has != Some(value) {
            return Ok(true);
        }
        let guards = pulls || self.switches.guard_all;
        if guards && h.journal.guards(id, &file(f), &mut h.lists) {
            return Ok(true);
        }
        if !h.is_full || has == Some(value) {
            h.lists.0.entry(id.clone()).or_default().insert(hash(f));
        }
        let released = h.released.get(&f).cloned().flatten();
        if has == Some(value) {
            if released.is_none_or(|before| before < *id) {
                h.released.insert(f, Some(id.clone()));
            }
            return Ok(true);
        }
        if h.is_full {
            return Ok(false);
        }
        h.tree.insert(f, (value, now));
        let was_removed_here =
            has.is_none() && h.released.insert(f, Some(id.clone())) == Some(None);
        if pulls && was_removed_here && self.sent[id].by == host {
            return self.wrong(format!("BACK: h{host} had sent and removed {f}, took {id}"));
        }
        if pulls && released.as_ref().is_some_and(|before| before > id) {
            return self.wrong(format!("OLDER: h{host} {f} had {released:?} took {id}"));
        }
        if pulls && !self.sent.values().any(|sent| sent.files.get(&f) == Some(&value)) {
            return self.wrong(format!("UNRELEASED: h{host} {f} took {value} under {id}"));
        }
        Ok(true)
    }

    fn remove(&mut self, host: usize, id: &RecordId, f: File, pulls: bool) -> Result<(), Wrong> {
        let is_local = pulls && self.is_local(host, id, f);
        let guards = pulls || self.switches.guard_all;
        let h = &mut self.hosts[host];
        if !h.tree.contains_key(&f)
            || is_local
            || (guards && h.journal.guards(id, &file(f), &mut h.lists))
        {
            return Ok(());
        }
        h.lists.0.entry(id.clone()).or_default().insert(hash(f));
        h.tree.remove(&f);
        let released = h.released.insert(f, Some(id.clone())).flatten();
        if self.sent[id].files.contains_key(&f) {
            return self.wrong(format!("DELETED: h{host} {f} under {id}, which had it"));
        }
        if pulls && released.as_ref().is_some_and(|before| before > id) {
            return self.wrong(format!("DELETED: h{host} {f} newer {released:?} under {id}"));
        }
        Ok(())
    }

    /// Whether a file was edited on its host after the record.
    fn is_local(&self, host: usize, id: &RecordId, f: File) -> bool {
        let stamp = id.stamp.millis() as i64;
        self.switches.local
            && self.hosts[host].tree.get(&f).is_some_and(|(value, changed)| {
                *changed > stamp && self.written.get(value).is_some_and(|at| *at > stamp)
            })
    }

    fn begin(&mut self, host: usize, at: usize, deletes: bool, to: Option<&[usize]>) {
        let wall = u64::try_from(self.wall(host)).unwrap();
        let h = &mut self.hosts[host];
        h.height = wall.max(h.height + 1);
        let id = RecordId { stamp: Stamp::at(h.height), host: Arc::clone(&h.name) };
        let name = |&host: &usize| self.hosts[host].name.as_ref().clone();
        let audience =
            to.map_or(Audience::All, |to| Audience::named(to.iter().map(name).collect()));
        let deed = Deed { recursive: true, deletes, gone: false, forced: false };
        let names = Names::default();
        let record =
            Record { id: id.clone(), path: path(at), deed, audience, patterns: None, names };
        let targets: Vec<usize> = (0..self.hosts.len())
            .filter(|&p| p != host && self.reach(host, p) && record.is_for(&self.hosts[p].name))
            .collect();
        // Of two transfers over the same path, one that deletes waits for the other.
        let overlaps = |running: &Running| {
            let other = &self.sent[&running.id].record;
            (deletes || other.deed.deletes)
                && (other.path.is_under(&record.path) || record.path.is_under(&other.path))
        };
        if self.running.iter().any(overlaps) {
            return;
        }
        self.say(format!("h{host} sends {id} of {:?} deletes {deletes} to {to:?}", PATHS[at]));
        for &p in targets.iter().chain([&host]) {
            let h = &mut self.hosts[p];
            h.height = h.height.max(id.stamp.millis());
            h.journal.began(record.clone());
        }
        let todo = (0..FILES.len()).rev().filter(|&f| file(f).is_under(&record.path)).collect();
        let lives = targets.iter().map(|&p| (p, self.hosts[p].life)).collect();
        let sent =
            Sent { record, by: host, at: self.now, files: BTreeMap::new(), has_ended: false };
        self.sent.insert(id.clone(), sent);
        self.running.push(Running {
            id,
            source: host,
            life: self.hosts[host].life,
            targets: lives,
            todo,
            pulls: false,
            declined: BTreeSet::new(),
        });
    }

    /// One step of a running transfer.
    fn step(&mut self, which: usize) -> Result<(), Wrong> {
        let mut running = self.running.remove(which);
        let source = running.source;
        let lives: Vec<usize> = running
            .targets
            .iter()
            .filter(|&(&p, &life)| self.hosts[p].life == life && self.reach(source, p))
            .map(|(&p, _)| p)
            .collect();
        running.targets.retain(|p, _| lives.contains(p));
        let h = &self.hosts[source];
        if h.life != running.life || !h.is_up || (running.pulls && running.targets.is_empty()) {
            return Ok(());
        }
        match running.todo.pop() {
            Some(f) => {
                self.transfer(&mut running, f)?;
                self.running.insert(which, running);
                Ok(())
            }
            None => {
                self.end(&running);
                Ok(())
            }
        }
    }

    fn transfer(&mut self, running: &mut Running, f: File) -> Result<(), Wrong> {
        let (id, source, pulls) = (running.id.clone(), running.source, running.pulls);
        let mut has = self.hosts[source].tree.get(&f).map(|(value, _)| *value);
        let deletes = self.sent[&id].record.deed.deletes;
        if pulls {
            let named = self.sent[&id].files.get(&f).copied();
            let fits = match (named, has) {
                (Some(named), Some(has)) => has == named || !self.switches.same,
                (Some(_), None) => false,
                (None, _) => true,
            };
            if named.is_none() && self.switches.list {
                has = None;
            }
            if !fits {
                running.declined.insert(f);
                self.say(format!("h{source} declines {} of {id}", FILES[f]));
                return Ok(());
            }
        } else if let Some(value) = has {
            self.sent.get_mut(&id).unwrap().files.insert(f, value);
        }
        for target in running.targets.keys().copied().collect::<Vec<_>>() {
            match has {
                Some(value) => {
                    if !self.put(target, &id, f, value, pulls)? {
                        running.targets.remove(&target);
                        self.say(format!("h{target} is full"));
                    } else {
                        self.say(format!(
                            "h{target} takes {}={value} of {id} from h{source}",
                            FILES[f]
                        ));
                    }
                }
                None if deletes => self.remove(target, &id, f, pulls)?,
                None => {}
            }
        }
        Ok(())
    }

    fn end(&mut self, running: &Running) {
        let (id, source) = (&running.id, running.source);
        let sent = self.sent.get_mut(id).unwrap();
        let list: BTreeSet<Hash> = sent.files.keys().map(|&f| hash(f)).collect();
        let mut names = Names::default();
        list.iter().for_each(|&path| names.add(path));
        let end = Recorded { names, deletes: sent.record.deed.deletes };
        if !running.pulls {
            sent.has_ended = true;
            sent.record.names = names;
            let files = sent.files.clone();
            let h = &mut self.hosts[source];
            for (f, value) in files {
                if h.tree.get(&f).is_some_and(|(has, _)| *has == value) {
                    h.released.insert(f, Some(id.clone()));
                }
            }
            h.lists.0.insert(id.clone(), list.clone());
            h.journal.ended(id, end, true, &mut h.lists);
        }
        let sent = self.sent[id].clone();
        for &p in running.targets.keys() {
            let h = &mut self.hosts[p];
            if h.journal.get(id).is_none() {
                continue;
            }
            let lacks = running.declined.iter().any(|f| {
                h.tree.get(f).map(|(value, _)| value) != sent.files.get(f)
                    && !h.journal.is_superseded(id, &file(*f), &mut h.lists)
            });
            if running.pulls && lacks && self.switches.note {
                h.tried.entry(id.clone()).or_default().insert(source);
                self.say(format!("h{p} is not satisfied with {id} of h{source}"));
                continue;
            }
            h.lists.0.insert(id.clone(), list.clone());
            if running.pulls {
                h.journal.advance(id, State::Complete, &mut h.lists);
            } else {
                h.journal.ended(id, end, true, &mut h.lists);
            }
            h.tried.remove(id);
            self.say(format!("h{p} has {id}"));
        }
    }

    /// A host hears another one.
    fn hear(&mut self, host: usize, from: usize) -> bool {
        if host == from || !self.reach(host, from) {
            return false;
        }
        let height = self.hosts[host].height.max(self.hosts[from].height);
        self.hosts[host].height = height;
        self.hosts[from].height = height;
        if self.hosts[host].journal.agrees_with(&self.hosts[from].journal.summary()) {
            return false;
        }
        let records: Vec<Record> = self.hosts[from]
            .journal
            .iter()
            .filter(|(record, _, has_ended)| {
                *has_ended || (!self.switches.journal.ended && self.sent[&record.id].has_ended)
            })
            .map(|(record, ..)| record.clone())
            .collect();
        let mut news = false;
        for record in records {
            let id = record.id.clone();
            let h = &mut self.hosts[host];
            let learned = h.journal.learn(record, true, &mut h.lists);
            if let Learned::New(state) = learned {
                news = true;
                self.say(format!("h{host} learns {id} of h{from}: {state:?}"));
            }
        }
        news
    }

    fn donor(&self, host: usize, id: &RecordId) -> Option<usize> {
        let tried = self.hosts[host].tried.get(id);
        let gives = |p: &usize| {
            *p != host
                && self.reach(host, *p)
                && self.hosts[*p].journal.can_give(id)
                && !tried.is_some_and(|tried| tried.contains(p))
        };
        let rank = |p: &usize| {
            let name = &self.hosts[*p].name;
            (
                **name == *id.host,
                Hash::of(&[name.as_str().as_bytes(), &id.key().to_be_bytes()].concat()),
            )
        };
        (0..self.hosts.len()).filter(gives).min_by_key(rank)
    }

    fn pull(&mut self, host: usize, n: usize) -> bool {
        if !self.hosts[host].is_up {
            return false;
        }
        let is_pulling = |id: &RecordId| {
            self.running.iter().any(|r| r.id == *id && r.targets.contains_key(&host))
        };
        let journal = &self.hosts[host].journal;
        let noted = journal.iter().rev().filter(|(record, state, _)| {
            *state == State::Noted
                && record.is_for(&self.hosts[host].name)
                && self.donor(host, &record.id).is_some()
        });
        let wanted: Vec<RecordId> = journal
            .wanted()
            .cloned()
            .chain(noted.map(|(record, ..)| record.id.clone()))
            .filter(|id| !is_pulling(id))
            .filter(|id| self.donor(host, id).is_some() || self.hosts[host].tried.contains_key(id))
            .collect();
        if wanted.is_empty() {
            return false;
        }
        let id = wanted[n / 2 % wanted.len()].clone();
        let Some(donor) = self.donor(host, &id) else {
            // All who have it were asked.
            let h = &mut self.hosts[host];
            h.journal.advance(&id, State::Noted, &mut h.lists);
            self.say(format!("h{host} notes {id}"));
            return true;
        };
        if self.running.iter().any(|r| r.pulls && r.source == donor) {
            return false;
        }
        let asks: Vec<usize> = (0..self.hosts.len())
            .filter(|&p| {
                self.hosts[p].is_up
                    && (p == host || self.hosts[p].journal.wanted().any(|wanted| *wanted == id))
                    && self.donor(p, &id) == Some(donor)
                    && !self.running.iter().any(|r| r.id == id && r.targets.contains_key(&p))
            })
            .collect();
        let record = &self.sent[&id].record;
        let todo = (0..FILES.len()).rev().filter(|&f| file(f).is_under(&record.path)).collect();
        for &p in &asks {
            self.hosts[p].journal.pulls(&id);
        }
        self.say(format!("{asks:?} pull {id} from h{donor}"));
        self.running.push(Running {
            id,
            source: donor,
            life: self.hosts[donor].life,
            targets: asks.into_iter().map(|p| (p, self.hosts[p].life)).collect(),
            todo,
            pulls: true,
            declined: BTreeSet::new(),
        });
        true
    }

    pub(super) fn event(&mut self, event: &Event) -> Result<(), Wrong> {
        self.now += 1;
        let rules = self.switches.journal;
        let all = self.hosts.len();
        match *event {
            Event::Edit { host, file: f, removes } if self.hosts[host % all].is_up => {
                let host = host % all;
                let now = self.wall(host);
                let h = &mut self.hosts[host];
                if removes {
                    if h.tree.remove(&f).is_none() {
                        return Ok(());
                    }
                } else {
                    self.values += 1;
                    self.written.insert(self.values, now);
                    h.tree.insert(f, (self.values, now));
                }
                h.released.insert(f, None);
                h.dirty.insert(f, self.now);
                let what = if removes { 0 } else { self.values };
                self.say(format!("h{host} writes {}={what}", FILES[f]));
            }
            Event::Send { host, path: at, deletes, ref to } if self.hosts[host % all].is_up => {
                let host = host % all;
                let mut to = to.clone();
                if let Some(to) = &mut to {
                    to.iter_mut().for_each(|p| *p %= all);
                    to.retain(|&p| p != host);
                }
                let is_there = FILES
                    .iter()
                    .position(|f| *f == PATHS[at])
                    .is_none_or(|f| deletes || self.hosts[host].tree.contains_key(&f));
                if to.as_ref().is_none_or(|to| !to.is_empty()) && is_there {
                    self.begin(host, at, deletes, to.as_deref());
                }
            }
            Event::Step { which, times } => {
                for _ in 0..times {
                    if !self.running.is_empty() {
                        let which = which % self.running.len();
                        self.step(which)?;
                        self.now += 1;
                    }
                }
            }
            Event::Crash(host) if self.hosts[host % all].is_up => {
                self.hosts[host % all].go_down();
                self.say(format!("h{} goes down", host % all));
            }
            Event::Up(host) if !self.hosts[host % all].is_up && !self.hosts[host % all].is_dead => {
                let h = &mut self.hosts[host % all];
                (h.is_up, h.part) = (true, 0);
                self.say(format!("h{} is back", host % all));
            }
            Event::Die(host) if self.hosts.iter().all(|h| !h.is_dead) => {
                let h = &mut self.hosts[host % all];
                h.go_down();
                h.is_dead = true;
                self.say(format!("h{} dies", host % all));
            }
            Event::Partition(parts) => {
                for h in &mut self.hosts {
                    h.part = parts >> h.index & 1;
                }
                self.say(format!("partition {parts:b}"));
            }
            Event::Full(host) => {
                let h = &mut self.hosts[host % all];
                h.is_full = !h.is_full;
            }
            Event::LoseJournal(host) if self.hosts[host % all].is_up => {
                let h = &mut self.hosts[host % all];
                h.go_down();
                h.lose_journal(rules);
                self.say(format!("h{} loses its journal", host % all));
            }
            Event::Wipe(host) => {
                let h = &mut self.hosts[host % all];
                h.go_down();
                h.lose_journal(rules);
                h.tree.clear();
                h.released.clear();
                h.dirty.clear();
                self.say(format!("h{} gets a new disk", host % all));
            }
            Event::Hear(host, from) => {
                self.hear(host % all, from % all);
            }
            Event::Pull(host, n) => {
                self.pull(host % all, n);
            }
            _ => {}
        }
        Ok(())
    }

    /// All is well again and all hosts that can be are up: in the end, everybody has what it is owed.
    pub(super) fn finish(&mut self) -> Result<(), Wrong> {
        self.run_out()?;
        for h in &mut self.hosts {
            h.part = 0;
            h.is_full = false;
            h.is_up = !h.is_dead;
        }
        self.say("quiet".to_owned());
        let all = self.hosts.len();
        let before: BTreeSet<(File, Value)> = self
            .hosts
            .iter()
            .filter(|h| h.is_up)
            .flat_map(|h| h.tree.iter().map(|(&f, &(value, _))| (f, value)))
            .collect();
        let mut rounds = 0;
        loop {
            let mut busy = false;
            for host in 0..all {
                for from in 0..all {
                    self.now += 1;
                    busy |= self.hear(host, from);
                }
            }
            for host in 0..all {
                for n in 0..6 {
                    busy |= self.pull(host, n);
                    self.run_out()?;
                }
            }
            if !busy {
                break;
            }
            rounds += 1;
            if rounds > 40 {
                return self.wrong("ENDLESS".to_owned());
            }
        }
        for host in 0..all {
            if self.hosts[host].is_up {
                for f in 0..FILES.len() {
                    self.check(host, f, &before)?;
                }
            }
        }
        Ok(())
    }

    fn run_out(&mut self) -> Result<(), Wrong> {
        while !self.running.is_empty() {
            self.now += 1;
            self.step(0)?;
        }
        Ok(())
    }

    /// Whether a host has what the last record says of a file.
    fn check(
        &mut self,
        host: usize,
        f: File,
        before: &BTreeSet<(File, Value)>,
    ) -> Result<(), Wrong> {
        let h = &self.hosts[host];
        let says = |sent: &&Sent| {
            file(f).is_under(&sent.record.path)
                && (sent.files.contains_key(&f) || sent.record.deed.deletes)
                && ((sent.record.is_for(&h.name) && sent.has_ended) || sent.by == host)
        };
        let Some(sent) = self.sent.values().rev().find(says) else { return Ok(()) };
        let has = h.tree.get(&f).map(|(value, _)| *value);
        let is_edited = h.released.get(&f).cloned().flatten().is_none()
            && h.dirty.get(&f).is_some_and(|at| *at > sent.at);
        let is_of_unfinished = |value: Value| {
            self.sent.values().any(|other| {
                other.files.get(&f) == Some(&value)
                    && !other.has_ended
                    && other.record.id > sent.record.id
            })
        };
        // By the clock of its host.
        let is_local = self.is_local(host, &sent.record.id, f);
        let sent_it = has.is_some_and(|value| {
            self.sent.values().any(|other| other.by == host && other.files.get(&f) == Some(&value))
        });
        if sent.by == host || sent_it || is_edited || is_local || has.is_some_and(is_of_unfinished)
        {
            return Ok(());
        }
        let id = &sent.record.id;
        let is_held = |p: &&Host| {
            p.is_up
                && (p.journal.can_give(id)
                    || p.journal.iter().any(|(record, ..)| {
                        record.covers(&sent.record, || {
                            let later = &self.sent[&record.id].files;
                            !self.switches.journal.cover_all
                                || sent.files.keys().all(|f| later.contains_key(f))
                        })
                    }))
        };
        if !self.hosts.iter().any(|p| is_held(&p)) {
            return Ok(());
        }
        match sent.files.get(&f).copied() {
            Some(owed) => {
                // A sender that has lost its journal does not know any more what it may give.
                let still = |p: &Host| {
                    p.is_up
                        && p.tree.get(&f).is_some_and(|(value, _)| *value == owed)
                        && (p.journal.can_give(id) || p.journal.get(id).is_none())
                };
                if before.contains(&(f, owed)) && self.hosts.iter().any(still) && has != Some(owed)
                {
                    let what =
                        format!("LACKS: h{host} {} has {has:?}, is owed {owed} of {id}", FILES[f]);
                    return self.wrong(what);
                }
            }
            None if has.is_some() => {
                let is_gone =
                    |p: &Host| p.is_up && !p.tree.contains_key(&f) && p.journal.can_give(id);
                if self.hosts.iter().any(is_gone) {
                    let what = format!("LACKS: h{host} {} is still there after {id}", FILES[f]);
                    return self.wrong(what);
                }
            }
            None => {}
        }
        Ok(())
    }
}

/// A random history of a fleet: the clocks of its hosts, and what happens.
pub(super) fn history(seed: u64) -> (Vec<i64>, Vec<Event>) {
    let mut rng = Rng::new(seed);
    let mut below = |n: usize| rng.below(n as u64) as usize;
    let hosts = 2 + below(3);
    let skewed = below(2) == 0;
    let skews = (0..hosts).map(|_| if skewed { [0, 0, -6, 6][below(4)] } else { 0 }).collect();
    let events = (0..4 + below(13))
        .map(|_| {
            let host = below(hosts);
            match below(27) {
                0..4 => Event::Edit { host, file: below(3), removes: below(10) < 3 },
                4..10 => {
                    let to = (below(100) >= 65)
                        .then(|| (0..1 + below(hosts - 1)).map(|_| below(hosts)).collect());
                    Event::Send { host, path: below(6), deletes: below(10) < 4, to }
                }
                10..13 => Event::Step { which: host, times: below(6) },
                13..16 => Event::Step { which: host, times: 1 },
                16..18 => Event::Crash(host),
                18 => Event::Up(host),
                19 => Event::Hear(host, below(hosts)),
                20..22 => Event::Pull(host, below(6)),
                22 => Event::Partition(below(1 << hosts) as u64),
                23 => Event::Full(host),
                24 => Event::Die(host),
                25 => Event::LoseJournal(host),
                _ => Event::Wipe(host),
            }
        })
        .collect();
    (skews, events)
}

/// Runs a history.
pub(super) fn run(skews: &[i64], events: &[Event], switches: Switches) -> Result<(), Wrong> {
    let mut world = World::new(skews, switches);
    events.iter().try_for_each(|event| world.event(event))?;
    world.finish()
}
