//! Which owner, group and mode this process may give to a file.
//!
//! By the rules of chown(2) and chmod(2): root may set everything, others only groups that they
//! belong to, and only on their own files.

use std::io;

use super::grain::Grain;
use crate::sys::caps::{self, Cap};
use crate::sys::fsat::{self, FileType, ProcessIds, Stat};
use crate::wire::manifest::{Entry, Kind};
use crate::wire::outcome::Lacks;

pub(super) const SET_IDS: u32 = 0o6000;
const SET_GID: u32 = 0o2000;

/// The identity of this process, which decides what it may set.
#[derive(Debug)]
pub(super) struct Rights {
    ids: ProcessIds,
    /// It may do with other users' files what only their owners may.
    fowner: bool,
    /// It may set the set-group-ID bit for groups that it is not in.
    fsetid: bool,
}

/// Which attributes a file system keeps, as far as this process may set them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Keeps {
    /// Any owner and group.
    pub owners: bool,
    /// All permission bits.
    pub modes: bool,
}

impl Keeps {
    /// Assumed until the file system was probed.
    pub const ALL: Keeps = Keeps { owners: true, modes: true };
}

/// Owner, group and mode of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

impl Wanted {
    /// Those that an object has.
    pub fn of(stat: &Stat) -> Self {
        Wanted { uid: stat.uid, gid: stat.gid, mode: stat.mode }
    }
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
    pub fn with(&self, entry: &Entry, rights: &Rights, keeps: Keeps) -> (u32, Wanted) {
        let wanted = rights.wanted(entry, self.made, keeps);
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
        let (fowner, fsetid) = (caps::holds(Cap::Fowner), caps::holds(Cap::Fsetid));
        fsat::process_ids().map(|ids| Rights { ids, fowner, fsetid })
    }

    pub fn is_root(&self) -> bool {
        self.ids.uid == 0
    }

    /// The user who owns new files.
    pub fn uid(&self) -> u32 {
        self.ids.uid
    }

    /// Whether this process may change attributes of an object at all.
    pub fn may_change(&self, stat: &Stat) -> bool {
        (self.is_root() && self.fowner) || self.ids.uid == stat.uid
    }

    /// Whether this process owns a directory, is not root, and has not all permissions in it.
    pub fn lacks_owner_access(&self, stat: &Stat) -> bool {
        !self.is_root() && self.ids.uid == stat.uid && stat.mode & 0o700 != 0o700
    }

    fn has_group(&self, gid: u32) -> bool {
        self.ids.gid == gid || self.ids.groups.binary_search(&gid).is_ok()
    }

    /// What this process makes of an object that is as `has` says when it is to be like `entry`: as root,
    /// exactly that, as far as the file system keeps it; else the owner stays, and the group is set if
    /// this process belongs to it. Set-id bits are set only if owner and group both are as sent.
    pub fn wanted(&self, entry: &Entry, has: Wanted, keeps: Keeps) -> Wanted {
        let any = self.is_root() && keeps.owners;
        let uid = if any { entry.uid } else { has.uid };
        let gid = if any || self.has_group(entry.gid) { entry.gid } else { has.gid };
        let as_sent = uid == entry.uid && gid == entry.gid;
        let is_dir = matches!(entry.kind, Kind::Open | Kind::Close { .. });
        let mut mode = entry.mode & if as_sent { 0o7777 } else { !SET_IDS & 0o7777 };
        if is_dir && gid == entry.gid {
            // On a directory it says which group new files get, and nothing about users.
            mode |= entry.mode & SET_GID;
        }
        if !self.fsetid && !self.has_group(gid) && has.mode & SET_GID == 0 {
            mode &= !SET_GID;
        }
        Wanted { uid, gid, mode: if keeps.modes { mode } else { has.mode } }
    }

    /// What an object that is as `has` says must get before it is given away, if this process may not
    /// change it any more then: the set-id bits would go in any case.
    pub fn before_it_goes(&self, wanted: Wanted, has: Wanted) -> Option<Wanted> {
        let goes = !self.fowner && wanted.uid != has.uid;
        goes.then_some(Wanted { mode: wanted.mode & !SET_IDS, ..wanted })
    }

    /// The same for one whose owner and group are as in `owned`, and cannot be changed.
    pub fn without_owner(&self, entry: &Entry, owned: Wanted, keeps: Keeps) -> Wanted {
        let keeps = Keeps { owners: false, ..keeps };
        let Wanted { mode, .. } = self.wanted(entry, owned, keeps);
        let as_sent = owned.uid == entry.uid && owned.gid == entry.gid;
        Wanted { mode: if as_sent { mode } else { mode & !SET_IDS }, ..owned }
    }

    /// What of `entry` an object lacks that is as `has` says, although root sets everything elsewhere.
    pub fn lacks(&self, entry: &Entry, has: Wanted) -> Lacks {
        if !self.is_root() || matches!(entry.kind, Kind::Keep | Kind::Ahead { .. }) {
            return Lacks::NONE;
        }
        let mode = has.mode != entry.mode && !matches!(entry.kind, Kind::Symlink(_));
        Lacks::of([
            (Lacks::OWNER, has.uid != entry.uid),
            (Lacks::GROUP, has.gid != entry.gid),
            (Lacks::MODE, mode),
        ])
    }

    /// Whether an object must be replaced by a new one, because what it is to become could be abused by
    /// those who own it now:
    ///
    /// - a file whose content is not `proven` to be as sent would get another owner, or a set-id bit;
    /// - the object has other hard links, which may be out of reach of this transfer.
    pub fn must_replace(&self, entry: &Entry, stat: &Stat, keeps: Keeps, proven: bool) -> bool {
        if stat.kind == FileType::Directory || !self.may_change(stat) {
            return false;
        }
        let wanted = self.wanted(entry, Wanted::of(stat), keeps);
        let gains_owner = wanted.uid != stat.uid;
        let gains_set_id = wanted.mode & SET_IDS != 0
            && (gains_owner || wanted.gid != stat.gid || wanted.mode & SET_IDS & !stat.mode != 0);
        let unproven = matches!(entry.kind, Kind::File { .. }) && !proven;
        stat.nlink > 1 || (unproven && (gains_owner || gains_set_id))
    }

    /// Whether any attribute of `stat` has to be changed. The mode of a symbolic link has no meaning.
    /// The mtime of a regular file describes its content, so it is compared only if the content is
    /// `proven` to be as sent.
    pub fn differ(
        &self,
        entry: &Entry,
        stat: &Stat,
        (grain, keeps): (Grain, Keeps),
        proven: bool,
    ) -> bool {
        if !self.may_change(stat) {
            return false;
        }
        let wanted = self.wanted(entry, Wanted::of(stat), keeps);
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
        Kind::Keep | Kind::Gone | Kind::Ahead { .. } | Kind::Set { .. } => return true,
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
    use crate::wire::manifest::FileTime;

    fn rights(uid: u32, gid: u32, groups: &[u32]) -> Rights {
        Rights {
            ids: ProcessIds { uid, gid, groups: groups.to_vec() },
            fowner: uid == 0,
            fsetid: uid == 0,
        }
    }

    fn entry(mode: u32, uid: u32, gid: u32) -> Entry {
        let path = RelPath::parse(b"x").unwrap();
        Entry { path, kind: Kind::Fifo, mode, uid, gid, mtime: FileTime::default() }
    }

    fn wanted(rights: &Rights, entry: &Entry, uid: u32, gid: u32) -> Wanted {
        rights.wanted(entry, Wanted { uid, gid, mode: 0o600 }, Keeps::ALL)
    }

    #[test]
    fn set_ids_come_only_with_their_owner_and_group() {
        let dir = Entry { kind: Kind::Open, ..entry(0o6775, 9, 7) };
        assert_eq!(wanted(&rights(1, 7, &[]), &dir, 1, 7).mode, 0o2775, "a group's directory");
        assert_eq!(wanted(&rights(1, 5, &[]), &dir, 1, 5).mode, 0o775, "of another group");
        let root = rights(0, 0, &[]);
        let sent = entry(0o6755, 65_536, 7);
        assert_eq!(wanted(&root, &sent, 0, 0), Wanted { uid: 65_536, gid: 7, mode: 0o6755 });
        let user = rights(65_536, 5, &[6, 7]);
        assert_eq!(wanted(&user, &sent, 65_536, 5), Wanted { uid: 65_536, gid: 7, mode: 0o6755 });
        let no_group = rights(65_536, 5, &[6]);
        assert_eq!(
            wanted(&no_group, &sent, 65_536, 5),
            Wanted { uid: 65_536, gid: 5, mode: 0o755 }
        );
        let other = rights(1, 7, &[]);
        assert_eq!(wanted(&other, &sent, 1, 1), Wanted { uid: 1, gid: 7, mode: 0o755 });
        assert_eq!(wanted(&other, &entry(0o1777, 9, 9), 1, 1).mode, 0o1777);
    }

    #[test]
    fn what_cannot_be_set_stays_and_is_lacking() {
        let (root, sent) = (rights(0, 0, &[]), entry(0o4755, 1_000, 0));
        let has = Wanted { uid: 0, gid: 0, mode: 0o600 };
        let no_owners = Keeps { owners: false, modes: true };
        let got = root.wanted(&sent, has, no_owners);
        assert_eq!(got, Wanted { mode: 0o755, ..has }, "no set-user-ID bit of root");
        let lacks = root.lacks(&sent, got);
        assert!(lacks.has(Lacks::OWNER) && lacks.has(Lacks::MODE) && !lacks.has(Lacks::GROUP));
        let nothing = Keeps { owners: false, modes: false };
        assert_eq!(root.wanted(&sent, has, nothing), has);
        assert_eq!(root.without_owner(&sent, has, Keeps::ALL), got);
        assert_eq!(root.lacks(&sent, wanted(&root, &sent, 0, 0)), Lacks::NONE);
        assert_eq!(rights(5, 5, &[]).lacks(&sent, has), Lacks::NONE, "only root gives files away");
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
            let got = fresh(passes).with(&entry(mode, uid, 0), &root, Keeps::ALL);
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
            let got = [false, true]
                .map(|proven| root.must_replace(&entry, &stat(nlink), Keeps::ALL, proven));
            assert_eq!(got, [unproven, proven], "{mode:o} {uid} {gid} {nlink}");
        }
        let had_it = Stat { mode: 0o4711, ..stat(1) };
        assert!(!root.must_replace(&file(0o4755, 7, 8), &had_it, Keeps::ALL, false));
        // Others cannot change it anyway.
        assert!(!rights(9, 9, &[]).must_replace(&file(0o4755, 7, 8), &stat(2), Keeps::ALL, false));
        std::fs::remove_file(path).unwrap();
    }
}
