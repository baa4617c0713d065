//! Why a daemon does not start.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::password_file::PasswordError;
use crate::daemon::keyfile::{GenkeyError, KeyFileError};
use crate::errno::ErrorText;
use crate::fs::resolve::ResolveError;
use crate::fs::state::error::StateError;
use crate::name::HostNameError;
use crate::net::NetError;
use crate::sys::pidfile::PidFileError;
use crate::sys::unixsock::ListenError;
use crate::sys::user::LookupError;

/// Why a daemon does not start. The text begins with the option it is about, if there is one.
#[derive(Debug)]
pub(super) enum StartError {
    /// What an option names cannot be used: the option, its value, the error.
    Option(&'static str, String, io::Error),
    /// The path of an option may not be used.
    Path(&'static str, PathBuf, ResolveError),
    /// The user or group of an option cannot be found: the option, and the error, which names it.
    Account(&'static str, LookupError),
    /// See [`KeyFileError`].
    Key(KeyFileError),
    /// See [`GenkeyError`].
    Genkey(GenkeyError),
    /// The password file of `-K`.
    Password(PathBuf, PasswordError),
    /// The file of `--pidfile`.
    PidFile(PidFileError),
    /// The directory of `--state`.
    State(StateError),
    /// The sockets of the group.
    Net(NetError),
    /// The Unix socket of `-U`.
    Unix(ListenError),
    /// The TCP address of the console.
    Listen(SocketAddr, io::Error),
    /// The machine's name is unknown.
    NoHostName(io::Error),
    /// The machine's name is not valid as a member's name.
    BadHostName(HostNameError),
    /// `-c` without the rights of root.
    NotRoot,
    /// Switching to this user failed.
    User(u32, io::Error),
    /// A system call that every daemon needs failed: what it was for, and the error.
    System(&'static str, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Option(option, value, why) => {
                write!(f, "{option} {value}: {}", ErrorText(why))
            }
            StartError::Path(option, path, why) => write!(f, "{option} {}: {why}", path.display()),
            StartError::Account(option, why) => write!(f, "{option} {why}"),
            StartError::Key(why) => why.fmt(f),
            StartError::Genkey(why) => why.fmt(f),
            StartError::Password(path, why) => write!(f, "-K {}: {why}", path.display()),
            StartError::PidFile(why) => write!(f, "--pidfile {why}"),
            StartError::State(why) => write!(f, "--state {why}"),
            StartError::Net(why) => why.fmt(f),
            StartError::Unix(why) => write!(f, "-U {why}"),
            StartError::Listen(address, why) => {
                write!(f, "cannot listen on {address}: {}", ErrorText(why))
            }
            StartError::NoHostName(why) => {
                write!(f, "cannot get the machine's name: {}", ErrorText(why))
            }
            StartError::BadHostName(why) => {
                write!(f, "the machine's name is not usable here (set one with -N): {why}")
            }
            StartError::NotRoot => f.write_str("-c: only root may change its root directory"),
            StartError::User(uid, why) => {
                write!(f, "cannot switch to user {uid}: {}", ErrorText(why))
            }
            StartError::System(what, why) => write!(f, "{what}: {}", ErrorText(why)),
        }
    }
}

impl std::error::Error for StartError {}

/// Adds to a system error what the call was for.
pub(super) fn failed(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |error| StartError::System(what, error)
}
