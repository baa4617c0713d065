//! The control thread: console clients and their commands, membership, signals.

mod attendance;
mod catching_up;
mod client;
pub(super) mod control_loop;
pub(super) mod door;
mod fetch;
mod fetching;
pub(super) mod fleet;
mod hang_up;
mod history;
pub(crate) mod inputs;
mod lacking;
pub(super) mod membership;
mod metrics;
mod oddities;
mod places;
mod repeats;
mod served;
mod serving;
pub(super) mod settings;
pub(super) mod socket_owners;
pub(crate) mod status;
mod targets;
mod transfers;
mod waiting;
mod watches;
mod watching;
