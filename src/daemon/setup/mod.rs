//! From the command line to the running threads.

mod assemble;
mod check_config;
mod confine;
mod error;
mod hazards;
mod identity;
mod journal;
mod limits;
mod mirrored;
mod password_file;
mod running;
pub(super) mod start;
mod transactions;
mod watched;
