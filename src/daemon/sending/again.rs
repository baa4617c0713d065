//! What of a transfer is offered once more: files that changed meanwhile, and those that a target wants digests of.

use super::outgoing_transfer::OutgoingTransfer;
use crate::console::error::ErrorLine;
use crate::daemon::messages::Again;
use crate::errno;
use crate::ids::{BatchNo, EntryNo};
use crate::wire::outcome::Reason;

/// A file that changes while it is sent is offered so many times.
const TRIES: u32 = 3;

impl OutgoingTransfer {
    /// A target cannot tell whether it has these files as they are: they are offered again with their
    /// digests, once.
    pub(super) fn offer_with_digest(&mut self, number: BatchNo, entries: Vec<EntryNo>) {
        for entry in entries {
            let Some(path) = self.batches.without_digest(number, entry).cloned() else { continue };
            if self.retries.with_digests.insert(path.clone()) {
                let changes = self.retries.tries.get(&path).copied().unwrap_or(0);
                self.retries.paths.push(Again { path, changes, with_digest: true });
            }
        }
    }

    /// Files that changed are offered again, a few times; what cannot be read is reported.
    pub(super) fn strike(&mut self, number: BatchNo, entries: &[(EntryNo, Reason)]) {
        for &(entry, reason) in entries {
            let Some(path) = self.batches.path(number, entry).cloned() else { continue };
            if self.is_replay() {
                // What is not as it was is not given.
                continue;
            }
            let tries = self.retries.tries.entry(path.clone()).or_insert(0);
            *tries += 1;
            if matches!(reason, Reason::Changed | Reason::Os(errno::ENOENT)) && *tries < TRIES {
                let again = Again { path, changes: *tries, with_digest: false };
                self.retries.paths.push(again);
            } else {
                self.parts.order.note_unread(&path);
                self.report.error(&self.shared, ErrorLine::of_path(&path, reason));
            }
        }
    }
}
