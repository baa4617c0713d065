//! Records in little memory. There may be tens of thousands of them, most of which are about one file: what is not
//! needed to find them, or to leave them out, is packed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::record::{Record, RecordId};
use super::types::{MAX_RECORDS, State};
use crate::name::{HostName, MAX_PATH, RelPath};
use crate::stamp::Stamp;
use crate::wire::bytes::Reader;
use crate::wire::names::{Hash, Names};

/// How far this host is, in the first byte of what is packed.
const STATES: [State; 6] = [
    State::Elsewhere,
    State::Strange,
    State::Lacking,
    State::Partial,
    State::Noted,
    State::Complete,
];
const STATE: u8 = 15;
/// Its transfer has ended.
const ENDED: u8 = 16;
/// Its path is all that it names.
const OWN_PATH: u8 = 32;

/// A record that is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Held {
    pub record: Record,
    pub state: State,
    /// Its transfer has ended: it counts.
    pub has_ended: bool,
}

/// The same in less memory.
#[derive(Clone, Debug)]
struct Packed {
    stamp: Stamp,
    /// The number of its sender's name.
    host: u32,
    /// Of one that reaches its path alone, some bits of the hash of that; of others [`BELOW`].
    path: u32,
    bytes: Box<[u8]>,
}

const BELOW: u32 = 0;

/// What is kept, in order.
#[derive(Clone, Debug)]
pub(super) struct Store {
    records: VecDeque<Packed>,
    /// How many there are that reach one path alone, by some bits of its hash; 255 are that or more.
    alone: Vec<u8>,
    hosts: Hosts,
    bytes: usize,
}

/// A record in a [`Store`].
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    packed: &'a Packed,
    host: &'a Arc<HostName>,
}

/// How many bits these are.
const ALONE: u32 = 17;

impl Store {
    /// For so many. What is not used is not touched, and takes no memory.
    pub fn new(most: usize) -> Self {
        let records = VecDeque::with_capacity(most.min(MAX_RECORDS) + 1);
        Store { records, alone: vec![0; 1 << ALONE], hosts: Hosts::default(), bytes: 0 }
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// How many bytes their paths and names of hosts take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn get(&self, id: &RecordId) -> Option<Held> {
        self.find(id)?.held()
    }

    pub fn find(&self, id: &RecordId) -> Option<View<'_>> {
        self.view(self.records.get(self.position(id).ok()?)?)
    }

    /// Adds one, in the place of one with the same id.
    pub fn insert(&mut self, held: &Held) {
        let host = self.hosts.take(&held.record.id.host);
        let packed = Packed::new(held, host);
        self.bytes += packed.bytes.len();
        if let Some(count) = self.alone(packed.path) {
            *count = count.saturating_add(1);
        }
        match self.position(&held.record.id) {
            Ok(at) => {
                let before = std::mem::replace(&mut self.records[at], packed);
                self.forget(&before);
            }
            Err(at) => self.records.insert(at, packed),
        }
    }

    /// This host is now so far with one.
    pub fn set_state(&mut self, id: &RecordId, state: State) {
        let at = self.position(id).ok();
        let packed = at.and_then(|at| self.records.get_mut(at));
        if let Some(first) = packed.and_then(|packed| packed.bytes.first_mut()) {
            *first = (*first & !STATE) | number(state);
        }
    }

    pub fn remove(&mut self, id: &RecordId) {
        let at = self.position(id).ok();
        if let Some(packed) = at.and_then(|at| self.records.remove(at)) {
            self.forget(&packed);
        }
    }

    fn alone(&mut self, path: u32) -> Option<&mut u8> {
        self.alone.get_mut((path >> (32 - ALONE)) as usize).filter(|_| path != BELOW)
    }

    /// Whether there may be a second record that reaches this path alone.
    pub fn may_have_two_of(&self, path: &RelPath) -> bool {
        self.alone.get((some_bits(path) >> (32 - ALONE)) as usize).is_none_or(|count| *count > 1)
    }

    fn forget(&mut self, packed: &Packed) {
        self.bytes -= packed.bytes.len();
        if let Some(count) = self.alone(packed.path).filter(|count| **count < u8::MAX) {
            *count -= 1;
        }
        self.hosts.release(packed.host);
    }

    /// All of them, the earliest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = View<'_>> {
        self.range(0, self.records.len())
    }

    /// Those after this one, which need not be there.
    pub fn after(&self, id: &RecordId) -> impl DoubleEndedIterator<Item = View<'_>> {
        let at = self.position(id).map_or_else(|at| at, |at| at + 1);
        self.range(at, self.records.len())
    }

    /// Those before it.
    pub fn before(&self, id: &RecordId) -> impl DoubleEndedIterator<Item = View<'_>> {
        self.range(0, self.position(id).unwrap_or_else(|at| at))
    }

    /// Those from a stamp on, before another one.
    pub fn between(&self, from: Stamp, below: Stamp) -> impl DoubleEndedIterator<Item = View<'_>> {
        self.range(self.place(from), self.place(below.max(from)))
    }

    /// Those from a stamp on.
    pub fn since(&self, from: Stamp) -> impl DoubleEndedIterator<Item = View<'_>> {
        self.range(self.place(from), self.records.len())
    }

    /// Where those from a stamp on begin.
    fn place(&self, from: Stamp) -> usize {
        self.records.partition_point(|packed| packed.stamp < from)
    }

    fn range(&self, from: usize, to: usize) -> impl DoubleEndedIterator<Item = View<'_>> {
        self.records.range(from..to).filter_map(|packed| self.view(packed))
    }

    fn view<'a>(&'a self, packed: &'a Packed) -> Option<View<'a>> {
        Some(View { packed, host: self.hosts.name(packed.host)? })
    }

    /// Where it is, or would be.
    fn position(&self, id: &RecordId) -> Result<usize, usize> {
        self.records.binary_search_by(|packed| {
            let name = || self.hosts.name(packed.host).cmp(&Some(&id.host));
            packed.stamp.cmp(&id.stamp).then_with(name)
        })
    }
}

/// Its place in [`STATES`].
fn number(state: State) -> u8 {
    STATES.iter().position(|other| *other == state).unwrap_or_default() as u8
}

impl Packed {
    fn new(held: &Held, host: u32) -> Self {
        let Held { record, state, has_ended } = held;
        let own_path = record.names.only() == Some(Hash::of_path(&record.path));
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let mut bytes = vec![number(*state) | flag(*has_ended, ENDED) | flag(own_path, OWN_PATH)];
        record.emit_rest(!own_path, &mut bytes);
        let path = if record.reaches_below() { BELOW } else { some_bits(&record.path) };
        Packed { stamp: record.id.stamp, host, path, bytes: Box::from(&bytes[..]) }
    }
}

/// Of the hash of a path.
fn some_bits(path: &RelPath) -> u32 {
    (Hash::of_path(path).0 as u32).max(BELOW + 1)
}

impl View<'_> {
    pub fn id(&self) -> RecordId {
        RecordId { stamp: self.packed.stamp, host: Arc::clone(self.host) }
    }

    pub fn stamp(&self) -> Stamp {
        self.packed.stamp
    }

    fn first(&self) -> u8 {
        self.packed.bytes.first().copied().unwrap_or_default()
    }

    pub fn state(&self) -> State {
        STATES[usize::from(self.first() & STATE).min(STATES.len() - 1)]
    }

    pub fn has_ended(&self) -> bool {
        self.first() & ENDED != 0
    }

    /// All of it.
    pub fn held(&self) -> Option<Held> {
        let first = self.first();
        let mut reader = Reader::new(self.packed.bytes.get(1..)?);
        let mut record = Record::parse_rest(self.id(), first & OWN_PATH == 0, &mut reader).ok()?;
        if first & OWN_PATH != 0 {
            record.names = Names::default();
            record.names.add(Hash::of_path(&record.path));
        }
        Some(Held { record, state: self.state(), has_ended: self.has_ended() })
    }

    fn path(&self) -> &[u8] {
        let body = self.packed.bytes.get(2..).unwrap_or_default();
        Reader::new(body).counted(MAX_PATH).unwrap_or_default()
    }

    /// Whether its path is this one, or lies below or above it.
    pub fn overlaps(&self, path: &RelPath) -> bool {
        self.is_under(path) || RelPath::is_below(path.as_bytes(), self.path())
    }

    /// Whether its path is this one, or lies below it.
    pub fn is_under(&self, path: &RelPath) -> bool {
        RelPath::is_below(self.path(), path.as_bytes())
    }
}

/// Says of records whether they reach a path: may do so, for those that are about one path.
pub(super) fn reaching(path: &RelPath) -> impl Fn(&View<'_>) -> bool + use<'_> {
    let bits = some_bits(path);
    move |view| match view.packed.path {
        BELOW => RelPath::is_below(path.as_bytes(), view.path()),
        other => other == bits,
    }
}

/// The names of the senders, each once.
#[derive(Clone, Default, Debug)]
struct Hosts {
    numbers: BTreeMap<Arc<HostName>, u32>,
    /// And of how many records.
    names: Vec<(Arc<HostName>, u32)>,
    free: Vec<u32>,
}

impl Hosts {
    fn name(&self, number: u32) -> Option<&Arc<HostName>> {
        self.names.get(number as usize).map(|(name, _)| name)
    }

    fn take(&mut self, name: &Arc<HostName>) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            self.names[*number as usize].1 += 1;
            return *number;
        }
        let one = (Arc::clone(name), 1);
        let number = match self.free.pop() {
            Some(number) => {
                self.names[number as usize] = one;
                number
            }
            None => {
                self.names.push(one);
                self.names.len() as u32 - 1
            }
        };
        self.numbers.insert(Arc::clone(name), number);
        number
    }

    fn release(&mut self, number: u32) {
        let Some((name, count)) = self.names.get_mut(number as usize) else { return };
        *count -= 1;
        if *count == 0 {
            self.numbers.remove(name);
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Audience, Deed};
    use super::*;
    use crate::engine::rng::Rng;

    fn some(rng: &mut Rng) -> Held {
        let host = HostName::parse(format!("h{}", rng.below(5)).as_bytes()).unwrap();
        let path = ["", "a", "a/b", "a/b/c", "ab", "b"][rng.below(6) as usize];
        let path = RelPath::parse_or_base(path.as_bytes()).unwrap();
        let mut names = Names::default();
        match rng.below(3) {
            0 => names = Names { count: rng.below(9), sum: rng.next_u64() },
            _ => names.add(Hash::of_path(&path)),
        }
        let mut flag = || rng.below(2) == 0;
        let deed = Deed {
            recursive: flag(),
            listed: flag(),
            deletes: flag(),
            gone: flag(),
            forced: flag(),
            since: flag().then(|| Stamp::at(9)),
        };
        let audience = if flag() { Audience::All } else { Audience::named(vec![host.clone()]) };
        let patterns = flag().then_some(Hash(7));
        let has_ended = flag();
        let id = RecordId { stamp: Stamp::at(1 + rng.below(40)), host: Arc::new(host) };
        let state = STATES[rng.below(6) as usize];
        let record = Record { id, path, deed, audience, patterns, names };
        Held { record, state, has_ended }
    }

    #[test]
    fn what_is_packed_comes_back_in_order() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let (mut store, mut want) = (Store::new(40), BTreeMap::new());
            for _ in 0..400 {
                let held = some(&mut rng);
                let id = held.record.id.clone();
                match rng.below(4) {
                    0 => {
                        store.remove(&id);
                        want.remove(&id);
                    }
                    1 => {
                        store.set_state(&id, held.state);
                        want.entry(id.clone())
                            .and_modify(|other: &mut Held| other.state = held.state);
                    }
                    _ => {
                        store.insert(&held);
                        want.insert(id.clone(), held.clone());
                    }
                }
                assert_eq!(store.get(&id).as_ref(), want.get(&id));
                let alone = |other: &&Held| {
                    !other.record.reaches_below() && other.record.path == held.record.path
                };
                let two = want.values().filter(alone).count() > 1;
                assert!(!two || store.may_have_two_of(&held.record.path));
                let path = held.record.path;
                let reaches = reaching(&path);
                for (view, held) in store.iter().zip(want.values()) {
                    assert_eq!(view.held().as_ref(), Some(held));
                    let phase = (view.id(), view.state(), view.has_ended());
                    assert_eq!(phase, (held.record.id.clone(), held.state, held.has_ended));
                    assert_eq!(reaches(&view), held.record.reaches(&path));
                    assert_eq!(view.is_under(&path), held.record.path.is_under(&path));
                }
                let ids = |views: Vec<View<'_>>| -> Vec<RecordId> {
                    views.iter().map(View::id).collect()
                };
                let after: Vec<_> = want.keys().filter(|other| **other > id).cloned().collect();
                assert_eq!(ids(store.after(&id).collect()), after);
                let before: Vec<_> = want.keys().filter(|other| **other < id).cloned().collect();
                assert_eq!(ids(store.before(&id).collect()), before);
                let since = ids(store.since(id.stamp).collect());
                assert!(since.iter().eq(want.keys().filter(|other| other.stamp >= id.stamp)));
            }
            assert_eq!(store.len(), want.len());
            want.keys().for_each(|id| store.remove(id));
            assert_eq!((store.len(), store.bytes(), store.hosts.numbers.len()), (0, 0, 0));
            assert!(store.alone.iter().all(|count| *count == 0));
        }
    }

    #[test]
    fn a_record_of_one_file_takes_few_bytes() {
        assert_eq!(size_of::<Packed>(), 32);
        let mut rng = Rng::new(1);
        let mut held = some(&mut rng);
        held.record.path = RelPath::parse(b"srv/www/shop/page.html").unwrap();
        (held.record.deed, held.record.audience) = (Deed::default(), Audience::All);
        (held.record.patterns, held.record.names) = (None, Names::default());
        held.record.names.add(Hash::of_path(&held.record.path));
        // Beside the path, how long it is, what it did, and how far this host is.
        assert_eq!(Packed::new(&held, 0).bytes.len(), 22 + 3);
    }
}
