//! For tests: writing to a file through memory (mmap(2)).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// The first page of a file, in memory. It is written back, and nothing is told of that, when this is dropped.
pub struct Mapped(*mut u8);

/// Bytes that are in memory.
const LEN: usize = 4_096;

impl Mapped {
    /// Has a file, which is not empty and open for reading and writing, in memory.
    pub fn new(file: &File) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping anywhere; nothing else is changed.
        let at = unsafe {
            libc::mmap(std::ptr::null_mut(), LEN, access, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapped(at.cast()))
    }

    /// Writes the file's first byte, and has the kernel know.
    pub fn store(&self, byte: u8) {
        // SAFETY: the page is ours to write, and there is a first byte of the file in it.
        unsafe { self.0.write_volatile(byte) };
        // SAFETY: it is the mapping that was made.
        let synced = unsafe { libc::msync(self.0.cast(), LEN, libc::MS_SYNC) };
        assert_eq!(synced, 0);
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it is the mapping that was made, and nobody uses it any more.
        unsafe { libc::munmap(self.0.cast(), LEN) };
    }
}
