//! Packets of daemons with other keys, the same ones in the same or the other order, and none: opened
//! as they were sealed, changed on the way, made of pieces of each other, and made up.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use super::input::Input;
use makuosan::ids::{BatchNo, BlockNo, TransferNo};
use makuosan::name::NodeId;
use makuosan::seal::{AROUND, Bad, Keyring, Keys, Master, Opens, Replays, Seal};
use makuosan::wire::header::{HEADER_LEN, Header, PacketKind, Role};

const ME: NodeId = NodeId(1);
const MOST: usize = 200;
/// So many packets are on their way at once.
const KEPT: usize = 24;
/// The longest payload that UDP carries.
const MAX_PAYLOAD: usize = 65_507 - AROUND;

const FIRST: &str = "the first secret";
const SECOND: &str = "the second secret";
/// Another key with the mark of [`FIRST`].
const ALIKE: &str = "secret 26";
/// The keys that daemons may have; the first of each seals.
const RINGS: [&[&str]; 6] =
    [&[], &[FIRST, SECOND], &[SECOND, FIRST], &[SECOND], &[ALIKE], &[ALIKE, FIRST]];

/// The keyrings of [`RINGS`], made once: that takes a tenth of a second for each key.
fn rings() -> &'static [Option<Arc<Keys>>] {
    static MADE: OnceLock<Vec<Option<Arc<Keys>>>> = OnceLock::new();
    MADE.get_or_init(|| {
        let master = |secret: &&str| Master::new(secret.as_bytes());
        let ring = |secrets: &[&str]| Keyring::new(secrets.iter().map(master).collect());
        let keys = |secrets: &[&str]| Arc::new(Keys::new(ring(secrets)));
        RINGS.iter().map(|secrets| (!secrets.is_empty()).then(|| keys(secrets))).collect()
    })
}

/// One role of a node that seals.
struct Sealing {
    seal: Seal,
    node: NodeId,
    role: Role,
    /// Of [`RINGS`].
    ring: usize,
    sealed: u64,
}

/// A packet on its way.
#[derive(Clone)]
struct Sent {
    packet: Vec<u8>,
    /// The one node that it is for.
    to: Option<NodeId>,
    /// What was sealed.
    header: Header,
    payload: Vec<u8>,
    ring: usize,
}

struct World {
    opens: Opens,
    replays: Replays,
    /// What [`Replays`] has taken.
    taken: HashSet<(NodeId, u8, u64)>,
    /// The keys of the daemon that opens, of [`RINGS`].
    ring: usize,
    sealing: Vec<Sealing>,
    sent: Vec<Sent>,
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let ring = input.below(RINGS.len() as u32) as usize;
    let opens = Opens::new(ME, rings()[ring].as_ref());
    assert_eq!(opens.is_keyed(), ring != 0);
    let mut world = World {
        opens,
        replays: Replays::default(),
        taken: HashSet::new(),
        ring,
        sealing: Vec::new(),
        sent: Vec::new(),
    };
    let mut count = 0;
    while !input.is_empty() && count < MOST {
        count += 1;
        world.step(&mut input);
    }
}

fn role(input: &mut Input<'_>) -> Role {
    [Role::Sender, Role::Receiver, Role::Control][input.below(3) as usize]
}

fn any_header(input: &mut Input<'_>) -> Header {
    let kind = PacketKind::ALL[input.below(17) as usize];
    let mut header = Header::new(kind, NodeId(input.below(5).into()), role(input));
    header.alone = input.flag();
    header.transfer = TransferNo::new(input.number());
    header.batch = BatchNo::new(input.number());
    header.block = BlockNo::new(input.number());
    header
}

fn any_payload(input: &mut Input<'_>) -> Vec<u8> {
    match input.below(16) {
        0 => [input.u8()].repeat(usize::from(input.u16()).min(MAX_PAYLOAD)),
        1 => Vec::new(),
        _ => input.bytes(255).to_vec(),
    }
}

impl World {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(16) {
            0..=4 => self.seal(input),
            5..=7 => self.open_any(input),
            8 | 9 => self.open_changed(input),
            10 => self.open_spliced(input),
            11 | 12 => self.open_made_up(input),
            13 => self.opens.forget(NodeId(input.below(5).into())),
            14 => self.replays.gone(NodeId(input.below(5).into())),
            _ => self.opens.refresh(),
        }
    }

    /// Somebody seals a packet.
    fn seal(&mut self, input: &mut Input<'_>) {
        let header = any_header(input);
        let ring = input.below(RINGS.len() as u32) as usize;
        let same =
            |one: &Sealing| (one.node, one.role, one.ring) == (header.node, header.role, ring);
        let at = self.sealing.iter().position(same).unwrap_or_else(|| {
            let seal = Seal::new(header.node, header.role, rings()[ring].as_ref());
            let (node, role) = (header.node, header.role);
            self.sealing.push(Sealing { seal, node, role, ring, sealed: 0 });
            self.sealing.len() - 1
        });
        let sealing = &mut self.sealing[at];
        sealing.sealed += 1;
        let to = [None, Some(ME), Some(NodeId(9))][header.block.get() as usize % 3];
        let header = Header { counter: sealing.sealed, addressed: to.is_some(), ..header };
        let payload = any_payload(input);
        let packet = sealing.seal.packet(to, header, &payload);
        assert_eq!(packet.len(), AROUND + payload.len());
        if self.sent.len() == KEPT {
            self.sent.remove(0);
        }
        self.sent.push(Sent { packet, to, header, payload, ring });
    }

    fn any_sent(&self, input: &mut Input<'_>) -> Option<Sent> {
        let at = usize::from(input.u8()) % self.sent.len().max(1);
        self.sent.get(at).cloned()
    }

    /// One arrives as it was sealed, for the first time or again.
    fn open_any(&mut self, input: &mut Input<'_>) {
        let Some(Sent { packet, to, header, payload, ring }) = self.any_sent(input) else { return };
        let (sealing, opening) = (RINGS[ring], RINGS[self.ring]);
        let opened = self.open(&packet);
        if header.node == ME {
            return assert_eq!(opened, Err(Bad::Own));
        }
        let is_others = to.is_some_and(|to| to != ME);
        match (sealing.first(), opening.is_empty()) {
            (Some(_), true) => assert_eq!(opened, Err(Bad::HasKey)),
            (None, _) if is_others => assert_eq!(opened, Err(Bad::Trailer)),
            (None, true) => assert_eq!(opened, Ok((header, payload))),
            (None, false) => assert_eq!(opened, Err(Bad::NoKey)),
            (Some(key), false) if opening.contains(key) && !is_others => {
                let (got, text) = opened.unwrap();
                let sealed = Header { sealed: true, key_check: got.key_check, ..header };
                assert_eq!((got, text), (sealed, payload));
            }
            (Some(key), false) => {
                let other = |one: &&str| [FIRST, ALIKE].contains(one);
                let marked = opening.contains(key) || other(key) && opening.iter().any(other);
                let bad = match marked {
                    false => Bad::OtherKey,
                    true if header.kind == PacketKind::Hello && to.is_none() => Bad::Hello,
                    true => Bad::Trailer,
                };
                assert_eq!(opened, Err(bad));
            }
        }
        if !is_others && opening.iter().any(|key| sealing.first() == Some(key)) {
            self.take(&header);
        }
    }

    /// Each counter of a node and role is taken once, whatever comes in between.
    fn take(&mut self, header: &Header) {
        let Header { node, role, counter, .. } = *header;
        if self.replays.take(node, role, counter) {
            assert!(self.taken.insert((node, role as u8, counter)), "{header:?} is taken twice");
        }
    }

    /// One arrives that was changed on its way.
    fn open_changed(&mut self, input: &mut Input<'_>) {
        let Some(sent) = self.any_sent(input) else { return };
        let mut packet = sent.packet.clone();
        match input.below(4) {
            0 => {
                let bit = usize::from(input.u16()) % (packet.len() * 8);
                packet[bit / 8] ^= 1 << (bit % 8);
            }
            1 => {
                let (at, by) = (usize::from(input.u16()) % packet.len(), input.u8());
                packet[at] ^= by;
            }
            // Without some bytes anywhere, or with some more.
            2 => {
                let at = usize::from(input.u16()) % packet.len();
                packet.drain(at..(at + 1 + usize::from(input.u8())).min(sent.packet.len()));
            }
            _ => {
                let at = usize::from(input.u16()) % packet.len();
                packet.splice(at..at, input.bytes(60).iter().copied());
            }
        }
        self.open_foreign(&packet);
    }

    /// One arrives that is made of two: their headers, payloads and trailers.
    fn open_spliced(&mut self, input: &mut Input<'_>) {
        let (Some(one), Some(other)) = (self.any_sent(input), self.any_sent(input)) else { return };
        let which = input.u8();
        let of = |part: u8| if which >> part & 1 == 0 { &one.packet } else { &other.packet };
        let (head, payload, trailer) = (of(0), of(1), of(2));
        let middle =
            |packet: &[u8]| packet[HEADER_LEN..packet.len() - (AROUND - HEADER_LEN)].to_vec();
        let last = &trailer[trailer.len() - (AROUND - HEADER_LEN)..];
        let packet = [&head[..HEADER_LEN], &middle(payload), last].concat();
        self.open_foreign(&packet);
    }

    /// One arrives that somebody without a key has made: any bytes, often behind a header that is one.
    fn open_made_up(&mut self, input: &mut Input<'_>) {
        let mut packet = Vec::new();
        if input.flag() {
            let mut header = any_header(input);
            header.sealed = input.flag();
            header.counter = input.u64() >> 16;
            // The marks of keys are there for everybody to see.
            let seen = self.any_sent(input).map_or(0, |sent| sent.packet[3]);
            header.key_check = if input.flag() { seen } else { input.u8() };
            packet.extend_from_slice(&header.emit());
        }
        packet.extend_from_slice(input.bytes(255));
        self.open_foreign(&packet);
    }

    /// A packet that perhaps nobody has sealed: it opens only if it is one that somebody did seal, or
    /// if no key is needed.
    fn open_foreign(&mut self, packet: &[u8]) {
        let opened = self.open(packet);
        if packet.len() < AROUND {
            assert_eq!(opened, Err(Bad::Header));
        } else if let Ok((header, _)) = opened {
            let known = self.sent.iter().any(|sent| sent.packet == packet);
            assert!(known || self.ring == 0, "{header:?} was never sealed");
            assert_ne!(header.node, ME);
            assert_eq!(header.sealed, self.ring != 0);
        }
    }

    fn open(&mut self, packet: &[u8]) -> Result<(Header, Vec<u8>), Bad> {
        let mut packet = packet.to_vec();
        let (header, checked) = self.opens.check(&packet)?;
        let payload = self.opens.payload(&header, checked, &mut packet).to_vec();
        assert_eq!(payload.len(), packet.len() - AROUND);
        Ok((header, payload))
    }
}
