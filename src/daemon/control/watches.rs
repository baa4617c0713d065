//! What is sent here whenever it changes: the watches, the flush of each that is under way, and who waits for them.
//!
//! The watcher thread says what is to be sent. Each flush is a transfer; its client is the watch itself, which
//! passes on what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::lacking::Lacking;
use super::status::moment_of;
use super::waiting::Waiting;
use crate::console::command::{Scope, Watch};
use crate::console::error::{Code, ErrorLine};
use crate::console::reply::{self, Watching};
use crate::console::watch_row::WatchRow;
use crate::count::counted;
use crate::daemon::caller::Caller;
use crate::daemon::clock;
use crate::daemon::messages::{ToControl, ToReceiver};
use crate::daemon::order::Order;
use crate::daemon::shared::Shared;
use crate::daemon::spawn::spawn;
use crate::daemon::unread::Unread;
use crate::engine::incoming;
use crate::errno::ErrorText;
use crate::fs::path_list::{Listed, PathList};
use crate::fs::root::Root;
use crate::ids::TransferNo;
use crate::name::{HostName, RelPath};
use crate::pattern::Patterns;
use crate::time::Time;
use crate::watch::mounts::Mounts;
use crate::watch::types::{
    Changed, Command, Config, DELAY, Flush, Held, Now, Numbers, WatchNo, Went,
};
use crate::watch::watcher::{Clock, Handle, Watcher};

/// The clients of transfers that are those of watches have numbers from here on.
pub(super) const FIRST: u32 = 1 << 31;
/// The most watches at a time.
const MOST: usize = 64;

/// All watches of this daemon.
pub(super) struct Watches {
    shared: Arc<Shared>,
    seed: u64,
    mounts: Option<Arc<Mounts>>,
    /// The watcher thread, once it is needed.
    handle: Option<Handle>,
    /// The base directory that it knows.
    root: Option<Arc<Root>>,
    watches: BTreeMap<WatchNo, Watched>,
    next: u32,
    pub(super) waiting: Waiting,
}

/// Something that is watched.
pub(super) struct Watched {
    what: Watch,
    pub(super) patterns: Arc<Patterns>,
    caller: Caller,
    /// The client that asked for it; None if the daemon was started with it.
    pub(super) client: Option<u32>,
    pub(super) unread: Unread,
    pub(super) phase: Phase,
    /// What its client was told last of how it fares, and that something is held.
    shown: Option<(Watching, bool)>,
    /// All of it has been sent once.
    is_old: bool,
    /// It is a mirror: what changes in it is not sent as of a watch.
    is_mirror: bool,
    /// Why not all that was sent is everywhere.
    lacking: Option<Lacking>,
}

/// What a watch waits for.
#[derive(Debug)]
pub(super) enum Phase {
    /// Changes.
    Quiet,
    /// A flush that is to begin at this time.
    Due(Arc<Order>, Time),
    /// The transfer of a flush.
    Sending(TransferNo, Arc<Order>),
    /// Nothing any more: it is not watched.
    Refused(String),
}

/// What the watch of this client number is.
pub(super) fn number_of(client: u32) -> Option<WatchNo> {
    client.checked_sub(FIRST).map(WatchNo)
}

/// The client number of a watch.
pub(super) fn client_of(watch: WatchNo) -> u32 {
    FIRST + watch.0
}

impl Watches {
    pub(super) fn new(shared: Arc<Shared>, seed: u64, mounts: Option<Arc<Mounts>>) -> Self {
        Watches {
            shared,
            seed,
            mounts,
            handle: None,
            root: None,
            watches: BTreeMap::new(),
            next: 0,
            waiting: Waiting::default(),
        }
    }

    /// Begins to watch.
    ///
    /// # Errors
    /// It cannot be watched.
    pub(super) fn add(
        &mut self,
        what: Watch,
        patterns: Arc<Patterns>,
        caller: Caller,
        client: Option<u32>,
        unread: Unread,
    ) -> Result<WatchNo, ErrorLine> {
        let shown = reply::shown(&what.path);
        let overlaps = |other: &Watched| {
            what.path.is_under(&other.what.path) || other.what.path.is_under(&what.path)
        };
        if let Some(other) = self.live().map(|(_, other)| other).find(|other| overlaps(other)) {
            let by = match other.client {
                Some(_) => "another client",
                None => "this daemon",
            };
            let why = format!("{} is watched already, by {by}", reply::shown(&other.what.path));
            return Err(ErrorLine::new(Code::Watched, why).about("", shown));
        }
        if self.watches.len() >= MOST {
            let why = format!("at most {MOST} watches at a time");
            return Err(ErrorLine::here(&shown, Code::Refused, why));
        }
        let root = self
            .shared
            .base
            .look()
            .map_err(|reason| ErrorLine::here(&shown, Code::from(reason), reason))?;
        let handle = self.handle().map_err(|error| {
            ErrorLine::here(
                &shown,
                Code::of_io(&error),
                format!("cannot watch: {}", ErrorText(&error)),
            )
        })?;
        let mirrors = self.shared.mirrors.as_ref();
        let is_mirror = mirrors.is_some_and(|mirrors| mirrors.find(&what.path).is_some());
        let config = Config {
            path: what.path.clone(),
            patterns: Arc::clone(&patterns),
            delay: what.delay.unwrap_or(DELAY),
            deletes: what.delete,
            holds: !is_mirror,
        };
        let watch = WatchNo(self.next);
        handle.tell(Command::Add { watch, root: Arc::clone(&root), config });
        self.root = Some(root);
        self.next = (self.next + 1) % FIRST;
        let watched = Watched {
            what,
            patterns,
            caller,
            client,
            unread,
            phase: Phase::Quiet,
            is_old: false,
            is_mirror,
            shown: None,
            lacking: None,
        };
        self.watches.insert(watch, watched);
        self.tell_receiver();
        Ok(watch)
    }

    fn handle(&mut self) -> std::io::Result<Handle> {
        if let Some(handle) = &self.handle {
            return Ok(handle.clone());
        }
        let shared = Arc::clone(&self.shared);
        let tell = Box::new(move |event| shared.control.send(ToControl::Watch(event)));
        let clock = Clock { now: clock::now, wall: clock::wall };
        let (watcher, handle) = Watcher::new(clock, self.seed, self.mounts.clone(), tell)?;
        spawn(&self.shared, "watcher", move || watcher.run())?;
        self.handle = Some(handle.clone());
        Ok(handle)
    }

    /// Those that are not refused.
    fn live(&self) -> impl Iterator<Item = (WatchNo, &Watched)> {
        let live =
            |(_, watched): &(&WatchNo, &Watched)| !matches!(watched.phase, Phase::Refused(_));
        self.watches.iter().filter(live).map(|(watch, watched)| (*watch, watched))
    }

    pub(super) fn get_mut(&mut self, watch: WatchNo) -> Option<&mut Watched> {
        self.watches.get_mut(&watch)
    }

    /// The client that is told what is for this one: itself, or that of a watch.
    pub(super) fn whom(&self, client: u32) -> Option<u32> {
        match number_of(client) {
            Some(watch) => self.watches.get(&watch)?.client,
            None => Some(client),
        }
    }

    /// The watch that this client asked for.
    pub(super) fn of_client(&self, client: u32) -> Option<WatchNo> {
        let found = self.watches.iter().find(|(_, watched)| watched.client == Some(client));
        found.map(|(watch, _)| *watch)
    }

    /// Ends a watch, for this reason. Returns the transfer that is to be aborted.
    pub(super) fn remove(&mut self, watch: WatchNo, why: &str) -> Option<TransferNo> {
        let watched = self.watches.remove(&watch)?;
        self.ended(watch, &watched.what.path, why);
        match watched.phase {
            Phase::Sending(number, _) => Some(number),
            _ => None,
        }
    }

    /// A flush that is due.
    pub(super) fn due(&self, now: Time) -> Option<(WatchNo, Arc<Order>)> {
        self.watches.iter().find_map(|(watch, watched)| match &watched.phase {
            Phase::Due(order, at) if *at <= now => Some((*watch, Arc::clone(order))),
            _ => None,
        })
    }

    /// When something is due.
    pub(super) fn next(&self) -> Option<Time> {
        let due = |watched: &Watched| match watched.phase {
            Phase::Due(_, at) => Some(at),
            _ => None,
        };
        self.watches.values().filter_map(due).min()
    }

    /// The watcher has something to send.
    pub(super) fn flush(&mut self, now: Time, watch: WatchNo, flush: Flush) {
        if let Some(watched) = self.watches.get_mut(&watch) {
            watched.phase = Phase::Due(Arc::new(watched.order(flush)), now);
        }
    }

    /// The watcher has to know the base directory before anything is sent from it.
    pub(super) fn look_at_base(&mut self) {
        let Ok(root) = self.shared.base.look() else { return };
        if self.root.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &root)) {
            self.root = Some(Arc::clone(&root));
            self.tell(Command::Base(root));
        }
    }

    /// A flush is over; `lacking` says why not all of it is everywhere.
    pub(super) fn done(&mut self, watch: WatchNo, went: Went, lacking: Option<Lacking>) {
        if let Some(watched) = self.watches.get_mut(&watch) {
            let is_all =
                matches!(&watched.phase, Phase::Sending(_, order) if order.scope == Scope::Tree);
            let before = watched.lacking.take().filter(|_| !is_all);
            watched.lacking = Lacking::and(lacking, before);
            watched.phase = Phase::Quiet;
            let is_news = went != Went::NotSent && !std::mem::replace(&mut watched.is_old, true);
            self.tell(Command::Done { watch, went });
            if is_news {
                self.tell_receiver();
            }
        }
    }

    /// Hosts lack something, as they say; None: they are not there.
    pub(super) fn heal(&mut self, now: Time, lacks: impl Fn(&HostName) -> Option<bool>) {
        for watched in self.watches.values_mut() {
            drop(watched.lacking.take_if(|lacking| lacking.heals(now, &lacks)));
        }
    }

    /// A client waits until all that was changed at this path is sent.
    ///
    /// # Errors
    /// Nothing there is watched.
    pub(super) fn reach(&mut self, client: u32, path: &RelPath) -> Result<(), ErrorLine> {
        let concerns = |watched: &Watched| {
            path.is_under(&watched.what.path) || watched.what.path.is_under(path)
        };
        let left: BTreeSet<WatchNo> =
            self.live().filter(|(_, watched)| concerns(watched)).map(|(watch, _)| watch).collect();
        if left.is_empty() {
            return Err(not_watched(path));
        }
        let refused = self.watches.values().filter(|watched| concerns(watched));
        let errors = refused.filter_map(Watched::refusal).collect();
        self.look_at_base();
        let cookie = self.waiting.begin((client, path), left.clone(), errors);
        left.into_iter().for_each(|watch| self.tell(Command::Reach { watch, cookie }));
        Ok(())
    }

    /// All that had changed when a client asked is sent, but for what is held, and with these errors.
    pub(super) fn reached(
        &mut self,
        watch: WatchNo,
        cookie: u64,
        held: Option<(Held, u64)>,
        more: Vec<ErrorLine>,
    ) {
        let Some(watched) = self.watches.get(&watch) else { return };
        let shown = reply::shown(&watched.what.path);
        let lacking = watched.lacking.as_ref();
        let lacking = lacking.map(|lacking| ErrorLine::here(&shown, Code::Other, lacking));
        let held = held.filter(|(why, count)| *count > 0 || *why == Held::Replaced);
        let held = held.map(|(why, count)| {
            ErrorLine::new(Code::TooMuchToDelete, watched.held(why, count)).about("", &shown)
        });
        self.waiting.reached(watch, cookie, lacking.into_iter().chain(held).chain(more));
    }

    /// A client that waits no longer, with what there is to say.
    pub(super) fn poll_reached(&mut self) -> Option<(u32, Vec<ErrorLine>)> {
        self.waiting.poll()
    }

    /// The watch of this path may delete what it holds back.
    ///
    /// # Errors
    /// It is not watched.
    pub(super) fn release(&mut self, path: &RelPath) -> Result<(), ErrorLine> {
        let of_path = |(_, watched): &(WatchNo, &Watched)| watched.what.path == *path;
        let (watch, _) = self.live().find(of_path).ok_or_else(|| not_watched(path))?;
        self.tell(Command::Release(watch));
        Ok(())
    }

    /// It is not watched, for this reason.
    pub(super) fn refused(&mut self, watch: WatchNo, why: &str) {
        let Some(watched) = self.watches.get_mut(&watch) else { return };
        watched.phase = Phase::Refused(why.to_owned());
        let path = watched.what.path.clone();
        self.ended(watch, &path, why);
    }

    /// A watch is no more. What was pending is not sent: who waited for it is told.
    fn ended(&mut self, watch: WatchNo, path: &RelPath, why: &str) {
        let shown = reply::shown(path);
        self.tell(Command::Remove(watch));
        self.waiting.ended(watch, &ErrorLine::here(&shown, Code::Other, why));
        self.tell_receiver();
    }

    /// How all of them fare, for `status`.
    pub(super) fn rows(&self, now: Time) -> Vec<WatchRow> {
        self.figures().into_iter().map(|(watched, numbers)| watched.row(now, numbers)).collect()
    }

    /// How all of them fare.
    pub(super) fn figures(&self) -> Vec<(&Watched, Numbers)> {
        let numbers: BTreeMap<WatchNo, Numbers> =
            self.handle.iter().flat_map(Handle::numbers).collect();
        let of = |watch: &WatchNo| numbers.get(watch).cloned().unwrap_or_default();
        self.watches.iter().map(|(watch, watched)| (watched, of(watch))).collect()
    }

    /// How the watches of clients fare, where that has changed since the last time.
    pub(super) fn news(&mut self) -> Vec<(u32, Watching, Option<String>)> {
        if self.watches.values().all(|watched| watched.client.is_none()) {
            return Vec::new();
        }
        let numbers = self.handle.iter().flat_map(Handle::numbers);
        let mut news = Vec::new();
        for (watch, Numbers { directories, pending, held, held_why, .. }) in numbers {
            let Some(watched) = self.watches.get_mut(&watch) else { continue };
            let now = Watching { directories, pending, held };
            let shown = Some((now, held_why.is_some()));
            if let (Some(client), true) = (watched.client, watched.shown != shown) {
                let was_held = watched.shown.is_some_and(|(_, is_held)| is_held);
                watched.shown = shown;
                let why = held_why.filter(|_| !was_held);
                news.push((client, now, why.map(|why| watched.held(why, held))));
            }
        }
        news
    }

    /// No more is watched.
    pub(super) fn stop(&self) {
        self.tell(Command::Stop);
    }

    /// Watches of other hosts that overlap with these are refused.
    fn tell_receiver(&self) {
        let watched = |(_, one): (WatchNo, &Watched)| incoming::Watched {
            path: one.what.path.clone(),
            is_old: one.is_old,
        };
        let live = self.live().filter(|(_, one)| !one.is_mirror);
        self.shared.receiver.send(ToReceiver::Watched(live.map(watched).collect()));
    }

    fn tell(&self, command: Command) {
        if let Some(handle) = &self.handle {
            handle.tell(command);
        }
    }
}

impl Watched {
    /// So many deletions are held, and what lets them go.
    fn held(&self, why: Held, count: u64) -> String {
        let what = match why {
            Held::Replaced => "nothing is sent".to_owned(),
            _ => format!("{} held back", counted(count, "deletion")),
        };
        let of = if self.is_mirror { "mirror" } else { "watch" };
        format!("{what}: {why}: msync {of} release {}", reply::shown(&self.what.path))
    }

    /// The path, as messages show it.
    pub(super) fn path(&self) -> &RelPath {
        &self.what.path
    }

    /// What `status` and the log call it.
    pub(super) fn command(&self) -> String {
        let deletes = if self.what.delete { " --delete" } else { "" };
        format!("watch{deletes} {}", reply::shown(&self.what.path))
    }

    /// That it is not watched.
    fn refusal(&self) -> Option<ErrorLine> {
        let Phase::Refused(why) = &self.phase else { return None };
        Some(ErrorLine::here(reply::shown(&self.what.path), Code::Other, why))
    }

    fn row(&self, now: Time, numbers: Numbers) -> WatchRow {
        WatchRow {
            path: reply::shown(&self.what.path),
            deletes: self.what.delete,
            client: self.client,
            refused: match &self.phase {
                Phase::Refused(why) => Some(why.clone()),
                _ => None,
            },
            directories: numbers.directories,
            unwatched: numbers.unwatched,
            needed: numbers.is_full.then_some(numbers.directories + numbers.unwatched),
            pending: numbers.pending,
            held: numbers.held,
            held_why: numbers.held_why.map(|why| why.to_string()),
            flushes: numbers.flushes,
            last: numbers.last.map(|(at, paths)| (moment_of(now, at), paths)),
            rescans: numbers.rescans,
            rescan: numbers.rescan.map(|(at, why)| (moment_of(now, at), why.to_string())),
            lacking: self.lacking.as_ref().map(Lacking::to_string),
        }
    }

    fn order(&self, flush: Flush) -> Order {
        let (caller, patterns) = (self.caller.clone(), &self.patterns);
        let targets = self.what.targets.clone();
        match flush {
            Flush::Tree { deletes, why } => {
                // What is released was asked for by name.
                let how = (deletes, why.is_released());
                let path = self.what.path.clone();
                Order::tree(path, how, !self.is_old, targets, patterns, caller)
            }
            Flush::Paths(paths) => {
                let listed = |changed: &Changed| Listed {
                    path: changed.path.clone(),
                    whole: matches!(changed.now, Now::Whole | Now::Merged),
                    keeps: changed.now == Now::Merged,
                    from: changed.from.clone(),
                };
                let list = PathList::new(paths.iter().map(listed).collect());
                let path = self.what.path.clone();
                Order::listed(path, Arc::new(list), self.what.delete, targets, patterns, caller)
            }
        }
    }
}

fn not_watched(path: &RelPath) -> ErrorLine {
    let shown = reply::shown(path);
    let why = format!("nothing is watched at {shown}: see status");
    ErrorLine::new(Code::InvalidPath, why).about("", shown)
}
