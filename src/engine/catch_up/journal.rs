//! The records that a host keeps, and the rules for which of them it keeps.
//!
//! The rules are those without which a model of random sends, deaths, returns, partitions and edits came to
//! wrong files (`model` has each of them with a switch).

pub(super) mod folding;
mod lacks;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::record::{Deed, Record, RecordId};
use super::store::{Held, Store, View, reaching};
use super::types::{Change, Learned, Lists, MAX_BYTES, Rules, State};
use crate::name::{HostName, RelPath};
use crate::stamp::Stamp;
use crate::wire::begin::Recorded;
use crate::wire::records::{Key, Summary};

/// The records that a host keeps.
#[derive(Clone, Debug)]
pub struct Journal {
    me: Arc<HostName>,
    held: Store,
    /// Those that are to be pulled.
    lacking: BTreeSet<RecordId>,
    /// Those that are not to be pulled, because this host had files before it kept records.
    strange: BTreeSet<RecordId>,
    /// The stamp of the latest that is complete here.
    latest: Stamp,
    /// Those that were dropped as covered: they are not to be learned again.
    covered: BTreeSet<Key>,
    horizon: Stamp,
    /// The checksum of all that count.
    checksum: u64,
    most: usize,
    changes: VecDeque<Change>,
    rules: Rules,
}

impl Journal {
    /// An empty one of the host of this name, for `most` records.
    pub fn new(me: Arc<HostName>, most: usize) -> Self {
        Journal {
            me,
            held: Store::new(most),
            lacking: BTreeSet::new(),
            strange: BTreeSet::new(),
            latest: Stamp::ZERO,
            covered: BTreeSet::new(),
            horizon: Stamp::ZERO,
            checksum: 0,
            most,
            changes: VecDeque::new(),
            rules: Rules::ALL,
        }
    }

    #[cfg(test)]
    pub(super) fn with_rules(me: Arc<HostName>, rules: Rules) -> Self {
        Journal { rules, ..Journal::new(me, super::types::MAX_RECORDS) }
    }

    /// Puts back what was kept on disk.
    pub fn restore(&mut self, record: Record, state: State, has_ended: bool) {
        self.remove(&record.id);
        self.insert(Held { record, state, has_ended });
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
        self.held.len() == 0
    }

    /// The record of this key, if it is kept.
    pub fn find(&self, key: Key) -> Option<RecordId> {
        Some(self.view(key)?.id())
    }

    fn view(&self, key: Key) -> Option<View<'_>> {
        let mut same = self.held.since(key.stamp).take_while(|view| view.stamp() == key.stamp);
        same.find(|view| view.id().wire_key() == key)
    }

    /// Whether nothing can be learned of the record of this key.
    pub fn knows(&self, key: Key) -> bool {
        key.stamp <= self.horizon
            || self.covered.contains(&key)
            || self.view(key).is_some_and(|view| view.has_ended())
    }

    /// The keys of what counts before a stamp, `most` or a few more, the latest ones; and from which stamp on these
    /// are all.
    pub fn keys_below(&self, below: Stamp, most: usize) -> (Stamp, Vec<Key>) {
        let mut keys: Vec<Key> = Vec::new();
        for view in self.held.between(Stamp::ZERO, below).rev().filter(View::has_ended) {
            let last = keys.last().map_or(view.stamp(), |key| key.stamp);
            if keys.len() >= most && last != view.stamp() {
                return (last, keys);
            }
            keys.push(view.id().wire_key());
        }
        (Stamp::ZERO, keys)
    }

    /// The keys of what counts from a stamp on, before another.
    pub fn keys_from(&self, from: Stamp, below: Stamp) -> impl Iterator<Item = Key> {
        self.held.between(from, below).filter(View::has_ended).map(|view| view.id().wire_key())
    }

    /// A record, how far this host is with it, and whether its transfer has ended.
    pub fn get(&self, id: &RecordId) -> Option<(Record, State, bool)> {
        self.held.get(id).map(|held| (held.record, held.state, held.has_ended))
    }

    /// Whether a record is kept.
    pub fn has(&self, id: &RecordId) -> bool {
        self.held.find(id).is_some()
    }

    /// All of them, the earliest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Record, State, bool)> {
        let all = self.held.iter().filter_map(|view| view.held());
        all.map(|held| (held.record, held.state, held.has_ended))
    }

    /// The highest stamp that is kept.
    pub fn height(&self) -> Stamp {
        self.held.iter().next_back().map_or(self.horizon, |view| view.stamp().max(self.horizon))
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
        let above = self.held.iter().rev().take_while(|view| view.stamp() > horizon);
        above.filter(View::has_ended).fold(0, |sum, view| sum ^ view.id().key())
    }

    /// Whether this host and one with that summary keep the same records above the horizons of both.
    pub fn agrees_with(&self, other: &Summary) -> bool {
        // Of the other's checksum, what is below the own horizon cannot be taken out.
        other.horizon < self.horizon || self.checksum_above(other.horizon) == other.checksum
    }

    /// A transfer has begun, here or at its sender, and something may be written for it.
    pub fn began(&mut self, record: Record) {
        let id = record.id.clone();
        if id.stamp <= self.horizon || self.has(&id) {
            return;
        }
        self.insert(Held { record, state: State::Partial, has_ended: false });
        self.put(&id);
        self.bound();
    }

    /// A transfer that was begun has ended, with this; `complete` says whether all of it is here.
    pub fn ended(&mut self, id: &RecordId, end: Recorded, complete: bool, lists: &mut dyn Lists) {
        let Some(mut held) = self.held.get(id) else { return };
        held.record.names = end.folds.map_or(end.names, |folds| folds.names);
        held.record.deed.deletes = end.deletes;
        held.record.deed.since = end.folds.map(|folds| folds.since);
        held.has_ended = true;
        self.insert(held);
        self.advance(id, if complete { State::Complete } else { State::Partial }, lists);
    }

    /// A transfer was given up at its sender before it ended, and nothing was written for it here.
    pub fn never_was(&mut self, id: &RecordId) {
        if self.held.find(id).is_some_and(|view| !view.has_ended()) {
            self.drop_record(id);
        }
    }

    /// Another host keeps this record; `takes` says whether what is older than this host's journal is wanted.
    pub fn learn(&mut self, record: Record, takes: bool, lists: &mut dyn Lists) -> Learned {
        let id = record.id.clone();
        if let Some(mut held) = self.held.get(&id) {
            if held.has_ended {
                return Learned::Known;
            }
            // Its end was not heard here.
            held.has_ended = true;
            (held.record.names, held.record.deed) = (record.names, record.deed);
            self.insert(held);
            self.put(&id);
            self.prune_under(&id, lists);
            return Learned::New(State::Partial);
        }
        if id.stamp <= self.horizon
            || self.covered.contains(&id.wire_key())
            || self.is_covered(&record, lists)
        {
            return Learned::Moot;
        }
        let state = match (*id.host == *self.me, record.is_for(&self.me)) {
            (true, _) if self.rules.own => State::Noted,
            (true, _) => State::Lacking,
            (false, true) if takes => State::Lacking,
            (false, true) => State::Strange,
            (false, false) => State::Elsewhere,
        };
        self.insert(Held { record, state, has_ended: true });
        self.put(&id);
        self.prune_under(&id, lists);
        self.bound();
        match self.has(&id) {
            true => Learned::New(state),
            false => Learned::Moot,
        }
    }

    /// This host is now so far with a record; never less far than it was, but for a pull that begins.
    pub fn advance(&mut self, id: &RecordId, state: State, lists: &mut dyn Lists) {
        let Some(view) = self.held.find(id) else { return };
        self.set_state(id, view.state().max(state));
        self.prune_under(id, lists);
    }

    /// A pull of it begins: from now on some of it may be here.
    pub fn pulls(&mut self, id: &RecordId) {
        if self.held.find(id).is_some_and(|view| view.state() != State::Complete) {
            self.set_state(id, State::Partial);
        }
    }

    fn set_state(&mut self, id: &RecordId, state: State) {
        self.held.set_state(id, state);
        self.put(id);
    }

    /// A transfer that leaves no record has written below a path: what is still to be pulled there is older,
    /// and is not asked for any more.
    pub fn unrecorded(&mut self, path: &RelPath) {
        let overlaps = |record: &Record| record.path.is_under(path) || record.reaches(path);
        self.restate(&[State::Lacking, State::Partial], State::Noted, overlaps);
    }

    /// What is at a path, or with all that is below it, was made as it is on another host, by deleting, too, if
    /// `deletes`. What is about nothing else, and was not to be asked for, is asked for now.
    pub fn reopen(&mut self, path: &RelPath, recursive: bool, deletes: bool) {
        let me = Arc::clone(&self.me);
        let reached = |record: &Record| {
            let is_it = record.path == *path && !record.deed.recursive;
            record.id.host != me && (is_it || (recursive && record.path.is_under(path)))
        };
        self.restate(&[State::Noted], State::Lacking, reached);
        let is_safe = |deed: &Deed| deletes || !(deed.deletes || deed.gone);
        let new = |record: &Record| is_safe(&record.deed) && reached(record);
        self.restate(&[State::Strange], State::Lacking, new);
    }

    fn restate(&mut self, from: &[State], to: State, which: impl Fn(&Record) -> bool) {
        let from = self.held.iter().filter(|view| from.contains(&view.state()));
        let those = from.filter_map(|view| view.held()).filter(|held| which(&held.record));
        let ids: Vec<RecordId> = those.map(|held| held.record.id).collect();
        for id in &ids {
            self.set_state(id, to);
        }
    }

    /// What is to be pulled, the latest first.
    pub fn wanted(&self) -> impl Iterator<Item = &RecordId> {
        self.lacking.iter().rev()
    }

    /// A record is new, gone, or in another state.
    fn note(&mut self, id: &RecordId) {
        let wants = |view: View<'_>| {
            matches!(view.state(), State::Lacking | State::Partial)
                && (view.has_ended() || !self.rules.ended)
                && (*id.host != *self.me || !self.rules.own)
        };
        match self.held.find(id).is_some_and(wants) {
            true => self.lacking.insert(id.clone()),
            false => self.lacking.remove(id),
        };
        match self.held.find(id).map(|view| (view.state(), view.has_ended())) {
            Some((State::Strange, _)) => drop(self.strange.insert(id.clone())),
            state => {
                self.strange.remove(id);
                if state == Some((State::Complete, true)) {
                    self.latest = self.latest.max(id.stamp);
                }
            }
        }
    }

    /// Whether a record is to be pulled.
    pub fn is_wanted(&self, id: &RecordId) -> bool {
        let Some(view) = self.held.find(id) else { return false };
        matches!(view.state(), State::Lacking | State::Partial | State::Noted)
            && view.has_ended()
            && view.held().is_some_and(|held| held.record.is_for(&self.me))
    }

    /// Whether this host can give all of it.
    pub fn can_give(&self, id: &RecordId) -> bool {
        let is_whole = |view: View<'_>| view.state() == State::Complete && view.has_ended();
        self.held.find(id).is_some_and(is_whole)
    }

    /// Whether nothing is to be written or deleted at a path for this record, because of a later one.
    pub fn guards(&self, id: &RecordId, path: &RelPath, lists: &mut dyn Lists) -> bool {
        if !self.rules.guard {
            return false;
        }
        let reaching = self.held.after(id).filter(reaching(path));
        let reaching = reaching.filter(|later| later.state() > State::Lacking);
        reaching.filter_map(|view| view.held()).any(|held| {
            if !held.record.reaches(path) || !held.record.concerns(&self.me) {
                return false;
            }
            if !self.rules.guard_named || (held.state != State::Partial && held.record.settles()) {
                return true;
            }
            let known = held.record.says(path, |hash| lists.names(&held.record.id, hash));
            // Without its list, all that it reaches is left alone.
            known.unwrap_or(held.state != State::Partial)
        })
    }

    /// Whether a later record of a transfer that has ended, and that concerns this host, says what is to be at a path.
    pub fn is_superseded(&self, id: &RecordId, path: &RelPath, lists: &mut dyn Lists) -> bool {
        let reaching = self.held.after(id).filter(reaching(path)).filter(View::has_ended);
        reaching.filter_map(|view| view.held()).any(|Held { record: later, .. }| {
            later.reaches(path)
                && later.is_for(&self.me)
                && (later.settles()
                    || later.says(path, |hash| lists.names(&later.id, hash)).unwrap_or(false))
        })
    }

    /// `held`: what is kept of the earlier one, if it is kept. Before it has ended nobody knows what it will have
    /// named, and of a list of which only some has come, the rest is unknown.
    fn covers(
        &self,
        later: &Record,
        earlier: &Record,
        held: Option<&Held>,
        lists: &mut dyn Lists,
    ) -> bool {
        if !self.rules.cover_all {
            return later.covers(earlier, || true);
        }
        later.covers(earlier, || {
            let has_ended = held.is_none_or(|held| held.has_ended);
            let is_whole = held.is_some_and(|held| held.state == State::Complete);
            let mut by_lists = || lists.names_all_of(&later.id, &earlier.id) == Some(true);
            has_ended
                && (later.folds(earlier)
                    || (is_whole && by_lists())
                    || (!earlier.deletes_listed()
                        && earlier.is_named_by(later, |path| lists.names(&later.id, path))))
        })
    }

    /// Whether a later record is known that covers one that is not kept.
    fn is_covered(&self, record: &Record, lists: &mut dyn Lists) -> bool {
        self.later(record)
            .any(|held| self.counts(&held) && self.covers(&held.record, record, None, lists))
    }

    fn counts(&self, held: &Held) -> bool {
        held.has_ended || !self.rules.ended
    }

    /// Those after a record that may cover it.
    fn later(&self, record: &Record) -> impl Iterator<Item = Held> {
        let later = self.held.after(&record.id).filter(reaching(&record.path));
        later.filter_map(|view| view.held())
    }

    /// Whether `held` may be dropped for `later`.
    fn gives_way(&self, held: &Held, later: &Held, lists: &mut dyn Lists) -> bool {
        if !self.counts(later) || !self.covers(&later.record, &held.record, Some(held), lists) {
            return false;
        }
        let is_open = held.state <= State::Lacking;
        let is_noted = held.state == State::Noted && later.state == State::Noted;
        is_open
            || later.state == State::Complete
            || (is_noted && later.record.folds(&held.record))
            || !self.rules.drop_done
    }

    /// Drops what this record covers.
    fn prune_by(&mut self, id: &RecordId, lists: &mut dyn Lists) {
        let Some(later) = self.held.get(id) else { return };
        let path = &later.record.path;
        let (below, same) = (later.record.reaches_below(), reaching(path));
        if !below && !self.held.may_have_two_of(path) {
            return;
        }
        let before = self.held.before(id);
        let before = before.filter(|view| if below { view.is_under(path) } else { same(view) });
        let dropped = before.filter_map(|view| view.held());
        let dropped = dropped.filter(|held| self.gives_way(held, &later, lists));
        let dropped: Vec<RecordId> = dropped.map(|held| held.record.id).collect();
        dropped.iter().for_each(|id| self.cover(id));
    }

    /// Drops this record if a later one covers it, and then what it covers itself.
    fn prune_under(&mut self, id: &RecordId, lists: &mut dyn Lists) {
        let Some(held) = self.held.get(id) else { return };
        if self.later(&held.record).any(|later| self.gives_way(&held, &later, lists)) {
            self.cover(id);
        } else {
            self.prune_by(id, lists);
        }
    }

    fn cover(&mut self, id: &RecordId) {
        self.drop_record(id);
        self.covered.insert(id.wire_key());
        if self.covered.len() > self.most {
            self.covered.pop_first();
        }
    }

    /// Puts a record where it belongs, in the place of what is known of it.
    fn insert(&mut self, held: Held) {
        let id = &held.record.id;
        let has_ended = self.held.find(id).is_some_and(|view| view.has_ended());
        if held.has_ended != has_ended {
            self.checksum ^= id.key();
        }
        self.held.insert(&held);
        self.note(id);
    }

    /// A record is new or in another state: what is on disk has to follow.
    fn put(&mut self, id: &RecordId) {
        self.note(id);
        self.changes.push_back(Change::Put(id.clone()));
    }

    fn remove(&mut self, id: &RecordId) -> bool {
        let Some(view) = self.held.find(id) else { return false };
        if view.has_ended() {
            self.checksum ^= id.key();
        }
        self.held.remove(id);
        self.lacking.remove(id);
        self.strange.remove(id);
        true
    }

    fn drop_record(&mut self, id: &RecordId) {
        if self.remove(id) {
            self.changes.push_back(Change::Drop(id.clone()));
        }
    }

    /// Drops the oldest while there are too many, or they take too much memory.
    fn bound(&mut self) {
        while self.held.len() > self.most || self.held.bytes() > MAX_BYTES {
            let Some(id) = self.held.iter().next().map(|view| view.id()) else { return };
            self.horizon = self.horizon.max(id.stamp);
            self.drop_record(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Audience, Hash, Names};
    use super::*;

    /// No list is kept.
    struct NoLists;

    impl Lists for NoLists {
        fn names(&mut self, _: &RecordId, _: Hash) -> Option<bool> {
            None
        }

        fn names_all_of(&mut self, _: &RecordId, _: &RecordId) -> Option<bool> {
            None
        }
    }

    fn host(name: &str) -> Arc<HostName> {
        Arc::new(HostName::parse(name.as_bytes()).unwrap())
    }

    /// A file of its own is all that it names.
    fn record(millis: u64, sender: &str, path: &str) -> Record {
        let path = RelPath::parse(path.as_bytes()).unwrap();
        let mut names = Names::default();
        names.add(Hash::of_path(&path));
        let id = RecordId { stamp: Stamp::at(millis), host: host(sender) };
        let (deed, audience, patterns) = (Deed::default(), Audience::All, None);
        Record { id, path, deed, audience, patterns, names }
    }

    fn journal(most: usize) -> Journal {
        Journal::new(host("me"), most)
    }

    fn sent(journal: &mut Journal, record: &Record, complete: bool) {
        journal.began(record.clone());
        let end = Recorded { names: record.names, deletes: false, folds: None };
        journal.ended(&record.id, end, complete, &mut NoLists);
    }

    #[test]
    fn the_same_file_sent_often_is_one_record() {
        let mut journal = journal(100);
        for millis in 1..=1_000 {
            sent(&mut journal, &record(millis, "web1", "a"), true);
            sent(&mut journal, &record(millis, "web2", "b"), true);
        }
        assert_eq!(journal.len(), 2);
        assert_eq!(journal.summary().horizon, Stamp::ZERO);
        let keys = journal.iter().fold(0, |sum, (record, ..)| sum ^ record.id.key());
        assert_eq!(journal.summary().checksum, keys);
        assert!(journal.covered.len() <= 100);
    }

    #[test]
    fn what_is_here_is_not_dropped_for_what_is_not() {
        for (complete, kept) in [(true, 1), (false, 2)] {
            let mut journal = journal(100);
            sent(&mut journal, &record(1, "web1", "a"), true);
            sent(&mut journal, &record(2, "web1", "a"), complete);
            assert_eq!(journal.len(), kept);
        }
        let mut journal = journal(100);
        sent(&mut journal, &record(1, "web1", "a"), true);
        let learned = journal.learn(record(2, "web1", "a"), true, &mut NoLists);
        assert_eq!((learned, journal.len()), (Learned::New(State::Lacking), 2));
        journal.advance(&record(2, "web1", "a").id, State::Complete, &mut NoLists);
        assert_eq!(journal.len(), 1);
        assert_eq!(journal.learn(record(1, "web1", "a"), true, &mut NoLists), Learned::Moot);
    }

    #[test]
    fn a_list_of_which_only_some_has_come_is_not_all_of_it() {
        /// Whatever is asked for is there.
        struct Same;
        impl Lists for Same {
            fn names(&mut self, _: &RecordId, _: Hash) -> Option<bool> {
                Some(false)
            }

            fn names_all_of(&mut self, _: &RecordId, _: &RecordId) -> Option<bool> {
                Some(true)
            }
        }
        for (complete, kept) in [(true, 1), (false, 2)] {
            let mut journal = journal(100);
            for (millis, count, complete) in [(1, 5, complete), (2, 3, true)] {
                let record = record(millis, "web1", "a");
                journal.began(record.clone());
                let names = Names { count, sum: millis };
                journal.ended(
                    &record.id,
                    Recorded { names, deletes: false, folds: None },
                    complete,
                    &mut Same,
                );
            }
            assert_eq!(journal.len(), kept, "{complete}");
        }
    }

    #[test]
    fn own_records_and_those_before_the_journal_are_not_pulled() {
        let mut journal = journal(100);
        let mut learn = |record: Record, takes| journal.learn(record, takes, &mut NoLists);
        assert_eq!(learn(record(1, "me", "a"), true), Learned::New(State::Noted));
        assert_eq!(learn(record(2, "web1", "b"), false), Learned::New(State::Strange));
        let named = Audience::named(vec![HostName::parse(b"web9").unwrap()]);
        let other = Record { audience: named, ..record(3, "web1", "c") };
        assert_eq!(learn(other, true), Learned::New(State::Elsewhere));
        assert_eq!(learn(record(4, "web1", "d"), true), Learned::New(State::Lacking));
        assert_eq!(learn(record(4, "web1", "d"), true), Learned::Known);
        let wanted: Vec<u64> = journal.wanted().map(|id| id.stamp.millis()).collect();
        assert_eq!(wanted, [4]);
    }

    #[test]
    fn what_another_host_was_made_like_is_asked_for_where_nothing_else_would_change() {
        let wanted_after = |path: &str, recursive, deletes| {
            let mut journal = journal(100);
            let of = |millis, path: &str, deed| Record { deed, ..record(millis, "web1", path) };
            let tree = Deed { recursive: true, ..Deed::default() };
            let cleaned = Deed { deletes: true, ..tree };
            for (millis, path, deed) in
                [(1, "d", tree), (2, "d/a", Deed::default()), (3, "d/e", cleaned), (4, "f", tree)]
            {
                journal.learn(of(millis, path, deed), false, &mut NoLists);
            }
            journal.learn(record(5, "me", "d/own"), true, &mut NoLists);
            journal.reopen(&RelPath::parse(path.as_bytes()).unwrap(), recursive, deletes);
            let wanted = journal.wanted().map(|id| id.stamp.millis());
            wanted.collect::<Vec<u64>>()
        };
        assert_eq!(wanted_after("d", true, true), [3, 2, 1]);
        assert_eq!(wanted_after("d", true, false), [2, 1]);
        assert_eq!(wanted_after("d", false, true), []);
        assert_eq!(wanted_after("d/a", false, false), [2]);
        assert_eq!(wanted_after("d/x", true, true), []);
    }

    #[test]
    fn the_oldest_of_too_many_are_dropped_and_the_horizon_says_so() {
        let (mut few, mut many) = (journal(10), journal(100));
        for millis in 1..=30 {
            let record = record(millis, "web1", &format!("f{millis}"));
            sent(&mut few, &record, true);
            sent(&mut many, &record, true);
        }
        assert_eq!((few.len(), few.summary().horizon), (10, Stamp::at(20)));
        assert_eq!(few.learn(record(5, "web1", "f5"), true, &mut NoLists), Learned::Moot);
        // Above the higher horizon, they keep the same.
        assert!(many.agrees_with(&few.summary()));
        assert!(few.agrees_with(&many.summary()));
        sent(&mut few, &record(31, "web1", "f31"), true);
        assert!(!many.agrees_with(&few.summary()));
    }

    #[test]
    fn pages_of_keys_are_all_keys() {
        let mut journal = journal(1_000);
        for millis in 0..300 {
            sent(
                &mut journal,
                &record(1 + millis / 3, &format!("h{}", millis % 3), &format!("f{millis}")),
                true,
            );
        }
        let (mut below, mut all) = (Stamp::from_bits(u64::MAX), BTreeSet::new());
        while below > Stamp::ZERO {
            let (from, keys) = journal.keys_below(below, 28);
            assert!((1..=30).contains(&keys.len()), "{}", keys.len());
            let range: BTreeSet<Key> = journal.keys_from(from, below).collect();
            assert_eq!(range, keys.iter().copied().collect());
            all.extend(keys);
            below = from;
        }
        assert_eq!(all.len(), 300);
        assert!(all.iter().all(|key| journal.knows(*key)));
    }

    #[test]
    fn what_was_kept_is_put_back() {
        let mut journal = journal(100);
        sent(&mut journal, &record(1, "web1", "a"), true);
        sent(&mut journal, &record(2, "web1", "b"), false);
        journal.began(record(3, "web1", "c"));
        let mut other = Journal::new(host("me"), 100);
        for (record, state, has_ended) in journal.iter() {
            other.restore(record.clone(), state, has_ended);
        }
        assert_eq!(other.summary(), journal.summary());
        assert!(other.iter().eq(journal.iter()));
        assert_eq!(other.height(), Stamp::at(3));
    }

    /// What the lists of some records have.
    #[derive(Default)]
    struct FewLists(BTreeMap<RecordId, BTreeSet<Hash>>);

    impl Lists for FewLists {
        fn names(&mut self, id: &RecordId, path: Hash) -> Option<bool> {
            self.0.get(id).map(|list| list.contains(&path))
        }

        fn names_all_of(&mut self, later: &RecordId, earlier: &RecordId) -> Option<bool> {
            Some(self.0.get(later)?.is_superset(self.0.get(earlier)?))
        }
    }

    impl FewLists {
        /// A record of a list of paths at the base, those of which are gone that begin with `!`.
        fn listed(&mut self, millis: u64, paths: &[&str]) -> (Record, Recorded) {
            let mut record = record(millis, "web1", "x");
            record.path = RelPath::base();
            record.deed = Deed { recursive: true, listed: true, ..Deed::default() };
            record.names = Names::default();
            let mut list = BTreeSet::new();
            for path in paths {
                let name = path.trim_start_matches('!').as_bytes();
                record.names.add(Hash::of(name));
                list.insert(Hash::of(name));
                if path.starts_with('!') {
                    list.insert(Hash::of_all_below(name));
                }
            }
            self.0.insert(record.id.clone(), list);
            let deletes = paths.iter().any(|path| path.starts_with('!'));
            let end = Recorded { names: record.names, deletes, folds: None };
            (record, end)
        }

        fn sent(&mut self, journal: &mut Journal, millis: u64, paths: &[&str]) -> RecordId {
            let (record, end) = self.listed(millis, paths);
            journal.began(record.clone());
            journal.ended(&record.id, end, true, self);
            record.id
        }
    }

    #[test]
    fn what_is_gone_in_a_list_is_gone_with_all_that_was_in_it() {
        let (mut journal, mut lists) = (journal(100), FewLists::default());
        let earlier = lists.sent(&mut journal, 1, &["d", "d/a", "e", "f"]);
        lists.sent(&mut journal, 2, &["!d", "e", "!g"]);
        let path = |text: &str| RelPath::parse(text.as_bytes()).unwrap();
        for (at, kept) in [("d", true), ("d/a", true), ("d/x/y", true), ("e", true), ("g/z", true)]
        {
            assert_eq!(journal.guards(&earlier, &path(at), &mut lists), kept, "{at}");
            assert_eq!(journal.is_superseded(&earlier, &path(at), &mut lists), kept, "{at}");
        }
        for at in ["f", "e/x", "dd", "h"] {
            assert!(!journal.guards(&earlier, &path(at), &mut lists), "{at}");
            assert!(!journal.is_superseded(&earlier, &path(at), &mut lists), "{at}");
        }
        // Without the list, all that it reaches is left alone.
        lists.0.pop_last();
        assert!(journal.guards(&earlier, &path("f"), &mut lists));
    }

    #[test]
    fn what_was_not_deleted_is_not_said_to_be_gone() {
        let (mut journal, mut lists) = (journal(100), FewLists::default());
        let earlier = lists.sent(&mut journal, 1, &["d", "d/a"]);
        let (record, end) = lists.listed(2, &["!d"]);
        journal.began(record.clone());
        journal.ended(&record.id, Recorded { deletes: false, ..end }, true, &mut lists);
        let path = RelPath::parse(b"d/a").unwrap();
        assert!(!journal.guards(&earlier, &path, &mut lists));
    }

    #[test]
    fn a_list_covers_one_of_which_it_says_all() {
        let kept = |first: &[&str], second: &[&str]| {
            let (mut journal, mut lists) = (journal(100), FewLists::default());
            lists.sent(&mut journal, 1, first);
            lists.sent(&mut journal, 2, second);
            journal.len()
        };
        assert_eq!(kept(&["a", "b"], &["a", "b", "c"]), 1);
        assert_eq!(kept(&["a", "b"], &["!a", "b"]), 1, "what is gone is said too");
        assert_eq!(kept(&["!a"], &["!a", "b"]), 1);
        assert_eq!(kept(&["!a"], &["a"]), 2, "there may be more in it");
        assert_eq!(kept(&["!a", "b"], &["b"]), 2);
        assert_eq!(kept(&["a", "a/x"], &["!a"]), 2, "it is not known to be below");
    }
}
