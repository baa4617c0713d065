//! What a transfer is about, at the head of its first manifest: a byte 0, the path (counted; empty for the
//! base directory), flags (a varint: 0 more patterns follow, 1 recursive, 2 forced, 3 a host is named whose
//! transfer this was, 4 its target has asked for it, 5 only what is listed, 6 part of a watch, 7 the first of it, 8 part
//! of a mirror, 9 all that is in the mirror, 10 atomic), only with flag 8: the sender's index of the tree (8), what a target has to know
//! to take the transfer, what it knows afterwards, and the floor (knowledge, as in `versions`); only with flag 10: how
//! many of its targets are enough (a varint), and the targets by name (as the hosts that it is for); the hosts that it is for, that host's name (counted; only with flag 3), the ticket that it was asked for with (8; only
//! with flag 4), and the
//! patterns (counted; `pattern` reads them).

use super::Error;
use super::audience::Audience;
use super::bytes::{Put, Reader};
use super::versions::{IndexId, Knowledge};
use crate::ids::Ticket;
use crate::name::{HostName, MAX_HOST_NAME, MAX_PATH, RelPath};

/// The most bytes of a part of a transfer's patterns.
pub const MAX_PATTERNS: usize = 1 << 19;
/// The byte that a setup begins with.
pub(super) const SETUP: u8 = 0;

const MORE: u64 = 1;
const RECURSIVE: u64 = 2;
const FORCED: u64 = 4;
const ORIGIN: u64 = 8;
const TICKET: u64 = 16;
const LISTED: u64 = 32;
const WATCH: u64 = 64;
const FIRST: u64 = 128;
const MIRROR: u64 = 256;
const FULL: u64 = 512;
const ATOMIC: u64 = 1_024;
const ALL_FLAGS: u64 = 2_047;

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

/// What a transfer within a mirror starts from and leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MirrorSetup {
    /// It is taken where all of this is known: it has every change after it.
    pub from: Knowledge,
    /// What is known once all of it is committed.
    pub to: Knowledge,
    /// Up to here, deletions may have been forgotten.
    pub floor: Knowledge,
    /// It has all that is in the tree: what is not in it, and is covered, is not there any more.
    pub full: bool,
    /// The sender's index.
    pub by: IndexId,
}

/// All targets of a transfer put it into place, or none does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AtomicSetup {
    /// The targets, by name.
    pub targets: Audience,
    /// How many of them are enough: at least one, at most all.
    pub quorum: u32,
}

impl AtomicSetup {
    fn parse(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let quorum = reader.varint32()?;
        let targets = Audience::parse(reader)?;
        let most = targets.hosts().len() as u32;
        if !(1..=most).contains(&quorum) {
            return Err(Error::Invalid);
        }
        Ok(AtomicSetup { targets, quorum })
    }

    fn emit(&self, out: &mut Vec<u8>) {
        out.put_varint(self.quorum.into());
        self.targets.emit(out);
    }
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
    /// If it is part of a mirror; such a transfer has no patterns.
    pub mirror: Option<MirrorSetup>,
    /// If it is for all of its targets or none.
    pub atomic: Option<AtomicSetup>,
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
        let flags = reader.varint()?;
        let is_mirror = flags & MIRROR != 0;
        let is_atomic = flags & ATOMIC != 0;
        // What mirrors send is never for all or none.
        if flags & !ALL_FLAGS != 0 || (flags & FULL != 0 && !is_mirror) || (is_mirror && is_atomic)
        {
            return Err(Error::Invalid);
        }
        let watch = match (flags & WATCH != 0, flags & FIRST != 0) {
            (false, false) => Watch::No,
            (true, true) => Watch::Begins,
            (true, false) => Watch::GoesOn,
            (false, true) => return Err(Error::Invalid),
        };
        let mirror = match is_mirror {
            false => None,
            true => Some(MirrorSetup {
                by: IndexId(reader.u64()?),
                from: Knowledge::parse(reader)?,
                to: Knowledge::parse(reader)?,
                floor: Knowledge::parse(reader)?,
                full: flags & FULL != 0,
            }),
        };
        let atomic = match is_atomic {
            false => None,
            true => Some(AtomicSetup::parse(reader)?),
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
        let patterns = reader.counted(MAX_PATTERNS)?.to_vec();
        // Nobody looks for what only targets have, and the longest setup has to leave room for an entry.
        if is_mirror && (flags & MORE != 0 || !patterns.is_empty()) {
            return Err(Error::Invalid);
        }
        Ok(Setup {
            path,
            more: flags & MORE != 0,
            recursive: flags & RECURSIVE != 0,
            listed: flags & LISTED != 0,
            forced: flags & FORCED != 0,
            watch,
            mirror,
            atomic,
            audience,
            origin,
            ticket,
            patterns,
        })
    }

    /// Writes it.
    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        let flag = |set: bool, flag: u64| if set { flag } else { 0 };
        out.push(SETUP);
        out.put_counted(self.path.as_bytes());
        out.put_varint(
            flag(self.more, MORE)
                | flag(self.recursive, RECURSIVE)
                | flag(self.forced, FORCED)
                | flag(self.origin.is_some(), ORIGIN)
                | flag(self.ticket.is_some(), TICKET)
                | flag(self.listed, LISTED)
                | flag(self.watch != Watch::No, WATCH)
                | flag(self.watch == Watch::Begins, FIRST)
                | flag(self.mirror.is_some(), MIRROR)
                | flag(self.mirror.as_ref().is_some_and(|mirror| mirror.full), FULL)
                | flag(self.atomic.is_some(), ATOMIC),
        );
        if let Some(MirrorSetup { from, to, floor, by, .. }) = &self.mirror {
            out.put_u64(by.0);
            [from, to, floor].iter().for_each(|knowledge| knowledge.emit(out));
        }
        if let Some(atomic) = &self.atomic {
            atomic.emit(out);
        }
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
        const FIXED: usize = 3 + 8 + 3 * 4;
        let mirror = self.mirror.as_ref().map_or(0, |mirror| {
            let all = [&mirror.from, &mirror.to, &mirror.floor];
            8 + all.iter().map(|knowledge| Knowledge::len_bound(knowledge.len())).sum::<usize>()
        });
        let origin = self.origin.as_ref().map_or(0, |origin| origin.as_str().len());
        let atomic = self.atomic.as_ref().map_or(0, |atomic| 5 + atomic.targets.len_bound());
        FIXED
            + atomic
            + self.path.as_bytes().len()
            + mirror
            + self.audience.len_bound()
            + origin
            + self.patterns.len()
    }

    /// About how many bytes it takes in memory beside itself.
    pub fn memory(&self) -> usize {
        let mirror = self.mirror.as_ref();
        let all = mirror.map(|mirror| [&mirror.from, &mirror.to, &mirror.floor]);
        let mirror = all.into_iter().flatten().map(Knowledge::memory).sum::<usize>();
        let atomic = self.atomic.as_ref().map_or(0, |atomic| atomic.targets.memory());
        mirror + atomic + self.audience.memory() + self.patterns.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::versions::MAX_IDS;
    use super::super::versions::tests::knowledge;
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
        for bits in 0..1_024u16 {
            let is_mirror = bits & 512 != 0;
            let setup = Setup {
                path: if bits & 1 == 0 { RelPath::base() } else { RelPath::parse(b"d").unwrap() },
                more: bits & 2 != 0 && !is_mirror,
                recursive: bits & 4 != 0,
                listed: bits & 64 != 0,
                forced: bits & 8 != 0,
                watch: match bits >> 7 & 3 {
                    0 => Watch::No,
                    1 => Watch::Begins,
                    _ => Watch::GoesOn,
                },
                mirror: is_mirror.then(|| MirrorSetup {
                    from: knowledge(0),
                    to: knowledge(u64::from(bits & 7)),
                    floor: knowledge(1),
                    full: bits & 1 != 0,
                    by: IndexId(7),
                }),
                atomic: (bits & 8 != 0 && !is_mirror).then(|| AtomicSetup {
                    targets: Audience::named(vec![host("a"), host("b")]),
                    quorum: 1 + u32::from(bits & 1),
                }),
                audience: match bits & 16 != 0 {
                    true => Audience::named(vec![host("a"), host("b")]),
                    false => Audience::All,
                },
                origin: (bits & 6 == 6).then(|| host("web-1")),
                ticket: (bits & 32 != 0).then_some(Ticket::new(0x0102_0304_0506_0708)),
                patterns: vec![9; if is_mirror { 0 } else { usize::from(bits) }],
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
        // The first of a watch, but not of a watch; all of a mirror, but not of a mirror; a flag that there is not.
        for flags in [b"\x80\x01", b"\x80\x04", b"\x80\x10"] {
            assert_eq!(parse(&[b"\0\0", &flags[..], b"\0\0"].concat()), Err(Error::Invalid));
        }
        let mirror = b"\0\0\x80\x02\0\0\0\0\0\0\0\x07\x01\0\0\0\0\0\0\0\x01\x02\0\0\0\0";
        let mut from = Knowledge::default();
        from.learn(IndexId(1), 2);
        let (to, floor) = Default::default();
        let mirrored = MirrorSetup { from, to, floor, full: false, by: IndexId(7) };
        assert_eq!(parse(mirror), Ok(Setup { mirror: Some(mirrored), ..Setup::default() }));
        assert_eq!(parse(b"\0\x02..\0\0\0"), Err(Error::Invalid));
    }

    #[test]
    fn an_atomic_transfer_names_its_targets_and_no_more_than_all_are_enough() {
        let of = |quorum: u8, names: &[u8]| {
            parse(&[b"\0\0\x80\x08", &[quorum][..], names, b"\0\0"].concat())
        };
        let targets = Audience::named(vec![HostName::parse(b"a").unwrap()]);
        let atomic = Some(AtomicSetup { targets, quorum: 1 });
        assert_eq!(of(1, b"\x01\x01a"), Ok(Setup { atomic, ..Setup::default() }));
        for (quorum, names) in [(0, &b"\x01\x01a"[..]), (2, b"\x01\x01a"), (1, b"\0")] {
            assert_eq!(of(quorum, names), Err(Error::Invalid));
        }
    }

    #[test]
    fn the_longest_of_a_mirror_leaves_room_for_any_entry_and_patterns_are_refused() {
        let most = || knowledge(MAX_IDS as u64);
        let mirror =
            MirrorSetup { from: most(), to: most(), floor: most(), full: true, by: IndexId(1) };
        let setup = Setup {
            path: RelPath::parse(&[b'x'; 255]).unwrap(),
            mirror: Some(mirror),
            ..Setup::default()
        };
        assert!(setup.len_bound() <= MAX_PATTERNS);
        let mut bytes = Vec::new();
        setup.emit(&mut bytes);
        assert!(bytes.len() <= setup.len_bound());
        assert_eq!(parse(&bytes), Ok(setup.clone()));
        for (more, patterns) in [(true, Vec::new()), (false, vec![0])] {
            let mut bytes = Vec::new();
            Setup { more, patterns, ..setup.clone() }.emit(&mut bytes);
            assert_eq!(parse(&bytes), Err(Error::Invalid));
        }
    }
}
