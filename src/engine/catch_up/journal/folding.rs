//! What was sent of a list before is folded into the next one, so that records do not become more and more.
//!
//! A record takes the place of the latest ones before it that are together at most twice as large: so each that is
//! kept is more than twice as large as all later ones together, and there are few of them. It is as if all of it was
//! sent again with the later stamp; so nothing is folded over what somebody has sent to the same place meanwhile.

use super::{Held, Journal};
use crate::engine::catch_up::record::{Record, RecordId};
use crate::engine::catch_up::types::{MAX_FOLDED, State};
use crate::stamp::Stamp;

/// So many records are looked at, at most.
const LOOKS: usize = 4_096;

/// What is folded into a record.
#[derive(Debug)]
pub struct Folded {
    /// The earliest first.
    pub ids: Vec<RecordId>,
    /// Their keys, one exclusive-or the other: who has others, or not all of them, sees that.
    pub keys: u64,
    /// How far this host is with all of that.
    pub state: State,
}

impl Journal {
    /// From which stamp on what this host has sent before is to be folded into a list of so many names that is about
    /// to end.
    pub fn foldable(&self, record: &Record, names: u64) -> Option<Stamp> {
        let (mut all, mut since) = (names, None);
        let before = self.held.before(&record.id).rev().take(LOOKS);
        for held in before.filter(|view| view.overlaps(&record.path)).map(|view| view.held()) {
            let Some(Held { record: earlier, state: State::Complete, has_ended: true }) = held
            else {
                break;
            };
            let names = earlier.names.count;
            let is_next = record.continues(&earlier) || !self.rules.fold_like;
            if !is_next || names > 2 * all || all + names > MAX_FOLDED {
                break;
            }
            all += names;
            since = Some(earlier.id.stamp);
        }
        since
    }

    /// What is folded into a record, as far as it is kept here.
    pub fn folded(&self, record: &Record) -> Folded {
        let since = record.deed.since.unwrap_or(record.id.stamp);
        let between = self.held.between(since, record.id.stamp).filter_map(|view| view.held());
        let held: Vec<Held> = between
            .filter(|held| {
                record.folds(&held.record) && held.has_ended && held.state >= State::Noted
            })
            .collect();
        let state = held.iter().map(|held| held.state).min().unwrap_or(State::Complete);
        let ids: Vec<RecordId> = held.into_iter().map(|held| held.record.id).collect();
        let keys = ids.iter().fold(0, |keys, id| keys ^ id.key());
        Folded { ids, keys, state }
    }
}
