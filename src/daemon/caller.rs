//! Who is behind a console connection, and which groups that user may have files sent with (`-g`).

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use crate::console::error::{Code, ErrorLine};
use crate::fs::regroup::Regroup;
use crate::name::HostName;
use crate::sys::{ids, peer, user};

/// Who is behind a console connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Caller {
    /// The user, if it can be told.
    uid: Option<u32>,
    /// The groups that it had when it connected; None if they are to be looked up.
    groups: Option<Vec<u32>>,
    /// The address, of a connection by TCP.
    address: Option<String>,
}

impl Caller {
    /// Nobody has asked: a host lacks something.
    pub(super) fn nobody() -> Caller {
        Caller { uid: None, groups: None, address: Some("a host that lacks it".to_owned()) }
    }

    /// The daemon was started with it.
    pub(super) fn this_daemon() -> Caller {
        Caller { uid: None, groups: None, address: Some("this daemon".to_owned()) }
    }

    /// Another host asks.
    pub(super) fn member(name: &HostName) -> Caller {
        Caller { uid: None, groups: None, address: Some(format!("host {name}")) }
    }

    /// The other end of a connection by TCP, and the user that owns it, if that is known.
    pub(super) fn tcp(address: impl fmt::Display, uid: Option<u32>) -> Caller {
        Caller { uid, groups: None, address: Some(address.to_string()) }
    }

    /// The other end of a Unix socket.
    pub(super) fn unix(stream: &UnixStream) -> Caller {
        let Ok(ids) = peer::ids(stream.as_fd()) else {
            return Caller { uid: None, groups: None, address: None };
        };
        let groups = peer::groups(stream.as_fd()).ok().map(|mut groups| {
            groups.push(ids.gid);
            groups
        });
        Caller { uid: Some(ids.uid), groups, address: None }
    }

    /// How entries are to be sent with the group called `name`. `databases`: whether the system's
    /// users and groups can be looked up.
    ///
    /// # Errors
    /// This caller may not name the group.
    pub(super) fn regroup(
        &self,
        name: &str,
        gid: u32,
        databases: bool,
    ) -> Result<Regroup, ErrorLine> {
        let Some(uid) = self.uid else {
            let why = format!(
                "-g {name}: it is not known which user asks for this: -g works on this host only, \
                 through a Unix socket or a loopback address"
            );
            return Err(ErrorLine::new(Code::UnknownCaller, why));
        };
        if uid == 0 || uid == ids::effective().uid {
            return Ok(Regroup { gid, by: None });
        }
        let groups = match &self.groups {
            Some(groups) => groups.clone(),
            None if databases => looked_up(uid).unwrap_or_default(),
            None => Vec::new(),
        };
        if groups.contains(&gid) {
            return Ok(Regroup { gid, by: Some((uid, groups)) });
        }
        let why = format!("-g {name}: the user {uid} does not belong to this group");
        Err(ErrorLine::new(Code::NotYourGroup, why))
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.uid, &self.address) {
            (Some(uid), None) => write!(f, "uid {uid}"),
            (Some(uid), Some(address)) => write!(f, "uid {uid} at {address}"),
            (None, Some(address)) => f.write_str(address),
            (None, None) => f.write_str("an unknown user"),
        }
    }
}

/// The groups of a user by the system's database; none without an entry there.
fn looked_up(uid: u32) -> io::Result<Vec<u32>> {
    let found = user::user(&uid.to_string()).map_err(io::Error::other)?;
    match (found.name, found.gid) {
        (Some(name), Some(gid)) if found.uid == uid => user::groups_of(&name, gid),
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GID: u32 = 3_456_789;
    const UID: u32 = 2_345_678;

    fn caller(uid: Option<u32>, groups: Option<Vec<u32>>) -> Caller {
        Caller { uid, groups, address: None }
    }

    #[test]
    fn whoever_may_name_a_group() {
        let code = |caller: &Caller| {
            let found = caller.regroup("g", GID, true);
            found.map(|found| found.by.is_some()).map_err(|why| why.report.code)
        };
        assert_eq!(code(&caller(Some(0), None)), Ok(false));
        assert_eq!(code(&caller(Some(ids::effective().uid), None)), Ok(false));
        assert_eq!(code(&caller(Some(UID), Some(vec![1, GID]))), Ok(true));
        assert_eq!(code(&caller(Some(UID), Some(vec![0]))), Err("not_your_group".to_owned()));
        // Without an entry in the database there are no groups.
        assert_eq!(code(&caller(Some(UID), None)), Err("not_your_group".to_owned()));
        assert_eq!(code(&Caller::tcp("10.0.0.1:5", None)), Err("unknown_caller".to_owned()));
    }

    #[test]
    fn a_user_whose_name_is_a_number_is_not_taken_for_that_number() {
        assert!(looked_up(UID).unwrap().is_empty());
        assert!(looked_up(0).unwrap().contains(&0));
    }

    #[test]
    fn callers_in_words() {
        assert_eq!(caller(Some(7), None).to_string(), "uid 7");
        assert_eq!(Caller::tcp("127.0.0.1:5", Some(7)).to_string(), "uid 7 at 127.0.0.1:5");
        assert_eq!(Caller::tcp("10.0.0.1:5", None).to_string(), "10.0.0.1:5");
    }
}
