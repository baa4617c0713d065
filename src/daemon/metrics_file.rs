//! The file of `--metrics-file`, which is replaced every few seconds. Its directory is held open, so that a chroot
//! makes no difference.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use crate::errno::ErrorText;
use crate::fs::resolve::Resolved;
use crate::log;
use crate::sys::fsat::{self, FileType, Rename};
use crate::time::{Span, Time};

/// How often it is written.
const EVERY: Span = Span::from_secs(15);
/// Whoever collects it is not root in general.
const MODE: u32 = 0o644;

/// Where the figures of this daemon are written to.
pub(super) struct MetricsFile {
    place: Resolved,
    /// Its name while it is written: no collector takes it for one of its own.
    draft: Vec<u8>,
    next: Time,
    /// The last time it could not be written.
    is_stuck: bool,
}

impl MetricsFile {
    /// The file at `place`, which need not be there yet.
    ///
    /// # Errors
    /// There is something that is no file, which is left alone; or it would be in the base directory.
    pub(super) fn new(place: Resolved, base: &Path) -> io::Result<Self> {
        // Where all is in the base directory, nobody sends all of it.
        if place.path().starts_with(base) && base != Path::new("/") {
            let why = "is in the base directory, from where it would be sent";
            return Err(io::Error::other(why));
        }
        match fsat::stat_at(place.dir().as_fd(), place.name()) {
            Ok(stat) if stat.kind != FileType::File => {
                return Err(io::Error::other("is there and is not a regular file"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let draft = [b".", place.name(), b".new"].concat();
        Ok(MetricsFile { place, draft, next: Time::ZERO, is_stuck: false })
    }

    /// Whether this process could write it, as far as that can be told without doing it.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check(&self) -> io::Result<()> {
        fsat::may_change(self.dir())
    }

    /// The directory that it is in.
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.place.dir().as_fd()
    }

    /// Its absolute path.
    pub(super) fn path(&self) -> &Path {
        self.place.path()
    }

    /// When it is to be written next.
    pub(super) fn next(&self) -> Time {
        self.next
    }

    /// Writes it, as a whole or not at all.
    ///
    /// # Errors
    /// Why it was not written. What was there is left as it was.
    pub(super) fn write(&mut self, now: Time, text: &str) -> io::Result<()> {
        self.next = now + EVERY;
        let dir = self.dir();
        // A daemon that was killed may have left it.
        let _ = fsat::unlink_at(dir, &self.draft);
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
        let mut file = File::from(fsat::open_at(dir, &self.draft, flags, MODE)?);
        let written = file
            .write_all(text.as_bytes())
            // The umask may have taken something from it.
            .and_then(|()| fsat::chmod_fd(file.as_fd(), MODE))
            .and_then(|()| {
                fsat::rename_at(dir, &self.draft, dir, self.place.name(), Rename::Replace)
            });
        if written.is_err() {
            let _ = fsat::unlink_at(dir, &self.draft);
        }
        written
    }

    /// The same for a daemon that runs: the log says once that it cannot, and once that it can again.
    pub(super) fn refresh(&mut self, now: Time, text: &str) {
        let written = self.write(now, text);
        let was_stuck = std::mem::replace(&mut self.is_stuck, written.is_err());
        let path = self.path().display();
        match written {
            Ok(()) if was_stuck => {
                log::limited(
                    log::Level::NOTICE,
                    "metrics file",
                    None,
                    format_args!("--metrics-file {path}: is written again"),
                );
            }
            Err(error) if !was_stuck => {
                let text = format_args!("--metrics-file {path}: {}", ErrorText(&error));
                log::limited(log::Level::WARNING, "metrics file", None, text);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;
    use crate::fs::resolve::place;
    use crate::sys::alone::TempDir;
    use crate::sys::ids;

    const NOW: Time = Time::from_micros(1);

    fn file(temp: &TempDir, name: &str) -> io::Result<MetricsFile> {
        let place = place(&temp.path().join(name), ids::effective().uid).unwrap();
        MetricsFile::new(place, Path::new("/nowhere"))
    }

    fn names(temp: &TempDir) -> Vec<String> {
        let names = std::fs::read_dir(temp.path()).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn it_is_replaced_as_a_whole_and_for_all_to_read() {
        let temp = TempDir::new("metrics-file");
        std::fs::write(temp.path().join(".m.prom.new"), "half of on").unwrap();
        let mut it = file(&temp, "m.prom").unwrap();
        it.check().unwrap();
        assert!(it.next() < NOW);
        for text in ["a 1\n", "a 2\n"] {
            let before = std::fs::File::open(temp.path().join("m.prom"));
            it.write(NOW, text).unwrap();
            let path = temp.path().join("m.prom");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
            // Who was reading reads on.
            if let Ok(mut before) = before {
                let mut read = String::new();
                io::Read::read_to_string(&mut before, &mut read).unwrap();
                assert_eq!(read, "a 1\n");
            }
        }
        assert_eq!(it.next(), NOW + EVERY);
        assert_eq!(names(&temp), ["m.prom"]);
    }

    #[test]
    fn what_is_no_file_is_left_alone() {
        let temp = TempDir::new("metrics-file-odd");
        std::fs::create_dir(temp.path().join("d")).unwrap();
        symlink("/dev/null", temp.path().join("l")).unwrap();
        for name in ["d", "l", "."] {
            let error = file(&temp, name).err().unwrap().to_string();
            assert!(error.contains("not a regular file"), "{name}: {error}");
        }
        let inside = place(&temp.path().join("m.prom"), ids::effective().uid).unwrap();
        assert!(MetricsFile::new(inside, temp.path()).is_err());
        let inside = place(&temp.path().join("m.prom"), ids::effective().uid).unwrap();
        assert!(MetricsFile::new(inside, Path::new("/")).is_ok());
    }

    #[test]
    fn a_directory_that_is_gone_is_an_error_and_leaves_nothing() {
        let temp = TempDir::new("metrics-file-gone");
        std::fs::create_dir(temp.path().join("d")).unwrap();
        let mut it = file(&temp, "d/m.prom").unwrap();
        std::fs::remove_dir(temp.path().join("d")).unwrap();
        it.refresh(NOW, "a 1\n");
        it.refresh(NOW, "a 1\n");
        assert!(it.is_stuck && it.write(NOW, "a 1\n").is_err() && names(&temp).is_empty());
    }
}
