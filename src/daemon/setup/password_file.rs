//! The file with the console's password.

use std::fmt;
use std::path::Path;

use crate::console::password::Secret;
use crate::daemon::secret_file::{self, Kind, SecretFileError};

/// The longest password, in bytes.
const LONGEST: usize = 1_024;

/// Why a file has no password that can be used, in words that fit after its name.
#[derive(Debug)]
pub(crate) enum PasswordError {
    /// It cannot be read, or is not safe.
    File(SecretFileError),
    /// Its first line is empty.
    Empty,
    /// Its first line is too long.
    Long,
}

impl fmt::Display for PasswordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PasswordError::File(why) => why.fmt(f),
            PasswordError::Empty => f.write_str("no password in its first line"),
            PasswordError::Long => write!(f, "a password has at most {LONGEST} bytes"),
        }
    }
}

/// The password in a file, for a daemon of user `us`: its first line, without its end (LF or CRLF).
///
/// # Errors
/// See [`PasswordError`].
pub(crate) fn read(path: &Path, us: u32) -> Result<Secret, PasswordError> {
    // One more than a password and its end: enough to see that it is too long.
    let mut bytes = [0; LONGEST + 3];
    let got = secret_file::read(Kind::Password, path, us, &mut bytes);
    let got = got.map_err(PasswordError::File)?;
    first_line(&bytes[..got]).map(Secret::new)
}

fn first_line(bytes: &[u8]) -> Result<&[u8], PasswordError> {
    let line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    match line.strip_suffix(b"\r").unwrap_or(line) {
        [] => Err(PasswordError::Empty),
        line if line.len() > LONGEST => Err(PasswordError::Long),
        line => Ok(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password() {
        for file in [&b"a b"[..], b"a b\n", b"a b\r\n", b"a b\nmore", b"a b\n\xff"] {
            assert_eq!(first_line(file).unwrap(), b"a b");
        }
        for file in [&b""[..], b"\n", b"\r\n", b"\nlate"] {
            assert!(first_line(file).is_err());
        }
        let longest = [b'x'; LONGEST];
        assert_eq!(first_line(&longest).unwrap(), longest);
        assert!(first_line(&[b'x'; LONGEST + 1]).is_err());
    }
}
