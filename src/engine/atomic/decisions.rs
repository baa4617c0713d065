//! What a sender knows of its own transactions: its records, folded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::record::Record;
use super::rules::{Rule, Rules};
use super::types::{Included, Plan, Transaction};
use crate::stamp::Stamp;

/// The most of which is kept that they are over.
const MAX_OVER: usize = 1_024;

/// What a sender has decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// For whom it is.
    pub plan: Arc<Plan>,
    /// Which of them commit.
    pub included: Included,
}

/// All that a sender has decided.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Decisions {
    born: Stamp,
    made: BTreeMap<Transaction, Decision>,
    over: BTreeSet<Transaction>,
    rules: Rules,
}

impl Decisions {
    pub(super) fn new(rules: Rules) -> Self {
        Decisions { rules, ..Decisions::default() }
    }

    /// Takes in a record; those of targets are of no effect.
    pub fn note(&mut self, record: &Record) {
        match record {
            Record::Born(stamp) => self.born = self.born.max(*stamp),
            Record::Decision(of, plan, included) if !self.over.contains(of) => {
                let plan = Arc::new(plan.clone());
                let decision = Decision { plan, included: included.clone() };
                self.made.entry(of.clone()).or_insert(decision);
            }
            Record::Over(of) => {
                self.made.remove(of);
                self.over.insert(of.clone());
                if self.over.len() > MAX_OVER {
                    // All its targets know how it ended: none will ask.
                    self.over.pop_first();
                }
            }
            _ => {}
        }
    }

    /// The fewest records that say the same, beside [`Record::Born`], which the target's say.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let made = |(of, made): (&Transaction, &Decision)| {
            Record::Decision(of.clone(), Plan::clone(&made.plan), made.included.clone())
        };
        self.made.iter().map(made).chain(self.over.iter().cloned().map(Record::Over))
    }

    /// What was decided of one that is not over.
    pub fn get(&self, of: &Transaction) -> Option<&Decision> {
        self.made.get(of)
    }

    /// Those that are not over.
    pub fn open(&self) -> impl Iterator<Item = (&Transaction, &Decision)> {
        self.made.iter()
    }

    /// Whether all its targets know how it ended.
    pub fn is_over(&self, of: &Transaction) -> bool {
        self.over.contains(of)
    }

    /// Whether it may have been decided before there were records.
    pub fn is_before(&self, of: &Transaction) -> bool {
        of.stamp <= self.born && self.rules.has(Rule::Born)
    }
}
