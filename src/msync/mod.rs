//! The client, `msync`: tells the daemon what to do, and shows what it answers.
//!
//! - `run`: from the command line to the exit status.
//! - `link`: the connection, as prompts and lines.
//! - `dialogue`: the daemon is greeted, told a line, and its answer awaited.
//! - `lists`: the commands that list something.
//! - `transfer`: the commands that work on files; `line`: how they are said; `answer`: what is answered.
//! - `summary`: what these came to, in all and on each host.
//! - `old`: what is made of the answers of daemons that know no JSON.
//! - `input`: what is read from files and standard input.
//! - `place`: which path below the base directory a typed path is.
//! - `show`: standard output, standard error, the progress line and the summary.
//! - `failure`: why the client ends early; `status`: how it ends.
#![forbid(unsafe_code)]

mod answer;
mod dialogue;
mod failure;
mod input;
mod line;
mod link;
mod lists;
mod old;
mod place;
mod run;
mod show;
mod status;
mod summary;
mod transfer;

pub use run::main;
