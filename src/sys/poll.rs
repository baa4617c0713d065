//! Waiting for descriptors.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::cvt;
use crate::time::Span;

/// What to wait for on a descriptor. Errors and hang-ups always end the wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// Errors and hang-ups alone.
    Nothing,
    /// Something to read (or to accept).
    Read,
    /// Room to write.
    Write,
    /// Either.
    Both,
}

/// One descriptor to wait for, borrowed as long as this value lives, and what was found.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct PollFd<'fd> {
    raw: libc::pollfd,
    fd: PhantomData<BorrowedFd<'fd>>,
}

impl<'fd> PollFd<'fd> {
    /// Waits for `interest` on `fd`.
    pub fn new(fd: BorrowedFd<'fd>, interest: Interest) -> Self {
        let events = match interest {
            Interest::Nothing => 0,
            Interest::Read => libc::POLLIN,
            Interest::Write => libc::POLLOUT,
            Interest::Both => libc::POLLIN | libc::POLLOUT,
        };
        let raw = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
        PollFd { raw, fd: PhantomData }
    }

    /// Whether the last [`poll`] found that a read would not block: data, end of file, or an error
    /// to pick up.
    pub fn readable(&self) -> bool {
        self.raw.revents & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0
    }

    /// Whether the last [`poll`] found that a write would not block: room, or an error.
    pub fn writable(&self) -> bool {
        self.raw.revents & (libc::POLLOUT | libc::POLLERR) != 0
    }

    /// Whether the last [`poll`] found an error, or that the other side has hung up.
    pub fn failed(&self) -> bool {
        self.raw.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0
    }
}

/// Waits until a descriptor is ready, but no longer than `timeout` (`None`: forever), by ppoll(2),
/// and returns how many are ready.
///
/// A signal ends the wait with `Ok(0)`, like the timeout: whoever waits computes the deadline
/// again, since how much of it is left is a question for the clock, which is not read here.
///
/// # Errors
/// `EINVAL` for more descriptors than `RLIMIT_NOFILE`, `ENOMEM`.
pub fn poll(fds: &mut [PollFd<'_>], timeout: Option<Span>) -> io::Result<usize> {
    for fd in fds.iter_mut() {
        fd.raw.revents = 0;
    }
    let limit = timeout.map(|span| libc::timespec {
        // Both casts fit: 2^64 microseconds are below 2^45 seconds, and a 32-bit time_t is
        // capped at its largest value, 68 years.
        tv_sec: (span.micros() / 1_000_000).min(libc::time_t::MAX as u64) as libc::time_t,
        tv_nsec: (span.micros() % 1_000_000 * 1_000) as _,
    });
    let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: PollFd is a pollfd (repr(transparent)), fds.len() of them are exclusively ours, and
    // their descriptors are borrowed, so open; limit is null or points to a live timespec.
    let ready = unsafe { libc::ppoll(fds.as_mut_ptr().cast(), fds.len() as _, limit, ptr::null()) };
    match cvt(ready) {
        Ok(ready) => Ok(ready as usize),
        // The kernel has left revents alone then: zero, so nothing looks ready.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Waker;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn tells_who_is_ready() {
        let (quiet, woken) = (Waker::new().unwrap(), Waker::new().unwrap());
        woken.wake();
        let mut fds = [
            PollFd::new(quiet.as_fd(), Interest::Read),
            PollFd::new(woken.as_fd(), Interest::Read),
            PollFd::new(quiet.as_fd(), Interest::Write),
            PollFd::new(woken.as_fd(), Interest::Nothing),
        ];
        assert_eq!(poll(&mut fds, None).unwrap(), 2);
        assert_eq!(fds.map(|fd| fd.readable()), [false, true, false, false]);
        assert_eq!(fds.map(|fd| fd.writable()), [false, false, true, false]);
        woken.drain();
        let mut fds = [fds[0], fds[1]];
        assert_eq!(poll(&mut fds, Some(Span::from_micros(50))).unwrap(), 0);
        assert!(!fds[1].readable());
    }

    #[test]
    fn a_hang_up_is_told_to_whoever_reads_and_to_whoever_does_not() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"x").unwrap();
        drop(theirs);
        let mut fds = [
            PollFd::new(ours.as_fd(), Interest::Read),
            PollFd::new(ours.as_fd(), Interest::Nothing),
        ];
        assert_eq!(poll(&mut fds, Some(Span::ZERO)).unwrap(), 2);
        assert!(fds[0].readable() && fds[0].failed() && fds[1].failed());
    }

    #[test]
    fn the_longest_span_is_no_error() {
        let waker = Waker::new().unwrap();
        waker.wake();
        let mut fds = [PollFd::new(waker.as_fd(), Interest::Read)];
        assert_eq!(poll(&mut fds, Some(Span::from_micros(u64::MAX))).unwrap(), 1);
    }
}
