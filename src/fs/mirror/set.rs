//! Attributes, without a new content; and directories, which have no other.

use std::io;
use std::os::fd::AsFd;

use super::look::{Here, look_at, look_fd};
use super::ops::Ops;
use super::reading::is_still;
use crate::fs::attributes::{self, Examined};
use crate::fs::identity::{Identity, ObjectId};
use crate::name::RelPath;
use crate::sys::fsat::{self, Stat};
use crate::wire::manifest::{Entry, FileTime, Kind};
use crate::wire::versions::{Version, What};

/// The permission bits of a directory of which nobody has told any: something is in it, and that is all.
const IMPLIED_MODE: u32 = 0o755;

/// What became of attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Set {
    /// They were set as far as they can be; this was found afterwards.
    Done(Here),
    /// Something else is there, which is as it was.
    Other(Option<Here>),
    /// It is as it was, since it has more names, or could be abused by those who own it now: a new one is to be
    /// placed.
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
        if found.is_none_or(|found| !is_still(found, expected, false)) {
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

    /// Makes a directory, or gives one that is there these attributes. None: it has none of its own, so that one
    /// that is there keeps its attributes.
    ///
    /// # Errors
    /// EEXIST if something else has the name; the directory above is missing; those of mkdir(2), chown(2) and
    /// the like.
    pub fn make_dir(&mut self, path: &RelPath, wanted: Option<&Version>) -> io::Result<Here> {
        let (dir, name) = self.dirs.parent(path)?;
        let made = match fsat::mkdir_at(dir.as_fd(), name, 0o700) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                match look_at(dir.as_fd(), name)?.map(|found| found.0.what) {
                    Some(What::Directory) => false,
                    _ => return Err(e),
                }
            }
            made => made.map(|()| true)?,
        };
        self.dirs.forget_at(path.as_bytes());
        let held = fsat::open_at(dir.as_fd(), name, fsat::PATH_ONLY, 0)?;
        let stat = fsat::stat_fd(held.as_fd())?;
        match wanted {
            Some(wanted) => self.apply(&entry(path, wanted, &stat), &stat)?,
            None if made => fsat::chmod_at(dir.as_fd(), name, held.as_fd(), IMPLIED_MODE)?,
            None => {}
        }
        look_fd(held.as_fd())?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn apply(&mut self, entry: &Entry, stat: &Stat) -> io::Result<()> {
        let examined = Examined { id: ObjectId::of(stat), proven: Some(Identity::of(stat)) };
        let staging = Some(&*self.staging);
        attributes::apply(self.dirs, self.rights, staging, entry, examined).map(drop)
    }
}

/// What a transfer would send of a version, with the times that `stat` says where a version has none.
fn entry(path: &RelPath, version: &Version, stat: &Stat) -> Entry {
    let (kind, mtime): (Kind, FileTime) = match version.what {
        What::File { size, mtime, .. } => (Kind::File { size, data: None }, mtime),
        What::Directory => (Kind::Open, stat.mtime),
        What::Symlink { .. } => (Kind::Symlink(Vec::new()), stat.mtime),
        What::Fifo => (Kind::Fifo, stat.mtime),
        What::Char(major, minor) => (Kind::Char(major, minor), stat.mtime),
        What::Block(major, minor) => (Kind::Block(major, minor), stat.mtime),
    };
    let Version { mode, uid, gid, .. } = *version;
    Entry { path: path.clone(), kind, mode, uid, gid, mtime }
}
