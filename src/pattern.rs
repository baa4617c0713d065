//! Ordered patterns of what is included and excluded.
//!
//! A pattern is what `fnmatch(3)` with `FNM_PATHNAME` takes, over every tail of the path that
//! starts after a `/`, and over the whole path: `*` stands for any bytes but `/`, `?` for one byte
//! but `/`, `[ab]`, `[!a-z]` and `[[:digit:]]` for one byte of a set, a backslash makes the next
//! byte an ordinary one. A leading period is no special case. Beyond that, a trailing `/` matches
//! directories alone, and a leading `/` the whole path alone, not its tails. The first pattern that
//! matches decides; a path that none matches is not excluded.
//!
//! Names are bytes: `?` is one byte, whatever character it is part of.
//!
//! What somebody writes is looked at more closely than what arrives: a pattern that follows the rules
//! of another program, such as `**/x` or `- x`, would match nothing here without a word, and what it
//! was to protect would be deleted. [`check`] and [`check_line`] refuse it.
//!
//! A list can be long: see [`Patterns`] for what makes matching fast.
#![forbid(unsafe_code)]

mod check;
mod compiled;
mod error;
mod glob;
mod index;
mod list;
mod text;

pub use check::{check, check_line};
pub use compiled::Patterns;
pub use error::{MAX_PATTERN, MAX_RULES, MAX_TEXT, PatternError};
pub use list::{PatternBudget, PatternList};
pub use text::{MAX_FILE, TextError, from_text};

/// One pattern, and what a match of it means.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Rule {
    /// Whether what matches is included, else excluded.
    pub include: bool,
    /// The pattern, as typed.
    pub pattern: Vec<u8>,
}

impl Rule {
    /// A rule that excludes.
    pub fn exclude(pattern: &[u8]) -> Rule {
        Rule { include: false, pattern: pattern.to_vec() }
    }

    /// A rule that includes.
    pub fn include(pattern: &[u8]) -> Rule {
        Rule { include: true, pattern: pattern.to_vec() }
    }
}

#[cfg(test)]
mod tests;
