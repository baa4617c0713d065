//! The base directory: what a sender walks and reads, and what a target plans, stages and commits.
//!
//! Everything is reached by a descriptor of the base directory, and no symbolic link is followed in
//! any component of a path ([`root`]). Sending: [`walk`] finds entries, [`batch`] groups them,
//! [`source`] reads their bytes. Receiving: [`disk`] does the jobs of `engine::job`, one at a time.
#![forbid(unsafe_code)]

pub mod batch;
mod commit;
mod digest;
pub mod disk;
mod extents;
mod meta;
mod names;
mod opened;
mod plan;
pub mod root;
pub mod source;
mod stage;
mod staging;
mod sweep;
pub mod walk;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
