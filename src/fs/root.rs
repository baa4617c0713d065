//! The base directory, and opening directories below it without following symbolic links.
//!
//! With openat2(2) and `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`, or component by component where the
//! kernel has no openat2.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::errors::leads_nowhere;
use super::names::Names;
use super::paths::split;
use super::resolve::{self, ResolveError};
use crate::name::RelPath;
use crate::sys::fsat;

/// The most descriptors that all [`Dirs`] of a base directory keep open together. Each may keep one
/// even if this is reached.
const MOST_HELD: usize = 192;
/// The most directories that one [`Dirs`] caches.
const MOST_EACH: usize = 12;

/// An open base directory. It stays the same directory whatever its path leads to later.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
    held: AtomicUsize,
    by_steps: bool,
}

impl Root {
    /// Opens the base directory. Symbolic links in `path` are followed.
    ///
    /// # Errors
    /// Those of realpath(3) and open(2); ENOTDIR.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = std::fs::canonicalize(path)?;
        let file = std::fs::File::open(&path)?;
        if !file.metadata()?.is_dir() {
            return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
        }
        Ok(Root { fd: file.into(), path, held: AtomicUsize::new(0), by_steps: false })
    }

    /// Opens the base directory for a daemon of user `us`. Only symbolic links of root and of that user
    /// are followed in `path`.
    ///
    /// # Errors
    /// Those of [`resolve::follow`] and open(2); ENOTDIR.
    pub fn open_trusted(path: &Path, us: u32) -> Result<Self, ResolveError> {
        let resolved = resolve::follow(path, us)?;
        let (fd, _) = resolved.found()?;
        let fd = fsat::open_at(fd.as_fd(), b".", fsat::LISTING, 0)?;
        let path = resolved.path().to_owned();
        Ok(Root { fd, path, held: AtomicUsize::new(0), by_steps: false })
    }

    /// As [`Root::open`], but never uses openat2.
    ///
    /// # Errors
    /// As [`Root::open`].
    #[cfg(test)]
    pub fn open_by_steps(path: &Path) -> io::Result<Self> {
        Ok(Root { by_steps: true, ..Root::open(path)? })
    }

    /// Its absolute path at the time when it was opened, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing is in it but what is the daemon's own.
    ///
    /// # Errors
    /// It cannot be listed.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(Names::list(&self.open_dir(b"", fsat::LISTING)?)?.len() == 0)
    }

    /// Opens the directory at `path`, resolving every component anew.
    ///
    /// # Errors
    /// ELOOP if a component is a symbolic link, and only then; ENOTDIR, ENOENT, EACCES as usual.
    pub fn open_dir(&self, path: &[u8], flags: libc::c_int) -> io::Result<OwnedFd> {
        if self.by_steps {
            fsat::open_beneath_by_steps(self.fd.as_fd(), path, flags)
        } else {
            fsat::open_beneath(self.fd.as_fd(), path, flags)
        }
    }

    /// `path` with the symbolic links in it resolved, but for one in the last component: relative if
    /// it is below the base directory, else absolute. None if it does not exist.
    pub fn real_path(&self, path: &RelPath) -> Option<Vec<u8>> {
        let (dir, last) = path.split_last()?;
        let dir = self.path.join(std::ffi::OsStr::from_bytes(dir.as_bytes()));
        let real = std::fs::canonicalize(dir).ok()?.join(std::ffi::OsStr::from_bytes(last));
        let below = real.strip_prefix(&self.path).map(Path::to_path_buf);
        Some(below.unwrap_or(real).into_os_string().into_vec())
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A cache of the directories that one thread used last, opened with O_PATH.
///
/// A cached descriptor stays on its directory even if that is renamed. Call [`Dirs::forget`] whenever
/// paths must be resolved anew, which is at least once per job. Missing directories are cached too.
#[derive(Debug)]
pub struct Dirs {
    root: Arc<Root>,
    /// The most recently used one comes last.
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    path: Vec<u8>,
    /// The descriptor, or the errno if the directory does not exist.
    dir: Result<Arc<OwnedFd>, i32>,
}

impl Dirs {
    /// An empty cache.
    pub fn new(root: Arc<Root>) -> Self {
        Dirs { root, known: Vec::new() }
    }

    /// The base directory.
    pub fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// The directory at `path`.
    ///
    /// # Errors
    /// As [`Root::open_dir`].
    pub fn dir(&mut self, path: &[u8]) -> io::Result<Arc<OwnedFd>> {
        if let Some(at) = self.known.iter().rposition(|known| known.path == path) {
            if at + 1 < self.known.len() {
                let known = self.known.remove(at);
                self.known.push(known);
            }
        } else {
            let dir = match self.root.open_dir(path, fsat::PATH_ONLY) {
                Ok(fd) => Ok(Arc::new(fd)),
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Err(libc::ENOENT),
                Err(e) => return Err(e),
            };
            self.remember(path, dir);
        }
        match self.known.last().map(|known| &known.dir) {
            Some(Ok(fd)) => Ok(fd.clone()),
            Some(Err(code)) => Err(io::Error::from_raw_os_error(*code)),
            None => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        }
    }

    /// Whether something is at `path`, or that cannot be told.
    pub fn may_be_there(&mut self, path: &RelPath) -> bool {
        let found = self.parent(path).and_then(|(dir, name)| fsat::stat_at(dir.as_fd(), name));
        found.map_or_else(|error| !leads_nowhere(&error), |_| true)
    }

    /// The directory that contains `path`, and the last component of `path`.
    ///
    /// # Errors
    /// As [`Root::open_dir`]; EINVAL for the base directory, which has no parent here.
    pub fn parent<'a>(&mut self, path: &'a RelPath) -> io::Result<(Arc<OwnedFd>, &'a [u8])> {
        let (dir, name) = split(path.as_bytes());
        if name.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Ok((self.dir(dir)?, name))
    }

    /// Caches a directory that was opened by the same rules.
    pub fn hold(&mut self, path: &[u8], fd: OwnedFd) {
        self.forget_at(path);
        self.remember(path, Ok(Arc::new(fd)));
    }

    /// Drops everything from the cache.
    pub fn forget(&mut self) {
        self.known.iter().for_each(|known| known.release(&self.root));
        self.known.clear();
    }

    /// Drops `path` and everything below it: it was created, removed or replaced.
    pub fn forget_at(&mut self, path: &[u8]) {
        let root = &self.root;
        self.known.retain(|known| {
            let below = known.path.get(path.len()) == Some(&b'/') || path.is_empty();
            let goes = known.path == path || (known.path.starts_with(path) && below);
            if goes {
                known.release(root);
            }
            !goes
        });
    }

    fn remember(&mut self, path: &[u8], dir: Result<Arc<OwnedFd>, i32>) {
        let full = self.known.len() >= MOST_EACH
            || (!self.known.is_empty() && self.root.held.load(Ordering::Relaxed) >= MOST_HELD);
        if full {
            self.known.remove(0).release(&self.root);
        }
        let known = Known { path: path.to_vec(), dir };
        self.root.held.fetch_add(known.weight(), Ordering::Relaxed);
        self.known.push(known);
    }
}

impl Drop for Dirs {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Known {
    fn weight(&self) -> usize {
        self.dir.is_ok().into()
    }

    fn release(&self, root: &Root) {
        root.held.fetch_sub(self.weight(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::errors::reason;
    use super::super::testing::TempDir;
    use super::*;
    use crate::wire::outcome::Reason;
    use std::os::unix::fs::symlink;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_link_in_any_component_is_told_from_every_other_error() {
        let temp = TempDir::new("links");
        std::fs::create_dir_all(temp.join("a/b/c")).unwrap();
        symlink("b", temp.join("a/l")).unwrap();
        symlink("/", temp.join("out")).unwrap();
        std::fs::write(temp.join("f"), b"").unwrap();
        for root in [Root::open(temp.path()), Root::open_by_steps(temp.path())] {
            let mut dirs = Dirs::new(Arc::new(root.unwrap()));
            for (at, want) in [
                ("a/b/c/x", None),
                ("a/l/c/x", Some(Reason::LinkInPath)),
                ("a/l/x", Some(Reason::LinkInPath)),
                ("out/x", Some(Reason::LinkInPath)),
                ("f/x", Some(Reason::NotADirectoryInPlace)),
                ("none/x", Some(Reason::Os(2))),
                ("none/x", Some(Reason::Os(2))),
            ] {
                let got = dirs.parent(&path(at)).err().map(|e| reason(&e));
                assert_eq!(got, want, "{at}");
            }
        }
    }

    #[test]
    fn the_real_path_of_what_is_behind_a_link_is_said() {
        let temp = TempDir::new("real");
        std::fs::create_dir_all(temp.join("real/dir")).unwrap();
        symlink("real", temp.join("l")).unwrap();
        symlink("/dev", temp.join("out")).unwrap();
        let root = Root::open(temp.path()).unwrap();
        assert_eq!(root.real_path(&path("l/dir/x")).unwrap(), b"real/dir/x");
        assert_eq!(root.real_path(&path("out/null")).unwrap(), b"/dev/null");
        assert_eq!(root.real_path(&path("none/x")), None);
    }

    #[test]
    fn descriptors_are_bounded_and_given_back() {
        let temp = TempDir::new("held");
        let root = Arc::new(Root::open(temp.path()).unwrap());
        for n in 0..40 {
            std::fs::create_dir_all(temp.join(&format!("{n}/sub"))).unwrap();
        }
        let mut all: Vec<Dirs> = (0..40).map(|_| Dirs::new(root.clone())).collect();
        for dirs in &mut all {
            for n in 0..40 {
                dirs.dir(format!("{n}").as_bytes()).unwrap();
            }
            assert!(dirs.known.len() <= MOST_EACH);
        }
        assert!(root.held.load(Ordering::Relaxed) <= MOST_HELD + all.len());
        drop(all);
        assert_eq!(root.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_forgotten_is_looked_up_anew() {
        let temp = TempDir::new("forget");
        std::fs::create_dir_all(temp.join("a/b")).unwrap();
        let mut dirs = Dirs::new(Arc::new(Root::open(temp.path()).unwrap()));
        for known in [&b"a/b"[..], b"a", b"new", b"a"] {
            let _ = dirs.dir(known);
        }
        std::fs::rename(temp.join("a"), temp.join("ab")).unwrap();
        assert!(dirs.dir(b"a/b").is_ok());
        dirs.forget_at(b"a");
        assert!(dirs.dir(b"a/b").is_err());
        std::fs::create_dir(temp.join("new")).unwrap();
        assert!(dirs.dir(b"new").is_err());
        dirs.forget_at(b"new");
        assert!(dirs.dir(b"new").is_ok());
    }
}
