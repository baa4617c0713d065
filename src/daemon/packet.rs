//! Putting packets together and taking them apart: header, payload, trailer.

use crate::crypto::{checksum, equal};
use crate::name::NodeId;
use crate::wire::header::{HEADER_LEN, Header, Role, TRAILER_LEN};

/// The bytes of a packet around its payload.
pub(super) const AROUND: usize = HEADER_LEN + TRAILER_LEN;

/// Numbers and seals the packets of one role.
#[derive(Debug)]
pub(super) struct Seal {
    node: NodeId,
    role: Role,
    counter: u64,
}

impl Seal {
    pub(super) fn new(node: NodeId, role: Role) -> Self {
        Seal { node, role, counter: 0 }
    }

    /// Fills in the header and the trailer of a packet whose payload is in place.
    pub(super) fn seal(&mut self, header: Header, packet: &mut [u8]) {
        self.counter += 1;
        let header = Header { node: self.node, role: self.role, counter: self.counter, ..header };
        let Some((head, rest)) = packet.split_first_chunk_mut::<HEADER_LEN>() else { return };
        let Some((payload, trailer)) = rest.split_last_chunk_mut::<TRAILER_LEN>() else { return };
        *head = header.emit();
        *trailer = checksum(head, payload);
    }

    /// A whole packet.
    pub(super) fn packet(&mut self, header: Header, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; AROUND + payload.len()];
        packet[HEADER_LEN..HEADER_LEN + payload.len()].copy_from_slice(payload);
        self.seal(header, &mut packet);
        packet
    }
}

/// Why a packet is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bad {
    /// Too short, of another version, or of an unknown kind.
    Header,
    /// It was damaged on its way.
    Trailer,
}

/// The header and the payload of a packet that arrived whole.
pub(super) fn open(packet: &[u8]) -> Result<(Header, &[u8]), Bad> {
    let (head, payload, trailer) = Header::split(packet).ok_or(Bad::Header)?;
    let header = Header::parse(head).map_err(|_| Bad::Header)?;
    if !equal(&checksum(head, payload), trailer) {
        return Err(Bad::Trailer);
    }
    Ok((header, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::header::PacketKind;

    #[test]
    fn what_is_sealed_opens_and_no_flipped_bit_does() {
        let mut seal = Seal::new(NodeId(7), Role::Sender);
        let header = Header { batch: 3, ..Header::new(PacketKind::Data, NodeId(0), Role::Control) };
        let packet = seal.packet(header, b"some bytes");
        let (opened, payload) = open(&packet).unwrap();
        assert_eq!(
            (opened.node, opened.role, opened.counter, opened.batch),
            (NodeId(7), Role::Sender, 1, 3)
        );
        assert_eq!(payload, b"some bytes");
        for bit in 0..packet.len() * 8 {
            let mut changed = packet.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&changed).is_err(), "bit {bit}");
        }
        assert_eq!(open(&packet[..AROUND - 1]), Err(Bad::Header));
    }
}
