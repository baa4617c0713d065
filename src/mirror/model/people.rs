//! What people do: to files, and to conflicts and listed files.

use super::disk::File;
use super::{Crash, Deed, Ops, PATHS, World, content, paths};
use crate::mirror::look::Looked;

/// What a user does to a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    Edit,
    /// Writes what another host has.
    Equal,
    Remove,
    /// Writes it anew with the same content.
    Touch,
}

impl World {
    pub(super) fn deed(
        &mut self,
        host: usize,
        path: usize,
        new: Option<u32>,
        replaced: Ops,
    ) -> usize {
        let (void, grey, regained) = (false, false, false);
        self.deeds.push(Deed { host, path, new, replaced, void, grey, regained });
        self.deeds.len() - 1
    }

    pub(super) fn act(&mut self, host: usize, act: Act, path: usize) {
        let h = &self.hosts[host];
        if !h.is_mounted {
            return;
        }
        let entry = h.index.entry(PATHS[path]);
        let file = h.disk[path].file.clone();
        let placed = entry.placed.found;
        let mut old = file.as_ref().map(|file| file.deeds.clone()).unwrap_or_default();
        if let (Some(file), Some((_, object))) = (&file, placed) {
            // It stands for all the dots that are shown.
            if object.ino == file.ino {
                for dot in &entry.placed.dots {
                    if entry.live().any(|(d, v)| d == *dot && content(v) == file.content) {
                        old.extend(self.deeds_in(*dot, file.content));
                    }
                }
            }
        }
        let deed = match (act, file) {
            (Act::Touch, Some(file)) => {
                let ino = self.inode();
                self.hosts[host].write(path, |disk| disk.file = Some(File { ino, ..file }));
                return;
            }
            (Act::Edit | Act::Equal, file) => {
                let others = self.hosts.iter().filter(|other| other.n != host);
                let equal =
                    others.filter_map(|other| Some(other.disk[path].file.as_ref()?.content));
                let equal = if act == Act::Equal { equal.take(1).next() } else { None };
                let is_known = |c: u32| {
                    file.as_ref().is_some_and(|file| file.content == c)
                        || placed.is_some_and(|(version, _)| content(version) == c)
                };
                let content = equal.filter(|c| !is_known(*c)).unwrap_or_else(|| {
                    self.contents += 1;
                    self.contents
                });
                let deed = self.deed(host, path, Some(content), old);
                let ino = self.inode();
                self.hosts[host].write(path, |disk| {
                    disk.file = Some(File { ino, content, deeds: Ops::from([deed]) });
                    disk.deeds.insert(deed);
                });
                deed
            }
            (Act::Remove, Some(_)) => {
                let deed = self.deed(host, path, None, old);
                self.hosts[host].write(path, |disk| {
                    disk.file = None;
                    disk.deeds.insert(deed);
                });
                deed
            }
            (Act::Remove | Act::Touch, None) => return,
        };
        if entry.listed {
            // A listed file is nobody's version yet.
            match act {
                Act::Edit | Act::Equal => self.deeds[deed].regained = true,
                Act::Remove | Act::Touch => self.deeds[deed].void = true,
            }
        }
        if self.hosts[host].is_unvouched && !self.hosts[host].is_up {
            self.unsure(host);
        }
    }

    /// Decides what is listed: pushes it, or gives way.
    pub(super) fn tell(&mut self, host: usize, pushes: bool, is_last: bool) -> Result<(), Crash> {
        if !self.hosts[host].index.has_heard() && !is_last {
            return Ok(());
        }
        for path in paths() {
            let entry = self.hosts[host].index.entry(PATHS[path]);
            if !entry.listed {
                continue;
            }
            self.look(host, path)?;
            let Some(file) = self.hosts[host].disk[path].file.clone() else { continue };
            let theirs: Ops = entry
                .live()
                .flat_map(|(dot, version)| self.deeds_in(dot, content(version)))
                .collect();
            if pushes {
                self.excepted.extend(&file.deeds);
                let others = theirs.difference(&file.deeds).copied().collect();
                let deed = self.deed(host, path, Some(file.content), others);
                let mut deeds = file.deeds.clone();
                deeds.insert(deed);
                self.hosts[host].write(path, |disk| {
                    disk.deeds.insert(deed);
                    disk.file = Some(File { deeds: deeds.clone(), ..file });
                });
                self.change(host, path, &deeds, |index| index.push(PATHS[path]));
                for deed in deeds {
                    if std::mem::take(&mut self.deeds[deed].grey) {
                        self.deeds[deed].regained = true;
                    }
                }
            } else {
                for deed in file.deeds.difference(&theirs) {
                    self.deeds[*deed].grey = true;
                }
                self.hosts[host].index.give_way(PATHS[path]);
            }
            self.log(host)?;
            self.place(host, path)?;
        }
        Ok(())
    }

    /// Drops or takes a conflict.
    pub(super) fn conflict(
        &mut self,
        host: usize,
        takes: bool,
        path: usize,
        which: usize,
    ) -> Result<(), Crash> {
        let looked = self.look(host, path)?;
        let losers = self.hosts[host].index.losers(PATHS[path]);
        if losers.is_empty() || !matches!(looked, Some(Looked::Same | Looked::Changed(_))) {
            return Ok(());
        }
        let (version, dots) = &losers[which % losers.len()];
        let c = content(*version);
        let mut theirs: Ops = dots.iter().flat_map(|dot| self.deeds_in(*dot, c)).collect();
        if !takes {
            let deed = self.deed(host, path, None, theirs);
            self.hosts[host].write(path, |disk| _ = disk.deeds.insert(deed));
            self.hosts[host].ghosts[path].insert(deed);
            self.change(host, path, &Ops::new(), |index| index.drop_conflict(PATHS[path], version));
        } else if self.hosts[host].has(path, c) && !self.hosts[host].is_full {
            let shown = self.hosts[host].index.view(PATHS[path]).dots;
            for (dot, content) in self.live(host, path) {
                if shown.contains(&dot) {
                    theirs.extend(self.deeds_in(dot, content));
                }
            }
            let deed = self.deed(host, path, Some(c), theirs);
            self.hosts[host].write(path, |disk| _ = disk.deeds.insert(deed));
            self.change(host, path, &Ops::from([deed]), |index| {
                index.take_conflict(PATHS[path], version)
            });
        }
        self.log(host)?;
        self.place(host, path)
    }
}
