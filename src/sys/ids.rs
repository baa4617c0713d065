//! Who this process is, giving that up for good, and the limits that go with it.

use super::cvt::cvt;
use std::io::{self, ErrorKind};

/// What setresuid(2) and its kin take for "leave it as it is".
const UNCHANGED: u32 = u32::MAX;
/// The most supplementary groups (`NGROUPS_MAX` in the kernel's uapi/linux/limits.h).
const MAX_GROUPS: usize = 65_536;

/// The effective ids of this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ids {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// The effective user and group.
pub fn effective() -> Ids {
    // SAFETY: neither takes anything, and neither can fail.
    unsafe { Ids { uid: libc::geteuid(), gid: libc::getegid() } }
}

/// The supplementary groups of this process, sorted, each once.
///
/// # Errors
/// What getgroups(2) says.
pub fn groups() -> io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; MAX_GROUPS];
    let room = libc::c_int::try_from(MAX_GROUPS).unwrap_or(libc::c_int::MAX);
    // SAFETY: `groups` is writable for `room` entries.
    let count = cvt(unsafe { libc::getgroups(room, groups.as_mut_ptr()) })?;
    groups.truncate(usize::try_from(count).unwrap_or(0));
    groups.sort_unstable();
    groups.dedup();
    Ok(groups)
}

/// Becomes user `uid` with group `gid` and the supplementary groups `groups`, in the real, effective
/// and saved ids of all threads, and makes sure that there is no way back: not by setuid(2), not by
/// setgid(2), not by a capability kept.
///
/// Without root's rights this changes nothing, and is fine only if the ids are right already and
/// each of `groups` is held.
///
/// # Errors
/// The step that failed, with its errno's text; `PermissionDenied` if this is not root and not the
/// one asked for. After an error the process may be half one and half the other: end it.
pub fn drop_privileges(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    if uid == UNCHANGED || gid == UNCHANGED || groups.contains(&UNCHANGED) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "4294967295 is not an id"));
    }
    if effective().uid != 0 {
        return check_unprivileged(uid, gid, groups);
    }
    let step = |name: &'static str, ret| match cvt(ret) {
        Ok(_) => Ok(()),
        Err(why) => Err(io::Error::new(why.kind(), format!("{name}: {why}"))),
    };
    // In this order: the user goes last, because only root may do the others.
    // SAFETY: `groups` is readable for its length, and gid_t is u32.
    step("setgroups", unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
    // SAFETY: numbers only.
    step("setresgid", unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: numbers only.
    step("setresuid", unsafe { libc::setresuid(uid, uid, uid) })?;
    verify(uid, gid, groups)
}

/// That this process, which may not change its ids, is who it should be.
fn check_unprivileged(uid: u32, gid: u32, wanted: &[u32]) -> io::Result<()> {
    let denied = |text| Err(io::Error::new(ErrorKind::PermissionDenied, text));
    let (uids, gids) = (all_uids()?, all_gids()?);
    if uids != [uid; 3] || gids != [gid; 3] {
        let Ids { uid: own_uid, gid: own_gid } = effective();
        return denied(format!(
            "only root can become user {uid} with group {gid}; this is user {own_uid} with group \
             {own_gid}"
        ));
    }
    let held = groups()?;
    match wanted.iter().find(|&&group| group != gid && !held.contains(&group)) {
        Some(group) => denied(format!("only root can join group {group}")),
        None => Ok(()),
    }
}

/// That the ids are as asked for everywhere and that root is out of reach.
fn verify(uid: u32, gid: u32, wanted: &[u32]) -> io::Result<()> {
    let kept = |what| Err(io::Error::new(ErrorKind::PermissionDenied, what));
    if all_uids()? != [uid; 3] || all_gids()? != [gid; 3] {
        return kept("a real, effective or saved id is still the old one");
    }
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    if groups()? != wanted {
        return kept("the supplementary groups are still the old ones");
    }
    if uid == 0 {
        return Ok(());
    }
    // SAFETY: numbers only; a success is an error here, and the process is to end.
    if unsafe { libc::setuid(0) } == 0 {
        return kept("still able to become root");
    }
    // Needs CAP_SETGID, or group 0 among the real and saved ones, which are `gid`.
    // SAFETY: as above.
    if gid != 0 && unsafe { libc::setgid(0) } == 0 {
        return kept("still able to join root's group");
    }
    Ok(())
}

/// The real, effective and saved user.
fn all_uids() -> io::Result<[u32; 3]> {
    let [mut real, mut effective, mut saved] = [0; 3];
    // SAFETY: all three are good for the call.
    cvt(unsafe { libc::getresuid(&mut real, &mut effective, &mut saved) })?;
    Ok([real, effective, saved])
}

/// The real, effective and saved group.
fn all_gids() -> io::Result<[u32; 3]> {
    let [mut real, mut effective, mut saved] = [0; 3];
    // SAFETY: all three are good for the call.
    cvt(unsafe { libc::getresgid(&mut real, &mut effective, &mut saved) })?;
    Ok([real, effective, saved])
}

/// Allows a core dump when the process crashes, up to the hard limit, or forbids it for good. The kernel forbids it at every change of ids, so allow it after
/// [`drop_privileges`].
///
/// What is forbidden also closes most of `/proc/PID` to other processes of the same user.
///
/// # Errors
/// What setrlimit(2) or prctl(2) says.
pub fn set_core_dumps(allowed: bool) -> io::Result<()> {
    let mut limit = limit_of(libc::RLIMIT_CORE)?;
    if !allowed {
        limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    } else {
        limit.rlim_cur = limit.rlim_max;
    }
    // SAFETY: `limit` is good for the call.
    cvt(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &limit) })?;
    // The limit does not hold for a core_pattern that is a pipe (core(5)), this does.
    // SAFETY: numbers only.
    cvt(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(allowed), 0, 0, 0) })?;
    Ok(())
}

/// Raises the limit of open descriptors to `wanted`, or as near as it goes: to the hard limit, which
/// `CAP_SYS_RESOURCE` raises too.
///
/// # Errors
/// What getrlimit(2) or setrlimit(2) says.
pub fn raise_nofile(wanted: u64) -> io::Result<()> {
    let old = limit_of(libc::RLIMIT_NOFILE)?;
    let wanted = libc::rlim_t::try_from(wanted).unwrap_or(libc::RLIM_INFINITY - 1);
    if old.rlim_cur >= wanted {
        return Ok(());
    }
    let full = libc::rlimit { rlim_cur: wanted, rlim_max: old.rlim_max.max(wanted) };
    // SAFETY: `full` is good for the call.
    if cvt(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &full) }).is_err() {
        let part = libc::rlimit { rlim_cur: wanted.min(old.rlim_max), rlim_max: old.rlim_max };
        // SAFETY: `part` is good for the call.
        cvt(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &part) })?;
    }
    Ok(())
}

/// The limit on open files of this process, as it is now; None if it cannot be told.
#[allow(clippy::useless_conversion)] // rlim_t has 32 bits on some machines.
pub fn open_files_limit() -> Option<u64> {
    Some(limit_of(libc::RLIMIT_NOFILE).ok()?.rlim_cur.into())
}

/// The limit of this process's address space, in bytes; None if there is none.
#[allow(clippy::useless_conversion)]
pub fn address_space_limit() -> Option<u64> {
    let limit = limit_of(libc::RLIMIT_AS).ok()?.rlim_cur;
    (limit != libc::RLIM_INFINITY).then_some(limit.into())
}

// The type of a resource's number differs between C libraries.
#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = libc::c_int;

fn limit_of(resource: Resource) -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is good for the call.
    cvt(unsafe { libc::getrlimit(resource, &mut limit) })?;
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::{self, Alone};
    use std::fs;

    const UID: u32 = 54_321;
    const GID: u32 = 54_322;

    /// Root in a container may lack CAP_SYS_RESOURCE (24, in the kernel's uapi/linux/capability.h).
    fn may_raise_hard_limits() -> bool {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap() & 1 << 24 != 0
    }

    #[test]
    fn dropping_is_for_good() {
        if !alone::is_root() {
            return alone::skipped("needs root");
        }
        let alone = Alone::new(module_path!(), "dropping_is_for_good");
        alone
            .run(|dir| {
                use std::os::unix::fs::PermissionsExt;
                let secret = dir.join("secret");
                fs::write(&secret, "root's").unwrap();
                fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
                // A thread that is there already loses its rights as well.
                let (go, wait) = std::sync::mpsc::channel::<()>();
                let path = secret.clone();
                let (was, before) = std::sync::mpsc::channel::<bool>();
                let thread = std::thread::spawn(move || {
                    was.send(fs::read(&path).is_ok()).unwrap();
                    wait.recv().unwrap();
                    (effective(), fs::read(&path).is_err())
                });
                assert!(before.recv().unwrap());

                drop_privileges(UID, GID, &[7, GID, 7]).unwrap();

                assert_eq!(effective(), Ids { uid: UID, gid: GID });
                assert_eq!(all_uids().unwrap(), [UID; 3]);
                assert_eq!(all_gids().unwrap(), [GID; 3]);
                assert_eq!(groups().unwrap(), [7, GID]);
                let why = fs::read(&secret).unwrap_err();
                assert_eq!(why.kind(), ErrorKind::PermissionDenied);
                assert!(std::os::unix::fs::chroot(dir).is_err());
                go.send(()).unwrap();
                assert_eq!(thread.join().unwrap(), (Ids { uid: UID, gid: GID }, true));

                // Now as any user: the same again is fine, anything else is refused.
                drop_privileges(UID, GID, &[]).unwrap();
                drop_privileges(UID, GID, &[7]).unwrap();
                for (uid, gid, groups) in
                    [(0, GID, &[][..]), (UID, 0, &[]), (UID + 1, GID, &[]), (UID, GID, &[8])]
                {
                    let why = drop_privileges(uid, gid, groups).unwrap_err();
                    assert_eq!(why.kind(), ErrorKind::PermissionDenied, "{uid} {gid} {groups:?}");
                    assert!(why.to_string().starts_with("only root can"), "{why}");
                }
            })
            .success();
    }

    #[test]
    fn a_way_back_is_found_out() {
        if !alone::is_root() {
            return alone::skipped("needs root");
        }
        let alone = Alone::new(module_path!(), "a_way_back_is_found_out");
        alone
            .run(|_| {
                // What C makuosan did: the saved and real ids stay root's.
                // SAFETY: numbers only.
                unsafe {
                    assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
                    assert_eq!(libc::setegid(GID), 0);
                    assert_eq!(libc::seteuid(UID), 0);
                }
                assert!(verify(UID, GID, &[]).is_err());
            })
            .success();
    }

    #[test]
    fn kept_capabilities_are_found_out() {
        if !alone::is_root() {
            return alone::skipped("needs root");
        }
        const NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;
        let alone = Alone::new(module_path!(), "kept_capabilities_are_found_out");
        let done = alone.run(|_| {
            // SAFETY: numbers only.
            let ret = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, NO_SETUID_FIXUP, 0, 0, 0) };
            if ret == -1 {
                alone::exit_now(77);
            }
            let why = drop_privileges(UID, GID, &[]).unwrap_err();
            assert_eq!(why.to_string(), "still able to become root");
        });
        if done.status() == 77 {
            return alone::skipped("needs CAP_SETPCAP");
        }
        done.success();
    }

    #[test]
    fn root_may_stay_root() {
        if !alone::is_root() {
            return alone::skipped("needs root");
        }
        let alone = Alone::new(module_path!(), "root_may_stay_root");
        alone
            .run(|_| {
                drop_privileges(0, 5, &[6]).unwrap();
                assert_eq!(effective(), Ids { uid: 0, gid: 5 });
                assert_eq!(groups().unwrap(), [6]);
            })
            .success();
    }

    #[test]
    fn minus_one_is_not_an_id() {
        for (uid, gid, groups) in [(u32::MAX, 1, &[][..]), (1, u32::MAX, &[]), (1, 1, &[u32::MAX])]
        {
            let why = drop_privileges(uid, gid, groups).unwrap_err();
            assert_eq!(why.kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn core_dumps_are_switched() {
        let alone = Alone::new(module_path!(), "core_dumps_are_switched");
        alone
            .run(|_| {
                // SAFETY: numbers only.
                let dumpable = || unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) };
                set_core_dumps(true).unwrap();
                let limit = limit_of(libc::RLIMIT_CORE).unwrap();
                assert_eq!((limit.rlim_cur, dumpable()), (limit.rlim_max, 1));
                set_core_dumps(false).unwrap();
                let limit = limit_of(libc::RLIMIT_CORE).unwrap();
                assert_eq!((limit.rlim_cur, limit.rlim_max, dumpable()), (0, 0, 0));
            })
            .success();
    }

    #[test]
    fn the_descriptor_limit_goes_up_and_never_down() {
        let alone = Alone::new(module_path!(), "the_descriptor_limit_goes_up_and_never_down");
        alone
            .run(|_| {
                let low = libc::rlimit { rlim_cur: 64, rlim_max: 128 };
                // SAFETY: `low` is good for the call.
                cvt(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &low) }).unwrap();
                let raised = |wanted| {
                    raise_nofile(wanted).unwrap();
                    open_files_limit().unwrap()
                };
                assert_eq!(raised(100), 100);
                assert_eq!(raised(80), 100);
                let hard = if may_raise_hard_limits() { 200 } else { 128 };
                assert_eq!(raised(200), hard);
                if alone::is_root() {
                    drop_privileges(UID, GID, &[]).unwrap();
                    assert_eq!(raised(300), hard);
                }
            })
            .success();
    }
}
