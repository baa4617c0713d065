//! Contents of directories and files: listing, finding holes, syncing.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::c_int;

use super::call::errno;
use super::{FileType, cvt, cvt_r};

/// Calls `each` with every name in the directory `fd` except `.` and `..`, in the order of the file
/// system, the type as far as the listing gives it, and the inode number. Starts at the current offset
/// of `fd`.
///
/// # Errors
/// Those of `getdents64`, possibly after some names.
pub fn list(fd: BorrowedFd<'_>, mut each: impl FnMut(&[u8], FileType, u64)) -> io::Result<()> {
    // `struct linux_dirent64` (fs/readdir.c): inode 8, offset 8, length of the record 2, type 1, name.
    const LEN: usize = 16;
    const TYPE: usize = 18;
    const NAME: usize = 19;
    let mut buf = vec![0u8; 32 << 10];
    loop {
        let got = cvt_r(|| {
            // SAFETY: `buf` is as long as stated.
            unsafe {
                libc::syscall(libc::SYS_getdents64, fd.as_raw_fd(), buf.as_mut_ptr(), buf.len())
            }
        })?;
        let mut rest = buf.get(..got as usize).unwrap_or(&[]);
        if rest.is_empty() {
            return Ok(());
        }
        while let Some(&[low, high]) = rest.get(LEN..LEN + 2) {
            let len = usize::from(u16::from_ne_bytes([low, high])).max(NAME);
            let (record, next) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            let name = record.get(NAME..).unwrap_or(&[]).split(|&b| b == 0).next().unwrap_or(&[]);
            if !matches!(name, b"" | b"." | b"..") {
                let ino = record.first_chunk().map_or(0, |ino| u64::from_ne_bytes(*ino));
                each(name, FileType::of_dirent(record.get(TYPE).copied().unwrap_or(0)), ino);
            }
            rest = next;
        }
    }
}

/// The next offset, from `offset` on, where `fd` has data; None if there is none.
///
/// # Errors
/// Those of `lseek`; EINVAL where the file system cannot tell.
pub fn seek_data(fd: BorrowedFd<'_>, offset: u64) -> io::Result<Option<u64>> {
    match seek(fd, offset, libc::SEEK_DATA) {
        Err(e) if errno(&e) == libc::ENXIO => Ok(None),
        other => other.map(Some),
    }
}

/// The next offset, from `offset` on, where `fd` has a hole or ends.
///
/// # Errors
/// Those of `lseek`.
pub fn seek_hole(fd: BorrowedFd<'_>, offset: u64) -> io::Result<u64> {
    seek(fd, offset, libc::SEEK_HOLE)
}

fn seek(fd: BorrowedFd<'_>, offset: u64, whence: c_int) -> io::Result<u64> {
    let offset = i64::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: no memory is passed.
    let at = unsafe { libc::lseek64(fd.as_raw_fd(), offset, whence) };
    u64::try_from(at).map_err(|_| io::Error::last_os_error())
}

/// Makes the file `to` share, from `offset` on, all blocks of the file `from` as they are at this moment.
///
/// # Errors
/// Those of `ioctl_ficlonerange`: EOPNOTSUPP, EINVAL or EXDEV where it cannot be done.
pub fn share_blocks(from: BorrowedFd<'_>, to: BorrowedFd<'_>, offset: u64) -> io::Result<()> {
    let (src_fd, src_offset, src_length) = (from.as_raw_fd().into(), 0, 0);
    let range = libc::file_clone_range { src_fd, src_offset, src_length, dest_offset: offset };
    // SAFETY: the kernel reads one file_clone_range, which lives until the call has returned.
    cvt(unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONERANGE, &raw const range) }).map(drop)
}

/// Syncs the file system that `fd` is on.
///
/// # Errors
/// Those of `syncfs`.
pub fn sync_fs(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is passed.
    cvt(unsafe { libc::syncfs(fd.as_raw_fd()) }).map(drop)
}

/// Syncs what `fd` is open on, including its attributes.
///
/// # Errors
/// Those of `fsync`.
pub fn sync_fd(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is passed.
    cvt(unsafe { libc::fsync(fd.as_raw_fd()) }).map(drop)
}

/// Lets the kernel start to write dirty pages of `fd`, without waiting. This is only a hint.
pub fn start_writeback(fd: BorrowedFd<'_>) {
    // SAFETY: no memory is passed. If it fails, the sync takes longer, nothing else.
    let _ = unsafe { libc::sync_file_range(fd.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}
