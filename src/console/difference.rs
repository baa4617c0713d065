//! What a `check` finds to differ: as a line for people and old clients, and as a JSON object.
#![forbid(unsafe_code)]

use super::error::Shown;
use super::json::{Value, quoted};
use crate::name::{HostName, RelPath};

/// The prefix of a line with a difference in JSON.
const MARK: &str = "differs ";

/// How a member's copy differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// It has other contents.
    Contents,
    /// It has another mode, owner or time.
    Attributes,
    /// There is nothing here that it is a copy of.
    Extra,
}

impl What {
    const ALL: [(What, &'static str, &'static str); 3] = [
        (What::Contents, "NG", "contents"),
        (What::Attributes, "attr", "attributes"),
        (What::Extra, "extra", "extra"),
    ];

    /// The word of its line, and that of its object.
    fn words(self) -> (&'static str, &'static str) {
        let found = Self::ALL.iter().find(|(what, _, _)| *what == self);
        found.map_or(("NG", "contents"), |(_, line, object)| (line, object))
    }
}

/// A member's copy differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    what: What,
    host: String,
    /// As lines show it.
    path: String,
}

impl Difference {
    /// What differs on a host.
    pub fn new(what: What, host: &HostName, path: &RelPath) -> Difference {
        Difference { what, host: host.to_string(), path: Shown(path).to_string() }
    }

    /// From which log level on its line is shown: that of other contents always.
    pub(super) fn level(&self) -> u8 {
        u8::from(self.what != What::Contents)
    }

    /// The line.
    pub fn line(&self) -> String {
        format!("{}: {} {}", self.host, self.what.words().0, self.path)
    }

    /// Reads such a line; only of the lines that `check` answers with.
    pub fn parse_line(line: &[u8]) -> Option<Difference> {
        // No host's name has a space or a colon, so that this is not from within a path.
        let (host, rest) = std::str::from_utf8(line).ok()?.split_once(": ")?;
        let (word, path) = rest.split_once(' ')?;
        let (what, _, _) = What::ALL.iter().find(|(_, known, _)| *known == word)?;
        let plain = !host.is_empty() && !host.contains(' ');
        plain.then(|| Difference { what: *what, host: host.to_owned(), path: path.to_owned() })
    }

    /// Whether the contents differ.
    pub fn is_of_contents(&self) -> bool {
        self.what == What::Contents
    }

    /// As an object of JSON.
    pub fn json(&self) -> String {
        let (host, path, what) = (quoted(&self.host), quoted(&self.path), self.what.words().1);
        format!("{{\"type\":\"difference\",\"host\":{host},\"path\":{path},\"what\":\"{what}\"}}")
    }

    /// The line that follows the text line, for those who want reports.
    pub(super) fn emit(&self) -> String {
        format!("{MARK}{}", self.json())
    }

    /// Reads that line; None if it is another.
    pub fn parse(line: &[u8]) -> Option<Difference> {
        let value = Value::parse(std::str::from_utf8(line).ok()?.strip_prefix(MARK)?)?;
        let text = |name| value.get(name).and_then(Value::text).map(str::to_owned);
        let what = text("what")?;
        let (what, _, _) = What::ALL.iter().find(|(_, _, known)| *known == what)?;
        Some(Difference { what: *what, host: text("host")?, path: text("path")? })
    }

    /// How many bytes its texts have.
    pub(super) fn size(&self) -> usize {
        self.host.len() + self.path.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_go_both_ways() {
        let host = HostName::parse(b"web1").unwrap();
        let path = RelPath::parse(b"a/b \n").unwrap();
        for (what, line, level, word) in [
            (What::Contents, "web1: NG a/b \\012", 0, "contents"),
            (What::Extra, "web1: extra a/b \\012", 1, "extra"),
            (What::Attributes, "web1: attr a/b \\012", 1, "attributes"),
        ] {
            let found = Difference::new(what, &host, &path);
            assert_eq!((found.line().as_str(), found.level()), (line, level));
            assert_eq!(Difference::parse_line(line.as_bytes()), Some(found.clone()));
            let json = format!(
                r#"{{"type":"difference","host":"web1","path":"a/b \\012","what":"{word}"}}"#
            );
            assert_eq!(found.json(), json);
            assert_eq!(Difference::parse(format!("differs {json}").as_bytes()), Some(found));
        }
        for other in
            ["web1: OK a: NG b", "update a: NG b", "NG", " NG x", "web1: 1 OK, 2 NG", ": NG x"]
        {
            assert_eq!(Difference::parse_line(other.as_bytes()), None, "{other}");
        }
        for other in ["differs", "differs {}", "differs x", "differs {\"what\":\"extra\"}"] {
            assert_eq!(Difference::parse(other.as_bytes()), None, "{other}");
        }
    }
}
