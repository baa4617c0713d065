//! Message queues between the threads. A full queue drops only what the network may lose as well.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sys::Waker;
use crate::time::Span;

/// When this many messages are queued, further feedback and HELLOs are dropped.
const MOST_LOSSY: usize = 8_192;

#[derive(Debug)]
struct Inner<T> {
    queue: Mutex<VecDeque<T>>,
    arrived: Condvar,
    waker: Option<Waker>,
}

/// A queue with one reading thread.
#[derive(Debug)]
pub(super) struct Mailbox<T>(Arc<Inner<T>>);

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Mailbox(Arc::clone(&self.0))
    }
}

impl<T> Mailbox<T> {
    /// For a thread that waits on this queue only.
    pub(super) fn new() -> Self {
        Mailbox(Arc::new(Inner { queue: Mutex::default(), arrived: Condvar::new(), waker: None }))
    }

    /// For a thread that also waits on file descriptors.
    pub(super) fn waking(waker: Waker) -> Self {
        let waker = Some(waker);
        Mailbox(Arc::new(Inner { queue: Mutex::default(), arrived: Condvar::new(), waker }))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        // A panic ends the daemon anyway, and no operation leaves the queue half-changed.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self, was_empty: bool) {
        if was_empty {
            match &self.0.waker {
                Some(waker) => waker.wake(),
                None => self.0.arrived.notify_one(),
            }
        }
    }

    /// Queues a message.
    pub(super) fn send(&self, message: T) {
        let mut queue = self.lock();
        let was_empty = queue.is_empty();
        queue.push_back(message);
        drop(queue);
        self.notify(was_empty);
    }

    /// Queues a message that may be lost; drops it if the queue is full.
    pub(super) fn send_lossy(&self, message: T) {
        let mut queue = self.lock();
        if queue.len() < MOST_LOSSY {
            let was_empty = queue.is_empty();
            queue.push_back(message);
            drop(queue);
            self.notify(was_empty);
        }
    }

    /// Takes all queued messages.
    pub(super) fn take(&self) -> VecDeque<T> {
        std::mem::take(&mut *self.lock())
    }

    /// Waits for messages, at most for `timeout` (None: no limit), and takes them all.
    pub(super) fn wait(&self, timeout: Option<Span>) -> VecDeque<T> {
        let mut queue = self.lock();
        if queue.is_empty() && timeout != Some(Span::ZERO) {
            queue = match timeout {
                Some(span) => {
                    let waited = self.0.arrived.wait_timeout(queue, Duration::from(span));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.0.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
        std::mem::take(&mut *queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_order_and_a_wait_ends() {
        let mailbox = Mailbox::new();
        assert!(mailbox.wait(Some(Span::from_millis(1))).is_empty());
        let other = mailbox.clone();
        let thread = std::thread::spawn(move || (0..100).for_each(|n| other.send(n)));
        let mut got = Vec::new();
        while got.len() < 100 {
            got.extend(mailbox.wait(None));
        }
        assert_eq!(got, (0..100).collect::<Vec<_>>());
        thread.join().unwrap();
    }

    #[test]
    fn what_may_be_lost_is_bounded() {
        let mailbox = Mailbox::new();
        (0..100_000).for_each(|n| mailbox.send_lossy(n));
        mailbox.send(7);
        assert_eq!(mailbox.take().len(), MOST_LOSSY + 1);
    }
}
