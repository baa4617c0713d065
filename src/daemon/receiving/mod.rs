//! Incoming packets and transfers: the receiver thread and the disk thread.

pub(super) mod disk;
mod fetched;
mod ledger;
pub(super) mod receiver;
mod trail;
