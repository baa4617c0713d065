//! The receiver thread: packets off the sockets, and the transfers that come in.

pub(super) mod disk;
pub(super) mod receiver;
