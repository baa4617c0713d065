//! What a command line asks for.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::target::Target;
use crate::cli::{Filter, Text};
use crate::console::require::{Quorum, Require};
use crate::name::HostName;

/// The name of the program, for errors.
pub(super) const PROGRAM: &str = "msync";

/// A command for the daemon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// A command on files.
    Files(Files),
    /// List the members.
    Members {
        /// `-v`: with statistics.
        verbose: bool,
        /// `--behind`: only hosts that lack something.
        behind: bool,
    },
    /// Show the daemon's state.
    Status {
        /// `-v`: with what it was started with.
        verbose: bool,
    },
    /// Say what keeps files from arriving.
    Doctor {
        /// `-t`, as [`Files::hosts`].
        hosts: Vec<HostName>,
        /// Not with `--no-probe`.
        probe: bool,
    },
    /// Show the figures of the daemon.
    Metrics,
    /// List what was sent and received.
    History,
    /// Send, and then what changes.
    Watch(Watch),
    /// Wait until what was changed below this path, as typed, is sent.
    Flush(Vec<u8>),
    /// Let the watch of this path, as typed, delete what it holds back.
    Release(Vec<u8>),
    /// Show how mirrors stand.
    Mirror,
    /// List what waits in mirrors, or the versions that do not have their names: by the command, at this path, as typed.
    List(&'static str, Vec<u8>),
    /// Decide something of a mirror: the words for the daemon, the path as typed, and what follows it.
    Decide(&'static str, Vec<u8>, Option<Vec<u8>>),
    /// Forget a host that is away.
    Forget(HostName),
    /// `-f`: the lines of a script.
    Script(Text),
}

/// What to do with files.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Verb {
    /// Send them.
    #[default]
    Send,
    /// Send them; what does not exist here is deleted there.
    Sync,
    /// Only delete there what does not exist here.
    Dsync,
    /// Compare contents.
    Check,
    /// Make what is here as it is on another host.
    Fetch,
}

impl Verb {
    /// Its name on the console.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Send => "send",
            Verb::Sync => "sync",
            Verb::Dsync => "dsync",
            Verb::Check => "check",
            Verb::Fetch => "fetch",
        }
    }
}

/// What to do with which files, and on which hosts.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Files {
    /// What to do.
    pub verb: Verb,
    /// Whether that was said; if not, it is `send`.
    pub named: bool,
    /// `-r`.
    pub recursive: bool,
    /// `-n`.
    pub dry_run: bool,
    /// `--delete`.
    pub delete: bool,
    /// `--delete-before`.
    pub delete_before: bool,
    /// `--force`.
    pub force: bool,
    /// `--max-delete`.
    pub max_delete: Option<u64>,
    /// `-I`.
    pub ignore_times: bool,
    /// `--checksum`.
    pub checksum: bool,
    /// `--lax-attributes`.
    pub lax_attributes: bool,
    /// `--atomic`, and with `--quorum` how many are enough.
    pub atomic: Option<Quorum>,
    /// `--require`.
    pub require: Option<Require>,
    /// `-t`, as often as given; empty for every member. Names or addresses.
    pub hosts: Vec<HostName>,
    /// `--from`: a name or an address.
    pub from: Option<HostName>,
    /// `-g`: without spaces and control characters.
    pub group: Option<String>,
    /// `--files-from`.
    pub list: Option<Text>,
    /// As typed; empty (with `-r` or a list) for the whole base directory.
    pub paths: Vec<Vec<u8>>,
}

impl Files {
    /// Whether all paths go in one transfer.
    pub fn together(&self) -> bool {
        self.atomic.is_some() && self.paths.len() > 1
    }
}

/// What is sent whenever it changes.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Watch {
    /// As typed; empty for the whole base directory.
    pub path: Vec<u8>,
    /// `--delete`.
    pub delete: bool,
    /// `--delay`, in milliseconds.
    pub delay: Option<u64>,
    /// `-t`, as [`Files::hosts`].
    pub hosts: Vec<HostName>,
}

/// When to show progress and a summary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Show {
    /// `-q`: never, and of a transfer's lines only errors and differences.
    Quiet,
    /// `--no-progress`: no progress; the summary as with [`Show::Auto`].
    NoProgress,
    /// On a terminal; the summary also with `-v`.
    Auto,
    /// `--progress`: always.
    Progress,
}

/// How the client is to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Where the daemon is.
    pub target: Target,
    /// `-K`: the file with the console's password.
    pub password: Option<PathBuf>,
    /// What to do.
    pub command: Command,
    /// The word that it was given by, if earlier versions would have taken that for a file.
    pub new_word: Option<&'static str>,
    /// Patterns, in order.
    pub filters: Vec<Filter>,
    /// `-0`: what is in files of patterns and paths ends with a NUL.
    pub from0: bool,
    /// 0 to 9: which lines the daemon shows.
    pub loglevel: u8,
    /// Whether `-v` or `-l 1` and above was given.
    pub verbose: bool,
    /// Progress and summary.
    pub show: Show,
    /// `--json`: standard output is lines of JSON.
    pub json: bool,
}
