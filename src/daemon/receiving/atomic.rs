//! Incoming transfers that are for all of their targets or none: what they stage is kept for a transaction.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::daemon::clock;
use crate::daemon::messages::{AtomicNews, AtomicWork, ToControl};
use crate::daemon::shared::Shared;
use crate::engine::atomic::{Failure, Plan, Transaction};
use crate::engine::disk_job::{DiskAnswer, DiskJob, TransferKey};
use crate::errno;
use crate::fs::atomic::transactions::Applied;
use crate::fs::disk::{Disk, StagedFile};
use crate::ids::{BatchNo, EntryNo};
use crate::log;
use crate::wire::outcome::Reason;

/// The transactions of this host, for the disk thread.
pub(super) struct Atomic<'a> {
    shared: &'a Shared,
    /// The transfers that are open.
    open: BTreeMap<TransferKey, Transaction>,
    /// Those of which all was put into place.
    in_place: BTreeSet<Transaction>,
    /// The numbers of those whose slots are to be emptied.
    clearing: VecDeque<u64>,
}

impl<'a> Atomic<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        let (open, in_place, clearing) = Default::default();
        Atomic { shared, open, in_place, clearing }
    }

    /// Before the first batch of such a transfer is planned. The answer if it cannot be taken.
    pub(super) fn begin(
        &mut self,
        disk: &mut Disk,
        job: &DiskJob,
    ) -> Option<DiskAnswer<StagedFile>> {
        let DiskJob::Plan { key, batch: batch @ BatchNo::FIRST, manifest, stamp, .. } = job else {
            return None;
        };
        let setup = manifest.setup.as_ref()?;
        let atomic = setup.atomic.as_ref()?;
        if self.open.contains_key(key) {
            return None;
        }
        let (key, batch, entry) = (*key, *batch, EntryNo::ZERO);
        let fatal = |reason| Some(DiskAnswer::Fatal { key, batch, entry, reason });
        let host = self.shared.peer_name(key.node);
        let needed = u16::try_from(atomic.quorum).ok();
        let plan = needed.and_then(|needed| Plan::new(atomic.targets.hosts().to_vec(), needed));
        let (Some(host), Some(plan)) = (host, plan) else {
            return fatal(Reason::Os(errno::EINVAL));
        };
        let of = Transaction { stamp: *stamp, host: Arc::new(host) };
        if !disk.keeps_transactions() {
            let root = self.shared.base.look().ok();
            let dir = root.and_then(|root| self.shared.prepared.open(&root));
            let kept = dir.map(|dir| disk.keep_transactions(dir, &[]));
            if let Some(Err(why)) = kept {
                log::error(format_args!("no --atomic transfers: {why}"));
            }
        }
        if let Err(reason) = disk.begin_atomic(key, of.key()) {
            return fatal(reason);
        }
        self.open.insert(key, of.clone());
        let path = setup.path.clone();
        self.shared.control.send(ToControl::Atomic(AtomicNews::Begun(of, key, plan, path)));
        None
    }

    /// The job as it is for this host: a transfer of which nothing was put into place here has not come to its end.
    pub(super) fn judged(&mut self, job: DiskJob) -> DiskJob {
        let DiskJob::Close { key, ended } = job else { return job };
        match self.open.remove(&key) {
            Some(of) if !self.in_place.remove(&of) => DiskJob::Close { key, ended: None },
            _ => DiskJob::Close { key, ended },
        }
    }

    /// Does what is to be done for a transaction.
    pub(super) fn work(&mut self, disk: &mut Disk, of: Transaction, work: &AtomicWork) {
        let no = of.key();
        match work {
            AtomicWork::Prepare(key) => {
                let ready = disk.prepare(*key).map_err(|(path, reason)| {
                    vec![Failure { path: path.as_bytes().to_vec(), reason }]
                });
                self.shared.control.send(ToControl::Atomic(AtomicNews::Ready(of, ready)));
            }
            AtomicWork::Apply => {
                let began = clock::now();
                let applied = disk.apply_transaction(no).unwrap_or_else(|error| {
                    let reason = Reason::from_io(&error);
                    log::error(format_args!(
                        "a transfer for all or none cannot be put into place: {reason}"
                    ));
                    Applied { failed: 1, first: vec![(Default::default(), reason)], done: 0 }
                });
                if self.open.values().any(|open| *open == of) {
                    self.in_place.insert(of.clone());
                }
                self.clearing.push_back(no);
                self.shared
                    .control
                    .send(ToControl::Atomic(AtomicNews::Applied(of, applied, began)));
            }
            AtomicWork::Drop => disk.drop_transaction(no),
        }
    }

    /// Empties some of the slots of what was put into place. Whether there was something to do.
    pub(super) fn clear(&mut self, disk: &mut Disk) -> bool {
        let Some(&no) = self.clearing.front() else { return false };
        if !disk.clear_transaction(no) {
            self.clearing.pop_front();
        }
        true
    }
}
