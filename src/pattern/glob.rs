//! One pattern: compiled, and matched.
//!
//! As only a `/` matches a `/`, a pattern has as many components as the tail it matches, and each
//! component is matched for itself: the last `*` that was met takes one byte more until what comes
//! after it fits. So the cost is at most the product of the lengths of one component (255 bytes at
//! most) and its pattern, whatever the pattern.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::ops::Range;

use super::error::{MAX_PATTERN, MAX_SETS, PatternError};

/// What is noted of a pattern that means something, but hardly what it was written for.
type Oddity = Option<PatternError>;

/// A set of bytes.
pub(super) type Set = [u64; 4];

/// A token below this is that byte.
const ANY: u16 = 256;
const STAR: u16 = 257;
/// Between components.
const SLASH: u16 = 258;
/// A token from here on is a set, by its place in the list's.
const SETS: u16 = 259;
const _: () = assert!(SETS as usize + MAX_SETS <= u16::MAX as usize);

/// What the patterns of a list are compiled to, one after the other.
#[derive(Clone, Default)]
pub(super) struct Program {
    tokens: Vec<u16>,
    sets: Vec<Set>,
}

/// One compiled pattern.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compiled {
    /// Its tokens in the program, from here
    start: u32,
    /// to here: at least one component.
    end: u32,
    whole: bool,
    dir: bool,
}

/// What a component of tokens begins or ends with, or is, if that is nothing but ordinary bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Fixed {
    /// The name ends in them.
    End,
    /// The name begins with them.
    Start,
    /// They are the name.
    Whole,
}

impl Program {
    /// Compiles a pattern; the first oddity of its components goes to `odd`.
    ///
    /// # Errors
    /// What is wrong with it, or that there is no room for its sets.
    pub(super) fn compile(
        &mut self,
        pattern: &[u8],
        odd: &mut Oddity,
    ) -> Result<Compiled, PatternError> {
        let before = (self.tokens.len(), self.sets.len());
        let compiled = self.add(pattern, odd);
        if compiled.is_err() {
            self.tokens.truncate(before.0);
            self.sets.truncate(before.1);
        }
        compiled
    }

    fn add(&mut self, pattern: &[u8], odd: &mut Oddity) -> Result<Compiled, PatternError> {
        if pattern.len() > MAX_PATTERN {
            return Err(PatternError::TooLong);
        }
        let parts = split(pattern)?;
        let whole = parts.first().is_some_and(Vec::is_empty);
        let dir = parts.last().is_some_and(Vec::is_empty);
        let start = self.tokens.len();
        let mut dotted = None;
        // Two slashes in a row are one: no path has two.
        for part in parts.iter().filter(|part| !part.is_empty()) {
            if self.tokens.len() > start {
                self.tokens.push(SLASH);
            }
            let tokens = tokens(part, &mut self.sets, odd)?;
            dotted = dotted.or_else(|| dots(&tokens));
            self.tokens.extend(tokens);
        }
        *odd = odd.or(dotted);
        let place = |at: usize| u32::try_from(at).map_err(|_| PatternError::TooMuch);
        match self.tokens.len() {
            end if end == start => Err(PatternError::Empty),
            end => Ok(Compiled { start: place(start)?, end: place(end)?, whole, dir }),
        }
    }

    /// The memory that it takes, in bytes.
    pub(super) fn memory(&self) -> usize {
        size_of::<u16>() * self.tokens.capacity() + size_of::<Set>() * self.sets.capacity()
    }

    /// `len` tokens from `start` on.
    pub(super) fn slice(&self, start: u32, len: u32) -> &[u16] {
        let start = start as usize;
        self.tokens.get(start..start + len as usize).unwrap_or_default()
    }

    /// The components of a pattern, from the last one on.
    fn components(&self, pattern: &Compiled) -> impl Iterator<Item = &[u16]> {
        self.slice(pattern.start, pattern.end - pattern.start).rsplit(|token| *token == SLASH)
    }

    /// Which component, counted from the last one, says most about the names it takes, how it does, and
    /// by which tokens, which are ordinary bytes. None if none does.
    pub(super) fn telling(&self, pattern: &Compiled) -> Option<(Fixed, usize, Range<usize>)> {
        let mut end = pattern.end as usize;
        let kinds = self.components(pattern).enumerate().filter_map(|(at, tokens)| {
            let start = end - tokens.len();
            let here = start..std::mem::replace(&mut end, start.saturating_sub(1));
            let ordinary = |token: &&u16| **token < ANY;
            let first = tokens.iter().take_while(ordinary).count();
            let last = tokens.iter().rev().take_while(ordinary).count();
            match (first, last) {
                (first, _) if first == tokens.len() => Some((Fixed::Whole, at, here)),
                (1.., _) => Some((Fixed::Start, at, here.start..here.start + first)),
                (0, 1..) => Some((Fixed::End, at, here.end - last..here.end)),
                (0, 0) => None,
            }
        });
        // Of equals the last component, which every name has.
        kinds.max_by_key(|(kind, at, _)| (*kind, Reverse(*at)))
    }

    /// Whether `pattern` takes a path with these components, from the last one on.
    pub(super) fn matches<'a>(
        &self,
        pattern: &Compiled,
        mut names: impl Iterator<Item = &'a [u8]>,
        dir: bool,
    ) -> bool {
        let mut parts = self.components(pattern);
        (dir || !pattern.dir)
            && parts.all(|part| names.next().is_some_and(|name| fits(part, name, &self.sets)))
            && (!pattern.whole || names.next().is_none())
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

/// What is odd about a component that only a name could match that no path has.
fn dots(tokens: &[u16]) -> Oddity {
    const DOT: u16 = b'.' as u16;
    match tokens {
        [DOT] => Some(PatternError::Dot),
        [DOT, DOT] => Some(PatternError::DotDot),
        _ => None,
    }
}

fn tokens(
    mut part: &[u8],
    sets: &mut Vec<Set>,
    odd: &mut Oddity,
) -> Result<Vec<u16>, PatternError> {
    let mut tokens = Vec::new();
    // Whether a brace is open that is no ordinary character elsewhere.
    let mut brace = false;
    while let [byte, rest @ ..] = part {
        part = rest;
        let token = match byte {
            b'?' => ANY,
            b'*' if tokens.last() == Some(&STAR) => {
                odd.get_or_insert(PatternError::Stars);
                continue;
            }
            b'*' => STAR,
            // A bracket that is not closed is an ordinary byte.
            b'[' => match set(rest, odd) {
                Some((set, after)) => {
                    let at = u16::try_from(sets.len()).ok().filter(|_| sets.len() < MAX_SETS);
                    let at = at.ok_or(PatternError::TooManySets)?;
                    sets.push(set);
                    part = after;
                    SETS + at
                }
                None => {
                    odd.get_or_insert(PatternError::Bracket);
                    u16::from(b'[')
                }
            },
            b'\\' => {
                // There is one: the splitting saw to it.
                let (escaped, after) = rest.split_first().ok_or(PatternError::Backslash)?;
                part = after;
                u16::from(*escaped)
            }
            byte => {
                match byte {
                    b'{' => brace = true,
                    b',' if brace => drop(odd.get_or_insert(PatternError::Braces)),
                    b'}' => brace = false,
                    _ => {}
                }
                u16::from(*byte)
            }
        };
        tokens.push(token);
    }
    Ok(tokens)
}

/// Reads a set, from after its opening bracket; gives it with what is after its closing one.
fn set<'a>(text: &'a [u8], odd: &mut Oddity) -> Option<(Set, &'a [u8])> {
    let (negated, mut rest) = match text {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mut set: Set = [0; 4];
    let mut first = true;
    // Only of a set that is one.
    let mut found = None;
    loop {
        rest = match rest {
            [b']', after @ ..] if !first => {
                *odd = odd.or(found);
                return Some((if negated { set.map(|bits| !bits) } else { set }, after));
            }
            [b'[', b':', inner @ ..] if class(inner).is_some() => {
                let (belongs, after) = class(inner)?;
                (0..=255).filter(belongs).for_each(|byte| add(&mut set, byte));
                after
            }
            _ => {
                if matches!(rest, [b'[', b':' | b'.' | b'=', ..]) {
                    found.get_or_insert(PatternError::Class);
                }
                let (low, after) = member(rest)?;
                match after {
                    [b'-', b']', ..] => {
                        add(&mut set, low);
                        after
                    }
                    [b'-', after @ ..] => {
                        let (high, after) = member(after)?;
                        if low > high {
                            found.get_or_insert(PatternError::Range);
                        }
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
            let Ok(tokens) =
                split(&pattern).and_then(|parts| tokens(&parts[0], &mut sets, &mut None))
            else {
                continue;
            };
            let expected = slow(&tokens, &name, &sets);
            hits += u32::from(expected);
            assert_eq!(fits(&tokens, &name, &sets), expected, "{}", pattern.escape_ascii());
        }
        assert!(hits > 1_000);
    }
}
