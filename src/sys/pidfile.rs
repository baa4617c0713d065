//! The file that tells the daemon's process id to whoever starts and stops it.
//!
//! The daemon holds a lock on its file for as long as it lives, which ends with the process however
//! that ends: the lock, not the number in the file, says whether the file is in use. So a file whose
//! number by now belongs to another process is no obstacle.

use super::fsat;
use crate::errno::ErrorText;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Who reads it is not root in general.
const MODE: u32 = 0o644;
/// More than any number and its newline.
const LONGEST: u64 = 64;

/// Why there is no pid file. Each holds the path.
#[derive(Debug)]
pub enum PidFileError {
    /// A daemon that lives holds it; the number in it, as text.
    Held(PathBuf, String),
    /// There is something else than a pid file, which is left alone.
    Foreign(PathBuf),
    /// A call failed: what it was to do, and the errno.
    Failed(PathBuf, &'static str, io::Error),
}

impl fmt::Display for PidFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PidFileError::Held(path, pid) if pid.is_empty() => {
                write!(f, "{}: is held by a daemon that starts", path.display())
            }
            PidFileError::Held(path, pid) => {
                write!(f, "{}: is held by a daemon that runs, process {pid}", path.display())
            }
            PidFileError::Foreign(path) => {
                write!(f, "{}: is there and is not a pid file", path.display())
            }
            PidFileError::Failed(path, what, why) => {
                write!(f, "{}: {what}: {}", path.display(), ErrorText(why))
            }
        }
    }
}

impl std::error::Error for PidFileError {}

/// A pid file of this process, locked. Dropping it removes the file, if the process may, and if the
/// path still leads to it: not from within a chroot.
#[derive(Debug)]
pub struct PidFile {
    /// Absolute, as the daemon changes its directory.
    path: PathBuf,
    /// Open for reading alone: who has taken over the daemon shall not be able to write to it the
    /// number of a process that root then ends.
    lock: File,
    /// For the number; gone once that is written.
    pen: Option<File>,
}

impl PidFile {
    /// Takes the file `name` in `dir`, made with mode 0644 if it is not there, and empties it. One that
    /// a dead daemon left behind is taken over. `path` is its absolute path, by which it is removed.
    ///
    /// # Errors
    /// See [`PidFileError`]; what was there is left as it was.
    pub fn take(dir: BorrowedFd<'_>, name: &[u8], path: &Path) -> Result<PidFile, PidFileError> {
        let failed = |what, why| PidFileError::Failed(path.to_owned(), what, why);
        let path = path.to_owned();
        loop {
            let mut pen = open(dir, name, &path)?;
            let mut text = Vec::new();
            (&mut pen).take(LONGEST).read_to_end(&mut text).map_err(|why| failed("read", why))?;
            let text = String::from_utf8_lossy(&text).trim_ascii().to_owned();
            if !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(PidFileError::Foreign(path));
            }
            // A lock belongs to an opening of a file, so it takes one that cannot write.
            let lock = match fsat::open_regular_at(dir, name, libc::O_RDONLY) {
                Err(why) if why.kind() == ErrorKind::NotFound => continue,
                opened => opened.map(File::from).map_err(|why| failed("open", why))?,
            };
            match fsat::lock(lock.as_fd()) {
                Err(why) if why.kind() == ErrorKind::WouldBlock => {
                    return Err(PidFileError::Held(path, text));
                }
                locked => locked.map_err(|why| failed("flock", why))?,
            }
            // Its old owner may have removed it before it was locked.
            if is_at(&lock, &path) && is_at(&pen, &path) {
                pen.set_len(0).map_err(|why| failed("truncate", why))?;
                return Ok(PidFile { path, lock, pen: Some(pen) });
            }
        }
    }

    /// Where it is: an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the number of this process, once.
    ///
    /// # Errors
    /// [`PidFileError::Failed`]: the disk is full, for one.
    pub fn write(&mut self) -> Result<(), PidFileError> {
        let Some(mut pen) = self.pen.take() else { return Ok(()) };
        // The place to write at is where reading ended.
        let written = pen.rewind().and_then(|()| writeln!(pen, "{}", std::process::id()));
        written.map_err(|why| PidFileError::Failed(self.path.clone(), "write", why))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Not that of another daemon, after somebody has removed ours.
        if is_at(&self.lock, &self.path) {
            // Without root's rights this may fail; the next start takes over what is left.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens a regular file to read and write, or makes one.
fn open(dir: BorrowedFd<'_>, name: &[u8], path: &Path) -> Result<File, PidFileError> {
    let foreign = || PidFileError::Foreign(path.to_owned());
    // A symbolic link, which is not followed, could lead root's daemon to any file.
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_NONBLOCK;
    let opened = fsat::open_at(dir, name, flags, MODE).map_err(|why| match why.raw_os_error() {
        // A symbolic link; a directory; a socket.
        Some(libc::ELOOP | libc::EISDIR | libc::ENXIO) => foreign(),
        _ => PidFileError::Failed(path.to_owned(), "open", why),
    });
    let file = File::from(opened?);
    match file.metadata() {
        Ok(meta) if meta.file_type().is_file() => Ok(file),
        Ok(_) => Err(foreign()),
        Err(why) => Err(PidFileError::Failed(path.to_owned(), "fstat", why)),
    }
}

/// Whether `file` is what is at `path` now.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::TempDir;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    fn take(path: &Path) -> Result<PidFile, PidFileError> {
        let dir = File::open(path.parent().unwrap()).unwrap();
        PidFile::take(dir.as_fd(), path.file_name().unwrap().as_encoded_bytes(), path)
    }

    fn own() -> String {
        format!("{}\n", std::process::id())
    }

    #[test]
    fn it_is_there_while_it_is_held() {
        let dir = TempDir::new("pidfile");
        let path = dir.path().join("pid");
        let mut file = take(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        file.write().unwrap();
        file.write().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), own());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7133, 0o000);
        // Another opening is another lock, even in one process.
        let held = take(&path).unwrap_err();
        assert!(matches!(&held, PidFileError::Held(_, pid) if *pid == own().trim_ascii()));
        assert!(held.to_string().ends_with(&format!("process {}", std::process::id())), "{held}");
        assert_eq!(fs::read_to_string(&path).unwrap(), own());
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn one_that_was_left_behind_is_taken_over() {
        let dir = TempDir::new("pidfile");
        let path = dir.path().join("pid");
        for stale in ["", "1\n", "4194304999\n", " 77 "] {
            fs::write(&path, stale).unwrap();
            let mut file = take(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "");
            file.write().unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), own());
        }
    }

    #[test]
    fn what_is_no_pid_file_is_left_alone() {
        let dir = TempDir::new("pidfile");
        let path = dir.path().join("pid");
        let precious = dir.path().join("precious");
        fs::write(&precious, "root:x:0:0\n").unwrap();
        symlink("precious", &path).unwrap();
        let foreign = |path: &Path| {
            let why = take(path).unwrap_err();
            assert!(matches!(why, PidFileError::Foreign(_)), "{why}");
        };
        foreign(&path);
        foreign(&precious);
        foreign(dir.path());
        let _socket = UnixListener::bind(dir.path().join("socket")).unwrap();
        foreign(&dir.path().join("socket"));
        assert_eq!(fs::read_to_string(&precious).unwrap(), "root:x:0:0\n");
    }

    #[test]
    fn one_that_is_not_ours_any_more_stays() {
        let dir = TempDir::new("pidfile");
        let path = dir.path().join("pid");
        let first = take(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let mut second = take(&path).unwrap();
        second.write().unwrap();
        drop(first);
        assert_eq!(fs::read_to_string(&path).unwrap(), own());
    }
}
