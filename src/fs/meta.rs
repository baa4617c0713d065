//! What of an entry's attributes this process may set, and what the file system keeps of them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::root::Dirs;
use super::staging::Staging;
use super::walk::Identity;
use crate::sys::fsat::{self, FileType, ProcessIds, Stat};
use crate::wire::manifest::{Entry, Kind, Stamp};

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

/// How exactly a file system keeps times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Grain {
    /// In nanoseconds.
    unit: u64,
    first: i64,
    last: i64,
}

impl Grain {
    /// Every nanosecond of every time: what is assumed until more is known.
    pub const EXACT: Grain = Grain { unit: 1, first: i64::MIN, last: i64::MAX };

    /// Finds out with the file `name` in `dir`, whose mtime is changed by it. The kernel cuts a time
    /// to what the file system keeps (`timestamp_truncate`, fs/inode.c), downwards and to its ends.
    pub fn probe(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Self> {
        const NANOS: u64 = 987_654_321;
        const SECS: i64 = 1_000_000_007;
        let keep = |secs, nanos| {
            fsat::set_mtime_at(dir, name, Stamp { secs, nanos })?;
            fsat::stat_at(dir, name).map(|stat| stat.mtime)
        };
        let kept = keep(SECS, NANOS as u32)?;
        let units = [1, 100, 1_000, 1_000_000, 10_000_000, 1_000_000_000];
        let fits = |unit: &u64| u64::from(kept.nanos) == NANOS - NANOS % unit;
        let unit = match kept.secs {
            SECS => units.into_iter().find(fits).unwrap_or(1),
            _ => 2_000_000_000, // FAT
        };
        // A kernel before 5.4 wraps instead: such an end is none.
        let last = keep(i64::MAX, 0).map_or(0, |kept| kept.secs);
        let first = keep(i64::MIN, 0).map_or(0, |kept| kept.secs);
        Ok(Grain {
            unit,
            first: if first < 0 || last > i64::from(i32::MAX) { first } else { i64::MIN },
            last: if last >= i64::from(i32::MAX) { last } else { i64::MAX },
        })
    }

    /// Whether `kept` is what the file system makes of `sent`.
    pub fn same(self, kept: Stamp, sent: Stamp) -> bool {
        let secs = sent.secs.clamp(self.first, self.last);
        if secs != sent.secs || [self.first, self.last].contains(&secs) {
            return kept.secs == secs;
        }
        let sent = match self.unit {
            0 | 1 => sent,
            unit @ ..=1_000_000_000 => {
                let nanos = u64::from(sent.nanos);
                Stamp { secs, nanos: (nanos - nanos % unit) as u32 }
            }
            unit => {
                let unit = (unit / 1_000_000_000) as i64;
                Stamp { secs: secs - secs.rem_euclid(unit), nanos: 0 }
            }
        };
        kept == sent
    }
}

/// Gives a new file, open at `fd`, what `entry` says; `fresh` is what it has.
///
/// Owner before mode, as a change of owner takes the set-id bits; mtime last.
pub(super) fn dress(
    fd: &impl AsFd,
    entry: &Entry,
    rights: &Rights,
    fresh: Wanted,
) -> io::Result<()> {
    let fd = fd.as_fd();
    let wanted = rights.wanted(entry, fresh.uid, fresh.gid);
    let (uid, gid) = changes(wanted, fresh.uid, fresh.gid);
    if uid.is_some() || gid.is_some() {
        fsat::chown_fd(fd, uid, gid)?;
    }
    if wanted.mode != fresh.mode {
        fsat::chmod_fd(fd, wanted.mode)?;
    }
    fsat::set_mtime_fd(fd, entry.mtime)
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

/// What [`apply`] changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Applied {
    /// Owner, group or mode.
    pub access: bool,
    /// The mtime.
    pub mtime: bool,
    /// It is now such that it shuts this process out.
    pub shuts_out: bool,
}

/// Gives what is at an entry's path the attributes that differ, through no link. The mtime of a
/// regular file stays: it says when its content changed, and that may have been just now; unless it is
/// still what it was when its content was `proven` to be as sent.
///
/// # Errors
/// ESTALE if something of another type is there; ELOOP, ENOTDIR if that is so of a directory.
pub(super) fn apply(
    dirs: &mut Dirs,
    rights: &Rights,
    staging: Option<&Staging>,
    entry: &Entry,
    proven: Option<&Identity>,
) -> io::Result<Applied> {
    let (dir, name) = dirs.parent(&entry.path)?;
    let fd = fsat::open_at(dir.as_fd(), name, libc::O_PATH, 0)?;
    let stat = fsat::stat_fd(fd.as_fd())?;
    if !is_kind(&entry.kind, stat.kind) {
        let code = match (&entry.kind, stat.kind) {
            (Kind::Open | Kind::Close { .. }, FileType::Symlink) => libc::ELOOP,
            (Kind::Open | Kind::Close { .. }, _) => libc::ENOTDIR,
            _ => libc::ESTALE,
        };
        return Err(io::Error::from_raw_os_error(code));
    }
    let mut applied = Applied::default();
    if !rights.may_change(&stat) {
        return Ok(applied);
    }
    let wanted = rights.wanted(entry, stat.uid, stat.gid);
    let (uid, gid) = changes(wanted, stat.uid, stat.gid);
    if uid.is_some() || gid.is_some() {
        fsat::chown_fd(fd.as_fd(), uid, gid)?;
        applied.access = true;
    }
    if stat.kind != FileType::Symlink && (applied.access || wanted.mode != stat.mode) {
        // A change of owner may have taken the set-id bits.
        fsat::chmod_at(dir.as_fd(), name, fd.as_fd(), wanted.mode)?;
        applied.access = true;
    }
    let Wanted { uid, gid, mode } = wanted;
    let grain = staging.map_or(Grain::EXACT, |staging| staging.grain(&stat));
    let timely = stat.kind != FileType::File || proven == Some(&Identity::of(&stat));
    if timely && !grain.same(stat.mtime, entry.mtime) {
        fsat::set_mtime_at(dir.as_fd(), name, entry.mtime)?;
        applied.mtime = true;
    }
    applied.shuts_out = rights.is_shut_out(&Stat { uid, gid, mode, ..stat });
    Ok(applied)
}

/// Which of owner and group is to be changed.
pub(super) fn changes(wanted: Wanted, uid: u32, gid: u32) -> (Option<u32>, Option<u32>) {
    ((wanted.uid != uid).then_some(wanted.uid), (wanted.gid != gid).then_some(wanted.gid))
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;
    use crate::name::RelPath;

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
    fn times_are_the_same_when_the_file_system_cannot_tell_them_apart() {
        let stamp = |secs, nanos| Stamp { secs, nanos };
        let sent = stamp(1_000_000_007, 123_456_789);
        for (unit, kept, same) in [
            (1, sent, true),
            (1, stamp(sent.secs, 0), false),
            (100, stamp(sent.secs, 123_456_700), true),
            (100, sent, false),
            (1_000_000_000, stamp(sent.secs, 0), true),
            (2_000_000_000, stamp(sent.secs - 1, 0), true),
            (2_000_000_000, stamp(sent.secs, 0), false),
        ] {
            let grain = Grain { unit, first: -(1 << 31), last: (1 << 34) - 1 };
            assert_eq!(grain.same(kept, sent), same, "{unit} {kept:?}");
        }
        let grain = Grain { unit: 1, first: 0, last: 100 };
        assert!(grain.same(stamp(100, 0), stamp(1 << 40, 5)));
        assert!(grain.same(stamp(0, 0), stamp(-1, 5)));
        assert!(!grain.same(stamp(50, 0), stamp(50, 5)));
        assert!(Grain::EXACT.same(stamp(i64::MIN, 3), stamp(i64::MIN, 3)));
        assert!(!Grain::EXACT.same(stamp(i64::MIN + 1, 3), stamp(i64::MIN + 1, 4)));
    }

    #[test]
    fn what_was_probed_holds() {
        let temp = TempDir::new("grain");
        std::fs::write(temp.join("probe"), b"").unwrap();
        std::fs::write(temp.join("f"), b"").unwrap();
        let dir = std::fs::File::open(temp.path()).unwrap();
        let grain = Grain::probe(dir.as_fd(), b"probe").unwrap();
        for secs in [i64::MIN, -(1 << 40), -1, 0, 1, 1_700_000_001, 1 << 33, 1 << 36, i64::MAX] {
            let sent = Stamp { secs, nanos: 123_456_789 };
            fsat::set_mtime_at(dir.as_fd(), b"f", sent).unwrap();
            let kept = fsat::stat_at(dir.as_fd(), b"f").unwrap().mtime;
            assert!(grain.same(kept, sent), "{grain:?} {kept:?} {sent:?}");
        }
    }
}
