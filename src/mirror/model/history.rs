//! Random histories: lists of events. Every choice within an event comes from the event, so that each part of a history is
//! one, too.

use super::disk::Death;
use super::faults::Back;
use super::people::Act;
use super::{Crash, PATHS, Switches, World};
use crate::engine::rng::Rng;

/// Something that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    Act(Act, usize, usize),
    Scan(usize),
    Sync(usize, usize),
    /// A host sends to all; it has looked at its tree before, or has not.
    Send(usize, u64, bool),
    Receive(usize, u64),
    /// A host dies, at once or after so many ticks.
    Dies(usize, Death, Option<u32>),
    Start(usize),
    /// A user edits or removes a path when it is next replaced.
    Race(usize, usize, bool),
    Snapshot(usize),
    Restore(usize, Back, u64),
    Clone(usize, usize, u64),
    Full(usize),
    OldKnown(usize),
    Bury(usize, bool),
    LoseIndex(usize),
    Tell(usize, bool),
    Hold(usize),
    Release(usize),
    Mount(usize),
    Conflict(usize, bool, usize, usize),
    Retire(usize),
    NewId(usize),
}

/// What else happens in the histories of a class, and how often.
const CLASSES: [(char, &[(Kind, u64)]); 14] = [
    ('a', &[(Kind::Power, 4), (Kind::Kill, 2), (Kind::Start, 6), (Kind::Race, 1)]),
    ('l', &[(Kind::Lie, 3), (Kind::Start, 5)]),
    ('d', &[(Kind::Snapshot, 4), (Kind::Restore, 3), (Kind::Clone, 2)]),
    ('v', &[(Kind::Snapshot, 4), (Kind::Unseen, 3)]),
    ('f', &[(Kind::Full, 5)]),
    ('g', &[(Kind::OldKnown, 3), (Kind::Send, 6), (Kind::Receive, 12)]),
    ('h', &[(Kind::Bury, 6), (Kind::OldKnown, 1)]),
    ('c', &[(Kind::LoseIndex, 3), (Kind::Tell, 2), (Kind::Equal, 3)]),
    ('b', &[(Kind::Equal, 8), (Kind::Touch, 2)]),
    ('e', &[(Kind::Hold, 4), (Kind::Release, 3), (Kind::Mount, 3)]),
    ('k', &[(Kind::Take, 3), (Kind::Drop, 4), (Kind::Edit, 4)]),
    ('i', &[(Kind::Retire, 5), (Kind::NewId, 4)]),
    ('j', &[(Kind::Race, 8), (Kind::Remove, 3)]),
    ('n', &[]),
];
const BASE: [(Kind, u64); 6] = [
    (Kind::Edit, 8),
    (Kind::Remove, 4),
    (Kind::Scan, 4),
    (Kind::Sync, 8),
    (Kind::Send, 5),
    (Kind::Receive, 9),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Edit,
    Equal,
    Remove,
    Touch,
    Scan,
    Sync,
    Send,
    Receive,
    Power,
    Kill,
    Lie,
    Start,
    Race,
    Snapshot,
    Restore,
    Unseen,
    Clone,
    Full,
    OldKnown,
    Bury,
    LoseIndex,
    Tell,
    Hold,
    Release,
    Mount,
    Take,
    Drop,
    Retire,
    NewId,
}

/// How many hosts there are, what happens, and a seed for the end.
#[derive(Clone, Debug)]
pub(in super::super) struct History {
    pub hosts: usize,
    pub events: Vec<Event>,
    pub seed: u64,
}

/// The classes, and all of them at once.
pub(super) const ALL: &str = "adfghcbekj";
pub(super) const EACH: [&str; 15] =
    ["a", "l", "d", "v", "f", "g", "h", "c", "b", "e", "k", "i", "j", "n", ALL];

/// A random history of these classes.
pub(super) fn history(classes: &str, seed: u64) -> History {
    let salt = classes.bytes().fold(7, |sum, byte| sum * 31 + u64::from(byte));
    let mut rng = Rng::new(seed.wrapping_mul(1_000_003) ^ salt);
    let mut below = |bound: usize| rng.below(bound as u64) as usize;
    let is_wide = classes.contains(['h', 'g']);
    let hosts = if is_wide { [2, 3, 4][below(3)] } else { [2, 3, 3][below(3)] };
    let more = CLASSES.iter().filter(|(class, _)| classes.contains(*class));
    let kinds: Vec<(Kind, u64)> =
        BASE.iter().chain(more.flat_map(|(_, kinds)| kinds.iter())).copied().collect();
    let sum: u64 = kinds.iter().map(|(_, weight)| weight).sum();
    let events = (0..8 + below(23)).map(|_| {
        let mut at = below(sum as usize) as u64;
        let kind = kinds.iter().find(|(_, weight)| {
            let is_it = at < *weight;
            at = at.saturating_sub(*weight);
            is_it
        });
        let (host, path, seed) = (below(hosts), below(PATHS.len()), below(1_000) as u64);
        let (other, flag) = (below(hosts), below(2) == 0);
        let fuse =
            [None, None, Some(0), Some(1), Some(2), Some(3), Some(4), Some(6), Some(8)][below(9)];
        let death = |power, lies| Death { power, seed, lies };
        match kind.map_or(Kind::Scan, |(kind, _)| *kind) {
            Kind::Edit => Event::Act(Act::Edit, host, path),
            Kind::Equal => Event::Act(Act::Equal, host, path),
            Kind::Remove => Event::Act(Act::Remove, host, path),
            Kind::Touch => Event::Act(Act::Touch, host, path),
            Kind::Scan => Event::Scan(host),
            Kind::Sync => Event::Sync(host, other),
            Kind::Send => Event::Send(host, seed, below(10) < 8),
            Kind::Receive => Event::Receive(host, seed),
            Kind::Power => Event::Dies(host, death(true, false), fuse),
            Kind::Kill => Event::Dies(host, death(false, false), fuse),
            Kind::Lie => Event::Dies(host, death(true, true), None),
            Kind::Start => Event::Start(host),
            Kind::Race => Event::Race(host, path, below(3) < 2),
            Kind::Snapshot => Event::Snapshot(host),
            Kind::Restore => Event::Restore(host, Back::Restored, seed),
            Kind::Unseen => Event::Restore(host, Back::Unseen, seed),
            Kind::Clone => Event::Clone(host, other, seed),
            Kind::Full => Event::Full(host),
            Kind::OldKnown => Event::OldKnown(host),
            Kind::Bury => Event::Bury(host, flag),
            Kind::LoseIndex => Event::LoseIndex(host),
            Kind::Tell => Event::Tell(host, flag),
            Kind::Hold => Event::Hold(host),
            Kind::Release => Event::Release(host),
            Kind::Mount => Event::Mount(host),
            Kind::Take => Event::Conflict(host, true, path, seed as usize),
            Kind::Drop => Event::Conflict(host, false, path, seed as usize),
            Kind::Retire => Event::Retire(host),
            Kind::NewId => Event::NewId(host),
        }
    });
    History { hosts, events: events.collect(), seed }
}

impl World {
    pub(super) fn event(&mut self, event: Event) -> Result<(), Crash> {
        self.now += 3;
        let all = self.hosts.len();
        match event {
            Event::Act(act, host, path) => self.act(host % all, act, path),
            Event::Start(host) => return self.start(host % all),
            Event::Snapshot(host) => self.snapshot(host % all),
            Event::Restore(host, back, seed) => {
                let images = self.hosts[host % all].snapshots.clone();
                return self.restore(host % all, images, back, seed);
            }
            Event::Clone(host, from, seed) => return self.clone_of(host % all, from % all, seed),
            Event::Dies(host, death, None) => self.dies(host % all, death),
            Event::Dies(host, death, Some(ticks)) => {
                self.hosts[host % all].fuse = Some((ticks, death));
            }
            Event::Full(host) => self.hosts[host % all].is_full ^= true,
            Event::Hold(host) => self.hosts[host % all].holds = true,
            Event::Release(host) => {
                self.hosts[host % all].holds = false;
                if self.hosts[host % all].is_up {
                    return self.scan(host % all);
                }
            }
            Event::Mount(host) => self.hosts[host % all].is_mounted ^= true,
            Event::Race(host, path, edits) => self.hosts[host % all].race = Some((path, edits)),
            _ => return self.event_when_up(event),
        }
        Ok(())
    }

    /// What happens only on a host that is up.
    fn event_when_up(&mut self, event: Event) -> Result<(), Crash> {
        let all = self.hosts.len();
        let is_up = |host: usize| self.hosts[host % all].is_up;
        match event {
            Event::Scan(host) if is_up(host) => self.scan(host % all),
            Event::NewId(host) if is_up(host) => {
                let id = self.id();
                self.hosts[host % all].index.renew(id);
                self.log(host % all)
            }
            Event::LoseIndex(host) if is_up(host) => self.lose_index(host % all),
            Event::Tell(host, pushes) if is_up(host) => self.tell(host % all, pushes, false),
            Event::Bury(host, by_age) if is_up(host) => self.bury(host % all, by_age),
            Event::Retire(host) if is_up(host) => self.retire(host % all),
            Event::Conflict(host, takes, path, which) if is_up(host) => {
                self.conflict(host % all, takes, path, which)
            }
            Event::OldKnown(host) if is_up(host) => {
                self.old_known.push(self.hosts[host % all].index.known().clone());
                Ok(())
            }
            Event::Sync(from, to) if is_up(from) => {
                self.scan(from % all)?;
                self.sync(from % all, to % all)
            }
            Event::Send(from, seed, scans) if is_up(from) => self.send(from % all, seed, scans),
            Event::Receive(to, seed) if is_up(to) => self.receive(to % all, seed),
            _ => Ok(()),
        }
    }
}

/// Runs a history.
pub(super) fn play(history: &History, switches: Switches, traces: bool) -> World {
    let mut world = World::new(history.hosts, switches, traces);
    for event in &history.events {
        world.say(|| format!("> {event:?}"));
        if let Err(Crash(host)) = world.event(*event) {
            let death = world.hosts[host].fuse.map(|(_, death)| death);
            world.dies(host, death.unwrap());
        }
        if world.bad.is_empty() {
            world.honest();
        }
    }
    world.finish(history.seed).unwrap();
    world
}

/// The least of a history in which the same goes wrong.
pub(super) fn shrink(history: &History, switches: Switches, kind: &str) -> History {
    let fails = |history: &History| play(history, switches, false).bad.contains_key(kind);
    let mut least = history.clone();
    let mut size = least.events.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < least.events.len() {
            let mut less = least.clone();
            less.events.drain(at..(at + size).min(less.events.len()));
            match fails(&less) {
                true => least = less,
                false => at += size,
            }
        }
        size /= 2;
    }
    while least.hosts > 2 {
        let fewer = History { hosts: least.hosts - 1, ..least.clone() };
        if !fails(&fewer) {
            break;
        }
        least = fewer;
    }
    least
}
