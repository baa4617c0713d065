//! The control thread: console clients and their commands, membership, signals.

mod attendance;
mod catching_up;
mod client;
pub(super) mod control_loop;
mod doctor;
pub(super) mod door;
mod fetch;
mod fetching;
pub(super) mod fleet;
mod hang_up;
mod history;
pub(crate) mod inputs;
pub(crate) mod kernel;
pub(super) mod membership;
mod oddities;
mod places;
mod repeats;
mod samples;
mod served;
mod serving;
pub(super) mod settings;
pub(super) mod socket_owners;
pub(crate) mod status;
mod targets;
mod transfers;
mod watches;
mod watching;
