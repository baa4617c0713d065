//! The result of a transfer on one host, as a line `host {JSON}` for programs.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::Ipv4Addr;

use super::error::ErrorReport;
use super::json::{Value, quoted};
use crate::name::HostName;

/// The most errors in one report; further ones are only counted.
const MOST_ERRORS: usize = 100;

/// The most bytes of text in the errors of one report, so that the line stays short enough.
const MOST_BYTES: usize = 64 << 10;

/// The result on a host, from best to worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum HostStatus {
    /// The host has everything.
    #[default]
    Ok,
    /// The host is read-only.
    ReadOnly,
    /// The host lacks something.
    Failed,
    /// The host refused to take part.
    Refused,
    /// The host stopped answering, or left.
    Timeout,
}

impl HostStatus {
    const ALL: [(HostStatus, &'static str); 5] = [
        (HostStatus::Ok, "ok"),
        (HostStatus::ReadOnly, "readonly"),
        (HostStatus::Failed, "failed"),
        (HostStatus::Refused, "refused"),
        (HostStatus::Timeout, "timeout"),
    ];

    fn parse(text: &str) -> Option<HostStatus> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(status, _)| *status)
    }
}

impl fmt::Display for HostStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.iter().find(|(status, _)| status == self);
        f.write_str(found.map_or("failed", |(_, name)| name))
    }
}

/// The result of a `check` on one host.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CheckCount {
    /// Files with the same contents.
    pub ok: u64,
    /// Files with other contents.
    pub ng: u64,
    /// Entries that only the host has.
    pub extra: u64,
    /// Entries with another mode, owner or time.
    pub attr: u64,
    /// Entries that could not be compared.
    pub errors: u64,
}

impl CheckCount {
    /// The line at level 1 at the end of a check.
    pub fn line(&self, host: &HostName) -> String {
        let CheckCount { ok, ng, extra, attr, errors } = self;
        format!("{host}: {ok} OK, {ng} NG, {extra} extra, {attr} attr, {errors} errors")
    }
}

/// The result of a transfer on one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostReport {
    /// Its name.
    pub name: HostName,
    /// Its address.
    pub address: Ipv4Addr,
    /// The overall result.
    pub status: HostStatus,
    /// Entries that were written there.
    pub files: u64,
    /// Bytes of their contents.
    pub bytes: u64,
    /// Entries that were up to date already.
    pub unchanged: u64,
    /// Entries that were deleted there.
    pub deleted: u64,
    /// Errors. Use [`HostReport::error`] to add one.
    pub errors: Vec<ErrorReport>,
    /// How many more errors there were.
    pub more_errors: u64,
    /// Counts of a `check`.
    pub check: Option<CheckCount>,
}

impl HostReport {
    /// An empty report.
    pub fn new(name: HostName, address: Ipv4Addr) -> HostReport {
        HostReport {
            name,
            address,
            status: HostStatus::Ok,
            files: 0,
            bytes: 0,
            unchanged: 0,
            deleted: 0,
            errors: Vec::new(),
            more_errors: 0,
            check: None,
        }
    }

    /// Adds an error, or only counts it if there are too many. Does not change the status.
    pub fn error(&mut self, error: ErrorReport) {
        let held: usize = self.errors.iter().map(ErrorReport::size).sum();
        if self.errors.len() < MOST_ERRORS && held + error.size() <= MOST_BYTES {
            self.errors.push(error);
        } else {
            self.more_errors += 1;
        }
    }

    /// Adds the result of another transfer on the same host.
    pub fn add(&mut self, other: &HostReport) {
        self.status = self.status.max(other.status);
        self.files += other.files;
        self.bytes += other.bytes;
        self.unchanged += other.unchanged;
        self.deleted += other.deleted;
        for error in &other.errors {
            self.error(error.clone());
        }
        self.more_errors += other.more_errors;
        if let Some(other) = other.check {
            let check = self.check.get_or_insert_default();
            check.ok += other.ok;
            check.ng += other.ng;
            check.extra += other.extra;
            check.attr += other.attr;
            check.errors += other.errors;
        }
    }

    /// The line.
    pub fn emit(&self) -> String {
        format!("host {}", self.json())
    }

    /// As an object of JSON.
    pub fn json(&self) -> String {
        let errors: Vec<String> = self.errors.iter().map(ErrorReport::json).collect();
        let check = self.check.map_or_else(String::new, |check| {
            let CheckCount { ok, ng, extra, attr, errors } = check;
            format!(
                ",\"check\":{{\"ok\":{ok},\"ng\":{ng},\"extra\":{extra},\"attr\":{attr},\
                 \"errors\":{errors}}}"
            )
        });
        format!(
            "{{\"type\":\"host\",\"name\":{},\"address\":\"{}\",\"status\":\"{}\",\"files\":{},\
             \"bytes\":{},\"unchanged\":{},\"deleted\":{},\"errors\":[{}],\"more_errors\":{}{check}}}",
            quoted(self.name.as_str()),
            self.address,
            self.status,
            self.files,
            self.bytes,
            self.unchanged,
            self.deleted,
            errors.join(","),
            self.more_errors,
        )
    }

    /// Reads a line; None if it is another. Numbers that are missing are 0, an unknown status is
    /// [`HostStatus::Failed`], and what is unknown today is ignored.
    pub fn parse(line: &[u8]) -> Option<HostReport> {
        let text = std::str::from_utf8(line).ok()?.strip_prefix("host ")?;
        let read = Value::parse(text)?;
        let text = |value: &Value, name: &str| value.get(name)?.text().map(str::to_owned);
        let number = |value: &Value, name| value.get(name).and_then(Value::number).unwrap_or(0);
        let name = HostName::parse(text(&read, "name")?.as_bytes()).ok()?;
        let mut report = HostReport::new(name, text(&read, "address")?.parse().ok()?);
        let status = text(&read, "status")?;
        report.status = HostStatus::parse(&status).unwrap_or(HostStatus::Failed);
        report.files = number(&read, "files");
        report.bytes = number(&read, "bytes");
        report.unchanged = number(&read, "unchanged");
        report.deleted = number(&read, "deleted");
        report.more_errors = number(&read, "more_errors");
        for error in read.get("errors").map_or(&[][..], Value::list) {
            report.error(ErrorReport::read(error).of_host(&report.name));
        }
        report.check = read.get("check").map(|check| CheckCount {
            ok: number(check, "ok"),
            ng: number(check, "ng"),
            extra: number(check, "extra"),
            attr: number(check, "attr"),
            errors: number(check, "errors"),
        });
        Some(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::error::Code;

    fn report() -> HostReport {
        HostReport::new(HostName::parse(b"web1").unwrap(), Ipv4Addr::new(10, 0, 0, 1))
    }

    #[test]
    fn reports_go_both_ways() {
        let mut one = report();
        let plain = "host {\"type\":\"host\",\"name\":\"web1\",\"address\":\"10.0.0.1\",\
                     \"status\":\"ok\",\"files\":0,\"bytes\":0,\"unchanged\":0,\"deleted\":0,\
                     \"errors\":[],\"more_errors\":0}";
        assert_eq!(one.emit(), plain);
        assert_eq!(HostReport::parse(plain.as_bytes()), Some(one.clone()));
        let denied = ErrorReport::new(Code::Os(13), "Permission denied");
        one.error(denied.of_host("web1").of_path("a\\012"));
        (one.files, one.bytes, one.unchanged, one.deleted) = (1, 2, 3, 4);
        one.check = Some(CheckCount { ok: 5, ng: 6, extra: 7, attr: 8, errors: 9 });
        for (status, name) in HostStatus::ALL {
            one.status = status;
            assert!(one.emit().contains(&format!("\"status\":\"{name}\"")));
            assert_eq!(HostReport::parse(one.emit().as_bytes()), Some(one.clone()));
        }
        let new = plain.replace("\"ok\"", "\"odd\"").replace('}', ",\"new\":[1]}");
        assert_eq!(HostReport::parse(new.as_bytes()).unwrap().status, HostStatus::Failed);
        for other in ["host", "host {}", "host x", "host: OK a", "host {\"name\":\"a\"}"] {
            assert_eq!(HostReport::parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_report_stays_a_line() {
        let mut many = report();
        for at in 0..1_000 {
            many.error(ErrorReport::new(Code::Other, at));
        }
        assert_eq!((many.errors.len(), many.more_errors), (100, 900));
        let mut long = report();
        for _ in 0..100 {
            long.error(ErrorReport::new(Code::Other, "x".repeat(10_000)));
        }
        assert!(long.errors.len() == 6 && long.more_errors == 94 && long.emit().len() < 70_000);
    }

    #[test]
    fn two_transfers_make_one_report() {
        let mut sum = report();
        let other = HostReport {
            status: HostStatus::Failed,
            files: 1,
            bytes: 2,
            unchanged: 3,
            deleted: 4,
            errors: vec![ErrorReport::new(Code::Changed, "a")],
            more_errors: 5,
            check: Some(CheckCount { ok: 1, ng: 2, extra: 3, attr: 4, errors: 5 }),
            ..report()
        };
        sum.add(&other);
        assert_eq!(sum, other);
        sum.add(&report());
        assert_eq!(sum, other);
        sum.add(&other);
        assert_eq!((sum.files, sum.errors.len(), sum.more_errors), (2, 2, 10));
        assert_eq!(sum.check.unwrap().errors, 10);
    }

    #[test]
    fn counts_of_a_check() {
        let count = CheckCount { ok: 1, ng: 2, extra: 3, attr: 4, errors: 5 };
        let line = count.line(&report().name);
        assert_eq!(line, "web1: 1 OK, 2 NG, 3 extra, 4 attr, 5 errors");
    }
}
