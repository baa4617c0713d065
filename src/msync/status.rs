//! The exit statuses of the client.
#![forbid(unsafe_code)]

/// All hosts have everything.
pub const SUCCESS: u8 = 0;
/// Wrong usage, or no connection to the daemon.
pub const UNUSABLE: u8 = 1;
/// Something failed or differs on some host, or there are no members.
pub const INCOMPLETE: u8 = 2;
