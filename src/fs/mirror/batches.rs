//! The batches of incoming transfers of mirrors: what of them is staged, and what is known of that.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::disk_job::TransferKey;
use crate::fs::disk::Disk;
use crate::fs::root::Root;
use crate::ids::{BatchNo, EntryNo};
use crate::name::RelPath;
use crate::wire::manifest::Manifest;
use crate::wire::outcome::{Need, Reason};

impl Disk {
    /// Of a batch of a mirror that is about to be planned: the objects that are to be staged. All others are left out.
    pub fn want(&mut self, key: TransferKey, batch: BatchNo, wanted: BTreeSet<EntryNo>) {
        self.wanted.insert((key, batch), wanted);
    }

    /// These trees are mirrored: transfers that are not of a mirror leave them alone.
    pub fn leave_alone(&mut self, mirrored: Vec<RelPath>) {
        self.mirrored = mirrored;
    }

    /// What is planned as a batch.
    pub fn planned(&self, key: TransferKey, batch: BatchNo) -> Option<Arc<Manifest>> {
        let planned = self.transfers.get(&key)?.batches.get(&batch)?;
        Some(Arc::clone(&planned.manifest))
    }

    /// Why an entry of a planned batch could not be staged, if it should have been.
    pub fn staging_failed(
        &self,
        key: TransferKey,
        batch: BatchNo,
        entry: EntryNo,
    ) -> Option<Reason> {
        let planned = self.transfers.get(&key)?.batches.get(&batch)?;
        match (planned.needs.get(entry.index())?, planned.staged.get(entry.index())?) {
            (Need::Failed(reason), _) | (_, Some(Err(reason))) => Some(*reason),
            _ => None,
        }
    }

    /// The base directory.
    pub fn root(&self) -> &Arc<Root> {
        self.dirs.root()
    }
}
