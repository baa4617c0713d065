//! A probe: one host sends a bounded number of packets, and every other one says what came of it.
//!
//! [`Prober`] is the host that sends it: it asks each host whether it may, sends trains of packets to the group, then
//! requests to each host, which are echoed, and at last asks what has come. [`Probed`] is each of the others.
//! A host answers the probe of one other host at a time, and for a second after its start no other one; it answers one
//! packet with one that is no longer, and only members. So there is one probe a second in a fleet, and it can be turned
//! against nobody.
#![forbid(unsafe_code)]

mod meter;
mod probed;
mod prober;

pub use crate::wire::probe::{Came, Probe, Report, Sample};
pub use meter::Meter;
pub use probed::Probed;
pub use prober::{Outgoing, Plan, Prober, Result};

/// The large packets to the group: so many trains, and so many packets in each. A host that is busy looks at some of
/// them late, but hardly at all of them.
pub const TRAINS: u8 = 10;
/// See [`TRAINS`].
pub const TRAIN: u16 = 25;
/// So many trains are not measured: what lets bursts pass at first has let enough pass then.
pub const FIRST: u8 = 3;
/// The small packets to the group.
pub const SMALL: u16 = 50;
/// The large packets to each host, in each of [`BURSTS`] bursts.
pub const BURST: u16 = 12;
/// See [`BURST`].
pub const BURSTS: u8 = 3;
