//! The results of all transfers of one call, in total and for each host.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use super::old;
use crate::console::absent::Absent;
use crate::console::error::{Code, ErrorReport};
use crate::console::reply::{CheckCount, HostReport, HostStatus, Total};
use crate::count::counted;
use crate::name::HostName;

/// The most errors, apart from those in reports of hosts; further ones are only counted.
const MOST_ERRORS: usize = 1_000;

/// An error.
#[derive(Debug)]
enum Known {
    /// Its text line; it is interpreted when the names of all hosts are known.
    Line(Vec<u8>),
    Report(ErrorReport),
}

/// The results of all transfers.
#[derive(Default)]
pub struct Summary {
    /// Whether anything failed anywhere.
    pub failed: bool,
    /// Whether a path was refused as such, so that nothing was tried with it.
    pub refused: bool,
    /// Whether `-t` named a host that is no member.
    pub unknown_host: bool,
    /// The line of a script that is carried out, as messages about it begin.
    pub place: String,
    /// Whether a transfer had no members to send to.
    pub alone: bool,
    /// Whether such a transfer left no record, so that hosts that come later do not get it.
    pub lost: bool,
    /// The sum of all totals; None if there was none.
    pub total: Option<Total>,
    /// The known hosts that a transfer did not reach.
    pub absent: Vec<Absent>,
    hosts: Vec<HostReport>,
    errors: Vec<Known>,
    /// Further errors.
    more_errors: u64,
}

impl Summary {
    /// Adds the total of a transfer.
    pub fn add(&mut self, total: Total) {
        let sum = self.total.get_or_insert(Total { recorded: true, ..Total::default() });
        sum.hosts = sum.hosts.max(total.hosts);
        sum.failed = sum.failed.max(total.failed);
        sum.files += total.files;
        sum.bytes += total.bytes;
        sum.unchanged += total.unchanged;
        sum.deleted += total.deleted;
        sum.errors += total.errors;
        sum.wire += total.wire;
        sum.time = sum.time + total.time;
        sum.recorded &= total.recorded;
        sum.known = sum.known.max(total.known);
        sum.absent = sum.absent.max(total.absent);
    }

    /// Adds an error by its text line.
    pub fn error_line(&mut self, line: &[u8]) {
        self.add_error(Known::Line(line.to_vec()));
    }

    /// Adds an error.
    pub fn error(&mut self, report: ErrorReport) {
        self.add_error(Known::Report(report));
    }

    /// Replaces the last error, if it was added by its text line, by its form for programs.
    pub fn error_was(&mut self, report: ErrorReport) {
        match self.errors.last_mut() {
            Some(last @ Known::Line(_)) if self.more_errors == 0 => *last = Known::Report(report),
            _ => {}
        }
    }

    fn add_error(&mut self, error: Known) {
        if self.errors.len() < MOST_ERRORS {
            self.errors.push(error);
        } else {
            self.more_errors += 1;
        }
    }

    /// Adds the result of a transfer on one host.
    pub fn host(&mut self, report: &HostReport) {
        let mut report = report.clone();
        for error in report.errors.iter_mut().filter(|error| error.code.is_empty()) {
            error.code = old::code_of(&error.error).to_string();
        }
        let same =
            |known: &&mut HostReport| known.name == report.name && known.address == report.address;
        match self.hosts.iter_mut().find(same) {
            Some(known) => known.add(&report),
            None => self.hosts.push(report),
        }
    }

    /// Adds a known host that a transfer did not reach.
    pub fn is_absent(&mut self, host: Absent) {
        let same = |known: &&mut Absent| known.name == host.name && known.address == host.address;
        match self.absent.iter_mut().find(same) {
            Some(known) => known.later &= host.later,
            None => self.absent.push(host),
        }
    }

    /// Adds a host that takes part, for a daemon that does not report hosts.
    pub fn expect(&mut self, name: HostName, address: Ipv4Addr) {
        self.host(&HostReport::new(name, address));
    }

    /// Counts what a line, other than an error, says about a host, for a daemon that does not
    /// report hosts. Hosts of the same name are counted as the first of them.
    pub fn learn(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.strip_prefix("(dryrun) ").unwrap_or(&line);
        for (start, what) in [
            ("update ", (|host| host.files += 1) as fn(&mut HostReport)),
            ("delete ", |host| host.deleted += 1),
            ("skip   ", |host| host.unchanged += 1),
            ("skipro ", |host| host.status = host.status.max(HostStatus::ReadOnly)),
        ] {
            let named = line.strip_prefix(start).and_then(|rest| rest.split_once(':'));
            if let Some(host) = named.and_then(|(name, _)| self.named(name)) {
                return what(host);
            }
        }
        if let Some((name, rest)) = line.split_once(": ") {
            if let Some(host) = self.named(name) {
                let count = host.check.get_or_insert_with(CheckCount::default);
                if rest.starts_with("OK ") {
                    count.ok += 1;
                } else if rest.starts_with("NG ") {
                    count.ng += 1;
                    host.status = host.status.max(HostStatus::Failed);
                }
            }
        }
    }

    /// The same for an error line.
    pub fn learn_error(&mut self, line: &[u8]) {
        let report = old::error(line, |name| self.hosts.iter().any(|h| h.name.as_str() == name));
        let gone = [Code::Timeout, Code::Left].iter().any(|code| code.to_string() == report.code);
        let status = if gone { HostStatus::Timeout } else { HostStatus::Failed };
        match self.named(&report.host) {
            Some(host) => {
                host.status = host.status.max(status);
                host.error(report);
            }
            None => self.error(report),
        }
    }

    fn named(&mut self, name: &str) -> Option<&mut HostReport> {
        self.hosts.iter_mut().find(|host| host.name.as_str() == name)
    }

    /// The errors that are not in a host's report, as lines of JSON.
    fn error_lines(&self) -> Vec<String> {
        let is_host = |name: &str| self.hosts.iter().any(|host| host.name.as_str() == name);
        let mut lines = Vec::new();
        for error in &self.errors {
            let report = match error {
                Known::Line(line) => old::error(line, is_host),
                Known::Report(report) => report.clone(),
            };
            if !is_host(&report.host) {
                lines.push(report.json_line());
            }
        }
        if self.more_errors > 0 {
            let more = counted(self.more_errors, "more error");
            lines.push(ErrorReport::new(Code::MoreErrors, more).json_line());
        }
        lines
    }

    /// The lines of JSON: one for each error, one for each host, by name, and the total.
    pub fn json(mut self) -> Vec<String> {
        let total = self.total.unwrap_or_else(|| Total {
            hosts: self.hosts.len() as u64,
            failed: self.hosts.iter().filter(|host| host.status != HostStatus::Ok).count() as u64,
            files: self.hosts.iter().map(|host| host.files).max().unwrap_or(0),
            unchanged: self.hosts.iter().map(|host| host.unchanged).min().unwrap_or(0),
            deleted: self.hosts.iter().map(|host| host.deleted).max().unwrap_or(0),
            errors: self.hosts.iter().map(|h| h.errors.len() as u64 + h.more_errors).sum(),
            ..Total::default()
        });
        let mut lines = self.json_so_far();
        lines.push(total.json());
        lines
    }

    /// The same without the total, for transfers that were cut off.
    pub fn json_so_far(&mut self) -> Vec<String> {
        let mut lines = self.error_lines();
        self.hosts.sort_by(|a, b| (&a.name, a.address).cmp(&(&b.name, b.address)));
        lines.extend(self.hosts.iter().map(HostReport::json));
        lines.extend(self.absent.iter().map(Absent::json));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::error::is_error;

    fn name(text: &str) -> HostName {
        HostName::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_an_old_daemons_lines_tell() {
        let mut summary = Summary::default();
        for at in 1..=4 {
            summary.expect(name(&format!("web{at}")), Ipv4Addr::new(10, 0, 0, at));
        }
        for line in [
            "update web1:a: b",
            "(dryrun) update web1:c",
            "skip   web1:d",
            "delete web1:e",
            "web1: OK a",
            "skipro web2:a",
            "error: Permission denied web3:a b",
            "delete error (Directory not empty) web3:x",
            "web3: NG y",
            "error: receive time out: 10.0.0.4(web4)",
            "error: No such file or directory web1",
            "error: No such file or directory x",
            "update web9:a",
            "web",
            "",
        ] {
            match is_error(line.as_bytes()) {
                true => summary.learn_error(line.as_bytes()),
                false => summary.learn(line.as_bytes()),
            }
        }
        let find = |at: usize| &summary.hosts[at - 1];
        let web1 = find(1);
        assert_eq!((web1.files, web1.unchanged, web1.deleted), (2, 1, 1));
        assert_eq!((web1.status, web1.check.unwrap().ok), (HostStatus::Ok, 1));
        assert!(web1.errors.is_empty());
        assert_eq!(find(2).status, HostStatus::ReadOnly);
        let web3 = find(3);
        let errors = [("a b", "Permission denied"), ("x", "Directory not empty")];
        let told = web3.errors.iter().map(|e| (e.path.as_str(), e.error.as_str()));
        assert_eq!(told.collect::<Vec<_>>(), errors);
        assert_eq!((web3.status, web3.check.unwrap().ng), (HostStatus::Failed, 1));
        assert_eq!(find(4).status, HostStatus::Timeout);
        let lines = summary.json();
        assert_eq!(lines.len(), 7);
        let here = |path: &str| {
            format!(
                "{{\"type\":\"error\",\"path\":\"{path}\",\
                 \"error\":\"No such file or directory\",\"host\":\"\",\"code\":\"ENOENT\"}}"
            )
        };
        assert_eq!(lines[..2], [here("web1"), here("x")]);
        assert!(lines[6].starts_with(r#"{"type":"total","hosts":4,"failed":3,"files":2,"#));
    }

    #[test]
    fn errors_that_no_host_has_are_lines_of_their_own() {
        let mut summary = Summary::default();
        let error = |code, text: &str| ErrorReport::new(code, text);
        summary.error_line(b"error: x");
        summary.error_was(error(Code::UnknownGroup, "x"));
        // What came without a line says nothing of the line before.
        summary.error_was(error(Code::Other, "y"));
        summary.error_line(b"error: Permission denied a:x");
        summary.error_line(b"error: Permission denied y");
        let mut report = HostReport::new(name("a"), Ipv4Addr::new(10, 0, 0, 1));
        report.error(ErrorReport { code: String::new(), ..error(Code::Other, "Is a directory") });
        summary.host(&report);
        let lines = summary.error_lines();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains(r#""error":"x","host":"","code":"unknown_group""#));
        assert!(
            lines[1]
                .contains(r#""path":"y","error":"Permission denied","host":"","code":"EACCES""#)
        );
        assert!(summary.json()[2].contains(r#""code":"EISDIR""#));
        let mut summary = Summary::default();
        (0..MOST_ERRORS + 7).for_each(|_| summary.error_line(b"error: x"));
        let lines = summary.error_lines();
        assert_eq!(lines.len(), MOST_ERRORS + 1);
        assert!(
            lines[MOST_ERRORS]
                .contains(r#""error":"7 more errors","host":"","code":"more_errors""#)
        );
    }

    #[test]
    fn one_line_for_each_host_whatever_the_number_of_transfers() {
        let mut summary = Summary::default();
        let mut report = HostReport::new(name("b"), Ipv4Addr::new(10, 0, 0, 2));
        report.files = 1;
        summary.host(&report);
        summary.host(&report);
        summary.host(&HostReport::new(name("a"), Ipv4Addr::new(10, 0, 0, 1)));
        summary.host(&HostReport::new(name("b"), Ipv4Addr::new(10, 0, 0, 3)));
        summary.add(Total { hosts: 3, files: 1, ..Total::default() });
        summary.add(Total { hosts: 3, files: 1, ..Total::default() });
        let lines = summary.json();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].contains(r#""name":"a""#));
        assert!(lines[1].contains(r#""address":"10.0.0.2","status":"ok","files":2,"#));
        assert!(lines[3].contains(r#""hosts":3,"failed":0,"files":2,"#));
    }
}
