//! Hosts whose clock is off by more than the limit, and hosts that get another name.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{File, World};
use crate::engine::catch_up::RecordId;
use crate::engine::catch_up::types::Rules;
use crate::name::{HostName, RelPath};
use crate::stamp::Stamp;

/// How far clocks may differ.
pub(super) const LIMIT: i64 = 500;
/// A clock that is off by more.
pub(super) const FAR: i64 = 2_000;

impl World {
    /// Whether a stamp is not to be believed at a host.
    pub(super) fn is_ahead(&self, host: usize, stamp: Stamp) -> bool {
        stamp.millis() as i64 > self.wall(host) + LIMIT
    }

    /// Whether what two hosts send cannot be put in order: they do not speak of records.
    pub(super) fn is_odd(&self, a: usize, b: usize) -> bool {
        let far = |a: usize, b: usize| self.is_ahead(a, Stamp::at(self.hosts[b].height));
        self.switches.far && ((self.wall(a) - self.wall(b)).abs() > LIMIT || far(a, b) || far(b, a))
    }

    /// A host has heard a stamp.
    pub(super) fn adopt(&mut self, host: usize, height: u64) {
        if !self.switches.far || !self.is_ahead(host, Stamp::at(height)) {
            let h = &mut self.hosts[host];
            h.height = h.height.max(height);
        }
    }

    /// A host comes up: what its journal has of times to come is left out.
    pub(super) fn comes_up(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        (h.is_up, h.part) = (true, 0);
        if !self.switches.far || !self.is_ahead(host, Stamp::at(self.hosts[host].height)) {
            return;
        }
        let latest = self.wall(host) + LIMIT;
        let is_ahead = |id: &RecordId| id.stamp.millis() as i64 > latest;
        let h = &mut self.hosts[host];
        let ahead: Vec<RecordId> = h.journal.iter().map(|(record, ..)| record.id).collect();
        ahead.iter().filter(|id| is_ahead(id)).for_each(|id| h.journal.restore_dropped(id));
        h.height = h.journal.height().millis();
        for (f, released) in &mut h.released {
            if released.as_ref().is_some_and(is_ahead) {
                // Nobody knows any more where it came from.
                *released = None;
                h.odd.insert(*f);
            }
        }
    }

    /// A transfer that leaves no record there has written to a host.
    pub(super) fn unrecorded(&mut self, hosts: &BTreeSet<usize>, path: &RelPath) {
        for &host in hosts {
            self.hosts[host].journal.unrecorded(path);
        }
    }

    /// What a transfer that leaves no record there makes of one file; false if the disk is full.
    pub(super) fn put_odd(&mut self, host: usize, f: File, value: Option<super::Value>) -> bool {
        let now = self.wall(host);
        let h = &mut self.hosts[host];
        match value {
            Some(value) if h.tree.get(&f).is_none_or(|(has, _)| *has != value) => {
                if h.is_full {
                    return false;
                }
                h.tree.insert(f, (value, now));
            }
            Some(_) => return true,
            None if h.tree.remove(&f).is_none() => return true,
            None => {}
        }
        h.released.insert(f, None);
        h.odd.insert(f);
        true
    }

    /// A host gets another name: for it, what was before is what another one had.
    pub(super) fn rename(&mut self, host: usize, rules: Rules) {
        let wall = self.wall(host);
        let h = &mut self.hosts[host];
        h.go_down();
        h.names += 1;
        let name = format!("h{}-{}", h.index, h.names);
        h.name = Arc::new(HostName::parse(name.as_bytes()).unwrap());
        h.lose_journal(rules);
        h.born = Stamp::at(wall as u64);
        self.say(format!("h{host} is called {name} now"));
    }
}
