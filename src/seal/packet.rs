//! Putting packets together and taking them apart: header, payload, trailer; with a key, sealed.

use std::sync::Arc;

use super::keyring::{Keys, Opener, Proof, Refused, Sealer};
use crate::crypto::{checksum, equal};
use crate::name::NodeId;
use crate::wire::header::{HEADER_LEN, Header, PacketKind, Role, TRAILER_LEN};

/// The bytes of a packet around its payload.
pub const AROUND: usize = HEADER_LEN + TRAILER_LEN;

/// What a trailer covers before the payload: the header, and the id of the node that an addressed
/// packet is for. So a packet that was for one node is nothing but damaged to all others.
struct Covered {
    bytes: [u8; HEADER_LEN + 8],
    len: usize,
}

impl Covered {
    fn new(head: &[u8; HEADER_LEN], addressed_to: Option<NodeId>) -> Self {
        let mut bytes = [0; HEADER_LEN + 8];
        bytes[..HEADER_LEN].copy_from_slice(head);
        let mut len = HEADER_LEN;
        if let Some(node) = addressed_to {
            bytes[HEADER_LEN..].copy_from_slice(&node.0.to_be_bytes());
            len = bytes.len();
        }
        Covered { bytes, len }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Numbers and seals the packets of one role.
#[derive(Debug)]
pub struct Seal {
    node: NodeId,
    role: Role,
    counter: u64,
    way: Way<Box<Sealer>>,
}

/// With a key or without.
#[derive(Debug)]
enum Way<K> {
    Plain,
    Keyed(K),
}

impl Seal {
    /// For packets that this node sends by this role; without keys they get a checksum.
    pub fn new(node: NodeId, role: Role, keys: Option<&Arc<Keys>>) -> Self {
        let way = match keys {
            None => Way::Plain,
            Some(keys) => Way::Keyed(Box::new(Sealer::new(Arc::clone(keys), node))),
        };
        Seal { node, role, counter: 0, way }
    }

    /// Fills in the header and the trailer of a packet whose payload is in place, and that goes to `to`.
    pub fn seal(&mut self, to: Option<NodeId>, header: Header, packet: &mut [u8]) {
        self.counter += 1;
        let (node, role, counter) = (self.node, self.role, self.counter);
        let mut header = Header { node, role, counter, addressed: to.is_some(), ..header };
        let Some((head, rest)) = packet.split_first_chunk_mut::<HEADER_LEN>() else { return };
        let Some((payload, trailer)) = rest.split_last_chunk_mut::<TRAILER_LEN>() else { return };
        *trailer = match &mut self.way {
            Way::Plain => {
                *head = header.emit();
                checksum(Covered::new(head, to).bytes(), payload)
            }
            Way::Keyed(sealer) => {
                header.sealed = true;
                header.key_check = sealer.check();
                *head = header.emit();
                sealer.seal(&header, Covered::new(head, to).bytes(), payload)
            }
        };
    }

    /// A whole packet, which goes to `to`.
    pub fn packet(&mut self, to: Option<NodeId>, header: Header, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; AROUND + payload.len()];
        packet[HEADER_LEN..HEADER_LEN + payload.len()].copy_from_slice(payload);
        self.seal(to, header, &mut packet);
        packet
    }
}

/// Why a packet is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bad {
    /// Too short, of another version, or of an unknown kind.
    Header,
    /// It is from this node.
    Own,
    /// It was damaged on its way, or is for another node, or whoever made it has no key of ours.
    Trailer,
    /// The same, of a HELLO that says it has a key of ours.
    Hello,
    /// It is not sealed, and this daemon has a key.
    NoKey,
    /// It is sealed, and this daemon has no key.
    HasKey,
    /// It is sealed with another key.
    OtherKey,
}

/// Takes packets apart. What it says of a packet is so only if it was whole, and with a key, made by
/// one who has the key.
#[derive(Debug)]
pub struct Opens {
    me: NodeId,
    way: Way<Opener>,
}

/// That a packet is what it was when it was sealed.
#[derive(Clone, Copy, Debug)]
pub struct Checked(Option<Proof>);

impl Opens {
    /// For a daemon with this node id, and these keys if it has any.
    pub fn new(me: NodeId, keys: Option<&Arc<Keys>>) -> Self {
        let way = match keys {
            None => Way::Plain,
            Some(keys) => Way::Keyed(Opener::new(Arc::clone(keys))),
        };
        Opens { me, way }
    }

    /// Whether packets are opened with a key.
    pub fn is_keyed(&self) -> bool {
        matches!(self.way, Way::Keyed(_))
    }

    /// To be called between packets, now and then: the keys may be others.
    pub fn refresh(&mut self) {
        if let Way::Keyed(opener) = &mut self.way {
            opener.refresh();
        }
    }

    /// A node has gone.
    pub fn forget(&mut self, node: NodeId) {
        if let Way::Keyed(opener) = &mut self.way {
            opener.forget(node);
        }
    }

    /// The header of a packet that arrived whole.
    ///
    /// # Errors
    /// Why it is to be dropped.
    pub fn check(&mut self, packet: &[u8]) -> Result<(Header, Checked), Bad> {
        let (head, payload, trailer) = Header::split(packet).ok_or(Bad::Header)?;
        let header = Header::parse(head).map_err(|_| Bad::Header)?;
        // On the loopback interface we hear ourselves: not worth a MAC.
        if header.node == self.me {
            return Err(Bad::Own);
        }
        let covered = Covered::new(head, header.addressed.then_some(self.me));
        let covered = covered.bytes();
        match &mut self.way {
            Way::Plain if header.sealed => Err(Bad::HasKey),
            Way::Plain => match equal(&checksum(covered, payload), trailer) {
                true => Ok((header, Checked(None))),
                false => Err(Bad::Trailer),
            },
            Way::Keyed(opener) if header.sealed => {
                match opener.check(&header, covered, payload, trailer) {
                    Ok(proof) => Ok((header, Checked(Some(proof)))),
                    Err(Refused::OtherKey) => Err(Bad::OtherKey),
                    // One that is addressed may be for who was at this address before.
                    Err(Refused::BadMac)
                        if header.kind == PacketKind::Hello && !header.addressed =>
                    {
                        Err(Bad::Hello)
                    }
                    Err(Refused::BadMac) => Err(Bad::Trailer),
                }
            }
            Way::Keyed(_) => match equal(&checksum(covered, payload), trailer) {
                true => Err(Bad::NoKey),
                false => Err(Bad::Trailer),
            },
        }
    }

    /// The payload of a packet that was checked, decrypted in its place.
    pub fn payload<'a>(
        &mut self,
        header: &Header,
        checked: Checked,
        packet: &'a mut [u8],
    ) -> &'a [u8] {
        let end = packet.len().saturating_sub(TRAILER_LEN);
        let payload = packet.get_mut(HEADER_LEN..end).unwrap_or_default();
        if let (Way::Keyed(opener), Checked(Some(proof))) = (&mut self.way, checked) {
            opener.decrypt(proof, header, payload);
        }
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::super::keyring::quick;
    use super::*;
    use crate::ids::{BatchNo, BlockNo, TransferNo};

    const TEXT: &[u8] = b"a text that is long enough to be recognized wherever it is";

    fn keys(secrets: &[&str]) -> Option<Arc<Keys>> {
        (!secrets.is_empty()).then(|| Arc::new(Keys::new(quick(secrets))))
    }

    fn seal(secrets: &[&str], role: Role) -> Seal {
        Seal::new(NodeId(7), role, keys(secrets).as_ref())
    }

    fn opens(secrets: &[&str]) -> Opens {
        Opens::new(NodeId(8), keys(secrets).as_ref())
    }

    fn header(kind: PacketKind) -> Header {
        let (transfer, batch, block) = (TransferNo::new(9), BatchNo::new(3), BlockNo::new(5));
        Header { transfer, batch, block, ..Header::new(kind, NodeId(0), Role::Control) }
    }

    fn open(opens: &mut Opens, packet: &[u8]) -> Result<(Header, Vec<u8>), Bad> {
        let mut packet = packet.to_vec();
        let (header, checked) = opens.check(&packet)?;
        let payload = opens.payload(&header, checked, &mut packet).to_vec();
        Ok((header, payload))
    }

    #[test]
    fn what_is_sealed_opens_and_no_flipped_bit_of_any_kind_does() {
        let secrets = [&[][..], &["one secret"], &["one secret", "another one"]];
        for (secrets, to) in secrets.into_iter().flat_map(|s| [(s, None), (s, Some(NodeId(8)))]) {
            let mut opens = opens(secrets);
            for kind in PacketKind::ALL {
                let packet = seal(secrets, Role::Sender).packet(to, header(kind), TEXT);
                let (opened, payload) = open(&mut opens, &packet).unwrap();
                assert_eq!(
                    (opened.node, opened.role, opened.counter, opened.kind),
                    (NodeId(7), Role::Sender, 1, kind)
                );
                let sent = header(kind);
                assert_eq!(
                    (opened.batch, opened.transfer, opened.block),
                    (sent.batch, sent.transfer, sent.block)
                );
                assert_eq!(payload, TEXT);
                for bit in 0..packet.len() * 8 {
                    let mut changed = packet.clone();
                    changed[bit / 8] ^= 1 << (bit % 8);
                    let bad = open(&mut opens, &changed).unwrap_err();
                    assert_ne!(bad, Bad::Own, "{kind:?} bit {bit}");
                }
                for len in 0..packet.len() {
                    assert!(open(&mut opens, &packet[..len]).is_err(), "{kind:?} {len}");
                }
            }
            assert_eq!(open(&mut opens, &[8; AROUND - 1]), Err(Bad::Header));
        }
    }

    #[test]
    fn what_is_for_one_node_opens_at_no_other() {
        for secrets in [&[][..], &["one secret"]] {
            for kind in PacketKind::ALL {
                for to in [NodeId(0), NodeId(7), NodeId(9)] {
                    let mut packet =
                        seal(secrets, Role::Sender).packet(Some(to), header(kind), TEXT);
                    assert_eq!(open(&mut opens(secrets), &packet), Err(Bad::Trailer), "{kind:?}");
                    // Nor does it if it says that it is for all.
                    packet[2] &= 3;
                    assert!(open(&mut opens(secrets), &packet).is_err(), "{kind:?}");
                }
            }
        }
    }

    #[test]
    fn every_payload_but_that_of_hello_is_encrypted() {
        for kind in PacketKind::ALL {
            let mut seal = seal(&["one secret"], Role::Sender);
            let packets =
                [seal.packet(None, header(kind), TEXT), seal.packet(None, header(kind), TEXT)];
            for packet in &packets {
                let shown = packet.windows(8).any(|window| window == &TEXT[..8]);
                assert_eq!(shown, kind == PacketKind::Hello, "{kind:?}");
            }
            let payload = |packet: &[u8]| packet[HEADER_LEN..HEADER_LEN + TEXT.len()].to_vec();
            let same = payload(&packets[0]) == payload(&packets[1]);
            assert_eq!(same, kind == PacketKind::Hello, "{kind:?}");
        }
    }

    #[test]
    fn two_keys_never_open_what_the_other_has_sealed() {
        let cases: [(&[&str], &[&str], Bad); 4] = [
            (&[], &["one secret"], Bad::NoKey),
            (&["one secret"], &[], Bad::HasKey),
            (&["one secret"], &["another one"], Bad::OtherKey),
            (&["one secret", "another one"], &["another one"], Bad::OtherKey),
        ];
        for (sealing, opening, bad) in cases {
            for kind in PacketKind::ALL {
                let packet = seal(sealing, Role::Sender).packet(None, header(kind), TEXT);
                let refused = open(&mut opens(opening), &packet);
                assert_eq!(refused, Err(bad), "{sealing:?} {opening:?} {kind:?}");
            }
        }
        // The marks of two keys may be the same; their MACs are not.
        let mut alike = 0;
        for number in 0..1_000 {
            let other = format!("s{number}");
            let packet =
                seal(&[&other], Role::Control).packet(None, header(PacketKind::Hello), TEXT);
            match open(&mut opens(&["one secret"]), &packet).unwrap_err() {
                Bad::OtherKey => {}
                Bad::Hello => alike += 1,
                bad => panic!("{bad:?}"),
            }
        }
        assert!((1..20).contains(&alike), "{alike} of 1000 have the same mark");
    }

    #[test]
    fn both_keys_of_a_keyring_open() {
        for sealing in [["old secret", "new secret"], ["new secret", "old secret"]] {
            for kind in PacketKind::ALL {
                let packet = seal(&sealing, Role::Receiver).packet(None, header(kind), TEXT);
                for opening in [["old secret", "new secret"], ["new secret", "old secret"]] {
                    assert_eq!(open(&mut opens(&opening), &packet).unwrap().1, TEXT);
                }
                assert_eq!(open(&mut opens(&sealing[..1]), &packet).unwrap().1, TEXT);
            }
        }
    }

    #[test]
    fn own_packets_are_known_and_epochs_pass() {
        let keys = keys(&["one secret"]);
        let mut seal = Seal::new(NodeId(8), Role::Sender, keys.as_ref());
        let mut own = Opens::new(NodeId(8), keys.as_ref());
        let mut other = Opens::new(NodeId(9), keys.as_ref());
        for number in 1..140_000u64 {
            let packet = seal.packet(None, header(PacketKind::Data), b"8 bytes!");
            if number % 5_000 < 3 || number % 65_536 < 3 || number % 65_536 > 65_533 {
                assert_eq!(open(&mut own, &packet), Err(Bad::Own));
                let (opened, payload) = open(&mut other, &packet).unwrap();
                assert_eq!((opened.counter, &payload[..]), (number, &b"8 bytes!"[..]));
            }
        }
    }
}
