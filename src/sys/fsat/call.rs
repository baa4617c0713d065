//! What all of these calls need: names with a NUL, error numbers, calls that a kernel may not have.

use std::ffi::{CStr, CString};
use std::io;
use std::sync::OnceLock;

use libc::{c_int, c_long};

pub(super) fn errno(error: &io::Error) -> c_int {
    error.raw_os_error().unwrap_or(0)
}

/// Calls `f` with `bytes` as a C string, on the stack if it is short.
pub(super) fn with_nul<T>(bytes: &[u8], f: impl FnOnce(&CStr) -> io::Result<T>) -> io::Result<T> {
    const SHORT: usize = 384;
    let inner_nul = || io::Error::from_raw_os_error(libc::EINVAL);
    let mut short = [0u8; SHORT];
    match short.get_mut(..bytes.len()) {
        Some(room) if bytes.len() < SHORT => {
            room.copy_from_slice(bytes);
            let whole = short.get(..=bytes.len()).unwrap_or(&[]);
            f(CStr::from_bytes_with_nul(whole).map_err(|_| inner_nul())?)
        }
        _ => f(&CString::new(bytes).map_err(|_| inner_nul())?),
    }
}

/// A system call that the kernel may not have, or that a seccomp filter may refuse.
pub(super) struct Optional(OnceLock<bool>);

impl Optional {
    pub(super) const fn new() -> Self {
        Optional(OnceLock::new())
    }

    /// Whether the call exists: only then it fails with EBADF for the descriptor -1.
    pub(super) fn usable(&self, probe: impl FnOnce(c_int) -> c_long) -> bool {
        *self.0.get_or_init(|| {
            probe(-1) < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EBADF)
        })
    }
}
