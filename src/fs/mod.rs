//! The base directory: what a sender walks and reads, and what a target plans, stages and commits.
//!
//! Everything is reached by a descriptor of the base directory, and no symbolic link is followed in
//! any component of a path ([`root`]). Sending: [`walk`] finds entries, [`batch`] groups them,
//! [`source`] reads their bytes. Receiving: [`disk`] does the jobs of `engine::job`, one at a time.
//! What a target has and the sender has not is found while the names come in, kept in a file, and
//! deleted at the end if the sender says so.
#![forbid(unsafe_code)]

mod attributes;
pub mod batch;
mod commit;
mod delete;
mod digest;
pub mod disk;
mod errors;
mod extents;
pub mod found;
mod grain;
mod identity;
mod names;
mod opened;
mod paths;
mod plan;
mod rights;
pub mod root;
pub mod source;
mod spool;
mod stage;
mod staging;
mod surplus;
mod sweep;
pub mod walk;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
