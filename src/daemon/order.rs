//! A client's command, in terms of a transfer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::again::{Again, Results, Unreached};
use super::caller::Caller;
use super::clock;
use crate::console::command::{Scope, Transfer};
use crate::console::error::ErrorLine;
use crate::console::reply::{HostStatus, Total};
use crate::console::require::{Quorum, Require};
use crate::engine::catch_up::{Deed, Record};
use crate::engine::members::Member;
use crate::fs::before::Guard;
use crate::fs::contents::Contents;
use crate::fs::listings::{Listings, SharedListings};
use crate::fs::long_digests::LONG;
use crate::fs::path_list::{MOST_PATHS, PathList};
use crate::fs::regroup::Regroup;
use crate::fs::walk::WalkOptions;
use crate::ids::Ticket;
use crate::keeping::mirrors::Delta;
use crate::name::{HostName, RelPath};
use crate::pattern::Patterns;
use crate::sys::user;
use crate::wire::audience::Audience;
use crate::wire::manifest::{MAX_PATTERNS, Setup};
use crate::wire::mode::Mode;
use crate::wire::setup::Watch;

/// A `send`, `sync`, `dsync` or `check` command.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) path: RelPath,
    pub(super) scope: Scope,
    pub(super) targets: Vec<String>,
    pub(super) mode: Mode,
    pub(super) force: bool,
    pub(super) max_delete: Option<u64>,
    /// All targets put it into place, or none, and how many of them are enough.
    pub(super) atomic: Option<Quorum>,
    /// How many of the known hosts must have everything in the end.
    pub(super) require: Option<Require>,
    pub(super) lax_attributes: bool,
    /// With [`Scope::Listed`]: the paths.
    pub(super) list: Option<Arc<PathList>>,
    /// What is mirrored here, and is not sent.
    left_out: Arc<[RelPath]>,
    /// It is part of a mirror.
    pub(super) mirror: Option<Arc<Delta>>,
    /// It is something that was sent before, as it was then.
    pub(super) is_replay: bool,
    /// What could not be read here, for who asked for it without being a client.
    unread: Arc<Mutex<Vec<RelPath>>>,
    checksum: bool,
    group: Option<String>,
    patterns: Arc<Patterns>,
    caller: Caller,
    watch: Watch,
    halves: Halves,
    /// Its only target has asked for it, with this.
    pub(super) ticket: Option<Ticket>,
    /// It is for those alone that larger packets did not reach.
    again: Option<Arc<Again>>,
}

/// What `--delete-before` does is two transfers, with one result.
#[derive(Clone, Debug)]
enum Halves {
    /// There is one.
    None,
    /// This one deletes; that one sends.
    First(Arc<Order>),
    /// What the first one came to.
    Second(Arc<Results>),
}

impl Order {
    pub(super) fn new(command: Transfer, patterns: &Arc<Patterns>, caller: Caller) -> Self {
        let lax_attributes = command.lax_attributes;
        let Transfer { mode, scope, checksum, force, max_delete, require, .. } = command;
        let Transfer { targets, group, path, files, atomic, .. } = command;
        // Where nothing is changed, nothing has to be agreed.
        let atomic = atomic.filter(|_| !mode.changes_nothing());
        let list = files.map(|files| Arc::new(PathList::of(&files.paths, files.whole)));
        let (patterns, halves) = (Arc::clone(patterns), Halves::None);
        let order = Order {
            path,
            scope,
            targets,
            mode,
            force,
            max_delete,
            atomic,
            require,
            lax_attributes,
            list,
            left_out: Arc::from([]),
            mirror: None,
            is_replay: false,
            unread: Arc::default(),
            checksum,
            group,
            patterns,
            caller,
            watch: Watch::No,
            halves,
            ticket: None,
            again: None,
        };
        match mode.deletion().filter(|_| command.delete_before) {
            None => order,
            Some(deletion) => {
                let halves = Halves::First(Arc::new(order.clone()));
                Order { mode: deletion, halves, ..order }
            }
        }
    }

    /// What a record is about, once more.
    pub(super) fn replay(record: &Record) -> Self {
        let mode = match record.deed.gone {
            true => Mode::Remove { dry_run: false },
            false => {
                Mode::Send { delete: record.deed.deletes, ignore_times: false, dry_run: false }
            }
        };
        let scope = match record.deed {
            Deed { listed: true, .. } => Scope::Listed,
            Deed { recursive: true, .. } => Scope::Tree,
            Deed { .. } => Scope::Path,
        };
        let force = record.deed.forced;
        let command = Transfer { scope, force, ..Transfer::new(mode, record.path.clone()) };
        let order = Order::new(command, &Arc::default(), Caller::nobody());
        Order { is_replay: true, ..order }
    }

    /// The paths in a list, each at `path` or below it: sent as they are, and if `delete` says so, deleted at the
    /// targets if they are gone.
    pub(super) fn listed(
        path: RelPath,
        list: Arc<PathList>,
        delete: bool,
        targets: Vec<String>,
        patterns: &Arc<Patterns>,
        caller: Caller,
    ) -> Self {
        let mode = Mode::Send { delete, ignore_times: false, dry_run: false };
        let command = Transfer { scope: Scope::Listed, targets, ..Transfer::new(mode, path) };
        let order = Order::new(command, patterns, caller);
        Order { list: Some(list), watch: Watch::GoesOn, ..order }
    }

    /// These trees are mirrored, and are not sent.
    pub(super) fn leave_out(&mut self, mirrored: Vec<RelPath>) {
        if let Halves::First(next) = &self.halves {
            let left_out = Arc::from(mirrored.clone());
            self.halves = Halves::First(Arc::new(Order { left_out, ..Order::clone(next) }));
        }
        self.left_out = Arc::from(mirrored);
    }

    /// What has changed in a mirror, for these members.
    pub(super) fn mirror(path: RelPath, delta: Delta) -> Self {
        let mode = Mode::Send { delete: false, ignore_times: false, dry_run: false };
        let command = Transfer { scope: Scope::Listed, ..Transfer::new(mode, path) };
        let order = Order::new(command, &Arc::default(), Caller::this_daemon());
        Order { mirror: Some(Arc::new(delta)), ..order }
    }

    /// Notes that something could not be read here.
    pub(super) fn note_unread(&self, path: &RelPath) {
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        if unread.len() < MOST_PATHS {
            unread.push(path.clone());
        }
    }

    /// Whether something at a path or below it, or above it, could not be read here.
    pub(super) fn is_unread(&self, path: &RelPath) -> bool {
        let unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        unread.len() >= MOST_PATHS
            || unread.iter().any(|one| one.is_under(path) || path.is_under(one))
    }

    /// What could not be read here: it may be there as it is to be, or come, a moment later.
    pub(super) fn take_unread(&self) -> Vec<RelPath> {
        std::mem::take(&mut *self.unread.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All of a watched tree, with what is deleted, and whether the guards of deletion hold it up; `first`: for the
    /// first time.
    pub(super) fn tree(
        path: RelPath,
        (delete, force): (bool, bool),
        first: bool,
        targets: Vec<String>,
        patterns: &Arc<Patterns>,
        caller: Caller,
    ) -> Self {
        let mode = Mode::Send { delete, ignore_times: false, dry_run: false };
        let command = Transfer { scope: Scope::Tree, force, targets, ..Transfer::new(mode, path) };
        let watch = if first { Watch::Begins } else { Watch::GoesOn };
        Order { watch, ..Order::new(command, patterns, caller) }
    }

    /// The same for a host that has asked for it.
    pub(super) fn asked_for(self, ticket: Ticket) -> Self {
        let halves = match self.halves {
            Halves::First(next) => {
                let ticket = Some(ticket);
                Halves::First(Arc::new(Order { ticket, ..Order::clone(&next) }))
            }
            halves => halves,
        };
        Order { ticket: Some(ticket), halves, ..self }
    }

    /// What a transfer is about that comes in for this order, with this setup and mode; None if it is not what
    /// this host has asked for.
    pub(super) fn coming(self: &Arc<Self>, setup: &Setup, mode: Mode) -> Option<Arc<Self>> {
        if setup.path != self.path || setup.recursive != (self.scope == Scope::Tree) {
            return None;
        }
        if mode == self.mode {
            return Some(Arc::clone(self));
        }
        let gone = Arc::new(self.of_what_is_gone());
        let is_gone = self.scope == Scope::PathOrGone && mode == gone.mode;
        let without = mode == self.mode.without_deletion();
        match (is_gone, without) {
            (true, _) => Some(gone),
            (_, true) => Some(Arc::new(Order { mode, ..Order::clone(self) })),
            _ => None,
        }
    }

    /// Whether deleting is all that the command does.
    pub(super) fn only_deletes(&self) -> bool {
        self.mode.only_deletes() && !matches!(self.halves, Halves::First(_))
    }

    /// Those that larger packets did not reach, if it is for them alone.
    pub(super) fn again(&self) -> Option<&[Member]> {
        self.again.as_ref().map(|again| &again.to.hosts[..])
    }

    /// The largest packets on the way to its targets, as far as that is known.
    pub(super) fn mtu(&self) -> Option<u16> {
        self.again.as_ref().map(|again| again.to.mtu)
    }

    /// The transfer is over, with these results: those of the command, or what comes next for it.
    ///
    /// # Errors
    /// What comes next.
    pub(super) fn over(
        &self,
        results: Results,
        unreached: Option<Unreached>,
    ) -> Result<Results, Arc<Order>> {
        let results = match &self.again {
            Some(again) => again.joined(self.mode, results),
            None => results,
        };
        if let Some(unreached) = unreached {
            let again = Again::new(unreached, results);
            let mode = again.mode(self.mode);
            return Err(Arc::new(Order { mode, again: Some(Arc::new(again)), ..self.clone() }));
        }
        match &self.halves {
            Halves::None => Ok(results),
            Halves::First(next) => {
                // What was forbidden once is not asked for again. Else only what takes the place of a
                // directory has anything left to delete.
                let mode = match results.1.errors {
                    0 => next.mode,
                    _ => next.mode.without_deletion(),
                };
                let halves = Halves::Second(Arc::new(results));
                Err(Arc::new(Order { halves, mode, ..Order::clone(next) }))
            }
            Halves::Second(before) => Ok(joined(before, results)),
        }
    }

    /// What the transfers before it came to.
    pub(super) fn before(&self) -> Option<&Results> {
        match &self.halves {
            Halves::Second(before) => Some(before),
            Halves::None | Halves::First(_) => None,
        }
    }

    /// The same for a transfer that could not begin, and what else there is to say of that.
    pub(super) fn refused(&self, mut total: Total) -> (Vec<ErrorLine>, Results) {
        let errors = self.again.as_ref().map_or_else(Vec::new, |again| again.errors());
        total.errors += errors.len() as u64;
        let results = self.over((Vec::new(), total), None);
        (errors, results.unwrap_or_else(|_| (Vec::new(), total)))
    }

    /// The same command for a path that no longer exists here.
    pub(super) fn of_what_is_gone(&self) -> Self {
        let halves = match &self.halves {
            Halves::First(_) => Halves::None,
            halves => halves.clone(),
        };
        Order { mode: self.mode.of_gone_path(), halves, ..self.clone() }
    }

    /// The same command where there is nobody to tell: whoever comes later gets all of it at once, and nothing is
    /// compared now.
    pub(super) fn of_nobody(&self) -> Self {
        let order = match &self.halves {
            Halves::First(next) => next,
            Halves::None | Halves::Second(_) => self,
        };
        Order { checksum: false, ..order.clone() }
    }

    /// Whether it is part of a watch: what changes is sent as it changes.
    pub(super) fn is_watched(&self) -> bool {
        self.watch != Watch::No
    }

    /// Who asked for it.
    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The path, as shown in messages.
    pub(super) fn path_shown(&self) -> String {
        if self.path.is_base() { "the base directory".to_owned() } else { self.path.to_string() }
    }

    /// The setup, as the first batches send it, to these hosts. Only those targets that look for what the
    /// sender does not have need the patterns.
    pub(super) fn setup<'a>(&self, hosts: impl Iterator<Item = &'a HostName>) -> VecDeque<Setup> {
        let mut parts = match self.mode.spools() && !self.patterns.is_empty() {
            true => VecDeque::from(self.patterns.emit(MAX_PATTERNS)),
            false => VecDeque::from([Vec::new()]),
        };
        let mut setup = VecDeque::new();
        while let Some(patterns) = parts.pop_front() {
            let (path, more) = (self.path.clone(), !parts.is_empty());
            setup.push_back(Setup { path, patterns, more, ..Setup::default() });
        }
        if let Some(first) = setup.front_mut() {
            first.recursive = matches!(self.scope, Scope::Tree | Scope::Listed);
            first.listed = self.scope == Scope::Listed;
            first.forced = self.force;
            first.watch = self.watch;
            first.ticket = self.ticket;
            first.mirror = self.mirror.as_ref().map(|delta| delta.setup.clone());
            if !self.targets.is_empty() {
                first.audience = Audience::named(hosts.cloned().collect());
            }
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

    /// What to do where something is missing that was there before.
    pub(super) fn guard(&self) -> Guard {
        match self.mode.spools() && !self.mode.is_check() {
            false => Guard::Notes,
            true if !self.force && self.watch == Watch::GoesOn => Guard::KeepsMounts,
            true if !self.force => Guard::Keeps,
            true if self.mode.changes_nothing() => Guard::Notes,
            true => Guard::Forgets,
        }
    }

    /// Whether the contents of all files are compared.
    pub(super) fn compares(&self) -> bool {
        self.mode.is_check() || self.checksum
    }

    /// The options of the walk.
    pub(super) fn walk(&self, own_only: Option<u32>, regroup: Option<Regroup>) -> WalkOptions {
        let (patterns, left_out) = (Arc::clone(&self.patterns), Arc::clone(&self.left_out));
        WalkOptions {
            recursive: self.scope == Scope::Tree,
            list: None,
            own_only,
            skip: (!patterns.is_empty() || !left_out.is_empty()).then(|| {
                Box::new(move |path: &RelPath, dir: bool| {
                    left_out.contains(path) || patterns.excludes(path, dir)
                }) as _
            }),
            keep: self.mode.spools(),
            names_only: self.mode.names_only(),
            digests: self.compares(),
            regroup,
            now: clock::wall,
            announced_over: LONG,
            digested: Arc::default(),
            listings: None,
            before: None,
            contents: Contents::Unchanged,
            cancelled: Arc::default(),
        }
    }
}

/// The results of two transfers as those of one.
fn joined((hosts, total): &Results, (mut later, then): Results) -> Results {
    for host in hosts {
        match later.iter_mut().find(|other| other.name == host.name) {
            Some(other) => {
                let errors = std::mem::take(&mut other.errors);
                other.deleted += host.deleted;
                other.status = other.status.max(host.status);
                other.more_errors += host.more_errors;
                host.errors.iter().cloned().chain(errors).for_each(|error| other.error(error));
            }
            None => later.push(host.clone()),
        }
    }
    let failed = later.iter().filter(|host| host.status != HostStatus::Ok).count() as u64;
    let total = Total {
        hosts: total.hosts.max(then.hosts),
        failed: failed.max(then.failed),
        deleted: total.deleted + then.deleted,
        errors: total.errors + then.errors,
        wire: total.wire + then.wire,
        time: total.time + then.time,
        ..then
    };
    (later, total)
}
