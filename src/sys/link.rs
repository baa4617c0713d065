//! What the kernel tells of one network interface: its state, what it has counted, and how fast its port is. None
//! of it needs a file, so that it is the same in a chroot.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::cvt;
use super::ifaddr::request;

/// `SIOCETHTOOL`, include/uapi/linux/sockios.h.
const SIOCETHTOOL: libc::c_ulong = 0x8946;
/// `ETHTOOL_GSET`, include/uapi/linux/ethtool.h: every kernel answers it, for everybody.
const ETHTOOL_GSET: u32 = 1;

/// The state of an interface and what it has counted since it was made. The counters have 32 bits, and wrap.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Link {
    /// It is switched on.
    pub up: bool,
    /// It has a carrier.
    pub running: bool,
    /// It is the loopback interface.
    pub loopback: bool,
    /// Packets that came in.
    pub received: u32,
    /// Packets that were damaged when they came in, or could not be sent.
    pub errors: u32,
    /// Packets that came in or were to go out and were dropped.
    pub dropped: u32,
    /// Packets that met another on the wire.
    pub collisions: u32,
}

/// How a port is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Port {
    /// Its speed, in Mbit/s.
    pub mbits: u32,
    /// Whether it sends and receives at the same time; None if that is not known.
    pub full_duplex: Option<bool>,
}

/// The state of the interface called `name`, by getifaddrs(3). None if there is none, or if it tells nothing.
///
/// # Errors
/// `ENOMEM`, or whatever netlink gives.
pub fn link(name: &[u8]) -> io::Result<Option<Link>> {
    let mut list = ptr::null_mut();
    // SAFETY: getifaddrs stores a pointer to a list into `list`, which lives through the call.
    cvt(unsafe { libc::getifaddrs(&raw mut list) })?;
    let mut found = None;
    let mut next = list;
    while !next.is_null() {
        // SAFETY: next is an element of the list, which is not freed before the loop is over.
        let element = unsafe { &*next };
        // SAFETY: as above.
        found = found.or(unsafe { describe(element, name) });
        next = element.ifa_next;
    }
    // SAFETY: list came from getifaddrs, is freed once, and nothing found points into it.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

/// An element of the list, if it is about the interface of this name and has counters.
///
/// # Safety
/// `element` is from getifaddrs and not freed.
unsafe fn describe(element: &libc::ifaddrs, name: &[u8]) -> Option<Link> {
    // SAFETY: the caller's promise: the name is a C string.
    let is_it = unsafe { CStr::from_ptr(element.ifa_name) }.to_bytes() == name;
    // SAFETY: the caller's promise: the address is null, or every sockaddr has a family.
    let family = unsafe { element.ifa_addr.as_ref() }?.sa_family;
    if !is_it || libc::c_int::from(family) != libc::AF_PACKET || element.ifa_data.is_null() {
        return None;
    }
    // SAFETY: with AF_PACKET, the data is a `struct rtnl_link_stats` (getifaddrs(3)), which begins with these ten
    // counters; it is read as one that may lie anywhere.
    let counters = unsafe { element.ifa_data.cast::<[u32; 10]>().read_unaligned() };
    let [received, _, _, _, bad_in, bad_out, dropped_in, dropped_out, _, collisions] = counters;
    let is = |flag: libc::c_int| element.ifa_flags & flag as libc::c_uint != 0;
    Some(Link {
        up: is(libc::IFF_UP),
        running: is(libc::IFF_RUNNING),
        loopback: is(libc::IFF_LOOPBACK),
        received,
        errors: bad_in.wrapping_add(bad_out),
        dropped: dropped_in.wrapping_add(dropped_out),
        collisions,
    })
}

/// How the port of the interface called `name` is connected. None if its driver does not know.
///
/// # Errors
/// `ENODEV` if there is no such interface; `EOPNOTSUPP` if it has no port.
pub fn port(socket: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Port>> {
    // `struct ethtool_cmd`: 44 bytes.
    let mut command = [0u32; 11];
    command[0] = ETHTOOL_GSET;
    let mut request = request(name)?;
    request.ifr_ifru.ifru_data = command.as_mut_ptr().cast();
    // SAFETY: the request takes an ifreq, with a name that a zero ends and a pointer to a whole ethtool_cmd, which
    // lives through the call and is written to.
    cvt(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) })?;
    let bytes: Vec<u8> = command.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let half = |at: usize| u32::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]]));
    let mbits = half(28) << 16 | half(12);
    // SPEED_UNKNOWN is -1, of 32 or of 16 bits.
    let known = ![0, u32::MAX, 0xffff].contains(&mbits);
    let full_duplex = match bytes[14] {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    };
    Ok(known.then_some(Port { mbits, full_duplex }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::udp;
    use std::os::fd::AsFd;

    #[test]
    fn the_loopback_interface_has_a_state_and_no_port() {
        let lo = link(b"lo").unwrap().unwrap();
        assert!(lo.up && lo.loopback);
        assert_eq!(link(b"nosuch0").unwrap(), None);
        let error = port(udp().unwrap().as_fd(), b"lo").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
        let error = port(udp().unwrap().as_fd(), b"nosuch0").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }
}
