//! The machine's own name, and the root directory.

use super::cvt::cvt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Linux's limit is 64 bytes (`__NEW_UTS_LEN` in the kernel's uapi/linux/utsname.h); this leaves room.
const ROOM: usize = 256;

/// The machine's name as the kernel has it, without a check: [`HostName::parse`] does that.
///
/// # Errors
/// What gethostname(2) says.
///
/// [`HostName::parse`]: crate::name::HostName::parse
pub fn hostname() -> io::Result<Vec<u8>> {
    let mut name = vec![0u8; ROOM];
    // SAFETY: `name` is writable for one byte more than is stated, so that the last stays NUL.
    cvt(unsafe { libc::gethostname(name.as_mut_ptr().cast(), ROOM - 1) })?;
    let end = name.iter().position(|&b| b == 0).unwrap_or(ROOM);
    name.truncate(end);
    Ok(name)
}

/// Makes the directory that `fd` is open on, if only for its path, the root directory and the current one.
///
/// # Errors
/// What fchdir(2) and chroot(2) say.
pub fn change_root(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is passed.
    cvt(unsafe { libc::fchdir(fd.as_raw_fd()) })?;
    // SAFETY: the path is a constant that ends with NUL.
    cvt(unsafe { libc::chroot(c".".as_ptr()) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_kernels() {
        let kernel = std::fs::read("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(hostname().unwrap(), kernel.trim_ascii_end());
    }
}
