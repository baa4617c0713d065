//! What a target says of each entry: what it needs (NEED), and what became of it (DONE).
//!
//! Both are written as runs: the number of the first entry (varint), then pairs of a code and a count
//! (varints) to the end of the packet. What does not fit into one packet continues in the next.

use std::fmt;

use super::Error;
use super::bytes::{Put, Reader, varint_len};
use super::manifest::MAX_ENTRIES;
use crate::errno::{self, ErrorText};
use crate::ids::EntryNo;

/// Why an entry failed at a target: a Linux errno, or a reason of this program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// An errno (`include/uapi/asm-generic/errno.h`).
    Os(u16),
    /// A component of the path is a symbolic link.
    LinkInPath,
    /// A non-empty directory stands where something else should be.
    DirectoryInPlace,
    /// Something that is not a directory stands where a directory should be.
    NotADirectoryInPlace,
    /// The target was started so that it never receives.
    ReadOnly,
    /// The sender's file changed while it was read, in the last attempt too.
    Changed,
    /// Another transfer has claimed the path, or a part of it, for itself.
    Held,
    /// What is called `.makuosan` on the file system of the path is not the target's.
    StagingNotOurs,
    /// The target was started so that it takes no devices.
    DeviceRefused,
    /// The path of the host's base directory leads to another directory, which its daemon cannot open.
    BaseReplaced,
    /// The path of the host's base directory leads to no directory.
    BaseMissing,
    /// Another directory has come to the path of the target's base directory during the transfer.
    BaseChanged,
    /// The sender's directory changed for as long as it was looked at.
    Restless,
    /// Many before it have failed for want of room on its file system.
    NotTried,
    /// It is one entry there with another name of the sender's directory: the one with this
    /// [`name_number`].
    SameName(u32),
    /// The target watches the path, or a part of it, itself.
    Watched,
    /// The target keeps the path equal with other hosts, which say what is there.
    Mirrored,
    /// Something of what the link points to has failed.
    Incomplete,
    /// The file system cannot exchange two names, as a transfer of all or nothing needs.
    NoExchange,
    /// A staged file does not contain what was sent.
    Damaged,
    /// It is not known there yet what became of an earlier transfer to the path, for all or none.
    InDoubt,
    /// A reason that this version does not know.
    Unknown(u16),
}

/// The number of the first reason of this program on the wire: above all errnos.
const FIRST_OWN: u16 = 4_096;
/// Above all codes of 16 bits: [`Reason::SameName`], with the number added.
const SAME_NAME: u32 = 65_536;

/// The number by which a target names another name in the directory of an entry: FNV-1a, without the
/// topmost bit.
pub fn name_number(name: &[u8]) -> u32 {
    let hash = |hash: u32, &byte: &u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
    name.iter().fold(2_166_136_261, hash) >> 1
}

impl Reason {
    /// The reasons of this program, in the order of their numbers on the wire; all but
    /// [`Reason::SameName`].
    pub const OWN: [Reason; 19] = [
        Reason::LinkInPath,
        Reason::DirectoryInPlace,
        Reason::NotADirectoryInPlace,
        Reason::ReadOnly,
        Reason::Changed,
        Reason::Held,
        Reason::StagingNotOurs,
        Reason::DeviceRefused,
        Reason::BaseReplaced,
        Reason::BaseMissing,
        Reason::BaseChanged,
        Reason::Restless,
        Reason::NotTried,
        Reason::Watched,
        Reason::Mirrored,
        Reason::Incomplete,
        Reason::NoExchange,
        Reason::Damaged,
        Reason::InDoubt,
    ];

    /// Whether a path is left to others who say what it is to be, so that nothing of it is lacking.
    pub fn is_of_others(self) -> bool {
        self == Reason::Mirrored
    }

    /// The reason for a system error.
    pub fn from_io(error: &std::io::Error) -> Self {
        match error.raw_os_error().and_then(|code| u16::try_from(code).ok()) {
            Some(code @ 1..FIRST_OWN) => Reason::Os(code),
            _ => Reason::Os(errno::EIO),
        }
    }

    pub(super) fn code(self) -> u32 {
        let code = match self {
            Reason::SameName(number) => return SAME_NAME + (number & 0x7fff_ffff),
            Reason::Os(code) | Reason::Unknown(code) => code,
            own => {
                let at = Self::OWN.iter().position(|known| *known == own);
                FIRST_OWN + at.unwrap_or(Self::OWN.len()) as u16
            }
        };
        code.into()
    }

    pub(super) fn from_code(code: u32) -> Result<Self, Error> {
        let Ok(code) = u16::try_from(code) else {
            let number = code - SAME_NAME;
            return if number >> 31 == 0 {
                Ok(Reason::SameName(number))
            } else {
                Err(Error::Invalid)
            };
        };
        Ok(match code.checked_sub(FIRST_OWN) {
            None => Reason::Os(code),
            Some(at) => Self::OWN.get(usize::from(at)).copied().unwrap_or(Reason::Unknown(code)),
        })
    }
}

impl std::error::Error for Reason {}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Os(code) => {
                ErrorText(&std::io::Error::from_raw_os_error((*code).into())).fmt(f)
            }
            Reason::LinkInPath => f.write_str("Symbolic link in path"),
            Reason::DirectoryInPlace => {
                f.write_str("Directory not empty in its place (send -r --delete replaces it)")
            }
            Reason::NotADirectoryInPlace => f.write_str("Not a directory in its place"),
            Reason::ReadOnly => f.write_str("Read-only member"),
            Reason::Changed => f.write_str("File changed while it was read"),
            Reason::Held => f.write_str("Path held by another transfer"),
            Reason::Watched => f.write_str("Path watched by that host itself"),
            Reason::Mirrored => f.write_str("Mirrored there: what is in it comes from its equals"),
            Reason::Incomplete => f.write_str("Not put in place: what it points to is incomplete"),
            Reason::NoExchange => {
                f.write_str("Its file system cannot exchange names, as --atomic needs")
            }
            Reason::Damaged => f.write_str("What was staged is not what was sent"),
            Reason::InDoubt => f.write_str("In doubt there: an earlier --atomic"),
            Reason::StagingNotOurs => f.write_str(".makuosan there is not the daemon's"),
            Reason::DeviceRefused => f.write_str("Device refused (--no-devices)"),
            Reason::BaseReplaced => f.write_str("base directory was replaced: restart makuosan"),
            Reason::BaseMissing => f.write_str("base directory is not there"),
            Reason::BaseChanged => {
                f.write_str("base directory was replaced during the transfer: send again")
            }
            Reason::Restless => f.write_str("Directory kept changing at the sender"),
            Reason::NotTried => f.write_str("Not tried: no room on its file system"),
            Reason::SameName(_) => f.write_str("Same name there as another"),
            Reason::Unknown(code) => write!(f, "Unknown reason {code}"),
        }
    }
}

/// A code about one entry, as [`Runs`] carry it.
pub trait Code: Copy + PartialEq {
    /// Its number on the wire.
    fn number(self) -> u32;
    /// The code with this number.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is none.
    fn from_number(number: u32) -> Result<Self, Error>;
}

/// What a target needs to bring one entry up to date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Nothing: it is up to date.
    Skip,
    /// Its attributes differ.
    Attributes,
    /// It is missing, of another type, or its content differs.
    All,
    /// It is not up to date, but the target never receives.
    ReadOnly,
    /// It cannot be brought up to date.
    Failed(Reason),
    /// It is below a directory that failed; only the directory itself is reported.
    Silent,
    /// The target keeps times less exactly, and cannot tell whether it is up to date: it is to be
    /// offered again with its digest.
    Unsure,
    /// As [`Need::All`], in a dry run: in the place of a directory that is not empty, which is to be deleted.
    Late,
}

/// What a target has spooled for deletion, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeletionTally {
    /// How many entries would be deleted.
    pub spooled: u64,
    /// How many directories could not be listed, or entries cannot be deleted; they are named as well.
    pub failed: u64,
    /// How many entries the listed directories have at the target in all, those included.
    pub entries: u64,
}

impl DeletionTally {
    /// How many names the target has to tell.
    pub fn names(&self) -> u64 {
        self.spooled.saturating_add(self.failed)
    }
}

/// What became of something spooled for deletion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpoolCode {
    /// It would be deleted.
    Spooled,
    /// It was deleted.
    Deleted,
    /// It stays, and is not reported: it has changed since it was listed, or contains something that
    /// patterns exclude.
    Kept,
    /// It could not be deleted.
    Failed(Reason),
}

/// Kinds of attributes that could not be set.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Lacks(u8);

impl Lacks {
    /// None.
    pub const NONE: Lacks = Lacks(0);
    /// Its owner.
    pub const OWNER: Lacks = Lacks(1);
    /// Its group.
    pub const GROUP: Lacks = Lacks(2);
    /// Its permission bits.
    pub const MODE: Lacks = Lacks(4);
    /// Its time.
    pub const TIME: Lacks = Lacks(8);
    /// It is a device, and was not made.
    pub const DEVICE: Lacks = Lacks(16);
    /// Each kind, with what is said of it.
    pub const KINDS: [(Lacks, &str); 5] = [
        (Lacks::OWNER, "owner cannot be set"),
        (Lacks::GROUP, "group cannot be set"),
        (Lacks::MODE, "permission bits cannot be set"),
        (Lacks::TIME, "time cannot be kept"),
        (Lacks::DEVICE, "devices cannot be made"),
    ];

    /// Those of the kinds that are lacking.
    pub fn of(kinds: impl IntoIterator<Item = (Lacks, bool)>) -> Self {
        kinds
            .into_iter()
            .filter(|(_, lacks)| *lacks)
            .fold(Lacks::NONE, |all, (one, _)| all.and(one))
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Lacks) -> Self {
        Lacks(self.0 | other.0)
    }

    /// Whether `kind` is among them.
    pub fn has(self, kind: Lacks) -> bool {
        self.0 & kind.0 != 0
    }
}

/// What a target did with one entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was up to date.
    Skipped,
    /// It was brought up to date.
    Updated,
    /// The target never receives.
    ReadOnly,
    /// As one of the first two, but for attributes that the target may not set, or cannot keep.
    Lacking {
        /// It was brought up to date in all else.
        updated: bool,
        /// What it lacks.
        lacks: Lacks,
    },
    /// It failed.
    Failed(Reason),
    /// It is below a directory that failed; only the directory itself is reported.
    Silent,
    /// The sender has struck it from the commit.
    Struck,
    /// It is to be offered again, with its digest: as [`Need::Unsure`] says, or because there was no room
    /// for it, which others may have made by then.
    Again,
    /// It waits for the deletion of a directory that is not empty, and then takes its place.
    Late,
}

impl Outcome {
    /// Whether the entry is not as it was sent, and will not be.
    pub fn has_failed(self) -> bool {
        matches!(self, Outcome::Failed(_) | Outcome::Silent | Outcome::ReadOnly)
    }
}

const FIRST_REASON: u32 = 16;
/// Above all reasons: [`Outcome::Lacking`], with the kinds added.
const LACKING: u32 = 0xf000_0000;
const LACKING_UPDATED: u32 = 0x100;

fn reason_of(number: u32) -> Result<Reason, Error> {
    Reason::from_code(number.checked_sub(FIRST_REASON).ok_or(Error::Invalid)?)
}

impl Code for Need {
    fn number(self) -> u32 {
        match self {
            Need::Skip => 0,
            Need::Attributes => 1,
            Need::All => 2,
            Need::ReadOnly => 3,
            Need::Silent => 4,
            Need::Unsure => 6,
            Need::Late => 7,
            Need::Failed(reason) => FIRST_REASON + reason.code(),
        }
    }

    fn from_number(number: u32) -> Result<Self, Error> {
        Ok(match number {
            0 => Need::Skip,
            1 => Need::Attributes,
            2 => Need::All,
            3 => Need::ReadOnly,
            4 => Need::Silent,
            6 => Need::Unsure,
            7 => Need::Late,
            _ => Need::Failed(reason_of(number)?),
        })
    }
}

impl Code for SpoolCode {
    fn number(self) -> u32 {
        match self {
            SpoolCode::Spooled => 0,
            SpoolCode::Deleted => 1,
            SpoolCode::Kept => 2,
            SpoolCode::Failed(reason) => FIRST_REASON + reason.code(),
        }
    }

    fn from_number(number: u32) -> Result<Self, Error> {
        Ok(match number {
            0 => SpoolCode::Spooled,
            1 => SpoolCode::Deleted,
            2 => SpoolCode::Kept,
            _ => SpoolCode::Failed(reason_of(number)?),
        })
    }
}

impl Code for Outcome {
    fn number(self) -> u32 {
        match self {
            Outcome::Skipped => 0,
            Outcome::Updated => 1,
            Outcome::ReadOnly => 3,
            Outcome::Silent => 4,
            Outcome::Struck => 5,
            Outcome::Again => 6,
            Outcome::Late => 7,
            Outcome::Lacking { updated, lacks } => {
                LACKING + u32::from(updated) * LACKING_UPDATED + u32::from(lacks.0)
            }
            Outcome::Failed(reason) => FIRST_REASON + reason.code(),
        }
    }

    fn from_number(number: u32) -> Result<Self, Error> {
        Ok(match number {
            0 => Outcome::Skipped,
            1 => Outcome::Updated,
            3 => Outcome::ReadOnly,
            4 => Outcome::Silent,
            5 => Outcome::Struck,
            6 => Outcome::Again,
            7 => Outcome::Late,
            LACKING.. => {
                let updated = number & LACKING_UPDATED != 0;
                let lacks = number - LACKING - u32::from(updated) * LACKING_UPDATED;
                match u8::try_from(lacks) {
                    Ok(lacks @ 1..=31) => Outcome::Lacking { updated, lacks: Lacks(lacks) },
                    _ => return Err(Error::Invalid),
                }
            }
            _ => Outcome::Failed(reason_of(number)?),
        })
    }
}

/// The codes of consecutive entries, as one packet carries them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Runs<C> {
    /// The entry of the first code.
    pub first: EntryNo,
    /// Codes, each with the number of consecutive entries that have it, which is not 0.
    pub runs: Vec<(C, u16)>,
}

impl<C: Code> Runs<C> {
    /// As many of `codes` from `first` on as fit into `room` bytes, and the entry that comes next.
    pub fn pack(codes: &[C], first: EntryNo, room: usize) -> (Self, EntryNo) {
        let mut runs: Vec<(C, u16)> = Vec::new();
        let mut used = 3;
        let mut next = first.index();
        while let Some(&code) = codes.get(next) {
            match runs.last_mut() {
                Some((last, count)) if *last == code => *count += 1,
                _ => {
                    // A count takes two bytes at most: MAX_ENTRIES is under 2^14.
                    used += varint_len(code.number().into()) + 2;
                    if used > room {
                        break;
                    }
                    runs.push((code, 1));
                }
            }
            next += 1;
        }
        (Runs { first, runs }, EntryNo::of(next))
    }

    /// Reads to the end of `reader`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] past [`MAX_ENTRIES`]; [`Error::Invalid`] for an unknown code or an empty run.
    pub fn parse(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let first = reader.varint()?;
        let mut total = first;
        let mut runs = Vec::new();
        while !reader.rest().is_empty() {
            let code = C::from_number(reader.varint32()?)?;
            let count = reader.varint()?;
            total = total.checked_add(count).ok_or(Error::TooLarge)?;
            if count == 0 {
                return Err(Error::Invalid);
            }
            if total > MAX_ENTRIES as u64 {
                return Err(Error::TooLarge);
            }
            runs.push((code, count as u16));
        }
        if total > MAX_ENTRIES as u64 {
            return Err(Error::TooLarge);
        }
        Ok(Runs { first: EntryNo::new(first as u16), runs })
    }

    /// Writes it.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.put_varint(self.first.get().into());
        for (code, count) in &self.runs {
            out.put_varint(code.number().into());
            out.put_varint((*count).into());
        }
    }

    /// Each entry and its code.
    pub fn iter(&self) -> impl Iterator<Item = (EntryNo, C)> + '_ {
        let codes = self.runs.iter().flat_map(|&(code, count)| (0..count).map(move |_| code));
        self.first.onwards().zip(codes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed() -> Vec<Need> {
        let reasons = [
            Reason::Os(13),
            Reason::LinkInPath,
            Reason::Changed,
            Reason::Unknown(9_999),
            Reason::ReadOnly,
        ];
        (0..MAX_ENTRIES)
            .map(|n| match n % 7 {
                0 => Need::All,
                1 | 2 => Need::Skip,
                3 => Need::Attributes,
                4 => Need::Silent,
                5 => Need::Failed(reasons[n / 7 % reasons.len()]),
                _ => Need::ReadOnly,
            })
            .collect()
    }

    #[test]
    fn any_codes_arrive_over_as_many_packets_as_it_takes() {
        for codes in [mixed(), vec![Need::Skip; MAX_ENTRIES], vec![Need::All]] {
            let mut got = vec![None; codes.len()];
            let mut first = EntryNo::ZERO;
            while first.index() < codes.len() {
                let (runs, next) = Runs::pack(&codes, first, 200);
                assert!(next > first);
                let mut bytes = Vec::new();
                runs.emit(&mut bytes);
                assert!(bytes.len() <= 200);
                let parsed = Runs::<Need>::parse(&mut Reader::new(&bytes)).unwrap();
                assert_eq!(parsed, runs);
                for (entry, code) in parsed.iter() {
                    got[entry.index()] = Some(code);
                }
                first = next;
            }
            assert_eq!(got, codes.into_iter().map(Some).collect::<Vec<_>>());
        }
    }

    #[test]
    fn counts_past_the_last_entry_are_refused() {
        for (first, count) in [(0u64, 1_025u64), (1_024, 1), (1_000, u64::MAX), (2_000, 0)] {
            let mut bytes = Vec::new();
            bytes.put_varint(first);
            if count > 0 {
                bytes.put_varint(0);
                bytes.put_varint(count);
            }
            assert_eq!(Runs::<Need>::parse(&mut Reader::new(&bytes)), Err(Error::TooLarge));
        }
    }

    #[test]
    fn outcomes_round_trip_and_read_well() {
        for outcome in [
            Outcome::Skipped,
            Outcome::Updated,
            Outcome::ReadOnly,
            Outcome::Silent,
            Outcome::Struck,
            Outcome::Again,
            Outcome::Late,
            Outcome::Lacking { updated: false, lacks: Lacks::TIME },
            Outcome::Lacking { updated: true, lacks: Lacks(31) },
            Outcome::Failed(Reason::Os(28)),
            Outcome::Failed(Reason::SameName(0)),
            Outcome::Failed(Reason::SameName(name_number(b"README"))),
            Outcome::Failed(Reason::SameName(0x7fff_ffff)),
        ] {
            assert_eq!(Outcome::from_number(outcome.number()), Ok(outcome));
        }
        assert_eq!(Outcome::from_number(2), Err(Error::Invalid));
        assert_eq!(Outcome::from_number(u32::MAX), Err(Error::Invalid));
        assert_eq!(name_number(b""), 0x811c_9dc5 >> 1);
        assert_eq!(name_number(b"foobar"), 0xbf9c_f968 >> 1);
        assert_eq!(Reason::Os(28).to_string(), "No space left on device");
        assert_eq!(Reason::from_io(&std::io::Error::other("x")), Reason::Os(5));
    }
}
