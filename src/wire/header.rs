//! The header that every packet starts with: 32 bytes. A trailer of 16 bytes ends every packet.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 1 | version: 9 |
//! | 1 | 1 | kind |
//! | 2 | 1 | flags |
//! | 3 | 1 | key check value |
//! | 4 | 4 | transfer number |
//! | 8 | 8 | node id of the sender of this packet |
//! | 16 | 8 | the role in the top 16 bits, and a counter of 48 bits |
//! | 24 | 4 | batch |
//! | 28 | 4 | block, or the number of a poll |

use super::Error;
use crate::ids::{BatchNo, BlockNo, PollNo, TransferNo};
use crate::name::NodeId;

/// The version of the protocol; makuosan 1 (in C) had 7.
pub const VERSION: u8 = 9;
/// Bytes of a header.
pub const HEADER_LEN: usize = 32;
/// Bytes of a trailer.
pub const TRAILER_LEN: usize = 16;
/// Bytes of the IPv4 and UDP headers (RFC 791 without options, RFC 768).
pub const IP_UDP_LEN: usize = 28;
/// Bytes of a packet on the wire that are not its payload.
pub const OVERHEAD: usize = IP_UDP_LEN + HEADER_LEN + TRAILER_LEN;
/// The largest payload of a block.
pub const MAX_BLOCK: u16 = 8_192;
/// The smallest payload of a block, for networks with the smallest MTU that is in use.
pub const MIN_BLOCK: u16 = 480;

/// The largest block for an MTU, in bytes.
pub fn block_for_mtu(mtu: u16) -> u16 {
    mtu.saturating_sub(OVERHEAD as u16).clamp(MIN_BLOCK, MAX_BLOCK)
}

/// What kind of packet it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum PacketKind {
    /// A daemon says that it is there.
    Hello = 1,
    /// A daemon says that it ends.
    Bye = 2,
    /// A sender opens a transfer.
    Begin = 3,
    /// A target says whether it takes part, or still does.
    Accept = 4,
    /// A block of a manifest.
    Offer = 5,
    /// What a target needs of a batch.
    Need = 6,
    /// A block of a body.
    Data = 7,
    /// How far the sender has got, and who must answer.
    Poll = 8,
    /// What a target has and misses.
    Status = 9,
    /// The targets are to put a batch into place.
    Commit = 10,
    /// What a target did with a batch.
    Done = 11,
    /// The transfer is complete.
    End = 12,
    /// The target has closed the transfer.
    Ended = 13,
    /// The transfer is aborted.
    Abort = 14,
    /// The target is alive, though its disk is slow.
    Busy = 15,
    /// The targets are to count, delete or name what they have spooled for deletion.
    Delete = 16,
    /// The target's answer to that.
    Deleted = 17,
    /// What hosts say of the records that they keep.
    Records = 18,
    /// What a host wants to have of another one.
    Fetch = 19,
    /// What hosts say to each other of mirrored trees.
    Mirror = 20,
    /// How packets travel, for `doctor`.
    Probe = 21,
    /// What becomes of a transfer that is for all of its targets or none.
    Atomic = 22,
}

impl PacketKind {
    /// All kinds.
    pub const ALL: [PacketKind; 22] = [
        PacketKind::Hello,
        PacketKind::Bye,
        PacketKind::Begin,
        PacketKind::Accept,
        PacketKind::Offer,
        PacketKind::Need,
        PacketKind::Data,
        PacketKind::Poll,
        PacketKind::Status,
        PacketKind::Commit,
        PacketKind::Done,
        PacketKind::End,
        PacketKind::Ended,
        PacketKind::Abort,
        PacketKind::Busy,
        PacketKind::Delete,
        PacketKind::Deleted,
        PacketKind::Records,
        PacketKind::Fetch,
        PacketKind::Mirror,
        PacketKind::Probe,
        PacketKind::Atomic,
    ];

    fn from_number(number: u8) -> Option<Self> {
        usize::from(number).checked_sub(1).and_then(|at| Self::ALL.get(at)).copied()
    }
}

/// Which part of a daemon sends a packet; each has a counter of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Role {
    /// Outgoing transfers.
    Sender = 1,
    /// Feedback of incoming transfers.
    Receiver = 2,
    /// Membership.
    Control = 3,
}

/// The bits of a counter.
pub const COUNTER_BITS: u32 = 48;

/// The header of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What the packet is.
    pub kind: PacketKind,
    /// The payload is encrypted.
    pub sealed: bool,
    /// It was sent to this target alone, although the transfer has several.
    pub alone: bool,
    /// It is for one node, whose id the trailer covers and which is not sent. No other node takes it.
    pub addressed: bool,
    /// Tells keys apart; 0 without a key.
    pub key_check: u8,
    /// The sender's number of the transfer; 0 if the packet is about none.
    pub transfer: TransferNo,
    /// The node that sent this packet.
    pub node: NodeId,
    /// Which part of it did.
    pub role: Role,
    /// The number of the packet among those of this node and role: 48 bits, never used twice.
    pub counter: u64,
    /// The batch; in POLL, the lowest that is not done everywhere.
    pub batch: BatchNo,
    /// The block; in POLL, the poll's number stands here: [`Header::poll`].
    pub block: BlockNo,
}

const FLAG_SEALED: u8 = 1;
const FLAG_ALONE: u8 = 2;
const FLAG_ADDRESSED: u8 = 4;
const ALL_FLAGS: u8 = FLAG_SEALED | FLAG_ALONE | FLAG_ADDRESSED;

impl Header {
    /// A header without flags and counter, for a packet that is yet to be sealed.
    pub fn new(kind: PacketKind, node: NodeId, role: Role) -> Self {
        Header {
            kind,
            sealed: false,
            alone: false,
            addressed: false,
            key_check: 0,
            transfer: TransferNo::ZERO,
            node,
            role,
            counter: 0,
            batch: BatchNo::ZERO,
            block: BlockNo::ZERO,
        }
    }

    /// The number of a POLL.
    pub const fn poll(&self) -> PollNo {
        PollNo::new(self.block.get())
    }

    /// Sets the number of a POLL.
    pub const fn set_poll(&mut self, poll: PollNo) {
        self.block = BlockNo::new(poll.get());
    }

    /// Splits a packet into its header as bytes, its payload and its trailer.
    pub fn split(packet: &[u8]) -> Option<(&[u8; HEADER_LEN], &[u8], &[u8; TRAILER_LEN])> {
        let (header, rest) = packet.split_first_chunk()?;
        let (payload, trailer) = rest.split_last_chunk()?;
        Some((header, payload, trailer))
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another version, an unknown kind, role or flag.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, Error> {
        let [version, kind, flags, key_check, rest @ ..] = bytes;
        if *version != VERSION || flags & !ALL_FLAGS != 0 {
            return Err(Error::Invalid);
        }
        let u32_at =
            |at: usize| u32::from_be_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) << 32 | u64::from(u32_at(at + 4));
        let numbered = u64_at(12);
        let role = match numbered >> COUNTER_BITS {
            1 => Role::Sender,
            2 => Role::Receiver,
            3 => Role::Control,
            _ => return Err(Error::Invalid),
        };
        Ok(Header {
            kind: PacketKind::from_number(*kind).ok_or(Error::Invalid)?,
            sealed: flags & FLAG_SEALED != 0,
            alone: flags & FLAG_ALONE != 0,
            addressed: flags & FLAG_ADDRESSED != 0,
            key_check: *key_check,
            transfer: TransferNo::new(u32_at(0)),
            node: NodeId(u64_at(4)),
            role,
            counter: numbered & ((1 << COUNTER_BITS) - 1),
            batch: BatchNo::new(u32_at(20)),
            block: BlockNo::new(u32_at(24)),
        })
    }

    /// Writes a header.
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(self.sealed, FLAG_SEALED)
            | flag(self.alone, FLAG_ALONE)
            | flag(self.addressed, FLAG_ADDRESSED);
        out[..4].copy_from_slice(&[VERSION, self.kind as u8, flags, self.key_check]);
        out[4..8].copy_from_slice(&self.transfer.get().to_be_bytes());
        out[8..16].copy_from_slice(&self.node.0.to_be_bytes());
        let counter = (self.role as u64) << COUNTER_BITS | self.counter & ((1 << COUNTER_BITS) - 1);
        out[16..24].copy_from_slice(&counter.to_be_bytes());
        out[24..28].copy_from_slice(&self.batch.get().to_be_bytes());
        out[28..32].copy_from_slice(&self.block.get().to_be_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_bytes_both_ways() {
        let header = Header {
            kind: PacketKind::Data,
            sealed: false,
            alone: true,
            addressed: true,
            key_check: 9,
            transfer: TransferNo::new(0x0102_0304),
            node: NodeId(0x1112_1314_1516_1718),
            role: Role::Receiver,
            counter: 0x2122_2324_2526,
            batch: BatchNo::new(0x3132_3334),
            block: BlockNo::new(0x4142_4344),
        };
        let bytes = [
            9, 7, 6, 9, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0, 2, 0x21,
            0x22, 0x23, 0x24, 0x25, 0x26, 0x31, 0x32, 0x33, 0x34, 0x41, 0x42, 0x43, 0x44,
        ];
        assert_eq!(header.emit(), bytes);
        assert_eq!(Header::parse(&bytes), Ok(header));
    }

    #[test]
    fn kinds_and_their_numbers_agree() {
        for (at, kind) in PacketKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at + 1);
            let header = Header::new(kind, NodeId(7), Role::Sender);
            assert_eq!(Header::parse(&header.emit()), Ok(header));
        }
    }

    #[test]
    fn other_versions_kinds_roles_and_flags_are_refused() {
        let good = Header::new(PacketKind::Poll, NodeId(7), Role::Control).emit();
        for (at, value) in [
            (0, 7),
            (0, 8),
            (0, 10),
            (1, 0),
            (1, 23),
            (1, 255),
            (2, 8),
            (2, 0x80),
            (17, 0),
            (17, 4),
            (16, 1),
        ] {
            let mut bytes = good;
            bytes[at] = value;
            assert_eq!(Header::parse(&bytes), Err(Error::Invalid), "byte {at} = {value}");
        }
    }

    #[test]
    fn short_packets_do_not_split() {
        assert!(Header::split(&[0; HEADER_LEN + TRAILER_LEN - 1]).is_none());
        assert_eq!(Header::split(&[0; HEADER_LEN + TRAILER_LEN + 3]).map(|s| s.1.len()), Some(3));
    }

    #[test]
    fn a_block_fills_a_packet() {
        assert_eq!(block_for_mtu(1_500), 1_424);
        assert_eq!(block_for_mtu(9_000), MAX_BLOCK);
        assert_eq!(block_for_mtu(68), MIN_BLOCK);
    }
}
