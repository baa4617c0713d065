//! One connection to the console: its socket, its session, and what it waits for.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::console::Session;
use crate::daemon::order::Order;
use crate::daemon::unread::Unread;
use crate::ids::TransferNo;
use crate::time::{Span, Time};

/// A client that takes nothing of its output for so long is closed: while a command works for it, and
/// otherwise.
const DEAF: Span = Span::from_secs(600);
const DEAF_AT_PROMPT: Span = Span::from_secs(60);
/// A client that has given no whole line, or no password, for so long is closed.
const SILENT: Span = Span::from_secs(60);

/// A connection of either kind.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&*stream).read(buffer),
            Stream::Unix(stream) => (&*stream).read(buffer),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&*stream).write(bytes),
            Stream::Unix(stream) => (&*stream).write(bytes),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

/// What a client's command waits for.
#[derive(Debug)]
pub(crate) enum Work {
    /// Nothing: it has no command.
    Idle,
    /// The members of a young daemon to be known.
    Unsettled(Arc<Order>),
    /// This transfer. If somebody else holds its path, it is tried again until the time given.
    Transfer(TransferNo, Arc<Order>, Time),
    /// Somebody else's transfer to end: when to try again, and until when.
    Held(Arc<Order>, Time, Time),
}

pub(crate) struct Client {
    pub(crate) id: u32,
    pub(crate) session: Session,
    pub(crate) work: Work,
    /// What the client has not read, for the sender.
    pub(crate) unread: Unread,
    stream: Stream,
    /// When the client last took something, or had nothing to take.
    took: Time,
    /// When it connected.
    since: Time,
    /// How many prompts it had when this was looked at last, and since when it has been so.
    prompt: (u64, Time),
    gone: bool,
}

impl Client {
    pub(crate) fn new(id: u32, stream: Stream, session: Session, now: Time) -> io::Result<Self> {
        match &stream {
            Stream::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                // Short answers should not wait for more.
                stream.set_nodelay(true)?;
            }
            Stream::Unix(stream) => stream.set_nonblocking(true)?,
        }
        let unread = Unread::default();
        Ok(Client {
            id,
            session,
            work: Work::Idle,
            unread,
            stream,
            took: now,
            since: now,
            prompt: (0, now),
            gone: false,
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether the connection is to be closed now.
    pub(crate) fn is_over(&self) -> bool {
        self.gone || (self.session.is_closed() && self.session.unread() == 0)
    }

    /// Why the client is to be closed by now, though it has not said so.
    pub(crate) fn is_late(&self, now: Time) -> Option<&'static str> {
        match (self.deaf_at(), self.silent_at()) {
            (Some(at), _) if now >= at => Some("reads nothing"),
            (_, Some(at)) if now >= at && self.session.is_locked() => Some("gives no password"),
            (_, Some(at)) if now >= at => Some("says nothing"),
            _ => None,
        }
    }

    /// When it will be, if nothing happens.
    pub(crate) fn late_at(&self) -> Option<Time> {
        self.deaf_at().into_iter().chain(self.silent_at()).min()
    }

    fn deaf_at(&self) -> Option<Time> {
        let patience = if self.session.is_busy() { DEAF } else { DEAF_AT_PROMPT };
        (self.session.unread() > 0).then(|| self.took + patience)
    }

    fn silent_at(&self) -> Option<Time> {
        self.session.awaits_first().then(|| self.since + SILENT)
    }

    /// How well the client can be done without, if it can be: one that has no command, for as long as
    /// that; first those that have not given the password. A command whose client reads nothing does not
    /// work either.
    pub(crate) fn spare(&self, now: Time) -> Option<(bool, Span)> {
        let stuck = self.session.unread() > 0 && now >= self.took + DEAF_AT_PROMPT;
        match self.session.is_busy() || self.session.can_obey() {
            true => stuck.then_some((false, Span::default())),
            false => Some((self.session.is_locked(), now.since(self.prompt.1))),
        }
    }

    /// Notes whether the client is still at the same prompt.
    pub(crate) fn note_prompt(&mut self, now: Time) {
        if self.session.is_busy() || self.session.prompts() != self.prompt.0 {
            self.prompt = (self.session.prompts(), now);
        }
    }

    /// Closes the connection, to make room, with a word if that can be written.
    pub(crate) fn dismiss(&mut self, now: Time) {
        self.session.dismiss();
        self.write(now);
        self.gone = true;
    }

    /// Reads what is there; `hung_up`: nobody is at the other end any more.
    pub(crate) fn read(&mut self, hung_up: bool) {
        let mut buffer = [0; 8_192];
        match self.stream.read(&mut buffer) {
            Ok(0) => {
                self.session.end_of_input();
                // A script may end its input and wait for the answers. A client that asked for signs
                // of life writes `quit` before it goes: without that, nobody is there any more.
                self.gone = hung_up || self.session.is_alive_on();
            }
            Ok(got) => self.session.input(&buffer[..got]),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.gone = true,
        }
    }

    /// Writes what the client takes; whether it was too much unread before and is not any more.
    pub(crate) fn write(&mut self, now: Time) -> bool {
        let before = self.unread.get();
        while self.session.unread() > 0 && !self.gone {
            match self.stream.write(self.session.output()) {
                Ok(0) => self.gone = true,
                Ok(wrote) => {
                    self.session.consume(wrote);
                    self.took = now;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.gone = true,
            }
        }
        if self.session.unread() == 0 {
            self.took = now;
        }
        // What the sender has added meanwhile may have been the bit too much.
        self.unread.set(before, self.session.unread())
    }
}
