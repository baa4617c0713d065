//! Whether an object is still the one that was looked at before, and unchanged.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::manifest::Stamp;

/// What tells a regular file from what it becomes when it is changed or replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The device it is on.
    pub dev: u64,
    /// Its inode number.
    pub ino: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When its content last changed.
    pub mtime: Stamp,
    /// When anything about it last changed.
    pub ctime: Stamp,
}

impl Identity {
    pub(super) fn of(stat: &Stat) -> Self {
        let Stat { dev, ino, size, mtime, ctime, .. } = *stat;
        Identity { dev, ino, size, mtime, ctime }
    }

    /// Whether `stat` is that file, unchanged.
    pub(super) fn is(&self, stat: &Stat) -> bool {
        stat.kind == FileType::File && Identity::of(stat) == *self
    }

    /// Whether what `file` is open on is that file, unchanged.
    ///
    /// # Errors
    /// Those of `statx`.
    pub(super) fn is_still(&self, file: &impl AsFd) -> io::Result<bool> {
        fsat::stat_fd(file.as_fd()).map(|stat| self.is(&stat))
    }
}

/// What tells an object from another one, or from what it becomes. A directory stays the same
/// whatever is in it; of a file with more names than one, another name may come or go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Seen {
    pub(super) is_dir: bool,
    pub(super) has_more_names: bool,
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) size: u64,
    pub(super) mtime: Stamp,
    pub(super) ctime: Stamp,
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

    /// The device and the inode.
    pub fn id(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    /// Whether `stat` is still this.
    pub fn is_still(&self, stat: &Stat) -> bool {
        let now = Seen::of(stat);
        let content = (now.size, now.mtime) == (self.size, self.mtime);
        let others = self.has_more_names || now.ctime == self.ctime;
        (now.is_dir, now.id()) == (self.is_dir, self.id()) && (self.is_dir || (content && others))
    }
}

/// Opens what should be a regular file, and leaves its atime alone if this process may.
///
/// # Errors
/// Those of `openat`; ELOOP if it is a symbolic link.
pub(super) fn open_to_read(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    // A FIFO that took the file's place must not block.
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    fsat::open_at(dir, name, flags | libc::O_NOATIME, 0).or_else(|e| match e.raw_os_error() {
        // Only the owner may.
        Some(libc::EPERM) => fsat::open_at(dir, name, flags, 0),
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
