//! The disk thread: plans, stages and commits what comes in.

use std::collections::VecDeque;
use std::sync::mpsc;

use crate::daemon::messages::ToReceiver;
use crate::daemon::shared::Shared;
use crate::engine::disk_job::DiskJob;
use crate::fs::disk::Disk;

/// Does one job after another, until the receiver has ended. A commit passes the stages of
/// later batches, which need not be there before it: what is complete shows as soon as it can.
pub(crate) fn run(mut disk: Disk, jobs: &mpsc::Receiver<DiskJob>, shared: &Shared) {
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
        if let Some(answer) = disk.run(job) {
            shared.receiver.send(ToReceiver::Answer(answer));
        }
    }
}
