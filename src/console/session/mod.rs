//! The daemon's side of one connection: bytes in, commands and bytes out. There is no socket here.
//!
//! The owner passes input to [`Session::input`] and then calls [`Session::next_command`] until
//! there is none. The session is busy until the command is finished: the owner answers with
//! [`Session::line`] and similar calls, then calls [`Session::finish`], and asks for the next
//! command. Lines that arrive in the meantime are queued.
//!
//! After every call the owner writes [`Session::output`], passes the number of written bytes to
//! [`Session::consume`], and closes the connection once [`Session::is_closed`] and all output is
//! written. It reads only while [`Session::wants_input`], and may pause a client's transfer
//! depending on [`Session::unread`].
#![forbid(unsafe_code)]

use std::sync::Arc;

mod arrived;
mod files;
mod patterns;
mod results;

use super::command::{self, Command, Follow, Line, Reports};
use super::error::{Code, ErrorLine};
use super::file_list::FileList;
use super::output::Output;
use super::password::{ASK, Secret};
use super::reply::PROMPT;
use super::verb::{Offer, Verb};
use super::words::{self, MAX_LINE};
use crate::name::Escaped;
use crate::pattern::{PatternBudget, PatternList, Patterns};
use arrived::{Arrived, Waiting, adds_files, adds_pattern, is_foreign};

/// With so many bytes unread, no more lines are obeyed: those that have come wait until the client has
/// read some.
const FULL_OUTPUT: usize = 64 * 1_024;

/// With so many bytes unread, lines that a later one replaces (`alive`, `progress`) are left out.
const BEHIND: usize = 4_096;

/// The state of a session.
#[derive(Clone, Copy, Debug)]
enum State {
    /// The next line is the password.
    Asked(Secret),
    /// Ready for the next line.
    Idle,
    /// The patterns are being listed: this one is next.
    Listing(usize),
    /// A command is running.
    Busy,
    /// No further line is processed.
    Closed,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    offer: Offer,
    state: State,
    arrived: Arrived,
    /// Whether no line has been processed yet.
    first: bool,
    /// Whether the first line must be a command, or the session is closed.
    strict: bool,
    ended: bool,
    /// How many prompts were written.
    prompts: u64,
    current: String,
    loglevel: u8,
    alive: bool,
    follow: Follow,
    patterns: PatternList,
    files: FileList,
    /// A pattern was refused. The next transfer would delete what it was to protect, so no transfer
    /// starts until all patterns are cleared.
    unheeded: bool,
    report: Reports,
    output: Output,
}

impl Session {
    /// A new connection, greeted with the prompt.
    pub fn new(offer: Offer) -> Self {
        Session {
            offer,
            state: State::Idle,
            arrived: Arrived::default(),
            first: true,
            strict: false,
            ended: false,
            prompts: 0,
            current: String::new(),
            loglevel: 0,
            alive: false,
            follow: Follow::Off,
            patterns: PatternList::default(),
            files: FileList::default(),
            unheeded: false,
            report: Reports::Off,
            output: Output::new(PROMPT),
        }
    }

    /// A new connection that must send the password first.
    pub fn guarded(offer: Offer, secret: Secret) -> Self {
        let mut session = Session::new(offer);
        session.state = State::Asked(secret);
        session.output = Output::new(ASK);
        session
    }

    /// The same session, closed if its first line is no command: for connections over a network, which
    /// other programs can be made to open and to say something over, line after line.
    pub fn strict(self) -> Self {
        Session { strict: true, ..self }
    }

    /// The same session, whose patterns and list of paths are charged to a budget that it shares.
    pub fn sharing(mut self, budget: &PatternBudget) -> Self {
        self.patterns = PatternList::new(budget.clone());
        self.files = FileList::new(budget.clone());
        self
    }

    /// A connection beyond the limit: it is told so and closed.
    pub fn refused() -> Self {
        let mut session = Session::new(Offer::default());
        session.output = Output::default();
        session.dismiss();
        session
    }

    /// Says that there are too many, and closes the session, whatever is under way.
    pub fn dismiss(&mut self) {
        self.error(&ErrorLine::new(Code::Refused, "too many clients"));
        self.close();
    }

    /// Adds input. Call [`Session::next_command`] afterwards.
    pub fn input(&mut self, bytes: &[u8]) {
        if !self.is_closed() {
            self.arrived.take(bytes);
        }
    }

    /// The client will send nothing more. Queued lines are still processed; then the session is
    /// closed. An unfinished line is dropped: it may have been cut off.
    pub fn end_of_input(&mut self) {
        self.ended = true;
        self.arrived.end();
        if matches!(self.state, State::Idle | State::Asked(_)) && self.arrived.is_empty() {
            self.state = State::Closed;
        }
    }

    /// Whether a password has arrived and is not answered yet: the owner calls [`Session::answer`]
    /// when its [`super::password::Gate`] allows that, and then asks for commands.
    pub fn wants_answer(&self) -> bool {
        matches!(self.state, State::Asked(_)) && !self.arrived.is_empty()
    }

    /// Answers the password that has arrived, and returns whether it was right. A wrong one closes
    /// the session. None if there is nothing to answer.
    pub fn answer(&mut self) -> Option<bool> {
        let State::Asked(secret) = self.state else { return None };
        let right = matches!(self.arrived.next()?, Waiting::Line(line) if secret.is(&line));
        self.output.raw(b"\r");
        if right {
            self.state = State::Idle;
            // Clients of other protocols do not know the password.
            self.first = false;
            self.prompt();
        } else {
            self.put("sorry.");
            self.close();
        }
        Some(right)
    }

    /// Processes queued lines up to the next command for the daemon, and returns that. None if the
    /// session is busy or closed, if no line is queued, or if the client has too much unread output.
    pub fn next_command(&mut self) -> Option<Command> {
        while self.is_between_commands() && !self.is_behind() {
            if let State::Listing(next) = self.state {
                self.list_patterns(next);
                continue;
            }
            let Some(waiting) = self.arrived.next() else {
                if self.ended {
                    self.state = State::Closed;
                }
                return None;
            };
            let line = match waiting {
                Waiting::Line(line) => line,
                // A request of a browser may be longer than a line.
                Waiting::TooLong(_) if std::mem::take(&mut self.first) => {
                    self.close();
                    return None;
                }
                Waiting::TooLong(adds) => {
                    self.unheeded |= adds;
                    self.files.refused = true;
                    let why = format!("a line has at most {MAX_LINE} bytes");
                    self.error(&ErrorLine::new(Code::Usage, why));
                    self.prompt();
                    continue;
                }
            };
            if std::mem::take(&mut self.first) {
                if is_foreign(&line) {
                    self.close();
                    return None;
                }
                if self.strict && !self.is_command(&line) {
                    let error = match words::split(&line) {
                        Ok(words) => {
                            let name = words.first().map_or(&[][..], |word| &word.bytes);
                            ErrorLine::unknown_command(Escaped(name))
                        }
                        Err(why) => ErrorLine::new(Code::Usage, why),
                    };
                    self.error(&error);
                    self.close();
                    return None;
                }
            }
            if let Some(command) = self.obey(&line) {
                return Some(command);
            }
        }
        None
    }

    /// Writes a line of the running command, unless it is above the connection's log level. Bytes
    /// that would end the line, or make it look like a prompt, are escaped.
    pub fn line(&mut self, level: u8, text: &str) {
        if level <= self.loglevel {
            self.put(text);
        }
    }

    /// Writes lines separated by newlines, as [`Session::line`] does.
    pub fn lines(&mut self, level: u8, text: &str) {
        text.lines().for_each(|line| self.line(level, line));
    }

    /// To be called every second: writes `alive` if a command is running and the client asked for
    /// that.
    pub fn alive_tick(&mut self) {
        if self.alive && self.is_busy() && self.unread() < BEHIND {
            self.put("alive");
        }
    }

    /// Whether the client asked for `alive` lines.
    pub fn is_alive_on(&self) -> bool {
        self.alive
    }

    /// The running command has ended: writes the prompt. Call [`Session::next_command`] afterwards.
    pub fn finish(&mut self) {
        if self.is_busy() {
            self.state = State::Idle;
            self.current.clear();
            self.prompt();
        }
    }

    /// The pending output.
    pub fn output(&self) -> &[u8] {
        self.output.rest()
    }

    /// `count` bytes of [`Session::output`] were written.
    pub fn consume(&mut self, count: usize) {
        self.output.consume(count);
    }

    /// The number of bytes of pending output.
    pub fn unread(&self) -> usize {
        self.output.len()
    }

    /// Whether to read from the client. While this is false, only look for a hang-up.
    pub fn wants_input(&self) -> bool {
        let full = self.arrived.is_full() || (!self.is_busy() && self.is_behind());
        !self.is_closed() && !self.ended && !full
    }

    /// Whether the client has so much to read that no line is obeyed before it has.
    fn is_behind(&self) -> bool {
        self.unread() >= FULL_OUTPUT
    }

    /// Whether [`Session::next_command`] has something to do.
    pub fn can_obey(&self) -> bool {
        let listing = matches!(self.state, State::Listing(_));
        (listing || (matches!(self.state, State::Idle) && !self.arrived.is_empty()))
            && !self.is_behind()
    }

    fn is_between_commands(&self) -> bool {
        matches!(self.state, State::Idle | State::Listing(_))
    }

    /// Whether the client has yet to say anything: the password, or if there is none, a line.
    pub fn awaits_first(&self) -> bool {
        self.first && self.arrived.is_empty() && !self.is_closed()
    }

    /// Whether the client has yet to give the password.
    pub fn is_locked(&self) -> bool {
        matches!(self.state, State::Asked(_))
    }

    /// How many prompts the client was shown: one more for each line that was done.
    pub fn prompts(&self) -> u64 {
        self.prompts
    }

    /// Whether a command is running.
    pub fn is_busy(&self) -> bool {
        matches!(self.state, State::Busy)
    }

    /// Whether the connection is to be closed once the output is written.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// The line of the running command, escaped by [`Escaped`]; empty if there is none.
    pub fn current(&self) -> &str {
        &self.current
    }

    /// Lines above this level are not shown.
    pub fn loglevel(&self) -> u8 {
        self.loglevel
    }

    /// What else the client wants to be told about a transfer.
    pub fn follow(&self) -> Follow {
        self.follow
    }

    /// Whether the client asked for reports.
    pub fn reports(&self) -> bool {
        self.report == Reports::All
    }

    /// The patterns of this connection, in the order added.
    pub fn patterns(&self) -> &Arc<Patterns> {
        self.patterns.patterns()
    }

    /// Whether the first word of a line is a command that is offered, or there is none.
    fn is_command(&self, line: &[u8]) -> bool {
        let named = |word: &words::Word| Verb::named(&word.bytes, &self.offer).is_some();
        words::split(line).is_ok_and(|words| words.first().is_none_or(named))
    }

    /// Processes a line, or returns the command for the daemon.
    fn obey(&mut self, line: &[u8]) -> Option<Command> {
        let (adds, lists) = (adds_pattern(line), adds_files(line));
        let line = match words::split(line) {
            Ok(words) => {
                self.current = Escaped(line).to_string();
                command::parse(&words, &self.offer)
            }
            Err(why) => Line::Error(ErrorLine::new(Code::Usage, why)),
        };
        match line {
            Line::Do(Command::Quit) => {
                self.close();
                return Some(Command::Quit);
            }
            Line::Do(Command::Transfer(_)) if self.unheeded => {
                let why = "a pattern was refused: no transfer starts before 'exclude clear'";
                self.error(&ErrorLine::new(Code::InvalidPattern, why));
            }
            Line::Do(mut command) => {
                let handed = match &mut command {
                    Command::Transfer(transfer) => self.hand_files(transfer),
                    _ => Ok(()),
                };
                match handed {
                    Err(error) => self.error(&error),
                    Ok(()) => {
                        self.state = State::Busy;
                        return Some(command);
                    }
                }
            }
            Line::Say(text) => {
                self.unheeded |= adds;
                self.files.refused |= lists;
                self.say(&text);
            }
            Line::Error(error) => {
                self.unheeded |= adds;
                self.files.refused |= lists;
                self.error(&error);
            }
            Line::Alive(Some(on)) => self.alive = on,
            Line::Alive(None) => self.put(if self.alive { "alive on" } else { "alive off" }),
            Line::Loglevel(Some(level)) => self.loglevel = level,
            Line::Loglevel(None) => self.put(&format!("loglevel {}", self.loglevel)),
            Line::Progress(Some(follow)) => self.follow = follow,
            Line::Progress(None) => self.put(match self.follow {
                Follow::Off => "progress off",
                Follow::Total => "progress total",
                Follow::Progress => "progress on",
            }),
            Line::Report(Some(report)) => self.report = report,
            Line::Report(None) => self.put(match self.report {
                Reports::Off => "report off",
                Reports::Absent => "report absent",
                Reports::All => "report on",
            }),
            Line::Patterns(edit) => self.edit(edit),
            Line::Files(edit) => self.edit_files(edit),
        }
        if matches!(self.state, State::Listing(_)) {
            return None;
        }
        self.current.clear();
        self.prompt();
        None
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.arrived = Arrived::default();
        self.current.clear();
    }

    fn prompt(&mut self) {
        self.output.raw(PROMPT);
        self.prompts += 1;
    }

    fn say(&mut self, text: &str) {
        for line in text.lines() {
            self.put(line);
        }
    }

    /// Writes one line, whatever its level.
    fn put(&mut self, text: &str) {
        self.output.line(text);
    }
}

#[cfg(test)]
mod tests;
