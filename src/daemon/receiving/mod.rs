//! Incoming packets and transfers: the receiver thread and the disk thread.

mod atomic;
pub(super) mod disk;
mod fetched;
mod ledger;
mod mirrored;
pub(super) mod receiver;
mod trail;
