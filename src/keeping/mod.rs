//! What is kept of transfers, in memory and on disk, and how it comes there.
//!
//! - [`Keeper`] joins the journal of records (`engine::catch_up`) with what is on disk of it: `shelf` has the
//!   rows and the lists of entries, `row` is one row.
//! - [`hosts`] are the hosts that are known, and what they lacked when they were seen.
//! - [`mirror_store`] is the index of a mirrored tree, on disk.
//! - [`transactions`] are those that are for all of their targets or none.
//! - `sent` knows which hosts have what was sent from here.
//! - [`recording`] is one transfer, while it runs.
#![forbid(unsafe_code)]

mod fold;
pub mod hosts;
mod keeper;
pub mod mirror_store;
pub mod mirrors;
pub mod recording;
mod row;
mod sent;
mod shelf;
#[cfg(test)]
mod tests;
pub mod transactions;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use keeper::{Keeper, Opened};

/// Locks the keeper, even if a thread panicked while holding it: then the daemon ends.
pub fn lock(keeper: &Mutex<Keeper>) -> MutexGuard<'_, Keeper> {
    keeper.lock().unwrap_or_else(PoisonError::into_inner)
}
