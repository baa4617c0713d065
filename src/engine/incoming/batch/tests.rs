use super::*;
use crate::engine::incoming::testing::{KEY, manifest, plan, shared, with_budget};
use crate::name::NodeId;
use crate::wire::outcome::Reason;

const BLOCK: u16 = 480;
const ALL_SENT: Sent = Sent { offers: BlockNo::END, data: BlockNo::END };

type Batch = IncomingBatch<&'static str>;

fn new() -> Batch {
    IncomingBatch::new(KEY.node)
}

fn slice<'a>(bytes: &'a [u8], block: usize) -> Offer<'a> {
    let len = Offer::slice_len(BLOCK);
    let end = bytes.len().min((block + 1) * len);
    Offer { manifest_len: bytes.len() as u32, slice: &bytes[block * len..end] }
}

fn block(number: u32) -> BlockNo {
    BlockNo::new(number)
}

/// A batch of two files of 1,000 bytes, the second of which is needed: the blocks 2 to 4.
fn in_body(shared: &mut Shared) -> Batch {
    let mut batch = new();
    assert!(batch.queue(shared, Rank::Lowest, plan(&[1_000, 1_000], BLOCK)));
    assert!(batch.begin_planning().is_some());
    assert!(batch.planned(shared, vec![Need::Skip, Need::All], None, true));
    batch
}

fn states(batch: &Batch) -> (State, Vec<BlockRange>) {
    let BatchStatus { state, missing } = batch.status(ALL_SENT);
    (state, missing)
}

#[test]
fn a_manifest_comes_in_any_order_and_only_once() {
    let (mut shared, mut batch) = (shared(), new());
    let bytes = manifest(&[1; 60]).emit();
    let blocks = Offer::blocks(bytes.len(), BLOCK);
    assert!(blocks > 2);
    for number in (1..blocks).rev().chain([1]) {
        let offer = slice(&bytes, number as usize);
        assert!(batch.offer(&mut shared, Rank::Lowest, BLOCK, block(number), &offer).is_none());
    }
    assert_eq!(states(&batch), (State::Offer, vec![BlockRange::one(block(0))]));
    // One that is too short, one past the end, one of a manifest of another length.
    let first = slice(&bytes, 0);
    let short = Offer { slice: &first.slice[1..], ..first };
    let other = Offer { manifest_len: first.manifest_len + 1, ..first };
    for (number, offer) in [(0, short), (u32::MAX, first), (0, other)] {
        assert!(batch.offer(&mut shared, Rank::Lowest, BLOCK, block(number), &offer).is_none());
    }
    assert!(batch.lacks_manifest() && batch.misses(ALL_SENT));
    let whole = batch.offer(&mut shared, Rank::Lowest, BLOCK, block(0), &first);
    assert_eq!(whole, Some(bytes));
}

#[test]
fn a_body_is_staged_when_its_last_needed_block_has_come() {
    let mut shared = shared();
    let mut batch = in_body(&mut shared);
    assert_eq!(states(&batch), (State::Body, vec![BlockRange::from_len(block(2), 3)]));
    let before = shared.budget.used();
    let mut receive = |batch: &mut Batch, number: u32, len: usize| {
        batch.receive(&mut shared, Rank::Lowest, block(number), len)
    };
    // Not needed, too short, past the end.
    for (number, len) in [(0, 480), (2, 479), (9, 480), (u32::MAX, 0)] {
        assert_eq!(receive(&mut batch, number, len), None, "{number} {len}");
    }
    for (number, len) in [(3, 480), (2, 480), (4, 80)] {
        assert!(!batch.is_whole() && batch.begin_staging().is_none());
        let bytes = receive(&mut batch, number, len).unwrap();
        let Place::Memory(memory) = batch.place(bytes) else { panic!("no memory") };
        memory.fill(number as u8);
        assert_eq!(receive(&mut batch, number, len), None, "twice");
    }
    assert_eq!(shared.budget.used(), before + 2_000);
    let Some(Body::Memory(body)) = batch.begin_staging() else { panic!("no body") };
    assert_eq!((body[960], body[1_440], body[1_999]), (2, 3, 4));
    assert!(batch.begin_staging().is_none() && states(&batch).0 == State::Staging);
    assert!(batch.staged(&mut shared) && !batch.staged(&mut shared));
    assert_eq!(shared.budget.used(), before);
}

#[test]
fn it_is_committed_once_it_is_staged_and_commit_has_come() {
    let mut shared = shared();
    let mut batch = in_body(&mut shared);
    assert!(batch.commit(vec![EntryNo::new(1)]) && !batch.commit(Vec::new()));
    // What was struck is not waited for.
    assert!(batch.is_whole() && batch.begin_commit().is_none());
    assert_eq!(batch.begin_staging(), Some(Body::None));
    assert!(batch.begin_commit().is_none() && batch.staged(&mut shared));
    assert_eq!(batch.begin_commit(), Some(vec![EntryNo::new(1)]));
    assert!(batch.begin_commit().is_none());
    let outcomes = vec![Outcome::Skipped, Outcome::Struck];
    assert!(batch.committed(&mut shared, outcomes.clone()));
    assert!(!batch.committed(&mut shared, Vec::new()));
    assert_eq!((batch.outcomes(), batch.needs()), (Some(&outcomes[..]), &[][..]));
    assert_eq!(batch.memory(), size_of_val(&outcomes[..]));
    batch.free(&mut shared);
    assert_eq!(shared.budget.used(), 0);
}

#[test]
fn strikes_that_come_before_the_plan_count_as_well() {
    let mut shared = shared();
    let mut batch = new();
    batch.queue(&mut shared, Rank::Lowest, plan(&[1_000, 1_000], BLOCK));
    assert!(batch.commit(vec![EntryNo::ZERO]));
    batch.begin_planning();
    assert!(batch.planned(&mut shared, vec![Need::All, Need::All], None, true));
    // Block 2 holds bytes of both.
    assert_eq!(states(&batch).1, [BlockRange::from_len(block(2), 3)]);
}

#[test]
fn without_a_commit_the_plan_is_the_result() {
    let mut shared = shared();
    let mut batch = new();
    batch.queue(&mut shared, Rank::Lowest, plan(&[1_000], BLOCK));
    assert!(!batch.planned(&mut shared, vec![Need::All], None, false), "nobody asked");
    batch.begin_planning();
    assert!(batch.planned(&mut shared, vec![Need::Failed(Reason::Os(13))], None, false));
    assert!(batch.is_done() && batch.is_planned() && !batch.misses(ALL_SENT));
    assert_eq!(batch.needs(), [Need::Failed(Reason::Os(13))]);
}

#[test]
fn a_streamed_file_takes_its_blocks_itself() {
    let mut shared = shared();
    let mut batch = new();
    batch.queue(&mut shared, Rank::Lowest, plan(&[5 << 20], BLOCK));
    batch.begin_planning();
    batch.planned(&mut shared, vec![Need::All], Some("file"), true);
    let before = shared.budget.used();
    let bytes = batch.receive(&mut shared, Rank::Lowest, block(7), 480).unwrap();
    assert!(matches!(batch.place(bytes), Place::File(&"file", 3_360)));
    assert_eq!(shared.budget.used(), before);
}

#[test]
fn without_memory_it_waits_until_there_is_some() {
    let mut shared = with_budget(1 << 20);
    let other = NodeId(77);
    shared.budget.take(other, 33 << 20);
    let (mut batch, bytes) = (new(), manifest(&[1]).emit());
    let offer = |batch: &mut Batch, shared: &mut Shared| {
        batch.offer(shared, Rank::Lowest, BLOCK, block(0), &slice(&bytes, 0))
    };
    assert_eq!(offer(&mut batch, &mut shared), None);
    assert!(states(&batch).0 == State::Waiting && !batch.misses(ALL_SENT));
    assert_eq!(batch.readmit(&mut shared, Rank::Lowest), Some(false));
    shared.budget.release(other, 33 << 20);
    assert_eq!(batch.readmit(&mut shared, Rank::Lowest), Some(true));
    assert!(states(&batch).0 == State::Offer && batch.misses(ALL_SENT));
    assert_eq!(batch.readmit(&mut shared, Rank::Lowest), None);

    let mut batch = in_body(&mut shared);
    shared.budget.take(other, 33 << 20);
    assert_eq!(batch.receive(&mut shared, Rank::Later, block(2), 480), None);
    assert!(states(&batch).0 == State::Waiting && !batch.misses(ALL_SENT));
    assert_eq!(batch.readmit(&mut shared, Rank::Later), Some(false));
    // The lowest batch of the first transfer gets it all the same.
    assert_eq!(batch.readmit(&mut shared, Rank::First), Some(true));
    assert!(batch.receive(&mut shared, Rank::Later, block(2), 480).is_some());
}

#[test]
fn what_has_not_been_sent_is_not_missed() {
    let mut shared = shared();
    let nothing = Sent { offers: BlockNo::ZERO, data: BlockNo::ZERO };
    assert!(!new().misses(nothing) && new().misses(ALL_SENT));
    assert_eq!(new().status(nothing).missing, []);
    let batch = in_body(&mut shared);
    let sent = Sent { data: block(3), ..nothing };
    assert_eq!(batch.status(sent).missing, [BlockRange::one(block(2))]);
    assert!(!batch.misses(Sent { data: block(2), ..nothing }));
}
