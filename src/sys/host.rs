//! The machine's own name.

use super::cvt::cvt;
use std::io;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_kernels() {
        let kernel = std::fs::read("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(hostname().unwrap(), kernel.trim_ascii_end());
    }
}
