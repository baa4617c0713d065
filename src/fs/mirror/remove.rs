//! What another host has removed goes to the trash, and is looked at there.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::conflicts;
use super::look::{Here, look_at};
use super::ops::Ops;
use super::reading::is_still;
use super::slots::{self, Slot};
use super::trash::Trash;
use crate::fs::errors::leads_nowhere;
use crate::fs::paths::split;
use crate::fs::sweep;
use crate::name::RelPath;
use crate::sys::fsat::{self, Rename};
use crate::wire::versions::{Dot, What};

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
        self.take_away(path, expected, None)
    }

    /// The same, but what is no directory is kept as the version of a dot.
    ///
    /// # Errors
    /// As [`Ops::remove`], and as [`Ops::keep_conflict`].
    pub fn set_aside(&mut self, path: &RelPath, expected: Here, dot: Dot) -> io::Result<Removed> {
        self.take_away(path, expected, Some(dot))
    }

    fn take_away(
        &mut self,
        path: &RelPath,
        expected: Here,
        dot: Option<Dot>,
    ) -> io::Result<Removed> {
        let (dir, name) = match self.dirs.parent(path) {
            Err(e) if leads_nowhere(&e) => return Ok(Removed::Gone),
            found => found?,
        };
        let from = (dir.as_fd(), name);
        let Some(found) = look_at(from.0, name)? else { return Ok(Removed::Gone) };
        if !is_still(found, expected, false) {
            return Ok(Removed::Other(found));
        }
        if found.0.what == What::Directory {
            return match fsat::rmdir_at(from.0, name).map_err(|e| (e.raw_os_error(), e)) {
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
        let (top, us) = (self.staging.top(place)?, self.rights.uid());
        let taken = match dot {
            Some(dot) => conflicts::put(top, us, from, path, dot),
            None => Trash { us, now: self.now, tallies: self.tallies }.take(top, from, path),
        };
        let slot = slots::fresh(self.staging)?;
        let stage = self.staging.stage(place)?;
        let moved = match taken {
            // Where there is no trash, it goes at once.
            Err(_) if dot.is_none() => {
                let moved = fsat::rename_at(from.0, name, stage, &slot.name(), Rename::NoReplace);
                moved.and_then(|()| Ok((stage.try_clone_to_owned()?, slot.name())))
            }
            taken => taken,
        };
        let (held, last) = match moved {
            Ok(moved) => moved,
            Err(e) => {
                self.staging.slots.remove(&slot.0);
                return look_at(from.0, name)?.map_or(Ok(Removed::Gone), |_| Err(e));
            }
        };
        let done = judge((held.as_fd(), &last), (stage, slot), from, expected)?;
        if done == Removed::Done {
            sweep::remove(stage, &slot.name())?;
        }
        if !matches!(done, Removed::Aside(..)) {
            self.staging.slots.remove(&slot.0);
        }
        Ok(done)
    }
}

/// Looks at what was moved away. If that was not expected, it has its name again, or if it cannot have that (it was
/// taken meanwhile), is in a slot.
pub(super) fn judge(
    moved: (BorrowedFd<'_>, &[u8]),
    (stage, slot): (BorrowedFd<'_>, Slot),
    from: (BorrowedFd<'_>, &[u8]),
    expected: Here,
) -> io::Result<Removed> {
    let came = look_at(moved.0, moved.1)?;
    if came.is_some_and(|came| is_still(came, expected, true)) {
        return Ok(Removed::Done);
    }
    let back = fsat::rename_at(moved.0, moved.1, from.0, from.1, Rename::NoReplace);
    match (back, came) {
        (Ok(()), came) => Ok(came.map_or(Removed::Gone, Removed::Other)),
        (Err(_), Some(came)) => {
            fsat::rename_at(moved.0, moved.1, stage, &slot.name(), Rename::Replace)?;
            Ok(Removed::Aside(slot, came))
        }
        (Err(e), None) => Err(e),
    }
}
