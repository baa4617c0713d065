//! How much room a file system has left: fstatvfs(3), and files that take none of it: memfd_create(2).

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};

use crate::sys::cvt;

/// How many bytes can be written to the file system of `fd`; the last ones are for root alone. None if it
/// does not tell.
///
/// # Errors
/// Those of fstatvfs(3).
pub fn space(fd: BorrowedFd<'_>, root: bool) -> io::Result<Option<u64>> {
    let mut about = MaybeUninit::<libc::statvfs64>::zeroed();
    // SAFETY: there is room for a whole statvfs64.
    cvt(unsafe { libc::fstatvfs64(fd.as_raw_fd(), about.as_mut_ptr()) })?;
    // SAFETY: it was zeroed, which is a valid statvfs64, and then filled in.
    let about = unsafe { about.assume_init() };
    let free = if root { about.f_bfree } else { about.f_bavail };
    // Some have no blocks to count, and no limit.
    let tells = about.f_blocks > 0;
    #[allow(clippy::useless_conversion)] // not so on every platform
    let bytes = u64::from(free).saturating_mul(u64::from(about.f_frsize));
    Ok(tells.then_some(bytes))
}

/// A file in memory, without a name.
///
/// # Errors
/// Those of memfd_create(2).
pub fn in_memory(name: &CStr) -> io::Result<File> {
    // SAFETY: the name ends with NUL.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), libc::MFD_CLOEXEC) };
    let fd = cvt(fd as libc::c_int)?;
    // SAFETY: the call has just made this descriptor, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}
