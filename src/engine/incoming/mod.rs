//! The transfers that come in to one daemon, seen by it as their target.
//!
//! Memory for incoming transfers has one budget. A batch that does not fit waits, says so, and is
//! offered again. The lowest open batch of the first transfer, by its key, may go beyond the budget, so
//! there is always progress; and no sender takes what is there for others.

mod batch;
mod batches;
mod budget;
mod claim;
mod closed;
mod deletion;
mod progress;
mod reception;
mod replies;
mod shared;
mod transfer;
mod types;

#[cfg(test)]
mod testing;

pub use budget::BEYOND;
pub use claim::{InDoubt, Watched};
pub use reception::{MAX_TRANSFERS, Reception};
pub use types::{AbortReason, Arrived, Config, Event, Outbound, Place, SILENCE};
