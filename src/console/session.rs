//! One connection, seen by the daemon: bytes in, commands and bytes out. There is no socket here.
//!
//! The owner hands in what arrives ([`Session::input`]) and then asks for commands
//! ([`Session::next_command`]) until there is none. A command given out keeps the session busy:
//! the owner answers with [`Session::line`] and its kind, and when all the work is done calls
//! [`Session::finish`], and asks again. Lines that arrive meanwhile wait their turn.
//!
//! After every call the owner writes what [`Session::output`] has, tells with
//! [`Session::consume`] how much of it went out, and closes the connection once
//! [`Session::is_closed`] and nothing is left. It reads only while [`Session::wants_input`], and
//! may pause a client's transfer by what [`Session::unread`] says.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::command::{self, Command, Exclude, Line, Offer, Watch};
use super::reply::{self, Progress, Total};
use super::{MAX_LINE, PROMPT, words};
use crate::name::Escaped;

/// With so many bytes of lines that wait, no more are read.
const FULL_INPUT: usize = 64 * 1_024;

/// What a waiting line takes beside its bytes, so that empty ones are bounded too.
const LINE_COST: usize = 32;

/// With so many bytes unread, lines that a later one replaces (`alive`, `progress`) are left out.
const BEHIND: usize = 4_096;

/// Patterns that a connection may have.
const MAX_EXCLUDES: usize = 1_024;

/// What the session is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The next line will be obeyed.
    Idle,
    /// A command was given out and is not finished.
    Busy,
    /// No line will be obeyed any more.
    Closed,
}

/// A line that waits.
#[derive(Debug)]
enum Waiting {
    Line(Vec<u8>),
    /// A line over [`MAX_LINE`], which was thrown away.
    TooLong,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    offer: Offer,
    state: State,
    /// What has arrived of a line whose end has not.
    partial: Vec<u8>,
    /// Whether the rest of the line that is arriving is to be thrown away.
    overlong: bool,
    waiting: VecDeque<Waiting>,
    /// The bytes of all of `waiting`, and [`LINE_COST`] for each.
    waiting_bytes: usize,
    /// Whether no line has been looked at yet.
    first: bool,
    ended: bool,
    current: String,
    loglevel: u8,
    alive: bool,
    watch: Watch,
    excludes: Vec<Vec<u8>>,
    output: Vec<u8>,
    /// How much of `output` is consumed.
    written: usize,
}

impl Session {
    /// A new connection, greeted with the prompt.
    pub fn new(offer: Offer) -> Self {
        Session {
            offer,
            state: State::Idle,
            partial: Vec::new(),
            overlong: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            first: true,
            ended: false,
            current: String::new(),
            loglevel: 0,
            alive: false,
            watch: Watch::Off,
            excludes: Vec::new(),
            output: PROMPT.to_vec(),
            written: 0,
        }
    }

    /// A connection too many: says so, and is closed.
    pub fn refused() -> Self {
        let mut session = Session::new(Offer::default());
        session.output.clear();
        session.put(reply::TOO_MANY_CLIENTS);
        session.state = State::Closed;
        session
    }

    /// Takes what has arrived. After this, ask for commands.
    pub fn input(&mut self, mut bytes: &[u8]) {
        if self.state == State::Closed {
            return;
        }
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            self.take(&bytes[..end]);
            self.end_line();
            bytes = &bytes[end + 1..];
        }
        self.take(bytes);
    }

    /// The client will write nothing more. Lines that wait are still obeyed; then the session is
    /// closed. A line without an end is not obeyed: its end may be missing for a reason.
    pub fn end_of_input(&mut self) {
        self.ended = true;
        self.partial.clear();
        if self.state == State::Idle && self.waiting.is_empty() {
            self.state = State::Closed;
        }
    }

    /// Obeys waiting lines until one of them needs the daemon, and gives that out. None if the
    /// session is busy or closed, or no line waits.
    pub fn next_command(&mut self) -> Option<Command> {
        while self.state == State::Idle {
            let Some(waiting) = self.waiting.pop_front() else {
                if self.ended {
                    self.state = State::Closed;
                }
                return None;
            };
            self.waiting_bytes -= LINE_COST;
            let line = match waiting {
                Waiting::Line(line) => {
                    self.waiting_bytes -= line.len();
                    line
                }
                // What a browser was made to send does not become harmless by its length.
                Waiting::TooLong if std::mem::take(&mut self.first) => {
                    self.close();
                    return None;
                }
                Waiting::TooLong => {
                    self.put(&format!("error: a line has at most {MAX_LINE} bytes"));
                    self.prompt();
                    continue;
                }
            };
            if std::mem::take(&mut self.first) && is_foreign(&line) {
                self.close();
                return None;
            }
            if let Some(command) = self.obey(&line) {
                return Some(command);
            }
        }
        None
    }

    /// Writes a line of the command at work, unless it is above the connection's log level. Bytes
    /// that would end the line, or make it look like a prompt, are escaped.
    pub fn line(&mut self, level: u8, text: &str) {
        if level <= self.loglevel {
            self.put(text);
        }
    }

    /// Writes several lines, parted by newlines, as [`Session::line`] does.
    pub fn lines(&mut self, level: u8, text: &str) {
        for line in text.lines() {
            self.line(level, line);
        }
    }

    /// Tells how far the transfer is, if the client wants that and keeps up.
    pub fn progress(&mut self, progress: &Progress) {
        if self.watch == Watch::Progress && self.unread() < BEHIND {
            self.put(&progress.emit());
        }
    }

    /// Tells what the transfer came to, if the client wants that.
    pub fn total(&mut self, total: &Total) {
        if self.watch != Watch::Off {
            self.put(&total.emit());
        }
    }

    /// To be called every second: writes `alive` if a command works and the client wants that.
    pub fn alive_tick(&mut self) {
        if self.alive && self.state == State::Busy && self.unread() < BEHIND {
            self.put("alive");
        }
    }

    /// The command at work is over: writes the prompt. After this, ask for commands.
    pub fn finish(&mut self) {
        if self.state == State::Busy {
            self.state = State::Idle;
            self.current.clear();
            self.prompt();
        }
    }

    /// What is to be written to the client.
    pub fn output(&self) -> &[u8] {
        &self.output[self.written..]
    }

    /// `count` bytes of [`Session::output`] were written.
    pub fn consume(&mut self, count: usize) {
        self.written = self.written.saturating_add(count).min(self.output.len());
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        } else if self.written > self.output.len() / 2 {
            self.output.drain(..self.written);
            self.written = 0;
        }
    }

    /// Bytes that the client has not taken yet.
    pub fn unread(&self) -> usize {
        self.output.len() - self.written
    }

    /// Whether to read from the client. While this is false it is enough to watch for a hang-up.
    pub fn wants_input(&self) -> bool {
        self.state != State::Closed && !self.ended && self.waiting_bytes < FULL_INPUT
    }

    /// Whether a command was given out and is not finished.
    pub fn is_busy(&self) -> bool {
        self.state == State::Busy
    }

    /// Whether the connection is to be closed once the output is written.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// The line of the command at work, as [`Escaped`] shows it; empty if there is none.
    pub fn current(&self) -> &str {
        &self.current
    }

    /// Lines above this level are not shown.
    pub fn loglevel(&self) -> u8 {
        self.loglevel
    }

    /// What the client wants to know of a transfer beyond its lines.
    pub fn watch(&self) -> Watch {
        self.watch
    }

    /// The patterns of what this connection does not send, in the order added.
    pub fn excludes(&self) -> &[Vec<u8>] {
        &self.excludes
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.overlong {
            return;
        }
        // One byte more, as it may be the CR before the LF.
        if self.partial.len() + bytes.len() > MAX_LINE + 1 {
            self.overlong = true;
            self.partial = Vec::new();
            return;
        }
        self.partial.extend_from_slice(bytes);
    }

    fn end_line(&mut self) {
        let mut line = std::mem::take(&mut self.partial);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        self.waiting_bytes += LINE_COST;
        if std::mem::take(&mut self.overlong) || line.len() > MAX_LINE {
            self.waiting.push_back(Waiting::TooLong);
        } else {
            self.waiting_bytes += line.len();
            self.waiting.push_back(Waiting::Line(line));
        }
    }

    /// Does what a line says, or gives out the command that it is.
    fn obey(&mut self, line: &[u8]) -> Option<Command> {
        let line = match words::split(line) {
            Ok(words) => {
                self.current = Escaped(line).to_string();
                command::parse(&words, &self.offer)
            }
            Err(why) => Line::Say(reply::trouble(&why.to_string())),
        };
        match line {
            Line::Do(Command::Quit) => {
                self.close();
                return Some(Command::Quit);
            }
            Line::Do(command) => {
                self.state = State::Busy;
                return Some(command);
            }
            Line::Say(text) => self.say(&text),
            Line::Alive(Some(on)) => self.alive = on,
            Line::Alive(None) => self.put(if self.alive { "alive on" } else { "alive off" }),
            Line::Loglevel(Some(level)) => self.loglevel = level,
            Line::Loglevel(None) => self.put(&format!("loglevel {}", self.loglevel)),
            Line::Progress(Some(watch)) => self.watch = watch,
            Line::Progress(None) => self.put(match self.watch {
                Watch::Off => "progress off",
                Watch::Total => "progress total",
                Watch::Progress => "progress on",
            }),
            Line::Exclude(exclude) => self.exclude(exclude),
        }
        self.current.clear();
        self.prompt();
        None
    }

    fn exclude(&mut self, exclude: Exclude) {
        match exclude {
            Exclude::Add(pattern) if self.excludes.contains(&pattern) => {}
            Exclude::Add(_) if self.excludes.len() >= MAX_EXCLUDES => {
                self.put(&format!("error: at most {MAX_EXCLUDES} patterns"));
            }
            Exclude::Add(pattern) => self.excludes.push(pattern),
            Exclude::Del(pattern) => match self.excludes.iter().position(|have| *have == pattern) {
                Some(at) => drop(self.excludes.remove(at)),
                None => self.put(&format!("error: pattern not found {}", Escaped(&pattern))),
            },
            Exclude::Clear => self.excludes.clear(),
            Exclude::List => {
                let shown: Vec<String> =
                    self.excludes.iter().map(|pattern| Escaped(pattern).to_string()).collect();
                for pattern in shown {
                    self.put(&pattern);
                }
            }
        }
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.partial = Vec::new();
        self.current.clear();
    }

    fn prompt(&mut self) {
        self.output.extend_from_slice(PROMPT);
    }

    fn say(&mut self, text: &str) {
        for line in text.lines() {
            self.put(line);
        }
    }

    /// Writes one line, whatever its level. Names in it were escaped where the line was made; this
    /// keeps any other text from ending the line early, or from looking like a prompt.
    fn put(&mut self, text: &str) {
        let rest = match text.strip_prefix("> ") {
            Some(rest) => {
                self.output.extend_from_slice(b"\\076 ");
                rest
            }
            None => text,
        };
        for c in rest.chars() {
            if c.is_control() {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    self.output.extend_from_slice(format!("\\{byte:03o}").as_bytes());
                }
            } else {
                self.output.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        self.output.push(b'\n');
    }
}

/// Whether the first line of a connection is from a program that speaks something else: a browser
/// that a hostile page made connect (HTTP, or the binary start of TLS) must not command a daemon
/// by what comes after.
fn is_foreign(line: &[u8]) -> bool {
    const METHODS: [&str; 9] =
        ["GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE"];
    let word = line.split(|&b| b == b' ').next().unwrap_or_default();
    METHODS.iter().any(|method| method.as_bytes() == word)
        || line.windows(6).any(|window| window == b" HTTP/")
        || line.iter().any(|&b| b.is_ascii_control() && b != b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::command::Form;

    fn session() -> Session {
        let mut session = Session::new(Offer::ALL);
        assert_eq!(taken(&mut session), "> ");
        session
    }

    fn taken(session: &mut Session) -> String {
        let text = String::from_utf8(session.output().to_vec()).unwrap();
        session.consume(text.len());
        assert_eq!(session.unread(), 0);
        text
    }

    /// What the session answers to lines that need no daemon.
    fn answer(session: &mut Session, lines: &str) -> String {
        session.input(lines.as_bytes());
        assert_eq!(session.next_command(), None);
        taken(session)
    }

    #[test]
    fn an_old_clients_dialogue() {
        let mut s = session();
        assert_eq!(answer(&mut s, "alive on\r\n"), "> ");
        assert_eq!(answer(&mut s, "loglevel 1\r\n"), "> ");
        s.input(b"send -r dir\r\n");
        assert!(matches!(s.next_command(), Some(Command::Send(send)) if send.recursive));
        assert!(s.is_busy() && taken(&mut s).is_empty());
        assert_eq!(s.current(), "send -r dir");
        s.line(1, "update web1:dir/a");
        s.line(2, "skip   web1:dir/b");
        s.alive_tick();
        s.progress(&Progress::default());
        s.total(&Total::default());
        s.line(0, "error: No such file or directory dir/c");
        let said = "update web1:dir/a\nalive\nerror: No such file or directory dir/c\n";
        assert_eq!(taken(&mut s), said);
        s.finish();
        assert_eq!(taken(&mut s), "> ");
        assert!(!s.is_busy() && s.current().is_empty());
        s.input(b"quit\r\n");
        assert_eq!(s.next_command(), Some(Command::Quit));
        assert!(s.is_closed() && s.unread() == 0 && !s.wants_input());
    }

    #[test]
    fn what_the_session_answers_by_itself() {
        let mut s = session();
        assert_eq!(answer(&mut s, "\n"), "> ");
        assert_eq!(answer(&mut s, "  \r\n"), "> ");
        assert_eq!(answer(&mut s, "nonsense x\n"), "mexec: command error 'nonsense'\n> ");
        assert_eq!(answer(&mut s, "\x1bx\n"), "mexec: command error '\\033x'\n> ");
        assert_eq!(answer(&mut s, "echo a \"> b\"\n"), "a \\076 b\n> ");
        assert_eq!(answer(&mut s, "echo \"> b\"\n"), "\\076 b\n> ");
        assert_eq!(answer(&mut s, "echo > b\n"), "\\076 b\n> ");
        assert_eq!(answer(&mut s, "echo\n"), "\n> ");
        assert_eq!(answer(&mut s, "alive\n"), "alive off\n> ");
        assert_eq!(answer(&mut s, "alive on\nalive\n"), "> alive on\n> ");
        assert_eq!(answer(&mut s, "loglevel 3\nloglevel\n"), "> loglevel 3\n> ");
        assert_eq!(answer(&mut s, "progress total\nprogress\n"), "> progress total\n> ");
        assert_eq!(answer(&mut s, "send \"x\n"), "error: a double quote is not closed\n> ");
        assert!(answer(&mut s, "help\n").starts_with("commands:\n"));
        assert!(answer(&mut s, "help send\n").starts_with("usage: send"));
        assert!(answer(&mut s, "send\n").starts_with("usage: send"));
    }

    #[test]
    fn patterns_belong_to_the_connection() {
        let mut s = session();
        assert_eq!(answer(&mut s, "exclude add *.tmp\nexclude add \"a b\"\n"), "> > ");
        assert_eq!(answer(&mut s, "exclude add *.tmp\nexclude list\n"), "> *.tmp\na b\n> ");
        assert_eq!(answer(&mut s, "exclude del x\n"), "error: pattern not found x\n> ");
        assert_eq!(answer(&mut s, "exclude del *.tmp\n"), "> ");
        assert_eq!(s.excludes(), [b"a b"]);
        assert_eq!(answer(&mut s, "exclude clear\nexclude list\n"), "> > ");
        for n in 0..=MAX_EXCLUDES {
            let said = answer(&mut s, &format!("exclude add {n}\n"));
            assert_eq!(said.starts_with("error: at most"), n == MAX_EXCLUDES);
        }
    }

    #[test]
    fn early_lines_wait_their_turn() {
        let mut s = session();
        s.input(b"members\nstatus json\necho ");
        assert_eq!(s.next_command(), Some(Command::Members(Form::Table)));
        assert_eq!(s.next_command(), None);
        s.input(b"x\nquit\nsend y\n");
        s.lines(0, "a\nb\n");
        s.finish();
        assert_eq!(s.next_command(), Some(Command::Status { json: true }));
        s.finish();
        assert_eq!(s.next_command(), Some(Command::Quit));
        assert_eq!(taken(&mut s), "a\nb\n> > x\n> ");
        assert_eq!(s.next_command(), None);
    }

    #[test]
    fn a_line_may_come_byte_by_byte() {
        let mut s = session();
        for byte in b"status\r\n" {
            assert_eq!(s.next_command(), None);
            s.input(&[*byte]);
        }
        assert_eq!(s.next_command(), Some(Command::Status { json: false }));
    }

    #[test]
    fn a_line_has_a_limit_and_what_follows_is_unharmed() {
        let mut s = session();
        assert_eq!(answer(&mut s, "echo\n"), "\n> ");
        let fits = format!("echo {}\r\n", "x".repeat(MAX_LINE - 5));
        assert_eq!(answer(&mut s, &fits).len(), MAX_LINE - 5 + 3);
        for over in [1, 2, 3, MAX_LINE, 10 * MAX_LINE] {
            let long = format!("echo {}\r\necho y\n", "x".repeat(MAX_LINE - 5 + over));
            for piece in long.as_bytes().chunks(1_000) {
                s.input(piece);
            }
            assert_eq!(s.next_command(), None);
            assert_eq!(taken(&mut s), "error: a line has at most 8192 bytes\n> y\n> ");
        }
    }

    #[test]
    fn lines_that_wait_are_bounded() {
        let mut s = session();
        s.input(b"members\n");
        assert!(s.next_command().is_some());
        let line = format!("echo {}\n", "x".repeat(8_000));
        let mut pieces = 0;
        while s.wants_input() {
            s.input(line.as_bytes());
            pieces += 1;
        }
        assert_eq!(pieces, FULL_INPUT.div_ceil(8_005 + LINE_COST));
        s.finish();
        assert_eq!(s.next_command(), None);
        assert_eq!(taken(&mut s).matches("> ").count(), 1 + pieces);
        assert!(s.wants_input());
        // Empty and overlong lines take memory too.
        s.input(b"members\n");
        assert!(s.next_command().is_some());
        s.input(&vec![b'\n'; FULL_INPUT / LINE_COST - 1]);
        assert!(s.wants_input());
        s.input(&[[b'x'; MAX_LINE + 2].as_slice(), b"\n"].concat());
        assert!(!s.wants_input());
        s.finish();
        assert_eq!(s.next_command(), None);
        assert_eq!(s.waiting_bytes, 0);
    }

    #[test]
    fn a_browser_commands_nothing() {
        let mut long = b"GET /".to_vec();
        long.extend(vec![b'x'; 3 * MAX_LINE]);
        let firsts: [&[u8]; 12] = [
            b"GET / HTTP/1.1",
            b"POST /x HTTP/1.1",
            b"OPTIONS * HTTP/1.1",
            b"CONNECT a:443 HTTP/1.1",
            b"HEAD / HTTP/1.0",
            b"PUT /send HTTP/1.1",
            b"DELETE / HTTP/1.1",
            b"ANY / HTTP/1.1",
            b"GET",
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"\x16\x03\x01",
            &long,
        ];
        for first in firsts {
            let mut s = session();
            s.input(first);
            s.input(b"\r\nHost: x\r\n\r\nsend -r\r\n");
            assert_eq!(s.next_command(), None, "{}", first.escape_ascii());
            assert!(s.is_closed());
            assert!(taken(&mut s).is_empty());
            s.input(b"send -r\r\n");
            assert_eq!(s.next_command(), None);
        }
        // Only the first line: a file may be called anything.
        let mut s = session();
        s.input(b"alive on\nsend x HTTP/1.1\n");
        assert_eq!(s.next_command(), None);
        assert!(taken(&mut s).contains("error: more than one path"));
        assert!(!s.is_closed());
    }

    #[test]
    fn the_end_of_input_comes_after_what_waits() {
        let mut s = session();
        s.input(b"members\necho x\nsend y");
        assert!(s.next_command().is_some());
        s.end_of_input();
        assert!(!s.is_closed() && !s.wants_input());
        s.finish();
        assert_eq!(s.next_command(), None);
        assert_eq!(taken(&mut s), "> x\n> ");
        assert!(s.is_closed());
        let mut s = session();
        s.end_of_input();
        assert!(s.is_closed());
    }

    #[test]
    fn watchers_get_what_they_asked_for() {
        let mut s = session();
        assert_eq!(answer(&mut s, "progress on\nloglevel 0\n"), "> > ");
        s.input(b"send x\n");
        assert!(s.next_command().is_some());
        s.progress(&Progress { hosts: 3, ..Progress::default() });
        s.total(&Total { hosts: 3, ..Total::default() });
        let text = taken(&mut s);
        assert!(text.starts_with("progress 0 - 0 - 3 0\ntotal hosts=3 "), "{text}");
        s.finish();
        assert_eq!(answer(&mut s, "progress total\n"), "> > ");
        s.input(b"send x\n");
        assert!(s.next_command().is_some());
        s.progress(&Progress::default());
        assert_eq!(s.unread(), 0);
        s.total(&Total::default());
        assert!(taken(&mut s).starts_with("total hosts=0 "));
    }

    #[test]
    fn a_client_that_does_not_read_gets_no_more_of_what_can_be_left_out() {
        let mut s = session();
        assert_eq!(answer(&mut s, "alive on\nprogress on\n"), "> > ");
        s.input(b"send x\n");
        assert!(s.next_command().is_some());
        for _ in 0..10_000 {
            s.alive_tick();
            s.progress(&Progress::default());
        }
        assert!(s.unread() < 2 * BEHIND);
        s.line(0, "error: counts");
        assert!(s.output().ends_with(b"error: counts\n"));
        let all = s.unread();
        s.consume(1);
        assert_eq!((s.unread(), s.output()[0]), (all - 1, b'l'));
        s.consume(all);
        assert_eq!(s.unread(), 0);
        // Nothing but a command at work is alive.
        s.finish();
        taken(&mut s);
        s.alive_tick();
        assert_eq!(s.unread(), 0);
    }

    #[test]
    fn no_text_makes_a_prompt_or_two_lines() {
        let mut s = session();
        s.input(b"members\n");
        assert!(s.next_command().is_some());
        s.line(0, "> x\ny\u{9b}");
        assert_eq!(taken(&mut s), "\\076 x\\012y\\302\\233\n");
    }

    #[test]
    fn one_client_too_many_is_told_so() {
        let mut s = Session::refused();
        assert!(s.is_closed());
        assert_eq!(taken(&mut s), "error: too many clients\n");
    }
}
