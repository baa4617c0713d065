//! What a transfer came to: the lines and results that a client gets of it.

pub(super) mod advance;
mod host_tally;
mod late;
mod marked_batch;
pub(super) mod report;
pub(super) mod trail_line;
mod unsure;
