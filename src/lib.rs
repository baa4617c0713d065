//! `makuosan` puts files on every server of a fleet at once, by multicast.
//!
//! The modules are layers; each uses only what stands above it in this list.
//!
//! *Pure*: bytes and decisions, without sockets, files, threads, clocks or logging.
//! - [`time`]: instants and spans in microseconds, without a clock.
//! - [`name`]: checked names (relative paths, host names, node ids).
//! - [`errno`]: numbers and texts of errors of the system.
//! - [`count`]: how many of something, in words.
//! - [`ids`]: the numbers of transfers, batches, blocks, entries, targets and polls.
//! - [`stamp`]: stamps that order what happens on different hosts, and the clock they are drawn from.
//! - [`crypto`]: the checksum of packets, keyed digests, constant-time comparison.
//! - [`wire`]: every packet format, parsed and emitted.
//! - [`seal`]: packets sealed and opened, with the keys of the group or with a checksum.
//! - [`pattern`]: ordered patterns of what is included and excluded.
//! - [`engine`]: the protocol: one transfer seen by its sender and by a target, and membership.
//! - [`mirror`]: trees for which several hosts are equals: which version is where, and what is to be done.
//! - [`console`]: the line protocol between the daemon and its clients.
//! - [`cli`][]: the options of both programs.
//!
//! *System*: the only unsafe code, one safe function for each call.
//! - [`sys`]
//!
//! *Adapters*: safe code over `sys`.
//! - [`net`]: sockets, multicast, batches of packets.
//! - [`fs`]: the base directory: walking, reading, staging, committing.
//! - [`log`]: the log, with a rate limit.
//! - [`watch`]: what changes in trees, told as it does.
//! - [`keeping`]: what is kept of transfers, in memory and on disk.
//!
//! *Programs*: loops that join the pieces.
//! - [`daemon`][]: `makuosan`.
//! - [`msync`][]: `msync`.
#![deny(unsafe_code)]

pub mod cli;
pub mod console;
pub mod count;
pub mod crypto;
pub mod daemon;
pub mod engine;
pub mod errno;
pub mod fs;
pub mod ids;
pub mod keeping;
pub mod log;
pub mod mirror;
pub mod msync;
pub mod name;
pub mod net;
pub mod pattern;
pub mod seal;
pub mod stamp;
#[allow(unsafe_code)]
pub mod sys;
pub mod time;
pub mod watch;
pub mod wire;

/// The version of both programs.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
