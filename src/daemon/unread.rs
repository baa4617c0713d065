//! How much of its output a client has not read: what keeps a transfer from running ahead of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A client that has not read so many bytes pauses its transfer.
const MOST: usize = 256 << 10;

/// Bytes of output on their way to one client. The sender and the walker add to them; the control
/// thread, which writes them, says how many are left.
#[derive(Clone, Default, Debug)]
pub(super) struct Unread(Arc<AtomicUsize>);

impl Unread {
    /// Adds lines of these lengths.
    pub(super) fn add(&self, lines: impl Iterator<Item = usize>) {
        // A line has a level before it and its end behind it.
        self.0.fetch_add(lines.map(|len| len + 2).sum(), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether the transfer is to wait.
    pub(super) fn is_too_much(&self) -> bool {
        self.get() > MOST
    }

    /// Says how much is left; whether that is not too much any more, and was when it was `before`, or
    /// has been since.
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
        // Others may have added meanwhile.
        unread.clone().add([MOST - 2, 1].into_iter());
        assert!(unread.is_too_much() && unread.set(0, 7));
        assert_eq!(unread.get(), 7);
    }
}
