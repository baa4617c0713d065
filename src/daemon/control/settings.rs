//! The part of the configuration that the control thread needs.

use std::path::PathBuf;
use std::sync::Arc;

use crate::console::command::Watch;
use crate::console::status_report::Setting;
use crate::name::HostName;
use crate::pattern::Patterns;
use crate::time::Span;
use crate::watch::mounts::Mounts;

/// The part of the configuration that the control thread needs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) no_send: bool,
    /// Whether it can be a target, and is written to.
    pub(crate) receives: bool,
    /// Whether it takes all that was sent even if it has files and no records.
    pub(crate) takes_all: bool,
    pub(crate) own_only: Option<u32>,
    /// Whether anything may be written below the base directory.
    pub(crate) writes: bool,
    pub(crate) parallel: usize,
    pub(crate) timeout: Span,
    pub(crate) rate: Option<u32>,
    pub(crate) sendsize: u64,
    /// This host's name among the members.
    pub(crate) name: HostName,
    pub(crate) chroot: bool,
    /// The restrictions in force, as shown by `status`.
    pub(crate) confined: String,
    /// What `status -v` shows of the options.
    pub(crate) setting: Setting,
    /// What is sent whenever it changes, from the start on.
    pub(crate) watches: Vec<(Watch, Patterns)>,
    /// Of what is mirrored: how long a change waits for more, what is left out, and whether this host's
    /// files are the origin.
    pub(crate) mirroring: (Option<Span>, Patterns, bool),
    /// What is mounted where.
    pub(crate) mounts: Option<Arc<Mounts>>,
    /// The absolute paths of the key files.
    pub(crate) keys: Vec<PathBuf>,
}
