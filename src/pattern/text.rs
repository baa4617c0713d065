//! A file of patterns.
#![forbid(unsafe_code)]

use super::Rule;
use super::check::check_line;
use super::error::{MAX_PATTERN, MAX_RULES, MAX_TEXT, PatternError};

/// The longest file of patterns, in bytes: as many as a list takes, each with an end of a line of two bytes, and as
/// much again for empty lines.
pub const MAX_FILE: usize = 2 * (MAX_TEXT + 2 * MAX_RULES);

/// Why a text is no list of patterns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TextError {
    /// The line of this number, from 1 on, is no pattern.
    Line(u64, PatternError),
    /// There are too many, or they are too long together.
    List(PatternError),
}

impl std::fmt::Display for TextError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TextError::Line(number, why) => write!(f, "line {number}: {why}"),
            TextError::List(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for TextError {}

/// The patterns of a text, one on each line, all of which exclude. Lines end with `end`; where that is LF, with CRLF, too.
/// Empty ones are skipped.
///
/// # Errors
/// The first line that is no pattern, or that there are too many.
pub fn from_text(text: &[u8], end: u8) -> Result<Vec<Rule>, TextError> {
    let (mut rules, mut bytes) = (Vec::new(), 0);
    for (number, line) in (1..).zip(text.split(|&byte| byte == end)) {
        let line = line.strip_suffix(b"\r").filter(|_| end == b'\n').unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        if line.len() > MAX_PATTERN {
            return Err(TextError::Line(number, PatternError::TooLong));
        }
        check_line(line).map_err(|why| TextError::Line(number, why))?;
        bytes += line.len();
        rules.push(Rule::exclude(line));
        if rules.len() > MAX_RULES {
            return Err(TextError::List(PatternError::TooMany));
        }
        if bytes > MAX_TEXT {
            return Err(TextError::List(PatternError::TooMuch));
        }
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_any_end_are_patterns() {
        let rules = from_text(b"a\r\n\n*.o\n/b", b'\n').unwrap();
        let patterns: Vec<&[u8]> = rules.iter().map(|rule| &rule.pattern[..]).collect();
        assert_eq!(patterns, [&b"a"[..], b"*.o", b"/b"]);
        assert!(from_text(b"", b'\n').unwrap().is_empty());
        assert!(matches!(
            from_text(b"a\n# b\n", b'\n'),
            Err(TextError::Line(2, PatternError::Comment))
        ));
        let rules = from_text(b"a\n\0\0b", 0).unwrap();
        assert_eq!(rules, [Rule::exclude(b"a\n"), Rule::exclude(b"b")]);
        let many = b"x\n".repeat(MAX_RULES + 1);
        assert_eq!(from_text(&many, b'\n'), Err(TextError::List(PatternError::TooMany)));
        let long = vec![b'x'; MAX_PATTERN + 1];
        assert_eq!(from_text(&long, b'\n'), Err(TextError::Line(1, PatternError::TooLong)));
    }
}
