//! The line that the log has of each transfer, at its sender.

use std::fmt;

use crate::console::reply::Total;
use crate::count::counted;
use crate::daemon::caller::Caller;
use crate::engine::disk_job::TransferKey;
use crate::time::Span;

/// The most hosts that are named.
const NAMED: usize = 8;

/// A transfer that is over.
pub(super) struct TrailLine<'a> {
    pub(super) key: TransferKey,
    /// It has come to this host, which had asked for it.
    pub(super) is_fetched: bool,
    pub(super) command: &'a str,
    pub(super) caller: &'a Caller,
    pub(super) total: &'a Total,
    pub(super) took: Span,
    pub(super) result: &'a str,
    /// The hosts that have not all of it.
    pub(super) lacking: Vec<&'a str>,
}

impl fmt::Display for TrailLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Total { hosts, files, bytes, unchanged, deleted, errors, .. } = *self.total;
        let to = match self.is_fetched {
            true => "to this host".to_owned(),
            false => format!("to {}", counted(hosts, "host")),
        };
        write!(
            f,
            "transfer {} {}: \"{}\" by {}: {}, {}, {unchanged} unchanged, {deleted} deleted, {} in \
             {:.3} s: {}",
            self.key,
            to,
            self.command,
            self.caller,
            counted(files, "file"),
            counted(bytes, "byte"),
            counted(errors, "error"),
            self.took.secs_f64(),
            self.result,
        )?;
        match self.lacking.as_slice() {
            [] => Ok(()),
            names if names.len() <= NAMED => write!(f, " on {}", names.join(", ")),
            many => write!(f, " on {} of them", many.len()),
        }
    }
}
