//! What a host says in HELLO of what it lacks itself.
//!
//! | size | field |
//! | --- | --- |
//! | 4 | how many transfers it lacks, or has in part, and asks for |
//! | 4 | how many it does not ask for, because it had files before it kept records |
//! | 8 | the stamp of the earliest of both; 0 if there is none |
//! | 2 | why it has not got them yet |
//! | 8 | the stamp of the latest transfer that is complete there; 0 if none is |

use std::fmt;

use super::Error;
use super::bytes::{Put, Reader};
use super::outcome::Reason;
use crate::errno;
use crate::stamp::Stamp;

/// What a host lacks of what was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Behind {
    /// How many transfers it lacks, or has in part, and asks for.
    pub count: u32,
    /// How many it does not ask for, because it had files before it kept records.
    pub strange: u32,
    /// The stamp of the earliest of both; [`Stamp::ZERO`] if there is none.
    pub since: Stamp,
    /// Why it has not got them yet.
    pub why: Why,
    /// The stamp of the latest transfer that is complete there; [`Stamp::ZERO`] if none is.
    pub complete: Stamp,
}

/// Why a host has not got what it lacks yet. The greater one is the better to know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Why {
    /// It is about to ask for it, or it is coming.
    #[default]
    Asking,
    /// No host that is there has it.
    Nobody,
    /// It broke off.
    BrokeOff,
    /// Who was asked has not all of it any more.
    Declined,
    /// Something that was to be deleted is still there.
    Undeleted,
    /// Something could not be written.
    Failed(Reason),
    /// A reason that this version does not know.
    Unknown(u16),
}

/// The first number that is none of a [`Reason`].
const FIRST: u16 = 0x8000;
/// Those that follow, in their order.
const OWN: [Why; 4] = [Why::Nobody, Why::BrokeOff, Why::Declined, Why::Undeleted];

impl Behind {
    /// Why one lacks nothing that is never written to.
    pub const TAKES_NOTHING: Why = Why::Failed(Reason::ReadOnly);

    /// Whether it is never written to.
    pub fn takes_nothing(&self) -> bool {
        self.is_nothing() && self.why == Self::TAKES_NOTHING
    }

    /// Whether it lacks nothing that it knows of.
    pub fn is_nothing(&self) -> bool {
        self.count == 0 && self.strange == 0
    }

    /// How many it lacks in all.
    pub fn total(&self) -> u64 {
        u64::from(self.count) + u64::from(self.strange)
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Behind {
            count: reader.u32()?,
            strange: reader.u32()?,
            since: Stamp::from_bits(reader.u64()?),
            why: Why::from_code(reader.u16()?),
            complete: Stamp::from_bits(reader.u64()?),
        })
    }

    /// Writes it.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.count);
        out.put_u32(self.strange);
        out.put_u64(self.since.bits());
        out.put_u16(self.why.code());
        out.put_u64(self.complete.bits());
    }
}

impl Why {
    fn code(self) -> u16 {
        match self {
            Why::Asking => 0,
            // What this is about is told where the transfer is.
            Why::Failed(reason) => u16::try_from(reason.code()).unwrap_or(errno::EEXIST),
            Why::Unknown(code) => code,
            own => FIRST + OWN.iter().position(|known| *known == own).unwrap_or(OWN.len()) as u16,
        }
    }

    fn from_code(code: u16) -> Self {
        match (code, code.checked_sub(FIRST)) {
            (0, _) => Why::Asking,
            (_, Some(at)) => OWN.get(usize::from(at)).copied().unwrap_or(Why::Unknown(code)),
            _ => Reason::from_code(code.into()).map_or(Why::Unknown(code), Why::Failed),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Asking => f.write_str("being fetched"),
            Why::Nobody => f.write_str("no host that is there has it"),
            Why::BrokeOff => f.write_str("it broke off"),
            Why::Declined => f.write_str("who was asked has not all of it any more"),
            Why::Undeleted => f.write_str("something could not be deleted"),
            Why::Failed(reason) => reason.fmt(f),
            Why::Unknown(code) => write!(f, "unknown reason {code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_every_reason_comes_back() {
        let mut whys =
            vec![Why::Asking, Why::Failed(Reason::Os(errno::ENOSPC)), Why::Unknown(0x8123)];
        whys.extend(OWN);
        whys.extend(Reason::OWN.map(Why::Failed));
        for why in whys {
            let (since, complete) = (Stamp::from_bits(0x0102_0304_0506_0708), Stamp::at(9));
            let behind = Behind { count: 3, strange: 0x0102_0304, since, why, complete };
            let mut out = Vec::new();
            behind.put(&mut out);
            assert_eq!(out.len(), 26);
            let mut reader = Reader::new(&out);
            assert_eq!(Behind::read(&mut reader), Ok(behind));
            assert!(!why.to_string().is_empty());
        }
        for code in 0..=u16::MAX {
            assert_eq!(Why::from_code(code).code(), code);
        }
    }

    #[test]
    fn known_bytes() {
        let (since, complete) = (Stamp::at(1), Stamp::at(2));
        let why = Why::Failed(Reason::Os(28));
        let mut out = Vec::new();
        Behind { count: 1, strange: 2, since, why, complete }.put(&mut out);
        let bytes = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 0, 0, 2, 0, 0];
        assert_eq!(out, bytes);
        assert_eq!(why.to_string(), "No space left on device");
    }

    #[test]
    fn what_failed_is_better_to_know_than_that_it_is_awaited() {
        assert!(Why::Asking < Why::Nobody && Why::Declined < Why::Failed(Reason::Held));
        let too_long = Why::Failed(Reason::SameName(7));
        assert_eq!(too_long.code(), errno::EEXIST);
    }
}
