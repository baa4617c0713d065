//! What a client is told of its transfer.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::shared::{Shared, ToControl};
use super::walker::Found;
use crate::console::command::Watch;
use crate::console::reply::{self, Progress, Total};
use crate::engine::outgoing::Gone;
use crate::log;
use crate::name::{Escaped, HostName, RelPath};
use crate::time::Time;
use crate::wire::begin::Bits;
use crate::wire::manifest::{Kind, Manifest};
use crate::wire::outcome::{Need, Outcome, Reason, Runs};

/// A host's further errors are only counted.
const MOST_ERRORS: u64 = 100;

/// A host that a transfer is for.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) name: HostName,
    pub(super) address: Ipv4Addr,
}

#[derive(Debug)]
struct Told {
    host: Host,
    errors: u64,
    /// Entries that differ on a host that is never written to.
    readonly: u64,
    failed: bool,
    gone: bool,
}

/// What has been said of each entry of a batch.
#[derive(Debug)]
struct Open {
    manifest: Arc<Manifest>,
    marks: Vec<u8>,
}

const UPDATED: u8 = 1;
const FAILED: u8 = 2;
const SAID: u8 = 4;

/// The report of one transfer.
#[derive(Debug)]
pub(super) struct Report {
    client: u32,
    unread: Arc<AtomicUsize>,
    level: u8,
    watch: Watch,
    began: Time,
    hosts: Vec<Told>,
    batches: BTreeMap<u32, Open>,
    total: Total,
    done: Progress,
    last: (Time, u64),
}

impl Report {
    pub(super) fn new(
        client: u32,
        unread: Arc<AtomicUsize>,
        level: u8,
        watch: Watch,
        began: Time,
        hosts: Vec<Host>,
    ) -> Self {
        let count = hosts.len() as u64;
        let told = |host| Told { host, errors: 0, readonly: 0, failed: false, gone: false };
        Report {
            client,
            unread,
            level,
            watch,
            began,
            hosts: hosts.into_iter().map(told).collect(),
            batches: BTreeMap::new(),
            total: Total { hosts: count, ..Total::default() },
            done: Progress::default(),
            last: (began, 0),
        }
    }

    /// Whether the client wants to know how far it is.
    pub(super) fn watches(&self) -> bool {
        self.watch == Watch::Progress
    }

    fn say(&self, shared: &Shared, lines: Vec<(u8, String)>) {
        if lines.is_empty() {
            return;
        }
        let bytes: usize = lines.iter().map(|(_, line)| line.len() + 2).sum();
        self.unread.fetch_add(bytes, Ordering::Relaxed);
        shared.control.send(ToControl::Lines { client: self.client, lines });
    }

    pub(super) fn open(&mut self, number: u32, manifest: Arc<Manifest>) {
        let marks = vec![0; manifest.entries.len()];
        self.batches.insert(number, Open { manifest, marks });
    }

    /// A dry run: what a target would need.
    pub(super) fn needs(&mut self, shared: &Shared, number: u32, target: usize, runs: &Runs<Need>) {
        let mut lines = Vec::new();
        let Some(open) = self.batches.get_mut(&number) else { return };
        for (entry, need) in runs.iter() {
            let at = usize::from(entry);
            let (Some(entry), Some(mark)) = (open.manifest.entries.get(at), open.marks.get_mut(at))
            else {
                continue;
            };
            let host = &mut self.hosts[target];
            let closes = entry.kind == Kind::Close;
            match need {
                _ if closes => {}
                Need::Attributes | Need::All => {
                    if self.level == 0 && *mark & SAID == 0 {
                        lines.push((0, reply::would_update(&entry.path)));
                    } else if self.level > 0 {
                        lines.push((1, reply::update(&host.host.name, &entry.path, true)));
                    }
                    *mark |= UPDATED | SAID;
                }
                Need::Skip if self.level >= 2 => {
                    lines.push((2, reply::skip(&host.host.name, &entry.path)))
                }
                Need::ReadOnly => {
                    *mark |= FAILED;
                    host.failed = true;
                    host.readonly += 1;
                    lines.push((3, reply::skip_readonly(&host.host.name, &entry.path)));
                }
                Need::Failed(reason) => {
                    *mark |= FAILED;
                    host.error(&mut self.total, &mut lines, &entry.path, &reason);
                }
                Need::Skip | Need::Silent => {}
            }
        }
        self.say(shared, lines);
    }

    /// What a target did.
    pub(super) fn outcomes(
        &mut self,
        shared: &Shared,
        number: u32,
        target: usize,
        runs: &Runs<Outcome>,
    ) {
        let mut lines = Vec::new();
        let Some(open) = self.batches.get_mut(&number) else { return };
        for (entry, outcome) in runs.iter() {
            let at = usize::from(entry);
            let (Some(entry), Some(mark)) = (open.manifest.entries.get(at), open.marks.get_mut(at))
            else {
                continue;
            };
            let host = &mut self.hosts[target];
            let closes = entry.kind == Kind::Close;
            match outcome {
                Outcome::Updated => {
                    *mark |= UPDATED;
                    if self.level >= 1 && !closes {
                        lines.push((1, reply::update(&host.host.name, &entry.path, false)));
                    }
                }
                Outcome::Skipped if self.level >= 2 && !closes => {
                    lines.push((2, reply::skip(&host.host.name, &entry.path)));
                }
                Outcome::ReadOnly => {
                    *mark |= FAILED;
                    host.failed = true;
                    host.readonly += u64::from(!closes);
                    if self.level >= 3 && !closes {
                        lines.push((3, reply::skip_readonly(&host.host.name, &entry.path)));
                    }
                }
                Outcome::Failed(reason) => {
                    *mark |= FAILED;
                    host.error(&mut self.total, &mut lines, &entry.path, &reason);
                }
                Outcome::Silent => {
                    *mark |= FAILED;
                    host.failed = true;
                }
                Outcome::Skipped => {}
                Outcome::Struck => *mark |= FAILED,
            }
        }
        self.say(shared, lines);
    }

    /// A batch is done by all that are left; the bytes of the `wanted` entries were sent.
    pub(super) fn close(&mut self, number: u32, wanted: &Bits) {
        let Some(open) = self.batches.remove(&number) else { return };
        for (at, (entry, mark)) in open.manifest.entries.iter().zip(open.marks).enumerate() {
            if entry.kind == Kind::Close {
                continue;
            }
            self.done.entries_done += 1;
            self.done.bytes_done += entry.size();
            if mark & UPDATED != 0 {
                self.total.files += u64::from(entry.kind != Kind::Open);
                self.total.bytes += if wanted.contains(at) { entry.size() } else { 0 };
            } else if mark & FAILED == 0 {
                self.total.unchanged += u64::from(entry.kind != Kind::Open);
            }
        }
    }

    /// Something is wrong with a path here.
    pub(super) fn trouble(&mut self, shared: &Shared, path: &RelPath, why: &str) {
        self.total.errors += 1;
        self.say(shared, vec![(0, reply::trouble_here(path, why))]);
    }

    pub(super) fn suspended(&self, target: usize) {
        let host = &self.hosts[target].host;
        log::info(format_args!("{} ({}) is silent; going on without it", host.name, host.address));
    }

    pub(super) fn resumed(&self, target: usize) {
        let host = &self.hosts[target].host;
        log::info(format_args!("{} ({}) answers again", host.name, host.address));
    }

    /// A host has left the transfer.
    pub(super) fn gone(&mut self, shared: &Shared, target: usize, why: &Gone) {
        let told = &mut self.hosts[target];
        (told.failed, told.gone) = (true, true);
        self.total.errors += 1;
        let Host { name, address } = &told.host;
        let line = match why {
            Gone::Silent => format!("error: receive time out: {address}({name})"),
            Gone::Left => format!("error: member exit: {address}({name})"),
            Gone::NoData => format!(
                "error: receives control but no data: check MTU and firewall: {address}({name})"
            ),
            Gone::Refused(reason, path) => {
                format!("error: {reason} {name}:{}", Escaped(path))
            }
        };
        log::notice(format_args!("{}", line.trim_start_matches("error: ")));
        self.say(shared, vec![(0, line)]);
    }

    /// Tells how far it is; `streaming` is what has left of long files that are on their way.
    pub(super) fn progress(
        &mut self,
        shared: &Shared,
        now: Time,
        streaming: u64,
        found: Option<&Found>,
    ) {
        let mut progress = self.done;
        progress.bytes_done += streaming;
        progress.hosts = self.hosts.iter().filter(|told| !told.gone).count() as u32;
        let took = now.since(self.last.0).secs_f64();
        let moved = progress.bytes_done.saturating_sub(self.last.1);
        progress.rate = if took > 0.0 { (moved as f64 / took) as u64 } else { 0 };
        self.last = (now, progress.bytes_done);
        if let Some(found) = found.filter(|found| found.whole.load(Ordering::Relaxed)) {
            progress.bytes_total = Some(found.bytes.load(Ordering::Relaxed));
            progress.entries_total = Some(found.entries.load(Ordering::Relaxed));
        }
        shared.control.send_lossy(ToControl::Progress { client: self.client, progress });
    }

    /// It is over.
    pub(super) fn over(&mut self, shared: &Shared, now: Time, number: u32, wire: u64, errors: u64) {
        let more = |told: &&Told| told.errors > MOST_ERRORS;
        let lines = self.hosts.iter().filter(more).map(|told| {
            let more = told.errors - MOST_ERRORS;
            (0, format!("error: {more} more errors {}", told.host.name))
        });
        let readonly = self.hosts.iter().filter(|told| told.readonly > 0).map(|told| {
            let (name, count) = (&told.host.name, told.readonly);
            (0, format!("error: {name} is read-only: {count} entries differ there"))
        });
        let lines: Vec<_> = lines.chain(readonly).collect();
        self.say(shared, lines);
        self.total.failed = self.hosts.iter().filter(|told| told.failed).count() as u64;
        self.total.errors += errors;
        self.total.wire = wire;
        self.total.time = now.since(self.began);
        shared.control.send(ToControl::Over { client: self.client, number, total: self.total });
    }
}

impl Told {
    fn error(
        &mut self,
        total: &mut Total,
        lines: &mut Vec<(u8, String)>,
        path: &RelPath,
        reason: &Reason,
    ) {
        self.failed = true;
        self.errors += 1;
        total.errors += 1;
        if self.errors <= MOST_ERRORS {
            lines.push((0, reply::trouble_on(&self.host.name, path, &reason.to_string())));
        }
    }
}
