//! What this daemon keeps of transfers, in memory and on disk.

mod keeper;
pub(super) mod recording;

mod row;
mod shelf;

pub use keeper::{Keeper, Opened};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks the keeper, even if a thread panicked while holding it: then the daemon ends.
pub(super) fn lock(keeper: &Mutex<Keeper>) -> MutexGuard<'_, Keeper> {
    keeper.lock().unwrap_or_else(PoisonError::into_inner)
}
