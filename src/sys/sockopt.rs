//! Socket options that the standard library does not know.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::cvt;

/// `UDP_SEGMENT`, include/uapi/linux/udp.h: a send is cut into datagrams of this size (GSO). libc
/// has it for glibc alone.
pub(super) const UDP_SEGMENT: libc::c_int = 103;

/// `UDP_GRO`, include/uapi/linux/udp.h: neighboring datagrams of equal size may come as one.
pub(super) const UDP_GRO: libc::c_int = 104;

/// `SO_NO_CHECK`, include/uapi/asm-generic/socket.h: send UDP without a checksum.
#[cfg(test)]
const SO_NO_CHECK: libc::c_int = 11;

/// A socket option whose value is an integer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opt {
    /// Lets another socket that also has this bind the same address: `SO_REUSEADDR`.
    ReuseAddr,
    /// Lets an address be bound before the host has it: `IP_FREEBIND`.
    FreeBind,
    /// Receive buffer in bytes, up to `rmem_max`; the kernel doubles it: `SO_RCVBUF`.
    RecvBuffer,
    /// The same past the limit, for `CAP_NET_ADMIN`: `SO_RCVBUFFORCE`.
    RecvBufferForce,
    /// Send buffer in bytes, up to `wmem_max`; the kernel doubles it: `SO_SNDBUF`.
    SendBuffer,
    /// The same past the limit, for `CAP_NET_ADMIN`: `SO_SNDBUFFORCE`.
    SendBufferForce,
    /// Whether groups that *other* sockets joined are heard too: `IP_MULTICAST_ALL`.
    MulticastAll,
    /// What is done about the path MTU, see ip(7): `IP_MTU_DISCOVER`.
    MtuDiscover,
    /// Size of the datagrams that a send is cut into; 0 is off: `UDP_SEGMENT` (Linux 4.18).
    UdpSegment,
    /// Whether datagrams may come several in one: `UDP_GRO` (Linux 5.0).
    UdpGro,
    /// Sends without a checksum, which makes the kernel refuse `UDP_SEGMENT`
    /// (`udp_send_skb` in net/ipv4/udp.c): `SO_NO_CHECK`.
    #[cfg(test)]
    NoCheck,
}

impl Opt {
    /// Level and name, as setsockopt(2) takes them.
    fn place(self) -> (libc::c_int, libc::c_int) {
        match self {
            Opt::ReuseAddr => (libc::SOL_SOCKET, libc::SO_REUSEADDR),
            Opt::FreeBind => (libc::IPPROTO_IP, libc::IP_FREEBIND),
            Opt::RecvBuffer => (libc::SOL_SOCKET, libc::SO_RCVBUF),
            Opt::RecvBufferForce => (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE),
            Opt::SendBuffer => (libc::SOL_SOCKET, libc::SO_SNDBUF),
            Opt::SendBufferForce => (libc::SOL_SOCKET, libc::SO_SNDBUFFORCE),
            Opt::MulticastAll => (libc::IPPROTO_IP, libc::IP_MULTICAST_ALL),
            Opt::MtuDiscover => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
            Opt::UdpSegment => (libc::SOL_UDP, UDP_SEGMENT),
            Opt::UdpGro => (libc::SOL_UDP, UDP_GRO),
            #[cfg(test)]
            Opt::NoCheck => (libc::SOL_SOCKET, SO_NO_CHECK),
        }
    }
}

/// Sets `option` to `value`.
///
/// # Errors
/// `ENOPROTOOPT` from a kernel that does not know the option, `EPERM`, `EINVAL`.
pub fn set(fd: BorrowedFd<'_>, option: Opt, value: i32) -> io::Result<()> {
    let (level, name) = option.place();
    set_raw(fd, level, name, &value)
}

/// The value of `option`.
///
/// # Errors
/// `ENOPROTOOPT` from a kernel that does not know the option.
pub fn value(fd: BorrowedFd<'_>, option: Opt) -> io::Result<i32> {
    let (level, name) = option.place();
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: value is an integer of `length` bytes that lives through the call, which writes at
    // most that many bytes there.
    cvt(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            ptr::from_mut(&mut value).cast(),
            &raw mut length,
        )
    })?;
    Ok(value)
}

/// How many packets a socket had no room for, or were damaged: `SO_MEMINFO` (Linux 4.12). The number wraps.
///
/// # Errors
/// `ENOPROTOOPT` from a kernel that does not tell.
pub fn drops(fd: BorrowedFd<'_>) -> io::Result<u32> {
    /// include/uapi/asm-generic/socket.h, and the place of the number in include/uapi/linux/sock_diag.h.
    const SO_MEMINFO: libc::c_int = 55;
    const SK_MEMINFO_DROPS: usize = 8;
    let mut values = [0u32; 16];
    let mut length = size_of_val(&values) as libc::socklen_t;
    // SAFETY: values are integers of `length` bytes in all that live through the call, which writes at most that many
    // bytes there.
    cvt(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    Ok(values[SK_MEMINFO_DROPS])
}

/// Sends multicast through the interface that has `address`: `IP_MULTICAST_IF`. No route to the
/// group is needed then.
///
/// # Errors
/// `EADDRNOTAVAIL` if no interface has the address (now).
pub fn set_multicast_interface(fd: BorrowedFd<'_>, address: Ipv4Addr) -> io::Result<()> {
    set_raw(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &super::socket::in_addr(address))
}

/// Leaves a multicast group on the interface with this index, which may be no more.
///
/// # Errors
/// `EADDRNOTAVAIL` if the socket is no member there.
pub fn leave_multicast(fd: BorrowedFd<'_>, group: Ipv4Addr, index: u32) -> io::Result<()> {
    let value = libc::ip_mreqn {
        imr_multiaddr: super::socket::in_addr(group),
        imr_address: super::socket::in_addr(Ipv4Addr::UNSPECIFIED),
        imr_ifindex: index as libc::c_int,
    };
    set_raw(fd, libc::IPPROTO_IP, libc::IP_DROP_MEMBERSHIP, &value)
}

/// setsockopt(2) with a value that is plain data and holds no pointer.
fn set_raw<T: Copy>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a value that lives through the call, which
    // only reads it.
    cvt(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn what_is_set_is_read_back() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        set(socket.as_fd(), Opt::MulticastAll, 0).unwrap();
        assert_eq!(value(socket.as_fd(), Opt::MulticastAll).unwrap(), 0);
        set(socket.as_fd(), Opt::MtuDiscover, libc::IP_PMTUDISC_PROBE).unwrap();
        assert_eq!(value(socket.as_fd(), Opt::MtuDiscover).unwrap(), libc::IP_PMTUDISC_PROBE);
        set(socket.as_fd(), Opt::RecvBuffer, 50_000).unwrap();
        assert_eq!(value(socket.as_fd(), Opt::RecvBuffer).unwrap(), 100_000);
    }

    #[test]
    fn an_address_of_no_interface_is_refused() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        set_multicast_interface(socket.as_fd(), Ipv4Addr::new(127, 0, 0, 9)).unwrap();
        // 240.0.0.0/4 is reserved: no host has it (RFC 1112, section 4).
        let error = set_multicast_interface(socket.as_fd(), Ipv4Addr::new(240, 0, 0, 1));
        assert_eq!(error.unwrap_err().raw_os_error(), Some(libc::EADDRNOTAVAIL));
    }
}
