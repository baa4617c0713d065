//! Reading files that contain a secret: keys, and the console's password.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use crate::fs::resolve::{self, ResolveError};
use crate::sys::fsat::{self, FileType, Stat};

/// The kind of secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A key of the group.
    Key,
    /// The password of the console.
    Password,
}

/// Why a secret file is not used; the text follows the file's name.
#[derive(Debug)]
pub(crate) enum SecretFileError {
    /// It cannot be found or read, or an untrusted symbolic link leads to it.
    Path(ResolveError),
    /// It is a directory.
    Directory,
    /// It is neither a file nor a directory.
    NoFile,
    /// It belongs to this user, who is neither root nor the daemon's user.
    Owner(u32),
    /// Its mode allows others to read or write it.
    Mode(u32),
}

impl fmt::Display for SecretFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretFileError::Path(why) => why.fmt(f),
            SecretFileError::Directory => f.write_str("is a directory"),
            SecretFileError::NoFile => f.write_str("is not a regular file"),
            SecretFileError::Owner(uid) => write!(
                f,
                "belongs to user {uid}, neither root nor the daemon's user: chown it to one of them"
            ),
            SecretFileError::Mode(mode) => {
                write!(f, "its group or others can read or write it (mode {mode:04o}): chmod 600")
            }
        }
    }
}

impl std::error::Error for SecretFileError {}

impl From<ResolveError> for SecretFileError {
    fn from(why: ResolveError) -> Self {
        SecretFileError::Path(why)
    }
}

impl From<io::Error> for SecretFileError {
    fn from(error: io::Error) -> Self {
        SecretFileError::Path(ResolveError::Io(error))
    }
}

/// Reads the beginning of a file, as much as fits, and returns how much that was. Only symbolic links
/// owned by root or `us`, the daemon's user, are followed.
///
/// # Errors
/// See [`SecretFileError`].
pub(super) fn read(
    kind: Kind,
    path: &Path,
    us: u32,
    into: &mut [u8],
) -> Result<usize, SecretFileError> {
    let resolved = resolve::follow(path, us)?;
    let (fd, stat) = resolved.found()?;
    match stat.kind {
        FileType::File => check(stat, us)?,
        // A device was named on purpose.
        FileType::Char if kind == Kind::Password => {}
        FileType::Directory => return Err(SecretFileError::Directory),
        // Reading a FIFO would block until somebody writes to it.
        _ => return Err(SecretFileError::NoFile),
    }
    let (dir, name) = (resolved.dir().as_fd(), resolved.name());
    let file = fsat::reopen(dir, name, fd.as_fd(), libc::O_RDONLY)?;
    Ok(fill(&mut File::from(file), into)?)
}

/// The first line of what was read, without its end (LF or CRLF).
pub(super) fn first_line(bytes: &[u8]) -> &[u8] {
    let line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Checks that only root and the daemon's user can have written or read the file.
fn check(stat: &Stat, us: u32) -> Result<(), SecretFileError> {
    if stat.uid != 0 && stat.uid != us {
        return Err(SecretFileError::Owner(stat.uid));
    }
    let mode = stat.mode & 0o777;
    if mode & 0o066 != 0 {
        return Err(SecretFileError::Mode(mode));
    }
    Ok(())
}

fn fill(file: &mut File, into: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < into.len() {
        match file.read(&mut into[got..]) {
            Ok(0) => break,
            Ok(some) => got += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_ends_with_lf_or_crlf_or_the_file() {
        for file in [&b"a b"[..], b"a b\n", b"a b\r\n", b"a b\nmore", b"a b\n\xff"] {
            assert_eq!(first_line(file), b"a b");
        }
        for file in [&b""[..], b"\n", b"\r\n", b"\nlate"] {
            assert_eq!(first_line(file), b"");
        }
        assert_eq!(first_line(b"a\rb\r\r\n"), b"a\rb\r");
    }
}
