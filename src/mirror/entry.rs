//! What an index has of a path, and how it is kept as bytes.
//!
//! | field | size |
//! | --- | --- |
//! | flags: 0 listed, 1 intent, 2 something is placed, 3 all members are shown, 4 context, 5 the placed version is the first member's, 6 changed when it was written | 1 |
//! | how many members, varint; each: the number of its index, kind to group, stamp (8), its own number, and what only its kind has | |
//! | with flag 4: the number of the context, varint | |
//! | with flag 2: the version (unless flag 5), inode, varint, when it was changed (unless flag 6) | |
//! | without flag 3: how many dots are shown, varint, and these | |
//! | with flag 1: the version, inode and dots, and the slot, varint | |
//!
//! A dot is the number of its index in a table, and its own, both varint. Times and versions are as in `wire`; of those of
//! members, kind to group and what only the kind has are apart: what neighbours have in common comes first.

use std::collections::BTreeMap;

use super::types::{Intent, Object, Placed};
use crate::stamp::Stamp;
use crate::wire::Error;
use crate::wire::bytes::{Put, Reader};
use crate::wire::manifest::FileTime;
use crate::wire::version::{parse_attributes, parse_content, put_attributes, put_content};
use crate::wire::versions::{Dot, IndexId, MAX_MEMBERS, Member, Version, What};

const LISTED: u8 = 1;
const INTENT: u8 = 2;
const FOUND: u8 = 4;
const ALL_SHOWN: u8 = 8;
const CONTEXT: u8 = 16;
const SAME_VERSION: u8 = 32;
const SAME_TIME: u8 = 64;

/// What an index has of a path.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Entry {
    /// What should be there: the versions that nothing has replaced, ascending by their dots.
    pub members: Vec<Member>,
    /// What was put there, or found.
    pub placed: Placed,
    /// Which of the pending contexts it has; 0 for K alone.
    pub(super) context: u32,
    /// Found where the index could not vouch for it: it is neither sent nor overwritten until somebody decides.
    pub listed: bool,
    /// What is about to be put there.
    pub intent: Option<Intent>,
}

impl Entry {
    /// The versions, without tombstones.
    pub fn live(&self) -> impl Iterator<Item = (Dot, Version)> + '_ {
        self.members.iter().filter_map(|member| Some((member.dot, member.version?)))
    }

    /// The version of what is on disk, as far as is known.
    pub fn on_disk(&self) -> Option<Version> {
        self.placed.found.map(|(version, _)| version)
    }

    /// Whether what is on disk stands for a version, if it is no directory, all of which stand for each other. Where this
    /// host cannot set all attributes, the two need not be equal.
    pub fn stands_for(&self, version: Version) -> bool {
        let is_placed = |dot: &Dot| self.placed.dots.contains(dot);
        self.on_disk().is_some_and(|found| {
            found == version || self.live().any(|(dot, other)| other == version && is_placed(&dot))
        })
    }
}

/// The indexes that entries speak of, by their numbers.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Ids {
    list: Vec<IndexId>,
    at: BTreeMap<IndexId, usize>,
}

impl Ids {
    pub(super) fn number(&mut self, id: IndexId) -> u64 {
        let next = self.list.len();
        let at = *self.at.entry(id).or_insert(next);
        if at == next {
            self.list.push(id);
        }
        at as u64
    }

    pub(super) fn id(&self, number: u64) -> Result<IndexId, Error> {
        let at = usize::try_from(number).map_err(|_| Error::Invalid)?;
        self.list.get(at).copied().ok_or(Error::Invalid)
    }

    pub(super) fn list(&self) -> &[IndexId] {
        &self.list
    }
}

impl Entry {
    /// As bytes. What is new among the indexes it speaks of is added to the table.
    pub(super) fn emit(&self, ids: &mut Ids) -> Vec<u8> {
        let mut out = vec![0];
        let mut flags = u8::from(self.listed);
        out.put_varint(self.members.len() as u64);
        for member in &self.members {
            out.put_varint(ids.number(member.dot.by));
            put_attributes(member.version.as_ref(), &mut out);
            out.put_u64(member.stamp.bits());
            out.put_varint(member.dot.seq);
            put_content(member.version.as_ref(), &mut out);
        }
        if self.context > 0 {
            flags |= CONTEXT;
            out.put_varint(u64::from(self.context));
        }
        if let Some((found, object)) = self.placed.found {
            flags |= FOUND;
            match self.members.first().and_then(|member| member.version) == Some(found) {
                true => flags |= SAME_VERSION,
                false => put_version(&mut out, &found),
            }
            out.put_varint(object.ino);
            match written(found) == Some(object.ctime) {
                true => flags |= SAME_TIME,
                false => object.ctime.emit(&mut out),
            }
        }
        match self.members.iter().map(|member| &member.dot).eq(&self.placed.dots) {
            true => flags |= ALL_SHOWN,
            false => dots(&mut out, ids, &self.placed.dots),
        }
        if let Some(intent) = &self.intent {
            flags |= INTENT;
            put_version(&mut out, &intent.version);
            out.put_varint(intent.ino);
            dots(&mut out, ids, &intent.dots);
            out.put_varint(intent.slot);
        }
        out[0] = flags;
        out
    }

    /// Reads it.
    ///
    /// # Errors
    /// Whatever [`Entry::emit`] does not write.
    pub(super) fn parse(bytes: &[u8], ids: &Ids) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let reader = &mut reader;
        let flags = reader.u8()?;
        let has = |flag: u8| flags & flag != 0;
        let mut members = Vec::new();
        for _ in 0..count(reader)? {
            let by = ids.id(reader.varint()?)?;
            let attributes = parse_attributes(reader)?;
            let stamp = Stamp::from_bits(reader.u64()?);
            let dot = Dot { by, seq: reader.varint()? };
            let version = parse_content(reader, attributes)?;
            members.push(Member { dot, stamp, version });
        }
        let context = if has(CONTEXT) { reader.varint32()? } else { 0 };
        let found = match has(FOUND) {
            false => None,
            true => {
                let found = match has(SAME_VERSION) {
                    true => members.first().and_then(|member| member.version),
                    false => read_version(reader)?,
                };
                let found = found.ok_or(Error::Invalid)?;
                let ino = reader.varint()?;
                let ctime = match has(SAME_TIME) {
                    true => written(found).ok_or(Error::Invalid)?,
                    false => FileTime::parse(reader)?,
                };
                Some((found, Object { ino, ctime }))
            }
        };
        let shown = match has(ALL_SHOWN) {
            true => members.iter().map(|member| member.dot).collect(),
            false => read_dots(reader, ids)?,
        };
        let intent = match has(INTENT) {
            false => None,
            true => Some(Intent {
                version: read_version(reader)?.ok_or(Error::Invalid)?,
                ino: reader.varint()?,
                dots: read_dots(reader, ids)?,
                slot: reader.varint()?,
            }),
        };
        let placed = Placed { found, dots: shown };
        match reader.rest() {
            [] => Ok(Entry { members, placed, context, listed: has(LISTED), intent }),
            _ => Err(Error::Trailing),
        }
    }
}

/// When the content of a file was written.
fn written(version: Version) -> Option<FileTime> {
    match version.what {
        What::File { mtime, .. } => Some(mtime),
        _ => None,
    }
}

fn dot(out: &mut Vec<u8>, ids: &mut Ids, dot: Dot) {
    out.put_varint(ids.number(dot.by));
    out.put_varint(dot.seq);
}

fn dots(out: &mut Vec<u8>, ids: &mut Ids, all: &[Dot]) {
    out.put_varint(all.len() as u64);
    all.iter().for_each(|one| dot(out, ids, *one));
}

fn put_version(out: &mut Vec<u8>, version: &Version) {
    put_attributes(Some(version), out);
    put_content(Some(version), out);
}

/// How many members or dots follow. A local change may add one to what is taken from others.
fn count(reader: &mut Reader<'_>) -> Result<usize, Error> {
    match reader.varint()? {
        count if count <= 2 * MAX_MEMBERS as u64 => Ok(count as usize),
        _ => Err(Error::TooLarge),
    }
}

fn read_dot(reader: &mut Reader<'_>, ids: &Ids) -> Result<Dot, Error> {
    Ok(Dot { by: ids.id(reader.varint()?)?, seq: reader.varint()? })
}

fn read_dots(reader: &mut Reader<'_>, ids: &Ids) -> Result<Vec<Dot>, Error> {
    (0..count(reader)?).map(|_| read_dot(reader, ids)).collect()
}

fn read_version(reader: &mut Reader<'_>) -> Result<Option<Version>, Error> {
    let attributes = parse_attributes(reader)?;
    parse_content(reader, attributes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rng::Rng;

    fn any_version(rng: &mut Rng) -> Version {
        let mtime =
            FileTime { secs: rng.next_u64() as i64, nanos: rng.below(1_000_000_000) as u32 };
        let what = match rng.below(6) {
            0 => What::File {
                size: rng.next_u64() >> 1 >> rng.below(63),
                mtime,
                digest: rng.next_u64(),
            },
            1 => What::Directory,
            2 => What::Symlink { target: rng.next_u64() },
            3 => What::Fifo,
            4 => What::Char(rng.next_u64() as u32, 3),
            _ => What::Block(8, rng.next_u64() as u32),
        };
        Version { what, mode: rng.below(0o10000) as u32, uid: rng.next_u64() as u32, gid: 0 }
    }

    fn any_entry(rng: &mut Rng) -> Entry {
        let members: Vec<Member> = (0..rng.below(4))
            .map(|seq| Member {
                dot: Dot { by: IndexId(rng.below(3)), seq: seq + 1 },
                stamp: Stamp::from_bits(rng.next_u64()),
                version: (rng.below(3) > 0).then(|| any_version(rng)),
            })
            .collect();
        let found = match rng.below(3) {
            0 => None,
            1 => Some(any_version(rng)),
            _ => members.first().and_then(|member| member.version),
        };
        let ctime = found.and_then(written).filter(|_| rng.below(2) == 0);
        let ctime = ctime.unwrap_or(FileTime { secs: -1, nanos: 0 });
        let found = found.map(|found| (found, Object { ino: rng.next_u64(), ctime }));
        let shown = rng.below(4) as usize;
        let dots: Vec<Dot> = members.iter().map(|member| member.dot).take(shown).collect();
        let intent = Intent { version: any_version(rng), ino: 7, dots: dots.clone(), slot: 300 };
        Entry {
            members,
            placed: Placed { found, dots },
            context: rng.below(2) as u32 * 77,
            listed: rng.below(2) == 0,
            intent: (rng.below(2) == 0).then_some(intent),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut rng = Rng::new(1);
        let mut ids = Ids::default();
        for _ in 0..5_000 {
            let entry = any_entry(&mut rng);
            let bytes = entry.emit(&mut ids);
            assert_eq!(Entry::parse(&bytes, &ids), Ok(entry));
            for len in 0..bytes.len() {
                assert!(Entry::parse(&bytes[..len], &ids).is_err());
            }
        }
    }

    #[test]
    fn nothing_panics_that_is_not_an_entry() {
        let mut rng = Rng::new(2);
        let mut ids = Ids::default();
        for _ in 0..20_000 {
            let mut bytes = any_entry(&mut rng).emit(&mut ids);
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u64() as u8;
            let _ = Entry::parse(&bytes, &ids);
        }
    }
}
