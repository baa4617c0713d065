//! What is kept of the transfers that come in: which have begun, what they have named, how they ended.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use crate::daemon::clock;
use crate::daemon::messages::ToControl;
use crate::daemon::shared::Shared;
use crate::engine::catch_up::{Hash, Names, Pulled, RecordId, Why};
use crate::engine::disk_job::{DiskAnswer, DiskJob, Ended, TransferKey};
use crate::errno;
use crate::fs::guard::Guard;
use crate::ids::{BatchNo, EntryNo};
use crate::keeping::recording::{Recording, leaves_record};
use crate::keeping::{Keeper, lock};
use crate::name::RelPath;
use crate::wire::manifest::{FileTime, Kind, Manifest, Setup};
use crate::wire::outcome::{Need, Outcome, Reason};

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
    /// Something could not be written, for the first of these reasons.
    failed: Option<Why>,
    /// Something that was to be deleted, or may have been, is still there.
    undeleted: bool,
    wrote: bool,
    /// It is in place all at once, or not at all: until its end it has not written anything.
    is_atomic: bool,
    /// Of what was asked for: what each entry needed, by batches that are not committed.
    needs: HashMap<BatchNo, Vec<Need>>,
    /// The other host could not give something that is lacking here.
    lacks: bool,
    /// What it has named.
    names: Names,
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

    /// Whether a job is for a transfer that nobody here has asked for.
    pub(super) fn refuses<H>(&self, job: &DiskJob) -> Option<DiskAnswer<H>> {
        let DiskJob::Plan { key, batch, manifest, stamp, mode, .. } = job else { return None };
        let origin = manifest.setup.as_ref().and_then(|setup| setup.origin.as_ref())?;
        let id = RecordId { stamp: *stamp, host: Arc::new(origin.clone()) };
        let is_wanted = |keeper: &Arc<Mutex<Keeper>>| lock(keeper).journal().is_wanted(&id);
        if !mode.changes_nothing() && self.shared.keeper.as_ref().is_some_and(is_wanted) {
            return None;
        }
        let (key, batch, entry) = (*key, *batch, EntryNo::ZERO);
        Some(DiskAnswer::Fatal { key, batch, entry, reason: Reason::Os(errno::EPERM) })
    }

    /// What a transfer leaves alone that begins with this job.
    pub(super) fn guard(&self, job: &DiskJob) -> Option<(TransferKey, Arc<dyn Guard>)> {
        let DiskJob::Plan { key, .. } = job else { return None };
        let incoming = self.open.get(key).filter(|incoming| incoming.manifests.len() == 1)?;
        let keeper = Arc::clone(self.shared.keeper.as_ref()?);
        let (id, is_pull) = match &incoming.what {
            What::Recording(recording) => (recording.id().clone(), false),
            What::Pull(id) => (id.clone(), true),
            What::Unrecorded(_) => return None,
        };
        Some((*key, Arc::new(Later { keeper, id, is_pull })))
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
                        incoming.names.add_all(&manifest);
                        let needs = incoming.needs.remove(batch).unwrap_or_default();
                        let struck = strikes.iter().filter_map(|at| {
                            let entry = manifest.entries.get(at.index())?;
                            let is_here = matches!(needs.get(at.index()), Some(Need::Skip))
                                && entry.kind != Kind::Gone;
                            (!is_here).then_some(&entry.path)
                        });
                        for path in struck {
                            incoming.lacks |= !keeper.is_superseded(id, path);
                        }
                    }
                    What::Unrecorded(_) => {}
                }
                incoming.wrote = !incoming.is_atomic;
                incoming.committing.insert(*batch, manifest);
            }
            DiskJob::Delete { key } => {
                let Some(incoming) = self.open.get_mut(key) else { return };
                if let What::Recording(recording) = &mut incoming.what {
                    recording.begin(Some(&mut lock(keeper)));
                }
                incoming.wrote = !incoming.is_atomic;
            }
            DiskJob::Close { key, ended } => {
                if let Some(incoming) = self.open.remove(key) {
                    let pulled = incoming.close(&mut lock(keeper), *ended);
                    let message = match pulled {
                        Some((id, how)) => ToControl::Pulled(id, how),
                        None => ToControl::Recorded,
                    };
                    self.shared.control.send(message);
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
        if setup.ticket.is_some() {
            // It makes this host like another one, and is no news.
            return None;
        }
        let peer = self.shared.peer_name(key.node)?;
        // What is made up for may be old.
        let is_odd = stamp.ahead_of(clock::wall_millis()).is_too_far();
        let what = match &setup.origin {
            Some(origin) => {
                let id = RecordId { stamp, host: Arc::new(origin.clone()) };
                lock(keeper).journal().is_wanted(&id).then_some(())?;
                self.shared.control.send(ToControl::PullBegun(id.clone(), key.node));
                What::Pull(id)
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
            failed: None,
            undeleted: false,
            wrote: false,
            is_atomic: setup.atomic.is_some(),
            needs: HashMap::new(),
            lacks: false,
            names: Names::default(),
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
            DiskAnswer::Fatal { key, reason, .. } => {
                if let Some(incoming) = self.open.get_mut(key) {
                    incoming.failed(Why::Failed(*reason));
                }
            }
            DiskAnswer::Planned { key, batch, needs, .. } => {
                let Some(incoming) = self.open.get_mut(key) else { return };
                if matches!(incoming.what, What::Pull(_)) {
                    incoming.needs.insert(*batch, needs.clone());
                }
            }
            _ => {}
        }
    }

    fn undeleted(&mut self, key: &TransferKey) {
        if let Some(incoming) = self.open.get_mut(key) {
            incoming.undeleted = true;
        }
    }
}

/// What a later record says is left alone.
#[derive(Debug)]
struct Later {
    keeper: Arc<Mutex<Keeper>>,
    id: RecordId,
    /// The transfer makes up for something that is over for long.
    is_pull: bool,
}

impl Guard for Later {
    fn keeps(&self, path: &RelPath) -> bool {
        lock(&self.keeper).guards(&self.id, path)
    }

    fn edited_after(&self) -> Option<FileTime> {
        let millis = self.id.stamp.millis();
        let (secs, nanos) = ((millis / 1_000) as i64, (millis % 1_000) as u32 * 1_000_000);
        self.is_pull.then_some(FileTime { secs, nanos })
    }
}

impl Incoming {
    fn done(&mut self, batch: BatchNo, outcomes: &[Outcome]) {
        let Some(manifest) = self.committing.remove(&batch) else { return };
        for (entry, outcome) in manifest.entries.iter().zip(outcomes) {
            match outcome {
                Outcome::Again => drop(self.again.insert(Hash::of_path(&entry.path))),
                Outcome::Failed(reason) if reason.is_of_others() => {}
                Outcome::Failed(reason) => self.failed(Why::Failed(*reason)),
                Outcome::ReadOnly => self.failed(Why::Failed(Reason::ReadOnly)),
                // Why, the directory says.
                Outcome::Silent => self.failed(Why::BrokeOff),
                // If that fails, its deletion has failed.
                Outcome::Late => {}
                Outcome::Skipped | Outcome::Updated | Outcome::Lacking { .. }
                    if !self.again.is_empty() =>
                {
                    self.again.remove(&Hash::of_path(&entry.path));
                }
                Outcome::Skipped | Outcome::Updated | Outcome::Lacking { .. } | Outcome::Struck => {
                }
            }
        }
        if self.again.len() > MOST_AGAIN {
            self.failed(Why::BrokeOff);
        }
        if self.failed.is_some() {
            self.again = HashSet::new();
        }
    }

    /// Something could not be written. Of several reasons, that which comes before others is kept.
    fn failed(&mut self, why: Why) {
        self.failed = match (self.failed, why) {
            (Some(Why::Failed(known)), Why::Failed(reason)) => Some(Why::Failed(known.min(reason))),
            (known, why) => known.max(Some(why)),
        };
    }

    /// It is over; how, if it was asked for.
    fn close(self, keeper: &mut Keeper, ended: Option<Ended>) -> Option<(RecordId, Pulled)> {
        let Incoming { what, again, failed, undeleted, wrote, lacks, names, .. } = self;
        match (what, ended) {
            (What::Recording(recording), Some(Ended { is_complete, recorded: Some(end), .. })) => {
                let all = is_complete
                    && failed.is_none()
                    && again.is_empty()
                    && !(end.deletes && undeleted);
                let complete = all && recording.names() == end.names;
                recording.ended(keeper, end, complete);
            }
            (What::Recording(recording), Some(Ended { recorded: None, .. })) if wrote => {
                recording.unrecorded(keeper);
            }
            (What::Recording(recording), _) => recording.given_up(keeper, wrote),
            (What::Unrecorded(recording), _) if wrote => recording.unrecorded(keeper),
            (What::Unrecorded(_), _) => {}
            (What::Pull(id), ended) => {
                keeper.pulled(&id);
                let named = keeper.journal().get(&id).map(|(record, ..)| record.names);
                let how = match (ended, failed) {
                    (_, Some(why)) => Pulled::Failed(why),
                    (None, _) => Pulled::Lost,
                    // Deletion that is held up here is held up again in a moment.
                    _ if undeleted => Pulled::Failed(Why::Undeleted),
                    (Some(ended), _) if !ended.is_complete => Pulled::Failed(Why::BrokeOff),
                    _ if lacks || named != Some(names) => Pulled::Declined,
                    _ => Pulled::Complete,
                };
                return Some((id, how));
            }
        }
        None
    }
}
