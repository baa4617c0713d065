//! What new files inherit from the directory that they are made in: a default ACL (acl(5)), flags
//! (chattr(1)), a group. A file without a name is made in one directory and gets its name in another.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use libc::{c_int, c_long};

use super::call::with_nul;
use super::reopen::by_number;
use super::{cvt, open_at};

/// The flags of a directory that files in it get: `FS_*_FL` of include/uapi/linux/fs.h for compression,
/// synchronous writing, no dump, no atime, journalled data, no tail, DAX, no copy on write, project.
const INHERITED: c_long =
    0x04 | 0x08 | 0x40 | 0x80 | 0x400 | 0x4000 | 0x8000 | 0x80_0000 | 0x2200_0000;

/// Whether files that are made in the directory `dir`, which is open for reading, get an ACL or flags.
pub fn bequeaths(dir: BorrowedFd<'_>) -> bool {
    let name = c"system.posix_acl_default";
    // SAFETY: the name ends with NUL; nothing is written, as the length is 0.
    let acl = unsafe { libc::fgetxattr(dir.as_raw_fd(), name.as_ptr(), std::ptr::null_mut(), 0) };
    if acl > 0 {
        return true;
    }
    let mut flags: c_long = 0;
    // SAFETY: the kernel writes an int into the long.
    let got = cvt(unsafe { libc::ioctl(dir.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) });
    got.is_ok() && flags & INHERITED != 0
}

/// Makes a file in the directory `dir` for writing, without a name.
///
/// # Errors
/// Those of open(2); EOPNOTSUPP or EISDIR where there are none.
pub fn open_nameless(dir: BorrowedFd<'_>, mode: u32) -> io::Result<OwnedFd> {
    open_at(dir, b".", libc::O_TMPFILE | libc::O_WRONLY, mode)
}

/// Gives a file that was made so the name `name` in `dir`.
///
/// # Errors
/// Those of linkat(2); ENOENT where there is no `/proc`.
pub fn name_it(fd: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    with_nul(name, |name| {
        let link = |numbers: c_int, number: &std::ffi::CStr| {
            // SAFETY: both names end with NUL.
            cvt(unsafe {
                libc::linkat(
                    numbers,
                    number.as_ptr(),
                    dir.as_raw_fd(),
                    name.as_ptr(),
                    libc::AT_SYMLINK_FOLLOW,
                )
            })
            .map(drop)
        };
        by_number(fd, link).unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
    })
}
