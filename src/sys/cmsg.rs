//! The two control messages of UDP offload: the segment size of a send and of a receive.

use std::ptr;

use super::sockopt::{UDP_GRO, UDP_SEGMENT};

/// Room for one control message: a header of 16 bytes and an integer, with its padding
/// (`CMSG_SPACE(4)` is 24), aligned as a header must be.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Control([u8; 32]);

impl Control {
    /// Room with nothing in it.
    pub(super) const EMPTY: Control = Control([0; 32]);

    /// Writes a `UDP_SEGMENT` message and points `header` at it. The kernel reads 16 bits
    /// (`__udp_cmsg_send` in net/ipv4/udp.c).
    pub(super) fn put_segment(&mut self, header: &mut libc::msghdr, segment: u16) {
        const { assert!(size_of::<Control>() >= space(size_of::<u16>())) };
        header.msg_control = self.0.as_mut_ptr().cast();
        header.msg_controllen = space(size_of::<u16>()) as _;
        // SAFETY: msg_control points to room for this message, checked above, aligned by its type,
        // so that the first header is not null and its data lies within the room.
        unsafe {
            let message = libc::CMSG_FIRSTHDR(header);
            (*message).cmsg_level = libc::SOL_UDP;
            (*message).cmsg_type = UDP_SEGMENT;
            (*message).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
            ptr::write_unaligned(libc::CMSG_DATA(message).cast::<u16>(), segment);
        }
    }

    /// Points `header` at the whole room, for the kernel to write to.
    pub(super) fn lend(&mut self, header: &mut libc::msghdr) {
        header.msg_control = self.0.as_mut_ptr().cast();
        header.msg_controllen = size_of::<Control>() as _;
    }
}

/// The bytes that a message with `length` bytes of data takes.
const fn space(length: usize) -> usize {
    // SAFETY: CMSG_SPACE only computes.
    unsafe { libc::CMSG_SPACE(length as u32) as usize }
}

/// The segment size that the kernel gave with a datagram, if it is several in one: an `int`
/// (`udp_cmsg_recv` in net/ipv4/udp.c).
///
/// # Safety
/// `header` was filled by recvmsg or recvmmsg, and its control buffer is still there.
pub(super) unsafe fn received_segment(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the caller's promise: what CMSG_FIRSTHDR and CMSG_NXTHDR give is null or a whole
    // message within the buffer; the data of a message is as long as cmsg_len says.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = next.as_ref() {
            if message.cmsg_level == libc::SOL_UDP
                && message.cmsg_type == UDP_GRO
                && message.cmsg_len >= libc::CMSG_LEN(size_of::<i32>() as u32) as _
            {
                let size = ptr::read_unaligned(libc::CMSG_DATA(next).cast::<i32>());
                return usize::try_from(size).ok().filter(|&size| size > 0);
            }
            next = libc::CMSG_NXTHDR(header, next);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> libc::msghdr {
        // SAFETY: a msghdr is plain data, for which zeros are valid.
        unsafe { std::mem::zeroed() }
    }

    #[test]
    fn a_header_without_messages_has_no_segment() {
        // SAFETY: there is no control buffer.
        assert_eq!(unsafe { received_segment(&header()) }, None);
    }

    #[test]
    fn only_a_whole_gro_message_counts() {
        let (mut header, mut control) = (header(), Control([0xa5; 32]));
        control.put_segment(&mut header, 1_400);
        // SAFETY: the buffer is live and holds one message, of another type.
        assert_eq!(unsafe { received_segment(&header) }, None);
        for (length, value, found) in [(4, 1_400, Some(1_400)), (4, 0, None), (2, 1_400, None)] {
            control.lend(&mut header);
            header.msg_controllen = space(4) as _;
            // SAFETY: the buffer has room for this one message.
            unsafe {
                let message = libc::CMSG_FIRSTHDR(&header);
                (*message).cmsg_type = UDP_GRO;
                (*message).cmsg_len = libc::CMSG_LEN(length) as _;
                ptr::write_unaligned(libc::CMSG_DATA(message).cast::<i32>(), value);
                assert_eq!(received_segment(&header), found);
            }
        }
    }
}
