//! How much room a file system has left: fstatvfs(3), and files that take none of it: memfd_create(2).

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};

use crate::sys::cvt;

/// How much a file system has, and has left.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Room {
    /// Bytes in all; 0 if it does not tell.
    pub bytes: u64,
    /// Bytes that can be written; the last ones are for root alone.
    pub free_bytes: u64,
    /// Objects that there can be; 0 if it does not tell.
    pub objects: u64,
    /// Objects that can be made.
    pub free_objects: u64,
}

/// How much room the file system of `fd` has, for root or for others.
///
/// # Errors
/// Those of fstatvfs(3).
#[allow(clippy::useless_conversion)] // not so on every platform
pub fn room(fd: BorrowedFd<'_>, root: bool) -> io::Result<Room> {
    let mut about = MaybeUninit::<libc::statvfs64>::zeroed();
    // SAFETY: there is room for a whole statvfs64.
    cvt(unsafe { libc::fstatvfs64(fd.as_raw_fd(), about.as_mut_ptr()) })?;
    // SAFETY: it was zeroed, which is a valid statvfs64, and then filled in.
    let about = unsafe { about.assume_init() };
    let (blocks, objects) = match root {
        true => (about.f_bfree, about.f_ffree),
        false => (about.f_bavail, about.f_favail),
    };
    let bytes = |blocks| u64::from(blocks).saturating_mul(u64::from(about.f_frsize));
    Ok(Room {
        bytes: bytes(about.f_blocks),
        free_bytes: bytes(blocks),
        objects: u64::from(about.f_files),
        free_objects: u64::from(objects),
    })
}

/// How many bytes can be written to the file system of `fd`; the last ones are for root alone. None if it
/// does not tell.
///
/// # Errors
/// Those of fstatvfs(3).
pub fn space(fd: BorrowedFd<'_>, root: bool) -> io::Result<Option<u64>> {
    // Some have no blocks to count, and no limit.
    room(fd, root).map(|room| (room.bytes > 0).then_some(room.free_bytes))
}

/// Whether this process may make something in the directory `fd`, as far as permissions and the mount say.
///
/// # Errors
/// Why not: those of faccessat(2).
pub fn can_write(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mode = libc::W_OK | libc::X_OK;
    // SAFETY: the name is a constant that ends with NUL.
    cvt(unsafe { libc::faccessat(fd.as_raw_fd(), c".".as_ptr(), mode, 0) }).map(drop)
}

/// Gives a file room for `len` bytes, where the file system can do that.
///
/// # Errors
/// ENOSPC, EDQUOT.
pub fn allocate(fd: BorrowedFd<'_>, len: u64) -> io::Result<()> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    // SAFETY: no memory is passed.
    match cvt(unsafe { libc::fallocate64(fd.as_raw_fd(), 0, 0, len) }) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => Ok(()),
        done => done.map(drop),
    }
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
