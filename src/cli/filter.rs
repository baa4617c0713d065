//! The options that leave something out: `--exclude`, `--include` and `--exclude-from`.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::{Error, Typed};
use crate::name::Escaped;
use crate::pattern::{self, Rule};

/// A file or standard input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Text {
    /// `-`: standard input.
    Input,
    /// A file.
    File(PathBuf),
}

impl Text {
    pub(super) fn read(value: &OsStr) -> Option<Text> {
        match value.as_bytes() {
            b"" => None,
            b"-" => Some(Text::Input),
            _ => Some(Text::File(PathBuf::from(value))),
        }
    }
}

/// As typed.
impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Text::Input => f.write_str("-"),
            Text::File(path) => Escaped(path.as_os_str().as_bytes()).fmt(f),
        }
    }
}

/// `--exclude`, `--include` or `--exclude-from`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Filter {
    /// A pattern, checked.
    Rule(Rule),
    /// Patterns that exclude, one a line.
    From(Text),
}

/// All patterns, in the order typed.
pub(super) fn filters(program: &'static str, typed: &Typed) -> Result<Vec<Filter>, Error> {
    let mut filters = Vec::new();
    for (long, include) in [("exclude", false), ("include", true)] {
        for (at, text) in typed.all_at(long) {
            if let Err(why) = pattern::check(text.as_bytes()) {
                return Err(Error::bad_value(program, &format!("--{long}"), &text, why));
            }
            filters.push((at, Filter::Rule(Rule { include, pattern: text.into_vec() })));
        }
    }
    for (at, file) in typed.all_at("exclude-from") {
        let why = "must not be empty";
        let from = Text::read(&file)
            .ok_or_else(|| Error::bad_value(program, "--exclude-from", &file, why))?;
        filters.push((at, Filter::From(from)));
    }
    filters.sort_by_key(|(at, _)| *at);
    Ok(filters.into_iter().map(|(_, filter)| filter).collect())
}
