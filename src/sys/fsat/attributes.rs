//! Setting owner, mode and mtime: fchownat(2), fchmodat(2), utimensat(2).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libc::{c_int, c_long};

use super::call::{Optional, errno, with_nul};
use super::reopen::by_number;
use super::{FileType, cvt, open_at, stat_fd};
use crate::wire::manifest::FileTime;

static FCHMODAT2: Optional = Optional::new();

fn id(id: Option<u32>) -> u32 {
    id.unwrap_or(u32::MAX) // -1: unchanged
}

/// Changes the owner and the group of what `fd` is open on (O_PATH is enough), those that are given.
///
/// # Errors
/// Those of `fchownat`.
pub fn chown_fd(fd: BorrowedFd<'_>, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    // SAFETY: the path is a constant that ends with NUL.
    let result = unsafe {
        libc::fchownat(fd.as_raw_fd(), c"".as_ptr(), id(uid), id(gid), libc::AT_EMPTY_PATH)
    };
    cvt(result).map(drop)
}

/// Sets the permission bits of what `fd` is open on for reading or writing.
///
/// # Errors
/// Those of `fchmod`; EBADF if it was opened with O_PATH.
pub fn chmod_fd(fd: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    // SAFETY: no memory is passed.
    cvt(unsafe { libc::fchmod(fd.as_raw_fd(), mode) }).map(drop)
}

/// Sets the permission bits of `name` in `dir`, which `fd` is open on (O_PATH is enough).
///
/// # Errors
/// Those of `fchmodat2`. Before Linux 6.6 and where `/proc` is not mounted: EOPNOTSUPP for anything
/// but files, directories and FIFOs; EACCES for what may not be opened; ESTALE if `name` is no longer
/// what `fd` is open on.
pub fn chmod_at(dir: BorrowedFd<'_>, name: &[u8], fd: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    if FCHMODAT2.usable(|fd| fchmodat2(fd, mode)) {
        return cvt(fchmodat2(fd.as_raw_fd(), mode)).map(drop);
    }
    chmod_by_number(fd, mode).unwrap_or_else(|| chmod_by_opening(dir, name, fd, mode))
}

/// None if there is no `/proc`.
pub(super) fn chmod_by_number(fd: BorrowedFd<'_>, mode: u32) -> Option<io::Result<()>> {
    by_number(fd, |numbers, number| {
        // SAFETY: `number` ends with NUL.
        cvt(unsafe { libc::fchmodat(numbers, number.as_ptr(), mode, 0) }).map(drop)
    })
}

pub(super) fn chmod_by_opening(
    dir: BorrowedFd<'_>,
    name: &[u8],
    fd: BorrowedFd<'_>,
    mode: u32,
) -> io::Result<()> {
    let stat = stat_fd(fd)?;
    // Opening a device can have side effects.
    if !matches!(stat.kind, FileType::File | FileType::Directory | FileType::Fifo) {
        return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    }
    let opened = open_at(dir, name, libc::O_RDONLY | libc::O_NONBLOCK, 0)
        .or_else(|_| open_at(dir, name, libc::O_WRONLY | libc::O_NONBLOCK, 0))?;
    let found = stat_fd(opened.as_fd())?;
    if (found.dev, found.ino) != (stat.dev, stat.ino) {
        return Err(io::Error::from_raw_os_error(libc::ESTALE));
    }
    chmod_fd(opened.as_fd(), mode)
}

/// Takes the access control lists from what `fd` is open on for reading or writing: who may do what is
/// then said by its mode alone, and what is made in it inherits nothing.
///
/// # Errors
/// Those of `fremovexattr`, but for there being none, or none on this file system.
pub fn remove_acls(fd: BorrowedFd<'_>) -> io::Result<()> {
    for name in [c"system.posix_acl_default", c"system.posix_acl_access"] {
        // SAFETY: the name ends with NUL.
        match cvt(unsafe { libc::fremovexattr(fd.as_raw_fd(), name.as_ptr()) }) {
            Err(e) if !matches!(errno(&e), libc::ENODATA | libc::EOPNOTSUPP) => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

fn fchmodat2(fd: c_int, mode: u32) -> c_long {
    let (empty, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
    // SAFETY: the path is a constant that ends with NUL.
    unsafe { libc::syscall(libc::SYS_fchmodat2, fd, empty, mode, flags) }
}

fn times(mtime: FileTime) -> [libc::timespec; 2] {
    let atime = libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT };
    let mtime = libc::timespec {
        tv_sec: mtime.secs as libc::time_t,
        tv_nsec: c_long::from(mtime.nanos.min(999_999_999) as i32),
    };
    [atime, mtime]
}

/// Sets the mtime of `name` in `dir`, and no other time.
///
/// # Errors
/// Those of `utimensat`.
pub fn set_mtime_at(dir: BorrowedFd<'_>, name: &[u8], mtime: FileTime) -> io::Result<()> {
    let times = times(mtime);
    with_nul(name, |name| {
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        // SAFETY: `name` ends with NUL; `times` has the two elements that the call reads.
        cvt(unsafe { libc::utimensat(dir.as_raw_fd(), name.as_ptr(), times.as_ptr(), flags) })
            .map(drop)
    })
}

/// Sets the mtime of what `fd` is open on (O_PATH is enough), and no other time; it was found as `name` in
/// `dir`, which is used where the kernel needs a name.
///
/// # Errors
/// Those of `utimensat`.
pub fn set_mtime_path(
    dir: BorrowedFd<'_>,
    name: &[u8],
    fd: BorrowedFd<'_>,
    mtime: FileTime,
) -> io::Result<()> {
    let times = times(mtime);
    let (empty, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
    // SAFETY: the path is a constant that ends with NUL; `times` has the two elements that are read.
    match cvt(unsafe { libc::utimensat(fd.as_raw_fd(), empty, times.as_ptr(), flags) }) {
        Err(e) if matches!(errno(&e), libc::EINVAL | libc::ENOENT) => {
            set_mtime_at(dir, name, mtime)
        }
        done => done.map(drop),
    }
}

/// Sets the mtime of what `fd` is open on for reading or writing, and no other time.
///
/// # Errors
/// Those of `futimens`.
pub fn set_mtime_fd(fd: BorrowedFd<'_>, mtime: FileTime) -> io::Result<()> {
    let times = times(mtime);
    // SAFETY: `times` has the two elements that the call reads.
    cvt(unsafe { libc::futimens(fd.as_raw_fd(), times.as_ptr()) }).map(drop)
}
