//! Waiting for packets or for another thread.

use std::io;
use std::os::fd::AsFd;

use super::{Net, Which};
use crate::sys::Waker;
use crate::sys::poll::{Interest, PollFd, poll};
use crate::time::Span;

/// What a wait ended with; nothing is true after a timeout or a signal.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Ready {
    /// Packets to the group, or an error of that socket: receive.
    pub group: bool,
    /// Packets to us alone, or an error of that socket: receive.
    pub unicast: bool,
    /// Somebody has woken us: drain the waker.
    pub woken: bool,
}

/// Waits for packets on either socket or for `waker`, but no longer than `timeout` (`None`:
/// forever).
///
/// # Errors
/// `ENOMEM`: nothing else can happen to three descriptors that are open.
pub fn wait(net: &Net, waker: &Waker, timeout: Option<Span>) -> io::Result<Ready> {
    let mut fds = [
        PollFd::new(net.fd(Which::Group), Interest::Read),
        PollFd::new(net.fd(Which::Unicast), Interest::Read),
        PollFd::new(waker.as_fd(), Interest::Read),
    ];
    poll(&mut fds, timeout)?;
    let [group, unicast, woken] = fds.map(|fd| fd.readable());
    Ok(Ready { group, unicast, woken })
}
