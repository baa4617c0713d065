//! The sender thread's packets, collected so that many are sent in one system call.

use std::io::IoSliceMut;
use std::net::SocketAddrV4;
use std::sync::Arc;

use crate::daemon::messages::ToControl;
use crate::daemon::shared::Shared;
use crate::engine::destination::Destination;
use crate::engine::window::TokenBucket;
use crate::errno::ErrorText;
use crate::ids::BlockRange;
use crate::log;
use crate::seal::{AROUND, Seal};
use crate::time::{Span, Time};
use crate::wire::header::{HEADER_LEN, Header, Role, TRAILER_LEN};
use crate::wire::layout::Layout;

/// The most bytes of one segmented send: the largest IP packet less its headers.
const ROOM: usize = 65_489;
/// The most segments of one send (`UDP_MAX_SEGMENTS` in `include/linux/udp.h`).
const MOST_SEGMENTS: usize = 64;
/// How long blocks wait after the network has refused some.
const PAUSE: Span = Span::from_millis(50);

pub(crate) struct PacketsOut {
    shared: Arc<Shared>,
    seal: Seal,
    bucket: Option<TokenBucket>,
    buffer: Box<[u8]>,
    end: usize,
    to: Option<SocketAddrV4>,
    segment: usize,
    /// The last packet is shorter than the others, so nothing can follow it in the same send.
    full: bool,
    now: Time,
    /// How many bytes the kernel has refused.
    refused: u64,
    /// The interface does not take packets as long as one was.
    too_long: bool,
    /// The network takes nothing; blocks wait until it is tried again.
    down_until: Option<Time>,
}

impl PacketsOut {
    /// Sends at most `rate` bytes a second.
    pub(crate) fn new(shared: Arc<Shared>, rate: Option<f64>) -> Self {
        PacketsOut {
            seal: Seal::new(shared.me(), Role::Sender, shared.keys.as_ref()),
            shared,
            bucket: rate.map(TokenBucket::new),
            buffer: vec![0; ROOM].into(),
            end: 0,
            to: None,
            segment: 0,
            full: false,
            now: Time::ZERO,
            refused: 0,
            too_long: false,
            down_until: None,
        }
    }

    /// This daemon is another node from now on.
    pub(crate) fn begin_anew(&mut self) {
        self.seal = Seal::new(self.shared.me(), Role::Sender, self.shared.keys.as_ref());
    }

    /// When blocks may be sent again, if there is a rate limit or the network takes nothing.
    pub(crate) fn next(&self) -> Option<Time> {
        self.bucket.as_ref().map(TokenBucket::next).max(self.down_until)
    }

    /// Whether blocks may be sent now.
    pub(crate) fn open(&self, now: Time) -> bool {
        self.next().is_none_or(|next| next <= now)
    }

    /// How many blocks of this size fit in one send.
    pub(crate) fn most(block: u32) -> u32 {
        (ROOM / (AROUND + block as usize)).min(MOST_SEGMENTS) as u32
    }

    /// Adds a packet.
    pub(crate) fn packet(&mut self, now: Time, to: Destination, header: Header, payload: &[u8]) {
        let len = AROUND + payload.len();
        if len > ROOM {
            return;
        }
        let at = self.room(now, to, len, len);
        let packet = &mut self.buffer[at..at + len];
        packet[HEADER_LEN..HEADER_LEN + payload.len()].copy_from_slice(payload);
        self.seal.seal(to.node(), header, packet);
    }

    /// Adds consecutive blocks of a body. `fill` is given the first block's offset in the body, and
    /// provides the bytes.
    ///
    /// # Errors
    /// The error of `fill`; nothing is added then.
    pub(crate) fn blocks<E>(
        &mut self,
        now: Time,
        to: Destination,
        header: Header,
        blocks: BlockRange,
        layout: &Layout,
        fill: impl FnOnce(u64, &mut [IoSliceMut<'_>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let bytes = layout.bytes_of_all(blocks);
        let block = layout.block() as usize;
        let len = (bytes.end - bytes.start) as usize + blocks.len() as usize * AROUND;
        if blocks.is_empty() || len > ROOM {
            return Ok(());
        }
        let segment = (block + AROUND).min(len);
        let at = self.room(now, to, len, segment);
        let region = &mut self.buffer[at..at + len];
        let mut slices: Vec<IoSliceMut<'_>> = region
            .chunks_mut(block + AROUND)
            .map(|packet| {
                let end = packet.len() - TRAILER_LEN;
                IoSliceMut::new(&mut packet[HEADER_LEN..end])
            })
            .collect();
        if let Err(error) = fill(bytes.start, &mut slices) {
            self.end = at;
            return Err(error);
        }
        for (block, packet) in blocks.iter().zip(region.chunks_mut(block + AROUND)) {
            self.seal.seal(to.node(), Header { block, ..header }, packet);
        }
        Ok(())
    }

    /// Reserves `len` bytes for packets of `segment` bytes each (the last may be shorter), after sending
    /// what cannot go into the same call.
    fn room(&mut self, now: Time, to: Destination, len: usize, segment: usize) -> usize {
        let to = match to {
            Destination::Group => self.shared.net.group(),
            Destination::One(_, addr) => addr,
        };
        let fits = self.to == Some(to)
            && !self.full
            && segment <= self.segment
            && (segment == self.segment || len == segment)
            && self.end + len <= ROOM
            && self.end / self.segment.max(1) + len.div_ceil(segment) <= MOST_SEGMENTS;
        if !fits {
            self.flush(now);
            self.to = Some(to);
            self.segment = segment;
        }
        self.now = now;
        let at = self.end;
        self.end += len;
        self.full = self.end % self.segment != 0;
        at
    }

    /// Sends the collected packets.
    pub(crate) fn flush(&mut self, now: Time) {
        let bytes = &self.buffer[..std::mem::take(&mut self.end)];
        self.full = false;
        let Some(to) = self.to.take().filter(|_| !bytes.is_empty()) else { return };
        let transmit = crate::net::Transmit { to, bytes, segment: self.segment };
        let (taken, result) = self.shared.net.send_counted(&transmit);
        if let Some(bucket) = &mut self.bucket {
            bucket.sent(now, taken as u64);
        }
        self.refused += (bytes.len() - taken) as u64;
        // Packets that could not be sent count as lost, and will be requested again.
        let Err(error) = result else { return };
        match error.raw_os_error() {
            Some(libc::EMSGSIZE) => self.too_long = true,
            // It comes to nothing to send more at once.
            _ => self.down_until = Some(now + PAUSE),
        }
        self.shared.control.send_lossy(ToControl::LookAtNetwork);
        log::limited(
            log::Level::WARNING,
            "send",
            None,
            format_args!("cannot send to {to}: {}", ErrorText(&error)),
        );
    }

    /// How many bytes the kernel has refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether a packet was longer than the interface takes, since this was last asked.
    pub(crate) fn was_too_long(&mut self) -> bool {
        std::mem::take(&mut self.too_long)
    }
}
