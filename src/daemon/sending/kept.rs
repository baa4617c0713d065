//! What is kept of a transfer at its sender.

use std::collections::HashMap;
use std::sync::Arc;

use crate::daemon::shared::Shared;
use crate::ids::{BatchNo, EntryNo};
use crate::keeping::recording::Recording;
use crate::keeping::{Keeper, lock};
use crate::stamp::Stamp;
use crate::wire::begin::Recorded;
use crate::wire::manifest::Manifest;
use crate::wire::outcome::Reason;

/// What is known of a transfer that may leave a record. Without a recording, it does not.
#[derive(Debug)]
pub(super) struct Kept {
    recording: Option<Recording>,
    /// The batches that are not done, with what was struck of them.
    open: HashMap<BatchNo, (Arc<Manifest>, Vec<EntryNo>)>,
    wrote: bool,
}

impl Kept {
    pub(super) fn new(recording: Option<Recording>) -> Self {
        Kept { recording, open: HashMap::new(), wrote: false }
    }

    /// A batch is offered.
    pub(super) fn open(&mut self, shared: &Shared, number: BatchNo, manifest: &Arc<Manifest>) {
        let Some(recording) = &mut self.recording else { return };
        with_keeper(shared, |keeper| recording.begin(keeper));
        self.open.insert(number, (Arc::clone(manifest), Vec::new()));
    }

    /// Entries of a batch are left out.
    pub(super) fn strike(&mut self, number: BatchNo, entries: &[(EntryNo, Reason)]) {
        if let Some((_, struck)) = self.open.get_mut(&number) {
            struck.extend(entries.iter().map(|(entry, _)| *entry));
        }
    }

    /// From now on, something may be in place at the targets.
    pub(super) fn commits(&mut self) {
        self.wrote = true;
    }

    /// A batch is done.
    pub(super) fn close(&mut self, shared: &Shared, number: BatchNo) {
        let Some(recording) = &mut self.recording else { return };
        let Some((manifest, mut struck)) = self.open.remove(&number) else { return };
        struck.sort_unstable();
        with_keeper(shared, |keeper| recording.batch(keeper, &manifest, &struck));
    }

    /// What END is to say, now that all batches are done.
    pub(super) fn recorded(&self, shared: &Shared, deletes: bool) -> Option<Recorded> {
        let recording = self.recording.as_ref()?;
        Some(with_keeper(shared, |keeper| recording.end(keeper, deletes)))
    }

    /// It is over, with what END has said. If it leaves a record here, its stamp.
    pub(super) fn finish(&mut self, shared: &Shared, end: Option<Recorded>) -> Option<Stamp> {
        self.open = HashMap::new();
        let (recording, wrote) = (self.recording.take()?, self.wrote);
        let stamp = recording.id().stamp;
        with_keeper(shared, |keeper| match (keeper?, end) {
            (keeper, Some(end)) => recording.ended(keeper, end, true).then_some(stamp),
            (keeper, None) => {
                recording.given_up(keeper, wrote);
                None
            }
        })
    }
}

fn with_keeper<T>(shared: &Shared, act: impl FnOnce(Option<&mut Keeper>) -> T) -> T {
    match &shared.keeper {
        Some(keeper) => act(Some(&mut lock(keeper))),
        None => act(None),
    }
}
