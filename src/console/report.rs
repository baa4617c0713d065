//! The list of members, as text and as JSON.
//!
//! Old clients read the text: nothing may be added to it. The JSON is one object on one line, so
//! that it passes through the console like any other line.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::command::Form;
use super::fleet::{self, HostRow};
use super::json::quoted;
use crate::name::{HostName, NodeId};
use crate::wire::hello::Foreign;

/// One member as seen by the answering daemon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberRow {
    /// Its name.
    pub name: HostName,
    /// The address that its packets come from.
    pub address: Ipv4Addr,
    /// The version it runs.
    pub version: String,
    /// Its node id.
    pub node: NodeId,
    /// The measured round trip, in microseconds; None before the first transfer.
    pub rtt_us: Option<u64>,
    /// Packets to it that were lost.
    pub lost: u64,
    /// Blocks it asked for again.
    pub repairs: u64,
    /// Its receive buffer in bytes, as it announced; 0 if it has not.
    pub rcvbuf: u64,
    /// In how many transfers it was the slowest.
    pub slowest: u64,
    /// Seconds since the last packet from it.
    pub last_heard_s: u64,
    /// How far its clock is ahead of ours, in whole seconds, and how far behind; one of them is 0.
    pub clock_ahead_s: u64,
    /// See above.
    pub clock_behind_s: u64,
    /// Whether its clock is so wrong, or was, that transfers with it leave no record.
    pub clock_off: bool,
    /// Whether another member, or this host, has the same name.
    pub name_shared: bool,
}

/// A daemon that was heard but is not a member, because it has a different key or another version of
/// the protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StrangerRow {
    /// The address that its packets come from.
    pub address: Ipv4Addr,
    /// What it has: "a key", "no key", "another key", or which version of the protocol.
    pub has: String,
    /// What is known of one that has another version of the protocol.
    pub foreign: Option<Foreign>,
    /// Seconds since the last packet from it.
    pub last_heard_s: u64,
}

/// The list of members, without the daemon itself, in the requested form; `rows` may be in any
/// order. Strangers, warnings, and what `hosts` lack are not in the table that old clients read.
pub fn members(
    rows: &[MemberRow],
    strangers: &[StrangerRow],
    hosts: &[HostRow],
    warnings: &[String],
    form: Form,
) -> String {
    let mut rows: Vec<&MemberRow> = rows.iter().collect();
    rows.sort_by(|a, b| (&a.name, a.address, a.node).cmp(&(&b.name, b.address, b.node)));
    match form {
        Form::Table => members_table(&rows, None),
        Form::Verbose => {
            let warnings = warnings.iter().map(|line| format!("{WARNING}{line}\n"));
            warnings.collect::<String>()
                + &strangers_lines(strangers)
                + &fleet::others(hosts)
                + &members_table(&rows, Some(hosts))
        }
        Form::Json => members_json(&rows, strangers, hosts, warnings),
    }
}

/// What the lines of warnings begin with.
pub const WARNING: &str = "warning: ";

/// `hosts`: what they lack, if more than the table of old is asked for.
fn members_table(rows: &[&MemberRow], hosts: Option<&[HostRow]>) -> String {
    let names = rows.iter().map(|row| row.name.as_str().len()).max().unwrap_or(0);
    let addresses = rows.iter().map(|row| row.address.to_string().len()).max().unwrap_or(0);
    let versions = rows.iter().map(|row| row.version.len()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        // A String takes any write.
        let _ = write!(text, "{:names$} {:addresses$} ", row.name, row.address.to_string());
        let version = format!("(Ver{})", row.version);
        let Some(hosts) = hosts else {
            let _ = writeln!(text, "{version}");
            continue;
        };
        let rtt = match row.rtt_us {
            Some(us) => format!("{}.{:03} ms", us / 1_000, us % 1_000),
            None => "-".to_owned(),
        };
        let lacks = fleet::said_of(hosts, &row.name, row.address);
        let lacks = lacks.map_or(String::new(), |said| format!("  {said}"));
        let _ = writeln!(
            text,
            "{version:width$} rtt {rtt:>10}  lost {}  repairs {}  slowest {}  rcvbuf {}  heard {} s \
             ago  node {}{lacks}",
            row.lost,
            row.repairs,
            row.slowest,
            row.rcvbuf,
            row.last_heard_s,
            row.node,
            width = versions + 5,
        );
    }
    let _ = writeln!(text, "Total: {} members", rows.len());
    text
}

fn strangers_lines(rows: &[StrangerRow]) -> String {
    let line = |row: &StrangerRow| {
        format!(
            "{} is a stranger: it has {}, heard {} s ago\n",
            row.address, row.has, row.last_heard_s
        )
    };
    rows.iter().map(line).collect()
}

fn members_json(
    rows: &[&MemberRow],
    strangers: &[StrangerRow],
    hosts: &[HostRow],
    warnings: &[String],
) -> String {
    let rows: Vec<String> = rows
        .iter()
        .map(|row| {
            let rtt = row.rtt_us.map_or("null".to_owned(), |us| us.to_string());
            format!(
                "{{\"name\":{},\"address\":\"{}\",\"version\":{},\"node\":\"{}\",\"rtt_us\":{rtt},\
                 \"lost\":{},\"repairs\":{},\"rcvbuf\":{},\"slowest\":{},\"last_heard_s\":{},\
                 \"clock_ahead_s\":{},\"clock_behind_s\":{},\"clock_off\":{},\"name_shared\":{}}}",
                quoted(row.name.as_str()),
                row.address,
                quoted(&row.version),
                row.node,
                row.lost,
                row.repairs,
                row.rcvbuf,
                row.slowest,
                row.last_heard_s,
                row.clock_ahead_s,
                row.clock_behind_s,
                row.clock_off,
                row.name_shared,
            )
        })
        .collect();
    let strangers: Vec<String> = strangers
        .iter()
        .map(|row| {
            let foreign = row.foreign.as_ref();
            let text = |text: Option<&str>| text.map_or("null".to_owned(), quoted);
            let protocol = foreign.map_or("null".to_owned(), |of| of.protocol.to_string());
            format!(
                "{{\"address\":\"{}\",\"has\":{},\"name\":{},\"version\":{},\"protocol\":{protocol},\
                 \"last_heard_s\":{}}}",
                row.address,
                quoted(&row.has),
                text(foreign.and_then(|of| Some(of.name.as_ref()?.as_str()))),
                text(foreign.and_then(|of| of.version.as_deref())),
                row.last_heard_s,
            )
        })
        .collect();
    let warnings: Vec<String> = warnings.iter().map(|line| quoted(line)).collect();
    format!(
        "{{\"members\":[{}],\"strangers\":[{}],\"hosts\":{},\"warnings\":[{}]}}\n",
        rows.join(","),
        strangers.join(","),
        fleet::json(hosts),
        warnings.join(","),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, address: [u8; 4], version: &str) -> MemberRow {
        MemberRow {
            name: HostName::parse(name.as_bytes()).unwrap(),
            address: address.into(),
            version: version.to_owned(),
            node: NodeId(0x12),
            rtt_us: Some(1_082),
            lost: 1,
            repairs: 2,
            rcvbuf: 8_388_608,
            slowest: 3,
            last_heard_s: 4,
            clock_ahead_s: 0,
            clock_behind_s: 5,
            clock_off: false,
            name_shared: false,
        }
    }

    #[test]
    fn members_as_old_clients_read_them() {
        let rows = [row("web10", [10, 0, 0, 10], "2.0.0"), row("db", [10, 0, 0, 2], "2.0.0")];
        let text = members(&rows, &[], &[], &[], Form::Table);
        assert_eq!(
            text,
            "db    10.0.0.2  (Ver2.0.0)\nweb10 10.0.0.10 (Ver2.0.0)\nTotal: 2 members\n"
        );
        let second = text.lines().next().unwrap().split_whitespace().nth(1);
        assert_eq!(second, Some("10.0.0.2"));
        assert_eq!(members(&[], &[], &[], &[], Form::Table), "Total: 0 members\n");
        let strangers = [StrangerRow {
            address: [10, 0, 0, 9].into(),
            has: "no key".to_owned(),
            foreign: None,
            last_heard_s: 7,
        }];
        assert_eq!(members(&rows, &strangers, &[], &[], Form::Table), text);
        assert_eq!(
            members(&[], &strangers, &[], &[], Form::Verbose),
            "10.0.0.9 is a stranger: it has no key, heard 7 s ago\nTotal: 0 members\n"
        );
        assert_eq!(
            members(&[], &strangers, &[], &[], Form::Json),
            "{\"members\":[],\"strangers\":[{\"address\":\"10.0.0.9\",\"has\":\"no key\",\
             \"name\":null,\"version\":null,\"protocol\":null,\
             \"last_heard_s\":7}],\"hosts\":[],\"warnings\":[]}\n"
        );
    }

    #[test]
    fn members_with_their_links() {
        let rows = [row("b", [10, 0, 0, 10], "2.0.10"), row("a", [10, 0, 0, 2], "2.0.0")];
        let mut rows = rows.to_vec();
        rows[1].rtt_us = None;
        assert_eq!(
            members(&rows, &[], &[], &[], Form::Verbose),
            "a 10.0.0.2  (Ver2.0.0)  rtt          -  lost 1  repairs 2  slowest 3  rcvbuf 8388608  \
             heard 4 s ago  node 0000000000000012\n\
             b 10.0.0.10 (Ver2.0.10) rtt   1.082 ms  lost 1  repairs 2  slowest 3  rcvbuf 8388608  \
             heard 4 s ago  node 0000000000000012\n\
             Total: 2 members\n"
        );
        assert_eq!(
            members(&rows[1..], &[], &[], &[], Form::Json),
            "{\"members\":[{\"name\":\"a\",\"address\":\"10.0.0.2\",\"version\":\"2.0.0\",\
             \"node\":\"0000000000000012\",\"rtt_us\":null,\"lost\":1,\"repairs\":2,\
             \"rcvbuf\":8388608,\"slowest\":3,\"last_heard_s\":4,\"clock_ahead_s\":0,\"clock_behind_s\":5,\"clock_off\":false,\
             \"name_shared\":false}],\"strangers\":[],\"hosts\":[],\"warnings\":[]}\n"
        );
        assert_eq!(
            members(&[], &[], &[], &[], Form::Json),
            "{\"members\":[],\"strangers\":[],\"hosts\":[],\"warnings\":[]}\n"
        );
    }

    #[test]
    fn members_with_warnings() {
        let rows = [row("a", [10, 0, 0, 2], "2.0.0")];
        let odd = MemberRow {
            clock_ahead_s: 1 << 40,
            clock_off: true,
            name_shared: true,
            ..row("a", [10, 0, 0, 3], "2")
        };
        let warnings = ["a \"b\"".to_owned(), "c".to_owned()];
        let verbose = members(&rows, &[], &[], &warnings, Form::Verbose);
        assert!(verbose.starts_with("warning: a \"b\"\nwarning: c\na 10.0.0.2 (Ver2.0.0)"));
        assert_eq!(
            members(&rows, &[], &[], &warnings, Form::Table),
            members(&rows, &[], &[], &[], Form::Table)
        );
        assert!(members(&[odd], &[], &[], &warnings, Form::Json).ends_with(
            "\"clock_ahead_s\":1099511627776,\"clock_behind_s\":5,\"clock_off\":true,\"name_shared\":true}],\"strangers\":[],\
             \"hosts\":[],\"warnings\":[\"a \\\"b\\\"\",\"c\"]}\n"
        ));
    }
}
