//! The console, as telnet or a script would use it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use makuosan::console::reply::Total;

use super::{LONG, now};

/// Both kinds of sockets.
trait Stream: Read + Write + Send {
    fn set_patience(&self, patience: Duration);
    fn end_output(&self);
    /// Its own port, if it has one.
    fn port(&self) -> Option<u16>;
}

impl Stream for TcpStream {
    fn set_patience(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
    }

    fn end_output(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }

    fn port(&self) -> Option<u16> {
        self.local_addr().ok().map(|address| address.port())
    }
}

impl Stream for UnixStream {
    fn set_patience(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
    }

    fn end_output(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }

    fn port(&self) -> Option<u16> {
        None
    }
}

/// A connection.
pub struct Console {
    stream: Box<dyn Stream>,
    /// What has arrived and was not looked at.
    ahead: Vec<u8>,
}

impl Console {
    /// Connects, without waiting for the prompt.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Console {
        let stream = TcpStream::connect_timeout(&address, LONG).unwrap();
        stream.set_nodelay(true).unwrap();
        Console { stream: Box::new(stream), ahead: Vec::new() }
    }

    /// Connects to a Unix socket and waits for the prompt.
    #[track_caller]
    pub fn open_unix(path: &Path) -> Console {
        let stream = UnixStream::connect(path).unwrap();
        let mut console = Console { stream: Box::new(stream), ahead: Vec::new() };
        assert_eq!(console.answer(), "");
        console
    }

    /// Connects and waits for the prompt.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Console {
        let mut console = Console::connect(address);
        assert_eq!(console.answer(), "");
        console
    }

    /// Closes it, and waits until no process has it any more: a program that another test starts at this very moment has
    /// it until it runs.
    #[track_caller]
    pub fn leave(self) {
        let port = self.stream.port();
        drop(self);
        let own = format!(":{:04X}", port.unwrap_or_default());
        super::eventually("the end of a connection", || {
            let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
            !table.lines().any(|line| {
                let words: Vec<&str> = line.split_ascii_whitespace().collect();
                let has =
                    |at: usize, is: &dyn Fn(&str) -> bool| words.get(at).is_some_and(|w| is(w));
                has(1, &|local| local.ends_with(&own)) && has(9, &|inode| inode != "0")
            })
        });
    }

    /// Writes bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Says that nothing more will be written.
    pub fn end_input(&self) {
        self.stream.end_output();
    }

    /// Reads on; whether there was anything before the end and the deadline.
    #[track_caller]
    fn more(&mut self, left: Duration) -> bool {
        self.stream.set_patience(left.max(Duration::from_millis(1)));
        let mut buffer = [0; 65_536];
        match self.stream.read(&mut buffer) {
            Ok(got) => {
                self.ahead.extend_from_slice(&buffer[..got]);
                got > 0
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            // A wait with a limit ends so when the process was stopped and goes on (signal(7)).
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) => {
                let end = self.ahead.len().saturating_sub(500);
                panic!("{error} after … {:?}", String::from_utf8_lossy(&self.ahead[end..]))
            }
        }
    }

    /// Everything up to the next prompt, without it.
    #[track_caller]
    pub fn answer(&mut self) -> String {
        String::from_utf8(self.answer_bytes()).unwrap()
    }

    #[track_caller]
    fn answer_bytes(&mut self) -> Vec<u8> {
        let deadline = now() + LONG * 2;
        let mut looked = 0;
        loop {
            // The prompt is at the beginning of a line, and no other line begins like it.
            let at = (looked..self.ahead.len().saturating_sub(1)).find(|&at| {
                &self.ahead[at..at + 2] == b"> " && (at == 0 || self.ahead[at - 1] == b'\n')
            });
            if let Some(at) = at {
                let mut answer: Vec<u8> = self.ahead.drain(..at + 2).collect();
                answer.truncate(at);
                return answer;
            }
            looked = self.ahead.len().saturating_sub(1);
            assert!(self.more(deadline - now()), "closed before the prompt");
        }
    }

    /// The next line, without its end.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let deadline = now() + LONG;
        loop {
            if let Some(at) = self.ahead.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.ahead.drain(..=at).collect();
                return String::from_utf8(line).unwrap().trim_end().to_owned();
            }
            assert!(self.more(deadline - now()), "closed before the end of a line");
        }
    }

    /// Says a line; everything up to the next prompt.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        self.write(format!("{line}\n").as_bytes());
        self.answer()
    }

    /// Has a `send` run; its lines, and what it came to.
    #[track_caller]
    pub fn send(&mut self, line: &str) -> (Vec<String>, Total) {
        assert_eq!(self.ask("progress total"), "");
        let answer = self.ask(line);
        let mut lines: Vec<String> = answer.lines().map(str::to_owned).collect();
        let total = lines.pop().and_then(|line| Total::parse(line.as_bytes()));
        (lines, total.unwrap_or_else(|| panic!("no total: {answer}")))
    }

    /// Everything until the daemon closes the connection.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let deadline = now() + LONG;
        while self.more(deadline - now()) {}
        std::mem::take(&mut self.ahead)
    }
}
