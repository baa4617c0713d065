//! The disk thread: plans, stages and commits incoming batches.

use std::collections::VecDeque;
use std::sync::mpsc;

use super::ledger::Ledger;
use crate::daemon::messages::ToReceiver;
use crate::daemon::shared::Shared;
use crate::engine::disk_job::DiskJob;
use crate::fs::disk::Disk;

/// Runs one job after another until the receiver has ended. Commits go first: they do not depend on
/// jobs of later batches, and finished files should appear as early as possible.
pub(crate) fn run(mut disk: Disk, jobs: &mpsc::Receiver<DiskJob>, shared: &Shared) {
    let mut ledger = Ledger::new(shared);
    let mut waiting: VecDeque<DiskJob> = VecDeque::new();
    loop {
        if waiting.is_empty() {
            match jobs.recv() {
                Ok(job) => waiting.push_back(job),
                Err(_) => return,
            }
        }
        waiting.extend(jobs.try_iter());
        let commit = waiting.iter().position(|job| matches!(job, DiskJob::Commit { .. }));
        let Some(job) = waiting.remove(commit.unwrap_or(0)) else { continue };
        let refused = disk.follow(&job, || shared.base.look());
        let answer = refused.or_else(|| ledger.refuses(&job)).or_else(|| {
            ledger.job(&job);
            if let Some((key, guard)) = ledger.guard(&job) {
                disk.guard(key, guard);
            }
            disk.run(job)
        });
        if let Some(answer) = answer {
            ledger.answer(&answer);
            shared.receiver.send(ToReceiver::Answer(answer));
        }
    }
}
