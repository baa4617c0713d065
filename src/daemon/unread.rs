//! A client's unread output, by which a transfer is slowed to the speed of its client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A client with more unread bytes than this pauses its transfer.
const MOST: usize = 256 << 10;

/// The number of bytes that one client has still to read. The sender and the walker add to it; the
/// control thread, which writes the output, sets it to what remains.
#[derive(Clone, Default, Debug)]
pub(super) struct Unread(Arc<AtomicUsize>);

impl Unread {
    /// Adds lines of these lengths.
    pub(super) fn add(&self, lines: impl Iterator<Item = usize>) {
        // Plus two bytes: the log level in front and the newline.
        self.0.fetch_add(lines.map(|len| len + 2).sum(), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether the transfer has to pause.
    pub(super) fn is_too_much(&self) -> bool {
        self.get() > MOST
    }

    /// Sets what remains unread. True if the transfer was paused, at `before` bytes or since then, and
    /// can now continue.
    pub(super) fn set(&self, before: usize, left: usize) -> bool {
        let before = before.max(self.0.swap(left, Ordering::Relaxed));
        before > MOST && left <= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_once_that_it_is_less_again() {
        let unread = Unread::default();
        assert!(!unread.set(0, MOST) && !unread.is_too_much());
        assert!(!unread.set(0, MOST + 1) && unread.is_too_much());
        let before = unread.get();
        assert!(!unread.set(before, MOST + 1));
        assert!(unread.set(before, MOST) && !unread.is_too_much());
        assert!(!unread.set(MOST, 0));
        // What was added in between counts.
        unread.clone().add([MOST - 2, 1].into_iter());
        assert!(unread.is_too_much() && unread.set(0, 7));
        assert_eq!(unread.get(), 7);
    }
}
