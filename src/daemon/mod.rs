//! `makuosan`: its threads and the messages between them.
//!
//! - *control* (the main thread): waits in one `poll` for clients, signals and timers; executes
//!   commands; keeps the list of members.
//! - *receiver*: reads the sockets, drives the incoming transfers, writes the blocks of streamed
//!   files.
//! - *sender*: drives the outgoing transfers, reads file data and sends it.
//! - *disk*: plans, stages and commits incoming batches, one job after another.
//! - a *walker* for each outgoing transfer: reads the directory tree.
//!
//! Each state machine is owned by one thread. Shared are mailboxes, counters and a table of members.
//!
//! A room (a folder) uses only itself, the rooms before it in the order `reporting`, `receiving`,
//! `sending`, `control`, `setup`, and the files beside them.
#![forbid(unsafe_code)]

mod again;
pub mod base;
mod became;
mod caller;
pub mod clock;
mod control;
mod counters;
mod keyfile;
mod looker;
mod mailbox;
mod messages;
mod metrics_file;
mod order;
mod prepared;
mod receiving;
mod reporting;
mod secret_file;
mod sending;
mod setup;
mod shared;
mod spawn;
mod strangers;
mod unread;
mod wanted;

/// Runs the daemon and returns its exit status.
pub fn main() -> std::process::ExitCode {
    setup::start::main()
}
