//! How much is in the trash of each file system, as far as it was counted.

use std::collections::BTreeMap;

/// By the device: what is known of the trash there.
pub(in crate::fs) type Tallies = BTreeMap<u64, Tally>;

/// What is known of a trash.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::fs) struct Tally {
    /// How many bytes were counted.
    pub bytes: u64,
    /// Everything up to this was counted, or everything.
    pub to: Upto,
    /// How often a name was taken.
    pub again: u64,
}

/// How far a trash was counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::fs) enum Upto {
    /// Nothing yet.
    #[default]
    Nothing,
    /// What was put there up to this second, by its date and time.
    This(Vec<u8>, Vec<u8>),
    /// All.
    All,
}
