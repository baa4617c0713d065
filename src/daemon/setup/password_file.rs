//! The file with the console's password.

use std::path::Path;

use crate::console::password::Secret;
use crate::daemon::secret_file::{self, Kind};

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
