//! Members that send anything: whatever comes, nothing panics, memory is bounded, and the honest
//! transfers beside it complete.

use std::net::SocketAddrV4;
use std::rc::Rc;
use std::sync::Arc;

use super::scenarios::{assert_equal, fleet, seeds, small_tree};
use super::{Action, Packet, address};
use crate::engine::disk_job::{DiskAnswer, DiskJob};
use crate::engine::incoming::{BEYOND, Config, MAX_TRANSFERS, Place, Reception};
use crate::engine::outgoing::{self, Outgoing, Transmit};
use crate::engine::rng::Rng;
use crate::ids::{BatchNo, BlockNo, BlockRange, EntryNo, PollNo, TargetNo, TransferNo};
use crate::name::NodeId;
use crate::stamp::Stamp;
use crate::time::{Span, Time};
use crate::wire::begin::{Begin, Commit, Offer};
use crate::wire::bits::Bits;
use crate::wire::feedback::{BatchStatus, Feedback, State, Status, Verdict};
use crate::wire::header::{Header, PacketKind, Role};
use crate::wire::layout::Layout;
use crate::wire::manifest::tests::entry;
use crate::wire::manifest::{Extent, Kind, Manifest};
use crate::wire::mode::Mode;
use crate::wire::outcome::{Need, Outcome, Reason, Runs};
use crate::wire::poll::{Asked, Mark, Poll};

/// A hostile member.
pub(super) const EVIL: NodeId = NodeId(0xe71);

fn evil_addr() -> SocketAddrV4 {
    address(0xe71)
}

/// A number at the edge of something.
fn edge(rng: &mut Rng) -> u32 {
    let near = rng.below(3) as u32;
    [0, 1, 15, 16, 127, 128, 1_000, 0xffff, 0x7fff_ffff, u32::MAX][rng.below(10) as usize]
        .wrapping_add(near)
        .wrapping_sub(1)
}

/// Changes something, or nothing.
pub(super) fn change(rng: &mut Rng, header: &mut Header, payload: &mut Vec<u8>) {
    match rng.below(30) {
        0 => header.batch = BatchNo::new(edge(rng)),
        1 => header.block = BlockNo::new(edge(rng)),
        2 => header.batch = header.batch.next(),
        3 => header.kind = PacketKind::ALL[rng.below(15) as usize],
        4 => payload.truncate(rng.below(payload.len() as u64 + 1) as usize),
        5 => payload.extend((0..rng.below(40)).map(|_| rng.next_u64() as u8)),
        6 => *payload = (0..rng.below(100)).map(|_| rng.next_u64() as u8).collect(),
        7 | 8 => {
            for _ in 0..1 + rng.below(4) {
                let at = rng.below(payload.len() as u64) as usize;
                if let Some(byte) = payload.get_mut(at) {
                    *byte = [0, 1, 0x7f, 0x80, 0xff, rng.next_u64() as u8][rng.below(6) as usize];
                }
            }
        }
        _ => {}
    }
}

/// A packet as a hostile member sends it after having seen one.
pub(super) fn copy(rng: &mut Rng, packet: &Packet) -> Packet {
    let mut header = packet.header;
    header.node = EVIL;
    header.role = Role::Sender;
    if rng.below(4) == 0 {
        header.transfer = TransferNo::new(rng.below(100) as u32);
    }
    let mut payload = match &packet.body {
        Some((source, _)) => {
            let bytes = source.layout.bytes_of(header.block);
            vec![0xee; (bytes.end - bytes.start) as usize]
        }
        None => packet.payload.to_vec(),
    };
    if rng.below(20) == 0 {
        (header.kind, payload) = extreme(rng);
        (header.batch, header.block) = (BatchNo::new(edge(rng)), BlockNo::new(edge(rng)));
    } else {
        change(rng, &mut header, &mut payload);
    }
    Packet { from: evil_addr(), header, payload: Rc::new(payload), body: None }
}

/// A payload that parses and says absurd things.
fn extreme(rng: &mut Rng) -> (PacketKind, Vec<u8>) {
    let mut mark = || Mark { batch: BatchNo::new(edge(rng)), block: BlockNo::new(edge(rng)) };
    let (offers, data) = (mark(), mark());
    match rng.below(3) {
        0 => {
            let asked = match rng.below(2) {
                0 => Asked::Slice(TargetNo::new(edge(rng) as u16), edge(rng) as u16),
                _ => Asked::These(Bits::of((0..1_000).map(TargetNo::new))),
            };
            let (spread, want_first) = (edge(rng), BatchNo::new(edge(rng)));
            let poll =
                Poll { offers, data, spread, want_first, want_need: !0, want_done: !0, asked };
            (PacketKind::Poll, poll.emit())
        }
        1 => {
            let commit = Commit {
                targets: Bits::of((0..1_000).map(TargetNo::new)),
                strikes: Bits::of((0..1_024).map(EntryNo::new)),
            };
            (PacketKind::Commit, commit.emit())
        }
        _ => {
            let offer = Offer { manifest_len: 1 << 20, slice: &[3; 500] };
            (PacketKind::Offer, offer.emit())
        }
    }
}

#[test]
fn a_hostile_sender_beside_an_honest_one_changes_nothing() {
    seeds(40, |seed| {
        let mut rng = Rng::new(seed ^ 0x666);
        let mut sim = fleet(&mut rng, seed, 2, small_tree(1));
        sim.net.member_loss = rng.below(100);
        sim.hostile = [300, 1_000][rng.below(2) as usize];
        sim.start();
        assert!(sim.run(Span::from_secs(100)), "seed {seed} does not end");
        for target in 0..2 {
            assert_eq!(sim.senders[0].gone[target], None);
            assert_equal(&sim, target);
            assert!(sim.targets[target].peak_memory < 48 << 20);
            assert_eq!(sim.targets[target].memory(), 0);
            assert_eq!(sim.targets[target].open(), []);
        }
    });
}

#[test]
fn a_target_that_answers_anything_harms_only_itself() {
    seeds(60, |seed| {
        let mut rng = Rng::new(seed ^ 0x667);
        let mut sim = fleet(&mut rng, seed, 3, small_tree(1));
        sim.net.member_loss = rng.below(50);
        sim.liar = Some(1);
        sim.start();
        if !sim.run(Span::from_secs(30)) {
            // It answers, and so it is waited for.
            assert_eq!(sim.senders[0].gone[1], None);
            sim.act(Action::KillTarget(1));
            assert!(sim.run(Span::from_secs(60)), "seed {seed} does not end");
        }
        for target in [0, 2] {
            assert_eq!(sim.senders[0].gone[target], None);
            assert_equal(&sim, target);
        }
    });
}

fn reception(budget: usize) -> Reception<()> {
    Reception::new(Config { me: NodeId(1), receive_buffer: 1 << 20, budget, seed: 7 })
}

/// Who sends, and from where.
type Who = (NodeId, SocketAddrV4);

fn evil() -> Who {
    (EVIL, evil_addr())
}

fn header(from: Who, kind: PacketKind, number: u32, batch: u32, block: u32) -> Header {
    let mut header = Header::new(kind, from.0, Role::Sender);
    header.transfer = TransferNo::new(number);
    (header.batch, header.block) = (BatchNo::new(batch), BlockNo::new(block));
    header
}

fn begin(reception: &mut Reception<()>, from: Who, number: u32) {
    let begin = Begin {
        mode: Mode::SEND,
        block: 8_192,
        oldest: TransferNo::ZERO,
        timeout: 10,
        stamp: Stamp::ZERO,
        total: 1,
        first: TargetNo::ZERO,
        targets: vec![NodeId(1)],
    };
    let header = header(from, PacketKind::Begin, number, 0, 0);
    reception.packet(Time::from_micros(1), from.1, &header, &begin.emit());
}

fn offer(reception: &mut Reception<()>, from: Who, number: u32, batch: u32, manifest: &[u8]) {
    let slices = manifest.chunks(Offer::slice_len(8_192));
    for (block, slice) in slices.enumerate() {
        let offer = Offer { manifest_len: manifest.len() as u32, slice };
        let header = header(from, PacketKind::Offer, number, batch, block as u32);
        reception.packet(Time::from_micros(1), from.1, &header, &offer.emit());
    }
}

/// Manifests that are small on the wire and large in memory.
fn swollen() -> [Vec<u8>; 2] {
    let deep = format!("{}x", "d/".repeat(2_000));
    let of = |entries| Manifest { entries, ..Manifest::default() }.emit();
    let deep = (0..1_000).map(|n| entry(&format!("{deep}{n}"), Kind::Fifo)).collect();
    let extents: Vec<Extent> =
        (0..16_000).map(|n| Extent { start: 2 * n, end: 2 * n + 1 }).collect();
    let file = |_| entry("f", Kind::File { size: 1 << 16, data: Some(extents.clone()) });
    [of(deep), of((0..31).map(file).collect())]
}

#[test]
fn what_a_sender_can_make_a_target_keep_is_bounded() {
    const BUDGET: usize = 32 << 20;
    for manifest in swollen() {
        let real = Manifest::parse(&manifest).unwrap().memory();
        assert!(real > 3 << 20 && manifest.len() < 1 << 20, "{real} {}", manifest.len());
        let mut reception = reception(BUDGET);
        // The disk stands still; transfers are opened, filled, and called off again.
        let mut waiting = Vec::new();
        for number in 0..1_000 {
            begin(&mut reception, evil(), number);
            for batch in 1..20 {
                offer(&mut reception, evil(), number, batch, &manifest);
            }
            if number % 2 == 0 {
                let header = header(evil(), PacketKind::Abort, number, 0, 0);
                reception.packet(Time::from_micros(1), evil_addr(), &header, &[]);
            }
            while let Some(job) = reception.poll_job() {
                waiting.push(job);
            }
            while reception.poll_transmit(Time::from_micros(1)).is_some() {}
            while reception.poll_event().is_some() {}
        }
        let plans = waiting.iter().filter(|job| matches!(job, DiskJob::Plan { .. })).count();
        assert!(plans * real <= reception.memory(), "{plans} plans in {}", reception.memory());
        assert!(reception.memory() <= BUDGET + (8 << 20), "{}", reception.memory());
        assert!(waiting.len() <= 2 * MAX_TRANSFERS + plans);
        // All of it comes back.
        let now = Time::from_micros(1) + Span::from_secs(40);
        reception.timeout(now);
        while let Some(job) = reception.poll_job() {
            waiting.push(job);
        }
        for job in waiting {
            if let DiskJob::Close { key, .. } = job {
                reception.answer(now, DiskAnswer::Closed { key });
            }
        }
        assert_eq!(reception.memory(), 0);
        begin(&mut reception, evil(), 5_000);
        assert_eq!(reception.open().count(), 1);
    }
}

#[test]
fn being_first_again_and_again_is_bounded_too() {
    const BUDGET: usize = 32 << 20;
    for (manifest, abort) in swollen().iter().flat_map(|m| [(m, false), (m, true)]) {
        let mut reception = reception(BUDGET);
        let mut peak = 0;
        for number in (0..200).rev() {
            begin(&mut reception, evil(), number);
            offer(&mut reception, evil(), number, 1, manifest);
            if abort {
                let header = header(evil(), PacketKind::Abort, number, 0, 0);
                reception.packet(Time::from_micros(1), evil_addr(), &header, &[]);
            }
            // The disk stands still.
            while reception.poll_job().is_some() {}
            while reception.poll_event().is_some() {}
            peak = peak.max(reception.memory());
        }
        eprintln!("{} MiB of {} MiB", peak >> 20, BUDGET >> 20);
        assert!(peak <= BUDGET + BEYOND / 2, "{peak}");
        // Another sender's batch, which is never first, finds its place all the same.
        let honest = (NodeId(0xffff), address(99));
        begin(&mut reception, honest, 1);
        let entries = (0..1_000).map(|n| entry(&format!("d/{n}"), Kind::Fifo)).collect();
        let manifest = Manifest { entries, ..Manifest::default() }.emit();
        offer(&mut reception, honest, 1, 1, &manifest);
        let plans = std::iter::from_fn(|| reception.poll_job());
        let of_honest =
            |job: &DiskJob| matches!(job, DiskJob::Plan { key, .. } if key.node.0 == 0xffff);
        assert!(plans.into_iter().any(|job| of_honest(&job)));
    }
}

#[test]
fn one_member_does_not_take_all_places() {
    let mut reception = reception(32 << 20);
    for number in 0..200 {
        begin(&mut reception, evil(), number);
    }
    assert!(reception.open().count() < MAX_TRANSFERS);
    begin(&mut reception, (NodeId(99), address(99)), 3);
    assert!(reception.open().any(|(key, _)| key.node == NodeId(99)));
}

#[test]
fn numbers_far_ahead_close_nothing_that_is_yet_to_come() {
    const FAR: u32 = 1 << 30;
    let honest = (NodeId(99), address(99));
    let mut reception = reception(32 << 20);
    let mut next = 5;
    let mut is_heard = |reception: &mut Reception<()>| {
        next += 1;
        begin(reception, honest, next);
        let key = |(key, _): (crate::engine::disk_job::TransferKey, _)| key.number.get();
        reception.open().map(key).any(|number| number == next)
    };
    assert!(is_heard(&mut reception));
    // HELLO closes what is open here, and no more.
    reception.oldest_open(Time::ZERO, honest.0, TransferNo::new(FAR));
    assert_eq!(reception.open().count(), 0);
    assert!(is_heard(&mut reception));
    // So does BEGIN, also of a transfer that is opened and called off.
    for (number, oldest) in [(FAR, FAR), (9, FAR), (u32::MAX, FAR), (1 << 31, 1 << 31)] {
        let begin = Begin {
            mode: Mode::SEND,
            block: 8_192,
            oldest: TransferNo::new(oldest),
            timeout: 10,
            stamp: Stamp::ZERO,
            total: 1,
            first: TargetNo::ZERO,
            targets: vec![NodeId(1)],
        };
        for (kind, payload) in [(PacketKind::Begin, begin.emit()), (PacketKind::Abort, Vec::new())]
        {
            let header = header(honest, kind, number, 0, 0);
            reception.packet(Time::from_micros(1), honest.1, &header, &payload);
        }
        assert!(is_heard(&mut reception), "{number} {oldest}");
    }
    // However many are closed, with whatever numbers.
    for number in (FAR..FAR + 1_000).chain((0..1_000).map(|n| n * 4_000_000)) {
        begin(&mut reception, honest, number);
        let header = header(honest, PacketKind::Abort, number, 0, 0);
        reception.packet(Time::from_micros(1), honest.1, &header, &[]);
        while let Some(job) = reception.poll_job() {
            if let DiskJob::Close { key, .. } = job {
                reception.answer(Time::from_micros(1), DiskAnswer::Closed { key });
            }
        }
    }
    assert!(is_heard(&mut reception));
}

#[test]
fn random_blocks_find_no_place_and_absurd_feedback_no_hold() {
    let mut rng = Rng::new(5);
    let mut reception = reception(1 << 20);
    for number in 0..200_000u32 {
        let mut header =
            header(evil(), PacketKind::Data, number % 3, edge(&mut rng), edge(&mut rng));
        if number % 50 == 0 {
            begin(&mut reception, evil(), number % 3);
        }
        let len = rng.below(9_000) as usize;
        assert!(matches!(reception.data(Time::ZERO, &header, len), Place::Nowhere));
        header.kind = PacketKind::ALL[rng.below(15) as usize];
        let payload: Vec<u8> = (0..rng.below(60)).map(|_| rng.next_u64() as u8).collect();
        if header.kind != PacketKind::Data {
            reception.packet(Time::from_micros(number.into()), evil_addr(), &header, &payload);
        }
        if number % 100 == 0 {
            while reception.poll_transmit(Time::from_micros(number.into())).is_some() {}
        }
    }
    assert!(reception.memory() <= 16 << 20);

    let layout = |manifest: &Manifest| Arc::new(Layout::new(manifest, 8_192).unwrap());
    let now = Time::from_micros(1_000_000);
    let nodes = [NodeId(10), NodeId(11)];
    let config = outgoing::Config {
        me: NodeId(9),
        number: TransferNo::new(1),
        oldest: TransferNo::new(1),
        targets: nodes.iter().map(|&node| (node, address(node.0 as usize))).collect(),
        mode: Mode::SEND,
        atomic: false,
        block: 8_192,
        parallel: 8,
        stamp: Stamp::ZERO,
        timeout: Span::from_secs(10),
        patience: Span::from_secs(10),
    };
    let mut outgoing = Outgoing::new(config, now);
    for manifest in small_tree(1) {
        outgoing.batch(now, &manifest, layout(&manifest));
    }
    for at in 0..50_000 {
        let now = now + Span::from_micros(at);
        let runs = Runs {
            first: EntryNo::new(edge(&mut rng) as u16),
            runs: vec![(Need::All, edge(&mut rng) as u16)],
        };
        let first = [1, 1, edge(&mut rng)][rng.below(3) as usize];
        let feedback = match rng.below(12) {
            0 => Feedback::Accept { verdict: Verdict::Accepted, grant: edge(&mut rng) },
            1 => Feedback::Need(runs),
            2 => Feedback::Done(Runs {
                first: EntryNo::ZERO,
                runs: vec![(Outcome::Updated, edge(&mut rng) as u16)],
            }),
            3 => Feedback::Busy,
            4 => Feedback::Need(Runs { first: EntryNo::ZERO, runs: vec![(Need::All, 1)] }),
            _ => {
                let mut batch = || BatchStatus {
                    state: [State::Body, State::Offer, State::Staged, State::Done]
                        [rng.below(4) as usize],
                    missing: vec![BlockRange::new(BlockNo::ZERO, BlockNo::new(edge(&mut rng)))],
                };
                let batches = vec![batch(), batch(), batch()];
                Feedback::Status(Status {
                    poll: PollNo::new(edge(&mut rng)),
                    asked: true,
                    held: edge(&mut rng),
                    grant: edge(&mut rng),
                    received: edge(&mut rng),
                    digested: edge(&mut rng).into(),
                    first: BatchNo::new(first),
                    batches,
                })
            }
        };
        outgoing.feedback(now, nodes[(at % 2) as usize], BatchNo::new(edge(&mut rng)), feedback);
        outgoing.timeout(now);
        for _ in 0..3 {
            if let Some(Transmit::Data { header, blocks, .. }) =
                outgoing.poll_transmit(now, 44, true)
            {
                // The long file's: all others have one block, or a few.
                assert!(
                    !blocks.is_empty() && blocks.end <= BlockNo::new(641),
                    "{header:?} {blocks:?}"
                );
            }
        }
        while let Some(event) = outgoing.poll_event() {
            if let outgoing::Event::Verify(batch) = event {
                outgoing.verified(now, batch, &[(EntryNo::ZERO, Reason::Changed)]);
            }
        }
    }
}
