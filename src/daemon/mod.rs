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

mod client;
pub mod clock;
mod confine;
mod control;
mod job;
mod keyfile;
mod keyring;
mod mailbox;
mod order;
mod packet;
mod password;
mod plan;
mod receiver;
mod replay;
mod report;
mod sender;
mod shared;
mod start;
mod strangers;
mod transfer;
mod walker;
mod wire;

/// Runs the daemon and returns its exit status.
pub fn main() -> std::process::ExitCode {
    start::main()
}
