//! A batch's manifest: its entries, in the order in which they are committed.
//!
//! A manifest may start with the transfer's setup, which begins with a byte 0.
//!
//! Then come the entries. For each: which version of a mirrored path it is (a byte 17 and a dot), where targets are
//! likely to have the same file (a byte 15 and a path, counted), its MD5 digest if the transfer compares contents (a byte 9 and 16
//! bytes), its kind (1 byte), how many bytes its path shares with that of the entry before (varint), the
//! rest of the path (counted), mode, uid, gid (varints), mtime (seconds as zigzag varint, nanoseconds as
//! varint), and what its kind adds. Nothing follows the last entry.

use std::sync::Arc;

use super::Error;
use super::bytes::{Put, Reader, varint_len};
pub use super::file_time::FileTime;
use super::setup::SETUP;
pub use super::setup::{MAX_PATTERNS, Setup};
use super::versions::{self, Dot, Knowledge, Member};
use crate::ids::EntryNo;
use crate::name::{MAX_PATH, RelPath};

/// The most entries in a batch.
pub const MAX_ENTRIES: usize = 1_024;
/// The most bytes of a manifest.
pub const MAX_MANIFEST: usize = 1 << 20;
/// The most extents of a file; one that has more is sent with its small holes filled.
pub const MAX_EXTENTS: usize = 16_384;
/// The longest target of a symbolic link (the kernel's `PATH_MAX` less its NUL).
pub const MAX_LINK: usize = 4_095;

/// A range of bytes in a file that holds data; between extents are holes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// The first byte.
    pub start: u64,
    /// The byte after the last.
    pub end: u64,
}

/// What kind of object an entry is, with what only that kind has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A directory, before its children: it is made now. The entry has its final attributes.
    Open,
    /// The same directory, after its children: now its attributes are set.
    Close {
        /// All that is in it was named, so that what else a target has in it may be deleted.
        listed: bool,
    },
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// Where it has data, ascending and with holes between; None if it has no holes.
        data: Option<Vec<Extent>>,
    },
    /// A symbolic link and what it points to.
    Symlink(Vec<u8>),
    /// A FIFO.
    Fifo,
    /// A character device by its major and minor number.
    Char(u32, u32),
    /// A block device by its major and minor number.
    Block(u32, u32),
    /// Something that exists and is not sent; what a target has at its path is not deleted.
    Keep,
    /// Something that is in the list of the transfer and does not exist; what a target has at its path is
    /// deleted, whatever that is.
    Gone,
    /// A long file that follows in a later batch with its digest. Targets can compute that of their own
    /// file meanwhile.
    Ahead {
        /// Its size in bytes.
        size: u64,
    },
    /// What the sender's index of a mirrored tree has of the path, before the objects there that it gives.
    Set {
        /// The versions, each with its dot; no dot twice.
        members: Vec<Member>,
        /// The knowledge that it goes with, if that is not what the setup says that the transfer leads to.
        context: Option<Arc<Knowledge>>,
    },
}

/// One file-system object in a transfer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its path below the base directory; never the base directory itself.
    pub path: RelPath,
    /// Its kind.
    pub kind: Kind,
    /// Its permission bits (the low twelve).
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When its content was last changed.
    pub mtime: FileTime,
}

impl Entry {
    /// Its size if it is a regular file, else 0.
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::File { size, .. } => size,
            _ => 0,
        }
    }

    /// How many bytes of its content are data, and not holes.
    pub fn data_len(&self) -> u64 {
        match &self.kind {
            Kind::File { data: Some(extents), .. } => {
                extents.iter().map(|extent| extent.end.saturating_sub(extent.start)).sum()
            }
            _ => self.size(),
        }
    }

    /// Whether it is an object to be written, rather than a remark about one.
    pub fn is_object(&self) -> bool {
        !matches!(
            self.kind,
            Kind::Close { .. } | Kind::Keep | Kind::Gone | Kind::Ahead { .. } | Kind::Set { .. }
        )
    }
}

/// An MD5 digest (RFC 1321).
pub type Digest = [u8; 16];

/// The entries of one batch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Manifest {
    /// What the transfer is about.
    pub setup: Option<Setup>,
    /// The entries, in order.
    pub entries: Vec<Entry>,
    /// The digests of regular files by their entries, ascending.
    pub digests: Vec<(EntryNo, Digest)>,
    /// How many whole seconds ago regular files without digests changed last, by their entries,
    /// ascending: where a target keeps times less exactly, a file that looks the same may be another.
    pub ages: Vec<(EntryNo, u32)>,
    /// Where targets are likely to have the same as regular files with digests, which were moved, by their
    /// entries, ascending.
    pub origins: Vec<(EntryNo, RelPath)>,
    /// Which versions of mirrored paths objects are, by their entries, ascending.
    pub dots: Vec<(EntryNo, Dot)>,
}

impl Manifest {
    /// How many regular files it has.
    pub fn files(&self) -> u64 {
        self.entries.iter().filter(|entry| matches!(entry.kind, Kind::File { .. })).count() as u64
    }

    /// Reads a whole manifest.
    ///
    /// # Errors
    /// Anything that [`Manifest::emit`] does not produce, a path that [`RelPath`] refuses, more than
    /// [`MAX_ENTRIES`] entries.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_MANIFEST {
            return Err(Error::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        let mut manifest = Manifest::default();
        if reader.rest().first() == Some(&SETUP) {
            reader.u8()?;
            manifest.setup = Some(Setup::parse(&mut reader)?);
        }
        let mut path = Vec::new();
        while !reader.rest().is_empty() {
            let at = manifest.entries.len();
            if at == MAX_ENTRIES {
                return Err(Error::TooLarge);
            }
            let dot = reader.rest().first() == Some(&DOT);
            if dot {
                reader.u8()?;
                manifest.dots.push((EntryNo::of(at), Dot::parse(&mut reader)?));
            }
            let origin = reader.rest().first() == Some(&ORIGIN);
            if origin {
                reader.u8()?;
                let from = RelPath::parse(reader.counted(MAX_PATH)?).map_err(|_| Error::Invalid)?;
                manifest.origins.push((EntryNo::of(at), from));
            }
            let digest = reader.rest().first() == Some(&DIGEST);
            if digest {
                reader.u8()?;
                manifest.digests.push((EntryNo::of(at), reader.array()?));
            }
            let age = !digest && reader.rest().first() == Some(&AGE);
            if age {
                reader.u8()?;
                manifest.ages.push((EntryNo::of(at), reader.varint32()?));
            }
            let entry = parse_entry(&mut reader, &mut path)?;
            let is_file = matches!(entry.kind, Kind::File { .. });
            if ((digest || age) && !is_file) || (origin && !digest) || (dot && !entry.is_object()) {
                return Err(Error::Invalid);
            }
            manifest.entries.push(entry);
        }
        Ok(manifest)
    }

    /// About how many bytes it takes in memory, with its layout, and what a target keeps of each entry.
    pub fn memory(&self) -> usize {
        let of = |entry: &Entry| {
            let more = match &entry.kind {
                Kind::File { data: Some(extents), .. } => 2 * size_of_val(extents.as_slice()),
                Kind::Symlink(target) => target.len(),
                Kind::Set { members, context } => {
                    size_of_val(members.as_slice()) + context.as_ref().map_or(0, |k| k.memory())
                }
                _ => 0,
            };
            // 64: the slot of the layout, the need, the outcome.
            size_of::<Entry>() + 64 + entry.path.as_bytes().len() + more
        };
        let setup = self.setup.as_ref().map_or(0, Setup::memory);
        self.entries.iter().map(of).sum::<usize>()
            + size_of_val(&*self.digests)
            + size_of_val(&*self.ages)
            + self.origins.iter().map(|(_, from)| 32 + from.as_bytes().len()).sum::<usize>()
            + size_of_val(&*self.dots)
            + setup
    }

    /// Writes all entries.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(setup) = &self.setup {
            setup.emit(&mut out);
        }
        let mut digests = self.digests.iter().peekable();
        let mut ages = self.ages.iter().peekable();
        let mut origins = self.origins.iter().peekable();
        let mut dots = self.dots.iter().peekable();
        let mut before: &[u8] = &[];
        for (at, entry) in self.entries.iter().enumerate() {
            if let Some((_, dot)) = dots.next_if(|(entry, _)| entry.index() == at) {
                out.push(DOT);
                dot.emit(&mut out);
            }
            if let Some((_, from)) = origins.next_if(|(entry, _)| entry.index() == at) {
                out.push(ORIGIN);
                out.put_counted(from.as_bytes());
            }
            if let Some((_, digest)) = digests.next_if(|(entry, _)| entry.index() == at) {
                out.push(DIGEST);
                out.extend_from_slice(digest);
            } else if let Some((_, age)) = ages.next_if(|(entry, _)| entry.index() == at) {
                out.push(AGE);
                out.put_varint((*age).into());
            }
            emit_entry(entry, before, &mut out);
            before = entry.path.as_bytes();
        }
        out
    }

    /// How many seconds ago an entry changed last, if it is a regular file without a digest.
    pub fn age(&self, entry: EntryNo) -> Option<u32> {
        let at = self.ages.binary_search_by_key(&entry, |(entry, _)| *entry).ok()?;
        self.ages.get(at).map(|(_, age)| *age)
    }

    /// The digest of an entry's content.
    pub fn digest(&self, entry: EntryNo) -> Option<&Digest> {
        let at = self.digests.binary_search_by_key(&entry, |(entry, _)| *entry).ok()?;
        self.digests.get(at).map(|(_, digest)| digest)
    }

    /// Which version of a mirrored path an entry is, if it is one.
    pub fn dot(&self, entry: EntryNo) -> Option<Dot> {
        let at = self.dots.binary_search_by_key(&entry, |(entry, _)| *entry).ok()?;
        self.dots.get(at).map(|(_, dot)| *dot)
    }
}

const DIGEST: u8 = 9;
const AGE: u8 = 13;
const ORIGIN: u8 = 15;
const DOT: u8 = 17;

/// The most bytes that it takes in a manifest to say which version an object is.
pub const DOT_LEN: usize = 1 + Dot::LEN;

/// The most bytes that it takes in a manifest to say where targets are likely to have a file.
pub fn origin_len_bound(from: &RelPath) -> usize {
    1 + 3 + from.as_bytes().len()
}

/// The most bytes that `entry` takes in a manifest.
pub fn entry_len_bound(entry: &Entry) -> usize {
    const FIXED: usize = 17 + 1 + 3 + 3 + 3 * 5 + 10 + 5;
    let extra = match &entry.kind {
        Kind::File { data, .. } => {
            10 + 3 + data.as_ref().map_or(0, |extents| extents.len() * 2 * varint_len(u64::MAX))
        }
        Kind::Symlink(target) => 3 + target.len(),
        Kind::Char(..) | Kind::Block(..) => 10,
        Kind::Ahead { .. } => 10,
        Kind::Set { members, context } => {
            versions::set_len_bound(members.len(), context.as_ref().map(|k| k.len()))
        }
        Kind::Open | Kind::Close { .. } | Kind::Fifo | Kind::Keep | Kind::Gone => 0,
    };
    FIXED + entry.path.as_bytes().len() + extra
}

fn parse_entry(reader: &mut Reader<'_>, path: &mut Vec<u8>) -> Result<Entry, Error> {
    let kind = reader.u8()?;
    let shared = reader.varint()?;
    if shared > path.len() as u64 {
        return Err(Error::Invalid);
    }
    path.truncate(shared as usize);
    path.extend_from_slice(reader.counted(MAX_PATH)?);
    let mode = reader.varint32()?;
    let uid = reader.varint32()?;
    let gid = reader.varint32()?;
    let mtime = FileTime::parse(reader)?;
    if mode > 0o7777 {
        return Err(Error::Invalid);
    }
    let kind = match kind {
        1 => Kind::Open,
        2 => Kind::Close { listed: false },
        3 => Kind::File { size: file_size(reader)?, data: None },
        4 => {
            let size = file_size(reader)?;
            Kind::File { size, data: Some(parse_extents(reader, size)?) }
        }
        5 => {
            let target = reader.counted(MAX_LINK)?;
            if target.is_empty() || target.contains(&0) {
                return Err(Error::Invalid);
            }
            Kind::Symlink(target.to_vec())
        }
        6 => Kind::Fifo,
        7 => Kind::Char(reader.varint32()?, reader.varint32()?),
        8 => Kind::Block(reader.varint32()?, reader.varint32()?),
        10 => Kind::Keep,
        11 => Kind::Close { listed: true },
        12 => Kind::Ahead { size: file_size(reader)? },
        14 => Kind::Gone,
        16 => {
            let (members, context) = versions::parse_set(reader)?;
            Kind::Set { members, context: context.map(Arc::new) }
        }
        _ => return Err(Error::Invalid),
    };
    let path = match kind {
        Kind::Keep => RelPath::parse_or_base(path),
        _ => RelPath::parse(path),
    };
    let path = path.map_err(|_| Error::Invalid)?;
    Ok(Entry { path, kind, mode, uid, gid, mtime })
}

fn file_size(reader: &mut Reader<'_>) -> Result<u64, Error> {
    let size = reader.varint()?;
    if size > i64::MAX as u64 { Err(Error::TooLarge) } else { Ok(size) }
}

fn parse_extents(reader: &mut Reader<'_>, size: u64) -> Result<Vec<Extent>, Error> {
    let count = reader.varint()?;
    if count > MAX_EXTENTS as u64 {
        return Err(Error::TooLarge);
    }
    let mut extents = Vec::new();
    let mut at = 0u64;
    for _ in 0..count {
        let start = at.checked_add(reader.varint()?).ok_or(Error::TooLarge)?;
        let end = start.checked_add(reader.varint()?).ok_or(Error::TooLarge)?;
        if end <= start || end > size || (start == at && !extents.is_empty()) {
            return Err(Error::Invalid);
        }
        extents.push(Extent { start, end });
        at = end;
    }
    Ok(extents)
}

fn emit_entry(entry: &Entry, before: &[u8], out: &mut Vec<u8>) {
    let path = entry.path.as_bytes();
    let shared = before.iter().zip(path).take_while(|(a, b)| a == b).count();
    out.push(match &entry.kind {
        Kind::Open => 1,
        Kind::Close { listed: false } => 2,
        Kind::File { data: None, .. } => 3,
        Kind::File { data: Some(_), .. } => 4,
        Kind::Symlink(_) => 5,
        Kind::Fifo => 6,
        Kind::Char(..) => 7,
        Kind::Block(..) => 8,
        Kind::Keep => 10,
        Kind::Close { listed: true } => 11,
        Kind::Ahead { .. } => 12,
        Kind::Gone => 14,
        Kind::Set { .. } => 16,
    });
    out.put_varint(shared as u64);
    out.put_counted(&path[shared..]);
    for number in [entry.mode, entry.uid, entry.gid] {
        out.put_varint(number.into());
    }
    entry.mtime.emit(out);
    match &entry.kind {
        Kind::File { size, data } => {
            out.put_varint(*size);
            if let Some(extents) = data {
                out.put_varint(extents.len() as u64);
                let mut at = 0;
                for extent in extents {
                    out.put_varint(extent.start - at);
                    out.put_varint(extent.end - extent.start);
                    at = extent.end;
                }
            }
        }
        Kind::Symlink(target) => out.put_counted(target),
        Kind::Char(major, minor) | Kind::Block(major, minor) => {
            out.put_varint((*major).into());
            out.put_varint((*minor).into());
        }
        Kind::Ahead { size } => out.put_varint(*size),
        Kind::Set { members, context } => versions::put_set(members, context.as_deref(), out),
        Kind::Open | Kind::Close { .. } | Kind::Fifo | Kind::Keep | Kind::Gone => {}
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::versions::tests::{knowledge, members};
    use super::*;

    pub(crate) fn path(s: &str) -> RelPath {
        RelPath::parse(s.as_bytes()).unwrap()
    }

    pub(crate) fn entry(p: &str, kind: Kind) -> Entry {
        Entry {
            path: path(p),
            kind,
            mode: 0o644,
            uid: 70_000,
            gid: 0,
            mtime: FileTime { secs: -5, nanos: 999_999_999 },
        }
    }

    fn one_of_each() -> Manifest {
        let extents = vec![Extent { start: 0, end: 4_096 }, Extent { start: 8_192, end: 10_000 }];
        let mut entries = vec![
            entry("dir", Kind::Open),
            entry("dir/a", Kind::File { size: 5 << 32, data: None }),
            entry("dir/a hole", Kind::File { size: 10_000, data: Some(extents) }),
            entry("dir/all hole", Kind::File { size: 10_000, data: Some(Vec::new()) }),
            entry("dir/link", Kind::Symlink(b"/nowhere".to_vec())),
            entry("dir/fifo", Kind::Fifo),
            entry("dir/null", Kind::Char(1, 3)),
            entry("dir/sda", Kind::Block(8, 0)),
            entry("dir/kept", Kind::Keep),
            entry("dir/gone", Kind::Gone),
            entry("dir/long", Kind::Ahead { size: 5 << 32 }),
            entry("dir/mirrored", Kind::Set { members: members(), context: None }),
            entry("dir/mirrored", Kind::File { size: 3, data: None }),
            entry(
                "dir/mirrored",
                Kind::Set { members: members(), context: Some(knowledge(3).into()) },
            ),
            entry("dir/mirrored", Kind::Symlink(b"x".to_vec())),
            entry("dir/sub", Kind::Open),
            entry("dir/sub", Kind::Close { listed: true }),
            entry("dir", Kind::Close { listed: false }),
        ];
        entries[2].mtime = FileTime { secs: i64::MAX, nanos: 0 };
        entries[3].mtime = FileTime { secs: i64::MIN, nanos: 1 };
        let setup =
            Some(Setup { path: path("dir"), patterns: b"xyz".to_vec(), ..Setup::default() });
        Manifest {
            setup,
            entries,
            digests: vec![(EntryNo::new(1), [7; 16]), (EntryNo::new(3), [0xff; 16])],
            ages: vec![(EntryNo::new(2), u32::MAX)],
            origins: vec![(EntryNo::new(3), path("old/name"))],
            dots: vec![(EntryNo::new(12), members()[0].dot), (EntryNo::new(14), members()[1].dot)],
        }
    }

    #[test]
    fn digests_are_found_by_their_entry() {
        let manifest = one_of_each();
        assert_eq!(manifest.digest(EntryNo::new(3)), Some(&[0xff; 16]));
        assert_eq!(manifest.digest(EntryNo::new(2)), None);
        assert_eq!(
            (manifest.age(EntryNo::new(2)), manifest.age(EntryNo::new(3))),
            (Some(u32::MAX), None)
        );
    }

    #[test]
    fn every_kind_round_trips() {
        let manifest = one_of_each();
        let bytes = manifest.emit();
        assert_eq!(Manifest::parse(&bytes), Ok(manifest.clone()));
        let bound: usize = manifest.entries.iter().map(entry_len_bound).sum();
        assert!(bytes.len() <= bound + origin_len_bound(&path("old/name")) + 2 * DOT_LEN);
    }

    #[test]
    fn a_cut_manifest_is_shorter_or_wrong_but_never_a_panic() {
        let manifest = one_of_each();
        let bytes = manifest.emit();
        for len in 0..bytes.len() {
            if let Ok(shorter) = Manifest::parse(&bytes[..len]) {
                assert!(manifest.entries.starts_with(&shorter.entries));
            }
        }
    }

    #[test]
    fn every_changed_byte_parses_to_something_sound_or_not_at_all() {
        let bytes = one_of_each().emit();
        for at in 0..bytes.len() {
            for value in [0x00, 0x01, 0x2f, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                if let Ok(manifest) = Manifest::parse(&changed) {
                    assert_eq!(Manifest::parse(&manifest.emit()), Ok(manifest));
                }
            }
        }
    }

    #[test]
    fn hostile_entries_are_refused() {
        let escape = Entry { path: path("aa/x"), ..entry("a", Kind::Fifo) };
        let mut bytes = Manifest { entries: vec![escape], ..Manifest::default() }.emit();
        bytes[3..5].copy_from_slice(b"..");
        assert_eq!(Manifest::parse(&bytes), Err(Error::Invalid));
        let many = Manifest {
            entries: vec![entry("a", Kind::Fifo); MAX_ENTRIES + 1],
            ..Manifest::default()
        };
        assert_eq!(Manifest::parse(&many.emit()), Err(Error::TooLarge));
        assert_eq!(Manifest::parse(&vec![0; MAX_MANIFEST + 1]), Err(Error::TooLarge));
    }

    #[test]
    fn an_object_says_which_version_it_is_and_nothing_else_does() {
        let manifest = one_of_each();
        assert_eq!(manifest.dot(EntryNo::new(12)), Some(members()[0].dot));
        assert_eq!((manifest.dot(EntryNo::new(11)), manifest.dot(EntryNo::new(13))), (None, None));
        let set = Kind::Set { members: members(), context: None };
        for (kind, valid) in
            [(Kind::Fifo, true), (Kind::Open, true), (Kind::Gone, false), (set, false)]
        {
            let dots = vec![(EntryNo::ZERO, members()[0].dot)];
            let manifest =
                Manifest { entries: vec![entry("a", kind)], dots, ..Manifest::default() };
            assert_eq!(Manifest::parse(&manifest.emit()).is_ok(), valid, "{manifest:?}");
        }
    }

    #[test]
    fn only_what_is_kept_may_be_the_base() {
        let path = RelPath::base();
        for (kind, valid) in [(Kind::Keep, true), (Kind::Open, false), (Kind::Gone, false)] {
            let entry = Entry { path: path.clone(), ..entry("x", kind) };
            let manifest = Manifest { entries: vec![entry], ..Manifest::default() };
            let parsed = Manifest::parse(&manifest.emit());
            assert_eq!(parsed.is_ok(), valid);
            assert!(!valid || parsed == Ok(manifest));
        }
    }
}
