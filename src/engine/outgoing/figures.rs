//! What of a transfer has been sent so far, and how it fared.

use super::Outgoing;
use super::measure::Stats;
use crate::ids::TargetNo;
use crate::name::NodeId;

impl Outgoing {
    /// How many bytes of packets carried blocks so far.
    pub fn bytes_sent(&self) -> u64 {
        self.sending.flow.bytes_sent()
    }

    /// How many bytes of packets carried blocks that had been sent before.
    pub fn bytes_repaired(&self) -> u64 {
        self.sending.flow.bytes_of(self.sending.again)
    }

    /// How many bytes of streamed files that are not done have been sent once.
    pub fn streaming(&self) -> u64 {
        self.sending.batches.streamed()
    }

    /// The slowest target's delivered rate in bytes a second, and the window in bytes.
    pub fn pace(&self) -> (Option<f64>, u64) {
        self.sending.flow.pace(self.targets.smallest_grant())
    }

    /// What each target's line shows: lost blocks, repairs asked for, round trip, times slowest.
    pub fn target_stats(&self) -> impl Iterator<Item = (TargetNo, NodeId, Stats)> + '_ {
        self.targets.stats()
    }
}
