//! What the control thread waits for.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use super::client::Client;
use super::kernel::Kernel;
use super::socket_owners::SocketOwners;
use crate::sys::Waker;
use crate::sys::links::LinkEvents;
use crate::sys::poll::{Interest, PollFd, poll};
use crate::sys::signal::SignalFd;
use crate::time::Span;

/// What the control thread waits for, besides its clients.
pub(crate) struct Inputs {
    pub(crate) waker: Waker,
    pub(crate) signals: SignalFd,
    pub(crate) links: Option<LinkEvents>,
    pub(crate) tcp: Option<TcpListener>,
    pub(crate) unix: Option<UnixListener>,
    pub(crate) owners: SocketOwners,
    pub(crate) kernel: Kernel,
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

impl Inputs {
    /// Waits until any of it or a client is ready, no longer than this.
    pub(super) fn wait(&self, clients: &[Client], timeout: Option<Span>) -> io::Result<Ready> {
        let read = |fd| PollFd::new(fd, Interest::Read);
        let mut fds = vec![read(self.signals.as_fd()), read(self.waker.as_fd())];
        fds.extend(self.tcp.iter().map(|listener| read(listener.as_fd())));
        fds.extend(self.unix.iter().map(|listener| read(listener.as_fd())));
        fds.extend(self.links.iter().map(|links| read(links.as_fd())));
        let others = fds.len();
        for client in clients {
            let interest = match (client.session.wants_input(), client.session.unread() > 0) {
                (true, true) => Interest::Both,
                (true, false) => Interest::Read,
                (false, true) => Interest::Write,
                (false, false) => Interest::Nothing,
            };
            fds.push(PollFd::new(client.fd(), interest));
        }
        poll(&mut fds, timeout)?;
        let listening = |at: usize| fds.get(at).is_some_and(|fd| at < others && fd.readable());
        let after_tcp = 2 + usize::from(self.tcp.is_some());
        Ok(Ready {
            signal: fds[0].readable(),
            woken: fds[1].readable(),
            tcp: self.tcp.is_some() && listening(2),
            unix: self.unix.is_some() && listening(after_tcp),
            links: self.links.is_some() && listening(others - 1),
            readable: fds[others..]
                .iter()
                .enumerate()
                .filter(|(_, fd)| fd.readable() || fd.failed())
                .map(|(at, fd)| (at, fd.failed()))
                .collect(),
        })
    }
}
