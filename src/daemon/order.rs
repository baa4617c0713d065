//! What a client has asked for, in terms of a transfer.

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

/// To read so much and digest it takes about a tenth of a second: from there on, all hosts do it at
/// once.
const ANNOUNCED_OVER: u64 = 64 << 20;

/// A group that `-g` names and that is not there.
#[derive(Debug)]
pub(super) struct UnknownGroup<'a>(&'a str);

impl UnknownGroup<'_> {
    /// What the client is told.
    pub(super) fn line(&self) -> ErrorLine {
        ErrorLine::new(Code::UnknownGroup, format_args!("not found group {}", self.0))
    }
}

/// One `send`, `sync`, `dsync` or `check`.
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

    /// The same where the path is gone here.
    pub(super) fn of_what_is_gone(&self) -> Self {
        Order { mode: self.mode.of_gone_path(), ..self.clone() }
    }

    /// The path, as a line names it.
    pub(super) fn path_shown(&self) -> String {
        if self.path.is_base() { "the base directory".to_owned() } else { self.path.to_string() }
    }

    /// What comes with the first batch.
    pub(super) fn setup(&self) -> Setup {
        let mut patterns = Vec::new();
        if !self.patterns.is_empty() {
            self.patterns.emit(&mut patterns);
        }
        Setup { path: self.path.clone(), patterns }
    }

    /// The group that targets are to give what they write.
    ///
    /// # Errors
    /// There is no such group here.
    pub(super) fn gid(&self) -> Result<Option<u32>, UnknownGroup<'_>> {
        let Some(name) = &self.group else { return Ok(None) };
        user::group(name).map(Some).map_err(|_| UnknownGroup(name))
    }

    /// How the walk is to be done.
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
