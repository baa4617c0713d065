//! What the machines want to be done.

use super::record::Record;
use super::types::{Message, Transaction};
use crate::name::HostName;

/// What a machine wants to be done, in this order: each must be done before the next, and if one fails, the
/// rest is not done, and the machine is made anew from what is on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Append a record.
    Record(Record),
    /// Have all that was staged for a transaction verified and on disk, with the list of its operations;
    /// then say so ([`super::Target::staged`]).
    Stage(Transaction),
    /// Do the operations that are not done; then say so ([`super::Target::applied`]).
    Apply(Transaction),
    /// Remove what was staged.
    Drop(Transaction),
    /// Tell a host.
    Send(HostName, Transaction, Message),
}
