//! The client, `msync`: sends commands to the daemon and shows the answers.
//!
//! - `run`: from the command line to the exit status.
//! - `link`: the connection, as prompts and lines.
//! - `dialogue`: the start of a connection, sending a line, waiting for the answer.
//! - `lists`: the commands that list something.
//! - `transfer`: the commands that work on files; `line`: writing them; `answer`: parsing the
//!   answers.
//! - `summary`: their results, in total and for each host.
//! - `old`: answers of daemons without JSON, turned into JSON as far as possible.
//! - `input`: files and standard input.
//! - `place`: the path below the base directory that a typed path means.
//! - `show`: standard output, standard error, the progress line and the summary.
//! - `failure`: why the client ends early; `status`: the exit statuses.
#![forbid(unsafe_code)]

mod answer;
mod dialogue;
mod doctor;
mod failure;
mod input;
mod line;
mod link;
mod listed;
mod lists;
mod old;
mod place;
mod request;
mod run;
mod show;
mod status;
mod summary;
mod watching;

pub use run::main;
