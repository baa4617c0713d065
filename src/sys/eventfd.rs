//! A wake-up call from one thread to another that waits in `poll`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use super::cvt;

/// An eventfd(2): readable from the first [`wake`](Waker::wake) until the next
/// [`drain`](Waker::drain). Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Waker(Arc<File>);

impl Waker {
    /// A new waker, not yet woken.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE` or `ENOMEM`, when descriptors or memory are short.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes two integers and touches no memory of ours.
        let fd = cvt(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the call has just given us this descriptor, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Waker(Arc::new(File::from(fd))))
    }

    /// Makes the descriptor readable. Never blocks; waking twice is the same as waking once.
    pub fn wake(&self) {
        // The one failure a valid eventfd knows is EAGAIN, when its counter is full: it is
        // readable then, which is all we want.
        let _ = (&*self.0).write(&1u64.to_ne_bytes());
    }

    /// Makes the descriptor unreadable again, and says whether it had been woken. Drain first,
    /// then look at what the wake-up was for: the other order can lose one.
    pub fn drain(&self) -> bool {
        (&*self.0).read(&mut [0; 8]).is_ok()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_add_up_to_one() {
        let waker = Waker::new().unwrap();
        assert!(!waker.drain());
        waker.wake();
        waker.clone().wake();
        assert!(waker.drain());
        assert!(!waker.drain());
    }

    #[test]
    fn a_full_counter_does_not_block() {
        let waker = Waker::new().unwrap();
        (&*waker.0).write_all(&(u64::MAX - 1).to_ne_bytes()).unwrap();
        waker.wake();
        assert!(waker.drain());
    }
}
