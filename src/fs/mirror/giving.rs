//! What this host gives of a mirrored path: what the index says of it, and the contents that are here.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::conflicts::name_of;
use super::look::{Here, look_at};
use super::reading::is_still;
use crate::fs::claim::CONFLICTS;
use crate::fs::contents::Contents;
use crate::fs::found::{Content, FoundEntry};
use crate::fs::identity::{Identity, open_to_read};
use crate::fs::listings::{Clock, still_young};
use crate::fs::paths::split;
use crate::fs::root::{Dirs, Root};
use crate::name::{RelPath, STAGING};
use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::manifest::{Entry, FileTime, Kind};
use crate::wire::versions::{Dot, Knowledge, Member, Version, What};

/// What a host has of a path of a mirror, for others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Given {
    /// The path, from the base directory.
    pub path: RelPath,
    /// The versions.
    pub members: Vec<Member>,
    /// What is known of it, if that is not what the delta leads to.
    pub context: Option<Arc<Knowledge>>,
    /// What the index has found there last.
    pub placed: Option<Here>,
}

/// Gives paths, one after the other.
pub struct Giver {
    dirs: Dirs,
    now: Clock,
}

impl Giver {
    /// Gives what is below this base directory.
    pub fn new(root: Arc<Root>, now: Clock) -> Self {
        Giver { dirs: Dirs::new(root), now }
    }

    /// The entries for a path, objects with their dots: first its set, then the contents of its files and links, as far as they are here as the
    /// index has them. Of what a set says enough by itself, as of directories, there is no more.
    pub fn give(&mut self, given: Given) -> Vec<(FoundEntry, Option<Dot>)> {
        // The tree may have changed since the last one.
        self.dirs.forget();
        let mut found = Vec::new();
        let mut had: BTreeSet<Version> = BTreeSet::new();
        for member in &given.members {
            let Some(version) = member.version else { continue };
            let has_content = matches!(version.what, What::File { .. } | What::Symlink { .. });
            if !has_content || had.contains(&version) {
                continue;
            }
            let object = self.shown(&given, &version).or_else(|| self.kept(&given.path, member));
            if let Some(object) = object {
                had.insert(version);
                found.push((object, Some(member.dot)));
            }
        }
        let kind = Kind::Set { members: given.members, context: given.context };
        found.insert(0, (FoundEntry::remark(given.path, kind), None));
        found
    }

    /// What is at the path, if it is this version: that which was read, and nothing has changed since.
    fn shown(&mut self, given: &Given, version: &Version) -> Option<FoundEntry> {
        let placed = given.placed.filter(|(placed, _)| placed == version)?;
        let path = &given.path;
        let (dir, name) = self.dirs.parent(path).ok()?;
        let stat = fsat::stat_at(dir.as_fd(), name).ok()?;
        if !is_still(look_at(dir.as_fd(), name).ok()??, placed, false) {
            return None;
        }
        let entry = |kind| Entry {
            path: path.clone(),
            kind,
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            mtime: stat.mtime,
        };
        if stat.kind == FileType::Symlink {
            let target = fsat::readlink_at(dir.as_fd(), name).ok()?;
            return Some(FoundEntry::of(entry(Kind::Symlink(target)), None));
        }
        let wait = |ctime: FileTime| still_young(ctime, (self.now)());
        if let Some(wait) = wait(stat.ctime) {
            std::thread::sleep(wait);
        }
        let file =
            Contents::Unchanged.find(dir.as_fd(), name, stat, None, &wait, &|| false).ok()?;
        let Stat { size, .. } = file.stat;
        Some(FoundEntry::of(entry(Kind::File { size, data: file.data }), Some(file.content)))
    }

    /// A version that does not have the name, if this host keeps it.
    fn kept(&mut self, path: &RelPath, member: &Member) -> Option<FoundEntry> {
        let version = member.version?;
        let (dir, name) = kept(self.dirs.root(), path, member.dot).ok()?;
        let stat = fsat::stat_at(dir.as_fd(), &name).ok()?;
        let (kind, content, mtime) = match version.what {
            What::File { size, mtime, .. } if stat.kind == FileType::File && stat.size == size => {
                let content =
                    Content::Elsewhere(Box::new((path.clone(), member.dot, Identity::of(&stat))));
                (Kind::File { size, data: None }, Some(content), mtime)
            }
            What::Symlink { .. } if stat.kind == FileType::Symlink => {
                let target = fsat::readlink_at(dir.as_fd(), &name).ok()?;
                (Kind::Symlink(target), None, stat.mtime)
            }
            _ => return None,
        };
        let Version { mode, uid, gid, .. } = version;
        Some(FoundEntry::of(Entry { path: path.clone(), kind, mode, uid, gid, mtime }, content))
    }
}

/// Where this host keeps a version of a path that does not have the name: the directory, and the name in it. That is in
/// a `.makuosan` of the mount that the path is on, and so in a directory that leads to it.
fn kept(root: &Root, path: &RelPath, dot: Dot) -> io::Result<(OwnedFd, Vec<u8>)> {
    let (above, name) = split(path.as_bytes());
    let dir = fsat::open_beneath(root.as_fd(), &home(root, path, dot)?, fsat::PATH_ONLY)?;
    Ok((fsat::open_beneath(dir.as_fd(), above, fsat::PATH_ONLY)?, name.to_vec()))
}

/// The directory in which what is kept of a dot is, from the base directory.
fn home(root: &Root, path: &RelPath, dot: Dot) -> io::Result<Vec<u8>> {
    let mut found = Err(io::ErrorKind::NotFound.into());
    let mut at = path.clone();
    while let Some((up, _)) = at.split_last() {
        let top = if up.is_base() { Vec::new() } else { [up.as_bytes(), b"/"].concat() };
        let home = [&top[..], STAGING, b"/", CONFLICTS, b"/", &name_of(dot)].concat();
        if fsat::open_beneath(root.as_fd(), &home, fsat::PATH_ONLY).is_ok() {
            found = Ok(home);
            break;
        }
        at = up;
    }
    found
}

/// Where a version of a path is that does not have the name, if this host keeps it: from the base directory.
pub fn where_kept(root: &Root, path: &RelPath, dot: Dot) -> Option<Vec<u8>> {
    Some([&home(root, path, dot).ok()?[..], b"/", path.as_bytes()].concat())
}

/// Opens a version that this host keeps.
///
/// # Errors
/// It is not there, or is no file.
pub(in crate::fs) fn open_kept(root: &Root, path: &RelPath, dot: Dot) -> io::Result<OwnedFd> {
    let (dir, name) = kept(root, path, dot)?;
    open_to_read(dir.as_fd(), &name)
}
