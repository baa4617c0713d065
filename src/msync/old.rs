//! What is made of the answers of daemons that know no JSON: the same, as far as they tell.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use crate::console::json::quoted;
use crate::name::{Escaped, HostName};

/// A row of the table of members: `NAME ADDRESS (VerVERSION)`.
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

/// The lines of `status` as one line of JSON: keys as they are, without the spaces after them, and
/// values as numbers where they are such.
pub fn status(lines: &[Vec<u8>]) -> String {
    let mut members = Vec::new();
    for line in lines {
        let Some(at) = line.iter().position(|&b| b == b':') else { continue };
        let (key, value) = (line[..at].trim_ascii_end(), line[at + 1..].trim_ascii());
        // What is indented belongs to the line before.
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
}
