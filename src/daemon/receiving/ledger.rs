//! What is kept of the transfers that come in: which have begun, what they have named, how they ended.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use crate::daemon::clock;
use crate::daemon::shared::Shared;
use crate::engine::catch_up::{Hash, RecordId};
use crate::engine::disk_job::{DiskAnswer, DiskJob, Ended, TransferKey};
use crate::ids::BatchNo;
use crate::keeping::recording::{Recording, leaves_record};
use crate::keeping::{Keeper, lock};
use crate::wire::manifest::{Manifest, Setup};
use crate::wire::outcome::Outcome;

/// The most entries of a transfer that may wait to be offered again.
const MOST_AGAIN: usize = 4_096;

/// The transfers that are open and leave something. The disk thread tells what it does for them.
pub(super) struct Ledger<'a> {
    shared: &'a Shared,
    open: HashMap<TransferKey, Incoming>,
}

/// One transfer.
struct Incoming {
    what: What,
    /// The manifests of the batches that are not committed.
    manifests: HashMap<BatchNo, Arc<Manifest>>,
    /// The manifests of those whose outcome is not known.
    committing: HashMap<BatchNo, Arc<Manifest>>,
    /// The entries that are to be offered again.
    again: HashSet<Hash>,
    failed: bool,
    /// Something that was to be deleted, or may have been, is still there.
    undeleted: bool,
    wrote: bool,
}

enum What {
    /// It leaves a record.
    Recording(Box<Recording>),
    /// It leaves none, and makes it unclear what older ones are worth.
    Unrecorded(Box<Recording>),
    /// It was asked for, to make up for what this record is about.
    Pull(RecordId),
}

impl<'a> Ledger<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Ledger { shared, open: HashMap::new() }
    }

    /// The disk is about to do something.
    pub(super) fn job(&mut self, job: &DiskJob) {
        let Some(keeper) = &self.shared.keeper else { return };
        match job {
            DiskJob::Plan { key, batch, manifest, mode, .. } => {
                if mode.changes_nothing() {
                    return;
                }
                match (self.open.get_mut(key), &manifest.setup) {
                    (None, Some(setup)) => {
                        if let Some(incoming) = self.begin(keeper, *key, job, setup) {
                            self.open.insert(*key, incoming);
                        }
                    }
                    (Some(incoming), Some(setup)) => {
                        let is_new = !incoming.manifests.contains_key(batch);
                        if let (What::Recording(recording), true) = (&mut incoming.what, is_new) {
                            recording.add_patterns(setup);
                        }
                    }
                    _ => {}
                }
                if let Some(incoming) = self.open.get_mut(key) {
                    incoming.manifests.insert(*batch, Arc::clone(manifest));
                }
            }
            DiskJob::Commit { key, batch, strikes } => {
                let Some(incoming) = self.open.get_mut(key) else { return };
                let Some(manifest) = incoming.manifests.remove(batch) else { return };
                match &mut incoming.what {
                    What::Recording(recording) => {
                        recording.batch(Some(&mut lock(keeper)), &manifest, strikes);
                    }
                    What::Pull(id) => {
                        let mut keeper = lock(keeper);
                        if !incoming.wrote {
                            keeper.pulls(id);
                        }
                        keeper.named(id, &manifest);
                    }
                    What::Unrecorded(_) => {}
                }
                incoming.wrote = true;
                incoming.committing.insert(*batch, manifest);
            }
            DiskJob::Delete { key } => {
                let Some(incoming) = self.open.get_mut(key) else { return };
                if let What::Recording(recording) = &mut incoming.what {
                    recording.begin(Some(&mut lock(keeper)));
                }
                incoming.wrote = true;
            }
            DiskJob::Close { key, ended } => {
                if let Some(incoming) = self.open.remove(key) {
                    incoming.close(&mut lock(keeper), *ended);
                }
            }
            DiskJob::Stage { .. } | DiskJob::Tally { .. } | DiskJob::Page { .. } => {}
        }
    }

    fn begin(
        &self,
        keeper: &Mutex<Keeper>,
        key: TransferKey,
        job: &DiskJob,
        setup: &Setup,
    ) -> Option<Incoming> {
        let DiskJob::Plan { mode, stamp, .. } = *job else { return None };
        let peer = self.shared.peer_name(key.node)?;
        let is_odd = stamp.ahead_of(clock::wall_millis()).is_ahead_too_far();
        let what = match &setup.origin {
            Some(origin) => {
                let id = RecordId { stamp, host: Arc::new(origin.clone()) };
                What::Pull(lock(keeper).journal().is_wanted(&id).then_some(id)?)
            }
            None => {
                let recording = Box::new(Recording::new(stamp, peer, mode, setup));
                match leaves_record(mode, stamp) && !is_odd {
                    true => What::Recording(recording),
                    false => What::Unrecorded(recording),
                }
            }
        };
        Some(Incoming {
            what,
            manifests: HashMap::new(),
            committing: HashMap::new(),
            again: HashSet::new(),
            failed: false,
            undeleted: false,
            wrote: false,
        })
    }

    /// The disk has answered.
    pub(super) fn answer<H>(&mut self, answer: &DiskAnswer<H>) {
        match answer {
            DiskAnswer::Done { key, batch, outcomes } => {
                let Some(incoming) = self.open.get_mut(key) else { return };
                incoming.done(*batch, outcomes);
            }
            DiskAnswer::Tallied { key, tally } if tally.failed > 0 => self.undeleted(key),
            DiskAnswer::Deleted { key, failed, .. } if *failed > 0 => self.undeleted(key),
            _ => {}
        }
    }

    fn undeleted(&mut self, key: &TransferKey) {
        if let Some(incoming) = self.open.get_mut(key) {
            incoming.undeleted = true;
        }
    }
}

impl Incoming {
    fn done(&mut self, batch: BatchNo, outcomes: &[Outcome]) {
        let Some(manifest) = self.committing.remove(&batch) else { return };
        for (entry, outcome) in manifest.entries.iter().zip(outcomes) {
            match outcome {
                Outcome::Again => drop(self.again.insert(Hash::of_path(&entry.path))),
                Outcome::Failed(_) | Outcome::Silent | Outcome::ReadOnly => self.failed = true,
                Outcome::Skipped | Outcome::Updated | Outcome::Lacking { .. }
                    if !self.again.is_empty() =>
                {
                    self.again.remove(&Hash::of_path(&entry.path));
                }
                Outcome::Skipped | Outcome::Updated | Outcome::Lacking { .. } | Outcome::Struck => {
                }
            }
        }
        self.failed |= self.again.len() > MOST_AGAIN;
        if self.failed {
            self.again = HashSet::new();
        }
    }

    fn close(self, keeper: &mut Keeper, ended: Option<Ended>) {
        let Incoming { what, again, failed, undeleted, wrote, .. } = self;
        match (what, ended) {
            (What::Recording(recording), Some(Ended { is_complete, recorded: Some(end) })) => {
                let all = is_complete && !failed && again.is_empty() && !(end.deletes && undeleted);
                let complete = all && recording.names() == end.names;
                recording.ended(keeper, end, complete);
            }
            (What::Recording(recording), Some(Ended { recorded: None, .. })) if wrote => {
                recording.unrecorded(keeper);
            }
            (What::Recording(recording), _) => recording.given_up(keeper, wrote),
            (What::Unrecorded(recording), _) if wrote => recording.unrecorded(keeper),
            (What::Unrecorded(_), _) => {}
            (What::Pull(id), _) => keeper.pulled(&id),
        }
    }
}
