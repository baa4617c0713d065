//! The results of a transfer on one host.

use crate::console::error::{Code, ErrorLine};
use crate::console::reply::{self, CheckCount, HostReport, HostStatus, Said, Total};
use crate::daemon::messages::Host;
use crate::fs::folding;
use crate::fs::root::Root;
use crate::name::RelPath;
use crate::wire::manifest::{Entry, Kind};
use crate::wire::outcome::{Need, Reason};

/// After this many errors of a host, further ones are only counted.
const MOST_ERRORS: u64 = 100;

/// The results of a transfer on one host.
#[derive(Debug)]
pub(super) struct HostTally {
    pub(super) report: HostReport,
    /// All errors, whether shown or not.
    errors: u64,
    /// Entries that were not tried, for want of room.
    pub(super) untried: u64,
    /// Entries that differ on a read-only host.
    pub(super) readonly: u64,
    /// The host has left the transfer.
    pub(super) gone: bool,
}

impl HostTally {
    /// `check`: this is a comparison, and its results are counted.
    pub(super) fn new(host: &Host, check: bool) -> Self {
        let check = check.then(CheckCount::default);
        let report = HostReport { check, ..HostReport::new(host.name.clone(), host.address) };
        HostTally { report, errors: 0, untried: 0, readonly: 0, gone: false }
    }

    /// Sets the status, unless it is already worse.
    pub(super) fn worsen(&mut self, status: HostStatus) {
        self.report.status = self.report.status.max(status);
    }

    /// Notes the comparison of an entry. True if the host's copy differs or could not be compared.
    pub(super) fn compared(
        &mut self,
        root: &Root,
        total: &mut Total,
        lines: &mut Vec<Said>,
        entry: &Entry,
        need: Need,
    ) -> bool {
        let path = &entry.path;
        let shown = entry.is_object() && entry.kind != Kind::Open;
        let count = self.report.check.get_or_insert_default();
        let host = &self.report.name;
        match need {
            Need::Skip | Need::Attributes => {
                if shown {
                    count.ok += 1;
                    lines.push(Said::Line(1, reply::check_ok(host, path)));
                }
                if need == Need::Attributes {
                    count.attr += 1;
                    lines.push(Said::Line(1, reply::check_attr(host, path)));
                }
                false
            }
            Need::All | Need::ReadOnly => {
                count.ng += 1;
                lines.push(Said::Line(0, reply::check_ng(host, path)));
                self.worsen(HostStatus::Failed);
                true
            }
            Need::Failed(reason) => {
                count.errors += 1;
                self.error(root, total, lines, path, &reason);
                true
            }
            // What is compared comes with its digest.
            Need::Silent | Need::Unsure => true,
        }
    }

    /// Notes that an entry failed on the host.
    pub(super) fn error(
        &mut self,
        root: &Root,
        total: &mut Total,
        lines: &mut Vec<Said>,
        path: &RelPath,
        reason: &Reason,
    ) {
        self.worsen(HostStatus::Failed);
        total.errors += 1;
        if *reason == Reason::NotTried {
            self.untried += 1;
            return;
        }
        self.errors += 1;
        let error = match *reason {
            Reason::SameName(number) if self.errors <= MOST_ERRORS => {
                let other = folding::namesake(root, path, number);
                ErrorLine::same_name(&self.report.name, path, other.as_ref())
            }
            reason => ErrorLine::on(&self.report.name, path, reason),
        };
        self.report.error(error.report.clone());
        if self.errors <= MOST_ERRORS {
            lines.push(error.into());
        }
    }

    /// Notes that something could not be deleted. Gives the line to show, unless there have been too
    /// many.
    pub(super) fn not_deleted(&mut self, error: ErrorLine) -> Option<Said> {
        self.errors += 1;
        self.report.error(error.report.clone());
        if let Some(count) = &mut self.report.check {
            count.errors += 1;
        }
        (self.errors <= MOST_ERRORS).then(|| error.into())
    }

    /// What was counted and not shown, at the end.
    pub(super) fn counted(&mut self) -> Vec<Said> {
        let name = &self.report.name;
        let more = self.errors.saturating_sub(MOST_ERRORS);
        let (untried, readonly) = (self.untried, self.readonly);
        let mut lines = Vec::new();
        for (count, code, why) in [
            (more, Code::MoreErrors, format!("{more} more errors {name}")),
            (
                untried,
                Code::NotTried,
                format!("{untried} more entries not tried for want of room {name}"),
            ),
            (
                readonly,
                Code::ReadOnly,
                format!("{name} is read-only: {readonly} entries differ there"),
            ),
        ] {
            if count > 0 {
                lines.push(ErrorLine::new(code, why).about(name, ""));
            }
        }
        if untried > 0 {
            let error = lines.iter().find(|line| line.report.code == Code::NotTried.to_string());
            let error = error.map(|line| line.report.clone());
            error.into_iter().for_each(|error| self.report.error(error));
        }
        lines.into_iter().map(Said::from).collect()
    }
}
