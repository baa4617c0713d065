//! What somebody writes, looked at for what only another program would understand.
#![forbid(unsafe_code)]

use super::error::PatternError;
use super::glob::Program;

/// Whether `pattern`, as somebody has written it, may be one of a list.
///
/// # Errors
/// What is wrong with it: it is no pattern, or none that could match what it was written for.
pub fn check(pattern: &[u8]) -> Result<(), PatternError> {
    if let Some(why) = foreign(pattern) {
        return Err(why);
    }
    let mut odd = None;
    Program::default().compile(pattern, &mut odd)?;
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
