//! The long files of an incoming transfer whose digests are being computed, or are there.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::disk::Disk;
use super::identity::Identity;
use super::long_digests::{LONG, LongDigest, LongDigests, Outcome, Watch};
use super::root::Root;
use crate::engine::disk_job::{DiskJob, TransferKey};
use crate::name::RelPath;
use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::manifest::Kind;

/// The most files of a transfer whose digests are computed before they come. A sender announces fewer.
const MOST: usize = 8;

/// The long files of a transfer.
#[derive(Default, Debug)]
pub(super) struct LongFiles {
    known: Vec<Known>,
    watch: Watch,
    /// What was told of `watch` last.
    told: u64,
}

#[derive(Debug)]
struct Known {
    digest: LongDigest,
    /// It is the second one: the file had changed.
    again: bool,
}

impl LongFiles {
    /// A file of this size is announced, and has this identity if there is one here to be compared.
    pub fn announced(
        &mut self,
        digests: &LongDigests,
        root: &Arc<Root>,
        path: &RelPath,
        size: u64,
        identity: Option<Identity>,
    ) {
        let is_new = self.known.len() < MOST && self.position(path).is_none();
        match identity.filter(|identity| is_new && identity.size == size) {
            Some(identity) => {
                let digest = digests.begin(root, path, identity, &self.watch);
                self.known.push(Known { digest, again: false });
            }
            // Nobody waits for this host.
            None => drop(self.watch.passed.fetch_add(size, Ordering::Relaxed)),
        }
    }

    /// A file with this identity is to be compared: whether its digest is still to come.
    fn is_to_come(
        &mut self,
        digests: &LongDigests,
        root: &Arc<Root>,
        path: &RelPath,
        identity: Identity,
    ) -> bool {
        let at = self.position(path);
        if let Some(Known { digest, again }) = at.and_then(|at| self.known.get(at)) {
            if !digest.is_there() {
                return true;
            }
            if *again || digest.identity == identity {
                return false;
            }
        }
        let again = at.map(|at| self.known.swap_remove(at)).is_some();
        // What was announced was counted then.
        let watch = Watch { passed: Arc::default(), ..self.watch.clone() };
        self.known.push(Known { digest: digests.begin(root, path, identity, &watch), again });
        true
    }

    /// The digest of a file with this identity, once it is there; None if it is not computed. It is not
    /// known any more then.
    pub fn take(&mut self, path: &RelPath, identity: &Identity) -> Option<Outcome> {
        let Known { digest, again } = self.known.swap_remove(self.position(path)?);
        match digest.identity == *identity {
            true => Some(digest.wait()),
            // It goes on changing.
            false => again.then_some(Ok(None)),
        }
    }

    fn position(&self, path: &RelPath) -> Option<usize> {
        self.known.iter().position(|known| known.digest.path == *path)
    }

    /// Its memory, in bytes.
    pub fn memory(&self) -> usize {
        self.known.iter().map(|known| 512 + 2 * known.digest.path.as_bytes().len()).sum()
    }

    /// How many bytes were passed, if that is more than it was the last time.
    fn news(&mut self) -> Option<u64> {
        let passed = self.watch.passed.load(Ordering::Relaxed);
        let before = std::mem::replace(&mut self.told, passed);
        (passed > before).then_some(passed)
    }
}

impl Drop for LongFiles {
    fn drop(&mut self) {
        self.watch.cancelled.store(true, Ordering::Relaxed);
    }
}

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
            if size <= LONG {
                continue;
            }
            let stat = self.dirs.parent(&entry.path);
            let stat = stat.and_then(|(dir, name)| fsat::stat_at(dir.as_fd(), name));
            if let Some(identity) = stat.ok().as_ref().and_then(|stat| comparable(stat, size)) {
                let (digests, root) = (&self.digests, self.dirs.root());
                held_up |= transfer.long.is_to_come(digests, root, &entry.path, identity);
            }
        }
        // The tree may change while the job waits.
        self.dirs.forget();
        held_up
    }

    /// Whether digests of long files are computed, or there is news of them.
    pub fn is_digesting(&self) -> bool {
        self.transfers.values().any(|transfer| {
            let LongFiles { known, watch, told } = &transfer.long;
            !known.is_empty() || watch.passed.load(Ordering::Relaxed) > *told
        })
    }

    /// How far the digests of long files are, of the transfers where that has changed.
    pub fn digested(&mut self) -> impl Iterator<Item = (TransferKey, u64)> + '_ {
        let all = self.transfers.iter_mut();
        all.filter_map(|(key, transfer)| Some((*key, transfer.long.news()?)))
    }
}

/// The identity of what is there, if it is a regular file of this size.
pub(super) fn comparable(stat: &Stat, size: u64) -> Option<Identity> {
    (stat.kind == FileType::File && stat.size == size).then(|| Identity::of(stat))
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
    use crate::wire::layout::Layout;
    use crate::wire::outcome::Need;
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::time::Duration;

    /// A file that takes some time to digest, and hardly any room.
    fn long(temp: &TempDir) -> File {
        let file = File::create(temp.join("long")).unwrap();
        file.set_len(4 * LONG).unwrap();
        (0..4 * LONG).step_by(64 << 10).for_each(|at| file.write_all_at(b"x", at).unwrap());
        set_mtime(&temp.join("long"), 1_000, 5);
        file
    }

    fn job(transfer: &Transfer, number: u32, batch: &SourceBatch) -> DiskJob {
        let layout = Arc::new(Layout::new(&batch.manifest, 1_424).unwrap());
        let (key, mode, manifest) = (transfer.key, transfer.mode, Arc::clone(&batch.manifest));
        DiskJob::Plan { key, batch: BatchNo::new(number), manifest, layout, mode }
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
        assert_eq!((all.len(), passed.load(Ordering::Relaxed)), (2, 4 * LONG));
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
        let mut transfer = Transfer::new(1, Mode::Check);
        let entry = job(&transfer, 1, &all[1]);
        assert!(!disk.is_held_up(&entry), "there is no such transfer yet");
        transfer.plan(&mut disk, &all[0]);
        assert!(disk.is_held_up(&entry) && disk.is_digesting());
        wait_until(|| !disk.is_held_up(&entry));
        wait_until(|| disk.digested().any(|told| told == (transfer.key, 4 * LONG)));
        assert_eq!(transfer.plan(&mut disk, &all[1]).1, [Need::Skip]);
        assert!(!disk.is_digesting());
        transfer.close(&mut disk, false);

        // If it has changed since, that is one more.
        let mut transfer = Transfer::new(2, Mode::Check);
        transfer.plan(&mut disk, &all[0]);
        wait_until(|| disk.digested().any(|told| told == (transfer.key, 4 * LONG)));
        theirs.write_all_at(b"y", 3 * LONG).unwrap();
        set_mtime(&to.join("long"), 1_000, 5);
        let entry = job(&transfer, 1, &all[1]);
        assert!(disk.is_held_up(&entry));
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
        let mut transfer = Transfer::new(1, Mode::Check);
        transfer.plan(&mut disk, &all[0]);
        let entry = job(&transfer, 1, &all[1]);
        assert!(disk.is_held_up(&entry));
        disk.closing().add(transfer.key);
        assert!(!disk.is_held_up(&entry));
        transfer.close(&mut disk, true);
        assert!(!disk.is_digesting());

        std::fs::remove_file(to.join("long")).unwrap();
        let mut transfer = Transfer::new(2, Mode::Check);
        transfer.plan(&mut disk, &all[0]);
        assert!(!disk.is_held_up(&job(&transfer, 1, &all[1])));
        let told: Vec<_> = disk.digested().collect();
        assert_eq!(told, [(transfer.key, 4 * LONG)]);
        transfer.close(&mut disk, false);
    }
}
