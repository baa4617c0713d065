//! The command lines that are sent to the daemon.
#![forbid(unsafe_code)]

use std::fmt;

use crate::cli::msync::{Files, Verb};
use crate::console::error::Code;
use crate::console::words::{self, MAX_LINE};
use crate::name::RelPath;

/// Why a command line cannot be sent to the daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineError {
    /// An old daemon would not understand the name.
    TooOld,
    /// The line would be longer than the daemon accepts.
    TooLong,
}

impl LineError {
    /// The code for programs.
    pub fn code(self) -> Code {
        match self {
            LineError::TooOld => Code::TooOld,
            LineError::TooLong => Code::InvalidPath,
        }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LineError::TooOld => "this daemon is too old for such a name",
            LineError::TooLong => "too long for one command line",
        })
    }
}

impl std::error::Error for LineError {}

/// A command line; `hosts` are its `-t` options.
///
/// # Errors
/// The daemon would not understand this path.
pub fn command(
    verb: Verb,
    files: &Files,
    hosts: &str,
    path: &RelPath,
    new: bool,
) -> Result<Vec<u8>, LineError> {
    let sends = matches!(verb, Verb::Send | Verb::Sync);
    let flags = [
        (files.recursive, " -r"),
        (files.dry_run, " -n"),
        (files.ignore_times, " -I"),
        (files.checksum, " --checksum"),
        (files.lax_attributes, " --lax-attributes"),
        (files.delete && new, " --delete"),
        (files.delete_before && new, " --delete-before"),
        (files.force && new, " --force"),
        (files.list.is_some() || files.together(), " --listed"),
    ];
    let mut text = format!("{}{hosts}", verb.name());
    for (_, flag) in flags.iter().filter(|(given, _)| *given) {
        text.push_str(flag);
    }
    if let Some(from) = &files.from {
        text.push_str(&format!(" --from {from}"));
    }
    if let Some(most) = files.max_delete {
        text.push_str(&format!(" --max-delete {most}"));
    }
    if let Some(quorum) = files.atomic {
        text.push_str(&format!(" --atomic --quorum {quorum}"));
    }
    if let Some(require) = files.require {
        text.push_str(&format!(" --require {require}"));
    }
    if let (Some(group), true) = (&files.group, sends) {
        text.push_str(&format!(" -g {group}"));
    }
    let mut line = text.into_bytes();
    push_path(&mut line, path, new)?;
    if line.len() > MAX_LINE {
        return Err(LineError::TooLong);
    }
    Ok(line)
}

/// Appends a path to a command line, with the space before it; nothing for the base itself.
///
/// # Errors
/// An old daemon would not understand this path.
pub fn push_path(line: &mut Vec<u8>, path: &RelPath, new: bool) -> Result<(), LineError> {
    let bytes = path.as_bytes();
    if bytes.is_empty() {
        return Ok(());
    }
    if bytes.starts_with(b"-") {
        line.extend_from_slice(b" --");
    }
    push_word(line, bytes, new)
}

/// Appends a word to a command line, with the space before it.
///
/// # Errors
/// An old daemon would not understand this word.
pub fn push_word(line: &mut Vec<u8>, bytes: &[u8], new: bool) -> Result<(), LineError> {
    line.push(b' ');
    if new {
        words::push_quoted(line, bytes);
        return Ok(());
    }
    // An old daemon splits at line ends and at spaces. A backslash escapes a space, except at the
    // end of the line, and any backslash before a space counts as such an escape.
    let odd = |&b: &u8| b == b'\n' || b == b'\r';
    if bytes.iter().any(odd) || bytes.ends_with(b" ") || bytes.windows(2).any(|w| w == b"\\ ") {
        return Err(LineError::TooOld);
    }
    for &byte in bytes {
        if byte == b' ' {
            line.push(b'\\');
        }
        line.push(byte);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &[u8], new: bool) -> Result<String, LineError> {
        let mut line = b"send".to_vec();
        push_path(&mut line, &RelPath::parse(path).unwrap(), new)?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    #[test]
    fn odd_names_are_said_as_the_daemon_understands() {
        assert_eq!(said(b"a b", true).as_deref(), Ok("send \"a b\""));
        assert_eq!(said(b"a b", false).as_deref(), Ok(r"send a\ b"));
        assert_eq!(said(b"a\n", true).as_deref(), Ok(r#"send "a\012""#));
        assert_eq!(said(b"-r", true).as_deref(), Ok("send -- \"-r\""));
        assert_eq!(said(b"-r", false).as_deref(), Ok("send -- -r"));
        for bad in [&b"a\n"[..], b"a ", b"a\\ b", b"a\r"] {
            assert!(said(bad, false).is_err());
            assert!(said(bad, true).is_ok());
        }
        let mut line = b"send".to_vec();
        push_path(&mut line, &RelPath::base(), true).unwrap();
        assert_eq!(line, b"send");
    }
}
