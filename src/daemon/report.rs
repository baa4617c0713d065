//! What a client is told of its transfer.

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::control::path_of;
use super::order::Order;
use super::shared::{Shared, ToControl};
use super::walker::Found;
use crate::console::command::Watch;
use crate::console::reply::{self, Progress, Total};
use crate::engine::job::Tally;
use crate::engine::outgoing::Gone;
use crate::log;
use crate::name::{Escaped, HostName, RelPath};
use crate::time::Time;
use crate::wire::begin::Bits;
use crate::wire::manifest::{Entry, Kind, Manifest};
use crate::wire::outcome::{Need, Outcome, Reason, Runs, SpoolCode};

/// A host's further errors are only counted.
const MOST_ERRORS: u64 = 100;
/// Fewer entries than this may go without `--force`, even if they are more than half.
const FEW: u64 = 100;
/// A dry run names each path once, whatever the number of hosts; it remembers so many.
const MOST_NAMED: usize = 100_000;

/// A host that a transfer is for.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) name: HostName,
    pub(super) address: Ipv4Addr,
}

#[derive(Debug)]
struct Told {
    host: Host,
    /// Of a comparison: what is the same, what differs, what only the host has, whose attributes
    /// differ.
    same: u64,
    differing: u64,
    extra: u64,
    attributes: u64,
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
    order: Arc<Order>,
    /// Entries below the path.
    below: u64,
    /// Paths that a dry run has named for deletion.
    named: HashSet<RelPath>,
}

impl Report {
    pub(super) fn new(
        client: u32,
        unread: Arc<AtomicUsize>,
        level: u8,
        watch: Watch,
        began: Time,
        hosts: Vec<Host>,
        order: Arc<Order>,
    ) -> Self {
        let count = hosts.len() as u64;
        let told = |host| Told {
            host,
            same: 0,
            differing: 0,
            extra: 0,
            attributes: 0,
            errors: 0,
            readonly: 0,
            failed: false,
            gone: false,
        };
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
            order,
            below: 0,
            named: HashSet::new(),
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
        let path = &self.order.path;
        let below = manifest.entries.iter().filter(|e| e.path.is_under(path) && e.path != *path);
        self.below += below.count() as u64;
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
            let closes = matches!(entry.kind, Kind::Close { .. } | Kind::Keep);
            if self.order.check {
                if host.compared(&mut self.total, &mut lines, entry, need) {
                    *mark |= FAILED;
                }
                continue;
            }
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
                Need::Skip if self.level >= 2 && !self.order.names_only => {
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
            let closes = matches!(entry.kind, Kind::Close { .. } | Kind::Keep);
            match outcome {
                Outcome::Updated => {
                    *mark |= UPDATED;
                    if self.level >= 1 && !closes {
                        lines.push((1, reply::update(&host.host.name, &entry.path, false)));
                    }
                }
                Outcome::Skipped if self.level >= 2 && !closes && !self.order.names_only => {
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
            if matches!(entry.kind, Kind::Close { .. } | Kind::Keep) {
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

    /// The client that it is for.
    pub(super) fn client(&self) -> u32 {
        self.client
    }

    /// Another host sends to the same path.
    pub(super) fn shared(&mut self, shared: &Shared, target: usize, with: &[u8]) {
        let name = &self.hosts[target].host.name;
        let (path, with) = (path_of(&self.order), Escaped(with));
        let line = format!("warning: {with} is sending to {path} of {name} too");
        self.say(shared, vec![(0, line)]);
    }

    /// What the targets have spooled: whether it is to be deleted, and whether its names are wanted.
    pub(super) fn tallied(&mut self, shared: &Shared, tallies: &[(usize, Tally)]) -> (bool, bool) {
        let order = Arc::clone(&self.order);
        let most = tallies.iter().map(|(_, tally)| tally.spooled).max().unwrap_or(0);
        if order.check {
            return (false, most > 0);
        }
        let mut lines = Vec::new();
        let path = path_of(&order);
        if most > 0 && self.below == 0 && !order.gone && !order.force {
            lines.push(format!("error: {path} is empty here: nothing is deleted without --force"));
        }
        for (target, tally) in tallies {
            let told = &mut self.hosts[*target];
            let (name, Tally { spooled, entries }) = (&told.host.name, *tally);
            let over = order.max_delete.filter(|most| spooled > *most);
            if let Some(most) = over {
                lines.push(format!(
                    "error: {spooled} entries of {name} would go, over the limit of {most}: nothing is deleted"
                ));
            } else if spooled >= FEW && spooled > entries / 2 && !order.gone && !order.force {
                lines.push(format!(
                    "error: {spooled} of {entries} entries of {name} would go: nothing is deleted without --force"
                ));
            }
        }
        if !lines.is_empty() {
            self.total.errors += lines.len() as u64;
            self.hosts.iter_mut().for_each(|told| told.failed = true);
            self.say(shared, lines.into_iter().map(|line| (0, line)).collect());
            return (false, false);
        }
        let shown = order.dry_run || self.level >= 1 || order.names_only || order.gone;
        (!order.dry_run && most > 0, shown && most > 0)
    }

    /// A target has deleted what it had spooled.
    pub(super) fn ran(&mut self, target: usize, _deleted: u64, failed: u64) {
        let told = &mut self.hosts[target];
        told.failed |= failed > 0;
        self.total.errors += failed;
    }

    /// Some of what a target has spooled, and what became of it.
    pub(super) fn page(&mut self, shared: &Shared, target: usize, names: &[(SpoolCode, RelPath)]) {
        let order = Arc::clone(&self.order);
        let level = u8::from(!(order.names_only || order.gone));
        let mut lines = Vec::new();
        for (code, path) in names {
            let told = &mut self.hosts[target];
            let host = &told.host.name;
            match code {
                SpoolCode::Spooled if order.check => {
                    told.extra += 1;
                    told.failed = true;
                    lines.push((1, format!("{host}: extra {path}")));
                }
                SpoolCode::Spooled if order.dry_run && self.level == 0 && level > 0 => {
                    if !self.named.contains(path) {
                        lines.push((0, format!("(dryrun) [delete:{path}]")));
                        if self.named.len() < MOST_NAMED {
                            self.named.insert(path.clone());
                        }
                    }
                }
                SpoolCode::Spooled if order.dry_run => {
                    lines.push((level, format!("(dryrun) delete {host}:{path}")));
                }
                SpoolCode::Deleted => lines.push((level, format!("delete {host}:{path}"))),
                SpoolCode::Failed(reason) => {
                    told.errors += 1;
                    if told.errors <= MOST_ERRORS && level == 0 {
                        lines.push((0, format!("delete error ({reason}) {host}:{path}")));
                    } else if told.errors <= MOST_ERRORS {
                        lines.push((0, reply::trouble_on(host, path, &reason.to_string())));
                    }
                }
                SpoolCode::Spooled | SpoolCode::Kept => {}
            }
        }
        self.say(shared, lines);
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
        let counts = self.hosts.iter().filter(|told| self.order.check && !told.gone).map(|told| {
            let Told { host, same, differing, extra, attributes, errors, .. } = told;
            let name = &host.name;
            (1, format!("{name}: {same} OK, {differing} NG, {extra} extra, {attributes} attr, {errors} errors"))
        });
        let lines: Vec<_> = lines.chain(readonly).chain(counts).collect();
        self.say(shared, lines);
        self.total.failed = self.hosts.iter().filter(|told| told.failed).count() as u64;
        self.total.errors += errors;
        self.total.wire = wire;
        self.total.time = now.since(self.began);
        shared.control.send(ToControl::Over { client: self.client, number, total: self.total });
    }
}

impl Told {
    /// What a comparison has shown of an entry; whether the host does not have it as it is here.
    fn compared(
        &mut self,
        total: &mut Total,
        lines: &mut Vec<(u8, String)>,
        entry: &Entry,
        need: Need,
    ) -> bool {
        let (host, path) = (&self.host.name, &entry.path);
        let shown = !matches!(entry.kind, Kind::Open | Kind::Close { .. } | Kind::Keep);
        match need {
            Need::Skip | Need::Attributes => {
                if shown {
                    self.same += 1;
                    lines.push((1, format!("{host}: OK {path}")));
                }
                if need == Need::Attributes {
                    self.attributes += 1;
                    lines.push((1, format!("{host}: attr {path}")));
                }
                false
            }
            Need::All | Need::ReadOnly => {
                self.differing += 1;
                self.failed = true;
                lines.push((0, format!("{host}: NG {path}")));
                true
            }
            Need::Failed(reason) => {
                self.error(total, lines, path, &reason);
                true
            }
            Need::Silent => true,
        }
    }

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
