//! One batch of an incoming transfer: from the first block of its manifest to its outcomes.

use std::ops::Range;
use std::sync::Arc;

use super::budget::Rank;
use super::progress::Sent;
use super::shared::Shared;
use super::types::Place;
use crate::engine::disk_job::Body;
use crate::engine::ranges::RangeSet;
use crate::ids::{BlockNo, BlockRange, EntryNo};
use crate::name::{NodeId, RelPath};
use crate::wire::begin::Offer;
use crate::wire::feedback::{BatchStatus, State};
use crate::wire::header::MAX_BLOCK;
use crate::wire::layout::Layout;
use crate::wire::manifest::{Kind, Manifest};
use crate::wire::outcome::{Need, Outcome, Reason};

/// A decoded manifest is larger than its bytes: how many bytes one of them counts as until the
/// manifest is whole and its size in memory is known.
const MANIFEST_FACTOR: usize = 3;
/// A body with more separate gaps than this takes only the block that it misses first, so that the
/// number of gaps does not grow further.
const MAX_GAPS: usize = 1 << 16;
/// So many gaps are not charged to the budget. More are, [`GAPS_EACH`] at a time.
const GAPS_FREE: usize = 512;
const GAPS_EACH: usize = 2_048;
/// What a gap takes in a vector that may be half empty, in bytes.
const GAP_MEMORY: usize = 2 * size_of::<BlockRange>();
/// More ranges than a STATUS has room for.
const MAX_RANGES: usize = MAX_BLOCK as usize / 2;

/// How far a batch has got.
enum Stage<H> {
    /// Nothing of it has come.
    Unheard,
    /// There was no memory for its manifest.
    Refused,
    /// Blocks of the manifest are coming.
    Offered { bytes: Vec<u8>, missing: RangeSet },
    /// The manifest is whole. The disk plans batches in order, and an earlier one is not whole.
    Queued,
    /// The disk compares the entries with what is there.
    Planning,
    /// Blocks of the body are coming.
    Body(Content<H>),
    /// The disk writes what is needed, under names that nobody sees.
    Staging,
    /// It can be committed.
    Staged,
    /// The disk puts it into place.
    Committing,
    /// It is in place, or nothing is to be put into place.
    Done(Vec<Outcome>),
}

/// Where the blocks of a body go.
enum Content<H> {
    /// Nothing is needed, or nothing has come: memory is taken with the first block, so that a sender
    /// that stands still has none of it.
    Nothing,
    /// There was no memory for it.
    Refused,
    Memory(Vec<u8>),
    File(H),
    /// It could not be written.
    Lost(Reason),
}

/// What a batch consists of.
pub(super) struct Plan {
    pub(super) manifest: Arc<Manifest>,
    pub(super) layout: Arc<Layout>,
}

pub(super) struct IncomingBatch<H> {
    /// The sender.
    node: NodeId,
    stage: Stage<H>,
    /// Once the manifest is whole, and until the batch is done.
    plan: Option<Plan>,
    /// What each entry needs, once the disk has said it.
    needs: Vec<Need>,
    /// Blocks of the body that are needed and have not come.
    missing: RangeSet,
    /// What is left out of the commit: set by the first COMMIT, and never changed.
    strikes: Option<Vec<EntryNo>>,
    /// How many of its regular files are as they were sent, or would be, once it is done.
    pub(super) files: u64,
    /// What its manifest takes of the budget, in bytes.
    reserved: usize,
    /// What its body takes of the budget, in bytes.
    reserved_body: usize,
    /// How many gaps in the body that pays for, beyond [`GAPS_FREE`].
    gaps_paid: usize,
}

impl<H> IncomingBatch<H> {
    pub(super) fn new(node: NodeId) -> Self {
        IncomingBatch {
            node,
            stage: Stage::Unheard,
            plan: None,
            needs: Vec::new(),
            missing: RangeSet::new(),
            strikes: None,
            files: 0,
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
        match self.stage {
            Stage::Unheard | Stage::Refused | Stage::Offered { .. } => false,
            Stage::Queued | Stage::Planning => false,
            Stage::Body(_) | Stage::Staging | Stage::Staged => true,
            Stage::Committing | Stage::Done(_) => true,
        }
    }

    /// Whether its manifest is not whole.
    pub(super) fn lacks_manifest(&self) -> bool {
        matches!(self.stage, Stage::Unheard | Stage::Refused | Stage::Offered { .. })
    }

    /// What each entry needs; empty before that is known, and once it is in place.
    pub(super) fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// What became of each entry, once it is done.
    pub(super) fn outcomes(&self) -> Option<&[Outcome]> {
        match &self.stage {
            Stage::Done(outcomes) => Some(outcomes),
            _ => None,
        }
    }

    /// A block of the manifest has come. With the last one, the bytes of the whole manifest.
    pub(super) fn offer(
        &mut self,
        shared: &mut Shared,
        rank: Rank,
        block_size: u16,
        block: BlockNo,
        offer: &Offer<'_>,
    ) -> Option<Vec<u8>> {
        let whole = offer.manifest_len as usize;
        if matches!(self.stage, Stage::Unheard | Stage::Refused) {
            let wanted = whole * MANIFEST_FACTOR;
            if !shared.budget.reserve(self.node, rank, wanted) {
                self.stage = Stage::Refused;
                return None;
            }
            self.reserved += wanted;
            let blocks = Offer::blocks(whole, block_size);
            let missing = RangeSet::of(BlockRange::from_len(BlockNo::ZERO, blocks));
            self.stage = Stage::Offered { bytes: vec![0; whole], missing };
        }
        let Stage::Offered { bytes, missing } = &mut self.stage else { return None };
        let slice_len = Offer::slice_len(block_size);
        let start = block.get() as usize * slice_len;
        let expected = bytes.len().saturating_sub(start).min(slice_len);
        if whole != bytes.len() || offer.slice.len() != expected || !missing.contains(block) {
            return None;
        }
        bytes[start..start + expected].copy_from_slice(offer.slice);
        missing.remove(BlockRange::one(block));
        missing.is_empty().then(|| std::mem::take(bytes))
    }

    /// The manifest is whole, and this is what it says. False if there is no memory for it: then it has
    /// to be offered again.
    pub(super) fn queue(&mut self, shared: &mut Shared, rank: Rank, plan: Plan) -> bool {
        shared.budget.release(self.node, std::mem::take(&mut self.reserved));
        let bytes = plan.manifest.memory();
        if !shared.budget.reserve(self.node, rank, bytes) {
            self.stage = Stage::Refused;
            return false;
        }
        self.reserved = bytes;
        self.plan = Some(plan);
        self.stage = Stage::Queued;
        true
    }

    /// If it waits for its turn to be planned, its turn has come: what the disk has to know.
    pub(super) fn begin_planning(&mut self) -> Option<(Arc<Manifest>, Arc<Layout>)> {
        let (Stage::Queued, Some(plan)) = (&self.stage, &self.plan) else { return None };
        let what = (Arc::clone(&plan.manifest), Arc::clone(&plan.layout));
        self.stage = Stage::Planning;
        Some(what)
    }

    /// The disk has said what is needed, and opened `file` if the body streams. Without a commit, this
    /// is the end of it: what is needed is the result. False if nobody has asked the disk.
    pub(super) fn planned(
        &mut self,
        shared: &mut Shared,
        needs: Vec<Need>,
        file: Option<H>,
        commits: bool,
    ) -> bool {
        if !matches!(self.stage, Stage::Planning) {
            return false;
        }
        if !commits {
            self.count_files(|at| match needs.get(at) {
                Some(Need::Failed(reason)) => !reason.is_of_others(),
                need => need.is_none(),
            });
            self.needs = needs;
            self.finish(shared, Vec::new());
            return true;
        }
        self.needs = needs;
        self.missing = self.needed(&[]);
        self.stage = Stage::Body(file.map_or(Content::Nothing, Content::File));
        if let Some(strikes) = self.strikes.take() {
            self.strike(strikes);
        }
        true
    }

    /// Which blocks of the body hold data that is needed, but for the struck entries.
    fn needed(&self, strikes: &[EntryNo]) -> RangeSet {
        let mut needed = RangeSet::new();
        let Some(Plan { layout, .. }) = &self.plan else { return needed };
        for slot in layout.slots() {
            let wants = self.needs.get(slot.entry.index()) == Some(&Need::All);
            if wants && strikes.binary_search(&slot.entry).is_err() {
                layout.blocks_of(slot).for_each(|blocks| needed.insert(blocks));
            }
        }
        needed
    }

    /// COMMIT has come. False if that was said before, or it is done.
    pub(super) fn commit(&mut self, strikes: Vec<EntryNo>) -> bool {
        let is_new = self.strikes.is_none() && !self.is_done();
        if is_new {
            self.strike(strikes);
        }
        is_new
    }

    /// Leaves out what is struck: the sender will never send it.
    fn strike(&mut self, strikes: Vec<EntryNo>) {
        if !strikes.is_empty() && matches!(self.stage, Stage::Body(_)) {
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

    /// A block of the body has come. If it is wanted, and as long as it should be, it counts as
    /// received, and these are the bytes of the body that it holds.
    pub(super) fn receive(
        &mut self,
        shared: &mut Shared,
        rank: Rank,
        block: BlockNo,
        len: usize,
    ) -> Option<Range<u64>> {
        let bytes = self.plan.as_ref()?.layout.bytes_of(block);
        let fits = bytes.end - bytes.start == len as u64;
        if !fits || !matches!(self.stage, Stage::Body(_)) {
            return None;
        }
        if !self.wants(shared, rank, block) || !self.make_room(shared, rank) {
            return None;
        }
        self.missing.remove(BlockRange::one(block));
        Some(bytes)
    }

    /// Whether a block is wanted now. Without memory for one more gap, only the first one that is
    /// missing is.
    fn wants(&mut self, shared: &mut Shared, rank: Rank, block: BlockNo) -> bool {
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

    /// Where these bytes of the body belong.
    pub(super) fn place(&mut self, bytes: Range<u64>) -> Place<'_, H> {
        match &mut self.stage {
            Stage::Body(Content::Memory(memory)) => memory
                .get_mut(bytes.start as usize..bytes.end as usize)
                .map_or(Place::Nowhere, Place::Memory),
            Stage::Body(Content::File(file)) => Place::File(file, bytes.start),
            _ => Place::Nowhere,
        }
    }

    /// Takes memory for the body if it needs any and has none. False if there is none for it.
    fn make_room(&mut self, shared: &mut Shared, rank: Rank) -> bool {
        let Stage::Body(content @ (Content::Nothing | Content::Refused)) = &mut self.stage else {
            return true;
        };
        let memory = self.plan.as_ref().map_or(0, |plan| plan.layout.len() as usize);
        if !shared.budget.reserve(self.node, rank, memory) {
            *content = Content::Refused;
            return false;
        }
        self.reserved_body += memory;
        *content = Content::Memory(shared.buffer(memory));
        true
    }

    /// If it was refused memory and may have it now, it goes on: `Some(true)`. `Some(false)` if it must
    /// still wait; `None` if it waits for no memory.
    pub(super) fn readmit(&mut self, shared: &mut Shared, rank: Rank) -> Option<bool> {
        match self.stage {
            Stage::Body(Content::Refused) => Some(self.make_room(shared, rank)),
            Stage::Refused => {
                let has_room = shared.budget.has_room(self.node, rank);
                if has_room {
                    self.stage = Stage::Unheard;
                }
                Some(has_room)
            }
            _ => None,
        }
    }

    /// The body could not be written: the rest of it is not wanted.
    pub(super) fn write_failed(&mut self, reason: Reason) {
        if let Stage::Body(content @ Content::File(_)) = &mut self.stage {
            *content = Content::Lost(reason);
            self.missing = RangeSet::new();
        }
    }

    /// Whether the body is complete and not yet handed to the disk.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.stage, Stage::Body(_)) && self.missing.is_empty()
    }

    /// Hands the complete body to the disk.
    pub(super) fn begin_staging(&mut self) -> Option<Body> {
        if !self.is_whole() {
            return None;
        }
        let Stage::Body(content) = std::mem::replace(&mut self.stage, Stage::Staging) else {
            return None;
        };
        Some(match content {
            Content::Memory(memory) => Body::Memory(memory),
            Content::File(_) => Body::File,
            Content::Lost(reason) => Body::Lost(reason),
            Content::Nothing | Content::Refused => Body::None,
        })
    }

    /// The disk has staged it. False if nobody has asked the disk.
    pub(super) fn staged(&mut self, shared: &mut Shared) -> bool {
        if !matches!(self.stage, Stage::Staging) {
            return false;
        }
        self.stage = Stage::Staged;
        self.free_body(shared);
        true
    }

    /// If it is staged and COMMIT has come, the disk commits it: what is left out.
    pub(super) fn begin_commit(&mut self) -> Option<Vec<EntryNo>> {
        let (Stage::Staged, Some(strikes)) = (&self.stage, &self.strikes) else { return None };
        let strikes = strikes.clone();
        self.stage = Stage::Committing;
        Some(strikes)
    }

    /// Whether COMMIT has come.
    pub(super) fn may_commit(&self) -> bool {
        self.strikes.is_some()
    }

    /// Counts its regular files that are not among these.
    fn count_files(&mut self, is_failed: impl Fn(usize) -> bool) {
        let Some(Plan { manifest, .. }) = &self.plan else { return };
        let is_file = |at: usize| matches!(manifest.entries[at].kind, Kind::File { .. });
        let files = (0..manifest.entries.len()).filter(|&at| is_file(at) && !is_failed(at));
        self.files = files.count() as u64;
    }

    /// The disk has committed it. False if nobody has asked the disk.
    pub(super) fn committed(&mut self, shared: &mut Shared, outcomes: Vec<Outcome>) -> bool {
        if !matches!(self.stage, Stage::Committing) {
            return false;
        }
        self.count_files(|at| match outcomes.get(at) {
            Some(Outcome::Failed(reason)) => !reason.is_of_others(),
            outcome => outcome.is_none(),
        });
        // The outcomes say it all.
        self.needs = Vec::new();
        self.finish(shared, outcomes);
        true
    }

    pub(super) fn path(&self, entry: EntryNo) -> Option<&RelPath> {
        let entry = self.plan.as_ref()?.manifest.entries.get(entry.index())?;
        Some(&entry.path)
    }

    /// Whether it misses anything that has been sent.
    pub(super) fn misses(&self, sent: Sent) -> bool {
        match &self.stage {
            Stage::Unheard => sent.offers > BlockNo::ZERO,
            Stage::Offered { missing, .. } => missing.below(sent.offers).next().is_some(),
            Stage::Body(Content::Refused) => false,
            Stage::Body(_) => self.missing.below(sent.data).next().is_some(),
            _ => false,
        }
    }

    /// What STATUS says of it.
    pub(super) fn status(&self, sent: Sent) -> BatchStatus {
        let nothing = Vec::new();
        let (state, missing) = match &self.stage {
            Stage::Refused | Stage::Body(Content::Refused) => (State::Waiting, nothing),
            Stage::Unheard => {
                let all = BlockRange::new(BlockNo::ZERO, sent.offers);
                (State::Offer, if all.is_empty() { nothing } else { vec![all] })
            }
            Stage::Offered { missing, .. } => {
                (State::Offer, missing.below(sent.offers).take(MAX_RANGES).collect())
            }
            Stage::Queued | Stage::Planning => (State::Planning, nothing),
            Stage::Body(_) => {
                (State::Body, self.missing.below(sent.data).take(MAX_RANGES).collect())
            }
            Stage::Staging => (State::Staging, nothing),
            Stage::Staged => (State::Staged, nothing),
            Stage::Committing => (State::Committing, nothing),
            Stage::Done(_) => (State::Done, nothing),
        };
        BatchStatus { state, missing }
    }

    /// What it takes of the budget, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.reserved + self.reserved_body
    }

    /// It is done: only what may be asked for again is kept.
    fn finish(&mut self, shared: &mut Shared, outcomes: Vec<Outcome>) {
        self.free(shared);
        self.reserved = size_of_val(self.needs.as_slice()) + size_of_val(outcomes.as_slice());
        shared.budget.take(self.node, self.reserved);
        self.stage = Stage::Done(outcomes);
    }

    /// Gives back its memory.
    pub(super) fn free(&mut self, shared: &mut Shared) {
        shared.budget.release(self.node, std::mem::take(&mut self.reserved));
        self.free_body(shared);
        self.plan = None;
    }

    fn free_body(&mut self, shared: &mut Shared) {
        shared.budget.release(self.node, std::mem::take(&mut self.reserved_body));
        self.gaps_paid = 0;
    }

    #[cfg(test)]
    pub(super) fn force_done(&mut self, shared: &mut Shared) {
        self.finish(shared, Vec::new());
    }
}

#[cfg(test)]
mod tests;
