//! A connection to the console: its socket, its session, and what its command waits for.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::asking::Asking;
use super::attendance::Attendance;
use super::repeats::Repeats;
use super::socket_owners::SocketOwners;
use crate::console::Session;
use crate::console::absent::Absent;
use crate::console::reply::Said;
use crate::daemon::again::Results;
use crate::daemon::caller::Caller;
use crate::daemon::order::Order;
use crate::daemon::unread::Unread;
use crate::ids::TransferNo;
use crate::time::{Span, Time};

/// A client that reads nothing of its output for this long is closed: while its command runs, and
/// otherwise.
const DEAF: Span = Span::from_secs(600);
const DEAF_AT_PROMPT: Span = Span::from_secs(60);
/// A client that has sent no complete line, or no password, within this time is closed.
const SILENT: Span = Span::from_secs(60);

/// The most absent hosts that a client is told the names of.
const MOST_ABSENT: usize = 1_000;

/// A TCP or Unix connection.
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
    /// Nothing: there is no command.
    Idle,
    /// A daemon that has just started to know its members.
    Unsettled(Arc<Order>),
    /// This transfer. If another host's transfer holds the path, it is retried until the given time.
    Transfer(TransferNo, Arc<Order>, Time),
    /// What it wants to have of another host.
    Fetch,
    /// Another host's transfer to end: when to retry next, and until when.
    Held(Arc<Order>, Time, Time),
    /// Changes, until the client leaves.
    Watching,
    /// All that was changed to be sent.
    Flushing,
    /// What it has asked of mirrored trees.
    Asking(Asking),
    /// What keeps files from arriving.
    Doctor,
}

pub(crate) struct Client {
    pub(crate) id: u32,
    pub(crate) session: Session,
    pub(crate) work: Work,
    /// Who takes part in its command.
    pub(super) attendance: Option<Attendance>,
    /// The client's unread output, shared with its transfer.
    pub(crate) unread: Unread,
    stream: Stream,
    /// When the client last read something, or had nothing to read.
    took: Time,
    /// When it connected.
    since: Time,
    /// How many prompts it has had, and since when.
    prompt: (u64, Time),
    gone: bool,
    caller: Option<Caller>,
    repeats: Repeats,
}

impl Client {
    /// A transfer of its command says something.
    pub(crate) fn said(&mut self, said: &Said) {
        let again = matches!(&self.work, Work::Transfer(_, order, _) if order.again().is_some());
        if self.repeats.is_new(said, again) {
            self.session.said(said);
        }
    }

    /// A transfer of its command has these results; what it has said a second time counts once.
    pub(crate) fn counted(&mut self, (hosts, mut total): Results) -> Results {
        total.errors = total.errors.saturating_sub(self.repeats.take_errors());
        (hosts, total)
    }

    /// Its command is done, with these results, and these hosts were absent.
    pub(crate) fn finish(&mut self, results: &Results, absent: &[Absent]) {
        self.work = Work::Idle;
        self.repeats.clear();
        self.flushed(results, absent);
        self.session.finish();
    }

    /// One of the transfers of its command is over, with these results, and more may follow; these hosts were absent.
    pub(crate) fn flushed(&mut self, (hosts, total): &Results, absent: &[Absent]) {
        hosts.iter().for_each(|host| self.session.host(host));
        absent.iter().take(MOST_ABSENT).for_each(|host| self.session.absent(host));
        self.session.total(total);
    }

    pub(crate) fn new(id: u32, stream: Stream, session: Session, now: Time) -> io::Result<Self> {
        match &stream {
            Stream::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                // Send short answers immediately.
                stream.set_nodelay(true)?;
            }
            Stream::Unix(stream) => stream.set_nonblocking(true)?,
        }
        let unread = Unread::default();
        Ok(Client {
            id,
            session,
            work: Work::Idle,
            attendance: None,
            unread,
            stream,
            took: now,
            since: now,
            prompt: (0, now),
            gone: false,
            caller: None,
            repeats: Repeats::default(),
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Who is behind the connection, found out once.
    pub(crate) fn caller(&mut self, owners: &mut SocketOwners) -> Caller {
        let stream = &self.stream;
        let found = || match stream {
            Stream::Unix(stream) => Caller::unix(stream),
            Stream::Tcp(stream) => match (stream.peer_addr(), stream.local_addr()) {
                (Ok(peer), Ok(own)) => Caller::tcp(peer, owners.of(peer, own)),
                _ => Caller::tcp("a closed connection", None),
            },
        };
        self.caller.get_or_insert_with(found).clone()
    }

    /// Whether the connection can be closed now.
    pub(crate) fn is_over(&self) -> bool {
        self.gone || (self.session.is_closed() && self.session.unread() == 0)
    }

    /// If the client has timed out, why.
    pub(crate) fn is_late(&self, now: Time) -> Option<&'static str> {
        match (self.deaf_at(), self.silent_at()) {
            (Some(at), _) if now >= at => Some("it did not read its output"),
            (_, Some(at)) if now >= at && self.session.is_locked() => Some("it gave no password"),
            (_, Some(at)) if now >= at => Some("it sent no command"),
            _ => None,
        }
    }

    /// When the client will time out.
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

    /// If the client can be closed to make room, its rank: clients that have not given the password
    /// come first, then by how long they have been idle. A client with a command counts as idle if
    /// it does not read.
    pub(crate) fn spare(&self, now: Time) -> Option<(bool, Span)> {
        let stuck = self.session.unread() > 0 && now >= self.took + DEAF_AT_PROMPT;
        match self.session.is_busy() || self.session.can_obey() {
            true => stuck.then_some((false, Span::default())),
            false => Some((self.session.is_locked(), now.since(self.prompt.1))),
        }
    }

    /// Notes since when the client has been at the same prompt.
    pub(crate) fn note_prompt(&mut self, now: Time) {
        if self.session.is_busy() || self.session.prompts() != self.prompt.0 {
            self.prompt = (self.session.prompts(), now);
        }
    }

    /// Closes the connection to make room, with a message if it can be written.
    pub(crate) fn dismiss(&mut self, now: Time) {
        self.session.dismiss();
        self.write(now);
        self.gone = true;
    }

    /// Reads available input; `hung_up`: the other end is closed.
    pub(crate) fn read(&mut self, hung_up: bool) {
        let mut buffer = [0; 8_192];
        match self.stream.read(&mut buffer) {
            Ok(0) => {
                self.session.end_of_input();
                // A script may end its input and wait for the answers. A client that asked for
                // keepalives sends `quit` first: without that, it has gone.
                self.gone = hung_up || self.session.is_alive_on();
            }
            Ok(got) => self.session.input(&buffer[..got]),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.gone = true,
        }
    }

    /// Writes as much output as possible. True if a transfer that was paused for this client can
    /// continue.
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
        // The sender may have added more in the meantime.
        self.unread.set(before, self.session.unread())
    }
}
