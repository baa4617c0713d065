//! The first line of a connection: whether a program says it that speaks something else.
#![forbid(unsafe_code)]

use super::verb::{Offer, Verb};
use super::words;

/// Whether the first line of a connection is from a program that speaks something else: a browser
/// that a hostile page made connect (HTTP, or the binary start of TLS) must not command a daemon
/// by what comes after.
pub(super) fn is_foreign(line: &[u8]) -> bool {
    const METHODS: [&str; 9] =
        ["GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE"];
    let word = line.split(|&b| b == b' ').next().unwrap_or_default();
    METHODS.iter().any(|method| method.as_bytes() == word)
        || line.windows(6).any(|window| window == b" HTTP/")
        || line.iter().any(|&b| b.is_ascii_control() && b != b'\t')
}

/// Whether the first word of a line is a command that is offered, or there is none.
pub(super) fn is_command(line: &[u8], offer: &Offer) -> bool {
    match words::split(line) {
        Ok(words) => words.first().is_none_or(|word| Verb::named(&word.bytes, offer).is_some()),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_programs_say_first_is_no_command() {
        for line in [
            &b"CLIENT libcurl 8.5.0"[..],
            b"EHLO mail",
            b"HELO",
            b"USER root",
            b"SSH-2.0-OpenSSH_9.2",
            b"*1",
            b"stats",
            b"get x",
            b"@RSYNCD: 31.0",
            b"SEND -r",
            b"a1 LOGIN x y",
            b"<policy-file-request/>",
            b"sendx",
            b"\"send",
        ] {
            assert!(!is_command(line, &Offer::ALL), "{}", String::from_utf8_lossy(line));
        }
        for line in [&b"send -r"[..], b"  status", b"", b"  ", b"\"status\"", b"quit"] {
            assert!(is_command(line, &Offer::ALL), "{}", String::from_utf8_lossy(line));
        }
        assert!(!is_command(b"send", &Offer::default()));
    }

    #[test]
    fn browsers_are_known() {
        for line in [&b"GET / HTTP/1.1"[..], b"POST /", b"x HTTP/1.0", b"\x16\x03\x01", b"PUT"] {
            assert!(is_foreign(line));
        }
        assert!(!is_foreign(b"send\ta") && !is_foreign(b"echo GET"));
    }
}
