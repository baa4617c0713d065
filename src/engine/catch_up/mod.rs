//! What a host lacks, and how it gets it: records of what was sent, and the rules by which they are kept,
//! compared and made up for.
//!
//! Every host keeps a [`Record`] of each transfer that has ended, with the list of its entries, in a
//! [`Journal`]. The set of records is what hosts compare. A host that lacks one, or has it in part, asks a host
//! that has all of it to send it once more: whoever was away pulls, and nobody pushes.

mod code;
mod journal;
mod record;

pub use journal::{Change, Journal, Learned, Lists, MAX_RECORDS, State, Summary};
pub use record::{Deed, Record, RecordId};

pub use crate::wire::audience::Audience;
pub use crate::wire::names::{Hash, Names};

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
