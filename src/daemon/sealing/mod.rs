//! The group's keys, and packets put together and taken apart with them.

pub(super) mod keyfile;
pub(super) mod keyring;
pub(super) mod packet;
