//! What each entry of a batch needs, by comparing it with what is on disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::AsFd;

use super::attributes::{Examined, known_of};
use super::digest::Digester;
use super::errors::reason;
use super::grain::Grain;
use super::guard::{self, Guard};
use super::identity::{Identity, ObjectId};
use super::long_digests::LongDigests;
use super::long_files::{LongFiles, comparable};
use super::opened::Opened;
use super::paths::split;
use super::rights::{Rights, Wanted, is_kind};
use super::room::{self, Room};
use super::root::Dirs;
use super::staging::Staging;
use super::sweep;
use crate::engine::disk_job::Mode;
use crate::errno;
use crate::ids::EntryNo;
use crate::name::{RelPath, STAGING};
use crate::sys::fsat::{self, FileType, Stat};
use crate::wire::manifest::{Digest, Entry, Kind, Manifest};
use crate::wire::outcome::{Lacks, Need, Reason};

/// What `check` reports for something that is missing.
const MISSING: Need = Need::Failed(Reason::Os(errno::ENOENT));

/// What compares the entries of one batch with the disk.
pub(super) struct Planner<'a> {
    pub(super) dirs: &'a mut Dirs,
    pub(super) rights: &'a Rights,
    pub(super) staging: Option<&'a Staging>,
    pub(super) opened: &'a mut Opened,
    pub(super) room: &'a Room,
    /// How many bytes fit into the file systems of directories, as far as that was looked at.
    pub(super) free: HashMap<Vec<u8>, Option<u64>>,
    pub(super) digester: &'a mut Digester,
    pub(super) digests: &'a LongDigests,
    pub(super) long: &'a mut LongFiles,
    /// Whether the result is no longer wanted.
    pub(super) cancelled: &'a dyn Fn() -> bool,
    /// What the transfer leaves alone.
    pub(super) guard: Option<&'a dyn Guard>,
    /// As in [`PlannedBatch`].
    pub(super) examined: BTreeMap<EntryNo, Examined>,
    /// What entries lack that need nothing.
    pub(super) lacks: BTreeMap<EntryNo, Lacks>,
    /// What is mirrored here, and left alone.
    pub(super) mirrored: &'a [RelPath],
    /// It is a record that is sent once more.
    pub(super) is_replay: bool,
    /// Of a batch of a mirror: the objects that are to be staged.
    pub(super) wanted: BTreeSet<EntryNo>,
    /// The time in seconds, once it was looked at.
    pub(super) now: Option<i64>,
    /// What the transfer is about, if that is known.
    pub(super) about: Option<RelPath>,
    /// The entries in whose place is a directory that goes with what is in it.
    pub(super) in_place: BTreeSet<EntryNo>,
    pub(super) readonly: bool,
    pub(super) no_devices: bool,
    pub(super) mode: Mode,
}

impl Planner<'_> {
    /// Notes what an entry lacks that needs nothing.
    fn note_lacks(&mut self, entry: &Entry, stat: &Stat, at: EntryNo) {
        let lacks = self.lacks(entry, stat);
        if lacks != Lacks::NONE {
            self.lacks.insert(at, lacks);
        }
    }

    fn lacks(&self, entry: &Entry, stat: &Stat) -> Lacks {
        let (grain, _) = known_of(self.staging, stat);
        let time = [(Lacks::TIME, !grain.in_range(entry.mtime))];
        self.rights.lacks(entry, Wanted::of(stat)).and(Lacks::of(time))
    }

    /// Whether nothing that is planned will be carried out.
    fn commits_nothing(&self) -> bool {
        self.readonly || self.mode.commits_nothing()
    }

    /// What an entry needs.
    pub(super) fn need(&mut self, entry: &Entry, manifest: &Manifest, at: EntryNo) -> Need {
        let path = entry.path.as_bytes();
        if self.opened.is_below_failed(path) {
            return Need::Silent;
        }
        if let Some(need) = self.mirrored_need(entry) {
            return need;
        }
        if self.is_guarded(entry) {
            return Need::Skip;
        }
        let need = match entry.kind {
            // What is to be at a mirrored path is for the index to say, and not for this entry.
            Kind::Set { .. } => Need::Skip,
            _ if manifest.dot(at).is_some() => match self.wanted.contains(&at) {
                true => Need::All,
                false => Need::Skip,
            },
            Kind::Open => self.open(entry),
            Kind::Close { .. } => self.close(entry, at),
            // What is to be deleted is looked for at the end.
            Kind::Keep | Kind::Gone => Need::Skip,
            Kind::Ahead { size } => self.announced(&entry.path, size),
            _ => self.object(entry, manifest, at),
        };
        let device = matches!(entry.kind, Kind::Char(..) | Kind::Block(..));
        let need = match need {
            // To be compared they need not be taken.
            Need::All | Need::Attributes
                if device && self.no_devices && !self.readonly && !self.mode.is_check() =>
            {
                Need::Failed(Reason::DeviceRefused)
            }
            need => need,
        };
        let need = match need {
            Need::All | Need::Attributes if !self.commits_nothing() => {
                self.with_room(entry, need, manifest, at)
            }
            need => need,
        };
        if need == Need::All {
            if let Some(parent) = self.opened.get(split(path).0) {
                parent.dirty = true;
            }
        }
        match need {
            // Comparing needs no right to write.
            need if self.mode.is_check() => need,
            Need::All | Need::Attributes if self.readonly => Need::ReadOnly,
            need => need,
        }
    }

    /// Whether an entry is left as it is here. A directory that is there is opened and closed nevertheless, for
    /// what is in it.
    fn is_guarded(&mut self, entry: &Entry) -> bool {
        let Some(guard) = self.guard else { return false };
        let is_close = matches!(entry.kind, Kind::Close { .. });
        // A directory that was not opened for this reason is not closed.
        let is_open = is_close && self.opened.get(entry.path.as_bytes()).is_some();
        if is_open || (!is_close && !entry.is_object()) {
            return false;
        }
        let found = self.look(&entry.path).ok().flatten();
        match found {
            Some(stat)
                if stat.kind == FileType::Directory && (is_close || entry.kind == Kind::Open) =>
            {
                false
            }
            Some(stat) => guard.keeps(&entry.path) || guard::is_edited(guard, &stat),
            None => guard.keeps(&entry.path),
        }
    }

    /// The need of an entry that is to be written, as far as its file system may take it.
    fn with_room(&mut self, entry: &Entry, need: Need, manifest: &Manifest, at: EntryNo) -> Need {
        let path = entry.path.as_bytes();
        let dir = split(path).0;
        // What comes again is tried in any case.
        let comes_again = manifest.digest(at).is_some();
        let reason = if !comes_again && self.room.is_out(self.dirs, dir, need) {
            Reason::NotTried
        } else if need == Need::All
            && entry.data_len() > 0
            && self.free(dir).is_some_and(|free| free < entry.data_len())
        {
            Reason::Os(errno::ENOSPC)
        } else {
            return need;
        };
        if entry.kind == Kind::Open {
            self.opened.fail(path);
        }
        Need::Failed(reason)
    }

    fn free(&mut self, dir: &[u8]) -> Option<u64> {
        if let Some(free) = self.free.get(dir) {
            return *free;
        }
        let free = room::free(self.dirs, dir, self.rights.is_root());
        self.free.insert(dir.to_vec(), free);
        free
    }

    fn look(&mut self, path: &RelPath) -> io::Result<Option<Stat>> {
        let found = self.dirs.parent(path).and_then(|(dir, name)| fsat::stat_at(dir.as_fd(), name));
        match found.map_err(|e| (e.raw_os_error(), e)) {
            Ok(stat) => Ok(Some(stat)),
            // The open entry before this one creates the directory.
            Err((Some(libc::ENOENT), _)) => Ok(None),
            // It will be when the commit has replaced it by a directory.
            Err((Some(libc::ENOTDIR | libc::ELOOP), _))
                if self.opened.is_below_replaced(path.as_bytes()) =>
            {
                Ok(None)
            }
            // The commit will give itself access; until then it is unknown what is there.
            Err((Some(libc::EACCES), _))
                if !self.mode.is_check() && self.opened.is_below_unusable(path.as_bytes()) =>
            {
                Ok(None)
            }
            Err((_, e)) => Err(e),
        }
    }

    fn grain(&self, stat: &Stat) -> Grain {
        known_of(self.staging, stat).0
    }

    fn differ(&self, entry: &Entry, stat: &Stat, proven: bool) -> bool {
        self.rights.differ(entry, stat, known_of(self.staging, stat), proven)
    }

    /// Why the sender's name at `path`, which is `found` here, cannot be an entry of its own, if it cannot.
    fn same_name(&mut self, path: &RelPath, found: Option<&Stat>) -> Option<Reason> {
        let (dir, name) = split(path.as_bytes());
        let folding = self.opened.folding(dir).filter(|folding| !folding.is_plain())?;
        let fd = self.dirs.dir(dir).ok();
        let fd = fd.as_ref().map(|fd| fd.as_fd());
        if let (Some(fd), true) = (fd, dir.is_empty()) {
            if let Ok(ours) = fsat::stat_at(fd, STAGING) {
                folding.test(fd, STAGING, &ours);
            }
        }
        folding.meet(fd, name, found).map(Reason::SameName)
    }

    fn open(&mut self, entry: &Entry) -> Need {
        let found = self.look(&entry.path);
        let same_name = match &found {
            Ok(found) => self.same_name(&entry.path, found.as_ref()),
            Err(_) => None,
        };
        let failed = match &found {
            _ if same_name.is_some() => same_name,
            Ok(None) => None,
            Ok(Some(stat)) => match stat.kind {
                FileType::Directory => None,
                _ if self.is_replaced(&entry.path) => None,
                FileType::Symlink => Some(Reason::LinkInPath),
                _ => Some(Reason::NotADirectoryInPlace),
            },
            Err(e) => Some(reason(e)),
        };
        let found = found.ok().flatten().filter(|_| failed.is_none());
        let is_dir = |stat: &Stat| stat.kind == FileType::Directory;
        let replaces = found.as_ref().filter(|stat| !is_dir(stat)).map(ObjectId::of);
        let stat = found.filter(is_dir);
        let keeps = stat.is_some() && self.guard.is_some_and(|guard| guard.keeps(&entry.path));
        let own = stat.as_ref().filter(|_| keeps).map(|stat| Entry {
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            mtime: stat.mtime,
            ..entry.clone()
        });
        // As it was before this transfer, if it is opened once more.
        let before = self.opened.get(entry.path.as_bytes()).filter(|known| known.keeps);
        let own = before.map(|known| known.entry.clone()).or(own);
        let entry = own.as_ref().unwrap_or(entry);
        let differs = stat.as_ref().is_some_and(|stat| self.differ(entry, stat, false));
        let lacks_owner_access =
            stat.as_ref().is_some_and(|stat| self.rights.lacks_owner_access(stat));
        let id = stat.as_ref().map(ObjectId::of);
        if !self.opened.open(entry, id, differs, lacks_owner_access) {
            return Need::Failed(Reason::Os(errno::ENOMEM));
        }
        let path = entry.path.as_bytes();
        let above = self.opened.folding(split(path).0).and_then(|above| above.folds());
        let lacks = stat.as_ref().map_or(Lacks::NONE, |stat| self.lacks(entry, stat));
        if let Some(known) = self.opened.get(path) {
            known.lacks = lacks;
            known.folding.inherit(above, stat.is_some());
            known.replaces = replaces;
            known.keeps = keeps;
        }
        match failed {
            Some(reason) => {
                self.opened.fail(path);
                Need::Failed(reason)
            }
            None if stat.is_some() => Need::Skip,
            // Everything in it is missing too, and will be reported.
            None if self.mode.is_check() => MISSING,
            None => Need::All,
        }
    }

    /// Whether the directory that is sent to `path` takes the place of whatever is there. What is on the
    /// way to the transfer's path stays: it may lead elsewhere on purpose.
    fn is_replaced(&self, path: &RelPath) -> bool {
        !self.mode.is_check() && self.about.as_ref().is_some_and(|about| path.is_under(about))
    }

    fn close(&mut self, entry: &Entry, at: EntryNo) -> Need {
        let path = entry.path.as_bytes();
        let idle = self.commits_nothing();
        let failed = self.opened.has_failed(path);
        let need = match self.opened.get(path) {
            _ if failed => Need::Silent,
            Some(dir) if !dir.existed && self.mode.is_check() => Need::Silent,
            Some(dir) if dir.existed && dir.differs => Need::Attributes,
            Some(dir) if !idle && (!dir.existed || dir.dirty) => Need::Attributes,
            Some(dir) => {
                if dir.lacks != Lacks::NONE {
                    self.lacks.insert(at, dir.lacks);
                }
                Need::Skip
            }
            None => self.attributes(entry, at),
        };
        if idle || matches!(need, Need::Skip | Need::Silent) {
            // The commit will have nothing to do for it.
            self.opened.release(path);
        }
        need
    }

    /// The need of a close entry whose directory is not open.
    fn attributes(&mut self, entry: &Entry, at: EntryNo) -> Need {
        match self.look(&entry.path) {
            Ok(Some(stat)) if stat.kind == FileType::Directory => {
                if !self.differ(entry, &stat, false) {
                    self.note_lacks(entry, &stat, at);
                    return Need::Skip;
                }
                self.examined.insert(at, Examined::object(ObjectId::of(&stat)));
                Need::Attributes
            }
            Ok(Some(_)) => Need::Failed(Reason::NotADirectoryInPlace),
            Ok(None) => Need::Failed(Reason::Os(errno::ENOENT)),
            Err(e) => Need::Failed(reason(&e)),
        }
    }

    fn object(&mut self, entry: &Entry, manifest: &Manifest, at: EntryNo) -> Need {
        let digest = manifest.digest(at);
        let found = match self.look(&entry.path) {
            Ok(found) => found,
            Err(e) => return Need::Failed(reason(&e)),
        };
        if let Some(reason) = self.same_name(&entry.path, found.as_ref()) {
            return Need::Failed(reason);
        }
        let stat = match found {
            Some(stat) => stat,
            None if self.mode.is_check() => return MISSING,
            None => return Need::All,
        };
        let same = self.same_content(entry, &stat, digest);
        let proven = matches!(same, Ok(true)) && digest.is_some();
        match same {
            Err(e) => Need::Failed(reason(&e)),
            Ok(false) if stat.kind == FileType::Directory && !self.mode.is_check() => {
                match self.is_empty(&entry.path) {
                    Ok(true) => Need::All,
                    Ok(false) if self.mode.sends_and_deletes() => {
                        self.in_place.insert(at);
                        Need::All
                    }
                    Ok(false) => Need::Failed(Reason::DirectoryInPlace),
                    Err(e) => Need::Failed(reason(&e)),
                }
            }
            Ok(false) => Need::All,
            Ok(true) if self.is_unsure(entry, &stat, manifest.age(at)) => Need::Unsure,
            Ok(true) if !self.differ(entry, &stat, proven) => {
                self.note_lacks(entry, &stat, at);
                if proven {
                    self.compared(entry, &stat);
                }
                Need::Skip
            }
            Ok(true)
                if !self.mode.is_check()
                    && self.rights.must_replace(
                        entry,
                        &stat,
                        known_of(self.staging, &stat).1,
                        proven,
                    ) =>
            {
                Need::All
            }
            Ok(true) => {
                let proven = proven.then(|| Identity::of(&stat));
                self.examined.insert(at, Examined { id: ObjectId::of(&stat), proven });
                Need::Attributes
            }
        }
    }

    /// Whether a file that looks the same may have changed since it was written or compared here: the
    /// file system has cut its time, and it changed later.
    fn is_unsure(&mut self, entry: &Entry, stat: &Stat, age: Option<u32>) -> bool {
        let (true, Some(age)) = (self.cuts_time(entry, stat), age) else { return false };
        let now = self.staging.map(|staging| *self.now.get_or_insert_with(|| staging.now()));
        let changed = now.map_or(i64::MAX, |now| now - i64::from(age));
        changed.saturating_add(self.grain(stat).secs()) >= stat.ctime.secs
    }

    fn cuts_time(&self, entry: &Entry, stat: &Stat) -> bool {
        matches!(entry.kind, Kind::File { .. }) && !self.grain(stat).keeps(entry.mtime)
    }

    /// The digest of a file is known to be the same. Where its time is cut, setting that once more moves
    /// its ctime, which tells when it was compared.
    fn compared(&mut self, entry: &Entry, stat: &Stat) {
        if self.cuts_time(entry, stat) && !self.commits_nothing() {
            let at = self.dirs.parent(&entry.path);
            // Without the right to do it, it is compared once more the next time.
            let _ = at.and_then(|(dir, name)| fsat::set_mtime_at(dir.as_fd(), name, stat.mtime));
        }
    }

    fn is_empty(&mut self, path: &RelPath) -> io::Result<bool> {
        let (dir, name) = self.dirs.parent(path)?;
        sweep::is_empty(dir.as_fd(), name)
    }

    fn same_content(
        &mut self,
        entry: &Entry,
        stat: &Stat,
        digest: Option<&Digest>,
    ) -> io::Result<bool> {
        if !is_kind(&entry.kind, stat.kind) {
            return Ok(false);
        }
        Ok(match &entry.kind {
            Kind::File { size, .. } if self.mode.ignores_times() || *size != stat.size => false,
            Kind::File { .. } => match digest {
                Some(digest) => self.has_digest(entry, stat, digest)?,
                None => self.grain(stat).same(stat.mtime, entry.mtime),
            },
            Kind::Symlink(target) => {
                let (dir, name) = self.dirs.parent(&entry.path)?;
                fsat::readlink_at(dir.as_fd(), name)? == *target
            }
            Kind::Char(major, minor) | Kind::Block(major, minor) => stat.rdev == (*major, *minor),
            Kind::Fifo
            | Kind::Open
            | Kind::Close { .. }
            | Kind::Keep
            | Kind::Gone
            | Kind::Ahead { .. }
            | Kind::Set { .. } => true,
        })
    }

    /// Has the digest of a file computed that will be compared, while the sender does the same.
    fn announced(&mut self, path: &RelPath, size: u64) -> Need {
        // Errors will show when the file itself is compared.
        let found = self.look(path).ok().flatten();
        let identity = found.as_ref().and_then(|stat| comparable(stat, size));
        let identity = identity.filter(|_| !self.mode.ignores_times());
        self.long.announced(self.digests, self.dirs.root(), path, size, identity);
        Need::Skip
    }

    fn digest(&mut self, path: &RelPath, identity: &Identity) -> io::Result<Option<Digest>> {
        let (dir, name) = self.dirs.parent(path)?;
        self.digester.digest(dir.as_fd(), name, identity, self.cancelled)
    }

    /// Whether a file of the right size has the right content. False for one that is being changed, and
    /// unless this is a `check`, for one that cannot be read.
    fn has_digest(&mut self, entry: &Entry, stat: &Stat, digest: &Digest) -> io::Result<bool> {
        let identity = Identity::of(stat);
        let found = match self.long.take(&entry.path, &identity) {
            Some(found) => found,
            None => self.digest(&entry.path, &identity),
        };
        match found {
            Ok(found) => Ok(found.as_ref() == Some(digest)),
            Err(e) if self.mode.is_check() => Err(e),
            Err(_) => Ok(false),
        }
    }
}
