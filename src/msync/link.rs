//! The connection to the daemon, as prompts and lines. All reads block.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::cli::msync::Target;
use crate::console::PROMPT;
use crate::console::error::Code;
use crate::console::password::ASK;
use crate::errno::ErrorText;

/// The timeout for connecting.
const CONNECT: Duration = Duration::from_secs(5);

/// The longest line that is accepted from a daemon, in bytes.
const MAX_LINE: usize = 1 << 20;

/// The prompt after a correct password.
const RIGHT: &[u8] = b"\r> ";

/// Something the daemon sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// It is ready for the next line.
    Prompt,
    /// It asks for the password.
    Password,
    /// A line, without its end (LF or CRLF).
    Line(Vec<u8>),
}

/// Why the connection cannot be used any more.
#[derive(Debug)]
pub enum LinkError {
    /// The daemon closed the connection.
    Closed,
    /// Nothing arrived for this long.
    Silent(Duration),
    /// A line is longer than any daemon writes.
    Endless,
    /// The socket failed.
    Io(io::Error),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkError::Closed => f.write_str("it closed the connection"),
            LinkError::Silent(time) => write!(f, "no answer for {} s", time.as_secs_f32()),
            LinkError::Endless => f.write_str("it does not speak the console protocol"),
            LinkError::Io(error) => ErrorText(error).fmt(f),
        }
    }
}

impl std::error::Error for LinkError {}

impl LinkError {
    /// The code for programs.
    pub fn code(&self) -> Code {
        match self {
            LinkError::Closed => Code::Lost,
            LinkError::Silent(_) => Code::Timeout,
            LinkError::Endless => Code::NotADaemon,
            LinkError::Io(error) => Code::of_io(error),
        }
    }
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn stream(&mut self) -> &mut dyn Stream {
        match self {
            Socket::Tcp(stream) => stream,
            Socket::Unix(stream) => stream,
        }
    }
}

/// The operations of both kinds of socket.
trait Stream: Read + Write {}
impl Stream for TcpStream {}
impl Stream for UnixStream {}

/// A connection.
pub struct Link {
    socket: Socket,
    patience: Option<Duration>,
    /// Whether the daemon is on this host, so that both see the same files.
    local: bool,
    /// Received bytes; those before `taken` were returned.
    buffer: Vec<u8>,
    taken: usize,
    /// There is no newline between `taken` and here.
    searched: usize,
}

impl Link {
    /// Connects, within 5 seconds for each address that the host has.
    ///
    /// # Errors
    /// The last address's error, or that of the name's lookup.
    pub fn connect(target: &Target) -> io::Result<Link> {
        let (host, port) = match target {
            Target::Unix(path) => return Ok(Link::over_unix(UnixStream::connect(path)?)),
            Target::Tcp(host, port) => (host, *port),
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in (host.as_str(), port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => {
                    let own = stream.local_addr()?.ip();
                    let local = address.ip().is_loopback() || address.ip() == own;
                    // The dialogue consists of short lines, each of which is waited for.
                    stream.set_nodelay(true)?;
                    return Ok(Link::over(Socket::Tcp(stream), local));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A connection over an existing socket.
    pub fn over_unix(stream: UnixStream) -> Link {
        Link::over(Socket::Unix(stream), true)
    }

    fn over(socket: Socket, local: bool) -> Link {
        Link { socket, patience: None, local, buffer: Vec::new(), taken: 0, searched: 0 }
    }

    /// Whether the daemon is on this host.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// How long [`Link::event`] waits for the daemon; None for ever.
    ///
    /// # Errors
    /// The socket's.
    pub fn set_patience(&mut self, patience: Option<Duration>) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(stream) => {
                stream.set_read_timeout(patience)?;
                stream.set_write_timeout(patience)?;
            }
            Socket::Unix(stream) => {
                stream.set_read_timeout(patience)?;
                stream.set_write_timeout(patience)?;
            }
        }
        self.patience = patience;
        Ok(())
    }

    /// Writes a line.
    ///
    /// # Errors
    /// As [`Link::event`].
    pub fn say(&mut self, line: &[u8]) -> Result<(), LinkError> {
        let mut bytes = line.to_vec();
        bytes.push(b'\n');
        self.socket.stream().write_all(&bytes).map_err(|error| self.failure(error))
    }

    /// The next event that was received already; None if more must be read first.
    pub fn ready(&mut self) -> Option<Event> {
        let rest = &self.buffer[self.taken..];
        for (prefix, event) in
            [(PROMPT, Event::Prompt), (RIGHT, Event::Prompt), (ASK, Event::Password)]
        {
            if rest.starts_with(prefix) {
                self.taken += prefix.len();
                self.searched = self.taken;
                return Some(event);
            }
        }
        let from = self.searched.max(self.taken);
        let Some(length) = self.buffer[from..].iter().position(|&b| b == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = &self.buffer[self.taken..from + length];
        let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
        self.taken = from + length + 1;
        self.searched = self.taken;
        Some(Event::Line(line))
    }

    /// The next prompt or line.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn event(&mut self) -> Result<Event, LinkError> {
        loop {
            if let Some(event) = self.ready() {
                return Ok(event);
            }
            self.buffer.drain(..self.taken);
            self.searched -= self.taken;
            self.taken = 0;
            if self.buffer.len() > MAX_LINE {
                return Err(LinkError::Endless);
            }
            let mut piece = [0; 16_384];
            match self.socket.stream().read(&mut piece) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(count) => self.buffer.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failure(error)),
            }
        }
    }

    fn failure(&self, error: io::Error) -> LinkError {
        match (error.kind(), self.patience) {
            (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, Some(time)) => {
                LinkError::Silent(time)
            }
            (io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset, _) => LinkError::Closed,
            _ => LinkError::Io(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Link, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Link::over_unix(ours), theirs)
    }

    #[test]
    fn prompts_and_lines_however_they_are_cut() {
        let text =
            b"> > a > b\r\n\n> update x:>\n>x\n> password: \x1b]Epassword: x\n\r> \rsorry.\n> ";
        let line = |text: &str| Event::Line(text.into());
        let expected = [
            Event::Prompt,
            Event::Prompt,
            line("a > b"),
            line(""),
            Event::Prompt,
            line("update x:>"),
            line(">x"),
            Event::Prompt,
            Event::Password,
            line("password: x"),
            Event::Prompt,
            line("\rsorry."),
            Event::Prompt,
        ];
        for cut in [1, 2, 3, text.len()] {
            let (mut link, mut daemon) = pair();
            let mut events = Vec::new();
            for piece in text.chunks(cut) {
                daemon.write_all(piece).unwrap();
                // Reads what is there, and only that: the socket would block otherwise.
                link.set_patience(Some(Duration::from_millis(1))).unwrap();
                while let Ok(event) = link.event() {
                    events.push(event);
                }
            }
            assert_eq!(events, expected, "{cut}");
        }
    }

    #[test]
    fn the_end_and_silence_are_told_apart() {
        let (mut link, daemon) = pair();
        link.set_patience(Some(Duration::from_millis(10))).unwrap();
        assert!(matches!(link.event(), Err(LinkError::Silent(_))));
        drop(daemon);
        assert!(matches!(link.event(), Err(LinkError::Closed)));
        assert!(matches!(link.say(b"x"), Err(LinkError::Closed)));
    }

    #[test]
    fn a_line_without_end_is_not_read_for_ever() {
        let (mut link, mut daemon) = pair();
        let writer = std::thread::spawn(move || {
            let piece = [b'x'; 65_536];
            while daemon.write_all(&piece).is_ok() {}
        });
        assert!(matches!(link.event(), Err(LinkError::Endless)));
        drop(link);
        writer.join().unwrap();
    }
}
