//! The names in one directory, stored in two allocations whatever their number.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::name::STAGING;
use crate::sys::fsat::{self, FileType};

/// A list of names, in insertion order until it is sorted.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    spans: Vec<(u32, u8, FileType)>,
    next: usize,
    /// Whether the directory contains `.makuosan`, which is never part of the list.
    pub has_staging: bool,
}

impl Names {
    /// A list of one name, whose type is not known.
    pub fn one(name: &[u8]) -> Self {
        let mut names = Names::default();
        names.push(name, FileType::Unknown);
        names
    }

    /// Lists the directory that `fd` is open on, sorted by bytes.
    ///
    /// # Errors
    /// Those of getdents64(2); EOVERFLOW if the names take 4 GiB or more.
    pub fn list(fd: &OwnedFd) -> io::Result<Self> {
        Names::list_each(fd, |_, _| {})
    }

    /// The same, with a sum over names and inode numbers.
    ///
    /// # Errors
    /// As [`Names::list`].
    pub fn list_summed(fd: &OwnedFd) -> io::Result<(Self, u64)> {
        let mut sum = 1u64;
        let names = Names::list_each(fd, |name, ino| {
            let mut hasher = DefaultHasher::new();
            (name, ino).hash(&mut hasher);
            sum = sum.wrapping_add(hasher.finish());
        })?;
        Ok((names, sum))
    }

    fn list_each(fd: &OwnedFd, mut each: impl FnMut(&[u8], u64)) -> io::Result<Self> {
        let mut names = Names::default();
        let mut all_fit = true;
        fsat::list(fd.as_fd(), |name, kind, ino| {
            if name == STAGING {
                names.has_staging = true;
            } else {
                each(name, ino);
                all_fit &= names.push(name, kind);
            }
        })?;
        if !all_fit {
            return Err(io::Error::from_raw_os_error(libc::EOVERFLOW));
        }
        names.sort();
        Ok(names)
    }

    /// Appends a name. False if it has more than 255 bytes, or the list has reached 4 GiB.
    pub fn push(&mut self, name: &[u8], kind: FileType) -> bool {
        let (Ok(at), Ok(len)) = (u32::try_from(self.bytes.len()), u8::try_from(name.len())) else {
            return false;
        };
        self.bytes.extend_from_slice(name);
        self.spans.push((at, len, kind));
        true
    }

    /// Sorts by bytes.
    pub fn sort(&mut self) {
        let Names { bytes, spans, .. } = self;
        spans.sort_unstable_by(|a, b| name_of(bytes, a).cmp(name_of(bytes, b)));
    }

    /// How many names there are, including those that [`Names::next`] has returned.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.spans.iter().map(|span| name_of(&self.bytes, span))
    }

    /// The next name, with the type that the directory listing gave for it.
    pub fn next(&mut self) -> Option<(&[u8], FileType)> {
        let span = self.spans.get(self.next)?;
        self.next += 1;
        Some((name_of(&self.bytes, span), span.2))
    }
}

fn name_of<'a>(bytes: &'a [u8], &(at, len, _): &(u32, u8, FileType)) -> &'a [u8] {
    bytes.get(at as usize..at as usize + usize::from(len)).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_sorted() {
        let mut names = Names::default();
        for name in [&b"b"[..], b"", b"\xff", b"a", b"ab"] {
            assert!(names.push(name, FileType::File));
        }
        assert!(!names.push(&[b'x'; 256], FileType::File));
        names.sort();
        for name in [&b""[..], b"a", b"ab", b"b", b"\xff"] {
            assert_eq!(names.next(), Some((name, FileType::File)));
        }
        assert_eq!(names.next(), None);
        assert_eq!(names.len(), 5);
    }
}
