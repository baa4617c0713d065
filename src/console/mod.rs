//! The console: the line protocol between the daemon and its clients.
//!
//! It is text with one command per line, and older than this implementation: telnet, scripts and
//! old clients keep working. The daemon writes the prompt `> ` when it is ready for the next line;
//! a line that begins with `error:` is an error; everything else is output of the running command.
//!
//! - [`words`]: splitting a line into words, and quoting a name so that it stays one word.
//! - [`verb`]: the names of all commands, and which of them a daemon offers.
//! - [`command`]: parsing a line.
//! - [`session`]: the daemon's side of one connection, without its socket.
//! - [`password`]: the console's password, and the delay after wrong ones.
//! - [`error`]: errors as lines and as JSON objects.
//! - [`reply`]: the other lines of answers, written and (for the client) parsed.
//! - [`absent`]: the hosts that a transfer did not reach; [`require`]: how many it has to reach.
//! - [`doctor`]: what keeps files from arriving.
//! - [`json`]: the part of JSON that these need.
//! - [`report`], [`status_report`] and [`history`]: the list of members, the status, and what was sent, as text
//!   and as JSON.
//! - [`metrics`]: the figures of a daemon, for Prometheus.
#![forbid(unsafe_code)]

pub mod absent;
pub mod command;
mod decision;
pub mod difference;
pub mod doctor;
pub mod error;
mod file_list;
pub mod fleet;
mod help;
pub mod history;
mod host;
pub mod json;
pub mod metrics;
pub mod mirror_row;
pub mod moment;
mod options;
mod output;
pub mod password;
pub mod reply;
pub mod report;
pub mod require;
pub mod session;
pub mod status_report;
mod usage_error;
pub mod verb;
pub mod watch_row;
pub mod words;

pub use command::Command;
pub use reply::PROMPT;
pub use session::Session;
pub use verb::Offer;
pub use words::MAX_LINE;

/// The longest that a watch lets a change wait for more, in milliseconds.
pub const MAX_DELAY: u64 = 60_000;
