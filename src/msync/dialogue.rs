//! The client's side of one connection: the start of the dialogue, sending a line, waiting for its
//! answer.
//!
//! The daemon may be old: it then does not know `progress`, and the client works without what only
//! new daemons report or do.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::failure::Failure;
use super::link::{Event, Link, LinkError};
use super::show::Screen;
use crate::console::error::UNKNOWN;

/// How long to wait for the daemon.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the first prompt.
    pub prompt: Duration,
    /// For the answer to a password: the daemon delays it after too many wrong ones.
    pub password: Duration,
    /// For the next line of a daemon that writes `alive` every second.
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

/// The client's side of one connection.
pub struct Client<'a> {
    pub(super) link: Link,
    pub(super) screen: &'a mut Screen,
    patience: Patience,
}

impl<'a> Client<'a> {
    /// A client on a new connection.
    pub fn new(link: Link, screen: &'a mut Screen, patience: Patience) -> Self {
        Client { link, screen, patience }
    }

    /// Waits for the first prompt, sends the password if necessary, and turns on `alive`.
    pub(super) fn begin(&mut self, password: Option<&[u8]>) -> Result<(), Failure> {
        self.set_patience(Some(self.patience.prompt))?;
        self.greet(password)?;
        self.set_patience(Some(self.patience.silence))?;
        if !self.understood(b"alive on")? {
            self.set_patience(None)?;
        }
        Ok(())
    }

    /// Ends the dialogue.
    pub(super) fn end(mut self) {
        // Whether the daemon hears this makes no difference: the connection ends.
        let _ = self.link.say(b"quit");
    }

    fn set_patience(&mut self, patience: Option<Duration>) -> Result<(), LinkError> {
        self.link.set_patience(patience).map_err(LinkError::Io)
    }

    /// The next event. Before waiting, everything so far is shown.
    fn event(&mut self) -> Result<Event, LinkError> {
        if let Some(event) = self.link.ready() {
            return Ok(event);
        }
        self.screen.flush();
        self.link.event()
    }

    /// Waits for the first prompt; sends the password if the daemon asks for it.
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
                // Instead of a prompt: the password was wrong.
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

    /// Sends a line and passes the lines of the answer, except `alive`, to `take`.
    pub(super) fn ask(
        &mut self,
        line: &[u8],
        take: impl FnMut(&mut Screen, &[u8]),
    ) -> Result<(), Failure> {
        self.link.say(line)?;
        self.answer(take)
    }

    /// Passes the lines of the next answer, except `alive`, to `take`.
    pub(super) fn answer(
        &mut self,
        mut take: impl FnMut(&mut Screen, &[u8]),
    ) -> Result<(), Failure> {
        loop {
            match self.event()? {
                Event::Prompt => return Ok(()),
                Event::Password => return Err(Failure::NoPassword),
                Event::Line(line) if line == b"alive" => {}
                Event::Line(line) => take(self.screen, &line),
            }
        }
    }

    /// Sends a command without an answer, and returns whether the daemon knows it.
    pub(super) fn understood(&mut self, line: &[u8]) -> Result<bool, Failure> {
        let mut known = true;
        self.ask(line, |_, answer| known &= !answer.starts_with(UNKNOWN.as_bytes()))?;
        Ok(known)
    }
}
