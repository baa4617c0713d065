//! The line that the log has of each transfer that came in: from whom, what, how much, how it ended.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::console::metrics::Ended;
use crate::count::counted;
use crate::daemon::became::{Became, is_counted};
use crate::daemon::counters::Transfers;
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
    /// The manifests of the batches that are not done.
    manifests: HashMap<BatchNo, Arc<Manifest>>,
    /// The entries whose contents are needed, of these batches.
    needed: HashMap<BatchNo, Vec<EntryNo>>,
    counts: Counts,
    /// The files and bytes that wait for a deletion.
    late: (u64, u64),
}

/// What has been done.
#[derive(Default, Debug)]
struct Counts {
    files: u64,
    bytes: u64,
    unchanged: u64,
    deleted: u64,
    errors: u64,
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
            manifests: HashMap::new(),
            needed: HashMap::new(),
            counts: Counts::default(),
            late: (0, 0),
        };
        self.0.insert(key, incoming);
    }

    /// The disk is asked for something.
    pub(super) fn job(&mut self, job: &DiskJob) {
        let DiskJob::Plan { key, batch, manifest, mode, .. } = job else { return };
        let Some(incoming) = self.0.get_mut(key) else { return };
        incoming.mode = *mode;
        if let Some(setup) = &manifest.setup {
            let base = setup.path.is_base();
            let path = if base { "the base directory".to_owned() } else { setup.path.to_string() };
            incoming.path = Some(path);
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
        let Incoming { from, began, mode, path, counts, late, .. } = incoming;
        let Counts { files, bytes, unchanged, deleted, errors } = counts;
        let errors = errors + late.0;
        if !mode.changes_nothing() {
            let outcome = match &how {
                Ok(arrived) if !arrived.is_incomplete() && errors == 0 => Ended::Complete,
                Ok(_) => Ended::Incomplete,
                Err(_) => Ended::Aborted,
            };
            counted_in.ended(outcome, files, bytes);
        }
        let what = path.as_deref().unwrap_or("nothing");
        let took = now.since(began).secs_f64();
        let head = format!(
            "transfer {key} from {from}: {} of {what}: {}, {}, {unchanged} unchanged, {deleted} deleted, {} \
             in {took:.3} s:",
            mode.name(),
            counted(files, "file"),
            counted(bytes, "byte"),
            counted(errors, "error"),
        );
        match how {
            Ok(arrived) if !arrived.is_incomplete() && errors == 0 => {
                log::many(Level::TRANSFER, "transfers", format_args!("{head} complete"));
            }
            Ok(arrived) if arrived.is_incomplete() => {
                let text = format_args!("{head} {arrived}");
                log::many(Level::WARNING, "transfers", text);
            }
            Ok(_) => log::many(Level::WARNING, "transfers", format_args!("{head} incomplete")),
            // A hostile member can begin and end as many as it likes.
            Err(why) => {
                let text = format_args!("{head} aborted: {why}");
                log::limited(Level::WARNING, "transfers that were aborted", None, text);
            }
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
