//! What is read from files and standard input: the password, patterns, a script.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::link::plain;
use crate::cli::msync::{Config, Filter, Text};
use crate::console::MAX_LINE;
use crate::name::Escaped;
use crate::pattern::{self, MAX_PATTERN, MAX_RULES, Rule};

/// What is to be known before the daemon is called.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Input {
    /// The console's password.
    pub password: Option<Vec<u8>>,
    /// What to leave out and what not, in order.
    pub rules: Vec<Rule>,
}

impl Input {
    /// Reads what `config` names.
    ///
    /// # Errors
    /// What cannot be read or understood, in words that fit after the program's name.
    pub fn read(config: &Config) -> Result<Input, String> {
        let password = config.password.as_deref().map(password).transpose()?;
        let mut rules = Vec::new();
        for filter in &config.filters {
            match filter {
                Filter::Rule(rule) => rules.push(rule.clone()),
                Filter::From(text) => rules.extend(patterns(text)?),
            }
        }
        Ok(Input { password, rules })
    }
}

fn open(text: &Text) -> io::Result<Box<dyn BufRead>> {
    Ok(match text {
        Text::Input => Box::new(io::stdin().lock()),
        Text::File(path) => Box::new(BufReader::new(File::open(path)?)),
    })
}

/// How messages call a text.
fn shown(text: &Text) -> String {
    match text {
        Text::Input => "-".to_owned(),
        Text::File(path) => Escaped(path.as_os_str().as_encoded_bytes()).to_string(),
    }
}

/// The first line of a file, which is all that is read of it.
fn password(path: &Path) -> Result<Vec<u8>, String> {
    let file = Text::File(path.to_owned());
    let failed = |why: &str| format!("-K {}: {why}", shown(&file));
    let mut lines = Lines::open(&file).map_err(|error| failed(&plain(&error)))?;
    match lines.next_line().map_err(|error| failed(&plain(&error)))? {
        Some(line) if !line.is_empty() => Ok(line),
        _ => Err(failed("no password in its first line")),
    }
}

fn patterns(text: &Text) -> Result<Vec<Rule>, String> {
    let failed = |why: String| format!("--exclude-from {}: {why}", shown(text));
    let mut lines = Lines::open(text).map_err(|error| failed(plain(&error)))?;
    let mut rules = Vec::new();
    let mut number = 0_u64;
    while let Some(line) = lines.next_line().map_err(|error| failed(plain(&error)))? {
        number += 1;
        if line.is_empty() {
            continue;
        }
        pattern::check_line(&line).map_err(|why| failed(format!("line {number}: {why}")))?;
        rules.push(Rule::exclude(&line));
        if rules.len() > MAX_RULES {
            return Err(failed(pattern::PatternError::TooMany.to_string()));
        }
    }
    Ok(rules)
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
        const MOST: usize = MAX_LINE + 2;
        const { assert!(MOST > MAX_PATTERN) };
        let mut line = Vec::new();
        if self.text.by_ref().take(MOST as u64 + 1).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
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
