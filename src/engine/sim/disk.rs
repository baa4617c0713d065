//! A target's disk: what is committed is a version of a file; what is staged is checked byte by byte.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::hostile::EVIL;
use crate::engine::disk_job::{Body, DeletionTally, DiskAnswer, DiskJob, TransferKey};
use crate::engine::ranges::RangeSet;
use crate::ids::{BatchNo, BlockNo, BlockRange, EntryNo};
use crate::name::RelPath;
use crate::time::{Span, Time};
use crate::wire::bits::Bits;
use crate::wire::feedback::PAGE_EACH;
use crate::wire::layout::Layout;
use crate::wire::manifest::{Entry, FileTime, Kind, Manifest};
use crate::wire::outcome::{Need, Outcome, Reason, SpoolCode};
use crate::wire::versions::Dot;

/// What the bytes of a file follow from; another version has other bytes.
fn bytes_of(entry: &Entry) -> u64 {
    let path = entry.path.as_bytes().iter();
    let name = path.fold(7u64, |sum, &b| sum.wrapping_mul(31).wrapping_add(b.into()));
    name ^ (entry.mtime.secs as u64).wrapping_mul(0x9e37_79b9)
}

/// The byte at an offset.
fn byte(file: u64, offset: u64) -> u8 {
    (file.wrapping_add(offset).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
}

/// Fills `memory` with the bytes of a body from `start` on; zeros for the entries that are not
/// in `has`.
pub(super) fn fill(
    manifest: &Manifest,
    layout: &Layout,
    start: u64,
    memory: &mut [u8],
    has: &Bits<EntryNo>,
) {
    let bytes = start..start + memory.len() as u64;
    for slot in layout.slots_in(&bytes) {
        let file = bytes_of(&manifest.entries[slot.entry.index()]);
        let from = slot.start.max(bytes.start);
        let to = (slot.start + slot.len).min(bytes.end);
        let memory = &mut memory[(from - start) as usize..(to - start) as usize];
        match has.contains(slot.entry) {
            true => (from..to).zip(memory).for_each(|(at, b)| *b = byte(file, at - slot.start)),
            false => memory.fill(0),
        }
    }
}

/// A streamed file: which of its bytes were written.
#[derive(Clone, Debug, Default)]
pub(super) struct Handle(Rc<RefCell<RangeSet>>);

impl Handle {
    pub(super) fn write(&self, bytes: Range<u64>) {
        self.0.borrow_mut().insert(Self::units(&bytes));
    }

    /// In blocks of 16 bytes, so that sizes over 4 GiB fit.
    fn units(bytes: &Range<u64>) -> BlockRange {
        let (start, end) = (bytes.start / 16, bytes.end.div_ceil(16));
        BlockRange::new(BlockNo::new(start as u32), BlockNo::new(end as u32))
    }

    fn has(&self, bytes: &Range<u64>) -> bool {
        let units = Self::units(bytes);
        let written = self.0.borrow();
        units.is_empty()
            || written
                .next_run(units.start, u32::MAX)
                .is_some_and(|run| run.start == units.start && run.end >= units.end)
    }
}

/// What a job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Plan,
    Stage,
    Commit,
    Tally,
    Delete,
    Page,
}

#[derive(Default)]
pub(super) struct MemDisk {
    /// How long a job takes.
    pub(super) slowness: Span,
    /// The next job of this kind and batch takes so much longer.
    pub(super) hangs: Option<(Step, BatchNo, Span)>,
    /// A job of this kind and batch fails, and the transfer with it.
    pub(super) fails: Option<(Step, BatchNo, Reason)>,
    pub(super) files: BTreeMap<Vec<u8>, FileTime>,
    /// What was committed of mirrored paths: what they are said to be, and which version each object is.
    pub(super) sets: Vec<Entry>,
    pub(super) dots: Vec<(RelPath, Dot)>,
    planned: HashMap<(TransferKey, BatchNo), Planned>,
    /// The paths that a transfer which deletes has named, and what it has spooled.
    seen: HashMap<TransferKey, BTreeSet<Vec<u8>>>,
    spools: HashMap<TransferKey, Vec<(SpoolCode, Vec<u8>)>>,
    /// The batch last committed of each transfer: they must come in order.
    committed: HashMap<TransferKey, BatchNo>,
    free: Time,
}

struct Planned {
    manifest: Arc<Manifest>,
    layout: Arc<Layout>,
    needs: Vec<Need>,
    handle: Option<Handle>,
    /// Once it is staged: which entries are right.
    /// Its body could not be written.
    lost: Option<Reason>,
    staged: Option<Vec<bool>>,
}

impl MemDisk {
    pub(super) fn new() -> Self {
        MemDisk { slowness: Span::from_micros(300), ..MemDisk::default() }
    }

    pub(super) fn restart(&mut self) {
        self.planned.clear();
        self.seen.clear();
        self.spools.clear();
        self.committed.clear();
    }

    /// Nothing is staged.
    pub(super) fn is_clean(&self) -> bool {
        self.planned.is_empty() && self.spools.is_empty()
    }

    /// Does a job; its answer and when that comes.
    pub(super) fn run(&mut self, now: Time, job: DiskJob) -> (Time, DiskAnswer<Handle>) {
        let (step, of, on) = match &job {
            DiskJob::Plan { key, batch, .. } => (Step::Plan, *key, *batch),
            DiskJob::Stage { key, batch, .. } => (Step::Stage, *key, *batch),
            DiskJob::Commit { key, batch, .. } => (Step::Commit, *key, *batch),
            DiskJob::Tally { key } => (Step::Tally, *key, BatchNo::ZERO),
            DiskJob::Delete { key } => (Step::Delete, *key, BatchNo::ZERO),
            DiskJob::Page { key, .. } => (Step::Page, *key, BatchNo::ZERO),
            DiskJob::Close { key, .. } => {
                let key = *key;
                self.planned.retain(|(planned, _), _| *planned != key);
                self.seen.remove(&key);
                self.spools.remove(&key);
                return (self.free.max(now), DiskAnswer::Closed { key });
            }
        };
        self.free = self.free.max(now) + self.slowness;
        if let Some((_, _, longer)) =
            self.hangs.take_if(|(kind, batch, _)| (*kind, *batch) == (step, on))
        {
            self.free += longer;
        }
        if let Some((kind, batch, reason)) = self.fails {
            if (kind, batch) == (step, on) {
                return (
                    self.free,
                    DiskAnswer::Fatal { key: of, batch, entry: EntryNo::ZERO, reason },
                );
            }
        }
        (self.free, self.answer(job))
    }

    fn answer(&mut self, job: DiskJob) -> DiskAnswer<Handle> {
        match job {
            DiskJob::Plan { key, batch, manifest, layout, mode, .. } => {
                if mode.spools() {
                    let paths = manifest.entries.iter().map(|entry| entry.path.as_bytes().to_vec());
                    self.seen.entry(key).or_default().extend(paths);
                }
                let need = |entry: &Entry| match entry.kind {
                    Kind::File { .. }
                        if self.files.get(entry.path.as_bytes()) == Some(&entry.mtime) =>
                    {
                        Need::Skip
                    }
                    Kind::File { .. } if entry.path.as_bytes().ends_with(b"forbidden") => {
                        Need::Failed(Reason::Os(13))
                    }
                    Kind::Close { .. } | Kind::Set { .. } => Need::Skip,
                    _ => Need::All,
                };
                let needs: Vec<Need> = manifest.entries.iter().map(need).collect();
                let streams =
                    layout.streams() && needs[layout.slots()[0].entry.index()] == Need::All;
                let handle = (streams && !mode.changes_nothing()).then(Handle::default);
                let planned = Planned {
                    manifest,
                    layout,
                    needs: needs.clone(),
                    handle: handle.clone(),
                    staged: None,
                    lost: None,
                };
                if !mode.changes_nothing() {
                    assert!(self.planned.insert((key, batch), planned).is_none(), "planned twice");
                }
                DiskAnswer::Planned { key, batch, needs, file: handle }
            }
            DiskJob::Stage { key, batch, body } => {
                let planned = self.planned.get_mut(&(key, batch)).expect("staged without a plan");
                let right = planned.check(&body);
                assert!(planned.staged.replace(right).is_none(), "staged twice");
                let buffer = match body {
                    Body::Memory(memory) => Some(memory),
                    Body::Lost(reason) => {
                        planned.lost = Some(reason);
                        None
                    }
                    Body::File | Body::None => None,
                };
                DiskAnswer::Staged { key, batch, buffer }
            }
            DiskJob::Commit { key, batch, strikes } => {
                let planned = self.planned.remove(&(key, batch)).expect("committed without a plan");
                let right = planned.staged.expect("committed unstaged");
                let before = self.committed.insert(key, batch).unwrap_or_default();
                assert_eq!(before.next(), batch, "committed out of order");
                let mut outcomes = Vec::new();
                for (at, (entry, need)) in
                    planned.manifest.entries.iter().zip(&planned.needs).enumerate()
                {
                    let struck = strikes.contains(&EntryNo::of(at));
                    let dot = planned.manifest.dot(EntryNo::of(at)).filter(|_| !struck);
                    self.dots.extend(dot.map(|dot| (entry.path.clone(), dot)));
                    if matches!(entry.kind, Kind::Set { .. }) {
                        self.sets.push(entry.clone());
                    }
                    let lost = planned.lost.filter(|_| !right[at]);
                    if key.node == EVIL || lost.is_some() {
                        // Its bytes may be anything, or are nowhere.
                    } else if !struck
                        && *need == Need::All
                        && matches!(entry.kind, Kind::File { .. })
                    {
                        assert!(right[at], "{} is torn", entry.path);
                        self.files.insert(entry.path.as_bytes().to_vec(), entry.mtime);
                    }
                    outcomes.push(match need {
                        _ if struck => Outcome::Struck,
                        _ if lost.is_some() => lost.map_or(Outcome::Silent, Outcome::Failed),
                        Need::Skip => Outcome::Skipped,
                        Need::Failed(reason) => Outcome::Failed(*reason),
                        _ => Outcome::Updated,
                    });
                }
                DiskAnswer::Done { key, batch, outcomes }
            }
            DiskJob::Tally { key } => {
                let seen = self.seen.remove(&key).unwrap_or_default();
                let extra = self.files.keys().filter(|path| !seen.contains(*path));
                let spool: Vec<_> = extra.map(|path| (SpoolCode::Spooled, path.clone())).collect();
                let tally = DeletionTally {
                    spooled: spool.len() as u64,
                    failed: 0,
                    entries: self.files.len() as u64,
                };
                assert!(self.spools.insert(key, spool).is_none(), "tallied twice");
                DiskAnswer::Tallied { key, tally }
            }
            DiskJob::Delete { key } => {
                let spool = self.spools.get_mut(&key).expect("deleted without a tally");
                for (code, path) in spool.iter_mut() {
                    assert_eq!(*code, SpoolCode::Spooled, "deleted twice");
                    assert!(self.files.remove(path).is_some());
                    *code = SpoolCode::Deleted;
                }
                DiskAnswer::Deleted { key, deleted: spool.len() as u64, failed: 0 }
            }
            DiskJob::Page { key, skip, room } => {
                let spool = &self.spools[&key];
                let mut left = room;
                let fits = |(_, path): &&(SpoolCode, Vec<u8>)| {
                    let takes = path.len() + PAGE_EACH;
                    left = left.saturating_sub(takes);
                    left > 0
                };
                let names = spool.iter().skip(skip as usize).take_while(fits);
                let names =
                    names.map(|(code, path)| (*code, RelPath::parse(path).unwrap())).collect();
                DiskAnswer::Page { key, skip, names }
            }
            DiskJob::Close { .. } => unreachable!("is answered above"),
        }
    }
}

impl Planned {
    /// Which entries have every byte that they need.
    fn check(&self, body: &Body) -> Vec<bool> {
        let mut right = vec![true; self.needs.len()];
        for slot in self.layout.slots() {
            let at = slot.entry.index();
            if self.needs[at] != Need::All {
                continue;
            }
            right[at] = match body {
                Body::Memory(memory) => {
                    let bytes = slot.start as usize..(slot.start + slot.len) as usize;
                    let mut wanted = vec![0; bytes.len()];
                    let all = Bits::of([slot.entry]);
                    fill(&self.manifest, &self.layout, slot.start, &mut wanted, &all);
                    memory[bytes] == wanted
                }
                Body::File => {
                    let handle = self.handle.as_ref().expect("a streamed file");
                    self.layout
                        .blocks_of(slot)
                        .all(|blocks| handle.has(&self.layout.bytes_of_all(blocks)))
                }
                Body::None | Body::Lost(_) => false,
            };
        }
        right
    }
}
