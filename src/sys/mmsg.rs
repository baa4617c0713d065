//! Sending and receiving datagrams, several in one call.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::cmsg::{Control, received_segment};
use super::cvt_r;
use super::socket::{NAME_LENGTH, sockaddr, socket_address};

/// The most datagrams one call takes here: the arrays of headers live on the stack.
pub const MAX_BATCH: usize = 64;

/// A datagram that was received, or several in one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Who sent it.
    pub from: SocketAddrV4,
    /// Its bytes in the slot.
    pub length: usize,
    /// The length of each datagram in it but the last, which may be shorter; at least 1.
    pub stride: usize,
    /// Whether the slot was too small for it, or the kernel could not say its stride.
    pub truncated: bool,
}

impl Received {
    /// Nothing, to fill an array with.
    pub const EMPTY: Received = Received {
        from: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
        length: 0,
        stride: 1,
        truncated: false,
    };
}

fn no_header() -> libc::msghdr {
    // SAFETY: a msghdr is plain data, for which zeros (no name, no slices, no control) are valid.
    unsafe { mem::zeroed() }
}

const NO_SLICE: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

fn slice_of(bytes: &[u8]) -> libc::iovec {
    // For sending; the kernel does not write there.
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// Sends one datagram: sendto(2).
///
/// # Errors
/// Those of sendto(2), but never `EINTR`.
pub fn send_one(fd: BorrowedFd<'_>, to: SocketAddrV4, bytes: &[u8]) -> io::Result<()> {
    let name = sockaddr(to);
    cvt_r(|| {
        // SAFETY: bytes and name live through the call, which only reads them, and the lengths
        // are theirs.
        unsafe {
            libc::sendto(
                fd.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                libc::MSG_NOSIGNAL,
                ptr::from_ref(&name).cast(),
                NAME_LENGTH,
            )
        }
    })?;
    Ok(())
}

/// Sends `bytes` as datagrams of `segment` bytes, the last of which may be shorter, in one call:
/// sendmsg(2) with `UDP_SEGMENT`. The kernel takes all of them or none.
///
/// # Errors
/// Those of sendmsg(2), but never `EINTR`. `udp_send_skb` in net/ipv4/udp.c gives `EINVAL` or
/// `EMSGSIZE` for more than `UDP_MAX_SEGMENTS` (64 at first) or a segment beyond the MTU, and `EIO`
/// where the card computes no checksums or IPsec is in the way.
pub fn send_segments(
    fd: BorrowedFd<'_>,
    to: SocketAddrV4,
    bytes: &[u8],
    segment: u16,
) -> io::Result<()> {
    let mut name = sockaddr(to);
    let mut slice = slice_of(bytes);
    let mut control = Control::EMPTY;
    let mut header = no_header();
    header.msg_name = ptr::from_mut(&mut name).cast();
    header.msg_namelen = NAME_LENGTH;
    header.msg_iov = &raw mut slice;
    header.msg_iovlen = 1;
    control.put_segment(&mut header, segment);
    cvt_r(|| {
        // SAFETY: header points to a name, a slice (of bytes that live) and a control message that
        // all live on this stack through the call, which only reads them.
        unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) }
    })?;
    Ok(())
}

/// Sends `bytes` as datagrams of `segment` bytes, the last of which may be shorter: sendmmsg(2). At
/// most [`MAX_BATCH`] of them go; returns how many did, at least one.
///
/// # Errors
/// Those of the *first* datagram, but never `EINTR`; an error of a later one makes the count short
/// and comes with the next call. `EINVAL` for a segment of 0 bytes, or nothing to send.
pub fn send_many(
    fd: BorrowedFd<'_>,
    to: SocketAddrV4,
    bytes: &[u8],
    segment: usize,
) -> io::Result<usize> {
    if segment == 0 || bytes.is_empty() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut name = sockaddr(to);
    let mut slices = [NO_SLICE; MAX_BATCH];
    let mut headers = [libc::mmsghdr { msg_hdr: no_header(), msg_len: 0 }; MAX_BATCH];
    let mut count: libc::c_uint = 0;
    for ((header, slice), chunk) in headers.iter_mut().zip(&mut slices).zip(bytes.chunks(segment)) {
        *slice = slice_of(chunk);
        header.msg_hdr.msg_name = ptr::from_mut(&mut name).cast();
        header.msg_hdr.msg_namelen = NAME_LENGTH;
        header.msg_hdr.msg_iov = slice;
        header.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    let sent = cvt_r(|| {
        // SAFETY: the first `count` headers each point to the name and to a slice of `bytes`, all
        // of which live through the call; it writes only msg_len, in the headers.
        unsafe {
            libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_NOSIGNAL as _)
        }
    })?;
    Ok(sent as usize)
}

/// Receives what is there, without waiting: recvmmsg(2). Datagram `i` goes to the `i`th `slot` bytes
/// of `buffer`, and what is known of it to `got[i]`. Returns how many came: at least one, at most
/// [`MAX_BATCH`], and no more than slots or elements of `got`.
///
/// # Errors
/// `EAGAIN` if there is nothing; those of recvmmsg(2), but never `EINTR`. `EINVAL` without room.
pub fn recv_many(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    slot: usize,
    got: &mut [Received],
) -> io::Result<usize> {
    let mut names = [sockaddr(Received::EMPTY.from); MAX_BATCH];
    let mut slices = [NO_SLICE; MAX_BATCH];
    let mut controls = [Control::EMPTY; MAX_BATCH];
    let mut headers = [libc::mmsghdr { msg_hdr: no_header(), msg_len: 0 }; MAX_BATCH];
    let room = buffer.chunks_exact_mut(slot.max(1)).take(got.len());
    let mut count: libc::c_uint = 0;
    for ((((header, name), slice), control), chunk) in
        headers.iter_mut().zip(&mut names).zip(&mut slices).zip(&mut controls).zip(room)
    {
        *slice = libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: chunk.len() };
        header.msg_hdr.msg_name = ptr::from_mut(name).cast();
        header.msg_hdr.msg_namelen = NAME_LENGTH;
        header.msg_hdr.msg_iov = slice;
        header.msg_hdr.msg_iovlen = 1;
        control.lend(&mut header.msg_hdr);
        count += 1;
    }
    if slot == 0 || count == 0 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let came = cvt_r(|| {
        // SAFETY: the first `count` headers each point to a name, a slice (of a part of `buffer` of
        // its own, exclusively ours) and control room, all of which live through the call, with
        // their true lengths; no timeout is given.
        unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        }
    })? as usize;
    for ((got, header), name) in got.iter_mut().zip(&headers).zip(&names).take(came) {
        // SAFETY: recvmmsg has filled this header, and `controls` is still there.
        *got = unsafe { describe(&header.msg_hdr, header.msg_len as usize, name) };
    }
    Ok(came)
}

/// Receives one datagram into `slot`, without waiting: recvmsg(2).
///
/// # Errors
/// `EAGAIN` if there is nothing; those of recvmsg(2), but never `EINTR`.
pub fn recv_one(fd: BorrowedFd<'_>, slot: &mut [u8]) -> io::Result<Received> {
    let mut name = sockaddr(Received::EMPTY.from);
    let mut slice = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
    let mut control = Control::EMPTY;
    let mut header = no_header();
    let length = cvt_r(|| {
        header.msg_name = ptr::from_mut(&mut name).cast();
        header.msg_namelen = NAME_LENGTH;
        header.msg_iov = &raw mut slice;
        header.msg_iovlen = 1;
        control.lend(&mut header);
        // SAFETY: header points to a name, a slice (of `slot`, exclusively ours) and control room,
        // all of which live through the call, with their true lengths.
        unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) }
    })?;
    // SAFETY: recvmsg has filled the header, and `control` is still there.
    Ok(unsafe { describe(&header, length as usize, &name) })
}

/// What a filled header says.
///
/// # Safety
/// `header` was filled by recvmsg or recvmmsg, and its control buffer is still there.
unsafe fn describe(header: &libc::msghdr, length: usize, name: &libc::sockaddr_in) -> Received {
    // SAFETY: the caller's promise.
    let segment = unsafe { received_segment(header) };
    Received {
        from: socket_address(name),
        length,
        stride: segment.unwrap_or(length).max(1),
        truncated: header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::{Interest, PollFd, poll};
    use crate::sys::sockopt::{Opt, set};
    use crate::time::Span;
    use std::net::{SocketAddr, UdpSocket};
    use std::os::fd::AsFd;

    fn pair() -> (UdpSocket, UdpSocket, SocketAddrV4) {
        let to = UdpSocket::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = to.local_addr().unwrap() else { panic!("not IPv4") };
        (UdpSocket::bind("127.0.0.1:0").unwrap(), to, address)
    }

    /// Length, stride, whether it is truncated, bytes.
    type Found = (usize, usize, bool, Vec<u8>);

    /// Receives `count` datagrams, for which it waits 10 s at most, and whatever else is there.
    fn receive(to: &UdpSocket, many: bool, count: usize) -> Vec<Found> {
        const SLOT: usize = 500;
        let (mut buffer, mut got) = ([0; 3 * SLOT], [Received::EMPTY; 3]);
        let mut found = Vec::new();
        loop {
            let came = if many {
                recv_many(to.as_fd(), &mut buffer, SLOT, &mut got)
            } else {
                recv_one(to.as_fd(), &mut buffer[..SLOT]).map(|one| {
                    got[0] = one;
                    1
                })
            };
            match came {
                Ok(came) => {
                    for (one, slot) in got[..came].iter().zip(buffer.chunks(SLOT)) {
                        let bytes = slot[..one.length].to_vec();
                        found.push((one.length, one.stride, one.truncated, bytes));
                    }
                }
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    if found.len() >= count {
                        return found;
                    }
                    let mut fds = [PollFd::new(to.as_fd(), Interest::Read)];
                    assert_eq!(poll(&mut fds, Some(Span::from_secs(10))).unwrap(), 1);
                }
            }
        }
    }

    #[test]
    fn each_way_of_sending_reaches_each_way_of_receiving() {
        let bytes: Vec<u8> = (0..450u32).map(|i| (i % 251) as u8).collect();
        for many in [false, true] {
            let (from, to, address) = pair();
            let sent = send_many(from.as_fd(), address, &bytes, 100).unwrap();
            assert_eq!(sent, 5);
            let found = receive(&to, many, 5);
            assert_eq!(found.iter().map(|one| one.0).collect::<Vec<_>>(), [100, 100, 100, 100, 50]);
            assert!(found.iter().all(|one| one.1 == one.0 && !one.2));
            assert_eq!(found.iter().flat_map(|one| one.3.clone()).collect::<Vec<_>>(), bytes);

            send_segments(from.as_fd(), address, &bytes, 100).unwrap();
            assert_eq!(receive(&to, many, 5).len(), 5);

            set(to.as_fd(), Opt::UdpGro, 1).unwrap();
            send_segments(from.as_fd(), address, &bytes, 100).unwrap();
            assert_eq!(receive(&to, many, 1), [(450, 100, false, bytes.clone())]);

            send_one(from.as_fd(), address, &[]).unwrap();
            send_one(from.as_fd(), address, &[7; 501]).unwrap();
            let wanted = [(0, 1, false, vec![]), (500, 500, true, vec![7; 500])];
            assert_eq!(receive(&to, many, 2), wanted);
        }
    }

    #[test]
    fn more_than_a_batch_is_a_short_count() {
        let (from, to, address) = pair();
        assert_eq!(send_many(from.as_fd(), address, &[1; 100], 1).unwrap(), MAX_BATCH);
        assert_eq!(receive(&to, true, MAX_BATCH).len(), MAX_BATCH);
    }

    #[test]
    fn nonsense_is_an_error() {
        let (from, to, address) = pair();
        assert!(send_many(from.as_fd(), address, &[1; 100], 0).is_err());
        assert!(send_many(from.as_fd(), address, &[], 100).is_err());
        let error = recv_many(to.as_fd(), &mut [0; 10], 0, &mut [Received::EMPTY; 4]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        let error = recv_many(to.as_fd(), &mut [0; 10], 20, &mut [Received::EMPTY; 4]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        let error = send_one(from.as_fd(), address, &[0; 70_000]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    }
}
