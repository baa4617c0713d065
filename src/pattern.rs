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
//! As only a `/` matches a `/`, a pattern has as many components as the tail it matches, and each
//! component is matched for itself: the last `*` that was met takes one byte more until what comes
//! after it fits. So the cost is at most the product of the lengths of one component (255 bytes at
//! most) and its pattern, whatever the pattern.
#![forbid(unsafe_code)]

use std::fmt;

use crate::name::RelPath;
use crate::wire::Error;
use crate::wire::bytes::{Put, Reader};

/// The longest list of patterns.
pub const MAX_RULES: usize = 256;

/// The longest pattern, in bytes.
pub const MAX_PATTERN: usize = 1_024;

/// Sets in brackets in a whole list, so that a list takes little memory.
const MAX_SETS: usize = 1_024;

/// Why bytes are no pattern, or patterns no list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PatternError {
    /// Nothing, or nothing but slashes.
    Empty,
    /// More than [`MAX_PATTERN`] bytes.
    TooLong,
    /// It ends in a backslash that has nothing to make ordinary.
    Backslash,
    /// More than [`MAX_RULES`] patterns.
    TooMany,
    /// More than 1,024 sets in brackets in all patterns together.
    TooManySets,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternError::Empty => f.write_str("empty pattern"),
            PatternError::TooLong => write!(f, "a pattern has at most {MAX_PATTERN} bytes"),
            PatternError::Backslash => f.write_str("a pattern cannot end in a backslash"),
            PatternError::TooMany => write!(f, "at most {MAX_RULES} patterns"),
            PatternError::TooManySets => {
                write!(f, "at most {MAX_SETS} sets in brackets in all patterns")
            }
        }
    }
}

impl std::error::Error for PatternError {}

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

/// Whether `pattern` may be one of a list.
///
/// # Errors
/// What is wrong with it.
pub fn check(pattern: &[u8]) -> Result<(), PatternError> {
    Compiled::new(pattern, &mut Vec::new()).map(drop)
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

/// A set of bytes.
type Set = [u64; 4];

/// A token below this is that byte.
const ANY: u16 = 256;
const STAR: u16 = 257;
/// A token from here on is a set, by its place in the list's.
const SETS: u16 = 258;

/// A pattern as components of tokens.
#[derive(Clone, Debug)]
struct Compiled {
    /// At least one.
    components: Vec<Vec<u16>>,
    whole: bool,
    dir: bool,
}

impl Compiled {
    fn new(pattern: &[u8], sets: &mut Vec<Set>) -> Result<Compiled, PatternError> {
        if pattern.len() > MAX_PATTERN {
            return Err(PatternError::TooLong);
        }
        let parts = split(pattern)?;
        let whole = parts.first().is_some_and(Vec::is_empty);
        let dir = parts.last().is_some_and(Vec::is_empty);
        let mut components = Vec::new();
        // Two slashes in a row are one: no path has two.
        for part in parts.iter().filter(|part| !part.is_empty()) {
            components.push(tokens(part, sets)?);
        }
        match components.is_empty() {
            true => Err(PatternError::Empty),
            false => Ok(Compiled { components, whole, dir }),
        }
    }

    fn matches(&self, path: &RelPath, dir: bool, sets: &[Set]) -> bool {
        if (self.dir && !dir) || path.is_base() {
            return false;
        }
        let mut names = path.as_bytes().rsplit(|&b| b == b'/');
        let mut components = self.components.iter().rev();
        let tail = components.all(|part| names.next().is_some_and(|name| fits(part, name, sets)));
        tail && (!self.whole || names.next().is_none())
    }
}

/// The parts between slashes; a backslash changes nothing about the slash after it, and is dropped.
fn split(pattern: &[u8]) -> Result<Vec<Vec<u8>>, PatternError> {
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut bytes = pattern.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'/' => parts.push(std::mem::take(&mut part)),
            b'\\' => match bytes.next() {
                None => return Err(PatternError::Backslash),
                Some(b'/') => parts.push(std::mem::take(&mut part)),
                Some(&escaped) => part.extend([b'\\', escaped]),
            },
            _ => part.push(byte),
        }
    }
    parts.push(part);
    Ok(parts)
}

fn tokens(mut part: &[u8], sets: &mut Vec<Set>) -> Result<Vec<u16>, PatternError> {
    let mut tokens = Vec::new();
    while let [byte, rest @ ..] = part {
        part = rest;
        let token = match byte {
            b'?' => ANY,
            b'*' if tokens.last() == Some(&STAR) => continue,
            b'*' => STAR,
            // A bracket that is not closed is an ordinary byte.
            b'[' => match set(rest) {
                Some((set, after)) => {
                    let at = u16::try_from(sets.len()).ok().filter(|_| sets.len() < MAX_SETS);
                    let at = at.ok_or(PatternError::TooManySets)?;
                    sets.push(set);
                    part = after;
                    SETS + at
                }
                None => u16::from(b'['),
            },
            b'\\' => {
                // There is one: the splitting saw to it.
                let (escaped, after) = rest.split_first().ok_or(PatternError::Backslash)?;
                part = after;
                u16::from(*escaped)
            }
            byte => u16::from(*byte),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

/// Reads a set, from after its opening bracket; gives it with what is after its closing one.
fn set(text: &[u8]) -> Option<(Set, &[u8])> {
    let (negated, mut rest) = match text {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mut set: Set = [0; 4];
    let mut first = true;
    loop {
        rest = match rest {
            [b']', after @ ..] if !first => {
                return Some((if negated { set.map(|bits| !bits) } else { set }, after));
            }
            [b'[', b':', inner @ ..] if class(inner).is_some() => {
                let (belongs, after) = class(inner)?;
                (0..=255).filter(belongs).for_each(|byte| add(&mut set, byte));
                after
            }
            _ => {
                let (low, after) = member(rest)?;
                match after {
                    [b'-', b']', ..] => {
                        add(&mut set, low);
                        after
                    }
                    [b'-', after @ ..] => {
                        let (high, after) = member(after)?;
                        (low..=high).for_each(|byte| add(&mut set, byte));
                        after
                    }
                    _ => {
                        add(&mut set, low);
                        after
                    }
                }
            }
        };
        first = false;
    }
}

/// One byte of a set, by itself or after a backslash.
fn member(text: &[u8]) -> Option<(u8, &[u8])> {
    match text {
        [b'\\', byte, rest @ ..] | [byte, rest @ ..] => Some((*byte, rest)),
        [] => None,
    }
}

/// Whether a byte belongs to a class.
type Belongs = fn(&u8) -> bool;

/// A class such as `alpha:]`: which bytes belong to it, and what is after it.
fn class(text: &[u8]) -> Option<(Belongs, &[u8])> {
    const CLASSES: [(&[u8], Belongs); 12] = [
        (b"alnum:]", u8::is_ascii_alphanumeric),
        (b"alpha:]", u8::is_ascii_alphabetic),
        (b"blank:]", |b| matches!(b, b' ' | b'\t')),
        (b"cntrl:]", u8::is_ascii_control),
        (b"digit:]", u8::is_ascii_digit),
        (b"graph:]", u8::is_ascii_graphic),
        (b"lower:]", u8::is_ascii_lowercase),
        (b"print:]", |b| matches!(b, b' '..=b'~')),
        (b"punct:]", u8::is_ascii_punctuation),
        (b"space:]", |b| matches!(b, b' ' | 0x09..=0x0d)),
        (b"upper:]", u8::is_ascii_uppercase),
        (b"xdigit:]", u8::is_ascii_hexdigit),
    ];
    CLASSES.iter().find_map(|&(name, belongs)| Some((belongs, text.strip_prefix(name)?)))
}

fn add(set: &mut Set, byte: u8) {
    set[usize::from(byte >> 6)] |= 1 << (byte & 63);
}

fn takes(token: u16, byte: u8, sets: &[Set]) -> bool {
    match token {
        ANY => true,
        SETS.. => sets
            .get(usize::from(token - SETS))
            .is_some_and(|set| set[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1),
        _ => token == u16::from(byte),
    }
}

/// Whether a component's tokens take just `name`.
fn fits(tokens: &[u16], name: &[u8], sets: &[Set]) -> bool {
    let (mut token, mut at) = (0, 0);
    // After the last star, and where in the name what comes after it was tried.
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (tokens.get(token), name.get(at)) {
            (Some(&STAR), _) => {
                token += 1;
                if token == tokens.len() {
                    return true;
                }
                star = Some((token, at));
                continue;
            }
            (Some(&wanted), Some(&byte)) if takes(wanted, byte, sets) => {
                token += 1;
                at += 1;
                continue;
            }
            (None, None) => return true,
            // No longer stretch for the star makes the name longer.
            (Some(_), None) => return false,
            _ => {}
        }
        let Some((after, tried)) = star else { return false };
        (token, at) = (after, tried + 1);
        star = Some((after, at));
    }
}

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

    /// What the matcher does, said in the slowest way there is.
    fn slow(tokens: &[u16], name: &[u8], sets: &[Set]) -> bool {
        match (tokens, name) {
            ([], []) => true,
            ([STAR, rest @ ..], _) => {
                slow(rest, name, sets)
                    || name.split_first().is_some_and(|(_, name)| slow(tokens, name, sets))
            }
            ([token, tokens @ ..], [byte, name @ ..]) => {
                takes(*token, *byte, sets) && slow(tokens, name, sets)
            }
            _ => false,
        }
    }

    #[test]
    fn the_quick_way_and_the_slow_way_agree() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut draw = |most: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) % most
        };
        let mut hits = 0;
        for _ in 0..200_000 {
            let mut text = |alphabet: &[u8], most| -> Vec<u8> {
                (0..draw(most)).map(|_| alphabet[draw(alphabet.len() as u64) as usize]).collect()
            };
            let (pattern, name) = (text(b"aab**?[]!-\\", 9), text(b"aaab]", 8));
            let mut sets = Vec::new();
            let Ok(tokens) = split(&pattern).and_then(|parts| tokens(&parts[0], &mut sets)) else {
                continue;
            };
            let expected = slow(&tokens, &name, &sets);
            hits += u32::from(expected);
            assert_eq!(fits(&tokens, &name, &sets), expected, "{}", pattern.escape_ascii());
        }
        assert!(hits > 1_000);
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
