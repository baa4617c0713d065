//! The content of a file that goes on changing, as it was at one moment.
//!
//! It is read twice or more. Where readings are the same, all of it was there at the moment between them; and
//! if the file ended there at that moment, it was all there was. Digests of pieces keep what it was: it is
//! read again to be sent, from the file as long as that is the same there, or from a private copy.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use md5::{Digest as _, Md5};

use super::copies::{Copies, Part};
use super::digest::Hash;
use super::extents;
use super::identity::Identity;
use crate::sys::fsat::{self, Stat};
use crate::wire::manifest::{Digest, Extent, FileTime};
use crate::wire::outcome::Reason;

/// The length of a piece.
const PIECE: u64 = 1 << 20;
/// How often a file is read in the hope that it holds still, and how often one that is [`LONG`].
const READINGS: [u32; 2] = [6, 3];
const LONG: u64 = 64 << 20;
/// How much of what is added during a reading belongs to it.
const MOST_ADDED: u64 = 64 << 20;

/// What a file contained at one moment.
#[derive(Debug)]
pub struct Moment {
    size: u64,
    /// The digests of its pieces, but for those in holes.
    pieces: BTreeMap<u64, Digest>,
    copy: Option<Part>,
}

/// A moment, and what the file was like.
#[derive(Debug)]
pub(super) struct Taken {
    /// The mtime is that of the content, or an older one, so that what comes after it is noticed. The size is
    /// that of the content, to which more may have been added.
    pub stat: Stat,
    /// Where it had data, if it had holes.
    pub data: Option<Vec<Extent>>,
    pub moment: Moment,
}

/// How a moment is taken.
pub(super) struct Taker<'a> {
    /// How long until a change is told from the one at that time.
    pub wait: &'a dyn Fn(FileTime) -> Option<Duration>,
    /// Whether it is no longer wanted.
    pub cancelled: &'a dyn Fn() -> bool,
    /// Where it is copied to.
    pub copies: Option<&'a Arc<Copies>>,
}

/// What one reading has found.
struct Reading {
    pieces: BTreeMap<u64, Digest>,
    data: Option<Vec<Extent>>,
    end: u64,
    /// As it was when its end was met.
    stat: Stat,
    /// So many readings before it found the same, of which it may have more.
    agreed: u32,
}

impl Taker<'_> {
    /// A moment of `file`; None if it never held still.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn take(&self, file: &File) -> io::Result<Option<Taken>> {
        let mut before = fsat::stat_fd(file.as_fd())?;
        let mut copy = self.copies.map(Part::new);
        if let Some(part) = &copy {
            self.pause(before.ctime);
            if let Ok(size) = part.share(file.as_fd()) {
                let (shared, start) = part.place();
                let stat = Stat { size, ..before };
                let reading = self.read(shared, start..start + size, stat, None, &mut None)?;
                return Ok(reading.map(|found| Reading { stat, ..found }.taken(copy)));
            }
        }
        copy = copy.filter(|part| part.has_room(extents::data_len(file.as_fd(), &before)));
        let [most, most_long] = READINGS;
        let mut left = if before.size > LONG { most_long } else { most };
        let mut last: Option<Reading> = None;
        while left > 0 {
            left -= 1;
            self.pause(before.ctime);
            let most = 0..before.size.saturating_add(MOST_ADDED);
            let found = self.read(file, most, before, last.as_ref(), &mut copy)?;
            let Some(found) = found else { return Ok(None) };
            if let Some(last) = last.filter(|last| found.proves(last)) {
                // What only grows, and never stops, is taken as far as it had got.
                if last.end == last.stat.size || (left == 0 && last.end < last.stat.size) {
                    return Ok(Some(last.taken(copy)));
                }
            }
            if Identity::of(&found.stat) == Identity::of(&before) && found.end == before.size {
                return Ok(Some(found.taken(copy)));
            }
            before = found.stat;
            last = Some(found);
        }
        Ok(None)
    }

    fn pause(&self, changed: FileTime) {
        if let Some(wait) = (self.wait)(changed) {
            std::thread::sleep(wait);
        }
    }

    /// Reads what is in `range` of `file`, which was like `before`, and compares it with the `last` reading.
    /// What differs is copied, unless that fails. None if it is no longer wanted.
    fn read(
        &self,
        file: &File,
        range: Range<u64>,
        before: Stat,
        last: Option<&Reading>,
        copy: &mut Option<Part>,
    ) -> io::Result<Option<Reading>> {
        let mut data = extents::of_sparse(file.as_fd(), range.start, &before);
        let most = range.end - range.start;
        let mut pieces = BTreeMap::new();
        let mut room = vec![0; PIECE.min(most) as usize];
        let (mut at, mut met) = (0, None);
        let mut is_same = last.is_some_and(|last| last.data == clipped(data.as_deref(), last.end));
        while at < most && met.is_none() {
            if (self.cancelled)() {
                return Ok(None);
            }
            let data_at = data.as_ref().map_or(at, |data| next_data(data, at).min(before.size));
            let number = data_at.max(at) / PIECE;
            if number > at / PIECE {
                let skipped = at / PIECE..number;
                is_same &= last.is_none_or(|last| last.pieces.range(skipped).next().is_none());
                at = number * PIECE;
                continue;
            }
            let len = PIECE.min(most - at);
            let piece = room.get_mut(..len as usize).unwrap_or_default();
            let got = fill(file, piece, range.start + at)?;
            if got < piece.len() {
                // At once: more may be added at any time.
                met = Some(fsat::stat_fd(file.as_fd())?);
            }
            let piece = piece.get(..got).unwrap_or_default();
            let digest = (got > 0).then(|| Digest::from(Md5::digest(piece)));
            let was = last.and_then(|last| last.pieces.get(&number));
            let known = last.map_or(0, |last| last.end.saturating_sub(at).min(PIECE)) as usize;
            is_same &= match piece.get(..known).filter(|known| known.len() < got) {
                _ if known == 0 || digest.as_ref() == was => true,
                begin => begin.is_some_and(|begin| was == Some(&Md5::digest(begin).into())),
            };
            if let Some(digest) = digest {
                let failed = |part: &Part| part.write(at, piece).is_err();
                if was != Some(&digest) && copy.as_ref().is_some_and(failed) {
                    *copy = None;
                }
                pieces.insert(number, digest);
            }
            at += got as u64;
        }
        let stat = met.map_or_else(|| fsat::stat_fd(file.as_fd()), Ok)?;
        is_same &= last.is_some_and(|last| at >= last.end);
        if let Some(data) = data.as_mut().filter(|_| at > before.size) {
            // What was added.
            match data.last_mut() {
                Some(last) if last.end == before.size => last.end = at,
                _ => data.push(Extent { start: before.size, end: at }),
            }
        }
        let agreed = last.filter(|_| is_same).map_or(0, |last| last.agreed + 1);
        Ok(Some(Reading { pieces, data, end: at, stat, agreed }))
    }
}

impl Reading {
    /// Whether what the reading before it found was there at one moment. What does not grow may have been
    /// written over and back, and could look the same by chance; the fewer pieces it has, the more easily.
    fn proves(&self, last: &Reading) -> bool {
        let least = match self.stat.size {
            size if size != last.stat.size => 1,
            ..=LONG => 3,
            _ => 2,
        };
        self.agreed >= least
    }

    fn taken(self, copy: Option<Part>) -> Taken {
        let Reading { pieces, data, end: size, stat, .. } = self;
        let copy = copy.map(|part| part.keep(size));
        let moment = Moment { size, pieces, copy };
        Taken { stat: Stat { size, ..stat }, data, moment }
    }
}

/// The parts of extents that are before `end`; None if that leaves no holes.
fn clipped(data: Option<&[Extent]>, end: u64) -> Option<Vec<Extent>> {
    let extents = data?.iter().filter(|extent| extent.start < end);
    let clipped: Vec<_> =
        extents.map(|extent| Extent { end: extent.end.min(end), ..*extent }).collect();
    let whole = matches!(clipped[..], [Extent { start: 0, end: last }] if last == end);
    (!whole).then_some(clipped)
}

/// Where the next data is, from an offset on.
fn next_data(data: &[Extent], at: u64) -> u64 {
    let next = data.partition_point(|extent| extent.end <= at);
    data.get(next).map_or(u64::MAX, |extent| extent.start)
}

/// Reads at `offset` until `room` is full or the file ends; says how much there was.
fn fill(file: &File, room: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = room.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + got as u64) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

/// Reads what was there at a moment.
#[derive(Debug)]
pub(super) struct Reader {
    moment: Arc<Moment>,
    /// Where it is read; None if there is a copy.
    file: Option<File>,
    /// The piece that was read last, and its bytes.
    piece: Option<u64>,
    bytes: Vec<u8>,
}

impl Reader {
    /// Reads the copy, or else what `open` opens.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn new<E>(moment: Arc<Moment>, open: impl FnOnce() -> Result<File, E>) -> Result<Self, E> {
        let file = if moment.copy.is_some() { None } else { Some(open()?) };
        Ok(Reader { moment, file, piece: None, bytes: Vec::new() })
    }

    /// Fills `slices` from `offset` on.
    ///
    /// # Errors
    /// [`Reason::Changed`] if that is not there any more; an errno if it cannot be read.
    pub fn read(&mut self, offset: u64, slices: &mut [IoSliceMut<'_>]) -> Result<(), Reason> {
        let mut at = offset;
        for slice in slices {
            let mut rest = &mut **slice;
            while !rest.is_empty() {
                self.load(at / PIECE)?;
                let from = self.bytes.get((at % PIECE) as usize..).unwrap_or_default();
                let len = from.len().min(rest.len());
                let (some, more) = rest.split_at_mut(len);
                if some.is_empty() {
                    return Err(Reason::Changed);
                }
                some.copy_from_slice(from.get(..len).unwrap_or_default());
                (at, rest) = (at + len as u64, more);
            }
        }
        Ok(())
    }

    /// The digest of all of it; None as soon as `cancelled` returns true.
    ///
    /// # Errors
    /// As of [`Reader::read`].
    pub fn digest(mut self, cancelled: &dyn Fn() -> bool) -> Result<Option<Digest>, Reason> {
        let moment = Arc::clone(&self.moment);
        let mut hash = Hash::default();
        for &number in moment.pieces.keys() {
            if cancelled() {
                return Ok(None);
            }
            self.load(number)?;
            hash.add(number * PIECE, &self.bytes);
        }
        Ok(Some(hash.digest(moment.size)))
    }

    fn load(&mut self, number: u64) -> Result<(), Reason> {
        if self.piece == Some(number) {
            return Ok(());
        }
        self.piece = None;
        let Moment { size, pieces, copy } = &*self.moment;
        let start = number.saturating_mul(PIECE);
        self.bytes.clear();
        self.bytes.resize(size.saturating_sub(start).min(PIECE) as usize, 0);
        if let Some(digest) = pieces.get(&number) {
            let copy = copy.as_ref().map(Part::place);
            let file = copy.or_else(|| self.file.as_ref().map(|file| (file, 0)));
            let (file, base) = file.ok_or(Reason::Changed)?;
            let got = fill(file, &mut self.bytes, base + start);
            let got = got.map_err(|e| Reason::from_io(&e))?;
            if got < self.bytes.len() || Digest::from(Md5::digest(&self.bytes)) != *digest {
                return Err(Reason::Changed);
            }
        }
        self.piece = Some(number);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::root::Root;
    use super::super::testing::*;
    use super::*;
    use std::cell::Cell;
    use std::fs::OpenOptions;
    use std::io::Write;

    const LEN: usize = 2 * PIECE as usize + 77;

    fn content(seed: u8, len: usize) -> Vec<u8> {
        (0..len).map(|at| (at / 1_000) as u8 ^ (at % 251) as u8 ^ seed).collect()
    }

    fn copies(temp: &TempDir) -> Arc<Copies> {
        drop(temp.disk());
        Arc::new(Copies::open(&temp.root()).unwrap())
    }

    /// A moment of `f` while `change`, which gets a number from 0 on, happens before each reading.
    fn take(
        temp: &TempDir,
        copies: Option<&Arc<Copies>>,
        change: impl Fn(u64, &File),
    ) -> Option<Taken> {
        let number = Cell::new(0);
        let writer = OpenOptions::new().write(true).open(temp.join("f")).unwrap();
        let wait = |_| {
            // Longer than a tick.
            std::thread::sleep(Duration::from_millis(20));
            change(number.replace(number.get() + 1), &writer);
            Some(Duration::from_millis(20))
        };
        let taker = Taker { wait: &wait, cancelled: &|| false, copies };
        taker.take(&File::open(temp.join("f")).unwrap()).unwrap()
    }

    /// All that was there at a moment, read in pieces of odd lengths; and its digest.
    fn read(temp: &TempDir, taken: Taken) -> Result<Vec<u8>, Reason> {
        let open = || Ok::<_, Reason>(File::open(temp.join("f")).unwrap());
        let moment = Arc::new(taken.moment);
        let mut reader = Reader::new(Arc::clone(&moment), open)?;
        let mut all = vec![0xa5; taken.stat.size as usize];
        let mut at = 0;
        for some in all.chunks_mut(300_007) {
            let len = some.len();
            let (one, two) = some.split_at_mut(len / 3);
            reader.read(at, &mut [IoSliceMut::new(one), IoSliceMut::new(two)])?;
            at += len as u64;
        }
        assert_eq!(reader.read(at, &mut [IoSliceMut::new(&mut [0])]), Err(Reason::Changed));
        let mut hash = Hash::default();
        hash.add(0, &all);
        let digest = Reader::new(moment, open)?.digest(&|| false)?;
        assert_eq!(digest, Some(hash.digest(all.len() as u64)));
        Ok(all)
    }

    fn nothing(_: u64, _: &File) {}

    #[test]
    fn what_holds_still_is_read_as_it_is() {
        let temp = TempDir::new("still");
        let copies = copies(&temp);
        for len in [0, 1, 5_000, PIECE as usize, PIECE as usize + 1, LEN] {
            temp.write("f", content(1, len));
            for copies in [None, Some(&copies)] {
                let taken = take(&temp, copies, nothing).unwrap();
                let stat = fsat::stat_fd(File::open(temp.join("f")).unwrap().as_fd()).unwrap();
                assert_eq!((taken.stat, taken.data.as_ref()), (stat, None));
                assert!(read(&temp, taken).unwrap() == content(1, len), "{len}");
            }
        }
    }

    #[test]
    fn what_comes_after_the_moment_is_not_read() {
        let temp = TempDir::new("after");
        let copies = copies(&temp);
        temp.write("f", content(1, LEN));
        let from_file = take(&temp, None, nothing).unwrap();
        let from_copy = take(&temp, Some(&copies), nothing).unwrap();
        let longer = take(&temp, None, nothing).unwrap();
        let mut file = OpenOptions::new().append(true).open(temp.join("f")).unwrap();
        file.write_all(b"more").unwrap();
        assert!(read(&temp, longer).unwrap() == content(1, LEN));
        temp.write("f", content(2, LEN));
        assert_eq!(read(&temp, from_file), Err(Reason::Changed));
        // Other copies do not overwrite it.
        let second = take(&temp, Some(&copies), nothing).unwrap();
        temp.write("f", b"");
        assert!(read(&temp, from_copy).unwrap() == content(1, LEN));
        assert!(read(&temp, second).unwrap() == content(2, LEN));
    }

    #[test]
    fn a_log_is_taken_as_far_as_it_had_got() {
        let temp = TempDir::new("log");
        let copies = copies(&temp);
        for start in [0, 10, PIECE as usize - 5, LEN] {
            for copies in [None, Some(&copies)] {
                let path = temp.write("f", content(1, start));
                let append = |number: u64, _: &File| {
                    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
                    file.write_all(format!("line {number}\n").as_bytes()).unwrap();
                };
                let taken = take(&temp, copies, append).unwrap();
                let whole = std::fs::read(&path).unwrap();
                let older = taken.stat.mtime;
                let got = read(&temp, taken).unwrap();
                assert!(whole.starts_with(&got) && got.len() < whole.len() && got.ends_with(b"\n"));
                let stat = fsat::stat_fd(File::open(&path).unwrap().as_fd()).unwrap();
                assert!(older < stat.mtime);
            }
        }
    }

    #[test]
    fn a_log_that_was_cut_and_goes_on_behind_a_hole_is_taken_with_its_hole() {
        let temp = TempDir::new("cut-log");
        let copies = copies(&temp);
        for copies in [None, Some(&copies)] {
            let path = temp.write("f", b"");
            let far = 5 * PIECE + 4_096;
            let append = |number: u64, file: &File| {
                file.write_all_at(&[b'x'; 5_000], far + 5_000 * number).unwrap();
            };
            append(0, &OpenOptions::new().write(true).open(&path).unwrap());
            let taken = take(&temp, copies, |number, file| append(number + 1, file)).unwrap();
            let size = taken.stat.size;
            if let Some(data) = &taken.data {
                assert!(data.iter().all(|extent| extent.start >= far && extent.end <= size));
                assert_eq!(data.last().unwrap().end, size);
            }
            let got = read(&temp, taken).unwrap();
            assert!(std::fs::read(&path).unwrap().starts_with(&got) && size > far + 5_000);
        }
    }

    #[test]
    fn what_is_only_touched_is_taken_and_what_is_written_over_is_not() {
        let temp = TempDir::new("touched");
        let copies = copies(&temp);
        for copies in [None, Some(&copies)] {
            let path = temp.write("f", content(1, LEN));
            let taken = take(&temp, copies, |number, _| chmod(&path, 0o600 + number as u32));
            assert!(read(&temp, taken.unwrap()).unwrap() == content(1, LEN));
            let rewrite = |number: u64, file: &File| {
                file.write_all_at(&[number as u8], PIECE + 5).unwrap();
                set_mtime(&path, 1_700_000_000, 0);
            };
            assert!(take(&temp, copies, rewrite).is_none());
            // Two contents that take turns.
            assert!(take(&temp, copies, |number, file| rewrite(number / 2 % 2, file)).is_none());
            // Once it is left alone it is taken, as it is then.
            let taken = take(&temp, copies, |number, file| rewrite(number.min(2), file)).unwrap();
            let want = std::fs::read(&path).unwrap();
            assert!(want[PIECE as usize + 5] == 2 && read(&temp, taken).unwrap() == want);
        }
    }

    #[test]
    fn what_gets_shorter_is_taken_when_it_stays_so() {
        let temp = TempDir::new("shorter");
        let path = temp.write("f", content(1, LEN));
        let cut = |number: u64, file: &File| file.set_len(LEN as u64 - 200_000 * number).unwrap();
        assert!(take(&temp, None, cut).is_none());
        let taken = take(&temp, None, |number, file| cut(number.min(2), file)).unwrap();
        assert_eq!(read(&temp, taken).unwrap(), std::fs::read(&path).unwrap());
    }

    #[test]
    fn a_long_hole_is_neither_read_nor_copied() {
        let temp = TempDir::new("hole");
        let copies = copies(&temp);
        let file = File::create(temp.join("f")).unwrap();
        file.set_len(1 << 40).unwrap();
        file.write_all_at(b"data", 1 << 39).unwrap();
        for copies in [None, Some(&copies)] {
            let taken = take(&temp, copies, nothing).unwrap();
            let Some([extent]) = taken.data.as_deref() else { panic!("{:?}", taken.data) };
            assert_eq!((taken.stat.size, extent.start), (1 << 40, 1 << 39));
            assert_eq!(taken.moment.pieces.len(), 1);
            let open = || Ok::<_, Reason>(File::open(temp.join("f")).unwrap());
            let mut reader = Reader::new(Arc::new(taken.moment), open).unwrap();
            let mut room = [1; 6];
            reader.read((1 << 39) - 1, &mut [IoSliceMut::new(&mut room)]).unwrap();
            assert_eq!(&room, b"\0data\0");
        }
    }

    #[test]
    fn half_of_the_room_is_left_to_others() {
        if !is_in_namespace("fs::moment::tests::half_of_the_room_is_left_to_others") {
            return;
        }
        let temp = TempDir::new("room");
        let _mounted = mount_tmpfs(temp.path(), "size=16m");
        let copies = copies(&temp);
        for (len, is_copied) in [(4 << 20, true), (10 << 20, false)] {
            temp.write("f", content(1, len));
            let taken = take(&temp, Some(&copies), nothing).unwrap();
            assert_eq!(taken.moment.copy.is_some(), is_copied);
            assert!(read(&temp, taken).unwrap() == content(1, len));
        }
    }

    #[test]
    fn where_blocks_can_be_shared_even_what_never_holds_still_is_taken() {
        let test = "where_blocks_can_be_shared_even_what_never_holds_still_is_taken";
        if !is_in_namespace(&format!("fs::moment::tests::{test}")) {
            return;
        }
        let temp = TempDir::new("shared");
        let (image, base) = (temp.write("image", b""), TempDir::under(temp.path(), "base"));
        File::create(&image).unwrap().set_len(256 << 20).unwrap();
        let made = std::process::Command::new("mkfs.btrfs").arg("-q").arg(&image).output();
        let made = made.is_ok_and(|out| out.status.success());
        let image = image.to_str().unwrap();
        let mounted = made.then(|| try_mount(&["-o", "loop", image], base.path())).flatten();
        let Some(_mounted) = mounted else {
            eprintln!("SKIPPED {test}: no btrfs");
            return;
        };
        let copies = copies(&base);
        for seed in 0..3 {
            base.write("f", content(seed, LEN));
            let write = |number: u64, file: &File| {
                file.write_all_at(&content(seed + number as u8, LEN), 0).unwrap();
            };
            let taken = take(&base, Some(&copies), write).unwrap();
            write(9, &OpenOptions::new().write(true).open(base.join("f")).unwrap());
            assert!(read(&base, taken).unwrap() == content(seed, LEN));
        }
        let file = File::create(base.join("f")).unwrap();
        file.set_len(1 << 30).unwrap();
        file.write_all_at(b"data", 1 << 29).unwrap();
        let taken = take(&base, Some(&copies), nothing).unwrap();
        assert_eq!((taken.moment.pieces.len(), taken.moment.copy.is_some()), (1, true));
    }

    #[test]
    fn nothing_is_copied_where_nothing_is_staged() {
        let temp = TempDir::new("no-staging");
        assert!(Copies::open(&temp.root()).is_err());
        assert!(!temp.join(".makuosan").exists());
        let temp_with = TempDir::new("staging");
        drop(temp_with.disk());
        let root: Arc<Root> = temp_with.root();
        drop(Copies::open(&root).unwrap());
        assert_eq!(staged(temp_with.path()), 0);
    }
}
