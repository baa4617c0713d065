//! The control thread: the clients of the console and what they ask for, members, signals.

mod client;
pub(super) mod control_loop;
pub(super) mod door;
pub(super) mod membership;
mod places;
pub(super) mod settings;
mod status;
mod targets;
