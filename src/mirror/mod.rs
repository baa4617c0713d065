//! Mirrors: trees for which several hosts are equals. Decisions alone, without files, sockets and clocks.
//!
//! Each path has a set of *versions*, each with the *dot* of the change that made it; each tree has its *knowledge*:
//! which dots it has seen. Two of both are merged path by path, in any order and as often as one likes, with the same
//! result. The scheme is known as concise version vectors (Malkhi and Terry, 2005) and vector time pairs (Cox and
//! Josephson, 2005).
#![forbid(unsafe_code)]

pub mod adopt;
mod contexts;
pub mod dialogue;
pub mod entry;
pub mod graves;
pub mod index;
pub mod look;
pub mod merge;
#[cfg(test)]
mod model;
pub mod packed;
pub mod roster;
mod rules;
pub mod show;
#[cfg(test)]
mod tests;
pub mod types;
