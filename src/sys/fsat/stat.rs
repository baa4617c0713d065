//! The status of a file-system object: statx(2), or fstatat(2) on kernels without it.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_long};

use super::call::{Optional, with_nul};
use super::mount::mount_of;
use crate::sys::cvt::cvt;
use crate::wire::manifest::FileTime;

/// The attributes of what only root can change, by chattr(1).
const HELD: u64 = (libc::STATX_ATTR_IMMUTABLE | libc::STATX_ATTR_APPEND) as u64;

static STATX: Optional = Optional::new();

/// The type of a file-system object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO.
    Fifo,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A Unix domain socket.
    Socket,
    /// Another type, or a listing that does not give it.
    Unknown,
}

impl FileType {
    fn of_mode(mode: u32) -> Self {
        match mode & libc::S_IFMT {
            libc::S_IFREG => FileType::File,
            libc::S_IFDIR => FileType::Directory,
            libc::S_IFLNK => FileType::Symlink,
            libc::S_IFIFO => FileType::Fifo,
            libc::S_IFCHR => FileType::Char,
            libc::S_IFBLK => FileType::Block,
            libc::S_IFSOCK => FileType::Socket,
            _ => FileType::Unknown,
        }
    }

    // The type byte of a `linux_dirent64` is the type bits of a mode, shifted by 12.
    pub(super) fn of_dirent(byte: u8) -> Self {
        FileType::of_mode(u32::from(byte) << 12)
    }
}

/// The status of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// Its type.
    pub kind: FileType,
    /// Its permission bits (the low twelve).
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its size in bytes.
    pub size: u64,
    /// The space that it takes, in units of 512 bytes.
    pub blocks: u64,
    /// When its content last changed.
    pub mtime: FileTime,
    /// When anything about it last changed.
    pub ctime: FileTime,
    /// Its inode number.
    pub ino: u64,
    /// The device it is on.
    pub dev: u64,
    /// Major and minor number, if it is a device.
    pub rdev: (u32, u32),
    /// How many hard links it has.
    pub nlink: u64,
    /// The ID of its mount; None if an old kernel does not tell it.
    pub mount: Option<u64>,
    /// It is immutable, or can only be appended to, as far as its file system tells it.
    pub is_held: bool,
}

/// The status of `name` in `dir`.
///
/// # Errors
/// Those of `statx`.
pub fn stat_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Stat> {
    stat(dir, name, libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT)
}

/// The status of what `fd` is open on (O_PATH is enough).
///
/// # Errors
/// Those of `statx`.
pub fn stat_fd(fd: BorrowedFd<'_>) -> io::Result<Stat> {
    stat(fd, b"", libc::AT_EMPTY_PATH)
}

fn stat(dir: BorrowedFd<'_>, name: &[u8], flags: c_int) -> io::Result<Stat> {
    let mut unused = MaybeUninit::zeroed();
    if STATX.usable(|fd| statx(fd, c"", libc::AT_EMPTY_PATH, &mut unused)) {
        by_statx(dir, name, flags)
    } else {
        by_fstatat(dir, name, flags)
    }
}

fn statx(dir: c_int, name: &CStr, flags: c_int, buf: &mut MaybeUninit<libc::statx>) -> c_long {
    let mask = libc::STATX_BASIC_STATS | libc::STATX_MNT_ID;
    let name = name.as_ptr();
    // SAFETY: `name` ends with NUL; `buf` has room for a whole statx.
    unsafe { libc::syscall(libc::SYS_statx, dir, name, flags, mask, buf.as_mut_ptr()) }
}

pub(super) fn by_statx(dir: BorrowedFd<'_>, name: &[u8], flags: c_int) -> io::Result<Stat> {
    let mut buf = MaybeUninit::zeroed();
    with_nul(name, |name| cvt(statx(dir.as_raw_fd(), name, flags, &mut buf)))?;
    // SAFETY: all zeros is a valid statx, and the kernel has filled it in.
    let buf = unsafe { buf.assume_init() };
    let mount = match buf.stx_mask & libc::STATX_MNT_ID {
        0 => with_nul(name, |name| Ok(mount_of(dir, name)))?,
        _ => Some(buf.stx_mnt_id),
    };
    let stamp = |t: libc::statx_timestamp| FileTime { secs: t.tv_sec, nanos: t.tv_nsec };
    Ok(Stat {
        kind: FileType::of_mode(buf.stx_mode.into()),
        mode: u32::from(buf.stx_mode) & 0o7777,
        uid: buf.stx_uid,
        gid: buf.stx_gid,
        size: buf.stx_size,
        blocks: buf.stx_blocks,
        mtime: stamp(buf.stx_mtime),
        ctime: stamp(buf.stx_ctime),
        ino: buf.stx_ino,
        dev: libc::makedev(buf.stx_dev_major, buf.stx_dev_minor),
        rdev: (buf.stx_rdev_major, buf.stx_rdev_minor),
        nlink: buf.stx_nlink.into(),
        mount,
        is_held: buf.stx_attributes & HELD != 0,
    })
}

#[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // the widths of the fields depend on the architecture
pub(super) fn by_fstatat(dir: BorrowedFd<'_>, name: &[u8], flags: c_int) -> io::Result<Stat> {
    let mut buf = MaybeUninit::<libc::stat>::zeroed();
    with_nul(name, |name| {
        // SAFETY: `name` ends with NUL; `buf` has room for a whole stat.
        cvt(unsafe { libc::fstatat(dir.as_raw_fd(), name.as_ptr(), buf.as_mut_ptr(), flags) })
    })?;
    // SAFETY: all zeros is a valid stat, and the kernel has filled it in.
    let buf = unsafe { buf.assume_init() };
    Ok(Stat {
        kind: FileType::of_mode(buf.st_mode),
        mode: buf.st_mode & 0o7777,
        uid: buf.st_uid,
        gid: buf.st_gid,
        size: buf.st_size as u64,
        blocks: buf.st_blocks as u64,
        mtime: FileTime { secs: buf.st_mtime.into(), nanos: buf.st_mtime_nsec as u32 },
        ctime: FileTime { secs: buf.st_ctime.into(), nanos: buf.st_ctime_nsec as u32 },
        ino: buf.st_ino.into(),
        dev: buf.st_dev.into(),
        rdev: (libc::major(buf.st_rdev), libc::minor(buf.st_rdev)),
        nlink: buf.st_nlink.into(),
        mount: with_nul(name, |name| Ok(mount_of(dir, name)))?,
        is_held: false,
    })
}
