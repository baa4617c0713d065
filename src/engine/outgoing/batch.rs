//! One batch of an outgoing transfer.

use std::collections::BTreeMap;
use std::ops::{AddAssign, SubAssign};
use std::sync::Arc;

use super::target::Presence;
use crate::engine::ranges::RangeSet;
use crate::ids::{BlockNo, BlockRange, EntryNo, PollNo};
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
    pub(super) committed_at: Option<PollNo>,
}

#[derive(Debug)]
pub(super) struct Batch {
    manifest: Arc<[u8]>,
    pub(super) entries: u16,
    pub(super) layout: Arc<Layout>,
    slice_len: usize,
    /// The blocks of the manifest that have not been sent once: from this one on.
    pub(super) offered: BlockNo,
    /// The blocks that anyone needs.
    pub(super) union: RangeSet,
    /// How far the first pass has got.
    pub(super) next: BlockNo,
    /// Whether the first pass is through.
    pub(super) passed: bool,
    /// The entries that anyone needs.
    pub(super) wanted: Bits<EntryNo>,
    pub(super) strikes: BTreeMap<EntryNo, Reason>,
    /// COMMIT is out. Only targets that still lack bytes of the batch, and so have not been told, will
    /// hear of strikes that come later.
    pub(super) frozen: bool,
    pub(super) verifying: bool,
    pub(super) said: Vec<Said>,
    pub(super) lack: Lack,
}

/// How many targets have not said what is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Lack {
    /// Targets that others wait for: what they need, that they are staged, that they are done.
    pub(super) needs: usize,
    pub(super) staged: usize,
    pub(super) done: usize,
    /// All targets that are not gone: that they are done.
    pub(super) done_ever: usize,
}

impl Lack {
    /// What one target adds.
    pub(super) fn of(presence: Presence, said: &Said) -> Self {
        let active = matches!(presence, Presence::Joining | Presence::Active);
        Lack {
            needs: usize::from(active && !said.has_needs),
            staged: usize::from(active && said.state < State::Staged),
            done: usize::from(active && !said.done),
            done_ever: usize::from(presence != Presence::Gone && !said.done),
        }
    }
}

impl AddAssign for Lack {
    fn add_assign(&mut self, other: Lack) {
        self.needs += other.needs;
        self.staged += other.staged;
        self.done += other.done;
        self.done_ever += other.done_ever;
    }
}

impl SubAssign for Lack {
    fn sub_assign(&mut self, other: Lack) {
        self.needs -= other.needs;
        self.staged -= other.staged;
        self.done -= other.done;
        self.done_ever -= other.done_ever;
    }
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
            offered: BlockNo::ZERO,
            union: RangeSet::new(),
            next: BlockNo::ZERO,
            passed: false,
            wanted: Bits::default(),
            strikes: BTreeMap::new(),
            frozen: false,
            verifying: false,
            said: vec![said; targets],
            lack: Lack::default(),
        }
    }

    /// The blocks that the manifest takes.
    pub(super) fn offer_blocks(&self) -> BlockRange {
        let count = self.manifest.len().div_ceil(self.slice_len);
        BlockRange::from_len(BlockNo::ZERO, count as u32)
    }

    /// Whether every block of the manifest has been sent once.
    pub(super) fn is_offered(&self) -> bool {
        self.offered >= self.offer_blocks().end
    }

    /// The payload of a block of the manifest.
    pub(super) fn offer(&self, block: BlockNo) -> Vec<u8> {
        let start = (block.get() as usize * self.slice_len).min(self.manifest.len());
        let end = (start + self.slice_len).min(self.manifest.len());
        Offer { manifest_len: self.manifest.len() as u32, slice: &self.manifest[start..end] }.emit()
    }

    /// Someone needs an entry's data.
    pub(super) fn want(&mut self, entry: EntryNo) {
        if self.wanted.contains(entry) {
            return;
        }
        self.wanted.insert(entry);
        let layout = Arc::clone(&self.layout);
        if let Some(slot) = layout.slot(entry) {
            layout.blocks_of(slot).for_each(|blocks| self.union.insert(blocks));
        }
    }

    /// Whether a block that anyone needs holds bytes of an entry.
    pub(super) fn sends(&self, entry: EntryNo) -> bool {
        let Some(slot) = self.layout.slot(entry) else { return false };
        self.layout.blocks_of(slot).any(|blocks| {
            self.union.next_run(blocks.start, 1).is_some_and(|run| run.start < blocks.end)
        })
    }

    /// Adds strikes; those that are new.
    pub(super) fn strike(&mut self, entries: &[(EntryNo, Reason)]) -> Vec<(EntryNo, Reason)> {
        let mut new = entries.to_vec();
        new.retain(|&(entry, reason)| self.strikes.insert(entry, reason).is_none());
        new
    }
}
