//! Whether an object is still the one that was looked at before, and unchanged.
//!
//! A change of content or attributes always gives a new ctime, which no process can set; so a file
//! with the same device, inode, size, mtime and ctime is the same, unless it changed twice within one
//! tick of the file system's clock (`current_time`, fs/inode.c). `walk` waits for that tick.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::manifest::FileTime;

/// Of a regular file: what differs after any change to it, or when another file takes its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The device it is on.
    pub dev: u64,
    /// Its inode number.
    pub ino: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When its content last changed.
    pub mtime: FileTime,
    /// When anything about it last changed.
    pub ctime: FileTime,
}

impl Identity {
    pub(super) fn of(stat: &Stat) -> Self {
        let Stat { dev, ino, size, mtime, ctime, .. } = *stat;
        Identity { dev, ino, size, mtime, ctime }
    }

    /// Whether `stat` describes that file, unchanged.
    pub(super) fn is(&self, stat: &Stat) -> bool {
        stat.kind == FileType::File && Identity::of(stat) == *self
    }

    /// The same for a file whose attributes or number of links may have changed, which moves its ctime.
    pub(super) fn is_but_touched(&self, stat: &Stat) -> bool {
        Identity { ctime: stat.ctime, ..*self }.is(stat)
    }

    /// Whether `file` is open on that file, and it is unchanged.
    ///
    /// # Errors
    /// Those of statx(2).
    pub(super) fn is_still(&self, file: &impl AsFd) -> io::Result<bool> {
        fsat::stat_fd(file.as_fd()).map(|stat| self.is(&stat))
    }
}

/// Which object it is, whatever its state: an open descriptor or a path may lead to another one later.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct ObjectId {
    /// The device it is on.
    pub dev: u64,
    /// Its inode number.
    pub ino: u64,
}

impl ObjectId {
    pub fn of(stat: &Stat) -> Self {
        ObjectId { dev: stat.dev, ino: stat.ino }
    }
}

/// Of any object on the list of what would be deleted: what tells it from another one, and from
/// itself after a change. A directory counts as unchanged whatever happens inside it. The ctime of a
/// file with several hard links is not compared, since it changes when another link is removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Seen {
    pub(super) is_dir: bool,
    pub(super) has_more_names: bool,
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) size: u64,
    pub(super) mtime: FileTime,
    pub(super) ctime: FileTime,
}

impl Seen {
    pub fn of(stat: &Stat) -> Self {
        let &Stat { dev, ino, size, mtime, ctime, nlink, .. } = stat;
        let is_dir = stat.kind == FileType::Directory;
        Seen { is_dir, has_more_names: !is_dir && nlink > 1, dev, ino, size, mtime, ctime }
    }

    pub fn is_dir(&self) -> bool {
        self.is_dir
    }

    /// Device and inode number.
    pub fn id(&self) -> ObjectId {
        ObjectId { dev: self.dev, ino: self.ino }
    }

    /// Whether `stat` describes the same object, unchanged.
    pub fn is_still(&self, stat: &Stat) -> bool {
        let now = Seen::of(stat);
        let content = (now.size, now.mtime) == (self.size, self.mtime);
        let others = self.has_more_names || now.ctime == self.ctime;
        (now.is_dir, now.id()) == (self.is_dir, self.id()) && (self.is_dir || (content && others))
    }
}

/// Opens what should be a regular file, without updating its atime where that is permitted. If anything
/// else has taken its place, that is not opened.
///
/// # Errors
/// Those of [`fsat::open_regular_at`].
pub(super) fn open_to_read(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = libc::O_RDONLY;
    fsat::open_regular_at(dir, name, flags | libc::O_NOATIME).or_else(|e| match e.raw_os_error() {
        // O_NOATIME is for the owner alone.
        Some(libc::EPERM) => fsat::open_regular_at(dir, name, flags),
        _ => Err(e),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_changed_file_is_another_and_a_filled_directory_is_not() {
        let temp = TempDir::new("seen");
        let root = temp.root();
        let stat = |name: &str| {
            crate::sys::fsat::stat_at(std::os::fd::AsFd::as_fd(&*root), name.as_bytes()).unwrap()
        };
        temp.write("f", "1");
        temp.mkdir("d");
        let (file, dir) = (Seen::of(&stat("f")), Seen::of(&stat("d")));
        assert!(file.is_still(&stat("f")) && dir.is_still(&stat("d")));
        assert!(!file.is_still(&stat("d")) && !dir.is_still(&stat("f")));
        std::thread::sleep(std::time::Duration::from_millis(20));
        temp.write("d/x", "1");
        assert!(dir.is_still(&stat("d")));
        std::fs::hard_link(temp.join("f"), temp.join("g")).unwrap();
        assert!(!file.is_still(&stat("f")), "its ctime");
        let linked = Seen::of(&stat("f"));
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::remove_file(temp.join("g")).unwrap();
        assert!(linked.is_still(&stat("f")));
        std::fs::write(temp.join("f"), "2").unwrap();
        assert!(!linked.is_still(&stat("f")));
        std::fs::write(temp.join("new"), "2").unwrap();
        assert!(!linked.is_still(&stat("new")));
    }
}
