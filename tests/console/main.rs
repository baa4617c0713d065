//! The console and its clients: `msync` against daemons that are played, byte for byte, and what old
//! clients say, replayed to the real daemon.

#[path = "../common/mod.rs"]
// Not all of it is used here.
#[allow(unused_imports)]
mod common;

mod errors;
mod files;
mod msync;
mod old_clients;
mod own;
mod password;
mod played;
mod starting;
