//! What is found on disk, against what was placed there: only what differs is a local change.

use std::collections::BTreeSet;

use super::entry::Entry;
use super::index::Index;
use super::rules::Rule;
use super::show::{IMPLIED_MODE, Shown, is_directory};
use super::types::{Intent, Object, Placed};
use crate::wire::manifest::FileTime;
use crate::wire::versions::{Dot, Version};

/// What is at a path; None if nothing is. Of a regular file the content may be unread, as lstat tells of it.
pub type Found = Option<(Version, Object)>;

/// What was found to be the case at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Looked {
    /// It is what was placed, or stands for the same.
    Same,
    /// It was changed here: the dot of that. A file must be synced, and the dot be written down, before it leaves.
    Changed(Dot),
    /// It is listed: it stays as it is, and here.
    Listed,
    /// It is gone, and that is held: nobody is told, and it is not put back.
    Held,
    /// It may be another content than what was placed, which only reading tells. Nothing is done before that.
    Unread,
}

/// What is to be done with what is in a slot, after a crash and when the verdict is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The staged object is still in it: it was not placed. It may go.
    NotDone,
    /// It was placed; what is in the slot was replaced by it.
    Done,
    /// It was placed, and the slot has what somebody had changed meanwhile: that goes to `conflicts/`, before the verdict
    /// is written down.
    Edited(Dot),
}

fn version(found: Found) -> Option<Version> {
    found.map(|(version, _)| version)
}

impl Entry {
    /// What was found, with its digest: known without reading if it is the object that was placed, and nothing about it has
    /// changed since. None if it has to be read.
    pub fn read(&self, found: Found) -> Option<Found> {
        let Some((unread, object)) = found.filter(|(version, _)| !version.is_read()) else {
            return Some(found);
        };
        let placed = self.placed.found?;
        ((placed.0.unread(), placed.1) == (unread, object)).then_some(Some(placed))
    }
}

impl Index {
    /// Looks at a path. `hold` says that deletions are held.
    pub fn look(&mut self, path: &[u8], found: Found, hold: bool) -> Looked {
        let mut entry = self.entry(path);
        let Some(found) = entry.read(found) else { return Looked::Unread };
        let placed = entry.placed.found;
        if entry.listed {
            if found.is_none() {
                // Whoever deletes it wants the others'.
                entry.listed = false;
                entry.placed = Placed::default();
            } else {
                entry.placed.found = found;
            }
            self.put(path, entry, true);
            return if found.is_some() { Looked::Listed } else { Looked::Same };
        }
        if self.is_as(found, placed) {
            if !is_same_object(found, placed) {
                entry.placed.found = found;
                self.put(path, entry, true);
            }
            return Looked::Same;
        }
        if let Some(dots) = self.directory_to_be(path, &entry, found) {
            entry.placed = Placed { found, dots };
            self.put(path, entry, true);
            return Looked::Same;
        }
        if found.is_none() && hold && self.rules.has(Rule::Hold) {
            let shown = self.view(path).shown;
            let is_wanted = match shown {
                Shown::One(version) => entry.stands_for(version),
                Shown::Implied | Shown::Nothing => false,
            };
            if is_wanted {
                return Looked::Held;
            }
            if !self.rules.has(Rule::HeldChange) {
                return if shown == Shown::Nothing { Looked::Held } else { Looked::Same };
            }
        }
        self.changed(path, entry, found)
    }

    /// Whether what was found is what was placed.
    fn is_as(&self, found: Found, placed: Found) -> bool {
        match (version(found), version(placed)) {
            (Some(found), Some(placed)) => self.rules.is_equal(Rule::FoundDigest, found, placed),
            (found, placed) => found == placed,
        }
    }

    /// A local change of what was placed.
    fn changed(&mut self, path: &[u8], mut entry: Entry, found: Found) -> Looked {
        let replaced = match self.rules.has(Rule::PlacedDots) {
            true => entry.placed.dots.clone(),
            false => self.view(path).dots,
        };
        if found.is_none() && replaced.is_empty() {
            // A directory that was only implied, or what stood for nothing.
            entry.placed = Placed::default();
            self.put(path, entry, true);
            return Looked::Same;
        }
        let dot = self.give(&mut entry, version(found), &replaced);
        entry.placed = Placed { found, dots: vec![dot] };
        self.put(path, entry, true);
        Looked::Changed(dot)
    }

    /// A directory has no intent: one that is as it should be was made by this host before a crash, or might have been.
    fn directory_to_be(&self, path: &[u8], entry: &Entry, found: Found) -> Option<Vec<Dot>> {
        let found = version(found).filter(|found| is_directory(*found))?;
        let view = self.view(path);
        let is_it = match view.shown {
            Shown::One(version) => version == found,
            Shown::Implied => entry.placed.found.is_none() && found.mode == IMPLIED_MODE,
            Shown::Nothing => false,
        };
        is_it.then_some(view.dots)
    }

    /// Looks at a path where the index cannot vouch for what it says: there was none, it was torn or taken back, it is a
    /// copy, or the tree is another one. What differs is listed, and what is missing is needed: neither is sent. Every
    /// path of the index and every object of the tree is looked at so, and that is written down and synced, before
    /// anything else happens.
    pub fn list(&mut self, path: &[u8], found: Found) -> Looked {
        let mut entry = self.entry(path);
        let Some(found) = entry.read(found) else { return Looked::Unread };
        if entry.listed || version(found) == version(entry.placed.found) {
            return self.look(path, found, false);
        }
        entry.placed = Placed { found, dots: Vec::new() };
        entry.listed = found.is_some();
        self.put(path, entry, true);
        if found.is_some() { Looked::Listed } else { Looked::Same }
    }

    /// Writes down what is about to be put at a path. The staged bytes and their slot are synced before; the journal is
    /// written and synced before the exchange.
    pub fn begin(&mut self, path: &[u8], intent: Intent) {
        let mut entry = self.entry(path);
        entry.intent = Some(intent);
        self.put(path, entry, false);
    }

    /// What was begun was put there. `out` is what the exchange brought out of there, and `object` what is there now, as
    /// the held descriptor tells. If what came out is not what was placed, it is a local edit, of which the dot is
    /// returned: its bytes go to `conflicts/`. The new file may be edited by now, so nothing is exchanged back.
    pub fn committed(&mut self, path: &[u8], out: Found, object: Object) -> Option<Dot> {
        let mut entry = self.entry(path);
        let Intent { version, dots, .. } = entry.intent.take()?;
        let looks =
            self.rules.has(Rule::Look) && (out.is_some() || self.rules.has(Rule::HeldChange));
        let dot = looks.then(|| self.came_out(&mut entry, out)).flatten();
        entry.placed = Placed { found: Some((version, object)), dots };
        self.put(path, entry, true);
        dot
    }

    fn came_out(&mut self, entry: &mut Entry, out: Found) -> Option<Dot> {
        let is_edited = !self.is_as(out, entry.placed.found);
        // Of what cannot be read, nothing can be told.
        let is_edited = is_edited && version(out).is_none_or(|out| out.is_read());
        let replaced = entry.placed.dots.clone();
        (is_edited && (out.is_some() || !replaced.is_empty()))
            .then(|| self.give(entry, version(out), &replaced))
    }

    /// What is there is now as it should be, with these dots, and nothing took its place: a directory, or something that
    /// got other attributes.
    pub fn made(&mut self, path: &[u8], found: (Version, Object), dots: Vec<Dot>) {
        let mut entry = self.entry(path);
        entry.placed = Placed { found: Some(found), dots };
        self.put(path, entry, true);
    }

    /// What was placed at a path was moved away, with the dots of [`super::show::Todo::Remove`]. `out` is what was there.
    /// False if that is not what was placed: it is a local edit and is put back.
    #[must_use]
    pub fn removed(&mut self, path: &[u8], out: Found, dots: Vec<Dot>) -> bool {
        let mut entry = self.entry(path);
        let is_edited = out.is_some() && version(out) != version(entry.placed.found);
        if is_edited && self.rules.has(Rule::Back) {
            return false;
        }
        entry.placed = Placed { found: None, dots };
        self.put(path, entry, true);
        true
    }

    /// The paths that have an intent: at start, each is decided by its slot before anything is looked at.
    pub fn intents(&self) -> Vec<(Box<[u8]>, Intent)> {
        self.entries_from(&[]).filter_map(|(path, entry)| Some((path, entry.intent?))).collect()
    }

    /// Those at some paths.
    pub fn intents_at(&self, paths: &BTreeSet<Box<[u8]>>) -> Vec<(Box<[u8]>, Intent)> {
        let of = |path: &[u8]| Some((path.into(), self.entry(path).intent?));
        paths.iter().filter_map(|path| of(path)).collect()
    }

    /// Decides an intent after a crash, by what is in its slot. `found` is what is at the path. `vouches` says that the log
    /// is known to be whole. The journal is written and synced before the slot is emptied.
    pub fn recover(&mut self, path: &[u8], slot: Found, found: Found, vouches: bool) -> Verdict {
        let mut entry = self.entry(path);
        let Some(intent) = entry.intent.take() else { return Verdict::NotDone };
        let is_staged = |found: Found| found.is_some_and(|(_, object)| object.ino == intent.ino);
        let is_done = match self.rules.has(Rule::Slot) {
            true => !is_staged(slot) && (vouches || is_staged(found)),
            false => is_staged(found),
        };
        if !is_done {
            self.put(path, entry, true);
            return Verdict::NotDone;
        }
        // An empty slot is no deletion.
        let looks = self.rules.has(Rule::SlotLook) && slot.is_some();
        let dot = looks.then(|| self.came_out(&mut entry, slot)).flatten();
        // It may have been changed since, or replaced, or removed: that is then found.
        let object = Object { ino: intent.ino, ctime: FileTime::default() };
        entry.placed = Placed { found: Some((intent.version, object)), dots: intent.dots };
        self.put(path, entry, true);
        dot.map_or(Verdict::Done, Verdict::Edited)
    }
}

/// Whether it is the object that was placed. When a directory was changed last tells nothing of it.
fn is_same_object(found: Found, placed: Found) -> bool {
    match (found, placed) {
        (Some((version, found)), Some((_, placed))) if is_directory(version) => {
            found.ino == placed.ino
        }
        (found, placed) => found == placed,
    }
}
