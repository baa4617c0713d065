//! File-system calls relative to an open directory.
//!
//! A *name* here is one component, as bytes without NUL; no call follows a symbolic link in it. What
//! a kernel lacks (`openat2`, `statx`, `renameat2`, `fchmodat2`) is found out once and done without,
//! with the same meaning. libc's own wrappers of those are not used: they would tie the program to a
//! newer C library than the rest of it needs.

use std::ffi::CString;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use libc::{c_char, c_int, c_long, c_uint};

use crate::wire::manifest::Stamp;

/// Flags that open a directory only to name what is in it. No permission to read it is needed.
pub const PATH_ONLY: c_int = libc::O_PATH | libc::O_DIRECTORY;
/// Flags that open a directory to list or sync it.
pub const LISTING: c_int = libc::O_RDONLY | libc::O_DIRECTORY;

/// What a file-system object is.
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
    /// Something else, or a listing that does not say.
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
    fn of_dirent(byte: u8) -> Self {
        FileType::of_mode(u32::from(byte) << 12)
    }
}

/// What `statx` says of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stat {
    /// What it is.
    pub kind: FileType,
    /// Its permission bits (the low twelve).
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its size in bytes.
    pub size: u64,
    /// The space it takes, in units of 512 bytes.
    pub blocks: u64,
    /// When its content last changed.
    pub mtime: Stamp,
    /// When anything about it last changed.
    pub ctime: Stamp,
    /// Its inode number.
    pub ino: u64,
    /// The device it is on.
    pub dev: u64,
    /// Major and minor number, if it is a device.
    pub rdev: (u32, u32),
    /// How many names it has.
    pub nlink: u64,
    /// The mount it was reached by; None before Linux 5.8.
    pub mount: Option<u64>,
}

/// What a rename does with the new name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rename {
    /// Whatever has it goes.
    Replace,
    /// It must be free.
    NoReplace,
    /// Both names must exist, and change places.
    Exchange,
}

fn cvt(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn cvt_long(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn errno(error: &io::Error) -> c_int {
    error.raw_os_error().unwrap_or(0)
}

/// Calls `f` with `bytes` and a NUL behind them; short ones are copied to the stack.
fn with_nul<T>(bytes: &[u8], f: impl FnOnce(*const c_char) -> io::Result<T>) -> io::Result<T> {
    const SHORT: usize = 384;
    if bytes.contains(&0) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut short = [0u8; SHORT];
    match short.get_mut(..bytes.len()) {
        Some(room) if bytes.len() < SHORT => {
            room.copy_from_slice(bytes);
            f(short.as_ptr().cast())
        }
        _ => f(CString::new(bytes)?.as_ptr()),
    }
}

/// A call that the kernel may lack, or that a filter of system calls may refuse.
struct Optional(OnceLock<bool>);

impl Optional {
    const fn new() -> Self {
        Optional(OnceLock::new())
    }

    /// Whether it is there, found out by what it says of the descriptor -1: EBADF if it is.
    fn usable(&self, probe: impl FnOnce(c_int) -> c_long) -> bool {
        *self.0.get_or_init(|| {
            probe(-1) < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EBADF)
        })
    }
}

static OPENAT2: Optional = Optional::new();
static STATX: Optional = Optional::new();
static RENAMEAT2: Optional = Optional::new();
static FCHMODAT2: Optional = Optional::new();

// `struct open_how` of include/uapi/linux/openat2.h.
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// Opens the directory at `path` below `dir`. No component may be a symbolic link, the last one
/// neither; mount points are crossed. The empty path is `dir` itself.
///
/// # Errors
/// ELOOP if a component is a symbolic link, and only then; ENOTDIR, ENOENT, EACCES as usual.
pub fn open_beneath(dir: BorrowedFd<'_>, path: &[u8], flags: c_int) -> io::Result<OwnedFd> {
    let probe = |fd| openat2(fd, c"x".as_ptr(), PATH_ONLY);
    if !OPENAT2.usable(probe) {
        return open_beneath_by_steps(dir, path, flags);
    }
    with_nul(if path.is_empty() { b"." } else { path }, |path| {
        let fd = retry(|| cvt_long(openat2(dir.as_raw_fd(), path, flags)))?;
        // SAFETY: the call has just made this descriptor, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
    })
}

fn openat2(dir: c_int, path: *const c_char, flags: c_int) -> c_long {
    const NO_MAGICLINKS: u64 = 0x02;
    const NO_SYMLINKS: u64 = 0x04;
    const BENEATH: u64 = 0x08;
    let how = OpenHow {
        flags: (flags | libc::O_DIRECTORY | libc::O_CLOEXEC) as u64,
        mode: 0,
        resolve: NO_MAGICLINKS | NO_SYMLINKS | BENEATH,
    };
    // SAFETY: every caller's `path` ends with NUL; `how` is a whole open_how, of the stated size.
    unsafe { libc::syscall(libc::SYS_openat2, dir, path, &raw const how, size_of::<OpenHow>()) }
}

/// [`open_beneath`], one component at a time: what is done where there is no `openat2`.
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
            // O_NOFOLLOW with O_DIRECTORY says ENOTDIR of a link.
            match stat_at(here, name) {
                Ok(stat) if errno(&error) == libc::ENOTDIR && stat.kind == FileType::Symlink => {
                    io::Error::from_raw_os_error(libc::ELOOP)
                }
                _ => error,
            }
        })?;
        at = Some(next);
    }
    // `split` gives one component at least.
    at.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
}

/// Opens `name` in `dir` with `flags` and, if that makes a file, `mode`.
///
/// # Errors
/// Those of `openat`; ELOOP if it is a symbolic link (ENOTDIR with `O_DIRECTORY`).
pub fn open_at(dir: BorrowedFd<'_>, name: &[u8], flags: c_int, mode: u32) -> io::Result<OwnedFd> {
    let flags = flags | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    with_nul(name, |name| {
        retry(|| {
            // SAFETY: `name` ends with NUL; a mode is passed as the variadic call wants it.
            let fd = cvt(unsafe { libc::openat(dir.as_raw_fd(), name, flags, mode) })?;
            // SAFETY: the call has just made this descriptor, and nobody else has it.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        })
    })
}

/// Looks at `name` in `dir`.
///
/// # Errors
/// Those of `statx`.
pub fn stat_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Stat> {
    stat(dir, name, libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT)
}

/// Looks at what `fd` is open on; it may be open for its path only.
///
/// # Errors
/// Those of `statx`.
pub fn stat_fd(fd: BorrowedFd<'_>) -> io::Result<Stat> {
    stat(fd, b"", libc::AT_EMPTY_PATH)
}

fn stat(dir: BorrowedFd<'_>, name: &[u8], flags: c_int) -> io::Result<Stat> {
    let mut unused = MaybeUninit::zeroed();
    if STATX.usable(|fd| statx(fd, c"".as_ptr(), libc::AT_EMPTY_PATH, &mut unused)) {
        by_statx(dir, name, flags)
    } else {
        by_fstatat(dir, name, flags)
    }
}

fn statx(
    dir: c_int,
    name: *const c_char,
    flags: c_int,
    buf: &mut MaybeUninit<libc::statx>,
) -> c_long {
    let mask = libc::STATX_BASIC_STATS | libc::STATX_MNT_ID;
    // SAFETY: every caller's `name` ends with NUL; `buf` has room for a whole statx.
    unsafe { libc::syscall(libc::SYS_statx, dir, name, flags, mask, buf.as_mut_ptr()) }
}

fn by_statx(dir: BorrowedFd<'_>, name: &[u8], flags: c_int) -> io::Result<Stat> {
    let mut buf = MaybeUninit::zeroed();
    with_nul(name, |name| cvt_long(statx(dir.as_raw_fd(), name, flags, &mut buf)))?;
    // SAFETY: it was zeroed, which is a valid statx, and then filled in by the kernel.
    let buf = unsafe { buf.assume_init() };
    let stamp = |t: libc::statx_timestamp| Stamp { secs: t.tv_sec, nanos: t.tv_nsec };
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
        mount: (buf.stx_mask & libc::STATX_MNT_ID != 0).then_some(buf.stx_mnt_id),
    })
}

#[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // the fields' widths differ by machine
fn by_fstatat(dir: BorrowedFd<'_>, name: &[u8], flags: c_int) -> io::Result<Stat> {
    let mut buf = MaybeUninit::<libc::stat>::zeroed();
    with_nul(name, |name| {
        // SAFETY: `name` ends with NUL; `buf` has room for a whole stat.
        cvt(unsafe { libc::fstatat(dir.as_raw_fd(), name, buf.as_mut_ptr(), flags) })
    })?;
    // SAFETY: it was zeroed, which is a valid stat, and then filled in by the kernel.
    let buf = unsafe { buf.assume_init() };
    Ok(Stat {
        kind: FileType::of_mode(buf.st_mode),
        mode: buf.st_mode & 0o7777,
        uid: buf.st_uid,
        gid: buf.st_gid,
        size: buf.st_size as u64,
        blocks: buf.st_blocks as u64,
        mtime: Stamp { secs: buf.st_mtime.into(), nanos: buf.st_mtime_nsec as u32 },
        ctime: Stamp { secs: buf.st_ctime.into(), nanos: buf.st_ctime_nsec as u32 },
        ino: buf.st_ino.into(),
        dev: buf.st_dev.into(),
        rdev: (libc::major(buf.st_rdev), libc::minor(buf.st_rdev)),
        nlink: buf.st_nlink.into(),
        mount: None,
    })
}

/// Makes a directory.
///
/// # Errors
/// Those of `mkdirat`.
pub fn mkdir_at(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> io::Result<()> {
    with_nul(name, |name| {
        // SAFETY: `name` ends with NUL.
        cvt(unsafe { libc::mkdirat(dir.as_raw_fd(), name, mode) }).map(drop)
    })
}

/// Makes a FIFO or a device; `rdev` is its major and minor number.
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
        cvt(unsafe { libc::mknodat(dir.as_raw_fd(), name, bits | mode, dev) }).map(drop)
    })
}

/// Makes a symbolic link to `target`.
///
/// # Errors
/// Those of `symlinkat`.
pub fn symlink_at(target: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    with_nul(target, |target| {
        with_nul(name, |name| {
            // SAFETY: both end with NUL.
            cvt(unsafe { libc::symlinkat(target, dir.as_raw_fd(), name) }).map(drop)
        })
    })
}

/// What a symbolic link points to.
///
/// # Errors
/// Those of `readlinkat`.
pub fn readlink_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut buf = vec![0u8; libc::PATH_MAX as usize];
    let len = with_nul(name, |name| {
        let room: *mut c_char = buf.as_mut_ptr().cast();
        // SAFETY: `name` ends with NUL; `buf` is as long as stated.
        let len = unsafe { libc::readlinkat(dir.as_raw_fd(), name, room, buf.len()) };
        cvt_long(len as c_long)
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

fn remove(dir: BorrowedFd<'_>, name: &[u8], flags: c_int) -> io::Result<()> {
    with_nul(name, |name| {
        // SAFETY: `name` ends with NUL.
        cvt(unsafe { libc::unlinkat(dir.as_raw_fd(), name, flags) }).map(drop)
    })
}

/// Renames `name` in `dir` to `new` in `to`.
///
/// # Errors
/// Those of `renameat2`. EINVAL where the kernel or the file system has no [`Rename::Exchange`];
/// [`Rename::NoReplace`] is then done by looking first, which another process can slip past.
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
                    let result =
                        unsafe { libc::renameat(dir.as_raw_fd(), name, to.as_raw_fd(), new) };
                    cvt(result).map(drop)
                })
            });
        }
        Rename::NoReplace => libc::RENAME_NOREPLACE,
        Rename::Exchange => libc::RENAME_EXCHANGE,
    };
    let x = c"x".as_ptr();
    if RENAMEAT2.usable(|fd| renameat2(fd, x, fd, x, flags)) {
        let result = with_nul(name, |name| {
            with_nul(new, |new| {
                cvt_long(renameat2(dir.as_raw_fd(), name, to.as_raw_fd(), new, flags)).map(drop)
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

fn renameat2(
    dir: c_int,
    name: *const c_char,
    to: c_int,
    new: *const c_char,
    flags: c_uint,
) -> c_long {
    // SAFETY: every caller's names end with NUL.
    unsafe { libc::syscall(libc::SYS_renameat2, dir, name, to, new, flags) }
}

fn id(id: Option<u32>) -> u32 {
    id.unwrap_or(u32::MAX) // chown's "leave it"
}

/// Gives `name` in `dir` to `uid` and `gid`, where stated.
///
/// # Errors
/// Those of `fchownat`.
pub fn chown_at(
    dir: BorrowedFd<'_>,
    name: &[u8],
    uid: Option<u32>,
    gid: Option<u32>,
) -> io::Result<()> {
    with_nul(name, |name| {
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        // SAFETY: `name` ends with NUL.
        cvt(unsafe { libc::fchownat(dir.as_raw_fd(), name, id(uid), id(gid), flags) }).map(drop)
    })
}

/// Gives what `fd` is open on, even for its path only, to `uid` and `gid`, where stated.
///
/// # Errors
/// Those of `fchownat`.
pub fn chown_fd(fd: BorrowedFd<'_>, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    // SAFETY: the path is a constant that ends with NUL.
    let result = unsafe {
        libc::fchownat(fd.as_raw_fd(), c"".as_ptr(), id(uid), id(gid), libc::AT_EMPTY_PATH)
    };
    cvt(result).map(drop)
}

/// Sets the permission bits of what `fd` is open on for reading or writing.
///
/// # Errors
/// Those of `fchmod`; EBADF if it is open for its path only.
pub fn chmod_fd(fd: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    // SAFETY: no memory is passed.
    cvt(unsafe { libc::fchmod(fd.as_raw_fd(), mode) }).map(drop)
}

/// Sets the permission bits of `name` in `dir`, which `fd` is open on, if only for its path.
///
/// # Errors
/// Those of `fchmodat2`. Before Linux 6.6 and where `/proc` is not mounted: EOPNOTSUPP for anything
/// but files, directories and FIFOs; EACCES for what may not be opened; ESTALE if `name` is no longer
/// what `fd` is open on.
pub fn chmod_at(dir: BorrowedFd<'_>, name: &[u8], fd: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    if FCHMODAT2.usable(|fd| fchmodat2(fd, mode)) {
        return cvt_long(fchmodat2(fd.as_raw_fd(), mode)).map(drop);
    }
    let by_proc = chmod_by_proc(fd, mode);
    match &by_proc {
        Err(e) if errno(e) == libc::ENOENT => chmod_by_opening(dir, name, fd, mode),
        _ => by_proc,
    }
}

fn chmod_by_proc(fd: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    with_nul(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_bytes(), |path| {
        // SAFETY: `path` ends with NUL.
        cvt(unsafe { libc::chmod(path, mode) }).map(drop)
    })
}

fn chmod_by_opening(
    dir: BorrowedFd<'_>,
    name: &[u8],
    fd: BorrowedFd<'_>,
    mode: u32,
) -> io::Result<()> {
    let stat = stat_fd(fd)?;
    // To open a device can do things.
    if !matches!(stat.kind, FileType::File | FileType::Directory | FileType::Fifo) {
        return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    }
    let opened = open_at(dir, name, libc::O_RDONLY | libc::O_NONBLOCK, 0)
        .or_else(|_| open_at(dir, name, libc::O_WRONLY | libc::O_NONBLOCK, 0))?;
    let found = stat_fd(opened.as_fd())?;
    if (found.dev, found.ino) != (stat.dev, stat.ino) {
        return Err(io::Error::from_raw_os_error(libc::ESTALE));
    }
    chmod_fd(opened.as_fd(), mode)
}

/// Sets the permission bits of `name` in `dir`, a directory in which nobody else can make anything:
/// of a link it would change what that leads to.
///
/// # Errors
/// Those of `fchmodat`.
pub fn chmod_private(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> io::Result<()> {
    with_nul(name, |name| {
        // SAFETY: `name` ends with NUL.
        cvt(unsafe { libc::fchmodat(dir.as_raw_fd(), name, mode, 0) }).map(drop)
    })
}

fn fchmodat2(fd: c_int, mode: u32) -> c_long {
    let (empty, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
    // SAFETY: the path is a constant that ends with NUL.
    unsafe { libc::syscall(libc::SYS_fchmodat2, fd, empty, mode, flags) }
}

fn times(mtime: Stamp) -> [libc::timespec; 2] {
    let atime = libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT };
    let mtime = libc::timespec {
        tv_sec: mtime.secs as libc::time_t,
        tv_nsec: c_long::from(mtime.nanos.min(999_999_999) as i32),
    };
    [atime, mtime]
}

/// Sets the mtime of `name` in `dir`, and no other time.
///
/// # Errors
/// Those of `utimensat`.
pub fn set_mtime_at(dir: BorrowedFd<'_>, name: &[u8], mtime: Stamp) -> io::Result<()> {
    let times = times(mtime);
    with_nul(name, |name| {
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        // SAFETY: `name` ends with NUL; `times` has the two elements that the call reads.
        cvt(unsafe { libc::utimensat(dir.as_raw_fd(), name, times.as_ptr(), flags) }).map(drop)
    })
}

/// Sets the mtime of what `fd` is open on for reading or writing, and no other time.
///
/// # Errors
/// Those of `futimens`.
pub fn set_mtime_fd(fd: BorrowedFd<'_>, mtime: Stamp) -> io::Result<()> {
    let times = times(mtime);
    // SAFETY: `times` has the two elements that the call reads.
    cvt(unsafe { libc::futimens(fd.as_raw_fd(), times.as_ptr()) }).map(drop)
}

/// Calls `each` with every name in the directory `fd`, but `.` and `..`, in the order in which the
/// file system gives them, and what it is, as far as the listing says. Reads on from where `fd` is.
///
/// # Errors
/// Those of `getdents64`; the names before it have been given.
pub fn list(fd: BorrowedFd<'_>, mut each: impl FnMut(&[u8], FileType)) -> io::Result<()> {
    // `struct linux_dirent64` (fs/readdir.c): inode 8, offset 8, length of the record 2, type 1, name.
    const LEN: usize = 16;
    const TYPE: usize = 18;
    const NAME: usize = 19;
    let mut buf = vec![0u8; 32 << 10];
    loop {
        let got = retry(|| {
            // SAFETY: `buf` is as long as stated.
            cvt_long(unsafe {
                libc::syscall(libc::SYS_getdents64, fd.as_raw_fd(), buf.as_mut_ptr(), buf.len())
            })
        })?;
        let mut rest = buf.get(..got as usize).unwrap_or(&[]);
        if rest.is_empty() {
            return Ok(());
        }
        while let Some(&[low, high]) = rest.get(LEN..LEN + 2) {
            let len = usize::from(u16::from_ne_bytes([low, high])).max(NAME);
            let (record, next) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            let name = record.get(NAME..).unwrap_or(&[]).split(|&b| b == 0).next().unwrap_or(&[]);
            if !matches!(name, b"" | b"." | b"..") {
                each(name, FileType::of_dirent(record.get(TYPE).copied().unwrap_or(0)));
            }
            rest = next;
        }
    }
}

/// Where, from `offset` on, `fd` has data next; None if there is none.
///
/// # Errors
/// Those of `lseek`; EINVAL where the file system does not know.
pub fn seek_data(fd: BorrowedFd<'_>, offset: u64) -> io::Result<Option<u64>> {
    match seek(fd, offset, libc::SEEK_DATA) {
        Err(e) if errno(&e) == libc::ENXIO => Ok(None),
        other => other.map(Some),
    }
}

/// Where, from `offset` on, `fd` has a hole next, or ends.
///
/// # Errors
/// Those of `lseek`.
pub fn seek_hole(fd: BorrowedFd<'_>, offset: u64) -> io::Result<u64> {
    seek(fd, offset, libc::SEEK_HOLE)
}

fn seek(fd: BorrowedFd<'_>, offset: u64, whence: c_int) -> io::Result<u64> {
    let offset = i64::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: no memory is passed.
    let at = unsafe { libc::lseek64(fd.as_raw_fd(), offset, whence) };
    u64::try_from(at).map_err(|_| io::Error::last_os_error())
}

/// Writes all of the file system of `fd` to its device.
///
/// # Errors
/// Those of `syncfs`.
pub fn sync_fs(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is passed.
    cvt(unsafe { libc::syncfs(fd.as_raw_fd()) }).map(drop)
}

/// Writes what `fd` is open on to its device, its attributes too.
///
/// # Errors
/// Those of `fsync`.
pub fn sync_fd(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is passed.
    cvt(unsafe { libc::fsync(fd.as_raw_fd()) }).map(drop)
}

/// Lets the kernel begin to write what `fd` holds, and does not wait. It may well do nothing.
pub fn start_writeback(fd: BorrowedFd<'_>) {
    // SAFETY: no memory is passed. A failure costs time later, nothing else.
    let _ = unsafe { libc::sync_file_range(fd.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Reads from `offset` on into `slices`, in order, 1,024 of them at most; how many bytes came.
///
/// # Errors
/// Those of `preadv`.
pub fn read_vectored_at(
    fd: BorrowedFd<'_>,
    slices: &mut [IoSliceMut<'_>],
    offset: u64,
) -> io::Result<usize> {
    let offset = i64::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let count = slices.len().min(libc::UIO_MAXIOV as usize) as c_int;
    retry(|| {
        // SAFETY: an IoSliceMut is laid out as an iovec, and `count` of them are there.
        let got =
            unsafe { libc::preadv64(fd.as_raw_fd(), slices.as_mut_ptr().cast(), count, offset) };
        usize::try_from(got).map_err(|_| io::Error::last_os_error())
    })
}

/// Takes the lock of what `fd` is open on, for as long as this opening of it lives.
///
/// # Errors
/// EWOULDBLOCK if another process has it.
pub fn lock(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is passed.
    cvt(unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }).map(drop)
}

/// Sets which permission bits new files of this process do not get; what was set before.
pub fn umask(mask: u32) -> u32 {
    // SAFETY: no memory is passed, and the call cannot fail.
    unsafe { libc::umask(mask) }
}

/// The ids by which the kernel judges this process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProcessIds {
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// The other groups, ascending.
    pub groups: Vec<u32>,
}

/// The ids of this process now.
///
/// # Errors
/// Those of `getgroups`.
pub fn process_ids() -> io::Result<ProcessIds> {
    // SAFETY: neither call takes memory or can fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    // NGROUPS_MAX of include/uapi/linux/limits.h; more cannot be.
    let mut groups = vec![0u32; 65_536];
    // SAFETY: `groups` has as many elements as stated.
    let count = cvt(unsafe { libc::getgroups(groups.len() as c_int, groups.as_mut_ptr()) })?;
    groups.truncate(count as usize);
    groups.shrink_to_fit();
    groups.sort_unstable();
    Ok(ProcessIds { uid, gid, groups })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Dir(PathBuf, OwnedFd);

    impl Dir {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("fsat-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir(&path).unwrap();
            let fd = std::fs::File::open(&path).unwrap().into();
            Dir(path, fd)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn both_ways_to_open_below_agree() {
        let dir = Dir::new("beneath");
        std::fs::create_dir_all(dir.0.join("a/b")).unwrap();
        std::fs::write(dir.0.join("a/file"), b"").unwrap();
        symlink("a", dir.0.join("link")).unwrap();
        symlink("b", dir.0.join("a/blink")).unwrap();
        symlink("nowhere", dir.0.join("dangling")).unwrap();
        let cases: [(&[u8], c_int); 11] = [
            (b"", 0),
            (b"a", 0),
            (b"a/b", 0),
            (b"a/file", libc::ENOTDIR),
            (b"a/file/x", libc::ENOTDIR),
            (b"a/none", libc::ENOENT),
            (b"link", libc::ELOOP),
            (b"link/b", libc::ELOOP),
            (b"a/blink", libc::ELOOP),
            (b"dangling/x", libc::ELOOP),
            (b"a/../..", libc::EXDEV),
        ];
        for flags in [PATH_ONLY, LISTING] {
            for (path, want) in cases {
                let by_call = open_beneath(dir.1.as_fd(), path, flags);
                let by_steps = open_beneath_by_steps(dir.1.as_fd(), path, flags);
                for got in [by_call, by_steps] {
                    assert_eq!(got.map_or_else(|e| errno(&e), |_| 0), want, "{path:?}");
                }
            }
        }
    }

    #[test]
    fn both_ways_to_look_agree() {
        let dir = Dir::new("stat");
        std::fs::write(dir.0.join("f"), b"12345").unwrap();
        symlink("f", dir.0.join("l")).unwrap();
        for name in [&b"f"[..], b"l", b"."] {
            let flags = libc::AT_SYMLINK_NOFOLLOW;
            let new = by_statx(dir.1.as_fd(), name, flags).unwrap();
            let old = by_fstatat(dir.1.as_fd(), name, flags).unwrap();
            assert_eq!(Stat { mount: None, ..new }, old);
        }
        let link = stat_at(dir.1.as_fd(), b"l").unwrap();
        assert_eq!((link.kind, link.size), (FileType::Symlink, 1));
        assert_eq!(readlink_at(dir.1.as_fd(), b"l").unwrap(), b"f");
    }

    #[test]
    fn every_name_is_listed_whatever_its_bytes() {
        let dir = Dir::new("list");
        let mut want: Vec<Vec<u8>> = (0..3_000).map(|n| format!("{n:0>60}").into_bytes()).collect();
        want.extend([b"new\nline".to_vec(), b"\xff\xfe".to_vec(), vec![b'x'; 255]]);
        for name in &want {
            drop(open_at(dir.1.as_fd(), name, libc::O_CREAT | libc::O_WRONLY, 0o600).unwrap());
        }
        let mut got = Vec::new();
        list(dir.1.as_fd(), |name, kind| {
            assert!(matches!(kind, FileType::File | FileType::Unknown));
            got.push(name.to_vec());
        })
        .unwrap();
        got.sort_unstable();
        want.sort_unstable();
        assert_eq!(got, want);
    }

    #[test]
    fn no_way_to_set_a_mode_goes_through_a_link() {
        let dir = Dir::new("chmod");
        let at = dir.1.as_fd();
        std::fs::write(dir.0.join("f"), b"").unwrap();
        std::fs::write(dir.0.join("other"), b"").unwrap();
        std::fs::create_dir(dir.0.join("d")).unwrap();
        symlink("f", dir.0.join("l")).unwrap();
        let path = |name: &[u8]| open_at(at, name, libc::O_PATH, 0).unwrap();
        let (file, link, sub) = (path(b"f"), path(b"l"), path(b"d"));
        chmod_at(at, b"f", file.as_fd(), 0o640).unwrap();
        let _ = chmod_at(at, b"l", link.as_fd(), 0o777);
        let _ = chmod_by_proc(link.as_fd(), 0o777);
        let _ = chmod_by_opening(at, b"l", link.as_fd(), 0o777);
        // As if a link, or something else, had taken its place.
        let taken = chmod_by_opening(at, b"l", file.as_fd(), 0o777).unwrap_err();
        assert_eq!(errno(&taken), libc::ELOOP);
        let taken = chmod_by_opening(at, b"other", file.as_fd(), 0o777).unwrap_err();
        assert_eq!(errno(&taken), libc::ESTALE);
        assert_eq!(stat_at(at, b"f").unwrap().mode, 0o640);
        chmod_by_proc(file.as_fd(), 0o604).unwrap();
        assert_eq!(stat_fd(file.as_fd()).unwrap().mode, 0o604);
        chmod_by_opening(at, b"f", file.as_fd(), 0o614).unwrap();
        assert_eq!(stat_fd(file.as_fd()).unwrap().mode, 0o614);
        chmod_by_opening(at, b"d", sub.as_fd(), 0o711).unwrap();
        assert_eq!(stat_fd(sub.as_fd()).unwrap().mode, 0o711);
        chmod_private(at, b"f", 0o600).unwrap();
        assert_eq!(stat_fd(file.as_fd()).unwrap().mode, 0o600);
    }

    #[test]
    fn a_rename_replaces_spares_or_swaps() {
        let dir = Dir::new("rename");
        let fd = dir.1.as_fd();
        std::fs::write(dir.0.join("a"), b"a").unwrap();
        std::fs::create_dir(dir.0.join("d")).unwrap();
        let spared = rename_at(fd, b"a", fd, b"d", Rename::NoReplace).unwrap_err();
        assert_eq!(errno(&spared), libc::EEXIST);
        match rename_at(fd, b"a", fd, b"d", Rename::Exchange) {
            Ok(()) => assert_eq!(std::fs::read(dir.0.join("d")).unwrap(), b"a"),
            Err(e) => assert_eq!(errno(&e), libc::EINVAL), // this file system cannot
        }
        std::fs::write(dir.0.join("x"), b"x").unwrap();
        std::fs::write(dir.0.join("y"), b"y").unwrap();
        rename_at(fd, b"x", fd, b"y", Rename::Replace).unwrap();
        assert_eq!(std::fs::read(dir.0.join("y")).unwrap(), b"x");
    }

    #[test]
    fn times_keep_their_nanoseconds_and_names_their_bounds() {
        let dir = Dir::new("times");
        std::fs::write(dir.0.join("f"), b"").unwrap();
        let stamp = Stamp { secs: 1_234_567_891, nanos: 123_456_789 };
        set_mtime_at(dir.1.as_fd(), b"f", stamp).unwrap();
        assert_eq!(stat_at(dir.1.as_fd(), b"f").unwrap().mtime.secs, stamp.secs);
        assert_eq!(errno(&stat_at(dir.1.as_fd(), b"a\0b").unwrap_err()), libc::EINVAL);
        assert_eq!(errno(&stat_at(dir.1.as_fd(), &[b'x'; 383]).unwrap_err()), libc::ENAMETOOLONG);
        assert_eq!(errno(&stat_at(dir.1.as_fd(), &[b'x'; 384]).unwrap_err()), libc::ENAMETOOLONG);
    }
}
