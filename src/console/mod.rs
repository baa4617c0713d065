//! The console: the line protocol between the daemon and its clients.
//!
//! It is text, one command a line, and older than this implementation: telnet, scripts and old
//! clients go on working. The daemon writes the prompt `> ` whenever it will obey the next line; a
//! line that begins with `error:` is an error; everything else is output of the command at work.
//!
//! - [`words`]: how a line is split into words, and how a name is said so that it survives that.
//! - [`verb`]: every command by its name, and which of them a daemon offers.
//! - [`command`]: what a line of words means.
//! - [`session`]: one connection, seen by the daemon: bytes in, commands and bytes out. No socket.
//! - [`password`]: the password of the console, and how guesses are slowed down.
//! - [`error`]: errors, as lines and as objects of JSON.
//! - [`reply`]: the other lines that answer, made and (for the client) read.
//! - [`json`]: the little of JSON that these need.
//! - [`report`]: the longer answers: members and status, as tables and as JSON.
#![forbid(unsafe_code)]

pub mod command;
pub mod error;
mod help;
mod host;
pub mod json;
mod options;
mod output;
pub mod password;
pub mod reply;
pub mod report;
pub mod session;
pub mod verb;
pub mod words;

pub use command::Command;
pub use reply::PROMPT;
pub use session::Session;
pub use verb::Offer;
pub use words::MAX_LINE;
