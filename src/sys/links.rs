//! What the kernel tells of network interfaces as it happens: rtnetlink(7).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use super::cvt;

/// Tells that interfaces, their MTUs, addresses or routes have changed; not how.
#[derive(Debug)]
pub struct LinkEvents(File);

impl LinkEvents {
    /// Listens from now on.
    ///
    /// # Errors
    /// `EMFILE` and the like; `EPROTONOSUPPORT` or `EPERM` where there is no such socket.
    pub fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: socket takes three integers and touches no memory of ours.
        let fd = cvt(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
        // SAFETY: the call has just given us this descriptor, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: a sockaddr_nl is plain data, for which zeros are valid.
        let mut name: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        name.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV4_ROUTE;
        name.nl_groups = groups as u32;
        let length = size_of_val(&name) as libc::socklen_t;
        // SAFETY: name is a sockaddr_nl of `length` bytes that lives through the call.
        cvt(unsafe { libc::bind(fd.as_raw_fd(), ptr::from_ref(&name).cast(), length) })?;
        Ok(LinkEvents(File::from(fd)))
    }

    /// Takes all that has been told. Whether there was anything.
    pub fn drain(&self) -> bool {
        let mut any = false;
        let mut buffer = [0; 8_192];
        // A storm does not hold us here: what is left makes the descriptor readable again.
        for _ in 0..64 {
            match (&self.0).read(&mut buffer) {
                Ok(_) => any = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // There was more than the kernel could keep.
                Err(_) => any = true,
            }
        }
        any
    }
}

impl AsFd for LinkEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_while_nothing_happens() {
        let events = LinkEvents::open().unwrap();
        events.drain();
        // Other tests make no interfaces; a machine that does may say so.
        let quiet = (0..10).any(|_| !events.drain());
        assert!(quiet);
    }
}
