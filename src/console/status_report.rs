//! The answers to `status`, as text and as JSON.
//!
//! Old clients read the text: nothing may be added to it. The JSON is one object on one line, so
//! that it passes through the console like any other line.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::command::Form;
use super::fleet::{self, HostRow};
use super::json::quoted;
use super::moment::Moment;
use super::reply::Total;
use super::watch_row::WatchRow;
use crate::name::{Escaped, HostName, Interface};
use crate::wire::outcome::Reason;

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
    /// Each reason in words, and how many.
    pub(super) fn named(&self) -> [(&'static str, u64); 7] {
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
    /// What is odd about members, each in a line.
    pub warnings: Vec<String>,
    /// What is watched.
    pub watches: Vec<WatchRow>,
    /// What it was started with.
    pub setting: Setting,
    /// This host and those that are known, and what they lack.
    pub hosts: Vec<HostRow>,
    /// The last transfer that was asked for here, and has ended.
    pub last: Option<LastTransfer>,
}

/// What a daemon was started with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Its name among the members.
    pub name: HostName,
    /// When it was started.
    pub started: Moment,
    /// The multicast group.
    pub group: SocketAddrV4,
    /// The interface that it was told to use.
    pub interface: Interface,
    /// The interface's address; None if it has none, and for any interface.
    pub address: Option<Ipv4Addr>,
    /// Where it can be called, as `msync -c` wants it.
    pub consoles: Vec<String>,
    /// Whether a client has to give a password.
    pub password: bool,
    /// How many keys it has.
    pub keys: usize,
}

/// A transfer that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LastTransfer {
    /// When it ended.
    pub at: Moment,
    /// Its command line, escaped by [`Escaped`].
    pub command: String,
    /// What it came to; None if its client went before that.
    pub total: Option<Total>,
}

impl LastTransfer {
    /// In one word.
    fn result(&self) -> &'static str {
        match &self.total {
            None => "aborted",
            Some(total) if total.failed > 0 || total.errors > 0 || total.hosts == 0 => "incomplete",
            Some(_) => "complete",
        }
    }

    fn text(&self) -> String {
        let LastTransfer { at: Moment(_, at), command, total } = self;
        let figures = total.map_or_else(String::new, |total| {
            let Total { hosts, failed, files, bytes, deleted, errors, .. } = total;
            format!(
                ", hosts={hosts} failed={failed} files={files} bytes={bytes} deleted={deleted} \
                 errors={errors}"
            )
        });
        format!("{at}, {command}: {}{figures}", self.result())
    }

    fn json(&self) -> String {
        let figures = self.total.map_or_else(String::new, |total| {
            let Total { hosts, failed, files, bytes, unchanged, deleted, errors, .. } = total;
            format!(
                ",\"hosts\":{hosts},\"failed\":{failed},\"files\":{files},\"bytes\":{bytes},\
                 \"unchanged\":{unchanged},\"deleted\":{deleted},\"errors\":{errors}"
            )
        });
        let (command, result) = (quoted(&self.command), quoted(self.result()));
        format!("{{\"ended\":{},\"command\":{command},\"result\":{result}{figures}}}", self.at.0)
    }
}

impl StatusReport {
    /// The answer in this form.
    pub fn form(&self, form: Form) -> String {
        match form {
            Form::Table => self.text(),
            Form::Verbose => self.verbose(),
            Form::Json => self.json(),
        }
    }

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
        for watch in &self.watches {
            let _ = writeln!(text, "watching: {}", watch.text());
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "warning : {warning}");
        }
        text
    }

    /// The same, with what it was started with and the last transfer.
    pub fn verbose(&self) -> String {
        let mut text = self.text();
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(text, "{key:8}: {value}");
        };
        let Setting { name, started, group, interface, address, consoles, password, keys } =
            &self.setting;
        line("name", name.as_str());
        line("started", &started.1);
        line("group", &format!("{group}, {}", interface_text(interface, *address)));
        let password = if *password { ", with a password" } else { "" };
        line("console", &format!("{}{password}", consoles.join(", ")));
        line("key", &key_text(*keys));
        if let Some(own) = self.hosts.first() {
            line("records", &own.said());
        }
        line("last", &self.last.as_ref().map_or("none".to_owned(), LastTransfer::text));
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
        let Setting { name, started, group, interface, address, consoles, password, keys } =
            &self.setting;
        let null = || "null".to_owned();
        let address = address.map_or_else(null, |address| quoted(&address.to_string()));
        let interface = match interface {
            Interface::Any => null(),
            Interface::Address(address) => quoted(&address.to_string()),
            Interface::Named(name) => quoted(name),
        };
        let setting = format!(
            "\"name\":{},\"started\":{},\"group\":\"{}\",\"port\":{},\"interface\":{interface},\
             \"address\":{address},\"console\":[{}],\"password\":{password},\"keys\":{keys}",
            quoted(name.as_str()),
            started.0,
            group.ip(),
            group.port(),
            list(consoles),
        );
        let watches: Vec<String> = self.watches.iter().map(WatchRow::json).collect();
        let last = self.last.as_ref().map_or("null".to_owned(), LastTransfer::json);
        format!(
            "{{\"process\":{},\"version\":{},\"basedir\":{},\"basedir_error\":{},\"chroot\":{},\"confined\":{},\"mfalloc\":{},\
             \"recvsize\":{},\"sendsize\":{},\"sendrate_mbps\":{now},\"sendrate_limit_mbps\":{limit},\
             \"commands\":[{}],\"sends\":[{}],\"recvs\":[{}],\"dropped\":{{{}}},\"warnings\":[{}],\"watches\":[{}],{setting},\
             \"hosts\":{},\"last\":{last}}}\n",
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
            list(&self.warnings),
            watches.join(","),
            fleet::json(&self.hosts),
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

/// The interface, in words; `address` is the one it has.
pub fn interface_text(interface: &Interface, address: Option<Ipv4Addr>) -> String {
    match (interface, address) {
        (Interface::Named(_), Some(address)) => format!("{interface} ({address})"),
        (Interface::Named(_), None) => format!("{interface} (no address)"),
        (Interface::Any | Interface::Address(_), _) => interface.to_string(),
    }
}

/// How many keys there are, in words.
pub fn key_text(keys: usize) -> String {
    match keys {
        0 => "none".to_owned(),
        1 => "yes".to_owned(),
        many => format!("{many}, the first one seals"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fleet::Presence;
    use super::super::fleet::tests::{lacking, row};
    use super::*;
    use crate::wire::behind::Why;

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
            warnings: vec![],
            watches: vec![],
            setting: Setting {
                name: HostName::parse(b"web1").unwrap(),
                started: Moment(1_000, "1970-01-01 00:16:40".to_owned()),
                group: "239.1.2.3:5000".parse().unwrap(),
                interface: Interface::Any,
                address: None,
                consoles: vec!["tcp:127.0.0.1:5000".to_owned()],
                password: false,
                keys: 0,
            },
            hosts: vec![],
            last: None,
        }
    }

    #[test]
    fn the_verbose_status_adds_lines() {
        assert_eq!(
            idle().verbose(),
            idle().text()
                + "name    : web1\nstarted : 1970-01-01 00:16:40\n\
                   group   : 239.1.2.3:5000, any interface\nconsole : tcp:127.0.0.1:5000\n\
                   key     : none\nlast    : none\n"
        );
        let at = Moment(2_000, "1970-01-01 00:33:20".to_owned());
        let total = Total { hosts: 3, failed: 1, files: 7, errors: 2, ..Total::default() };
        let last = LastTransfer { at, command: "send -r".to_owned(), total: Some(total) };
        let setting = Setting {
            interface: Interface::Named("eth1".to_owned()),
            address: Some([10, 0, 0, 1].into()),
            password: true,
            keys: 2,
            ..idle().setting
        };
        let busy = StatusReport { setting, last: Some(last.clone()), ..idle() };
        assert!(
            busy.verbose().ends_with(
                "group   : 239.1.2.3:5000, interface eth1 (10.0.0.1)\n\
                 console : tcp:127.0.0.1:5000, with a password\nkey     : 2, the first one seals\n\
                 last    : 1970-01-01 00:33:20, send -r: incomplete, hosts=3 failed=1 files=7 bytes=0 \
                 deleted=0 errors=2\n"
            )
        );
        assert!(busy.json().ends_with(
            "\"name\":\"web1\",\"started\":1000,\"group\":\"239.1.2.3\",\"port\":5000,\
             \"interface\":\"eth1\",\"address\":\"10.0.0.1\",\"console\":[\"tcp:127.0.0.1:5000\"],\"password\":true,\
             \"keys\":2,\"hosts\":[],\"last\":{\"ended\":2000,\"command\":\"send -r\",\
             \"result\":\"incomplete\",\"hosts\":3,\"failed\":1,\"files\":7,\"bytes\":0,\
             \"unchanged\":0,\"deleted\":0,\"errors\":2}}\n"
        ));
        let gone = LastTransfer { total: None, ..last };
        assert!(gone.json().ends_with("\"result\":\"aborted\"}"));
        let done = LastTransfer { total: Some(Total { failed: 0, errors: 0, ..total }), ..gone };
        assert!(done.text().contains("send -r: complete, hosts=3 "));
    }

    #[test]
    fn what_this_host_and_others_lack_is_shown() {
        let own = row("web1", Presence::Own, lacking(2, 0, Why::Nobody));
        let away = row("web2", Presence::Away, lacking(1, 0, Why::Asking));
        let report = StatusReport { hosts: vec![own, away], ..idle() };
        let line = "records : lacks 2 transfers since T5 (no host that is there has it), last complete T4\n";
        assert!(report.verbose().contains(line), "{}", report.verbose());
        assert_eq!(report.text(), idle().text());
        assert_eq!(report.json().matches("\"behind\":{").count(), 2);
    }

    #[test]
    fn an_interface_and_its_address_in_words() {
        let address = Some([10, 0, 0, 1].into());
        let text = |interface: &str, address| {
            interface_text(&Interface::parse(interface).unwrap(), address)
        };
        assert_eq!(text("eth1", address), "interface eth1 (10.0.0.1)");
        assert_eq!(text("eth1", None), "interface eth1 (no address)");
        assert_eq!(text("10.0.0.1", address), "interface 10.0.0.1");
        assert_eq!(text("0.0.0.0", None), "any interface");
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
            warnings: vec!["a clock".to_owned(), "a name".to_owned()],
            ..idle()
        };
        assert_eq!(
            busy.text(),
            "process : 1234\nversion : 2.0.0\nchroot  : /a\\012/\nmfalloc : 0\n\
             recvsize: 8388608\nsendsize: 8388608\nsendrate: 7/100\ncommand : 1\n  2> send -r x\n\
             send op : 1\n  out\nrecv op : 2\n  in 1\n  in 2\n\
             confined: no new privileges, Landlock 7\n\
             refusing: base directory was replaced: restart makuosan\ndropped : 3 damaged, 4 other key\n\
             warning : a clock\nwarning : a name\n"
        );
        assert_eq!(
            busy.json(),
            "{\"process\":1234,\"version\":\"2.0.0\",\"basedir\":\"/a\\\\012/\",\
             \"basedir_error\":\"base directory was replaced: restart makuosan\",\"chroot\":true,\
             \"confined\":\"no new privileges, Landlock 7\",\"mfalloc\":0,\"recvsize\":8388608,\"sendsize\":8388608,\"sendrate_mbps\":7,\
             \"sendrate_limit_mbps\":100,\"commands\":[{\"client\":2,\"line\":\"send -r x\"}],\
             \"sends\":[\"out\"],\"recvs\":[\"in 1\",\"in 2\"],\"dropped\":\
             {\"invalid\":0,\"damaged\":3,\"other_version\":0,\"other_key\":4,\"replayed\":0,\"strangers\":0,\
             \"foreign\":0},\"warnings\":[\"a clock\",\"a name\"],\"watches\":[],\"name\":\"web1\",\"started\":1000,\"group\":\"239.1.2.3\",\"port\":5000,\
             \"interface\":null,\"address\":null,\"console\":[\"tcp:127.0.0.1:5000\"],\"password\":false,\"keys\":0,\
             \"hosts\":[],\"last\":null}\n"
        );
        assert!(idle().json().contains("\"sendrate_mbps\":null"));
    }

    #[test]
    fn the_root_as_base_is_one_slash() {
        let root = StatusReport { base: b"/".to_vec(), ..idle() };
        assert!(root.text().contains("basedir : /\n"));
    }
}
