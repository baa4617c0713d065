//! Who is at the other end of a Unix socket.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::cvt;
use super::ids::Ids;

/// The most groups that are asked for (`NGROUPS_MAX` in the kernel's uapi/linux/limits.h).
const MAX_GROUPS: usize = 65_536;

/// The effective user and group that the peer had when it connected: `SO_PEERCRED`.
///
/// # Errors
/// What getsockopt(2) says.
pub fn ids(socket: BorrowedFd<'_>) -> io::Result<Ids> {
    let mut cred = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `cred` is writable for `length` bytes through the call.
    cvt(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            ptr::from_mut(&mut cred).cast(),
            &raw mut length,
        )
    })?;
    Ok(Ids { uid: cred.uid, gid: cred.gid })
}

/// The supplementary groups that the peer had when it connected: `SO_PEERGROUPS` (Linux 4.13).
///
/// # Errors
/// `ENOPROTOOPT` from a kernel that does not know the option.
pub fn groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut room = 64;
    loop {
        let mut groups: Vec<libc::gid_t> = vec![0; room];
        let mut length = size_of_val(&groups[..]) as libc::socklen_t;
        // SAFETY: `groups` is writable for `length` bytes through the call.
        let got = cvt(unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        });
        match got {
            Err(error) if error.raw_os_error() == Some(libc::ERANGE) && room < MAX_GROUPS => {
                room = MAX_GROUPS;
            }
            Err(error) => return Err(error),
            Ok(_) => {
                groups.truncate(length as usize / size_of::<libc::gid_t>());
                return Ok(groups);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::sys::ids;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_other_end_is_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(super::ids(one.as_fd()).unwrap(), ids::effective());
        let mut groups = super::groups(one.as_fd()).unwrap();
        groups.sort_unstable();
        groups.dedup();
        assert_eq!(groups, ids::groups().unwrap());
    }
}
