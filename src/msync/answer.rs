//! Parsing the daemon's lines during a transfer.
#![forbid(unsafe_code)]

use crate::console::absent::Absent;
use crate::console::error::{self, ErrorReport};
use crate::console::reply::{Difference, HostReport, Progress, Total};

use super::old;

/// What the daemon supports beyond the oldest version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Daemon {
    /// It knows `progress`, double quotes, and many hosts at once.
    pub new: bool,
    /// It was told `report on`: it reports each host, and each error, in JSON.
    pub reports: bool,
}

/// The kind of a line, with its contents where they are needed.
#[derive(PartialEq, Eq, Debug)]
pub enum Answer {
    /// A text line about an error.
    Error,
    /// The error of the preceding [`Answer::Error`] line in the form for programs.
    Report(ErrorReport),
    /// The progress of the transfer.
    Progress(Progress),
    /// The result of the transfer.
    Total(Total),
    /// The result of the transfer on one host.
    Host(HostReport),
    /// A known host that the transfer did not reach.
    Absent(Absent),
    /// A text line of a `check` about a difference.
    Differs(Difference),
    /// The difference of the preceding [`Answer::Differs`] line in the form for programs.
    Difference(Difference),
    /// Anything else.
    Other,
}

impl Answer {
    /// Parses a line; `checks`: the command is a `check`.
    pub fn read(line: &[u8], daemon: Daemon, checks: bool) -> Answer {
        if error::is_error(line) || (!daemon.new && old::is_unknown_host(line)) {
            return Answer::Error;
        }
        if daemon.new {
            if let Some(progress) = Progress::parse(line) {
                return Answer::Progress(progress);
            }
            if let Some(total) = Total::parse(line) {
                return Answer::Total(total);
            }
            if let Some(absent) = Absent::parse(line) {
                return Answer::Absent(absent);
            }
        }
        if daemon.reports {
            if let Some(report) = HostReport::parse(line) {
                return Answer::Host(report);
            }
            if let Some(report) = ErrorReport::parse(line) {
                return Answer::Report(report);
            }
            if let Some(found) = Difference::parse(line) {
                return Answer::Difference(found);
            }
        }
        let found = if checks { Difference::parse_line(line) } else { None };
        found.map_or(Answer::Other, Answer::Differs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_the_daemon_can_mean_by_them() {
        let old = Daemon { new: false, reports: false };
        let new = Daemon { new: true, reports: false };
        let reports = Daemon { new: true, reports: true };
        let read = |line: &str, daemon| Answer::read(line.as_bytes(), daemon, false);
        for daemon in [old, new, reports] {
            for line in ["error: x", "mexec: command error 'x'", "delete error (x) a:b"] {
                assert_eq!(read(line, daemon), Answer::Error, "{line}");
            }
            assert_eq!(read("update a:b", daemon), Answer::Other);
            for line in ["a: NG b", "a: attr b", "a: extra b"] {
                let read = Answer::read(line.as_bytes(), daemon, true);
                assert!(matches!(read, Answer::Differs(found) if found.line() == line));
            }
            assert_eq!(Answer::read(b"a: NG b", daemon, false), Answer::Other);
        }
        assert_eq!(read("x is not contained in members", old), Answer::Error);
        assert_eq!(read("update h:x is not contained in members", new), Answer::Other);
        let total = "total hosts=1";
        assert_eq!(read(total, old), Answer::Other);
        assert!(matches!(read(total, new), Answer::Total(total) if total.hosts == 1));
        assert!(matches!(read("progress 1 2 3 4 5 6", new), Answer::Progress(_)));
        let object = "error {\"error\":\"x\",\"code\":\"ENOENT\"}";
        assert_eq!(read(object, new), Answer::Other);
        assert!(matches!(read(object, reports), Answer::Report(report) if report.code == "ENOENT"));
        let host = "host {\"name\":\"a\",\"address\":\"10.0.0.1\",\"status\":\"ok\"}";
        assert!(matches!(read(host, reports), Answer::Host(_)));
        assert_eq!(read(host, new), Answer::Other);
        let object = r#"absent {"name":"a","address":"10.0.0.1","why":"away","later":true}"#;
        assert_eq!(read(object, old), Answer::Other);
        assert!(matches!(read(object, new), Answer::Absent(absent) if absent.later));
        let object = r#"differs {"type":"difference","host":"a","path":"b","what":"extra"}"#;
        assert_eq!(read(object, new), Answer::Other);
        assert!(matches!(read(object, reports), Answer::Difference(_)));
    }
}
