//! One mirrored tree of this host: its index, and what lasts of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::taken::Taken;
use super::types::{MirrorError, State};
use crate::console::reply;
use crate::engine::disk_job::TransferKey;
use crate::fs::mirror::ground::{Ground, Sight};
use crate::fs::root::{Dirs, Root};
use crate::keeping::mirror_store::MirrorStore;
use crate::log;
use crate::mirror::index::{Due, Index, Record};
use crate::mirror::look::Found;
use crate::name::RelPath;
use crate::sys::{fsat, random};
use crate::wire::mirror::Left;
use crate::wire::outcome::Reason;
use crate::wire::versions::{Dot, IndexId};

/// From so many files on, whole file systems are synced rather than each.
const SYNC_ALL_FROM: usize = 32;
/// The most dots of which a question asks for the bytes.
const MOST_NEEDED: usize = crate::wire::mirror::MAX_NEEDED;

/// A tree that is mirrored.
#[derive(Debug)]
pub struct Tree {
    pub(super) path: RelPath,
    pub(super) index: Index,
    store: MirrorStore,
    /// What the wall clock says, in milliseconds since 1970.
    pub(super) wall: fn() -> u64,
    /// The paths at which something is still to be done: bytes are missing, or it failed.
    pub(super) open: BTreeSet<Box<[u8]>>,
    /// Those of them where bytes are missing, with the dots.
    pub(super) lacking: BTreeMap<Box<[u8]>, Vec<Dot>>,
    /// Why those that were tried could not be made as they should be.
    pub(super) failed: BTreeMap<Box<[u8]>, Reason>,
    /// The paths that have more than one version.
    pub(super) conflicts: BTreeSet<Box<[u8]>>,
    /// The paths that are listed.
    pub(super) listed: BTreeSet<Box<[u8]>>,
    /// The deletions of others that are held.
    pub(super) held: BTreeSet<Box<[u8]>>,
    /// What is kept of those that have more than one.
    pub(super) kept_at: BTreeMap<Box<[u8]>, Vec<Dot>>,
    /// What is missing here, and is not said to be deleted until somebody says that it is meant.
    pub(super) gone: BTreeSet<Box<[u8]>>,
    /// How many local deletions there were since this time, in milliseconds since 1970.
    pub(super) going: (u64, usize),
    /// How many deletions of others there were since this time, in milliseconds since 1970.
    pub(super) removals: (u64, usize),
    /// Those of now are held.
    pub(super) holds: bool,
    /// They are meant.
    pub(super) released: bool,
    /// What is too long to be read at once, and is being read.
    pub(super) reading: BTreeSet<Box<[u8]>>,
    /// What comes in.
    pub(super) taken: BTreeMap<TransferKey, Taken>,
    /// Where no host has an index, this one's files are the origin.
    pub(super) first: bool,
    /// What it stands on.
    pub(super) ground: Ground,
    /// The index cannot vouch for what is here: what differs is listed, until all was looked at.
    pub(super) lists: bool,
    pub(super) stopped: Option<String>,
    /// Where it is not decided yet what became of what was about to be placed when the last daemon ended.
    pub(super) undecided: BTreeSet<Box<[u8]>>,
    /// Something is there again: what is kept there is to be found out.
    pub(super) finds: bool,
}

/// A new id of an index.
///
/// # Errors
/// The kernel gives no random numbers.
pub(super) fn new_id() -> Result<IndexId, MirrorError> {
    random::u64().map(IndexId).map_err(MirrorError::Random)
}

impl Tree {
    /// With this index, which `store` has, and which does or does not vouch for what is here.
    pub fn new(
        ground: Ground,
        (path, index, store): (RelPath, Index, MirrorStore),
        vouches: bool,
        wall: fn() -> u64,
        first: bool,
    ) -> Self {
        let mut tree = Tree {
            path,
            index,
            store,
            wall,
            open: BTreeSet::new(),
            lacking: BTreeMap::new(),
            failed: BTreeMap::new(),
            conflicts: BTreeSet::new(),
            listed: BTreeSet::new(),
            held: BTreeSet::new(),
            kept_at: BTreeMap::new(),
            gone: BTreeSet::new(),
            going: (0, 0),
            removals: (0, 0),
            holds: false,
            released: false,
            reading: BTreeSet::new(),
            taken: BTreeMap::new(),
            first,
            ground,
            lists: !vouches,
            stopped: None,
            undecided: BTreeSet::new(),
            finds: false,
        };
        tree.conflicts = tree.index.conflicts().map(|(path, _)| path).collect();
        tree.listed = tree.index.listed().map(|(path, _)| path).collect();
        tree.open = tree.index.unplaced().collect();
        tree.undecided = tree.index.intents().into_iter().map(|(path, _)| path).collect();
        tree.open.extend(tree.undecided.iter().cloned());
        tree
    }

    /// All of it was looked at: from now on the index vouches for what is here.
    ///
    /// # Errors
    /// That cannot be written down.
    pub(super) fn vouch(&mut self, root: &Root) -> Result<(), MirrorError> {
        if self.lists || self.ground.lists_any() {
            self.ground.vouch(root).map_err(|error| MirrorError::Io(self.path.clone(), error))?;
            self.lists = false;
        }
        Ok(())
    }

    /// Whether the directory at its path is the one that the index speaks of: if not, the tree stands still. What is
    /// mounted below it is looked for, too.
    pub fn is_in_place(&mut self, root: &Root) -> bool {
        for (path, why) in self.ground.check(root) {
            self.finds |= why.is_none();
            let below = if path == self.path { String::new() } else { format!(": {path}") };
            let of = format!("mirror {}{below}", self.shown());
            match why {
                Some(why) => log::warning(format_args!("{of}: held: {why}")),
                None => log::notice(format_args!("{of}: it is back")),
            }
        }
        self.stopped = self.ground.stopped().map(str::to_owned);
        self.stopped.is_none()
    }

    /// What is at a path; None if it is held. `enters`: what is mounted there becomes part of the tree, if it can.
    ///
    /// # Errors
    /// It cannot be told.
    pub(super) fn sight(
        &mut self,
        dirs: &mut Dirs,
        path: &RelPath,
        enters: bool,
    ) -> io::Result<Option<Found>> {
        Ok(match self.ground.look(dirs, path)? {
            Sight::Here(here) => Some(here),
            Sight::Mount(here) => (enters && self.enter(dirs.root(), path, here)).then_some(here),
            Sight::Held => None,
        })
    }

    /// What is mounted at a path becomes part of the tree, if that can be and nothing of the tree is under it.
    fn enter(&mut self, root: &Root, path: &RelPath, here: Found) -> bool {
        let Some(within) = self.within(path).map(Box::<[u8]>::from) else { return false };
        let is_placed = |below: &[u8]| self.index.entry(below).placed.found.is_some();
        if !here.is_some_and(|(version, _)| version.is_directory()) {
            self.ground.leave_out(path, "what is mounted there is no directory");
            false
        } else if self.index.below_of(&within).any(|below| is_placed(&below)) {
            self.ground.is_covered(path);
            false
        } else {
            self.ground.enter(root, path).is_ok()
        }
    }

    /// Goes on with the directory that is at its path now: what differs in it is listed.
    ///
    /// # Errors
    /// There is none, or that cannot be written down.
    pub(super) fn go_on(&mut self, root: &Root) -> Result<(), MirrorError> {
        let taken = self.ground.take_top(root);
        taken.map_err(|error| MirrorError::Io(self.path.clone(), error))?;
        self.index.renew(new_id()?);
        self.lists = true;
        self.is_in_place(root);
        self.give_up_intents(&self.path.clone());
        self.write(|_| Ok(()))
    }

    /// What was about to be placed at a path or below it lies where nobody gets at it any more.
    pub(super) fn give_up_intents(&mut self, path: &RelPath) {
        for within in self.undecided.clone() {
            if self.full(&within).is_some_and(|full| full.is_under(path)) {
                let _ = self.index.recover(&within, None, None, false);
                self.undecided.remove(&within);
            }
        }
    }

    /// Its top.
    pub fn path(&self) -> &RelPath {
        &self.path
    }

    /// Its path, as messages show it.
    pub(super) fn shown(&self) -> String {
        reply::shown(&self.path)
    }

    /// How it stands. What is as it stood `before` is neither copied nor hashed again.
    pub fn state(&self, before: Option<&State>) -> State {
        let known = self.index.known();
        let (known, hash) = match before.filter(|before| *before.known == *known) {
            Some(before) => (Arc::clone(&before.known), before.hash),
            None => (Arc::new(known.clone()), known.hash()),
        };
        let floor = self.index.floor();
        let (left, reading) = self.left(b"");
        let same_floor = before.filter(|before| *before.floor == *floor);
        let owned = |(path, why): (&RelPath, &str)| (path.clone(), why.to_owned());
        let needed: Vec<Dot> = self.lacking.values().flatten().copied().take(MOST_NEEDED).collect();
        State {
            id: self.index.id(),
            height: self.index.height(),
            known,
            hash,
            floor: same_floor.map_or_else(|| Arc::new(floor.clone()), |it| Arc::clone(&it.floor)),
            entries: self.index.map().len() as u64,
            conflicts: self.conflicts.len() as u64,
            listed: self.listed.len() as u64,
            open: (self.open.len() + self.reading.len()) as u64,
            lacking: self.lacking.len() as u64,
            needed: Arc::new(needed),
            held: (self.held.len() + self.gone.len()) as u64,
            in_part: self.index.is_in_part(),
            gone: self.gone.len() as u64,
            failed: self.failed.iter().find_map(|(within, why)| Some((self.full(within)?, *why))),
            left,
            reading,
            lists: self.lists || self.ground.lists_any(),
            stopped: self.stopped.clone(),
            away: Arc::new(
                self.ground.away().filter(|(at, _)| **at != self.path).map(owned).collect(),
            ),
        }
    }

    /// What is not as it should be at a path below the top, and below that; and how many files of it are still to be read.
    pub(super) fn left(&self, within: &[u8]) -> (Left, u64) {
        let of = |set: &BTreeSet<Box<[u8]>>| match within {
            [] => set.len() as u64,
            within => {
                let (from, to) = ([within, b"/"].concat(), [within, b"0"].concat());
                let below = (Bound::Included(&*from), Bound::Excluded(&*to));
                set.range::<[u8], _>(below).count() as u64 + u64::from(set.contains(within))
            }
        };
        // What is held of others' deletions is open, too.
        let held = of(&self.held);
        let (lacking, held) = (of(&self.open).saturating_sub(held), held + of(&self.gone));
        (Left { lacking, held, listed: of(&self.listed) }, of(&self.reading))
    }

    /// The path below the top of the tree; None if it is not in the tree.
    pub(super) fn within<'a>(&self, path: &'a RelPath) -> Option<&'a [u8]> {
        path.below(&self.path)
    }

    /// The path from the base directory of one below the top.
    pub(super) fn full(&self, within: &[u8]) -> Option<RelPath> {
        if self.path.is_base() {
            return RelPath::parse(within).ok();
        }
        RelPath::parse(&[self.path.as_bytes(), b"/", within].concat()).ok()
    }

    /// Tells the index what time it is.
    pub(super) fn tell_time(&mut self) {
        self.index.set_wall((self.wall)());
    }

    /// Writes down what has changed in the index, after what it speaks of is synced: by `sync`, which gets those paths.
    ///
    /// # Errors
    /// It cannot be written or synced.
    pub(super) fn write(
        &mut self,
        sync: impl FnOnce(&[RelPath]) -> io::Result<()>,
    ) -> Result<(), MirrorError> {
        let Due { first, records } = self.index.due();
        if records.is_empty() {
            return Ok(());
        }
        let first: Vec<RelPath> = first.iter().filter_map(|path| self.full(path)).collect();
        sync(&first).map_err(|error| MirrorError::Io(self.path.clone(), error))?;
        let records: Vec<Vec<u8>> = records.iter().map(Record::emit).collect();
        self.store.append(&records)?;
        self.store.sync()?;
        self.index.synced();
        if self.store.is_due() {
            self.store.roll(&self.index.head(), self.index.map())?;
        }
        Ok(())
    }
}

/// Syncs what is at some paths, and that it is there.
pub(super) fn sync_paths(dirs: &mut Dirs, paths: &[RelPath]) -> io::Result<()> {
    if paths.len() >= SYNC_ALL_FROM {
        return sync_mounts(dirs, paths);
    }
    for path in paths {
        let Ok((dir, name)) = dirs.parent(path) else { continue };
        let dir_fd = listing(dir.as_fd())?;
        match fsat::open_regular_at(dir.as_fd(), name, libc::O_RDONLY) {
            Ok(file) => fsat::sync_fd(file.as_fd())?,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                fsat::sync_fs(dir_fd.as_fd())?;
            }
            // It has no content, or is not there any more.
            Err(_) => {}
        }
        fsat::sync_fd(dir_fd.as_fd())?;
    }
    Ok(())
}

/// Syncs the file systems that some paths are on.
pub(super) fn sync_mounts(dirs: &mut Dirs, paths: &[RelPath]) -> io::Result<()> {
    let mut synced = BTreeSet::new();
    for path in paths {
        let Ok((dir, _)) = dirs.parent(path) else { continue };
        if synced.insert(fsat::stat_fd(dir.as_fd())?.dev) {
            fsat::sync_fs(listing(dir.as_fd())?.as_fd())?;
        }
    }
    Ok(())
}

/// A directory that is open for names alone, to be synced.
fn listing(dir: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    fsat::open_at(dir, b".", fsat::LISTING, 0)
}
