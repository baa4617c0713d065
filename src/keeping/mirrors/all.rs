//! All mirrored trees of a daemon, each behind a lock of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::tree::Tree;
use super::types::{State, TreeNo};
use crate::engine::disk_job::TransferKey;
use crate::name::RelPath;
use crate::wire::mirror::Left;

/// All mirrored trees of a daemon.
#[derive(Debug)]
pub struct Mirrors {
    trees: Vec<(RelPath, Mutex<Tree>, Mutex<Arc<State>>)>,
    /// Which of them the transfers are about that come in.
    pub(super) taking: Mutex<BTreeMap<TransferKey, TreeNo>>,
    /// Whether the id of each may stay, which it has not been told yet.
    keeps_id: Vec<AtomicBool>,
}

impl Mirrors {
    /// These trees.
    pub fn new(trees: Vec<(RelPath, Tree)>) -> Self {
        let with_state = |(path, tree): (RelPath, Tree)| {
            let state = tree.state(None);
            (path, Mutex::new(tree), Mutex::new(Arc::new(state)))
        };
        let keeps_id = trees.iter().map(|_| AtomicBool::new(false)).collect();
        let trees = trees.into_iter().map(with_state).collect();
        Mirrors { trees, taking: Mutex::default(), keeps_id }
    }

    /// Their paths.
    pub fn paths(&self) -> impl Iterator<Item = (TreeNo, &RelPath)> {
        self.trees.iter().enumerate().map(|(at, (path, ..))| (TreeNo(at), path))
    }

    /// The tree of this path.
    pub fn find(&self, path: &RelPath) -> Option<TreeNo> {
        self.paths().find(|(_, of)| *of == path).map(|(tree, _)| tree)
    }

    /// Whether something is in a mirrored tree.
    pub fn has(&self, path: &RelPath) -> bool {
        self.trees.iter().any(|(top, ..)| path.is_under(top))
    }

    /// How a tree stands. Does not wait for its disk.
    pub fn state(&self, tree: TreeNo) -> Option<Arc<State>> {
        self.trees.get(tree.0).map(|(.., state)| Arc::clone(&lock(state)))
    }

    /// The id of its index may stay in this run: every host that mirrors the tree has said so. Does not wait for its disk.
    pub fn keep_id(&self, tree: TreeNo) {
        if let Some(keeps) = self.keeps_id.get(tree.0) {
            keeps.store(true, Ordering::Relaxed);
        }
    }

    /// What is not as it should be at a path below the top of a tree, and below that, and how many files of it are still
    /// to be read; None if the tree is at work.
    pub fn left(&self, tree: TreeNo, within: &RelPath) -> Option<(Left, u64)> {
        let (_, tree, state) = self.trees.get(tree.0)?;
        if within.is_base() {
            let state = lock(state);
            return Some((state.left, state.reading));
        }
        match tree.try_lock() {
            Ok(tree) => Some(tree.left(within.as_bytes())),
            Err(TryLockError::Poisoned(tree)) => Some(tree.into_inner().left(within.as_bytes())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Does something with a tree, which nobody else has meanwhile.
    pub fn with<T>(&self, at: TreeNo, work: impl FnOnce(&mut Tree) -> T) -> Option<T> {
        let (_, tree, state) = self.trees.get(at.0)?;
        let keeps_id = self.keeps_id.get(at.0);
        let mut tree = lock(tree);
        if keeps_id.is_some_and(|keeps| keeps.swap(false, Ordering::Relaxed)) {
            tree.index.keep_id();
        }
        let done = work(&mut tree);
        let before = Arc::clone(&lock(state));
        let now = tree.state(Some(&before));
        if now != *before {
            *lock(state) = Arc::new(now);
        }
        Some(done)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
