//! The long files of an incoming transfer whose digests are being computed, or are there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::identity::Identity;
use super::long_digests::{LongDigest, LongDigests, Outcome, Watch};
use super::root::Root;
use crate::name::RelPath;
use crate::sys::fsat::{FileType, Stat};

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
    pub fn is_to_come(
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

    /// Whether there is a digest of this file, or one to come.
    pub fn knows(&self, path: &RelPath) -> bool {
        self.position(path).is_some()
    }

    fn position(&self, path: &RelPath) -> Option<usize> {
        self.known.iter().position(|known| known.digest.path == *path)
    }

    /// Its memory, in bytes.
    pub fn memory(&self) -> usize {
        self.known.iter().map(|known| 512 + 2 * known.digest.path.as_bytes().len()).sum()
    }

    /// Whether there are digests, or ones to come, or there is news of them.
    pub fn is_busy(&self) -> bool {
        !self.known.is_empty() || self.watch.passed.load(Ordering::Relaxed) > self.told
    }

    /// How many bytes were passed, if that is more than it was the last time.
    pub fn news(&mut self) -> Option<u64> {
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

/// The identity of what is there, if it is a regular file of this size.
pub(super) fn comparable(stat: &Stat, size: u64) -> Option<Identity> {
    (stat.kind == FileType::File && stat.size == size).then(|| Identity::of(stat))
}
