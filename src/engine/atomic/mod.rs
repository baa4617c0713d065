//! A transfer that all its targets put in place, or none: two phases, presumed abort, and an end that the targets find by
//! themselves if the sender is gone.
//!
//! What these machines know are transactions, hosts by name, and records; not what is sent. All is staged first.
//! Then a [`Coordinator`] asks for votes and decides; a [`Target`] votes, and commits or aborts. Whoever has voted
//! is *in doubt* until it knows what was decided, and asks the others if the sender is silent.
//!
//! Both give [`Action`]s in the order in which they must be done, and learn from the caller what came of staging and
//! of putting in place. A [`Record`] is on disk before what depends on it. After a start, or when an action failed, they
//! are made anew from the records that are on disk.

mod action;
mod coordinator;
mod decisions;
mod doubt;
mod log;
mod record;
pub mod redo;
mod rules;
mod saying;
mod target;
mod types;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use action::Action;
pub use coordinator::{Coordinator, Fate};
pub use decisions::{Decision, Decisions};
pub use log::{Entry, Log, MAX_ENDED, Phase};
pub use record::{MAX_PAYLOAD, Record};
pub use saying::{Failure, Report, Saying};
pub use target::{InDoubt, MAX_OPEN, SILENCE, Target};
pub use types::{Included, Known, Message, Plan, Refusal, Transaction, Why};
