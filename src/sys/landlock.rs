//! Landlock: a process gives up, for good, all files but those below directories that it names
//! (`landlock(7)`, `include/uapi/linux/landlock.h`). Needs no rights.

use super::cvt::cvt;
use super::fsat::{self, FileType};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: libc::c_uint = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: libc::c_uint = 1;
/// The first ABI under which a file can be renamed from one directory to another.
const FIRST: u32 = 2;

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_REG: u64 = 1 << 8;
/// Everything of ABI 1, which makes and removes, too.
const ALL_OF_1: u64 = (1 << 13) - 1;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// What can be allowed for what is no directory.
const FOR_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

/// What is allowed below a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Everything but to execute.
    Change,
    /// To read files and list directories.
    Read,
    /// To remove files.
    Remove,
    /// To make, write, rename and remove files.
    Replace,
}

/// `struct landlock_ruleset_attr` of ABI 1; later fields are about other things than files.
#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

/// Rules that are not in force yet.
#[derive(Debug)]
pub struct Ruleset {
    fd: OwnedFd,
    handled: u64,
    abi: u32,
}

impl Ruleset {
    /// No rule yet: nothing would be allowed. None if the kernel has no Landlock, has it switched off,
    /// or only its first ABI.
    pub fn new() -> Option<Self> {
        // SAFETY: with this flag the call takes no attributes.
        let abi = unsafe {
            let none = std::ptr::null::<RulesetAttr>();
            libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, VERSION)
        };
        let abi = u32::try_from(abi).ok().filter(|abi| *abi >= FIRST)?;
        let since = |first: u32, access: u64| if abi >= first { access } else { 0 };
        let handled = ALL_OF_1 | REFER | since(3, TRUNCATE) | since(5, IOCTL_DEV);
        let attr = RulesetAttr { handled_access_fs: handled };
        // SAFETY: `attr` is readable for the size given.
        let fd = cvt(unsafe {
            let size = size_of::<RulesetAttr>();
            libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, size, 0)
        });
        let fd = i32::try_from(fd.ok()?).ok()?;
        // SAFETY: the call has made this descriptor just now, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Some(Ruleset { fd, handled, abi })
    }

    /// The version of the kernel's Landlock.
    pub fn abi(&self) -> u32 {
        self.abi
    }

    /// Allows something for `path`, and for what is below it. Mounts below it are included.
    ///
    /// # Errors
    /// The path cannot be opened; what landlock_add_rule(2) says.
    pub fn allow(&self, path: &Path, access: Access) -> io::Result<()> {
        let at = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
        self.allow_at(at.as_fd(), access)
    }

    /// The same for what is open already.
    ///
    /// # Errors
    /// What landlock_add_rule(2) says.
    pub fn allow_at(&self, at: BorrowedFd<'_>, access: Access) -> io::Result<()> {
        let access = match access {
            Access::Change => self.handled & !EXECUTE,
            Access::Read => READ_FILE | READ_DIR,
            Access::Remove => REMOVE_FILE,
            Access::Replace => WRITE_FILE | MAKE_REG | REMOVE_FILE,
        };
        let is_dir = fsat::stat_fd(at)?.kind == FileType::Directory;
        let fits = if is_dir { u64::MAX } else { FOR_FILES };
        if access & fits == 0 {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let attr = PathBeneathAttr { allowed_access: access & fits, parent_fd: at.as_raw_fd() };
        // SAFETY: `attr` is what this kind of rule takes, and its descriptor is open.
        cvt(unsafe {
            let fd = self.fd.as_raw_fd();
            libc::syscall(libc::SYS_landlock_add_rule, fd, PATH_BENEATH, &raw const attr, 0)
        })?;
        Ok(())
    }

    /// Puts the rules in force for this thread and those that it starts, for good. The thread must
    /// have said before that it never gains rights ([`super::caps::forbid_gain`]).
    ///
    /// # Errors
    /// What landlock_restrict_self(2) says; then nothing is in force.
    pub fn enforce(self) -> io::Result<()> {
        // SAFETY: numbers only.
        cvt(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.fd.as_raw_fd(), 0) })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::alone::TempDir;
    use super::*;
    use crate::sys::caps;
    use std::fs;

    #[test]
    fn what_is_not_allowed_is_out_of_reach() {
        let Some(rules) = Ruleset::new() else {
            println!("skipped: no Landlock of ABI 2");
            return;
        };
        let (inside, outside) = (TempDir::new("inside"), TempDir::new("outside"));
        let (read, replace) = (TempDir::new("read"), TempDir::new("replace"));
        let held = fs::File::open(replace.path()).unwrap();
        let replaceable = replace.path().to_owned();
        let (within, beyond) = (inside.path().to_owned(), outside.path().to_owned());
        let readable = read.path().to_owned();
        fs::write(beyond.join("secret"), "x").unwrap();
        fs::write(readable.join("plain"), "x").unwrap();
        fs::write(beyond.join("socket"), "x").unwrap();
        // The rules hold for this thread alone, and end with it.
        std::thread::spawn(move || {
            caps::forbid_gain().unwrap();
            rules.allow(&within, Access::Change).unwrap();
            rules.allow(&readable, Access::Read).unwrap();
            rules.allow_at(held.as_fd(), Access::Replace).unwrap();
            assert!(rules.allow(&beyond.join("none"), Access::Read).is_err());
            rules.enforce().unwrap();
            let denied = |e: io::Error| assert_eq!(e.kind(), io::ErrorKind::PermissionDenied);
            denied(fs::read(beyond.join("secret")).unwrap_err());
            denied(fs::write(beyond.join("new"), "x").unwrap_err());
            denied(fs::remove_file(beyond.join("secret")).unwrap_err());
            denied(fs::write(readable.join("plain"), "y").unwrap_err());
            assert_eq!(fs::read(readable.join("plain")).unwrap(), b"x");
            let draft = replaceable.join("draft");
            fs::write(&draft, "x").unwrap();
            fs::rename(&draft, replaceable.join("plain")).unwrap();
            denied(fs::read(replaceable.join("plain")).unwrap_err());
            denied(fs::create_dir(replaceable.join("dir")).unwrap_err());
            fs::remove_file(replaceable.join("plain")).unwrap();
            // All of what is done in a base directory, across its directories too.
            fs::create_dir_all(within.join("a/b")).unwrap();
            fs::write(within.join("a/file"), "x").unwrap();
            fs::rename(within.join("a/file"), within.join("a/b/file")).unwrap();
            fs::hard_link(within.join("a/b/file"), within.join("a/link")).unwrap();
            fs::File::options()
                .write(true)
                .open(within.join("a/link"))
                .unwrap()
                .set_len(0)
                .unwrap();
            fs::read_dir(&within).unwrap();
            fs::remove_dir_all(within.join("a")).unwrap();
            fs::write(within.join("x"), "x").unwrap();
            // Not EACCES: to move is no access (rename(2) says EXDEV, and programs copy instead).
            let moved = fs::rename(within.join("x"), beyond.join("x")).unwrap_err();
            assert!(matches!(moved.raw_os_error(), Some(libc::EXDEV | libc::EACCES)), "{moved}");
        })
        .join()
        .unwrap();
    }
}
