//! System calls, each behind a safe function. This folder holds all unsafe code of the project.
//!
//! A function here does one call (or a few that belong together), checks the result and turns it
//! into an [`std::io::Result`]; it decides nothing. Descriptors are borrowed or owned, never raw.

pub mod caps;
mod cmsg;
mod cvt;
pub mod daemonize;
pub mod diag;
pub mod eventfd;
pub mod fsat;
pub mod host;
pub mod ids;
pub mod ifaddr;
pub mod inotify;
pub mod kept_clock;
pub mod landlock;
pub mod link;
pub mod links;
pub mod localtime;
pub mod lookout;
pub mod memory;
pub mod mmsg;
pub mod netconf;
pub mod peer;
pub mod pidfile;
pub mod poll;
pub mod random;
pub mod signal;
pub mod socket;
pub mod sockopt;
pub mod syslog;
pub mod unixsock;
pub mod user;
mod vectored;

#[cfg(test)]
pub(crate) mod alone;
#[cfg(test)]
pub(crate) mod mapped;
#[cfg(test)]
pub(crate) mod refuse;

pub(crate) use cvt::{cvt, cvt_r};
pub use eventfd::Waker;
pub use vectored::{preadv, pwritev};
