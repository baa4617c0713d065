//! The sender thread and the walkers: the transfers that go out.

pub(super) mod launch;
mod outgoing_transfer;
mod packets_out;
mod report;
pub(super) mod sender;
mod walker;
