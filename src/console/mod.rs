//! The console: the line protocol between the daemon and its clients.
//!
//! It is text, one command a line, and older than this implementation: telnet, scripts and old
//! clients go on working. The daemon writes the prompt `> ` whenever it will obey the next line; a
//! line that begins with `error:` is an error; everything else is output of the command at work.
//!
//! - [`words`]: how a line is split into words, and how a name is said so that it survives that.
//! - [`command`]: what a line of words means.
//! - [`session`]: one connection, seen by the daemon: bytes in, commands and bytes out. No socket.
//! - [`password`]: the password of the console, and how guesses are slowed down.
//! - [`reply`]: the lines that answer, made and (for the client) read.
//! - [`json`]: the little of JSON that these need.
//! - [`report`]: the longer answers: members and status, as tables and as JSON.
#![forbid(unsafe_code)]

pub mod command;
mod help;
mod host;
pub mod json;
mod options;
pub mod password;
pub mod reply;
pub mod report;
pub mod session;
pub mod words;

pub use command::{Command, Offer};
pub use session::Session;

/// What the daemon writes, without a newline, when it will obey the next line.
pub const PROMPT: &[u8] = b"> ";

/// The longest line that a client may write, in bytes, without its end.
pub const MAX_LINE: usize = 8_192;

/// What an unknown command is answered with, before its name in single quotes.
pub const UNKNOWN: &str = "mexec: command error";
