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
#![forbid(unsafe_code)]

use std::fmt;

use glob::{Compiled, Set};

use crate::name::RelPath;
use crate::wire::Error;
use crate::wire::bytes::{Put, Reader};

mod error;
mod glob;

pub use error::{MAX_PATTERN, MAX_RULES, PatternError};

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

/// Whether `pattern`, as somebody has written it, may be one of a list.
///
/// # Errors
/// What is wrong with it: it is no pattern, or none that could match what it was written for.
pub fn check(pattern: &[u8]) -> Result<(), PatternError> {
    if let Some(why) = foreign(pattern) {
        return Err(why);
    }
    let mut odd = None;
    Compiled::with_oddity(pattern, &mut Vec::new(), &mut odd)?;
    odd.map_or(Ok(()), Err)
}

/// The same of a line of a file of patterns. There, rsync(1) and others take more for comments, and
/// nobody sees a blank.
///
/// # Errors
/// As [`check`].
pub fn check_line(line: &[u8]) -> Result<(), PatternError> {
    let blank = |byte: u8| b" \t".contains(&byte);
    if matches!(line, [b'#' | b';', ..]) {
        return Err(PatternError::Comment);
    }
    let mut ordinary = false;
    for (at, &byte) in line.iter().enumerate() {
        let meant = ordinary;
        ordinary = byte == b'\\' && !meant;
        if byte == b'\r' && !meant {
            return Err(PatternError::CarriageReturn);
        }
        if blank(byte) && !meant && (at == 0 || at + 1 == line.len()) {
            return Err(PatternError::Blank);
        }
    }
    check(line)
}

/// What another program would take the beginning of `pattern` for.
fn foreign(pattern: &[u8]) -> Option<PatternError> {
    // The short and the long names of the rules of rsync(1).
    const WORDS: [&[u8]; 16] = [
        b"-",
        b"+",
        b".",
        b":",
        b"P",
        b"H",
        b"S",
        b"R",
        b"exclude",
        b"include",
        b"protect",
        b"hide",
        b"show",
        b"risk",
        b"merge",
        b"dir-merge",
    ];
    const MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];
    if MARKS.iter().any(|mark| pattern.starts_with(mark)) {
        return Some(PatternError::ByteOrderMark);
    }
    if pattern.contains(&0) {
        return Some(PatternError::Nul);
    }
    let blank = |byte: &u8| b" \t".contains(byte);
    let word = pattern.split(blank).next().unwrap_or_default();
    match pattern {
        [b'#' | b';'] => Some(PatternError::Comment),
        [b'#' | b';', next, ..] if blank(next) => Some(PatternError::Comment),
        [b'!', ..] => Some(PatternError::Exclamation),
        _ if word.len() < pattern.len() && WORDS.contains(&word) => Some(PatternError::Rule),
        _ => None,
    }
}

/// A list of patterns, in order. The empty list excludes nothing.
#[derive(Clone, Default)]
pub struct Patterns {
    rules: Vec<Rule>,
    compiled: Vec<Compiled>,
    sets: Vec<Set>,
}

impl Patterns {
    /// The patterns, ready to match.
    ///
    /// # Errors
    /// What is wrong with the list or the first bad pattern.
    pub fn new(rules: Vec<Rule>) -> Result<Patterns, PatternError> {
        if rules.len() > MAX_RULES {
            return Err(PatternError::TooMany);
        }
        let mut sets = Vec::new();
        let compiled = rules.iter().map(|rule| Compiled::new(&rule.pattern, &mut sets));
        let compiled = compiled.collect::<Result<_, _>>()?;
        Ok(Patterns { rules, compiled, sets })
    }

    /// The patterns, in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether what is at `path`, a directory if `dir`, is excluded. The base directory never is.
    ///
    /// Only the path itself is looked at: what is below an excluded directory is not excluded by
    /// that, so whoever walks a tree must leave out the directory.
    pub fn excludes(&self, path: &RelPath, dir: bool) -> bool {
        let mut rules = self.rules.iter().zip(&self.compiled);
        let first = rules.find(|(_, pattern)| pattern.matches(path, dir, &self.sets));
        first.is_some_and(|(rule, _)| !rule.include)
    }

    /// Reads what [`Patterns::emit`] wrote.
    ///
    /// # Errors
    /// [`Error::Truncated`]; [`Error::TooLarge`] over a limit; [`Error::Invalid`] for a bad pattern
    /// or a kind of rule that is unknown.
    pub fn parse(reader: &mut Reader<'_>) -> Result<Patterns, Error> {
        let count = reader.varint()?;
        if count > MAX_RULES as u64 {
            return Err(Error::TooLarge);
        }
        let mut rules = Vec::new();
        for _ in 0..count {
            let include = match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(Error::Invalid),
            };
            rules.push(Rule { include, pattern: reader.counted(MAX_PATTERN)?.to_vec() });
        }
        Patterns::new(rules).map_err(|error| match error {
            PatternError::TooMany | PatternError::TooManySets => Error::TooLarge,
            _ => Error::Invalid,
        })
    }

    /// Appends the list: a varint that counts the rules; for each one byte (0 excludes, 1 includes)
    /// and the counted bytes of its pattern.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.put_varint(self.rules.len() as u64);
        for rule in &self.rules {
            out.push(rule.include.into());
            out.put_counted(&rule.pattern);
        }
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.rules).finish()
    }
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}

impl Eq for Patterns {}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        match text {
            "" => RelPath::base(),
            _ => RelPath::parse(text.as_bytes()).unwrap(),
        }
    }

    fn list(rules: &[&str]) -> Patterns {
        let rules = rules.iter().map(|rule| match rule.split_at(2) {
            ("+ ", pattern) => Rule::include(pattern.as_bytes()),
            (_, pattern) => Rule::exclude(pattern.as_bytes()),
        });
        Patterns::new(rules.collect()).unwrap()
    }

    fn matches(pattern: &str, name: &str) -> bool {
        let patterns = Patterns::new(vec![Rule::exclude(pattern.as_bytes())]).unwrap();
        patterns.excludes(&path(name), false)
    }

    #[test]
    fn one_component() {
        let yes = [
            ("a", "a"),
            ("*.tmp", ".tmp"),
            ("*", ".x"),
            ("?x", ".x"),
            ("[.]x", ".x"),
            ("[ab]", "a"),
            ("[ab]", "b"),
            ("[!a-z]", "A"),
            ("[^a-z]", "A"),
            ("[a-cx-z]9", "y9"),
            ("[]a]", "]"),
            ("[!]a]", "b"),
            ("[a-]", "-"),
            ("[-a]", "-"),
            ("[a\\]]", "]"),
            ("[\\a-\\c]", "b"),
            ("[[:digit:]_]*", "7x"),
            ("[![:space:]]", "x"),
            ("[[:wrong:]]", "[]"),
            ("[[:alpha]", ":"),
            ("\\*", "*"),
            ("a\\b", "ab"),
            ("\\[a]", "[a]"),
            ("[a", "[a"),
            ("a]", "a]"),
            ("**a**b**", "xaxxbx"),
            ("a*b*c", "aXbXbXc"),
            ("*ab", "aab"),
            ("a b", "a b"),
            ("?", "x"),
        ];
        for (pattern, name) in yes {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        let no = [
            ("a", "A"),
            ("a", "ab"),
            ("ab", "a"),
            ("*.tmp", "tmp"),
            ("[ab]", "c"),
            ("[ab]", "ab"),
            ("[!a-z]", "q"),
            ("[z-a]", "m"),
            ("[]", "x"),
            ("\\*", "x"),
            ("a*b*c", "aXcXb"),
            ("??", "x"),
            ("[[:upper:]]", "x"),
        ];
        for (pattern, name) in no {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        // One byte, not one character.
        assert!(!matches("?", "é") && matches("??", "é") && matches("é", "é"));
    }

    #[test]
    fn every_byte_can_be_meant() {
        for byte in (1..=255_u8).filter(|byte| !b"/.".contains(byte)) {
            let name = RelPath::parse(&[b'x', byte]).unwrap();
            for pattern in [&[b'x', b'\\', byte][..], &[b'x', b'[', b'\\', byte, b']']] {
                let patterns = Patterns::new(vec![Rule::exclude(pattern)]).unwrap();
                assert!(patterns.excludes(&name, false), "{byte}");
                assert!(!patterns.excludes(&path("xx2"), false));
            }
        }
    }

    #[test]
    fn tails_at_slashes() {
        for tail in ["c", "b/c", "a/b/c", "*", "*/c", "*/*/*", "/a/b/c", "b\\/c", "b//c", "/*/b/c"]
        {
            assert!(matches(tail, "a/b/c"), "{tail}");
        }
        for other in ["b", "a", "a/b", "/c", "/b/c", "a*c", "a?b/c", "x/a/b/c", "[b/]c", "*/*/*/*"]
        {
            assert!(!matches(other, "a/b/c"), "{other}");
        }
        // A slash ends a set, whose bracket is then an ordinary byte.
        assert!(matches("a[b/c]d", "a[b/c]d"));
        assert!(!matches("*", ""), "the base itself is never excluded");
    }

    #[test]
    fn a_trailing_slash_is_for_directories() {
        let patterns = list(&["- cache/", "- /top/", "- a/b/"]);
        assert!(patterns.excludes(&path("x/cache"), true));
        assert!(!patterns.excludes(&path("x/cache"), false));
        assert!(patterns.excludes(&path("top"), true));
        assert!(!patterns.excludes(&path("x/top"), true));
        assert!(patterns.excludes(&path("x/a/b"), true));
    }

    #[test]
    fn the_first_match_decides() {
        let patterns = list(&["+ keep.tmp", "- *.tmp", "+ *"]);
        assert!(!patterns.excludes(&path("a/keep.tmp"), false));
        assert!(patterns.excludes(&path("a/x.tmp"), false));
        assert!(!patterns.excludes(&path("a/x"), false));
        let reversed = list(&["- *.tmp", "+ keep.tmp"]);
        assert!(reversed.excludes(&path("keep.tmp"), false));
        assert!(!Patterns::default().excludes(&path("a"), false));
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (pattern, why) in [
            (&b""[..], PatternError::Empty),
            (b"/", PatternError::Empty),
            (b"//", PatternError::Empty),
            (b"\\", PatternError::Backslash),
            (b"a\\\\\\", PatternError::Backslash),
            (b"[a\\", PatternError::Backslash),
            (&[b'x'; MAX_PATTERN + 1], PatternError::TooLong),
        ] {
            assert_eq!(check(pattern), Err(why));
            assert_eq!(Patterns::new(vec![Rule::exclude(pattern)]), Err(why));
        }
        assert_eq!(check(&[b'x'; MAX_PATTERN]), Ok(()));
        let rule = Rule::exclude(b"x");
        assert!(Patterns::new(vec![rule.clone(); MAX_RULES]).is_ok());
        assert_eq!(Patterns::new(vec![rule; MAX_RULES + 1]), Err(PatternError::TooMany));
        let sets = Rule::exclude("[ab]".repeat(256).as_bytes());
        assert!(Patterns::new(vec![sets.clone(); 4]).is_ok());
        assert_eq!(Patterns::new(vec![sets; 5]), Err(PatternError::TooManySets));
    }

    #[test]
    fn what_somebody_writes_is_looked_at_more_closely_than_what_arrives() {
        for (pattern, why) in [
            (&b"# x"[..], PatternError::Comment),
            (b";", PatternError::Comment),
            (b"- *.keep", PatternError::Rule),
            (b"risk\tx", PatternError::Rule),
            (b"!", PatternError::Exclamation),
            (b"a/**", PatternError::Stars),
            (b"\\***", PatternError::Stars),
            (b"x[a", PatternError::Bracket),
            (b"[[:nope:]]", PatternError::Class),
            (b"[b-a]", PatternError::Range),
            (b"[[:nope:]b-a]", PatternError::Class),
            (b"{a,b}", PatternError::Braces),
            (b"x/./y", PatternError::Dot),
            (b"../y", PatternError::DotDot),
            (b"\xef\xbb\xbf*.keep", PatternError::ByteOrderMark),
            (b"a\0", PatternError::Nul),
        ] {
            assert_eq!(check(pattern), Err(why), "{}", pattern.escape_ascii());
            assert_eq!(check_line(pattern), Err(why), "{}", pattern.escape_ascii());
            assert!(Patterns::new(vec![Rule::exclude(pattern)]).is_ok(), "it may arrive");
        }
        for (line, why) in [
            (&b"#x"[..], PatternError::Comment),
            (b"x ", PatternError::Blank),
            (b"\tx", PatternError::Blank),
            (b" ", PatternError::Blank),
            (b"a\rb", PatternError::CarriageReturn),
            (b"x\\\\ ", PatternError::Blank),
        ] {
            assert_eq!(check_line(line), Err(why), "{}", line.escape_ascii());
            assert_eq!(check(line), Ok(()), "{}", line.escape_ascii());
        }
        for pattern in [
            &b"\\# x"[..],
            b"\\- x",
            b"[-] x",
            b"\\!x",
            b"\\*\\*",
            b"*?*",
            b"[**]",
            b"\\[a",
            b"[a]]",
            b"[]-a]",
            b"[a-]",
            b"[{,}]",
            b"{a}",
            b"a,b",
            b"\\{a,b}",
            b".x",
            b"...",
            b"x\\ ",
            b"\\ x",
            b"a b",
            b"a\\\rb",
            b"/x/",
        ] {
            assert_eq!(check_line(pattern), Ok(()), "{}", pattern.escape_ascii());
        }
    }

    #[test]
    fn lists_travel() {
        for patterns in [list(&[]), list(&["- *.tmp", "+ [!a]\\*/", "- /x"])] {
            let mut bytes = Vec::new();
            patterns.emit(&mut bytes);
            let mut reader = Reader::new(&bytes);
            assert_eq!(Patterns::parse(&mut reader), Ok(patterns.clone()));
            assert!(reader.rest().is_empty());
            for end in 0..bytes.len() {
                let cut = Patterns::parse(&mut Reader::new(&bytes[..end]));
                assert_eq!(cut, Err(Error::Truncated), "{end}");
            }
        }
        let mut bytes = Vec::new();
        list(&["+ a", "- bc"]).emit(&mut bytes);
        assert_eq!(bytes, b"\x02\x01\x01a\x00\x02bc");
        let bad = |bytes: &[u8]| Patterns::parse(&mut Reader::new(bytes)).unwrap_err();
        assert_eq!(bad(b"\x01\x02\x01a"), Error::Invalid);
        assert_eq!(bad(b"\x01\x00\x00"), Error::Invalid);
        assert_eq!(bad(b"\x01\x00\x01\\"), Error::Invalid);
        assert_eq!(bad(b"\x81\x02"), Error::TooLarge);
        assert_eq!(bad(b"\x01\x00\x81\x08"), Error::TooLarge);
        assert_eq!(bad(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), Error::TooLarge);
    }

    #[test]
    fn hostile_patterns_are_cheap() {
        // Tried in every way, each of these would take longer than the universe has.
        let name = path(&"a".repeat(255));
        let stars = "a*".repeat(500) + "b";
        let patterns = list(&vec![&*format!("- {stars}"); MAX_RULES]);
        for _ in 0..10 {
            assert!(!patterns.excludes(&name, false));
        }
        let deep = path(&vec!["a"; 2_000].join("/"));
        let pattern = "*/".repeat(500) + "b";
        assert!(!list(&[&*format!("- {pattern}")]).excludes(&deep, true));
    }
}
