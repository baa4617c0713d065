//! The journal of this daemon, with what is on disk of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::fold::Fold;
use super::row::Row;
use super::sent::Sent;
use super::shelf::{FILE, Kept, LIMITS, Marks, Shelf};
use crate::count::counted;
use crate::engine::catch_up::{
    Change, Folded, Journal, Lists, MAX_FOLDED, MAX_RECORDS, Names, Record, RecordId, State,
    Summary,
};
use crate::fs::batch::SourceBatch;
use crate::fs::state::dir::StateDir;
use crate::fs::state::error::StateError;
use crate::fs::state::list::List;
use crate::fs::state::record_file::{Aside, Found, RecordFile};
use crate::log::{self, Level};
use crate::name::{HostName, RelPath};
use crate::stamp::Stamp;
use crate::sys::memory;
use crate::wire::begin::{Folds, Recorded};
use crate::wire::behind::Behind;
use crate::wire::manifest::Manifest;
use crate::wire::records::MAX_RECORD;

/// What this daemon keeps of transfers.
#[derive(Debug)]
pub struct Keeper {
    journal: Journal,
    shelf: Shelf,
    /// When it began to keep something: what was before that it does not know.
    birth: Stamp,
    /// The transfers that have begun, and have neither ended nor were given up.
    running: BTreeSet<RecordId>,
    /// The name of this host.
    me: Arc<HostName>,
    /// Which hosts have what was sent from here; None if that cannot be kept.
    sent: Option<Sent>,
}

/// What was there when the keeper began.
#[derive(Debug)]
pub struct Opened {
    /// What is kept.
    pub keeper: Keeper,
    /// The highest stamp that is known.
    pub height: Stamp,
    /// What the log is told.
    pub remarks: Vec<String>,
}

/// What is read from the rows.
struct Reading {
    journal: Journal,
    kept: HashMap<u64, Kept>,
    marks: Marks,
    wall: u64,
    ahead: u64,
    unknown: u64,
}

impl Keeper {
    /// Takes up what is in `dir`, for the host of this name; `wall` is its wall clock,
    /// `birth` from when on it knows all, if there is nothing yet.
    ///
    /// # Errors
    /// The file of the journal cannot be opened.
    pub fn open(
        dir: StateDir,
        me: &HostName,
        wall: u64,
        birth: Stamp,
    ) -> Result<Opened, StateError> {
        let mut reading = Reading {
            journal: Journal::new(Arc::new(me.clone()), MAX_RECORDS),
            kept: HashMap::new(),
            marks: Marks::default(),
            wall,
            ahead: 0,
            unknown: 0,
        };
        let (file, found) =
            RecordFile::open(&dir, FILE, me, birth.bits(), LIMITS, |at, kind, payload| {
                reading.row(at, kind, payload);
            })?;
        let mut remarks = reading.remarks(&found);
        let sent = Sent::open(&dir, me);
        let sent = sent.map_err(|error| {
            remarks
                .push(format!("which hosts have what is sent from here cannot be kept: {error}"));
        });
        let Reading { journal, kept, marks, .. } = reading;
        let height = journal.height().max(marks.height);
        let birth = Stamp::from_bits(file.birth());
        let mut keeper = Keeper {
            journal,
            shelf: Shelf::new(dir, file, kept, marks),
            birth,
            running: BTreeSet::new(),
            me: Arc::new(me.clone()),
            sent: sent.ok(),
        };
        keeper.write();
        memory::trim();
        Ok(Opened { keeper, height, remarks })
    }

    #[cfg(test)]
    pub(super) fn set_most_files(&mut self, most: u64) {
        self.shelf.set_most_files(most);
    }

    /// When it began to keep something.
    pub fn birth(&self) -> Stamp {
        self.birth
    }

    /// What is kept.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// What other hosts are told.
    pub fn summary(&self) -> Summary {
        self.journal.summary()
    }

    /// The stamp up to which all transfers that are known here are over. Who keeps the same records now lacks, of
    /// what was up to then, only what it says that it lacks.
    pub fn settled(&self) -> Stamp {
        match self.running.first() {
            Some(id) => Stamp::from_bits(id.stamp.bits().saturating_sub(1)),
            None => self.journal.height(),
        }
    }

    /// Something was sent from here, of which there is a record, and these hosts have all of it.
    pub fn sent(&mut self, stamp: Stamp, hosts: &[HostName]) {
        let (journal, me) = (&self.journal, &self.me);
        let is_kept = |stamp| journal.get(&RecordId { stamp, host: Arc::clone(me) }).is_some();
        let done = self.sent.as_mut().map(|sent| sent.sent(stamp, hosts, is_kept));
        done.unwrap_or(Ok(())).unwrap_or_else(|error| warn(&error));
    }

    /// A host keeps the same records as this one, and lacks this of them.
    pub fn agrees(&mut self, host: &HostName, lacks: Behind) {
        let upto = self.settled();
        let done = self.sent.as_mut().map(|sent| sent.caught_up(host, upto, lacks));
        done.unwrap_or(Ok(())).unwrap_or_else(|error| warn(&error));
    }

    /// The hosts that have what was sent from here with this stamp; None if that is not known.
    pub fn have(&self, stamp: Stamp) -> Option<impl Iterator<Item = &HostName>> {
        self.sent.as_ref()?.hosts(stamp)
    }

    /// Does something with the records and their lists, and keeps what has changed.
    pub fn with<T>(&mut self, act: impl FnOnce(&mut Journal, &mut dyn Lists) -> T) -> T {
        let done = act(&mut self.journal, &mut self.shelf);
        self.write();
        done
    }

    /// A transfer has begun, and something may be written for it. False if it is not kept.
    pub fn began(&mut self, record: &Record) -> bool {
        if record.emit().len() > MAX_RECORD || self.journal.has(&record.id) {
            return false;
        }
        self.journal.began(record.clone());
        self.write();
        let is_kept = self.journal.has(&record.id);
        if is_kept {
            self.running.insert(record.id.clone());
            self.shelf.begin_list(&record.id);
        }
        is_kept
    }

    /// A transfer has named this: what there is of it here, or may be in a moment.
    pub fn named(&mut self, id: &RecordId, manifest: &Manifest) {
        if self.shelf.add(id, manifest) {
            self.put(id);
        }
    }

    /// A transfer that has begun has ended; `complete` says whether all of it is here.
    pub fn ended(&mut self, id: &RecordId, end: Recorded, complete: bool) {
        self.running.remove(id);
        self.shelf.end_list(id);
        let state = match end.folds.filter(|_| complete) {
            None => None,
            Some(folds) => self.fold_into(id, folds, end.deletes),
        };
        let complete = complete && (end.folds.is_none() || state == Some(State::Complete));
        self.journal.ended(id, end, complete, &mut self.shelf);
        if let Some(state) = state {
            self.journal.advance(id, state, &mut self.shelf);
        }
        self.write();
    }

    /// All is named of a list that is sent from here, and it ends in a moment: what was sent before of the same is
    /// added to it. What it takes the place of, if there is something.
    pub fn fold(&mut self, id: &RecordId, names: Names, deletes: bool) -> Option<Folds> {
        let (mut record, ..) = self.journal.get(id).filter(|(record, ..)| record.deed.listed)?;
        record.deed.deletes = deletes;
        self.shelf.end_list(id);
        let since = self.journal.foldable(&record, names.count)?;
        record.deed.since = Some(since);
        let Folded { ids, keys, .. } = self.journal.folded(&record);
        (self.shelf.list(id)?.all_names() == names).then_some(())?;
        let (batches, names) = self.folded(&record, &ids)?;
        self.replace_list(id, &batches);
        Some(Folds { since, keys, names })
    }

    /// Adds what a record takes the place of to its list, if all of that is here: how far this host is then.
    fn fold_into(&mut self, id: &RecordId, folds: Folds, deletes: bool) -> Option<State> {
        let (mut record, ..) = self.journal.get(id)?;
        (record.deed.deletes, record.deed.since) = (deletes, Some(folds.since));
        let Folded { ids, keys, state } = self.journal.folded(&record);
        if keys != folds.keys {
            return None;
        }
        if self.shelf.list(id)?.all_names() == folds.names {
            // This host has sent it.
            return Some(state);
        }
        let (batches, names) = self.folded(&record, &ids)?;
        if names != folds.names {
            return None;
        }
        self.replace_list(id, &batches);
        Some(state)
    }

    fn folded(
        &mut self,
        record: &Record,
        earlier: &[RecordId],
    ) -> Option<(Vec<SourceBatch>, Names)> {
        let (mut fold, mut left) = (Fold::default(), MAX_FOLDED);
        for id in earlier.iter().chain([&record.id]) {
            let (list, deed) = (self.shelf.list(id)?, self.journal.get(id)?.0.deed);
            left = left.checked_sub(list.entries())?;
            let deletes = if *id == record.id { record.deed.deletes } else { deed.deletes };
            fold.add(list.manifests().collect::<Result<_, _>>().ok()?, deletes)?;
        }
        Some(fold.finish())
    }

    fn replace_list(&mut self, id: &RecordId, batches: &[SourceBatch]) {
        self.shelf.begin_list(id);
        for batch in batches {
            self.shelf.add(id, &batch.manifest);
        }
        self.shelf.end_list(id);
    }

    /// A transfer that has begun was given up. If `wrote` says so, something of it may be here.
    pub fn given_up(&mut self, id: &RecordId, wrote: bool) {
        self.running.remove(id);
        if self.shelf.end_list(id) {
            self.put(id);
        }
        if !wrote {
            self.journal.never_was(id);
            self.shelf.set_height(id.stamp);
            self.write();
        }
    }

    /// A transfer of which nothing is kept has written below a path.
    pub fn unrecorded(&mut self, path: &RelPath) {
        self.journal.unrecorded(path);
        self.write();
    }

    /// A pull of a record begins: what comes is its list from now on.
    pub fn pulls(&mut self, id: &RecordId) {
        self.journal.pulls(id);
        self.write();
        self.shelf.begin_list(id);
    }

    /// A pull of a record has ended, or was given up: nothing more is added to its list.
    pub fn pulled(&mut self, id: &RecordId) {
        if self.shelf.end_list(id) {
            self.put(id);
        }
    }

    /// Whether nothing is to be written or deleted at a path for this record, because of a later one.
    pub fn guards(&mut self, id: &RecordId, path: &RelPath) -> bool {
        self.journal.guards(id, path, &mut self.shelf)
    }

    /// Whether a later record says what is to be at a path.
    pub fn is_superseded(&mut self, id: &RecordId, path: &RelPath) -> bool {
        self.journal.is_superseded(id, path, &mut self.shelf)
    }

    /// The list of what a record named; None if there is none, or it is still written.
    pub fn list(&mut self, id: &RecordId) -> Option<Arc<List>> {
        self.shelf.list(id)
    }

    /// Does to the disk what the journal asks for.
    fn write(&mut self) {
        let horizon = self.journal.summary().horizon;
        while let Some(change) = self.journal.poll_change() {
            match change {
                Change::Put(id) => self.put(&id),
                Change::Drop(id) => self.shelf.remove(&id),
            }
        }
        self.shelf.set_horizon(horizon);
    }

    fn put(&mut self, id: &RecordId) {
        if let Some((record, state, has_ended)) = self.journal.get(id) {
            self.shelf.put(&record, state, has_ended);
        }
    }
}

fn warn(error: &StateError) {
    let text = format_args!("which hosts have what is sent from here cannot be kept: {error}");
    log::limited(Level::WARNING, "what is kept of hosts", None, text);
}

impl Reading {
    fn row(&mut self, at: u64, kind: u8, payload: &[u8]) {
        let is_ahead = |stamp: Stamp| stamp.ahead_of(self.wall).is_ahead_too_far();
        match Row::parse(kind, payload) {
            Some(Row::Record { record, .. }) if is_ahead(record.id.stamp) => self.ahead += 1,
            Some(Row::Record { record, state, has_ended, list }) => {
                let kept = self.kept.entry(record.id.key()).or_default();
                kept.record(at, payload.len(), list);
                self.journal.restore(record, state, has_ended);
            }
            Some(Row::List(key, _)) => self.kept.entry(key).or_default().list(at, payload.len()),
            Some(Row::Dropped(id)) => {
                self.kept.remove(&id.key());
                self.journal.restore_dropped(&id);
            }
            Some(Row::Horizon(stamp) | Row::Height(stamp)) if is_ahead(stamp) => {}
            Some(Row::Horizon(stamp)) => {
                self.journal.restore_horizon(stamp);
                self.marks.horizon = self.marks.horizon.max(stamp);
            }
            Some(Row::Height(stamp)) => self.marks.height = self.marks.height.max(stamp),
            None => self.unknown += 1,
        }
    }

    fn remarks(&self, found: &Found) -> Vec<String> {
        let mut remarks = Vec::new();
        match found {
            Found::New | Found::Whole => {}
            Found::Cut(bytes) => remarks.push(format!(
                "the end of the journal is damaged or incomplete: {} cut off",
                counted(*bytes, "byte")
            )),
            Found::SetAside(aside) => remarks.push(match aside {
                Aside::OfHost(host) => format!(
                    "the journal here is that of host {host}: it was set aside, and a new one is begun"
                ),
                Aside::Version(version) => format!(
                    "the journal here has version {version}: it was set aside, and a new one is begun"
                ),
                Aside::Damaged => "the journal here is damaged: it was set aside, and a new one is \
                                   begun"
                    .to_owned(),
            }),
        }
        if self.ahead > 0 {
            remarks.push(format!(
                "{} of the journal left out that would be of times to come: the clock was wrong then, or is \
                 now",
                counted(self.ahead, "row")
            ));
        }
        if self.unknown > 0 {
            remarks.push(format!("{} of the journal not understood", counted(self.unknown, "row")));
        }
        remarks
    }
}
