//! A client's command, in terms of a transfer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::caller::Caller;
use super::clock;
use crate::console::command::{Scope, Transfer};
use crate::console::error::ErrorLine;
use crate::fs::listings::{Listings, SharedListings};
use crate::fs::regroup::Regroup;
use crate::fs::walk::WalkOptions;
use crate::name::RelPath;
use crate::pattern::Patterns;
use crate::sys::user;
use crate::wire::manifest::{MAX_PATTERNS, Setup};
use crate::wire::mode::Mode;

/// Reading and digesting this many bytes takes about a tenth of a second. Larger files are announced
/// first, so that all hosts digest them at the same time.
const ANNOUNCED_OVER: u64 = 64 << 20;

/// A `send`, `sync`, `dsync` or `check` command.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) path: RelPath,
    pub(super) scope: Scope,
    pub(super) targets: Vec<String>,
    pub(super) mode: Mode,
    pub(super) force: bool,
    pub(super) max_delete: Option<u64>,
    checksum: bool,
    group: Option<String>,
    patterns: Arc<Patterns>,
    caller: Caller,
}

impl Order {
    pub(super) fn new(command: Transfer, patterns: &Arc<Patterns>, caller: Caller) -> Self {
        let Transfer { mode, scope, checksum, force, max_delete, targets, group, path } = command;
        let patterns = Arc::clone(patterns);
        Order { path, scope, targets, mode, force, max_delete, checksum, group, patterns, caller }
    }

    /// The same command for a path that no longer exists here.
    pub(super) fn of_what_is_gone(&self) -> Self {
        Order { mode: self.mode.of_gone_path(), ..self.clone() }
    }

    /// Who asked for it.
    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The path, as shown in messages.
    pub(super) fn path_shown(&self) -> String {
        if self.path.is_base() { "the base directory".to_owned() } else { self.path.to_string() }
    }

    /// The setup, as the first batches send it. Only those targets that look for what the sender does not
    /// have need the patterns.
    pub(super) fn setup(&self) -> VecDeque<Setup> {
        let mut parts = match self.mode.spools() && !self.patterns.is_empty() {
            true => VecDeque::from(self.patterns.emit(MAX_PATTERNS)),
            false => VecDeque::from([Vec::new()]),
        };
        let mut setup = VecDeque::new();
        while let Some(patterns) = parts.pop_front() {
            setup.push_back(Setup { path: self.path.clone(), patterns, more: !parts.is_empty() });
        }
        setup
    }

    /// The group that targets assign to the files they write. `databases`: whether the system's
    /// users and groups can be looked up.
    ///
    /// # Errors
    /// The group does not exist here, or is not one that the caller may name.
    pub(super) fn regroup(&self, databases: bool) -> Result<Option<Regroup>, ErrorLine> {
        let Some(name) = &self.group else { return Ok(None) };
        let unknown = |_| ErrorLine::unknown_group(name);
        let gid = user::group(name).map_err(unknown)?;
        self.caller.regroup(name, gid, databases).map(Some)
    }

    /// Where the walk notes what directories were like, if files are deleted for not being in one.
    pub(super) fn listings(&self) -> Option<SharedListings> {
        let matters = self.mode.sends_and_deletes() && !self.mode.changes_nothing();
        matters.then(|| Arc::new(Mutex::new(Listings::new(clock::wall))))
    }

    /// The options of the walk.
    pub(super) fn walk(&self, own_only: Option<u32>, regroup: Option<Regroup>) -> WalkOptions {
        let patterns = Arc::clone(&self.patterns);
        WalkOptions {
            recursive: self.scope == Scope::Tree,
            own_only,
            skip: (!patterns.is_empty()).then(|| {
                Box::new(move |path: &RelPath, dir: bool| patterns.excludes(path, dir)) as _
            }),
            keep: self.mode.spools(),
            names_only: self.mode.names_only(),
            digests: self.mode.is_check() || self.checksum,
            regroup,
            now: clock::wall,
            announced_over: ANNOUNCED_OVER,
            listings: None,
            cancelled: Arc::default(),
        }
    }
}
