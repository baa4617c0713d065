//! A version gets its name: what waits in a slot, and what has the name, are exchanged. Then both are looked at.
//! They are not exchanged back: what was placed may have been changed by then.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::look::{Here, look_at, look_fd};
use super::ops::Ops;
use super::slots::{self, Slot};
use super::trash::Trash;
use crate::fs::exchange;
use crate::name::RelPath;
use crate::sys::fsat::{self, FileType, Rename};

/// How often it is tried again because the name was taken, or was free, in the meantime.
const TRIES: usize = 8;

/// What was placed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Put {
    /// What was found of it afterwards. It may be somewhere else already.
    pub here: Here,
    /// What had the name; None if nothing did, or nothing that is mirrored. If it is no directory, it is in the slot.
    pub out: Option<Here>,
    /// What had the name when that was looked at directly before: renaming changes the ctime.
    pub before: Option<Here>,
}

impl Ops<'_> {
    /// Gives what is in a slot, and is no directory, its name. What has the name, and is not an empty directory,
    /// is in the slot afterwards.
    ///
    /// Where the kernel or the file system cannot exchange names, a file that is put there by rename(2) at this
    /// very moment is lost; and where there are no hard links either, nothing has the name for a moment, and what
    /// is put there then goes to the trash.
    ///
    /// # Errors
    /// ENOTEMPTY or EEXIST if a directory with something in it has the name; ENOENT if nothing is in the slot; the
    /// directory above is missing; those of rename(2).
    pub fn place(&mut self, path: &RelPath, slot: Slot) -> io::Result<Put> {
        self.place_by(path, slot, exchange)
    }

    pub(super) fn place_by(
        &mut self,
        path: &RelPath,
        slot: Slot,
        exchange: Exchange,
    ) -> io::Result<Put> {
        let (dir, name) = self.dirs.parent(path)?;
        let from = slot.name();
        let place = slots::find(self.staging, self.rights, &from)?;
        let stage = place.ok_or(io::ErrorKind::NotFound)?.stage;
        // What is placed is looked at by this, whatever becomes of its name.
        let held = fsat::open_at(stage, &from, libc::O_PATH, 0)?;
        let before = look_at(dir.as_fd(), name)?;
        let swapped = swap((stage, &slot), (dir.as_fd(), name), exchange);
        self.dirs.forget_at(path.as_bytes());
        if swapped.is_err() {
            self.clear_second(path, slot)?;
        }
        let gone = swapped?;
        let here = look_fd(held.as_fd())?.ok_or(io::ErrorKind::NotFound)?;
        let came = self.in_slot(slot)?;
        Ok(Put { here, out: came.or(gone), before })
    }

    /// What is in a slot from which something was to be placed when the daemon ended. If that is still in it, it was
    /// not done. Else it was, and this had the name before; nothing in it never means that nothing had.
    ///
    /// # Errors
    /// As [`Ops::in_slot`].
    pub fn recover(&mut self, path: &RelPath, slot: Slot) -> io::Result<Option<Here>> {
        self.clear_second(path, slot)?;
        self.in_slot(slot)
    }

    /// What had the name was moved away, and the rest was not done: it comes into the slot if that is free, else
    /// it has its name again. If that was taken meanwhile, it goes to the trash.
    fn clear_second(&mut self, path: &RelPath, slot: Slot) -> io::Result<()> {
        let (name, second) = (slot.name(), slot.second_name());
        let Some(place) = slots::find(self.staging, self.rights, &second)? else { return Ok(()) };
        let stage = place.stage;
        let (dir, last) = self.dirs.parent(path)?;
        for to in [(stage, &name[..]), (dir.as_fd(), last)] {
            match fsat::rename_at(stage, &second, to.0, to.1, Rename::NoReplace) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                done => return done,
            }
        }
        let mut trash = Trash { us: self.rights.uid(), now: self.now, tallies: self.tallies };
        trash.take(place.top, (stage, &second), path).map(drop)
    }
}

/// Gives what is in a slot a name. The directory that had it, if one did.
fn swap(
    from: (BorrowedFd<'_>, &Slot),
    to: (BorrowedFd<'_>, &[u8]),
    exchange: Exchange,
) -> io::Result<Option<Here>> {
    let name = from.1.name();
    let rename = || fsat::rename_at(from.0, &name, to.0, to.1, Rename::NoReplace);
    let mut gone = None;
    for _ in 0..TRIES {
        let found = match fsat::stat_at(to.0, to.1) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            found => Some(found?.kind),
        };
        let tried = match found {
            None => rename(),
            Some(FileType::Directory) => {
                gone = look_at(to.0, to.1)?;
                fsat::rmdir_at(to.0, to.1).and_then(|()| rename())
            }
            Some(_) => exchange(from, to),
        };
        match (found, tried.map_err(|e| (e.kind(), e))) {
            (_, Ok(())) => return Ok(gone),
            (None, Err((io::ErrorKind::AlreadyExists, _)))
            | (Some(_), Err((io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, _))) => {}
            (_, Err((_, e))) => return Err(e),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EAGAIN))
}

/// How what is in a slot, and what has a name, are exchanged: neither may be a directory.
pub(super) type Exchange = fn((BorrowedFd<'_>, &Slot), (BorrowedFd<'_>, &[u8])) -> io::Result<()>;

fn exchange(from: (BorrowedFd<'_>, &Slot), to: (BorrowedFd<'_>, &[u8])) -> io::Result<()> {
    let name = from.1.name();
    match exchange::with_no_tree((from.0, &name), to) {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => by_link(from, to),
        done => done,
    }
}

/// What has the name gets a second one, and is replaced.
pub(super) fn by_link(
    from: (BorrowedFd<'_>, &Slot),
    to: (BorrowedFd<'_>, &[u8]),
) -> io::Result<()> {
    let (stage, name, second) = (from.0, from.1.name(), from.1.second_name());
    let held = fsat::open_at(to.0, to.1, libc::O_PATH, 0)?;
    if fsat::name_it(held.as_fd(), stage, &second).is_err() {
        return by_two_renames(from, to);
    }
    match fsat::rename_at(stage, &name, to.0, to.1, Rename::Replace) {
        Ok(()) => fsat::rename_at(stage, &second, stage, &name, Rename::Replace),
        Err(e) => {
            fsat::unlink_at(stage, &second)?;
            Err(e)
        }
    }
}

/// What has the name is moved away first.
pub(super) fn by_two_renames(
    from: (BorrowedFd<'_>, &Slot),
    to: (BorrowedFd<'_>, &[u8]),
) -> io::Result<()> {
    let (stage, name, second) = (from.0, from.1.name(), from.1.second_name());
    fsat::rename_at(to.0, to.1, stage, &second, Rename::NoReplace)?;
    match fsat::rename_at(stage, &name, to.0, to.1, Rename::NoReplace) {
        Ok(()) => fsat::rename_at(stage, &second, stage, &name, Rename::Replace),
        Err(e) => {
            fsat::rename_at(stage, &second, to.0, to.1, Rename::NoReplace)?;
            Err(e)
        }
    }
}
