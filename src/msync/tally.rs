//! What the transfers of one call came to, in all and on each host.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use crate::console::reply::{CheckCount, DELETE_ERROR, HostReport, HostStatus, Total};
use crate::name::HostName;

/// What all transfers came to.
#[derive(Default)]
pub struct Tally {
    /// Whether anything failed anywhere.
    pub failed: bool,
    /// Whether a transfer found nobody.
    pub alone: bool,
    /// All totals together; None if there was none.
    pub total: Option<Total>,
    hosts: Vec<HostReport>,
}

impl Tally {
    /// Adds the total of a transfer.
    pub fn add(&mut self, total: Total) {
        let sum = self.total.get_or_insert_default();
        sum.hosts = sum.hosts.max(total.hosts);
        sum.failed = sum.failed.max(total.failed);
        sum.files += total.files;
        sum.bytes += total.bytes;
        sum.unchanged += total.unchanged;
        sum.deleted += total.deleted;
        sum.errors += total.errors;
        sum.wire += total.wire;
        sum.time = sum.time + total.time;
    }

    /// Adds what a transfer came to on one host.
    pub fn host(&mut self, report: &HostReport) {
        let same =
            |known: &&mut HostReport| known.name == report.name && known.address == report.address;
        match self.hosts.iter_mut().find(same) {
            Some(known) => known.add(report),
            None => self.hosts.push(report.clone()),
        }
    }

    /// A host that takes part, of a daemon that tells nothing of each host.
    pub fn expect(&mut self, name: HostName, address: Ipv4Addr) {
        self.host(&HostReport::new(name, address));
    }

    /// Learns from a line what it says of a host, for a daemon that tells nothing else. Hosts of one
    /// name are counted as the first of them.
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
                return;
            }
        }
        let trouble = line.strip_prefix("error: ");
        let deletion = line.strip_prefix(DELETE_ERROR);
        let Some(text) = trouble.or(deletion) else { return };
        for start in ["receive time out: ", "member exit: ", "pong time out: "] {
            let host = text.strip_prefix(start).and_then(|rest| rest.split_once('('));
            let name = host.and_then(|(_, name)| name.strip_suffix(')'));
            if let Some(host) = name.and_then(|name| self.named(name)) {
                host.status = HostStatus::Timeout;
                host.error("", start.trim_end_matches(": "));
                return;
            }
        }
        // The words of the error have no colon, so that the first one is after the host's name.
        let Some((before, path)) = text.split_once(':') else { return };
        let Some((why, name)) = before.rsplit_once(' ') else { return };
        if let Some(host) = self.named(name) {
            host.status = host.status.max(HostStatus::Failed);
            let why = if deletion.is_some() { why.trim_end_matches(')') } else { why };
            host.error(path, why);
        }
    }

    fn named(&mut self, name: &str) -> Option<&mut HostReport> {
        self.hosts.iter_mut().find(|host| host.name.as_str() == name)
    }

    /// The lines of JSON: one for each host, by name, and one for the whole.
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
        self.hosts.sort_by(|a, b| (&a.name, a.address).cmp(&(&b.name, b.address)));
        let mut lines: Vec<String> = self.hosts.iter().map(HostReport::json).collect();
        lines.push(total.json());
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HostName {
        HostName::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_an_old_daemons_lines_tell() {
        let mut tally = Tally::default();
        for at in 1..=4 {
            tally.expect(name(&format!("web{at}")), Ipv4Addr::new(10, 0, 0, at));
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
            tally.learn(line.as_bytes());
        }
        let find = |at: usize| &tally.hosts[at - 1];
        let web1 = find(1);
        assert_eq!((web1.files, web1.unchanged, web1.deleted), (2, 1, 1));
        assert_eq!((web1.status, web1.check.unwrap().ok), (HostStatus::Ok, 1));
        assert!(web1.errors.is_empty());
        assert_eq!(find(2).status, HostStatus::ReadOnly);
        let web3 = find(3);
        let errors = [("a b", "Permission denied"), ("x", "Directory not empty")];
        assert_eq!(web3.errors, errors.map(|(path, why)| (path.to_owned(), why.to_owned())));
        assert_eq!((web3.status, web3.check.unwrap().ng), (HostStatus::Failed, 1));
        assert_eq!(find(4).status, HostStatus::Timeout);
        let lines = tally.json();
        assert_eq!(lines.len(), 5);
        assert!(lines[4].starts_with(r#"{"type":"total","hosts":4,"failed":3,"files":2,"#));
    }

    #[test]
    fn one_line_for_each_host_whatever_the_number_of_transfers() {
        let mut tally = Tally::default();
        let mut report = HostReport::new(name("b"), Ipv4Addr::new(10, 0, 0, 2));
        report.files = 1;
        tally.host(&report);
        tally.host(&report);
        tally.host(&HostReport::new(name("a"), Ipv4Addr::new(10, 0, 0, 1)));
        tally.host(&HostReport::new(name("b"), Ipv4Addr::new(10, 0, 0, 3)));
        tally.add(Total { hosts: 3, files: 1, ..Total::default() });
        tally.add(Total { hosts: 3, files: 1, ..Total::default() });
        let lines = tally.json();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].contains(r#""name":"a""#));
        assert!(lines[1].contains(r#""address":"10.0.0.2","status":"ok","files":2,"#));
        assert!(lines[3].contains(r#""hosts":3,"failed":0,"files":2,"#));
    }
}
