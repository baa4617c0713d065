//! One batch of an outgoing transfer.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::ranges::RangeSet;
use crate::wire::begin::{Bits, Offer};
use crate::wire::feedback::State;
use crate::wire::layout::Layout;
use crate::wire::outcome::Reason;

/// What one target has said of one batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    /// How many entries' needs, in order from the first.
    pub(super) needs: u16,
    /// How many entries' outcomes, in order from the first.
    pub(super) outcomes: u16,
    pub(super) has_needs: bool,
    pub(super) done: bool,
    pub(super) state: State,
    /// The number of the newest poll when COMMIT was last sent to it.
    pub(super) committed_at: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Batch {
    manifest: Arc<[u8]>,
    pub(super) entries: u16,
    pub(super) layout: Arc<Layout>,
    slice_len: usize,
    /// How many blocks of the manifest have been sent once.
    pub(super) offered: u32,
    /// The blocks that anyone needs.
    pub(super) union: RangeSet,
    /// How far the first pass has got.
    pub(super) next: u32,
    /// Whether the first pass is through.
    pub(super) passed: bool,
    /// The entries that anyone needs.
    pub(super) wanted: Bits,
    pub(super) strikes: BTreeMap<u16, Reason>,
    /// COMMIT is out. Only targets that still lack bytes of the batch, and so have not been told, will
    /// hear of strikes that come later.
    pub(super) frozen: bool,
    pub(super) verifying: bool,
    pub(super) said: Vec<Said>,
    /// How many targets that others wait for have not said what they need, are not staged, not done.
    pub(super) lack_needs: usize,
    pub(super) lack_staged: usize,
    pub(super) lack_done: usize,
    /// How many targets that are not gone are not done.
    pub(super) lack_done_ever: usize,
}

impl Batch {
    pub(super) fn new(
        manifest: Arc<[u8]>,
        entries: usize,
        layout: Arc<Layout>,
        block: u16,
        targets: usize,
    ) -> Self {
        let said = Said {
            needs: 0,
            outcomes: 0,
            has_needs: false,
            done: false,
            state: State::Offer,
            committed_at: None,
        };
        Batch {
            manifest,
            entries: entries as u16,
            layout,
            slice_len: Offer::slice_len(block),
            offered: 0,
            union: RangeSet::new(),
            next: 0,
            passed: false,
            wanted: Bits::default(),
            strikes: BTreeMap::new(),
            frozen: false,
            verifying: false,
            said: vec![said; targets],
            lack_needs: 0,
            lack_staged: 0,
            lack_done: 0,
            lack_done_ever: 0,
        }
    }

    /// How many blocks the manifest takes.
    pub(super) fn offer_blocks(&self) -> u32 {
        self.manifest.len().div_ceil(self.slice_len) as u32
    }

    /// The payload of a block of the manifest.
    pub(super) fn offer(&self, block: u32) -> Vec<u8> {
        let start = (block as usize * self.slice_len).min(self.manifest.len());
        let end = (start + self.slice_len).min(self.manifest.len());
        Offer { manifest_len: self.manifest.len() as u32, slice: &self.manifest[start..end] }.emit()
    }

    /// Someone needs an entry's data.
    pub(super) fn want(&mut self, entry: u16) {
        if self.wanted.contains(entry.into()) {
            return;
        }
        self.wanted.insert(entry.into());
        let layout = Arc::clone(&self.layout);
        if let Some(slot) = layout.slot(entry) {
            layout.blocks_of(slot).for_each(|blocks| self.union.insert(blocks));
        }
    }

    /// Whether a block that anyone needs holds bytes of an entry.
    pub(super) fn sends(&self, entry: u16) -> bool {
        let Some(slot) = self.layout.slot(entry) else { return false };
        self.layout.blocks_of(slot).any(|blocks| {
            self.union.next_run(blocks.start, 1).is_some_and(|run| run.start < blocks.end)
        })
    }

    /// Adds strikes; those that are new.
    pub(super) fn strike(&mut self, entries: &[(u16, Reason)]) -> Vec<(u16, Reason)> {
        let mut new = entries.to_vec();
        new.retain(|&(entry, reason)| self.strikes.insert(entry, reason).is_none());
        new
    }
}
