//! The line that the log has of each transfer, the same at its sender and at those who got it: each part has its place,
//! so that one search finds what became of a path on all hosts.

use std::fmt;

use crate::count::counted;
use crate::daemon::caller::Caller;
use crate::engine::disk_job::TransferKey;
use crate::time::Span;
use crate::wire::mode::Mode;

/// The most hosts that are named.
const NAMED: usize = 8;

/// A transfer that is over.
pub(crate) struct TrailLine<'a> {
    pub(crate) key: TransferKey,
    /// Where it went or came from.
    pub(crate) with: &'a str,
    pub(crate) mode: Mode,
    /// What it was about.
    pub(crate) path: &'a str,
    pub(crate) counts: Counts,
    pub(crate) took: Span,
    /// How it ended; the first word is one of few.
    pub(crate) result: &'a str,
    /// Where it was asked for: the command, and who has given it.
    pub(crate) asked: Option<(&'a str, &'a Caller)>,
}

/// What has been done.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) unchanged: u64,
    pub(crate) deleted: u64,
    pub(crate) errors: u64,
}

impl fmt::Display for TrailLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TrailLine { key, with, mode, path, .. } = *self;
        let Counts { files, bytes, unchanged, deleted, errors } = self.counts;
        write!(
            f,
            "transfer {key} {with}: {} of {path}: {}, {}, {unchanged} unchanged, {deleted} deleted, {} in \
             {:.3} s: {}{}",
            mode.name(),
            counted(files, "file"),
            counted(bytes, "byte"),
            counted(errors, "error"),
            self.took.secs_f64(),
            self.result,
            Asked(self.asked),
        )
    }
}

/// The line of a transfer that does not begin.
pub(crate) struct RefusedLine<'a> {
    pub(crate) mode: Mode,
    pub(crate) path: &'a str,
    pub(crate) why: &'a str,
    pub(crate) asked: (&'a str, &'a Caller),
}

impl fmt::Display for RefusedLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RefusedLine { mode, path, why, asked } = self;
        write!(f, "transfer refused: {} of {path}: {why}{}", mode.name(), Asked(Some(*asked)))
    }
}

/// The command and its caller, at the end of a line.
struct Asked<'a>(Option<(&'a str, &'a Caller)>);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((command, caller)) => write!(f, "; \"{command}\" by {caller}"),
            None => Ok(()),
        }
    }
}

/// These hosts, or how many they are.
pub(super) fn on(hosts: &[&str]) -> String {
    match hosts {
        [] => String::new(),
        names if names.len() <= NAMED => format!(" on {}", names.join(", ")),
        many => format!(" on {} of them", many.len()),
    }
}
