//! The walker thread of a transfer: reads the directory tree and makes batches, a few ahead of the
//! sender.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use crate::console::error::{Code, ErrorLine};
use crate::console::reply::Said;
use crate::daemon::messages::{Again, Errand, NO_CLIENT, ToControl, ToSender, Totals, Walked};
use crate::daemon::order::Order;
use crate::daemon::shared::Shared;
use crate::daemon::unread::Unread;
use crate::errno::ErrorText;
use crate::fs::batch::Batcher;
use crate::fs::before::Missing;
use crate::fs::contents::Contents;
use crate::fs::copies::Copies;
use crate::fs::found::{FoundEntry, WalkError, WalkItem};
use crate::fs::links::LateLinks;
use crate::fs::listings::{self, SharedListings};
use crate::fs::path_list::{Listed, PathList};
use crate::fs::regroup::Regroup;
use crate::fs::root::{Dirs, Root};
use crate::fs::walk::{WalkOptions, Walker};
use crate::log::{self, Level};
use crate::name::{Escaped, RelPath};
use crate::wire::manifest::{Kind, Setup};
use crate::wire::outcome::Reason;

/// How many batches may be queued for the sender.
pub(super) const AHEAD: usize = 2;

/// How often a walk that waits for its client checks whether the client reads again.
const WHILE_PAUSED: Duration = Duration::from_millis(50);

/// How often directories are looked at again. Those that have changed during the transfer keep, after
/// that, what only the targets have in them.
const LOOKS: u32 = 8;

/// A walk to be done.
pub(super) struct Task {
    pub(super) shared: Arc<Shared>,
    pub(super) root: Arc<Root>,
    pub(super) client: u32,
    /// The client's unread output.
    pub(super) unread: Unread,
    pub(super) walked: SyncSender<Walked>,
    /// What is to be done again.
    pub(super) errands: Receiver<Errand>,
    /// How many `error:` lines were written.
    pub(super) errors: Arc<AtomicU64>,
    pub(super) order: Arc<Order>,
    /// How many bytes of long files were digested.
    pub(super) digested: Arc<AtomicU64>,
    /// Set when the result is no longer needed.
    pub(super) cancelled: Arc<AtomicBool>,
    pub(super) own_only: Option<u32>,
    pub(super) regroup: Option<Regroup>,
    /// What directories were like when they were listed, if that matters.
    pub(super) listings: Option<SharedListings>,
    /// Sent with the first batches.
    pub(super) setup: VecDeque<Setup>,
    /// Whether anything may be written below the base directory.
    pub(super) writes: bool,
    /// Where files that go on changing are copied to.
    pub(super) copies: Option<Arc<Copies>>,
    /// What was listed, and said to be gone.
    pub(super) gone: Vec<RelPath>,
    /// The links that wait until what they point to is in place.
    pub(super) late: LateLinks,
    /// These are sent now.
    pub(super) sends_late: bool,
}

/// The sender has dropped the transfer, so the walk ends.
struct Abandoned;

impl Task {
    /// Walks the tree, then whatever is to be done again, until the transfer is over. Without a walker,
    /// only the setup is sent.
    pub(super) fn run(mut self, walker: Option<Walker>) {
        // That nobody wants the rest is no error.
        let _ = self.walk_until_over(walker);
    }

    fn walk_until_over(&mut self, walker: Option<Walker>) -> Result<(), Abandoned> {
        match walker {
            Some(walker) => self.walk(walker)?,
            None => {
                let mut batcher = self.batcher()?;
                self.rest(&mut batcher)?;
            }
        }
        let is_quiet = self.listings.is_none() && self.late.is_empty();
        self.hand(if is_quiet { Walked::Quiet } else { Walked::End })?;
        let mut looks = 0;
        while let Ok(errand) = self.errands.recv() {
            match errand {
                Errand::Files(files) => {
                    let mut batcher = self.batcher()?;
                    files.into_iter().try_for_each(|file| self.look_again(&mut batcher, file))?;
                    self.rest(&mut batcher)?;
                    self.hand(Walked::End)?;
                }
                Errand::Look => self.look(&mut looks)?,
            }
        }
        Ok(())
    }

    fn look_again(&mut self, batcher: &mut Batcher, again: Again) -> Result<(), Abandoned> {
        let Again { path, changes, with_digest } = again;
        let mut options = self.options(false);
        options.digests |= with_digest;
        options.contents = match changes {
            0 => Contents::Unchanged,
            1 => Contents::OfMoment,
            _ => self.copies().map_or(Contents::OfMoment, Contents::Copied),
        };
        match (Walker::new(Arc::clone(&self.root), path.clone(), options), &self.listings) {
            (Ok(walker), _) => return self.collect(batcher, walker),
            // It was moved: its directory will tell.
            (Err(error), Some(listings)) if error.is_gone() => {
                listings::lock(listings).doubt_parent_of(&path);
            }
            (Err(error), _) => self.error(error_line(&error)),
        }
        Ok(())
    }

    /// Looks at all directories that were listed, and lists once more those that have changed: a file may
    /// have been moved there from a directory that was listed after that.
    fn look(&mut self, looks: &mut u32) -> Result<(), Abandoned> {
        if !self.late.is_empty() {
            self.send_late()?;
            return self.hand(Walked::End);
        }
        let Some(listings) = self.listings.clone() else { return self.hand(Walked::Quiet) };
        if *looks < LOOKS && self.look_for_gone()? {
            *looks += 1;
            return self.hand(Walked::End);
        }
        let mut dirs = Dirs::new(Arc::clone(&self.root));
        loop {
            *looks += 1;
            let look = listings::lock(&listings).look(&mut dirs, &self.cancelled);
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(Abandoned);
            }
            if look.is_quiet {
                return self.hand(Walked::Quiet);
            }
            let is_last = *looks >= LOOKS;
            if look.changed.is_empty() && !is_last {
                continue;
            }
            for (path, at) in look.changed {
                listings::lock(&listings).list_again(path.clone(), at);
                let options =
                    WalkOptions { listings: Some(Arc::clone(&listings)), ..self.options(true) };
                match Walker::new(Arc::clone(&self.root), path, options) {
                    Ok(walker) => self.walk(walker)?,
                    // The next look will tell where it has gone.
                    Err(error) if error.is_gone() => {}
                    Err(error) => self.error(error_line(&error)),
                }
            }
            if is_last {
                let mut batcher = Batcher::new();
                let restless = listings::lock(&listings).restless();
                for path in restless {
                    if let Some(batch) = batcher.push(FoundEntry::kept(path)) {
                        self.hand(Walked::Batch(batch))?;
                    }
                }
                self.rest(&mut batcher)?;
                return self.hand(Walked::Quiet);
            }
            return self.hand(Walked::End);
        }
    }

    /// Everything else is in place: links that waited for it are sent.
    fn send_late(&mut self) -> Result<(), Abandoned> {
        let mut links = Vec::new();
        for (link, to) in self.late.take() {
            match self.order.is_unread(&to) {
                true => self.error(ErrorLine::of_path(&link, Reason::Incomplete)),
                false => links.push(link),
            }
        }
        let mut dirs = Dirs::new(Arc::clone(&self.root));
        links.retain(|link| dirs.may_be_there(link));
        let options = WalkOptions {
            list: Some(Arc::new(PathList::of(&links, false))),
            listings: self.listings.clone(),
            ..self.options(false)
        };
        match Walker::new(Arc::clone(&self.root), self.order.path.clone(), options) {
            Ok(walker) => {
                let mut batcher = self.batcher()?;
                self.sends_late = true;
                let sent = self.collect(&mut batcher, walker);
                self.sends_late = false;
                sent?;
                self.rest(&mut batcher)?;
            }
            Err(error) => self.error(error_line(&error)),
        }
        Ok(())
    }

    /// What was said to be gone and is there now is sent as it is: then it is not deleted. Whether there is such.
    fn look_for_gone(&mut self) -> Result<bool, Abandoned> {
        let mut dirs = Dirs::new(Arc::clone(&self.root));
        let (back, gone): (Vec<RelPath>, Vec<RelPath>) =
            std::mem::take(&mut self.gone).into_iter().partition(|path| dirs.may_be_there(path));
        self.gone = gone;
        if back.is_empty() {
            return Ok(false);
        }
        let listed = back
            .into_iter()
            .map(|path| Listed { path, whole: true, keeps: false, from: None })
            .collect();
        let options = WalkOptions {
            list: Some(Arc::new(PathList::new(listed))),
            listings: self.listings.clone(),
            ..self.options(false)
        };
        match Walker::new(Arc::clone(&self.root), self.order.path.clone(), options) {
            Ok(walker) => self.walk(walker)?,
            Err(error) => self.error(error_line(&error)),
        }
        Ok(true)
    }

    /// Where files that go on changing are copied to, if that can be made.
    fn copies(&mut self) -> Option<Arc<Copies>> {
        if self.copies.is_none() && self.writes {
            self.copies = Copies::open(&self.root).ok().map(Arc::new);
        }
        self.copies.clone()
    }

    fn options(&self, recursive: bool) -> WalkOptions {
        WalkOptions {
            recursive,
            cancelled: Arc::clone(&self.cancelled),
            digested: Arc::clone(&self.digested),
            ..self.order.walk(self.own_only, self.regroup.clone())
        }
    }

    fn walk(&mut self, walker: Walker) -> Result<(), Abandoned> {
        let mut batcher = self.batcher()?;
        self.collect(&mut batcher, walker)?;
        self.rest(&mut batcher)
    }

    /// Whether a link is sent later.
    fn waits(&mut self, found: &FoundEntry) -> bool {
        let Kind::Symlink(to) = &found.entry.kind else { return false };
        !self.sends_late
            && !self.order.is_watched()
            // Where it takes the place of a directory, that goes with the rest of what is deleted.
            && !self.order.mode.spools()
            && !self.order.mode.changes_nothing()
            && self.late.defer(&self.order.path, &found.entry.path, to)
    }

    fn collect(&mut self, batcher: &mut Batcher, walker: Walker) -> Result<(), Abandoned> {
        for item in walker {
            let item = match item {
                WalkItem::Found(found) if self.waits(&found) => continue,
                item => item,
            };
            match item {
                WalkItem::Found(found) => {
                    if found.entry.kind == Kind::Gone {
                        self.gone.push(found.entry.path.clone());
                    }
                    if let Some(batch) = batcher.push(found) {
                        self.hand(Walked::Batch(batch))?;
                    }
                }
                WalkItem::Failed { path, error } => {
                    if let Ok(path) = RelPath::parse(&path) {
                        self.order.note_unread(&path);
                    }
                    let why = ErrorText(&error);
                    self.error(ErrorLine::here(Escaped(&path), Code::of_io(&error), why));
                }
                WalkItem::Missing(path, missing) => {
                    self.error(missing_line(&path, missing));
                }
                WalkItem::Socket(path) => self.note(format!("skip: unix domain socket {path}")),
                WalkItem::OwnerUnmatch { path, uid, want } => {
                    self.note(format!("skip: owner unmatch {path} ({uid} != {want})"));
                }
            }
        }
        Ok(())
    }

    /// A new batcher; the first one includes the setup, or its last part, if earlier ones had to go in
    /// batches of their own.
    fn batcher(&mut self) -> Result<Batcher, Abandoned> {
        let mut batcher = Batcher::new();
        while let Some(part) = self.setup.pop_front() {
            self.rest(&mut batcher)?;
            batcher = Batcher::with_setup(part);
        }
        Ok(batcher)
    }

    fn rest(&self, batcher: &mut Batcher) -> Result<(), Abandoned> {
        batcher.finish().map_or(Ok(()), |batch| self.hand(Walked::Batch(batch)))
    }

    fn hand(&self, walked: Walked) -> Result<(), Abandoned> {
        self.walked.send(walked).map_err(|_| Abandoned)?;
        self.shared.sender.send(ToSender::Walked);
        Ok(())
    }

    fn error(&self, error: ErrorLine) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        if self.client == NO_CLIENT {
            let text = format_args!("{}: {}", self.order.path_shown(), error.text());
            return log::limited(Level::WARNING, "what cannot be sent", None, text);
        }
        self.say(error.into());
    }

    fn note(&self, line: String) {
        if self.client != NO_CLIENT {
            self.say(Said::Line(0, line));
        }
    }

    fn say(&self, said: Said) {
        // Waits for the client to read. The transfer holds the other reference to `errors`: once
        // that is gone, there is no reason to wait.
        while self.unread.is_too_much() && Arc::strong_count(&self.errors) > 1 {
            thread::sleep(WHILE_PAUSED);
        }
        self.unread.add([said.size()].into_iter());
        let lines = vec![said];
        self.shared.control.send(ToControl::Lines { client: self.client, lines });
    }
}

/// The error line for something that was there before and is missing now.
pub(super) fn missing_line(path: &RelPath, missing: Missing) -> ErrorLine {
    let (code, why) = match missing {
        Missing::Mount => {
            (Code::NotMounted, "without --force nothing is deleted below what was a mount:")
        }
        Missing::Contents => {
            (Code::EmptySource, "without --force nothing is deleted below what is empty now:")
        }
    };
    ErrorLine::here(path, code, why)
}

/// The error line for a walk that cannot begin.
pub(super) fn error_line(error: &WalkError) -> ErrorLine {
    match error {
        WalkError::Link { path, .. } => ErrorLine::new(Code::LinkInPath, error).about("", path),
        WalkError::Io { path, error } => {
            ErrorLine::here(path, Code::of_io(error), ErrorText(error))
        }
    }
}

/// Counts what a walker finds, until it is finished or cancelled.
pub(super) fn count(totals: &Totals, walker: Walker, cancelled: &AtomicBool) {
    for item in walker {
        if cancelled.load(Ordering::Relaxed) {
            return;
        }
        if let WalkItem::Found(found) = item {
            if !matches!(found.entry.kind, Kind::Close { .. }) {
                totals.entries.fetch_add(1, Ordering::Relaxed);
                totals.bytes.fetch_add(found.entry.size(), Ordering::Relaxed);
            }
        }
    }
    totals.whole.store(true, Ordering::Relaxed);
}
