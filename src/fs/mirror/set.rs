//! Attributes, without a new content; and directories, which have no other.

use std::io;
use std::os::fd::AsFd;

use super::look::{look_at, look_fd};
use super::place::{Displaced, Put};
use super::slots::Slot;
use super::{Here, Ops};
use crate::fs::attributes::{self, Examined};
use crate::fs::identity::{Identity, ObjectId};
use crate::fs::paths::split;
use crate::name::RelPath;
use crate::sys::fsat::{self, Rename, Stat};
use crate::wire::manifest::{Entry, FileTime, Kind};
use crate::wire::versions::{Version, What};

/// What became of attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Set {
    /// They were set as far as they can be; this was found afterwards.
    Done(Here),
    /// Something else is there, which is as it was.
    Other(Option<Here>),
    /// It is as it was, since it has more names, or could be abused by those who own it now: it is to be replaced
    /// by a new one.
    MustReplace,
}

impl Ops<'_> {
    /// Gives what is at a path, and is the same as what is wanted in all but its attributes, these.
    ///
    /// # Errors
    /// Those of chown(2), chmod(2) and the like.
    pub fn set_attributes(
        &mut self,
        path: &RelPath,
        wanted: &Version,
        expected: Here,
    ) -> io::Result<Set> {
        let (dir, name) = self.dirs.parent(path)?;
        let held = match fsat::open_at(dir.as_fd(), name, libc::O_PATH, 0) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Set::Other(None)),
            held => held?,
        };
        let found = look_fd(held.as_fd())?;
        if found.is_none_or(|found| found.0 != expected.0) {
            return Ok(Set::Other(found));
        }
        let stat = fsat::stat_fd(held.as_fd())?;
        let entry = entry(path, wanted, &stat);
        let (_, keeps) = attributes::known_of(Some(self.staging), &stat);
        if self.rights.must_replace(&entry, &stat, keeps, true) {
            return Ok(Set::MustReplace);
        }
        self.apply(&entry, &stat)?;
        Ok(match look_fd(held.as_fd())? {
            Some(here) => Set::Done(here),
            None => Set::Other(None),
        })
    }

    /// Makes a directory. What has its name and is none is in the slot afterwards, which must be free; for a
    /// moment nothing has the name then. A directory that is there already gets these attributes.
    ///
    /// # Errors
    /// The directory above is missing; those of mkdir(2), rename(2), chown(2) and the like.
    pub fn make_dir(
        &mut self,
        path: &RelPath,
        wanted: &Version,
        expected: Option<Here>,
        slot: Slot,
    ) -> io::Result<Put> {
        let place = self.staging.place_for(self.dirs, split(path.as_bytes()).0, self.rights)?;
        let (dir, name) = self.dirs.parent(path)?;
        let stage = self.staging.stage(place)?;
        let mut out = None;
        if let Some(found) = look_at(dir.as_fd(), name)?.filter(|found| is_dir(&found.0)) {
            out = Some(found);
        } else {
            match fsat::rename_at(dir.as_fd(), name, stage, &slot.name(), Rename::NoReplace) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                moved => {
                    moved?;
                    out = look_at(stage, &slot.name())?;
                }
            }
            fsat::mkdir_at(dir.as_fd(), name, 0o700)?;
            self.dirs.forget_at(path.as_bytes());
        }
        let held = fsat::open_at(dir.as_fd(), name, fsat::PATH_ONLY, 0)?;
        let stat = fsat::stat_fd(held.as_fd())?;
        self.apply(&entry(path, wanted, &stat), &stat)?;
        let here = look_fd(held.as_fd())?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Put { here, out: Displaced::of(out, expected) })
    }

    fn apply(&mut self, entry: &Entry, stat: &Stat) -> io::Result<()> {
        let examined = Examined { id: ObjectId::of(stat), proven: Some(Identity::of(stat)) };
        let staging = Some(&*self.staging);
        attributes::apply(self.dirs, self.rights, staging, entry, examined).map(drop)
    }
}

fn is_dir(version: &Version) -> bool {
    version.what == What::Directory
}

/// What a transfer would send of a version, with the times that `stat` says where a version has none.
fn entry(path: &RelPath, version: &Version, stat: &Stat) -> Entry {
    let (kind, mtime): (Kind, FileTime) = match version.what {
        What::File { size, mtime } => (Kind::File { size, data: None }, mtime),
        What::Directory => (Kind::Open, stat.mtime),
        What::Symlink { .. } => (Kind::Symlink(Vec::new()), stat.mtime),
        What::Fifo => (Kind::Fifo, stat.mtime),
        What::Char(major, minor) => (Kind::Char(major, minor), stat.mtime),
        What::Block(major, minor) => (Kind::Block(major, minor), stat.mtime),
    };
    let Version { mode, uid, gid, .. } = *version;
    Entry { path: path.clone(), kind, mode, uid, gid, mtime }
}
