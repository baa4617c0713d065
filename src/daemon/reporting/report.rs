//! The lines and results that a client gets of its transfer.

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

mod agreed;
mod deletion;

use super::advance::{Advance, Does, UnderWay};
use super::host_tally::{HostTally, Tell};
use super::late::Late;
use super::marked_batch::MarkedBatch;
use super::trail_line::{Counts, TrailLine, on};
use super::unsure::Unsure;
use crate::console::command::Follow;
use crate::console::error::{Code, ErrorLine};
use crate::console::metrics::Ended;
use crate::console::reply::{HostStatus, Said, Total};
use crate::count::counted;
use crate::daemon::again::{self, Results, Unreached};
use crate::daemon::became::Became;
use crate::daemon::messages::{NO_CLIENT, NewTransfer, ToControl, Totals};
use crate::daemon::order::Order;
use crate::daemon::shared::Shared;
use crate::daemon::unread::Unread;
use crate::engine::disk_job::TransferKey;
use crate::engine::members::Member;
use crate::engine::outgoing::{Gone, Stats};
use crate::fs::root::Root;
use crate::ids::{BatchNo, EntryNo, TargetNo, TransferNo};
use crate::keeping;
use crate::log::{self, Level};
use crate::name::{Escaped, HostName, NodeId, RelPath};
use crate::stamp::Stamp;
use crate::time::Time;
use crate::wire::manifest::{Entry, Kind, Manifest};
use crate::wire::outcome::{Need, Outcome, Reason, Runs};

/// What is to be reported of, and to whom.
#[derive(Debug)]
pub(crate) struct Subject {
    /// The node that tells.
    pub(crate) me: NodeId,
    pub(crate) client: u32,
    /// The command as the client wrote it.
    pub(crate) command: String,
    /// The client's unread output.
    pub(crate) unread: Unread,
    pub(crate) level: u8,
    pub(crate) follow: Follow,
    /// The targets, by their numbers.
    pub(crate) hosts: Vec<(HostName, Ipv4Addr)>,
    pub(crate) order: Arc<Order>,
    pub(crate) root: Arc<Root>,
    /// The only target is this host, which has asked for it.
    pub(crate) is_fetched: bool,
    /// Those that no block as large as these reaches may get smaller ones.
    pub(crate) block: u16,
}

/// The report of one transfer.
#[derive(Debug)]
pub(crate) struct Report {
    /// The node that the transfer is from.
    me: NodeId,
    client: u32,
    /// The command as the client wrote it.
    command: String,
    unread: Unread,
    level: u8,
    follow: Follow,
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
    /// It is told by its only target.
    is_fetched: bool,
    /// Who gets no block as large as these, if smaller ones may be tried: nothing is said of them yet.
    unreached: Option<Unreached>,
    /// The stamp of the record that it leaves here.
    stamp: Option<Stamp>,
}

impl Report {
    /// Of an outgoing transfer.
    pub(crate) fn new(new: &NewTransfer, me: NodeId, began: Time) -> Self {
        let subject = Subject {
            me,
            client: new.client,
            command: new.command.clone(),
            unread: new.unread.clone(),
            level: new.level,
            follow: new.follow,
            hosts: new.hosts.iter().map(|host| (host.name.clone(), *host.addr.ip())).collect(),
            order: Arc::clone(&new.order),
            root: Arc::clone(&new.root),
            is_fetched: false,
            block: new.block,
        };
        Report::of(subject, began)
    }

    pub(crate) fn of(subject: Subject, began: Time) -> Self {
        let Subject {
            me,
            client,
            command,
            unread,
            level,
            follow,
            hosts,
            order,
            root,
            block,
            is_fetched,
        } = subject;
        let hosts: Vec<HostTally> = hosts
            .into_iter()
            .map(|(name, address)| HostTally::new(name, address, order.mode.is_check()))
            .collect();
        let is_atomic = order.atomic.is_some();
        Report {
            me,
            client,
            command,
            unread,
            level,
            follow,
            began,
            batches: BTreeMap::new(),
            total: Total { hosts: hosts.len() as u64, ..Total::default() },
            hosts,
            advance: Advance::new(Does::of(&order), began),
            order,
            root,
            below: 0,
            named: HashSet::new(),
            unsure: Unsure::default(),
            late: Late::default(),
            over_limit: false,
            here: 0,
            is_fetched,
            // Smaller packets would be another transfer.
            unreached: again::smaller(block)
                .filter(|_| !is_atomic)
                .map(|mtu| Unreached { hosts: Vec::new(), mtu }),
            stamp: None,
        }
    }

    /// Whether the client watches the progress.
    pub(crate) fn watches(&self) -> bool {
        self.follow == Follow::Progress
    }

    fn say(&self, shared: &Shared, mut lines: Vec<Said>) {
        if self.order.ticket.is_some() {
            // Who has asked for it reports for itself what came there.
            lines.retain(|said| matches!(said, Said::Error(_)));
        }
        // Nobody would read them.
        if lines.is_empty() || self.client == NO_CLIENT {
            return;
        }
        self.unread.add(lines.iter().map(Said::size));
        shared.control.send(ToControl::Lines { client: self.client, lines });
    }

    pub(crate) fn open(&mut self, number: BatchNo, manifest: Arc<Manifest>) {
        let path = &self.order.path;
        let counts = |e: &&Entry| {
            e.path.is_under(path) && e.path != *path && !matches!(e.kind, Kind::Ahead { .. })
        };
        let below = manifest.entries.iter().filter(counts);
        self.below += below.count() as u64;
        self.batches.insert(number, MarkedBatch::new(manifest, self.hosts.len()));
    }

    /// Notes what a target needs; in a dry run or comparison that is all there is to report of it.
    pub(crate) fn needs(
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
    pub(crate) fn outcomes(
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
    pub(crate) fn close(&mut self, number: BatchNo) {
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
            let is_counted = before != Some(true) && !self.hosts.is_empty();
            if is_counted && !self.late.keeps(&entry.path, mark) {
                mark.count(entry, &mut self.total);
            }
        }
    }

    /// The client of the transfer.
    pub(crate) fn client(&self) -> u32 {
        self.client
    }

    /// The name of a target.
    pub(crate) fn name(&self, target: TargetNo) -> &HostName {
        &self.hosts[target.index()].report.name
    }

    /// Another host is sending to the same path.
    pub(crate) fn shared(&mut self, shared: &Shared, target: TargetNo, with: &[u8]) {
        let name = &self.hosts[target.index()].report.name;
        let (path, with) = (self.order.path_shown(), Escaped(with));
        let line = format!("warning: {with} is also sending to {path} on {name}");
        self.say(shared, vec![Said::Line(0, line)]);
    }

    /// None of the targets is reached any more, for something that has happened on this host.
    pub(crate) fn stopped(&mut self, shared: &Shared, why: &str) {
        let why = format!("{why} during the transfer: send again");
        self.hosts.iter_mut().for_each(|tally| tally.worsen(HostStatus::Failed));
        self.error(shared, ErrorLine::new(Code::Other, why));
    }

    /// What was sent to all came badly to one target, and was sent to it again.
    pub(crate) fn lossy(&mut self, shared: &Shared, target: TargetNo, stats: &Stats) {
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

    /// Reports an error on this host.
    pub(crate) fn error(&mut self, shared: &Shared, error: ErrorLine) {
        self.total.errors += 1;
        self.here += 1;
        self.say(shared, vec![error.into()]);
    }

    pub(crate) fn suspended(&self, target: TargetNo) {
        let host = &self.hosts[target.index()].report;
        log::info(format_args!(
            "{} ({}) is not responding; continuing without it",
            host.name, host.address
        ));
    }

    pub(crate) fn resumed(&self, target: TargetNo) {
        let host = &self.hosts[target.index()].report;
        log::info(format_args!("{} ({}) is responding again", host.name, host.address));
    }

    /// This host cannot go on with a transfer that it has asked for.
    pub(crate) fn refused(&mut self, shared: &Shared, reason: Reason, path: &[u8]) {
        let Some(tally) = self.hosts.first_mut() else { return };
        let error = ErrorLine::refused(&tally.report.name, Escaped(path), reason);
        tally.worsen(HostStatus::Refused);
        tally.report.error(error.report.clone());
        self.total.errors += 1;
        self.say(shared, vec![error.into()]);
    }

    /// The transfer that this host has asked for has broken off.
    pub(crate) fn broke(&mut self) {
        self.hosts.iter_mut().for_each(|tally| tally.worsen(HostStatus::Failed));
    }

    /// A batch's path, if it is open.
    pub(crate) fn path(&self, number: BatchNo, entry: EntryNo) -> Option<&RelPath> {
        self.batches.get(&number)?.manifest.entries.get(entry.index()).map(|entry| &entry.path)
    }

    /// A target has left the transfer; `host` is what it is as a member.
    pub(crate) fn gone(&mut self, shared: &Shared, target: TargetNo, why: &Gone, host: &Member) {
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
    pub(crate) fn progress(
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

    /// It leaves a record here, with this stamp.
    pub(crate) fn recorded(&mut self, stamp: Stamp) {
        (self.total.recorded, self.stamp) = (true, Some(stamp));
    }

    /// Reports the end of the transfer.
    pub(crate) fn over(
        &mut self,
        shared: &Shared,
        now: Time,
        number: TransferNo,
        wire: u64,
        errors: u64,
    ) {
        let (results, unreached) = self.results(shared, now, number, wire, errors);
        let client = self.client;
        shared.control.send(ToControl::Over { client, number, results, unreached });
    }

    /// The same for who passes on the results.
    pub(crate) fn results(
        &mut self,
        shared: &Shared,
        now: Time,
        number: TransferNo,
        wire: u64,
        errors: u64,
    ) -> (Results, Option<Unreached>) {
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
        if let (Some(stamp), Some(keeper)) = (self.stamp, &shared.keeper) {
            let have = self.hosts.iter().filter(|tally| !failed(tally));
            let have: Vec<HostName> = have.map(|tally| tally.report.name.clone()).collect();
            keeping::lock(keeper).sent(stamp, &have);
        }
        let results = (self.hosts.iter().map(|tally| tally.report.clone()).collect(), self.total);
        let total = self.total;
        let unreached = self.unreached.take().filter(|unreached| !unreached.hosts.is_empty());
        match total.failed > 0 || total.errors > 0 {
            false => self.ended(shared, now, number, Ended::Complete),
            true => self.ended(shared, now, number, Ended::Incomplete),
        }
        (results, unreached)
    }

    /// It is over: it is counted, and the log has its line. What comes to this host has both where it is received.
    pub(crate) fn ended(&self, shared: &Shared, now: Time, number: TransferNo, how: Ended) {
        if self.is_fetched {
            return;
        }
        let (order, total) = (&self.order, &self.total);
        let took = now.since(self.began);
        if !order.mode.changes_nothing() {
            let counts = &shared.counters.out;
            counts.ended(how, total.files, total.bytes);
            let is_own = self.client != NO_CLIENT && order.ticket.is_none();
            if is_own && how == Ended::Complete && total.hosts > 0 {
                counts.completed(took);
            }
        }
        let lacking = self.hosts.iter().filter(|tally| tally.report.status != HostStatus::Ok);
        let lacking: Vec<&str> = lacking.map(|tally| tally.report.name.as_str()).collect();
        let (level, result) = match how {
            Ended::Complete => (Level::TRANSFER, "complete".to_owned()),
            Ended::Incomplete => (Level::WARNING, format!("incomplete{}", on(&lacking))),
            Ended::Aborted | Ended::Refused => {
                let why = "aborted: given up: its client has gone, or the daemon stops";
                (Level::WARNING, why.to_owned())
            }
        };
        let Total { files, bytes, unchanged, deleted, errors, .. } = *total;
        let line = TrailLine {
            key: TransferKey { node: self.me, number },
            with: &format!("to {}", counted(total.hosts, "host")),
            mode: order.mode,
            path: &order.path_shown(),
            counts: Counts { files, bytes, unchanged, deleted, errors },
            took,
            result: &result,
            asked: Some((&self.command, order.caller())),
        };
        log::many(level, "transfers", format_args!("{line}"));
    }
}
