//! Files with the group's key: read, and made.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::crypto::Wiped;
use crate::errno::ErrorText;
use crate::seal::{Keyring, Master};
use crate::sys::random;

/// The fewest and the most characters of a secret.
const SHORTEST: usize = 8;
const LONGEST: usize = 1_024;
/// Bytes that are read: a character of UTF-8 has at most four; then the end of the line, and one more.
const READ: usize = 4 * LONGEST + 3;
/// Random bytes of a secret that is made here; 128 bits are what the keys derived of it have.
const MADE: usize = 32;

/// The keys in these files, the first one's to seal with.
///
/// # Errors
/// What is wrong with the first file that something is wrong with, in words that begin with `-k FILE`.
pub(super) fn keyring(paths: &[PathBuf]) -> Result<Keyring, String> {
    let masters: Result<Vec<Master>, String> = paths
        .iter()
        .map(|path| master(path).map_err(|why| format!("-k {}: {why}", path.display())))
        .collect();
    masters.map(Keyring::new)
}

fn master(path: &Path) -> Result<Master, String> {
    let mut bytes = Wiped::new([0; READ]);
    let got = read(path, bytes.bytes_mut())?;
    let secret = secret(&bytes.bytes()[..got])?;
    Ok(Master::new(secret))
}

fn read(path: &Path, into: &mut [u8]) -> Result<usize, String> {
    let failed = |error: std::io::Error| ErrorText(&error).to_string();
    // A FIFO would wait for somebody to write to it.
    let mut file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(if about.is_dir() { "is a directory" } else { "is no file" }.to_owned());
    }
    let mode = about.mode() & 0o777;
    if mode & 0o066 != 0 {
        return Err(format!(
            "its group or others can read or write it (mode {mode:04o}): chmod 600"
        ));
    }
    let mut got = 0;
    while got < into.len() {
        match file.read(&mut into[got..]) {
            Ok(0) => break,
            Ok(some) => got += some,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(got)
}

/// The first line, without its end (LF or CRLF).
fn secret(bytes: &[u8]) -> Result<&[u8], String> {
    let line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // In UTF-8 all bytes of a character but the first begin with these two bits.
    match line.iter().filter(|&&byte| byte & 0xc0 != 0x80).count() {
        0 => Err("no key in its first line".to_owned()),
        few if few < SHORTEST => {
            Err(format!("the key in its first line has {few} characters, fewer than {SHORTEST}"))
        }
        many if many > LONGEST => {
            Err(format!("the key in its first line has more than {LONGEST} characters"))
        }
        _ => Ok(line),
    }
}

/// Makes a file with a new key that only its owner can read.
///
/// # Errors
/// The file is there already, or cannot be written; in words that begin with `--genkey FILE`.
pub(super) fn make(path: &Path) -> Result<(), String> {
    let failed =
        |error: std::io::Error| format!("--genkey {}: {}", path.display(), ErrorText(&error));
    let mut key = Wiped::new([0; MADE]);
    random::fill(key.bytes_mut()).map_err(failed)?;
    let mut text = Wiped::new([b'\n'; 2 * MADE + 1]);
    for (digits, byte) in text.bytes_mut().chunks_exact_mut(2).zip(key.bytes()) {
        digits[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        digits[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    write(&mut file, text.bytes()).map_err(|error| {
        // Half a key would be refused, or worse, would not.
        let _ = std::fs::remove_file(path);
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
            assert_eq!(secret(file), Ok(&b"12345678"[..]));
        }
        let most = "\u{20ac}".repeat(LONGEST);
        assert_eq!(secret(format!("{most}\r\n").as_bytes()), Ok(most.as_bytes()));
        assert!(most.len() + 2 < READ);
    }

    #[test]
    fn a_secret_has_8_to_1024_characters() {
        let why = |file: &[u8]| secret(file).unwrap_err();
        for empty in [&b""[..], b"\n", b"\r\n", b"\nlate enough"] {
            assert_eq!(why(empty), "no key in its first line");
        }
        assert_eq!(why(b"1234567\n"), "the key in its first line has 7 characters, fewer than 8");
        assert!(why("\u{e9}".repeat(7).as_bytes()).contains("7 characters"));
        assert!(why(&[b'x'; LONGEST + 1]).contains("more than 1024"));
        assert!(secret(&[b'x'; LONGEST]).is_ok() && secret(&[0xff; 8]).is_ok());
    }
}
