//! The network interfaces of the host and their IPv4 addresses.

use std::ffi::{CStr, CString};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::cvt;
use super::socket::address;

/// One IPv4 address of one interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceAddr {
    /// The interface's name, without what an alias's label has after a colon.
    pub name: Vec<u8>,
    /// The address's label: the interface's name, or of an alias that with a colon and more.
    pub label: Vec<u8>,
    /// The address.
    pub address: Ipv4Addr,
    /// The netmask: addresses that agree with `address` under it are in its subnet.
    pub netmask: Ipv4Addr,
    /// Whether it is up.
    pub up: bool,
    /// Whether it is the loopback interface, which answers for its whole subnet.
    pub loopback: bool,
}

/// All IPv4 addresses of interfaces that are up or down, by getifaddrs(3).
///
/// # Errors
/// `ENOMEM`, or whatever netlink gives.
pub fn interface_addrs() -> io::Result<Vec<InterfaceAddr>> {
    let mut list = ptr::null_mut();
    // SAFETY: getifaddrs stores a pointer to a list into `list`, which lives through the call.
    cvt(unsafe { libc::getifaddrs(&raw mut list) })?;
    let mut found = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: next is an element of the list, which is not freed before the loop is over.
        let element = unsafe { &*next };
        // SAFETY: as above.
        found.extend(unsafe { describe(element) });
        next = element.ifa_next;
    }
    // SAFETY: list came from getifaddrs, is freed once, and nothing found points into it.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

/// An element of the list, if it is an IPv4 address.
///
/// # Safety
/// `element` is from getifaddrs and not freed.
unsafe fn describe(element: &libc::ifaddrs) -> Option<InterfaceAddr> {
    // SAFETY: the caller's promise: both pointers are null or point to live addresses.
    let (address, netmask) = unsafe { (ipv4(element.ifa_addr)?, ipv4(element.ifa_netmask)) };
    // SAFETY: the caller's promise: the name is a C string.
    let name = unsafe { CStr::from_ptr(element.ifa_name) }.to_bytes();
    let colon = name.iter().position(|&byte| byte == b':').unwrap_or(name.len());
    Some(InterfaceAddr {
        name: name[..colon].to_vec(),
        label: name.to_vec(),
        address,
        netmask: netmask.unwrap_or(Ipv4Addr::BROADCAST),
        up: element.ifa_flags & libc::IFF_UP as libc::c_uint != 0,
        loopback: element.ifa_flags & libc::IFF_LOOPBACK as libc::c_uint != 0,
    })
}

/// The IPv4 address at `pointer`, if there is one of that family.
///
/// # Safety
/// `pointer` is null or points to a `sockaddr` as long as its family says.
unsafe fn ipv4(pointer: *const libc::sockaddr) -> Option<Ipv4Addr> {
    // SAFETY: the caller's promise: every sockaddr has a family.
    let family = unsafe { pointer.as_ref() }?.sa_family;
    if libc::c_int::from(family) != libc::AF_INET {
        return None;
    }
    // SAFETY: the caller's promise: with this family it is a sockaddr_in. It is read as one that
    // may lie anywhere, since a sockaddr promises less alignment.
    let name = unsafe { pointer.cast::<libc::sockaddr_in>().read_unaligned() };
    Some(address(name.sin_addr))
}

/// The names of all interfaces, with addresses or without, by if_nameindex(3).
///
/// # Errors
/// `ENOBUFS`, or whatever netlink gives.
pub fn interface_names() -> io::Result<Vec<Vec<u8>>> {
    // SAFETY: if_nameindex takes nothing, and gives null or an array that we free.
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return Err(io::Error::last_os_error());
    }
    let mut names = Vec::new();
    let mut next = list;
    // SAFETY: the array ends with an element whose name is null, at which this stops.
    while let Some(name) = ptr::NonNull::new(unsafe { (*next).if_name }) {
        // SAFETY: the name of an element is a C string until the array is freed.
        names.push(unsafe { CStr::from_ptr(name.as_ptr()) }.to_bytes().to_vec());
        // SAFETY: this was not the last element.
        next = unsafe { next.add(1) };
    }
    // SAFETY: list came from if_nameindex, is freed once, and nothing found points into it.
    unsafe { libc::if_freenameindex(list) };
    Ok(names)
}

/// The index of the interface called `name`, by if_nametoindex(3): one that is made anew has another.
///
/// # Errors
/// `ENODEV` if there is no such interface (any more).
pub fn index(name: &[u8]) -> io::Result<u32> {
    let name = CString::new(name).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    // SAFETY: the name is a C string that lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// The MTU of the interface called `name`, in bytes, by the `SIOCGIFMTU` request (netdevice(7)) on
/// any socket.
///
/// # Errors
/// `ENODEV` if there is no such interface (any more).
pub fn mtu(socket: BorrowedFd<'_>, name: &[u8]) -> io::Result<u32> {
    let mut request = request(name)?;
    // SAFETY: the request takes an ifreq, with a name that a zero ends, and writes its MTU there.
    cvt(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU as _, &raw mut request) })?;
    // SAFETY: this is the field that the request has written; any bytes make an integer.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    u32::try_from(mtu).map_err(|_| io::Error::from_raw_os_error(libc::ERANGE))
}

/// A request about the interface called `name`.
///
/// # Errors
/// `ENODEV` if none can have this name.
pub(super) fn request(name: &[u8]) -> io::Result<libc::ifreq> {
    // SAFETY: an ifreq is plain data, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::udp;
    use std::os::fd::AsFd;

    #[test]
    fn the_loopback_interface_is_there_and_has_an_mtu() {
        let all = interface_addrs().unwrap();
        let lo = all.iter().find(|found| found.address == Ipv4Addr::LOCALHOST).unwrap();
        assert!(lo.loopback && lo.up);
        assert_eq!(lo.netmask, Ipv4Addr::new(255, 0, 0, 0));
        assert_eq!((&lo.name[..], &lo.label[..]), (&b"lo"[..], &b"lo"[..]));
        assert!(interface_names().unwrap().contains(&lo.name));
        assert!(mtu(udp().unwrap().as_fd(), &lo.name).unwrap() >= 1_500);
        assert_eq!(index(&lo.name).unwrap(), 1);
    }

    #[test]
    fn an_unknown_interface_has_none() {
        let socket = udp().unwrap();
        for name in ["nosuch0", "aNameThatIsTooLongForIt"] {
            let errors = [
                mtu(socket.as_fd(), name.as_bytes()).unwrap_err(),
                index(name.as_bytes()).unwrap_err(),
            ];
            assert!(errors.iter().all(|error| error.raw_os_error() == Some(libc::ENODEV)));
        }
    }
}
