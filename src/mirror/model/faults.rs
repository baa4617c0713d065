//! What goes wrong: hosts that die, are copied, set back, or lose their index; and what that excuses.

use std::collections::BTreeSet;

use super::disk::{Death, Disk, File, Host, Image};
use super::{Contents, Crash, Duty, Ops, PATHS, World, content, paths};
use crate::engine::rng::Rng;
use crate::mirror::look::Verdict;
use crate::stamp::Stamp;
use crate::wire::versions::{Dot, IndexId, Knowledge};

/// What was there before state was taken back.
pub(super) struct Before {
    known: Vec<Ops>,
    held: BTreeSet<(usize, u32)>,
}

/// How a host's state is put back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Back {
    /// From a backup, by somebody who says so.
    Restored,
    /// By a virtual machine, unseen.
    Unseen,
    /// To what another host is.
    Cloned,
}

impl World {
    fn before(&self, host: usize) -> Before {
        let h = &self.hosts[host];
        let known = |path: usize| h.ghosts[path].union(&h.disk[path].deeds).copied().collect();
        let new = self.deeds.iter().filter_map(|deed| Some((deed.path, deed.new?)));
        Before {
            known: paths().map(known).collect(),
            held: new.filter(|(path, content)| h.has(*path, *content)).collect(),
        }
    }

    /// State was taken back: which deeds that undoes, which dots were never given, and what is gone.
    fn undo(&mut self, host: usize, before: &Before) {
        let knows = |h: &Host, deed: usize, path: usize| {
            h.ghosts[path].contains(&deed) || h.disk[path].deeds.contains(&deed)
        };
        for n in 0..self.deeds.len() {
            let (by, path) = (self.deeds[n].host, self.deeds[n].path);
            let h = &self.hosts[host];
            let is_gone = before.known[path].contains(&n)
                && (by == host || !h.ghosts[path].contains(&n))
                && !h.disk[path].deeds.contains(&n)
                && !self.hosts.iter().any(|other| other.n != host && knows(other, n, path));
            self.deeds[n].void |= is_gone;
        }
        let contexts: Vec<Knowledge> = (0..self.hosts.len())
            .flat_map(|host| paths().map(move |path| (host, path)))
            .map(|(host, path)| self.context(host, path))
            .collect();
        let net = &self.net;
        self.given.retain(|dot, _| {
            contexts.iter().any(|known| known.covers(*dot)) || net.iter().any(|m| m.knows(*dot))
        });
        for (path, content) in &before.held {
            if !self.hosts.iter().any(|h| h.has(*path, *content)) {
                self.gone.insert((*path, *content));
            }
        }
    }

    /// A file stood for what others had written there as well, without having been touched, and the index does not know
    /// of them any more: all is as if that had never come, and whoever edits the file replaces what it was.
    fn forget_equals(&mut self, host: usize) {
        for path in paths() {
            let h = &mut self.hosts[host];
            let Disk { file, deeds, .. } = &h.disk[path];
            let is_known = |deed: &usize| h.ghosts[path].contains(deed) || deeds.contains(deed);
            for n in deeds.difference(&h.ghosts[path]) {
                self.deeds[*n].replaced.retain(is_known);
            }
            let Some(file) = file else { continue };
            let known = file.deeds.iter().copied().filter(is_known).collect();
            h.recall(path, known);
        }
    }

    /// On a host of which the index does not vouch, a deletion that no index knows of may be undone; an edit stays, but
    /// what it replaced may be seen again.
    pub(super) fn unsure(&mut self, host: usize) {
        for n in 0..self.deeds.len() {
            let path = self.deeds[n].path;
            let is_known = self.hosts.iter().any(|h| h.ghosts[path].contains(&n));
            if self.hosts[host].disk[path].deeds.contains(&n) && !is_known {
                match self.deeds[n].new {
                    None => self.deeds[n].void = true,
                    Some(_) => self.deeds[n].regained = true,
                }
            }
        }
    }

    /// Whether a path is not what was placed there.
    fn differs(&self, host: usize, path: usize) -> bool {
        let h = &self.hosts[host];
        let placed = h.index.entry(PATHS[path]).on_disk().map(content);
        h.disk[path].file.as_ref().map(|file| file.content) != placed
    }

    pub(super) fn dies(&mut self, host: usize, death: Death) {
        self.say(|| format!("h{host} dies: {death:?}"));
        let before = self.before(host);
        let mut rng = Rng::new(death.seed);
        self.hosts[host].is_up = false;
        self.lose(host, death, |bound| rng.below(bound as u64) as usize);
        if death.power && !death.lies {
            self.forget_equals(host);
        }
        self.undo(host, &before);
        self.hosts[host].is_unvouched |= death.lies;
        if death.lies {
            // What the index does not know of among the conflicts goes to the trash.
            for path in paths() {
                let members = self.hosts[host].index.entry(PATHS[path]).members;
                let known: Contents =
                    members.iter().filter_map(|m| m.version.map(content)).collect();
                let lost = self.hosts[host].disk[path].conflicts.difference(&known);
                self.gone.extend(lost.map(|content| (path, *content)));
            }
        }
        if self.hosts[host].is_unvouched {
            self.unsure(host);
        }
    }

    pub(super) fn start(&mut self, host: usize) -> Result<(), Crash> {
        if self.hosts[host].is_up {
            return Ok(());
        }
        self.say(|| format!("h{host} starts"));
        self.hosts[host].is_up = true;
        let vouches = !std::mem::take(&mut self.hosts[host].is_unvouched);
        if !vouches && self.switches.has(Duty::LieId) {
            let id = self.id();
            self.hosts[host].index.renew(id);
        }
        self.recover(host, vouches)?;
        if !vouches && self.switches.has(Duty::List) {
            self.list(host)?;
        }
        self.scan(host)
    }

    /// The slots decide what was being placed.
    fn recover(&mut self, host: usize, vouches: bool) -> Result<(), Crash> {
        for (path, intent) in self.hosts[host].index.intents() {
            let path = PATHS.iter().position(|p| **p == *path).unwrap();
            let Disk { file, slot, .. } = self.hosts[host].disk[path].clone();
            let found = file.as_ref().and_then(File::found);
            let slot = slot.filter(|(number, _)| *number == intent.slot).map(|(_, file)| file);
            let in_slot = slot.as_ref().and_then(File::found);
            let deeds = slot.as_ref().map(|file| file.deeds.clone()).unwrap_or_default();
            let verdict = self.change(host, path, &deeds, |index| {
                index.recover(PATHS[path], in_slot, found, vouches)
            });
            if let Verdict::Edited(_) = verdict {
                self.keep(host, path, slot);
            }
        }
        self.log(host)?;
        if self.switches.has(Duty::RecordSync) {
            self.sync_log(host)?;
        }
        paths().for_each(|path| self.hosts[host].write(path, |disk| disk.slot = None));
        Ok(())
    }

    /// What an index finds different that does not vouch is listed.
    fn list(&mut self, host: usize) -> Result<(), Crash> {
        for path in paths() {
            let found = self.hosts[host].disk[path].found();
            self.hosts[host].index.list(PATHS[path], found);
        }
        self.log(host)?;
        let h = &mut self.hosts[host];
        let image = h.image();
        h.set_index(image);
        Ok(())
    }

    pub(super) fn snapshot(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        h.snapshots.push((h.disk.clone(), h.image()));
    }

    pub(super) fn clone_of(&mut self, host: usize, from: usize, seed: u64) -> Result<(), Crash> {
        let other = &self.hosts[from];
        let now = || vec![(other.disk.clone(), other.synced().clone())];
        let images = match &other.snapshots {
            none if none.is_empty() && other.is_up => now(),
            snapshots => snapshots.clone(),
        };
        if host == from { Ok(()) } else { self.restore(host, images, Back::Cloned, seed) }
    }

    pub(super) fn restore(
        &mut self,
        host: usize,
        mut images: Vec<(Vec<Disk>, Image)>,
        back: Back,
        seed: u64,
    ) -> Result<(), Crash> {
        if images.is_empty() {
            return Ok(());
        }
        let mut rng = Rng::new(seed);
        let before = self.before(host);
        let tree = rng.below(images.len() as u64) as usize;
        let is_one = back == Back::Unseen || rng.below(10) < 6;
        let index = if is_one { tree } else { rng.below(images.len() as u64) as usize };
        self.say(|| format!("h{host} is {back:?}: tree {tree}, index {index}"));
        let (disk, image) = (images[tree].0.clone(), images[index].1.clone());
        images.truncate(if back == Back::Cloned { 0 } else { tree.max(index) + 1 });
        let run = self.id();
        let h = &mut self.hosts[host];
        h.set_disk(disk);
        h.set_index(image.as_read(run));
        h.forget();
        h.snapshots = images;
        (h.is_up, h.is_mounted) = (true, true);
        if self.switches.keeps_ids {
            // A transfer is over when its sender is gone.
            self.net.retain(|message| message.from != host);
        }
        self.undo(host, &before);
        let duty = if back == Back::Cloned { Duty::CloneId } else { Duty::RestoreId };
        if back != Back::Unseen && self.switches.has(duty) {
            let id = self.id();
            self.hosts[host].index.renew(id);
        }
        self.unsure(host);
        if back == Back::Unseen {
            // Versions on a disk that its index does not vouch for may be seen again.
            for path in paths() {
                if self.differs(host, path) {
                    let file = self.hosts[host].disk[path].file.clone();
                    self.excepted.extend(file.map(|file| file.deeds).unwrap_or_default());
                }
            }
        }
        self.recover(host, back == Back::Unseen)?;
        match back != Back::Unseen && self.switches.has(Duty::List) {
            true => self.list(host),
            false => Ok(()),
        }
    }

    pub(super) fn lose_index(&mut self, host: usize) -> Result<(), Crash> {
        self.say(|| format!("h{host} loses its index"));
        let before = self.before(host);
        // What lies among the conflicts goes to the trash; what no other index knows of was there alone, also if somebody
        // else has written the same.
        for (n, deed) in self.deeds.iter().enumerate() {
            let knows = |h: &Host| h.n != host && h.ghosts[deed.path].contains(&n);
            if let Some(content) = deed.new {
                let is_kept = self.hosts[host].disk[deed.path].conflicts.contains(&content);
                if is_kept && !self.hosts.iter().any(knows) {
                    self.gone.insert((deed.path, content));
                }
            }
        }
        let index = self.new_index();
        let h = &mut self.hosts[host];
        h.set_index(Image { index, ghosts: vec![Ops::new(); PATHS.len()] });
        h.forget();
        h.snapshots.clear();
        let disk = h.disk.iter().map(|disk| Disk {
            slot: None,
            conflicts: Contents::new(),
            ..disk.clone()
        });
        h.set_disk(disk.collect());
        if self.switches.has(Duty::Adopt) {
            self.list(host)?;
        }
        for path in paths() {
            let Disk { file, deeds, .. } = self.hosts[host].disk[path].clone();
            for deed in deeds {
                if !self.hosts.iter().any(|h| h.ghosts[path].contains(&deed)) {
                    match file {
                        Some(_) => self.deeds[deed].regained = true,
                        None => self.deeds[deed].void = true,
                    }
                }
            }
        }
        self.undo(host, &before);
        Ok(())
    }

    pub(super) fn bury(&mut self, host: usize, by_age: bool) -> Result<(), Crash> {
        let others = self.others(host);
        let h = &mut self.hosts[host];
        let all = h.roster.known_to(&others, h.index.known());
        let older = if by_age { Stamp::from_bits(u64::MAX) } else { Stamp::ZERO };
        self.hosts[host].index.bury(&all, older, usize::MAX);
        self.log(host)
    }

    /// The mutant that forgets ids of which everybody knows everything.
    pub(super) fn retire(&mut self, host: usize) -> Result<(), Crash> {
        if self.switches.has(Duty::KeepId) {
            return Ok(());
        }
        let current: Vec<IndexId> = self.hosts.iter().map(|h| h.index.id()).collect();
        let known: Vec<(IndexId, u64)> = self.hosts[host].index.known().iter().collect();
        for (id, _) in known {
            let own = self.given.keys().filter(|dot| dot.by == id);
            let top = own.map(|dot: &Dot| dot.seq).max().unwrap_or(0);
            if current.contains(&id) || self.hosts.iter().any(|h| h.index.known().of(id) < top) {
                continue;
            }
            let without = |known: &Knowledge| {
                let mut out = Knowledge::default();
                let others = known.iter().filter(|(other, _)| *other != id);
                others.for_each(|(other, seq)| out.learn(other, seq));
                out
            };
            let index = &mut self.hosts[host].index;
            index.known = without(&index.known);
            index.floor = without(&index.floor);
            index.write_head();
        }
        self.log(host)
    }
}
