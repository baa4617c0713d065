//! The results of a transfer on one host, and in all: counted here, and nowhere else, for lines,
//! totals and reports, whether something was done or only would be.

use std::net::Ipv4Addr;

use super::marked_batch::Mark;
use crate::console::error::{Code, ErrorLine};
use crate::console::reply::{self, CheckCount, Difference, HostReport, HostStatus};
use crate::console::reply::{Said, Total, What};
use crate::count::counted;
use crate::daemon::became::{Became, is_counted};
use crate::fs::folding;
use crate::fs::root::Root;
use crate::name::HostName;
use crate::wire::manifest::Entry;
use crate::wire::mode::Mode;
use crate::wire::outcome::{Lacks, Reason};

/// After this many errors of a host, further ones are only counted.
const MOST_ERRORS: u64 = 100;

/// What notes are added to, and how they are told.
pub(super) struct Tell<'a> {
    pub(super) total: &'a mut Total,
    pub(super) lines: Vec<Said>,
    /// The base directory that is sent from.
    pub(super) root: &'a Root,
    pub(super) mode: Mode,
    /// The highest level of lines that the client sees.
    pub(super) level: u8,
}

/// The results of a transfer on one host.
#[derive(Debug)]
pub(super) struct HostTally {
    pub(super) report: HostReport,
    /// All errors, whether shown or not.
    errors: u64,
    /// Entries whose attributes of each kind could not be set.
    lacks: [u64; Lacks::KINDS.len()],
    /// Entries that were not tried, for want of room.
    pub(super) untried: u64,
    /// Entries that differ on a read-only host.
    readonly: u64,
    /// The host has left the transfer.
    pub(super) gone: bool,
    /// It has deleted what it was to delete.
    pub(super) ran: bool,
}

impl HostTally {
    /// `check`: this is a comparison, and its results are counted.
    pub(super) fn new(name: HostName, address: Ipv4Addr, check: bool) -> Self {
        let check = check.then(CheckCount::default);
        let report = HostReport { check, ..HostReport::new(name, address) };
        HostTally {
            report,
            errors: 0,
            lacks: Default::default(),
            untried: 0,
            readonly: 0,
            gone: false,
            ran: false,
        }
    }

    /// Sets the status, unless it is already worse.
    pub(super) fn worsen(&mut self, status: HostStatus) {
        self.report.status = self.report.status.max(status);
    }

    /// Notes what became of an entry, of which the host has needed the `content` or not.
    pub(super) fn note(
        &mut self,
        tell: &mut Tell<'_>,
        mark: &mut Mark,
        entry: &Entry,
        became: Became,
        content: bool,
    ) {
        let Tell { total, lines, root, mode, level } = tell;
        let (mode, level) = (*mode, *level);
        let (path, counted) = (&entry.path, u64::from(is_counted(entry)));
        let name = &self.report.name;
        let mut line = |at: u8, text: &dyn Fn() -> String| {
            if level >= at && entry.is_object() {
                lines.push(Said::Line(at, text()));
            }
        };
        match became {
            Became::Written | Became::Late => {
                mark.written = true;
                mark.content |= content;
                self.report.files += counted;
                self.report.bytes += if content { entry.size() } else { 0 };
                if let Some(count) = &mut self.report.check {
                    count.ng += 1;
                    lines.push(Difference::new(What::Contents, name, path).into());
                    self.worsen(HostStatus::Failed);
                } else if !mode.changes_nothing() {
                    line(1, &|| reply::update(name, path, false));
                } else if level > 0 {
                    line(1, &|| reply::update(name, path, true));
                } else if !std::mem::replace(&mut mark.named, true) {
                    line(0, &|| reply::would_update(path));
                }
            }
            Became::Same | Became::OtherAttributes => {
                self.report.unchanged += counted;
                if let Some(count) = &mut self.report.check {
                    count.ok += counted;
                    if counted > 0 {
                        line(1, &|| reply::check_ok(name, path));
                    }
                    if became == Became::OtherAttributes {
                        count.attr += 1;
                        lines.push(Difference::new(What::Attributes, name, path).into());
                    }
                } else if !mode.names_only() {
                    line(2, &|| reply::skip(name, path));
                }
            }
            Became::ReadOnly => {
                mark.lacking = true;
                self.readonly += u64::from(entry.is_object());
                line(3, &|| reply::skip_readonly(name, path));
                self.worsen(HostStatus::ReadOnly);
            }
            Became::Failed(Reason::NotTried) => {
                mark.lacking = true;
                self.untried += 1;
                self.worsen(HostStatus::Failed);
            }
            Became::Failed(reason) => {
                mark.lacking = true;
                total.errors += 1;
                let error = match reason {
                    Reason::SameName(number) if self.errors < MOST_ERRORS => {
                        let other = folding::namesake(root, path, number);
                        ErrorLine::same_name(name, path, other.as_ref())
                    }
                    reason => ErrorLine::on(name, path, reason),
                };
                lines.extend(self.error(error));
                self.worsen(HostStatus::Failed);
            }
            Became::Silent => {
                mark.lacking = true;
                self.worsen(HostStatus::Failed);
            }
            Became::Struck => mark.lacking = true,
            Became::Unsure => mark.unsure = true,
        }
    }

    /// Notes that something failed on the host. Gives the line to show, unless there have been too many.
    pub(super) fn error(&mut self, error: ErrorLine) -> Option<Said> {
        self.errors += 1;
        self.report.error(error.report.clone());
        if let Some(count) = &mut self.report.check {
            count.errors += 1;
        }
        (self.errors <= MOST_ERRORS).then(|| error.into())
    }

    /// Notes how many entries have been, or would be, deleted.
    pub(super) fn deleted(&mut self, total: &mut Total, deleted: u64) {
        self.report.deleted = deleted;
        // Hosts usually delete the same files, so the total is the most that any one of them deleted.
        total.deleted = total.deleted.max(deleted);
    }

    /// Notes what an entry lacks.
    pub(super) fn lack(&mut self, lacks: Lacks) {
        for (count, (kind, _)) in self.lacks.iter_mut().zip(Lacks::KINDS) {
            *count += u64::from(lacks.has(kind));
        }
    }

    /// The lines at the end. `lax`: attributes that could not be set are no errors.
    pub(super) fn last_lines(&mut self, total: &mut Total, lax: bool) -> Vec<Said> {
        let name = self.report.name.clone();
        let mut lines = Vec::new();
        for (count, (_, why)) in self.lacks.into_iter().zip(Lacks::KINDS) {
            let why = format!("{why}: {} {name}", counted(count, "entry"));
            if count > 0 && lax {
                lines.push(Said::Line(0, format!("warning: {why}")));
            } else if count > 0 {
                let error = ErrorLine::new(Code::NotSet, why).about(&name, "");
                total.errors += 1;
                self.worsen(HostStatus::Failed);
                self.report.error(error.report.clone());
                lines.push(error.into());
            }
        }
        let more = self.errors.saturating_sub(MOST_ERRORS);
        if more > 0 {
            let error =
                ErrorLine::new(Code::MoreErrors, format!("{} {name}", counted(more, "more error")));
            lines.push(error.about(&name, "").into());
        }
        if self.untried > 0 {
            let more = counted(self.untried, "more entry");
            let why = format!("{more} not tried for want of room {name}");
            let error = ErrorLine::new(Code::NotTried, why).about(&name, "");
            total.errors += 1;
            self.report.error(error.report.clone());
            lines.push(error.into());
        }
        if self.readonly > 0 {
            let differ = if self.readonly == 1 { "differs" } else { "differ" };
            let entries = counted(self.readonly, "entry");
            let why = format!("{name} is read-only: {entries} {differ} there");
            let error = ErrorLine::new(Code::ReadOnly, why).about(&name, "");
            total.errors += 1;
            self.report.error(error.report.clone());
            lines.push(error.into());
        }
        if let Some(count) = self.report.check.filter(|_| !self.gone) {
            lines.push(Said::Line(1, count.line(&name)));
        }
        lines
    }
}
