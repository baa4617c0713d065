//! Receiving: many packets in one call, into buffers that are kept.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::BorrowedFd;

use super::{Net, Which};
use crate::sys::mmsg::{self, Received};

/// Room for what the kernel has joined (`UDP_GRO`): up to 64 KiB each time.
const JOINED: (usize, usize) = (16, 64 << 10);

/// Room for single packets: 9 KiB hold the largest block, 8,192 bytes, and a jumbo frame.
const PLAIN: (usize, usize) = (mmsg::MAX_BATCH, 9 << 10);

/// Buffers for packets, and those last received. Belongs to the receiving thread.
pub struct RecvBatch {
    buffer: Vec<u8>,
    slot: usize,
    got: Vec<Received>,
    filled: usize,
    truncated: u64,
}

impl RecvBatch {
    /// Buffers that suit the way `net` receives. They go on fitting when it falls back.
    pub fn new(net: &Net) -> Self {
        let (slots, slot) = if net.gro() { JOINED } else { PLAIN };
        RecvBatch {
            buffer: vec![0; slots * slot],
            slot,
            got: vec![Received::EMPTY; slots],
            filled: 0,
            truncated: 0,
        }
    }

    /// Replaces the packets here by those that wait in the socket, as many as there is room for,
    /// and returns how many slots they took; 0 if none waited. It does not block.
    ///
    /// # Errors
    /// Whatever the network reports on the socket, such as `ENETDOWN`: reading has cleared it, and
    /// the next call may do. There are no packets here then.
    pub fn recv(&mut self, net: &Net, which: Which) -> io::Result<usize> {
        self.filled = 0;
        let fd = net.fd(which);
        if net.offload.recvmmsg() {
            match mmsg::recv_many(fd, &mut self.buffer, self.slot, &mut self.got) {
                // A kernel without it, or a sandbox.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                    net.offload.drop_recvmmsg();
                }
                result => self.filled = or_none(result)?,
            }
        }
        if !net.offload.recvmmsg() {
            self.filled = self.recv_singly(fd)?;
        }
        self.truncated += self.received().filter(|one| one.truncated).count() as u64;
        Ok(self.filled)
    }

    /// Fills the slots by one call each.
    fn recv_singly(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        let slots = self.buffer.chunks_exact_mut(self.slot);
        let mut filled = 0;
        for (slot, got) in slots.zip(&mut self.got) {
            match mmsg::recv_one(fd, slot) {
                Ok(one) => *got = one,
                // What came before it is handed out first. The error is lost by it, as a packet
                // may be; one that lasts is back at the next call.
                Err(_) if filled > 0 => break,
                Err(error) => return or_none(Err(error)),
            }
            filled += 1;
        }
        Ok(filled)
    }

    fn received(&self) -> impl Iterator<Item = &Received> {
        self.got.iter().take(self.filled)
    }

    /// The packets that the last [`recv`](RecvBatch::recv) brought: who sent them, their bytes, and
    /// the stride, at least 1. There is one packet in every `stride` bytes; the last may be shorter
    /// (`bytes.chunks(stride)`). A packet without
    /// bytes has no chunk.
    pub fn packets(&self) -> impl Iterator<Item = (SocketAddrV4, &[u8], usize)> {
        self.received()
            .zip(self.buffer.chunks_exact(self.slot))
            .filter(|(one, _)| !one.truncated)
            .filter_map(|(one, slot)| Some((one.from, slot.get(..one.length)?, one.stride)))
    }

    /// As [`packets`](RecvBatch::packets), to be changed in their place.
    pub fn packets_mut(&mut self) -> impl Iterator<Item = (SocketAddrV4, &mut [u8], usize)> {
        let received = self.got.iter().take(self.filled);
        received
            .zip(self.buffer.chunks_exact_mut(self.slot))
            .filter(|(one, _)| !one.truncated)
            .filter_map(|(one, slot)| Some((one.from, slot.get_mut(..one.length)?, one.stride)))
    }

    /// How many were dropped since the beginning because they were larger than a slot.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }
}

/// Nothing there is not an error.
fn or_none(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}
