//! The contents of regular files, which lstat does not tell: they are read where it cannot say that nothing has changed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::look::{Here, look_at};
use super::ops::Ops;
use super::slots::{self, Slot};
use crate::fs::digest::{Begun, Digester, Step};
use crate::fs::errors::leads_nowhere;
use crate::fs::identity::Identity;
use crate::fs::listings::still_young;
use crate::fs::root::Dirs;
use crate::name::RelPath;
use crate::sys::fsat;
use crate::wire::versions::{What, short};

/// After so much of a file it is looked at again: who reads what somebody writes in does not read all of it.
const SLICE: u64 = 16 << 20;

/// Reads files, with a buffer that is used again.
#[derive(Debug)]
pub struct Reader {
    digester: Digester,
    /// The wall clock, in milliseconds since 1970.
    wall: fn() -> u64,
}

impl Reader {
    /// One that has this wall clock, in milliseconds since 1970.
    pub fn new(wall: fn() -> u64) -> Self {
        Reader { digester: Digester::default(), wall }
    }

    /// What was found at a path, with its digest; None if it is something else by now, or was changed while it was read.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(
        &mut self,
        dirs: &mut Dirs,
        path: &RelPath,
        found: Here,
    ) -> io::Result<Option<Here>> {
        // What changed within this tick of its clock could do so once more, and show nothing of it.
        let now = (self.wall)();
        let (secs, millis) = ((now / 1_000) as i64, (now % 1_000) as u32);
        let wait = still_young(found.1.ctime, (secs, millis * 1_000_000));
        if let Some(wait) = wait {
            std::thread::sleep(wait + Duration::from_millis(1));
        }
        dirs.forget();
        let (dir, name) = match dirs.parent(path) {
            Err(e) if leads_nowhere(&e) => return Ok(None),
            parent => parent?,
        };
        self.read_at(dir.as_fd(), name, found)
    }

    fn read_at(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        found: Here,
    ) -> io::Result<Option<Here>> {
        if look_at(dir, name)? != Some(found) || !matches!(found.0.what, What::File { .. }) {
            return Ok(None);
        }
        let identity = Identity::of(&fsat::stat_at(dir, name)?);
        let mut begun = Begun::new(&identity);
        loop {
            let mut first = None;
            let mut pause = |at: u64| at - *first.get_or_insert(at) >= SLICE;
            match begun.go_on(&mut self.digester, dir, name, &mut pause) {
                Ok(Step::Paused) => {}
                Ok(Step::Changed) => return Ok(None),
                Ok(Step::Done(digest)) => {
                    return Ok(Some((found.0.with_digest(short(&digest)), found.1)));
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(e),
            }
        }
    }
}

impl Ops<'_> {
    /// The same of what was found in a slot, where nobody writes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_slot(
        &mut self,
        reader: &mut Reader,
        slot: Slot,
        found: Here,
    ) -> io::Result<Option<Here>> {
        match slots::find(self.staging, self.rights, &slot.name())? {
            Some(place) => reader.read_at(place.stage, &slot.name(), found),
            None => Ok(None),
        }
    }
}

/// Whether what was found is still what was expected, of which the content is known. What was renamed since
/// (`is_moved`) has another ctime.
pub(super) fn is_still(found: Here, expected: Here, is_moved: bool) -> bool {
    let is_same = found.0 == expected.0.unread();
    match expected.0.what {
        What::File { .. } if is_moved => is_same && found.1.ino == expected.1.ino,
        What::File { .. } => is_same && found.1 == expected.1,
        _ => is_same,
    }
}
