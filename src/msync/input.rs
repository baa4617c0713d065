//! Input from files and standard input: the password, patterns, a script.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::cli::msync::{Command, Config, Files};
use crate::cli::{Filter, Text};
use crate::console::MAX_LINE;
use crate::console::command::MOST_PATHS;
use crate::console::error::Code;
use crate::errno::ErrorText;
use crate::name::{Escaped, PathError, RelPath, STAGING};
use crate::pattern::{self, MAX_FILE, Rule, TextError};

/// What is read before connecting to the daemon.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Input {
    /// The console's password.
    pub password: Option<Vec<u8>>,
    /// Patterns, in order.
    pub rules: Vec<Rule>,
    /// The paths of a list, each with its number in it, as they are below the command's path.
    pub listed: Vec<RelPath>,
}

impl Input {
    /// Reads what `config` names.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn read(config: &Config) -> Result<Input, InputError> {
        let password = config.password.as_deref().map(password).transpose()?;
        let end = if config.from0 { 0 } else { b'\n' };
        let mut rules = Vec::new();
        for filter in &config.filters {
            match filter {
                Filter::Rule(rule) => rules.push(rule.clone()),
                Filter::From(text) => rules.extend(patterns(text, end)?),
            }
        }
        let listed = match &config.command {
            Command::Files(Files { list: Some(text), .. }) => paths(text, end)?,
            _ => Vec::new(),
        };
        Ok(Input { password, rules, listed })
    }
}

fn open(text: &Text) -> io::Result<Box<dyn BufRead>> {
    Ok(match text {
        Text::Input => Box::new(io::stdin().lock()),
        Text::File(path) => Box::new(BufReader::new(File::open(path)?)),
    })
}

/// Why the input cannot be used.
#[derive(Debug)]
pub enum InputError {
    /// The password file cannot be read.
    Password(PathBuf, io::Error),
    /// The first line of the password file is empty.
    NoPassword(PathBuf),
    /// A file of patterns cannot be read.
    Patterns(Text, io::Error),
    /// Such a file is no list of patterns.
    Pattern(Text, TextError),
    /// A list of paths cannot be read.
    List(Text, io::Error),
    /// A path in a list, by its number, can never be sent.
    Listed(Text, u64, PathError),
    /// A list has too many paths.
    TooManyListed(Text),
}

impl InputError {
    /// The code for programs.
    pub fn code(&self) -> Code {
        match self {
            InputError::Password(_, error)
            | InputError::Patterns(_, error)
            | InputError::List(_, error) => Code::of_io(error),
            InputError::Listed(..) => Code::InvalidPath,
            InputError::TooManyListed(_) => Code::Usage,
            InputError::NoPassword(_) => Code::PasswordWanted,
            InputError::Pattern(..) => Code::InvalidPattern,
        }
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = |path: &Path| Escaped(path.as_os_str().as_encoded_bytes()).to_string();
        match self {
            InputError::Password(path, error) => {
                write!(f, "-K {}: {}", file(path), ErrorText(error))
            }
            InputError::NoPassword(path) => {
                write!(f, "-K {}: no password in its first line", file(path))
            }
            InputError::Patterns(text, error) => {
                write!(f, "--exclude-from {text}: {}", ErrorText(error))
            }
            InputError::Pattern(text, why) => write!(f, "--exclude-from {text}: {why}"),
            InputError::List(text, error) => {
                write!(f, "--files-from {text}: {}", ErrorText(error))
            }
            InputError::Listed(text, number, why) => {
                write!(f, "--files-from {text}: path {number}: {why}")
            }
            InputError::TooManyListed(text) => {
                write!(f, "--files-from {text}: more than {MOST_PATHS} paths")
            }
        }
    }
}

impl std::error::Error for InputError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            InputError::Password(_, error)
            | InputError::Patterns(_, error)
            | InputError::List(_, error) => Some(error),
            InputError::Listed(_, _, error) => Some(error),
            InputError::Pattern(_, error) => Some(error),
            InputError::TooManyListed(_) => None,
            InputError::NoPassword(_) => None,
        }
    }
}

/// The first line of a file.
fn password(path: &Path) -> Result<Vec<u8>, InputError> {
    let first = |file: &Text| Lines::open(file)?.next_line();
    match first(&Text::File(path.to_owned())) {
        Ok(Some(line)) if !line.is_empty() => Ok(line),
        Ok(_) => Err(InputError::NoPassword(path.to_owned())),
        Err(error) => Err(InputError::Password(path.to_owned(), error)),
    }
}

/// The paths in a list, without empty ones and what is the daemon's. Any of them is below the command's path: what begins with a slash,
/// too.
fn paths(text: &Text, end: u8) -> Result<Vec<RelPath>, InputError> {
    let failed = |error: io::Error| InputError::List(text.clone(), error);
    let mut lines = Lines::open(text).map_err(failed)?;
    let mut paths = Vec::new();
    let mut number = 0_u64;
    loop {
        let Some(line) = lines.next_ended_by(end).map_err(failed)? else { return Ok(paths) };
        number += 1;
        if line.is_empty() {
            continue;
        }
        let parts = line.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".");
        let parts: Vec<&[u8]> = parts.collect();
        if parts.contains(&STAGING) {
            // It is passed over as everywhere.
            continue;
        }
        let plain = parts.join(&b'/');
        let path = RelPath::parse_or_base(&plain)
            .map_err(|why| InputError::Listed(text.clone(), number, why))?;
        paths.push(path);
        if paths.len() > MOST_PATHS {
            return Err(InputError::TooManyListed(text.clone()));
        }
    }
}

fn patterns(text: &Text, end: u8) -> Result<Vec<Rule>, InputError> {
    let mut bytes = Vec::new();
    let read = open(text).and_then(|from| from.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| InputError::Patterns(text.clone(), error))?;
    pattern::from_text(&bytes, end).map_err(|why| InputError::Pattern(text.clone(), why))
}

/// The lines of a text, without their ends (LF or CRLF).
pub struct Lines {
    text: Box<dyn BufRead>,
}

impl Lines {
    /// Opens a text.
    ///
    /// # Errors
    /// The system's.
    pub fn open(text: &Text) -> io::Result<Lines> {
        Ok(Lines { text: open(text)? })
    }

    /// The next line; None after the last.
    ///
    /// # Errors
    /// The system's; or the line is longer than any that the daemon takes.
    pub fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.next_ended_by(b'\n')
    }

    /// The same of a text in which each line ends with this byte.
    ///
    /// # Errors
    /// As [`Lines::next_line`].
    fn next_ended_by(&mut self, end: u8) -> io::Result<Option<Vec<u8>>> {
        const MOST: usize = MAX_LINE + 2;
        let mut line = Vec::new();
        if self.text.by_ref().take(MOST as u64 + 1).read_until(end, &mut line)? == 0 {
            return Ok(None);
        }
        if line.last() == Some(&end) {
            line.pop();
            if end == b'\n' && line.last() == Some(&b'\r') {
                line.pop();
            }
        }
        match line.len() > MAX_LINE {
            true => Err(io::Error::other(format!("a line has at most {MAX_LINE} bytes"))),
            false => Ok(Some(line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &'static [u8]) -> Vec<String> {
        let mut lines = Lines { text: Box::new(bytes) };
        let mut all = Vec::new();
        loop {
            match lines.next_line() {
                Ok(Some(line)) => all.push(String::from_utf8(line).unwrap()),
                Ok(None) => return all,
                Err(error) => {
                    all.push(error.to_string());
                    return all;
                }
            }
        }
    }

    #[test]
    fn lines_with_any_end() {
        assert_eq!(lines(b"a\r\n\n b \nc"), ["a", "", " b ", "c"]);
        assert!(lines(b"").is_empty());
        let fits: &[u8] = Box::leak(vec![b'x'; MAX_LINE].into_boxed_slice());
        assert_eq!(lines(fits)[0].len(), MAX_LINE);
        let long: &[u8] = Box::leak(vec![b'x'; 10 * MAX_LINE].into_boxed_slice());
        assert_eq!(lines(long), ["a line has at most 8192 bytes"]);
    }
}
