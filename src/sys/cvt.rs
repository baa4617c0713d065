//! From the C convention for errors to Rust's.

use std::io;

/// The value a system call returned; -1 is the error that errno holds.
///
/// # Errors
/// The errno, when `ret` is -1.
pub fn cvt(ret: libc::c_int) -> io::Result<libc::c_int> {
    if ret == -1 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}
