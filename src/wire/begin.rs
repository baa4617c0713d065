//! The payloads of BEGIN, OFFER, COMMIT, DELETE and END: what a sender says of its transfer.

use super::Error;
use super::audience::MAX_NAMED;
use super::bits::Bits;
use super::bytes::{Put, Reader};
use super::header::{MAX_BLOCK, MIN_BLOCK};
use super::manifest::{MAX_ENTRIES, MAX_MANIFEST};
use super::mode::Mode;
use super::names::Names;
use crate::ids::{EntryNo, TargetNo, TransferNo};
use crate::name::NodeId;
use crate::stamp::Stamp;

/// The most targets of a transfer.
pub const MAX_TARGETS: usize = 1_000;
// All of them can be named.
const _: () = assert!(MAX_TARGETS <= MAX_NAMED);

/// The payload of BEGIN. If the targets do not fit into one packet, several name some of them each;
/// every other field is the same in all of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Begin {
    /// What the transfer is to do.
    pub mode: Mode,
    /// The payload of a block, in bytes.
    pub block: u16,
    /// The sender's oldest transfer that is open; all before are closed.
    pub oldest: TransferNo,
    /// A sender that is silent for so many seconds does not hold its path any more.
    pub timeout: u16,
    /// The transfer's place in the order of all; none if it changes nothing.
    pub stamp: Stamp,
    /// How many targets the transfer has.
    pub total: u16,
    /// The first target that this packet names.
    pub first: TargetNo,
    /// The node ids of those that this packet names.
    pub targets: Vec<NodeId>,
}

const DRY_RUN: u8 = 1;
const IGNORE_TIMES: u8 = 2;
const DELETE: u8 = 4;
const NAMES_ONLY: u8 = 8;
const CHECK: u8 = 16;
const GONE: u8 = 32;
const ALL_FLAGS: u8 = 63;

/// The flags that say what a transfer is to do.
pub(super) fn flags_of(mode: Mode) -> u8 {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    flag(mode.changes_nothing(), DRY_RUN)
        | flag(mode.ignores_times(), IGNORE_TIMES)
        | flag(mode.sends_and_deletes(), DELETE)
        | flag(mode.names_only(), NAMES_ONLY)
        | flag(mode.is_check(), CHECK)
        | flag(mode.path_is_gone(), GONE)
}

/// What a transfer with these flags is to do. Combinations that no sender writes are accepted, and
/// read as the mode that changes least: CHECK decides before NAMES_ONLY, NAMES_ONLY before GONE, and
/// flags that mean nothing in that mode are ignored.
pub(super) fn mode_of(flags: u8) -> Mode {
    let has = |flag: u8| flags & flag != 0;
    let dry_run = has(DRY_RUN);
    if has(CHECK) {
        Mode::Check
    } else if has(NAMES_ONLY) {
        Mode::DeleteOnly { gone: has(GONE), dry_run }
    } else if has(GONE) {
        Mode::Remove { dry_run }
    } else {
        Mode::Send { delete: has(DELETE), ignore_times: has(IGNORE_TIMES), dry_run }
    }
}

impl Begin {
    const FIXED: usize = 23;

    /// How many targets fit into a packet with `room` bytes of payload.
    pub fn capacity(room: usize) -> usize {
        room.saturating_sub(Self::FIXED) / 8
    }

    /// Reads it.
    ///
    /// # Errors
    /// A block size, count or index out of bounds, or the wrong length.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(payload);
        let flags = reader.u8()?;
        let block = reader.u16()?;
        let oldest = TransferNo::new(reader.u32()?);
        let timeout = reader.u16()?;
        let stamp = Stamp::from_bits(reader.u64()?);
        let total = reader.u16()?;
        let first = reader.u16()?;
        let count = reader.u16()?;
        let sound = flags & !ALL_FLAGS == 0
            && (MIN_BLOCK..=MAX_BLOCK).contains(&block)
            && usize::from(total) <= MAX_TARGETS
            && u32::from(first) + u32::from(count) <= u32::from(total);
        if !sound {
            return Err(Error::Invalid);
        }
        let mut targets = Vec::new();
        for _ in 0..count {
            targets.push(NodeId(reader.u64()?));
        }
        reader.end()?;
        Ok(Begin {
            mode: mode_of(flags),
            block,
            oldest,
            timeout,
            stamp,
            total,
            first: TargetNo::new(first),
            targets,
        })
    }

    /// Writes it.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::FIXED + 8 * self.targets.len());
        out.push(flags_of(self.mode));
        out.put_u16(self.block);
        out.put_u32(self.oldest.get());
        out.put_u16(self.timeout);
        out.put_u64(self.stamp.bits());
        out.put_u16(self.total);
        out.put_u16(self.first.get());
        out.put_u16(self.targets.len() as u16);
        for node in &self.targets {
            out.put_u64(node.0);
        }
        out
    }
}

/// The payload of OFFER: how long the manifest is, and one slice of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer<'a> {
    /// How many bytes the whole manifest has.
    pub manifest_len: u32,
    /// The slice; the header's block says which.
    pub slice: &'a [u8],
}

impl<'a> Offer<'a> {
    /// The bytes before the slice.
    pub const PREFIX: usize = 4;

    /// How many bytes of a manifest each block but the last carries, for a block size.
    pub fn slice_len(block: u16) -> usize {
        usize::from(block) - Self::PREFIX
    }

    /// How many blocks a manifest of `len` bytes takes.
    pub fn blocks(len: usize, block: u16) -> u32 {
        len.div_ceil(Self::slice_len(block)) as u32
    }

    /// Reads it.
    ///
    /// # Errors
    /// A manifest over [`MAX_MANIFEST`], or a slice that is empty or longer than the manifest.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(payload);
        let manifest_len = reader.u32()?;
        if manifest_len as usize > MAX_MANIFEST {
            return Err(Error::TooLarge);
        }
        let slice = reader.rest();
        if slice.is_empty() || slice.len() > manifest_len as usize {
            return Err(Error::Invalid);
        }
        Ok(Offer { manifest_len, slice })
    }

    /// Writes it.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::PREFIX + self.slice.len());
        out.put_u32(self.manifest_len);
        out.extend_from_slice(self.slice);
        out
    }
}

/// The payload of COMMIT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit {
    /// The targets that are to commit.
    pub targets: Bits<TargetNo>,
    /// The entries that are left out.
    pub strikes: Bits<EntryNo>,
}

impl Commit {
    /// Reads it.
    ///
    /// # Errors
    /// A set over its bound, or the wrong length.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(payload);
        let targets = Bits::parse(&mut reader, MAX_TARGETS)?;
        let strikes = Bits::parse(&mut reader, MAX_ENTRIES)?;
        reader.end()?;
        Ok(Commit { targets, strikes })
    }

    /// Writes it.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.targets.emit(&mut out);
        self.strikes.emit(&mut out);
        out
    }
}

/// The payload of DELETE: what a target is to do with the entries that it has spooled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Delete {
    /// Count them.
    Tally,
    /// These targets are to delete them.
    Run(Bits<TargetNo>),
    /// Name them, passing over so many names.
    Page(u64),
}

impl Delete {
    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown order; a set over its bound; the wrong length.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(payload);
        let order = match reader.u8()? {
            0 => Delete::Tally,
            1 => Delete::Run(Bits::parse(&mut reader, MAX_TARGETS)?),
            2 => Delete::Page(reader.varint()?),
            _ => return Err(Error::Invalid),
        };
        reader.end()?;
        Ok(order)
    }

    /// Writes it.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Delete::Tally => out.push(0),
            Delete::Run(targets) => {
                out.push(1);
                targets.emit(&mut out);
            }
            Delete::Page(skip) => {
                out.push(2);
                out.put_varint(*skip);
            }
        }
        out
    }
}

/// What is known of a transfer only at its end, of what is kept of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// What it named, without what was struck.
    pub names: Names,
    /// Where it reached, there is nothing but what it named: its deletion was not held up, and its sender
    /// had no errors.
    pub deletes: bool,
    /// It takes the place of what its sender has sent before of the same list.
    pub folds: Option<Folds>,
}

/// What a transfer takes the place of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Folds {
    /// All that its sender has sent like it from this stamp on.
    pub since: Stamp,
    /// What these records are: their keys, one exclusive-or the other.
    pub keys: u64,
    /// What it names with that.
    pub names: Names,
}

/// The payload of END. The batch in its header is the last one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// How many regular files the batches had.
    pub files: u64,
    /// What is to be kept of it; None if nothing is.
    pub recorded: Option<Recorded>,
}

impl End {
    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown flag; the wrong length.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(payload);
        let files = reader.varint()?;
        let recorded = match reader.u8()? {
            0 => None,
            flags if flags & RECORDED != 0 && flags & !ALL == 0 => {
                let names = names_of(&mut reader)?;
                let folds = (flags & FOLDS != 0).then(|| {
                    let since = Stamp::from_bits(reader.u64()?);
                    let keys = reader.u64()?;
                    Ok(Folds { since, keys, names: names_of(&mut reader)? })
                });
                Some(Recorded { names, deletes: flags & DELETES != 0, folds: folds.transpose()? })
            }
            _ => return Err(Error::Invalid),
        };
        reader.end()?;
        Ok(End { files, recorded })
    }

    /// Writes it.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_varint(self.files);
        let Some(Recorded { names, deletes, folds }) = self.recorded else {
            out.push(0);
            return out;
        };
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        out.push(RECORDED | flag(deletes, DELETES) | flag(folds.is_some(), FOLDS));
        put_names(&mut out, names);
        if let Some(Folds { since, keys, names }) = folds {
            out.put_u64(since.bits());
            out.put_u64(keys);
            put_names(&mut out, names);
        }
        out
    }
}

const RECORDED: u8 = 1;
const DELETES: u8 = 2;
const FOLDS: u8 = 4;
const ALL: u8 = RECORDED | DELETES | FOLDS;

fn names_of(reader: &mut Reader<'_>) -> Result<Names, Error> {
    Ok(Names { count: reader.varint()?, sum: reader.u64()? })
}

fn put_names(out: &mut Vec<u8>, names: Names) {
    out.put_varint(names.count);
    out.put_u64(names.sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begin_round_trips_and_fits_its_packet() {
        let capacity = Begin::capacity(1_424);
        assert!(capacity >= 150);
        let begin = Begin {
            mode: Mode::Remove { dry_run: true },
            block: 1_424,
            oldest: TransferNo::new(77),
            timeout: 10,
            stamp: Stamp::from_bits(0x0102_0304_0506_0708),
            total: 1_000,
            first: TargetNo::new(176),
            targets: (0..capacity as u64).map(NodeId).collect(),
        };
        let bytes = begin.emit();
        assert!(bytes.len() <= 1_424);
        assert_eq!(bytes[9..17], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(Begin::parse(&bytes), Ok(begin));
        for len in 0..bytes.len() {
            assert_eq!(Begin::parse(&bytes[..len]), Err(Error::Truncated));
        }
    }

    #[test]
    fn every_mode_has_its_flags() {
        let known = [
            (0, Mode::SEND),
            (1, Mode::SEND.dry()),
            (2, Mode::Send { delete: false, ignore_times: true, dry_run: false }),
            (4, Mode::Send { delete: true, ignore_times: false, dry_run: false }),
            (7, Mode::Send { delete: true, ignore_times: true, dry_run: true }),
            (8, Mode::DeleteOnly { gone: false, dry_run: false }),
            (9, Mode::DeleteOnly { gone: false, dry_run: true }),
            (17, Mode::Check),
            (32, Mode::Remove { dry_run: false }),
            (33, Mode::Remove { dry_run: true }),
            (40, Mode::DeleteOnly { gone: true, dry_run: false }),
            (41, Mode::DeleteOnly { gone: true, dry_run: true }),
        ];
        for (flags, mode) in known {
            assert_eq!((flags_of(mode), mode_of(flags)), (flags, mode));
        }
        for flags in 0..=ALL_FLAGS {
            let mode = mode_of(flags);
            assert_eq!(mode_of(flags_of(mode)), mode, "{flags}");
            // Nothing else than what is said is done.
            assert!(!mode.deletes() || flags & (DELETE | NAMES_ONLY | GONE) != 0, "{flags}");
            assert!(mode.changes_nothing() || flags & (DRY_RUN | CHECK) == 0, "{flags}");
        }
    }

    #[test]
    fn begin_with_an_index_past_the_total_is_refused() {
        let begin = Begin {
            mode: Mode::SEND,
            block: 1_424,
            oldest: TransferNo::ZERO,
            timeout: 10,
            stamp: Stamp::ZERO,
            total: 3,
            first: TargetNo::new(2),
            targets: vec![NodeId(1), NodeId(2)],
        };
        assert_eq!(Begin::parse(&begin.emit()), Err(Error::Invalid));
        let small = Begin { block: 10, total: 4, ..begin };
        assert_eq!(Begin::parse(&small.emit()), Err(Error::Invalid));
    }

    #[test]
    fn offers_state_a_sound_length() {
        let offer = Offer { manifest_len: 5_000, slice: b"abc" };
        assert_eq!(Offer::parse(&offer.emit()), Ok(offer));
        assert_eq!(Offer::parse(&[0xff; 9]), Err(Error::TooLarge));
        assert_eq!(Offer::parse(&[0, 0, 0, 1, 1, 2]), Err(Error::Invalid));
        assert_eq!(Offer::parse(&[0, 0, 0, 1]), Err(Error::Invalid));
        assert_eq!(Offer::blocks(1_421, 1_424), 2);
    }

    #[test]
    fn delete_round_trips() {
        let these = Bits::of([0, 7, 999].map(TargetNo::new));
        for order in [Delete::Tally, Delete::Run(these), Delete::Page(1 << 40)] {
            let bytes = order.emit();
            assert_eq!(Delete::parse(&bytes), Ok(order));
            assert_eq!(Delete::parse(&bytes[..bytes.len() - 1]), Err(Error::Truncated));
        }
        let over = Delete::Run(Bits::of([TargetNo::new(1_001)]));
        assert!(Delete::parse(&over.emit()).is_err());
        assert_eq!(Delete::parse(&[3]), Err(Error::Invalid));
    }

    #[test]
    fn end_round_trips() {
        let names = Names { count: 300, sum: 0x0102_0304_0506_0708 };
        let folds =
            Some(Folds { since: Stamp::at(7), keys: 9, names: Names { count: 300, sum: 1 } });
        let recorded = [(false, None), (true, None), (false, folds), (true, folds)]
            .map(|(deletes, folds)| Some(Recorded { names, deletes, folds }));
        for recorded in [None].into_iter().chain(recorded) {
            for files in [0, 24, u64::MAX] {
                let end = End { files, recorded };
                let bytes = end.emit();
                assert_eq!(End::parse(&bytes), Ok(end));
                for len in 0..bytes.len() {
                    assert_eq!(End::parse(&bytes[..len]), Err(Error::Truncated));
                }
            }
        }
        assert_eq!(End::parse(&[1, 0, 0]), Err(Error::Trailing));
        for flags in [2, 4, 6, 8, 9] {
            assert_eq!(End::parse(&[1, flags]), Err(Error::Invalid));
        }
    }

    #[test]
    fn commit_round_trips() {
        let targets = [0, 9, 999].map(TargetNo::new);
        let commit =
            Commit { targets: Bits::of(targets), strikes: Bits::of([EntryNo::new(1_023)]) };
        let bytes = commit.emit();
        let parsed = Commit::parse(&bytes).unwrap();
        assert_eq!(parsed.targets.iter().collect::<Vec<_>>(), targets);
        assert_eq!(parsed, commit);
        for len in 0..bytes.len() {
            assert_eq!(Commit::parse(&bytes[..len]), Err(Error::Truncated));
        }
        let over = Bits::of([TargetNo::new(1_001)]);
        let over = Commit { targets: over, strikes: Bits::default() };
        assert_eq!(Commit::parse(&over.emit()), Err(Error::TooLarge));
    }
}
