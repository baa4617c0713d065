//! A model of a fleet in which only records are real: files are numbers, a transfer takes one file after
//! another, packets are not there. Random histories of sends, edits, deaths, returns, partitions, full disks and
//! lost journals, clocks that are off and new names run against it; at the end all who are alive must have what they were owed.

mod clocks;
mod history;
mod pulls;
mod quiet;
mod transfers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::journal::Journal;
use super::types::{Lists, Rules};
use super::{Hash, Record, RecordId};
use crate::name::{HostName, RelPath};
use crate::stamp::Stamp;

pub(super) use history::{flushing, history, run};

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
    /// Where clocks differ too far, nothing is recorded.
    pub far: bool,
    /// What was before a host began to keep records is not pulled.
    pub born: bool,
    /// Who has not all that is folded into a record does not have that.
    pub fold_whole: bool,
}

impl Switches {
    pub const ALL: Switches = Switches {
        journal: Rules::ALL,
        list: true,
        same: true,
        note: true,
        local: true,
        guard_all: true,
        far: true,
        born: true,
        fold_whole: true,
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
    /// How many names it had before, and from when on it knows what was sent.
    names: u32,
    born: Stamp,
    life: u32,
    /// What is on its disk: what it is, and when it was written.
    tree: BTreeMap<File, (Value, i64)>,
    /// Under which record it came; none if it was edited here.
    released: BTreeMap<File, Option<RecordId>>,
    dirty: BTreeMap<File, i64>,
    /// Last written or removed by a transfer that left no record here.
    odd: BTreeSet<File>,
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
    /// What a list said to be gone.
    gone: BTreeSet<File>,
    /// When files were really sent that were folded into it.
    folded: BTreeMap<File, i64>,
    has_ended: bool,
    /// Its sender and some of its targets keep a record.
    is_kept: bool,
}

struct Running {
    id: RecordId,
    source: usize,
    life: u32,
    targets: BTreeMap<usize, u32>,
    /// Those that keep no record, as their clock differs too far.
    odd: BTreeSet<usize>,
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
    Edit {
        host: usize,
        file: File,
        removes: bool,
    },
    Send {
        host: usize,
        path: usize,
        deletes: bool,
        to: Option<Vec<usize>>,
    },
    /// Some files are sent as a list, or said to be gone.
    Flush {
        host: usize,
        path: usize,
        files: usize,
        deletes: bool,
    },
    Step {
        which: usize,
        times: usize,
    },
    Crash(usize),
    Up(usize),
    Die(usize),
    Partition(u64),
    Full(usize),
    LoseJournal(usize),
    /// A host's clock is off by so much from now on.
    Clock(usize, i64),
    Rename(usize),
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
            names: 0,
            born: Stamp::ZERO,
            life: 0,
            tree: BTreeMap::new(),
            released: BTreeMap::new(),
            dirty: BTreeMap::new(),
            odd: BTreeSet::new(),
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
        self.now + self.hosts[host].skew + 10_000
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
        let before = released.clone();
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
        h.odd.remove(&f);
        let was = h.released.insert(f, Some(id.clone()));
        let was_removed_here = has.is_none() && was == Some(None);
        if pulls && was_removed_here && self.sent[id].by == host {
            return self.wrong(format!("BACK: h{host} had sent and removed {f}, took {id}"));
        }
        if pulls && released.as_ref().is_some_and(|before| before > id) {
            return self.wrong(format!("OLDER: h{host} {f} had {released:?} took {id}"));
        }
        // Its clock was right then, or nearly so.
        let edited = h.dirty.get(&f).filter(|_| before.is_none()).copied().unwrap_or_default();
        let is_right = |value| (self.written[value] - edited - 10_000).abs() < clocks::LIMIT;
        if pulls && has.as_ref().is_some_and(is_right) && edited > self.sent[id].at + 30 {
            return self.wrong(format!("EDITED: h{host} {f} took {id} over a later edit"));
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
        h.odd.remove(&f);
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
                h.odd.remove(&f);
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
                    self.begin(host, at, deletes, to.as_deref(), None);
                }
            }
            Event::Flush { host, path: at, files, deletes } if self.hosts[host % all].is_up => {
                self.begin(host % all, at, deletes, None, Some(files));
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
                self.comes_up(host % all);
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
            Event::Clock(host, skew) => {
                self.hosts[host % all].skew = skew;
                self.say(format!("the clock of h{} is off by {skew}", host % all));
            }
            Event::Rename(host) => self.rename(host % all, rules),
            Event::Wipe(host) => {
                let h = &mut self.hosts[host % all];
                h.go_down();
                h.lose_journal(rules);
                h.tree.clear();
                h.released.clear();
                h.dirty.clear();
                h.odd.clear();
                // An empty base takes all.
                h.born = Stamp::ZERO;
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
}
