//! Opening, or changing, what a descriptor that is open for its path only has shown to be the right
//! thing: by its number in `/proc/self/fd`, so that nothing that took its name meanwhile is met.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use libc::c_int;

use super::call::with_nul;
use super::{FileType, cvt, cvt_r, open_at, stat_fd};

/// `/proc/self/fd` of this process.
static HELD: OnceLock<OwnedFd> = OnceLock::new();

/// Keeps `/proc/self/fd` open, which saves time. To be called once this process is the one that will go
/// on, as the directory stays that of the process that opened it; and not before a chroot, which it
/// would lead out of.
pub fn hold_proc() {
    if let Ok(fd) = descriptors() {
        let _ = HELD.set(fd);
    }
}

/// Opens `/proc/self/fd`.
///
/// # Errors
/// Those of `open`; ENOENT if what is there is not made by the kernel. (In a chroot it could be made by
/// anybody.)
fn descriptors() -> io::Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the path is a constant that ends with NUL.
    let fd = cvt(unsafe { libc::open(c"/proc/self/fd".as_ptr(), flags) })?;
    // SAFETY: the call has just made this descriptor, and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut about = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: there is room for a whole statfs.
    cvt(unsafe { libc::fstatfs(fd.as_raw_fd(), about.as_mut_ptr()) })?;
    // SAFETY: it was zeroed, which is a valid statfs, and then filled in by the kernel.
    match unsafe { about.assume_init() }.f_type == libc::PROC_SUPER_MAGIC {
        true => Ok(fd),
        false => Err(io::Error::from_raw_os_error(libc::ENOENT)),
    }
}

/// Whether there is a `/proc/self/fd` of the kernel's.
pub(in crate::sys) fn has_numbers() -> bool {
    descriptors().is_ok()
}

/// Calls `f` with `/proc/self/fd` and the name of `fd` in it. None if there is no `/proc`.
pub(super) fn by_number<T>(
    fd: BorrowedFd<'_>,
    f: impl FnOnce(c_int, &std::ffi::CStr) -> io::Result<T>,
) -> Option<io::Result<T>> {
    let opened;
    let dir = match HELD.get() {
        Some(held) => held.as_fd(),
        None => {
            opened = descriptors().ok()?;
            opened.as_fd()
        }
    };
    let name = fd.as_raw_fd().to_string();
    Some(with_nul(name.as_bytes(), |name| f(dir.as_raw_fd(), name)))
}

/// Opens `name` in `dir`, if it is a regular file, with `flags`. Nothing else is ever opened: to open a
/// device can do things, and a FIFO can have one wait. (Without `/proc`, one that takes the file's place
/// at this very moment is opened, without waiting, and closed.)
///
/// # Errors
/// ELOOP, EISDIR, or ENXIO if it is a symbolic link, a directory, or something else; ESTALE if something
/// else took its place; those of `openat`.
pub fn open_regular_at(dir: BorrowedFd<'_>, name: &[u8], flags: c_int) -> io::Result<OwnedFd> {
    let path = open_at(dir, name, libc::O_PATH, 0)?;
    let stat = stat_fd(path.as_fd())?;
    let code = match stat.kind {
        FileType::File => return reopen(dir, name, path.as_fd(), flags),
        FileType::Symlink => libc::ELOOP,
        FileType::Directory => libc::EISDIR,
        _ => libc::ENXIO,
    };
    Err(io::Error::from_raw_os_error(code))
}

/// Opens with `flags`, and without waiting, what `path` is open on for its path only; it was found as
/// `name` in `dir`.
///
/// # Errors
/// As [`open_regular_at`].
pub fn reopen(
    dir: BorrowedFd<'_>,
    name: &[u8],
    path: BorrowedFd<'_>,
    flags: c_int,
) -> io::Result<OwnedFd> {
    let flags = flags | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let by_number = by_number(path, |numbers, number| {
        // SAFETY: `number` ends with NUL.
        let fd = cvt_r(|| unsafe { libc::openat(numbers, number.as_ptr(), flags) })?;
        // SAFETY: the call has just created this descriptor, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    });
    by_number.unwrap_or_else(|| reopen_by_name(dir, name, path, flags))
}

pub(super) fn reopen_by_name(
    dir: BorrowedFd<'_>,
    name: &[u8],
    path: BorrowedFd<'_>,
    flags: c_int,
) -> io::Result<OwnedFd> {
    let stat = stat_fd(path)?;
    let fd = open_at(dir, name, flags | libc::O_NONBLOCK | libc::O_NOCTTY, 0)?;
    let found = stat_fd(fd.as_fd())?;
    match (found.dev, found.ino) == (stat.dev, stat.ino) {
        true => Ok(fd),
        false => Err(io::Error::from_raw_os_error(libc::ESTALE)),
    }
}
