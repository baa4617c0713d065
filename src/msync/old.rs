//! Answers of daemons without JSON, turned into JSON as far as possible. This is the only place
//! where the text of an error is interpreted.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use crate::console::error::{CANNOT_SEND, Code, DELETE_ERROR, ErrorReport, GONE};
use crate::console::error::{UNKNOWN, UNKNOWN_GROUP, UNKNOWN_HOST};
use crate::console::json::quoted;
use crate::errno;
use crate::name::{Escaped, HostName};
use crate::wire::outcome::Reason;

/// A row of the members table: `NAME ADDRESS (VerVERSION)`.
pub struct Row {
    /// The member's name.
    pub name: HostName,
    /// Its address.
    pub address: Ipv4Addr,
    version: String,
}

impl Row {
    /// Reads a line; None if it is another.
    pub fn parse(line: &[u8]) -> Option<Row> {
        let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        let name = HostName::parse(words.next()?.as_bytes()).ok()?;
        let address = words.next()?.parse().ok()?;
        let version = words.next()?.strip_prefix("(Ver")?.strip_suffix(')')?.to_owned();
        Some(Row { name, address, version })
    }
}

/// The members as one line of JSON.
pub fn members(rows: &[Row]) -> String {
    let rows: Vec<String> = rows
        .iter()
        .map(|row| {
            let Row { name, address, version } = row;
            let (name, version) = (quoted(name.as_str()), quoted(version));
            format!("{{\"name\":{name},\"address\":\"{address}\",\"version\":{version}}}")
        })
        .collect();
    format!("{{\"members\":[{}]}}", rows.join(","))
}

/// The lines of `status` as one line of JSON: keys without trailing spaces, numeric values as
/// numbers.
pub fn status(lines: &[Vec<u8>]) -> String {
    let mut members = Vec::new();
    for line in lines {
        let Some(at) = line.iter().position(|&b| b == b':') else { continue };
        let (key, value) = (line[..at].trim_ascii_end(), line[at + 1..].trim_ascii());
        // Indented lines belong to the line before.
        if key.is_empty() || key.starts_with(b" ") {
            continue;
        }
        let value = Escaped(value).to_string();
        let number = value.parse::<u64>().ok().filter(|number| number.to_string() == value);
        let value = number.map_or_else(|| quoted(&value), |number| number.to_string());
        members.push(format!("{}:{value}", quoted(&Escaped(key).to_string())));
    }
    format!("{{{}}}", members.join(","))
}

/// Whether a line is about an unknown host: 1.3 writes no `error:` before it.
pub fn is_unknown_host(line: &[u8]) -> bool {
    line.ends_with(UNKNOWN_HOST.as_bytes())
}

/// Interprets an error line; `is_host` tells whether a word is the name of a host.
pub fn error(line: &[u8], is_host: impl Fn(&str) -> bool) -> ErrorReport {
    let line = String::from_utf8_lossy(line);
    let deletion = line.strip_prefix(DELETE_ERROR);
    let text = deletion.or(line.strip_prefix("error:")).unwrap_or(&line).trim_ascii_start();
    if text.starts_with(UNKNOWN) {
        return ErrorReport::new(Code::UnknownCommand, text);
    }
    if text.starts_with(UNKNOWN_GROUP) {
        return ErrorReport::new(Code::UnknownGroup, text);
    }
    if let Some(host) = text.strip_suffix(UNKNOWN_HOST) {
        return ErrorReport::new(Code::UnknownHost, text).of_host(host);
    }
    for (start, code) in GONE {
        let host = text.strip_prefix(start).and_then(|rest| rest.strip_prefix(": "));
        let host = host.and_then(|host| host.split_once('(')?.1.strip_suffix(')'));
        if let Some(host) = host {
            return ErrorReport::new(code, start).of_host(host);
        }
    }
    // The texts of errors have no colon, so the first one follows the host's name.
    let on_host = text.split_once(':').and_then(|(before, path)| {
        let (why, host) = before.rsplit_once(' ')?;
        is_host(host).then_some((why, host, path))
    });
    if let Some((why, host, path)) = on_host {
        let why = if deletion.is_some() { why.trim_end_matches(')') } else { why };
        return ErrorReport::new(code_of(why), why).of_host(host).of_path(path);
    }
    // Otherwise a path may follow: known texts show where it begins.
    let ends = text.match_indices(' ').map(|(at, _)| at);
    for at in ends.collect::<Vec<_>>().into_iter().rev() {
        let (why, path) = (&text[..at], &text[at + 1..]);
        if code_of(why) != Code::Other {
            return ErrorReport::new(code_of(why), why).of_path(path);
        }
    }
    ErrorReport::new(code_of(text), text)
}

/// The code of an error with this text.
pub fn code_of(text: &str) -> Code {
    let own = || Reason::OWN.into_iter().find(|reason| reason.to_string() == text).map(Code::from);
    let other = || (text == CANNOT_SEND).then_some(Code::CannotSend);
    let system = || errno::of_text(text).map(Code::Os);
    other().or_else(own).or_else(system).unwrap_or(Code::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_become_json() {
        let rows: Vec<Row> = ["web1 10.0.0.1 (Ver1.3.6)", "db   10.0.0.20  (Ver2.0.0)"]
            .iter()
            .map(|line| Row::parse(line.as_bytes()).unwrap())
            .collect();
        assert_eq!(
            members(&rows),
            r#"{"members":[{"name":"web1","address":"10.0.0.1","version":"1.3.6"},{"name":"db","address":"10.0.0.20","version":"2.0.0"}]}"#
        );
        for other in ["Total: 2 members", "", "a b c", "a 10.0.0.1", "a 10.0.0.1 Ver1"] {
            assert!(Row::parse(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn status_becomes_json() {
        let lines =
            ["process : 12", "version : 1.3.6", "basedir : /a: b/", "send op : 1", "  x: y"];
        let lines: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
        assert_eq!(
            status(&lines),
            r#"{"process":12,"version":"1.3.6","basedir":"/a: b/","send op":1}"#
        );
        assert_eq!(status(&[b"x : 007".to_vec()]), r#"{"x":"007"}"#);
    }

    #[test]
    fn errors_are_told_by_their_words() {
        let read = |line: &str| {
            let ErrorReport { host, path, error, code } =
                error(line.as_bytes(), |host| host == "web1");
            [host, path, error, code].join("|")
        };
        for (line, want) in [
            ("error: Permission denied web1:a b: c", "web1|a b: c|Permission denied|EACCES"),
            ("delete error (Directory not empty) web1:x", "web1|x|Directory not empty|ENOTEMPTY"),
            ("error: No such file or directory x y", "|x y|No such file or directory|ENOENT"),
            ("error: No such file or directory web2:x", "|web2:x|No such file or directory|ENOENT"),
            ("error: receive time out: 10.0.0.1(web1)", "web1||receive time out|timeout"),
            ("error: member exit: 10.0.0.2(web2)", "web2||member exit|left"),
            (
                "web9 is not contained in members",
                "web9||web9 is not contained in members|unknown_host",
            ),
            ("error: this server can't send", "||this server can't send|cannot_send"),
            ("error: not found group x", "||not found group x|unknown_group"),
            ("error: Symbolic link in path web1:a", "web1|a|Symbolic link in path|link_in_path"),
            ("mexec: command error 'x'", "||mexec: command error 'x'|unknown_command"),
            ("error: odd words", "||odd words|other"),
            ("error:", "|||other"),
        ] {
            assert_eq!(read(line), want, "{line}");
        }
    }
}
