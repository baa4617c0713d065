//! What of an entry's attributes this process may set.

use std::io;

use super::grain::Grain;
use crate::sys::fsat::{self, FileType, ProcessIds, Stat};
use crate::wire::manifest::{Entry, Kind};

const SET_IDS: u32 = 0o6000;

/// What this process may set.
#[derive(Debug)]
pub(super) struct Rights(ProcessIds);

/// The attributes that an object is to have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

/// What new files of a directory get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fresh {
    /// Those of a file that is made with [`PRIVATE`].
    made: Wanted,
    /// Those of the permission bits that a file gets if it is made with them.
    passes: u32,
}

/// The mode that files are made with whose own has to wait for their owner.
pub(super) const PRIVATE: u32 = 0o600;

impl Fresh {
    /// From a file that was made with [`PRIVATE`], and one that was made with mode 777: the umask and
    /// default access lists take bits away, some file systems know no modes.
    pub fn of(private: &Stat, open: &Stat) -> Self {
        let made = Wanted { uid: private.uid, gid: private.gid, mode: private.mode };
        let passes = if made.mode == PRIVATE & open.mode { open.mode & 0o777 } else { 0 };
        Fresh { made, passes }
    }

    /// The mode to make `entry` with, and what the file has then: its own mode, if nothing speaks
    /// against that, else [`PRIVATE`].
    pub fn with(&self, entry: &Entry, rights: &Rights) -> (u32, Wanted) {
        let wanted = rights.wanted(entry, self.made.uid, self.made.gid);
        let as_wanted = Wanted { mode: wanted.mode, ..self.made };
        // Before its owner is right, nobody is to read it who could then.
        match wanted == as_wanted && wanted.mode & !self.passes == 0 {
            true => (wanted.mode, wanted),
            false => (PRIVATE, self.made),
        }
    }

    /// What a file has that was made with [`PRIVATE`].
    pub fn private(&self) -> Wanted {
        self.made
    }
}

impl Rights {
    /// Those of this process now.
    pub fn of_process() -> io::Result<Self> {
        fsat::process_ids().map(Rights)
    }

    fn is_root(&self) -> bool {
        self.0.uid == 0
    }

    /// The user that new files belong to.
    pub fn uid(&self) -> u32 {
        self.0.uid
    }

    /// Whether this process may set anything at all of an object.
    pub fn may_change(&self, stat: &Stat) -> bool {
        self.is_root() || self.0.uid == stat.uid
    }

    /// Whether permission bits keep this process from working in a directory of its own.
    pub fn is_shut_out(&self, stat: &Stat) -> bool {
        !self.is_root() && self.0.uid == stat.uid && stat.mode & 0o700 != 0o700
    }

    /// What an object that now belongs to `uid` and `gid` becomes when it is made like `entry`, as
    /// far as this process may: root all; others a group among their own. The set-id bits come only
    /// with both the owner and the group that they were meant for.
    pub fn wanted(&self, entry: &Entry, uid: u32, gid: u32) -> Wanted {
        let uid = if self.is_root() { entry.uid } else { uid };
        let mine = self.0.gid == entry.gid || self.0.groups.binary_search(&entry.gid).is_ok();
        let gid = if self.is_root() || mine { entry.gid } else { gid };
        let as_sent = uid == entry.uid && gid == entry.gid;
        let mode = entry.mode & if as_sent { 0o7777 } else { !SET_IDS & 0o7777 };
        Wanted { uid, gid, mode }
    }

    /// Whether there is anything about `stat` to be changed. Of a symbolic link the mode means
    /// nothing; of a regular file the mtime belongs to the content, and is looked at only if that is
    /// `proven` to be as sent.
    pub fn differ(&self, entry: &Entry, stat: &Stat, grain: Grain, proven: bool) -> bool {
        if !self.may_change(stat) {
            return false;
        }
        let wanted = self.wanted(entry, stat.uid, stat.gid);
        let mode = matches!(entry.kind, Kind::Symlink(_)) || stat.mode == wanted.mode;
        let owner = (stat.uid, stat.gid) == (wanted.uid, wanted.gid);
        let of_content = matches!(entry.kind, Kind::File { .. }) && !proven;
        let mtime = of_content || grain.same(stat.mtime, entry.mtime);
        !(mode && owner && mtime)
    }
}

/// Whether an entry of `kind` and an object of type `found` are the same kind of thing.
pub(super) fn is_kind(kind: &Kind, found: FileType) -> bool {
    let kind = match kind {
        Kind::Open | Kind::Close { .. } => FileType::Directory,
        Kind::File { .. } => FileType::File,
        Kind::Symlink(_) => FileType::Symlink,
        Kind::Fifo => FileType::Fifo,
        Kind::Char(..) => FileType::Char,
        Kind::Block(..) => FileType::Block,
        Kind::Keep | Kind::Ahead { .. } => return true,
    };
    kind == found
}

/// Which of owner and group is to be changed.
pub(super) fn changes(wanted: Wanted, uid: u32, gid: u32) -> (Option<u32>, Option<u32>) {
    ((wanted.uid != uid).then_some(wanted.uid), (wanted.gid != gid).then_some(wanted.gid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::RelPath;
    use crate::wire::manifest::Stamp;

    fn rights(uid: u32, gid: u32, groups: &[u32]) -> Rights {
        Rights(ProcessIds { uid, gid, groups: groups.to_vec() })
    }

    fn entry(mode: u32, uid: u32, gid: u32) -> Entry {
        let path = RelPath::parse(b"x").unwrap();
        Entry { path, kind: Kind::Fifo, mode, uid, gid, mtime: Stamp::default() }
    }

    #[test]
    fn set_ids_come_only_with_their_owner_and_group() {
        let root = rights(0, 0, &[]);
        let sent = entry(0o6755, 65_536, 7);
        assert_eq!(root.wanted(&sent, 0, 0), Wanted { uid: 65_536, gid: 7, mode: 0o6755 });
        let user = rights(65_536, 5, &[6, 7]);
        assert_eq!(user.wanted(&sent, 65_536, 5), Wanted { uid: 65_536, gid: 7, mode: 0o6755 });
        let no_group = rights(65_536, 5, &[6]);
        assert_eq!(no_group.wanted(&sent, 65_536, 5), Wanted { uid: 65_536, gid: 5, mode: 0o755 });
        let other = rights(1, 7, &[]);
        assert_eq!(other.wanted(&sent, 1, 1), Wanted { uid: 1, gid: 7, mode: 0o755 });
        assert_eq!(other.wanted(&entry(0o1777, 9, 9), 1, 1).mode, 0o1777);
    }

    #[test]
    fn a_file_is_made_with_its_own_mode_where_it_gets_that_and_its_owner() {
        let root = rights(0, 0, &[]);
        let made = Wanted { uid: 0, gid: 0, mode: 0o600 };
        let fresh = |passes| Fresh { made, passes };
        for (passes, mode, uid, with) in [
            (0o755, 0o644, 0, 0o644),
            (0o755, 0o000, 0, 0o000),
            (0o755, 0o664, 0, PRIVATE),
            (0o777, 0o664, 0, 0o664),
            (0o777, 0o644, 9, PRIVATE),
            (0o777, 0o4755, 0, PRIVATE),
            (0, 0o644, 0, PRIVATE),
        ] {
            let got = fresh(passes).with(&entry(mode, uid, 0), &root);
            let has = Wanted { mode: with, ..made };
            assert_eq!(got, (with, has), "{passes:o} {mode:o} {uid}");
        }
    }
}
