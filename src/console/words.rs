//! Words of a line.
//!
//! Words are separated by spaces; a backslash before a space makes it part of the word; any other
//! backslash is literal. Old clients rely on this much. A word that begins with a double quote ends
//! at the next one, and may contain `\"`, `\\` and `\ooo` (a byte in octal), so that names of any
//! bytes can be written.
#![forbid(unsafe_code)]

use std::fmt;

/// The most bytes in a line of a client, without its end.
pub const MAX_LINE: usize = 8_192;

/// One word of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word {
    /// Its bytes, without quotes and escapes.
    pub bytes: Vec<u8>,
    /// Whether it was in double quotes; such a word is never an option.
    pub quoted: bool,
}

/// Why a line cannot be split.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WordError {
    /// A double quote is not closed.
    Unclosed,
    /// A closing double quote is not followed by a space.
    Glued,
    /// A backslash inside double quotes that is not `\"`, `\\` or three octal digits up to `\377`.
    Escape,
}

impl fmt::Display for WordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WordError::Unclosed => "a double quote is not closed",
            WordError::Glued => "a closing double quote needs a space after it",
            WordError::Escape => r#"inside double quotes a backslash starts \", \\ or \ooo"#,
        })
    }
}

impl std::error::Error for WordError {}

/// Splits a line, without its end.
///
/// # Errors
/// The first error in its quotes; a line without quotes can always be split.
pub fn split(line: &[u8]) -> Result<Vec<Word>, WordError> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = &rest[rest.iter().take_while(|&&b| b == b' ').count()..];
        let (word, after) = match rest {
            [] => return Ok(words),
            [b'"', quoted @ ..] => take_quoted(quoted)?,
            _ => take_plain(rest),
        };
        words.push(word);
        rest = after;
    }
}

fn take_plain(mut rest: &[u8]) -> (Word, &[u8]) {
    let mut bytes = Vec::new();
    loop {
        rest = match rest {
            [] | [b' ', ..] => return (Word { bytes, quoted: false }, rest),
            [b'\\', b' ', after @ ..] => {
                bytes.push(b' ');
                after
            }
            [byte, after @ ..] => {
                bytes.push(*byte);
                after
            }
        };
    }
}

fn take_quoted(mut rest: &[u8]) -> Result<(Word, &[u8]), WordError> {
    let mut bytes = Vec::new();
    loop {
        rest = match rest {
            [] => return Err(WordError::Unclosed),
            [b'"'] | [b'"', b' ', ..] => return Ok((Word { bytes, quoted: true }, &rest[1..])),
            [b'"', ..] => return Err(WordError::Glued),
            [b'\\', byte @ (b'"' | b'\\'), after @ ..] => {
                bytes.push(*byte);
                after
            }
            [b'\\', after @ ..] => {
                let (byte, after) = octal(after).ok_or(WordError::Escape)?;
                bytes.push(byte);
                after
            }
            [byte, after @ ..] => {
                bytes.push(*byte);
                after
            }
        };
    }
}

/// Three octal digits up to `377`, and what comes after them.
fn octal(text: &[u8]) -> Option<(u8, &[u8])> {
    let [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] = text else { return None };
    Some(((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), rest))
}

/// Appends `name` to `line` as one word that [`split`] gives back; in double quotes where
/// necessary.
pub fn push_quoted(line: &mut Vec<u8>, name: &[u8]) {
    let odd = |&b: &u8| b.is_ascii_control() || b == b' ' || b == b'\\';
    if !name.is_empty() && !matches!(name[0], b'"' | b'-') && !name.iter().any(odd) {
        line.extend_from_slice(name);
        return;
    }
    line.push(b'"');
    for &byte in name {
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
            _ if byte.is_ascii_control() => {
                line.extend_from_slice(format!("\\{byte:03o}").as_bytes());
            }
            _ => line.push(byte),
        }
    }
    line.push(b'"');
}

/// Reverses [`crate::name::Escaped`]: every `\ooo` becomes its byte; any other backslash stays.
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let escaped = if *first == b'\\' { octal(after) } else { None };
        let (byte, after) = escaped.unwrap_or((*first, after));
        bytes.push(byte);
        rest = after;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(line: &[u8]) -> Vec<Vec<u8>> {
        split(line).unwrap().into_iter().map(|word| word.bytes).collect()
    }

    #[test]
    fn old_lines_split_as_they_always_did() {
        assert_eq!(plain(b"send -r  dir "), [&b"send"[..], b"-r", b"dir"]);
        assert_eq!(plain(br"send a\ b\ \ c"), [&b"send"[..], b"a b  c"]);
        assert_eq!(
            plain(br#"send \ a x\y say"hi" z\"#),
            [&b"send"[..], b" a", br"x\y", br#"say"hi""#, br"z\"]
        );
        assert_eq!(plain(b"   "), Vec::<Vec<u8>>::new());
        assert_eq!(plain(b"a\tb"), [b"a\tb"]);
    }

    #[test]
    fn quotes_say_any_byte() {
        assert_eq!(
            plain(br#"send "a b" "\012\"\\\377\000""#),
            [&b"send"[..], b"a b", b"\n\"\\\xff\0"]
        );
        assert_eq!(plain(br#""""#), [b""]);
        assert!(split(br#""-r""#).unwrap()[0].quoted);
        assert!(!split(b"-r").unwrap()[0].quoted);
    }

    #[test]
    fn quotes_that_do_not_match_are_errors() {
        assert_eq!(split(br#"send "a"#), Err(WordError::Unclosed));
        assert_eq!(split(br#"send "a\""#), Err(WordError::Unclosed));
        assert_eq!(split(br#"send "a"b"#), Err(WordError::Glued));
        for bad in [&br#""\n""#[..], br#""\400""#, br#""\01""#, br#""\0"#] {
            assert_eq!(split(bad), Err(WordError::Escape), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn every_name_survives_the_line() {
        let mut names: Vec<Vec<u8>> = (0..=255_u8).map(|b| vec![b]).collect();
        names.extend((0..=255_u8).map(|b| vec![b'x', b, b'1', b]));
        names.extend([b"".to_vec(), b"-r".to_vec(), b"> x".to_vec(), "日本 語".into()]);
        for name in names {
            let mut line = b"send ".to_vec();
            push_quoted(&mut line, &name);
            assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
            let words = split(&line).unwrap();
            assert_eq!(words.len(), 2);
            assert_eq!(words[1].bytes, name);
            assert!(words[1].quoted || !name.starts_with(b"-"));
            let shown = crate::name::Escaped(&name).to_string();
            assert_eq!(unescape(shown.as_bytes()), name);
        }
        let mut line = Vec::new();
        push_quoted(&mut line, "dir/日本".as_bytes());
        assert_eq!(line, "dir/日本".as_bytes());
    }
}
