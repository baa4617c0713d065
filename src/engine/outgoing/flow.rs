//! How much may be sent now: the window, the pace, and what is counted for them.

use super::polls::Sent;
use crate::engine::window::{Pacer, Round, Window};
use crate::time::Time;
use crate::wire::header::{HEADER_LEN, TRAILER_LEN};

/// A poll leaves after so many bytes at the latest.
const POLL_EVERY: u64 = 512 << 10;

/// What limits the blocks that are sent.
#[derive(Debug)]
pub(super) struct Flow {
    /// The payload of a block, in bytes.
    block: u64,
    window: Window,
    pacer: Pacer,
    /// What was sent.
    sent: Sent,
    /// How many of these bytes are confirmed.
    confirmed: u64,
    /// How many bytes were sent since the last poll.
    unpolled: u64,
    /// Whether the window held something back since the last round.
    limited: bool,
}

/// What the moment allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How many bytes all targets take in flight.
    pub(super) grant: u64,
    /// How many blocks may leave at once.
    pub(super) most: u32,
}

impl Flow {
    pub(super) fn new(block: u16) -> Self {
        let block = u64::from(block);
        Flow {
            block,
            window: Window::new(block),
            pacer: Pacer::default(),
            sent: Sent::default(),
            confirmed: 0,
            unpolled: 0,
            limited: false,
        }
    }

    /// What was sent so far.
    pub(super) fn sent_so_far(&self) -> Sent {
        self.sent
    }

    /// How many bytes of packets carried blocks so far.
    pub(super) fn bytes_sent(&self) -> u64 {
        self.bytes_of(self.sent.bytes / self.block.max(1))
    }

    /// How many bytes the packets of so many blocks have.
    pub(super) fn bytes_of(&self, blocks: u64) -> u64 {
        blocks * (self.block + (HEADER_LEN + TRAILER_LEN) as u64)
    }

    /// The slowest target's delivered rate in bytes a second, and the window in bytes.
    pub(super) fn pace(&self, grant: u64) -> (Option<f64>, u64) {
        (self.window.rate(), self.window.size(grant))
    }

    fn in_flight(&self) -> u64 {
        self.sent.bytes - self.confirmed
    }

    /// Whether the window has room for another block. Without, an answer has to come first.
    pub(super) fn has_room(&self, grant: u64) -> bool {
        self.in_flight() + self.block <= self.window.size(grant)
    }

    /// When the pace lets the next blocks leave.
    pub(super) fn next(&self) -> Time {
        self.pacer.next()
    }

    /// How many blocks may leave now, where some wait; `None` if none may.
    pub(super) fn allow(&mut self, now: Time, limits: Limits) -> Option<u32> {
        if now < self.pacer.next() || self.unpolled >= self.poll_every(limits) {
            return None;
        }
        let room = self.window.size(limits.grant).saturating_sub(self.in_flight());
        // No further than the next poll is due.
        let room = room.min(self.poll_every(limits).saturating_sub(self.unpolled));
        let room = u32::try_from(room / self.block).unwrap_or(u32::MAX);
        Some(self.window.burst(limits.most).min(room).max(1))
    }

    /// The window has held blocks back.
    pub(super) fn hold_back(&mut self) {
        self.limited = true;
    }

    /// Whether a poll is due that asks for what was sent: `blocks` says whether more could be sent if
    /// the window had room.
    pub(super) fn poll_is_due(&self, blocks: bool, limits: Limits) -> bool {
        let goes_on = blocks && self.has_room(limits.grant);
        self.unpolled > 0 && (!goes_on || self.unpolled >= self.poll_every(limits))
    }

    fn poll_every(&self, limits: Limits) -> u64 {
        // A small window is asked for in small pieces, or it stands still between them.
        match self.window.size(limits.grant) {
            small if small < POLL_EVERY => small / 3,
            large => {
                // Whole bursts, or what is left of one leaves by itself before each poll.
                let burst = u64::from(limits.most) * self.block;
                let every = (large / 4).min(POLL_EVERY);
                if every > burst { every - every % burst.max(1) } else { every }
            }
        }
    }

    /// Blocks have left, to all or to one alone.
    pub(super) fn blocks_sent(&mut self, now: Time, count: u32, alone: bool) {
        let bytes = u64::from(count) * self.block;
        self.sent.bytes += bytes;
        self.unpolled += bytes;
        if !alone {
            self.sent.to_all = self.sent.to_all.wrapping_add(count);
        }
        self.pacer.sent(now, bytes, &self.window);
    }

    /// All targets have been polled.
    pub(super) fn polled(&mut self) {
        self.unpolled = 0;
    }

    /// So many bytes of what was sent are confirmed.
    pub(super) fn confirm(&mut self, bytes: u64) {
        self.confirmed = self.confirmed.max(bytes);
    }

    /// Whether the window has held blocks back since this was last called.
    pub(super) fn take_limited(&mut self) -> bool {
        std::mem::take(&mut self.limited)
    }

    /// Learns from a round.
    pub(super) fn end_round(&mut self, round: Round, grant: u64) {
        self.window.round(round, grant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::window::{FLOOR, Loss};
    use crate::time::Span;

    const BLOCK: u16 = 1_000;
    const LIMITS: Limits = Limits { grant: u64::MAX, most: 44 };
    const START: Time = Time::from_micros(1_000_000);

    #[test]
    fn the_window_is_filled_and_waits_for_answers() {
        let mut flow = Flow::new(BLOCK);
        let mut sent = 0;
        while flow.has_room(LIMITS.grant) {
            let Some(count) = flow.allow(START, LIMITS) else {
                assert!(flow.poll_is_due(true, LIMITS), "stands still");
                flow.polled();
                continue;
            };
            flow.blocks_sent(START, count, false);
            sent += u64::from(count);
        }
        assert_eq!(sent, FLOOR);
        assert_eq!(flow.sent_so_far(), Sent { bytes: 16_000, to_all: 16 });
        flow.confirm(1_000);
        assert!(flow.has_room(LIMITS.grant));
        // Late answers take nothing back.
        flow.confirm(0);
        assert!(flow.has_room(LIMITS.grant));
    }

    #[test]
    fn a_poll_follows_what_was_sent_when_nothing_follows_or_much_was() {
        let mut flow = Flow::new(BLOCK);
        assert!(!flow.poll_is_due(false, LIMITS) && !flow.poll_is_due(true, LIMITS));
        flow.blocks_sent(START, 1, false);
        assert!(flow.poll_is_due(false, LIMITS) && !flow.poll_is_due(true, LIMITS));
        // A third of the window.
        flow.blocks_sent(START, 5, true);
        assert!(flow.poll_is_due(true, LIMITS));
        assert_eq!(flow.allow(START, LIMITS), None);
        flow.polled();
        assert!(!flow.poll_is_due(false, LIMITS));
        assert_eq!(flow.sent_so_far(), Sent { bytes: 6_000, to_all: 1 });
    }

    #[test]
    fn a_full_window_is_polled_for() {
        let mut flow = Flow::new(BLOCK);
        flow.blocks_sent(START, 15, false);
        flow.polled();
        flow.blocks_sent(START, 1, false);
        assert!(!flow.has_room(LIMITS.grant) && flow.poll_is_due(true, LIMITS));
    }

    #[test]
    fn the_pace_and_whether_the_window_limits_are_learnt_by_round() {
        let mut flow = Flow::new(BLOCK);
        flow.hold_back();
        assert!(flow.take_limited() && !flow.take_limited());
        let took = Span::from_millis(100);
        let loss = Loss::default();
        let round = Round { took, round_trip: Some(took), rate: Some(1e5), loss, limited: true };
        flow.end_round(round, LIMITS.grant);
        assert_eq!(flow.pace(LIMITS.grant), (Some(1e5), 32_000));
        assert_eq!(flow.pace(20_000), (Some(1e5), 20_000));
        flow.blocks_sent(START, 8, false);
        assert!(flow.next() > START);
        assert_eq!(flow.allow(START, LIMITS), None);
        assert_eq!(flow.bytes_sent(), 8 * (1_000 + (HEADER_LEN + TRAILER_LEN) as u64));
    }
}
