//! Being told what changes in directories (inotify(7)).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use super::fsat::has_numbers;
use super::{cvt, cvt_r};

/// What is asked for: every kind of change of what is in a directory, and that of itself.
/// (`IN_CLOSE_WRITE` alone misses truncate(2), what is appended by a descriptor that stays open, and link(2).)
const ASKED: u32 = libc::IN_CLOSE_WRITE
    | libc::IN_MODIFY
    | libc::IN_ATTRIB
    | libc::IN_CREATE
    | libc::IN_DELETE
    | libc::IN_MOVED_FROM
    | libc::IN_MOVED_TO
    | libc::IN_DELETE_SELF
    | libc::IN_MOVE_SELF
    | libc::IN_ONLYDIR
    | libc::IN_EXCL_UNLINK;
/// The fixed part of `struct inotify_event`: the watch, the mask, the cookie, the length of the name.
const HEAD: usize = 16;
/// Bytes that are read at a time: some 5,000 events.
const BUFFER: usize = 256 << 10;

/// The number of a watched directory, which it keeps when it is moved. It is not used again before all others
/// have been used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Wd(pub i32);

/// A queue of events of the kernel's.
#[derive(Debug)]
pub struct Inotify {
    queue: File,
    buffer: Vec<u8>,
    /// Whether directories can be named by `/proc/self/fd`.
    by_number: bool,
}

/// Something that has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event<'a> {
    /// The directory that it has happened in, or to.
    pub wd: Wd,
    /// The same number in the two events of one move; 0 in others.
    pub cookie: u32,
    /// The name in the directory; empty if it is about the directory itself.
    pub name: &'a [u8],
    mask: u32,
}

impl Event<'_> {
    fn has(&self, bits: u32) -> bool {
        self.mask & bits != 0
    }

    /// Events have been lost.
    pub fn is_overflow(&self) -> bool {
        self.has(libc::IN_Q_OVERFLOW)
    }

    /// The directory is watched no longer.
    pub fn is_end(&self) -> bool {
        self.has(libc::IN_IGNORED)
    }

    /// The file system that the directory is on was unmounted.
    pub fn is_unmount(&self) -> bool {
        self.has(libc::IN_UNMOUNT)
    }

    /// The directory itself was moved or removed.
    pub fn is_of_itself(&self) -> bool {
        self.has(libc::IN_MOVE_SELF | libc::IN_DELETE_SELF)
    }

    /// It is about a directory.
    pub fn is_directory(&self) -> bool {
        self.has(libc::IN_ISDIR)
    }

    /// The name has come into the directory.
    pub fn has_come(&self) -> bool {
        self.has(libc::IN_CREATE | libc::IN_MOVED_TO)
    }

    /// The name has gone from the directory.
    pub fn has_gone(&self) -> bool {
        self.has(libc::IN_DELETE | libc::IN_MOVED_FROM)
    }

    /// The name was made anew: of a file, something is about to be written to it.
    pub fn is_new(&self) -> bool {
        self.has(libc::IN_CREATE)
    }

    /// The attributes are others.
    pub fn is_attributes(&self) -> bool {
        self.has(libc::IN_ATTRIB)
    }

    /// Something was written, and it is not closed yet.
    pub fn is_being_written(&self) -> bool {
        self.has(libc::IN_MODIFY)
    }
}

impl Inotify {
    /// A queue that nothing comes to yet.
    ///
    /// # Errors
    /// Those of `inotify_init1`: EMFILE where this user has too many.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no memory is passed.
        let fd = cvt(unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) })?;
        // SAFETY: the call has just made this descriptor, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Inotify { queue: fd.into(), buffer: vec![0; BUFFER], by_number: has_numbers() })
    }

    /// Has events of the directory `dir` come (`O_PATH` is enough). One that is watched already keeps its
    /// number.
    ///
    /// Without `/proc`, the calling thread makes it its working directory, and has one of its own from then on.
    ///
    /// # Errors
    /// Those of `inotify_add_watch`: ENOSPC where this user has too many, EACCES if it must not be read.
    pub fn watch(&self, dir: BorrowedFd<'_>) -> io::Result<Wd> {
        self.watch_for(dir, ASKED)
    }

    /// The same, of nothing but that the directory itself is moved or removed.
    ///
    /// # Errors
    /// As [`Inotify::watch`].
    pub fn watch_itself(&self, dir: BorrowedFd<'_>) -> io::Result<Wd> {
        self.watch_for(dir, libc::IN_DELETE_SELF | libc::IN_MOVE_SELF | libc::IN_ONLYDIR)
    }

    fn watch_for(&self, dir: BorrowedFd<'_>, asked: u32) -> io::Result<Wd> {
        let path = match self.by_number {
            true => format!("/proc/self/fd/{}\0", dir.as_raw_fd()),
            false => {
                go_to(dir)?;
                ".\0".to_owned()
            }
        };
        let queue = self.queue.as_raw_fd();
        // SAFETY: `path` ends with NUL.
        let wd = unsafe { libc::inotify_add_watch(queue, path.as_ptr().cast(), asked) };
        cvt(wd).map(Wd)
    }

    /// Has no more events of this directory come. That it has ended comes as an event.
    pub fn leave(&self, wd: Wd) {
        // What has ended already is the only thing that can be wrong.
        // SAFETY: no memory is passed.
        let _ = unsafe { libc::inotify_rm_watch(self.queue.as_raw_fd(), wd.0) };
    }

    /// Calls `each` with events that have come, as many as one call gives. False: there were none.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn read(&mut self, mut each: impl FnMut(Event<'_>)) -> io::Result<bool> {
        let got = loop {
            match self.queue.read(&mut self.buffer) {
                Ok(got) => break got,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        };
        let mut rest = self.buffer.get(..got).unwrap_or_default();
        while let Some((event, next)) = parse(rest) {
            each(event);
            rest = next;
        }
        Ok(got > 0)
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

/// The first event, and what is after it.
fn parse(bytes: &[u8]) -> Option<(Event<'_>, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let bytes_of = |at: usize| head.get(at..at + 4)?.first_chunk().copied();
    let word = |at: usize| bytes_of(at).map(u32::from_ne_bytes);
    let (name, rest) = rest.split_at_checked(word(12)? as usize)?;
    let name = name.split(|&b| b == 0).next().unwrap_or_default();
    let wd = Wd(bytes_of(0).map(i32::from_ne_bytes)?);
    Some((Event { wd, mask: word(4)?, cookie: word(8)?, name }, rest))
}

/// Makes `dir` the working directory of the calling thread alone.
fn go_to(dir: BorrowedFd<'_>) -> io::Result<()> {
    thread_local! {
        static ALONE: OnceLock<()> = const { OnceLock::new() };
    }
    ALONE.with(|alone| {
        if alone.get().is_none() {
            // SAFETY: no memory is passed; this thread has its own working directory afterwards.
            cvt(unsafe { libc::unshare(libc::CLONE_FS) })?;
            let _ = alone.set(());
        }
        // SAFETY: no memory is passed.
        cvt_r(|| unsafe { libc::fchdir(dir.as_raw_fd()) }).map(drop)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::TempDir;
    use std::fs;

    fn open(path: &std::path::Path) -> OwnedFd {
        File::open(path).unwrap().into()
    }

    fn names(inotify: &mut Inotify) -> Vec<(Wd, String)> {
        let mut names = Vec::new();
        let each = |event: Event<'_>| {
            names.push((event.wd, String::from_utf8_lossy(event.name).into_owned()));
        };
        inotify.read(each).unwrap();
        names
    }

    #[test]
    fn what_happens_in_a_directory_is_told_with_and_without_proc() {
        let temp = TempDir::new("inotify");
        fs::create_dir(temp.path().join("a")).unwrap();
        fs::create_dir(temp.path().join("b")).unwrap();
        // In a thread of its own, which changes its working directory.
        let path = temp.path().to_owned();
        let body = move || {
            for by_number in [true, false] {
                let mut inotify = Inotify { by_number, ..Inotify::new().unwrap() };
                let a = inotify.watch(open(&path.join("a")).as_fd()).unwrap();
                let b = inotify.watch(open(&path.join("b")).as_fd()).unwrap();
                assert_ne!(a, b);
                assert_eq!(inotify.watch(open(&path.join("a")).as_fd()).unwrap(), a);
                fs::write(path.join("a/x"), "").unwrap();
                fs::rename(path.join("a/x"), path.join("b/y")).unwrap();
                let got = names(&mut inotify);
                assert_eq!(got.first(), Some(&(a, "x".to_owned())), "{by_number}");
                assert_eq!(got.last(), Some(&(b, "y".to_owned())));
                inotify.leave(a);
                let mut ended = Vec::new();
                inotify.read(|event| ended.push((event.wd, event.is_end()))).unwrap();
                assert_eq!(ended, [(a, true)]);
                assert!(!inotify.read(|_| panic!()).unwrap());
                fs::remove_file(path.join("b/y")).unwrap();
            }
        };
        let before = std::env::current_dir().unwrap();
        std::thread::spawn(body).join().unwrap();
        assert_eq!(std::env::current_dir().unwrap(), before);
    }

    #[test]
    fn a_file_is_not_watched() {
        let temp = TempDir::new("inotify-file");
        fs::write(temp.path().join("f"), "").unwrap();
        let inotify = Inotify::new().unwrap();
        let error = inotify.watch(open(&temp.path().join("f")).as_fd()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
    }

    #[test]
    fn events_that_are_cut_short_are_none() {
        let mut bytes = Vec::new();
        for word in [7u32, libc::IN_CREATE | libc::IN_ISDIR, 0, 16] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(b"name\0\0\0\0\0\0\0\0\0\0\0\0");
        let (event, rest) = parse(&bytes).unwrap();
        assert_eq!((event.wd, event.name), (Wd(7), &b"name"[..]));
        assert!(event.has_come() && event.is_directory() && !event.has_gone() && rest.is_empty());
        assert_eq!(parse(&bytes[..31]), None);
        assert_eq!(parse(&bytes[..15]), None);
    }
}
