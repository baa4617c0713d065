//! What became of an entry on a host: the one reading of what a target needs and has done, for the lines
//! and totals of the sender and for the log of the target.

use crate::wire::manifest::{Entry, Kind};
use crate::wire::mode::Mode;
use crate::wire::outcome::{Need, Outcome, Reason};

/// What became of an entry on a host; in a dry run, what would become of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Became {
    /// It was written: with its content, or with its attributes alone. In a comparison: the content
    /// differs.
    Written,
    /// It was up to date.
    Same,
    /// In a comparison: only the attributes differ.
    OtherAttributes,
    /// It differs, and the host never writes.
    ReadOnly,
    Failed(Reason),
    /// It is below a directory that failed; only the directory itself is reported.
    Silent,
    /// It was left out, and comes again or was reported already.
    Struck,
    /// A directory that is not empty is to go for it, at the end.
    Late,
    /// The host cannot tell; it comes again, with its digest.
    Unsure,
}

impl Became {
    /// What would become of an entry in a dry run, or what a comparison found.
    pub(super) fn by_need(need: Need, mode: Mode) -> Became {
        match need {
            Need::Skip => Became::Same,
            Need::Attributes if mode.is_check() => Became::OtherAttributes,
            Need::ReadOnly if !mode.is_check() => Became::ReadOnly,
            Need::Attributes | Need::All | Need::ReadOnly => Became::Written,
            Need::Late => Became::Late,
            Need::Failed(reason) => Became::Failed(reason),
            Need::Silent => Became::Silent,
            // What is compared comes with its digest.
            Need::Unsure if mode.is_check() => Became::Silent,
            Need::Unsure => Became::Unsure,
        }
    }
}

impl From<Outcome> for Became {
    fn from(outcome: Outcome) -> Became {
        match outcome {
            Outcome::Skipped => Became::Same,
            Outcome::Updated => Became::Written,
            Outcome::ReadOnly => Became::ReadOnly,
            Outcome::Failed(reason) => Became::Failed(reason),
            Outcome::Silent => Became::Silent,
            Outcome::Struck => Became::Struck,
            Outcome::Late => Became::Late,
            Outcome::Again => Became::Unsure,
            Outcome::Lacking { updated: true, .. } => Became::Written,
            Outcome::Lacking { updated: false, .. } => Became::Same,
        }
    }
}

/// Whether an entry counts as a file: directories do not.
pub(super) fn is_counted(entry: &Entry) -> bool {
    entry.is_object() && entry.kind != Kind::Open
}
