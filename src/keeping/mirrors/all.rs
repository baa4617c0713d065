//! All mirrored trees of a daemon, each behind a lock of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use super::tree::Tree;
use super::types::{State, TreeNo};
use crate::name::RelPath;
use crate::wire::mirror::Left;

/// All mirrored trees of a daemon.
#[derive(Debug)]
pub struct Mirrors {
    trees: Vec<(RelPath, Mutex<Tree>, Mutex<State>)>,
    /// Whether the id of each may stay, which it has not been told yet.
    keeps_id: Vec<AtomicBool>,
}

impl Mirrors {
    /// These trees.
    pub fn new(trees: Vec<(RelPath, Tree)>) -> Self {
        let with_state = |(path, tree): (RelPath, Tree)| {
            let state = tree.state();
            (path, Mutex::new(tree), Mutex::new(state))
        };
        let keeps_id = trees.iter().map(|_| AtomicBool::new(false)).collect();
        Mirrors { trees: trees.into_iter().map(with_state).collect(), keeps_id }
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
    pub fn state(&self, tree: TreeNo) -> Option<State> {
        self.trees.get(tree.0).map(|(.., state)| lock(state).clone())
    }

    /// The id of its index may stay in this run: every host that mirrors the tree has said so. Does not wait for its disk.
    pub fn keep_id(&self, tree: TreeNo) {
        if let Some(keeps) = self.keeps_id.get(tree.0) {
            keeps.store(true, Ordering::Relaxed);
        }
    }

    /// What is not as it should be at a path below the top of a tree, and below that; None if the tree is at work.
    pub fn left(&self, tree: TreeNo, within: &RelPath) -> Option<Left> {
        let (_, tree, state) = self.trees.get(tree.0)?;
        if within.is_base() {
            return Some(lock(state).left);
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
        let now = tree.state();
        *lock(state) = now;
        Some(done)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
