//! The lines that answer: made here by the daemon, and, where a program reads them, read here too.
//!
//! No line has a newline at its end; [`super::Session`] adds it.
#![forbid(unsafe_code)]

pub use super::difference::{Difference, What};
use super::error::{ErrorLine, Shown};
pub use super::host::{CheckCount, HostReport, HostStatus};
use crate::count::counted;
use crate::name::{HostName, RelPath};
use crate::time::Span;

/// What the daemon writes, without a newline, when it will obey the next line.
pub const PROMPT: &[u8] = b"> ";

/// A line that a command is answered with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// A line for clients whose log level is at least this.
    Line(u8, String),
    /// What is wrong; for every client.
    Error(ErrorLine),
    /// What a `check` found.
    Differs(Difference),
}

impl Said {
    /// How many bytes its text has.
    pub fn size(&self) -> usize {
        match self {
            Said::Line(_, line) => line.len(),
            Said::Error(error) => error.line().len(),
            Said::Differs(found) => found.size(),
        }
    }
}

impl From<Difference> for Said {
    fn from(found: Difference) -> Said {
        Said::Differs(found)
    }
}

impl From<ErrorLine> for Said {
    fn from(error: ErrorLine) -> Said {
        Said::Error(error)
    }
}

/// A path as lines and JSON show it.
pub fn shown(path: &RelPath) -> String {
    Shown(path).to_string()
}

/// Level 1: a member's copy was (or, in a dry run, would be) written.
pub fn update(host: &HostName, path: &RelPath, dry_run: bool) -> String {
    format!("{}update {host}:{}", dry(dry_run), Shown(path))
}

/// Level 2: a member's copy is as it should be.
pub fn skip(host: &HostName, path: &RelPath) -> String {
    format!("skip   {host}:{}", Shown(path))
}

/// Level 3: a member is read-only.
pub fn skip_readonly(host: &HostName, path: &RelPath) -> String {
    format!("skipro {host}:{}", Shown(path))
}

/// Level 0 in a dry run, only where the connection's level is 0: somebody's copy would be written.
pub fn would_update(path: &RelPath) -> String {
    format!("(dryrun) [update:{}]", Shown(path))
}

/// Level 1 (level 0 from `dsync`): a member's copy was (or, in a dry run, would be) deleted.
pub fn delete(host: &HostName, path: &RelPath, dry_run: bool) -> String {
    format!("{}delete {host}:{}", dry(dry_run), Shown(path))
}

/// Level 0 in a dry run, only where the connection's level is 0: somebody's copy would be deleted.
pub fn would_delete(path: &RelPath) -> String {
    format!("(dryrun) [delete:{}]", Shown(path))
}

/// Level 1: a member's copy has the same contents.
pub fn check_ok(host: &HostName, path: &RelPath) -> String {
    format!("{host}: OK {}", Shown(path))
}

fn dry(dry_run: bool) -> &'static str {
    if dry_run { "(dryrun) " } else { "" }
}

/// The progress of a transfer: a line `progress BYTES_DONE BYTES_TOTAL ENTRIES_DONE ENTRIES_TOTAL
/// HOSTS RATE`, about five times a second.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// Bytes of file contents that all hosts have that still take part.
    pub bytes_done: u64,
    /// Bytes in all; None (a `-` in the line) until the walk has found everything.
    pub bytes_total: Option<u64>,
    /// Entries that every host has.
    pub entries_done: u64,
    /// Entries in all; None until the walk has found everything.
    pub entries_total: Option<u64>,
    /// Hosts that take part.
    pub hosts: u32,
    /// The current rate in bytes per second.
    pub rate: u64,
}

impl Progress {
    /// The line.
    pub fn emit(&self) -> String {
        let total = |total: Option<u64>| total.map_or("-".to_owned(), |total| total.to_string());
        let (bytes, entries) = (total(self.bytes_total), total(self.entries_total));
        format!(
            "progress {} {bytes} {} {entries} {} {}",
            self.bytes_done, self.entries_done, self.hosts, self.rate
        )
    }

    /// Reads a line; None if it is another. A total of 0 counts as unknown, and more numbers than
    /// are known today are ignored.
    pub fn parse(line: &[u8]) -> Option<Progress> {
        let text = std::str::from_utf8(line).ok()?.strip_prefix("progress ")?;
        let mut words = text.split_ascii_whitespace();
        let mut number =
            || words.next().map(|word| if word == "-" { "0" } else { word })?.parse().ok();
        let known = |total: u64| (total != 0).then_some(total);
        Some(Progress {
            bytes_done: number()?,
            bytes_total: known(number()?),
            entries_done: number()?,
            entries_total: known(number()?),
            hosts: number()?.try_into().ok()?,
            rate: number()?,
        })
    }
}

/// How a watch fares: a line `watching DIRECTORIES PENDING HELD`, when that has changed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Watching {
    /// The watched directories.
    pub directories: u64,
    /// The names that have changed and are not sent yet.
    pub pending: u64,
    /// The deletions that are held back.
    pub held: u64,
}

impl Watching {
    /// The line.
    pub fn emit(&self) -> String {
        format!("watching {} {} {}", self.directories, self.pending, self.held)
    }

    /// Reads a line; None if it is another.
    pub fn parse(line: &[u8]) -> Option<Watching> {
        let text = std::str::from_utf8(line).ok()?.strip_prefix("watching ")?;
        let mut words = text.split_ascii_whitespace();
        let mut number = || words.next()?.parse().ok();
        Some(Watching { directories: number()?, pending: number()?, held: number()? })
    }

    /// For people.
    pub fn text(&self) -> String {
        let Watching { directories, pending, held } = *self;
        let directories = counted(directories, "directory");
        let pending = counted(pending, "change");
        let held = match held {
            0 => String::new(),
            held => format!(", {} held back", counted(held, "deletion")),
        };
        format!("watching {directories}, {pending} pending{held}")
    }
}

/// What a transfer came to: a line `total hosts=N failed=N …` at its end.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Total {
    /// Hosts that it was for; 0 if there was no member to send to.
    pub hosts: u64,
    /// Hosts that do not have everything: refused, left behind, or with an error of their own.
    pub failed: u64,
    /// Entries (files, directories, links, …) that were written on some host.
    pub files: u64,
    /// Bytes of the contents that were sent, each counted once whatever the number of hosts.
    pub bytes: u64,
    /// Entries that every host had already.
    pub unchanged: u64,
    /// Entries that were deleted on some host.
    pub deleted: u64,
    /// `error:` lines, those that were held back included.
    pub errors: u64,
    /// Bytes put on the wire: headers, repairs and all.
    pub wire: u64,
    /// From the first packet to the last answer.
    pub time: Span,
    /// Whether its sender keeps a record of it, so that hosts that come later can get it.
    pub recorded: bool,
    /// How many hosts that it was for are known, those that are absent included; None if that is not.
    pub known: Option<u32>,
    /// How many of these were not there.
    pub absent: u32,
}

impl Total {
    /// The line.
    pub fn emit(&self) -> String {
        let Total { hosts, failed, files, bytes, unchanged, deleted, errors, wire, .. } = self;
        let (micros, recorded) = (self.time.micros(), u8::from(self.recorded));
        let known = self
            .known
            .map_or(String::new(), |known| format!(" known={known} absent={}", self.absent));
        format!(
            "total hosts={hosts} failed={failed} files={files} bytes={bytes} unchanged={unchanged} \
             deleted={deleted} errors={errors} wire={wire} micros={micros} \
             recorded={recorded}{known}"
        )
    }

    /// As an object of JSON.
    pub fn json(&self) -> String {
        let Total { hosts, failed, files, bytes, unchanged, deleted, errors, wire, .. } = self;
        let (micros, recorded) = (self.time.micros(), self.recorded);
        let known = self.known.map_or(String::new(), |known| {
            format!(",\"known\":{known},\"absent\":{}", self.absent)
        });
        format!(
            "{{\"type\":\"total\",\"hosts\":{hosts},\"failed\":{failed},\"files\":{files},\
             \"bytes\":{bytes},\"unchanged\":{unchanged},\"deleted\":{deleted},\"errors\":{errors},\"wire\":{wire},\
             \"micros\":{micros},\"recorded\":{recorded}{known}}}"
        )
    }

    /// Reads a line; None if it is another. Keys may come in any order; what is missing is 0
    /// (except `hosts`, without which it is another line), and unknown keys are ignored.
    pub fn parse(line: &[u8]) -> Option<Total> {
        let text = std::str::from_utf8(line).ok()?.strip_prefix("total ")?;
        let mut total = Total::default();
        let mut hosts = false;
        for word in text.split_ascii_whitespace() {
            let (key, value) = word.split_once('=')?;
            let value: u64 = value.parse().ok()?;
            match key {
                "hosts" => (total.hosts, hosts) = (value, true),
                "failed" => total.failed = value,
                "files" => total.files = value,
                "bytes" => total.bytes = value,
                "unchanged" => total.unchanged = value,
                "deleted" => total.deleted = value,
                "errors" => total.errors = value,
                "wire" => total.wire = value,
                "micros" => total.time = Span::from_micros(value),
                "recorded" => total.recorded = value > 0,
                "known" => total.known = Some(u32::try_from(value).ok()?),
                "absent" => total.absent = u32::try_from(value).ok()?,
                _ => {}
            }
        }
        hosts.then_some(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_clients_parse() {
        let host = HostName::parse(b"web1").unwrap();
        let path = RelPath::parse(b"a/b\n").unwrap();
        assert_eq!(update(&host, &path, false), "update web1:a/b\\012");
        assert_eq!(update(&host, &path, true), "(dryrun) update web1:a/b\\012");
        assert_eq!(skip(&host, &path), "skip   web1:a/b\\012");
        assert_eq!(skip_readonly(&host, &path), "skipro web1:a/b\\012");
        assert_eq!(would_update(&path), "(dryrun) [update:a/b\\012]");
        assert_eq!(delete(&host, &path, false), "delete web1:a/b\\012");
        assert_eq!(delete(&host, &path, true), "(dryrun) delete web1:a/b\\012");
        assert_eq!(would_delete(&path), "(dryrun) [delete:a/b\\012]");
        assert_eq!(check_ok(&host, &path), "web1: OK a/b\\012");
    }

    #[test]
    fn progress_goes_both_ways() {
        let known = Progress {
            bytes_done: 1,
            bytes_total: Some(2),
            entries_done: 3,
            entries_total: Some(4),
            hosts: 5,
            rate: 6,
        };
        assert_eq!(known.emit(), "progress 1 2 3 4 5 6");
        assert_eq!(Progress::parse(b"progress 1 2 3 4 5 6"), Some(known));
        assert_eq!(Progress::parse(b"progress 1 2 3 4 5 6 7 x"), Some(known));
        let early = Progress { bytes_total: None, entries_total: None, ..known };
        assert_eq!(early.emit(), "progress 1 - 3 - 5 6");
        assert_eq!(Progress::parse(early.emit().as_bytes()), Some(early));
        assert_eq!(Progress::parse(b"progress 1 0 3 0 5 6"), Some(early));
        for other in ["progress", "progress 1 2 3 4 5", "progress a 2 3 4 5 6", "progress on", ""] {
            assert_eq!(Progress::parse(other.as_bytes()), None, "{other}");
        }
        assert_eq!(Progress::parse(b"progress 1 2 3 4 -5 6"), None);
        assert_eq!(Progress::parse(b"progress 1 2 3 4 99999999999 6"), None);
    }

    #[test]
    fn totals_go_both_ways() {
        let total = Total {
            hosts: 3,
            failed: 1,
            files: 1204,
            bytes: 88_100_000,
            unchanged: 17,
            deleted: 4,
            errors: 2,
            wire: 90_000_000,
            time: Span::from_micros(610_000),
            recorded: true,
            known: Some(4),
            absent: 1,
        };
        let line = "total hosts=3 failed=1 files=1204 bytes=88100000 unchanged=17 deleted=4 errors=2 \
                    wire=90000000 micros=610000 recorded=1 known=4 absent=1";
        assert_eq!(total.emit(), line);
        let json = "{\"type\":\"total\",\"hosts\":3,\"failed\":1,\"files\":1204,\
                    \"bytes\":88100000,\"unchanged\":17,\"deleted\":4,\"errors\":2,\"wire\":90000000,\
                    \"micros\":610000,\"recorded\":true,\"known\":4,\"absent\":1}";
        assert_eq!(total.json(), json);
        assert_eq!(Total::parse(line.as_bytes()), Some(total));
        assert_eq!(Total::parse(format!("{line} new=1").as_bytes()), Some(total));
        assert_eq!(Total::parse(b"total hosts=0"), Some(Total::default()));
        for other in ["total", "total files=1", "total hosts", "total hosts=x", "Total: 3 members"]
        {
            assert_eq!(Total::parse(other.as_bytes()), None, "{other}");
        }
    }
}
