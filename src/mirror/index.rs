//! The index of a tree on one host, and the journal of what changes in it.

use std::collections::BTreeSet;

use super::contexts::Contexts;
use super::entry::{Entry, Ids};
use super::packed::Packed;
use super::rules::{Rule, Rules};
use crate::stamp::HybridClock;
use crate::wire::Error;
use crate::wire::bytes::{Put, Reader};
use crate::wire::versions::{Dot, IndexId, Knowledge, Member, Version};

/// The longest path that is kept.
const MAX_PATH: usize = 1 << 16;
const HEAD: u8 = 0;
const PUT: u8 = 1;
const REMOVE: u8 = 2;

/// Something that changed in an index, as it is appended to the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// What the index has beside its entries.
    Head(Vec<u8>),
    /// An entry, in place of what was there.
    Put(Box<[u8]>, Vec<u8>),
    /// A path has no entry any more.
    Remove(Box<[u8]>),
}

impl Record {
    /// As bytes.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Record::Head(head) => {
                out.push(HEAD);
                out.extend_from_slice(head);
            }
            Record::Put(path, entry) => {
                out.push(PUT);
                out.put_counted(path);
                out.extend_from_slice(entry);
            }
            Record::Remove(path) => {
                out.push(REMOVE);
                out.extend_from_slice(path);
            }
        }
        out
    }

    /// Reads it.
    ///
    /// # Errors
    /// Whatever [`Record::emit`] does not write.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        Ok(match reader.u8()? {
            HEAD => Record::Head(reader.rest().to_vec()),
            PUT => Record::Put(reader.counted(MAX_PATH)?.into(), reader.rest().to_vec()),
            REMOVE => Record::Remove(reader.rest().into()),
            _ => return Err(Error::Invalid),
        })
    }
}

/// What is to be written down, in this order: the files first, then the records.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[must_use]
pub struct Due {
    /// Paths of which the records speak: what is there, and its name, is to be on disk before the first record is
    /// written; so is what was moved from there to `conflicts/`.
    pub first: BTreeSet<Box<[u8]>>,
    /// To be appended to the log, in this order.
    pub records: Vec<Record>,
}

/// What of the journal is where.
#[derive(Clone, Default, Debug)]
struct Journal {
    due: Due,
    /// How many own dots were given, how many of them were taken from the journal, and how many are on disk.
    given: u64,
    taken: u64,
    safe: u64,
}

/// An index: what should be at each path of a tree and what was put there, and what this host knows of the tree.
///
/// Every method that changes something leaves in the journal what is to be written down ([`Index::due`]); what was
/// written and synced is said with [`Index::synced`]. No dot leaves the host before ([`Index::delta`] refuses).
#[derive(Clone, Debug)]
pub struct Index {
    id: IndexId,
    /// The number of the last own dot.
    seq: u64,
    /// The id that the first own dot of this run takes.
    run: Option<IndexId>,
    pub(super) known: Knowledge,
    pub(super) floor: Knowledge,
    pub(super) contexts: Contexts,
    ids: Ids,
    entries: Packed,
    pub(super) clock: HybridClock,
    pub(super) wall: u64,
    journal: Journal,
    pub(super) rules: Rules,
}

impl Index {
    /// Of a tree of which nothing is known yet.
    pub fn new(id: IndexId) -> Self {
        let mut ids = Ids::default();
        ids.number(id);
        let mut index = Index {
            id,
            seq: 0,
            run: None,
            known: Knowledge::default(),
            floor: Knowledge::default(),
            contexts: Contexts::default(),
            ids,
            entries: Packed::default(),
            clock: HybridClock::default(),
            wall: 0,
            journal: Journal::default(),
            rules: Rules::default(),
        };
        index.write_head();
        index
    }

    /// From a snapshot: what [`Index::head`] gave, and its entries. `run` is a new id, drawn at random, for the first
    /// own dot of this run. The log is applied after this.
    ///
    /// # Errors
    /// It is not what [`Index::head`] gives, or an entry is none.
    pub fn restore(head: &[u8], entries: Packed, run: IndexId) -> Result<Self, Error> {
        let mut index = Index::new(run);
        index.read_head(head)?;
        index.run = Some(run);
        index.journal = Journal::default();
        let mut all = entries.entries_from(&[]);
        while let Some((_, bytes)) = all.next_entry() {
            index.meet(&Entry::parse(bytes, &index.ids)?);
        }
        drop(all);
        index.entries = entries;
        Ok(index)
    }

    /// Applies a record of the log.
    ///
    /// # Errors
    /// It is none, or speaks of what the records before it did not.
    pub fn apply(&mut self, record: &Record) -> Result<(), Error> {
        match record {
            Record::Head(head) => self.read_head(head),
            Record::Put(path, bytes) => {
                self.meet(&Entry::parse(bytes, &self.ids)?);
                self.entries.insert(path, bytes);
                Ok(())
            }
            Record::Remove(path) => {
                self.entries.remove(path);
                Ok(())
            }
        }
    }

    /// Learns of an entry that was read: an own dot needs no record of its own, nor does the clock.
    fn meet(&mut self, entry: &Entry) {
        for member in &entry.members {
            let _ = self.clock.adopt(member.stamp, member.stamp.millis());
            if member.dot.by == self.id {
                self.seq = self.seq.max(member.dot.seq);
                self.known.learn(self.id, member.dot.seq);
            }
        }
    }

    /// For a snapshot: what the index has beside its entries.
    pub fn head(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u64(self.id.0);
        out.put_varint(self.seq);
        out.put_varint(self.ids.list().len() as u64);
        self.ids.list().iter().for_each(|id| out.put_u64(id.0));
        put_knowledge(&mut out, &self.known);
        put_knowledge(&mut out, &self.floor);
        out.put_varint(u64::from(self.contexts.last()));
        for (number, known) in self.contexts.iter() {
            out.put_varint(u64::from(number));
            put_knowledge(&mut out, known);
        }
        out
    }

    fn read_head(&mut self, head: &[u8]) -> Result<(), Error> {
        let mut reader = Reader::new(head);
        let id = IndexId(reader.u64()?);
        let seq = reader.varint()?;
        let mut ids = Ids::default();
        for _ in 0..reader.varint()? {
            ids.number(IndexId(reader.u64()?));
        }
        let known = read_knowledge(&mut reader)?;
        let floor = read_knowledge(&mut reader)?;
        let mut contexts = Contexts::after(reader.varint32()?);
        while !reader.rest().is_empty() {
            contexts.put(reader.varint32()?, read_knowledge(&mut reader)?);
        }
        (self.id, self.seq, self.ids) = (id, seq, ids);
        (self.known, self.floor, self.contexts) = (known, floor, contexts);
        Ok(())
    }

    /// For a snapshot: the entries.
    pub fn map(&self) -> &Packed {
        &self.entries
    }

    /// What the wall clock says, in milliseconds since 1970; to be said before anything that gives a dot.
    pub fn set_wall(&mut self, millis: u64) {
        self.wall = millis;
    }

    /// Whose index it is.
    pub fn id(&self) -> IndexId {
        self.id
    }

    /// The height of the own dots: the number of the last one.
    pub fn height(&self) -> u64 {
        self.seq
    }

    /// What is known of the tree.
    pub fn known(&self) -> &Knowledge {
        &self.known
    }

    /// Up to where tombstones may be missing here: who knows less needs everything.
    pub fn floor(&self) -> &Knowledge {
        &self.floor
    }

    /// Whether some entries go beyond what is known: the rest of what was sent with them did not come yet.
    pub fn is_in_part(&self) -> bool {
        self.contexts.iter().next().is_some()
    }

    /// What it has of a path.
    pub fn entry(&self, path: &[u8]) -> Entry {
        self.get(path).unwrap_or_default()
    }

    fn get(&self, path: &[u8]) -> Option<Entry> {
        // What is in the map was written here or read before.
        Entry::parse(&self.entries.get(path)?, &self.ids).ok()
    }

    /// All entries from a path on, in the order of a walk: what is below a directory comes directly after it.
    pub fn entries_from<'a>(
        &'a self,
        path: &[u8],
    ) -> impl Iterator<Item = (Box<[u8]>, Entry)> + 'a {
        let mut entries = self.entries.entries_from(path);
        std::iter::from_fn(move || {
            let (path, bytes) = entries.next_entry()?;
            Some((path.into(), Entry::parse(bytes, &self.ids).unwrap_or_default()))
        })
    }

    /// Whether a version that others have is one that this host has to have, and its bytes are not what is at the path.
    pub fn wants(&self, path: &[u8], dot: Dot, version: &Version) -> bool {
        let entry = self.entry(path);
        let known = self.context(&entry).is_some_and(|known| known.covers(dot));
        let is_member = entry.members.iter().any(|member| member.dot == dot);
        (is_member || !known) && (entry.listed || entry.on_disk() != Some(*version))
    }

    /// What an entry knows: K, and the context that it came with.
    pub(super) fn context(&self, entry: &Entry) -> Option<Knowledge> {
        let mut known = self.contexts.get(entry.context)?.clone();
        known.join(&self.known);
        Some(known)
    }

    /// Puts an entry back after it was changed, and writes that down. `files` says that the record speaks of what is on
    /// disk there.
    pub(super) fn put(&mut self, path: &[u8], mut entry: Entry, files: bool) {
        if self.contexts.get(entry.context).is_none() {
            entry.context = 0;
        }
        let is_nothing = entry == Entry { placed: entry.placed.clone(), ..Entry::default() }
            && entry.placed.found.is_none();
        let ids = self.ids.list().len();
        let bytes = entry.emit(&mut self.ids);
        match (is_nothing, self.entries.get(path)) {
            (true, None) => return,
            (false, Some(old)) if old == bytes => return,
            _ => {}
        }
        if self.ids.list().len() > ids {
            self.write_head();
        }
        let due = &mut self.journal.due;
        if files {
            due.first.insert(path.into());
        }
        match is_nothing {
            true => {
                self.entries.remove(path);
                due.records.push(Record::Remove(path.into()));
            }
            false => {
                self.entries.insert(path, &bytes);
                due.records.push(Record::Put(path.into(), bytes));
            }
        }
    }

    /// Writes down what the index has beside its entries.
    pub(super) fn write_head(&mut self) {
        let head = self.head();
        self.journal.due.records.push(Record::Head(head));
    }

    /// Gives an own dot: `version` takes the place of those dots.
    pub(super) fn give(
        &mut self,
        entry: &mut Entry,
        version: Option<Version>,
        replaced: &[Dot],
    ) -> Dot {
        if let Some(id) = self.run.take() {
            if self.rules.has(Rule::StartId) {
                self.renew(id);
            }
        }
        self.seq += 1;
        self.journal.given += 1;
        let dot = Dot { by: self.id, seq: self.seq };
        self.known.learn(dot.by, dot.seq);
        let stamp = self.clock.draw(self.wall);
        entry.members.retain(|member| !replaced.contains(&member.dot));
        entry.members.push(Member { dot, stamp, version });
        entry.members.sort_unstable_by_key(|member| member.dot);
        dot
    }

    /// From now on own dots have this new id, drawn at random: whenever it is not certain that the log has all that left
    /// the host. (After an honest stop that is not needed: the first own dot of a run has a new id anyway.)
    pub fn renew(&mut self, id: IndexId) {
        (self.id, self.seq, self.run) = (id, 0, None);
        self.ids.number(id);
        self.write_head();
    }

    /// Every host that mirrors the tree has said in this run that it has not heard of more of this index than itself has
    /// ([`super::roster::Roster::vouches`]), and nothing is under way that an earlier run had sent: the id may stay.
    pub fn keep_id(&mut self) {
        self.run = None;
    }

    /// A peer has heard of this number of this index: if that is more than itself has given, dots were used before that it
    /// does not know of, and it goes on under a new id (true).
    pub fn guard(&mut self, heard: u64, id: IndexId) -> bool {
        let is_behind = self.rules.has(Rule::Guard) && heard > self.seq;
        if is_behind {
            self.renew(id);
        }
        is_behind
    }

    /// Takes what is to be written down.
    pub fn due(&mut self) -> Due {
        self.journal.taken = self.journal.given;
        std::mem::take(&mut self.journal.due)
    }

    /// All that was taken from the journal is written and synced.
    pub fn synced(&mut self) {
        self.journal.safe = self.journal.taken;
    }

    /// Whether an own dot is not on disk yet, so that nothing may be sent.
    pub fn is_unsafe(&self) -> bool {
        self.journal.safe < self.journal.given
    }

    /// The numbers of the contexts that entries refer to.
    pub(super) fn used_contexts(&self) -> BTreeSet<u32> {
        self.entries_from(&[]).map(|(_, entry)| entry.context).collect()
    }
}

fn put_knowledge(out: &mut Vec<u8>, known: &Knowledge) {
    out.put_varint(known.len() as u64);
    for (id, seq) in known.iter() {
        out.put_u64(id.0);
        out.put_varint(seq);
    }
}

fn read_knowledge(reader: &mut Reader<'_>) -> Result<Knowledge, Error> {
    let mut known = Knowledge::default();
    for _ in 0..reader.varint()? {
        known.learn(IndexId(reader.u64()?), reader.varint()?);
    }
    Ok(known)
}
