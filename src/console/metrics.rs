//! The answer to `metrics`: the figures of a daemon in the text format of Prometheus, version 0.0.4.
//!
//! Each family has its HELP and its TYPE, also while it has no sample: a figure that is not known is not there.
#![forbid(unsafe_code)]

use std::fmt::{self, Display, Write as _};

use super::mirror_row::MirrorRow;
use super::status_report::Dropped;
use crate::time::Span;

/// How a transfer ended that was to change something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// All of it is where it was to be.
    Complete,
    /// Not all of it.
    Incomplete,
    /// It was given up.
    Aborted,
    /// It did not begin.
    Refused,
}

/// The values of the label `result`, in the order of [`Ended`].
const RESULTS: [&str; 4] = ["complete", "incomplete", "aborted", "refused"];

/// What the transfers of one direction came to so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Moved {
    /// How many have ended, by [`Ended`].
    pub ended: [u64; RESULTS.len()],
    /// Files that they have written.
    pub files: u64,
    /// The bytes of these.
    pub bytes: u64,
}

/// A transfer that was complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Completed {
    /// When it ended, in milliseconds since 1970.
    pub at: u64,
    /// How long it took.
    pub took: Span,
}

/// A directory that is watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchFigures {
    /// As messages show it.
    pub path: String,
    /// Directories in it.
    pub directories: u64,
    /// Names that have changed and are not sent yet.
    pub pending: u64,
    /// Deletions that are held back.
    pub held: u64,
}

/// The figures of a daemon that runs.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Metrics {
    /// Its version.
    pub version: String,
    /// When it was started, in seconds since 1970.
    pub started: i64,
    /// The other members.
    pub members: u64,
    /// Hosts that are known and no members now.
    pub away: u64,
    /// Hosts that lack something, this one included.
    pub behind: u64,
    /// Transfers from this host.
    pub out: Moved,
    /// The last of them that was complete, and that somebody has asked for here.
    pub last: Option<Completed>,
    /// Transfers to this host.
    pub into: Moved,
    /// Bytes of packets that were sent.
    pub wire_sent: u64,
    /// Bytes of packets that were received.
    pub wire_received: u64,
    /// Bytes of packets that carried blocks once more.
    pub repaired: u64,
    /// Packets that were dropped.
    pub dropped: Dropped,
    /// The room that is left for the base directory, if that is known.
    pub free: Option<u64>,
    /// What is watched.
    pub watches: Vec<WatchFigures>,
    /// How many watches were refused.
    pub refused: u64,
    /// What is mirrored.
    pub mirrors: Vec<MirrorRow>,
}

/// How a value changes.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// The text, family by family.
struct Text(String);

impl Text {
    fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // A String takes any write.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { text: &mut self.0, name }
    }

    /// A family with one sample, or none if it is not known.
    fn one<V: Display>(&mut self, name: &'static str, kind: Kind, help: &str, value: Option<V>) {
        let mut family = self.family(name, kind, help);
        value.into_iter().for_each(|value| family.sample(&[], value));
    }
}

/// The samples of a family.
struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}=\"{}\"", Label(value))).collect();
        let labels = match labels.as_slice() {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.text, "{}{labels} {value}", self.name);
    }
}

/// The value of a label, escaped.
struct Label<'a>(&'a str);

impl Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

const UP: (&str, &str) = ("makuosan_up", "Whether the daemon runs: 0 after it was stopped.");

/// What is left of a daemon that has stopped.
pub fn stopped() -> String {
    let mut text = Text(String::new());
    text.one(UP.0, Kind::Gauge, UP.1, Some(0));
    text.0
}

impl Metrics {
    /// The text, with its last newline.
    pub fn text(&self) -> String {
        use Kind::{Counter, Gauge};
        let mut text = Text(String::new());
        text.one(UP.0, Gauge, UP.1, Some(1));
        text.family("makuosan_build_info", Gauge, "The version of the daemon, always 1.")
            .sample(&[("version", &self.version)], 1);
        let help = "When the daemon was started, in seconds since 1970.";
        text.one("makuosan_start_time_seconds", Gauge, help, Some(self.started));
        let help = "Other hosts that are members of the group now.";
        text.one("makuosan_members", Gauge, help, Some(self.members));
        let help = "Hosts that are known and not members now.";
        text.one("makuosan_hosts_away", Gauge, help, Some(self.away));
        let help = "Hosts that lack something that was sent, this one included.";
        text.one("makuosan_hosts_behind", Gauge, help, Some(self.behind));
        self.transfers(&mut text);
        let help = "Bytes of packets of the group, by direction.";
        let mut family = text.family("makuosan_wire_bytes_total", Counter, help);
        family.sample(&[("direction", "sent")], self.wire_sent);
        family.sample(&[("direction", "received")], self.wire_received);
        let help = "Bytes of packets that were sent once more, because a host had not got them.";
        text.one("makuosan_repaired_bytes_total", Counter, help, Some(self.repaired));
        let help = "Packets that were received and dropped, by reason.";
        let mut family = text.family("makuosan_packets_dropped_total", Counter, help);
        for (reason, packets) in self.dropped.named() {
            family.sample(&[("reason", &reason.replace(' ', "_"))], packets);
        }
        let help = "Bytes that the daemon can still write below its base directory.";
        text.one("makuosan_base_free_bytes", Gauge, help, self.free);
        self.watching(&mut text);
        self.mirroring(&mut text);
        text.0
    }

    fn transfers(&self, text: &mut Text) {
        use Kind::{Counter, Gauge};
        let roles = [("sender", &self.out), ("receiver", &self.into)];
        let help = "Transfers that are over, by the part of this host and their result; not dry runs and checks.";
        let mut family = text.family("makuosan_transfers_total", Counter, help);
        for (role, moved) in roles {
            for (result, count) in RESULTS.iter().zip(moved.ended) {
                family.sample(&[("role", role), ("result", result)], count);
            }
        }
        let help = "Files that transfers have written: each once at its sender, whatever the number of hosts.";
        let mut family = text.family("makuosan_files_total", Counter, help);
        roles.iter().for_each(|(role, moved)| family.sample(&[("role", role)], moved.files));
        let help = "Bytes of the files that transfers have written.";
        let mut family = text.family("makuosan_bytes_total", Counter, help);
        roles.iter().for_each(|(role, moved)| family.sample(&[("role", role)], moved.bytes));
        let at = self.last.map(|last| Seconds(last.at * 1_000));
        let help = "When the last transfer that was asked for here, and is complete, ended.";
        text.one("makuosan_last_complete_send_timestamp_seconds", Gauge, help, at);
        let took = self.last.map(|last| Seconds(last.took.micros()));
        let help = "How long the last transfer took that was asked for here, and is complete.";
        text.one("makuosan_last_complete_send_duration_seconds", Gauge, help, took);
    }

    fn watching(&self, text: &mut Text) {
        use Kind::Gauge;
        let watches = Some(self.watches.len());
        text.one("makuosan_watches", Gauge, "Trees that are watched.", watches);
        let help = "Trees that were to be watched, and are not.";
        text.one("makuosan_watches_refused", Gauge, help, Some(self.refused));
        type Figure = fn(&WatchFigures) -> u64;
        let families: [(&'static str, &str, Figure); 3] = [
            ("makuosan_watched_directories", "Directories that are watched.", |w| w.directories),
            ("makuosan_pending_changes", "Names that have changed and are not sent yet.", |w| {
                w.pending
            }),
            ("makuosan_held_deletions", "Deletions that wait until they are released.", |w| w.held),
        ];
        for (name, help, figure) in families {
            let mut family = text.family(name, Gauge, help);
            self.watches.iter().for_each(|w| family.sample(&[("path", &w.path)], figure(w)));
        }
    }

    fn mirroring(&self, text: &mut Text) {
        type Figure = fn(&MirrorRow) -> u64;
        let families: [(&'static str, &str, Figure); 6] = [
            (
                "makuosan_conflicts",
                "Paths of a mirror with versions that do not have the name.",
                |m| m.conflicts,
            ),
            ("makuosan_mirror_paths", "Paths of a mirror.", |m| m.entries),
            (
                "makuosan_mirror_listed_paths",
                "Paths that wait until somebody decides whether they are adopted.",
                |m| m.listed,
            ),
            ("makuosan_mirror_lacking_paths", "Paths of which the contents are not here.", |m| {
                m.lacking
            }),
            (
                "makuosan_mirror_settled",
                "Whether it has compared with others since the start.",
                |m| m.settled.into(),
            ),
            ("makuosan_mirror_stopped", "Whether it stands still until it is released.", |m| {
                m.stopped.is_some().into()
            }),
        ];
        for (name, help, figure) in families {
            let mut family = text.family(name, Kind::Gauge, help);
            self.mirrors.iter().for_each(|m| family.sample(&[("path", &m.path)], figure(m)));
        }
        let help = "How long a host has not been equal, by its name; 0 if it is.";
        let mut family = text.family("makuosan_mirror_apart_seconds", Kind::Gauge, help);
        for mirror in &self.mirrors {
            for peer in &mirror.peers {
                let labels = [("path", mirror.path.as_str()), ("host", &peer.host)];
                family.sample(&labels, peer.apart.map_or(0, |span| span.millis() / 1_000));
            }
        }
    }
}

/// Microseconds, in seconds.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::mirror_row::PeerRow;

    fn peer(host: &str, apart: Option<u64>) -> PeerRow {
        let (host, apart) = (host.to_owned(), apart.map(Span::from_secs));
        PeerRow { host, apart, settled: true, held: false, stopped: false, lacks: false }
    }

    fn busy() -> Metrics {
        Metrics {
            version: "2.0.0".to_owned(),
            started: 1_000,
            members: 2,
            away: 1,
            behind: 3,
            out: Moved { ended: [7, 1, 0, 2], files: 40, bytes: 5_000 },
            last: Some(Completed { at: 1_700_000_000_250, took: Span::from_millis(12) }),
            into: Moved { ended: [4, 0, 5, 0], files: 9, bytes: 8 },
            wire_sent: 6_000,
            wire_received: 700,
            repaired: 90,
            dropped: Dropped { damaged: 3, other_key: 4, ..Dropped::default() },
            free: Some(1 << 40),
            watches: vec![
                WatchFigures { path: "htdocs".to_owned(), directories: 3, pending: 2, held: 1 },
                WatchFigures {
                    path: "a \"b\"\\012\n日".to_owned(),
                    directories: 1,
                    pending: 0,
                    held: 0,
                },
            ],
            refused: 1,
            mirrors: vec![MirrorRow {
                path: "up".to_owned(),
                settled: true,
                stopped: None,
                away: Vec::new(),
                entries: 9,
                conflicts: 5,
                listed: 4,
                held: 3,
                held_here: 0,
                lacking: 2,
                indexes: 2,
                failed: None,
                peers: vec![peer("web2", None), peer("web3", Some(70))],
            }],
        }
    }

    /// The names, kinds and samples of a text, which it checks to be sound.
    fn families(text: &str) -> Vec<(String, String, Vec<String>)> {
        let mut families: Vec<(String, String, Vec<String>)> = Vec::new();
        let mut help = None;
        assert!(text.ends_with('\n') && !text.contains("\n\n"));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, said) = rest.split_once(' ').unwrap();
                assert!(said.ends_with('.') && help.replace(name).is_none(), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(help.take(), Some(name), "{line}");
                assert!(families.iter().all(|(known, ..)| known != name), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                families.push((name.to_owned(), kind.to_owned(), Vec::new()));
            } else {
                let (name, _, samples) = families.last_mut().unwrap();
                let rest = line.strip_prefix(name.as_str()).unwrap();
                let (labels, value) = rest.rsplit_once(' ').unwrap();
                assert!(labels.is_empty() || labels.starts_with('{') && labels.ends_with('}'));
                assert!(value.parse::<f64>().unwrap() >= 0.0, "{line}");
                assert!(!samples.iter().any(|one| one.starts_with(&format!("{labels} "))));
                samples.push(rest.to_owned());
            }
        }
        families
    }

    #[test]
    fn every_family_has_its_help_its_type_and_its_samples() {
        let text = busy().text();
        let families = families(&text);
        let samples = |name: &str| {
            let found = families.iter().find(|(known, ..)| known == name);
            found.unwrap_or_else(|| panic!("{name}: {text}")).2.join("\n")
        };
        assert_eq!(samples("makuosan_up"), " 1");
        assert_eq!(samples("makuosan_build_info"), "{version=\"2.0.0\"} 1");
        assert_eq!(samples("makuosan_start_time_seconds"), " 1000");
        assert_eq!(samples("makuosan_members"), " 2");
        assert_eq!(samples("makuosan_hosts_away"), " 1");
        assert_eq!(samples("makuosan_hosts_behind"), " 3");
        assert_eq!(
            samples("makuosan_transfers_total"),
            "{role=\"sender\",result=\"complete\"} 7\n{role=\"sender\",result=\"incomplete\"} 1\n\
             {role=\"sender\",result=\"aborted\"} 0\n{role=\"sender\",result=\"refused\"} 2\n\
             {role=\"receiver\",result=\"complete\"} 4\n{role=\"receiver\",result=\"incomplete\"} 0\n\
             {role=\"receiver\",result=\"aborted\"} 5\n{role=\"receiver\",result=\"refused\"} 0"
        );
        assert_eq!(samples("makuosan_files_total"), "{role=\"sender\"} 40\n{role=\"receiver\"} 9");
        assert_eq!(
            samples("makuosan_bytes_total"),
            "{role=\"sender\"} 5000\n{role=\"receiver\"} 8"
        );
        assert_eq!(
            samples("makuosan_wire_bytes_total"),
            "{direction=\"sent\"} 6000\n{direction=\"received\"} 700"
        );
        assert_eq!(samples("makuosan_repaired_bytes_total"), " 90");
        let dropped = samples("makuosan_packets_dropped_total");
        assert!(dropped.contains("{reason=\"other_key\"} 4\n"), "{dropped}");
        assert_eq!(dropped.lines().count(), 7);
        let at = "makuosan_last_complete_send_timestamp_seconds";
        assert_eq!(samples(at), " 1700000000.250000");
        assert_eq!(samples("makuosan_last_complete_send_duration_seconds"), " 0.012000");
        assert_eq!(samples("makuosan_base_free_bytes"), " 1099511627776");
        assert_eq!(samples("makuosan_watches"), " 2");
        assert_eq!(samples("makuosan_watches_refused"), " 1");
        assert_eq!(
            samples("makuosan_held_deletions"),
            "{path=\"htdocs\"} 1\n{path=\"a \\\"b\\\"\\\\012\\n日\"} 0"
        );
        let mirror = ["conflicts", "mirror_paths", "mirror_listed_paths", "mirror_lacking_paths"];
        let states = ["mirror_settled", "mirror_stopped"];
        for (name, value) in mirror.iter().chain(&states).zip([5, 9, 4, 2, 1, 0]) {
            assert_eq!(samples(&format!("makuosan_{name}")), format!("{{path=\"up\"}} {value}"));
        }
        let apart = samples("makuosan_mirror_apart_seconds");
        assert_eq!(apart, "{path=\"up\",host=\"web2\"} 0\n{path=\"up\",host=\"web3\"} 70");
        assert_eq!(families.len(), 27);
    }

    #[test]
    fn what_is_not_known_has_no_sample() {
        let idle = Metrics::default().text();
        let without: Vec<String> = families(&idle)
            .into_iter()
            .filter_map(|(name, _, samples)| samples.is_empty().then_some(name))
            .collect();
        assert_eq!(
            without,
            [
                "makuosan_last_complete_send_timestamp_seconds",
                "makuosan_last_complete_send_duration_seconds",
                "makuosan_base_free_bytes",
                "makuosan_watched_directories",
                "makuosan_pending_changes",
                "makuosan_held_deletions",
                "makuosan_conflicts",
                "makuosan_mirror_paths",
                "makuosan_mirror_listed_paths",
                "makuosan_mirror_lacking_paths",
                "makuosan_mirror_settled",
                "makuosan_mirror_stopped",
                "makuosan_mirror_apart_seconds",
            ]
        );
    }

    #[test]
    fn a_daemon_that_has_stopped_says_no_more_than_that() {
        let text = stopped();
        assert_eq!(families(&text).len(), 1);
        assert!(text.ends_with("\nmakuosan_up 0\n") && busy().text().starts_with(&text[..20]));
    }
}
