//! Making a UDP socket whose options are set before it is bound, and C's form of addresses.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use super::cvt;

/// The length of a `sockaddr_in`, as system calls take it.
pub(super) const NAME_LENGTH: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;

/// A new, unbound, blocking UDP socket for IPv4, closed on exec.
///
/// # Errors
/// `EMFILE`, `ENFILE` or `ENOBUFS`, when descriptors or memory are short.
pub fn udp() -> io::Result<UdpSocket> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: socket takes three integers and touches no memory of ours.
    let fd = cvt(unsafe { libc::socket(libc::AF_INET, kind, 0) })?;
    // SAFETY: the call has just given us this descriptor, and nobody else knows it.
    Ok(UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Binds a socket to `address`.
///
/// # Errors
/// `EADDRINUSE`; `EADDRNOTAVAIL` if the host does not have the address; `EACCES` below port 1024.
pub fn bind(fd: BorrowedFd<'_>, address: SocketAddrV4) -> io::Result<()> {
    let name = sockaddr(address);
    // SAFETY: name is a sockaddr_in of NAME_LENGTH bytes that lives through the call.
    cvt(unsafe { libc::bind(fd.as_raw_fd(), ptr::from_ref(&name).cast(), NAME_LENGTH) })?;
    Ok(())
}

/// Puts a socket in the place of another: whoever uses that descriptor, in any thread, uses this socket
/// from now on, and the other is closed.
///
/// # Errors
/// Nothing is known to happen.
pub fn replace(place: &UdpSocket, by: UdpSocket) -> io::Result<()> {
    // SAFETY: both descriptors are open and stay with their owners; what is closed is the socket that
    // `place` had, which nobody else knows by another number.
    cvt(unsafe { libc::dup3(by.as_raw_fd(), place.as_raw_fd(), libc::O_CLOEXEC) })?;
    Ok(())
}

/// An address as C has it.
pub(super) fn in_addr(address: Ipv4Addr) -> libc::in_addr {
    // s_addr holds the octets in the order of the network, whatever the order of the machine.
    libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) }
}

/// An address and port as C has them.
pub(super) fn sockaddr(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: in_addr(*address.ip()),
        sin_zero: [0; 8],
    }
}

/// An address from C's form.
pub(super) fn address(raw: libc::in_addr) -> Ipv4Addr {
    Ipv4Addr::from(raw.s_addr.to_ne_bytes())
}

/// An address and port from C's form.
pub(super) fn socket_address(raw: &libc::sockaddr_in) -> SocketAddrV4 {
    SocketAddrV4::new(address(raw.sin_addr), u16::from_be(raw.sin_port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn an_address_goes_to_c_and_back() {
        let address = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 108), 5000);
        assert_eq!(socket_address(&sockaddr(address)), address);
    }

    #[test]
    fn a_bound_socket_has_the_address_it_was_given() {
        let socket = udp().unwrap();
        bind(socket.as_fd(), SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 7), 0)).unwrap();
        let local = socket.local_addr().unwrap();
        assert_eq!(local.ip(), Ipv4Addr::new(127, 0, 0, 7));
        assert_ne!(local.port(), 0);
        let other = udp().unwrap();
        let std::net::SocketAddr::V4(local) = local else { panic!("{local}") };
        let error = bind(other.as_fd(), local).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_socket_that_takes_the_place_of_another_frees_its_address() {
        let bound = || {
            let socket = udp().unwrap();
            bind(socket.as_fd(), SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 7), 0)).unwrap();
            socket
        };
        let (place, other) = (bound(), bound());
        let (before, after) = (place.local_addr().unwrap(), other.local_addr().unwrap());
        replace(&place, other).unwrap();
        assert_eq!(place.local_addr().unwrap(), after);
        let std::net::SocketAddr::V4(before) = before else { panic!("{before}") };
        bind(udp().unwrap().as_fd(), before).unwrap();
    }
}
