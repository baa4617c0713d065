//! How the client ends: its exit statuses.
#![forbid(unsafe_code)]

/// Everything is everywhere.
pub const SUCCESS: u8 = 0;
/// Wrong usage, or no daemon.
pub const UNUSABLE: u8 = 1;
/// Something failed or differs on some host, or there is no member.
pub const INCOMPLETE: u8 = 2;
