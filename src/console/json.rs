//! The part of JSON (RFC 8259) that the console needs: writing strings and reading values.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

/// The deepest nesting of values that is read.
const MAX_DEPTH: usize = 8;

/// A JSON string (RFC 8259, section 7) without control characters, so that it fits a console line.
pub fn quoted(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => {
                // A String takes any write.
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

/// A value. Only numbers as the console writes them are read: no sign, fraction or exponent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(u64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object: names with their values, in order.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// Parses a text that consists of one value. None if it is not valid, has a number that
    /// [`Value`] cannot hold, or is nested more than eight levels deep.
    pub fn parse(text: &str) -> Option<Value> {
        let (value, rest) = value(text, MAX_DEPTH)?;
        skip(rest).is_empty().then_some(value)
    }

    /// The value called `name`, if this is an object that has one.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let Value::Object(members) = self else { return None };
        members.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The number, if this is one.
    pub fn number(&self) -> Option<u64> {
        if let Value::Number(number) = self { Some(*number) } else { None }
    }

    /// The string, if this is one.
    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }

    /// The values of an array; none if this is something else.
    pub fn list(&self) -> &[Value] {
        if let Value::List(values) = self { values } else { &[] }
    }
}

fn skip(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\n', '\r'])
}

fn value(text: &str, depth: usize) -> Option<(Value, &str)> {
    let depth = depth.checked_sub(1)?;
    let text = skip(text);
    for (word, value) in
        [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))]
    {
        if let Some(rest) = text.strip_prefix(word) {
            return Some((value, rest));
        }
    }
    match text.as_bytes().first()? {
        b'"' => string(text).map(|(text, rest)| (Value::Text(text), rest)),
        b'[' => {
            let mut values = Vec::new();
            let rest = items(&text[1..], ']', |text| {
                let (item, rest) = value(text, depth)?;
                values.push(item);
                Some(rest)
            })?;
            Some((Value::List(values), rest))
        }
        b'{' => {
            let mut members = Vec::new();
            let rest = items(&text[1..], '}', |text| {
                let (name, rest) = string(skip(text))?;
                let (item, rest) = value(skip(rest).strip_prefix(':')?, depth)?;
                members.push((name, item));
                Some(rest)
            })?;
            Some((Value::Object(members), rest))
        }
        _ => {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            let number = text[..digits].parse().ok()?;
            let rest = &text[digits..];
            (!rest.starts_with(['.', 'e', 'E'])).then_some((Value::Number(number), rest))
        }
    }
}

/// The items of an array or object, from after the opening bracket.
fn items<'a>(
    text: &'a str,
    end: char,
    mut item: impl FnMut(&'a str) -> Option<&'a str>,
) -> Option<&'a str> {
    let mut rest = skip(text);
    if let Some(rest) = rest.strip_prefix(end) {
        return Some(rest);
    }
    loop {
        rest = skip(item(rest)?);
        if let Some(rest) = rest.strip_prefix(end) {
            return Some(rest);
        }
        rest = rest.strip_prefix(',')?;
    }
}

fn string(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut read = String::new();
    loop {
        let plain = rest.find(['"', '\\'])?;
        let (piece, after) = rest.split_at(plain);
        if piece.contains(|c: char| c < ' ') {
            return None;
        }
        read.push_str(piece);
        let mut after = after.chars();
        if after.next()? == '"' {
            return Some((read, after.as_str()));
        }
        let escape = after.next()?;
        rest = after.as_str();
        read.push(match escape {
            '"' | '\\' | '/' => escape,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (unit, after) = hex(rest)?;
                rest = after;
                let second = rest.strip_prefix("\\u").filter(|_| (0xd800..0xdc00).contains(&unit));
                match second.and_then(hex) {
                    Some((low @ 0xdc00..0xe000, after)) => {
                        rest = after;
                        char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00))?
                    }
                    _ => char::from_u32(unit)?,
                }
            }
            _ => return None,
        });
    }
}

/// Four hexadecimal digits.
fn hex(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
    Some((u32::from_str_radix(digits, 16).ok().filter(|_| plain)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_go_both_ways() {
        assert_eq!(quoted("a\"\\\n\u{7f}日"), "\"a\\\"\\\\\\u000a\\u007f日\"");
        for text in ["", "a", "\"\\/", "\u{0}\u{1f}\u{7f}\u{85}", "日本 😀", "\\012"] {
            assert_eq!(Value::parse(&quoted(text)), Some(Value::Text(text.to_owned())));
        }
        let escapes = r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00""#;
        let text = "\"\\/\u{8}\u{c}\n\r\té😀";
        assert_eq!(Value::parse(escapes), Some(Value::Text(text.to_owned())));
    }

    #[test]
    fn values_are_read() {
        let read = Value::parse(r#" {"a":[1, {"b" : null} ,true],"c":"x","d":{},"e":[]} "#);
        let value = read.unwrap();
        assert_eq!(value.get("c").and_then(Value::text), Some("x"));
        let list = value.get("a").unwrap().list();
        assert_eq!((list[0].number(), list[2].clone()), (Some(1), Value::Bool(true)));
        assert_eq!(list[1].get("b"), Some(&Value::Null));
        assert_eq!(value.get("d"), Some(&Value::Object(vec![])));
        assert!(value.get("e").unwrap().list().is_empty() && value.get("f").is_none());
        let most = u64::MAX.to_string();
        assert_eq!(Value::parse(&most).unwrap().number(), Some(u64::MAX));
    }

    #[test]
    fn what_is_no_value_is_none() {
        let deep = "[".repeat(100_000);
        for bad in [
            "",
            "x",
            "-1",
            "1.5",
            "1e3",
            "99999999999999999999",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\n\"",
            "\"\\u12\"",
            "\"\\u+123\"",
            "\"\\ud800\"",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "{",
            "{1:2}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "1 2",
            "nul",
            &deep,
        ] {
            assert_eq!(Value::parse(bad), None, "{}", &bad[..bad.len().min(20)]);
        }
        let nested = |depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Value::parse(&nested(MAX_DEPTH - 1)).is_some());
        assert!(Value::parse(&nested(MAX_DEPTH)).is_none());
    }
}
