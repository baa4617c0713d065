//! How an interface treats what comes in by it: rtnetlink(7), which needs no file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};

use super::cvt;

/// `RTM_NEWNETCONF` and `RTM_GETNETCONF`, include/uapi/linux/rtnetlink.h.
const RTM_NEWNETCONF: u16 = 80;
const RTM_GETNETCONF: u16 = 82;
/// `NETCONFA_IFINDEX` and `NETCONFA_RP_FILTER`, include/uapi/linux/netconf.h.
const IFINDEX: u16 = 1;
const RP_FILTER: u16 = 3;
/// `NETCONFA_IFINDEX_ALL`.
const ALL: i32 = -1;
/// The length of a `struct nlmsghdr`, and of what comes before the attributes.
const HEADER: usize = 16;
const BEFORE: usize = HEADER + 4;

/// How strictly the kernel drops what comes in by the interface with this index from where it would not answer by it
/// (`rp_filter`): 0 not at all, 1 strictly, 2 only what it would not answer at all.
///
/// # Errors
/// `EOPNOTSUPP` from a kernel that does not tell, `ENODEV`, or that there is no such socket.
pub fn reverse_path_filter(index: u32) -> io::Result<i32> {
    // The stricter of the two: what `all` says counts for each.
    Ok(ask(ALL)?.max(ask(i32::try_from(index).unwrap_or(0))?))
}

fn ask(index: i32) -> io::Result<i32> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket takes three integers and touches no memory of ours.
    let fd = cvt(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
    // SAFETY: the call has just given us this descriptor, and nobody else knows it.
    let mut socket = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let mut request = Vec::new();
    request.extend_from_slice(&(BEFORE as u32 + 8).to_ne_bytes());
    request.extend_from_slice(&RTM_GETNETCONF.to_ne_bytes());
    request.extend_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(&[libc::AF_INET as u8, 0, 0, 0]);
    request.extend_from_slice(&8u16.to_ne_bytes());
    request.extend_from_slice(&IFINDEX.to_ne_bytes());
    request.extend_from_slice(&index.to_ne_bytes());
    socket.write_all(&request)?;
    let mut buffer = [0; 1_024];
    // The kernel answers before the call above returns.
    let length = socket.read(&mut buffer)?;
    answer(&buffer[..length])
}

fn answer(bytes: &[u8]) -> io::Result<i32> {
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let number = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(i32::from_ne_bytes);
    let half = |at: usize| bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes);
    match half(4).ok_or_else(bad)? {
        RTM_NEWNETCONF => {}
        // An nlmsgerr begins with the negative number of the error.
        2 => {
            let code = number(HEADER).and_then(i32::checked_neg).ok_or_else(bad)?;
            return Err(io::Error::from_raw_os_error(code));
        }
        _ => return Err(bad()),
    }
    let mut at = BEFORE;
    while let (Some(length), Some(kind)) = (half(at), half(at + 2)) {
        if kind == RP_FILTER {
            return number(at + 4).ok_or_else(bad);
        }
        at += usize::from(length).max(4).next_multiple_of(4);
    }
    Err(bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_what_proc_has() {
        let read = |name: &str| {
            let path = format!("/proc/sys/net/ipv4/conf/{name}/rp_filter");
            std::fs::read_to_string(path).unwrap().trim().parse::<i32>().unwrap()
        };
        assert_eq!(reverse_path_filter(1).unwrap(), read("all").max(read("lo")));
        let error = reverse_path_filter(1 << 30).unwrap_err();
        assert!(error.raw_os_error().is_some(), "{error}");
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for bytes in [&[][..], &[0; 16], &[0xff; 40]] {
            assert!(answer(bytes).is_err());
        }
    }
}
