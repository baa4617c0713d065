//! What is kept of transfers on disk: the rows of the journal, and the lists of entries.
//!
//! The list of a small transfer is a row, that of a larger one a file of its own. What cannot be written is
//! said in the log; the daemon goes on without it, and has less to give after its next start.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::row::{ListIn, Row};
use crate::engine::catch_up::{Hash, Lists, Record, RecordId, State};
use crate::fs::state::dir::StateDir;
use crate::fs::state::error::StateError;
use crate::fs::state::list::List;
use crate::fs::state::list_writer::ListWriter;
use crate::fs::state::record_file::{Limits, RecordFile};
use crate::log::{self, Level};
use crate::stamp::Stamp;
use crate::wire::manifest::Manifest;

/// The file of the rows.
pub(super) const FILE: &[u8] = b"records";
/// How the names of lists begin.
const PREFIX: &str = "list-";
/// What the file of the rows may become.
pub(super) const LIMITS: Limits = Limits { file: 1 << 30, record: 96 << 10 };
/// The most bytes of one list.
const MAX_LIST: u64 = 512 << 20;
/// The most bytes of all lists that have files. Beyond, those whose records were written longest ago are given
/// up: the records stay.
const MAX_LISTS: u64 = 1 << 30;
/// How many lists that have files may grow at once: each takes up to a mebibyte of memory.
const MOST_GROWING: usize = 16;
/// The file of the rows is written anew when it is larger than this and more than half of it is of no use
/// any more.
const LEAST: u64 = 1 << 20;
/// What each row takes beside its payload, about.
const OVERHEAD: u64 = 32;
/// How many lists are open at most.
const OPEN: usize = 8;

/// The rows and the lists.
#[derive(Debug)]
pub(super) struct Shelf {
    dir: StateDir,
    file: RecordFile,
    kept: BTreeMap<u64, Kept>,
    /// How many bytes of the file are of use.
    live: u64,
    /// How many bytes the lists have that are in files.
    files: u64,
    /// How many they may have.
    most_files: u64,
    /// Writing it anew is not tried before it is so large.
    next: u64,
    marks: Marks,
    growing: HashMap<u64, ListWriter>,
    /// Those that were used last, the latest first.
    open: VecDeque<(u64, Arc<List>)>,
}

/// Stamps that are kept beside the records.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Marks {
    pub(super) horizon: Stamp,
    pub(super) height: Stamp,
}

/// Where something of a record is; small, since there are many.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Kept {
    row: Place,
    list: Place,
}

/// A place in the file of rows; or a file, of `at` bytes. In halves, there is no gap between two of them.
#[derive(Clone, Copy, Default, Debug)]
struct Place {
    at: [u16; 2],
    /// Of a row in units of [`UNIT`] bytes; [`NONE`], or [`IN_A_FILE`].
    len: u16,
}

const UNIT: usize = 4;
const NONE: u16 = 0;
const IN_A_FILE: u16 = u16::MAX;
const _: () = assert!((LIMITS.record as usize) < UNIT * IN_A_FILE as usize);
const _: () = assert!(LIMITS.file <= u32::MAX as u64);
const _: () = assert!(MAX_LIST <= u32::MAX as u64);

impl Place {
    fn row(at: u64, len: usize) -> Self {
        Place { at: halves(at), len: len.max(1).div_ceil(UNIT) as u16 }
    }

    fn file(size: u64) -> Self {
        Place { at: halves(size), len: IN_A_FILE }
    }

    fn at(self) -> u64 {
        u64::from(self.at[0]) << 16 | u64::from(self.at[1])
    }

    /// What it takes of the file of rows.
    fn size(self) -> u64 {
        match self.len {
            NONE | IN_A_FILE => 0,
            len => u64::from(len) * UNIT as u64 + OVERHEAD,
        }
    }

    fn is_in(self) -> ListIn {
        match self.len {
            NONE => ListIn::Nothing,
            IN_A_FILE => ListIn::File,
            _ => ListIn::Row,
        }
    }
}

fn halves(at: u64) -> [u16; 2] {
    [(at >> 16) as u16, at as u16]
}

impl Kept {
    fn size(&self) -> u64 {
        self.row.size() + self.list.size()
    }

    fn has_file(&self) -> bool {
        self.list.len == IN_A_FILE
    }

    fn file_size(&self) -> u64 {
        if self.has_file() { self.list.at() } else { 0 }
    }

    /// Notes a row of a record, while the file is read.
    pub(super) fn record(&mut self, at: u64, len: usize, list: ListIn) {
        self.row = Place::row(at, len);
        self.list = match (list, self.list.is_in()) {
            (ListIn::Row, ListIn::Row) => self.list,
            (ListIn::Row | ListIn::Nothing, _) => Place::default(),
            (ListIn::File, _) => Place::file(0),
        };
    }

    /// Notes the row of a list.
    pub(super) fn list(&mut self, at: u64, len: usize) {
        self.list = Place::row(at, len);
    }
}

impl Shelf {
    /// What was read: where what is kept is. Removes the lists that no record has.
    pub(super) fn new(
        dir: StateDir,
        file: RecordFile,
        kept: HashMap<u64, Kept>,
        marks: Marks,
    ) -> Self {
        let kept = kept.into_iter().filter(|(_, kept)| kept.row.len != NONE);
        let mut kept: BTreeMap<u64, Kept> = kept.collect();
        for name in dir.names().unwrap_or_default() {
            let Some(key) = key_of(&name) else { continue };
            if !kept.get(&key).is_some_and(Kept::has_file) {
                // It is only in the way.
                let _ = dir.remove(&name);
            }
        }
        for (key, kept) in kept.iter_mut().filter(|(_, kept)| kept.has_file()) {
            kept.list = match dir.size(name_of(*key).as_bytes()) {
                0 => Place::default(),
                size => Place::file(size),
            };
        }
        let live = kept.values().map(Kept::size).sum();
        let files = kept.values().map(Kept::file_size).sum();
        let (growing, open) = (HashMap::new(), VecDeque::new());
        let (next, most_files) = (LEAST, MAX_LISTS);
        let mut shelf =
            Shelf { dir, file, kept, live, files, most_files, next, marks, growing, open };
        shelf.bound_lists();
        shelf
    }

    #[cfg(test)]
    pub(super) fn set_most_files(&mut self, most: u64) {
        self.most_files = most;
    }

    /// Writes what is known of a record.
    pub(super) fn put(&mut self, record: &Record, state: State, has_ended: bool) {
        let key = record.id.key();
        let before = self.kept.get(&key).copied().unwrap_or_default();
        let list = before.list.is_in();
        let row = Row::Record { record: record.clone(), state, has_ended, list };
        if let Some(row) = self.append(&row) {
            let now = Kept { row, ..before };
            self.live = self.live - before.size() + now.size();
            self.kept.insert(key, now);
            self.tidy();
        }
    }

    /// A record is not kept any more.
    pub(super) fn remove(&mut self, id: &RecordId) {
        let key = id.key();
        self.forget_list(key);
        let Some(kept) = self.kept.remove(&key) else { return };
        self.live -= kept.size();
        self.files -= kept.file_size();
        self.append(&Row::Dropped(id.clone()));
        if kept.has_file() {
            self.unlink(key);
        }
        self.tidy();
    }

    /// Records up to this stamp are not known any more.
    pub(super) fn set_horizon(&mut self, horizon: Stamp) {
        if horizon > self.marks.horizon {
            self.marks.horizon = horizon;
            self.append(&Row::Horizon(horizon));
        }
    }

    /// This host's clock has come so far.
    pub(super) fn set_height(&mut self, height: Stamp) {
        if height > self.marks.height {
            self.marks.height = height;
            self.append(&Row::Height(height));
        }
    }

    /// Begins the list of a record; what there was before of it is replaced by what is added first.
    pub(super) fn begin_list(&mut self, id: &RecordId) {
        self.forget_list(id.key());
        let name = name_of(id.key());
        match ListWriter::new(&self.dir, name.as_bytes(), MAX_LIST) {
            Ok(list) => drop(self.growing.insert(id.key(), list)),
            Err(error) => warn(&error),
        }
    }

    /// Adds to a list that was begun. Whether it has moved to a file of its own: the record has to be put again.
    pub(super) fn add(&mut self, id: &RecordId, manifest: &Manifest) -> bool {
        let key = id.key();
        let Some(list) = self.growing.get_mut(&key) else { return false };
        if let Err(error) = list.add(manifest) {
            warn(&error);
            return false;
        }
        if let Some(short) = list.short() {
            let row = Row::List(key, short.to_vec());
            if let Some(place) = self.append(&row) {
                if self.kept.get(&key).is_some_and(Kept::has_file) {
                    self.unlink(key);
                }
                self.set_list(key, place);
                self.tidy();
            }
            return false;
        }
        if self.too_many_grow() {
            return self.lose(key);
        }
        let size = self.dir.size(name_of(key).as_bytes());
        let moved = self.set_list(key, Place::file(size));
        self.bound_lists();
        moved
    }

    fn too_many_grow(&self) -> bool {
        let long = self.growing.values().filter(|list| list.short().is_none());
        long.count() > MOST_GROWING
    }

    /// A list is given up. Whether the record has to be put again.
    fn lose(&mut self, key: u64) -> bool {
        self.forget_list(key);
        self.unlink(key);
        self.set_list(key, Place::default())
    }

    /// Gives up lists while they are too large. What a row says of them is found out at the next start.
    fn bound_lists(&mut self) {
        while self.files > self.most_files {
            let in_files = self.kept.iter().filter(|(_, kept)| kept.has_file());
            let Some((&key, _)) = in_files.min_by_key(|(_, kept)| kept.row.at) else { return };
            self.lose(key);
        }
    }

    /// Nothing more comes. Whether the list is lost: the record has to be put again.
    pub(super) fn end_list(&mut self, id: &RecordId) -> bool {
        let key = id.key();
        match self.growing.remove(&key).map(|list| list.finish(false)) {
            Some(Err(error)) => {
                warn(&error);
                self.lose(key)
            }
            Some(Ok(None)) => {
                let size = self.dir.size(name_of(key).as_bytes());
                self.set_list(key, Place::file(size))
            }
            _ => false,
        }
    }

    /// The list of a record. One that still grows is not given.
    pub(super) fn list(&mut self, id: &RecordId) -> Option<Arc<List>> {
        let key = id.key();
        if self.growing.contains_key(&key) {
            return None;
        }
        if let Some(at) = self.open.iter().position(|(other, _)| *other == key) {
            let found = self.open.remove(at)?;
            self.open.push_front(found);
        } else {
            let list = Arc::new(self.read(key)?);
            self.open.push_front((key, list));
            self.open.truncate(OPEN);
        }
        self.open.front().map(|(_, list)| Arc::clone(list))
    }

    fn read(&self, key: u64) -> Option<List> {
        let place = self.kept.get(&key)?.list;
        let list = match place.is_in() {
            ListIn::Nothing => return None,
            ListIn::Row => {
                let row = self.file.read_at(place.at());
                match row.map(|(kind, payload)| Row::parse(kind, &payload)) {
                    Ok(Some(Row::List(_, short))) => List::short(short).map(Some),
                    Ok(_) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            ListIn::File => List::open(&self.dir, name_of(key).as_bytes()),
        };
        list.inspect_err(warn).ok().flatten()
    }

    /// Whether something has changed that the record's row says.
    fn set_list(&mut self, key: u64, list: Place) -> bool {
        let Some(kept) = self.kept.get_mut(&key) else { return false };
        let before = std::mem::replace(kept, Kept { list, ..*kept });
        self.live = self.live - before.size() + kept.size();
        self.files = self.files - before.file_size() + kept.file_size();
        // That there is a row with it, this row says itself.
        before.list.is_in() != kept.list.is_in() && kept.list.is_in() != ListIn::Row
    }

    fn forget_list(&mut self, key: u64) {
        self.growing.remove(&key);
        self.open.retain(|(other, _)| *other != key);
    }

    fn unlink(&self, key: u64) {
        if let Err(error) = self.dir.remove(name_of(key).as_bytes()) {
            warn(&error);
        }
    }

    fn append(&mut self, row: &Row) -> Option<Place> {
        let (kind, payload) = row.emit();
        let at = self.file.append(kind, &payload).inspect_err(warn).ok()?;
        Some(Place::row(at, payload.len()))
    }

    /// Writes the file anew, if that is worth it.
    fn tidy(&mut self) {
        let size = self.file.size();
        if size < self.next || size < 2 * self.live {
            return;
        }
        if let Err(error) = self.rewrite() {
            warn(&error);
        }
        self.next = LEAST.max(self.file.size() + LEAST);
    }

    fn rewrite(&mut self) -> Result<(), StateError> {
        let mut order: Vec<(u64, Kept)> =
            self.kept.iter().map(|(key, kept)| (*key, *kept)).collect();
        order.sort_unstable_by_key(|(_, kept)| kept.row.at);
        let marks = [Row::Horizon(self.marks.horizon), Row::Height(self.marks.height)];
        self.file.rewrite(|new| {
            for row in marks {
                let (kind, payload) = row.emit();
                new.append(kind, &payload)?;
            }
            for (_, kept) in &mut order {
                kept.row.at = halves(new.copy(kept.row.at())?);
                if kept.list.is_in() == ListIn::Row {
                    kept.list.at = halves(new.copy(kept.list.at())?);
                }
            }
            Ok(())
        })?;
        self.kept.extend(order);
        Ok(())
    }
}

impl Lists for Shelf {
    fn names(&mut self, id: &RecordId, path: Hash) -> Option<bool> {
        let names = match self.growing.get(&id.key()) {
            Some(list) => list.names_hash(path.0),
            None => self.list(id)?.names_hash(path.0),
        };
        names.inspect_err(warn).ok()
    }

    fn names_all_of(&mut self, later: &RecordId, earlier: &RecordId) -> Option<bool> {
        let (later, earlier) = (self.list(later)?, self.list(earlier)?);
        later.names_all_of(&earlier).inspect_err(warn).ok()
    }
}

fn name_of(key: u64) -> String {
    format!("{PREFIX}{key:016x}")
}

fn key_of(name: &[u8]) -> Option<u64> {
    let key = std::str::from_utf8(name).ok()?.strip_prefix(PREFIX)?;
    let key = u64::from_str_radix(key, 16).ok()?;
    (name_of(key).as_bytes() == name).then_some(key)
}

fn warn(error: &StateError) {
    let text = format_args!("what was sent and received cannot be kept: {error}");
    log::limited(Level::WARNING, "what is kept of transfers", None, text);
}
