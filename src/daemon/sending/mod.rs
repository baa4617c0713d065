//! Outgoing transfers: the sender thread and the walkers.

mod advance;
mod host_tally;
mod late;
pub(super) mod launch;
mod marked_batch;
mod open_batches;
mod outgoing_transfer;
mod packets_out;
mod report;
pub(super) mod sender;
mod state;
mod unsure;
mod walker;
