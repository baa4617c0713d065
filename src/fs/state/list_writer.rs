//! Writing a list: the manifests of a transfer, as they were committed.
//!
//! A short list is only bytes, for whoever keeps it in a record. One that grows longer goes to a file: 8
//! bytes that say what it is, then records, which are manifests, runs and the trailer (see `list_index`). What
//! was added is in the file from then on, and is found there even if the list is never finished.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::dir::StateDir;
use super::error::StateError;
use super::list_index::{MOST_IN_RUN, Run, Trailer, emit_run, run_has};
use super::record::{self, HEAD};
use crate::crypto::checksum;
use crate::wire::bytes::{Put, Reader};
use crate::wire::manifest::{Kind, MAX_MANIFEST, Manifest};
use crate::wire::names;

/// What a file with a list begins with; the last byte is the version.
pub(super) const MAGIC: &[u8; 8] = b"makulst\x01";
/// The kinds of its records.
pub(super) const MANIFEST: u8 = 1;
pub(super) const RUN: u8 = 2;
pub(super) const TRAILER: u8 = 3;
/// The most entries of a short list, and the most bytes.
const MOST_SHORT: u64 = 64;
const MOST_SHORT_BYTES: usize = 4 << 10;

/// What the checksums of the records in a list's file have in common: none is taken for one of another
/// list.
pub(super) fn key_of(name: &[u8]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = checksum(MAGIC, name);
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Writes a list.
#[derive(Debug)]
pub struct ListWriter {
    name: Vec<u8>,
    dir: StateDir,
    most: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// The list is short so far: its bytes, and how many entries it has.
    Short(Vec<u8>, u64),
    File(ListFile),
    /// Something went wrong.
    Broken,
}

impl ListWriter {
    /// Begins a list that will be the file `name` in `dir`, with `most` bytes at most, if it becomes so long
    /// that it needs one.
    ///
    /// # Errors
    /// No file can have this name.
    pub fn new(dir: &StateDir, name: &[u8], most: u64) -> Result<Self, StateError> {
        dir.check(name)?;
        let (dir, name) = (dir.clone(), name.to_vec());
        Ok(ListWriter { dir, name, most, place: Place::Short(Vec::new(), 0) })
    }

    /// Adds a manifest. A path that was there before may come again.
    ///
    /// # Errors
    /// [`StateError::TooLarge`]; the file cannot be written. What was there before is still there, and
    /// nothing can be added any more.
    pub fn add(&mut self, manifest: &Manifest) -> Result<(), StateError> {
        let bytes = manifest.emit();
        if let Place::Short(short, entries) = &mut self.place {
            let all = *entries + manifest.entries.len() as u64;
            if all <= MOST_SHORT && short.len() + bytes.len() <= MOST_SHORT_BYTES {
                *entries = all;
                short.put_counted(&bytes);
                return Ok(());
            }
        }
        let mut file = match std::mem::replace(&mut self.place, Place::Broken) {
            Place::File(file) => file,
            Place::Short(short, _) => self.move_to_file(&short)?,
            Place::Broken => return Err(StateError::Gone(self.dir.join(&self.name))),
        };
        file.add(manifest, &bytes)?;
        self.place = Place::File(file);
        Ok(())
    }

    fn move_to_file(&self, short: &[u8]) -> Result<ListFile, StateError> {
        let file = self.dir.create(&self.name)?;
        let (dir, name) = (self.dir.clone(), self.name.clone());
        let mut list = ListFile::new(dir, name, file, self.most);
        file_magic(&list)?;
        for manifest in short_manifests(short) {
            let manifest =
                manifest.map_err(|()| StateError::Damaged(self.dir.join(&self.name), 0))?;
            list.add(&manifest, &manifest.emit())?;
        }
        Ok(list)
    }

    /// The list so far as bytes, for [`List::short`](super::list::List::short), as long as it has no file.
    pub fn short(&self) -> Option<&[u8]> {
        match &self.place {
            Place::Short(bytes, _) => Some(bytes),
            _ => None,
        }
    }

    /// Whether what was added so far names a path with this hash.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn names_hash(&self, hash: u64) -> Result<bool, StateError> {
        match &self.place {
            Place::Short(bytes, _) => Ok(short_manifests(bytes).any(|manifest| {
                manifest.is_ok_and(|all| names::hashes(&all).any(|one| one.0 == hash))
            })),
            Place::Broken => Err(StateError::Gone(self.dir.join(&self.name))),
            Place::File(list) => list.names_hash(hash).map_err(self.dir.fail(&self.name)),
        }
    }

    /// Ends the list: its bytes, if it is short; else it is all in its file, and there until the process
    /// ends, or if `sync` is set, whatever happens.
    ///
    /// # Errors
    /// [`StateError::TooLarge`]; the file cannot be written.
    pub fn finish(self, sync: bool) -> Result<Option<Vec<u8>>, StateError> {
        match self.place {
            Place::Short(bytes, _) => Ok(Some(bytes)),
            Place::Broken => Err(StateError::Gone(self.dir.join(&self.name))),
            Place::File(mut file) => {
                file.finish(true)?;
                if sync {
                    file.file.sync_data().map_err(self.dir.fail(&self.name))?;
                    self.dir.sync()?;
                }
                Ok(None)
            }
        }
    }
}

fn file_magic(list: &ListFile) -> Result<(), StateError> {
    list.file.write_all_at(MAGIC, 0).map_err(list.dir.fail(&list.name))
}

/// The most hashes that a manifest adds to a run: of what it says, and for each that is gone one more.
fn room_for(manifest: &Manifest) -> usize {
    let gone = manifest.entries.iter().filter(|entry| entry.kind == Kind::Gone).count();
    manifest.entries.len() + gone
}

/// A list in a file, to which more can be added.
#[derive(Debug)]
pub(super) struct ListFile {
    dir: StateDir,
    name: Vec<u8>,
    pub file: File,
    most: u64,
    key: u64,
    /// Where the next record will be.
    pub at: u64,
    pub trailer: Trailer,
    /// Where its trailer is, once it is finished.
    pub end: u64,
    /// The hashes that are in no run yet.
    pending: Vec<u64>,
}

impl ListFile {
    /// One with nothing but its first bytes.
    pub fn new(dir: StateDir, name: Vec<u8>, file: File, most: u64) -> Self {
        let (key, at) = (key_of(&name), MAGIC.len() as u64);
        let (trailer, pending) = (Trailer::default(), Vec::new());
        ListFile { dir, name, file, most, key, at, trailer, end: 0, pending }
    }

    fn names_hash(&self, hash: u64) -> io::Result<bool> {
        if self.pending.contains(&hash) {
            return Ok(true);
        }
        let mut runs = self.trailer.runs.iter();
        runs.try_fold(false, |has, run| Ok(has || run_has(&self.file, *run, hash)?))
    }

    fn add(&mut self, manifest: &Manifest, bytes: &[u8]) -> Result<(), StateError> {
        if self.pending.len() + room_for(manifest) > MOST_IN_RUN {
            self.put_run()?;
        }
        self.put(MANIFEST, bytes)?;
        self.note(manifest);
        Ok(())
    }

    /// Notes what a manifest names that is in the file already. Whether there is room for it before the
    /// next run.
    pub fn note(&mut self, manifest: &Manifest) -> bool {
        if self.pending.len() + room_for(manifest) > MOST_IN_RUN {
            return false;
        }
        self.trailer.add_all(manifest);
        self.pending.extend(names::hashes(manifest).map(|hash| hash.0));
        true
    }

    /// Notes a run that is in the file already, at the place of the next record. Whether it can be one.
    pub fn note_run(&mut self, payload: &[u8]) -> bool {
        let fits =
            payload.len() == self.pending.len() * size_of::<u64>() && self.trailer.has_room();
        if fits {
            let run = Run { at: self.at + HEAD as u64, len: self.pending.len() as u32 };
            self.trailer.runs.push(run);
            self.pending.clear();
        }
        fits
    }

    fn put_run(&mut self) -> Result<(), StateError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if !self.trailer.has_room() {
            return Err(StateError::TooLarge(self.dir.join(&self.name)));
        }
        let run = Run { at: self.at + HEAD as u64, len: self.pending.len() as u32 };
        let payload = emit_run(&mut self.pending);
        self.put(RUN, &payload)?;
        self.trailer.runs.push(run);
        Ok(())
    }

    /// Ends it.
    pub fn finish(&mut self, is_whole: bool) -> Result<(), StateError> {
        self.put_run()?;
        self.pending = Vec::new();
        self.trailer.is_whole = is_whole;
        let at = self.at;
        self.put(TRAILER, &self.trailer.emit())?;
        self.end = at;
        Ok(())
    }

    fn put(&mut self, kind: u8, payload: &[u8]) -> Result<(), StateError> {
        let mut bytes = Vec::with_capacity(record::EXTRA + payload.len());
        record::emit(self.key, self.at, kind, payload, &mut bytes);
        if self.at + bytes.len() as u64 > self.most {
            return Err(StateError::TooLarge(self.dir.join(&self.name)));
        }
        self.file.write_all_at(&bytes, self.at).map_err(self.dir.fail(&self.name))?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// The manifests of a short list. An error, that it is damaged, is the last item.
pub(super) fn short_manifests(bytes: &[u8]) -> impl Iterator<Item = Result<Manifest, ()>> {
    let mut reader = Reader::new(bytes);
    let mut is_over = false;
    std::iter::from_fn(move || {
        let next = next_short(&mut reader).filter(|_| !is_over)?;
        is_over = next.is_err();
        Some(next)
    })
}

/// The next manifest of a short list.
pub(super) fn next_short(reader: &mut Reader<'_>) -> Option<Result<Manifest, ()>> {
    if reader.rest().is_empty() {
        return None;
    }
    let parsed = reader.counted(MAX_MANIFEST).and_then(Manifest::parse);
    Some(parsed.map_err(|_| ()))
}

#[cfg(test)]
mod tests {
    use super::super::list_index::hash_of;
    use super::super::testing::{batch, dir};
    use super::*;
    use crate::fs::testing::TempDir;

    #[test]
    fn no_list_exceeds_its_bound_and_none_goes_on_after_that() {
        let temp = TempDir::new("list-bound");
        let dir = dir(&temp);
        let mut list = ListWriter::new(&dir, b"l", 100_000).unwrap();
        let added = (0..100).position(|at| list.add(&batch(at, 500)).is_err());
        assert!(added.is_some_and(|added| added > 2), "{added:?}");
        assert!(temp.join("journal/l").metadata().unwrap().len() <= 100_000);
        assert!(matches!(list.add(&batch(0, 1)), Err(StateError::Gone(_))));
        assert!(list.short().is_none() && list.finish(false).is_err());
        // Nor is one ended that would.
        let mut ends = [0; 3];
        for most in (3_000..9_000).step_by(100) {
            let mut list = ListWriter::new(&dir, b"l", most).unwrap();
            let end = match list.add(&batch(0, 190)).map(|()| list.finish(false)) {
                Err(_) => 0,
                Ok(Err(_)) => 1,
                Ok(Ok(_)) => 2,
            };
            ends[end] += 1;
            assert!(temp.join("journal/l").metadata().unwrap().len() <= most);
        }
        assert!(!ends.contains(&0), "{ends:?}");
    }

    #[test]
    fn a_list_that_still_grows_knows_what_it_names() {
        let temp = TempDir::new("list-grows");
        let mut list = ListWriter::new(&dir(&temp), b"l", u64::MAX).unwrap();
        let names = |list: &ListWriter, at| {
            let last = names::named(&batch(at, 1_000)).last().map(|entry| hash_of(&entry.path));
            list.names_hash(last.unwrap()).unwrap()
        };
        list.add(&batch(90, 5)).unwrap();
        assert!(list.short().is_some() && !names(&list, 0));
        let fifth = names::named(&batch(90, 5)).last().map(|entry| hash_of(&entry.path)).unwrap();
        assert!(list.names_hash(fifth).unwrap());
        for at in 0..80 {
            assert!(!names(&list, at));
            list.add(&batch(at, 1_000)).unwrap();
            assert!(names(&list, at) && names(&list, 0) && list.names_hash(fifth).unwrap());
        }
    }

    #[test]
    fn a_list_in_the_place_of_another_is_a_new_file() {
        let temp = TempDir::new("list-again");
        let dir = dir(&temp);
        for batches in [5, 1, 3] {
            let mut list = ListWriter::new(&dir, b"l", u64::MAX).unwrap();
            (0..batches).for_each(|at| list.add(&batch(at, 100)).unwrap());
            list.finish(false).unwrap();
            let list = super::super::list::List::open(&dir, b"l").unwrap().unwrap();
            assert_eq!((list.entries(), list.is_whole()), (batches * 100, true));
        }
    }

    #[test]
    fn an_entry_of_a_typical_tree_takes_little() {
        let temp = TempDir::new("list-size");
        let mut list = ListWriter::new(&dir(&temp), b"l", u64::MAX).unwrap();
        (0..100).for_each(|at| list.add(&batch(at, 1_000)).unwrap());
        list.finish(false).unwrap();
        let size = temp.join("journal/l").metadata().unwrap().len();
        assert!(size <= 60 * 100_000, "{size}");
    }
}
