//! What is said to the daemon before and beside transfers, and what its answers mean.
//!
//! The daemon may be old: it then does not know `progress`, and the client gets by without what
//! only new daemons tell or do.
#![forbid(unsafe_code)]

use std::io;
use std::time::Duration;

use super::input::Input;
use super::link::{Event, Link, LinkError, plain};
use super::old::{self, Row};
use super::show::Screen;
use super::{INCOMPLETE, SUCCESS, UNUSABLE};
use crate::cli::msync::{Command, Config, Target};
use crate::console::UNKNOWN;
use crate::name::Escaped;

/// How long to wait for a sign of life.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the first prompt.
    pub prompt: Duration,
    /// For the answer to a password: a daemon that was told too many wrong ones takes its time.
    pub password: Duration,
    /// From a daemon that promised to say `alive` every second.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            prompt: Duration::from_secs(5),
            password: Duration::from_secs(180),
            silence: Duration::from_secs(30),
        }
    }
}

/// Why the dialogue ended early; each ends the client with [`UNUSABLE`].
pub(super) enum Failure {
    /// The connection failed.
    Link(LinkError),
    /// The daemon's first words were no prompt; they are its own, and were shown if there were any.
    Refused,
    /// It wants a password, and there is none.
    NoPassword,
    /// It does not take the password.
    WrongPassword,
    /// A path that cannot be sent: as typed, and why.
    Path(Vec<u8>, String),
    /// A pattern that the daemon does not take, and what it says.
    Pattern(Vec<u8>, String),
    /// The daemon is too old for this option.
    TooOld(&'static str),
    /// The script cannot be read.
    Script(io::Error),
    /// A pattern of the script was refused, as was shown.
    ScriptPattern,
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        Failure::Link(error)
    }
}

impl Failure {
    fn tell(&self, target: &Target, screen: &mut Screen) {
        let daemon = format!("the daemon at {target}");
        screen.say(&match self {
            Failure::Link(error) => format!("msync: lost {daemon}: {error}"),
            Failure::Refused => format!("msync: {daemon} refused"),
            Failure::NoPassword => format!("msync: {daemon} wants a password (-K FILE)"),
            Failure::WrongPassword => format!("msync: {daemon} does not take the password of -K"),
            Failure::Path(path, why) => format!("msync: {}: {why}", Escaped(path)),
            Failure::Pattern(pattern, why) => {
                format!("msync: {daemon} does not take the pattern {}: {why}", Escaped(pattern))
            }
            Failure::TooOld(option) => format!("msync: {daemon} is too old for {option}"),
            Failure::ScriptPattern => "msync: -f: ends at a pattern that was refused".to_owned(),
            Failure::Script(error) => format!("msync: -f: {}", plain(error)),
        });
    }
}

/// The client's side of one connection.
pub struct Client<'a> {
    pub(super) link: Link,
    pub(super) screen: &'a mut Screen,
    patience: Patience,
}

impl<'a> Client<'a> {
    /// A client on a connection over which nothing was said yet.
    pub fn new(link: Link, screen: &'a mut Screen, patience: Patience) -> Self {
        Client { link, screen, patience }
    }

    /// Does what `config` says and returns the exit status.
    pub fn run(mut self, config: &Config, input: &Input) -> u8 {
        let status = self.converse(config, input).unwrap_or_else(|failure| {
            failure.tell(&config.target, self.screen);
            UNUSABLE
        });
        // Whether it hears this makes no difference: the connection ends.
        let _ = self.link.say(b"quit");
        status
    }

    fn converse(&mut self, config: &Config, input: &Input) -> Result<u8, Failure> {
        self.set_patience(Some(self.patience.prompt))?;
        self.greet(input.password.as_deref())?;
        self.set_patience(Some(self.patience.silence))?;
        if !self.understood(b"alive on")? {
            self.set_patience(None)?;
        }
        match &config.command {
            Command::Members { verbose } => self.members(*verbose, config.json),
            Command::Status => self.status(config.json),
            Command::Files(files) => self.files(files, config, &input.rules),
            Command::Script(script) => self.script(script, config, &input.rules),
        }
    }

    fn set_patience(&mut self, patience: Option<Duration>) -> Result<(), LinkError> {
        self.link.set_patience(patience).map_err(LinkError::Io)
    }

    /// The next event, with all that came before it shown first.
    fn event(&mut self) -> Result<Event, LinkError> {
        if let Some(event) = self.link.ready() {
            return Ok(event);
        }
        self.screen.flush();
        self.link.event()
    }

    /// Waits for the first prompt; says the password if that is what the daemon wants.
    fn greet(&mut self, password: Option<&[u8]>) -> Result<(), Failure> {
        let mut refused = false;
        let mut said = false;
        loop {
            match self.event() {
                Ok(Event::Prompt) => return Ok(()),
                Ok(Event::Password) => {
                    let password = password.ok_or(Failure::NoPassword)?;
                    if said {
                        return Err(Failure::WrongPassword);
                    }
                    said = true;
                    self.set_patience(Some(self.patience.password))?;
                    self.link.say(password)?;
                }
                // What it says instead of the prompt then is how sorry it is.
                Ok(Event::Line(_)) if said => return Err(Failure::WrongPassword),
                Ok(Event::Line(line)) => {
                    refused = true;
                    self.screen.trouble(&line);
                }
                Err(LinkError::Closed) if said => return Err(Failure::WrongPassword),
                Err(LinkError::Closed) if refused => return Err(Failure::Refused),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Says a line, and hands what is answered, but for `alive`, to `take`.
    pub(super) fn ask(
        &mut self,
        line: &[u8],
        mut take: impl FnMut(&mut Screen, &[u8]),
    ) -> Result<(), Failure> {
        self.link.say(line)?;
        loop {
            match self.event()? {
                Event::Prompt => return Ok(()),
                Event::Password => return Err(Failure::NoPassword),
                Event::Line(line) if line == b"alive" => {}
                Event::Line(line) => take(self.screen, &line),
            }
        }
    }

    /// Says a line that is answered by nothing, and tells whether the daemon knows it.
    pub(super) fn understood(&mut self, line: &[u8]) -> Result<bool, Failure> {
        let mut known = true;
        self.ask(line, |_, answer| known &= !is_unknown(answer))?;
        Ok(known)
    }

    fn members(&mut self, verbose: bool, json: bool) -> Result<u8, Failure> {
        let new = (verbose || json) && self.understood(b"progress total")?;
        match (json, new) {
            (true, true) => self.list(b"members json"),
            (true, false) => {
                let (rows, _) = self.rows()?;
                self.screen.line(old::members(&rows).as_bytes());
                Ok(SUCCESS)
            }
            (false, true) => self.list(b"members -v"),
            (false, false) => self.list(b"members"),
        }
    }

    fn status(&mut self, json: bool) -> Result<u8, Failure> {
        if !json {
            return self.list(b"status");
        }
        if self.understood(b"progress total")? {
            return self.list(b"status json");
        }
        let mut lines = Vec::new();
        self.ask(b"status", |_, line| lines.push(line.to_vec()))?;
        self.screen.line(old::status(&lines).as_bytes());
        Ok(SUCCESS)
    }

    /// The members, from the table, and whether it says that there is none.
    pub(super) fn rows(&mut self) -> Result<(Vec<Row>, bool), Failure> {
        let mut rows = Vec::new();
        let mut none = false;
        self.ask(b"members", |_, line| {
            none |= line.starts_with(b"Total: 0 ");
            rows.extend(Row::parse(line));
        })?;
        Ok((rows, none))
    }

    /// Has the daemon list something, for standard output.
    fn list(&mut self, command: &[u8]) -> Result<u8, Failure> {
        let mut status = SUCCESS;
        self.ask(command, |screen, line| {
            if line.starts_with(b"error:") || is_unknown(line) {
                screen.trouble(line);
                status = INCOMPLETE;
            } else {
                screen.line(line);
            }
        })?;
        Ok(status)
    }
}

pub(super) fn is_unknown(line: &[u8]) -> bool {
    line.starts_with(UNKNOWN.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn config(text: &[&str]) -> Config {
        let args = text.iter().map(std::ffi::OsString::from);
        match crate::cli::msync::parse(args, |_| None) {
            Ok(crate::cli::Asked::Run(config)) => config,
            other => panic!("{other:?}"),
        }
    }

    /// Lets a client with little patience talk to a daemon that says these pieces, each after one
    /// more line was said to it, and then nothing, but keeps the connection open.
    fn talk(pieces: &[&str], silence: u64) -> u8 {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let pieces: Vec<String> = pieces.iter().map(|&piece| piece.to_owned()).collect();
        let daemon = std::thread::spawn(move || {
            let mut byte = [0];
            for piece in pieces {
                theirs.write_all(piece.as_bytes()).unwrap();
                while theirs.read(&mut byte).unwrap_or(0) > 0 && byte[0] != b'\n' {}
            }
            // Until the client goes.
            while theirs.read(&mut byte).unwrap_or(0) > 0 {}
        });
        let silence = Duration::from_millis(silence);
        let patience = Patience { prompt: silence, password: silence, silence };
        let mut screen = Screen::new(std::io::sink(), std::io::sink(), false, false);
        let input = Input { password: Some(b"open sesame".to_vec()), ..Input::default() };
        let client = Client::new(Link::over_unix(ours), &mut screen, patience);
        let status = client.run(&config(&["-r"]), &input);
        daemon.join().unwrap();
        status
    }

    #[test]
    fn a_daemon_that_says_nothing_is_given_up() {
        assert_eq!(talk(&[], 20), UNUSABLE);
        assert_eq!(talk(&["> ", "> ", "> ", "> "], 200), UNUSABLE);
    }

    #[test]
    fn a_daemon_that_lives_is_waited_for() {
        // With the whole dialogue said at once there is no wait that could be too long.
        let all = ["> ", "> ", "> ", "> ", "alive\ntotal hosts=1\n> "];
        assert_eq!(talk(&all, 10_000), SUCCESS);
    }

    #[test]
    fn a_password_is_said_once() {
        let all = ["password: \x1b]E", "\r> ", "> ", "> ", "> ", "total hosts=1\n> "];
        assert_eq!(talk(&all, 10_000), SUCCESS);
        for answer in ["\rsorry.\n", "password: \x1b]E"] {
            assert_eq!(talk(&["password: \x1b]E", answer], 10_000), UNUSABLE);
        }
        assert_eq!(talk(&["password: \x1b]E"], 20), UNUSABLE);
    }
}
