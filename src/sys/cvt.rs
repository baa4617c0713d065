//! From the return value of a C function to a `Result` that holds the errno.

use std::io;

/// The integers that system calls return, with -1 for "see errno".
pub(crate) trait Returned: Copy {
    /// Whether this is -1.
    fn failed(self) -> bool;
}

macro_rules! returned {
    ($($int:ty),*) => {$(
        impl Returned for $int {
            fn failed(self) -> bool {
                self == -1
            }
        }
    )*};
}
returned!(i32, i64, isize);

/// The value, or the errno of the call just made if it is -1.
pub(crate) fn cvt<T: Returned>(value: T) -> io::Result<T> {
    if value.failed() { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// Like [`cvt`], and makes the call again as long as a signal interrupts it.
pub(crate) fn cvt_r<T: Returned>(mut call: impl FnMut() -> T) -> io::Result<T> {
    loop {
        match cvt(call()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_one_is_the_errno_and_all_else_the_value() {
        assert_eq!(cvt(0i32).unwrap(), 0);
        assert_eq!(cvt(-2isize).unwrap(), -2);
        // SAFETY: close takes any number; -1 is never a descriptor.
        let error = cvt(unsafe { libc::close(-1) }).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn an_interrupted_call_is_made_again() {
        let mut calls = 0;
        let value = cvt_r(|| {
            calls += 1;
            if calls < 3 {
                // SAFETY: the errno of this thread may be written at any time.
                unsafe { *libc::__errno_location() = libc::EINTR };
                return -1;
            }
            7i32
        });
        assert_eq!((value.unwrap(), calls), (7, 3));
    }
}
