//! What a host lacks, and how it gets it: records of what was sent, and the rules by which they are kept,
//! compared and made up for.
//!
//! Every host keeps a [`Record`] of each transfer that has ended, with the list of its entries, in a
//! [`Journal`]. The set of records is what hosts compare. A host that lacks one, or has it in part, asks a host
//! that has all of it to send it once more: whoever was away pulls, and nobody pushes.

mod code;
mod dialogue;
mod exchange;
mod giving;
mod journal;
mod parts;
mod pulls;
mod record;
mod store;
mod types;

pub use dialogue::{Config as DialogueConfig, Dialogue};
pub use giving::Serve;
pub use journal::Journal;
pub use journal::folding::Folded;
pub use pulls::Pulled;
pub use record::{Deed, Record, RecordId};
pub use types::{Change, Learned, Lists, MAX_FOLDED, MAX_RECORDS, State, To};

pub use crate::wire::audience::Audience;
pub use crate::wire::behind::{Behind, Why};
pub use crate::wire::names::{Hash, Names};
pub use crate::wire::records::Summary;

#[cfg(test)]
mod fleet;
#[cfg(test)]
mod fleet_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
