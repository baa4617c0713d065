//! `makuosan`: the threads, and what they say to each other.
//!
//! - *control* (the main thread): one `poll` over the console's listeners and clients, signals and
//!   timers; commands; members.
//! - *receiver*: takes packets off the sockets, drives the incoming transfers, writes the blocks of
//!   streamed files.
//! - *sender*: drives the outgoing transfers, reads file data, sends.
//! - *disk*: plans, stages and commits, one job after another.
//! - a *walker* for each running transfer.
//!
//! Each state machine has one owner. The threads share mailboxes, counters and a table of members.
#![forbid(unsafe_code)]

pub mod clock;
mod control;
mod keyfile;
mod mailbox;
mod messages;
mod order;
mod receiving;
mod secret_file;
mod sending;
mod setup;
mod shared;
mod strangers;
mod unread;

/// Runs the daemon and returns its exit status.
pub fn main() -> std::process::ExitCode {
    setup::start::main()
}
