//! Every packet format, parsed and emitted. Numbers are big-endian, or LEB128 where a comment says
//! "varint"; a counted field is a varint and so many bytes. Parsing never panics, and never allocates by
//! a length that it has not checked.
//!
//! One file holds one format, in the same order: constants, the value, `parse`, `emit`, tests.
#![forbid(unsafe_code)]

pub mod audience;
pub mod begin;
pub mod behind;
pub mod bits;
pub mod bytes;
pub mod feedback;
pub mod fetch;
pub mod file_time;
pub mod header;
pub mod hello;
pub mod layout;
pub mod manifest;
pub mod mirror;
pub mod mode;
pub mod names;
pub mod outcome;
pub mod poll;
pub mod probe;
pub mod records;
pub mod setup;
pub mod version;
pub mod versions;

use std::fmt;

/// Why bytes do not parse. A packet that does not parse is dropped and counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// They end before the last field.
    Truncated,
    /// There are bytes after the last field.
    Trailing,
    /// A field has a value that is not allowed.
    Invalid,
    /// A number or a count is over its bound.
    TooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Truncated => "truncated",
            Error::Trailing => "trailing bytes",
            Error::Invalid => "invalid value",
            Error::TooLarge => "over a bound",
        })
    }
}

impl std::error::Error for Error {}
