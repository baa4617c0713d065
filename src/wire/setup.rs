//! What a transfer is about, at the head of its first manifest: a byte 0, the path (counted; empty for the
//! base directory), flags (a byte: 0 more patterns follow, 1 recursive, 2 forced, 3 a host is named whose
//! transfer this was, 4 its target has asked for it, 5 only what is listed, 6 part of a watch, 7 the first of it), the
//! hosts that it is for, that host's name (counted; only with flag 3), the ticket that it was asked for with (8; only
//! with flag 4), and the
//! patterns (counted; `pattern` reads them).

use super::Error;
use super::audience::Audience;
use super::bytes::{Put, Reader};
use crate::ids::Ticket;
use crate::name::{HostName, MAX_HOST_NAME, MAX_PATH, RelPath};

/// The most bytes of a part of a transfer's patterns.
pub const MAX_PATTERNS: usize = 1 << 19;
/// The byte that a setup begins with.
pub(super) const SETUP: u8 = 0;

const MORE: u8 = 1;
const RECURSIVE: u8 = 2;
const FORCED: u8 = 4;
const ORIGIN: u8 = 8;
const TICKET: u8 = 16;
const LISTED: u8 = 32;
const WATCH: u8 = 64;
const FIRST: u8 = 128;

/// Which part of a watch a transfer is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Watch {
    /// None.
    #[default]
    No,
    /// The first: all of what is watched.
    Begins,
    /// What has changed since.
    GoesOn,
}

/// What a transfer is about: which path it claims, where it may delete, and what is kept of it. It is in
/// the first batch; if the patterns are too long for it, the rest of them is in the batches after it, where
/// nothing counts but the path and the patterns.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Setup {
    /// The path.
    pub path: RelPath,
    /// The next batch brings more patterns.
    pub more: bool,
    /// It is about all that is below the path, too.
    pub recursive: bool,
    /// It is about nothing but what it names: a list of paths, each at the path or below it.
    pub listed: bool,
    /// The guards of deletion do not hold it up.
    pub forced: bool,
    /// Whether it is part of a watch.
    pub watch: Watch,
    /// For whom it is.
    pub audience: Audience,
    /// The host that sent it first, if it is sent once more, by any.
    pub origin: Option<HostName>,
    /// What its only target has asked for it with, if that has.
    pub ticket: Option<Ticket>,
    /// The patterns of what is neither sent nor deleted, or a part of them, as `pattern` writes them;
    /// empty without any.
    pub patterns: Vec<u8>,
}

impl Setup {
    /// Reads it, without its first byte.
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let path = RelPath::parse_or_base(reader.counted(MAX_PATH)?).map_err(|_| Error::Invalid)?;
        let flags = reader.u8()?;
        let watch = match (flags & WATCH != 0, flags & FIRST != 0) {
            (false, false) => Watch::No,
            (true, true) => Watch::Begins,
            (true, false) => Watch::GoesOn,
            (false, true) => return Err(Error::Invalid),
        };
        let audience = Audience::parse(reader)?;
        let origin = match flags & ORIGIN != 0 {
            false => None,
            true => {
                let name = reader.counted(MAX_HOST_NAME)?;
                Some(HostName::parse(name).map_err(|_| Error::Invalid)?)
            }
        };
        let ticket = match flags & TICKET != 0 {
            false => None,
            true => Some(Ticket::new(reader.u64()?)),
        };
        Ok(Setup {
            path,
            more: flags & MORE != 0,
            recursive: flags & RECURSIVE != 0,
            listed: flags & LISTED != 0,
            forced: flags & FORCED != 0,
            watch,
            audience,
            origin,
            ticket,
            patterns: reader.counted(MAX_PATTERNS)?.to_vec(),
        })
    }

    /// Writes it.
    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        out.push(SETUP);
        out.put_counted(self.path.as_bytes());
        out.push(
            flag(self.more, MORE)
                | flag(self.recursive, RECURSIVE)
                | flag(self.forced, FORCED)
                | flag(self.origin.is_some(), ORIGIN)
                | flag(self.ticket.is_some(), TICKET)
                | flag(self.listed, LISTED)
                | flag(self.watch != Watch::No, WATCH)
                | flag(self.watch == Watch::Begins, FIRST),
        );
        self.audience.emit(out);
        if let Some(origin) = &self.origin {
            out.put_counted(origin.as_str().as_bytes());
        }
        if let Some(ticket) = self.ticket {
            out.put_u64(ticket.get());
        }
        out.put_counted(&self.patterns);
    }

    /// The most bytes that it takes in a manifest.
    pub fn len_bound(&self) -> usize {
        const FIXED: usize = 2 + 8 + 3 * 4;
        let origin = self.origin.as_ref().map_or(0, |origin| origin.as_str().len());
        FIXED
            + self.path.as_bytes().len()
            + self.audience.len_bound()
            + origin
            + self.patterns.len()
    }

    /// About how many bytes it takes in memory beside itself.
    pub fn memory(&self) -> usize {
        self.audience.memory() + self.patterns.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> HostName {
        HostName::parse(name.as_bytes()).unwrap()
    }

    fn parse(bytes: &[u8]) -> Result<Setup, Error> {
        let mut reader = Reader::new(bytes);
        assert_eq!(reader.u8(), Ok(SETUP));
        let setup = Setup::parse(&mut reader)?;
        reader.end()?;
        Ok(setup)
    }

    #[test]
    fn every_flag_round_trips() {
        for bits in 0..512u16 {
            let setup = Setup {
                path: if bits & 1 == 0 { RelPath::base() } else { RelPath::parse(b"d").unwrap() },
                more: bits & 2 != 0,
                recursive: bits & 4 != 0,
                listed: bits & 64 != 0,
                forced: bits & 8 != 0,
                watch: match bits >> 7 {
                    0 => Watch::No,
                    1 => Watch::Begins,
                    _ => Watch::GoesOn,
                },
                audience: match bits & 16 != 0 {
                    true => Audience::named(vec![host("a"), host("b")]),
                    false => Audience::All,
                },
                origin: (bits & 6 == 6).then(|| host("web-1")),
                ticket: (bits & 32 != 0).then_some(Ticket::new(0x0102_0304_0506_0708)),
                patterns: vec![9; usize::from(bits)],
            };
            let mut bytes = Vec::new();
            setup.emit(&mut bytes);
            assert!(bytes.len() <= setup.len_bound());
            for len in 1..bytes.len() {
                assert!(parse(&bytes[..len]).is_err(), "{len}");
            }
            assert_eq!(parse(&bytes), Ok(setup));
        }
    }

    #[test]
    fn known_bytes_and_an_unknown_flag() {
        assert_eq!(parse(b"\0\0\0\0\0"), Ok(Setup::default()));
        // The first of a watch, but not of a watch.
        assert_eq!(parse(b"\0\0\x80\0\0"), Err(Error::Invalid));
        assert_eq!(parse(b"\0\x02..\0\0\0"), Err(Error::Invalid));
    }
}
