//! Users and groups, by name or number, from the system's databases.
//!
//! To be used before a chroot, which puts the databases out of reach.

use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

use crate::errno::ErrorText;

/// The most bytes an entry may take. A group's entry holds the names of all its members.
const MAX_ENTRY: usize = 16 << 20;
/// The most supplementary groups a process has (`NGROUPS_MAX` in the kernel's uapi/linux/limits.h).
const MAX_GROUPS: usize = 65_536;

/// A user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// The number.
    pub uid: u32,
    /// The group of the user's entry; none for a number without an entry.
    pub gid: Option<u32>,
    /// The name of the user's entry; none for a number without an entry.
    pub name: Option<String>,
}

/// Why a user or a group was not found.
#[derive(Debug)]
pub enum LookupError {
    /// There is no such user, and the text is no number.
    NoUser(String),
    /// There is no such group, and the text is no number.
    NoGroup(String),
    /// The database could not be read; the text that was looked up, and the errno.
    Database(String, io::Error),
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LookupError::NoUser(text) => write!(f, "{text}: no such user"),
            LookupError::NoGroup(text) => write!(f, "{text}: no such group"),
            LookupError::Database(text, why) => {
                write!(f, "{text}: cannot be looked up: {}", ErrorText(why))
            }
        }
    }
}

impl std::error::Error for LookupError {}

/// The user whom `text` names or, if it names none, numbers. Any number is taken, with an entry or
/// without, but 4,294,967,295, which the kernel takes for "unchanged" (setresuid(2)).
///
/// # Errors
/// Neither a name nor a number; or the database cannot be read.
pub fn user(text: &str) -> Result<User, LookupError> {
    let failed = |why| LookupError::Database(text.to_owned(), why);
    if let Some(found) = user_entry(Key::Name(text)).map_err(failed)? {
        return Ok(found);
    }
    let uid = number(text).ok_or_else(|| LookupError::NoUser(text.to_owned()))?;
    let entry = user_entry(Key::Id(uid)).map_err(failed)?;
    Ok(entry.unwrap_or(User { uid, gid: None, name: None }))
}

/// The number of the group that `text` names or, if it names none, numbers, as in [`user`].
///
/// # Errors
/// As [`user`].
pub fn group(text: &str) -> Result<u32, LookupError> {
    let failed = |why| LookupError::Database(text.to_owned(), why);
    match group_entry(Key::Name(text)).map_err(failed)? {
        Some((gid, _)) => Ok(gid),
        None => number(text).ok_or_else(|| LookupError::NoGroup(text.to_owned())),
    }
}

/// The name of the user `uid`, if it has one.
///
/// # Errors
/// The database cannot be read.
pub fn user_name(uid: u32) -> io::Result<Option<String>> {
    Ok(user_entry(Key::Id(uid))?.and_then(|user| user.name))
}

/// The name of the group `gid`, if it has one.
///
/// # Errors
/// The database cannot be read.
pub fn group_name(gid: u32) -> io::Result<Option<String>> {
    Ok(group_entry(Key::Id(gid))?.map(|(_, name)| name))
}

/// All groups of the user called `name`, `gid` among them, sorted.
///
/// # Errors
/// `EINVAL`: a NUL in the name, or groups without end.
pub fn groups_of(name: &str, gid: u32) -> io::Result<Vec<u32>> {
    let name = CString::new(name)?;
    let mut room = 64;
    while room <= 2 * MAX_GROUPS {
        let mut groups: Vec<libc::gid_t> = vec![0; room];
        let mut count = libc::c_int::try_from(room).unwrap_or(libc::c_int::MAX);
        // SAFETY: `groups` is writable for `count` entries, `name` ends with a NUL.
        let ret =
            unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &mut count) };
        if ret >= 0 {
            groups.truncate(usize::try_from(count).unwrap_or(0));
            groups.sort_unstable();
            groups.dedup();
            return Ok(groups);
        }
        room *= 2;
    }
    Err(io::Error::from_raw_os_error(libc::EINVAL))
}

/// An id as a decimal number; -1 is none.
fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&id| plain && id != u32::MAX)
}

/// What an entry is looked up by.
#[derive(Clone, Copy)]
enum Key<'a> {
    Name(&'a str),
    Id(u32),
}

fn user_entry(key: Key<'_>) -> io::Result<Option<User>> {
    let name = match key {
        Key::Name(name) => CString::new(name).ok(),
        Key::Id(_) => None,
    };
    entry(
        |passwd: *mut libc::passwd, buffer, room, found| match (key, &name) {
            // SAFETY: `entry` hands in pointers good for the call, and `name` ends with a NUL.
            (Key::Name(_), Some(name)) => unsafe {
                libc::getpwnam_r(name.as_ptr(), passwd, buffer, room, found)
            },
            // A name with a NUL in it names nobody.
            (Key::Name(_), None) => 0,
            // SAFETY: as above.
            (Key::Id(uid), _) => unsafe { libc::getpwuid_r(uid, passwd, buffer, room, found) },
        },
        |passwd| User {
            uid: passwd.pw_uid,
            gid: Some(passwd.pw_gid),
            // SAFETY: `entry` calls this while the entry's strings live.
            name: unsafe { text_at(passwd.pw_name) },
        },
    )
}

fn group_entry(key: Key<'_>) -> io::Result<Option<(u32, String)>> {
    let name = match key {
        Key::Name(name) => CString::new(name).ok(),
        Key::Id(_) => None,
    };
    entry(
        |group: *mut libc::group, buffer, room, found| match (key, &name) {
            // SAFETY: `entry` hands in pointers good for the call, and `name` ends with a NUL.
            (Key::Name(_), Some(name)) => unsafe {
                libc::getgrnam_r(name.as_ptr(), group, buffer, room, found)
            },
            (Key::Name(_), None) => 0,
            // SAFETY: as above.
            (Key::Id(gid), _) => unsafe { libc::getgrgid_r(gid, group, buffer, room, found) },
        },
        // SAFETY: `entry` calls this while the entry's strings live.
        |group| (group.gr_gid, unsafe { text_at(group.gr_name) }.unwrap_or_default()),
    )
}

/// Calls one of the `get…_r` functions with a buffer that grows until the entry fits, and gives what
/// `take` makes of the entry; none if there is no entry.
fn entry<E, T>(
    call: impl Fn(*mut E, *mut libc::c_char, usize, *mut *mut E) -> libc::c_int,
    take: impl Fn(&E) -> T,
) -> io::Result<Option<T>> {
    let mut room = 1_024;
    loop {
        let mut buffer: Vec<libc::c_char> = vec![0; room];
        let mut place = MaybeUninit::<E>::uninit();
        let mut found: *mut E = ptr::null_mut();
        match call(place.as_mut_ptr(), buffer.as_mut_ptr(), room, &mut found) {
            // SAFETY: a result that is not NULL points to `place`, filled in, whose strings lie in
            // `buffer`; both live until `take` has returned.
            0 => return Ok(unsafe { found.as_ref() }.map(take)),
            libc::ERANGE if room < MAX_ENTRY => room *= 2,
            libc::EINTR => {}
            // What different systems say for "no entry" (getpwnam(3), "ERRORS").
            libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => return Ok(None),
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// The C string at `text`, if that is not NULL.
///
/// # Safety
/// `text` is NULL or points to bytes that end with a NUL and live through the call.
unsafe fn text_at(text: *const libc::c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_by_name_and_number() {
        let root = User { uid: 0, gid: Some(0), name: Some("root".to_owned()) };
        assert_eq!(user("root").unwrap(), root);
        assert_eq!(user("0").unwrap(), root);
        assert_eq!(group("root").unwrap(), 0);
        assert_eq!(group("0").unwrap(), 0);
        assert_eq!(user_name(0).unwrap().as_deref(), Some("root"));
        assert_eq!(group_name(0).unwrap().as_deref(), Some("root"));
    }

    #[test]
    fn numbers_need_no_entry() {
        let id = "3987654321";
        let nobody = User { uid: 3_987_654_321, gid: None, name: None };
        assert_eq!(user(id).unwrap(), nobody);
        assert_eq!(group(id).unwrap(), 3_987_654_321);
        assert_eq!(user_name(3_987_654_321).unwrap(), None);
        assert_eq!(group_name(3_987_654_321).unwrap(), None);
    }

    #[test]
    fn what_is_neither_name_nor_number_is_an_error() {
        for text in ["no-such-user", "", "-1", "+5", "4294967295", "4294967296", "ro\0ot"] {
            assert!(matches!(user(text), Err(LookupError::NoUser(_))), "{text:?}");
            assert!(matches!(group(text), Err(LookupError::NoGroup(_))), "{text:?}");
        }
        assert_eq!(user("no-such-user").unwrap_err().to_string(), "no-such-user: no such user");
    }

    #[test]
    fn a_users_groups_hold_its_own() {
        assert!(groups_of("root", 0).unwrap().contains(&0));
        assert_eq!(groups_of("no-such-user", 77).unwrap(), [77]);
        assert!(groups_of("ro\0ot", 0).is_err());
    }

    #[test]
    fn a_long_entry_gets_a_longer_buffer() {
        use std::cell::Cell;
        let calls = Cell::new(0);
        let needs = 100_000;
        let got = entry(
            |place: *mut u32, _buffer, room, found| {
                calls.set(calls.get() + 1);
                if room < needs {
                    return libc::ERANGE;
                }
                // SAFETY: both pointers are good for the call.
                unsafe {
                    *place = 5;
                    *found = place;
                }
                0
            },
            |&n| n,
        );
        assert_eq!(got.unwrap(), Some(5));
        assert_eq!(calls.get(), 8, "1,024 doubles seven times to 131,072");
        let endless = entry(|_: *mut u32, _, _, _| libc::ERANGE, |&n| n);
        assert_eq!(endless.unwrap_err().raw_os_error(), Some(libc::ERANGE));
        let none = entry(|_: *mut u32, _, _, _| libc::ENOENT, |&n| n);
        assert_eq!(none.unwrap(), None);
    }
}
