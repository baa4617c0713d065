//! What a client has asked for, in terms of a transfer.

use std::sync::Arc;

use super::clock;
use crate::console::command::{Check, Dsync, Send};
use crate::engine::job::Options;
use crate::fs::walk::WalkOptions;
use crate::name::RelPath;
use crate::pattern::Patterns;
use crate::sys::user;
use crate::wire::manifest::Setup;

/// To read so much and digest it takes about a tenth of a second: from there on, all hosts do it at
/// once.
const ANNOUNCED_OVER: u64 = 64 << 20;

/// One `send`, `sync`, `dsync` or `check`.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) path: RelPath,
    pub(super) recursive: bool,
    pub(super) targets: Vec<String>,
    /// `sync`: if the path is gone here, it goes there.
    pub(super) sync: bool,
    /// The path is gone here.
    pub(super) gone: bool,
    pub(super) dry_run: bool,
    pub(super) delete: bool,
    pub(super) names_only: bool,
    pub(super) check: bool,
    pub(super) force: bool,
    pub(super) max_delete: Option<u64>,
    ignore_times: bool,
    checksum: bool,
    group: Option<String>,
    patterns: Patterns,
}

impl Order {
    fn new(path: RelPath, recursive: bool, targets: Vec<String>, patterns: &Patterns) -> Self {
        Order {
            path,
            recursive,
            targets,
            sync: false,
            gone: false,
            dry_run: false,
            delete: false,
            names_only: false,
            check: false,
            force: false,
            max_delete: None,
            ignore_times: false,
            checksum: false,
            group: None,
            patterns: patterns.clone(),
        }
    }

    /// `send` and `sync`.
    pub(super) fn send(send: Send, patterns: &Patterns) -> Self {
        Order {
            sync: send.sync,
            dry_run: send.dry_run,
            delete: send.delete,
            force: send.force,
            max_delete: send.max_delete,
            ignore_times: send.ignore_times,
            checksum: send.checksum,
            group: send.group,
            ..Order::new(send.path, send.recursive, send.targets, patterns)
        }
    }

    /// `dsync`: names alone, and what is not among them goes. The base directory does not need `-r`.
    pub(super) fn dsync(dsync: Dsync, patterns: &Patterns) -> Self {
        let recursive = dsync.recursive || dsync.path.is_base();
        Order {
            sync: !dsync.recursive,
            dry_run: dsync.dry_run,
            names_only: true,
            force: dsync.force,
            max_delete: dsync.max_delete,
            ..Order::new(dsync.path, recursive, dsync.targets, patterns)
        }
    }

    /// `check`: contents are compared.
    pub(super) fn check(check: Check, patterns: &Patterns) -> Self {
        Order { check: true, ..Order::new(check.path, check.recursive, check.targets, patterns) }
    }

    /// The same where the path is gone here.
    pub(super) fn of_what_is_gone(&self) -> Self {
        Order { gone: true, ..self.clone() }
    }

    /// The path, as a line names it.
    pub(super) fn path_shown(&self) -> String {
        if self.path.is_base() { "the base directory".to_owned() } else { self.path.to_string() }
    }

    /// How the transfer is to be done.
    pub(super) fn options(&self) -> Options {
        Options {
            // A comparison changes nothing, and neither do names.
            dry_run: self.dry_run || self.check,
            ignore_times: self.ignore_times,
            delete: self.delete,
            names_only: self.names_only,
            check: self.check,
            gone: self.gone,
        }
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
    /// A line for the client.
    pub(super) fn gid(&self) -> Result<Option<u32>, String> {
        let Some(name) = &self.group else { return Ok(None) };
        user::group(name).map(Some).map_err(|_| format!("error: not found group {name}"))
    }

    /// How the walk is to be done.
    pub(super) fn walk(&self, own_only: Option<u32>, gid: Option<u32>) -> WalkOptions {
        let patterns = self.patterns.clone();
        WalkOptions {
            recursive: self.recursive,
            own_only,
            skip: (!patterns.is_empty()).then(|| {
                Box::new(move |path: &RelPath, dir: bool| patterns.excludes(path, dir)) as _
            }),
            keep: self.options().spools(),
            names_only: self.names_only,
            digests: self.check || self.checksum,
            gid,
            now: clock::wall,
            announced_over: ANNOUNCED_OVER,
            cancelled: Arc::default(),
        }
    }
}
