//! What a mirrored tree stands on: the mount that its top is on, and those that are below it.
//!
//! Each is known again by a file in the `.makuosan` on it, and what they are by a list beside the index. What is on one
//! of them is looked at, and written to, only while it is there: a disk that is not mounted has lost nothing, and what
//! is mounted over a directory is not what that had in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::look::{Here, look_fd, stat_and_look};
use crate::errno::ErrorText;
use crate::fs::errors::leads_nowhere;
use crate::fs::measured::Mount;
use crate::fs::paths::split;
use crate::fs::root::{Dirs, Root};
use crate::fs::state::dir::{Keeps, StateDir};
use crate::fs::state::error::StateError;
use crate::fs::state::mount_list::{MOST, MountList};
use crate::fs::state::root_id::{RootId, RootIs};
use crate::name::{HostName, RelPath};
use crate::sys::fsat::{self, Stat};

const ANOTHER: &str = "what is mounted there is not what was";
const COVERED: &str = "something is mounted over it";
const REPLACED: &str = "its directory is another one than before";

/// What is seen at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sight {
    /// What is there; None if nothing is, or something that is not mirrored (a socket).
    Here(Option<Here>),
    /// This, which is mounted there and no part of the tree yet.
    Mount(Option<Here>),
    /// Nothing that the index speaks of: what it is on is not there, or is covered.
    Held,
}

/// What a tree stands on.
#[derive(Debug)]
pub struct Ground {
    dir: StateDir,
    tree: RelPath,
    /// The number of the index.
    index: u64,
    host: HostName,
    us: u32,
    list: MountList,
    /// The inode of the top, until the index vouches for what is in it.
    given: Option<u64>,
    /// The mounts, and the top, which is the first of them: why one is not there, if it is not.
    spots: BTreeMap<RelPath, Result<Mount, String>>,
    /// What is mounted below the top and is no part of the tree, and why.
    left: BTreeMap<RelPath, String>,
    /// What has changed since that was told.
    news: Vec<News>,
}

/// Something is held now, and why, or is not any more.
pub type News = (RelPath, Option<String>);

impl Ground {
    /// What is known from `dir` of what a tree stands on, of which the index has this number.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(
        dir: StateDir,
        tree: &RelPath,
        index: u64,
        host: &HostName,
        us: u32,
    ) -> Result<Self, StateError> {
        let list = MountList::read(&dir, tree, index)?.unwrap_or_default();
        let unseen = |path: &RelPath| (path.clone(), Err(String::new()));
        let spots = list.mounts.iter().chain([tree]).map(unseen).collect();
        let (tree, host, left, news) = (tree.clone(), host.clone(), BTreeMap::new(), Vec::new());
        Ok(Ground { dir, tree, index, host, us, list, given: None, spots, left, news })
    }

    /// Whether the top was vouched for.
    pub fn is_known(&self) -> bool {
        self.list.mounts.contains(&self.tree)
    }

    /// Whose the top is.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn top_is(&self, root: &Root) -> io::Result<RootIs> {
        self.is(root, &self.tree).map(|(_, is)| is)
    }

    /// Takes the directory that is there now for the top, whatever it is: nothing is vouched for.
    ///
    /// # Errors
    /// There is none; that cannot be written down.
    pub fn take_top(&mut self, root: &Root) -> io::Result<()> {
        self.given = Some(stat(root, &self.tree)?.1.ino);
        if self.list.mounts.remove(&self.tree) {
            self.write().map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// The index vouches for all that is there.
    ///
    /// # Errors
    /// That cannot be written down.
    pub fn vouch(&mut self, root: &Root) -> io::Result<()> {
        for (path, _) in self.spots.iter().filter(|(_, here)| here.is_ok()) {
            self.mark(root, path)?;
        }
        self.list.listing.clear();
        self.list.mounts.insert(self.tree.clone());
        self.given = None;
        self.write().map_err(io::Error::other)
    }

    /// Whether what is at a path is not vouched for.
    pub fn lists(&self, path: &RelPath) -> bool {
        self.list.listing.iter().any(|at| path.is_under(at))
    }

    /// Whether anything is not vouched for.
    pub fn lists_any(&self) -> bool {
        !self.list.listing.is_empty()
    }

    /// What is not there or is left out, and why; the top is named only if it is that.
    pub fn away(&self) -> impl Iterator<Item = (&RelPath, &str)> {
        let spots = self.spots.iter().filter_map(|(path, here)| Some((path, here.as_ref().err()?)));
        spots.chain(&self.left).map(|(path, why)| (path, why.as_str()))
    }

    /// Why the tree stands still, if it does.
    pub fn stopped(&self) -> Option<&str> {
        self.spots.get(&self.tree)?.as_ref().err().map(String::as_str)
    }

    /// Looks at all of it anew: what has changed since the last time.
    pub fn check(&mut self, root: &Root) -> Vec<News> {
        let mut news = std::mem::take(&mut self.news);
        let mut spots = std::mem::take(&mut self.spots);
        for (path, was) in &mut spots {
            let here = self.stands(root, path);
            let is_first = here.is_ok() && was.as_ref().is_err_and(String::is_empty);
            if here.as_ref().err() != was.as_ref().err() && !is_first {
                news.push((path.clone(), here.as_ref().err().cloned()));
            }
            *was = here;
        }
        self.spots = spots;
        self.left.retain(|path, _| {
            let stays = is_mount(root, path);
            if !stays {
                news.push((path.clone(), None));
            }
            stays
        });
        news
    }

    /// Looks at a path.
    ///
    /// # Errors
    /// Whether something is there cannot be told.
    pub fn look(&mut self, dirs: &mut Dirs, path: &RelPath) -> io::Result<Sight> {
        let Some((spot, mount)) = self.standing(path) else { return Ok(Sight::Held) };
        if path.is_base() {
            return look_fd(dirs.root().as_fd()).map(Sight::Here);
        }
        let is_spot = *spot == *path;
        let (above, name) = split(path.as_bytes());
        let mut nearest = above;
        let up = loop {
            match dirs.dir(nearest) {
                Ok(fd) => break fd,
                // What it is on is gone.
                Err(e) if leads_nowhere(&e) && nearest.len() <= spot.as_bytes().len() => {
                    return Ok(Sight::Held);
                }
                Err(e) if leads_nowhere(&e) => nearest = split(nearest).0,
                Err(e) => return Err(e),
            }
        };
        let on = Mount::of(&fsat::stat_fd(up.as_fd())?);
        if !is_spot && !on.is_same_mount(mount) {
            let spot = spot.clone();
            self.find_cover(dirs, path, (&spot, mount))?;
            return Ok(Sight::Held);
        }
        if nearest != above {
            return Ok(Sight::Here(None));
        }
        Ok(match stat_and_look(up.as_fd(), name)? {
            None if is_spot => Sight::Held,
            None => Sight::Here(None),
            Some((stat, _)) if is_spot && !mount.is_same_mount(Mount::of(&stat)) => Sight::Held,
            Some((stat, here)) if !is_spot && on.is_other(&stat) => Sight::Mount(here),
            Some((_, here)) => {
                self.left.remove(path);
                Sight::Here(here)
            }
        })
    }

    /// Whether what is at a path is held, as far as is known.
    pub fn is_held(&self, path: &RelPath) -> bool {
        self.standing(path).is_none() || self.left.contains_key(path)
    }

    /// What is held that a path is in; the top is not meant.
    pub fn held_at(&self, path: &RelPath) -> Vec<RelPath> {
        let is_in = |at: &&RelPath| **at != self.tree && path.is_under(at);
        self.away().map(|(at, _)| at).filter(is_in).cloned().collect()
    }

    /// What is mounted at a path is part of the tree from now on.
    ///
    /// # Errors
    /// It cannot be marked, or that cannot be written down: it is left out.
    pub fn enter(&mut self, root: &Root, path: &RelPath) -> io::Result<()> {
        let entered = match self.spots.len() >= MOST {
            true => Err(io::Error::from_raw_os_error(libc::EMFILE)),
            false => self.mark(root, path),
        };
        let entered = entered.and_then(|()| {
            self.list.mounts.insert(path.clone());
            self.write().map_err(io::Error::other)
        });
        match &entered {
            Ok(()) => {
                self.left.remove(path);
                let here = self.stands(root, path);
                self.spots.insert(path.clone(), here);
            }
            Err(error) => {
                self.list.mounts.remove(path);
                self.leave_out(path, &format!("it cannot be made part: {}", ErrorText(error)));
            }
        }
        entered
    }

    /// What is mounted at a path is no part of the tree.
    pub fn leave_out(&mut self, path: &RelPath, why: &str) {
        if self.left.insert(path.clone(), why.to_owned()).as_deref() != Some(why) {
            self.news.push((path.clone(), Some(why.to_owned())));
        }
    }

    /// The same of something that was mounted over what the index has there.
    pub fn is_covered(&mut self, path: &RelPath) {
        self.leave_out(path, COVERED);
    }

    /// Goes on with what is at a path now, whatever was: nothing there is vouched for.
    ///
    /// # Errors
    /// That cannot be written down.
    pub fn release(&mut self, root: &Root, path: &RelPath) -> io::Result<()> {
        let kept = self.list.clone();
        let is_mount = is_mount(root, path);
        self.list.listing.insert(path.clone());
        self.list.mounts.retain(|at| !at.is_under(path));
        self.left.retain(|at, _| !at.is_under(path));
        let done = match is_mount {
            true => self.enter(root, path),
            false => self.write().map_err(io::Error::other),
        };
        match done {
            Ok(()) => self.spots.retain(|at, _| self.list.mounts.contains(at) || *at == self.tree),
            Err(_) => self.list = kept,
        }
        done
    }

    /// The mount that a path should be on, and where that is mounted. None if it is not there, or if something else is.
    fn standing(&self, path: &RelPath) -> Option<(&RelPath, Mount)> {
        let (spot, here) = self.spots.range(..=path).rev().find(|(spot, _)| path.is_under(spot))?;
        let is_over = |at: &RelPath| path != at && path.is_under(at) && at.is_under(spot);
        let is_left = !self.left.is_empty() && self.left.keys().any(is_over);
        here.as_ref().ok().filter(|_| !is_left).map(|mount| (spot, *mount))
    }

    /// Finds out what is mounted above a path that should be on the mount of this spot.
    fn find_cover(
        &mut self,
        dirs: &mut Dirs,
        path: &RelPath,
        (spot, mount): (&RelPath, Mount),
    ) -> io::Result<()> {
        let mut found = None;
        let mut at = path.clone();
        while let Some((up, _)) = at.split_last().filter(|(up, _)| up != spot) {
            if let Ok(fd) = dirs.dir(up.as_bytes()) {
                match mount.is_same_mount(Mount::of(&fsat::stat_fd(fd.as_fd())?)) {
                    true => break,
                    false => found = Some(up.clone()),
                }
            }
            at = up;
        }
        // If it is the spot itself, that is found when it is looked for.
        if let Some(at) = found {
            self.is_covered(&at);
        }
        Ok(())
    }

    /// Whether a spot is there, and its mount.
    fn stands(&self, root: &Root, path: &RelPath) -> Result<Mount, String> {
        let cannot = |error: &io::Error| match leads_nowhere(error) {
            true if *path == self.tree => "its directory is not there".to_owned(),
            true => "it is not there".to_owned(),
            false => ErrorText(error).to_string(),
        };
        let given = self.given.filter(|_| *path == self.tree);
        if let Some(ino) = given {
            let (_, stat) = stat(root, path).map_err(|error| cannot(&error))?;
            return if stat.ino == ino { Ok(Mount::of(&stat)) } else { Err(REPLACED.to_owned()) };
        }
        let (mount, is) = self.is(root, path).map_err(|error| cannot(&error))?;
        match is {
            RootIs::Same | RootIs::OfHost(_) => Ok(mount),
            RootIs::Another | RootIs::Absent if *path == self.tree => Err(REPLACED.to_owned()),
            RootIs::Another | RootIs::Absent => {
                Err(if is_mount(root, path) { ANOTHER } else { "it is not mounted" }.to_owned())
            }
        }
    }

    /// The mount that a spot is on, and whose it is.
    fn is(&self, root: &Root, path: &RelPath) -> io::Result<(Mount, RootIs)> {
        let (_, stat) = stat(root, path)?;
        let mount = Mount::of(&stat);
        let id = self.id(stat.ino);
        let mut is = RootIs::Absent;
        for home in self.homes(root, path, mount) {
            let (fd, _) = self::stat(root, &home)?;
            let dir = StateDir::beside(Keeps::Mirror, fd.as_fd(), root.path(), self.us, false);
            match dir {
                Ok(dir) => is = id.compare(&dir, path).map_err(io::Error::other)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // It is somebody else's, or cannot be read.
                Err(error) if error.raw_os_error().is_none() => {}
                Err(error) => return Err(error),
            }
            if is != RootIs::Absent {
                break;
            }
        }
        Ok((mount, is))
    }

    /// Puts the file there by which a spot is known again.
    fn mark(&self, root: &Root, path: &RelPath) -> io::Result<()> {
        let (_, stat) = stat(root, path)?;
        let id = self.id(stat.ino);
        let mut done = Ok(());
        for home in self.homes(root, path, Mount::of(&stat)) {
            let (fd, _) = self::stat(root, &home)?;
            let dir = StateDir::beside(Keeps::Mirror, fd.as_fd(), root.path(), self.us, true);
            done = dir.and_then(|dir| {
                id.write(&dir, path).map_err(|error| match error.errno() {
                    Some(errno) => io::Error::from_raw_os_error(errno),
                    None => io::Error::other(error),
                })
            });
            let is_closed = |error: &io::Error| {
                matches!(error.raw_os_error(), None | Some(libc::EACCES | libc::EPERM))
            };
            if !done.as_ref().is_err_and(is_closed) {
                break;
            }
        }
        done
    }

    /// Where the file may be by which a spot is known again: at the top of its mount, or where that is somebody else's,
    /// in it.
    fn homes(&self, root: &Root, path: &RelPath, mount: Mount) -> BTreeSet<RelPath> {
        let of = |up: &[u8]| {
            let fd = root.open_dir(up, fsat::PATH_ONLY)?;
            fsat::stat_fd(fd.as_fd())
        };
        let top = RelPath::parse_or_base(mount.top(path.as_bytes(), of)).unwrap_or_default();
        [top, path.clone()].into()
    }

    fn id(&self, ino: u64) -> RootId {
        RootId { index: self.index, ino, host: self.host.clone() }
    }

    fn write(&self) -> Result<(), StateError> {
        self.list.write(&self.dir, &self.tree, self.index, &self.host)
    }
}

/// A directory, and what is known of it.
fn stat(root: &Root, path: &RelPath) -> io::Result<(OwnedFd, Stat)> {
    let fd = root.open_dir(path.as_bytes(), fsat::PATH_ONLY)?;
    let stat = fsat::stat_fd(fd.as_fd())?;
    Ok((fd, stat))
}

/// Whether something is mounted at a path.
fn is_mount(root: &Root, path: &RelPath) -> bool {
    let (above, name) = split(path.as_bytes());
    let both = root
        .open_dir(above, fsat::PATH_ONLY)
        .and_then(|dir| Ok((fsat::stat_fd(dir.as_fd())?, fsat::stat_at(dir.as_fd(), name)?)));
    both.is_ok_and(|(above, stat)| Mount::of(&above).is_other(&stat))
}
