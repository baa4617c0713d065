//! What is counted from the start on, for `status` and the metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::clock;
use crate::console::metrics::{Completed, Ended, Moved};
use crate::time::Span;

/// Counts of packets and transfers.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Bytes of packets received, whoever has sent them.
    pub(super) received: AtomicU64,
    /// Bytes of packets that carried blocks once more.
    pub(super) repaired: AtomicU64,
    pub(super) bad_header: AtomicU64,
    /// Of daemons with another version of the protocol.
    pub(super) other_version: AtomicU64,
    pub(super) bad_trailer: AtomicU64,
    pub(super) strangers: AtomicU64,
    pub(super) foreign: AtomicU64,
    /// Sealed with another key, sealed while we have no key, or unsealed while we have one.
    pub(super) other_key: AtomicU64,
    /// Sealed with our key, but received before.
    pub(super) replayed: AtomicU64,
    /// Transfers from this host.
    pub(super) out: Transfers,
    /// Transfers to this host.
    pub(super) into: Transfers,
}

/// Increments a counter.
pub(super) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// The value of a counter.
pub(super) fn of(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// The transfers of one direction that are over.
#[derive(Debug, Default)]
pub(super) struct Transfers(Mutex<(Moved, Option<Completed>)>);

impl Transfers {
    /// One is over that was to change something; so many files and bytes have been written by it.
    pub(super) fn ended(&self, outcome: Ended, files: u64, bytes: u64) {
        let (moved, _) = &mut *self.lock();
        moved.ended[outcome as usize] += 1;
        moved.files += files;
        moved.bytes += bytes;
    }

    /// One that somebody has asked for is complete, and took so long.
    pub(super) fn completed(&self, took: Span) {
        self.lock().1 = Some(Completed { at: clock::wall_millis(), took });
    }

    /// All of them so far, and the last that was complete.
    pub(super) fn so_far(&self) -> (Moved, Option<Completed>) {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Moved, Option<Completed>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
