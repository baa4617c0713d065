//! The lines and results that a client gets of its transfer.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::advance::{Advance, Does, UnderWay};
use super::host_tally::{HostTally, Tell};
use super::late::Late;
use super::marked_batch::MarkedBatch;
use super::trail_line::TrailLine;
use super::unsure::Unsure;
use crate::console::command::{Scope, Watch};
use crate::console::error::{Code, ErrorLine};
use crate::console::reply::{self, Difference, HostStatus, Said, Total, What};
use crate::count::counted;
use crate::daemon::again::{self, Unreached};
use crate::daemon::became::Became;
use crate::daemon::messages::{NO_CLIENT, NewTransfer, ToControl, Totals};
use crate::daemon::order::Order;
use crate::daemon::shared::Shared;
use crate::daemon::unread::Unread;
use crate::engine::disk_job::{DeletionTally, TransferKey};
use crate::engine::members::Member;
use crate::engine::outgoing::{Gone, Stats};
use crate::fs::root::Root;
use crate::ids::{BatchNo, EntryNo, TargetNo, TransferNo};
use crate::log::{self, Level};
use crate::name::{Escaped, NodeId, RelPath};
use crate::time::Time;
use crate::wire::manifest::{Entry, Kind, Manifest};
use crate::wire::outcome::{Need, Outcome, Runs, SpoolCode};

/// Deleting fewer entries than this needs no `--force`, even if they are more than half.
const FEW: u64 = 100;
/// A dry run names each path once, whatever the number of hosts. It remembers this many paths.
const MOST_NAMED: usize = 100_000;

/// The report of one transfer.
#[derive(Debug)]
pub(super) struct Report {
    /// The node that the transfer is from.
    me: NodeId,
    client: u32,
    /// The command as the client wrote it.
    command: String,
    unread: Unread,
    level: u8,
    watch: Watch,
    began: Time,
    hosts: Vec<HostTally>,
    batches: BTreeMap<BatchNo, MarkedBatch>,
    total: Total,
    advance: Advance,
    order: Arc<Order>,
    root: Arc<Root>,
    /// Entries below the path that were offered.
    below: u64,
    /// Paths that a dry run has listed as to be deleted.
    named: HashSet<RelPath>,
    unsure: Unsure,
    late: Late,
    /// Nothing is deleted, because it would be too much.
    over_limit: bool,
    /// How many errors there were on this host, but for those of the walk.
    here: u64,
    /// Who gets no block as large as these, if smaller ones may be tried: nothing is said of them yet.
    unreached: Option<Unreached>,
}

impl Report {
    pub(super) fn new(new: &NewTransfer, me: NodeId, began: Time) -> Self {
        let tally = |host: &Member| HostTally::new(host, new.order.mode.is_check());
        Report {
            me,
            client: new.client,
            command: new.command.clone(),
            unread: new.unread.clone(),
            level: new.level,
            watch: new.watch,
            began,
            hosts: new.hosts.iter().map(tally).collect(),
            batches: BTreeMap::new(),
            total: Total { hosts: new.hosts.len() as u64, ..Total::default() },
            advance: Advance::new(Does::of(&new.order), began),
            order: Arc::clone(&new.order),
            root: Arc::clone(&new.root),
            below: 0,
            named: HashSet::new(),
            unsure: Unsure::default(),
            late: Late::default(),
            over_limit: false,
            here: 0,
            unreached: again::smaller(new.block).map(|mtu| Unreached { hosts: Vec::new(), mtu }),
        }
    }

    /// Whether the client watches the progress.
    pub(super) fn watches(&self) -> bool {
        self.watch == Watch::Progress
    }

    fn say(&self, shared: &Shared, lines: Vec<Said>) {
        // Nobody would read them.
        if lines.is_empty() || self.client == NO_CLIENT {
            return;
        }
        self.unread.add(lines.iter().map(Said::size));
        shared.control.send(ToControl::Lines { client: self.client, lines });
    }

    pub(super) fn open(&mut self, number: BatchNo, manifest: Arc<Manifest>) {
        let path = &self.order.path;
        let counts = |e: &&Entry| {
            e.path.is_under(path) && e.path != *path && !matches!(e.kind, Kind::Ahead { .. })
        };
        let below = manifest.entries.iter().filter(counts);
        self.below += below.count() as u64;
        self.batches.insert(number, MarkedBatch::new(manifest, self.hosts.len()));
    }

    /// Notes what a target needs; in a dry run or comparison that is all there is to report of it.
    pub(super) fn needs(
        &mut self,
        shared: &Shared,
        number: BatchNo,
        target: TargetNo,
        runs: &Runs<Need>,
    ) {
        let mode = self.order.mode;
        let Some(open) = self.batches.get_mut(&number) else { return };
        let contents = runs
            .iter()
            .filter(|(_, need)| matches!(need, Need::All | Need::Late) && !mode.is_check());
        contents.for_each(|(entry, _)| open.want(target, entry));
        if mode.changes_nothing() {
            let became = runs.iter().map(|(entry, need)| (entry, Became::by_need(need, mode)));
            self.note(shared, number, target, became);
        }
    }

    /// Reports what a target did.
    pub(super) fn outcomes(
        &mut self,
        shared: &Shared,
        number: BatchNo,
        target: TargetNo,
        runs: &Runs<Outcome>,
    ) {
        for (_, outcome) in runs.iter() {
            if let Outcome::Lacking { lacks, .. } = outcome {
                self.hosts[target.index()].lack(lacks);
            }
        }
        let became = runs.iter().map(|(entry, outcome)| (entry, Became::from(outcome)));
        self.note(shared, number, target, became);
    }

    /// Reports what became of entries at a target, or would become of them.
    fn note(
        &mut self,
        shared: &Shared,
        number: BatchNo,
        target: TargetNo,
        all: impl Iterator<Item = (EntryNo, Became)>,
    ) {
        let Some(open) = self.batches.get_mut(&number) else { return };
        let host = &mut self.hosts[target.index()];
        let (mode, level) = (self.order.mode, self.level);
        let root = &self.root;
        let mut tell = Tell { total: &mut self.total, lines: Vec::new(), root, mode, level };
        for (number, became) in all {
            let content = open.is_wanted(target, number);
            let Some((entry, mark, is_first)) = open.entry(number) else { continue };
            match became {
                Became::Unsure => self.unsure.add(&entry.path, target),
                Became::Late if self.late.add(entry, target, content) => continue,
                Became::Same if !is_first && self.unsure.has_told(&entry.path, target) => continue,
                _ => {}
            }
            host.note(&mut tell, mark, entry, became, content);
        }
        let lines = tell.lines;
        self.say(shared, lines);
    }

    /// A batch is done on all remaining targets.
    pub(super) fn close(&mut self, number: BatchNo) {
        let Some(open) = self.batches.remove(&number) else { return };
        for (at, (entry, mark)) in open.manifest.entries.iter().zip(open.marks).enumerate() {
            if !entry.is_object() {
                continue;
            }
            if open.manifest.digest(EntryNo::of(at)).is_some() {
                self.advance.compared(entry.size());
            }
            let before = if mark.unsure {
                self.unsure.first_round(&entry.path, mark.written);
                None
            } else {
                self.unsure.second_round(&entry.path)
            };
            if before.is_none() {
                self.advance.done(entry.size());
            }
            if before != Some(true) && !self.late.keeps(&entry.path, mark) {
                mark.count(entry, &mut self.total);
            }
        }
    }

    /// The client of the transfer.
    pub(super) fn client(&self) -> u32 {
        self.client
    }

    /// Another host is sending to the same path.
    pub(super) fn shared(&mut self, shared: &Shared, target: TargetNo, with: &[u8]) {
        let name = &self.hosts[target.index()].report.name;
        let (path, with) = (self.order.path_shown(), Escaped(with));
        let line = format!("warning: {with} is also sending to {path} on {name}");
        self.say(shared, vec![Said::Line(0, line)]);
    }

    /// None of the targets is reached any more, for something that has happened on this host.
    pub(super) fn stopped(&mut self, shared: &Shared, why: &str) {
        let why = format!("{why} during the transfer: send again");
        self.hosts.iter_mut().for_each(|tally| tally.worsen(HostStatus::Failed));
        self.error(shared, ErrorLine::new(Code::Other, why));
    }

    /// What was sent to all came badly to one target, and was sent to it again.
    pub(super) fn lossy(&mut self, shared: &Shared, target: TargetNo, stats: &Stats) {
        let HostTally { report: host, gone, .. } = &self.hosts[target.index()];
        // With one target, nothing was sent by multicast; and of who has left, that was said.
        let percent = stats.loses_multicast().filter(|_| self.hosts.len() > 1 && !gone);
        let Some(percent) = percent else { return };
        let (name, address) = (&host.name, host.address);
        let line = format!(
            "warning: {percent} % of the multicast packets did not reach {name} ({address}) and were \
             sent again: see members -v"
        );
        log::notice(format_args!("{line}"));
        self.say(shared, vec![Said::Line(0, line)]);
    }

    /// Checks how much the targets would delete: whether to delete it, and whether to ask for the names.
    pub(super) fn tallied(
        &mut self,
        shared: &Shared,
        tallies: &[(TargetNo, DeletionTally)],
    ) -> (bool, bool) {
        let order = Arc::clone(&self.order);
        let most = tallies.iter().map(|(_, tally)| tally.spooled).max().unwrap_or(0);
        // The names of what could not be listed are always asked for.
        let failed = self.not_listed(tallies);
        if order.mode.is_check() {
            for (target, tally) in tallies {
                let check = self.hosts[target.index()].report.check.get_or_insert_default();
                check.extra = tally.spooled;
            }
            return (false, most > 0 || failed);
        }
        let mut lines = Vec::new();
        let path = order.path_shown();
        let is_listed = order.scope == Scope::Listed;
        if most > 0 && self.below == 0 && !order.mode.path_is_gone() && !order.force && !is_listed {
            let why = format!("{path} is empty here: nothing is deleted without --force");
            let error = ErrorLine::new(Code::EmptySource, why);
            lines.push(error.about("", reply::shown(&order.path)).into());
        }
        for (target, tally) in tallies {
            let host = &mut self.hosts[target.index()];
            let (name, DeletionTally { spooled, entries, .. }) = (&host.report.name, *tally);
            let over = order.max_delete.filter(|most| spooled > *most);
            // What is listed is meant.
            let free = order.mode.path_is_gone() || order.force || is_listed;
            let why = if let Some(most) = over {
                format!(
                    "{} would be deleted on {name}, over the limit of {most}: nothing is deleted",
                    counted(spooled, "entry")
                )
            } else if spooled >= FEW && spooled > entries / 2 && !free {
                format!(
                    "{spooled} of {} would be deleted on {name}: nothing is deleted without --force",
                    counted(entries, "entry")
                )
            } else {
                continue;
            };
            let error = ErrorLine::new(Code::TooMuchToDelete, why);
            let error = error.about(name, reply::shown(&order.path));
            host.report.error(error.report.clone());
            lines.push(error.into());
        }
        if !lines.is_empty() {
            self.total.errors += lines.len() as u64;
            self.hosts.iter_mut().for_each(|tally| tally.worsen(HostStatus::Failed));
            self.say(shared, lines);
            self.over_limit = true;
            return (false, failed);
        }
        let dry_run = order.mode.changes_nothing();
        if dry_run {
            for (target, tally) in tallies {
                self.hosts[target.index()].deleted(&mut self.total, tally.spooled);
            }
        }
        let shown = dry_run || self.level >= 1 || order.only_deletes();
        (!dry_run && most > 0, (shown && most > 0) || failed)
    }

    /// Counts what targets could not list, or cannot delete. True if there is any.
    fn not_listed(&mut self, tallies: &[(TargetNo, DeletionTally)]) -> bool {
        for (target, tally) in tallies.iter().filter(|(_, tally)| tally.failed > 0) {
            self.hosts[target.index()].worsen(HostStatus::Failed);
            self.total.errors += tally.failed;
        }
        tallies.iter().any(|(_, tally)| tally.failed > 0)
    }

    /// A target has finished deleting.
    pub(super) fn ran(&mut self, target: TargetNo, deleted: u64, failed: u64) {
        let tally = &mut self.hosts[target.index()];
        tally.ran = true;
        tally.deleted(&mut self.total, deleted);
        if failed > 0 {
            tally.worsen(HostStatus::Failed);
        }
        self.total.errors += failed;
    }

    /// Reports entries that a target deleted, would delete, or could not delete.
    pub(super) fn page(
        &mut self,
        shared: &Shared,
        target: TargetNo,
        names: &[(SpoolCode, RelPath)],
    ) {
        let order = Arc::clone(&self.order);
        let level = u8::from(!order.only_deletes());
        let dry_run = order.mode.changes_nothing();
        let mut lines = Vec::new();
        for (code, path) in names {
            let tally = &mut self.hosts[target.index()];
            let host = &tally.report.name;
            match code {
                SpoolCode::Spooled if self.over_limit => {}
                SpoolCode::Spooled if order.mode.is_check() => {
                    lines.push(Difference::new(What::Extra, host, path).into());
                }
                SpoolCode::Spooled if dry_run && self.level == 0 && level > 0 => {
                    if !self.named.contains(path) {
                        lines.push(Said::Line(0, reply::would_delete(path)));
                        if self.named.len() < MOST_NAMED {
                            self.named.insert(path.clone());
                        }
                    }
                }
                SpoolCode::Spooled if dry_run => {
                    lines.push(Said::Line(level, reply::delete(host, path, true)));
                }
                SpoolCode::Deleted => {
                    lines.push(Said::Line(level, reply::delete(host, path, false)))
                }
                SpoolCode::Failed(reason) => {
                    self.late.failed(path, target);
                    let error = match level {
                        0 => ErrorLine::not_deleted(host, path, *reason),
                        _ => ErrorLine::on(host, path, *reason),
                    };
                    lines.extend(tally.error(error));
                }
                SpoolCode::Spooled | SpoolCode::Kept => {}
            }
        }
        self.say(shared, lines);
    }

    /// Reports an error on this host.
    pub(super) fn error(&mut self, shared: &Shared, error: ErrorLine) {
        self.total.errors += 1;
        self.here += 1;
        self.say(shared, vec![error.into()]);
    }

    /// Whether, by what targets have counted, nothing is left where the transfer reached but what it named:
    /// `errors` are those of the walk.
    pub(super) fn settles(&self, errors: u64) -> bool {
        let tree = self.order.scope == Scope::Tree && (self.below > 0 || self.order.force);
        let listed = self.order.scope == Scope::Listed;
        (tree || listed || self.order.mode.path_is_gone())
            && !self.over_limit
            && self.here + errors == 0
    }

    pub(super) fn suspended(&self, target: TargetNo) {
        let host = &self.hosts[target.index()].report;
        log::info(format_args!(
            "{} ({}) is not responding; continuing without it",
            host.name, host.address
        ));
    }

    pub(super) fn resumed(&self, target: TargetNo) {
        let host = &self.hosts[target.index()].report;
        log::info(format_args!("{} ({}) is responding again", host.name, host.address));
    }

    /// A target has left the transfer; `host` is what it is as a member.
    pub(super) fn gone(&mut self, shared: &Shared, target: TargetNo, why: &Gone, host: &Member) {
        let tally = &mut self.hosts[target.index()];
        tally.gone = true;
        let (name, address) = (&host.name, *host.addr.ip());
        let left = |code| (HostStatus::Timeout, ErrorLine::gone(name, address, code));
        let (status, error) = match why {
            Gone::Silent => left(Code::Timeout),
            Gone::Left => left(Code::Left),
            Gone::NoData => left(Code::NoData),
            Gone::Refused(reason, path) => {
                (HostStatus::Refused, ErrorLine::refused(name, Escaped(path), *reason))
            }
        };
        tally.worsen(status);
        tally.report.error(error.report.clone());
        if let (Gone::NoData, Some(unreached)) = (why, &mut self.unreached) {
            log::notice(format_args!("large packets do not reach {name} ({address})"));
            return unreached.hosts.push(host.clone());
        }
        self.total.errors += 1;
        log::warning(format_args!("{}", error.text()));
        self.say(shared, vec![error.into()]);
    }

    /// Reports progress.
    pub(super) fn progress(
        &mut self,
        shared: &Shared,
        now: Time,
        under_way: UnderWay,
        totals: Option<&Totals>,
    ) {
        let hosts = self.hosts.iter().filter(|tally| !tally.gone).count() as u32;
        let progress = self.advance.tell(now, under_way, totals, hosts);
        shared.control.send_lossy(ToControl::Progress { client: self.client, progress });
    }

    /// Reports the end of the transfer.
    pub(super) fn over(
        &mut self,
        shared: &Shared,
        now: Time,
        number: TransferNo,
        wire: u64,
        errors: u64,
    ) {
        let (root, mode, level) = (&self.root, self.order.mode, self.level);
        let mut tell = Tell { total: &mut self.total, lines: Vec::new(), root, mode, level };
        std::mem::take(&mut self.late).settle(&mut self.hosts, &mut tell, self.over_limit);
        let lines = tell.lines;
        self.say(shared, lines);
        let (total, lax) = (&mut self.total, self.order.lax_attributes);
        let lines = self.hosts.iter_mut().flat_map(|tally| tally.last_lines(total, lax)).collect();
        self.say(shared, lines);
        let here = self.hosts.iter().filter(|tally| !tally.gone).map(|tally| &tally.report);
        self.say(shared, again::served(here, self.order.mtu()));
        let failed = |tally: &&HostTally| tally.report.status != HostStatus::Ok;
        self.total.failed = self.hosts.iter().filter(failed).count() as u64;
        self.total.errors += errors;
        self.total.wire = wire;
        self.total.time = now.since(self.began);
        let results = (self.hosts.iter().map(|tally| tally.report.clone()).collect(), self.total);
        let (client, total) = (self.client, self.total);
        let unreached = self.unreached.take().filter(|unreached| !unreached.hosts.is_empty());
        let wrong = total.failed > 0 || total.errors > 0;
        match wrong {
            false => self.trail(now, number, Level::TRANSFER, "complete"),
            true => self.trail(now, number, Level::WARNING, "incomplete"),
        }
        shared.control.send(ToControl::Over { client, number, results, unreached });
    }

    /// Writes the line that the log has of each transfer.
    pub(super) fn trail(&self, now: Time, number: TransferNo, level: Level, result: &str) {
        let lacking = self.hosts.iter().filter(|tally| tally.report.status != HostStatus::Ok);
        let line = TrailLine {
            key: TransferKey { node: self.me, number },
            command: &self.command,
            caller: self.order.caller(),
            total: &self.total,
            took: now.since(self.began),
            result,
            lacking: lacking.map(|tally| tally.report.name.as_str()).collect(),
        };
        log::many(level, "transfers", format_args!("{line}"));
    }
}
