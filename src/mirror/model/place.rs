//! Looking at the disk, and placing what should be there.

use super::disk::File;
use super::people::Act;
use super::{Contents, Crash, Duty, Ops, PATHS, World, content, object, version};
use crate::mirror::look::Looked;
use crate::mirror::show::{Shown, Todo};
use crate::mirror::types::Intent;
use crate::wire::versions::Dot;

impl World {
    /// Looks at a path. None if the tree has stopped.
    pub(super) fn look(&mut self, host: usize, path: usize) -> Result<Option<Looked>, Crash> {
        let h = &self.hosts[host];
        if !h.is_mounted && self.switches.has(Duty::Root) {
            return Ok(None);
        }
        let file = h.disk[path].file.clone().filter(|_| h.is_mounted);
        let found = file.as_ref().and_then(File::found);
        let holds = h.holds;
        let entry = h.index.entry(PATHS[path]);
        let is_wanted = match h.index.view(PATHS[path]).shown {
            Shown::One(version) => entry.stands_for(version),
            Shown::Implied | Shown::Nothing => false,
        };
        let deeds = file.map(|file| file.deeds).unwrap_or_default();
        let looked = self.change(host, path, &deeds, |index| index.look(PATHS[path], found, holds));
        if holds && is_wanted && found.is_none() && matches!(looked, Looked::Changed(_)) {
            self.bad.insert("held deletion sent", format!("h{host}"));
        }
        self.log(host)?;
        Ok(Some(looked))
    }

    pub(super) fn scan(&mut self, host: usize) -> Result<(), Crash> {
        for path in 0..PATHS.len() {
            self.look(host, path)?;
            self.place(host, path)?;
        }
        Ok(())
    }

    /// Makes the disk what the index says.
    pub(super) fn place(&mut self, host: usize, path: usize) -> Result<(), Crash> {
        if !self.hosts[host].is_mounted {
            return Ok(());
        }
        for _ in 0..4 {
            let Some(looked) = self.look(host, path)? else { return Ok(()) };
            if looked == Looked::Held {
                return Ok(());
            }
            let todo = self.hosts[host].index.todo(PATHS[path]);
            self.log(host)?;
            let entry = self.hosts[host].index.entry(PATHS[path]);
            if entry.listed {
                return Ok(());
            }
            if looked == Looked::Listed {
                self.adopted(host, path, &entry.placed.dots);
            }
            let losers = self.hosts[host].index.losers(PATHS[path]);
            let losers: Contents =
                losers.into_iter().map(|(version, _)| content(version)).collect();
            for loser in &losers {
                let h = &mut self.hosts[host];
                if !h.disk[path].conflicts.contains(loser) && h.has(path, *loser) {
                    h.write(path, |disk| _ = disk.conflicts.insert(*loser));
                }
            }
            match todo {
                Todo::Nothing => {
                    self.stands_for(host, path, &entry.placed.dots);
                    self.tidy(host, path, &losers);
                    return Ok(());
                }
                Todo::Remove { .. } if self.hosts[host].holds => return Ok(()),
                Todo::Remove { dots } => {
                    if self.remove(host, path, dots)? {
                        self.tidy(host, path, &losers);
                        return Ok(());
                    }
                }
                Todo::Place { version, dots } => {
                    let h = &self.hosts[host];
                    if !h.has(path, content(version)) || h.is_full {
                        return Ok(());
                    }
                    self.commit(host, path, content(version), dots)?;
                }
                Todo::Directory { .. } => unreachable!("there are no directories"),
            }
        }
        Ok(())
    }

    /// A listed file is what others have: whether what it was here stays is theirs to decide.
    fn adopted(&mut self, host: usize, path: usize, dots: &[Dot]) {
        let Some(file) = self.hosts[host].disk[path].file.clone() else { return };
        let theirs: Ops = dots.iter().flat_map(|dot| self.deeds_in(*dot, file.content)).collect();
        if !dots.is_empty() {
            for deed in file.deeds.difference(&theirs) {
                self.deeds[*deed].grey = true;
                self.excepted.insert(*deed);
            }
            self.stands_for(host, path, dots);
        }
    }

    /// The file at a path has the deeds of its dots in it.
    fn stands_for(&mut self, host: usize, path: usize, dots: &[Dot]) {
        let Some(file) = &self.hosts[host].disk[path].file else { return };
        let (mut deeds, content) = (file.deeds.clone(), file.content);
        for (dot, c) in self.live(host, path) {
            if c == content && dots.contains(&dot) {
                deeds.extend(self.deeds_in(dot, c));
            }
        }
        self.hosts[host].recall(path, deeds);
    }

    fn tidy(&mut self, host: usize, path: usize, losers: &Contents) {
        let h = &mut self.hosts[host];
        h.staged[path].clear();
        if !h.disk[path].conflicts.is_subset(losers) {
            h.write(path, |disk| disk.conflicts.retain(|content| losers.contains(content)));
        }
    }

    fn meanwhile(&mut self, host: usize, path: usize) {
        if let Some((_, edits)) = self.hosts[host].race.take_if(|(p, _)| *p == path) {
            self.say(|| format!("  somebody is at it on h{host}"));
            self.act(host, if edits { Act::Edit } else { Act::Remove }, path);
        }
    }

    fn remove(&mut self, host: usize, path: usize, dots: Vec<Dot>) -> Result<bool, Crash> {
        if self.hosts[host].holds {
            self.bad.insert("held deletion applied", format!("h{host}"));
        }
        self.meanwhile(host, path);
        self.tick(host)?;
        self.work += 1;
        let h = &mut self.hosts[host];
        let out = h.disk[path].file.clone();
        let ghosts = h.ghosts[path].clone();
        h.write(path, |disk| {
            disk.file = None;
            disk.deeds.extend(ghosts);
        });
        let found = out.as_ref().and_then(File::found);
        let is_gone =
            self.change(host, path, &Ops::new(), |index| index.removed(PATHS[path], found, dots));
        if !is_gone {
            self.hosts[host].write(path, |disk| disk.file = out);
            return Ok(false);
        }
        self.say(|| format!("h{host} removes {}", super::name(path)));
        self.tick(host)?;
        self.log(host)?;
        Ok(true)
    }

    fn commit(&mut self, host: usize, path: usize, c: u32, dots: Vec<Dot>) -> Result<(), Crash> {
        let ino = self.inode();
        let deeds: Ops = dots.iter().flat_map(|dot| self.deeds_in(*dot, c)).collect();
        self.work += 1;
        let slot = if self.switches.has(Duty::FreshSlot) { ino } else { path as u64 };
        let staged = File { ino, content: c, deeds };
        self.hosts[host].write(path, |disk| disk.slot = Some((slot, staged.clone())));
        if self.switches.has(Duty::StageSync) {
            self.sync_path(host, path)?;
        }
        let intent = Intent { version: version(c), ino, dots, slot };
        self.hosts[host].index.begin(PATHS[path], intent);
        match self.switches.has(Duty::Intent) {
            true => {
                self.log(host)?;
                self.sync_log(host)?;
            }
            false => _ = self.hosts[host].index.due(),
        }
        self.meanwhile(host, path);
        self.tick(host)?;
        let h = &mut self.hosts[host];
        let ghosts = h.ghosts[path].clone();
        let out = h.disk[path].file.clone();
        h.write(path, |disk| {
            disk.slot = disk.file.replace(staged).map(|file| (slot, file));
            disk.deeds.extend(ghosts);
        });
        self.say(|| format!("h{host} places {}={c}", super::name(path)));
        self.tick(host)?;
        let found = out.as_ref().and_then(File::found);
        let deeds = out.as_ref().map(|file| file.deeds.clone()).unwrap_or_default();
        let dot = self
            .change(host, path, &deeds, |index| index.committed(PATHS[path], found, object(ino)));
        self.keep(host, path, dot.and(out));
        self.log(host)?;
        self.hosts[host].write(path, |disk| disk.slot = None);
        Ok(())
    }

    /// What came out and is a local edit goes to the conflicts.
    pub(super) fn keep(&mut self, host: usize, path: usize, out: Option<File>) {
        if let Some(file) = out {
            self.hosts[host].write(path, |disk| _ = disk.conflicts.insert(file.content));
        }
    }
}
