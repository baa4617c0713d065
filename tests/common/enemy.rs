//! A member that speaks the protocol and means no good.

use std::cell::RefCell;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use makuosan::crypto::checksum;
use makuosan::ids::{BatchNo, BlockNo, PollNo, TargetNo, TransferNo};
use makuosan::name::{HostName, NodeId};
use makuosan::seal::{Keyring, Keys, Master, Opens, Seal};
use makuosan::stamp::Stamp;
use makuosan::wire::begin::{Begin, Commit, Delete, Offer};
use makuosan::wire::bits::Bits;
use makuosan::wire::feedback::{Feedback, State, Status};
use makuosan::wire::header::{HEADER_LEN, Header, PacketKind, Role, TRAILER_LEN};
use makuosan::wire::hello::{Challenge, Hello};
use makuosan::wire::mode::Mode;
use makuosan::wire::poll::{Asked, Mark, Poll};

use super::{Fleet, eventually, now, wall_millis};

/// The payload of its blocks.
pub const BLOCK: u16 = 1_424;

/// Everything that it sends goes to one daemon.
pub struct Enemy {
    pub socket: UdpSocket,
    pub node: NodeId,
    pub victim: SocketAddr,
    pub victim_node: NodeId,
    /// Whom its packets are for, if it has a key; and nobody in particular if this is nobody.
    pub to: Option<NodeId>,
    keyed: Option<Keyed>,
    /// What its HELLOs say of which transfers are closed.
    pub oldest: TransferNo,
    /// What they say of its clock: its height, and by how many seconds it is ahead.
    pub height: Stamp,
    pub ahead: i64,
    counter: u64,
    polls: PollNo,
}

/// What a member with the group's key seals and opens packets with.
struct Keyed {
    /// By role.
    seals: [Seal; 3],
    opens: RefCell<Opens>,
}

impl Enemy {
    /// At the address of a host of the fleet that has no daemon, not known to anybody.
    pub fn new(fleet: &Fleet, host: usize, victim: usize, node: NodeId) -> Enemy {
        let socket = UdpSocket::bind((fleet.ip(host), 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let victim = fleet.address(victim);
        let (victim_node, to, keyed) = (NodeId(0), None, None);
        let (oldest, counter, polls) = (TransferNo::ZERO, 0, PollNo::ZERO);
        let (height, ahead) = (Stamp::ZERO, 0);
        Enemy {
            socket,
            node,
            victim,
            victim_node,
            to,
            keyed,
            oldest,
            height,
            ahead,
            counter,
            polls,
        }
    }

    /// The same, with the key of the group.
    pub fn keyed(fleet: &Fleet, host: usize, victim: usize, node: NodeId, secret: &str) -> Enemy {
        let keys = Arc::new(Keys::new(Keyring::new(vec![Master::new(secret.as_bytes())])));
        let seal = |role| Seal::new(node, role, Some(&keys));
        let seals = [Role::Sender, Role::Receiver, Role::Control].map(seal);
        let opens = RefCell::new(Opens::new(node, Some(&keys)));
        let keyed = Some(Keyed { seals, opens });
        Enemy { keyed, ..Enemy::new(fleet, host, victim, node) }
    }

    /// A packet with the right trailer.
    pub fn seal(&mut self, mut header: Header, payload: &[u8]) -> Vec<u8> {
        if let Some(keyed) = &mut self.keyed {
            return keyed.seals[header.role as usize - 1].packet(self.to, header, payload);
        }
        self.counter += 1;
        header.counter = self.counter;
        let head = header.emit();
        [&head[..], payload, &checksum(&head, payload)].concat()
    }

    pub fn send(&mut self, kind: PacketKind, number: u32, batch: u32, block: u32, payload: &[u8]) {
        let packet = self.packet(kind, number, batch, block, payload);
        self.socket.send_to(&packet, self.victim).unwrap();
    }

    /// Bytes that are a packet already.
    pub fn send_raw(&self, packet: &[u8]) {
        self.socket.send_to(packet, self.victim).unwrap();
    }

    /// A packet of a sender.
    pub fn packet(
        &mut self,
        kind: PacketKind,
        number: u32,
        batch: u32,
        block: u32,
        payload: &[u8],
    ) -> Vec<u8> {
        let mut header = Header::new(kind, self.node, Role::Sender);
        header.transfer = TransferNo::new(number);
        (header.batch, header.block) = (BatchNo::new(batch), BlockNo::new(block));
        self.seal(header, payload)
    }

    /// The next sound packet of the victim, if one comes soon.
    pub fn receive(&self) -> Option<(Header, Vec<u8>)> {
        let mut buffer = [0; 16_384];
        let (len, from) = self.socket.recv_from(&mut buffer).ok()?;
        if let Some(keyed) = &self.keyed {
            let mut opens = keyed.opens.borrow_mut();
            let (header, checked) = opens.check(&buffer[..len]).ok()?;
            let payload = opens.payload(&header, checked, &mut buffer[..len]).to_vec();
            return (from == self.victim).then_some((header, payload));
        }
        let (head, payload, _) = Header::split(&buffer[..len])?;
        let header = Header::parse(head).ok()?;
        (from == self.victim).then(|| (header, payload.to_vec()))
    }

    pub fn hello(&mut self, receives: bool, echo: Option<Challenge>) {
        let hello = Hello {
            new: true,
            receives,
            asks: echo.is_none(),
            mtu: 1_500,
            rcvbuf: 1 << 20,
            oldest_open: self.oldest,
            challenge: Some([9; 16]),
            echo,
            name: HostName::parse(b"evil").unwrap(),
            version: "2.0.0".to_owned(),
            height: self.height,
            wall: wall_millis().saturating_add_signed(1_000 * self.ahead),
            records: None,
            mirrors: Vec::new(),
        };
        let header = Header::new(PacketKind::Hello, self.node, Role::Control);
        let packet = self.seal(header, &hello.emit());
        self.socket.send_to(&packet, self.victim).unwrap();
    }

    /// Becomes a member of the victim's, as the others do: by echoing its challenge.
    #[track_caller]
    pub fn join(&mut self, fleet: &Fleet, victim: usize, receives: bool) {
        eventually("the enemy is a member", || {
            self.hello(receives, None);
            while let Some((header, payload)) = self.receive() {
                let Ok(hello) = Hello::parse(&payload) else { continue };
                if let (PacketKind::Hello, Some(challenge)) = (header.kind, hello.challenge) {
                    self.victim_node = header.node;
                    self.hello(receives, Some(challenge));
                    break;
                }
            }
            fleet.members(victim).iter().any(|name| name == "evil")
        });
    }

    pub fn leave(&mut self) {
        let header = Header::new(PacketKind::Bye, self.node, Role::Control);
        let packet = self.seal(header, &[]);
        self.socket.send_to(&packet, self.victim).unwrap();
    }

    pub fn begin(&mut self, number: u32) {
        self.begin_with(number, Mode::SEND);
    }

    pub fn begin_with(&mut self, number: u32, mode: Mode) {
        self.begin_for(number, mode, vec![self.victim_node]);
    }

    /// A transfer with this place in the order of all.
    pub fn begin_at(&mut self, number: u32, stamp: Stamp) {
        self.begin_as(number, Mode::SEND, vec![self.victim_node], stamp);
    }

    /// A transfer for these.
    pub fn begin_for(&mut self, number: u32, mode: Mode, targets: Vec<NodeId>) {
        self.begin_as(number, mode, targets, Stamp::ZERO);
    }

    fn begin_as(&mut self, number: u32, mode: Mode, targets: Vec<NodeId>, stamp: Stamp) {
        let begin = Begin {
            mode,
            block: BLOCK,
            oldest: self.oldest.min(TransferNo::new(number)),
            timeout: 10,
            stamp,
            total: targets.len() as u16,
            first: TargetNo::ZERO,
            targets,
        };
        self.send(PacketKind::Begin, number, 0, 0, &begin.emit());
    }

    pub fn offer(&mut self, number: u32, batch: u32, manifest: &[u8]) {
        for (block, slice) in manifest.chunks(Offer::slice_len(BLOCK)).enumerate() {
            let offer = Offer { manifest_len: manifest.len() as u32, slice };
            self.send(PacketKind::Offer, number, batch, block as u32, &offer.emit());
        }
    }

    pub fn delete(&mut self, number: u32, order: &Delete) {
        self.send(PacketKind::Delete, number, 0, 0, &order.emit());
    }

    /// A body of one batch, which is one block at the most.
    pub fn data(&mut self, number: u32, batch: u32, body: &[u8]) {
        self.send(PacketKind::Data, number, batch, 0, body);
    }

    pub fn commit(&mut self, number: u32, batch: u32) {
        let commit = Commit { targets: Bits::of([TargetNo::ZERO]), strikes: Bits::default() };
        self.send(PacketKind::Commit, number, batch, 0, &commit.emit());
    }

    pub fn poll(&mut self, number: u32, low: u32, sent: Mark) {
        self.polls = self.polls.next();
        let poll = Poll {
            offers: sent,
            data: sent,
            spread: 0,
            want_first: BatchNo::new(low),
            want_need: !0,
            want_done: !0,
            asked: Asked::Slice(TargetNo::ZERO, 1),
        };
        self.send(PacketKind::Poll, number, low, self.polls.get(), &poll.emit());
    }

    /// Polls until some answer is what is waited for.
    #[track_caller]
    pub fn until(&mut self, number: u32, wanted: impl FnMut(&Feedback) -> bool) {
        self.until_at(number, 1, Self::sent_before(2), wanted);
    }

    /// What a sender says that has sent everything before `batch`.
    pub fn sent_before(batch: u32) -> Mark {
        Mark { batch: BatchNo::new(batch), block: BlockNo::ZERO }
    }

    /// As [`Enemy::until`], for a sender whose batches below `low` are done everywhere.
    #[track_caller]
    pub fn until_at(
        &mut self,
        number: u32,
        low: u32,
        sent: Mark,
        mut wanted: impl FnMut(&Feedback) -> bool,
    ) {
        let mut last = now();
        eventually("the victim's answer", || {
            self.poll(number, low, sent);
            while let Some((header, payload)) = self.receive() {
                if header.transfer == TransferNo::new(number) {
                    let answer = Feedback::parse(header.kind, &payload);
                    if answer.is_ok_and(|(to, feedback)| to == self.node && wanted(&feedback)) {
                        return true;
                    }
                }
                if last.elapsed() > Duration::from_millis(200) {
                    break;
                }
            }
            last = now();
            false
        });
    }

    /// Polls until the first batch has got as far as this.
    #[track_caller]
    pub fn until_state(&mut self, number: u32, state: State) {
        self.until(number, |feedback| match feedback {
            Feedback::Status(Status { first, batches, .. }) => {
                // All before the first that it speaks of are done.
                *first > BatchNo::FIRST || batches.first().is_some_and(|batch| batch.state >= state)
            }
            _ => false,
        });
    }
}

/// The most bytes that a packet is longer than its payload.
pub const AROUND: usize = HEADER_LEN + TRAILER_LEN;
