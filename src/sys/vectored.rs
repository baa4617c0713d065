//! Reading and writing many slices of memory at one offset of a file.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::cvt_r;

/// The most slices one call takes (`UIO_MAXIOV` in include/uapi/linux/uio.h).
const IOV_MAX: usize = 1024;

fn file_offset(offset: u64) -> io::Result<libc::off64_t> {
    libc::off64_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))
}

/// Reads at `offset` into the slices, in order, without moving the file's own offset: preadv(2).
/// Fills at most the first 1,024 slices. Returns the bytes read, which may be fewer than there is
/// room for; 0 at the end of the file.
///
/// # Errors
/// Those of preadv(2), but never `EINTR`; `EOVERFLOW` for an offset that no file has.
pub fn preadv(fd: BorrowedFd<'_>, slices: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
    let offset = file_offset(offset)?;
    let count = slices.len().min(IOV_MAX);
    let read = cvt_r(|| {
        // SAFETY: IoSliceMut is an iovec on Unix (std promises it), the first `count` of them are
        // live and exclusively ours for the call, and count is at most 1,024, so it fits.
        unsafe { libc::preadv64(fd.as_raw_fd(), slices.as_mut_ptr().cast(), count as _, offset) }
    })?;
    Ok(read as usize)
}

/// Writes the slices, in order, at `offset`, without moving the file's own offset: pwritev(2).
/// Takes at most the first 1,024 slices. Returns the bytes written, which may be fewer.
///
/// # Errors
/// Those of pwritev(2), but never `EINTR`; `EOVERFLOW` for an offset that no file has.
pub fn pwritev(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
    let offset = file_offset(offset)?;
    let count = slices.len().min(IOV_MAX);
    let written = cvt_r(|| {
        // SAFETY: IoSlice is an iovec on Unix (std promises it), the first `count` of them are
        // live and only read, and count is at most 1,024, so it fits.
        unsafe { libc::pwritev64(fd.as_raw_fd(), slices.as_ptr().cast(), count as _, offset) }
    })?;
    Ok(written as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::{AsFd, FromRawFd};

    /// A file in memory, gone when closed.
    fn memory_file() -> File {
        // SAFETY: the name is a C string; the descriptor that comes back is ours alone.
        unsafe {
            let fd = super::super::cvt(libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC));
            File::from_raw_fd(fd.unwrap())
        }
    }

    #[test]
    fn what_is_written_in_pieces_is_read_in_other_pieces() {
        let file = memory_file();
        let slices = [IoSlice::new(b"abc"), IoSlice::new(b""), IoSlice::new(b"defg")];
        assert_eq!(pwritev(file.as_fd(), &slices, 10).unwrap(), 7);
        let (mut one, mut two) = ([0xa5; 2], [0xa5; 9]);
        let mut slices = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
        assert_eq!(preadv(file.as_fd(), &mut slices, 11).unwrap(), 6);
        assert_eq!(&one, b"bc");
        assert_eq!(&two, b"defg\xa5\xa5\xa5\xa5\xa5");
        assert_eq!(preadv(file.as_fd(), &mut [IoSliceMut::new(&mut one)], 17).unwrap(), 0);
    }

    #[test]
    fn more_slices_than_the_kernel_takes_are_a_short_count() {
        let file = memory_file();
        let slices = vec![IoSlice::new(b"xy"); IOV_MAX + 5];
        assert_eq!(pwritev(file.as_fd(), &slices, 0).unwrap(), 2 * IOV_MAX);
        let mut bytes = vec![0; IOV_MAX + 5];
        let mut slices: Vec<_> = bytes.chunks_mut(1).map(IoSliceMut::new).collect();
        assert_eq!(preadv(file.as_fd(), &mut slices, 0).unwrap(), IOV_MAX);
    }

    #[test]
    fn an_offset_beyond_all_files_is_an_error() {
        let file = memory_file();
        let error = pwritev(file.as_fd(), &[IoSlice::new(b"x")], u64::MAX).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EOVERFLOW));
    }
}
