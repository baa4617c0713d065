//! File-system calls relative to an open directory, from openat(2) to renameat2(2).
//!
//! A *name* is one path component, as bytes without NUL; no call follows a symbolic link in it. Whether
//! the kernel has `openat2`, `statx`, `renameat2` and `fchmodat2` is checked once; without them, older
//! calls do the same. They are called by number, because libc's wrappers would require a newer C
//! library than the rest of the program does.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_char, c_int, c_long, c_uint};

use super::{cvt, cvt_r};
use call::{Optional, errno, with_nul};

mod attributes;
mod call;
mod content;
mod inherit;
mod mount;
mod reopen;
mod space;
mod stat;
#[cfg(test)]
mod tests;

pub use attributes::{
    chmod_at, chmod_fd, chown_fd, remove_acls, set_mtime_at, set_mtime_fd, set_mtime_path,
};
pub use content::{list, seek_data, seek_hole, share_blocks, start_writeback, sync_fd, sync_fs};
pub use inherit::{bequeaths, name_it, open_nameless};
pub(super) use reopen::has_numbers;
pub use reopen::{hold_proc, open_regular_at, reopen};
pub use space::{Room, allocate, can_write, in_memory, room, space};
pub use stat::{FileType, Stat, stat_at, stat_fd};

/// Flags to open a directory as a starting point for paths, without permission to read it (open(2)).
pub const PATH_ONLY: c_int = libc::O_PATH | libc::O_DIRECTORY;
/// Flags to open a directory for listing or syncing.
pub const LISTING: c_int = libc::O_RDONLY | libc::O_DIRECTORY;

/// What a rename does if the new name exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rename {
    /// It is replaced.
    Replace,
    /// The rename fails with EEXIST.
    NoReplace,
    /// The two are exchanged; both names must exist.
    Exchange,
}

static OPENAT2: Optional = Optional::new();
static RENAMEAT2: Optional = Optional::new();

// `struct open_how` of include/uapi/linux/openat2.h.
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// Opens the directory at `path` below `dir`. No component may be a symbolic link, including the last
/// one. Mount points are crossed. The empty path is `dir` itself.
///
/// # Errors
/// ELOOP if a component is a symbolic link, and only then; ENOTDIR, ENOENT, EACCES as usual.
pub fn open_beneath(dir: BorrowedFd<'_>, path: &[u8], flags: c_int) -> io::Result<OwnedFd> {
    let probe = |fd| openat2(fd, c"x", PATH_ONLY);
    if !OPENAT2.usable(probe) {
        return open_beneath_by_steps(dir, path, flags);
    }
    with_nul(if path.is_empty() { b"." } else { path }, |path| {
        let fd = cvt_r(|| openat2(dir.as_raw_fd(), path, flags))?;
        // SAFETY: the call has just created this descriptor, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
    })
}

fn openat2(dir: c_int, path: &CStr, flags: c_int) -> c_long {
    const NO_MAGICLINKS: u64 = 0x02;
    const NO_SYMLINKS: u64 = 0x04;
    const BENEATH: u64 = 0x08;
    let how = OpenHow {
        flags: (flags | libc::O_DIRECTORY | libc::O_CLOEXEC) as u64,
        mode: 0,
        resolve: NO_MAGICLINKS | NO_SYMLINKS | BENEATH,
    };
    let path = path.as_ptr();
    // SAFETY: `path` ends with NUL; `how` is a whole open_how, of the stated size.
    unsafe { libc::syscall(libc::SYS_openat2, dir, path, &raw const how, size_of::<OpenHow>()) }
}

/// Like [`open_beneath`], one component at a time: for kernels without `openat2`.
///
/// # Errors
/// As [`open_beneath`].
pub fn open_beneath_by_steps(
    dir: BorrowedFd<'_>,
    path: &[u8],
    flags: c_int,
) -> io::Result<OwnedFd> {
    let mut at: Option<OwnedFd> = None;
    let mut rest = path.split(|&b| b == b'/').peekable();
    while let Some(name) = rest.next() {
        let here = at.as_ref().map_or(dir, |fd| fd.as_fd());
        if name == b".." {
            return Err(io::Error::from_raw_os_error(libc::EXDEV));
        }
        let name = if name.is_empty() { b"." } else { name };
        let flags = if rest.peek().is_some() { PATH_ONLY } else { flags | libc::O_DIRECTORY };
        let next = open_at(here, name, flags, 0).map_err(|error| {
            // With O_NOFOLLOW and O_DIRECTORY, a symbolic link gives ENOTDIR.
            match stat_at(here, name) {
                Ok(stat) if errno(&error) == libc::ENOTDIR && stat.kind == FileType::Symlink => {
                    io::Error::from_raw_os_error(libc::ELOOP)
                }
                _ => error,
            }
        })?;
        at = Some(next);
    }
    // `split` yields at least one component.
    at.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
}

/// Opens `name` in `dir` with `flags`, and with `mode` if that creates a file.
///
/// # Errors
/// Those of `openat`; ELOOP if it is a symbolic link (ENOTDIR with `O_DIRECTORY`).
pub fn open_at(dir: BorrowedFd<'_>, name: &[u8], flags: c_int, mode: u32) -> io::Result<OwnedFd> {
    let flags = flags | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    with_nul(name, |name| {
        let fd = cvt_r(|| {
            // SAFETY: `name` ends with NUL; a mode is passed as the variadic call wants it.
            unsafe { libc::openat(dir.as_raw_fd(), name.as_ptr(), flags, mode) }
        })?;
        // SAFETY: the call has just created this descriptor, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    })
}

/// Creates a directory.
///
/// # Errors
/// Those of `mkdirat`.
pub fn mkdir_at(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> io::Result<()> {
    with_nul(name, |name| {
        // SAFETY: `name` ends with NUL.
        cvt(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), mode) }).map(drop)
    })
}

/// Creates a FIFO or a device; `rdev` is its major and minor number.
///
/// # Errors
/// Those of `mknodat`; EINVAL for any other type.
pub fn mknod_at(
    dir: BorrowedFd<'_>,
    name: &[u8],
    kind: FileType,
    mode: u32,
    rdev: (u32, u32),
) -> io::Result<()> {
    let bits = match kind {
        FileType::Fifo => libc::S_IFIFO,
        FileType::Char => libc::S_IFCHR,
        FileType::Block => libc::S_IFBLK,
        _ => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
    };
    let dev = libc::makedev(rdev.0, rdev.1);
    with_nul(name, |name| {
        // SAFETY: `name` ends with NUL.
        cvt(unsafe { libc::mknodat(dir.as_raw_fd(), name.as_ptr(), bits | mode, dev) }).map(drop)
    })
}

/// Creates a symbolic link to `target`.
///
/// # Errors
/// Those of `symlinkat`.
pub fn symlink_at(target: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    with_nul(target, |target| {
        with_nul(name, |name| {
            // SAFETY: both end with NUL.
            cvt(unsafe { libc::symlinkat(target.as_ptr(), dir.as_raw_fd(), name.as_ptr()) })
                .map(drop)
        })
    })
}

/// The target of a symbolic link.
///
/// # Errors
/// Those of `readlinkat`.
pub fn readlink_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut buf = vec![0u8; libc::PATH_MAX as usize];
    let len = with_nul(name, |name| {
        let room: *mut c_char = buf.as_mut_ptr().cast();
        // SAFETY: `name` ends with NUL; `buf` is as long as stated.
        let len = unsafe { libc::readlinkat(dir.as_raw_fd(), name.as_ptr(), room, buf.len()) };
        cvt(len)
    })?;
    buf.truncate(len as usize);
    Ok(buf)
}

/// Removes what is not a directory.
///
/// # Errors
/// Those of `unlinkat`.
pub fn unlink_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    remove(dir, name, 0)
}

/// Removes an empty directory.
///
/// # Errors
/// Those of `unlinkat`.
pub fn rmdir_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    remove(dir, name, libc::AT_REMOVEDIR)
}

/// Whether this process may make and remove what is in `dir`.
///
/// # Errors
/// Those of `faccessat`: EACCES, EROFS.
pub fn may_change(dir: BorrowedFd<'_>) -> io::Result<()> {
    let how = libc::W_OK | libc::X_OK;
    // SAFETY: the name ends with NUL.
    let result = unsafe { libc::faccessat(dir.as_raw_fd(), c".".as_ptr(), how, libc::AT_EACCESS) };
    cvt(result).map(drop)
}

fn remove(dir: BorrowedFd<'_>, name: &[u8], flags: c_int) -> io::Result<()> {
    with_nul(name, |name| {
        // SAFETY: `name` ends with NUL.
        cvt(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), flags) }).map(drop)
    })
}

/// Renames `name` in `dir` to `new` in `to`.
///
/// # Errors
/// Those of `renameat2`. EINVAL where the kernel or the file system has no [`Rename::Exchange`].
/// [`Rename::NoReplace`] is emulated there by a check before the rename, which leaves a race.
pub fn rename_at(
    dir: BorrowedFd<'_>,
    name: &[u8],
    to: BorrowedFd<'_>,
    new: &[u8],
    how: Rename,
) -> io::Result<()> {
    let flags = match how {
        Rename::Replace => {
            return with_nul(name, |name| {
                with_nul(new, |new| {
                    // SAFETY: both names end with NUL.
                    let result = unsafe {
                        libc::renameat(dir.as_raw_fd(), name.as_ptr(), to.as_raw_fd(), new.as_ptr())
                    };
                    cvt(result).map(drop)
                })
            });
        }
        Rename::NoReplace => libc::RENAME_NOREPLACE,
        Rename::Exchange => libc::RENAME_EXCHANGE,
    };
    let x = c"x";
    if RENAMEAT2.usable(|fd| renameat2(fd, x, fd, x, flags)) {
        let result = with_nul(name, |name| {
            with_nul(new, |new| {
                cvt(renameat2(dir.as_raw_fd(), name, to.as_raw_fd(), new, flags)).map(drop)
            })
        });
        match result {
            Err(e) if errno(&e) == libc::EINVAL && how == Rename::NoReplace => {}
            result => return result,
        }
    }
    if how == Rename::Exchange {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    match stat_at(to, new) {
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EEXIST)),
        Err(_) => rename_at(dir, name, to, new, Rename::Replace),
    }
}

fn renameat2(dir: c_int, name: &CStr, to: c_int, new: &CStr, flags: c_uint) -> c_long {
    let (name, new) = (name.as_ptr(), new.as_ptr());
    // SAFETY: both names end with NUL.
    unsafe { libc::syscall(libc::SYS_renameat2, dir, name, to, new, flags) }
}

/// Locks what `fd` is open on until its open file description is closed (flock(2)).
///
/// # Errors
/// EWOULDBLOCK if another process has it.
pub fn lock(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is passed.
    cvt(unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }).map(drop)
}

/// Sets the umask of this process, and returns the previous one.
pub fn umask(mask: u32) -> u32 {
    // SAFETY: no memory is passed, and the call cannot fail.
    unsafe { libc::umask(mask) }
}

/// The IDs that decide about this process's permissions (credentials(7)).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProcessIds {
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// The supplementary groups, ascending.
    pub groups: Vec<u32>,
}

/// The IDs of this process at the moment.
///
/// # Errors
/// Those of `getgroups`.
pub fn process_ids() -> io::Result<ProcessIds> {
    // SAFETY: neither call takes memory or can fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    // NGROUPS_MAX of include/uapi/linux/limits.h, the most that are possible.
    let mut groups = vec![0u32; 65_536];
    // SAFETY: `groups` has as many elements as stated.
    let count = cvt(unsafe { libc::getgroups(groups.len() as c_int, groups.as_mut_ptr()) })?;
    groups.truncate(count as usize);
    groups.shrink_to_fit();
    groups.sort_unstable();
    Ok(ProcessIds { uid, gid, groups })
}
