//! One batch of an incoming transfer: from the first block of its manifest to its outcomes.

use std::sync::Arc;

use super::Shared;
use super::budget::Rank;
use crate::engine::ranges::RangeSet;
use crate::ids::{BlockNo, BlockRange, EntryNo};
use crate::name::{NodeId, RelPath};
use crate::wire::begin::Offer;
use crate::wire::feedback::{BatchStatus, State};
use crate::wire::header::MAX_BLOCK;
use crate::wire::layout::Layout;
use crate::wire::manifest::Manifest;
use crate::wire::outcome::{Need, Outcome};

/// A decoded manifest is bigger than its bytes: what a byte of manifest is counted as until that is
/// known.
const MANIFEST_FACTOR: usize = 3;
/// A body with more separate gaps than this takes only the block that it misses first.
const MAX_GAPS: usize = 1 << 16;
/// So many gaps are not charged to the budget; more are, so many at a time, at so many bytes each.
const GAPS_FREE: usize = 512;
const GAPS_EACH: usize = 2_048;
const GAP_MEMORY: usize = 2 * size_of::<crate::ids::BlockRange>();
/// More ranges than a STATUS has room for.
const MAX_RANGES: usize = MAX_BLOCK as usize / 2;

pub(super) enum Stage<H> {
    /// There was no room for the manifest.
    Unknown { refused: bool },
    /// Blocks of the manifest are coming.
    Offered { bytes: Vec<u8>, missing: RangeSet },
    /// The disk looks at the entries.
    Planning,
    /// Blocks of the body are coming. `starved`: there was no room for them.
    Body { body: Content<H>, starved: bool },
    /// The disk writes.
    Staging,
    /// It can be committed.
    Staged,
    /// The disk commits.
    Committing,
    /// It is in place.
    Done(Vec<Outcome>),
}

pub(super) enum Content<H> {
    Memory(Vec<u8>),
    File(H),
    /// Nothing is needed, or nothing has come: memory is taken with the first block, so that a sender
    /// that stands still has none of it.
    None,
}

pub(super) struct IncomingBatch<H> {
    /// Whose it is.
    node: NodeId,
    pub(super) stage: Stage<H>,
    pub(super) manifest: Option<Arc<Manifest>>,
    pub(super) layout: Option<Arc<Layout>>,
    pub(super) needs: Vec<Need>,
    /// Blocks of the body that are needed and not here.
    pub(super) missing: RangeSet,
    /// The disk has been asked for the plan.
    pub(super) plan_asked: bool,
    /// Set by the first COMMIT, and never changed.
    pub(super) strikes: Option<Vec<EntryNo>>,
    /// What its manifest has of the budget, in bytes.
    pub(super) reserved: usize,
    /// What its body has of the budget, in bytes.
    pub(super) reserved_body: usize,
    /// How many gaps in the body that includes, beyond [`GAPS_FREE`].
    gaps_paid: usize,
}

impl<H> IncomingBatch<H> {
    pub(super) fn new(node: NodeId) -> Self {
        IncomingBatch {
            node,
            stage: Stage::Unknown { refused: false },
            manifest: None,
            layout: None,
            needs: Vec::new(),
            missing: RangeSet::new(),
            plan_asked: false,
            strikes: None,
            reserved: 0,
            reserved_body: 0,
            gaps_paid: 0,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done(_))
    }

    /// Whether what it needs is known.
    pub(super) fn is_planned(&self) -> bool {
        !matches!(self.stage, Stage::Unknown { .. } | Stage::Offered { .. } | Stage::Planning)
    }

    /// A block of the manifest. True when the manifest is whole; its bytes stay in the stage.
    pub(super) fn offer(
        &mut self,
        shared: &mut Shared,
        rank: Rank,
        block_size: u16,
        block: BlockNo,
        offer: &Offer<'_>,
    ) -> bool {
        let whole = offer.manifest_len as usize;
        if matches!(self.stage, Stage::Unknown { .. }) {
            let wanted = whole * MANIFEST_FACTOR;
            if !shared.budget.reserve(self.node, rank, wanted) {
                self.stage = Stage::Unknown { refused: true };
                return false;
            }
            self.reserved += wanted;
            let blocks = Offer::blocks(whole, block_size);
            let missing = RangeSet::of(BlockRange::from_len(BlockNo::ZERO, blocks));
            self.stage = Stage::Offered { bytes: vec![0; whole], missing };
        }
        let Stage::Offered { bytes, missing } = &mut self.stage else { return false };
        let slice_len = Offer::slice_len(block_size);
        let start = block.get() as usize * slice_len;
        let expected = bytes.len().saturating_sub(start).min(slice_len);
        if whole != bytes.len() || offer.slice.len() != expected || !missing.contains(block) {
            return false;
        }
        bytes[start..start + expected].copy_from_slice(offer.slice);
        missing.remove(BlockRange::one(block));
        missing.is_empty()
    }

    /// The manifest takes so many bytes, now that it is decoded. False if there is no room for it: then
    /// it has to be offered again.
    pub(super) fn settle(&mut self, shared: &mut Shared, rank: Rank, bytes: usize) -> bool {
        shared.budget.release(self.node, std::mem::take(&mut self.reserved));
        if shared.budget.reserve(self.node, rank, bytes) {
            self.reserved = bytes;
            return true;
        }
        self.stage = Stage::Unknown { refused: true };
        false
    }

    /// Which blocks of the body the entries that need data have, but for struck ones.
    pub(super) fn needed(&self, strikes: &[EntryNo]) -> RangeSet {
        let mut needed = RangeSet::new();
        let Some(layout) = &self.layout else { return needed };
        for slot in layout.slots() {
            let wants = self.needs.get(slot.entry.index()) == Some(&Need::All);
            if wants && strikes.binary_search(&slot.entry).is_err() {
                layout.blocks_of(slot).for_each(|blocks| needed.insert(blocks));
            }
        }
        needed
    }

    /// The sender will never send what is struck.
    pub(super) fn strike(&mut self, strikes: Vec<EntryNo>) {
        if !strikes.is_empty() && matches!(self.stage, Stage::Body { .. }) {
            let kept = self.needed(&strikes);
            let mut missing = RangeSet::new();
            for range in kept.iter() {
                let mut from = range.start;
                while let Some(run) = self.missing.next_run(from, u32::MAX) {
                    if run.start >= range.end {
                        break;
                    }
                    missing.insert(run.below(range.end));
                    from = run.end;
                }
            }
            self.missing = missing;
        }
        self.strikes = Some(strikes);
    }

    /// Whether a block is wanted now. Without memory for one more gap, only the first one that is
    /// missing is.
    pub(super) fn wants(&mut self, shared: &mut Shared, rank: Rank, block: BlockNo) -> bool {
        if !self.missing.contains(block) {
            return false;
        }
        let count = self.missing.range_count();
        if count >= self.gaps_paid + GAPS_FREE && count < MAX_GAPS {
            let bytes = GAPS_EACH * GAP_MEMORY;
            if shared.budget.reserve(self.node, rank, bytes) {
                self.reserved_body += bytes;
                self.gaps_paid += GAPS_EACH;
            }
        }
        let has_room = count < MAX_GAPS && count < self.gaps_paid + GAPS_FREE;
        has_room || self.missing.first() == Some(block)
    }

    /// Takes memory for the body if it needs any and has none. False if there is no room for it.
    pub(super) fn make_room(&mut self, shared: &mut Shared, rank: Rank) -> bool {
        let Stage::Body { body: body @ Content::None, starved } = &mut self.stage else {
            return true;
        };
        let memory = self.layout.as_ref().map_or(0, |layout| layout.len() as usize);
        *starved = !shared.budget.reserve(self.node, rank, memory);
        if *starved {
            return false;
        }
        self.reserved_body += memory;
        *body = Content::Memory(shared.buffer(memory));
        true
    }

    pub(super) fn path(&self, entry: EntryNo) -> Option<&RelPath> {
        Some(&self.manifest.as_ref()?.entries.get(entry.index())?.path)
    }

    /// Whether it misses anything, when manifests have been sent up to `offers` and bodies to `data`.
    pub(super) fn misses(&self, offers: BlockNo, data: BlockNo) -> bool {
        match &self.stage {
            Stage::Unknown { refused } => !refused && offers > BlockNo::ZERO,
            Stage::Offered { missing, .. } => missing.below(offers).next().is_some(),
            Stage::Body { starved, .. } => !starved && self.missing.below(data).next().is_some(),
            _ => false,
        }
    }

    /// What STATUS says of it, when manifests have been sent up to `offers` and bodies to `data`.
    pub(super) fn status(&self, offers: BlockNo, data: BlockNo) -> BatchStatus {
        let (state, missing) = match &self.stage {
            Stage::Unknown { refused: true } | Stage::Body { starved: true, .. } => {
                (State::Waiting, Vec::new())
            }
            Stage::Unknown { refused: false } => {
                let all = BlockRange::new(BlockNo::ZERO, offers);
                (State::Offer, if all.is_empty() { Vec::new() } else { vec![all] })
            }
            Stage::Offered { missing, .. } => {
                (State::Offer, missing.below(offers).take(MAX_RANGES).collect())
            }
            Stage::Planning => (State::Planning, Vec::new()),
            Stage::Body { .. } => {
                (State::Body, self.missing.below(data).take(MAX_RANGES).collect())
            }
            Stage::Staging => (State::Staging, Vec::new()),
            Stage::Staged => (State::Staged, Vec::new()),
            Stage::Committing => (State::Committing, Vec::new()),
            Stage::Done(_) => (State::Done, Vec::new()),
        };
        BatchStatus { state, missing }
    }

    /// Gives back the memory of its body.
    pub(super) fn free_body(&mut self, shared: &mut Shared) {
        shared.budget.release(self.node, std::mem::take(&mut self.reserved_body));
        self.gaps_paid = 0;
    }

    /// Gives back all but what is kept of it to be said again.
    pub(super) fn finish(&mut self, shared: &mut Shared) {
        self.free(shared);
        let outcomes = match &self.stage {
            Stage::Done(outcomes) => size_of_val(outcomes.as_slice()),
            _ => 0,
        };
        self.reserved = size_of_val(self.needs.as_slice()) + outcomes;
        shared.budget.take(self.node, self.reserved);
    }

    /// Gives back its memory.
    pub(super) fn free(&mut self, shared: &mut Shared) {
        shared.budget.release(self.node, std::mem::take(&mut self.reserved));
        self.free_body(shared);
        self.manifest = None;
        self.layout = None;
    }
}
