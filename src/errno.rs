//! Errors of the system: their numbers as they travel in packets, and their texts as users see them.
//!
//! The numbers are those of Linux (include/uapi/asm-generic/errno-base.h and errno.h).
#![forbid(unsafe_code)]

use std::fmt;
use std::io;

/// Makes a constant of each error, and the tables of them all.
macro_rules! errnos {
    ($($name:ident = $number:literal,)*) => {
        $(
            #[doc = concat!("Number ", stringify!($number), ".")]
            pub const $name: u16 = $number;
        )*

        const NAMES: &[(u16, &str)] = &[$(($number, stringify!($name)),)*];

        #[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm")))]
        const SYSTEM: &[(u16, i32)] = &[$(($number, libc::$name),)*];
    };
}

errnos! {
    EPERM = 1,
    ENOENT = 2,
    ESRCH = 3,
    EINTR = 4,
    EIO = 5,
    ENXIO = 6,
    E2BIG = 7,
    ENOEXEC = 8,
    EBADF = 9,
    ECHILD = 10,
    EAGAIN = 11,
    ENOMEM = 12,
    EACCES = 13,
    EFAULT = 14,
    ENOTBLK = 15,
    EBUSY = 16,
    EEXIST = 17,
    EXDEV = 18,
    ENODEV = 19,
    ENOTDIR = 20,
    EISDIR = 21,
    EINVAL = 22,
    ENFILE = 23,
    EMFILE = 24,
    ENOTTY = 25,
    ETXTBSY = 26,
    EFBIG = 27,
    ENOSPC = 28,
    ESPIPE = 29,
    EROFS = 30,
    EMLINK = 31,
    EPIPE = 32,
    EDOM = 33,
    ERANGE = 34,
    EDEADLK = 35,
    ENAMETOOLONG = 36,
    ENOLCK = 37,
    ENOSYS = 38,
    ENOTEMPTY = 39,
    ELOOP = 40,
    ENOMSG = 42,
    EIDRM = 43,
    ECHRNG = 44,
    EL2NSYNC = 45,
    EL3HLT = 46,
    EL3RST = 47,
    ELNRNG = 48,
    EUNATCH = 49,
    ENOCSI = 50,
    EL2HLT = 51,
    EBADE = 52,
    EBADR = 53,
    EXFULL = 54,
    ENOANO = 55,
    EBADRQC = 56,
    EBADSLT = 57,
    EBFONT = 59,
    ENOSTR = 60,
    ENODATA = 61,
    ETIME = 62,
    ENOSR = 63,
    ENONET = 64,
    ENOPKG = 65,
    EREMOTE = 66,
    ENOLINK = 67,
    EADV = 68,
    ESRMNT = 69,
    ECOMM = 70,
    EPROTO = 71,
    EMULTIHOP = 72,
    EDOTDOT = 73,
    EBADMSG = 74,
    EOVERFLOW = 75,
    ENOTUNIQ = 76,
    EBADFD = 77,
    EREMCHG = 78,
    ELIBACC = 79,
    ELIBBAD = 80,
    ELIBSCN = 81,
    ELIBMAX = 82,
    ELIBEXEC = 83,
    EILSEQ = 84,
    ERESTART = 85,
    ESTRPIPE = 86,
    EUSERS = 87,
    ENOTSOCK = 88,
    EDESTADDRREQ = 89,
    EMSGSIZE = 90,
    EPROTOTYPE = 91,
    ENOPROTOOPT = 92,
    EPROTONOSUPPORT = 93,
    ESOCKTNOSUPPORT = 94,
    EOPNOTSUPP = 95,
    EPFNOSUPPORT = 96,
    EAFNOSUPPORT = 97,
    EADDRINUSE = 98,
    EADDRNOTAVAIL = 99,
    ENETDOWN = 100,
    ENETUNREACH = 101,
    ENETRESET = 102,
    ECONNABORTED = 103,
    ECONNRESET = 104,
    ENOBUFS = 105,
    EISCONN = 106,
    ENOTCONN = 107,
    ESHUTDOWN = 108,
    ETOOMANYREFS = 109,
    ETIMEDOUT = 110,
    ECONNREFUSED = 111,
    EHOSTDOWN = 112,
    EHOSTUNREACH = 113,
    EALREADY = 114,
    EINPROGRESS = 115,
    ESTALE = 116,
    EUCLEAN = 117,
    ENOTNAM = 118,
    ENAVAIL = 119,
    EISNAM = 120,
    EREMOTEIO = 121,
    EDQUOT = 122,
    ENOMEDIUM = 123,
    EMEDIUMTYPE = 124,
    ECANCELED = 125,
    ENOKEY = 126,
    EKEYEXPIRED = 127,
    EKEYREVOKED = 128,
    EKEYREJECTED = 129,
    EOWNERDEAD = 130,
    ENOTRECOVERABLE = 131,
    ERFKILL = 132,
    EHWPOISON = 133,
}

/// What the kernel calls an error: `ENOENT`.
pub fn name(number: u16) -> Option<&'static str> {
    NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// The error that has this text, as [`ErrorText`] shows it.
pub fn of_text(text: &str) -> Option<u16> {
    let is =
        |number: u16| ErrorText(&io::Error::from_raw_os_error(number.into())).to_string() == text;
    NAMES.iter().map(|(number, _)| *number).find(|number| is(*number))
}

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
    fn errors_have_names_and_can_be_told_by_their_texts() {
        assert_eq!((name(ENOENT), name(EDQUOT), name(0)), (Some("ENOENT"), Some("EDQUOT"), None));
        assert_eq!(of_text("Permission denied"), Some(EACCES));
        assert_eq!(of_text("Directory not empty"), Some(ENOTEMPTY));
        assert_eq!((of_text("receive time out"), of_text("")), (None, None));
        assert!(NAMES.windows(2).all(|two| two[0].0 < two[1].0));
    }

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm"))]
    fn the_numbers_are_those_of_the_system() {
        for &(ours, system) in SYSTEM {
            assert_eq!(i32::from(ours), system);
        }
    }
}
