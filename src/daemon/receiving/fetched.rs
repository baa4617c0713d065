//! The transfers that come in because this host has asked for them: which these are, and what is told of them to the
//! client that wants them.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::daemon::clock;
use crate::daemon::messages::ToControl;
use crate::daemon::order::Order;
use crate::daemon::reporting::advance::UnderWay;
use crate::daemon::reporting::report::{Report, Subject};
use crate::daemon::shared::{Shared, lock};
use crate::daemon::unread::Unread;
use crate::daemon::wanted::Wanted;
use crate::engine::disk_job::{DiskAnswer, DiskJob, TransferKey};
use crate::errno;
use crate::ids::Ticket;
use crate::ids::{BatchNo, EntryNo, TargetNo};
use crate::wire::outcome::{Code, Reason, Runs};

/// This host, among the targets.
const ME: TargetNo = TargetNo::ZERO;

/// Those that are open.
pub(super) struct FetchedTransfers<'a> {
    shared: &'a Shared,
    /// What is expected next for a ticket.
    next: Option<(Ticket, Arc<Order>)>,
    open: HashMap<TransferKey, Fetched>,
}

struct Fetched {
    ticket: Ticket,
    order: Arc<Order>,
    report: Report,
    unread: Unread,
    /// How many names of what was spooled for deletion are told.
    named: u64,
}

impl<'a> FetchedTransfers<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        FetchedTransfers { shared, next: None, open: HashMap::new() }
    }

    /// Whether a job is for a transfer that nobody here has asked for, or that nobody wants any more.
    pub(super) fn refuses<H>(&mut self, job: &DiskJob) -> Option<DiskAnswer<H>> {
        let fatal = |key: &TransferKey, batch: &BatchNo, code: u16| {
            let (key, batch, entry) = (*key, *batch, EntryNo::ZERO);
            Some(DiskAnswer::Fatal { key, batch, entry, reason: Reason::Os(code) })
        };
        let (key, batch) = match job {
            DiskJob::Plan { key, batch, .. }
            | DiskJob::Stage { key, batch, .. }
            | DiskJob::Commit { key, batch, .. } => (key, batch),
            DiskJob::Tally { key } | DiskJob::Delete { key } => (key, &BatchNo::ZERO),
            DiskJob::Page { .. } | DiskJob::Close { .. } => return None,
        };
        if let Some(fetched) = self.open.get(key) {
            return match self.is_wanted(fetched.ticket) {
                true => None,
                false => fatal(key, batch, errno::ECANCELED),
            };
        }
        let DiskJob::Plan { manifest, mode, .. } = job else { return None };
        let setup = manifest.setup.as_ref()?;
        let ticket = setup.ticket?;
        let wanted = lock(&self.shared.wanted);
        let wanted = wanted.as_ref().filter(|one| (one.ticket, one.donor) == (ticket, key.node));
        let expected = |wanted: &Wanted| match &self.next {
            Some((next, order)) if *next == ticket => Arc::clone(order),
            _ => Arc::clone(&wanted.order),
        };
        let begun = wanted.and_then(|wanted| {
            let order = expected(wanted).coming(setup, *mode)?;
            let subject = Subject {
                me: key.node,
                client: wanted.client,
                command: wanted.command.clone(),
                unread: wanted.unread.clone(),
                level: wanted.level,
                follow: wanted.follow,
                hosts: vec![(
                    wanted.me.clone(),
                    self.shared.net.address().unwrap_or(Ipv4Addr::UNSPECIFIED),
                )],
                order: Arc::clone(&order),
                root: self.shared.base.look().ok()?,
                is_fetched: true,
                block: 0,
            };
            let unread = wanted.unread.clone();
            let report = Report::of(subject, clock::now());
            Some(Fetched { ticket, order, report, unread, named: 0 })
        });
        match begun {
            Some(fetched) => {
                self.open.insert(*key, fetched);
                None
            }
            None => fatal(key, batch, errno::EPERM),
        }
    }

    fn is_wanted(&self, ticket: Ticket) -> bool {
        lock(&self.shared.wanted).as_ref().is_some_and(|wanted| wanted.ticket == ticket)
    }

    /// Whether a job has to wait: its client has too much to read.
    pub(super) fn holds_up(&self, job: &DiskJob) -> bool {
        let (DiskJob::Plan { key, .. } | DiskJob::Commit { key, .. } | DiskJob::Page { key, .. }) =
            job
        else {
            return false;
        };
        self.open
            .get(key)
            .is_some_and(|fetched| fetched.unread.is_too_much() && self.is_wanted(fetched.ticket))
    }

    /// Whether any has come.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The disk is about to do something.
    pub(super) fn job(&mut self, job: &DiskJob) {
        match job {
            DiskJob::Plan { key, batch, manifest, .. } => {
                if let Some(fetched) = self.open.get_mut(key) {
                    fetched.report.open(*batch, Arc::clone(manifest));
                }
            }
            DiskJob::Close { key, ended } => {
                let Some(mut fetched) = self.open.remove(key) else { return };
                let is_whole = ended.is_some();
                if !is_whole {
                    fetched.report.broke();
                }
                let (shared, now) = (self.shared, clock::now());
                let (results, _) = fetched.report.results(shared, now, key.number, 0, 0);
                // One that has broken off may begin again, with smaller packets.
                let results = match is_whole {
                    false => results,
                    true => match fetched.order.over(results, None) {
                        Ok(results) => results,
                        Err(next) => {
                            let so_far = next.before().cloned();
                            self.next = Some((fetched.ticket, next));
                            so_far.unwrap_or_default()
                        }
                    },
                };
                self.shared.control.send(ToControl::Fetched(fetched.ticket, results, is_whole));
            }
            _ => {}
        }
    }

    /// The disk has answered.
    pub(super) fn answer<H>(&mut self, answer: &DiskAnswer<H>) {
        let shared = self.shared;
        let open = &mut self.open;
        match answer {
            DiskAnswer::Planned { key, batch, needs, .. } => {
                let Some(fetched) = open.get_mut(key) else { return };
                fetched.report.needs(shared, *batch, ME, &all(needs));
                if fetched.order.mode.commits_nothing() {
                    fetched.report.close(*batch);
                }
            }
            DiskAnswer::Done { key, batch, outcomes } => {
                let Some(fetched) = open.get_mut(key) else { return };
                fetched.report.outcomes(shared, *batch, ME, &all(outcomes));
                fetched.report.close(*batch);
            }
            DiskAnswer::Tallied { key, tally } => {
                let Some(fetched) = open.get_mut(key) else { return };
                fetched.report.tallied(shared, &[(ME, *tally)]);
            }
            DiskAnswer::Deleted { key, deleted, failed } => {
                let Some(fetched) = open.get_mut(key) else { return };
                fetched.report.ran(ME, *deleted, *failed);
            }
            DiskAnswer::Page { key, skip, names } => {
                let Some(fetched) = open.get_mut(key) else { return };
                // What was lost on the way is asked for again.
                let known = fetched.named.saturating_sub(*skip);
                let new = names.get(usize::try_from(known).unwrap_or(usize::MAX)..);
                let new = new.unwrap_or_default();
                fetched.named = fetched.named.max(skip.saturating_add(names.len() as u64));
                fetched.report.page(shared, ME, new);
            }
            DiskAnswer::Fatal { key, batch, entry, reason } => {
                let Some(fetched) = open.get_mut(key) else { return };
                let path = fetched.report.path(*batch, *entry);
                let path = path.map_or(Vec::new(), |path| path.as_bytes().to_vec());
                fetched.report.refused(shared, *reason, &path);
            }
            DiskAnswer::Digested { .. } | DiskAnswer::Staged { .. } | DiskAnswer::Closed { .. } => {
            }
        }
    }

    /// Tells clients that watch how far it is.
    pub(super) fn tell(&mut self) {
        let now = clock::now();
        for fetched in self.open.values_mut().filter(|fetched| fetched.report.watches()) {
            fetched.report.progress(self.shared, now, UnderWay::default(), None);
        }
    }
}

/// The codes of all entries of a batch.
fn all<C: Code>(codes: &[C]) -> Runs<C> {
    Runs { first: EntryNo::ZERO, runs: codes.iter().map(|code| (*code, 1)).collect() }
}
