//! Why something that should last could not be written or read.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::errno::ErrorText;
use crate::fs::resolve::ResolveError;

/// What went wrong with which file or directory.
#[derive(Debug)]
pub enum StateError {
    /// A system call failed.
    Io(PathBuf, io::Error),
    /// The way there is not one that the daemon goes.
    Way(PathBuf, ResolveError),
    /// It is not a directory.
    NotADirectory(PathBuf),
    /// It belongs to this user, who is neither root nor the daemon's.
    OfUser(PathBuf, u32),
    /// Users other than its owner may write in it, as its mode says.
    OpenToOthers(PathBuf, u32),
    /// It is in the base directory, where it would be sent and written to.
    InBase(PathBuf),
    /// Another daemon has it.
    InUse(PathBuf),
    /// A record, a file or a list would be larger than its bound.
    TooLarge(PathBuf),
    /// It was removed while it was in use.
    Gone(PathBuf),
    /// It is damaged or incomplete from this byte on.
    Damaged(PathBuf, u64),
}

impl StateError {
    /// The file or directory.
    pub fn path(&self) -> &Path {
        match self {
            StateError::Io(path, _)
            | StateError::Way(path, _)
            | StateError::NotADirectory(path)
            | StateError::OfUser(path, _)
            | StateError::OpenToOthers(path, _)
            | StateError::InBase(path)
            | StateError::InUse(path)
            | StateError::TooLarge(path)
            | StateError::Gone(path)
            | StateError::Damaged(path, _) => path,
        }
    }

    /// The number of the error of the system call that failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            StateError::Io(_, error) | StateError::Way(_, ResolveError::Io(error)) => {
                error.raw_os_error()
            }
            _ => None,
        }
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path().display())?;
        match self {
            StateError::Io(_, error) => ErrorText(error).fmt(f),
            StateError::Way(_, why) => why.fmt(f),
            StateError::NotADirectory(_) => f.write_str("is not a directory; move or remove it"),
            StateError::OfUser(_, uid) => {
                write!(f, "belongs to user {uid}, neither root nor the daemon's user; move it away")
            }
            StateError::OpenToOthers(_, mode) => {
                write!(f, "its group or others can write in it (mode {mode:04o}): chmod 700")
            }
            StateError::InBase(_) => {
                f.write_str("is in the base directory; only below its .makuosan could it be there")
            }
            StateError::InUse(_) => f.write_str("is in use by another daemon"),
            StateError::TooLarge(_) => f.write_str("has no room for more"),
            StateError::Gone(_) => f.write_str("was removed while it was in use"),
            StateError::Damaged(_, at) => write!(f, "is damaged or incomplete at byte {at}"),
        }
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StateError::Io(_, error) => Some(error),
            StateError::Way(_, why) => Some(why),
            _ => None,
        }
    }
}
