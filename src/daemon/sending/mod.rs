//! The sender thread and the walkers: the transfers that go out.

pub(super) mod launch;
pub(super) mod outgoing_transfer;
pub(super) mod packets_out;
pub(super) mod report;
pub(super) mod sender;
pub(super) mod walker;
