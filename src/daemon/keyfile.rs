//! Key files: reading and creating them.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::count::counted;
use crate::crypto::Wiped;
use crate::daemon::secret_file::{self, Kind, SecretFileError};
use crate::fs::resolve::{self, ResolveError};
use crate::seal::{Keyring, Master};
use crate::sys::{fsat, ids, random};

/// The minimum and maximum length of a secret, in characters.
const SHORTEST: usize = 8;
const LONGEST: usize = 1_024;
/// How many bytes are read: at most four per UTF-8 character, the end of the line, and one more.
const READ: usize = 4 * LONGEST + 3;
/// Random bytes of a generated secret. (The keys derived from it have 128 bits.)
const MADE: usize = 32;

/// Why a key file cannot be used.
#[derive(Debug)]
enum KeyError {
    /// It cannot be read, or others have access to it.
    File(SecretFileError),
    /// Its first line is empty.
    Empty,
    /// The secret is too short, with this many characters.
    Short(usize),
    /// The secret is too long.
    Long,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::File(why) => why.fmt(f),
            KeyError::Empty => f.write_str("no key in its first line"),
            KeyError::Short(few) => {
                let few = counted(*few as u64, "character");
                write!(f, "the key in its first line has {few}, fewer than {SHORTEST}")
            }
            KeyError::Long => {
                write!(f, "the key in its first line has more than {LONGEST} characters")
            }
        }
    }
}

/// An error of a key file; the text begins with `-k FILE`.
#[derive(Debug)]
pub(crate) struct KeyFileError {
    path: PathBuf,
    why: KeyError,
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-k {}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for KeyFileError {}

/// Why a key file could not be created; the text begins with `--genkey FILE`.
#[derive(Debug)]
pub(crate) struct GenkeyError {
    path: PathBuf,
    why: ResolveError,
}

impl fmt::Display for GenkeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--genkey {}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for GenkeyError {}

/// Reads the keys from these files, for a daemon of user `us`. The first key seals.
///
/// # Errors
/// The first error.
pub(super) fn keyring(paths: &[PathBuf], us: u32) -> Result<Keyring, KeyFileError> {
    let masters: Result<Vec<Master>, KeyFileError> = paths
        .iter()
        .map(|path| master(path, us).map_err(|why| KeyFileError { path: path.clone(), why }))
        .collect();
    masters.map(Keyring::new)
}

fn master(path: &Path, us: u32) -> Result<Master, KeyError> {
    let mut bytes = Wiped::new([0; READ]);
    let got = secret_file::read(Kind::Key, path, us, bytes.bytes_mut());
    let got = got.map_err(KeyError::File)?;
    let secret = secret(&bytes.bytes()[..got])?;
    Ok(Master::new(secret))
}

/// The secret: the first line.
fn secret(bytes: &[u8]) -> Result<&[u8], KeyError> {
    let line = secret_file::first_line(bytes);
    // In UTF-8, these two bits mark the continuation bytes of a character.
    match line.iter().filter(|&&byte| byte & 0xc0 != 0x80).count() {
        0 => Err(KeyError::Empty),
        few if few < SHORTEST => Err(KeyError::Short(few)),
        many if many > LONGEST => Err(KeyError::Long),
        _ => Ok(line),
    }
}

/// Creates a file with a new key, readable only by its owner.
///
/// # Errors
/// The file already exists, or cannot be written.
pub(super) fn make(path: &Path) -> Result<(), GenkeyError> {
    let refused = |why| GenkeyError { path: path.to_owned(), why };
    let failed = |error| refused(ResolveError::Io(error));
    let mut key = Wiped::new([0; MADE]);
    random::fill(key.bytes_mut()).map_err(failed)?;
    let mut text = Wiped::new([b'\n'; 2 * MADE + 1]);
    for (digits, byte) in text.bytes_mut().chunks_exact_mut(2).zip(key.bytes()) {
        digits[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        digits[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    let place = resolve::place(path, ids::effective().uid).map_err(refused)?;
    let (dir, name) = (place.dir().as_fd(), place.name());
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
    let mut file = fsat::open_at(dir, name, flags, 0o600).map(File::from).map_err(failed)?;
    write(&mut file, text.bytes()).map_err(|error| {
        // Half a key might be accepted.
        let _ = fsat::unlink_at(dir, name);
        failed(error)
    })
}

fn write(file: &mut File, text: &[u8]) -> std::io::Result<()> {
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_secret() {
        for file in [&b"12345678"[..], b"12345678\n", b"12345678\r\n", b"12345678\nmore\n"] {
            assert_eq!(secret(file).unwrap(), b"12345678");
        }
        let most = "\u{20ac}".repeat(LONGEST);
        assert_eq!(secret(format!("{most}\r\n").as_bytes()).unwrap(), most.as_bytes());
        assert!(most.len() + 2 < READ);
    }

    #[test]
    fn a_secret_has_8_to_1024_characters() {
        let why = |file: &[u8]| secret(file).unwrap_err().to_string();
        for empty in [&b""[..], b"\n", b"\r\n", b"\nlate enough"] {
            assert_eq!(why(empty), "no key in its first line");
        }
        assert_eq!(why(b"1234567\n"), "the key in its first line has 7 characters, fewer than 8");
        assert!(why("\u{e9}".repeat(7).as_bytes()).contains("7 characters"));
        assert!(why(&[b'x'; LONGEST + 1]).contains("more than 1024"));
        assert!(secret(&[b'x'; LONGEST]).is_ok() && secret(&[0xff; 8]).is_ok());
    }
}
