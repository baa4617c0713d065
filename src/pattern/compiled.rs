//! A list of patterns, compiled to be matched.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::OnceLock;

use super::Rule;
use super::error::{MAX_PATTERN, MAX_RULES, MAX_TEXT, PatternError};
use super::glob::{Compiled, Program};
use super::index::Index;
use crate::name::RelPath;
use crate::wire::Error;
use crate::wire::bytes::{Put, Reader};

/// Patterns, in order, compiled once. No pattern excludes nothing.
///
/// Each is filed under the ordinary bytes that one of its components is, begins or ends with; of a long
/// list, only those whose bytes a path has are tried on it.
#[derive(Clone, Default)]
pub struct Patterns {
    /// All patterns, as typed, end to end.
    text: Vec<u8>,
    rules: Vec<CompiledRule>,
    program: Program,
    /// Made at the first match.
    index: OnceLock<Index>,
}

#[derive(Clone, Copy)]
struct CompiledRule {
    include: bool,
    /// Where its text ends.
    end: u32,
    pattern: Compiled,
}

impl Patterns {
    /// The patterns, ready to match.
    ///
    /// # Errors
    /// What is wrong with the list or the first bad pattern.
    pub fn new(rules: &[Rule]) -> Result<Patterns, PatternError> {
        let mut patterns = Patterns::default();
        rules.iter().try_for_each(|rule| patterns.push(rule.include, &rule.pattern))?;
        Ok(patterns)
    }

    /// Adds one at the end.
    ///
    /// # Errors
    /// What is wrong with it, or that the list is full.
    pub(super) fn push(&mut self, include: bool, pattern: &[u8]) -> Result<(), PatternError> {
        if self.rules.len() >= MAX_RULES {
            return Err(PatternError::TooMany);
        }
        let end = self.text.len() + pattern.len();
        let end = u32::try_from(end).ok().filter(|end| *end as usize <= MAX_TEXT);
        let end = end.ok_or(PatternError::TooMuch)?;
        let compiled = self.program.compile(pattern, &mut None)?;
        self.text.extend_from_slice(pattern);
        self.rules.push(CompiledRule { include, end, pattern: compiled });
        self.index = OnceLock::new();
        Ok(())
    }

    /// Adds other patterns at the end.
    ///
    /// # Errors
    /// The list is full.
    pub fn append(&mut self, more: &Patterns) -> Result<(), PatternError> {
        more.rules().try_for_each(|(include, pattern)| self.push(include, pattern))
    }

    /// The patterns, in order: whether they include, and their text.
    pub fn rules(&self) -> impl Iterator<Item = (bool, &[u8])> {
        let mut start = 0;
        self.rules.iter().map(move |rule| {
            let text = self.text.get(start..rule.end as usize).unwrap_or_default();
            start = rule.end as usize;
            (rule.include, text)
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// About how many bytes it takes in memory, with what matching adds.
    pub fn memory(&self) -> usize {
        let rules = (size_of::<CompiledRule>() + Index::EACH) * self.rules.capacity();
        rules + self.text.capacity() + self.program.memory()
    }

    /// Whether what is at `path`, a directory if `dir`, is excluded. The base directory never is.
    ///
    /// Only the path itself is looked at: what is below an excluded directory is not excluded by
    /// that, so whoever walks a tree must leave out the directory.
    pub fn excludes(&self, path: &RelPath, dir: bool) -> bool {
        if path.is_base() || self.is_empty() {
            return false;
        }
        let path = path.as_bytes();
        let first = self.index().first(path, &self.program, |number| {
            self.rules.get(number as usize).is_some_and(|rule| {
                self.program.matches(&rule.pattern, path.rsplit(|byte| *byte == b'/'), dir)
            })
        });
        let first = first.and_then(|number| self.rules.get(number as usize));
        first.is_some_and(|rule| !rule.include)
    }

    fn index(&self) -> &Index {
        let compiled = || self.rules.iter().map(|rule| &rule.pattern);
        self.index.get_or_init(|| Index::new(compiled(), &self.program))
    }

    /// How many patterns `path` is compared with if none matches.
    #[cfg(test)]
    pub(super) fn tried(&self, path: &RelPath) -> u32 {
        let count = std::cell::Cell::new(0);
        let matches = |_| {
            count.set(count.get() + 1);
            false
        };
        self.index().first(path.as_bytes(), &self.program, matches);
        count.get()
    }

    /// Adds what [`Patterns::emit`] wrote, or one of its parts.
    ///
    /// # Errors
    /// [`Error::Truncated`]; [`Error::TooLarge`] over a limit; [`Error::Invalid`] for a bad pattern
    /// or a kind of rule that is unknown. Those before it have been added.
    pub fn extend(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        for _ in 0..reader.varint()? {
            let include = match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(Error::Invalid),
            };
            let pattern = reader.counted(MAX_PATTERN)?;
            self.push(include, pattern).map_err(|error| match error {
                PatternError::TooMany | PatternError::TooMuch | PatternError::TooManySets => {
                    Error::TooLarge
                }
                _ => Error::Invalid,
            })?;
        }
        Ok(())
    }

    /// The list in parts of at most `most` bytes, one at least: a varint that counts the rules of the
    /// part; for each one byte (0 excludes, 1 includes) and the counted bytes of its pattern. `most` has
    /// to be more than one pattern takes.
    pub fn emit(&self, most: usize) -> Vec<Vec<u8>> {
        /// A varint of at most [`MAX_RULES`].
        const COUNT: usize = 3;
        let mut parts = Vec::new();
        let (mut count, mut part) = (0, Vec::new());
        let mut finish = |count: &mut u64, part: &mut Vec<u8>| {
            let mut whole = Vec::with_capacity(COUNT + part.len());
            whole.put_varint(std::mem::take(count));
            whole.append(part);
            parts.push(whole);
        };
        for (include, pattern) in self.rules() {
            let mut rule = vec![u8::from(include)];
            rule.put_counted(pattern);
            if count > 0 && COUNT + part.len() + rule.len() > most {
                finish(&mut count, &mut part);
            }
            count += 1;
            part.append(&mut rule);
        }
        finish(&mut count, &mut part);
        parts
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.rules().map(|(include, text)| (include, text.escape_ascii().to_string()));
        f.debug_list().entries(rules).finish()
    }
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.rules().eq(other.rules())
    }
}

impl Eq for Patterns {}
