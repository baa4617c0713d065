//! What was reported of each entry of a batch.

use std::sync::Arc;

use crate::ids::EntryNo;
use crate::wire::manifest::{Entry, Manifest};

/// A batch, with marks of what was reported of each entry.
#[derive(Debug)]
pub(super) struct MarkedBatch {
    pub(super) manifest: Arc<Manifest>,
    pub(super) marks: Vec<u8>,
}

/// A host got it, or would.
pub(super) const UPDATED: u8 = 1;
/// It failed on a host.
pub(super) const FAILED: u8 = 2;
/// A line said that it would be sent.
pub(super) const SAID: u8 = 4;
/// A host cannot tell whether it has it.
pub(super) const UNSURE: u8 = 8;

impl MarkedBatch {
    /// One that nothing was reported of yet.
    pub(super) fn new(manifest: Arc<Manifest>) -> Self {
        MarkedBatch { marks: vec![0; manifest.entries.len()], manifest }
    }

    /// An entry with its marks, and whether it is a file that may come again with its digest.
    pub(super) fn entry(&mut self, number: EntryNo) -> Option<(&Entry, &mut u8, bool)> {
        let is_first = self.manifest.age(number).is_some();
        let at = number.index();
        Some((self.manifest.entries.get(at)?, self.marks.get_mut(at)?, is_first))
    }
}
