//! One mirrored tree of this host: its index, and what lasts of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::taken::Taken;
use super::types::{MirrorError, State};
use crate::engine::disk_job::TransferKey;
use crate::fs::root::{Dirs, Root};
use crate::fs::state::dir::StateDir;
use crate::fs::state::root_id::RootId;
use crate::keeping::mirror_store::MirrorStore;
use crate::mirror::index::{Due, Index, Record};
use crate::name::RelPath;
use crate::sys::{fsat, random};
use crate::wire::mirror::Left;
use crate::wire::outcome::Reason;
use crate::wire::versions::{Dot, IndexId};

/// From so many files on, the whole file system is synced rather than each.
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
    /// Where what the root is known by is kept, and that.
    root: Option<(StateDir, RootId)>,
    /// The index cannot vouch for what is here: what differs is listed, until all was looked at.
    pub(super) lists: bool,
    pub(super) stopped: Option<String>,
    /// That is because its directory went away while the daemon runs: when it is back, all goes on.
    is_away: bool,
}

/// A new id of an index.
///
/// # Errors
/// The kernel gives no random numbers.
pub(super) fn new_id() -> Result<IndexId, MirrorError> {
    random::u64().map(IndexId).map_err(MirrorError::Random)
}

impl Tree {
    /// With this index, which `store` has.
    pub fn new(
        path: RelPath,
        index: Index,
        store: MirrorStore,
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
            root: None,
            lists: false,
            stopped: None,
            is_away: false,
        };
        tree.conflicts = tree.index.conflicts().map(|(path, _)| path).collect();
        tree.listed = tree.index.listed().map(|(path, _)| path).collect();
        tree.open = tree.index.unplaced().collect();
        tree
    }

    /// Says by what its root is known, whether the index vouches for what is here, and why it stands still, if it does.
    pub fn begin(&mut self, root: (StateDir, RootId), vouches: bool, stopped: Option<String>) {
        (self.root, self.lists, self.stopped) = (Some(root), !vouches, stopped);
    }

    /// All of it was looked at: from now on the index vouches for what is here.
    ///
    /// # Errors
    /// That cannot be written down.
    pub(super) fn vouch(&mut self) -> Result<(), MirrorError> {
        if let (true, Some((dir, id))) = (self.lists, &self.root) {
            id.write(dir, &self.path)?;
            self.lists = false;
        }
        Ok(())
    }

    /// Whether the directory at its path is the one that the index speaks of. If not, the tree stands still.
    pub(super) fn is_in_place(&mut self, root: &Root) -> bool {
        let found = root
            .open_dir(self.path.as_bytes(), fsat::PATH_ONLY)
            .and_then(|top| fsat::stat_fd(top.as_fd()));
        let ino = self.root.as_ref().map(|(_, id)| id.ino);
        if found.is_ok_and(|stat| Some(stat.ino) == ino) {
            if std::mem::take(&mut self.is_away) {
                crate::log::warning(format_args!("mirror {}: its directory is back", self.shown()));
                self.stopped = None;
            }
            return self.stopped.is_none();
        }
        if self.stopped.is_none() {
            let why = "its directory is another one than before".to_owned();
            crate::log::warning(format_args!("mirror {}: held: {why}", self.shown()));
            (self.stopped, self.is_away) = (Some(why), true);
        }
        false
    }

    /// Goes on with the directory that is at its path now: what differs in it is listed.
    ///
    /// # Errors
    /// There is none, or that cannot be written down.
    pub(super) fn go_on(&mut self, root: &Root) -> Result<(), MirrorError> {
        let found = root
            .open_dir(self.path.as_bytes(), fsat::PATH_ONLY)
            .and_then(|top| fsat::stat_fd(top.as_fd()));
        let stat = found.map_err(|error| MirrorError::Io(self.path.clone(), error))?;
        self.index.renew(new_id()?);
        if let Some((_, id)) = &mut self.root {
            id.ino = stat.ino;
        }
        (self.lists, self.stopped, self.is_away) = (true, None, false);
        self.write(|_| Ok(()))
    }

    /// Its top.
    pub fn path(&self) -> &RelPath {
        &self.path
    }

    /// Its path, as messages show it.
    pub(super) fn shown(&self) -> String {
        if self.path.is_base() { ".".to_owned() } else { self.path.to_string() }
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
            lists: self.lists,
            stopped: self.stopped.clone(),
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
    // What leads somewhere is open for names alone.
    let listing = |dir: BorrowedFd<'_>| fsat::open_at(dir, b".", fsat::LISTING, 0);
    if paths.len() >= SYNC_ALL_FROM {
        return fsat::sync_fs(listing(dirs.root().as_fd())?.as_fd());
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
