//! Files that were moved at the sender: where this host has the same under the old name, it is copied into
//! staging, or shares its blocks, instead of being sent.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use super::attributes::set_attributes;
use super::disk::{Disk, PlannedBatch};
use super::heritage;
use super::identity::{Identity, open_to_read};
use super::paths::split;
use super::rights::{PRIVATE, Rights, Wanted};
use super::root::Dirs;
use super::staging::{Staged, Staging, create};
use crate::engine::disk_job::TransferKey;
use crate::ids::EntryNo;
use crate::name::RelPath;
use crate::sys::fsat::{self, FileType};
use crate::wire::manifest::{Digest, Entry, Kind};
use crate::wire::outcome::{Lacks, Need};

/// How much is copied before it is asked whether that is still wanted.
const PIECE: u64 = 4 << 20;

impl Disk {
    /// Stages what is here under the name that it had before it was moved, below `about`: which entries.
    pub(super) fn stage_moved(
        &mut self,
        key: TransferKey,
        about: Option<&RelPath>,
        planned: &mut PlannedBatch,
    ) -> Vec<EntryNo> {
        let mut moved = Vec::new();
        let manifest = planned.manifest.clone();
        for (at, from) in &manifest.origins {
            let entry = manifest.entries.get(at.index());
            let (Some(entry), Some(digest), Some(about)) = (entry, manifest.digest(*at), about)
            else {
                continue;
            };
            let is_wanted = planned.needs.get(at.index()) == Some(&Need::All);
            if !is_wanted || !from.is_under(about) || *from == entry.path {
                continue;
            }
            // Whatever is in the way, it can be sent.
            let Ok(Some((staged, lacks))) = self.stage_copy(key, entry, from, digest) else {
                continue;
            };
            let Some(room) = planned.staged.get_mut(at.index()) else { continue };
            *room = Some(Ok(staged));
            if lacks != Lacks::NONE {
                planned.lacks.insert(*at, lacks);
            }
            moved.push(*at);
        }
        moved
    }

    /// A staged copy of what is at `from`; None if that is not what `entry` describes.
    fn stage_copy(
        &mut self,
        key: TransferKey,
        entry: &Entry,
        from: &RelPath,
        digest: &Digest,
    ) -> io::Result<Option<(Staged, Lacks)>> {
        let Kind::File { size, data } = &entry.kind else { return Ok(None) };
        let Some(staging) = &mut self.staging else { return Ok(None) };
        let (dir, name) = self.dirs.parent(from)?;
        let stat = fsat::stat_at(dir.as_fd(), name)?;
        let (grain, _) = staging.known_of(&stat);
        let looks_same = stat.kind == FileType::File
            && stat.size == *size
            && grain.same(stat.mtime, entry.mtime);
        let identity = Identity::of(&stat);
        let closing = &self.closing;
        let cancelled = || closing.contains(key);
        if !looks_same
            || self.digester.digest(dir.as_fd(), name, &identity, &cancelled)? != Some(*digest)
        {
            return Ok(None);
        }
        let source = File::from(open_to_read(dir.as_fd(), name)?);
        let ground = (staging, &mut self.dirs, &self.rights);
        let from = (&source, &identity);
        let how = (data.is_none(), self.config.fsync);
        make_copy(ground, entry, from, how, &cancelled).map(Some)
    }
}

/// Stages a copy of a file that is like `identity`, with the attributes of `entry`; it will be synced if `fsync`
/// says so. If `may_copy` says no, it must share its blocks.
pub(super) fn make_copy(
    (staging, dirs, rights): (&mut Staging, &mut Dirs, &Rights),
    entry: &Entry,
    (source, identity): (&File, &Identity),
    (may_copy, fsync): (bool, bool),
    cancelled: &dyn Fn() -> bool,
) -> io::Result<(Staged, Lacks)> {
    let parent = split(entry.path.as_bytes()).0;
    let place = staging.place_for(dirs, parent, rights)?;
    let (_, keeps, grain) = staging.fresh(place)?;
    let heritage = heritage::of(dirs, parent, rights);
    let made = staging.make(place, rights, |dir, name| {
        let file = match &heritage {
            Some(from) => heritage::create_as_in(from.as_fd(), dir, name)?.0,
            None => create(dir, name, PRIVATE)?,
        };
        let done = copy(source, &file, identity.size, may_copy, cancelled).and_then(|()| {
            // What was read is what was looked at.
            if !identity.is_still(source)? {
                return Err(io::Error::from_raw_os_error(libc::ESTALE));
            }
            let has = Wanted::of(&fsat::stat_fd(file.as_fd())?);
            let lacks = set_attributes(&file, entry, (rights, keeps), has)?;
            if fsync {
                fsat::start_writeback(file.as_fd());
            }
            Ok(lacks)
        });
        done.inspect_err(|_| drop(fsat::unlink_at(dir, name)))
    });
    let (staged, lacks) = made?;
    let time = Lacks::of([(Lacks::TIME, !grain.in_range(entry.mtime))]);
    Ok((staged, lacks.and(time)))
}

/// Makes `to` what `from` is: by sharing its blocks where the file system can do that. If not, it is copied
/// if `may_copy` says so.
fn copy(
    from: &File,
    to: &File,
    size: u64,
    may_copy: bool,
    cancelled: &dyn Fn() -> bool,
) -> io::Result<()> {
    match fsat::share_blocks(from.as_fd(), to.as_fd(), 0) {
        Ok(()) => return Ok(()),
        // Holes would be filled.
        Err(error) if !may_copy => return Err(error),
        Err(_) => {}
    }
    let mut left = size;
    while left > 0 && !cancelled() {
        let copied = io::copy(&mut from.take(left.min(PIECE)), &mut &*to)?;
        if copied == 0 {
            break;
        }
        left -= copied;
    }
    match left {
        0 => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
