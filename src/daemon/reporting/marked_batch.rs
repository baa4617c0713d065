//! What was reported of each entry of a batch.

use std::sync::Arc;

use crate::console::reply::Total;
use crate::daemon::became::is_counted;
use crate::ids::{EntryNo, TargetNo};
use crate::wire::bits::Bits;
use crate::wire::manifest::{Entry, Manifest};

/// What is known of an entry on any host.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Mark {
    /// A host has written it.
    pub(super) written: bool,
    /// A host has written its content.
    pub(super) content: bool,
    /// A host lacks it still.
    pub(super) lacking: bool,
    /// A host cannot tell whether it has it.
    pub(super) unsure: bool,
    /// A line of a dry run has named it.
    pub(super) named: bool,
}

impl Mark {
    /// Counts an entry that is done on all hosts.
    pub(super) fn count(self, entry: &Entry, total: &mut Total) {
        let counted = u64::from(is_counted(entry));
        if self.written {
            total.files += counted;
            total.bytes += if self.content { entry.size() } else { 0 };
        } else if !self.lacking && !self.unsure {
            total.unchanged += counted;
        }
    }
}

/// A batch, with marks of what was reported of each entry.
#[derive(Debug)]
pub(super) struct MarkedBatch {
    pub(super) manifest: Arc<Manifest>,
    pub(super) marks: Vec<Mark>,
    /// The entries whose contents each target needs.
    wanted: Vec<Bits<EntryNo>>,
}

impl MarkedBatch {
    /// One that nothing was reported of yet.
    pub(super) fn new(manifest: Arc<Manifest>, targets: usize) -> Self {
        let marks = vec![Mark::default(); manifest.entries.len()];
        MarkedBatch { marks, manifest, wanted: vec![Bits::default(); targets] }
    }

    /// A target needs the content of an entry.
    pub(super) fn want(&mut self, target: TargetNo, number: EntryNo) {
        if let Some(wanted) = self.wanted.get_mut(target.index()) {
            wanted.insert(number);
        }
    }

    /// Whether a target needs the content of an entry.
    pub(super) fn is_wanted(&self, target: TargetNo, number: EntryNo) -> bool {
        self.wanted.get(target.index()).is_some_and(|wanted| wanted.contains(number))
    }

    /// An entry with its marks, and whether it is a file that may come again with its digest.
    pub(super) fn entry(&mut self, number: EntryNo) -> Option<(&Entry, &mut Mark, bool)> {
        let is_first = self.manifest.age(number).is_some();
        let at = number.index();
        Some((self.manifest.entries.get(at)?, self.marks.get_mut(at)?, is_first))
    }
}
