//! How much may be in flight, and how fast it may leave.
//!
//! The window counts bytes sent and not yet confirmed by the slowest target. It doubles each round
//! until its first cut, then grows by an eighth while the slowest target's delivered rate rises. It is
//! cut only for loss that is more than usual, or for rounds that get longer without more being
//! delivered: random loss is repaired, congestion is obeyed.

use std::collections::VecDeque;

use crate::time::{Span, Time};

/// The window is never smaller, in blocks, and starts here.
pub const FLOOR: u64 = 16;
/// What a cut leaves, in tenths.
const CUT: u64 = 7;
/// Loss under this share never cuts.
const LOSS_IGNORED: f64 = 0.10;
/// Loss must be this much over its own average to cut, and by so many standard deviations more than
/// that: of the few blocks of a short round, a third may be lost by chance.
const LOSS_UNUSUAL: f64 = 1.5;
const DEVIATIONS: f64 = 2.0;
/// The longest burst: what leaves at once takes at most this long at the paced rate.
const BURST: Span = Span::from_micros(500);
/// The pace is this much over the slowest delivered rate, so that there is room to find out more.
const GAIN: f64 = 1.25;
/// The delivered rate is the best of so many rounds: one that waited for an answer says little.
const RATE_ROUNDS: usize = 8;
/// Pacing credit for time that was slept through.
const CREDIT: Span = Span::from_micros(500);

/// Blocks that were sent, and how many of them were lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Loss {
    /// How many were lost.
    pub lost: u32,
    /// Of so many.
    pub sent: u32,
}

impl Loss {
    /// The share that was lost, 0 to 1.
    pub fn share(self) -> f64 {
        f64::from(self.lost) / f64::from(self.sent.max(1))
    }

    /// Whether more were lost than chance explains where `usual` is the share that is lost: the number
    /// of them has a variance of no more than its mean.
    fn exceeds(self, usual: f64) -> bool {
        let expected = usual * f64::from(self.sent);
        f64::from(self.lost) > expected + DEVIATIONS * expected.sqrt()
    }
}

/// What one round showed.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// How long it took.
    pub took: Span,
    /// The longest smoothed round trip of a target.
    pub round_trip: Option<Span>,
    /// The slowest target's delivered bytes a second, if anything was delivered.
    pub rate: Option<f64>,
    /// What the target lost that lost the largest share.
    pub loss: Loss,
    /// Whether the window held anything back in this round.
    pub limited: bool,
}

/// The window of one transfer.
#[derive(Clone, Debug)]
pub struct Window {
    block: u64,
    size: u64,
    doubling: bool,
    best_rate: f64,
    rates: VecDeque<f64>,
    round_trip: Option<Span>,
    shortest: Option<Span>,
    loss: f64,
    steady: u32,
}

impl Window {
    /// A new window over blocks of `block` bytes.
    pub fn new(block: u64) -> Self {
        Window {
            block,
            size: FLOOR * block,
            doubling: true,
            best_rate: 0.0,
            rates: VecDeque::new(),
            round_trip: None,
            shortest: None,
            loss: 0.0,
            steady: 0,
        }
    }

    /// Its size in bytes under a grant.
    pub fn size(&self, grant: u64) -> u64 {
        self.size.min(grant).max(FLOOR * self.block)
    }

    /// The slowest delivered rate, in bytes a second; None before it is known.
    pub fn rate(&self) -> Option<f64> {
        self.rates.iter().copied().max_by(f64::total_cmp)
    }

    /// The rate at which blocks leave, in bytes a second: a little over what is delivered, and over
    /// a window in each round trip, lest slow rounds make each other slower.
    fn pace(&self) -> Option<f64> {
        let window = self.size as f64 / self.round_trip?.secs_f64().max(1e-6);
        Some(GAIN * self.rate()?.max(window))
    }

    /// Learns from a round. `most` is the smallest grant, in bytes.
    pub fn round(&mut self, round: Round, most: u64) {
        let shortest = self.shortest.map_or(round.took, |span| span.at_most(round.took));
        self.shortest = Some(shortest);
        self.round_trip = round.round_trip.or(self.round_trip);
        let Some(rate) = round.rate else { return };
        self.rates.push_back(rate);
        if self.rates.len() > RATE_ROUNDS {
            self.rates.pop_front();
        }

        let unusual = round.loss.exceeds(LOSS_IGNORED.max(LOSS_UNUSUAL * self.loss));
        self.loss += (round.loss.share() - self.loss) / 8.0;
        let rising = rate > self.best_rate * 1.02;
        // A round that takes long because much was in flight says that a queue fills somewhere.
        let queueing = round.limited
            && !rising
            && round.took > shortest * 4
            && round.took > Span::from_millis(20)
            && rate < self.best_rate * 1.02;
        self.best_rate = if rising { rate } else { self.best_rate - self.best_rate / 64.0 };
        if unusual || queueing {
            self.size = (self.size * CUT / 10).max(FLOOR * self.block);
            self.doubling = false;
            self.steady = 0;
        } else if round.limited && self.size <= most {
            self.steady += 1;
            if self.doubling {
                self.size = (self.size * 2).min(most.max(FLOOR * self.block));
            } else if rising || self.steady >= 8 {
                self.steady = 0;
                self.size += (self.size / 8).max(self.block);
            }
        }
    }

    /// How many blocks may leave at once.
    pub fn burst(&self, most: u32) -> u32 {
        match self.pace() {
            None => most.min(FLOOR as u32),
            Some(pace) => {
                let bytes = pace * BURST.secs_f64();
                ((bytes / self.block as f64) as u32).clamp(2, most.max(2))
            }
        }
    }
}

/// Spreads what leaves over time.
#[derive(Clone, Debug, Default)]
pub struct Pacer {
    next: Time,
}

impl Pacer {
    /// When the next burst may leave.
    pub fn next(&self) -> Time {
        self.next
    }

    /// Notes that `bytes` left.
    pub fn sent(&mut self, now: Time, bytes: u64, window: &Window) {
        let Some(pace) = window.pace() else { return };
        let earliest = Time::from_micros(now.micros().saturating_sub(CREDIT.micros()));
        let takes = Span::from_micros((bytes as f64 / pace * 1e6) as u64);
        self.next = self.next.max(earliest) + takes;
    }
}

/// A limit in bytes a second that holds five milliseconds' worth: a thread of a busy host wakes up
/// late (`-T`).
#[derive(Clone, Debug)]
pub struct TokenBucket {
    rate: f64,
    next: Time,
}

impl TokenBucket {
    const HOLDS: Span = Span::from_millis(5);

    /// A full bucket for `rate` bytes a second.
    pub fn new(rate: f64) -> Self {
        TokenBucket { rate: rate.max(1.0), next: Time::ZERO }
    }

    /// When data may leave: now if it is in the past.
    pub fn next(&self) -> Time {
        self.next
    }

    /// Charges `bytes` that left, whether they had to wait for it or not.
    pub fn sent(&mut self, now: Time, bytes: u64) {
        let earliest = Time::from_micros(now.micros().saturating_sub(Self::HOLDS.micros()));
        let takes = Span::from_micros((bytes as f64 / self.rate * 1e6).ceil() as u64);
        self.next = self.next.max(earliest) + takes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(rate: f64, loss: f64, millis: u64) -> Round {
        let took = Span::from_millis(millis);
        let loss = Loss { lost: (loss * 100.0) as u32, sent: 100 };
        Round { took, round_trip: Some(took), rate: Some(rate), loss, limited: true }
    }

    #[test]
    fn doubles_until_the_first_unusual_loss() {
        let mut window = Window::new(1_000);
        window.round(round(1e6, 0.0, 1), 1 << 30);
        window.round(round(2e6, 0.0, 1), 1 << 30);
        assert_eq!(window.size(u64::MAX), 64_000);
        window.round(round(2e6, 0.4, 1), 1 << 30);
        assert_eq!(window.size(u64::MAX), 44_800);
        window.round(round(3e6, 0.0, 1), 1 << 30);
        assert_eq!(window.size(u64::MAX), 50_400);
    }

    #[test]
    fn steady_random_loss_does_not_starve_it() {
        let mut window = Window::new(1_000);
        for _ in 0..200 {
            window.round(round(1e7, 0.25, 1), 1 << 20);
        }
        assert!(window.size(u64::MAX) > 100_000, "{}", window.size(u64::MAX));
    }

    #[test]
    fn a_few_lost_blocks_of_few_prove_nothing() {
        let loss = |lost, sent| Loss { lost, sent }.exceeds(LOSS_IGNORED);
        assert!(!loss(2, 8) && !loss(4, 16) && !loss(15, 100) && !loss(110, 1_000));
        assert!(loss(4, 8) && loss(6, 16) && loss(20, 100) && loss(130, 1_000));
        let mut window = Window::new(1_000);
        for _ in 0..6 {
            let loss = Loss { lost: 2, sent: 8 };
            window.round(Round { loss, ..round(1e7, 0.0, 1) }, 1 << 30);
        }
        assert_eq!(window.size(u64::MAX), 16_000 << 6);
    }

    #[test]
    fn a_grant_caps_it_and_the_floor_holds() {
        let mut window = Window::new(1_000);
        for _ in 0..20 {
            window.round(round(1e9, 0.0, 1), 50_000);
        }
        assert_eq!(window.size(50_000), 50_000);
        assert_eq!(window.size(1), 16_000);
        for _ in 0..50 {
            window.round(round(1.0, 1.0, 1), 50_000);
            window.loss = 0.0;
        }
        assert_eq!(window.size(u64::MAX), 16_000);
    }

    #[test]
    fn a_round_in_which_the_window_held_nothing_back_proves_nothing() {
        let mut window = Window::new(1_000);
        window.round(Round { limited: false, ..round(1e6, 0.0, 1) }, 1 << 20);
        assert_eq!(window.size(u64::MAX), 16_000);
    }

    #[test]
    fn the_bucket_lets_its_rate_through() {
        let mut bucket = TokenBucket::new(1e6);
        let mut now = Time::from_micros(1_000_000);
        let start = now;
        for _ in 0..1_000 {
            now = now.max(bucket.next());
            bucket.sent(now, 1_500);
        }
        let took = now.since(start).secs_f64();
        assert!((1.49..=1.51).contains(&took), "{took}");
    }

    #[test]
    fn the_pacer_spreads_and_forgives_only_a_little() {
        let mut window = Window::new(1_000);
        window.round(round(8e5, 0.0, 100), 1 << 20);
        let mut pacer = Pacer::default();
        let now = Time::from_micros(10_000_000);
        pacer.sent(now, 1_000, &window);
        assert_eq!(pacer.next(), now + Span::from_micros(500));
        pacer.sent(now, 1_000, &window);
        assert_eq!(pacer.next(), now + Span::from_micros(1_500));
    }
}
