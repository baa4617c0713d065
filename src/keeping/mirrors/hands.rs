//! The means to change what is on disk, and to look at it meanwhile.

use std::io;

use super::tree::{Tree, sync_paths};
use super::unread::{is_recent, size_of};
use crate::fs::mirror::look::Here;
use crate::fs::mirror::ops::Ops;
use crate::fs::mirror::place::Put;
use crate::fs::mirror::reading::Reader;
use crate::fs::mirror::set::Set;
use crate::fs::mirror::slots::Slot;
use crate::fs::root::Dirs;
use crate::mirror::look::{Found, Looked};
use crate::mirror::types::Object;
use crate::name::RelPath;
use crate::wire::file_time::FileTime;
use crate::wire::versions::{Dot, UNREAD, Version};

/// The means to do it.
pub(super) struct Hands<'a, 'b> {
    pub ops: &'a mut Ops<'b>,
    /// For syncing and reading what was edited here.
    pub dirs: &'a mut Dirs,
    pub reader: Reader,
    /// So many bytes may be read while others wait.
    pub reads: u64,
}

impl Hands<'_, '_> {
    /// What was found at a path, with its content; None if that would take too long, or it is something else by now.
    fn read(&mut self, path: &RelPath, here: Here, now: u64) -> io::Result<Option<Here>> {
        let Some(left) = self.reads.checked_sub(size_of(here)) else { return Ok(None) };
        self.reads = left;
        if is_recent(here, now) {
            sync_paths(self.dirs, std::slice::from_ref(path))?;
        }
        self.reader.read(self.dirs, path, here)
    }

    /// What was found in a slot, with its content, if it can be read.
    pub fn read_slot(&mut self, slot: Slot, found: Found) -> Found {
        let here = found.filter(|(version, _)| !version.is_read());
        let read = here.map(|here| self.ops.read_slot(&mut self.reader, slot, here));
        read.and_then(|read| read.ok().flatten()).or(found)
    }
}

impl Tree {
    /// What has the name, if it is the content of a version, and no other host has to have it as it is: then that needs no
    /// bytes.
    pub(super) fn has_content(&self, within: &[u8], version: &Version) -> Option<Here> {
        let placed = self.index.entry(within).placed.found?;
        let is_it = placed.0.content().is_some() && placed.0.content() == version.content();
        (is_it && self.index.losers(within).iter().all(|(loser, _)| *loser != placed.0))
            .then_some(placed)
    }

    /// What has the name gets the attributes of a version, if it has its content. Nothing is done if it has not, or must
    /// not be changed as it is: then the bytes are lacking.
    pub(super) fn set(
        &mut self,
        hands: &mut Hands<'_, '_>,
        within: &[u8],
        path: &RelPath,
        version: Version,
        dots: Vec<Dot>,
    ) -> io::Result<()> {
        let Some(placed) = self.has_content(within, &version) else { return Ok(()) };
        if let Set::Done((found, object)) = hands.ops.set_attributes(path, &version, placed)? {
            let digest = version.content().map_or(UNREAD, |(_, digest)| digest);
            // Who writes in it at this moment has its time set back: it is read when it is looked at next.
            let object = Object { ctime: FileTime::default(), ..object };
            self.index.made(within, (found.with_digest(digest), object), dots);
        }
        Ok(())
    }

    /// What came out of a name, with its content, which is read if it is not what was placed.
    pub(super) fn came_out(
        &self,
        hands: &mut Hands<'_, '_>,
        within: &[u8],
        slot: Slot,
        put: &Put,
    ) -> Found {
        let (version, object) = put.out?;
        // The exchange alone has changed when it was changed last.
        let is_it = |before: &Here| (before.0, before.1.ino) == (version, object.ino);
        let known = put.before.filter(is_it).and_then(|it| self.index.entry(within).read(Some(it)));
        match known.flatten() {
            Some((read, _)) => Some((read, object)),
            None => hands.read_slot(slot, put.out),
        }
    }

    /// Looks at what was found at a path, and reads it if it has to be and that does not take long.
    pub(super) fn look_at(
        &mut self,
        hands: &mut Hands<'_, '_>,
        within: &[u8],
        path: &RelPath,
        found: Found,
    ) -> io::Result<Looked> {
        match (self.index.look(within, found, true), found) {
            (Looked::Unread, Some(here)) => {
                let read = hands.read(path, here, (self.wall)())?;
                // Else the looker does.
                let read = read.ok_or_else(|| io::Error::from_raw_os_error(libc::EAGAIN))?;
                Ok(self.index.look(within, Some(read), true))
            }
            (looked, _) => Ok(looked),
        }
    }
}
