//! The line that the log has of each transfer that came in: from whom, what, how much, how it ended.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use crate::console::metrics::Ended;
use crate::daemon::became::{Became, is_counted};
use crate::daemon::caller::Caller;
use crate::daemon::counters::Transfers;
use crate::daemon::reporting::trail_line::{Counts, TrailLine};
use crate::daemon::shared::lock;
use crate::daemon::wanted::Wanted;
use crate::engine::disk_job::{DiskAnswer, DiskJob, TransferKey};
use crate::engine::incoming::{AbortReason, Arrived};
use crate::ids::{BatchNo, EntryNo};
use crate::log::{self, Level};
use crate::time::Time;
use crate::wire::manifest::{Entry, Manifest};
use crate::wire::mode::Mode;
use crate::wire::outcome::{Need, Outcome};

/// What is known of the transfers that are open.
#[derive(Default, Debug)]
pub(super) struct Trail(HashMap<TransferKey, Incoming>);

/// One transfer.
#[derive(Debug)]
struct Incoming {
    /// The sender's name and address.
    from: String,
    began: Time,
    mode: Mode,
    /// What it is about, once that is known.
    path: Option<String>,
    /// The command that this host has asked for it by, and whose that is.
    asked: Option<(String, Caller)>,
    /// The manifests of the batches that are not done.
    manifests: HashMap<BatchNo, Arc<Manifest>>,
    /// The entries whose contents are needed, of these batches.
    needed: HashMap<BatchNo, Vec<EntryNo>>,
    counts: Counts,
    /// The files and bytes that wait for a deletion.
    late: (u64, u64),
}

impl Trail {
    /// A transfer begins.
    pub(super) fn opened(&mut self, now: Time, key: TransferKey, from: String) {
        log::many(Level::INFO, "transfers", format_args!("transfer {key} from {from} started"));
        let incoming = Incoming {
            from,
            began: now,
            mode: Mode::default(),
            path: None,
            asked: None,
            manifests: HashMap::new(),
            needed: HashMap::new(),
            counts: Counts::default(),
            late: (0, 0),
        };
        self.0.insert(key, incoming);
    }

    /// The disk is asked for something.
    pub(super) fn job(&mut self, job: &DiskJob, wanted: &Mutex<Option<Wanted>>) {
        let DiskJob::Plan { key, batch, manifest, mode, .. } = job else { return };
        let Some(incoming) = self.0.get_mut(key) else { return };
        incoming.mode = *mode;
        if let Some(setup) = &manifest.setup {
            let base = setup.path.is_base();
            let path = if base { "the base directory".to_owned() } else { setup.path.to_string() };
            incoming.path = Some(path);
            let is_it = |one: &&Wanted| Some(one.ticket) == setup.ticket && one.donor == key.node;
            if let Some(one) = lock(wanted).as_ref().filter(is_it) {
                incoming.asked = Some((one.command.clone(), one.order.caller().clone()));
            }
        }
        incoming.manifests.insert(*batch, Arc::clone(manifest));
    }

    /// The disk has answered.
    pub(super) fn answer<H>(&mut self, answer: &DiskAnswer<H>) {
        match answer {
            DiskAnswer::Planned { key, batch, needs, .. } => {
                let Some(incoming) = self.0.get_mut(key) else { return };
                incoming.planned(*key, *batch, needs);
            }
            DiskAnswer::Done { key, batch, outcomes } => {
                let Some(incoming) = self.0.get_mut(key) else { return };
                incoming.done(*key, *batch, outcomes);
            }
            DiskAnswer::Deleted { key, deleted, failed } => {
                let Some(incoming) = self.0.get_mut(key) else { return };
                incoming.counts.deleted += deleted;
                incoming.counts.errors += failed;
                // Which ones have failed is not known here.
                let (files, bytes) = std::mem::take(&mut incoming.late);
                incoming.counts.files += files.saturating_sub(*failed);
                incoming.counts.bytes += if *failed == 0 { bytes } else { 0 };
            }
            // What would be deleted; in a check, what only this host has.
            DiskAnswer::Tallied { key, tally } => {
                let Some(incoming) = self.0.get_mut(key) else { return };
                if incoming.mode.changes_nothing() {
                    incoming.counts.deleted +=
                        if incoming.mode.is_check() { 0 } else { tally.spooled };
                    incoming.counts.errors += tally.failed;
                }
            }
            _ => {}
        }
    }

    /// A transfer is over: what has arrived, or why it ended early.
    pub(super) fn ended(
        &mut self,
        now: Time,
        key: TransferKey,
        how: Result<Arrived, AbortReason>,
        counted_in: &Transfers,
    ) {
        let Some(incoming) = self.0.remove(&key) else { return };
        let Incoming { from, began, mode, path, asked, mut counts, late, .. } = incoming;
        counts.errors += late.0;
        let (ended, level, result) = match how {
            Ok(arrived) if arrived.is_incomplete() => {
                (Ended::Incomplete, Level::WARNING, arrived.to_string())
            }
            Ok(_) if counts.errors > 0 => {
                (Ended::Incomplete, Level::WARNING, "incomplete".to_owned())
            }
            Ok(_) => (Ended::Complete, Level::TRANSFER, "complete".to_owned()),
            Err(why) => (Ended::Aborted, Level::WARNING, format!("aborted: {why}")),
        };
        if !mode.changes_nothing() {
            counted_in.ended(ended, counts.files, counts.bytes);
        }
        let line = TrailLine {
            key,
            with: &format!("from {from}"),
            mode,
            path: path.as_deref().unwrap_or("nothing"),
            counts,
            took: now.since(began),
            result: &result,
            asked: asked.as_ref().map(|(command, caller)| (command.as_str(), caller)),
        };
        match ended {
            // A hostile member can begin and end as many as it likes.
            Ended::Aborted => {
                let text = format_args!("{line}");
                log::limited(level, "transfers that were aborted", None, text);
            }
            _ => log::many(level, "transfers", format_args!("{line}")),
        }
    }
}

impl Incoming {
    fn planned(&mut self, key: TransferKey, batch: BatchNo, needs: &[Need]) {
        let Some(manifest) = self.manifests.get(&batch).map(Arc::clone) else { return };
        let needs = || EntryNo::ZERO.onwards().zip(needs);
        let mode = self.mode;
        if mode.changes_nothing() {
            // There is nothing else to come.
            self.manifests.remove(&batch);
            for ((_, need), entry) in needs().zip(&manifest.entries) {
                let content = matches!(need, Need::All | Need::Late) && !mode.is_check();
                self.note(key, entry, Became::by_need(*need, mode), content, need);
            }
        } else {
            let all = needs().filter(|(_, need)| **need == Need::All);
            self.needed.insert(batch, all.map(|(entry, _)| entry).collect());
        }
    }

    fn done(&mut self, key: TransferKey, batch: BatchNo, outcomes: &[Outcome]) {
        let Some(manifest) = self.manifests.remove(&batch) else { return };
        let needed = self.needed.remove(&batch).unwrap_or_default();
        let entries = manifest.entries.iter().zip(outcomes);
        for (number, (entry, outcome)) in EntryNo::ZERO.onwards().zip(entries) {
            let content = needed.binary_search(&number).is_ok();
            self.note(key, entry, Became::from(*outcome), content, outcome);
        }
    }

    /// Notes what became of an entry, whose `content` was needed or not, by `what` the disk has said.
    fn note(
        &mut self,
        key: TransferKey,
        entry: &Entry,
        became: Became,
        content: bool,
        what: impl fmt::Debug,
    ) {
        let counts = &mut self.counts;
        let counted = u64::from(is_counted(entry));
        let bytes = if content { entry.size() } else { 0 };
        match became {
            Became::Late if !self.mode.changes_nothing() => {
                self.late = (self.late.0 + counted, self.late.1 + bytes);
            }
            Became::Written | Became::Late => {
                counts.files += counted;
                counts.bytes += bytes;
            }
            Became::Same | Became::OtherAttributes => counts.unchanged += counted,
            Became::Failed(_) => counts.errors += 1,
            _ => {}
        }
        if entry.is_object() && log::shows(Level::TRACE) {
            let text = format_args!("transfer {key}: {}: {what:?}", entry.path);
            log::many(Level::TRACE, "entries", text);
        }
    }
}
