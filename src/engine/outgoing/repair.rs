//! Which blocks are to be sent again, and for whom.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::engine::window::FLOOR;
use crate::ids::{BatchNo, BlockNo, BlockRange, PollNo, TargetNo};
use crate::time::{Span, Time};

/// One answer asks for so many blocks at the most; the rest is asked for again.
const MAX_ASKED: usize = 4_096;
/// So many blocks wait for repair at the most.
const MAX_PENDING: usize = 16_384;
/// Other targets' answers are awaited for so long at the most.
const MAX_WAIT: Span = Span::from_millis(2);
/// How often the block that a target misses first is sent again before the target is given up.
const FRUITLESS: u32 = 10;
/// And for how long that must have gone on.
const FRUITLESS_FOR: Span = Span::from_secs(2);
/// Where nothing arrives, one block is tried so long after the last one, and then twice as long.
const FIRST_PAUSE: Span = Span::from_millis(10);
/// A target that so many blocks in a row do not reach is sent nothing new until something arrives: as
/// many as the window has at the least.
const DEAF: u32 = FLOOR as u32;
/// The longest such pause.
const LAST_PAUSE: Span = Span::from_millis(200);

/// The stream that a block belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Stream {
    /// A batch's manifest.
    Offer,
    /// Its body.
    Data,
}

/// A block that was sent before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Block {
    pub(super) batch: BatchNo,
    pub(super) stream: Stream,
    pub(super) number: BlockNo,
}

/// Who misses a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    /// One target.
    One(TargetNo),
    /// More than one.
    Several,
}

/// Neighbouring blocks of one stream that the same targets miss.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub(super) batch: BatchNo,
    pub(super) stream: Stream,
    pub(super) blocks: BlockRange,
    pub(super) who: Who,
}

/// The blocks that are to be sent again.
#[derive(Default, Debug)]
pub(super) struct Repairs {
    pending: BTreeMap<Block, Who>,
    /// For each block sent again: the newest poll at that time. A target that answers that poll, or
    /// one before it, cannot know of the block yet.
    resent: BTreeMap<Block, PollNo>,
    /// Answers of the same round may ask for the same blocks: they are awaited until then.
    ready: Time,
}

impl Repairs {
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// When blocks may be sent again.
    pub(super) fn ready_at(&self) -> Time {
        self.ready
    }

    /// Whether there are blocks to be sent again now.
    pub(super) fn are_ready(&self, now: Time) -> bool {
        !self.is_empty() && now >= self.ready
    }

    /// All have answered: nothing else is awaited.
    pub(super) fn all_have_asked(&mut self, now: Time) {
        self.ready = now;
    }

    /// A target has asked for blocks; others may follow, as long as its round trip.
    pub(super) fn wait_for_others(&mut self, now: Time, round_trip: Option<Span>) {
        if self.ready <= now {
            self.ready = now + round_trip.unwrap_or(Span::ZERO).at_most(MAX_WAIT);
        }
    }

    /// A target that answers `poll` misses these blocks. How many of them are to be sent again for it.
    pub(super) fn ask(
        &mut self,
        target: TargetNo,
        poll: PollNo,
        batch: BatchNo,
        stream: Stream,
        missing: &[BlockRange],
    ) -> u32 {
        let mut asked = 0;
        for number in missing.iter().flat_map(|range| range.iter()).take(MAX_ASKED) {
            let block = Block { batch, stream, number };
            if self.resent.get(&block).is_some_and(|&at| at >= poll) {
                continue;
            }
            if self.pending.len() >= MAX_PENDING {
                break;
            }
            match self.pending.entry(block) {
                Entry::Vacant(entry) => {
                    entry.insert(Who::One(target));
                    asked += 1;
                }
                Entry::Occupied(mut entry) => {
                    if let Who::One(other) = *entry.get() {
                        if other != target {
                            entry.insert(Who::Several);
                            asked += 1;
                        }
                    }
                }
            }
        }
        asked
    }

    /// The next blocks to be sent again: one of a manifest, or at most `most` of a body.
    pub(super) fn next(&mut self, most: u32, last_poll: PollNo) -> Option<Run> {
        let (&Block { batch, stream, number: start }, &who) = self.pending.first_key_value()?;
        let most = if stream == Stream::Offer { 1 } else { most };
        let mut count = 0;
        while count < most {
            let block = Block { batch, stream, number: start.after(count) };
            if self.pending.get(&block) != Some(&who) {
                break;
            }
            self.pending.remove(&block);
            self.resent.insert(block, last_poll);
            count += 1;
        }
        let blocks = BlockRange::from_len(start, count.max(1));
        Some(Run { batch, stream, blocks, who })
    }

    /// All targets have answered `poll` or a later one.
    pub(super) fn settle(&mut self, poll: PollNo) {
        self.resent.retain(|_, at| *at >= poll);
    }

    /// All batches before `first` are done.
    pub(super) fn forget_below(&mut self, first: BatchNo) {
        let from = Block { batch: first, stream: Stream::Offer, number: BlockNo::ZERO };
        self.pending = self.pending.split_off(&from);
        self.resent = self.resent.split_off(&from);
    }

    /// Nobody waits for a target: what only it misses is not sent again.
    pub(super) fn excuse(&mut self, target: TargetNo) {
        self.pending.retain(|_, who| *who != Who::One(target));
    }
}

/// What one target goes on missing, although it is sent again.
#[derive(Debug)]
pub(super) struct Misses {
    /// The block that it misses first, how often that was sent again, and since when.
    first: Option<Block>,
    fruitless: u32,
    since: Time,
    /// How many blocks had reached it by its last answer.
    received: u32,
    /// How many had been sent to all when it last had come any further, and how many since.
    sent: u32,
    in_vain: u32,
    /// When one block may be tried again, and how long after that the next one.
    try_at: Time,
    pause: Span,
}

/// What of that which a target misses is sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    All,
    /// All of it was sent again, and nothing has arrived: perhaps nothing ever will, and it must not
    /// cost more than a block now and then to find out.
    First,
    Nothing,
}

impl Misses {
    pub(super) fn new(now: Time) -> Self {
        let (received, try_at, pause) = (0, now, FIRST_PAUSE);
        let (sent, in_vain) = (0, 0);
        Misses { first: None, fruitless: 0, since: now, received, sent, in_vain, try_at, pause }
    }

    /// An answer names the block that it misses first, and how many blocks have come, of so many that
    /// had been sent to all.
    pub(super) fn ask(&mut self, now: Time, first: Option<Block>, received: u32, sent: u32) -> Ask {
        let is_same = first.is_some() && first == self.first;
        let came = std::mem::replace(&mut self.received, received) != received;
        if !is_same || (came && !self.is_deaf()) {
            (self.sent, self.in_vain) = (sent, 0);
            return Ask::All;
        }
        if came {
            // Perhaps only because it is short, as the end of a file may be.
            (self.try_at, self.pause) = (now, FIRST_PAUSE);
        }
        let in_vain = sent.wrapping_sub(self.sent);
        // A late answer says nothing new.
        self.in_vain = if in_vain > u32::MAX / 2 { 0 } else { in_vain };
        if now < self.try_at {
            return Ask::Nothing;
        }
        self.try_at = now + self.pause;
        self.pause = (self.pause * 2).at_most(LAST_PAUSE);
        Ask::First
    }

    /// An answer names the block that it misses first, and asks for so many in all. Whether that
    /// block has been sent often enough to say that none reaches it.
    pub(super) fn count(&mut self, now: Time, first: Option<Block>, asked: u32) -> bool {
        if first.is_none() || first != self.first {
            let Misses { received, sent, .. } = *self;
            *self = Misses { first, received, sent, ..Misses::new(now) };
        } else if asked > 0 {
            self.fruitless += 1;
            return self.fruitless > FRUITLESS && now >= self.since + FRUITLESS_FOR;
        }
        false
    }

    /// Whether so many blocks have been sent in vain that others would be, too.
    pub(super) fn is_deaf(&self) -> bool {
        self.in_vain >= DEAF
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::blocks;

    const A: TargetNo = TargetNo::new(0);
    const B: TargetNo = TargetNo::new(1);
    const POLL: PollNo = PollNo::new(5);

    fn ask(repairs: &mut Repairs, target: TargetNo, poll: PollNo, missing: &[BlockRange]) -> u32 {
        repairs.ask(target, poll, BatchNo::FIRST, Stream::Data, missing)
    }

    #[test]
    fn where_nothing_arrives_less_and_less_is_sent() {
        let start = Time::from_micros(1_000_000);
        let at = |millis| start + Span::from_millis(millis);
        let first = |number| {
            let number = BlockNo::new(number);
            Some(Block { batch: BatchNo::FIRST, stream: Stream::Data, number })
        };
        let mut misses = Misses::new(start);
        let mut ask = |millis, number, received| {
            let ask = misses.ask(at(millis), first(number), received, 0);
            let given_up = misses.count(at(millis), first(number), u32::from(ask != Ask::Nothing));
            (ask, given_up)
        };
        assert_eq!(ask(0, 0, 5), (Ask::All, false));
        assert_eq!(ask(1, 0, 5), (Ask::First, false));
        assert_eq!(ask(2, 0, 5), (Ask::Nothing, false));
        assert_eq!(ask(11, 0, 5), (Ask::First, false));
        assert_eq!(ask(30, 0, 5), (Ask::Nothing, false));
        // Something has come, of whatever kind.
        assert_eq!(ask(31, 0, 6), (Ask::All, false));
        assert_eq!(ask(32, 4, 6), (Ask::All, false));
        // Nothing more comes: some dozen blocks are tried before it is given up.
        let tried: Vec<_> = (33..5_000).map(|millis| ask(millis, 4, 6)).collect();
        let end = tried.iter().position(|(_, given_up)| *given_up).unwrap();
        let count = tried[..end].iter().filter(|(ask, _)| *ask == Ask::First).count();
        assert!((8..=15).contains(&count) && (1_990..2_600).contains(&end), "{count} in {end} ms");
        assert!(tried[..end].iter().all(|(ask, _)| *ask != Ask::All));
    }

    #[test]
    fn who_hears_none_of_many_is_deaf_until_what_it_misses_first_arrives() {
        let start = Time::from_micros(1_000_000);
        let first = |number| {
            let number = BlockNo::new(number);
            Some(Block { batch: BatchNo::FIRST, stream: Stream::Data, number })
        };
        let mut misses = Misses::new(start);
        let mut ask = |millis, number, received, sent| {
            let now = start + Span::from_millis(millis);
            let ask = misses.ask(now, first(number), received, sent);
            misses.count(now, first(number), u32::from(ask != Ask::Nothing));
            (ask, misses.is_deaf())
        };
        assert_eq!(ask(0, 0, 5, 20), (Ask::All, false));
        assert_eq!(ask(1, 0, 5, 20 + DEAF - 1), (Ask::First, false));
        assert_eq!(ask(2, 0, 5, 20 + DEAF), (Ask::Nothing, true));
        // A late answer.
        assert_eq!(ask(3, 0, 5, 19), (Ask::Nothing, false));
        assert_eq!(ask(4, 0, 5, 90), (Ask::Nothing, true));
        // One that is short has come.
        assert_eq!(ask(5, 0, 6, 91), (Ask::First, true));
        assert_eq!(ask(6, 1, 7, 91), (Ask::All, false));
    }

    #[test]
    fn runs_go_to_those_who_miss_them() {
        let mut repairs = Repairs::default();
        assert_eq!(ask(&mut repairs, A, POLL, &[blocks(3..6), blocks(9..10)]), 4);
        assert_eq!(ask(&mut repairs, B, POLL, &[blocks(5..7)]), 2);
        let run =
            |blocks, who| Some(Run { batch: BatchNo::FIRST, stream: Stream::Data, blocks, who });
        assert_eq!(repairs.next(8, POLL), run(blocks(3..5), Who::One(A)));
        assert_eq!(repairs.next(8, POLL), run(blocks(5..6), Who::Several));
        assert_eq!(repairs.next(8, POLL), run(blocks(6..7), Who::One(B)));
        assert_eq!(repairs.next(8, POLL), run(blocks(9..10), Who::One(A)));
        assert_eq!(repairs.next(8, POLL), None);
    }

    #[test]
    fn a_manifest_goes_first_and_block_by_block() {
        let mut repairs = Repairs::default();
        ask(&mut repairs, A, POLL, &[blocks(0..2)]);
        repairs.ask(A, POLL, BatchNo::FIRST, Stream::Offer, &[blocks(1..4)]);
        let next = repairs.next(8, POLL).unwrap();
        assert_eq!((next.stream, next.blocks), (Stream::Offer, blocks(1..2)));
    }

    #[test]
    fn what_was_sent_after_a_poll_is_not_asked_for_by_its_answers() {
        let mut repairs = Repairs::default();
        ask(&mut repairs, A, POLL, &[blocks(3..4)]);
        assert!(repairs.next(8, POLL).is_some());
        assert_eq!(ask(&mut repairs, B, POLL, &[blocks(3..4)]), 0);
        assert_eq!(ask(&mut repairs, B, POLL.next(), &[blocks(3..4)]), 1);
        repairs.settle(POLL.next());
        assert!(repairs.resent.is_empty());
    }

    #[test]
    fn an_absurd_answer_asks_for_a_bounded_number() {
        let mut repairs = Repairs::default();
        for batch in 0..100 {
            repairs.ask(A, POLL, BatchNo::new(batch), Stream::Data, &[blocks(0..u32::MAX)]);
        }
        assert!(repairs.pending.len() <= MAX_PENDING);
        repairs.forget_below(BatchNo::new(1_000));
        assert!(repairs.is_empty());
    }

    #[test]
    fn what_only_one_misses_goes_with_it() {
        let mut repairs = Repairs::default();
        ask(&mut repairs, A, POLL, &[blocks(0..2)]);
        ask(&mut repairs, B, POLL, &[blocks(1..3)]);
        repairs.excuse(A);
        assert_eq!(repairs.next(8, POLL).map(|next| next.blocks), Some(blocks(1..2)));
        assert_eq!(repairs.next(8, POLL).map(|next| next.blocks), Some(blocks(2..3)));
    }

    #[test]
    fn answers_of_a_round_are_awaited_but_not_for_long() {
        let mut repairs = Repairs::default();
        let now = Time::from_micros(1_000_000);
        ask(&mut repairs, A, POLL, &[blocks(0..2)]);
        repairs.wait_for_others(now, Some(Span::from_secs(1)));
        assert!(!repairs.are_ready(now) && repairs.are_ready(now + MAX_WAIT));
        // Who asks later does not prolong it.
        repairs.wait_for_others(now + Span::from_millis(1), Some(Span::from_secs(1)));
        assert_eq!(repairs.ready_at(), now + MAX_WAIT);
        repairs.all_have_asked(now);
        assert!(repairs.are_ready(now));
    }

    #[test]
    fn a_target_that_no_block_reaches_is_given_up() {
        let start = Time::from_micros(1_000_000);
        let first = |number| {
            let number = BlockNo::new(number);
            Some(Block { batch: BatchNo::FIRST, stream: Stream::Data, number })
        };
        let mut misses = Misses::new(start);
        let later = start + FRUITLESS_FOR;
        assert!(!misses.count(start, first(1), 1));
        assert!((0..FRUITLESS).all(|_| !misses.count(later, first(1), 1)));
        // Nothing was sent since.
        assert!(!misses.count(later, first(1), 0));
        assert!(misses.count(later, first(1), 1));
        // Another block is the first now: something has come.
        assert!(!misses.count(later, first(2), 1));
        assert!((0..100).all(|_| !misses.count(later, first(2), 1)));
    }
}
