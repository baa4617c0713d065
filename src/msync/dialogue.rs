//! The client's side of one connection: what is said to the daemon before all else, and how its
//! answers come.
//!
//! The daemon may be old: it then does not know `progress`, and the client gets by without what
//! only new daemons tell or do.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::failure::Failure;
use super::link::{Event, Link, LinkError};
use super::show::Screen;
use crate::console::error::UNKNOWN;

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

    /// Comes to the point where the daemon does what it is told.
    pub(super) fn begin(&mut self, password: Option<&[u8]>) -> Result<(), Failure> {
        self.set_patience(Some(self.patience.prompt))?;
        self.greet(password)?;
        self.set_patience(Some(self.patience.silence))?;
        if !self.understood(b"alive on")? {
            self.set_patience(None)?;
        }
        Ok(())
    }

    /// Takes leave.
    pub(super) fn end(mut self) {
        // Whether the daemon hears this makes no difference: the connection ends.
        let _ = self.link.say(b"quit");
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
        self.ask(line, |_, answer| known &= !answer.starts_with(UNKNOWN.as_bytes()))?;
        Ok(known)
    }
}
