//! The control thread: the clients of the console and what they ask for, members, signals.

pub(super) mod client;
pub(super) mod control_loop;
