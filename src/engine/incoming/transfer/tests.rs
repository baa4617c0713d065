use super::*;
use crate::engine::incoming::testing::{KEY, manifest, shared};
use crate::ids::{BlockNo, PollNo, TransferNo};
use crate::name::NodeId;
use crate::stamp::Stamp;
use crate::wire::bits::Bits;
use crate::wire::feedback::State;
use crate::wire::header::{PacketKind, Role};
use crate::wire::manifest::Setup;
use crate::wire::outcome::SpoolCode;
use crate::wire::poll::{Asked, Mark};
use std::net::Ipv4Addr;

const NOW: Time = Time::from_micros(1_000);
const ONE: BatchNo = BatchNo::FIRST;
const TWO: BatchNo = BatchNo::new(2);

type Transfer = IncomingTransfer<()>;

fn transfer(mode: Mode) -> Transfer {
    let begin = Begin {
        mode,
        block: 480,
        oldest: TransferNo::ZERO,
        timeout: 10,
        stamp: Stamp::ZERO,
        total: 2,
        first: TargetNo::ZERO,
        targets: vec![NodeId(1), NodeId(2)],
    };
    let from = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
    IncomingTransfer::new(KEY, from, NOW, TargetNo::new(1), &begin)
}

fn header(kind: PacketKind, batch: BatchNo, block: u32) -> Header {
    let mut header = Header::new(kind, KEY.node, Role::Sender);
    (header.transfer, header.batch, header.block) = (KEY.number, batch, BlockNo::new(block));
    header
}

fn offer_bytes(
    transfer: &mut Transfer,
    shared: &mut Shared,
    batch: BatchNo,
    bytes: &[u8],
    others: &[Claim],
) -> Result<(), Refusal> {
    for (block, slice) in bytes.chunks(Offer::slice_len(480)).enumerate() {
        let offer = Offer { manifest_len: bytes.len() as u32, slice };
        let header = header(PacketKind::Offer, batch, block as u32);
        transfer.offer(shared, true, &header, &offer.emit(), others)?;
    }
    Ok(())
}

fn offer(transfer: &mut Transfer, shared: &mut Shared, batch: BatchNo, sizes: &[u64]) {
    offer_bytes(transfer, shared, batch, &manifest(sizes).emit(), &[]).unwrap();
}

fn poll(asked: Asked) -> Poll {
    let sent = Mark { batch: BatchNo::new(3), block: BlockNo::ZERO };
    let want_first = ONE;
    Poll { offers: sent, data: sent, spread: 0, want_first, want_need: !0, want_done: !0, asked }
}

/// A poll with this number of the target itself or of the other one.
fn hear_poll(transfer: &mut Transfer, shared: &mut Shared, number: u32, me: bool) {
    let mut header = header(PacketKind::Poll, ONE, 0);
    header.set_poll(PollNo::new(number));
    let asked = Asked::Slice(TargetNo::new(u16::from(me)), 1);
    transfer.poll(shared, NOW, &header, &poll(asked).emit());
}

fn commit(transfer: &mut Transfer, shared: &mut Shared, batch: BatchNo, target: u16) {
    let targets = Bits::of([TargetNo::new(target)]);
    let commit = Commit { targets, strikes: Bits::default() };
    transfer.commit(shared, batch, &commit.emit());
}

/// The batches that the disk is to do something with, by what it is to do.
fn jobs(shared: &mut Shared) -> Vec<(&'static str, BatchNo)> {
    let jobs = shared.jobs.drain(..);
    let name = |job| match job {
        DiskJob::Plan { batch, .. } => ("plan", batch),
        DiskJob::Stage { batch, .. } => ("stage", batch),
        DiskJob::Commit { batch, .. } => ("commit", batch),
        DiskJob::Tally { .. } => ("count", BatchNo::ZERO),
        DiskJob::Delete { .. } => ("delete", BatchNo::ZERO),
        DiskJob::Page { .. } => ("name", BatchNo::ZERO),
        DiskJob::Close { .. } => ("close", BatchNo::ZERO),
    };
    jobs.map(name).collect()
}

fn said(transfer: &mut Transfer, shared: &Shared) -> Vec<(BatchNo, Feedback)> {
    let next = || transfer.poll_transmit(shared, NOW);
    let parse = |outbound: Outbound| {
        let (node, feedback) = Feedback::parse(outbound.header.kind, &outbound.payload).unwrap();
        assert_eq!((node, outbound.header.transfer), (KEY.node, KEY.number));
        (outbound.header.batch, feedback)
    };
    std::iter::from_fn(next).map(parse).collect()
}

/// The disk plans and stages a batch that needs nothing.
fn plan_and_stage(transfer: &mut Transfer, shared: &mut Shared, batch: BatchNo) {
    transfer.planned(shared, NOW, batch, vec![Need::Skip], None);
    assert!(jobs(shared).contains(&("stage", batch)));
    assert_eq!(transfer.take_body(batch), Some(Body::None));
    transfer.staged(shared, NOW, batch);
}

#[test]
fn batches_are_planned_in_order_whichever_manifest_is_whole_first() {
    let (mut transfer, mut shared) = (transfer(Mode::SEND), shared());
    offer(&mut transfer, &mut shared, TWO, &[1]);
    assert_eq!(jobs(&mut shared), []);
    offer(&mut transfer, &mut shared, ONE, &[1]);
    assert_eq!(jobs(&mut shared), [("plan", ONE), ("plan", TWO)]);
    offer(&mut transfer, &mut shared, ONE, &[1]);
    assert_eq!(jobs(&mut shared), []);
}

#[test]
fn batches_are_committed_in_order_whichever_commit_comes_first() {
    let (mut transfer, mut shared) = (transfer(Mode::SEND), shared());
    for batch in [ONE, TWO] {
        offer(&mut transfer, &mut shared, batch, &[1]);
        jobs(&mut shared);
        plan_and_stage(&mut transfer, &mut shared, batch);
    }
    commit(&mut transfer, &mut shared, TWO, 1);
    commit(&mut transfer, &mut shared, ONE, 0);
    assert_eq!(jobs(&mut shared), [], "the other target's");
    commit(&mut transfer, &mut shared, ONE, 1);
    assert_eq!(jobs(&mut shared), [("commit", ONE)]);
    transfer.done(&mut shared, NOW, ONE, vec![Outcome::Skipped]);
    assert_eq!(jobs(&mut shared), [("commit", TWO)]);
}

#[test]
fn what_is_new_is_said_and_said_again_when_a_poll_asks() {
    let (mut transfer, mut shared) = (transfer(Mode::SEND), shared());
    transfer.begin(NOW);
    let accepted = shared.accept(Verdict::Accepted);
    assert_eq!(said(&mut transfer, &shared), [(BatchNo::ZERO, accepted)]);
    offer(&mut transfer, &mut shared, ONE, &[1]);
    plan_and_stage(&mut transfer, &mut shared, ONE);
    let need = (ONE, Feedback::Need(Runs { first: EntryNo::ZERO, runs: vec![(Need::Skip, 1)] }));
    let first = said(&mut transfer, &shared);
    assert_eq!(first[0], need);
    assert!(matches!(&first[1].1, Feedback::Status(status) if !status.asked));
    assert_eq!(first.len(), 2);
    hear_poll(&mut transfer, &mut shared, 1, true);
    let again = said(&mut transfer, &shared);
    assert_eq!(again[0], need);
    let Feedback::Status(status) = &again[1].1 else { panic!("{again:?}") };
    assert_eq!((status.poll, status.asked, status.first), (PollNo::new(1), true, ONE));
    let states: Vec<State> = status.batches.iter().map(|batch| batch.state).collect();
    assert_eq!(states, [State::Staged, State::Offer]);
    hear_poll(&mut transfer, &mut shared, 1, true);
    assert_eq!(said(&mut transfer, &shared), [], "the same poll");
}

#[test]
fn a_poll_of_others_is_answered_only_if_something_is_missing() {
    let (mut transfer, mut shared) = (transfer(Mode::SEND), shared());
    hear_poll(&mut transfer, &mut shared, 1, false);
    let answer = said(&mut transfer, &shared);
    assert!(matches!(&answer[..], [(_, Feedback::Status(status))] if !status.asked));
    offer(&mut transfer, &mut shared, ONE, &[1]);
    offer(&mut transfer, &mut shared, TWO, &[1]);
    hear_poll(&mut transfer, &mut shared, 2, false);
    assert_eq!(said(&mut transfer, &shared), []);
}

#[test]
fn a_block_that_completes_a_body_has_it_staged() {
    let (mut transfer, mut shared) = (transfer(Mode::SEND), shared());
    offer(&mut transfer, &mut shared, ONE, &[500]);
    jobs(&mut shared);
    transfer.planned(&mut shared, NOW, ONE, vec![Need::All], None);
    assert_eq!(jobs(&mut shared), []);
    for (block, len) in [(0, 480), (1, 20)] {
        let header = header(PacketKind::Data, ONE, block);
        let place = transfer.data(&mut shared, NOW, true, &header, len);
        let Place::Memory(memory) = place else { panic!("{place:?}") };
        memory.fill(7);
    }
    assert_eq!(jobs(&mut shared), [("stage", ONE)]);
    assert_eq!(transfer.take_body(ONE), Some(Body::Memory(vec![7; 500])));
    assert_eq!(transfer.take_body(ONE), None);
}

#[test]
fn what_no_sound_sender_says_ends_the_transfer() {
    let (mut transfer, mut shared) = (transfer(Mode::SEND), shared());
    let refused = offer_bytes(&mut transfer, &mut shared, ONE, &[0xff; 9], &[]).unwrap_err();
    assert_eq!(refused.reason, BAD_MANIFEST);
    let too_large = manifest(&[4 << 20, 4 << 20]).emit();
    let refused = offer_bytes(&mut transfer, &mut shared, TWO, &too_large, &[]).unwrap_err();
    assert_eq!(refused.reason, BAD_MANIFEST);
}

#[test]
fn the_first_batch_says_what_the_transfer_is_about_and_who_is_in_its_way() {
    let path = manifest(&[1]).entries[0].path.clone();
    let bytes = |path| {
        let setup = Some(Setup { path, ..Setup::default() });
        crate::wire::manifest::Manifest { setup, ..manifest(&[1]) }.emit()
    };
    let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 1);
    let (mut transfer, mut shared) = (transfer(Mode::SEND), shared());
    let other = Claim { path: path.clone(), exclusive: false, from };
    offer_bytes(&mut transfer, &mut shared, ONE, &bytes(path.clone()), &[other]).unwrap();
    let shared_with = shared.accept(Verdict::Shared(b"10.0.0.9".to_vec()));
    assert_eq!(said(&mut transfer, &shared), [(BatchNo::ZERO, shared_with)]);
    assert_eq!(transfer.claim.as_ref().map(|claim| &claim.path), Some(&path));

    let mut transfer = super::tests::transfer(Mode::SEND);
    let other = Claim { path: path.clone(), exclusive: true, from };
    let held = offer_bytes(&mut transfer, &mut shared, ONE, &bytes(path), &[other]);
    assert_eq!(held.unwrap_err(), Refusal { reason: Reason::Held, what: b"10.0.0.9".to_vec() });
    assert!(transfer.claim.is_none());
}

#[test]
fn what_is_spooled_is_dealt_with_when_all_batches_are_done() {
    let mode = Mode::Send { delete: true, ignore_times: false, dry_run: false };
    let (mut transfer, mut shared) = (transfer(mode), shared());
    offer(&mut transfer, &mut shared, ONE, &[1]);
    jobs(&mut shared);
    transfer.delete(&mut shared, NOW, &Delete::Tally.emit());
    assert_eq!(jobs(&mut shared), []);
    plan_and_stage(&mut transfer, &mut shared, ONE);
    commit(&mut transfer, &mut shared, ONE, 1);
    transfer.done(&mut shared, NOW, ONE, vec![Outcome::Skipped]);
    jobs(&mut shared);
    said(&mut transfer, &shared);
    transfer.delete(&mut shared, NOW, &Delete::Tally.emit());
    assert_eq!(jobs(&mut shared), [("count", BatchNo::ZERO)]);
    transfer.delete(&mut shared, NOW, &Delete::Tally.emit());
    let working = shared.accept(Verdict::Accepted);
    assert_eq!(said(&mut transfer, &shared), [(BatchNo::ZERO, working)]);
    let names = vec![(SpoolCode::Deleted, manifest(&[1]).entries[0].path.clone())];
    for report in [Deleted::Ran { deleted: 1, failed: 0 }, Deleted::Page { skip: 0, names }] {
        transfer.deletion_done(&mut shared, NOW, report.clone());
        assert_eq!(said(&mut transfer, &shared), [(BatchNo::ZERO, Feedback::Deleted(report))]);
    }
}
