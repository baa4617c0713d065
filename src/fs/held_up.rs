//! Plans that wait for digests of long files, which are computed meanwhile.

use std::os::fd::AsFd;

use super::disk::Disk;
use super::long_digests::{LONG, LongDigests};
use super::long_files::comparable;
use crate::engine::disk_job::{DiskJob, TransferKey};
use crate::sys::fsat;
use crate::wire::manifest::Kind;

impl Disk {
    /// Computes digests of long files with `digests`.
    pub fn digest_with(&mut self, digests: LongDigests) {
        self.digests = digests;
    }

    /// Whether a job has to wait for digests of long files, which are computed meanwhile. Jobs of other
    /// batches need not wait for it, but for plans of the same transfer.
    pub fn is_held_up(&mut self, job: &DiskJob) -> bool {
        let &DiskJob::Plan { key, ref manifest, mode, .. } = job else { return false };
        let compares = !mode.ignores_times() && !mode.names_only() && !self.closing.contains(key);
        let Some(transfer) = self.transfers.get_mut(&key).filter(|_| compares) else {
            return false;
        };
        let mut held_up = false;
        for (at, _) in &manifest.digests {
            let Some(entry) = manifest.entries.get(at.index()) else { continue };
            let Kind::File { size, .. } = entry.kind else { continue };
            if size <= LONG && !transfer.long.knows(&entry.path) {
                continue;
            }
            let stat = self.dirs.parent(&entry.path);
            let stat = stat.and_then(|(dir, name)| fsat::stat_at(dir.as_fd(), name));
            if let Some(identity) = stat.ok().as_ref().and_then(|stat| comparable(stat, size)) {
                let (digests, root) = (&self.digests, self.dirs.root());
                held_up = transfer.long.is_to_come(digests, root, &entry.path, identity);
            }
            // One after the other, if somebody sends many in one batch.
            if held_up {
                break;
            }
        }
        // The tree may change while the job waits.
        self.dirs.forget();
        held_up
    }

    /// Whether digests of long files are computed, or there is news of them.
    pub fn is_digesting(&self) -> bool {
        self.transfers.values().any(|transfer| transfer.long.is_busy())
    }

    /// How far the digests of long files are, of the transfers where that has changed.
    pub fn digested(&mut self) -> impl Iterator<Item = (TransferKey, u64)> + '_ {
        let all = self.transfers.iter_mut();
        all.filter_map(|(key, transfer)| Some((*key, transfer.long.news()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::SourceBatch;
    use super::super::found::WalkItem;
    use super::super::testing::*;
    use super::super::walk::WalkOptions;
    use super::*;
    use crate::engine::disk_job::Mode;
    use crate::ids::BatchNo;
    use crate::name::RelPath;
    use crate::wire::layout::Layout;
    use crate::wire::outcome::Need;
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    const SIZE: u64 = 2 * LONG;

    /// A long file that takes hardly any time or room.
    fn long(temp: &TempDir) -> File {
        let file = File::create(temp.join("long")).unwrap();
        file.set_len(SIZE).unwrap();
        (0..SIZE).step_by(4 << 20).for_each(|at| file.write_all_at(b"x", at).unwrap());
        set_mtime(&temp.join("long"), 1_000, 5);
        file
    }

    fn job(transfer: &Transfer, number: u32, batch: &SourceBatch) -> DiskJob {
        let layout = Arc::new(Layout::new(&batch.manifest, 1_424).unwrap());
        let (key, mode, manifest) = (transfer.key, transfer.mode, Arc::clone(&batch.manifest));
        let (batch, stamp) = (BatchNo::new(number), crate::stamp::Stamp::ZERO);
        DiskJob::Plan { key, batch, manifest, layout, mode, stamp }
    }

    /// The announcement and the file, with the size that is counted.
    fn offered(from: &TempDir) -> Vec<SourceBatch> {
        let options = WalkOptions { digests: true, announced_over: LONG, ..whole() };
        let passed = Arc::clone(&options.digested);
        let items = walk(&from.root(), &RelPath::base(), options).into_iter();
        let all = batches(
            items
                .map(|item| match item {
                    WalkItem::Found(found) => found,
                    other => panic!("{other:?}"),
                })
                .collect(),
        );
        assert_eq!((all.len(), passed.load(Ordering::Relaxed)), (2, SIZE));
        all
    }

    fn wait_until(mut done: impl FnMut() -> bool) {
        while !done() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_plan_stands_aside_until_its_digest_is_there() {
        let (from, to) = (TempDir::new("long-from"), TempDir::new("long-to"));
        let (_, theirs) = (long(&from), long(&to));
        let all = offered(&from);
        let mut disk = to.disk();
        let digests = LongDigests::default();
        disk.digest_with(digests.clone());
        digests.hold();
        let mut transfer = Transfer::new(1, Mode::Check);
        let entry = job(&transfer, 1, &all[1]);
        assert!(!disk.is_held_up(&entry), "there is no such transfer yet");
        transfer.plan(&mut disk, &all[0]);
        assert!(disk.is_held_up(&entry) && disk.is_digesting());
        digests.release();
        wait_until(|| !disk.is_held_up(&entry));
        wait_until(|| disk.digested().any(|told| told == (transfer.key, SIZE)));
        assert_eq!(transfer.plan(&mut disk, &all[1]).1, [Need::Skip]);
        assert!(!disk.is_digesting());
        transfer.close(&mut disk, false);

        // If it has changed since, that is one more.
        let mut transfer = Transfer::new(2, Mode::Check);
        transfer.plan(&mut disk, &all[0]);
        wait_until(|| disk.digested().any(|told| told == (transfer.key, SIZE)));
        theirs.write_all_at(b"y", LONG).unwrap();
        set_mtime(&to.join("long"), 1_000, 5);
        let entry = job(&transfer, 1, &all[1]);
        digests.hold();
        assert!(disk.is_held_up(&entry));
        digests.release();
        wait_until(|| !disk.is_held_up(&entry));
        // And no more than that.
        set_mtime(&to.join("long"), 1_000, 5);
        assert!(!disk.is_held_up(&entry));
        assert_eq!(transfer.plan(&mut disk, &all[1]).1, [Need::All]);
        transfer.close(&mut disk, false);
    }

    #[test]
    fn nobody_waits_for_what_is_to_be_closed_or_is_not_there() {
        let (from, to) = (TempDir::new("long-from"), TempDir::new("long-to"));
        drop((long(&from), long(&to)));
        let all = offered(&from);
        let mut disk = to.disk();
        let digests = LongDigests::default();
        disk.digest_with(digests.clone());
        digests.hold();
        let mut transfer = Transfer::new(1, Mode::Check);
        transfer.plan(&mut disk, &all[0]);
        let entry = job(&transfer, 1, &all[1]);
        assert!(disk.is_held_up(&entry));
        disk.closing().add(transfer.key);
        assert!(!disk.is_held_up(&entry));
        transfer.close(&mut disk, true);
        assert!(!disk.is_digesting());
        digests.release();

        std::fs::remove_file(to.join("long")).unwrap();
        let mut transfer = Transfer::new(2, Mode::Check);
        transfer.plan(&mut disk, &all[0]);
        assert!(!disk.is_held_up(&job(&transfer, 1, &all[1])));
        let told: Vec<_> = disk.digested().collect();
        assert_eq!(told, [(transfer.key, SIZE)]);
        transfer.close(&mut disk, false);
    }
}
