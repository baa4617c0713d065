//! The records that a host keeps, and the rules for which of them it keeps.
//!
//! The rules are those without which a model of random sends, deaths, returns, partitions and edits came to
//! wrong files (`model.rs` has each of them with a switch).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::record::{Record, RecordId};
use crate::name::{HostName, RelPath};
use crate::stamp::Stamp;
use crate::wire::begin::Recorded;
use crate::wire::names::Hash;

/// The most records of a journal. Beyond, the oldest are dropped.
pub const MAX_RECORDS: usize = 65_536;
/// The most bytes of paths and names of hosts in them, beyond which the oldest are dropped, too.
const MAX_BYTES: usize = 16 << 20;

/// How far this host is with what a record is about. Greater is further.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    /// It was for others.
    Elsewhere,
    /// Nothing of it has come.
    Lacking,
    /// Some of it may have come.
    Partial,
    /// Nobody who was asked could give all of it, or it is not to be asked for.
    Noted,
    /// All of it is here, or something later in its place.
    Complete,
}

/// The lists of entries of the records that a host keeps.
pub trait Lists {
    /// Whether the list of a record names a path; None if it is not kept here. Of a record of which only some has
    /// come, the list is of that.
    fn names(&mut self, id: &RecordId, path: Hash) -> Option<bool>;

    /// Whether the list of `later` names every entry of that of `earlier`; None if one of them is not kept
    /// here.
    fn names_all_of(&mut self, later: &RecordId, earlier: &RecordId) -> Option<bool>;
}

/// What became of a record that another host has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Learned {
    /// It was known.
    Known,
    /// A later one that is known covers it, or it is older than all that are kept.
    Moot,
    /// It is kept from now on.
    New(State),
}

/// What has to be done to what is kept on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A record is new, or is in a new state.
    Put(RecordId),
    /// A record and its list are no longer needed.
    Drop(RecordId),
}

/// What two hosts compare to find out whether they keep the same records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Records up to this stamp may be missing, because there were too many.
    pub horizon: Stamp,
    /// The records above it, all of them mixed.
    pub checksum: u64,
}

/// A record that is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Held {
    record: Record,
    state: State,
    /// Its transfer has ended: it counts.
    has_ended: bool,
}

/// The rules that a test can switch off, one at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rules {
    /// What a later record names is not taken of an earlier one.
    pub guard: bool,
    /// Of a later record, what it names is guarded, and not all that it reaches.
    pub guard_named: bool,
    /// Only deletion, or naming all, covers.
    pub cover_all: bool,
    /// What is here in part or whole is only dropped for what is here as a whole.
    pub drop_done: bool,
    /// Only what has ended counts.
    pub ended: bool,
    /// What was sent from here is not pulled.
    pub own: bool,
}

impl Rules {
    pub const ALL: Rules = Rules {
        guard: true,
        guard_named: true,
        cover_all: true,
        drop_done: true,
        ended: true,
        own: true,
    };
}

/// The records that a host keeps.
#[derive(Clone, Debug)]
pub struct Journal {
    me: Arc<HostName>,
    held: BTreeMap<RecordId, Held>,
    /// Those that were dropped as covered: they are not to be learned again.
    covered: BTreeSet<RecordId>,
    horizon: Stamp,
    /// The checksum of all that count.
    checksum: u64,
    /// What their paths and names of hosts take.
    bytes: usize,
    most: usize,
    changes: VecDeque<Change>,
    rules: Rules,
}

impl Journal {
    /// An empty one of the host of this name, for `most` records.
    pub fn new(me: Arc<HostName>, most: usize) -> Self {
        Journal {
            me,
            held: BTreeMap::new(),
            covered: BTreeSet::new(),
            horizon: Stamp::ZERO,
            checksum: 0,
            bytes: 0,
            most,
            changes: VecDeque::new(),
            rules: Rules::ALL,
        }
    }

    #[cfg(test)]
    pub(super) fn with_rules(me: Arc<HostName>, rules: Rules) -> Self {
        Journal { rules, ..Journal::new(me, MAX_RECORDS) }
    }

    /// Puts back what was kept on disk.
    pub fn restore(&mut self, record: Record, state: State, has_ended: bool) {
        let id = record.id.clone();
        self.remove(&id);
        self.insert(id, Held { record, state, has_ended });
        self.bound();
    }

    /// What was put back was dropped later.
    pub fn restore_dropped(&mut self, id: &RecordId) {
        self.remove(id);
    }

    /// Records up to this stamp were dropped before, because there were too many.
    pub fn restore_horizon(&mut self, horizon: Stamp) {
        self.horizon = self.horizon.max(horizon);
    }

    /// What to do to what is kept on disk.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// A record, how far this host is with it, and whether its transfer has ended.
    pub fn get(&self, id: &RecordId) -> Option<(&Record, State, bool)> {
        self.held.get(id).map(|held| (&held.record, held.state, held.has_ended))
    }

    /// All of them, the earliest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Record, State, bool)> {
        self.held.values().map(|held| (&held.record, held.state, held.has_ended))
    }

    /// The highest stamp that is kept.
    pub fn height(&self) -> Stamp {
        self.held.last_key_value().map_or(self.horizon, |(id, _)| id.stamp.max(self.horizon))
    }

    /// What other hosts are told.
    pub fn summary(&self) -> Summary {
        Summary { horizon: self.horizon, checksum: self.checksum }
    }

    /// The checksum of what counts above another host's horizon.
    pub fn checksum_above(&self, horizon: Stamp) -> u64 {
        if horizon <= self.horizon {
            return self.checksum;
        }
        let counting = self.held.iter().filter(|(id, held)| id.stamp > horizon && held.has_ended);
        counting.fold(0, |sum, (id, _)| sum ^ id.key())
    }

    /// Whether this host and one with that summary keep the same records above the horizons of both.
    pub fn agrees_with(&self, other: &Summary) -> bool {
        // Of the other's checksum, what is below the own horizon cannot be taken out.
        other.horizon < self.horizon || self.checksum_above(other.horizon) == other.checksum
    }

    /// A transfer has begun, here or at its sender, and something may be written for it.
    pub fn began(&mut self, record: Record) {
        let id = record.id.clone();
        if id.stamp <= self.horizon || self.held.contains_key(&id) {
            return;
        }
        self.insert(id.clone(), Held { record, state: State::Partial, has_ended: false });
        self.changes.push_back(Change::Put(id));
        self.bound();
    }

    /// A transfer that was begun has ended, with this; `complete` says whether all of it is here.
    pub fn ended(&mut self, id: &RecordId, end: Recorded, complete: bool, lists: &mut dyn Lists) {
        let Some(held) = self.held.get_mut(id) else { return };
        held.record.names = end.names;
        held.record.deed.deletes = end.deletes;
        if !std::mem::replace(&mut held.has_ended, true) {
            self.checksum ^= id.key();
        }
        self.advance(id, if complete { State::Complete } else { State::Partial }, lists);
    }

    /// A transfer was given up at its sender before it ended, and nothing was written for it here.
    pub fn never_was(&mut self, id: &RecordId) {
        if self.held.get(id).is_some_and(|held| !held.has_ended) {
            self.drop_record(id);
        }
    }

    /// Another host keeps this record; `takes` says whether what is older than this host's journal is wanted.
    pub fn learn(&mut self, record: Record, takes: bool, lists: &mut dyn Lists) -> Learned {
        let id = record.id.clone();
        if let Some(held) = self.held.get_mut(&id) {
            if held.has_ended {
                return Learned::Known;
            }
            // Its end was not heard here.
            held.has_ended = true;
            (held.record.names, held.record.deed) = (record.names, record.deed);
            self.checksum ^= id.key();
            self.changes.push_back(Change::Put(id.clone()));
            self.prune_under(&id, lists);
            return Learned::New(State::Partial);
        }
        if id.stamp <= self.horizon || self.covered.contains(&id) || self.is_covered(&record, lists)
        {
            return Learned::Moot;
        }
        let state = match (*id.host == *self.me, record.is_for(&self.me)) {
            (true, _) if self.rules.own => State::Noted,
            (true, _) => State::Lacking,
            (false, true) if takes => State::Lacking,
            (false, true) => State::Noted,
            (false, false) => State::Elsewhere,
        };
        self.insert(id.clone(), Held { record, state, has_ended: true });
        self.changes.push_back(Change::Put(id.clone()));
        self.prune_under(&id, lists);
        self.bound();
        match self.held.contains_key(&id) {
            true => Learned::New(state),
            false => Learned::Moot,
        }
    }

    /// This host is now so far with a record; never less far than it was, but for a pull that begins.
    pub fn advance(&mut self, id: &RecordId, state: State, lists: &mut dyn Lists) {
        let Some(held) = self.held.get_mut(id) else { return };
        held.state = held.state.max(state);
        self.changes.push_back(Change::Put(id.clone()));
        self.prune_by(id, lists);
        self.prune_under(id, lists);
    }

    /// A pull of it begins: from now on some of it may be here.
    pub fn pulls(&mut self, id: &RecordId) {
        if let Some(held) = self.held.get_mut(id) {
            if matches!(held.state, State::Lacking | State::Noted) {
                held.state = State::Partial;
                self.changes.push_back(Change::Put(id.clone()));
            }
        }
    }

    /// A transfer that leaves no record has written below a path: what is still to be pulled there is older,
    /// and is not asked for any more.
    pub fn unrecorded(&mut self, path: &RelPath) {
        for (id, held) in &mut self.held {
            let overlaps = held.record.path.is_under(path) || held.record.reaches(path);
            if overlaps && matches!(held.state, State::Lacking | State::Partial) {
                held.state = State::Noted;
                self.changes.push_back(Change::Put(id.clone()));
            }
        }
    }

    /// What is to be pulled, the latest first.
    pub fn wanted(&self) -> impl Iterator<Item = &RecordId> {
        let wants = |held: &Held| {
            matches!(held.state, State::Lacking | State::Partial)
                && (held.has_ended || !self.rules.ended)
                && *held.record.id.host != *self.me
        };
        self.held.iter().rev().filter(move |(_, held)| wants(held)).map(|(id, _)| id)
    }

    /// Whether a record is to be pulled.
    pub fn is_wanted(&self, id: &RecordId) -> bool {
        self.held.get(id).is_some_and(|held| {
            matches!(held.state, State::Lacking | State::Partial | State::Noted)
                && held.has_ended
                && held.record.is_for(&self.me)
        })
    }

    /// Whether this host can give all of it.
    pub fn can_give(&self, id: &RecordId) -> bool {
        self.held.get(id).is_some_and(|held| held.state == State::Complete && held.has_ended)
    }

    /// Whether nothing is to be written or deleted at a path for this record, because of a later one.
    pub fn guards(&self, id: &RecordId, path: &RelPath, lists: &mut dyn Lists) -> bool {
        if !self.rules.guard {
            return false;
        }
        let after = (std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded);
        self.held.range(after).any(|(later, held)| {
            if matches!(held.state, State::Elsewhere | State::Lacking)
                || !held.record.reaches(path)
                || !held.record.concerns(&self.me)
            {
                return false;
            }
            if !self.rules.guard_named || (held.state != State::Partial && held.record.settles()) {
                return true;
            }
            // Without its list, all that it reaches is left alone.
            let unknown = held.state != State::Partial;
            lists.names(later, Hash::of_path(path)).unwrap_or(unknown)
        })
    }

    /// Whether a later record that is known, and that concerns this host, says what is to be at a path.
    pub fn is_superseded(&self, id: &RecordId, path: &RelPath, lists: &mut dyn Lists) -> bool {
        let after = (std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded);
        self.held.range(after).any(|(later, held)| {
            held.record.reaches(path)
                && held.record.is_for(&self.me)
                && (held.record.settles()
                    || lists.names(later, Hash::of_path(path)).unwrap_or(false))
        })
    }

    /// `has_ended`: whether the earlier one has; before, nobody knows what it will have named.
    fn covers(
        &self,
        later: &Record,
        earlier: &Record,
        has_ended: bool,
        lists: &mut dyn Lists,
    ) -> bool {
        if !self.rules.cover_all {
            return later.covers(earlier, || true);
        }
        later.covers(earlier, || {
            has_ended
                && (earlier.is_named_by(later, |path| lists.names(&later.id, path))
                    || lists.names_all_of(&later.id, &earlier.id) == Some(true))
        })
    }

    /// Whether a later record is known that covers one that is not kept.
    fn is_covered(&self, record: &Record, lists: &mut dyn Lists) -> bool {
        self.after(&record.id)
            .any(|(_, held)| self.counts(held) && self.covers(&held.record, record, true, lists))
    }

    fn counts(&self, held: &Held) -> bool {
        held.has_ended || !self.rules.ended
    }

    fn after(&self, id: &RecordId) -> impl Iterator<Item = (&RecordId, &Held)> {
        self.held.range((std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded))
    }

    /// Whether `held` may be dropped for `later`.
    fn gives_way(&self, held: &Held, later: &Held, lists: &mut dyn Lists) -> bool {
        if !self.counts(later) || !self.covers(&later.record, &held.record, held.has_ended, lists) {
            return false;
        }
        let is_open = matches!(held.state, State::Elsewhere | State::Lacking);
        is_open || later.state == State::Complete || !self.rules.drop_done
    }

    /// Drops what this record covers.
    fn prune_by(&mut self, id: &RecordId, lists: &mut dyn Lists) {
        let Some(later) = self.held.get(id) else { return };
        let before = self.held.range(..id.clone());
        let dropped: Vec<RecordId> = before
            .filter(|(_, held)| self.gives_way(held, later, lists))
            .map(|(id, _)| id.clone())
            .collect();
        dropped.iter().for_each(|id| self.cover(id));
    }

    /// Drops this record if a later one covers it, and then what it covers itself.
    fn prune_under(&mut self, id: &RecordId, lists: &mut dyn Lists) {
        let Some(held) = self.held.get(id) else { return };
        if self.after(id).any(|(_, later)| self.gives_way(held, later, lists)) {
            self.cover(&id.clone());
        } else {
            self.prune_by(id, lists);
        }
    }

    fn cover(&mut self, id: &RecordId) {
        self.drop_record(id);
        self.covered.insert(id.clone());
        if self.covered.len() > self.most {
            self.covered.pop_first();
        }
    }

    fn insert(&mut self, id: RecordId, held: Held) {
        if held.has_ended {
            self.checksum ^= id.key();
        }
        self.bytes += held.record.memory();
        self.held.insert(id, held);
    }

    fn remove(&mut self, id: &RecordId) -> bool {
        let Some(held) = self.held.remove(id) else { return false };
        self.bytes -= held.record.memory();
        if held.has_ended {
            self.checksum ^= id.key();
        }
        true
    }

    fn drop_record(&mut self, id: &RecordId) {
        if self.remove(id) {
            self.changes.push_back(Change::Drop(id.clone()));
        }
    }

    /// Drops the oldest while there are too many, or they take too much memory.
    fn bound(&mut self) {
        while self.held.len() > self.most || self.bytes > MAX_BYTES {
            let Some(id) = self.held.keys().next().cloned() else { return };
            self.horizon = self.horizon.max(id.stamp);
            self.drop_record(&id);
        }
    }
}
