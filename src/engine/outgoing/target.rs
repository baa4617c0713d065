//! One target of an outgoing transfer.

use std::net::SocketAddrV4;

use super::repair::Stream;
use crate::engine::disk_job::DeletionTally;
use crate::engine::window::Loss;
use crate::ids::{BatchNo, BlockNo, PollNo};
use crate::name::NodeId;
use crate::time::{Span, Time};

/// A target that says nothing to so many polls, and for [`SILENT_FOR`], is suspended.
pub(super) const SILENT_POLLS: u32 = 5;
/// See [`SILENT_POLLS`].
pub(super) const SILENT_FOR: Span = Span::from_secs(1);
/// A target whose disk is busy may take so long in all.
pub(super) const BUSY_FOR: Span = Span::from_secs(60);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Presence {
    /// It has been asked to take part.
    Joining,
    /// It takes part.
    Active,
    /// It has been silent; nobody waits for it.
    Suspended,
    /// It takes no part any more.
    Gone,
}

/// What a sender has seen of a target.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Stats {
    /// Blocks sent to all that did not come.
    pub lost: u64,
    /// Blocks that were sent again for it.
    pub repairs: u64,
    /// The round trip.
    pub round_trip: Option<Span>,
    /// In how many rounds it was the slowest.
    pub slowest: u64,
}

#[derive(Debug)]
pub(super) struct Target {
    pub(super) node: NodeId,
    pub(super) addr: SocketAddrV4,
    pub(super) presence: Presence,
    pub(super) heard: Time,
    pub(super) busy: Option<Time>,
    /// Repeated polls since it was last heard.
    pub(super) silent_polls: u32,
    pub(super) probed: Time,
    pub(super) grant: u64,
    /// The newest poll that it answered.
    pub(super) answered: PollNo,
    pub(super) ended: bool,
    /// What it has spooled, what became of that, and which of the names come next.
    pub(super) tally: Option<DeletionTally>,
    pub(super) ran: bool,
    pub(super) page: Option<u64>,
    /// Blocks received and sent to all, as of its last answer.
    pub(super) sample: Option<Sample>,
    /// Bytes a second between its last two samples.
    pub(super) rate: Option<f64>,
    /// What it has lost in this round.
    pub(super) loss: Loss,
    /// The block that it misses first, how often that was sent again, and since when.
    pub(super) first_missed: Option<(BatchNo, Stream, BlockNo)>,
    pub(super) fruitless: u32,
    pub(super) fruitless_since: Time,
    pub(super) stats: Stats,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) received: u32,
    pub(super) sent: u32,
    pub(super) at: Time,
}

impl Target {
    pub(super) fn new(node: NodeId, addr: SocketAddrV4, now: Time) -> Self {
        Target {
            node,
            addr,
            presence: Presence::Joining,
            heard: now,
            busy: None,
            silent_polls: 0,
            probed: now,
            grant: u64::MAX,
            answered: PollNo::ZERO,
            ended: false,
            tally: None,
            ran: false,
            page: Some(0),
            sample: None,
            rate: None,
            loss: Loss::default(),
            first_missed: None,
            fruitless: 0,
            fruitless_since: now,
            stats: Stats::default(),
        }
    }

    /// Whether the others wait for it.
    pub(super) fn is_active(&self) -> bool {
        matches!(self.presence, Presence::Joining | Presence::Active)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.presence == Presence::Gone
    }

    /// When it leaves if it stays silent.
    pub(super) fn limit(&self, timeout: Span) -> Time {
        let limit = self.heard + timeout;
        match self.busy {
            // A daemon that says BUSY each second lives; it is given up when it stops saying so.
            Some(busy) => limit.max((busy + timeout).min(self.heard + BUSY_FOR.at_least(timeout))),
            None => limit,
        }
    }

    pub(super) fn round_trip(&mut self, sample: Span) {
        self.stats.round_trip = Some(match self.stats.round_trip {
            Some(smooth) => (smooth * 7 + sample) / 8,
            None => sample,
        });
    }
}
