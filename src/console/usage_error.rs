//! Why what was typed after a command is not valid.
#![forbid(unsafe_code)]

use std::fmt;

use super::MAX_DELAY;
use super::error::{Code, ErrorLine};
use crate::name::PathError;

/// Why the words after a command are not valid. Texts from the client are escaped already.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum UsageError {
    /// A second path.
    SecondPath,
    UnknownOption(String),
    /// A value for an option that takes none.
    NeedlessValue(String),
    NoHost,
    NoFrom,
    NoGroup,
    NoNumber,
    NoDelay,
    NoRequirement,
    NoQuorum,
    QuorumAlone,
    AtomicWith(&'static str),
    /// An invalid path, and why; None for an absolute one.
    Path(Option<PathError>, String),
}

impl UsageError {
    /// The error for the client.
    pub(super) fn line(&self) -> ErrorLine {
        match self {
            UsageError::Path(why, path) => {
                let why = why.map_or("not a relative path".to_owned(), |why| why.to_string());
                ErrorLine::here(path, Code::InvalidPath, why)
            }
            other => ErrorLine::new(Code::Usage, other),
        }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsageError::SecondPath => {
                f.write_str("more than one path (\"a b\" is one path with a space)")
            }
            UsageError::UnknownOption(name) => write!(f, "unknown option {name}"),
            UsageError::NeedlessValue(name) => write!(f, "{name} takes no value"),
            UsageError::NoHost => f.write_str("-t needs a host"),
            UsageError::NoFrom => f.write_str("--from needs a host"),
            UsageError::NoGroup => f.write_str("-g needs a group"),
            UsageError::NoRequirement => f.write_str("--require needs all, or a number from 1 on"),
            UsageError::NoQuorum => {
                f.write_str("--quorum needs all, a number from 1 on, or a part such as 80%")
            }
            UsageError::QuorumAlone => f.write_str("--quorum is for --atomic"),
            UsageError::AtomicWith(other) => write!(f, "--atomic cannot be had with {other}"),
            UsageError::NoNumber => f.write_str("--max-delete needs a number"),
            UsageError::NoDelay => write!(f, "--delay needs milliseconds, 0 to {MAX_DELAY}"),
            UsageError::Path(Some(why), path) => write!(f, "{why} {path}"),
            UsageError::Path(None, path) => write!(f, "not a relative path {path}"),
        }
    }
}

impl std::error::Error for UsageError {}
