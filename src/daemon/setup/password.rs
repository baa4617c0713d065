//! The console's password: its file, and who is let in.

use std::path::Path;

use crate::console::password::{Gate, Secret};
use crate::console::{Offer, Session};
use crate::daemon::control::client::Client;
use crate::daemon::secret_file::{self, Kind};
use crate::log;
use crate::time::Time;

/// The longest password, in bytes.
const LONGEST: usize = 1_024;

/// The password in a file, for a daemon of user `us`: its first line, without its end (LF or CRLF).
///
/// # Errors
/// The file cannot be read, or its first line is empty or too long; in words that fit after the
/// file's name.
pub(crate) fn read(path: &Path, us: u32) -> Result<Secret, String> {
    // One more than a password and its end: enough to see that it is too long.
    let mut bytes = [0; LONGEST + 3];
    let got = secret_file::read(Kind::Password, path, us, &mut bytes)?;
    first_line(&bytes[..got]).map(Secret::new).map_err(str::to_owned)
}

fn first_line(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    match line.strip_suffix(b"\r").unwrap_or(line) {
        [] => Err("no password in its first line"),
        line if line.len() > LONGEST => Err("a password has at most 1024 bytes"),
        line => Ok(line),
    }
}

/// Lets clients in: all of them, or those that know the password.
#[derive(Debug)]
pub(crate) struct Door {
    secret: Option<Secret>,
    gate: Gate,
}

impl Door {
    pub(crate) fn new(secret: Option<Secret>) -> Self {
        Door { secret, gate: Gate::new() }
    }

    /// A session for a new client.
    pub(crate) fn session(&self, offer: Offer) -> Session {
        match self.secret {
            Some(secret) => Session::guarded(offer, secret),
            None => Session::new(offer),
        }
    }

    /// Answers the passwords that may be answered now, in the order of the clients.
    pub(crate) fn answer(&mut self, now: Time, clients: &mut [Client]) {
        let waiting = clients.iter_mut().filter(|client| client.session.wants_answer());
        for client in waiting {
            if now < self.gate.opens() {
                return;
            }
            let Some(right) = client.session.answer() else { continue };
            self.gate.answered(now, right);
            if !right {
                log::notice(format_args!("client {} gives a wrong password", client.id));
            }
        }
    }

    /// When the next password may be answered, if one waits.
    pub(crate) fn opens(&self, clients: &[Client]) -> Option<Time> {
        let waits = clients.iter().any(|client| client.session.wants_answer());
        waits.then(|| self.gate.opens())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password() {
        for file in [&b"a b"[..], b"a b\n", b"a b\r\n", b"a b\nmore", b"a b\n\xff"] {
            assert_eq!(first_line(file), Ok(&b"a b"[..]));
        }
        for file in [&b""[..], b"\n", b"\r\n", b"\nlate"] {
            assert!(first_line(file).is_err());
        }
        let longest = [b'x'; LONGEST];
        assert_eq!(first_line(&longest), Ok(&longest[..]));
        assert!(first_line(&[b'x'; LONGEST + 1]).is_err());
    }
}
