//! Moments, as people and programs read them.
#![forbid(unsafe_code)]

/// A moment: seconds since 1970, and the local time as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moment(pub i64, pub String);
