//! Reading files with a secret in them: keys and the console's password.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use crate::errno::ErrorText;
use crate::fs::resolve;
use crate::sys::fsat::{self, FileType, Stat};

/// What is in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A key of the group.
    Key,
    /// The password of the console.
    Password,
}

/// Reads the beginning of a file, as much as there is room for, and returns how much that was. Only
/// symbolic links of root and of `us`, the daemon's user, are followed.
///
/// # Errors
/// What is wrong with it, in words that fit after the file's name.
pub(super) fn read(kind: Kind, path: &Path, us: u32, into: &mut [u8]) -> Result<usize, String> {
    let failed = |error: io::Error| ErrorText(&error).to_string();
    let resolved = resolve::follow(path, us).map_err(|why| why.to_string())?;
    let (fd, stat) = resolved.found().map_err(failed)?;
    match stat.kind {
        FileType::File => check(stat, us)?,
        // Whoever names a device knows what it gives.
        FileType::Char if kind == Kind::Password => {}
        FileType::Directory => return Err("is a directory".to_owned()),
        // To read a FIFO would be to wait for somebody who writes to it.
        _ => return Err("is no file".to_owned()),
    }
    let (dir, name) = (resolved.dir().as_fd(), resolved.name());
    let file = fsat::reopen(dir, name, fd.as_fd(), libc::O_RDONLY).map_err(failed)?;
    fill(&mut File::from(file), into).map_err(failed)
}

/// Whether nobody else can have it, or can have put it there.
fn check(stat: &Stat, us: u32) -> Result<(), String> {
    if stat.uid != 0 && stat.uid != us {
        let whose = format!("belongs to user {}", stat.uid);
        return Err(format!(
            "{whose}, neither root nor the daemon's user: chown it to one of them"
        ));
    }
    let mode = stat.mode & 0o777;
    if mode & 0o066 != 0 {
        let why = "its group or others can read or write it";
        return Err(format!("{why} (mode {mode:04o}): chmod 600"));
    }
    Ok(())
}

fn fill(file: &mut File, into: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < into.len() {
        match file.read(&mut into[got..]) {
            Ok(0) => break,
            Ok(some) => got += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
