//! What is reported of deletion: how much it would be, and whether that is too much.

use std::sync::Arc;

use super::Report;
use crate::console::command::Scope;
use crate::console::error::{Code, ErrorLine};
use crate::console::reply::{self, Difference, HostStatus, Said, What};
use crate::count::counted;
use crate::daemon::shared::Shared;
use crate::engine::disk_job::DeletionTally;
use crate::ids::TargetNo;
use crate::name::RelPath;
use crate::wire::outcome::SpoolCode;

/// Deleting fewer entries than this needs no `--force`, even if they are more than half.
const FEW: u64 = 100;
/// A dry run names each path once, whatever the number of hosts. It remembers this many paths.
const MOST_NAMED: usize = 100_000;

impl Report {
    /// Checks how much the targets would delete: whether to delete it, and whether to ask for the names.
    pub(crate) fn tallied(
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
        // What is listed is meant.
        let free = order.mode.path_is_gone() || order.force || order.scope == Scope::Listed;
        if most > 0 && self.below == 0 && !free {
            let here = if order.ticket.is_some() { "there" } else { "here" };
            let why = format!("{path} is empty {here}: nothing is deleted without --force");
            let error = ErrorLine::new(Code::EmptySource, why);
            let error = error.about("", reply::shown(&order.path));
            // The host that sends it says so.
            match self.is_fetched {
                true => self.over_limit = true,
                false => lines.push(error.into()),
            }
        }
        for (target, tally) in tallies {
            let host = &mut self.hosts[target.index()];
            let (name, DeletionTally { spooled, entries, .. }) = (&host.report.name, *tally);
            let over = order.max_delete.filter(|most| spooled > *most);
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
        if !lines.is_empty() || self.over_limit {
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
    pub(crate) fn ran(&mut self, target: TargetNo, deleted: u64, failed: u64) {
        let tally = &mut self.hosts[target.index()];
        tally.ran = true;
        tally.deleted(&mut self.total, deleted);
        if failed > 0 {
            tally.worsen(HostStatus::Failed);
        }
        self.total.errors += failed;
    }

    /// Reports entries that a target deleted, would delete, or could not delete.
    pub(crate) fn page(
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

    /// Whether, by what targets have counted, nothing is left where the transfer reached but what it named:
    /// `errors` are those of the walk.
    pub(crate) fn settles(&self, errors: u64) -> bool {
        let tree = self.order.scope == Scope::Tree && (self.below > 0 || self.order.force);
        let listed = self.order.scope == Scope::Listed;
        (tree || listed || self.order.mode.path_is_gone())
            && !self.over_limit
            && self.here + errors == 0
    }
}
