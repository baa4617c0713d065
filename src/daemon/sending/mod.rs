//! Outgoing transfers: the sender thread and the walkers.

mod advance;
mod host_tally;
mod kept;
mod late;
pub(super) mod launch;
mod marked_batch;
mod open_batches;
mod outgoing_transfer;
mod packets_out;
pub(super) mod replay;
mod report;
pub(super) mod sender;
mod state;
mod trail_line;
mod unsure;
mod walker;
