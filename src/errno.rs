//! Errors of the system: their numbers as they travel in packets, and their texts as users see them.
//!
//! The numbers are those of Linux (include/uapi/asm-generic/errno-base.h and errno.h).
#![forbid(unsafe_code)]

use std::fmt;
use std::io;

/// No such file or directory.
pub const ENOENT: u16 = 2;
/// Input/output error.
pub const EIO: u16 = 5;
/// Cannot allocate memory.
pub const ENOMEM: u16 = 12;
/// Permission denied.
pub const EACCES: u16 = 13;
/// Invalid argument.
pub const EINVAL: u16 = 22;
/// No space left on device.
pub const ENOSPC: u16 = 28;
/// Read-only file system.
pub const EROFS: u16 = 30;
/// File name too long.
pub const ENAMETOOLONG: u16 = 36;
/// Bad message.
pub const EBADMSG: u16 = 74;
/// Stale file handle.
pub const ESTALE: u16 = 116;

/// Displays an error without the number that the standard library appends: `Permission denied`, not
/// `Permission denied (os error 13)`.
#[derive(Clone, Copy, Debug)]
pub struct ErrorText<'a>(pub &'a io::Error);

impl fmt::Display for ErrorText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let number = self.0.raw_os_error().map(|number| format!(" (os error {number})"));
        let bare = number.and_then(|number| text.strip_suffix(&number));
        f.write_str(bare.unwrap_or(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_error_has_no_number() {
        let error = io::Error::from_raw_os_error(EACCES.into());
        assert_eq!(ErrorText(&error).to_string(), "Permission denied");
        let other = io::Error::other("odd (os error 13)");
        assert_eq!(ErrorText(&other).to_string(), "odd (os error 13)");
    }

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm"))]
    fn the_numbers_are_those_of_the_system() {
        for (ours, system) in [
            (ENOENT, libc::ENOENT),
            (EIO, libc::EIO),
            (ENOMEM, libc::ENOMEM),
            (EACCES, libc::EACCES),
            (EINVAL, libc::EINVAL),
            (ENOSPC, libc::ENOSPC),
            (EROFS, libc::EROFS),
            (ENAMETOOLONG, libc::ENAMETOOLONG),
            (EBADMSG, libc::EBADMSG),
            (ESTALE, libc::ESTALE),
        ] {
            assert_eq!(i32::from(ours), system);
        }
    }
}
