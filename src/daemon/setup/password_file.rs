//! The file with the console's password.

use std::fmt;
use std::path::Path;

use crate::console::password::Secret;
use crate::daemon::secret_file::{self, Kind, SecretFileError};

/// The longest password, in bytes.
const LONGEST: usize = 1_024;

/// Why a password file cannot be used; the text follows the file's name.
#[derive(Debug)]
pub(crate) enum PasswordError {
    /// It cannot be read, or others have access to it.
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

/// Reads the password, the first line of a file, for a daemon of user `us`.
///
/// # Errors
/// See [`PasswordError`].
pub(crate) fn read(path: &Path, us: u32) -> Result<Secret, PasswordError> {
    // The end of the line, and one more byte to detect a password that is too long.
    let mut bytes = [0; LONGEST + 3];
    let got = secret_file::read(Kind::Password, path, us, &mut bytes);
    let got = got.map_err(PasswordError::File)?;
    password(&bytes[..got]).map(Secret::new)
}

fn password(bytes: &[u8]) -> Result<&[u8], PasswordError> {
    match secret_file::first_line(bytes) {
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
            assert_eq!(password(file).unwrap(), b"a b");
        }
        for file in [&b""[..], b"\n", b"\r\n", b"\nlate"] {
            assert!(password(file).is_err());
        }
        let longest = [b'x'; LONGEST];
        assert_eq!(password(&longest).unwrap(), longest);
        assert!(password(&[b'x'; LONGEST + 1]).is_err());
    }
}
