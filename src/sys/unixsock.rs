//! The listening Unix socket of the console.

use super::cvt::cvt;
use crate::errno::ErrorText;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// What may wait to be accepted: more than the daemon serves at once.
const BACKLOG: libc::c_int = 128;

/// Why there is no socket to listen at. Each holds the path.
#[derive(Debug)]
pub enum ListenError {
    /// Somebody listens there already.
    InUse(PathBuf),
    /// There is something else than a socket.
    NotSocket(PathBuf),
    /// The path is empty, has a NUL in it, or does not fit an address (107 bytes, unix(7)).
    BadPath(PathBuf),
    /// A call failed: what it was to do, and the errno.
    Failed(PathBuf, &'static str, io::Error),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::InUse(path) => write!(f, "{}: is in use", path.display()),
            ListenError::NotSocket(path) => {
                write!(f, "{}: is there and is not a socket", path.display())
            }
            ListenError::BadPath(path) => {
                write!(f, "{}: cannot be a socket's path: 1 to 107 bytes", path.display())
            }
            ListenError::Failed(path, what, why) => {
                write!(f, "{}: {what}: {}", path.display(), ErrorText(why))
            }
        }
    }
}

impl std::error::Error for ListenError {}

/// Listens at `path` with exactly the permissions `mode` and, if given, this user and group as
/// owners. Nobody can connect before all of this is as asked for.
///
/// A socket that nobody listens at any more is replaced. Two daemons that do this at the same moment
/// might both find the old one: bind the daemon's port first, which only one gets.
///
/// # Errors
/// See [`ListenError`]; after an error, no new socket is left at `path`.
pub fn listen(
    path: &Path,
    mode: u32,
    owner: Option<(u32, u32)>,
) -> Result<UnixListener, ListenError> {
    let failed = |what, why| ListenError::Failed(path.to_owned(), what, why);
    let (address, length) = address(path)?;
    remove_stale(path, &address, length)?;
    let socket = stream_socket(0).map_err(|why| failed("socket", why))?;
    // The file gets the socket's own mode less the umask (unix_bind in the kernel's
    // net/unix/af_unix.c), so that it is never more open than asked for, not even before it listens.
    // SAFETY: numbers only.
    cvt(unsafe { libc::fchmod(socket.as_raw_fd(), mode) }).map_err(|why| failed("fchmod", why))?;
    // SAFETY: `address` is good for `length` bytes.
    cvt(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })
        .map_err(|why| failed("bind", why))?;
    let finish = || {
        set_owner_and_mode(path, mode, owner)?;
        // Until here a connection is refused.
        // SAFETY: numbers only.
        cvt(unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) }).map_err(|why| ("listen", why))
    };
    if let Err((what, why)) = finish() {
        let _ = fs::remove_file(path);
        return Err(failed(what, why));
    }
    Ok(UnixListener::from(socket))
}

/// Makes the file at `path`, if it is a socket, belong to `owner` and have the permissions `mode`. By
/// a descriptor, so that nobody who may write to the directory turns this on another file.
fn set_owner_and_mode(
    path: &Path,
    mode: u32,
    owner: Option<(u32, u32)>,
) -> Result<(), (&'static str, io::Error)> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
        .open(path)
        .map_err(|why| ("open", why))?;
    let meta = |file: &File| file.metadata().map_err(|why| ("fstat", why));
    if !meta(&file)?.file_type().is_socket() {
        return Err(("open", ErrorKind::AlreadyExists.into()));
    }
    if let Some((uid, gid)) = owner {
        // SAFETY: the empty string ends with a NUL.
        let ret = unsafe {
            libc::fchownat(file.as_raw_fd(), c"".as_ptr(), uid, gid, libc::AT_EMPTY_PATH)
        };
        cvt(ret).map_err(|why| ("chown", why))?;
    }
    if meta(&file)?.mode() & 0o7777 != mode {
        // An O_PATH descriptor takes no fchmod(2), but its name in /proc a chmod(2).
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        fs::set_permissions(name, fs::Permissions::from_mode(mode))
            .map_err(|why| ("chmod", why))?;
    }
    Ok(())
}

/// Removes the socket at `path` if nobody listens there.
fn remove_stale(
    path: &Path,
    address: &libc::sockaddr_un,
    length: libc::socklen_t,
) -> Result<(), ListenError> {
    let failed = |what, why| ListenError::Failed(path.to_owned(), what, why);
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => {}
        Ok(_) => return Err(ListenError::NotSocket(path.to_owned())),
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(()),
        Err(why) => return Err(failed("lstat", why)),
    }
    // Without waiting: a listener whose queue is full would have us wait for it.
    let probe = stream_socket(libc::SOCK_NONBLOCK).map_err(|why| failed("socket", why))?;
    // SAFETY: `address` is good for `length` bytes.
    match cvt(unsafe { libc::connect(probe.as_raw_fd(), (&raw const *address).cast(), length) }) {
        Err(why) if why.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|why| failed("unlink", why))
        }
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(()),
        // EAGAIN: the queue is full. EPROTOTYPE: somebody's socket, of another type.
        Err(why)
            if why.kind() == ErrorKind::WouldBlock
                || why.raw_os_error() == Some(libc::EPROTOTYPE) =>
        {
            Err(ListenError::InUse(path.to_owned()))
        }
        Err(why) => Err(failed("connect", why)),
        Ok(_) => Err(ListenError::InUse(path.to_owned())),
    }
}

/// `path` as an address, and the length of that.
fn address(path: &Path) -> Result<(libc::sockaddr_un, libc::socklen_t), ListenError> {
    let bytes = path.as_os_str().as_bytes();
    // SAFETY: integers only, for which zeros are fine.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    // One byte stays zero, to end the path.
    if bytes.is_empty() || bytes.contains(&0) || bytes.len() >= address.sun_path.len() {
        return Err(ListenError::BadPath(path.to_owned()));
    }
    for (place, &byte) in address.sun_path.iter_mut().zip(bytes) {
        *place = byte as libc::c_char;
    }
    Ok((address, mem::size_of::<libc::sockaddr_un>() as libc::socklen_t))
}

fn stream_socket(flags: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags;
    // SAFETY: numbers only.
    let fd = cvt(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::{self, Alone, TempDir};
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixDatagram, UnixStream};

    /// That a client and `listener` can talk.
    fn talk(listener: &UnixListener, path: &Path) {
        let mut client = UnixStream::connect(path).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        drop(client);
        let mut said = String::new();
        server.read_to_string(&mut said).unwrap();
        assert_eq!(said, "hello");
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn the_mode_is_exact_whatever_the_umask() {
        let alone = Alone::new(module_path!(), "the_mode_is_exact_whatever_the_umask");
        alone
            .run(|dir| {
                for umask in [0o000, 0o022, 0o077, 0o777] {
                    // SAFETY: numbers only.
                    unsafe { libc::umask(umask) };
                    let path = dir.join(format!("{umask:o}"));
                    let listener = listen(&path, 0o660, None).unwrap();
                    assert_eq!(mode(&path), 0o660, "{umask:o}");
                    talk(&listener, &path);
                }
            })
            .success();
    }

    #[test]
    fn it_belongs_to_whom_it_should() {
        if !alone::is_root() {
            return alone::skipped("needs root");
        }
        let dir = TempDir::new("unixsock");
        let path = dir.path().join("sock");
        let listener = listen(&path, 0o660, Some((54_321, 54_322))).unwrap();
        let meta = fs::symlink_metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid(), mode(&path)), (54_321, 54_322, 0o660));
        talk(&listener, &path);
    }

    #[test]
    fn others_are_kept_out() {
        if !alone::is_root() {
            return alone::skipped("needs root");
        }
        let alone = Alone::new(module_path!(), "others_are_kept_out");
        alone
            .run(|dir| {
                let path = dir.join("sock");
                let _listener = listen(&path, 0o660, Some((0, 54_322))).unwrap();
                crate::sys::ids::drop_privileges(54_321, 54_321, &[]).unwrap();
                let why = UnixStream::connect(&path).unwrap_err();
                assert_eq!(why.kind(), ErrorKind::PermissionDenied);
                // Nor can they take it for a stale one.
                let why = listen(&path, 0o660, None).unwrap_err();
                assert!(matches!(why, ListenError::Failed(_, "connect", _)), "{why}");
            })
            .success();
    }

    #[test]
    fn an_owner_who_cannot_be_set_leaves_nothing() {
        let alone = Alone::new(module_path!(), "an_owner_who_cannot_be_set_leaves_nothing");
        alone
            .run(|dir| {
                if alone::is_root() {
                    std::os::unix::fs::chown(dir, Some(54_321), None).unwrap();
                    crate::sys::ids::drop_privileges(54_321, 54_321, &[]).unwrap();
                }
                let path = dir.join("sock");
                let why = listen(&path, 0o660, Some((0, 0))).unwrap_err();
                assert!(matches!(why, ListenError::Failed(_, "chown", _)), "{why}");
                assert!(!path.exists());
            })
            .success();
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = TempDir::new("unixsock");
        let path = dir.path().join("sock");
        drop(listen(&path, 0o600, None).unwrap());
        assert!(path.exists());
        let listener = listen(&path, 0o660, None).unwrap();
        assert_eq!(mode(&path), 0o660);
        let why = listen(&path, 0o660, None).unwrap_err();
        assert!(matches!(why, ListenError::InUse(_)), "{why}");
        assert_eq!(why.to_string(), format!("{}: is in use", path.display()));
        // The probe is a client that has gone already.
        assert_eq!(listener.accept().unwrap().0.read(&mut [0]).unwrap(), 0);
        talk(&listener, &path);
    }

    #[test]
    fn a_live_socket_with_a_full_queue_is_in_use() {
        let dir = TempDir::new("unixsock");
        let path = dir.path().join("sock");
        let listener = listen(&path, 0o600, None).unwrap();
        // SAFETY: numbers only; this shortens the queue.
        cvt(unsafe { libc::listen(listener.as_raw_fd(), 0) }).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        let why = listen(&path, 0o660, None).unwrap_err();
        assert!(matches!(why, ListenError::InUse(_)), "{why}");
    }

    #[test]
    fn what_is_no_stream_socket_stays() {
        let dir = TempDir::new("unixsock");
        let path = dir.path().join("file");
        fs::write(&path, "precious").unwrap();
        let why = listen(&path, 0o660, None).unwrap_err();
        assert!(matches!(why, ListenError::NotSocket(_)), "{why}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(matches!(listen(&link, 0o660, None), Err(ListenError::NotSocket(_))));
        let datagram = dir.path().join("datagram");
        let _other = UnixDatagram::bind(&datagram).unwrap();
        assert!(matches!(listen(&datagram, 0o660, None), Err(ListenError::InUse(_))));
        assert!(datagram.exists());
    }

    #[test]
    fn paths_that_fit_no_address_are_refused() {
        for path in ["", "a\0b", &"x".repeat(108)] {
            let why = listen(Path::new(path), 0o660, None).unwrap_err();
            assert!(matches!(why, ListenError::BadPath(_)), "{path:?}: {why}");
        }
        let missing = TempDir::new("unixsock").path().join("no/such/directory");
        let why = listen(&missing, 0o660, None).unwrap_err();
        assert!(matches!(why, ListenError::Failed(_, "bind", _)), "{why}");
    }
}
