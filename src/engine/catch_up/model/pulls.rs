//! How hosts of the model hear of records and pull what they lack.

use std::collections::BTreeSet;

use super::{FILES, Running, World, file};
use crate::engine::catch_up::types::{Learned, State};
use crate::engine::catch_up::{Hash, Record, RecordId};

impl World {
    /// A host hears another one.
    pub(super) fn hear(&mut self, host: usize, from: usize) -> bool {
        if host == from || !self.reach(host, from) {
            return false;
        }
        let heights = (self.hosts[host].height, self.hosts[from].height);
        self.adopt(host, heights.1);
        self.adopt(from, heights.0);
        if self.is_odd(host, from) {
            return false;
        }
        if self.hosts[host].journal.agrees_with(&self.hosts[from].journal.summary()) {
            return false;
        }
        let records: Vec<Record> = self.hosts[from]
            .journal
            .iter()
            .filter(|(record, _, has_ended)| {
                *has_ended || (!self.switches.journal.ended && self.sent[&record.id].has_ended)
            })
            .map(|(record, ..)| record.clone())
            .collect();
        let mut news = false;
        for record in records {
            let id = record.id.clone();
            if self.switches.far && self.is_ahead(host, id.stamp) {
                continue;
            }
            let h = &mut self.hosts[host];
            let takes = id.stamp >= h.born || !self.switches.born;
            let learned = h.journal.learn(record, takes, &mut h.lists);
            if let Learned::New(state) = learned {
                news = true;
                self.say(format!("h{host} learns {id} of h{from}: {state:?}"));
            }
        }
        news
    }

    fn donor(&self, host: usize, id: &RecordId) -> Option<usize> {
        let tried = self.hosts[host].tried.get(id);
        let gives = |p: &usize| {
            *p != host
                && self.reach(host, *p)
                && !self.is_odd(host, *p)
                && self.hosts[*p].journal.can_give(id)
                && !tried.is_some_and(|tried| tried.contains(p))
        };
        let rank = |p: &usize| {
            let name = &self.hosts[*p].name;
            (
                **name == *id.host,
                Hash::of(&[name.as_str().as_bytes(), &id.key().to_be_bytes()].concat()),
            )
        };
        (0..self.hosts.len()).filter(gives).min_by_key(rank)
    }

    pub(super) fn pull(&mut self, host: usize, n: usize) -> bool {
        if !self.hosts[host].is_up {
            return false;
        }
        let is_pulling = |id: &RecordId| {
            self.running.iter().any(|r| r.id == *id && r.targets.contains_key(&host))
        };
        let journal = &self.hosts[host].journal;
        let noted = journal.iter().rev().filter(|(record, state, _)| {
            *state == State::Noted
                && record.is_for(&self.hosts[host].name)
                && self.donor(host, &record.id).is_some()
        });
        let wanted: Vec<RecordId> = journal
            .wanted()
            .cloned()
            .chain(noted.map(|(record, ..)| record.id.clone()))
            .filter(|id| !is_pulling(id))
            .filter(|id| self.donor(host, id).is_some() || self.hosts[host].tried.contains_key(id))
            .collect();
        if wanted.is_empty() {
            return false;
        }
        let id = wanted[n / 2 % wanted.len()].clone();
        let Some(donor) = self.donor(host, &id) else {
            // All who have it were asked.
            let h = &mut self.hosts[host];
            h.journal.advance(&id, State::Noted, &mut h.lists);
            self.say(format!("h{host} notes {id}"));
            return true;
        };
        if self.running.iter().any(|r| r.pulls && r.source == donor) {
            return false;
        }
        let asks: Vec<usize> = (0..self.hosts.len())
            .filter(|&p| {
                self.hosts[p].is_up
                    && (p == host || self.hosts[p].journal.wanted().any(|wanted| *wanted == id))
                    && self.donor(p, &id) == Some(donor)
                    && !self.running.iter().any(|r| r.id == id && r.targets.contains_key(&p))
            })
            .collect();
        let sent = &self.sent[&id];
        let is_in = |&f: &usize| {
            let listed = sent.record.deed.listed;
            file(f).is_under(&sent.record.path) && (!listed || sent.names(f))
        };
        let todo = (0..FILES.len()).rev().filter(is_in).collect();
        for &p in &asks {
            self.hosts[p].journal.pulls(&id);
        }
        self.say(format!("{asks:?} pull {id} from h{donor}"));
        self.running.push(Running {
            id,
            source: donor,
            life: self.hosts[donor].life,
            targets: asks.into_iter().map(|p| (p, self.hosts[p].life)).collect(),
            odd: BTreeSet::new(),
            todo,
            pulls: true,
            declined: BTreeSet::new(),
        });
        true
    }
}
