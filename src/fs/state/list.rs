//! Reading a list: its manifests, one after the other, and what is named in them.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::dir::StateDir;
use super::error::StateError;
use super::list_index::{self, Ascending, MAX_TRAILER, MOST_IN_RUN, Trailer, hash_of};
use super::list_writer::{
    ListFile, MAGIC, MANIFEST, RUN, TRAILER, key_of, next_short, short_manifests,
};
use super::record::{self, EXTRA, FromPlace};
use crate::name::RelPath;
use crate::wire::bytes::Reader;
use crate::wire::manifest::{MAX_MANIFEST, Manifest};
use crate::wire::names;

/// The longest payload of a record in a list.
const MAX_RECORD: usize =
    if MAX_MANIFEST > MOST_IN_RUN * 8 { MAX_MANIFEST } else { MOST_IN_RUN * 8 };

/// A list that can be read.
#[derive(Debug)]
pub struct List {
    /// What errors call it.
    path: PathBuf,
    trailer: Trailer,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Its bytes, and the hashes of the paths, sorted.
    Short(Vec<u8>, Vec<u64>),
    /// Its file, what its checksums have in common, and where its last record begins.
    File(File, u64, u64),
}

impl List {
    /// A list of which [`ListWriter::short`](super::list_writer::ListWriter::short) gave the bytes.
    ///
    /// # Errors
    /// [`StateError::Damaged`].
    pub fn short(bytes: Vec<u8>) -> Result<Self, StateError> {
        let path = PathBuf::from("a short list");
        let (mut trailer, mut hashes) =
            (Trailer { is_whole: true, ..Trailer::default() }, Vec::new());
        for manifest in short_manifests(&bytes) {
            let manifest = manifest.map_err(|()| StateError::Damaged(path.clone(), 0))?;
            trailer.add_all(&manifest);
            hashes.extend(names::hashes(&manifest).map(|hash| hash.0));
        }
        hashes.sort_unstable();
        Ok(List { path, trailer, place: Place::Short(bytes, hashes) })
    }

    /// Opens the list in the file `name` of `dir`; None if there is no such file. One that was never
    /// finished, or has lost its end, is read as far as it is whole, and ended there.
    ///
    /// # Errors
    /// It cannot be read or mended; [`StateError::Damaged`] if not even its beginning is whole.
    pub fn open(dir: &StateDir, name: &[u8]) -> Result<Option<Self>, StateError> {
        dir.check(name)?;
        let Some(mut file) = dir.open_file(name, libc::O_RDWR)? else { return Ok(None) };
        let (path, fail, key) = (dir.join(name), dir.fail(name), key_of(name));
        let mut magic = Vec::new();
        (&mut file).take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(&fail)?;
        if magic != MAGIC {
            return Err(StateError::Damaged(path, 0));
        }
        let size = file.metadata().map_err(&fail)?.len();
        if let Some((trailer, end)) = index(&file, key, size).map_err(&fail)? {
            return Ok(Some(List { path, trailer, place: Place::File(file, key, end) }));
        }
        let mut list = ListFile::new(dir.clone(), name.to_vec(), file, u64::MAX);
        rebuild(&mut list, key, size).map_err(&fail)?;
        list.file.set_len(list.at).map_err(&fail)?;
        list.finish(false)?;
        Ok(Some(List { path, trailer: list.trailer, place: Place::File(list.file, key, list.end) }))
    }

    /// Whether whoever wrote it had finished it.
    pub fn is_whole(&self) -> bool {
        self.trailer.is_whole
    }

    /// How many objects it has. One that is there twice counts twice.
    pub fn entries(&self) -> u64 {
        self.trailer.count
    }

    /// What it names, in short.
    pub fn all_names(&self) -> names::Names {
        names::Names { count: self.trailer.count, sum: self.trailer.sum }
    }

    /// Its manifests, in the order in which they were added. An error is the last item.
    pub fn manifests(&self) -> Manifests<'_> {
        let from = match &self.place {
            Place::Short(bytes, _) => Source::Short(Reader::new(bytes)),
            Place::File(file, key, end) => {
                let at = MAGIC.len() as u64;
                Source::File {
                    from: BufReader::new(FromPlace { file, at }),
                    key: *key,
                    at,
                    end: *end,
                }
            }
        };
        Manifests { path: &self.path, from: Some(from), payload: Vec::new() }
    }

    /// Whether it names a path.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn names(&self, path: &RelPath) -> Result<bool, StateError> {
        self.names_hash(hash_of(path))
    }

    /// Whether it names a path with this hash: the first 64 bits of its MD5 digest.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn names_hash(&self, hash: u64) -> Result<bool, StateError> {
        let fail = |error| StateError::Io(self.path.clone(), error);
        match &self.place {
            Place::Short(_, hashes) => Ok(hashes.binary_search(&hash).is_ok()),
            Place::File(file, ..) => {
                for run in &self.trailer.runs {
                    if list_index::run_has(file, *run, hash).map_err(fail)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// Whether it names all that `other` does.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn names_all_of(&self, other: &List) -> Result<bool, StateError> {
        let (here, there) = (self.ascending()?, other.ascending()?);
        here.has_all_of(there).map_err(|error| StateError::Io(self.path.clone(), error))
    }

    fn ascending(&self) -> Result<Ascending<'_>, StateError> {
        let ascending = match &self.place {
            Place::Short(_, hashes) => Ascending::of_memory(hashes),
            Place::File(file, ..) => Ascending::of_file(file, &self.trailer.runs),
        };
        ascending.map_err(|error| StateError::Io(self.path.clone(), error))
    }
}

/// The trailer of a list in a file of this size, and where it is, if it is there and all runs are whole.
fn index(file: &File, key: u64, size: u64) -> std::io::Result<Option<(Trailer, u64)>> {
    // The last bytes of its payload say how long it is, and a checksum of 16 bytes follows.
    let Some(at) = size.checked_sub(16 + 4) else { return Ok(None) };
    let mut len = [0; 4];
    file.read_exact_at(&mut len, at)?;
    let len = u64::from(u32::from_be_bytes(len));
    let Some(at) = size.checked_sub(EXTRA as u64 + len) else { return Ok(None) };
    if len > MAX_TRAILER as u64 || at < MAGIC.len() as u64 {
        return Ok(None);
    }
    let mut payload = Vec::new();
    let read = |at: u64, end: u64, payload: &mut Vec<u8>| {
        let left = end.saturating_sub(at);
        record::next(&mut FromPlace { file, at }, key, at, left, MAX_RECORD as u32, payload)
    };
    if read(at, size, &mut payload)? != Some(TRAILER) {
        return Ok(None);
    }
    let Some(trailer) = Trailer::parse(&payload) else { return Ok(None) };
    for run in &trailer.runs {
        let start = run.at.saturating_sub(record::HEAD as u64);
        let is_run = read(start, at, &mut payload)? == Some(RUN);
        if !is_run || payload.len() as u64 != u64::from(run.len) * 8 {
            return Ok(None);
        }
    }
    Ok(Some((trailer, at)))
}

/// Reads a list as far as it is whole, to find out what it names.
fn rebuild(list: &mut ListFile, key: u64, size: u64) -> std::io::Result<()> {
    let file = list.file.try_clone()?;
    let mut from = BufReader::new(FromPlace { file: &file, at: list.at });
    let mut payload = Vec::new();
    loop {
        let (at, left) = (list.at, size.saturating_sub(list.at));
        let kind = record::next(&mut from, key, at, left, MAX_RECORD as u32, &mut payload)?;
        let noted = match kind {
            Some(MANIFEST) => Manifest::parse(&payload).is_ok_and(|manifest| list.note(&manifest)),
            Some(RUN) => list.note_run(&payload),
            _ => false,
        };
        if !noted {
            return Ok(());
        }
        list.at += (EXTRA + payload.len()) as u64;
    }
}

/// The manifests of a list.
pub struct Manifests<'a> {
    path: &'a Path,
    /// None after the last one.
    from: Option<Source<'a>>,
    payload: Vec<u8>,
}

enum Source<'a> {
    Short(Reader<'a>),
    File { from: BufReader<FromPlace<'a>>, key: u64, at: u64, end: u64 },
}

impl Manifests<'_> {
    fn step(&mut self) -> Option<Result<Manifest, StateError>> {
        let (from, key, at, end) = match self.from.as_mut()? {
            Source::Short(reader) => {
                let damaged = |()| StateError::Damaged(self.path.to_owned(), 0);
                return next_short(reader).map(|next| next.map_err(damaged));
            }
            Source::File { from, key, at, end } => (from, *key, at, *end),
        };
        while *at < end {
            let damaged = || StateError::Damaged(self.path.to_owned(), *at);
            let most = MAX_RECORD as u32;
            let kind = match record::next(from, key, *at, end - *at, most, &mut self.payload) {
                Err(error) => return Some(Err(StateError::Io(self.path.to_owned(), error))),
                Ok(None) => return Some(Err(damaged())),
                Ok(Some(kind)) => kind,
            };
            let manifest = match kind {
                MANIFEST => Some(Manifest::parse(&self.payload).map_err(|_| damaged())),
                RUN => None,
                _ => Some(Err(damaged())),
            };
            *at += (EXTRA + self.payload.len()) as u64;
            if manifest.is_some() {
                return manifest;
            }
        }
        None
    }
}

impl Iterator for Manifests<'_> {
    type Item = Result<Manifest, StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.step();
        if !matches!(next, Some(Ok(_))) {
            self.from = None;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::super::list_writer::ListWriter;
    use super::super::testing::{batch, dir, file, manifest};
    use super::*;
    use crate::fs::testing::{TempDir, path};

    /// The manifests that can be read, and whether that is all of them.
    fn read(list: &List) -> (Vec<Manifest>, bool) {
        let (mut all, mut is_whole) = (Vec::new(), true);
        for manifest in list.manifests() {
            assert!(is_whole, "more after an error");
            match manifest {
                Ok(manifest) => all.push(manifest),
                Err(error) => is_whole = !matches!(error, StateError::Damaged(..)),
            }
        }
        (all, is_whole)
    }

    fn open(dir: &StateDir) -> List {
        List::open(dir, b"l").unwrap().expect("a list")
    }

    #[test]
    fn a_list_gives_back_what_was_added_and_knows_what_it_names() {
        let temp = TempDir::new("list");
        let dir = dir(&temp);
        assert!(List::open(&dir, b"l").unwrap().is_none());
        for batches in [0, 1, 3, 90] {
            let all: Vec<Manifest> = (0..batches).map(|at| batch(at, 1_000)).collect();
            let mut list = ListWriter::new(&dir, b"l", u64::MAX).unwrap();
            all.iter().for_each(|manifest| list.add(manifest).unwrap());
            let list = match list.finish(batches == 3).unwrap() {
                Some(short) => List::short(short).unwrap(),
                None => open(&dir),
            };
            assert!(list.is_whole() && read(&list) == (all, true));
            assert_eq!(list.entries(), batches * 1_000);
            assert_eq!(list.trailer.runs.len() as u64, (batches * 1_000).div_ceil(65_000));
            for at in 0..batches {
                assert!(list.names(&path(format!("d{at}/f7"))).unwrap());
            }
            assert!(!list.names(&path("d0")).unwrap() && !list.names(&path("d0/f1000")).unwrap());
            assert!(!list.names(&path(format!("d{batches}/f7"))).unwrap());
        }
    }

    #[test]
    fn a_list_is_only_bytes_until_it_is_long() {
        let temp = TempDir::new("list-short");
        let dir = dir(&temp);
        let mut list = ListWriter::new(&dir, b"l", u64::MAX).unwrap();
        let mut all = Vec::new();
        for at in 0..64 {
            all.push(manifest(&[file(&format!("f{at}"), at)]));
            list.add(&all[at as usize]).unwrap();
            let short = List::short(list.short().unwrap().to_vec()).unwrap();
            assert!(read(&short) == (all.clone(), true) && short.entries() == at + 1);
            assert!(short.names(&path(format!("f{at}"))).unwrap());
            assert!(!short.names(&path(format!("f{}", at + 1))).unwrap());
        }
        assert!(list.short().unwrap().len() < 4_096 && dir.names().unwrap().is_empty());
        all.push(manifest(&[file("last", 1)]));
        list.add(&all[64]).unwrap();
        assert!(list.short().is_none());
        assert_eq!(dir.names().unwrap(), [b"l"]);
        // What is there before it is finished is there if it never is.
        drop(list);
        let list = open(&dir);
        assert!(read(&list) == (all, true) && !list.is_whole() && list.entries() == 65);
        assert!(open(&dir).names(&path("last")).unwrap());
    }

    #[test]
    fn what_is_only_said_of_an_object_is_in_the_list_but_not_named() {
        use crate::wire::manifest::Kind;
        let mut entries = vec![file("d/f", 1), file("d/kept", 2), file("d", 0), file("d", 0)];
        entries[1].kind = Kind::Keep;
        entries[2].kind = Kind::Close { listed: true };
        entries[3].kind = Kind::Open;
        let all = manifest(&entries);
        let temp = TempDir::new("list-kinds");
        let mut list = ListWriter::new(&dir(&temp), b"l", u64::MAX).unwrap();
        list.add(&all).unwrap();
        let list = List::short(list.finish(false).unwrap().unwrap()).unwrap();
        assert!(read(&list) == (vec![all], true) && list.entries() == 2);
        assert!(!list.names(&path("d/kept")).unwrap() && list.names(&path("d")).unwrap());
        let sum = hash_of(&path("d/f")).wrapping_add(hash_of(&path("d")));
        assert_eq!(list.all_names().sum, sum);
    }

    #[test]
    fn one_that_lost_its_end_is_what_was_whole() {
        let temp = TempDir::new("list-cut");
        let dir = dir(&temp);
        let all: Vec<Manifest> = (0..5).map(|at| batch(at, 30)).collect();
        let mut list = ListWriter::new(&dir, b"l", u64::MAX).unwrap();
        all.iter().for_each(|manifest| list.add(manifest).unwrap());
        list.finish(false).unwrap();
        let whole = std::fs::read(temp.join("journal/l")).unwrap();
        let mut most = 0;
        for cut in (0..whole.len()).filter(|cut| cut % 13 == 0 || whole.len() - cut < 80) {
            std::fs::remove_file(temp.join("journal/l")).unwrap();
            std::fs::write(temp.join("journal/l"), &whole[..cut]).unwrap();
            if cut < MAGIC.len() {
                assert!(matches!(List::open(&dir, b"l"), Err(StateError::Damaged(_, 0))));
                continue;
            }
            for _ in 0..2 {
                let list = open(&dir);
                let (got, is_all) = read(&list);
                assert!(is_all && got == all[..got.len()] && !list.is_whole(), "{cut}");
                assert_eq!(list.entries(), got.len() as u64 * 30, "{cut}");
                for at in 0..5 {
                    let names = list.names(&path(format!("d{at}/f29"))).unwrap();
                    assert_eq!(names, at < got.len(), "{cut}");
                }
                most = most.max(got.len());
            }
        }
        assert_eq!(most, 5);
    }

    #[test]
    fn one_with_any_bit_flipped_gives_nothing_wrong() {
        let temp = TempDir::new("list-flip");
        let dir = dir(&temp);
        let all: Vec<Manifest> = (0..4).map(|at| batch(at, 25)).collect();
        let mut list = ListWriter::new(&dir, b"l", u64::MAX).unwrap();
        all.iter().for_each(|manifest| list.add(manifest).unwrap());
        list.finish(false).unwrap();
        let whole = std::fs::read(temp.join("journal/l")).unwrap();
        let ends = (MAGIC.len() + 30) * 8..(whole.len() - 100) * 8;
        for bit in (0..whole.len() * 8).filter(|bit| bit % 29 == 0 || !ends.contains(bit)) {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::remove_file(temp.join("journal/l")).unwrap();
            std::fs::write(temp.join("journal/l"), &flipped).unwrap();
            let list = match List::open(&dir, b"l") {
                Ok(list) => list.expect("a list"),
                Err(error) => {
                    assert!(matches!(error, StateError::Damaged(_, 0)) && bit < 64, "{error}");
                    continue;
                }
            };
            let (got, is_all) = read(&list);
            assert!(got == all[..got.len()], "{bit}");
            // It shows: in what it gives, or in that nobody finished it.
            assert!(!is_all || !list.is_whole(), "{bit}");
        }
    }

    #[test]
    fn no_bytes_at_all_do_harm() {
        let mut rng = crate::engine::rng::Rng::new(3);
        for _ in 0..2_000 {
            let bytes = (0..rng.below(60)).map(|_| rng.below(40) as u8).collect();
            if let Ok(list) = List::short(bytes) {
                read(&list);
            }
        }
    }

    #[test]
    fn a_list_is_asked_whether_it_names_all_of_another() {
        let temp = TempDir::new("list-names");
        let dir = dir(&temp);
        let list = |name: &[u8], batches: std::ops::Range<u64>, len| {
            let mut list = ListWriter::new(&dir, name, u64::MAX).unwrap();
            batches.for_each(|at| list.add(&batch(at, len)).unwrap());
            match list.finish(false).unwrap() {
                Some(short) => List::short(short).unwrap(),
                None => List::open(&dir, name).unwrap().unwrap(),
            }
        };
        let lists = [
            list(b"1", 0..0, 1),
            list(b"2", 1..2, 10),
            list(b"3", 1..2, 900),
            list(b"4", 0..80, 900),
            list(b"5", 70..81, 900),
        ];
        let names =
            [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 0, 0, 0, 1]];
        for (at, list) in lists.iter().enumerate() {
            for (other_at, other) in lists.iter().enumerate() {
                let want = names[at][other_at] == 1;
                assert_eq!(list.names_all_of(other).unwrap(), want, "{at} {other_at}");
            }
        }
    }
}
