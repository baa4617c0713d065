//! Deltas between hosts, as messages that may come late, twice, in part and in any order.

use super::{Contents, Crash, Duty, Ops, PATHS, World, content, paths};
use crate::mirror::index::Record;
use crate::mirror::merge::{Part, Refused};
use crate::wire::setup::MirrorSetup;
use crate::wire::versions::Knowledge;

/// An entry under way: the part, what bytes come with it, and the deeds that it knows of.
#[derive(Clone, Debug)]
struct Carried {
    part: Part,
    contents: Contents,
    ghosts: Ops,
}

/// A delta under way.
#[derive(Clone, Debug)]
pub(super) struct Message {
    number: u64,
    pub from: usize,
    pub span: MirrorSetup,
    carried: Vec<Carried>,
}

impl Message {
    pub(super) fn len(&self) -> usize {
        self.carried.len()
    }

    /// Whether it tells of a dot.
    pub(super) fn knows(&self, dot: crate::wire::versions::Dot) -> bool {
        let contexts = self.carried.iter().filter_map(|carried| carried.part.context.as_deref());
        std::iter::once(&self.span.to).chain(contexts).any(|known| known.covers(dot))
    }
}

impl World {
    /// What must be on disk before anything is said.
    fn leave(&mut self, host: usize) -> Result<(), Crash> {
        self.log(host)?;
        match self.switches.has(Duty::DotSync) {
            true => self.sync_log(host),
            false => {
                self.hosts[host].index.synced();
                Ok(())
            }
        }
    }

    pub(super) fn delta(&mut self, from: usize, known: &Knowledge) -> Result<Message, Crash> {
        self.leave(from)?;
        let (span, parts) = self.hosts[from].index.delta(known).unwrap();
        let parts: Vec<Part> = parts.collect();
        let carried: Vec<Carried> =
            parts.into_iter().map(|part| self.carried(from, part)).collect();
        self.inodes += 1;
        let (number, full) = (self.inodes, span.full);
        let message = Message { number, from, span, carried };
        self.say(|| {
            let parts: Vec<String> =
                message.carried.iter().map(|carried| shown(&carried.part)).collect();
            let full = if full { "everything" } else { "delta" };
            let [from_known, to] = [&message.span.from, &message.span.to].map(numbers);
            format!("h{from} sends {full} {parts:?} {from_known} -> {to}")
        });
        Ok(message)
    }

    fn carried(&self, from: usize, part: Part) -> Carried {
        let path = PATHS.iter().position(|path| **path == *part.path).unwrap();
        let live = part.members.iter().filter_map(|member| member.version.map(content));
        let contents = live.filter(|content| self.hosts[from].has(path, *content)).collect();
        Carried { contents, ghosts: self.hosts[from].ghosts[path].clone(), part }
    }

    /// A host hears what another one knows.
    pub(super) fn hello(&mut self, host: usize, from: usize) {
        let id = self.id();
        let other = &self.hosts[from].index;
        let in_part = other.is_in_part() && self.switches.has(Duty::AskInPart);
        let known = other.known().clone();
        let h = &mut self.hosts[host];
        if known == *h.index.known() {
            h.roster.equal(&from, in_part);
        }
        h.index.guard(known.of(h.index.id()), id);
    }

    pub(super) fn deliver(
        &mut self,
        message: &Message,
        to: usize,
        which: &[usize],
    ) -> Result<(), Crash> {
        let h = &self.hosts[to];
        let is_away = !h.is_mounted && self.switches.has(Duty::Root);
        if !h.is_up || is_away || message.from == to {
            return Ok(());
        }
        let id = self.id();
        let h = &mut self.hosts[to];
        let (mut taking, mut had) = match h.takings.remove(&message.number) {
            Some(taking) => taking,
            None => match h.index.take_in(message.span.clone(), id) {
                Ok(taking) => (taking, Vec::new()),
                Err(refused) => {
                    assert_eq!(refused, Refused::Gap);
                    self.say(|| format!("h{to}: there is a gap"));
                    return Ok(());
                }
            },
        };
        self.log(to)?;
        let which: Vec<usize> =
            which.iter().copied().filter(|at| *at < message.carried.len()).collect();
        had.extend(&which);
        had.sort_unstable();
        had.dedup();
        let is_whole = had.len() == message.carried.len();
        if is_whole && !self.switches.has(Duty::KnownLog) {
            let mut early = self.hosts[to].index.clone();
            early.known.join(&message.span.to);
            self.append(to, vec![Record::Head(early.head())]);
        }
        for at in which {
            let Carried { part, contents, ghosts } = &message.carried[at];
            let path = PATHS.iter().position(|path| **path == *part.path).unwrap();
            let merged = self.hosts[to].index.merge_part(&mut taking, part);
            let changed = self.accepted(merged);
            self.merged(to, path, changed, contents, ghosts)?;
        }
        if !is_whole {
            self.hosts[to].takings.insert(message.number, (taking, had));
            return Ok(());
        }
        let finished = self.hosts[to].index.finish(taking);
        let changed = self.accepted(finished);
        self.say(|| format!("h{to} knows {}", numbers(&message.span.to)));
        self.log(to)?;
        self.tick(to)?;
        for path in changed {
            let path = PATHS.iter().position(|p| **p == *path).unwrap();
            self.merged(to, path, true, &Contents::new(), &Ops::new())?;
        }
        Ok(())
    }

    /// Nothing that a host sends is refused.
    fn accepted<T: Default>(&mut self, result: Result<T, Refused>) -> T {
        result.unwrap_or_else(|refused| {
            self.bad.insert("refused", format!("{refused:?}"));
            T::default()
        })
    }

    fn merged(
        &mut self,
        host: usize,
        path: usize,
        changed: bool,
        contents: &Contents,
        ghosts: &Ops,
    ) -> Result<(), Crash> {
        let h = &mut self.hosts[host];
        self.work += u64::from(changed);
        h.ghosts[path].extend(ghosts);
        if !h.is_full {
            h.staged[path].extend(contents);
        }
        let members = h.index.entry(PATHS[path]).members;
        self.say(|| {
            let part = Part { path: PATHS[path].into(), members, context: None };
            format!("h{host} merges {}", shown(&part))
        });
        self.log(host)?;
        self.tick(host)?;
        self.place(host, path)
    }

    /// A host asks another one for what it lacks the bytes of.
    fn pull(&mut self, host: usize, from: usize) -> Result<(), Crash> {
        let is_there = |host: usize| self.hosts[host].is_up && self.hosts[host].is_mounted;
        if !self.switches.has(Duty::Pull) || !is_there(host) || !is_there(from) {
            return Ok(());
        }
        for path in paths() {
            let h = &self.hosts[host];
            let has = |_: &[u8], version: &_| h.has(path, content(*version));
            if !h.index.needed(has).any(|(needed, ..)| *needed == *PATHS[path]) {
                continue;
            }
            self.leave(from)?;
            let (known, part) = self.hosts[from].index.part_of(PATHS[path]).unwrap();
            let Carried { part, contents, ghosts } = self.carried(from, part);
            let context = part.context.as_deref().unwrap_or(&known);
            let index = &mut self.hosts[host].index;
            let merged = index.merge(PATHS[path], &part.members, context);
            let changed = self.accepted(merged);
            self.merged(host, path, changed, &contents, &ghosts)?;
        }
        Ok(())
    }

    /// Everything that one lacks of the other.
    pub(super) fn sync(&mut self, from: usize, to: usize) -> Result<(), Crash> {
        let is_there = |host: usize| self.hosts[host].is_up && self.hosts[host].is_mounted;
        if from == to || !is_there(from) || !is_there(to) {
            return Ok(());
        }
        self.hello(from, to);
        self.hello(to, from);
        [from, to].into_iter().try_for_each(|host| self.log(host))?;
        let known = self.hosts[to].index.known().clone();
        let message = self.delta(from, &known)?;
        if message.len() > 0 || !known.is_at_least(&message.span.to) {
            let all: Vec<usize> = (0..message.len()).collect();
            self.deliver(&message, to, &all)?;
        }
        self.pull(to, from)
    }

    /// One of the messages comes, or a part of it.
    pub(super) fn receive(&mut self, to: usize, seed: u64) -> Result<(), Crash> {
        let mut rng = crate::engine::rng::Rng::new(seed);
        if self.net.is_empty() {
            return Ok(());
        }
        let message = self.net[rng.below(self.net.len() as u64) as usize].clone();
        let mut which: Vec<usize> = (0..message.len()).collect();
        if rng.below(2) == 0 {
            which.reverse();
        }
        if rng.below(2) == 0 {
            which.truncate(1);
        }
        self.deliver(&message, to, &which)
    }

    /// A host sends what these lack, and perhaps one whose HELLO is old.
    pub(super) fn send(&mut self, from: usize, seed: u64, scans: bool) -> Result<(), Crash> {
        let mut rng = crate::engine::rng::Rng::new(seed);
        let others = self.hosts.iter().filter(|other| other.n != from);
        let mut known: Vec<Knowledge> =
            others.filter(|_| rng.below(10) < 7).map(|other| other.index.known().clone()).collect();
        if !self.old_known.is_empty() && rng.below(10) < 3 {
            known.push(self.old_known[rng.below(self.old_known.len() as u64) as usize].clone());
        }
        let is_away = !self.hosts[from].is_mounted && self.switches.has(Duty::Root);
        let Some(least) = known.into_iter().reduce(|a, b| a.meet(&b)) else { return Ok(()) };
        if is_away {
            return Ok(());
        }
        if scans {
            self.scan(from)?;
        }
        let message = self.delta(from, &least)?;
        self.net.push(message);
        Ok(())
    }
}

fn shown(part: &Part) -> String {
    let path = String::from_utf8_lossy(&part.path);
    let members = part.members.iter().map(|member| match member.version {
        Some(version) => format!("{}={}", super::show(member.dot), content(version)),
        None => format!("{}†", super::show(member.dot)),
    });
    format!("{path}:{}", members.collect::<Vec<_>>().join("+"))
}

fn numbers(known: &Knowledge) -> String {
    let numbers = known.iter().map(|(id, seq)| format!("{}.{seq}", id.0));
    format!("[{}]", numbers.collect::<Vec<_>>().join(" "))
}
