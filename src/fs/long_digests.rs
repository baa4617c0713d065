//! Digests of long files, computed by a few threads of their own.
//!
//! A target's disk goes on with other jobs meanwhile. Each thread takes in a slice of one file after the
//! other, so that none waits for the end of another one, however many there are.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::digest::{Begun, Counted, Digester, Step};
use super::identity::Identity;
use super::root::{Dirs, Root};
use crate::name::RelPath;
use crate::wire::manifest::Digest;

/// Files with more bytes than this are long: to take them in, it takes more than about a tenth of a
/// second. They are announced before their digests are computed, so that all hosts do that at the same time.
pub const LONG: u64 = 64 << 20;

/// The most threads, also on hosts with more processors.
const MOST_THREADS: usize = 4;
/// How much of a file is taken in at a time.
const SLICE: u64 = 16 << 20;

/// A digest; None if the file has changed, or the digest is not wanted any more.
pub(super) type Outcome = io::Result<Option<Digest>>;

/// The threads that compute digests of long files. They are there as long as there is any to compute.
/// Clones share them.
#[derive(Clone, Default)]
pub struct LongDigests(Arc<Pool>);

#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    /// Called whenever a digest is there.
    told: Option<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    threads: usize,
}

/// Who wants digests, and how far they are.
#[derive(Clone, Default, Debug)]
pub(super) struct Watch {
    /// Set when none of them is wanted any more.
    pub cancelled: Arc<AtomicBool>,
    /// How many bytes were taken in, with those of files that came to nothing.
    pub passed: Arc<AtomicU64>,
}

/// A digest that is being computed.
struct Work {
    root: Arc<Root>,
    path: RelPath,
    begun: Begun,
    cancelled: Arc<AtomicBool>,
    counted: Counted,
    place: Arc<Place>,
}

/// Where the digest will be.
#[derive(Default, Debug)]
struct Place {
    outcome: Mutex<Option<Outcome>>,
    there: Condvar,
}

/// The digest of a long file, which is there or will be.
#[derive(Debug)]
pub(super) struct LongDigest {
    /// The file.
    pub path: RelPath,
    /// What it was like.
    pub identity: Identity,
    place: Arc<Place>,
}

impl fmt::Debug for LongDigests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongDigests").finish_non_exhaustive()
    }
}

impl LongDigests {
    /// Those that call `told` whenever a digest is there.
    pub fn telling(told: impl Fn() + Send + Sync + 'static) -> Self {
        LongDigests(Arc::new(Pool { told: Some(Box::new(told)), ..Pool::default() }))
    }

    /// Begins to compute the digest of a file.
    pub(super) fn begin(
        &self,
        root: &Arc<Root>,
        path: &RelPath,
        identity: Identity,
        watch: &Watch,
    ) -> LongDigest {
        let place = Arc::default();
        let work = Work {
            root: Arc::clone(root),
            path: path.clone(),
            begun: Begun::new(&identity),
            cancelled: Arc::clone(&watch.cancelled),
            counted: Counted { left: identity.size, passed: Some(Arc::clone(&watch.passed)) },
            place: Arc::clone(&place),
        };
        let mut state = self.0.lock();
        state.waiting.push_back(work);
        let most = thread::available_parallelism().map_or(1, |most| most.get().min(MOST_THREADS));
        if state.threads < most {
            state.threads += 1;
            drop(state);
            self.add_thread();
        }
        LongDigest { path: path.clone(), identity, place }
    }

    fn add_thread(&self) {
        let pool = Arc::clone(&self.0);
        let thread = thread::Builder::new().name("digest".to_owned());
        if thread.spawn(move || pool.work()).is_ok() {
            return;
        }
        let mut state = self.0.lock();
        if state.threads > 1 {
            state.threads -= 1;
        } else {
            // No thread can be had: who wants the digest computes it.
            drop(state);
            self.0.work();
        }
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread does next. If that is nothing, it is not counted any more.
    fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        // One that nobody wants any more does not wait for its turn to end.
        let at = state.waiting.iter().position(Work::is_cancelled).unwrap_or(0);
        let work = state.waiting.remove(at);
        state.threads -= usize::from(work.is_none());
        work
    }

    /// What a thread does: takes in slices until no file is left.
    fn work(&self) {
        let _leaving = Leaving(self);
        let mut digester = Digester::default();
        while let Some(mut work) = self.next() {
            match work.go_on(&mut digester) {
                None => self.lock().waiting.push_back(work),
                Some(outcome) => {
                    // However it ended, nobody waits for the rest.
                    work.counted.pass(0);
                    work.keep(outcome);
                    drop(work);
                    if let Some(told) = &self.told {
                        told();
                    }
                }
            }
        }
    }
}

/// A thread that leaves by a panic is not counted any more either.
struct Leaving<'a>(&'a Pool);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().threads -= 1;
        }
    }
}

impl Work {
    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Takes in a slice; what came out, if it is over.
    fn go_on(&mut self, digester: &mut Digester) -> Option<Outcome> {
        let Work { root, path, begun, cancelled, counted, .. } = self;
        let size = begun.size();
        let mut first = None;
        let mut pause = |at: u64| {
            counted.pass(size - at);
            let first = *first.get_or_insert(at);
            cancelled.load(Ordering::Relaxed) || at - first >= SLICE
        };
        let mut dirs = Dirs::new(Arc::clone(root));
        let step = dirs
            .parent(path)
            .and_then(|(dir, name)| begun.go_on(digester, dir.as_fd(), name, &mut pause));
        match step {
            Ok(Step::Paused) if !self.is_cancelled() => None,
            Ok(Step::Paused | Step::Changed) => Some(Ok(None)),
            Ok(Step::Done(digest)) => Some(Ok(Some(digest))),
            Err(error) => Some(Err(error)),
        }
    }

    fn keep(&self, outcome: Outcome) {
        let mut place = self.place.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        place.get_or_insert(outcome);
        self.place.there.notify_all();
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // After a panic.
        self.keep(Ok(None));
    }
}

impl LongDigest {
    /// Whether it is there.
    pub fn is_there(&self) -> bool {
        self.place.outcome.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The digest, once it is there.
    pub fn wait(self) -> Outcome {
        let mut outcome = self.place.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(outcome) = outcome.take() {
                return outcome;
            }
            outcome = self.place.there.wait(outcome).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
impl LongDigests {
    /// Computes none until that is released.
    pub fn hold(&self) {
        self.0.lock().threads += MOST_THREADS;
    }

    /// Goes on after [`Self::hold`].
    pub fn release(&self) {
        self.0.lock().threads -= MOST_THREADS - 1;
        self.add_thread();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::sys::fsat;
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::AtomicUsize;

    fn identity(root: &Root, name: &[u8]) -> Identity {
        Identity::of(&fsat::stat_at(root.as_fd(), name).unwrap())
    }

    #[test]
    fn many_go_on_side_by_side_and_each_is_told() {
        let temp = TempDir::new("long-digests");
        let root = temp.root();
        let count = 3 * MOST_THREADS;
        let told = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&told);
        let digests = LongDigests::telling(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let watch = Watch::default();
        let mut all = Vec::new();
        let mut bytes = 0;
        for n in 0..count {
            let name = format!("f{n}");
            let size = SLICE + (n as u64) * 100_000 + 7;
            let file = std::fs::File::create(temp.join(&name)).unwrap();
            file.set_len(size).unwrap();
            (0..size).step_by(1 << 20).for_each(|at| file.write_all_at(&[n as u8], at).unwrap());
            bytes += size;
            let path = RelPath::parse(name.as_bytes()).unwrap();
            all.push((digests.begin(&root, &path, identity(&root, name.as_bytes()), &watch), name));
        }
        for (digest, name) in all {
            let id = digest.identity;
            let want = Digester::default().digest(root.as_fd(), name.as_bytes(), &id, &|| false);
            assert_eq!(digest.wait().unwrap(), want.unwrap(), "{name}");
        }
        assert_eq!(watch.passed.load(Ordering::Relaxed), bytes);
        while told.load(Ordering::Relaxed) < count || digests.0.lock().threads > 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn what_is_not_wanted_any_more_ends_and_what_has_changed_or_gone_is_none() {
        let temp = TempDir::new("long-digests-end");
        let root = temp.root();
        let file = std::fs::File::create(temp.join("f")).unwrap();
        file.set_len(4 << 30).unwrap();
        (0..4 << 30).step_by(64 << 10).for_each(|at| file.write_all_at(b"x", at).unwrap());
        let path = RelPath::parse(b"f").unwrap();
        let (digests, watch) = (LongDigests::default(), Watch::default());
        let digest = digests.begin(&root, &path, identity(&root, b"f"), &watch);
        while watch.passed.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        assert!(!digest.is_there());
        watch.cancelled.store(true, Ordering::Relaxed);
        assert_eq!(digest.wait().unwrap(), None);
        let watch = Watch::default();
        let other = Identity { ino: 1, ..identity(&root, b"f") };
        assert_eq!(digests.begin(&root, &path, other, &watch).wait().unwrap(), None);
        let gone = RelPath::parse(b"gone/f").unwrap();
        let digest = digests.begin(&root, &gone, identity(&root, b"f"), &watch);
        assert_eq!(digest.wait().unwrap_err().kind(), io::ErrorKind::NotFound);
        // Each counts as a whole.
        assert_eq!(watch.passed.load(Ordering::Relaxed), 8 << 30);
    }
}
