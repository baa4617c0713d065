//! A client's command, in terms of a transfer.

use std::sync::Arc;

use super::clock;
use crate::console::command::{Scope, Transfer};
use crate::console::error::{Code, ErrorLine};
use crate::fs::walk::WalkOptions;
use crate::name::RelPath;
use crate::pattern::Patterns;
use crate::sys::user;
use crate::wire::manifest::Setup;
use crate::wire::mode::Mode;

/// Reading and digesting this many bytes takes about a tenth of a second. Larger files are announced
/// first, so that all hosts digest them at the same time.
const ANNOUNCED_OVER: u64 = 64 << 20;

/// The group named by `-g` does not exist here.
#[derive(Debug)]
pub(super) struct UnknownGroup<'a>(&'a str);

impl UnknownGroup<'_> {
    /// The error as the client sees it.
    pub(super) fn line(&self) -> ErrorLine {
        ErrorLine::new(Code::UnknownGroup, format_args!("not found group {}", self.0))
    }
}

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
    patterns: Patterns,
}

impl Order {
    pub(super) fn new(command: Transfer, patterns: &Patterns) -> Self {
        let Transfer { mode, scope, checksum, force, max_delete, targets, group, path } = command;
        let patterns = patterns.clone();
        Order { path, scope, targets, mode, force, max_delete, checksum, group, patterns }
    }

    /// The same command for a path that no longer exists here.
    pub(super) fn of_what_is_gone(&self) -> Self {
        Order { mode: self.mode.of_gone_path(), ..self.clone() }
    }

    /// The path, as shown in messages.
    pub(super) fn path_shown(&self) -> String {
        if self.path.is_base() { "the base directory".to_owned() } else { self.path.to_string() }
    }

    /// The setup that is sent with the first batch.
    pub(super) fn setup(&self) -> Setup {
        let mut patterns = Vec::new();
        if !self.patterns.is_empty() {
            self.patterns.emit(&mut patterns);
        }
        Setup { path: self.path.clone(), patterns }
    }

    /// The group that targets assign to the files they write.
    ///
    /// # Errors
    /// The group does not exist here.
    pub(super) fn gid(&self) -> Result<Option<u32>, UnknownGroup<'_>> {
        let Some(name) = &self.group else { return Ok(None) };
        user::group(name).map(Some).map_err(|_| UnknownGroup(name))
    }

    /// The options of the walk.
    pub(super) fn walk(&self, own_only: Option<u32>, gid: Option<u32>) -> WalkOptions {
        let patterns = self.patterns.clone();
        WalkOptions {
            recursive: self.scope == Scope::Tree,
            own_only,
            skip: (!patterns.is_empty()).then(|| {
                Box::new(move |path: &RelPath, dir: bool| patterns.excludes(path, dir)) as _
            }),
            keep: self.mode.spools(),
            names_only: self.mode.names_only(),
            digests: self.mode.is_check() || self.checksum,
            gid,
            now: clock::wall,
            announced_over: ANNOUNCED_OVER,
            cancelled: Arc::default(),
        }
    }
}
