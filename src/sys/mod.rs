//! The system calls, each behind a safe function: the only place with unsafe code.

mod cvt;

#[cfg(test)]
pub(crate) mod alone;
pub mod daemonize;
pub mod host;
pub mod ids;
pub mod localtime;
pub mod random;
pub mod signal;
pub mod syslog;
pub mod unixsock;
pub mod user;
