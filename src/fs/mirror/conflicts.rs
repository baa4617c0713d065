//! Versions that do not have their name because another one has it: `.makuosan/conflicts/DOT/PATH`, each with all
//! that it has. (A dot is of one tree and one path, so nothing else can be in its directory.)

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::kept;
use super::look::{Here, look_at};
use super::ops::Ops;
use super::slots::{self, Slot};
use super::trash::Trash;
use crate::fs::claim::CONFLICTS;
use crate::fs::errors::leads_nowhere;
use crate::fs::identity::open_to_read;
use crate::fs::paths::split;
use crate::fs::sweep;
use crate::name::RelPath;
use crate::sys::fsat::{self, FileType, Rename};
use crate::wire::versions::Dot;

impl Ops<'_> {
    /// Keeps what is in a slot as the version of a dot, in place of what is kept of it. The slot is free then.
    ///
    /// # Errors
    /// ENOENT if nothing is in the slot; its directory cannot be made; those of rename(2).
    pub fn keep_conflict(&mut self, path: &RelPath, dot: Dot, slot: Slot) -> io::Result<()> {
        let name = slot.name();
        let place = slots::find(self.staging, self.rights, &name)?;
        let place = place.ok_or(io::ErrorKind::NotFound)?;
        put(place.top, self.rights.uid(), (place.stage, &name), path, dot)?;
        self.staging.slots.remove(&slot.0);
        Ok(())
    }

    /// What is kept of a dot; None if nothing is.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn conflict(&mut self, path: &RelPath, dot: Dot) -> io::Result<Option<Here>> {
        let found = self.find_conflict(path, dot)?;
        found.map_or(Ok(None), |(_, dir)| look_at(dir.as_fd(), split(path.as_bytes()).1))
    }

    /// Opens a file that is kept, for reading.
    ///
    /// # Errors
    /// ENOENT if nothing is kept of the dot; ELOOP, ENXIO if it is no file.
    pub fn open_conflict(&mut self, path: &RelPath, dot: Dot) -> io::Result<OwnedFd> {
        let found = self.find_conflict(path, dot)?;
        let (_, dir) = found.ok_or(io::ErrorKind::NotFound)?;
        open_to_read(dir.as_fd(), split(path.as_bytes()).1)
    }

    /// Moves what is kept into a slot, to be placed.
    ///
    /// # Errors
    /// ENOENT if nothing is kept of the dot; those of rename(2).
    pub fn take_conflict(&mut self, path: &RelPath, dot: Dot) -> io::Result<Slot> {
        let found = self.find_conflict(path, dot)?;
        let (at, dir) = found.ok_or(io::ErrorKind::NotFound)?;
        let slot = slots::fresh(self.staging)?;
        let (top, stage) = self.staging.places().nth(at).ok_or(io::ErrorKind::NotFound)?;
        let last = split(path.as_bytes()).1;
        match fsat::rename_at(dir.as_fd(), last, stage, &slot.name(), Rename::NoReplace) {
            Ok(()) => {
                forget(top, dot);
                Ok(slot)
            }
            Err(e) => {
                self.staging.slots.remove(&slot.0);
                Err(e)
            }
        }
    }

    /// Moves what is kept to the trash, or where that cannot be, removes it.
    ///
    /// # Errors
    /// As [`Ops::conflict`].
    pub fn drop_conflict(&mut self, path: &RelPath, dot: Dot) -> io::Result<()> {
        let Some((at, dir)) = self.find_conflict(path, dot)? else { return Ok(()) };
        let Some((top, _)) = self.staging.places().nth(at) else { return Ok(()) };
        let mut trash = Trash { us: self.rights.uid(), now: self.now, tallies: self.tallies };
        let _ = trash.take(top, (dir.as_fd(), split(path.as_bytes()).1), path);
        forget(top, dot);
        Ok(())
    }

    /// Calls `each` with all that is kept, in no order, as far as it can be reached. Whether all can.
    ///
    /// # Errors
    /// It cannot be listed.
    pub fn conflicts(&mut self, mut each: impl FnMut(RelPath, Dot, Here)) -> io::Result<bool> {
        let is_all = self.staging.open_left(self.rights);
        for (top, _) in self.staging.places() {
            let all = match fsat::open_at(top, CONFLICTS, fsat::LISTING, 0) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                all => all?,
            };
            for name in sweep::names(all.as_fd())? {
                let Some(dot) = std::str::from_utf8(&name).ok().and_then(Dot::read) else {
                    continue;
                };
                let one = fsat::open_at(all.as_fd(), &name, fsat::PATH_ONLY, 0)?;
                kept::each(one.as_fd(), |path, dir, name| {
                    if let (Ok(path), Some(here)) = (RelPath::parse(path), look_at(dir, name)?) {
                        each(path, dot, here);
                    }
                    Ok(())
                })?;
            }
        }
        Ok(is_all)
    }

    /// In which of the places the version of a dot is kept, and in which directory there.
    fn find_conflict(&mut self, path: &RelPath, dot: Dot) -> io::Result<Option<(usize, OwnedFd)>> {
        self.staging.open_left(self.rights);
        let (above, last) = split(path.as_bytes());
        for (at, (top, _)) in self.staging.places().enumerate() {
            let one = [CONFLICTS, b"/", &name_of(dot)].concat();
            let found = fsat::open_beneath(top, &one, fsat::PATH_ONLY).and_then(|one| {
                let dir = fsat::open_beneath(one.as_fd(), above, fsat::PATH_ONLY)?;
                match fsat::stat_at(dir.as_fd(), last)?.kind {
                    // It is above another path.
                    FileType::Directory => Err(io::ErrorKind::NotFound.into()),
                    _ => Ok(dir),
                }
            });
            match found {
                Err(e) if leads_nowhere(&e) || e.kind() == io::ErrorKind::NotFound => {}
                found => return found.map(|dir| Some((at, dir))),
            }
        }
        Ok(None)
    }
}

/// Moves something to where the version of a dot is kept, in place of what is there. Where it is then.
pub(super) fn put(
    top: BorrowedFd<'_>,
    us: u32,
    from: (BorrowedFd<'_>, &[u8]),
    path: &RelPath,
    dot: Dot,
) -> io::Result<(OwnedFd, Vec<u8>)> {
    let all = kept::dir(top, CONFLICTS, us)?;
    let one = kept::dirs(all.as_fd(), &name_of(dot))?;
    let (above, name) = split(path.as_bytes());
    let dir = kept::dirs(one.as_fd(), above)?;
    fsat::rename_at(from.0, from.1, dir.as_fd(), name, Rename::Replace)?;
    Ok((dir, name.to_vec()))
}

/// Removes the directory of a dot with all that is left in it. What stays is found again when all are listed.
fn forget(top: BorrowedFd<'_>, dot: Dot) {
    let all = fsat::open_at(top, CONFLICTS, fsat::PATH_ONLY, 0);
    let one = all.and_then(|all| {
        let one = fsat::open_at(all.as_fd(), &name_of(dot), fsat::LISTING, 0)?;
        sweep::empty(one.as_fd(), |_| false)?;
        fsat::rmdir_at(all.as_fd(), &name_of(dot))
    });
    drop(one);
}

/// The name of the directory of a dot.
pub(super) fn name_of(dot: Dot) -> Vec<u8> {
    dot.to_string().into_bytes()
}
