//! Which mount an object is reached by, where `statx` does not say it (before Linux 5.8).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libc::c_int;

use super::{cvt, open_at, with_nul};

/// The number of the mount of `name` in `dir`, or of `dir` itself for the empty name; the same number
/// as that of `statx`. None if nobody can tell.
pub(super) fn mount_of(dir: BorrowedFd<'_>, name: &[u8]) -> Option<u64> {
    by_handle(dir, name).or_else(|| by_proc(dir, name))
}

/// By `name_to_handle_at`, which tells the mount even where it has no room for the handle. Not every
/// file system has handles.
pub(super) fn by_handle(dir: BorrowedFd<'_>, name: &[u8]) -> Option<u64> {
    // What it leaves as it is, is no answer.
    let mut mount: c_int = -1;
    let asked = with_nul(name, |name| cvt(handle(dir.as_raw_fd(), name, &mut mount)));
    match asked.map_err(|e| e.raw_os_error()) {
        Ok(_) | Err(Some(libc::EOVERFLOW)) => u64::try_from(mount).ok(),
        Err(_) => None,
    }
}

fn handle(dir: c_int, name: &CStr, mount: &mut c_int) -> c_int {
    let flags = if name.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    let mut room = libc::file_handle { handle_bytes: 0, handle_type: 0, f_handle: [] };
    // SAFETY: `name` ends with NUL; `room` says that it has no bytes for the handle.
    unsafe { libc::name_to_handle_at(dir, name.as_ptr(), &raw mut room, mount, flags) }
}

/// By what the kernel says of an open descriptor.
pub(super) fn by_proc(dir: BorrowedFd<'_>, name: &[u8]) -> Option<u64> {
    let info = |fd: BorrowedFd<'_>| -> io::Result<String> {
        std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))
    };
    let text = match name.is_empty() {
        true => info(dir).ok()?,
        false => info(open_at(dir, name, libc::O_PATH, 0).ok()?.as_fd()).ok()?,
    };
    text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}
