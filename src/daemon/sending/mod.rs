//! Outgoing transfers: the sender thread and the walkers.

mod again;
mod agreed;
mod agreement;
mod kept;
pub(super) mod launch;
pub(super) mod mirrored;
mod open_batches;
mod outgoing_transfer;
mod packets_out;
pub(super) mod replay;
pub(super) mod sender;
mod state;
mod walker;
