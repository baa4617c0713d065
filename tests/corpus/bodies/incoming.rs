//! All that comes in to a target: members that send anything in any order, at any time, and a disk
//! that takes its time.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

use super::input::Input;
use super::manifests;
use makuosan::engine::disk_job::{Body, DiskAnswer, DiskJob, TransferKey};
use makuosan::engine::incoming::{BEYOND, Config, MAX_TRANSFERS, Outbound, Place, Reception};
use makuosan::ids::{BatchNo, BlockNo, BlockRange, EntryNo, TargetNo, TransferNo};
use makuosan::name::{NodeId, RelPath};
use makuosan::stamp::Stamp;
use makuosan::time::{Span, Time};
use makuosan::wire::begin::{Begin, Commit, Delete, Offer};
use makuosan::wire::bits::Bits;
use makuosan::wire::feedback::{Feedback, PAGE_EACH};
use makuosan::wire::header::{Header, PacketKind, Role};
use makuosan::wire::layout::Layout;
use makuosan::wire::mode::Mode;
use makuosan::wire::outcome::{DeletionTally, Need, Outcome, Reason, SpoolCode};
use makuosan::wire::poll::{Asked, Mark, Poll};

const ME: NodeId = NodeId(1);
/// The most operations of one input.
const MOST: usize = 400;
/// No one moment has more to send than this.
const MOST_PACKETS: usize = 50_000;

struct World {
    reception: Reception<u64>,
    budget: usize,
    now: Time,
    /// What the disk has not done.
    jobs: VecDeque<DiskJob>,
    /// The block size of each transfer, as BEGIN said it last.
    blocks: HashMap<TransferKey, u16>,
    /// The layout of each batch and its entries, once the disk has seen it.
    plans: HashMap<(TransferKey, BatchNo), (Layout, usize)>,
    /// The largest block that any BEGIN said: a transfer keeps the first that it was told.
    largest: u16,
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let budget = [1 << 20, 4 << 20, 32 << 20][input.below(3) as usize];
    let config = Config { me: ME, receive_buffer: 1 << 20, budget, seed: input.u8().into() };
    let mut world = World {
        reception: Reception::new(config),
        budget,
        now: Time::from_micros(1_000_000),
        jobs: VecDeque::new(),
        blocks: HashMap::new(),
        plans: HashMap::new(),
        largest: 480,
    };
    let mut count = 0;
    while !input.is_empty() && count < MOST {
        count += 1;
        world.step(&mut input);
        world.check();
    }
    world.end();
}

fn address(node: NodeId) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(0x7f00_0000 + node.0 as u32), 5_000)
}

fn key(input: &mut Input<'_>) -> TransferKey {
    let node = NodeId(2 + u64::from(input.below(3)));
    let number = match input.below(12) {
        0 => input.number(),
        few => few % 4,
    };
    TransferKey { node, number: TransferNo::new(number) }
}

fn header(kind: PacketKind, key: TransferKey, batch: BatchNo, block: BlockNo) -> Header {
    let mut header = Header::new(kind, key.node, Role::Sender);
    (header.transfer, header.batch, header.block) = (key.number, batch, block);
    header
}

fn batch(input: &mut Input<'_>) -> BatchNo {
    BatchNo::new(match input.below(10) {
        0 => input.number(),
        few => few,
    })
}

fn block(input: &mut Input<'_>) -> BlockNo {
    BlockNo::new(input.number())
}

impl World {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(24) {
            0..=2 => self.begin(input),
            3..=6 => self.offer(input),
            7..=9 => self.data(input),
            10..=11 => self.poll(input),
            12 => {
                let commit = Commit {
                    targets: Bits::of([TargetNo::new(input.below(2) as u16)]),
                    strikes: Bits::of(input.flag().then_some(EntryNo::new(input.below(3) as u16))),
                };
                let header = header(PacketKind::Commit, key(input), batch(input), BlockNo::ZERO);
                self.packet(input, header, commit.emit());
            }
            13 => {
                let order = match input.below(3) {
                    0 => Delete::Tally,
                    1 => Delete::Run(Bits::of([TargetNo::ZERO])),
                    _ => Delete::Page(input.number().into()),
                };
                let header = header(PacketKind::Delete, key(input), BatchNo::ZERO, BlockNo::ZERO);
                self.packet(input, header, order.emit());
            }
            14 => {
                let kind = [PacketKind::End, PacketKind::Abort][input.below(2) as usize];
                self.reception.packet(
                    self.now,
                    address(NodeId(2)),
                    &header(kind, key(input), BatchNo::ZERO, BlockNo::ZERO),
                    &[9, 0],
                );
            }
            15 => {
                let kind = PacketKind::ALL[input.below(17) as usize];
                let header = header(kind, key(input), batch(input), block(input));
                let payload = input.bytes(255).to_vec();
                if kind != PacketKind::Data {
                    self.packet(input, header, payload);
                }
            }
            16 => self.reception.member_gone(self.now, key(input).node),
            17 => self.reception.oldest_open(
                self.now,
                key(input).node,
                TransferNo::new(input.number()),
            ),
            18..=21 => {
                for _ in 0..1 + input.below(8) {
                    self.disk(input);
                }
            }
            22 => {
                let span = match input.below(4) {
                    0 => Span::from_millis(input.u8().into()),
                    1 => Span::from_secs(input.u8().into()),
                    2 => Span::from_micros(u64::from(input.u32()) << 8),
                    _ => Span::from_micros(input.u16().into()),
                };
                self.now += span;
                self.reception.timeout(self.now);
            }
            _ => self.drain(),
        }
    }

    fn packet(&mut self, input: &mut Input<'_>, header: Header, mut payload: Vec<u8>) {
        input.damage(&mut payload);
        self.reception.packet(self.now, address(header.node), &header, &payload);
    }

    fn begin(&mut self, input: &mut Input<'_>) {
        let key = key(input);
        let flags = input.u8();
        let begin = Begin {
            mode: Mode::SEND,
            block: [480, 1_424, 8_192][input.below(3) as usize],
            oldest: TransferNo::new([0, input.number()][usize::from(input.below(8) == 0)]),
            timeout: 10,
            stamp: Stamp::from_bits(u64::from(flags) << 56),
            total: 1 + [0, 0, 2, 300][input.below(4) as usize],
            first: TargetNo::ZERO,
            targets: vec![ME],
        };
        self.blocks.insert(key, begin.block);
        self.largest = self.largest.max(begin.block);
        // Also combinations that no daemon writes.
        let set = [
            (flags & 7 == 7, 1),
            (flags & 8 != 0, 2),
            (flags & 48 == 48, 4),
            (flags & 192 == 192, 8),
            (flags & 80 == 80, 16),
            (flags & 36 == 36, 32),
        ];
        let mut payload = begin.emit();
        payload[0] = set.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum();
        self.packet(input, header(PacketKind::Begin, key, BatchNo::ZERO, BlockNo::ZERO), payload);
    }

    fn offer(&mut self, input: &mut Input<'_>) {
        let (key, batch) = (key(input), batch(input));
        let block = self.blocks.get(&key).copied().unwrap_or(1_424);
        let manifest = manifests::choose(input, true);
        let damage = input.below(8);
        let slices = manifest.chunks(Offer::slice_len(block));
        for (number, slice) in slices.enumerate() {
            let offer = Offer { manifest_len: manifest.len() as u32, slice };
            let header = header(PacketKind::Offer, key, batch, BlockNo::new(number as u32));
            let mut payload = offer.emit();
            match damage {
                // One is lost, or is something else.
                0 if number == 0 => continue,
                1 => input.damage(&mut payload),
                _ => {}
            }
            self.reception.packet(self.now, address(key.node), &header, &payload);
        }
    }

    fn data(&mut self, input: &mut Input<'_>) {
        let (key, batch) = (key(input), batch(input));
        let first = block(input);
        let layout = self.plans.get(&(key, batch)).map(|(layout, _)| layout.clone());
        for number in BlockRange::from_len(first, 1 + input.below(32)).iter() {
            let header = header(PacketKind::Data, key, batch, number);
            let len = match &layout {
                Some(layout) => {
                    let bytes = layout.bytes_of(number);
                    (bytes.end - bytes.start) as usize
                }
                None => usize::from(input.u16()),
            };
            match self.reception.data(self.now, &header, len) {
                Place::Nowhere => {}
                Place::Memory(memory) => {
                    assert_eq!(memory.len(), len);
                    memory.fill(7);
                }
                Place::File(&size, offset) => {
                    assert!(offset + len as u64 <= size, "{offset} {len} of {size}");
                    if input.u8() == 255 {
                        let reason = Reason::Os(28);
                        self.reception.write_failed(key, batch, reason);
                        return;
                    }
                }
            }
        }
    }

    fn poll(&mut self, input: &mut Input<'_>) {
        let mut mark = || Mark { batch: batch(input), block: block(input) };
        let (offers, data) = (mark(), mark());
        let poll = Poll {
            offers,
            data,
            spread: [0, input.number()][input.below(2) as usize],
            want_first: BatchNo::new(input.below(4)),
            want_need: input.u16(),
            want_done: input.u16(),
            asked: match input.below(3) {
                0 => Asked::These(Bits::of([TargetNo::ZERO])),
                1 => Asked::Slice(TargetNo::new(input.u16()), input.u16()),
                _ => Asked::Slice(TargetNo::ZERO, 1),
            },
        };
        let header = header(PacketKind::Poll, key(input), batch(input), block(input));
        self.packet(input, header, poll.emit());
    }

    /// The disk does one job, if there is any: it is ours, and does what it is asked to.
    fn disk(&mut self, input: &mut Input<'_>) {
        while let Some(job) = self.reception.poll_job() {
            self.jobs.push_back(job);
        }
        let Some(job) = self.jobs.pop_front() else { return };
        let fatal = |key, batch, input: &mut Input<'_>| DiskAnswer::Fatal {
            key,
            batch,
            entry: EntryNo::new(input.u8().into()),
            reason: Reason::Os(30),
        };
        let fails = input.u8() == 255;
        let answer = match job {
            DiskJob::Plan { key, batch, .. } if fails => fatal(key, batch, input),
            DiskJob::Stage { key, batch, .. } | DiskJob::Commit { key, batch, .. } if fails => {
                fatal(key, batch, input)
            }
            DiskJob::Plan { key, batch, manifest, layout, .. } => {
                let all = [Need::Skip, Need::All, Need::All, Need::Failed(Reason::Os(13))];
                let mut need = |_| all[input.below(4) as usize];
                let needs: Vec<Need> = manifest.entries.iter().map(&mut need).collect();
                let streams =
                    layout.streams() && needs[layout.slots()[0].entry.index()] == Need::All;
                let plan = (Layout::clone(&layout), manifest.entries.len());
                self.plans.insert((key, batch), plan);
                DiskAnswer::Planned { key, batch, needs, file: streams.then_some(layout.len()) }
            }
            DiskJob::Stage { key, batch, body } => {
                let buffer = match body {
                    Body::Memory(memory) => {
                        assert_eq!(memory.len() as u64, self.plans[&(key, batch)].0.len());
                        Some(memory)
                    }
                    Body::File | Body::None | Body::Lost(_) => None,
                };
                DiskAnswer::Staged { key, batch, buffer }
            }
            DiskJob::Commit { key, batch, strikes } => {
                assert!(strikes.windows(2).all(|two| two[0] < two[1]));
                let outcome = |input: &mut Input<'_>| match input.below(3) {
                    0 => Outcome::Updated,
                    1 => Outcome::Skipped,
                    _ => Outcome::Failed(Reason::Os(13)),
                };
                let entries = self.plans[&(key, batch)].1;
                let outcomes = (0..entries).map(|_| outcome(input)).collect();
                DiskAnswer::Done { key, batch, outcomes }
            }
            DiskJob::Tally { key } => DiskAnswer::Tallied {
                key,
                tally: DeletionTally { spooled: input.u8().into(), failed: 0, entries: 9 },
            },
            DiskJob::Delete { key } => DiskAnswer::Deleted { key, deleted: input.u64(), failed: 1 },
            DiskJob::Page { key, skip, room } => {
                let mut names = Vec::new();
                let mut left = room;
                for _ in 0..input.below(9) {
                    let name = [&vec![b'n'; input.u8().max(1).into()], &b"/x"[..]].concat();
                    let takes = PAGE_EACH + name.len();
                    if takes > left && !names.is_empty() {
                        break;
                    }
                    left = left.saturating_sub(takes);
                    names.push((SpoolCode::Spooled, RelPath::parse(&name).unwrap()));
                }
                DiskAnswer::Page { key, skip, names }
            }
            DiskJob::Close { key, .. } => {
                self.plans.retain(|(of, _), _| *of != key);
                DiskAnswer::Closed { key }
            }
        };
        self.reception.answer(self.now, answer);
    }

    /// Everything that is due is sent, and then nothing is due.
    fn drain(&mut self) {
        self.reception.timeout(self.now);
        let mut count = 0;
        while let Some(outbound) = self.reception.poll_transmit(self.now) {
            self.outbound(&outbound);
            count += 1;
            assert!(count < MOST_PACKETS, "there is always more to send");
        }
        while self.reception.poll_event().is_some() {}
        let next = self.reception.poll_timeout();
        assert!(next.is_none_or(|next| next > self.now), "due again at once: {next:?}");
    }

    fn outbound(&self, outbound: &Outbound) {
        let Outbound { to_node, to, header, payload } = outbound;
        assert_eq!((header.node, header.role), (ME, Role::Receiver));
        let (sender, feedback) = Feedback::parse(header.kind, payload).unwrap();
        assert!((2..5).contains(&sender.0), "{sender}");
        assert_eq!(*to_node, sender);
        assert!(*to == address(sender) || *to == address(NodeId(2)));
        let len = payload.len();
        assert!(len <= self.largest.into(), "{len} bytes of {feedback:?}");
    }

    fn check(&self) {
        let memory = self.reception.memory();
        assert!(memory <= self.budget + BEYOND, "{memory} of {}", self.budget);
        assert!(self.reception.open().count() <= MAX_TRANSFERS);
        assert!(self.jobs.len() < 20_000);
    }

    /// All senders fall silent, and the disk gets done: nothing is left.
    fn end(mut self) {
        self.drain();
        self.now += Span::from_secs(40);
        self.drain();
        assert_eq!(self.reception.open().count(), 0);
        let mut none = Input::new(&[]);
        while {
            self.disk(&mut none);
            !self.jobs.is_empty()
        } {}
        assert_eq!(self.reception.memory(), 0);
        self.drain();
    }
}
