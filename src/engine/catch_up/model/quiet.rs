//! What must be so once all is well again.

use std::collections::BTreeSet;

use super::clocks::LIMIT;
use super::{FILES, File, Host, Sent, Value, World, Wrong, file};
use crate::stamp::Stamp;

impl World {
    /// All is well again and all hosts that can be are up: in the end, everybody has what it is owed.
    pub(super) fn finish(&mut self) -> Result<(), Wrong> {
        self.run_out()?;
        for host in 0..self.hosts.len() {
            let h = &mut self.hosts[host];
            h.part = 0;
            h.is_full = false;
            if h.skew.abs() > LIMIT {
                h.skew = 0;
            }
            let is_far = self.is_ahead(host, Stamp::at(self.hosts[host].height));
            if self.hosts[host].is_dead {
                continue;
            }
            if is_far || !self.hosts[host].is_up {
                // Somebody has set its clock right, and starts its daemon anew.
                self.comes_up(host);
            }
        }
        self.say("quiet".to_owned());
        let all = self.hosts.len();
        let before: BTreeSet<(File, Value)> = self
            .hosts
            .iter()
            .filter(|h| h.is_up)
            .flat_map(|h| h.tree.iter().map(|(&f, &(value, _))| (f, value)))
            .collect();
        let mut rounds = 0;
        loop {
            let mut busy = false;
            for host in 0..all {
                for from in 0..all {
                    self.now += 1;
                    busy |= self.hear(host, from);
                }
            }
            for host in 0..all {
                for n in 0..6 {
                    busy |= self.pull(host, n);
                    self.run_out()?;
                }
            }
            if !busy {
                break;
            }
            rounds += 1;
            if rounds > 40 {
                return self.wrong("ENDLESS".to_owned());
            }
        }
        for host in 0..all {
            if self.hosts[host].is_up {
                for f in 0..FILES.len() {
                    self.check(host, f, &before)?;
                }
            }
        }
        Ok(())
    }

    fn run_out(&mut self) -> Result<(), Wrong> {
        while !self.running.is_empty() {
            self.now += 1;
            self.step(0)?;
        }
        Ok(())
    }

    /// Whether a host has what the last record says of a file.
    fn check(
        &mut self,
        host: usize,
        f: File,
        before: &BTreeSet<(File, Value)>,
    ) -> Result<(), Wrong> {
        let h = &self.hosts[host];
        let says = |sent: &&Sent| {
            file(f).is_under(&sent.record.path)
                && (sent.names(f) || sent.record.settles())
                && ((sent.record.is_for(&h.name) && sent.has_ended) || sent.by == host)
        };
        let is_kept = |sent: &&Sent| {
            sent.is_kept && !(self.switches.far && self.is_ahead(host, sent.record.id.stamp))
        };
        let mut sent = self.sent.values().rev().filter(is_kept);
        let Some(sent) = sent.find(says) else { return Ok(()) };
        if h.odd.contains(&f) || sent.record.id.stamp < h.born {
            return Ok(());
        }
        let has = h.tree.get(&f).map(|(value, _)| *value);
        let is_edited = h.released.get(&f).cloned().flatten().is_none()
            && h.dirty.get(&f).is_some_and(|at| *at > sent.sent_at(f));
        let is_of_unfinished = |value: Value| {
            self.sent.values().any(|other| {
                other.files.get(&f) == Some(&value)
                    && !other.has_ended
                    && other.record.id > sent.record.id
            })
        };
        // By the clock of its host.
        let is_local = self.is_local(host, &sent.record.id, f);
        let sent_it = has.is_some_and(|value| {
            self.sent.values().any(|other| other.by == host && other.files.get(&f) == Some(&value))
        });
        if sent.by == host || sent_it || is_edited || is_local || has.is_some_and(is_of_unfinished)
        {
            return Ok(());
        }
        let id = &sent.record.id;
        let is_held = |p: &&Host| {
            p.is_up
                && (p.journal.can_give(id)
                    || p.journal.iter().any(|(record, ..)| {
                        record.covers(&sent.record, || {
                            let later = &self.sent[&record.id];
                            !self.switches.journal.cover_all
                                || record.folds(&sent.record)
                                || sent.all().all(|f| later.names(f))
                        })
                    }))
        };
        if !self.hosts.iter().any(|p| is_held(&p)) {
            return Ok(());
        }
        match sent.files.get(&f).copied() {
            Some(owed) => {
                // A sender that has lost its journal does not know any more what it may give.
                let still = |p: &Host| {
                    p.is_up
                        && p.tree.get(&f).is_some_and(|(value, _)| *value == owed)
                        && (p.journal.can_give(id) || p.journal.get(id).is_none())
                };
                if before.contains(&(f, owed)) && self.hosts.iter().any(still) && has != Some(owed)
                {
                    let what =
                        format!("LACKS: h{host} {} has {has:?}, is owed {owed} of {id}", FILES[f]);
                    return self.wrong(what);
                }
            }
            None if has.is_some() => {
                let is_gone =
                    |p: &Host| p.is_up && !p.tree.contains_key(&f) && p.journal.can_give(id);
                if self.hosts.iter().any(is_gone) {
                    let what = format!("LACKS: h{host} {} is still there after {id}", FILES[f]);
                    return self.wrong(what);
                }
            }
            None => {}
        }
        Ok(())
    }
}
