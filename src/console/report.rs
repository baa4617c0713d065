//! The lists of members and status, as text and as JSON.
//!
//! Old clients read the text: nothing may be added to it. The JSON is one object on one line, so
//! that it passes through the console like any other line.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::command::Form;
use super::json::quoted;
use crate::name::{Escaped, HostName, NodeId};
use crate::wire::hello::Foreign;
use crate::wire::outcome::Reason;

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
/// order. Strangers are not in the table that old clients read.
pub fn members(rows: &[MemberRow], strangers: &[StrangerRow], form: Form) -> String {
    let mut rows: Vec<&MemberRow> = rows.iter().collect();
    rows.sort_by(|a, b| (&a.name, a.address, a.node).cmp(&(&b.name, b.address, b.node)));
    match form {
        Form::Table => members_table(&rows, false),
        Form::Verbose => strangers_lines(strangers) + &members_table(&rows, true),
        Form::Json => members_json(&rows, strangers),
    }
}

fn members_table(rows: &[&MemberRow], verbose: bool) -> String {
    let names = rows.iter().map(|row| row.name.as_str().len()).max().unwrap_or(0);
    let addresses = rows.iter().map(|row| row.address.to_string().len()).max().unwrap_or(0);
    let versions = rows.iter().map(|row| row.version.len()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        // A String takes any write.
        let _ = write!(text, "{:names$} {:addresses$} ", row.name, row.address.to_string());
        let version = format!("(Ver{})", row.version);
        if !verbose {
            let _ = writeln!(text, "{version}");
            continue;
        }
        let rtt = match row.rtt_us {
            Some(us) => format!("{}.{:03} ms", us / 1_000, us % 1_000),
            None => "-".to_owned(),
        };
        let _ = writeln!(
            text,
            "{version:width$} rtt {rtt:>10}  lost {}  repairs {}  slowest {}  rcvbuf {}  heard {} s \
             ago  node {}",
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

fn members_json(rows: &[&MemberRow], strangers: &[StrangerRow]) -> String {
    let rows: Vec<String> = rows
        .iter()
        .map(|row| {
            let rtt = row.rtt_us.map_or("null".to_owned(), |us| us.to_string());
            format!(
                "{{\"name\":{},\"address\":\"{}\",\"version\":{},\"node\":\"{}\",\"rtt_us\":{rtt},\
                 \"lost\":{},\"repairs\":{},\"rcvbuf\":{},\"slowest\":{},\"last_heard_s\":{}}}",
                quoted(row.name.as_str()),
                row.address,
                quoted(&row.version),
                row.node,
                row.lost,
                row.repairs,
                row.rcvbuf,
                row.slowest,
                row.last_heard_s,
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
    format!("{{\"members\":[{}],\"strangers\":[{}]}}\n", rows.join(","), strangers.join(","))
}

/// Packets dropped since the start, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Dropped {
    /// Truncated, or of an unknown kind.
    pub invalid: u64,
    /// With a wrong checksum or MAC.
    pub damaged: u64,
    /// Of daemons with another version of the protocol.
    pub other_version: u64,
    /// Sealed with another key, or sealed where this daemon has no key, or not sealed where it has
    /// one.
    pub other_key: u64,
    /// Received before.
    pub replayed: u64,
    /// From nodes that are not members.
    pub strangers: u64,
    /// From another subnet.
    pub foreign: u64,
}

impl Dropped {
    fn named(&self) -> [(&'static str, u64); 7] {
        [
            ("invalid", self.invalid),
            ("damaged", self.damaged),
            ("other version", self.other_version),
            ("other key", self.other_key),
            ("replayed", self.replayed),
            ("strangers", self.strangers),
            ("foreign", self.foreign),
        ]
    }
}

/// The contents of `status`. For an idle daemon, two in a row must be equal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusReport {
    /// The daemon's process id.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// The base directory, an absolute path; with or without a slash at its end.
    pub base: Vec<u8>,
    /// Why transfers are refused for its sake, if they are.
    pub base_error: Option<Reason>,
    /// Whether the base directory is the daemon's root (`-c`).
    pub chroot: bool,
    /// The restrictions that the daemon has put on itself, as text.
    pub confined: String,
    /// The most transfers that were ever open at once.
    pub mfalloc: u64,
    /// The receive buffer in bytes, as reported by the kernel.
    pub recvsize: u64,
    /// The send buffer in bytes, as reported by the kernel.
    pub sendsize: u64,
    /// With `-T`: the current rate and the limit, in Mbit/s.
    pub sendrate: Option<(u64, u64)>,
    /// Other clients with a running command: their number, and the line escaped by [`Escaped`].
    pub commands: Vec<(u32, String)>,
    /// Outgoing transfers, each as text.
    pub sends: Vec<String>,
    /// Incoming transfers, each as text.
    pub recvs: Vec<String>,
    /// Packets that were dropped.
    pub dropped: Dropped,
}

impl StatusReport {
    /// The text that old clients read: lines, each with its newline.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(text, "{key:8}: {value}");
        };
        line("process", &self.pid.to_string());
        line("version", &self.version);
        line(if self.chroot { "chroot" } else { "basedir" }, &self.shown_base());
        line("mfalloc", &self.mfalloc.to_string());
        line("recvsize", &self.recvsize.to_string());
        line("sendsize", &self.sendsize.to_string());
        if let Some((now, limit)) = self.sendrate {
            line("sendrate", &format!("{now}/{limit}"));
        }
        line("command", &self.commands.len().to_string());
        for (number, command) in &self.commands {
            let _ = writeln!(text, "  {number}> {command}");
        }
        for (key, operations) in [("send op", &self.sends), ("recv op", &self.recvs)] {
            let _ = writeln!(text, "{key:8}: {}", operations.len());
            for operation in operations {
                let _ = writeln!(text, "  {operation}");
            }
        }
        let _ = writeln!(text, "confined: {}", self.confined);
        // Old clients do not know these lines, so they are left out if there is nothing to report.
        if let Some(why) = &self.base_error {
            let _ = writeln!(text, "refusing: {why}");
        }
        let dropped: Vec<String> = self
            .dropped
            .named()
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(why, count)| format!("{count} {why}"))
            .collect();
        if !dropped.is_empty() {
            let _ = writeln!(text, "dropped : {}", dropped.join(", "));
        }
        text
    }

    /// The same as one line of JSON, with its newline.
    pub fn json(&self) -> String {
        let named = self.dropped.named();
        let dropped: Vec<String> = named
            .iter()
            .map(|(why, count)| format!("{}:{count}", quoted(&why.replace(' ', "_"))))
            .collect();
        let list = |texts: &[String]| texts.iter().map(|t| quoted(t)).collect::<Vec<_>>().join(",");
        let (now, limit) = match self.sendrate {
            Some((now, limit)) => (now.to_string(), limit.to_string()),
            None => ("null".to_owned(), "null".to_owned()),
        };
        let commands: Vec<String> = self
            .commands
            .iter()
            .map(|(number, line)| format!("{{\"client\":{number},\"line\":{}}}", quoted(line)))
            .collect();
        format!(
            "{{\"process\":{},\"version\":{},\"basedir\":{},\"basedir_error\":{},\"chroot\":{},\"confined\":{},\"mfalloc\":{},\
             \"recvsize\":{},\"sendsize\":{},\"sendrate_mbps\":{now},\"sendrate_limit_mbps\":{limit},\
             \"commands\":[{}],\"sends\":[{}],\"recvs\":[{}],\"dropped\":{{{}}}}}\n",
            self.pid,
            quoted(&self.version),
            quoted(&self.shown_base()),
            self.base_error.map_or_else(|| "null".to_owned(), |why| quoted(&why.to_string())),
            self.chroot,
            quoted(&self.confined),
            self.mfalloc,
            self.recvsize,
            self.sendsize,
            commands.join(","),
            list(&self.sends),
            list(&self.recvs),
            dropped.join(","),
        )
    }

    /// The base directory with one slash at its end, escaped.
    fn shown_base(&self) -> String {
        let bare = match self.base.iter().rposition(|&b| b != b'/') {
            Some(last) => &self.base[..=last],
            None => &[],
        };
        format!("{}/", Escaped(bare))
    }
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
        }
    }

    #[test]
    fn members_as_old_clients_read_them() {
        let rows = [row("web10", [10, 0, 0, 10], "2.0.0"), row("db", [10, 0, 0, 2], "2.0.0")];
        let text = members(&rows, &[], Form::Table);
        assert_eq!(
            text,
            "db    10.0.0.2  (Ver2.0.0)\nweb10 10.0.0.10 (Ver2.0.0)\nTotal: 2 members\n"
        );
        let second = text.lines().next().unwrap().split_whitespace().nth(1);
        assert_eq!(second, Some("10.0.0.2"));
        assert_eq!(members(&[], &[], Form::Table), "Total: 0 members\n");
        let strangers = [StrangerRow {
            address: [10, 0, 0, 9].into(),
            has: "no key".to_owned(),
            foreign: None,
            last_heard_s: 7,
        }];
        assert_eq!(members(&rows, &strangers, Form::Table), text);
        assert_eq!(
            members(&[], &strangers, Form::Verbose),
            "10.0.0.9 is a stranger: it has no key, heard 7 s ago\nTotal: 0 members\n"
        );
        assert_eq!(
            members(&[], &strangers, Form::Json),
            "{\"members\":[],\"strangers\":[{\"address\":\"10.0.0.9\",\"has\":\"no key\",\
             \"name\":null,\"version\":null,\"protocol\":null,\
             \"last_heard_s\":7}]}\n"
        );
    }

    #[test]
    fn members_with_their_links() {
        let rows = [row("b", [10, 0, 0, 10], "2.0.10"), row("a", [10, 0, 0, 2], "2.0.0")];
        let mut rows = rows.to_vec();
        rows[1].rtt_us = None;
        assert_eq!(
            members(&rows, &[], Form::Verbose),
            "a 10.0.0.2  (Ver2.0.0)  rtt          -  lost 1  repairs 2  slowest 3  rcvbuf 8388608  \
             heard 4 s ago  node 0000000000000012\n\
             b 10.0.0.10 (Ver2.0.10) rtt   1.082 ms  lost 1  repairs 2  slowest 3  rcvbuf 8388608  \
             heard 4 s ago  node 0000000000000012\n\
             Total: 2 members\n"
        );
        assert_eq!(
            members(&rows[1..], &[], Form::Json),
            "{\"members\":[{\"name\":\"a\",\"address\":\"10.0.0.2\",\"version\":\"2.0.0\",\
             \"node\":\"0000000000000012\",\"rtt_us\":null,\"lost\":1,\"repairs\":2,\
             \"rcvbuf\":8388608,\"slowest\":3,\"last_heard_s\":4}],\"strangers\":[]}\n"
        );
        assert_eq!(members(&[], &[], Form::Json), "{\"members\":[],\"strangers\":[]}\n");
    }

    fn idle() -> StatusReport {
        StatusReport {
            pid: 1234,
            version: "2.0.0".to_owned(),
            base: b"/var/www".to_vec(),
            base_error: None,
            chroot: false,
            confined: "no new privileges, Landlock 7".to_owned(),
            mfalloc: 0,
            recvsize: 8_388_608,
            sendsize: 8_388_608,
            sendrate: None,
            commands: vec![],
            sends: vec![],
            recvs: vec![],
            dropped: Dropped::default(),
        }
    }

    #[test]
    fn status_as_old_clients_read_it() {
        assert_eq!(
            idle().text(),
            "process : 1234\nversion : 2.0.0\nbasedir : /var/www/\nmfalloc : 0\n\
             recvsize: 8388608\nsendsize: 8388608\ncommand : 0\nsend op : 0\nrecv op : 0\n\
             confined: no new privileges, Landlock 7\n"
        );
        let busy = StatusReport {
            chroot: true,
            base: b"/a\n/".to_vec(),
            base_error: Some(Reason::BaseReplaced),
            sendrate: Some((7, 100)),
            commands: vec![(2, "send -r x".to_owned())],
            sends: vec!["out".to_owned()],
            recvs: vec!["in 1".to_owned(), "in 2".to_owned()],
            dropped: Dropped { damaged: 3, other_key: 4, ..Dropped::default() },
            ..idle()
        };
        assert_eq!(
            busy.text(),
            "process : 1234\nversion : 2.0.0\nchroot  : /a\\012/\nmfalloc : 0\n\
             recvsize: 8388608\nsendsize: 8388608\nsendrate: 7/100\ncommand : 1\n  2> send -r x\n\
             send op : 1\n  out\nrecv op : 2\n  in 1\n  in 2\n\
             confined: no new privileges, Landlock 7\n\
             refusing: base directory was replaced: restart makuosan\ndropped : 3 damaged, 4 other key\n"
        );
        assert_eq!(
            busy.json(),
            "{\"process\":1234,\"version\":\"2.0.0\",\"basedir\":\"/a\\\\012/\",\
             \"basedir_error\":\"base directory was replaced: restart makuosan\",\"chroot\":true,\
             \"confined\":\"no new privileges, Landlock 7\",\"mfalloc\":0,\"recvsize\":8388608,\"sendsize\":8388608,\"sendrate_mbps\":7,\
             \"sendrate_limit_mbps\":100,\"commands\":[{\"client\":2,\"line\":\"send -r x\"}],\
             \"sends\":[\"out\"],\"recvs\":[\"in 1\",\"in 2\"],\"dropped\":\
             {\"invalid\":0,\"damaged\":3,\"other_version\":0,\"other_key\":4,\"replayed\":0,\"strangers\":0,\
             \"foreign\":0}}\n"
        );
        assert!(idle().json().contains("\"sendrate_mbps\":null"));
    }

    #[test]
    fn the_root_as_base_is_one_slash() {
        let root = StatusReport { base: b"/".to_vec(), ..idle() };
        assert!(root.text().contains("basedir : /\n"));
    }
}
