//! The network between simulated hosts.

use crate::engine::rng::Rng;
use crate::time::{Span, Time};

pub(super) struct Net {
    rng: Rng,
    /// Shares in a thousand: lost before the fan-out, lost to one receiver, doubled, put off.
    pub(super) shared_loss: u64,
    pub(super) member_loss: u64,
    pub(super) doubled: u64,
    pub(super) late: u64,
    /// One way.
    pub(super) delay: Span,
    /// The link that all of the sender's packets pass, in bytes a second; and how many wait for it.
    pub(super) rate: Option<f64>,
    pub(super) queue: usize,
    free: Time,
    pub(super) dropped: u64,
    pub(super) carried: u64,
}

impl Net {
    pub(super) fn new(seed: u64) -> Self {
        Net {
            rng: Rng::new(seed),
            shared_loss: 0,
            member_loss: 0,
            doubled: 0,
            late: 0,
            delay: Span::from_micros(100),
            rate: None,
            queue: 1_000,
            free: Time::ZERO,
            dropped: 0,
            carried: 0,
        }
    }

    fn happens(&mut self, per_thousand: u64) -> bool {
        per_thousand > 0 && self.rng.below(1_000) < per_thousand
    }

    /// A packet leaves the sender: after how long its copies come to the fan-out.
    pub(super) fn out(&mut self, now: Time, len: usize) -> Vec<Span> {
        let mut after = self.delay;
        if let Some(rate) = self.rate {
            let takes = Span::from_micros((len as f64 / rate * 1e6).ceil() as u64);
            let waiting = self.free.since(now);
            // The queue holds so many packets of full size.
            let full = Span::from_micros((1_500.0 / rate * 1e6) as u64 * self.queue as u64);
            if waiting > full {
                self.dropped += 1;
                return Vec::new();
            }
            self.free = self.free.max(now) + takes;
            after = after + self.free.since(now);
        }
        self.carried += len as u64;
        self.copies(after)
    }

    fn copies(&mut self, after: Span) -> Vec<Span> {
        if self.happens(self.shared_loss) {
            return Vec::new();
        }
        let mut copies = vec![after];
        if self.happens(self.doubled) {
            copies.push(after + Span::from_micros(self.rng.below(3_000)));
        }
        if self.happens(self.late) {
            copies[0] = after + Span::from_micros(self.rng.below(20_000));
        }
        copies
    }

    /// Whether a receiver gets a packet that is for all, and how much later than the others.
    pub(super) fn fan_out(&mut self) -> Option<Span> {
        if self.happens(self.member_loss) {
            return None;
        }
        Some(if self.happens(self.late) {
            Span::from_micros(self.rng.below(5_000))
        } else {
            Span::ZERO
        })
    }

    /// A target answers: after how long its copies come.
    pub(super) fn back(&mut self) -> Vec<Span> {
        if self.happens(self.member_loss) {
            return Vec::new();
        }
        let delay = self.delay;
        self.copies(delay)
    }
}
