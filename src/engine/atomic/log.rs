//! What a target knows of transactions: its records, folded.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::Record;
use super::rules::{Rule, Rules};
use super::types::{Included, Plan, Transaction, Why};
use crate::stamp::Stamp;

/// The most transactions that have ended here and of which something is kept; for more, the oldest are
/// forgotten, and nothing is known of what is as old.
pub const MAX_ENDED: usize = 4_096;

/// How far a target is with a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Phase {
    /// It has voted yes.
    Prepared,
    /// So it has, and will refuse what the sender may still say.
    Promised,
    /// It puts it in place, or has, but for so many operations.
    Committed(Included, Option<u32>),
    /// It has voted, and aborted.
    Aborted(Why),
    /// It has not voted, and will not.
    Refused,
    /// It has forgotten how it ended.
    Over,
}

impl Phase {
    /// Whether there is nothing left to be done, or to be waited for.
    pub fn has_ended(&self) -> bool {
        match self {
            Phase::Prepared | Phase::Promised | Phase::Committed(_, None) => false,
            Phase::Committed(_, Some(_)) | Phase::Aborted(_) | Phase::Refused | Phase::Over => true,
        }
    }

    /// Whether it waits to hear how it ends.
    pub fn is_in_doubt(&self) -> bool {
        matches!(self, Phase::Prepared | Phase::Promised)
    }
}

/// What a target knows of one transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// How far it is.
    pub phase: Phase,
    /// For whom it is, and how many operations there are, until it has ended.
    pub plan: Option<(Arc<Plan>, u64)>,
}

/// What a target knows.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Log {
    born: Stamp,
    entries: BTreeMap<Transaction, Entry>,
    ended: usize,
    rules: Rules,
}

impl Log {
    pub(super) fn new(rules: Rules) -> Self {
        Log { rules, ..Log::default() }
    }

    /// Takes in a record. One that cannot follow from those before is of no effect.
    pub fn note(&mut self, record: &Record) {
        let Some(of) = record.transaction() else {
            if let Record::Born(stamp) = record {
                self.born = self.born.max(*stamp);
                let born = self.born;
                self.entries.retain(|of, entry| of.stamp > born || !entry.phase.has_ended());
                self.count();
            }
            return;
        };
        let was = self.entries.get(of).map(|entry| &entry.phase);
        let is_undecided = was.is_none_or(Phase::is_in_doubt);
        let phase = match (record, was) {
            (Record::Prepared(..), None) => Phase::Prepared,
            (Record::Promise(_), Some(Phase::Prepared)) => Phase::Promised,
            (Record::Commit(_, included), _) if is_undecided => {
                Phase::Committed(included.clone(), None)
            }
            (Record::Applied(_, failed), Some(Phase::Committed(included, None))) => {
                Phase::Committed(included.clone(), Some(*failed))
            }
            (Record::Abort(_, why), _) if is_undecided => Phase::Aborted(*why),
            (Record::Refuse(_), None) => Phase::Refused,
            (Record::Over(_), was) if was.is_none_or(Phase::has_ended) => Phase::Over,
            _ => return,
        };
        if phase == Phase::Over && !self.rules.has(Rule::Mark) {
            self.entries.remove(of);
            self.count();
            return;
        }
        let ends = phase.has_ended() && !was.is_some_and(Phase::has_ended);
        self.ended += usize::from(ends);
        let entry = self.entries.entry(of.clone());
        let entry = entry.or_insert(Entry { phase: phase.clone(), plan: None });
        if let Record::Prepared(_, plan, operations) = record {
            entry.plan = Some((Arc::new(plan.clone()), *operations));
        } else if phase.has_ended() {
            entry.plan = None;
        }
        entry.phase = phase;
    }

    fn count(&mut self) {
        self.ended = self.entries.values().filter(|entry| entry.phase.has_ended()).count();
    }

    /// The fewest records that say the same.
    pub fn records(&self) -> Vec<Record> {
        let mut records = vec![Record::Born(self.born)];
        for (of, entry) in &self.entries {
            if let Some((plan, operations)) = &entry.plan {
                records.push(Record::Prepared(of.clone(), Plan::clone(plan), *operations));
            }
            match &entry.phase {
                Phase::Prepared => {}
                Phase::Promised => records.push(Record::Promise(of.clone())),
                Phase::Committed(included, failed) => {
                    records.push(Record::Commit(of.clone(), included.clone()));
                    records.extend(failed.map(|failed| Record::Applied(of.clone(), failed)));
                }
                Phase::Aborted(why) => records.push(Record::Abort(of.clone(), *why)),
                Phase::Refused => records.push(Record::Refuse(of.clone())),
                Phase::Over => records.push(Record::Over(of.clone())),
            }
        }
        records
    }

    /// What is known of a transaction.
    pub fn get(&self, of: &Transaction) -> Option<&Entry> {
        self.entries.get(of)
    }

    /// How far it is with a transaction.
    pub fn phase(&self, of: &Transaction) -> Option<&Phase> {
        self.get(of).map(|entry| &entry.phase)
    }

    /// All of which something is known, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Transaction, &Entry)> {
        self.entries.iter()
    }

    /// Those that have not ended.
    pub fn open(&self) -> impl Iterator<Item = (&Transaction, &Entry)> {
        self.iter().filter(|(_, entry)| !entry.phase.has_ended())
    }

    /// Whether it may have been here before there were records.
    pub fn is_before(&self, of: &Transaction) -> bool {
        of.stamp <= self.born && self.rules.has(Rule::Born)
    }

    /// Up to which stamp those that have ended must be forgotten for there to be no more than
    /// [`MAX_ENDED`].
    pub(super) fn excess(&self) -> Option<Stamp> {
        let ended = || self.entries.iter().filter(|(_, entry)| entry.phase.has_ended());
        let oldest = || ended().next().map(|(of, _)| of.stamp);
        (self.ended > MAX_ENDED).then(oldest).flatten()
    }
}
