//! The whole way: walk, batch, source, disk, between two base directories in one process.

mod attacks;
mod changes;
mod failures;
mod kinds;
mod mounts;
mod nobody;
mod round_trip;
mod transfers;
mod walks;
