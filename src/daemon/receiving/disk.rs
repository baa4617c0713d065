//! The disk thread: plans, stages and commits incoming batches.

use std::collections::{BTreeSet, VecDeque};
use std::sync::mpsc;

use super::atomic::Atomic;
use super::fetched::FetchedTransfers;
use super::ledger::Ledger;
use super::mirrored::Mirrored;
use crate::daemon::clock;
use crate::daemon::messages::{ToDisk, ToReceiver};
use crate::daemon::shared::Shared;
use crate::engine::disk_job::{DiskAnswer, DiskJob};
use crate::fs::disk::Disk;
use crate::time::{Span, Time};

/// How often it is told how far digests of long files are.
const TELL: Span = Span::from_millis(200);

/// Runs one job after another until the receiver has ended. Commits go first: they do not depend on
/// jobs of later batches, and finished files should appear as early as possible. What waits for digests of
/// long files stands aside.
pub(crate) fn run(disk: Disk, messages: &mpsc::Receiver<ToDisk>, shared: &Shared) {
    let now = clock::now();
    let (ledger, waiting) = (Ledger::new(shared), VecDeque::new());
    let (fetched, mirrored) = (FetchedTransfers::new(shared), Mirrored::new(shared));
    let atomic = Atomic::new(shared);
    let mut thread = DiskThread {
        disk,
        ledger,
        fetched,
        mirrored,
        atomic,
        shared,
        waiting,
        stopping: false,
        told: now,
    };
    loop {
        messages.try_iter().for_each(|message| thread.take(message));
        thread.tell(clock::now());
        if let Some(job) = thread.next() {
            thread.run(job);
        } else if thread.atomic.clear(&mut thread.disk) {
            // There may be more.
        } else if thread.stopping {
            return;
        } else {
            let message = match thread.disk.is_digesting() || !thread.fetched.is_empty() {
                true => messages.recv_timeout(TELL.into()),
                false => messages.recv().map_err(mpsc::RecvTimeoutError::from),
            };
            match message {
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                message => thread.take(message.unwrap_or(ToDisk::Stop)),
            }
        }
    }
}

struct DiskThread<'a> {
    disk: Disk,
    ledger: Ledger<'a>,
    fetched: FetchedTransfers<'a>,
    mirrored: Mirrored<'a>,
    atomic: Atomic<'a>,
    shared: &'a Shared,
    waiting: VecDeque<DiskJob>,
    /// The receiver has ended.
    stopping: bool,
    /// When it was last told how far digests are.
    told: Time,
}

impl DiskThread<'_> {
    fn take(&mut self, message: ToDisk) {
        match message {
            ToDisk::Job(job) => self.waiting.push_back(job),
            ToDisk::Digested => {}
            ToDisk::Mirror(tree, client, work) => {
                self.mirrored.work(&mut self.disk, tree, client, work)
            }
            ToDisk::Atomic(of, work) => self.atomic.work(&mut self.disk, of, &work),
            ToDisk::Stop => self.stopping = true,
        }
    }

    /// The next job that need not wait.
    fn next(&mut self) -> Option<DiskJob> {
        let commit = self
            .waiting
            .iter()
            .position(|job| matches!(job, DiskJob::Commit { .. }) && !self.fetched.holds_up(job));
        let at = commit.or_else(|| {
            let mut held_up = BTreeSet::new();
            self.waiting.iter().position(|job| match job {
                // Those of one transfer are planned in order.
                DiskJob::Plan { key, .. } => {
                    let waits = self.disk.is_held_up(job) || self.fetched.holds_up(job);
                    !held_up.contains(key) && (!waits || !held_up.insert(*key))
                }
                job => !self.fetched.holds_up(job),
            })
        });
        self.waiting.remove(at?)
    }

    fn run(&mut self, job: DiskJob) {
        let DiskThread { disk, ledger, fetched, mirrored, atomic, shared, .. } = self;
        let job = atomic.judged(job);
        let refused = disk.follow(&job, || shared.base.look());
        let refused = refused.or_else(|| ledger.refuses(&job)).or_else(|| fetched.refuses(&job));
        let refused = refused.or_else(|| atomic.begin(disk, &job));
        let answer = refused.or_else(|| {
            ledger.job(&job);
            fetched.job(&job);
            if let Some((key, guard)) = ledger.guard(&job) {
                disk.guard(key, guard);
            }
            mirrored.run(disk, job)
        });
        if let Some(answer) = answer {
            ledger.answer(&answer);
            fetched.answer(&answer);
            shared.receiver.send(ToReceiver::Answer(answer));
        }
    }

    /// Tells how far digests are.
    fn tell(&mut self, now: Time) {
        if now < self.told + TELL {
            return;
        }
        self.told = now;
        self.fetched.tell();
        for (key, bytes) in self.disk.digested() {
            let answer = DiskAnswer::Digested { key, bytes };
            self.shared.receiver.send(ToReceiver::Answer(answer));
        }
    }
}
