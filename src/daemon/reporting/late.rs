//! Entries for which a directory that is not empty has to go first. Nothing is deleted before all is sent, and
//! perhaps nothing at all, so what becomes of them is known last.

use std::collections::BTreeMap;

use super::host_tally::{HostTally, Tell};
use super::marked_batch::Mark;
use crate::daemon::became::Became;
use crate::errno;
use crate::ids::TargetNo;
use crate::name::RelPath;
use crate::wire::manifest::Entry;
use crate::wire::outcome::Reason;

/// So many are remembered, for all targets together; others count as if they were in place.
const MOST: usize = 10_000;

/// Those of one transfer.
#[derive(Default, Debug)]
pub(super) struct Late {
    entries: BTreeMap<RelPath, Waiting>,
    count: usize,
}

#[derive(Debug)]
struct Waiting {
    entry: Entry,
    /// What is known of the other targets, once its batch is done on all of them.
    mark: Option<Mark>,
    hosts: Vec<Host>,
}

#[derive(Debug)]
struct Host {
    target: TargetNo,
    /// It needs the content.
    content: bool,
    /// It has named it among what it could not delete.
    failed: bool,
}

impl Late {
    /// Whether `target` is waited for; if not, there are too many.
    pub(super) fn add(&mut self, entry: &Entry, target: TargetNo, content: bool) -> bool {
        if self.count == MOST {
            return false;
        }
        self.count += 1;
        let new = || Waiting { entry: entry.clone(), mark: None, hosts: Vec::new() };
        let waiting = self.entries.entry(entry.path.clone()).or_insert_with(new);
        waiting.hosts.push(Host { target, content, failed: false });
        true
    }

    /// Whether an entry is not to be counted yet, though its batch is done.
    pub(super) fn keeps(&mut self, path: &RelPath, mark: Mark) -> bool {
        let waiting = self.entries.get_mut(path);
        waiting.map(|waiting| waiting.mark = Some(mark)).is_some()
    }

    /// `target` could not delete this.
    pub(super) fn failed(&mut self, path: &RelPath, target: TargetNo) {
        let hosts = self.entries.get_mut(path).map(|waiting| &mut waiting.hosts);
        let mut hosts = hosts.into_iter().flatten().filter(|host| host.target == target);
        hosts.by_ref().for_each(|host| host.failed = true);
    }

    /// All is over: notes and counts them. `refused`: in a dry run, that it would delete too much.
    pub(super) fn settle(self, hosts: &mut [HostTally], tell: &mut Tell<'_>, refused: bool) {
        let dry_run = tell.mode.changes_nothing();
        for Waiting { entry, mark, hosts: waiting } in self.entries.into_values() {
            let is_closed = mark.is_some();
            let mut mark = mark.unwrap_or_default();
            for Host { target, content, failed } in waiting {
                let host = &mut hosts[target.index()];
                let became = match if dry_run { !refused } else { host.ran } {
                    _ if host.gone => Became::Struck,
                    // That was said already.
                    _ if failed => Became::Silent,
                    true => Became::Written,
                    false => Became::Failed(Reason::Os(errno::ENOTEMPTY)),
                };
                host.note(tell, &mut mark, &entry, became, content);
            }
            if is_closed {
                mark.count(&entry, tell.total);
            }
        }
    }
}
