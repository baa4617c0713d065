//! All mirrored trees of a daemon, each behind a lock of its own.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use super::tree::Tree;
use super::types::{State, TreeNo};
use crate::name::RelPath;
use crate::wire::mirror::Left;

/// All mirrored trees of a daemon.
#[derive(Debug)]
pub struct Mirrors {
    trees: Vec<(RelPath, Mutex<Tree>, Mutex<State>)>,
}

impl Mirrors {
    /// These trees.
    pub fn new(trees: Vec<(RelPath, Tree)>) -> Self {
        let with_state = |(path, tree): (RelPath, Tree)| {
            let state = tree.state();
            (path, Mutex::new(tree), Mutex::new(state))
        };
        Mirrors { trees: trees.into_iter().map(with_state).collect() }
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
    pub fn with<T>(&self, tree: TreeNo, work: impl FnOnce(&mut Tree) -> T) -> Option<T> {
        let (_, tree, state) = self.trees.get(tree.0)?;
        let mut tree = lock(tree);
        let done = work(&mut tree);
        let now = tree.state();
        *lock(state) = now;
        Some(done)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
