//! Which owner, group and mode this process may give to a file.
//!
//! By the rules of chown(2) and chmod(2): root may set everything, others only groups that they
//! belong to, and only on their own files.

use std::io;

use super::grain::Grain;
use crate::sys::fsat::{self, FileType, ProcessIds, Stat};
use crate::wire::manifest::{Entry, Kind};

pub(super) const SET_IDS: u32 = 0o6000;

/// The identity of this process, which decides what it may set.
#[derive(Debug)]
pub(super) struct Rights(ProcessIds);

/// Owner, group and mode of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

/// The attributes that new files in a directory get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fresh {
    /// Those of a file created with mode [`PRIVATE`].
    made: Wanted,
    /// The permission bits that take effect when a file is created with them.
    passes: u32,
}

/// The mode that a file is created with if its final mode must not be set before its owner.
pub(super) const PRIVATE: u32 = 0o600;

impl Fresh {
    /// From a file that was created with [`PRIVATE`] and one that was created with mode 777: the umask
    /// and default ACLs (acl(5)) remove bits, and some file systems have no modes at all.
    pub fn of(private: &Stat, open: &Stat) -> Self {
        let made = Wanted { uid: private.uid, gid: private.gid, mode: private.mode };
        let passes = if made.mode == PRIVATE & open.mode { open.mode & 0o777 } else { 0 };
        Fresh { made, passes }
    }

    /// The mode to create `entry` with, and the attributes that it then has. This is its final mode if
    /// creating the file gives it all its attributes, else [`PRIVATE`].
    pub fn with(&self, entry: &Entry, rights: &Rights) -> (u32, Wanted) {
        let wanted = rights.wanted(entry, self.made.uid, self.made.gid);
        let as_wanted = Wanted { mode: wanted.mode, ..self.made };
        // Until it has its final owner, its final mode could let the wrong users read it.
        match wanted == as_wanted && wanted.mode & !self.passes == 0 {
            true => (wanted.mode, wanted),
            false => (PRIVATE, self.made),
        }
    }

    /// The attributes of a file created with [`PRIVATE`].
    pub fn private(&self) -> Wanted {
        self.made
    }
}

impl Rights {
    /// Those of this process at the moment.
    pub fn of_process() -> io::Result<Self> {
        fsat::process_ids().map(Rights)
    }

    pub fn is_root(&self) -> bool {
        self.0.uid == 0
    }

    /// The user who owns new files.
    pub fn uid(&self) -> u32 {
        self.0.uid
    }

    /// Whether this process may change attributes of an object at all.
    pub fn may_change(&self, stat: &Stat) -> bool {
        self.is_root() || self.0.uid == stat.uid
    }

    /// Whether this process owns a directory, is not root, and has not all permissions in it.
    pub fn lacks_owner_access(&self, stat: &Stat) -> bool {
        !self.is_root() && self.0.uid == stat.uid && stat.mode & 0o700 != 0o700
    }

    /// What this process makes of an object that belongs to `uid` and `gid` when it is to be like
    /// `entry`: as root, exactly that; else the owner stays, and the group is set if this process
    /// belongs to it. Set-id bits are set only if owner and group both are as sent.
    pub fn wanted(&self, entry: &Entry, uid: u32, gid: u32) -> Wanted {
        let uid = if self.is_root() { entry.uid } else { uid };
        let mine = self.0.gid == entry.gid || self.0.groups.binary_search(&entry.gid).is_ok();
        let gid = if self.is_root() || mine { entry.gid } else { gid };
        let as_sent = uid == entry.uid && gid == entry.gid;
        let mode = entry.mode & if as_sent { 0o7777 } else { !SET_IDS & 0o7777 };
        Wanted { uid, gid, mode }
    }

    /// Whether an object must be replaced by a new one, because what it is to become could be abused by
    /// those who own it now:
    ///
    /// - a file whose content is not `proven` to be as sent would get another owner, or a set-id bit;
    /// - the object has other hard links, which may be out of reach of this transfer.
    pub fn must_replace(&self, entry: &Entry, stat: &Stat, proven: bool) -> bool {
        if stat.kind == FileType::Directory || !self.may_change(stat) {
            return false;
        }
        let wanted = self.wanted(entry, stat.uid, stat.gid);
        let gains_owner = wanted.uid != stat.uid;
        let gains_set_id = wanted.mode & SET_IDS != 0
            && (gains_owner || wanted.gid != stat.gid || wanted.mode & SET_IDS & !stat.mode != 0);
        let unproven = matches!(entry.kind, Kind::File { .. }) && !proven;
        stat.nlink > 1 || (unproven && (gains_owner || gains_set_id))
    }

    /// Whether any attribute of `stat` has to be changed. The mode of a symbolic link has no meaning.
    /// The mtime of a regular file describes its content, so it is compared only if the content is
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

/// Whether an object of type `found` is what an entry of `kind` asks for.
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

/// The owner and the group to set, where they differ from `uid` and `gid`.
pub(super) fn changes(wanted: Wanted, uid: u32, gid: u32) -> (Option<u32>, Option<u32>) {
    ((wanted.uid != uid).then_some(wanted.uid), (wanted.gid != gid).then_some(wanted.gid))
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
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

    #[test]
    fn what_could_be_abused_is_replaced_and_not_changed() {
        let temp = TempDir::new("replace");
        let path = temp.write("x", "content");
        let dir = std::fs::File::open(temp.path()).unwrap();
        let stat = |nlink| {
            let stat = fsat::stat_at(std::os::fd::AsFd::as_fd(&dir), b"x").unwrap();
            Stat { uid: 7, gid: 8, mode: 0o755, nlink, ..stat }
        };
        let root = rights(0, 0, &[]);
        let file = |mode, uid, gid| {
            let kind = Kind::File { size: 7, data: None };
            Entry { kind, ..entry(mode, uid, gid) }
        };
        // Mode, owner and group as sent, links here; whether it is replaced, unproven and proven.
        for (mode, uid, gid, nlink, unproven, proven) in [
            (0o700, 7, 8, 1, false, false),
            (0o700, 7, 9, 1, false, false),
            (0o755, 9, 8, 1, true, false),
            (0o4755, 7, 8, 1, true, false),
            (0o2755, 7, 9, 1, true, false),
            (0o700, 7, 8, 2, true, true),
        ] {
            let entry = file(mode, uid, gid);
            let got = [false, true].map(|proven| root.must_replace(&entry, &stat(nlink), proven));
            assert_eq!(got, [unproven, proven], "{mode:o} {uid} {gid} {nlink}");
        }
        let had_it = Stat { mode: 0o4711, ..stat(1) };
        assert!(!root.must_replace(&file(0o4755, 7, 8), &had_it, false));
        // Others cannot change it anyway.
        assert!(!rights(9, 9, &[]).must_replace(&file(0o4755, 7, 8), &stat(2), false));
        std::fs::remove_file(path).unwrap();
    }
}
