//! Which mount an object is reached by, where `statx` does not say it (before Linux 5.8).

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::c_int;

use crate::sys::cvt::cvt;

/// The number of the mount of `name` in `dir`, or of `dir` itself for the empty name; the same number
/// as that of `statx`. None if nobody can tell.
pub(super) fn mount_of(dir: BorrowedFd<'_>, name: &CStr) -> Option<u64> {
    by_handle(dir, name).or_else(|| by_proc(dir, name))
}

/// By `name_to_handle_at`, which tells the mount even where it has no room for the handle. Not every
/// file system has handles.
pub(super) fn by_handle(dir: BorrowedFd<'_>, name: &CStr) -> Option<u64> {
    let flags = if name.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    let mut room = libc::file_handle { handle_bytes: 0, handle_type: 0, f_handle: [] };
    // What the call leaves as it is, is no answer.
    let mut mount: c_int = -1;
    let (dir, name) = (dir.as_raw_fd(), name.as_ptr());
    // SAFETY: `name` ends with NUL; `room` says that it has no bytes for the handle.
    let asked = unsafe { libc::name_to_handle_at(dir, name, &raw mut room, &raw mut mount, flags) };
    match cvt(asked).map_err(|e| e.raw_os_error()) {
        Ok(_) | Err(Some(libc::EOVERFLOW)) => u64::try_from(mount).ok(),
        Err(_) => None,
    }
}

/// By what the kernel says of an open descriptor.
pub(super) fn by_proc(dir: BorrowedFd<'_>, name: &CStr) -> Option<u64> {
    let opened = match name.is_empty() {
        true => None,
        false => Some(open_path(dir, name)?),
    };
    let fd = opened.as_ref().map_or(dir.as_raw_fd(), AsRawFd::as_raw_fd);
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

fn open_path(dir: BorrowedFd<'_>, name: &CStr) -> Option<OwnedFd> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: `name` ends with NUL; nothing is created, so that no mode is read.
    let fd = cvt(unsafe { libc::openat(dir.as_raw_fd(), name.as_ptr(), flags) }).ok()?;
    // SAFETY: the call has just created this descriptor, and nobody else has it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}
