//! Staging: writes what a batch needs below `.makuosan`, where no one sees it yet.

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::attributes::{give, set_attributes};
use super::disk::{Disk, StagedFile, never_planned};
use super::errors::reason;
use super::heritage;
use super::paths::split;
use super::rights::{Keeps, Rights, Wanted};
use super::root::Dirs;
use super::staging::{PlaceId, Staged, Staging, create};
use crate::engine::disk_job::{Body, DiskAnswer, TransferKey};
use crate::errno;
use crate::ids::{BatchNo, EntryNo};
use crate::sys::fsat::{self, FileType};
use crate::wire::manifest::{Entry, Kind};
use crate::wire::outcome::{Lacks, Need, Reason};

impl Disk {
    pub(super) fn stage(
        &mut self,
        key: TransferKey,
        batch: BatchNo,
        body: Body,
    ) -> DiskAnswer<StagedFile> {
        let Some(transfer) = self.transfers.get_mut(&key) else { return never_planned(key, batch) };
        if transfer.only_needs.contains_key(&batch) {
            return DiskAnswer::Staged { key, batch, buffer: into_buffer(body) };
        }
        let planned = transfer.batches.get_mut(&batch);
        let Some(planned) = planned else { return never_planned(key, batch) };
        let Some(staging) = self.staging.as_mut() else {
            return DiskAnswer::Staged { key, batch, buffer: into_buffer(body) };
        };
        let (manifest, layout) = (planned.manifest.clone(), planned.layout.clone());
        let mut stager = Stager {
            staging,
            dirs: &mut self.dirs,
            rights: &self.rights,
            fsync: self.config.fsync,
            places: HashMap::new(),
            heritage: HashMap::new(),
        };
        let in_memory = match &body {
            Body::Memory(bytes) => &bytes[..],
            Body::None | Body::File | Body::Lost(_) => &[],
        };
        for (at, entry) in manifest.entries.iter().enumerate() {
            let wanted = planned.needs.get(at) == Some(&Need::All);
            let Some(room) = planned.staged.get_mut(at) else { break };
            if !wanted || matches!(entry.kind, Kind::Open | Kind::Close { .. }) {
                continue;
            }
            let dir = split(entry.path.as_bytes()).0;
            let made = match (*room, &planned.file) {
                // The streamed file, which has been written already.
                (Some(Ok(staged)), Some(file)) => match body {
                    Body::File => {
                        let done = stager.finish(entry, staged, file.as_fd());
                        done.map_err(|e| reason(&e))
                    }
                    Body::Lost(reason) => Err(reason),
                    Body::None | Body::Memory(_) => Err(Reason::Os(errno::EIO)),
                },
                (Some(_), _) => continue,
                (None, _)
                    if manifest.digest(EntryNo::of(at)).is_none()
                        && transfer.room.is_out(stager.dirs, dir, Need::All) =>
                {
                    *room = Some(Err(Reason::NotTried));
                    continue;
                }
                (None, _) => {
                    let slot = layout.slot(EntryNo::of(at));
                    let range = slot.map_or(0..0, |slot| slot.start..slot.start + slot.len);
                    match in_memory.get(range.start as usize..range.end as usize) {
                        Some(bytes) => stager.make(entry, bytes).map_err(|e| reason(&e)),
                        None => Err(Reason::Os(errno::EIO)),
                    }
                }
            };
            transfer.room.note(stager.dirs, dir, &made);
            if let (Some(Ok(before)), Err(_)) = (*room, &made) {
                stager.staging.discard(before);
            }
            *room = Some(made.map(|(staged, lacks)| {
                if lacks != Lacks::NONE {
                    planned.lacks.insert(EntryNo::of(at), lacks);
                }
                staged
            }));
        }
        planned.is_whole = true;
        if !self.config.fsync {
            planned.file = None;
        }
        DiskAnswer::Staged { key, batch, buffer: into_buffer(body) }
    }
}

fn into_buffer(body: Body) -> Option<Vec<u8>> {
    match body {
        Body::Memory(bytes) => Some(bytes),
        Body::None | Body::File | Body::Lost(_) => None,
    }
}

struct Stager<'a> {
    staging: &'a mut Staging,
    dirs: &'a mut Dirs,
    rights: &'a Rights,
    fsync: bool,
    /// By the directory that something will be renamed into.
    places: HashMap<Vec<u8>, PlaceId>,
    /// By the same: the directory that files inherit from, if that makes a difference.
    heritage: HashMap<Vec<u8>, Option<Arc<OwnedFd>>>,
}

impl Stager<'_> {
    fn place(&mut self, parent: &[u8]) -> io::Result<PlaceId> {
        if let Some(place) = self.places.get(parent) {
            return Ok(*place);
        }
        let place = self.staging.place_for(self.dirs, parent, self.rights)?;
        self.places.insert(parent.to_vec(), place);
        Ok(place)
    }

    fn heritage(&mut self, parent: &[u8]) -> Option<Arc<OwnedFd>> {
        if let Some(known) = self.heritage.get(parent) {
            return known.clone();
        }
        let found = heritage::of(self.dirs, parent, self.rights).map(Arc::new);
        self.heritage.insert(parent.to_vec(), found.clone());
        found
    }

    /// Creates what `entry` describes; `bytes` are its content if it is a file.
    fn make(&mut self, entry: &Entry, bytes: &[u8]) -> io::Result<(Staged, Lacks)> {
        let place = self.place(split(entry.path.as_bytes()).0)?;
        let (fresh, keeps, grain) = self.staging.fresh(place)?;
        let (rights, fsync) = (self.rights, self.fsync);
        let (mode, has) = fresh.with(entry, rights, keeps);
        let time = Lacks::of([(Lacks::TIME, !grain.in_range(entry.mtime))]);
        let heritage = self.heritage(split(entry.path.as_bytes()).0);
        let made_file = |dir: BorrowedFd<'_>, name: &[u8]| match &heritage {
            Some(from) => heritage::create_as_in(from.as_fd(), dir, name),
            None => Ok((create(dir, name, mode)?, has)),
        };
        let make = |dir: BorrowedFd<'_>, name: &[u8]| {
            let made = match entry.kind {
                Kind::File { .. } => made_file(dir, name).and_then(|(file, has)| {
                    (&file).write_all(bytes)?;
                    let lacks = set_attributes(&file, entry, (rights, keeps), has)?;
                    if fsync {
                        fsat::start_writeback(file.as_fd());
                    }
                    Ok(lacks)
                }),
                _ => make_node(dir, name, entry, (rights, keeps), fresh.private()),
            };
            // Remove what is incomplete, unless the name was taken: then it is not ours.
            made.inspect_err(|e| {
                if e.kind() != io::ErrorKind::AlreadyExists {
                    let _ = fsat::unlink_at(dir, name);
                }
            })
        };
        self.staging.make(place, rights, make).map(|(staged, lacks)| (staged, lacks.and(time)))
    }

    /// Sets the attributes of the streamed file.
    fn finish(
        &mut self,
        entry: &Entry,
        staged: Staged,
        file: BorrowedFd<'_>,
    ) -> io::Result<(Staged, Lacks)> {
        let (_, keeps, grain) = self.staging.fresh(staged.place())?;
        let has = Wanted::of(&fsat::stat_fd(file)?);
        let lacks = set_attributes(&file, entry, (self.rights, keeps), has)?;
        if self.fsync {
            fsat::start_writeback(file);
        }
        Ok((staged, lacks.and(Lacks::of([(Lacks::TIME, !grain.in_range(entry.mtime))]))))
    }
}

/// Creates a symbolic link, a FIFO or a device, with its attributes.
fn make_node(
    dir: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    (rights, keeps): (&Rights, Keeps),
    fresh: Wanted,
) -> io::Result<Lacks> {
    let (kind, rdev) = match &entry.kind {
        Kind::Symlink(target) => {
            fsat::symlink_at(target, dir, name)?;
            (FileType::Symlink, (0, 0))
        }
        Kind::Fifo => (FileType::Fifo, (0, 0)),
        Kind::Char(major, minor) => (FileType::Char, (*major, *minor)),
        Kind::Block(major, minor) => (FileType::Block, (*major, *minor)),
        Kind::File { .. }
        | Kind::Open
        | Kind::Close { .. }
        | Kind::Keep
        | Kind::Gone
        | Kind::Ahead { .. }
        | Kind::Set { .. } => {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
    };
    if kind != FileType::Symlink {
        fsat::mknod_at(dir, name, kind, 0o600, rdev)?;
    }
    // Only what was created is changed, whatever has that name by then.
    let fd = fsat::open_at(dir, name, libc::O_PATH, 0)?;
    let stat = fsat::stat_fd(fd.as_fd())?;
    let is_device = matches!(kind, FileType::Char | FileType::Block);
    if stat.kind != kind || (is_device && stat.rdev != rdev) || stat.uid != fresh.uid {
        return Err(io::Error::from_raw_os_error(libc::ESTALE));
    }
    let wanted = rights.wanted(entry, fresh, keeps);
    if let Some(wanted) = rights.before_it_goes(wanted, fresh) {
        if kind != FileType::Symlink && keeps.modes {
            fsat::chmod_at(dir, name, fd.as_fd(), wanted.mode)?;
        }
        fsat::set_mtime_path(dir, name, fd.as_fd(), entry.mtime)?;
        return Ok(rights.lacks(entry, give(fd.as_fd(), wanted, fresh, rights)?));
    }
    let owned = give(fd.as_fd(), wanted, fresh, rights)?;
    let wanted = if owned == wanted { wanted } else { rights.without_owner(entry, owned, keeps) };
    if kind != FileType::Symlink && keeps.modes {
        fsat::chmod_at(dir, name, fd.as_fd(), wanted.mode)?;
    }
    fsat::set_mtime_path(dir, name, fd.as_fd(), entry.mtime)?;
    Ok(rights.lacks(entry, wanted))
}
