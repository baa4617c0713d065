//! Directories: files and directories of the same names on several hosts, made, removed and changed, and the index tells
//! what is to be done, and in which order, so that it can be done.

use std::collections::{BTreeMap, BTreeSet};

use super::{object, version};
use crate::engine::rng::Rng;
use crate::mirror::index::Index;
use crate::mirror::look::Found;
use crate::mirror::rules::{Rule, Rules};
use crate::mirror::show::{IMPLIED_MODE, Todo, above, is_directory};
use crate::mirror::types::Intent;
use crate::wire::versions::{IndexId, Version, What};

const PATHS: [&str; 6] = ["D", "D/E", "D/E/z", "D/x", "D/y", "a"];

/// What is at a path: a version, and an inode.
type Tree = BTreeMap<&'static str, (Version, u64)>;

struct Host {
    index: Index,
    tree: Tree,
}

struct World {
    rng: Rng,
    hosts: Vec<Host>,
    /// How many versions people made; each of them is another one.
    made: u32,
    inodes: u64,
    /// What people removed or replaced.
    obsolete: BTreeSet<Version>,
    files: BTreeSet<Version>,
    bad: BTreeMap<&'static str, String>,
}

/// A directory with attributes that no other has; that of number 0 has none of its own.
fn directory(number: u32) -> Version {
    let mode = if number == 0 { IMPLIED_MODE } else { 0o700 };
    Version { what: What::Directory, mode, uid: number, gid: 0 }
}

fn parents(path: &'static str) -> impl Iterator<Item = &'static str> {
    above(path.as_bytes()).filter_map(|dir| PATHS.into_iter().find(|path| path.as_bytes() == dir))
}

fn below(path: &'static str) -> impl Iterator<Item = &'static str> {
    PATHS.into_iter().filter(move |other| parents(other).any(|dir| dir == path))
}

impl World {
    fn new(seed: u64, rules: Rules) -> Self {
        let mut rng = Rng::new(seed);
        let hosts = (0..2 + rng.below(3)).map(|n| {
            let mut index = Index::new(IndexId(n + 1));
            index.rules = rules;
            Host { index, tree: Tree::new() }
        });
        World {
            hosts: hosts.collect(),
            rng,
            made: 0,
            inodes: 0,
            obsolete: BTreeSet::new(),
            files: BTreeSet::new(),
            bad: BTreeMap::new(),
        }
    }

    fn put(&mut self, host: usize, path: &'static str, version: Version) {
        self.inodes += 1;
        self.hosts[host].tree.insert(path, (version, self.inodes));
    }

    /// Somebody removes a path and all below it.
    fn remove(&mut self, host: usize, path: &'static str) {
        for path in below(path).chain([path]) {
            if let Some((version, _)) = self.hosts[host].tree.remove(path) {
                self.obsolete.insert(version);
            }
        }
    }

    fn make(&mut self, host: usize, path: &'static str, is_file: bool) {
        let mut dirs: Vec<&str> = parents(path).collect();
        dirs.reverse();
        for dir in dirs {
            if !self.hosts[host].tree.get(dir).is_some_and(|(v, _)| is_directory(*v)) {
                self.remove(host, dir);
                self.made += 1;
                self.put(host, dir, directory(self.made));
            }
        }
        self.remove(host, path);
        self.made += 1;
        let made = if is_file { version(self.made) } else { directory(self.made) };
        self.files.extend(is_file.then_some(made));
        self.put(host, path, made);
    }

    /// Somebody changes the attributes of a directory.
    fn chmod(&mut self, host: usize, path: &'static str) {
        self.made += 1;
        let new = directory(self.made);
        if let Some((version, _)) = self.hosts[host].tree.get_mut(path) {
            if is_directory(*version) {
                self.obsolete.insert(std::mem::replace(version, new));
            }
        }
    }

    fn found(&self, host: usize, path: &str) -> Found {
        self.hosts[host].tree.get(path).map(|(version, ino)| (*version, object(*ino)))
    }

    fn scan(&mut self, host: usize, now: u64) {
        for path in PATHS {
            let found = self.found(host, path);
            let index = &mut self.hosts[host].index;
            index.set_wall(now);
            index.look(path.as_bytes(), found, false);
        }
        self.place(host, usize::MAX);
    }

    /// Does the first so many things that are to be done.
    fn place(&mut self, host: usize, most: usize) {
        let index = &mut self.hosts[host].index;
        let unplaced: Vec<Box<[u8]>> = index.unplaced().collect();
        let all = index.clone().work(PATHS.map(str::as_bytes));
        let work = index.work(unplaced.iter().map(|path| &**path));
        if work != all {
            self.bad.insert("missed", format!("{work:?} of {all:?}"));
        }
        for (path, todo) in work.into_iter().take(most) {
            let path = PATHS.into_iter().find(|p| p.as_bytes() == &*path).unwrap();
            let has_parents = parents(path)
                .all(|dir| self.hosts[host].tree.get(dir).is_some_and(|(v, _)| is_directory(*v)));
            let has_children = below(path).any(|path| self.hosts[host].tree.contains_key(path));
            let out = self.found(host, path);
            match todo {
                Todo::Nothing => {}
                Todo::Remove { .. } | Todo::Place { .. } if has_children => {
                    self.bad.insert("not empty", format!("h{host} {path}: {todo:?}"));
                }
                Todo::Place { .. } | Todo::Directory { .. } if !has_parents => {
                    self.bad.insert("orphan", format!("h{host} {path}: {todo:?}"));
                }
                Todo::Remove { dots } => {
                    self.hosts[host].tree.remove(path);
                    assert!(self.hosts[host].index.removed(path.as_bytes(), out, dots));
                }
                Todo::Place { version, dots } => {
                    self.put(host, path, version);
                    let found = self.found(host, path).unwrap();
                    let intent = Intent { version, ino: found.1.ino, dots, slot: 0 };
                    let index = &mut self.hosts[host].index;
                    index.begin(path.as_bytes(), intent);
                    assert_eq!(index.committed(path.as_bytes(), out, found.1), None);
                }
                Todo::Directory { version, dots } => {
                    self.put(host, path, version.unwrap_or(directory(0)));
                    let found = self.found(host, path).unwrap();
                    self.hosts[host].index.made(path.as_bytes(), found, dots);
                }
            }
        }
    }

    /// Whether anything changed. In part, some entries do not come, and not all is placed.
    fn sync(&mut self, from: usize, to: usize, in_part: bool, now: u64) -> bool {
        [from, to].into_iter().for_each(|host| self.scan(host, now));
        let _ = self.hosts[from].index.due();
        self.hosts[from].index.synced();
        let known = self.hosts[to].index.known().clone();
        let (span, parts) = self.hosts[from].index.delta(&known).unwrap();
        let mut changed = !known.is_at_least(&span.to);
        let parts: Vec<_> = parts.collect();
        let index = &mut self.hosts[to].index;
        let mut taking = index.take_in(span, IndexId(99)).unwrap();
        let mut is_whole = true;
        for part in parts {
            if in_part && self.rng.below(2) == 0 {
                is_whole = false;
                continue;
            }
            match index.merge_part(&mut taking, &part) {
                Ok(merged) => changed |= merged,
                Err(refused) => _ = self.bad.insert("refused", format!("{refused:?}")),
            }
        }
        if is_whole {
            index.finish(taking).unwrap();
        }
        let most = if in_part { self.rng.below(4) as usize } else { usize::MAX };
        self.place(to, most);
        changed
    }

    fn no_orphans(&mut self) {
        for (host, Host { tree, .. }) in self.hosts.iter().enumerate() {
            for path in tree.keys() {
                if !parents(path).all(|dir| tree.get(dir).is_some_and(|(v, _)| is_directory(*v))) {
                    self.bad.insert("orphan", format!("h{host} {path}"));
                }
            }
        }
    }

    fn run(&mut self, steps: u64) {
        let all = self.hosts.len() as u64;
        let mut online = vec![true; self.hosts.len()];
        for now in 100..100 + steps {
            let [host, other] = [(), ()].map(|()| self.rng.below(all) as usize);
            let path = PATHS[self.rng.below(PATHS.len() as u64) as usize];
            match self.rng.below(100) {
                0..25 => self.make(host, path, true),
                25..29 => self.make(host, "D", false),
                29..33 => self.make(host, "D/E", false),
                33..48 => self.remove(host, path),
                48..53 => self.chmod(host, path),
                53..62 => online[host] = !online[host],
                _ if host != other && online[host] && online[other] => {
                    let in_part = self.rng.below(10) < 3;
                    self.sync(host, other, in_part, now);
                }
                _ => {}
            }
            self.no_orphans();
        }
        (0..self.hosts.len()).for_each(|host| self.scan(host, 1_000));
        let mut rounds = 0;
        while self.all_sync() && rounds < 30 {
            rounds += 1;
        }
        if rounds == 30 {
            self.bad.insert("endless", String::new());
        }
        self.check();
    }

    fn all_sync(&mut self) -> bool {
        let all = self.hosts.len();
        let pairs = (0..all).flat_map(|a| (0..all).map(move |b| (a, b))).filter(|(a, b)| a != b);
        pairs.fold(false, |changed, (a, b)| self.sync(a, b, false, 1_000) || changed)
    }

    fn check(&mut self) {
        self.no_orphans();
        let seen = |host: &Host| {
            let tree: Vec<_> =
                host.tree.iter().map(|(path, (version, _))| (*path, *version)).collect();
            let sets: Vec<_> =
                host.index.entries_from(&[]).map(|(path, entry)| (path, entry.members)).collect();
            (tree, sets)
        };
        let first = seen(&self.hosts[0]);
        for (n, host) in self.hosts.iter().enumerate() {
            if seen(host) != first {
                self.bad.insert("diverged", format!("{first:?}\nh{n}: {:?}", seen(host)));
            }
            let entries = host.index.entries_from(&[]).map(|(_, entry)| entry);
            let live: BTreeSet<Version> = entries
                .flat_map(|entry| entry.live().map(|(_, v)| v).collect::<Vec<_>>())
                .collect();
            for lost in self.files.difference(&self.obsolete).filter(|file| !live.contains(file)) {
                self.bad.insert("lost", format!("h{n}: {lost:?}"));
            }
            for back in live.intersection(&self.obsolete) {
                self.bad.insert("came back", format!("h{n}: {back:?}"));
            }
            let conflicts: Vec<_> = host.index.conflicts().collect();
            let all =
                PATHS.map(|path| (path.as_bytes().into(), host.index.losers(path.as_bytes())));
            let all: Vec<_> = all.into_iter().filter(|(_, losers)| !losers.is_empty()).collect();
            if conflicts != all {
                self.bad.insert("missed", format!("h{n}: {conflicts:?} of {all:?}"));
            }
            // What has no name is a conflict, and nothing else is.
            let losers = PATHS.iter().flat_map(|path| host.index.losers(path.as_bytes()));
            let mut files: BTreeSet<Version> = losers.map(|(version, _)| version).collect();
            files.extend(host.tree.values().map(|(version, _)| *version));
            files.retain(|version| !is_directory(*version));
            let live_files: BTreeSet<Version> =
                live.into_iter().filter(|version| !is_directory(*version)).collect();
            if files != live_files {
                self.bad.insert("hidden", format!("h{n}: {files:?} of {live_files:?}"));
            }
        }
    }
}

fn bad(seed: u64, rules: Rules) -> BTreeMap<&'static str, String> {
    let mut world = World::new(seed, rules);
    world.run(40);
    world.bad
}

#[test]
fn directories_are_where_something_is_and_nowhere_else() {
    for seed in 0..1_000 {
        let bad = bad(seed, Rules::default());
        assert!(bad.is_empty(), "{seed}: {bad:?}");
    }
}

#[test]
#[ignore = "by hand: MAKUOSAN_SEED and MAKUOSAN_HISTORIES"]
fn directories_are_where_something_is_in_many_histories() {
    let number =
        |name: &str, or| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(or);
    let from = number("MAKUOSAN_SEED", 1_000_000);
    for seed in from..from + number("MAKUOSAN_HISTORIES", 100_000) {
        let bad = bad(seed, Rules::default());
        assert!(bad.is_empty(), "{seed}: {bad:?}");
    }
}

#[test]
fn without_a_rule_directories_go_wrong() {
    for rule in [Rule::Implied, Rule::KnownLast, Rule::Context, Rule::Tomb] {
        let rules = Rules::default().without(rule);
        assert!((0..1_000).any(|seed| !bad(seed, rules).is_empty()), "{rule:?}");
    }
}
