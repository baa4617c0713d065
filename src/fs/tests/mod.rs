//! The whole way: walk, batch, source, disk, between two base directories in one process.

mod round_trip;
