//! Capabilities (`capabilities(7)`): what root's rights are made of, given up as far as they are not
//! needed.

use super::cvt::cvt;
use std::io;

/// A capability, by its number in `include/uapi/linux/capability.h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Cap {
    /// To give files to anybody.
    Chown = 0,
    /// To read, write and pass everything.
    DacOverride = 1,
    /// To read and pass everything.
    DacReadSearch = 2,
    /// To do with other users' files what only their owners may.
    Fowner = 3,
    /// To keep set-group-id bits of groups that one is not in.
    Fsetid = 4,
    /// To make devices.
    Mknod = 27,
}

impl Cap {
    /// Its name, without `CAP_` and in small letters.
    pub fn name(self) -> &'static str {
        match self {
            Cap::Chown => "chown",
            Cap::DacOverride => "dac_override",
            Cap::DacReadSearch => "dac_read_search",
            Cap::Fowner => "fowner",
            Cap::Fsetid => "fsetid",
            Cap::Mknod => "mknod",
        }
    }
}

/// `_LINUX_CAPABILITY_VERSION_3`: 64 bits, in two halves.
const VERSION: u32 = 0x2008_0522;
/// More than the kernel knows; it says where its own end.
const MOST: libc::c_ulong = 64;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn get() -> io::Result<[Half; 2]> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: version 3 fills two halves.
    cvt(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) })?;
    Ok(halves)
}

/// Whether this thread may use a capability. Where that cannot be asked, it is taken for held.
pub fn holds(cap: Cap) -> bool {
    let (half, bit) = (cap as usize / 32, 1u32 << (cap as u32 % 32));
    get().map_or(true, |halves| halves.get(half).is_some_and(|half| half.effective & bit != 0))
}

/// Keeps of this thread's capabilities only those in `keep`, also for what it starts; those that are
/// left.
///
/// # Errors
/// What capget(2), capset(2) or prctl(2) says.
pub fn keep_only(keep: &[Cap]) -> io::Result<Vec<Cap>> {
    let held = get()?;
    let bit = |cap: Cap| (cap as usize / 32, 1u32 << (cap as u32 % 32));
    let left: Vec<Cap> = keep
        .iter()
        .copied()
        .filter(|&cap| {
            let (half, bit) = bit(cap);
            held.get(half).is_some_and(|half| half.permitted & bit != 0)
        })
        .collect();
    // Of the ambient set nothing is left, whatever becomes of the rest; older kernels have none.
    // SAFETY: numbers only.
    let _ = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    for number in 0..MOST {
        if keep.iter().any(|cap| *cap as libc::c_ulong == number) {
            continue;
        }
        // Needs a capability that others than root lack; they gain nothing by that, either.
        // SAFETY: numbers only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) } == -1 {
            break;
        }
    }
    let mut new = [Half::default(); 2];
    for cap in &left {
        let (half, bit) = bit(*cap);
        if let Some(half) = new.get_mut(half) {
            half.effective |= bit;
            half.permitted |= bit;
        }
    }
    let mut header = Header { version: VERSION, pid: 0 };
    // SAFETY: version 3 reads two halves.
    cvt(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, new.as_ptr()) })?;
    Ok(left)
}

/// This thread and those that it starts never gain rights by executing something
/// (`PR_SET_NO_NEW_PRIVS`, prctl(2)).
///
/// # Errors
/// The kernel is older than 3.5.
pub fn forbid_gain() -> io::Result<()> {
    // SAFETY: numbers only.
    cvt(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_gone() {
        // Capabilities belong to a thread.
        std::thread::spawn(|| {
            let before = get().unwrap();
            let left = keep_only(&[Cap::Chown, Cap::Mknod]).unwrap();
            let now = get().unwrap();
            let may = u64::from(before[0].permitted) & (1 | 1 << 27);
            assert_eq!(u64::from(now[0].permitted), may);
            assert_eq!(now[0].effective, now[0].permitted);
            assert_eq!((now[1].permitted, now[0].inheritable), (0, 0));
            assert_eq!(left.contains(&Cap::Chown), may & 1 != 0);
            // There is no way back.
            assert!(keep_only(&[Cap::Fowner]).unwrap().is_empty());
            assert!(keep_only(&[Cap::Chown]).unwrap().is_empty());
            forbid_gain().unwrap();
        })
        .join()
        .unwrap();
    }
}
