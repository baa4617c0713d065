//! Whose directory `.makuosan` is.
//!
//! Ours is one that this user made and that has the marker in it. Version 2.0 made none: what it left is
//! known by being this user's, closed to everybody else, and by having nothing in it but what that
//! version makes. Any other directory of this name is somebody's own, and nothing in it is touched.
//!
//! Even in ours the daemon removes only what it has made: what is in `stage` (`home`), and what version 2.0
//! has left.
//!
//! Whoever may write in the directory that it is in can move it away and put another in its place at any
//! moment: it is opened once, and judged and changed by that descriptor.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::sweep;
use crate::name::{Escaped, STAGING};
use crate::sys::fsat::{self, FileType, Stat};

/// The name of the marker.
pub(super) const MARKER: &[u8] = b"made-by-makuosan";
/// What the marker holds.
const TEXT: &[u8] =
    b"makuosan made this directory, and removes whatever is in stage: see makuosan(8).\n";
/// The directory in it where files are staged.
pub(super) const STAGE: &[u8] = b"stage";
/// The directory in it where versions are kept that do not have their name.
pub(super) const CONFLICTS: &[u8] = b"conflicts";
/// The directory in it where things are kept that were removed or replaced.
pub(super) const TRASH: &[u8] = b"trash";
/// What version 2.0 began the names of its records with; the rest is a number.
pub(super) const RECORD: &[u8] = b"mount-";
/// The name under which it is found out what a file system does with new files.
pub(super) const PROBE: &[u8] = b"probe";

/// Why `.makuosan` is not the daemon's.
#[derive(Debug)]
pub(super) enum NotOurs {
    /// It is no directory.
    NotADirectory,
    /// It belongs to the first user, and the daemon runs as the second one.
    OfUser(u32, u32),
    /// It has no marker, and permission bits that the daemon never gives.
    Mode(u32),
    /// It has no marker, and this in it, which the daemon does not make.
    Holds(Vec<u8>),
    /// Another daemon works in it.
    InUse,
    /// It has this in it, which is no directory.
    HoldsNoDirectory(&'static [u8]),
    /// It has this in it, which belongs to this user.
    HoldsOfUser(&'static [u8], u32),
}

impl fmt::Display for NotOurs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ADVICE: &str = "move it away if it is somebody's own, else remove it";
        let marker = Escaped(MARKER);
        f.write_str(".makuosan there is not the daemon's: it ")?;
        match self {
            NotOurs::NotADirectory => f.write_str("is not a directory; move or remove it"),
            NotOurs::OfUser(uid, us) => {
                write!(f, "belongs to user {uid}, and the daemon runs as user {us}; {ADVICE}")
            }
            NotOurs::Mode(mode) => {
                write!(f, "has no file {marker}, and its mode is {mode:04o}; {ADVICE}")
            }
            NotOurs::Holds(name) => {
                write!(f, "holds {}, but no file {marker} of the daemon's; {ADVICE}", Escaped(name))
            }
            NotOurs::InUse => f.write_str("is in use by another daemon"),
            NotOurs::HoldsNoDirectory(name) => {
                write!(f, "holds {}, which is not a directory; move or remove it", Escaped(name))
            }
            NotOurs::HoldsOfUser(name, uid) => {
                write!(f, "holds {}, which belongs to user {uid}; {ADVICE}", Escaped(name))
            }
        }
    }
}

impl std::error::Error for NotOurs {}

impl From<NotOurs> for io::Error {
    fn from(why: NotOurs) -> Self {
        io::Error::other(why)
    }
}

/// Whether an error says that `.makuosan` is not the daemon's.
pub(super) fn is_not_ours(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NotOurs>())
}

/// Whether an error says that another daemon works in `.makuosan`.
pub(super) fn is_in_use(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<NotOurs>());
    matches!(inner, Some(NotOurs::InUse))
}

/// A `.makuosan` that is ours.
#[derive(Debug)]
pub(super) struct Claim {
    /// Open for listing.
    pub fd: OwnedFd,
    /// It has the marker; else it is as version 2.0 left it, or new.
    pub is_marked: bool,
    /// It was made just now.
    pub made: bool,
}

/// Makes `.makuosan` in `dir`, or takes over what is there, as user `us`, and sees to it that nobody else
/// gets in.
///
/// # Errors
/// [`NotOurs`]; those of the calls that make and open it.
pub(super) fn claim(dir: BorrowedFd<'_>, us: u32) -> io::Result<Claim> {
    let made = match fsat::mkdir_at(dir, STAGING, 0o700) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
        made => made.map(|()| true)?,
    };
    let (claim, mode) = open(dir, us, made)?;
    // The directory above may pass its list on to all that is made in it.
    let closed = fsat::remove_acls(claim.fd.as_fd()).and_then(|()| match mode {
        0o700 => Ok(()),
        _ => close(claim.fd.as_fd(), 0o700),
    });
    match closed {
        Ok(()) => Ok(claim),
        Err(e) => {
            if made {
                let _ = remove(dir, claim.fd.as_fd());
            }
            Err(e)
        }
    }
}

/// Opens `.makuosan` in `dir` if it is ours.
///
/// # Errors
/// [`NotOurs`]; ENOENT and the like.
pub(super) fn existing(dir: BorrowedFd<'_>, us: u32) -> io::Result<Claim> {
    open(dir, us, false).map(|(claim, _)| claim)
}

/// Removes what [`claim`] or [`existing`] gave, if it is still in `dir`. It stays if there is anything else
/// than the marker in it.
///
/// # Errors
/// ESTALE if it is not there any more; those of `unlinkat`.
pub(super) fn remove(dir: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    let (ours, there) = (fsat::stat_fd(fd)?, fsat::stat_at(dir, STAGING)?);
    if (ours.dev, ours.ino) != (there.dev, there.ino) {
        return Err(io::Error::from_raw_os_error(libc::ESTALE));
    }
    if sweep::names(fd)?.iter().any(|name| name != MARKER) {
        return Ok(());
    }
    match fsat::unlink_at(fd, MARKER) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fsat::rmdir_at(dir, STAGING)
}

/// Opens `.makuosan` in `dir` and judges it; its mode. What was `made` just now may have any.
fn open(dir: BorrowedFd<'_>, us: u32, made: bool) -> io::Result<(Claim, u32)> {
    let path = fsat::open_at(dir, STAGING, libc::O_PATH, 0)?;
    let stat = fsat::stat_fd(path.as_fd())?;
    if stat.kind != FileType::Directory {
        return Err(NotOurs::NotADirectory.into());
    }
    if stat.uid != us {
        return Err(NotOurs::OfUser(stat.uid, us).into());
    }
    check_mount(&stat, &fsat::stat_fd(dir)?)?;
    let fd = fsat::open_at(path.as_fd(), b".", fsat::LISTING, 0)?;
    let is_marked = is_marked(fd.as_fd(), us)?;
    if !is_marked {
        // A set-group-ID bit comes from the directory above.
        if !made && stat.mode & 0o777 != 0o700 {
            return Err(NotOurs::Mode(stat.mode).into());
        }
        // What was made just now has been swapped if there is anything else in it.
        for name in sweep::names(fd.as_fd())? {
            if !is_of_ours(fd.as_fd(), &name, us)? {
                return Err(NotOurs::Holds(name).into());
            }
        }
    }
    match fsat::stat_at(fd.as_fd(), STAGE) {
        Ok(stage) => judge(STAGE, &stage, &stat, us)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    Ok((Claim { fd, is_marked, made }, stat.mode))
}

/// Judges `name`, a directory of ours, of which this is the status, as is that of the directory above.
///
/// # Errors
/// [`NotOurs`]; EXDEV.
pub(super) fn judge(name: &'static [u8], stat: &Stat, above: &Stat, us: u32) -> io::Result<()> {
    if stat.kind != FileType::Directory {
        return Err(NotOurs::HoldsNoDirectory(name).into());
    }
    if stat.uid != us {
        return Err(NotOurs::HoldsOfUser(name, stat.uid).into());
    }
    check_mount(stat, above)
}

/// Checks that a directory is where the one above it is: nothing could be renamed out of it else.
fn check_mount(stat: &Stat, above: &Stat) -> io::Result<()> {
    match (stat.mount, stat.dev) == (above.mount, above.dev) {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::EXDEV)),
    }
}

/// Gives what is ours its mode, where the file system has modes: one that has none (FAT) decides by its
/// mount options who gets in.
pub(super) fn close(fd: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    match fsat::chmod_fd(fd, mode) {
        Err(e)
            if matches!(e.raw_os_error(), Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS)) =>
        {
            Ok(())
        }
        done => done,
    }
}

/// Whether the marker is in `dir`.
pub(super) fn is_marked(dir: BorrowedFd<'_>, us: u32) -> io::Result<bool> {
    match fsat::stat_at(dir, MARKER) {
        Ok(stat) if stat.kind == FileType::File && stat.uid == us => {}
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => return Ok(false),
    }
    let file = File::from(fsat::open_regular_at(dir, MARKER, libc::O_RDONLY)?);
    let mut text = Vec::new();
    file.take(TEXT.len() as u64).read_to_end(&mut text)?;
    Ok(text == TEXT)
}

/// Puts the marker into `dir`. Where there is no room for it, the directory stays as version 2.0 left
/// its own, and is known by that.
pub(super) fn mark(dir: BorrowedFd<'_>) -> io::Result<()> {
    match fsat::unlink_at(dir, MARKER) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
    let made = fsat::open_at(dir, MARKER, flags, 0o600).map(File::from).and_then(|mut file| {
        close(file.as_fd(), 0o600)?;
        file.write_all(TEXT)
    });
    match made {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)) => {
            let _ = fsat::unlink_at(dir, MARKER);
            Ok(())
        }
        made => made,
    }
}

/// Whether `name` in `dir`, which has no marker, can be what version 2.0 made, or this one before it could
/// put a marker there.
fn is_of_ours(dir: BorrowedFd<'_>, name: &[u8], us: u32) -> io::Result<bool> {
    if name != STAGE {
        return is_of_2_0(dir, name, us);
    }
    let Ok(stage) = fsat::open_at(dir, STAGE, fsat::LISTING, 0) else { return Ok(false) };
    let stat = fsat::stat_fd(stage.as_fd())?;
    let mut ours = stat.uid == us && stat.mode & 0o777 == 0o700;
    for name in sweep::names(stage.as_fd())? {
        ours = ours && is_of_2_0(stage.as_fd(), &name, us)?;
    }
    Ok(ours)
}

/// Whether `name` in `dir` can be what version 2.0 makes, or a marker that a power cut has emptied.
pub(super) fn is_of_2_0(dir: BorrowedFd<'_>, name: &[u8], us: u32) -> io::Result<bool> {
    let is_hex = |digits: &[u8]| {
        let hex = digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        hex && matches!(digits, [b'1'..=b'9' | b'a'..=b'f', ..]) && digits.len() <= 16
    };
    let is_record = name.strip_prefix(RECORD).is_some_and(is_hex);
    let is_lifted = name.strip_prefix(sweep::LIFTED).is_some_and(is_hex);
    if !(is_hex(name) || is_record || is_lifted || name == PROBE || name == MARKER) {
        return Ok(false);
    }
    let stat = match fsat::stat_at(dir, name) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        stat => stat?,
    };
    match stat.kind {
        _ if name == MARKER => Ok(stat.kind == FileType::File && stat.uid == us && stat.size == 0),
        FileType::File => Ok(true),
        _ if is_record || name == PROBE => Ok(false),
        // An empty one that a file was to replace.
        FileType::Directory => sweep::is_empty(dir, name),
        _ => Ok(true),
    }
}
