//! The walk of a sender: everything below a path, as entries in the order in which targets commit them.
//!
//! A directory's open entry comes first, then its children sorted by name (as bytes), then its close
//! entry, which carries the attributes that the directory had when it was opened. The directories
//! above the start are opened and closed around it, so that a target without them creates them;
//! nothing else in them is sent. The base directory itself has no entries.
//!
//! Skipped silently: `.makuosan`, what `skip` matches, and what disappears during the walk. Skipped
//! with an item that says so: sockets, what cannot be examined, and what another user owns if only
//! one user's entries are sent. A directory that is skipped is skipped with all its contents.
//!
//! Of a list of paths, nothing else is walked (`listed`).
//!
//! In memory are only the names in the directories that are open at the moment.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::before::{self, Guard, Missing, SharedBefore};
use super::contents::{Contents, FileFound};
use super::digest::Digester;
use super::found::{FoundEntry, WalkError, WalkItem};
use super::listings::{self, Clock, Listing, SharedListings, still_young};
use super::measured::Mount;
use super::names::Names;
use super::path_list::PathList;
use super::regroup::Regroup;
use super::root::{Dirs, Root};
use crate::name::RelPath;
use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::manifest::{Entry, Kind};

mod listed;

/// How often to wait for a file that keeps changing. After that, reading it will show the change.
const WAITS: u32 = 5;

/// What a walk is to do.
pub struct WalkOptions {
    /// Whether what is below a directory is walked too.
    pub recursive: bool,
    /// If set, only these paths are walked, as far as they are at the start or below it, and what is below
    /// those that are whole.
    pub list: Option<Arc<PathList>>,
    /// If set, only entries of this user are sent.
    pub own_only: Option<u32>,
    /// What to skip. Not asked about the directories above the start.
    pub skip: Option<Skip>,
    /// The time now, as seconds since 1970 and nanoseconds.
    pub now: Clock,
    /// For transfers that delete what the sender does not have: things that exist and are not sent
    /// come as [`Kind::Keep`], and close entries say whether the directory was listed completely.
    pub keep: bool,
    /// Only names matter: everything but directories is a [`Kind::Keep`]. Used with `keep`.
    pub names_only: bool,
    /// Whether regular files come with their MD5 digests.
    pub digests: bool,
    /// Files with more bytes than this are announced by a [`Kind::Ahead`] before their digest is
    /// computed, so that targets can read theirs meanwhile.
    pub announced_over: u64,
    /// How many bytes of such files their digests are through with is counted here.
    pub digested: Arc<AtomicU64>,
    /// Set when the result of the walk is no longer wanted.
    pub cancelled: Arc<AtomicBool>,
    /// If set, what directories were like when they were listed is noted there. Those that are there
    /// already are passed over, but for the one that is listed once more.
    pub listings: Option<SharedListings>,
    /// If set, what the tree was like before, and what to do where something is missing.
    pub before: Option<(SharedBefore, Guard)>,
    /// If set, the group that entries are sent with. Directories above the start keep their own.
    pub regroup: Option<Regroup>,
    /// What the content of regular files is.
    pub contents: Contents,
}

/// Whether to skip a path; the second argument says whether it is a directory.
pub type Skip = Box<dyn Fn(&RelPath, bool) -> bool + Send>;

/// A walk in progress, as an iterator.
pub struct Walker {
    dirs: Dirs,
    options: WalkOptions,
    start: RelPath,
    /// The directories that are open, from the base down.
    open: Vec<Frame>,
    ready: VecDeque<WalkItem>,
    digester: Digester,
    /// The file that was announced last, to be visited again for its digest.
    announced: Option<(RelPath, FileType)>,
    /// The listed paths that are gone.
    gone: VecDeque<RelPath>,
    /// The mount that was missed last.
    missed: Option<RelPath>,
}

struct Frame {
    path: RelPath,
    names: Names,
    close: Option<Entry>,
    /// Whether all that is in it is walked.
    whole: bool,
    /// Whether `names` came from a complete listing.
    listed: bool,
    listing: Option<Listing>,
    /// Its mount, if that is known.
    mount: Option<Mount>,
    /// Something is missing here, or in a directory above: nothing is to be deleted.
    guarded: bool,
}

impl Frame {
    fn new(path: RelPath, names: Names) -> Self {
        let (close, listing, mount) = (None, None, None);
        let (whole, listed, guarded) = (false, false, false);
        Frame { path, names, close, whole, listed, listing, mount, guarded }
    }
}

impl Walker {
    /// Begins a walk of `start` and, if the options say so, everything below it.
    ///
    /// # Errors
    /// `start` cannot be examined, or a directory above it is a symbolic link. (`start` may be one.)
    pub fn new(root: Arc<Root>, start: RelPath, options: WalkOptions) -> Result<Self, WalkError> {
        let digester = Digester::counting(options.announced_over, Arc::clone(&options.digested));
        let mut walker = Walker {
            dirs: Dirs::new(root),
            options,
            start: start.clone(),
            open: Vec::new(),
            ready: VecDeque::new(),
            digester,
            announced: None,
            gone: VecDeque::new(),
            missed: None,
        };
        match walker.begin() {
            Ok(()) => Ok(walker),
            Err(e) if e.raw_os_error() == Some(libc::ELOOP) => {
                let real = walker.dirs.root().real_path(&start);
                Err(WalkError::Link { path: start, real })
            }
            Err(error) => Err(WalkError::Io { path: start, error }),
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        let base = RelPath::base();
        if self.start.is_base() {
            if !self.is_whole(&base) {
                let mount = Some(Mount::of(&fsat::stat_fd(self.dirs.root().as_fd())?));
                let names = self.listed_names(&base);
                self.open.push(Frame { mount, ..Frame::new(base, names) });
            } else {
                let fd = self.dirs.root().open_dir(b"", fsat::LISTING)?;
                let (names, listing) = self.list(&base, &fd)?;
                let mount = Some(Mount::of(&fsat::stat_fd(fd.as_fd())?));
                self.miss_mounts(&base, &names);
                self.open.push(Frame { whole: true, listing, mount, ..Frame::new(base, names) });
            }
            return Ok(());
        }
        let (dir, name) = self.dirs.parent(&self.start)?;
        let stat = fsat::stat_at(dir.as_fd(), name)?;
        if self.is_skipped(&self.start, stat.kind) {
            return Ok(());
        }
        if let Some(line) = self.not_sent(&self.start, &stat) {
            self.ready.push_back(line);
            return Ok(());
        }
        let names = self.start.components().next().map(Names::one).unwrap_or_default();
        let root = fsat::stat_fd(self.dirs.root().as_fd())?;
        self.open.push(Frame { mount: Some(Mount::of(&root)), ..Frame::new(base, names) });
        Ok(())
    }

    fn is_skipped(&self, path: &RelPath, kind: FileType) -> bool {
        let skip = self.options.skip.as_ref();
        skip.is_some_and(|skip| skip(path, kind == FileType::Directory))
    }

    /// The item that says why `path` is not sent, unless it is.
    fn not_sent(&self, path: &RelPath, stat: &Stat) -> Option<WalkItem> {
        match self.options.own_only {
            _ if stat.kind == FileType::Socket => Some(WalkItem::Socket(path.clone())),
            Some(want) if want != stat.uid => {
                Some(WalkItem::OwnerUnmatch { path: path.clone(), uid: stat.uid, want })
            }
            _ => None,
        }
    }

    /// Does one more step, whose items go to `ready`. False at the end of the walk.
    fn step(&mut self) -> bool {
        if let Some((path, kind)) = self.announced.clone() {
            self.visit(path, kind);
            self.announced = None;
            return true;
        }
        let Some(frame) = self.open.last_mut() else { return self.give_gone() };
        let Some((name, kind)) = frame.names.next() else {
            if let Some(Frame { close: Some(entry), listed, .. }) = self.open.pop() {
                let kind = Kind::Close { listed: listed && self.options.keep };
                self.ready.push_back(FoundEntry::without_content(Entry { kind, ..entry }));
            }
            return true;
        };
        match frame.path.join(name) {
            Ok(path) => self.visit(path, kind),
            Err(_) => {
                // Names from the kernel are valid; only the whole path can be too long.
                let mut path = frame.path.as_bytes().to_vec();
                path.push(b'/');
                path.extend_from_slice(name);
                let error = io::Error::from_raw_os_error(libc::ENAMETOOLONG);
                self.ready.push_back(WalkItem::Failed { path, error });
            }
        }
        true
    }

    fn visit(&mut self, path: RelPath, listed_as: FileType) {
        let on_the_way = path != self.start && self.start.is_under(&path);
        let skipped = listed_as != FileType::Unknown && self.is_skipped(&path, listed_as);
        let sent = match skipped {
            true => Ok(false),
            false => self.look(&path, listed_as, on_the_way),
        };
        let sent = sent.unwrap_or_else(|error| {
            if self.listed_is_missing(&path, &error) {
            } else if path == self.start || !self.vanished(&error) {
                self.ready.push_back(WalkItem::Failed { path: path.as_bytes().to_vec(), error });
            }
            false
        });
        let is_listed =
            self.options.list.is_some() && !self.open.last().is_some_and(|dir| dir.whole);
        if !sent && self.options.keep && !is_listed {
            self.ready.push_back(WalkItem::Found(FoundEntry::kept(path)));
        }
    }

    /// Whether an error says that what was listed in the directory that is open last is not there any
    /// more. If it comes back, that does not show in the names.
    fn vanished(&self, error: &io::Error) -> bool {
        let is_gone = error.raw_os_error() == Some(libc::ENOENT);
        let at = self.open.last().and_then(|frame| frame.listing);
        if let (true, Some(at), Some(listings)) = (is_gone, at, &self.options.listings) {
            listings::lock(listings).doubt(at);
        }
        is_gone
    }

    fn is_again(&self) -> bool {
        self.options.listings.as_ref().is_some_and(|all| listings::lock(all).is_again())
    }

    /// Lists a directory, and notes what it is like.
    fn list(&self, path: &RelPath, fd: &OwnedFd) -> io::Result<(Names, Option<Listing>)> {
        let Some(listings) = &self.options.listings else { return Ok((Names::list(fd)?, None)) };
        let mut listings = listings::lock(listings);
        let (names, snapshot) = listings.take(fd)?;
        Ok((names, Some(listings.note(path, snapshot))))
    }

    /// Examines `path`; returns whether it is sent.
    fn look(&mut self, path: &RelPath, listed_as: FileType, on_the_way: bool) -> io::Result<bool> {
        if self.options.names_only && !matches!(listed_as, FileType::Directory | FileType::Unknown)
        {
            return Ok(false);
        }
        let (dir, name) = self.dirs.parent(path)?;
        let mut stat = fsat::stat_at(dir.as_fd(), name)?;
        if on_the_way {
            return self.go_through(path, &stat);
        }
        // The start was checked in `begin`.
        let asked = listed_as != FileType::Unknown || *path == self.start;
        if !asked && self.is_skipped(path, stat.kind) {
            return Ok(false);
        }
        if self.leads_to_listed(path) {
            return self.go_through(path, &stat);
        }
        if stat.kind != FileType::Directory {
            self.listed_below_is_missing(path);
            if self.options.names_only {
                return Ok(false);
            }
        }
        if let Some(line) = self.not_sent(path, &stat) {
            self.ready.push_back(line);
            return Ok(false);
        }
        let mut digest = None;
        let mut content = None;
        let mut origin = None;
        let kind = match stat.kind {
            FileType::File => {
                if matches!(self.options.contents, Contents::Unchanged) {
                    stat = self.settle(&dir, name, stat)?;
                }
                if self.is_to_be_announced(path, stat.size) {
                    self.announced = Some((path.clone(), listed_as));
                    let kind = Kind::Ahead { size: stat.size };
                    let entry = entry(path, kind, &stat, self.options.regroup.as_ref());
                    self.ready.push_back(FoundEntry::without_content(entry));
                    return Ok(true);
                }
                origin = self.origin(path, stat.size);
                let found = self.content(&dir, name, stat, origin.is_some())?;
                // Another file may have taken its place.
                if let Some(line) = self.not_sent(path, &found.stat) {
                    self.ready.push_back(line);
                    return Ok(false);
                }
                (stat, digest, content) = (found.stat, found.digest, Some(found.content));
                Kind::File { size: stat.size, data: found.data }
            }
            FileType::Directory => {
                if self
                    .options
                    .listings
                    .as_ref()
                    .is_some_and(|all| listings::lock(all).is_known(path))
                {
                    return Ok(true);
                }
                self.enter(path, &dir, name, &stat);
                return Ok(true);
            }
            FileType::Symlink => Kind::Symlink(fsat::readlink_at(dir.as_fd(), name)?),
            FileType::Fifo => Kind::Fifo,
            FileType::Char => Kind::Char(stat.rdev.0, stat.rdev.1),
            FileType::Block => Kind::Block(stat.rdev.0, stat.rdev.1),
            FileType::Socket | FileType::Unknown => {
                return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
            }
        };
        let entry = entry(path, kind, &stat, self.options.regroup.as_ref());
        let now = (self.options.now)().0;
        let is_file = content.is_some();
        let age = is_file.then(|| u32::try_from(now - stat.ctime.secs - 1).unwrap_or(0));
        self.ready.push_back(WalkItem::Found(FoundEntry { entry, content, digest, age, origin }));
        Ok(true)
    }

    fn is_to_be_announced(&self, path: &RelPath, size: u64) -> bool {
        let was = self.announced.as_ref().is_some_and(|(announced, _)| announced == path);
        self.options.digests && size > self.options.announced_over && !was
    }

    /// Enters a directory above the start.
    fn go_through(&mut self, path: &RelPath, stat: &Stat) -> io::Result<bool> {
        match stat.kind {
            FileType::Directory => {}
            FileType::Symlink => return Err(io::Error::from_raw_os_error(libc::ELOOP)),
            _ => return Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
        }
        let names = if path.is_under(&self.start) {
            self.listed_names(path)
        } else {
            let name = self.start.components().nth(path.components().count());
            name.map(Names::one).unwrap_or_default()
        };
        // One of another user is passed through, but not sent.
        let sent = self.options.own_only.is_none_or(|want| want == stat.uid);
        let close = sent.then(|| self.found_directory(entry(path, Kind::Open, stat, None)));
        let guarded = self.is_guarded(path, stat, None);
        let mount = Some(Mount::of(stat));
        self.open.push(Frame { close, mount, guarded, ..Frame::new(path.clone(), names) });
        Ok(true)
    }

    /// Enters a directory that is sent, with its contents if the walk is recursive.
    fn enter(&mut self, path: &RelPath, dir: &OwnedFd, name: &[u8], stat: &Stat) {
        let entry = entry(path, Kind::Open, stat, self.options.regroup.as_ref());
        let close = Some(self.found_directory(entry));
        let mut frame = Frame { close, ..Frame::new(path.clone(), Names::default()) };
        frame.mount = Some(Mount::of(stat));
        frame.whole = self.is_whole(path);
        if !frame.whole {
            frame.names = self.listed_names(path);
            frame.guarded = self.options.list.is_some() && self.is_guarded(path, stat, None);
        } else {
            let fd = fsat::open_at(dir.as_fd(), name, fsat::LISTING, 0);
            match fd.and_then(|fd| Ok((self.list(&frame.path, &fd)?, fd))) {
                Ok(((names, listing), fd)) => {
                    self.dirs.hold(frame.path.as_bytes(), fd);
                    (frame.names, frame.listing) = (names, listing);
                    // One that is listed again does not name what is known already.
                    frame.guarded = self.is_guarded(&frame.path, stat, Some(frame.names.len()))
                        || self.keeps(path);
                    if !frame.guarded {
                        self.miss_mounts(&frame.path, &frame.names);
                    }
                    frame.listed = !self.is_again() && !frame.guarded;
                }
                Err(error) if self.vanished(&error) => {}
                Err(error) => {
                    let path = frame.path.as_bytes().to_vec();
                    self.ready.push_back(WalkItem::Failed { path, error });
                }
            }
        }
        self.open.push(frame);
    }

    /// Whether nothing is to be deleted in the directory that is met now, or below it.
    fn is_guarded(&mut self, path: &RelPath, stat: &Stat, entries: Option<usize>) -> bool {
        let Some((before, guard)) = &self.options.before else { return false };
        let above = self.open.last();
        let mount = above.and_then(|frame| frame.mount);
        let is_mount = mount.is_some_and(|mount| !mount.is_same_mount(Mount::of(stat)));
        let missing = before::lock(before).meet(path, is_mount, entries, *guard);
        let guarded = above.is_some_and(|frame| frame.guarded);
        if let (Some(missing), false) = (missing, guarded) {
            self.ready.push_back(WalkItem::Missing(path.clone(), missing));
        }
        guarded || missing.is_some()
    }

    /// Has what led to mounts, and is not in the directory `dir` any more, kept at the targets.
    fn miss_mounts(&mut self, dir: &RelPath, names: &Names) {
        let Some((before, guard)) = &self.options.before else { return };
        let gone = before::lock(before).gone(dir, names, *guard);
        for path in gone {
            self.ready.push_back(WalkItem::Missing(path.clone(), Missing::Mount));
            self.ready.push_back(WalkItem::Found(FoundEntry::kept(path)));
        }
    }

    fn found_directory(&mut self, entry: Entry) -> Entry {
        self.ready.push_back(FoundEntry::without_content(entry.clone()));
        entry
    }

    /// The content of a file that was like `stat`.
    fn content(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        stat: Stat,
        with_digest: bool,
    ) -> io::Result<FileFound> {
        let cancelled = || self.options.cancelled.load(Ordering::Relaxed);
        let wait = |ctime| still_young(ctime, (self.options.now)());
        let digester = (with_digest || self.options.digests).then_some(&mut self.digester);
        self.options.contents.find(dir.as_fd(), name, stat, digester, &wait, &cancelled)
    }

    /// If a file changed just now, waits until another change would get another ctime.
    fn settle(&self, dir: &OwnedFd, name: &[u8], mut stat: Stat) -> io::Result<Stat> {
        for _ in 0..WAITS {
            let Some(wait) = still_young(stat.ctime, (self.options.now)()) else { break };
            std::thread::sleep(wait);
            stat = fsat::stat_at(dir.as_fd(), name)?;
            if stat.kind != FileType::File {
                break;
            }
        }
        match stat.kind {
            FileType::File => Ok(stat),
            _ => Err(io::Error::from_raw_os_error(libc::ESTALE)),
        }
    }
}

impl Iterator for Walker {
    type Item = WalkItem;

    fn next(&mut self) -> Option<WalkItem> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            if !self.step() {
                return None;
            }
        }
    }
}

fn entry(path: &RelPath, kind: Kind, stat: &Stat, regroup: Option<&Regroup>) -> Entry {
    let Stat { uid, mtime, .. } = *stat;
    let (mode, gid) = match regroup {
        Some(regroup) => (regroup.mode(stat), regroup.gid),
        None => (stat.mode, stat.gid),
    };
    Entry { path: path.clone(), kind, mode, uid, gid, mtime }
}
