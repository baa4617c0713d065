//! Tombstones: how long they stay, and what tells that they went.

use super::index::Index;
use super::rules::Rule;
use crate::stamp::Stamp;
use crate::wire::versions::{Dot, Knowledge};

impl Index {
    /// How many live versions and how many tombstones there are.
    pub fn counts(&self) -> (usize, usize) {
        self.entries_from(&[]).flat_map(|(_, entry)| entry.members).fold((0, 0), |sum, member| {
            match member.version {
                Some(_) => (sum.0 + 1, sum.1),
                None => (sum.0, sum.1 + 1),
            }
        })
    }

    /// Drops the tombstones that all hosts of the roster know of (`all` is what all of them know), those that are older
    /// than `older`, and the oldest above `most`. Each raises the floor: who knows less gets everything.
    pub fn bury(&mut self, all: &Knowledge, older: Stamp, most: usize) {
        let mut graves: Vec<(Stamp, Dot, Box<[u8]>)> = Vec::new();
        for (path, entry) in self.entries_from(&[]) {
            let dead = entry.members.iter().filter(|member| member.version.is_none());
            let known = dead.filter(|member| self.known.covers(member.dot));
            graves.extend(known.map(|member| (member.stamp, member.dot, path.clone())));
        }
        graves.sort_unstable();
        let too_many = graves.len().saturating_sub(most);
        let is_over = |(at, (stamp, dot, _)): &(usize, (Stamp, Dot, Box<[u8]>))| {
            *at < too_many || *stamp < older || all.covers(*dot)
        };
        let over: Vec<_> = graves.into_iter().enumerate().filter(is_over).collect();
        for (_, (_, dot, _)) in &over {
            if self.rules.has(Rule::FloorAll) || !all.covers(*dot) {
                self.floor.learn(dot.by, dot.seq);
            }
        }
        if !over.is_empty() {
            // Before a tombstone is gone: without the floor, its absence would mean that there never was one.
            self.write_head();
        }
        for (_, (_, dot, path)) in over {
            let mut entry = self.entry(&path);
            entry.members.retain(|member| member.dot != dot);
            self.put(&path, entry, false);
        }
    }
}
