//! Private copies, on the sender, of files that go on changing: parts of one file without a name in
//! `.makuosan/stage`, whose room is given back when the transfer is over.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::claim::{self, STAGE};
use super::rights::PRIVATE;
use super::root::Root;
use crate::sys::{fsat, ids};

/// A multiple of the blocks of all file systems, which have to be whole to be shared.
const ALIGN: u64 = 1 << 20;
/// What a copy has as its name for the moment, where none can be made without.
const NAME: &[u8] = b"copy";

/// The copies of one transfer.
#[derive(Debug)]
pub struct Copies {
    file: File,
    end: AtomicU64,
}

impl Copies {
    /// Without a copy yet. Makes nothing but the file: `.makuosan` is there wherever anything is written.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn open(root: &Root) -> io::Result<Self> {
        let home = claim::existing(root.as_fd(), ids::effective().uid)?;
        let dir = fsat::open_at(home.fd.as_fd(), STAGE, fsat::LISTING, 0)?;
        let nameless = libc::O_TMPFILE | libc::O_RDWR;
        let file = fsat::open_at(dir.as_fd(), b".", nameless, PRIVATE).or_else(|_| {
            let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
            let file = fsat::open_at(dir.as_fd(), NAME, flags, PRIVATE)?;
            fsat::unlink_at(dir.as_fd(), NAME)?;
            Ok::<_, io::Error>(file)
        });
        Ok(Copies { file: file?.into(), end: AtomicU64::new(0) })
    }
}

/// One copy. What was written and is not kept goes with it.
#[derive(Debug)]
pub(super) struct Part {
    copies: Arc<Copies>,
    start: u64,
    kept: bool,
}

impl Part {
    /// A copy that is made as the next one; there is one such at a time.
    pub fn new(copies: &Arc<Copies>) -> Self {
        let start = copies.end.load(Ordering::Relaxed);
        Part { copies: Arc::clone(copies), start, kept: false }
    }

    /// Makes it share its blocks with `file`; says how long that is.
    ///
    /// # Errors
    /// Those of ioctl_ficlonerange(2): few file systems can do it.
    pub fn share(&self, file: BorrowedFd<'_>) -> io::Result<u64> {
        fsat::share_blocks(file, self.copies.file.as_fd(), self.start)?;
        let end = fsat::stat_fd(self.copies.file.as_fd())?.size;
        Ok(end.saturating_sub(self.start))
    }

    /// Whether so many bytes leave half of the room that there is to others.
    pub fn has_room(&self, len: u64) -> bool {
        let room = fsat::space(self.copies.file.as_fd(), false);
        room.is_ok_and(|room| room.is_none_or(|room| len <= room / 2))
    }

    /// Writes at an offset.
    ///
    /// # Errors
    /// Those of pwrite(2).
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.copies.file.write_all_at(bytes, self.start + offset)
    }

    /// The file that it is in, and where it begins.
    pub fn place(&self) -> (&File, u64) {
        (&self.copies.file, self.start)
    }

    /// It has this length, and stays until the transfer is over.
    pub fn keep(mut self, len: u64) -> Self {
        let end = (self.start + len).next_multiple_of(ALIGN);
        self.copies.end.store(end, Ordering::Relaxed);
        self.kept = true;
        self
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            let _ = self.copies.file.set_len(self.start);
        }
    }
}
