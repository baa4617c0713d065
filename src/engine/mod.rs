//! The protocol, without I/O: packets, results and the time go in; packets, jobs and deadlines come
//! out. Nothing here touches a socket, a file, a thread or a clock.
//!
//! **The driving rule**: hand in one thing (a packet, an answer of the disk, a batch, an expired
//! deadline), then call every `poll_…` until it gives nothing, then wait until the deadline of
//! `poll_timeout`.
#![forbid(unsafe_code)]

pub mod atomic;
pub mod catch_up;
pub mod destination;
pub mod disk_job;
pub mod incoming;
pub mod members;
pub mod outgoing;
pub mod probe;
pub mod ranges;
pub mod rng;
pub mod window;

#[cfg(test)]
mod sim;
