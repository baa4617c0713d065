//! What another host has removed goes to the trash, and is looked at there.

use std::io;
use std::os::fd::AsFd;

use super::look::look_at;
use super::slots::{self, Slot};
use super::trash::Trash;
use super::{Here, Ops};
use crate::fs::errors::leads_nowhere;
use crate::fs::paths::split;
use crate::fs::sweep;
use crate::name::RelPath;
use crate::sys::fsat::{self, Rename};
use crate::wire::versions::What;

/// What became of something that was to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Removed {
    /// It is gone.
    Done,
    /// Nothing was there, or nothing that is mirrored.
    Gone,
    /// Something else is there, such as a change that nobody has noticed yet.
    Other(Here),
    /// It is a directory with something in it, and still there.
    NotEmpty,
    /// Something else was there, and something new has the name by now: it is in this slot.
    Aside(Slot, Here),
}

impl Ops<'_> {
    /// Removes what is at a path, if it is what is expected: an empty directory, or something that goes to the
    /// trash.
    ///
    /// # Errors
    /// Those of rmdir(2) and rename(2).
    pub fn remove(&mut self, path: &RelPath, expected: Here) -> io::Result<Removed> {
        let (dir, name) = match self.dirs.parent(path) {
            Err(e) if leads_nowhere(&e) => return Ok(Removed::Gone),
            found => found?,
        };
        let Some(found) = look_at(dir.as_fd(), name)? else { return Ok(Removed::Gone) };
        if found.0 != expected.0 {
            return Ok(Removed::Other(found));
        }
        if found.0.what == What::Directory {
            return match fsat::rmdir_at(dir.as_fd(), name).map_err(|e| (e.raw_os_error(), e)) {
                Ok(()) => {
                    self.dirs.forget_at(path.as_bytes());
                    Ok(Removed::Done)
                }
                Err((Some(libc::ENOENT), _)) => Ok(Removed::Gone),
                Err((Some(libc::ENOTEMPTY | libc::EEXIST), _)) => Ok(Removed::NotEmpty),
                Err((_, e)) => Err(e),
            };
        }
        let place = self.staging.place_for(self.dirs, split(path.as_bytes()).0, self.rights)?;
        let slot = slots::fresh(self.staging)?;
        let (top, stage) = (self.staging.top(place)?, self.staging.stage(place)?);
        let mut trash = Trash { us: self.rights.uid(), now: self.now, tallies: self.tallies };
        let taken = trash.take(top, (dir.as_fd(), name), path);
        let is_kept = taken.is_ok();
        let moved = taken.or_else(|_| -> io::Result<_> {
            let to = slot.name();
            fsat::rename_at(dir.as_fd(), name, stage, &to, Rename::NoReplace)?;
            Ok((stage.try_clone_to_owned()?, to))
        });
        let (held, last) = match moved {
            Err(e) => {
                self.staging.slots.remove(&slot.0);
                return match look_at(dir.as_fd(), name)? {
                    None => Ok(Removed::Gone),
                    Some(_) => Err(e),
                };
            }
            Ok(moved) => moved,
        };
        let came = look_at(held.as_fd(), &last)?;
        if came.is_some_and(|came| came.0 == expected.0) {
            if !is_kept {
                sweep::remove(held.as_fd(), &last)?;
            }
            return self.free(slot, Removed::Done);
        }
        let back = fsat::rename_at(held.as_fd(), &last, dir.as_fd(), name, Rename::NoReplace);
        match (back, came) {
            (Ok(()), came) => self.free(slot, came.map_or(Removed::Gone, Removed::Other)),
            (Err(e), Some(came)) if e.kind() == io::ErrorKind::AlreadyExists => {
                if is_kept {
                    fsat::rename_at(held.as_fd(), &last, stage, &slot.name(), Rename::NoReplace)?;
                }
                Ok(Removed::Aside(slot, came))
            }
            (Err(e), None) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.free(slot, Removed::Gone)
            }
            (Err(e), _) => Err(e),
        }
    }

    fn free(&mut self, slot: Slot, removed: Removed) -> io::Result<Removed> {
        self.staging.slots.remove(&slot.0);
        Ok(removed)
    }
}
