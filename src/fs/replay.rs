//! What this host can give of a list: what it has as the list says.
//!
//! The list decides. What is not in it is not given, and what is in it is given only while it is here with the
//! same kind, size, time and attributes. Clocks do not matter, nor does the ctime: a file that was received has a
//! later one than it had at its sender.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::batch::SourceBatch;
use super::errors::leads_nowhere;
use super::found::Content;
use super::identity::Identity;
use super::root::Dirs;
use crate::ids::EntryNo;
use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::manifest::{Entry, Kind, Manifest};

/// A manifest of a list as a batch. What this host has not as it says is declined: named, so that the others
/// know what there was, but not given.
pub fn batch(dirs: &mut Dirs, manifest: Manifest) -> SourceBatch {
    let (mut contents, mut declined) = (Vec::new(), Vec::new());
    for (at, entry) in EntryNo::ZERO.onwards().zip(&manifest.entries) {
        let found = given(dirs, entry);
        if found.is_none() {
            declined.push(at);
        }
        contents.push(found.flatten().map(Content::Unchanged));
    }
    // The tree may change before the next one.
    dirs.forget();
    SourceBatch { manifest: Arc::new(manifest), contents: Arc::new(contents), declined }
}

/// Whether an entry can be given, and with which identity, if it has a content; None if not.
fn given(dirs: &mut Dirs, entry: &Entry) -> Option<Option<Identity>> {
    let is_remark = !entry.is_object() && entry.kind != Kind::Gone;
    if is_remark || entry.kind == Kind::Open {
        // A directory is made as it was; nothing has to be read for it.
        return Some(None);
    }
    let found = dirs
        .parent(&entry.path)
        .and_then(|(dir, name)| Ok((fsat::stat_at(dir.as_fd(), name)?, dir, name)));
    if entry.kind == Kind::Gone {
        return found.is_err_and(|error| leads_nowhere(&error)).then_some(None);
    }
    let (stat, dir, name) = found.ok()?;
    let is_link = |target: &[u8]| fsat::readlink_at(dir.as_fd(), name).is_ok_and(|is| is == target);
    let same_kind = match &entry.kind {
        Kind::File { size, .. } => stat.kind == FileType::File && stat.size == *size,
        Kind::Symlink(target) => stat.kind == FileType::Symlink && is_link(target),
        Kind::Fifo => stat.kind == FileType::Fifo,
        Kind::Char(major, minor) => stat.kind == FileType::Char && stat.rdev == (*major, *minor),
        Kind::Block(major, minor) => stat.kind == FileType::Block && stat.rdev == (*major, *minor),
        Kind::Open
        | Kind::Close { .. }
        | Kind::Keep
        | Kind::Gone
        | Kind::Ahead { .. }
        | Kind::Set { .. } => true,
    };
    let is_same = same_kind && has_attributes(entry, &stat);
    let identity = (stat.kind == FileType::File).then(|| Identity::of(&stat));
    is_same.then_some(identity)
}

fn has_attributes(entry: &Entry, stat: &Stat) -> bool {
    let of_link = stat.kind == FileType::Symlink;
    (entry.uid, entry.gid, entry.mtime) == (stat.uid, stat.gid, stat.mtime)
        && (of_link || entry.mode == stat.mode)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::testing::*;
    use super::*;
    use crate::name::RelPath;

    /// Which entries of the list of a tree are declined, once the tree was changed.
    fn declined(change: impl Fn(&std::path::Path)) -> Vec<String> {
        let dir = TempDir::new("replay");
        let base = dir.path();
        fs::create_dir(base.join("d")).unwrap();
        fs::write(base.join("d/file"), "content").unwrap();
        fs::write(base.join("d/other"), "other").unwrap();
        symlink("file", base.join("d/link")).unwrap();
        let root = dir.root();
        let list = one_batch(&root, &RelPath::base());
        change(base);
        let batch = batch(&mut Dirs::new(root), Manifest::clone(&list.manifest));
        assert_eq!(batch.contents.len(), list.manifest.entries.len());
        let name = |at: &EntryNo| batch.manifest.entries[at.index()].path.to_string();
        batch.declined.iter().map(name).collect()
    }

    #[test]
    fn what_is_as_it_was_is_given() {
        assert!(declined(|_| {}).is_empty());
        // What the list does not name does not matter, nor does the time of a directory.
        assert!(declined(|base| fs::write(base.join("d/new"), "new").unwrap()).is_empty());
    }

    #[test]
    fn what_is_not_as_it_was_is_declined() {
        assert_eq!(declined(|base| fs::write(base.join("d/file"), "Content").unwrap()), ["d/file"]);
        assert_eq!(declined(|base| fs::remove_file(base.join("d/other")).unwrap()), ["d/other"]);
        let private = fs::Permissions::from_mode(0o600);
        let chmod = |base: &std::path::Path| {
            fs::set_permissions(base.join("d/file"), private.clone()).unwrap();
        };
        assert_eq!(declined(chmod), ["d/file"]);
        let relink = |base: &std::path::Path| {
            fs::remove_file(base.join("d/link")).unwrap();
            symlink("other", base.join("d/link")).unwrap();
        };
        assert_eq!(declined(relink), ["d/link"]);
        let all = declined(|base| fs::remove_dir_all(base.join("d")).unwrap());
        assert_eq!(all, ["d/file", "d/link", "d/other"]);
    }
}
