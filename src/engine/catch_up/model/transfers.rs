//! Transfers of the model: they begin, take one file after another, and end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{FILES, File, PATHS, Running, Sent, World, Wrong, file, hash, path};
use crate::engine::catch_up::types::State;
use crate::engine::catch_up::{Audience, Deed, Folded, Hash, Names, Record, RecordId};
use crate::stamp::Stamp;
use crate::wire::begin::{Folds, Recorded};

impl World {
    /// `list`: the files that are in a list, as bits; without, all are sent.
    pub(super) fn begin(
        &mut self,
        host: usize,
        at: usize,
        deletes: bool,
        to: Option<&[usize]>,
        list: Option<usize>,
    ) {
        let wall = u64::try_from(self.wall(host)).unwrap();
        let h = &mut self.hosts[host];
        h.height = wall.max(h.height + 1);
        let id = RecordId { stamp: Stamp::at(h.height), host: Arc::clone(&h.name) };
        let name = |&host: &usize| self.hosts[host].name.as_ref().clone();
        let audience =
            to.map_or(Audience::All, |to| Audience::named(to.iter().map(name).collect()));
        let listed = list.is_some();
        let deed = Deed { recursive: true, deletes, listed, ..Deed::default() };
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
        let is_in = |f: usize| {
            let has = deletes || self.hosts[host].tree.contains_key(&f);
            list.is_none_or(|list| list >> f & 1 == 1 && has)
        };
        let below = (0..FILES.len()).rev().filter(|&f| file(f).is_under(&record.path));
        let todo = below.filter(|&f| is_in(f)).collect();
        let lives = targets.iter().map(|&p| (p, self.hosts[p].life)).collect();
        let (at, files) = (self.now, BTreeMap::new());
        let (gone, folded) = (BTreeSet::new(), BTreeMap::new());
        let sent = Sent { record, by: host, at, files, gone, folded, has_ended: false, is_kept };
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
                (None, Some(_)) => !self.sent[&id].gone.contains(&f) || !self.switches.same,
                (None, None) => true,
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
        } else if deletes && self.sent[&id].record.deed.listed {
            self.sent.get_mut(&id).unwrap().gone.insert(f);
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

    /// What its sender has sent before becomes part of a list.
    fn fold(&mut self, source: usize, id: &RecordId) -> Option<Folds> {
        let mut sent = self.sent[id].clone();
        if !sent.record.deed.listed || !sent.is_kept {
            return None;
        }
        let journal = &self.hosts[source].journal;
        let since = journal.foldable(&sent.record, sent.all_names().count)?;
        sent.record.deed.since = Some(since);
        let Folded { ids, keys, .. } = journal.folded(&sent.record);
        let all = folded(ids.iter().map(|id| self.sent[id].clone()), &sent);
        self.say(format!("{id} folds {ids:?}"));
        let names = all.all_names();
        self.sent.insert(id.clone(), all);
        Some(Folds { since, keys, names })
    }

    fn end(&mut self, running: &Running) {
        let (id, source) = (&running.id, running.source);
        let deletes = self.sent[id].record.deed.deletes;
        let own = (self.sent[id].list(), self.sent[id].all_names());
        let folds = match running.pulls {
            true => None,
            false => self.fold(source, id),
        };
        let sent = self.sent.get_mut(id).unwrap();
        let (list, names) = (sent.list(), sent.all_names());
        let end = Recorded { names: own.1, deletes, folds };
        if !running.pulls {
            sent.has_ended = true;
            sent.record.names = names;
            sent.record.deed.since = folds.map(|folds| folds.since);
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
                if sent.record.deed.listed {
                    // What is declined is named.
                    h.lists.0.insert(id.clone(), list.clone());
                }
                self.say(format!("h{p} is not satisfied with {id} of h{source}"));
                continue;
            }
            if running.pulls {
                h.lists.0.insert(id.clone(), list.clone());
                h.journal.advance(id, State::Complete, &mut h.lists);
            } else {
                let Folded { keys, state, .. } = h.journal.folded(&sent.record);
                let is_whole = folds.is_none_or(|folds| folds.keys == keys);
                let is_whole = is_whole || !self.switches.fold_whole;
                h.lists.0.insert(id.clone(), if is_whole { list.clone() } else { own.0.clone() });
                h.journal.ended(id, end, is_whole && state == State::Complete, &mut h.lists);
                if is_whole {
                    h.journal.advance(id, state, &mut h.lists);
                }
            }
            h.tried.remove(id);
            self.say(format!("h{p} has {id}"));
        }
    }
}

/// What `last` says, and what those before it say of the rest, the earliest first.
fn folded(before: impl Iterator<Item = Sent>, last: &Sent) -> Sent {
    let (mut files, mut gone, mut folded) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    for sent in before.chain([last.clone()]) {
        folded.extend(sent.all().map(|f| (f, sent.sent_at(f))));
        for &f in sent.files.keys() {
            gone.remove(&f);
        }
        for &f in &sent.gone {
            files.remove(&f);
            gone.insert(f);
        }
        files.extend(sent.files);
    }
    Sent { files, gone, folded, ..last.clone() }
}

impl Sent {
    /// The files that it names.
    pub(super) fn all(&self) -> impl Iterator<Item = File> {
        self.files.keys().chain(&self.gone).copied()
    }

    /// When a file was really sent.
    pub(super) fn sent_at(&self, f: File) -> i64 {
        self.folded.get(&f).copied().unwrap_or(self.at)
    }

    pub(super) fn names(&self, f: File) -> bool {
        self.files.contains_key(&f) || self.gone.contains(&f)
    }

    fn all_names(&self) -> Names {
        let mut names = Names::default();
        self.all().for_each(|f| names.add(hash(f)));
        names
    }

    fn list(&self) -> BTreeSet<Hash> {
        let below = self.gone.iter().map(|&f| Hash::of_all_below(FILES[f].as_bytes()));
        self.all().map(hash).chain(below).collect()
    }
}
