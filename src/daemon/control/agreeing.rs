//! What this host knows of transfers that are for all of their targets or none, beside what is kept of them.

use std::collections::BTreeMap;

use crate::engine::atomic::{Failure, Plan, Report, Transaction};
use crate::engine::disk_job::TransferKey;
use crate::engine::incoming::InDoubt;
use crate::ids::{BatchNo, TransferNo};
use crate::keeping::transactions::Transactions;
use crate::name::{HostName, RelPath};
use crate::time::Time;

/// What is known of transactions beside what is kept of them.
#[derive(Default)]
pub(crate) struct Agreeing {
    /// None if nothing can be kept: then there are none.
    pub(crate) kept: Option<Transactions>,
    pub(super) coming: BTreeMap<Transaction, Coming>,
    pub(super) going: BTreeMap<Transaction, Going>,
    /// When what is in place here was put there, and what failed.
    pub(super) reports: BTreeMap<Transaction, (Time, Report)>,
    pub(super) said_doubtful: Vec<InDoubt>,
}

/// One that is coming in.
pub(super) struct Coming {
    pub(super) key: TransferKey,
    pub(super) plan: Plan,
    pub(super) path: RelPath,
    /// Its last batch, once its sender has asked whether all is staged.
    pub(super) last: BatchNo,
    /// Why it cannot be put into place here.
    pub(super) failures: Vec<Failure>,
}

/// One that goes out, and is waited for.
pub(super) struct Going {
    pub(super) number: TransferNo,
    pub(super) plan: Plan,
    pub(super) last: BatchNo,
    /// What targets have said, and when that came.
    pub(super) reports: BTreeMap<HostName, (Time, Report)>,
    /// When it was decided.
    pub(super) decided: Option<Time>,
}

impl Agreeing {
    /// When something is due.
    pub(super) fn next(&self) -> Option<Time> {
        self.kept.as_ref().and_then(Transactions::timeout)
    }
}
