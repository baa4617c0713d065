//! A model of a fleet in which only the indexes are real: files are numbers with inodes, a disk is what was written and
//! what of it survives a loss of power, a transfer is a list that comes in any order, twice, or in part. Random histories of
//! edits, deaths, clones, restores, full disks, holds and conflicts run against it; at the end everybody must have what
//! nobody replaced, and nothing that somebody did.
//!
//! What users did is kept beside: each deed has a number, and each file the numbers of the deeds that it has in it.

mod check;
mod dirs;
mod disk;
mod faults;
mod history;
mod people;
mod place;
mod tests;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};

use self::disk::Host;
use self::transfer::Message;
use super::index::Index;
use super::rules::{Rule, Rules};
use super::types::Object;
use crate::wire::manifest::FileTime;
use crate::wire::versions::{Dot, IndexId, Knowledge, Version, What};

/// The paths of the tree.
pub(super) const PATHS: [&[u8]; 2] = [b"p", b"q"];

/// The numbers of the paths.
fn paths() -> std::ops::Range<usize> {
    0..PATHS.len()
}

type Ops = BTreeSet<usize>;
type Contents = BTreeSet<u32>;

/// The rules of the hosts around the index, each of which a test can switch off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Duty {
    /// Own dots are synced before they leave.
    DotSync,
    /// The intent is synced before the exchange.
    Intent,
    /// Staged bytes and their slot are synced before the intent.
    StageSync,
    /// A slot is used once.
    FreshSlot,
    /// Recovery syncs its verdicts before it empties the slots.
    RecordSync,
    /// No record of placed is written before the file that it speaks of is synced.
    PlacedSync,
    /// No own dot is written down before its file is synced.
    DataSync,
    /// K goes to the log after the entries that it covers.
    KnownLog,
    /// An id never leaves K.
    KeepId,
    /// An id stays over a start only if all others say that they know no more of it.
    AskAll,
    /// Who has entries that go beyond what it knows says so, and does not count for that.
    AskInPart,
    /// A new id after an unclean stop, of which the log does not vouch.
    LieId,
    /// A new id for a clone.
    CloneId,
    /// A new id after a restore that is known of.
    RestoreId,
    /// What an index that does not vouch finds different is listed.
    List,
    /// Without an index, what is there is listed.
    Adopt,
    /// Who has needed entries asks for them, though K is equal.
    Pull,
    /// A tree of which the root is another one stops.
    Root,
}

/// Which rules hold.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Switches {
    pub rules: Rules,
    /// An id stays over a start if all other hosts have said since then that they have not heard of more of it.
    pub keeps_ids: bool,
    off: u32,
}

impl Switches {
    pub(super) fn has(self, duty: Duty) -> bool {
        self.off & 1 << duty as u32 == 0
    }

    pub(super) fn without(self, duty: Duty) -> Self {
        let keeps_ids = self.keeps_ids || matches!(duty, Duty::AskAll | Duty::AskInPart);
        Switches { off: self.off | 1 << duty as u32, keeps_ids, ..self }
    }

    pub(super) fn without_rule(self, rule: Rule) -> Self {
        Switches { rules: self.rules.without(rule), ..self }
    }
}

/// A host dies here and now.
#[derive(Debug)]
pub(super) struct Crash(usize);

/// What somebody did.
#[derive(Clone, Debug)]
struct Deed {
    host: usize,
    path: usize,
    /// The content that it made; None if it removed.
    new: Option<u32>,
    /// The deeds that it replaced.
    replaced: Ops,
    /// It may be undone.
    void: bool,
    /// Whether its version stays is for others to decide.
    grey: bool,
    /// It stays, but what it replaced may be seen again.
    regained: bool,
}

/// A dot that was given: where, in place of which, and for what.
#[derive(Clone, Debug)]
struct Given {
    path: usize,
    replaced: BTreeSet<Dot>,
    content: Option<u32>,
}

pub(super) struct World {
    switches: Switches,
    hosts: Vec<Host>,
    ids: u64,
    inodes: u64,
    contents: u32,
    now: u64,
    deeds: Vec<Deed>,
    net: Vec<Message>,
    /// What hosts have known at some time.
    old_known: Vec<Knowledge>,
    /// Versions that were on one disk alone, which is lost.
    gone: BTreeSet<(usize, u32)>,
    /// Deeds that may be seen though they were replaced.
    excepted: Ops,
    given: BTreeMap<Dot, Given>,
    /// The deeds that are in the version of a dot.
    deeds_of: BTreeMap<(Dot, u32), Ops>,
    /// How often anything moved.
    work: u64,
    pub bad: BTreeMap<&'static str, String>,
    pub trace: Vec<String>,
    traces: bool,
}

pub(super) fn version(content: u32) -> Version {
    // All are of the same size and time: only the digests tell them apart.
    let mtime = FileTime { secs: 7, nanos: 0 };
    let what = What::File { size: 7, mtime, digest: u64::from(content) };
    Version { what, mode: 0o644, uid: 0, gid: 0 }
}

fn content(version: Version) -> u32 {
    match version.what {
        What::File { digest, .. } => digest as u32,
        _ => 0,
    }
}

fn object(ino: u64) -> Object {
    Object { ino, ctime: FileTime { secs: ino as i64, nanos: 0 } }
}

impl World {
    pub(super) fn new(hosts: usize, switches: Switches, traces: bool) -> Self {
        let ids = hosts as u64;
        let mut world = World {
            switches,
            hosts: Vec::new(),
            ids: 0,
            inodes: 0,
            contents: 0,
            now: 100,
            deeds: Vec::new(),
            net: Vec::new(),
            old_known: Vec::new(),
            gone: BTreeSet::new(),
            excepted: Ops::new(),
            given: BTreeMap::new(),
            deeds_of: BTreeMap::new(),
            work: 0,
            bad: BTreeMap::new(),
            trace: Vec::new(),
            traces,
        };
        for n in 0..ids {
            let index = world.new_index();
            world.hosts.push(Host::new(n as usize, index));
        }
        world
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if self.traces {
            self.trace.push(what());
        }
    }

    fn id(&mut self) -> IndexId {
        self.ids += 1;
        IndexId(self.ids)
    }

    fn inode(&mut self) -> u64 {
        self.inodes += 1;
        self.inodes
    }

    /// An index of which nothing is known.
    fn new_index(&mut self) -> Index {
        let mut index = Index::new(self.id());
        index.rules = self.switches.rules;
        let _ = index.due();
        index
    }

    /// Calls a method of an index that may give an own dot at a path, for a version with these deeds in it.
    fn change<R>(
        &mut self,
        host: usize,
        path: usize,
        deeds: &Ops,
        call: impl FnOnce(&mut Index) -> R,
    ) -> R {
        let now = self.now;
        if self.may_keep_id(host) {
            self.hosts[host].index.keep_id();
        }
        let h = &mut self.hosts[host];
        h.index.set_wall(now);
        let before = h.index.entry(PATHS[path]).members;
        let result = call(&mut h.index);
        let after = h.index.entry(PATHS[path]).members;
        let id = h.index.id();
        let is_new = |dot: Dot| dot.by == id && before.iter().all(|member| member.dot != dot);
        let Some(new) = after.iter().find(|member| is_new(member.dot)) else { return result };
        let stays = |dot: Dot| after.iter().any(|member| member.dot == dot);
        let replaced = before.iter().map(|member| member.dot).filter(|dot| !stays(*dot)).collect();
        let content = new.version.map(content);
        let on_disk = h.disk[path].deeds.clone();
        h.ghosts[path].extend(on_disk);
        h.gives = true;
        let dot = new.dot;
        if let Some(content) = content {
            self.deeds_of.insert((dot, content), deeds.clone());
        }
        let shown = show(dot);
        self.say(|| {
            format!("h{host} gives {shown} to {}={content:?} for {replaced:?}", name(path))
        });
        if self.given.insert(dot, Given { path, replaced, content }).is_some() {
            self.bad.insert("dot used twice", shown);
        }
        result
    }

    /// Whether every other host has said that it has not heard of more of this host's index than itself has.
    fn may_keep_id(&self, host: usize) -> bool {
        let h = &self.hosts[host];
        let (own, others) = (&h.index, self.others(host));
        self.switches.keeps_ids
            && self.net.iter().all(|message| message.span.to.of(own.id()) <= own.height())
            && (h.roster.vouches(&others) || !self.switches.has(Duty::AskAll))
    }

    fn others(&self, host: usize) -> Vec<usize> {
        (0..self.hosts.len()).filter(|other| *other != host).collect()
    }

    /// The deeds in the version of a member.
    fn deeds_in(&self, dot: Dot, content: u32) -> Ops {
        self.deeds_of.get(&(dot, content)).cloned().unwrap_or_default()
    }

    /// What a host knows of a path.
    fn context(&self, host: usize, path: usize) -> Knowledge {
        let index = &self.hosts[host].index;
        index.context(&index.entry(PATHS[path])).unwrap_or_else(|| index.known().clone())
    }

    /// The live versions of a path.
    fn live(&self, host: usize, path: usize) -> Vec<(Dot, u32)> {
        let entry = self.hosts[host].index.entry(PATHS[path]);
        entry.live().map(|(dot, version)| (dot, content(version))).collect()
    }
}

fn name(path: usize) -> char {
    char::from(PATHS[path][0])
}

fn show(dot: Dot) -> String {
    format!("{}.{}", dot.by.0, dot.seq)
}
