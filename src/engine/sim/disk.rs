//! A target's disk: what is committed is a version of a file; what is staged is checked byte by byte.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::rc::Rc;

use crate::engine::job::{Answer, Body, Job, Tally, TransferKey};
use crate::engine::ranges::RangeSet;
use crate::engine::rng::Rng;
use crate::name::RelPath;
use crate::time::Span;
use crate::wire::feedback::PAGE_EACH;
use crate::wire::layout::Layout;
use crate::wire::manifest::{Entry, Kind, Manifest, Stamp};
use crate::wire::outcome::{Need, Outcome, SpoolCode};

/// The byte of a file at an offset; another version has other bytes.
fn byte(entry: &Entry, offset: u64) -> u8 {
    let name = entry
        .path
        .as_bytes()
        .iter()
        .fold(7u64, |sum, &b| sum.wrapping_mul(31).wrapping_add(b.into()));
    let seed = name ^ (entry.mtime.secs as u64).wrapping_mul(0x9e37_79b9);
    (seed.wrapping_add(offset).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
}

/// Fills `memory` with the bytes of a body from `start` on.
pub(super) fn fill(manifest: &Manifest, layout: &Layout, start: u64, memory: &mut [u8]) {
    let bytes = start..start + memory.len() as u64;
    for slot in layout.slots_in(&bytes) {
        let entry = &manifest.entries[usize::from(slot.entry)];
        for at in slot.start.max(bytes.start)..(slot.start + slot.len).min(bytes.end) {
            memory[(at - start) as usize] = byte(entry, at - slot.start);
        }
    }
}

/// A streamed file: which of its bytes were written.
#[derive(Clone, Debug, Default)]
pub(super) struct Handle(Rc<RefCell<RangeSet>>);

impl Handle {
    /// In units of 16 bytes, so that sizes over 4 GiB fit.
    pub(super) fn write(&self, bytes: Range<u64>) {
        self.0.borrow_mut().insert((bytes.start / 16) as u32..bytes.end.div_ceil(16) as u32);
    }
}

pub(super) struct MemDisk {
    rng: Rng,
    /// How long a job takes at the most.
    pub(super) slowness: Span,
    pub(super) files: BTreeMap<Vec<u8>, Stamp>,
    planned: HashMap<(TransferKey, u32), Planned>,
    /// The paths that a transfer which deletes has named, and what it has spooled.
    seen: HashMap<TransferKey, BTreeSet<Vec<u8>>>,
    spools: HashMap<TransferKey, Vec<(SpoolCode, Vec<u8>)>>,
    /// The batch last committed of each transfer: they must come in order.
    committed: HashMap<TransferKey, u32>,
    busy_until: Span,
}

struct Planned {
    manifest: std::sync::Arc<Manifest>,
    layout: std::sync::Arc<Layout>,
    needs: Vec<Need>,
    handle: Option<Handle>,
    staged: bool,
}

impl MemDisk {
    pub(super) fn new(seed: u64) -> Self {
        MemDisk {
            rng: Rng::new(seed),
            slowness: Span::from_micros(300),
            files: BTreeMap::new(),
            planned: HashMap::new(),
            seen: HashMap::new(),
            spools: HashMap::new(),
            committed: HashMap::new(),
            busy_until: Span::ZERO,
        }
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

    pub(super) fn run(&mut self, job: Job) -> Option<(Span, Answer<Handle>)> {
        // A constant time keeps a transfer's answers in order.
        let takes = self.slowness;
        let _ = self.busy_until;
        let answer = match job {
            Job::Plan { key, batch, manifest, layout, options } => {
                if options.spools() {
                    let paths = manifest.entries.iter().map(|entry| entry.path.as_bytes().to_vec());
                    self.seen.entry(key).or_default().extend(paths);
                }
                let need = |entry: &Entry| match entry.kind {
                    Kind::File { .. }
                        if self.files.get(entry.path.as_bytes()) == Some(&entry.mtime) =>
                    {
                        Need::Skip
                    }
                    Kind::Close { .. } => Need::Skip,
                    _ => Need::All,
                };
                let needs: Vec<Need> = manifest.entries.iter().map(need).collect();
                let streams =
                    layout.streams() && needs[usize::from(layout.slots()[0].entry)] == Need::All;
                let handle = (streams && !options.dry_run).then(Handle::default);
                let planned = Planned {
                    manifest,
                    layout,
                    needs: needs.clone(),
                    handle: handle.clone(),
                    staged: false,
                };
                if !options.dry_run {
                    assert!(self.planned.insert((key, batch), planned).is_none(), "planned twice");
                }
                Answer::Planned { key, batch, needs, file: handle }
            }
            Job::Stage { key, batch, body } => {
                let planned = self.planned.get_mut(&(key, batch)).expect("staged without a plan");
                assert!(!std::mem::replace(&mut planned.staged, true), "staged twice");
                let buffer = planned.check(body);
                Answer::Staged { key, batch, buffer }
            }
            Job::Commit { key, batch, strikes } => {
                let planned = self.planned.remove(&(key, batch)).expect("committed without a plan");
                assert!(planned.staged, "committed unstaged");
                let before = self.committed.insert(key, batch).unwrap_or(0);
                assert_eq!(before + 1, batch, "committed out of order");
                let mut outcomes = Vec::new();
                for (at, (entry, need)) in
                    planned.manifest.entries.iter().zip(&planned.needs).enumerate()
                {
                    let struck = strikes.contains(&(at as u16));
                    if !struck && matches!(entry.kind, Kind::File { .. }) {
                        self.files.insert(entry.path.as_bytes().to_vec(), entry.mtime);
                    }
                    outcomes.push(match need {
                        _ if struck => Outcome::Struck,
                        Need::Skip => Outcome::Skipped,
                        _ => Outcome::Updated,
                    });
                }
                Answer::Done { key, batch, outcomes }
            }
            Job::Tally { key } => {
                let seen = self.seen.remove(&key).unwrap_or_default();
                let extra = self.files.keys().filter(|path| !seen.contains(*path));
                let spool: Vec<_> = extra.map(|path| (SpoolCode::Spooled, path.clone())).collect();
                let tally = Tally { spooled: spool.len() as u64, entries: self.files.len() as u64 };
                assert!(self.spools.insert(key, spool).is_none(), "tallied twice");
                Answer::Tallied { key, tally }
            }
            Job::Delete { key } => {
                let spool = self.spools.get_mut(&key).expect("deleted without a tally");
                for (code, path) in spool.iter_mut() {
                    assert_eq!(*code, SpoolCode::Spooled, "deleted twice");
                    assert!(self.files.remove(path).is_some());
                    *code = SpoolCode::Deleted;
                }
                Answer::Deleted { key, deleted: spool.len() as u64, failed: 0 }
            }
            Job::Page { key, skip, room } => {
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
                Answer::Page { key, skip, names }
            }
            Job::Close { key, .. } => {
                self.planned.retain(|(planned, _), _| *planned != key);
                self.seen.remove(&key);
                self.spools.remove(&key);
                return None;
            }
        };
        let _ = self.rng.next_u64();
        Some((takes, answer))
    }
}

impl Planned {
    /// Every byte that is needed must be right.
    fn check(&self, body: Body) -> Option<Vec<u8>> {
        let needed =
            |slot: &&crate::wire::layout::Slot| self.needs[usize::from(slot.entry)] == Need::All;
        match body {
            Body::Memory(memory) => {
                let mut right = vec![0; memory.len()];
                fill(&self.manifest, &self.layout, 0, &mut right);
                for slot in self.layout.slots().iter().filter(needed) {
                    let bytes = slot.start as usize..(slot.start + slot.len) as usize;
                    assert!(memory[bytes.clone()] == right[bytes], "wrong bytes staged");
                }
                Some(memory)
            }
            Body::File => {
                let written = self.handle.as_ref().expect("a streamed file").0.borrow();
                let len = self.layout.len().div_ceil(16) as u32;
                assert_eq!(
                    written.iter().collect::<Vec<_>>(),
                    vec![0..len],
                    "holes in a streamed file"
                );
                None
            }
            Body::None => {
                assert!(self.layout.slots().iter().find(needed).is_none(), "needed bytes missing");
                None
            }
        }
    }
}
