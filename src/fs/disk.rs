//! A target's disk: does the jobs of `engine::job`, one at a time, on a thread of its own.
//!
//! What the lines of a directory mean: its open entry is updated when the directory was made, its
//! close entry when the attributes of one that was there were not as sent; a directory has one line
//! at most. Its need at the close is [`Need::Attributes`] whenever something is to be done there, even
//! if that only takes back a change of mtime that the transfer itself causes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use super::digest::Digester;
use super::meta::{self, Rights};
use super::opened::{OpenDir, Opened};
use super::root::{Dirs, Root};
use super::staging::{Staged, Staging};
use super::surplus::Surplus;
use super::walk::Identity;
use crate::engine::job::{Answer, Job, TransferKey};
use crate::name::RelPath;
use crate::sys::fsat;
use crate::wire::layout::Layout;
use crate::wire::manifest::{Digest, Manifest};
use crate::wire::outcome::{Need, Reason};

/// How a disk is to work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskConfig {
    /// Change nothing, ever: whatever is needed is answered with [`Need::ReadOnly`].
    pub readonly: bool,
    /// Everything of a batch is on its device before its [`Answer::Done`].
    pub fsync: bool,
}

/// A file in staging, as long as it will be, to be written in any order. Clones are the same file.
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

/// The transfers that are to be closed as soon as the disk gets to it: what takes long for one of them
/// is left off. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Closing(Arc<Mutex<BTreeSet<TransferKey>>>);

impl Closing {
    /// A [`Job::Close`] of this transfer is on its way.
    pub fn add(&self, key: TransferKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    }

    fn remove(&self, key: TransferKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// Whether nobody wants anything of this transfer any more.
    pub(super) fn contains(&self, key: TransferKey) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&key)
    }
}

/// A base directory on the receiving side, with what the transfers under way have in it.
#[derive(Debug)]
pub struct Disk {
    pub(super) config: DiskConfig,
    pub(super) rights: Rights,
    /// None if nothing is ever written.
    pub(super) staging: Option<Staging>,
    pub(super) dirs: Dirs,
    pub(super) digester: Digester,
    pub(super) closing: Closing,
    pub(super) transfers: BTreeMap<TransferKey, Transfer>,
}

/// One incoming transfer.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    /// The batches that were planned and not committed.
    pub batches: BTreeMap<u32, Pending>,
    /// The needs of each batch of a transfer that commits nothing.
    pub idle: BTreeMap<u32, Vec<Need>>,
    pub opened: Opened,
    pub surplus: Surplus,
    /// The digest of the file that was announced last.
    pub ahead: Option<Ahead>,
}

/// The digest of a file that was announced.
#[derive(Debug)]
pub(super) struct Ahead {
    pub path: RelPath,
    /// What the file was.
    pub identity: Identity,
    pub digest: Digest,
}

/// A batch that was planned.
#[derive(Debug)]
pub(super) struct Pending {
    pub manifest: Arc<Manifest>,
    pub layout: Arc<Layout>,
    pub needs: Vec<Need>,
    /// Files whose content is as sent, by its digest: what they were when that was seen.
    pub proven: BTreeMap<u16, Identity>,
    /// What each entry has in staging, or why it has nothing.
    pub staged: Vec<Option<Result<Staged, Reason>>>,
    /// The streamed file, as long as it is open here.
    pub file: Option<StagedFile>,
    /// It was staged: what is in staging is all there.
    pub is_whole: bool,
}

impl Disk {
    /// Takes over `.makuosan` of the base directory, and removes what an earlier daemon left there and
    /// in the places on other mounts that it recorded there. Nothing of it if the disk is read-only.
    ///
    /// # Errors
    /// `.makuosan` cannot be made, is no directory, is another user's, or another daemon has it
    /// (`WouldBlock`); something in it cannot be removed.
    pub fn new(root: Arc<Root>, config: DiskConfig) -> io::Result<Self> {
        let rights = Rights::of_process()?;
        let staging = match config.readonly {
            true => None,
            false => Some(Staging::open(root.clone(), &rights)?),
        };
        let dirs = Dirs::new(root);
        let digester = Digester::default();
        let (closing, transfers) = (Closing::default(), BTreeMap::new());
        Ok(Disk { config, rights, staging, dirs, digester, closing, transfers })
    }

    /// Where to say that a transfer is to be closed, before the job that closes it.
    pub fn closing(&self) -> Closing {
        self.closing.clone()
    }

    /// Does one job.
    ///
    /// A job for a batch that was never planned, or is done with, is answered with
    /// [`Answer::Fatal`] and EINVAL.
    pub fn run(&mut self, job: Job) -> Option<Answer<StagedFile>> {
        // Whatever happened since the last job: paths are looked up anew.
        self.dirs.forget();
        let answer = match job {
            Job::Plan { key, batch, manifest, layout, mode } => {
                Some(self.plan(key, batch, manifest, layout, mode))
            }
            Job::Stage { key, batch, body } => Some(self.stage(key, batch, body)),
            Job::Commit { key, batch, strikes } => Some(self.commit(key, batch, &strikes)),
            Job::Tally { key } => Some(self.tally(key)),
            Job::Delete { key } => Some(self.delete(key)),
            Job::Page { key, skip, room } => Some(self.page(key, skip, room)),
            Job::Close { key, .. } => {
                self.close(key);
                Some(Answer::Closed { key })
            }
        };
        self.dirs.forget();
        answer
    }

    /// Forgets a transfer, and discards what it has staged. What it opened and did not close gets
    /// its own permission bits back, or if the transfer made it, what the open entry carried.
    fn close(&mut self, key: TransferKey) {
        self.closing.remove(key);
        let Some(mut transfer) = self.transfers.remove(&key) else { return };
        for pending in transfer.batches.values_mut() {
            self.discard(pending);
        }
        for dir in transfer.opened.drain() {
            // Nobody is left to hear of an error.
            let _ = self.give_back(&dir);
        }
        if self.transfers.is_empty() {
            if let Some(staging) = &mut self.staging {
                staging.tidy();
            }
        }
    }

    fn give_back(&mut self, dir: &OpenDir) -> io::Result<()> {
        if dir.created {
            let staging = self.staging.as_ref();
            meta::apply(&mut self.dirs, &self.rights, staging, &dir.entry, None)?;
        } else if let Some(mode) = dir.own_mode {
            let (parent, name) = self.dirs.parent(&dir.entry.path)?;
            let flags = libc::O_PATH | libc::O_DIRECTORY;
            let fd = fsat::open_at(parent.as_fd(), name, flags, 0)?;
            fsat::chmod_at(parent.as_fd(), name, fd.as_fd(), mode)?;
        }
        Ok(())
    }

    /// Removes what a batch has staged.
    pub(super) fn discard(&self, pending: &mut Pending) {
        let Some(staging) = &self.staging else { return };
        for staged in pending.staged.iter_mut().filter_map(Option::take).flatten() {
            staging.discard(staged);
        }
        pending.file = None;
    }
}

/// Whether no entry can be brought here after `reason`: the disk is full or read-only.
pub(super) fn is_fatal(reason: Reason) -> bool {
    const FATAL: [i32; 3] = [libc::ENOSPC, libc::EDQUOT, libc::EROFS];
    matches!(reason, Reason::Os(code) if FATAL.contains(&code.into()))
}

/// The answer to a job that nobody could have asked for.
pub(super) fn never_planned(key: TransferKey, batch: u32) -> Answer<StagedFile> {
    Answer::Fatal { key, batch, entry: 0, reason: Reason::Os(libc::EINVAL as u16) }
}

/// The index of an entry as the wire has it.
pub(super) fn index(at: usize) -> u16 {
    // A manifest has at most MAX_ENTRIES.
    u16::try_from(at).unwrap_or(u16::MAX)
}
