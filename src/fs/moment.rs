//! The content of a file that goes on changing, as it was at one moment.
//!
//! It is read twice. Where both readings are the same, all of it was there at the moment between them; and
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
use super::extents;
use super::identity::Identity;
use crate::sys::fsat::{self, Stat};
use crate::wire::manifest::{Digest, Extent, Stamp};
use crate::wire::outcome::Reason;

/// The length of a piece.
const PIECE: u64 = 1 << 20;
/// How often a file is read in the hope that it holds still, and how often one that is [`LONG`].
const READINGS: [u32; 2] = [8, 3];
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
    /// The digest of all of it, if that was asked for.
    pub digest: Option<Digest>,
    pub moment: Moment,
}

/// How a moment is taken.
pub(super) struct Taker<'a> {
    /// How long until a change is told from the one at that time.
    pub wait: &'a dyn Fn(Stamp) -> Option<Duration>,
    /// Whether it is no longer wanted.
    pub cancelled: &'a dyn Fn() -> bool,
    /// Whether its digest is wanted.
    pub digest: bool,
    /// Where it is copied to.
    pub copies: Option<&'a Arc<Copies>>,
}

/// What one reading has found.
struct Reading {
    pieces: BTreeMap<u64, Digest>,
    data: Option<Vec<Extent>>,
    digest: Option<Digest>,
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

    fn pause(&self, changed: Stamp) {
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
        let mut whole = self.digest.then(Md5::new);
        let mut room = vec![0; PIECE.min(most) as usize];
        let (mut at, mut met) = (0, None);
        let mut is_same = last.is_some_and(|last| last.data == clipped(data.as_deref(), last.end));
        while at < most && met.is_none() {
            if (self.cancelled)() {
                return Ok(None);
            }
            let (number, len) = (at / PIECE, PIECE.min(most - at));
            let piece = room.get_mut(..len as usize).unwrap_or_default();
            let is_hole = at + len <= before.size
                && data.as_ref().is_some_and(|data| is_hole(data, at, at + len));
            let got = match is_hole {
                true => {
                    piece.fill(0);
                    piece.len()
                }
                false => fill(file, piece, range.start + at)?,
            };
            if got < piece.len() {
                // At once: more may be added at any time.
                met = Some(fsat::stat_fd(file.as_fd())?);
            }
            let piece = piece.get(..got).unwrap_or_default();
            if let Some(whole) = &mut whole {
                whole.update(piece);
            }
            let digest = (!is_hole && got > 0).then(|| Digest::from(Md5::digest(piece)));
            let was = last.and_then(|last| last.pieces.get(&number));
            let known = last.map_or(0, |last| last.end.saturating_sub(at).min(PIECE)) as usize;
            is_same &= match piece.get(..known).filter(|known| known.len() < got) {
                _ if known == 0 || digest.as_ref() == was => true,
                begin => begin.is_some_and(|begin| was == Some(&Md5::digest(begin).into())),
            };
            if let Some(digest) = digest {
                let fresh = was != Some(&digest);
                let failed = |part: &&mut Part| part.write(at, piece).is_err();
                if fresh && copy.as_mut().as_ref().is_some_and(failed) {
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
        let digest = whole.map(|whole| whole.finalize().into());
        let agreed = last.filter(|_| is_same).map_or(0, |last| last.agreed + 1);
        Ok(Some(Reading { pieces, data, digest, end: at, stat, agreed }))
    }
}

impl Reading {
    /// Whether what the reading before it found was there at one moment. What does not grow may have been
    /// written over and back, and could look the same twice by chance.
    fn proves(&self, last: &Reading) -> bool {
        self.agreed > u32::from(self.stat.size == last.stat.size)
    }

    fn taken(self, copy: Option<Part>) -> Taken {
        let Reading { pieces, data, digest, end: size, stat, .. } = self;
        let copy = copy.map(|part| part.keep(size));
        let moment = Moment { size, pieces, copy };
        Taken { stat: Stat { size, ..stat }, data, digest, moment }
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

/// Whether no byte between two offsets is data.
fn is_hole(data: &[Extent], start: u64, end: u64) -> bool {
    let next = data.partition_point(|extent| extent.end <= start);
    data.get(next).is_none_or(|extent| extent.start >= end)
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
