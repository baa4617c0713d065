//! What the answers of one target show: its round trip, what it loses, how fast it receives.

use crate::engine::window::Loss;
use crate::time::{Span, Time};

/// Samples over fewer blocks than this say too little.
const SAMPLE_BLOCKS: u32 = 8;
/// Fewer lost blocks than this are nobody's trouble.
const MANY_LOST: u64 = 100;

/// What a sender has seen of a target.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Stats {
    /// Blocks sent to all, as far as it has said how many of them came.
    pub sent: u64,
    /// Those of them that did not come.
    pub lost: u64,
    /// Blocks that were sent again for it.
    pub repairs: u64,
    /// The round trip.
    pub round_trip: Option<Span>,
    /// In how many rounds it was the slowest.
    pub slowest: u64,
}

impl Stats {
    /// How many of a hundred blocks that were sent to all did not come, if that is so many of so many
    /// that something is wrong with multicast to this target.
    pub fn loses_multicast(&self) -> Option<u64> {
        let many = self.lost >= MANY_LOST && self.lost >= self.sent / 4;
        many.then(|| self.lost * 100 / self.sent.max(1))
    }
}

/// How many blocks a target had received when so many had been sent to all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) received: u32,
    pub(super) sent: u32,
    pub(super) at: Time,
}

/// The measurements of one target.
#[derive(Default, Debug)]
pub(super) struct Measure {
    /// As of its last answer that counted.
    last: Option<Sample>,
    /// Bytes a second between its last two samples, in this round.
    rate: Option<f64>,
    /// What it has lost in this round.
    loss: Loss,
    stats: Stats,
}

impl Measure {
    /// Learns from a sample; `block` is the payload of a block in bytes.
    pub(super) fn sample(&mut self, new: Sample, block: u16) {
        let Some(old) = self.last else {
            self.last = Some(new);
            return;
        };
        let sent = new.sent.wrapping_sub(old.sent);
        let received = new.received.wrapping_sub(old.received);
        let took = new.at.since(old.at);
        if sent >= SAMPLE_BLOCKS && took > Span::ZERO {
            let lost = sent.saturating_sub(received);
            self.stats.sent += u64::from(sent);
            self.stats.lost += u64::from(lost);
            self.loss.lost = self.loss.lost.saturating_add(lost);
            self.loss.sent = self.loss.sent.saturating_add(sent);
            let bytes = f64::from(received) * f64::from(block);
            self.rate = Some(bytes / took.secs_f64());
            self.last = Some(new);
        }
    }

    /// Learns from the time that an answer took.
    pub(super) fn answer_took(&mut self, took: Span) {
        self.stats.round_trip = Some(match self.stats.round_trip {
            Some(smooth) => (smooth * 7 + took) / 8,
            None => took,
        });
    }

    /// It was away: what was sent meanwhile is not counted as lost.
    pub(super) fn was_away(&mut self) {
        self.last = None;
    }

    /// So many blocks are sent again for it.
    pub(super) fn repaired(&mut self, blocks: u32) {
        self.stats.repairs += u64::from(blocks);
    }

    /// It was the slowest in a round.
    pub(super) fn was_slowest(&mut self) {
        self.stats.slowest += 1;
    }

    /// A new round begins.
    pub(super) fn begin_round(&mut self) {
        self.rate = None;
        self.loss = Loss::default();
    }

    /// Bytes a second, as of its last sample in this round.
    pub(super) fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// What it has lost in this round.
    pub(super) fn loss(&self) -> Loss {
        self.loss
    }

    /// Its smoothed round trip.
    pub(super) fn round_trip(&self) -> Option<Span> {
        self.stats.round_trip
    }

    /// What there is to show of it.
    pub(super) fn stats(&self) -> Stats {
        self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(received: u32, sent: u32, millis: u64) -> Sample {
        Sample { received, sent, at: Time::from_micros(millis * 1_000) }
    }

    #[test]
    fn much_that_is_lost_is_told_and_little_is_not() {
        let of = |sent, lost| Stats { sent, lost, ..Stats::default() }.loses_multicast();
        assert_eq!(
            [of(400, 100), of(400, 400), of(100_000, 40_000)],
            [Some(25), Some(100), Some(40)]
        );
        assert_eq!([of(0, 0), of(99, 99), of(404, 100), of(100_000, 20_000)], [None; 4]);
    }

    #[test]
    fn loss_and_rate_come_from_two_samples() {
        let mut measure = Measure::default();
        measure.sample(sample(10, 10, 0), 1_000);
        assert_eq!((measure.rate(), measure.loss()), (None, Loss::default()));
        measure.sample(sample(100, 110, 100), 1_000);
        assert_eq!(measure.rate(), Some(900_000.0));
        assert_eq!(measure.loss(), Loss { lost: 10, sent: 100 });
        measure.begin_round();
        assert_eq!((measure.rate(), measure.stats().lost), (None, 10));
    }

    #[test]
    fn few_blocks_are_counted_with_the_next_sample() {
        let mut measure = Measure::default();
        measure.sample(sample(u32::MAX, u32::MAX, 0), 1_000);
        measure.sample(sample(5, 6, 1), 1_000);
        assert_eq!(measure.loss(), Loss::default());
        measure.sample(sample(7, 9, 2), 1_000);
        assert_eq!(measure.loss(), Loss { lost: 2, sent: 10 });
    }

    #[test]
    fn what_was_sent_while_it_was_away_is_not_lost() {
        let mut measure = Measure::default();
        measure.sample(sample(0, 0, 0), 1_000);
        measure.was_away();
        measure.sample(sample(0, 1_000, 1), 1_000);
        assert_eq!(measure.loss(), Loss::default());
    }

    #[test]
    fn the_round_trip_is_smoothed() {
        let mut measure = Measure::default();
        measure.answer_took(Span::from_micros(800));
        measure.answer_took(Span::from_micros(1_600));
        assert_eq!(measure.round_trip(), Some(Span::from_micros(900)));
    }
}
