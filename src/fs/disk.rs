//! The disk of a target: runs the jobs of the engine one at a time, on a thread of its own, and keeps
//! the state that every incoming transfer has on disk.
//!
//! How a directory is reported: its open entry is "updated" if the directory was created, its close
//! entry if it existed with other attributes, so that each directory is reported once at most. The
//! close entry needs [`Need::Attributes`] whenever something has to be set, even if that only restores
//! an mtime that the transfer itself has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use super::allowance::Allowance;
use super::atomic::keeping::{Keeping, Transactions};
use super::attributes::{self, Examined};
use super::claim;
use super::digest::Digester;
use super::guard::Guard;
use super::identity::ObjectId;
use super::links::Incomplete;
use super::long_digests::LongDigests;
use super::long_files::LongFiles;
use super::mirror::tally::Tallies;
use super::opened::{OpenDir, Opened};
use super::rights::Rights;
use super::room::Room;
use super::root::{Dirs, Root};
use super::staging::{Staged, Staging};
use super::surplus::Surplus;
use crate::engine::disk_job::{DiskAnswer, DiskJob, TransferKey};
use crate::errno;
use crate::ids::{BatchNo, EntryNo};
use crate::name::{NodeId, RelPath};
use crate::sys::fsat;
use crate::wire::layout::Layout;
use crate::wire::manifest::Manifest;
use crate::wire::outcome::{Lacks, Need, Reason};

/// How a disk works.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskConfig {
    /// Never change anything: what would be needed is answered with [`Need::ReadOnly`].
    pub readonly: bool,
    /// Sync everything that belongs to a batch before its [`DiskAnswer::Done`].
    pub fsync: bool,
    /// Device nodes are neither created nor changed.
    pub no_devices: bool,
    /// How many files all transfers together may keep open, if that is limited; those of one sender may
    /// have half of it.
    pub most_open: Option<usize>,
}

/// A file in staging that has its final length, to be written in any order. Clones share the file.
#[derive(Clone, Debug)]
pub struct StagedFile(Arc<File>);

impl StagedFile {
    pub(super) fn new(file: File) -> Self {
        StagedFile(Arc::new(file))
    }
}

impl AsFd for StagedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The transfers that will be closed as soon as the disk gets to it, so that long work for them can be
/// abandoned. Clones share the set.
#[derive(Clone, Debug, Default)]
pub struct Closing(Arc<Mutex<BTreeSet<TransferKey>>>);

impl Closing {
    /// A [`DiskJob::Close`] for this transfer is queued.
    pub fn add(&self, key: TransferKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    }

    fn remove(&self, key: TransferKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// Whether work for this transfer is no longer wanted.
    pub(super) fn contains(&self, key: TransferKey) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&key)
    }
}

/// A base directory on the receiving side, with the transfers in progress.
#[derive(Debug)]
pub struct Disk {
    pub(super) config: DiskConfig,
    pub(super) rights: Rights,
    /// None if the disk is read-only.
    pub(super) staging: Option<Staging>,
    pub(super) dirs: Dirs,
    pub(super) digester: Digester,
    pub(super) digests: LongDigests,
    pub(super) closing: Closing,
    pub(super) transfers: BTreeMap<TransferKey, DiskTransfer>,
    /// What transfers leave alone.
    pub(super) guards: BTreeMap<TransferKey, Arc<dyn Guard>>,
    /// What is mirrored: other transfers leave it alone.
    pub(super) mirrored: Vec<RelPath>,
    /// Of batches of mirrors that are about to be planned: the objects that are to be staged.
    pub(super) wanted: BTreeMap<(TransferKey, BatchNo), BTreeSet<EntryNo>>,
    /// The transfers that have begun in another base directory, and are not closed yet.
    pub(super) left_behind: BTreeSet<TransferKey>,
    /// The slots that were in use when there was something to stage in the last time.
    pub(super) spared: BTreeSet<u64>,
    pub(super) tallies: Tallies,
    pub(super) transactions: Transactions,
    allowance: Allowance,
}

/// One incoming transfer.
#[derive(Debug, Default)]
pub(super) struct DiskTransfer {
    /// The batches that were planned and not committed yet.
    pub batches: BTreeMap<BatchNo, PlannedBatch>,
    /// For a transfer that commits nothing: the needs of each batch.
    pub only_needs: BTreeMap<BatchNo, Vec<Need>>,
    pub opened: Opened,
    pub room: Room,
    /// What is staged and waits for a directory in its place to be deleted.
    pub late: Vec<(RelPath, Staged)>,
    pub surplus: Surplus,
    pub incomplete: Incomplete,
    /// It is a record that is sent once more.
    pub is_replay: bool,
    pub long: LongFiles,
    /// All of it is put into place at once, and kept until then.
    pub atomic: Option<Keeping>,
    /// The memory that is charged for it, in bytes.
    charged: usize,
}

impl DiskTransfer {
    /// How many files it keeps open: those that are written while they arrive, its spool, and its list.
    fn open_files(&self) -> usize {
        let streamed = self.batches.values().filter(|batch| batch.file.is_some()).count();
        let lists = [self.surplus.has_spool(), self.atomic.is_some()];
        streamed + lists.iter().filter(|is_open| **is_open).count()
    }

    /// The memory that it keeps beyond the batches that are planned, in bytes.
    fn memory(&self) -> usize {
        let needs = self.only_needs.values().map(|needs| 64 + size_of_val(needs.as_slice()));
        let late = self.late.iter().map(|(path, _)| 64 + path.as_bytes().len());
        let kept = self.atomic.as_ref().map_or(0, Keeping::memory);
        let lists = needs.sum::<usize>() + late.sum::<usize>() + self.long.memory() + kept;
        lists + self.incomplete.memory() + self.opened.memory() + self.surplus.memory()
    }
}

/// A batch that was planned and not committed yet.
#[derive(Debug)]
pub(super) struct PlannedBatch {
    pub manifest: Arc<Manifest>,
    pub layout: Arc<Layout>,
    pub needs: Vec<Need>,
    /// What was found for the entries whose attributes are to be changed.
    pub examined: BTreeMap<EntryNo, Examined>,
    /// What entries lack, because this process may not set it.
    pub lacks: BTreeMap<EntryNo, Lacks>,
    /// What each entry has in staging, or why staging it failed.
    pub staged: Vec<Option<Result<Staged, Reason>>>,
    /// The streamed file, while it is open here.
    pub file: Option<StagedFile>,
    /// Staging is complete.
    pub is_whole: bool,
}

impl Disk {
    /// Takes over `.makuosan` in the base directory, and removes what an earlier daemon left in it, and
    /// on other mounts by the records in it. Does nothing of that if the disk is read-only.
    ///
    /// # Errors
    /// `.makuosan` cannot be created, is not a directory, belongs to another user, or is in use by
    /// another daemon (`WouldBlock`); something in it cannot be removed.
    pub fn new(root: Arc<Root>, config: DiskConfig) -> io::Result<Self> {
        Disk::sparing(root, config, BTreeSet::new())
    }

    /// The same, but what these slots of mirrors hold stays.
    ///
    /// # Errors
    /// As [`Disk::new`].
    pub fn sparing(root: Arc<Root>, config: DiskConfig, spared: BTreeSet<u64>) -> io::Result<Self> {
        let rights = Rights::of_process()?;
        let staging = match config.readonly {
            true => None,
            false => Some(Staging::open(root.clone(), &rights, &spared)?),
        };
        let dirs = Dirs::new(root);
        let (digester, digests) = Default::default();
        let (closing, transfers) = (Closing::default(), BTreeMap::new());
        let (allowance, left_behind) = (Allowance::default(), BTreeSet::new());
        Ok(Disk {
            config,
            rights,
            staging,
            dirs,
            digester,
            digests,
            closing,
            transfers,
            guards: BTreeMap::new(),
            mirrored: Vec::new(),
            wanted: BTreeMap::new(),
            left_behind,
            spared,
            tallies: Tallies::new(),
            transactions: Transactions::default(),
            allowance,
        })
    }

    /// Where to announce that a transfer will be closed, before its [`DiskJob::Close`].
    pub fn closing(&self) -> Closing {
        self.closing.clone()
    }

    /// A transfer leaves alone what this says, until it is closed.
    pub fn guard(&mut self, key: TransferKey, guard: Arc<dyn Guard>) {
        self.guards.insert(key, guard);
    }

    /// Runs one job.
    ///
    /// A job for a batch that was never planned, or was committed already, is answered with
    /// [`DiskAnswer::Fatal`] and EINVAL.
    pub fn run(&mut self, job: DiskJob) -> Option<DiskAnswer<StagedFile>> {
        // The tree may have changed since the last job: paths are resolved anew.
        self.dirs.forget();
        self.stage_for(job.key());
        let answer = match job {
            DiskJob::Plan { key, batch, manifest, layout, mode, .. } => {
                let answer = self.plan(key, batch, manifest, layout, mode);
                Some(self.charge(key, batch).unwrap_or(answer))
            }
            DiskJob::Stage { key, batch, body } => Some(self.stage(key, batch, body)),
            DiskJob::Commit { key, batch, strikes } => {
                let answer = self.commit(key, batch, &strikes);
                Some(self.charge(key, batch).unwrap_or(answer))
            }
            DiskJob::Tally { key } => Some(self.tally(key)),
            DiskJob::Delete { key } => Some(self.delete(key)),
            DiskJob::Page { key, skip, room } => Some(self.page(key, skip, room)),
            DiskJob::Close { key, .. } => {
                self.closing.remove(key);
                self.guards.remove(&key);
                self.forget(key);
                Some(DiskAnswer::Closed { key })
            }
        };
        self.dirs.forget();
        if let Some(staging) = &mut self.staging {
            staging.transaction = None;
        }
        answer
    }

    /// What is staged from now on is for the transaction of this transfer, if it makes one.
    fn stage_for(&mut self, key: TransferKey) {
        let atomic = self.transfers.get(&key).and_then(|transfer| transfer.atomic.as_ref());
        if let Some(staging) = &mut self.staging {
            staging.transaction = atomic.map(|atomic| atomic.no);
        }
    }

    /// Whether a transfer of this sender may keep one more file open.
    pub(super) fn may_open(&self, node: NodeId) -> bool {
        let Some(most) = self.config.most_open else { return true };
        let (mut all, mut own) = (0, 0);
        for (key, transfer) in &self.transfers {
            let open = transfer.open_files();
            all += open;
            own += if key.node == node { open } else { 0 };
        }
        all < most && own < most / 2
    }

    /// Charges what a transfer keeps after a job. If that is too much, nothing of it stays.
    fn charge(&mut self, key: TransferKey, batch: BatchNo) -> Option<DiskAnswer<StagedFile>> {
        let transfer = self.transfers.get_mut(&key)?;
        let now = transfer.memory();
        let before = std::mem::replace(&mut transfer.charged, now);
        if self.allowance.charge(key.node, before, now) {
            return None;
        }
        self.forget(key);
        let reason = Reason::Os(errno::ENOMEM);
        Some(DiskAnswer::Fatal { key, batch, entry: EntryNo::ZERO, reason })
    }

    /// Forgets a transfer and removes what it has staged. A directory that it opened and did not close
    /// gets its original permission bits back, or if the transfer created it, the attributes sent.
    pub(super) fn forget(&mut self, key: TransferKey) {
        let Some(mut transfer) = self.transfers.remove(&key) else { return };
        self.allowance.charge(key.node, transfer.charged, 0);
        for planned in transfer.batches.values_mut() {
            self.discard(planned);
        }
        if let Some(staging) = &self.staging {
            transfer.late.drain(..).for_each(|(_, staged)| staging.discard(staged));
        }
        if let Some(atomic) = transfer.atomic.take() {
            self.abandon(atomic);
        }
        for dir in transfer.opened.drain() {
            // There is nobody left to report an error to.
            let _ = self.restore(&dir);
        }
        self.rest();
    }

    /// While there is nothing to do, nothing is held open on other mounts, so that they can be unmounted.
    pub fn rest(&mut self) {
        if self.transfers.is_empty() {
            self.dirs.forget();
            if let Some(staging) = &mut self.staging {
                staging.tidy();
            }
        }
    }

    fn restore(&mut self, dir: &OpenDir) -> io::Result<()> {
        let Some(id) = dir.id else { return Ok(()) };
        if dir.created {
            let (staging, examined) = (self.staging.as_ref(), Examined::object(id));
            attributes::apply(&mut self.dirs, &self.rights, staging, &dir.entry, examined)?;
        } else if let Some(mode) = dir.original_mode {
            let (parent, name) = self.dirs.parent(&dir.entry.path)?;
            let fd = fsat::open_at(parent.as_fd(), name, fsat::PATH_ONLY, 0)?;
            if ObjectId::of(&fsat::stat_fd(fd.as_fd())?) == id {
                fsat::chmod_at(parent.as_fd(), name, fd.as_fd(), mode)?;
            }
        }
        Ok(())
    }

    /// Removes what a batch has in staging.
    pub(super) fn discard(&self, planned: &mut PlannedBatch) {
        let Some(staging) = &self.staging else { return };
        for staged in planned.staged.iter_mut().filter_map(Option::take).flatten() {
            staging.discard(staged);
        }
        planned.file = None;
    }
}

/// Why a disk that writes, of user `us`, would refuse this base directory, if it can be told already:
/// there is a `.makuosan` that is not ours.
pub fn refusal(root: &Root, us: u32) -> Option<io::Error> {
    claim::existing(root.as_fd(), us).err().filter(claim::is_not_ours)
}

/// The answer to a job for a batch that is not planned.
pub(super) fn never_planned(key: TransferKey, batch: BatchNo) -> DiskAnswer<StagedFile> {
    DiskAnswer::Fatal { key, batch, entry: EntryNo::ZERO, reason: Reason::Os(errno::EINVAL) }
}
