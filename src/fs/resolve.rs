//! Paths of options, whose symbolic links are followed only where root or the daemon's own user made
//! them: anybody else could have the daemon, which may be root, use any file or directory.
//!
//! A path is walked component by component from descriptor to descriptor, so that what was judged is what
//! is used.

use std::ffi::OsStr;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::errno::ErrorText;
use crate::sys::fsat::{self, FileType, Stat};

/// The most symbolic links in one path (the kernel's `MAXSYMLINKS`).
const MOST_LINKS: usize = 40;

/// Why a path leads nowhere that the daemon may use.
#[derive(Debug)]
pub enum ResolveError {
    /// A symbolic link on the way belongs to this user, who is neither root nor the daemon's.
    Link(PathBuf, u32),
    /// A call failed.
    Io(io::Error),
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::Link(link, uid) => write!(
                f,
                "the symbolic link {} belongs to user {uid}, neither root nor the daemon's user: \
                 it is not followed",
                link.display()
            ),
            ResolveError::Io(error) => ErrorText(error).fmt(f),
        }
    }
}

impl std::error::Error for ResolveError {}

impl From<io::Error> for ResolveError {
    fn from(error: io::Error) -> Self {
        ResolveError::Io(error)
    }
}

/// Where a path leads.
#[derive(Debug)]
pub struct Resolved {
    dir: OwnedFd,
    name: Vec<u8>,
    path: PathBuf,
    found: Option<(OwnedFd, Stat)>,
}

impl Resolved {
    /// The directory that it is in, open for its path only.
    pub fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// Its name in that directory.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Its absolute path, without symbolic links but for the last component of [`place`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is, and a descriptor of it that is open for its path only.
    ///
    /// # Errors
    /// ENOENT if it was not looked at.
    pub fn found(&self) -> io::Result<(&OwnedFd, &Stat)> {
        let found = self.found.as_ref().map(|(fd, stat)| (fd, stat));
        found.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }
}

/// Follows `path` to what is there, for a daemon of user `us`.
///
/// # Errors
/// See [`ResolveError`].
pub fn follow(path: &Path, us: u32) -> Result<Resolved, ResolveError> {
    walk(path, us, true)
}

/// Follows `path` to the directory where its last component is or will be. That itself is not looked at.
///
/// # Errors
/// See [`ResolveError`].
pub fn place(path: &Path, us: u32) -> Result<Resolved, ResolveError> {
    walk(path, us, false)
}

fn walk(path: &Path, us: u32, follows_last: bool) -> Result<Resolved, ResolveError> {
    let code = |code| ResolveError::Io(io::Error::from_raw_os_error(code));
    if path.as_os_str().is_empty() {
        return Err(code(libc::ENOENT));
    }
    let mut at = Place::start(path.as_os_str().as_bytes(), None)?;
    let mut todo = components(path.as_os_str().as_bytes());
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == b".." {
            at = at.up()?;
            continue;
        }
        if todo.is_empty() && !follows_last {
            return Ok(at.with(name, None));
        }
        let fd = fsat::open_at(at.fd.as_fd(), &name, libc::O_PATH, 0)?;
        let stat = fsat::stat_fd(fd.as_fd())?;
        match stat.kind {
            FileType::Directory if !todo.is_empty() => {
                let path = at.path.join(OsStr::from_bytes(&name));
                at = Place { fd, path };
            }
            FileType::Symlink => {
                if stat.uid != 0 && stat.uid != us {
                    let link = at.path.join(OsStr::from_bytes(&name));
                    return Err(ResolveError::Link(link, stat.uid));
                }
                links += 1;
                if links > MOST_LINKS {
                    return Err(code(libc::ELOOP));
                }
                let target = fsat::readlink_at(fd.as_fd(), b"")?;
                at = Place::start(&target, Some(at))?;
                todo.extend(components(&target));
            }
            _ if todo.is_empty() => return Ok(at.with(name, Some((fd, stat)))),
            _ => return Err(code(libc::ENOTDIR)),
        }
    }
    // It ended with `/` alone, or with `.` or `..`.
    let fd = fsat::open_at(at.fd.as_fd(), b".", fsat::PATH_ONLY, 0)?;
    let stat = fsat::stat_fd(fd.as_fd())?;
    let Place { fd: dir, path } = at;
    Ok(Resolved { dir, name: b".".to_vec(), path, found: Some((fd, stat)) })
}

/// The components of a path that lead somewhere, the last one first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let all = path.split(|&b| b == b'/').filter(|name| !matches!(*name, b"" | b"."));
    let mut all: Vec<Vec<u8>> = all.map(<[u8]>::to_vec).collect();
    all.reverse();
    all
}

fn open(path: &str) -> io::Result<OwnedFd> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(fsat::PATH_ONLY).open(path).map(OwnedFd::from)
}

/// A directory on the way.
struct Place {
    fd: OwnedFd,
    path: PathBuf,
}

impl Place {
    /// Where `path` starts: at the root directory, or else at `here`, which is the current directory if
    /// it is None.
    fn start(path: &[u8], here: Option<Place>) -> io::Result<Place> {
        match here {
            _ if path.first() == Some(&b'/') => {
                Ok(Place { fd: open("/")?, path: PathBuf::from("/") })
            }
            Some(here) => Ok(here),
            None => Ok(Place { fd: open(".")?, path: std::env::current_dir()? }),
        }
    }

    fn up(self) -> io::Result<Place> {
        let fd = fsat::open_at(self.fd.as_fd(), b"..", fsat::PATH_ONLY, 0)?;
        let mut path = self.path;
        path.pop();
        Ok(Place { fd, path })
    }

    fn with(self, name: Vec<u8>, found: Option<(OwnedFd, Stat)>) -> Resolved {
        let mut path = self.path.into_os_string().into_vec();
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
        let path = PathBuf::from(std::ffi::OsString::from_vec(path));
        Resolved { dir: self.fd, name, path, found }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;
    use std::os::unix::fs::{MetadataExt, lchown, symlink};

    /// A user who is not root, nor runs the tests.
    const OTHER: u32 = 54_321;

    fn same(resolved: &Resolved, path: &Path) {
        let (_, stat) = resolved.found().unwrap();
        let want = std::fs::metadata(path).unwrap();
        assert_eq!((stat.dev, stat.ino), (want.dev(), want.ino()), "{}", path.display());
        assert_eq!(resolved.path(), std::fs::canonicalize(path).unwrap());
    }

    #[test]
    fn it_leads_where_the_kernel_would_go() {
        let temp = TempDir::new("resolve");
        temp.write("a/b/f", b"1");
        symlink("a/b", temp.join("relative")).unwrap();
        symlink(temp.join("a"), temp.join("absolute")).unwrap();
        symlink("../..", temp.join("a/b/up")).unwrap();
        symlink("relative", temp.join("twice")).unwrap();
        let us = std::fs::metadata("/proc/self").unwrap().uid();
        for name in [
            "a/b/f",
            "./a//b/./f",
            "relative/f",
            "relative",
            "relative/",
            "absolute/b/../b/f",
            "a/b/up/a",
            "twice/f",
            "relative/..",
            ".",
        ] {
            let path = temp.join(name);
            same(&follow(&path, us).unwrap(), &path);
        }
        for path in ["/", "/.", "/..", "/tmp/../", ".", "src/.."] {
            same(&follow(Path::new(path), us).unwrap(), Path::new(path));
        }
        symlink("loop", temp.join("loop")).unwrap();
        for (name, code) in [
            ("none", libc::ENOENT),
            ("none/x", libc::ENOENT),
            ("a/b/f/x", libc::ENOTDIR),
            ("a/b/f/..", libc::ENOTDIR),
            ("loop", libc::ELOOP),
        ] {
            match follow(&temp.join(name), us) {
                Err(ResolveError::Io(e)) => assert_eq!(e.raw_os_error(), Some(code), "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
        assert!(follow(Path::new(""), us).is_err());
        // The last component may be anything, or not be there.
        for name in ["none", "loop", "relative"] {
            let found = place(&temp.join(name), us).unwrap();
            assert_eq!((found.name(), found.path()), (name.as_bytes(), &*temp.join(name)));
        }
        assert_eq!(place(&temp.join("relative/x"), us).unwrap().path(), temp.join("a/b/x"));
    }

    #[test]
    fn no_link_of_another_users_is_followed() {
        let temp = TempDir::new("resolve-other");
        temp.write("a/f", b"1");
        symlink("a", temp.join("l")).unwrap();
        symlink("l", temp.join("outer")).unwrap();
        if lchown(temp.join("l"), Some(OTHER), None).is_err() {
            return eprintln!("SKIPPED: only root gives links away");
        }
        for name in ["l", "l/", "l/f", "outer/f", "outer", "a/../l/f"] {
            match follow(&temp.join(name), 0) {
                Err(ResolveError::Link(link, OTHER)) => assert_eq!(link, temp.join("l"), "{name}"),
                other => panic!("{name}: {other:?}"),
            }
            // They are that user's own.
            assert!(follow(&temp.join(name), OTHER).is_ok());
        }
        assert!(place(&temp.join("l"), 0).is_ok() && place(&temp.join("l/x"), 0).is_err());
    }
}
