//! One watched tree: events go in, what is to be sent comes out.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::deletions::Deletions;
use super::dirty::{Name, Settling};
use super::flush::{self, Composed};
use super::ground::Ground;
use super::moment::{Moment, since};
use super::mounts::Mounts;
use super::news::News;
use super::rescans::Rescans;
use super::said;
use super::scan::{Scan, Search, Searched, UNWATCHED};
use super::types::{
    Changed, Command, Config, Event, Flush, Held, Numbers, Refusal, WatchNo, Went, Why,
};
use crate::engine::rng::Rng;
use crate::fs::root::{Dirs, Root};
use crate::sys::fsat;
use crate::time::{Span, Time};

/// How often the whole tree is, give or take a quarter.
const SLOW: Span = Span::from_secs(3_600);
/// How often it is looked whether something is back.
const BACK: Span = Span::from_secs(5);

/// A watched tree.
#[derive(Debug)]
pub(super) struct Tree {
    number: WatchNo,
    ground: Ground,
    scan: Scan,
    deletions: Deletions,
    rescans: Rescans,
    under_way: Option<UnderWay>,
    news: News,
    cookies: Vec<(u64, Time)>,
    /// The top is not at its path.
    is_lost: bool,
    /// It is to be looked whether it is.
    looks: bool,
    next_back: Time,
    /// When the tree was searched last, and when it is next; the same of what is not watched.
    slow: (Moment, Time),
    unwatched: (Moment, Time),
    /// Somebody waits: what is not watched is searched at once.
    searches_now: bool,
    /// How many entries there were before a search.
    entries_before: u64,
    last_round_whole: bool,
    failures: u32,
    rng: Rng,
    numbers: Numbers,
    unwatched_said: bool,
    /// The mounts that concern it, in short.
    mounts: Option<u64>,
}

/// A flush that is under way.
#[derive(Debug)]
enum UnderWay {
    Paths(Arc<Vec<Changed>>, Vec<Name>),
    Tree(Why),
}

impl Tree {
    pub(super) fn open(
        number: WatchNo,
        root: Arc<Root>,
        config: Config,
        at: Moment,
        seed: u64,
    ) -> Result<Self, Refusal> {
        let ground = Ground::open(root, config).map_err(|(error, of_directory)| {
            if of_directory { Refusal::Directory(error) } else { Refusal::Inotify(error) }
        })?;
        let mut rng = Rng::new(seed);
        let slow = (at, at.now + jittered(&mut rng));
        let mut tree = Tree {
            number,
            ground,
            scan: Scan::default(),
            deletions: Deletions::default(),
            rescans: Rescans::new(),
            under_way: None,
            news: News::default(),
            cookies: Vec::new(),
            is_lost: false,
            looks: false,
            next_back: Time::ZERO,
            slow,
            unwatched: (at, at.now + UNWATCHED),
            searches_now: false,
            entries_before: 0,
            last_round_whole: true,
            failures: 0,
            rng,
            numbers: Numbers::default(),
            unwatched_said: false,
            mounts: None,
        };
        tree.rescans.want(at.now, Why::Begun);
        Ok(tree)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.ground.inotify.as_fd()
    }

    pub(super) fn numbers(&self) -> Numbers {
        Numbers {
            directories: self.ground.table.len() as u64,
            unwatched: self.scan.unwatched(),
            is_full: self.scan.is_full(),
            entries: self.ground.table.entries(),
            pending: self.ground.dirty.len() as u64,
            held: self.deletions.count(),
            held_why: self.held().map(|(why, _)| why),
            flushing: self.under_way.is_some(),
            ..self.numbers.clone()
        }
    }

    /// Why something is held, and how many deletions.
    fn held(&self) -> Option<(Held, u64)> {
        let why = if self.is_lost { Some(Held::Replaced) } else { self.deletions.why() };
        why.map(|why| (why, self.deletions.count()))
    }

    /// Reads what has happened, until there is nothing.
    pub(super) fn read(&mut self, now: Time) {
        let heard = self.news.read(&mut self.ground, &mut self.scan, now);
        self.looks |= heard.about_top;
        if let Some(why) = heard.why {
            self.want(now, why);
        }
    }

    /// All of it is to be sent.
    fn want(&mut self, now: Time, why: Why) {
        if self.entries_before == 0 {
            self.entries_before = self.ground.table.entries();
        }
        if !self.ground.config.holds && matches!(why, Why::Mounts | Why::Replaced) {
            self.rescans.hurry();
        }
        if self.rescans.want(now, why) {
            if let Some(why) = self.rescans.wanted() {
                said::all_is_sent(&self.ground.config.path, why);
            }
        }
    }

    /// The mounts have changed: are those among them that concern this tree?
    pub(super) fn mounted(&mut self, now: Time, mounts: &Mounts) {
        let path =
            self.ground.root.path().join(OsStr::from_bytes(self.ground.config.path.as_bytes()));
        let about = mounts.about(&path);
        if self.mounts.replace(about).is_some_and(|before| before != about) {
            self.looks = true;
            self.want(now, Why::Mounts);
        }
    }

    /// What a command asks of this tree.
    pub(super) fn command(&mut self, at: Moment, command: Command) {
        match command {
            Command::Base(root) => {
                let before = self.ground.here();
                self.ground.root = root;
                if before.is_none() || self.ground.here() != before {
                    self.looks = true;
                    // The same directory, reached by another mount, has other mounts below it.
                    self.want(at.now, Why::Mounts);
                }
            }
            Command::Release(_) => self.release(at),
            Command::Reach { cookie, .. } => {
                // What happened before is in the queue before the call that did it returns.
                self.read(at.now);
                self.cookies.push((cookie, at.now));
                self.ground.dirty.hurry(at.now);
                self.searches_now = self.scan.unwatched() > 0;
            }
            Command::Done { went, .. } => self.done(at, went),
            Command::Add { .. } | Command::Remove(_) | Command::Stop => {}
        }
    }

    fn release(&mut self, at: Moment) {
        said::released(&self.ground.config.path);
        let (paths, more) = self.deletions.release();
        for path in paths {
            let key = self.ground.key(&path);
            if let Some(name) = self.ground.dirty.touch(at.now, key, Settling::Settled) {
                (name.went, name.released) = (true, true);
            }
        }
        if self.is_lost {
            self.renew(at, Why::Released);
        } else if more {
            self.want(at.now, Why::Released);
        }
        self.wait_for_all(at.now);
    }

    /// What has come to be known now changed before: whoever waits, waits for it, too.
    fn wait_for_all(&mut self, now: Time) {
        if !self.cookies.is_empty() {
            self.cookies.iter_mut().for_each(|(_, then)| *then = now);
            self.ground.dirty.hurry(now);
        }
    }

    fn done(&mut self, at: Moment, went: Went) {
        let Some(sent) = self.under_way.take() else { return };
        self.numbers.flushes += 1;
        let paths = match &sent {
            UnderWay::Paths(changed, _) => Some(changed.len() as u64),
            UnderWay::Tree(_) => None,
        };
        if went == Went::NotSent {
            self.failures += 1;
        } else {
            (self.failures, self.numbers.last) = (0, Some((at.now, paths)));
        }
        match (sent, went) {
            (UnderWay::Paths(changed, names), Went::Sent { again }) => {
                flush::try_paths_again(&mut self.ground, at.now, &changed, &names, &again);
            }
            (UnderWay::Paths(changed, names), Went::NotSent) => {
                for (changed, mut name) in changed.iter().zip(names) {
                    let key = self.ground.key(&changed.path);
                    // Not this name's fault, but that of all.
                    name.tries = u8::try_from(self.failures - 1).unwrap_or(u8::MAX).min(6);
                    flush::try_again(&mut self.ground, at.now, key, &name, u8::MAX);
                }
            }
            (UnderWay::Tree(_), Went::Sent { again }) => {
                self.rescans.end(at.now);
                flush::try_paths_again(&mut self.ground, at.now, &[], &[], &again);
            }
            (UnderWay::Tree(why), Went::NotSent) => {
                self.rescans.end(at.now);
                self.rescans.want(at.now, why);
            }
        }
        self.ground.dirty.look_again(at.now);
    }

    /// Begins anew with the directory that is at the path now.
    fn renew(&mut self, at: Moment, why: Why) {
        let (root, config) = (Arc::clone(&self.ground.root), self.ground.config.clone());
        match Ground::open(root, config) {
            Ok(ground) => {
                self.ground = ground;
                (self.scan, self.is_lost, self.looks) = (Scan::default(), false, false);
                self.news = News::default();
                self.want(at.now, why);
            }
            Err((error, _)) => {
                said::failed(&self.ground.config.path, &error);
            }
        }
    }

    /// Looks whether the top is at its path.
    fn look_for_top(&mut self, at: Moment) {
        self.looks = false;
        let here = self.ground.here();
        let is_here = here.is_some_and(|(identity, _)| identity == self.ground.identity);
        match (is_here, self.is_lost) {
            // Who is told judges whether it is the right one.
            (false, _) if here.is_some() && !self.ground.config.holds => {
                self.renew(at, Why::Replaced);
            }
            (false, false) => {
                self.is_lost = true;
                // Of a mirror, its index says so.
                if self.ground.config.holds {
                    said::lost(&self.ground.config.path);
                }
            }
            (true, true) => {
                if self.ground.config.holds {
                    said::back(&self.ground.config.path);
                }
                self.renew(at, Why::Replaced);
            }
            (true, false) if !self.ground.table.has(self.ground.top) => {
                self.renew(at, Why::Replaced);
            }
            _ => {}
        }
        self.next_back = at.now + BACK;
    }

    /// Whether there is something to be searched at once.
    pub(super) fn is_busy(&self) -> bool {
        !self.is_lost && !self.scan.is_idle()
    }

    /// Does one step of a search.
    pub(super) fn step(&mut self, at: Moment) {
        if let Some(searched) = self.scan.step(&mut self.ground, at.now) {
            self.searched(at, searched);
        }
    }

    fn searched(&mut self, at: Moment, searched: Searched) {
        match searched.search {
            Search::ForRescan => {
                self.rescans.is_searched = true;
                self.last_round_whole = searched.whole;
            }
            Search::Slow(_) => {}
            Search::Unwatched(_) => {
                if std::mem::take(&mut self.searches_now) {
                    self.wait_for_all(at.now);
                }
            }
        }
        self.unwatched.1 = at.now + UNWATCHED;
        let lacks = self.scan.unwatched();
        if (lacks > 0) != std::mem::replace(&mut self.unwatched_said, lacks > 0) {
            let have = self.ground.table.len() as u64;
            said::unwatched(&self.ground.config.path, have, lacks, self.scan.is_full());
        }
    }

    /// Does what is due, and says what is to be sent.
    pub(super) fn advance(&mut self, at: Moment, events: &mut VecDeque<Event>) {
        if self.looks || (self.is_lost && self.next_back <= at.now) {
            events.push_back(Event::LookAtBase);
            self.look_for_top(at);
        }
        if self.is_lost {
            return self.reached(events);
        }
        if self.deletions.why().is_some() && self.next_back <= at.now {
            self.next_back = at.now + BACK;
            let mut dirs = Dirs::new(Arc::clone(&self.ground.root));
            self.deletions.recheck(|path| {
                let found = dirs.parent(path);
                found.and_then(|(dir, name)| fsat::stat_at(dir.as_fd(), name)).is_ok()
            });
        }
        self.begin_search(at);
        // Before the next flush begins, which they do not wait for.
        self.reached(events);
        if self.under_way.is_none() && self.scan.is_idle() {
            self.begin_flush(at, events);
        }
        self.reached(events);
    }

    fn begin_search(&mut self, at: Moment) {
        let rescan = self.rescan_due().is_some_and(|due| due <= at.now);
        if rescan && !self.rescans.is_searched && !self.scan.is_searching() {
            self.scan.begin(&mut self.ground, Search::ForRescan);
            self.slow = (at, at.now + jittered(&mut self.rng));
            self.unwatched = (at, at.now + UNWATCHED);
        } else if !self.scan.is_idle() {
        } else if self.slow.1 <= at.now {
            let since = since(self.slow.0, at);
            self.slow = (at, at.now + jittered(&mut self.rng));
            self.unwatched = (at, at.now + UNWATCHED);
            self.scan.begin(&mut self.ground, Search::Slow(since));
        } else if self.scan.unwatched() > 0 && (self.unwatched.1 <= at.now || self.searches_now) {
            let since = since(self.unwatched.0, at);
            self.unwatched = (at, at.now + UNWATCHED);
            self.scan.begin(&mut self.ground, Search::Unwatched(since));
        }
    }

    /// When the next rescan is due. Who waits for something has it made at once.
    fn rescan_due(&self) -> Option<Time> {
        let due = self.rescans.due()?;
        let is_waited_for = self.failures == 0
            && self.cookies.iter().any(|(_, then)| self.rescans.is_wanted_since(*then));
        Some(if is_waited_for { Time::ZERO } else { due })
    }

    fn begin_flush(&mut self, at: Moment, events: &mut VecDeque<Event>) {
        let is_due = self.rescan_due().is_some_and(|due| due <= at.now);
        let has_names = self.ground.dirty.next().is_some_and(|next| next <= at.now);
        if !(has_names || is_due && self.rescans.is_searched) {
            return;
        }
        if !self.ground.is_in_place() {
            self.looks = true;
            return self.look_for_top(at);
        }
        if is_due && self.rescans.is_searched {
            return self.begin_tree(at, events);
        }
        let may_delete = self.rescans.wanted().is_none();
        let Composed { changed, names, held } =
            flush::compose(&mut self.ground, &mut self.deletions, at.now, may_delete);
        self.say_held(held);
        if !changed.is_empty() {
            let changed = Arc::new(changed);
            self.under_way = Some(UnderWay::Paths(Arc::clone(&changed), names));
            events.push_back(Event::Flush(self.number, Flush::Paths(changed)));
        }
    }

    fn begin_tree(&mut self, at: Moment, events: &mut VecDeque<Event>) {
        let Some(why) = self.rescans.take() else { return };
        let before = std::mem::take(&mut self.entries_before);
        let mut deletes = self.ground.config.deletes && self.last_round_whole;
        match why {
            // What was under a mount is not deleted by anybody.
            Why::Mounts => deletes = false,
            Why::Overflow | Why::TooMany if deletes && self.ground.config.holds => {
                let held = self.deletions.why();
                let left = self.ground.table.entries();
                let now_held = self.deletions.judge_unseen(left, before);
                deletes = now_held.is_none();
                self.say_held(now_held.filter(|_| held.is_none()));
            }
            // An empty directory may be a file system that is not mounted yet.
            Why::Begun | Why::Replaced => deletes &= self.ground.table.entries() > 0,
            _ => {}
        }
        self.numbers.rescans += 1;
        self.numbers.rescan = Some((at.now, why.clone()));
        self.under_way = Some(UnderWay::Tree(why.clone()));
        events.push_back(Event::Flush(self.number, Flush::Tree { why, deletes }));
    }

    fn say_held(&self, held: Option<Held>) {
        if let Some(why) = held {
            said::held(&self.ground.config.path, why);
        }
    }

    /// Answers those for whom all is sent that they wait for.
    fn reached(&mut self, events: &mut VecDeque<Event>) {
        let is_quiet =
            self.is_lost || (self.under_way.is_none() && self.scan.is_idle() && !self.searches_now);
        if self.cookies.is_empty() || !is_quiet {
            return;
        }
        let held = self.held();
        let (watch, is_lost) = (self.number, self.is_lost);
        let (rescans, dirty) = (&self.rescans, &self.ground.dirty);
        self.cookies.retain(|&(cookie, then)| {
            let waits = !is_lost && (rescans.is_wanted_since(then) || dirty.has_from(then));
            if !waits {
                events.push_back(Event::Reached { watch, cookie, held });
            }
            waits
        });
    }

    /// When to call [`Tree::advance`] next, if nothing happens.
    pub(super) fn next(&self) -> Option<Time> {
        if self.is_lost {
            return Some(self.next_back);
        }
        let mut next = self.slow.1;
        if self.scan.unwatched() > 0 {
            next = next.min(self.unwatched.1);
        }
        if self.deletions.why().is_some() {
            next = next.min(self.next_back);
        }
        if self.looks || self.searches_now {
            next = Time::ZERO;
        }
        if self.under_way.is_none() {
            let names = self.ground.dirty.next();
            next = [self.rescan_due(), names].into_iter().flatten().fold(next, Time::min);
        }
        Some(next)
    }
}

#[cfg(test)]
impl Tree {
    /// As if the kernel said that events were lost.
    pub(super) fn overflow(&mut self, now: Time) {
        self.want(now, Why::Overflow);
    }

    /// Reads what has happened, and forgets it.
    pub(super) fn lose_events(&mut self) {
        while matches!(self.ground.inotify.read(|_| ()), Ok(true)) {}
    }

    pub(super) fn memory(&self) -> usize {
        self.ground.table.memory()
    }

    pub(super) fn begin_now(&mut self, at: Moment) {
        if self.scan.is_idle() {
            self.begin_search(at);
        }
    }
}

/// About an hour.
fn jittered(rng: &mut Rng) -> Span {
    let quarter = SLOW / 4;
    SLOW - quarter + Span::from_micros(rng.below(quarter.micros() * 2))
}
