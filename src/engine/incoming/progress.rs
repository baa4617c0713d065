//! How far a sender says it has got, and how much of that has come here.

use super::shared::Shared;
use crate::ids::{BatchNo, BlockNo, PollNo};
use crate::time::{Span, Time};
use crate::wire::poll::{Mark, Poll};

/// In fleets up to this size, targets reply at once.
const AT_ONCE: u16 = 16;
/// How much each further target spreads the replies before a poll has said how much.
const SPREAD_EACH: Span = Span::from_micros(50);

/// What has been sent of one batch: the blocks before these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    /// Of its manifest.
    pub(super) offers: BlockNo,
    /// Of its body.
    pub(super) data: BlockNo,
}

/// The newest poll.
#[derive(Clone, Copy, Debug)]
struct Polled {
    number: PollNo,
    at: Time,
    /// How many blocks had come before it. A STATUS reports this number and not the current one: what
    /// came after the poll was sent after it, and would hide losses and make rates look too high.
    received: u32,
}

/// How far a sender says it has got, and how much of that has come here.
#[derive(Debug)]
pub(super) struct Progress {
    offers: Mark,
    data: Mark,
    polled: Option<Polled>,
    /// How many blocks have come that were sent to all targets.
    received: u32,
    /// Over how long all targets spread their replies.
    spread: Span,
}

impl Progress {
    /// Nothing has come, for one of `total` targets.
    pub(super) fn new(total: u16) -> Self {
        let spread = if total > AT_ONCE { SPREAD_EACH * total.into() } else { Span::ZERO };
        Progress {
            offers: Mark::default(),
            data: Mark::default(),
            polled: None,
            received: 0,
            spread,
        }
    }

    /// A block has come; `alone`: it was sent to this target and no other.
    pub(super) fn block_came(&mut self, alone: bool) {
        self.received = self.received.wrapping_add(u32::from(!alone));
    }

    /// A poll has come. Whether it is the newest one, rather than one that came late or twice.
    pub(super) fn polled(&mut self, now: Time, number: PollNo, poll: &Poll) -> bool {
        self.offers = self.offers.max(poll.offers);
        self.data = self.data.max(poll.data);
        self.spread = Span::from_micros(poll.spread.into());
        if self.polled.is_some_and(|before| before.number >= number) {
            return false;
        }
        self.polled = Some(Polled { number, at: now, received: self.received });
        true
    }

    /// What has been sent of a batch.
    pub(super) fn sent(&self, batch: BatchNo) -> Sent {
        Sent { offers: self.offers.within(batch), data: self.data.within(batch) }
    }

    /// The newest poll, how long ago it came in microseconds, and how many blocks had come before it.
    pub(super) fn newest_poll(&self, now: Time) -> (PollNo, u32, u32) {
        match self.polled {
            Some(Polled { number, at, received }) => {
                let held = u32::try_from(now.since(at).micros()).unwrap_or(u32::MAX);
                (number, held, received)
            }
            None => (PollNo::ZERO, 0, self.received),
        }
    }

    /// When to say ACCEPT: in a large fleet so late that nearly always something else says it before.
    pub(super) fn accept_at(&self, now: Time) -> Time {
        now + self.spread
    }

    /// When to say something that no poll has asked for: at a random moment of the spread.
    pub(super) fn soon(&self, shared: &mut Shared, now: Time) -> Time {
        now + at_random(shared, self.spread)
    }

    /// When to answer a poll that asks `asked` of `total` targets: they share out the spread.
    pub(super) fn turn(&self, shared: &mut Shared, now: Time, asked: u16, total: u16) -> Time {
        now + at_random(shared, self.spread * asked.into() / total.max(1).into())
    }
}

fn at_random(shared: &mut Shared, within: Span) -> Span {
    Span::from_micros(shared.rng.below(within.micros() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incoming::testing::shared;
    use crate::ids::TargetNo;
    use crate::wire::poll::Asked;

    fn mark(batch: u32, block: u32) -> Mark {
        Mark { batch: BatchNo::new(batch), block: BlockNo::new(block) }
    }

    fn poll(offers: Mark, data: Mark, spread: u32) -> Poll {
        Poll {
            offers,
            data,
            spread,
            want_first: BatchNo::FIRST,
            want_need: 0,
            want_done: 0,
            asked: Asked::Slice(TargetNo::ZERO, 1),
        }
    }

    fn at(micros: u64) -> Time {
        Time::from_micros(micros)
    }

    #[test]
    fn marks_never_go_back_and_late_polls_are_not_the_newest() {
        let mut progress = Progress::new(2);
        let newer = poll(mark(3, 1), mark(2, 7), 0);
        assert!(progress.polled(at(10), PollNo::new(4), &newer));
        let older = poll(mark(2, 9), mark(1, 1), 0);
        assert!(!progress.polled(at(20), PollNo::new(3), &older));
        assert!(!progress.polled(at(20), PollNo::new(4), &newer));
        let sent = progress.sent(BatchNo::new(2));
        assert_eq!(sent, Sent { offers: BlockNo::END, data: BlockNo::new(7) });
        assert_eq!(progress.newest_poll(at(15)).0, PollNo::new(4));
    }

    #[test]
    fn a_status_counts_what_came_before_the_poll_and_not_what_was_sent_to_it_alone() {
        let mut progress = Progress::new(2);
        assert_eq!(progress.newest_poll(at(5)), (PollNo::ZERO, 0, 0));
        for alone in [false, true, false] {
            progress.block_came(alone);
        }
        assert_eq!(progress.newest_poll(at(5)).2, 2);
        progress.polled(at(10), PollNo::new(1), &poll(mark(1, 3), mark(1, 0), 0));
        progress.block_came(false);
        assert_eq!(progress.newest_poll(at(25)), (PollNo::new(1), 15, 2));
    }

    #[test]
    fn replies_of_a_large_fleet_are_spread_and_those_of_a_small_one_are_not() {
        let (mut shared, now) = (shared(), at(1_000));
        assert_eq!(Progress::new(AT_ONCE).soon(&mut shared, now), now);
        let mut progress = Progress::new(1_000);
        let mut latest =
            |progress: &Progress| (0..200).map(|_| progress.soon(&mut shared, now)).max().unwrap();
        let (most, spread) = (now + SPREAD_EACH * 1_000, latest(&progress).since(now));
        assert!(latest(&progress) <= most && spread > SPREAD_EACH * 500, "{spread}");
        progress.polled(now, PollNo::new(1), &poll(mark(1, 0), mark(1, 0), 100));
        assert!(latest(&progress) <= now + Span::from_micros(100));
        // A tenth of the targets take a tenth of the time.
        for _ in 0..200 {
            let turn = progress.turn(&mut shared, now, 100, 1_000);
            assert!(turn <= now + Span::from_micros(10));
        }
    }
}
