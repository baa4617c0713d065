//! What the control thread waits for.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use super::socket_owners::SocketOwners;
use crate::sys::Waker;
use crate::sys::links::LinkEvents;
use crate::sys::signal::SignalFd;

/// What the control thread waits for, besides its clients.
pub(crate) struct Inputs {
    pub(crate) waker: Waker,
    pub(crate) signals: SignalFd,
    pub(crate) links: Option<LinkEvents>,
    pub(crate) tcp: Option<TcpListener>,
    pub(crate) unix: Option<UnixListener>,
    pub(crate) owners: SocketOwners,
}

/// What of it is ready.
pub(super) struct Ready {
    pub(super) signal: bool,
    pub(super) woken: bool,
    pub(super) tcp: bool,
    pub(super) unix: bool,
    pub(super) links: bool,
    /// Clients by their index, and whether they have hung up.
    pub(super) readable: Vec<(usize, bool)>,
}
