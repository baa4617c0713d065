//! Which user owns one TCP socket of this host, asked of the kernel: sock_diag(7).

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{FromRawFd, OwnedFd};

use super::cvt;

/// The only kind of message (linux/sock_diag.h), for a request and its answer.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// The length of a `struct nlmsghdr`, and of a request with it.
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
/// Where a request (`inet_diag_req_v2`) and an answer (`inet_diag_msg`) have the socket's name.
const REQUEST_ID: usize = HEADER + 8;
const ANSWER_ID: usize = HEADER + 4;
/// The length of the ports and addresses in such a name, and of the interface and cookie behind them.
const ADDRESSES: usize = 36;
const NO_COOKIE: [u8; 8] = [0xff; 8];
/// Where an answer has its user and inode.
const ANSWER_UID: usize = ANSWER_ID + 48 + 12;
const ANSWER_INODE: usize = ANSWER_UID + 4;

/// Asks the kernel about sockets.
#[derive(Debug)]
pub struct SocketDiag {
    socket: File,
    /// The number of the last question.
    asked: u32,
}

/// Who has a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Its user.
    pub uid: u32,
    /// Its number, 0 if no process has it open any more.
    pub inode: u32,
}

impl SocketDiag {
    /// Opens the way to the kernel, for the network namespace of this moment.
    ///
    /// # Errors
    /// `EMFILE` and the like; `EPROTONOSUPPORT`, `EAFNOSUPPORT` or `EPERM` where there is no such socket.
    pub fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: socket takes three integers and touches no memory of ours.
        let fd = cvt(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_SOCK_DIAG) })?;
        // SAFETY: the call has just given us this descriptor, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(SocketDiag::with(File::from(fd)))
    }

    /// Asks by this descriptor.
    pub(crate) fn with(socket: File) -> Self {
        SocketDiag { socket, asked: 0 }
    }

    /// Who has the TCP socket with the address `local` that is connected with `remote`. (One of IPv6
    /// with addresses of IPv4 is found by those.)
    ///
    /// # Errors
    /// `ENOENT` if there is none, or if the kernel cannot tell of TCP sockets; `WouldBlock` or
    /// `InvalidData` if there is no answer to this question.
    pub fn tcp(&mut self, local: SocketAddr, remote: SocketAddr) -> io::Result<Owner> {
        self.asked = self.asked.wrapping_add(1);
        (&self.socket).write_all(&request(self.asked, local, remote))?;
        let mut buffer = [0; 4_096];
        // The kernel answers before the call above returns. Before that there can be an answer left over.
        for _ in 0..4 {
            let length = (&self.socket).read(&mut buffer)?;
            if let Some(found) = answer(&buffer[..length], self.asked, local, remote) {
                return found;
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// The question for one socket.
fn request(number: u32, local: SocketAddr, remote: SocketAddr) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &(REQUEST as u32).to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    put(8, &number.to_ne_bytes());
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    put(HEADER, &[family as u8, libc::IPPROTO_TCP as u8]);
    // In any state.
    put(HEADER + 4, &u32::MAX.to_ne_bytes());
    put(REQUEST_ID, &addresses(local, remote));
    put(REQUEST_ID + ADDRESSES + 4, &NO_COOKIE);
    bytes
}

/// A socket's ports and addresses as a name has them.
fn addresses(local: SocketAddr, remote: SocketAddr) -> [u8; ADDRESSES] {
    let mut bytes = [0; ADDRESSES];
    for (addr, port, ip) in [(local, 0, 4), (remote, 2, 20)] {
        bytes[port..port + 2].copy_from_slice(&addr.port().to_be_bytes());
        match addr.ip() {
            IpAddr::V4(addr) => bytes[ip..ip + 4].copy_from_slice(&addr.octets()),
            IpAddr::V6(addr) => bytes[ip..ip + 16].copy_from_slice(&addr.octets()),
        }
    }
    bytes
}

/// What a message says to the question `number`. None if it is no answer to it.
fn answer(
    message: &[u8],
    number: u32,
    local: SocketAddr,
    remote: SocketAddr,
) -> Option<io::Result<Owner>> {
    let word = |at: usize| Some(u32::from_ne_bytes(message.get(at..at + 4)?.try_into().ok()?));
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    if word(8)? != number {
        return None;
    }
    if kind == libc::NLMSG_ERROR as u16 {
        return Some(Err(io::Error::from_raw_os_error((word(HEADER)? as i32).wrapping_neg())));
    }
    // Where there is no such connection, the kernel tells of a socket that would take it.
    let name = message.get(ANSWER_ID..ANSWER_ID + ADDRESSES)?;
    let mapped = [local, remote].map(|addr| match addr.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), addr.port()),
        IpAddr::V6(_) => addr,
    });
    let same = name == addresses(local, remote) || name == addresses(mapped[0], mapped[1]);
    if kind != SOCK_DIAG_BY_FAMILY || !same {
        return Some(Err(io::Error::from_raw_os_error(libc::ENOENT)));
    }
    Some(Ok(Owner { uid: word(ANSWER_UID)?, inode: word(ANSWER_INODE)? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: u32 = 1_234;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// An answer as the kernel gives it.
    fn of_kernel(number: u32, kind: u16, local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + 72];
        bytes[..4].copy_from_slice(&88u32.to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[8..12].copy_from_slice(&number.to_ne_bytes());
        bytes[ANSWER_ID..ANSWER_ID + ADDRESSES].copy_from_slice(&addresses(local, remote));
        bytes[80..84].copy_from_slice(&UID.to_ne_bytes());
        bytes[84..88].copy_from_slice(&77u32.to_ne_bytes());
        bytes
    }

    #[test]
    fn only_an_answer_to_the_question_counts() {
        let (local, remote) = (at("127.0.0.1:5"), at("127.0.0.2:6"));
        let good = of_kernel(9, SOCK_DIAG_BY_FAMILY, local, remote);
        let found = |bytes: &[u8], number| {
            let found = answer(bytes, number, local, remote);
            found.map(|found| found.map_err(|error| error.raw_os_error()))
        };
        assert_eq!(found(&good, 9), Some(Ok(Owner { uid: UID, inode: 77 })));
        assert_eq!(found(&good, 8), None);
        for length in 0..good.len() {
            assert_eq!(found(&good[..length], 9), None, "{length}");
        }
        let (a, b) = (at("[::ffff:127.0.0.1]:5"), at("[::ffff:127.0.0.2]:6"));
        let mapped = of_kernel(9, SOCK_DIAG_BY_FAMILY, a, b);
        assert_eq!(found(&mapped, 9), Some(Ok(Owner { uid: UID, inode: 77 })));
        let none = Some(Err(Some(libc::ENOENT)));
        let listener = of_kernel(9, SOCK_DIAG_BY_FAMILY, local, at("0.0.0.0:0"));
        assert_eq!(found(&listener, 9), none);
        assert_eq!(found(&of_kernel(9, SOCK_DIAG_BY_FAMILY, remote, local), 9), none);
        assert_eq!(found(&of_kernel(9, libc::NLMSG_DONE as u16, local, remote), 9), none);
        let mut refused = of_kernel(9, libc::NLMSG_ERROR as u16, local, remote);
        refused[HEADER..HEADER + 4].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
        assert_eq!(found(&refused, 9), Some(Err(Some(libc::EPERM))));
        refused[HEADER..HEADER + 4].copy_from_slice(&i32::MIN.to_ne_bytes());
        assert!(matches!(found(&refused, 9), Some(Err(_))));
    }
}
