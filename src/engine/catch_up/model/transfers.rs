//! Transfers of the model: they begin, take one file after another, and end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{FILES, File, PATHS, Running, Sent, World, Wrong, file, hash, path};
use crate::engine::catch_up::types::State;
use crate::engine::catch_up::{Audience, Deed, Hash, Names, Record, RecordId};
use crate::stamp::Stamp;
use crate::wire::begin::Recorded;

impl World {
    pub(super) fn begin(&mut self, host: usize, at: usize, deletes: bool, to: Option<&[usize]>) {
        let wall = u64::try_from(self.wall(host)).unwrap();
        let h = &mut self.hosts[host];
        h.height = wall.max(h.height + 1);
        let id = RecordId { stamp: Stamp::at(h.height), host: Arc::clone(&h.name) };
        let name = |&host: &usize| self.hosts[host].name.as_ref().clone();
        let audience =
            to.map_or(Audience::All, |to| Audience::named(to.iter().map(name).collect()));
        let deed = Deed { recursive: true, deletes, ..Deed::default() };
        let names = Names::default();
        let record =
            Record { id: id.clone(), path: path(at), deed, audience, patterns: None, names };
        let targets: Vec<usize> = (0..self.hosts.len())
            .filter(|&p| p != host && self.reach(host, p) && record.is_for(&self.hosts[p].name))
            .collect();
        let odd: BTreeSet<usize> =
            targets.iter().copied().filter(|&p| self.is_odd(host, p)).collect();
        let is_kept = targets.is_empty() || odd.len() < targets.len();
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
            self.adopt(p, id.stamp.millis());
            if !odd.contains(&p) && is_kept {
                self.hosts[p].journal.began(record.clone());
            }
        }
        let todo = (0..FILES.len()).rev().filter(|&f| file(f).is_under(&record.path)).collect();
        let lives = targets.iter().map(|&p| (p, self.hosts[p].life)).collect();
        let (at, files) = (self.now, BTreeMap::new());
        let sent = Sent { record, by: host, at, files, has_ended: false, is_kept };
        self.sent.insert(id.clone(), sent);
        self.running.push(Running {
            id,
            source: host,
            life: self.hosts[host].life,
            targets: lives,
            odd,
            todo,
            pulls: false,
            declined: BTreeSet::new(),
        });
    }

    /// One step of a running transfer.
    pub(super) fn step(&mut self, which: usize) -> Result<(), Wrong> {
        let mut running = self.running.remove(which);
        let source = running.source;
        let lives: Vec<usize> = running
            .targets
            .iter()
            .filter(|&(&p, &life)| self.hosts[p].life == life && self.reach(source, p))
            .map(|(&p, _)| p)
            .collect();
        running.targets.retain(|p, _| lives.contains(p));
        running.odd.retain(|p| lives.contains(p));
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
            if running.odd.contains(&target) {
                if (has.is_some() || deletes) && !self.put_odd(target, f, has) {
                    running.targets.remove(&target);
                }
                self.say(format!("h{target} takes {}={has:?} of {id} without a record", FILES[f]));
                let path = self.sent[&id].record.path.clone();
                self.unrecorded(&BTreeSet::from([target]), &path);
                continue;
            }
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
                if sent.is_kept && h.tree.get(&f).is_some_and(|(has, _)| *has == value) {
                    h.released.insert(f, Some(id.clone()));
                }
            }
            if sent.is_kept {
                h.lists.0.insert(id.clone(), list.clone());
                h.journal.ended(id, end, true, &mut h.lists);
            }
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
}
