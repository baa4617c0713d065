//! What hosts say of a mirrored tree: dots, versions, and the knowledge of it. `mirror` decides with them.
//!
//! A dot: the index (8), its number (varint, from 1). A member of a set: its dot, its stamp (8), its version, or a byte 0: a
//! deletion. A set: how many members (varint), these, and a byte: 1 if knowledge follows that it goes with, else 0.
//! Knowledge: how many indexes (varint), and of each its id (8) and the highest number (varint), ids ascending.

use std::collections::BTreeSet;
use std::fmt;

use super::Error;
use super::bytes::{Put, Reader};
pub use super::version::{UNREAD, Version, What, short};
use super::version::{parse_attributes, parse_content, put_attributes, put_content};
use crate::crypto::checksum;
use crate::stamp::Stamp;

/// A host's index of a tree: drawn at random, and drawn anew whenever it is not sure that no dot is used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IndexId(pub u64);

impl fmt::Display for IndexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A change: where it was noticed, and its number there, from 1 on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Dot {
    /// Where.
    pub by: IndexId,
    /// Its number.
    pub seq: u64,
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.by, self.seq)
    }
}

impl Dot {
    /// Reads it as it is shown; None if it is not exactly that.
    pub fn read(text: &str) -> Option<Self> {
        let (by, seq) = text.split_once('-')?;
        let by = IndexId(u64::from_str_radix(by, 16).ok()?);
        let dot = Dot { by, seq: seq.parse().ok()? };
        (dot.to_string() == text).then_some(dot)
    }
}
/// A member of the set of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its dot.
    pub dot: Dot,
    /// When it was noticed, by the hybrid clock. It decides nothing but which of two has the name.
    pub stamp: Stamp,
    /// The version; None for a deletion (a tombstone).
    pub version: Option<Version>,
}

/// The most hosts that a [`Knowledge`] has.
pub const MAX_IDS: usize = 4_096;
/// The most members of a set, more than there are hosts: all may write or remove a path at once. What has more is
/// not taken.
pub const MAX_MEMBERS: usize = 1_024;

/// Which changes are known: of each index, all up to a number.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Knowledge(Vec<(IndexId, u64)>);

impl Knowledge {
    /// The highest number that is known of an index; 0 without any.
    pub fn of(&self, id: IndexId) -> u64 {
        match self.0.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => self.0.get(at).map_or(0, |(_, seq)| *seq),
            Err(_) => 0,
        }
    }

    /// Whether a change is known.
    pub fn covers(&self, dot: Dot) -> bool {
        dot.seq <= self.of(dot.by)
    }

    /// Whether all is known that `other` knows.
    pub fn is_at_least(&self, other: &Knowledge) -> bool {
        other.0.iter().all(|(id, seq)| self.of(*id) >= *seq)
    }

    /// Knows all up to this number from now on.
    pub fn learn(&mut self, id: IndexId, seq: u64) {
        match self.0.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => self.0[at].1 = self.0[at].1.max(seq),
            Err(at) if seq > 0 => self.0.insert(at, (id, seq)),
            Err(_) => {}
        }
    }

    /// Knows all that `other` knows, too, from now on.
    pub fn join(&mut self, other: &Knowledge) {
        other.0.iter().for_each(|(id, seq)| self.learn(*id, *seq));
    }

    /// What both know.
    pub fn meet(&self, other: &Knowledge) -> Knowledge {
        let both = self.0.iter().map(|(id, seq)| (*id, (*seq).min(other.of(*id))));
        Knowledge(both.filter(|(_, seq)| *seq > 0).collect())
    }

    /// How many indexes it speaks of.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each index with the highest number that is known of it, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (IndexId, u64)> + '_ {
        self.0.iter().copied()
    }
}

impl Dot {
    /// The most bytes that it takes.
    pub const LEN: usize = 8 + 10;

    /// Reads it.
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let (by, seq) = (IndexId(reader.u64()?), reader.varint()?);
        if seq == 0 { Err(Error::Invalid) } else { Ok(Dot { by, seq }) }
    }

    /// Writes it.
    pub(super) fn emit(self, out: &mut Vec<u8>) {
        out.put_u64(self.by.0);
        out.put_varint(self.seq);
    }
}

impl Member {
    /// Reads it.
    fn parse(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let dot = Dot::parse(reader)?;
        let stamp = Stamp::from_bits(reader.u64()?);
        let attributes = parse_attributes(reader)?;
        let version = parse_content(reader, attributes)?;
        Ok(Member { dot, stamp, version })
    }

    /// Writes it.
    fn emit(&self, out: &mut Vec<u8>) {
        self.dot.emit(out);
        out.put_u64(self.stamp.bits());
        put_attributes(self.version.as_ref(), out);
        put_content(self.version.as_ref(), out);
    }
}

impl Knowledge {
    /// The most bytes that the knowledge of so many indexes takes.
    pub(super) const fn len_bound(ids: usize) -> usize {
        3 + ids * Dot::LEN
    }

    /// Reads it: [`MAX_IDS`] at most, ascending, with numbers over 0.
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let count = reader.varint()?;
        if count > MAX_IDS as u64 {
            return Err(Error::TooLarge);
        }
        let mut ids: Vec<(IndexId, u64)> = Vec::new();
        for _ in 0..count {
            let Dot { by, seq } = Dot::parse(reader)?;
            if ids.last().is_some_and(|(last, _)| *last >= by) {
                return Err(Error::Invalid);
            }
            ids.push((by, seq));
        }
        Ok(Knowledge(ids))
    }

    /// Writes it.
    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.put_varint(self.0.len() as u64);
        self.0.iter().for_each(|&(by, seq)| Dot { by, seq }.emit(out));
    }

    /// What hosts compare to find out whether they know the same.
    pub fn hash(&self) -> u64 {
        let mut bytes = Vec::new();
        self.emit(&mut bytes);
        let [a, b, c, d, e, f, g, h, ..] = checksum(&[], &bytes);
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// About how many bytes it takes in memory beside itself.
    pub fn memory(&self) -> usize {
        size_of_val(self.0.as_slice())
    }
}

/// Reads a set, and the knowledge that it goes with.
pub(super) fn parse_set(
    reader: &mut Reader<'_>,
) -> Result<(Vec<Member>, Option<Knowledge>), Error> {
    let count = reader.varint()?;
    if count > MAX_MEMBERS as u64 {
        return Err(Error::TooLarge);
    }
    let (mut members, mut dots) = (Vec::new(), BTreeSet::new());
    for _ in 0..count {
        let member = Member::parse(reader)?;
        if !dots.insert(member.dot) {
            return Err(Error::Invalid);
        }
        members.push(member);
    }
    let context = match (members.is_empty(), reader.u8()?) {
        (false, 0) => None,
        (false, 1) => Some(Knowledge::parse(reader)?),
        _ => return Err(Error::Invalid),
    };
    Ok((members, context))
}

/// Writes a set, and the knowledge that it goes with.
pub(super) fn put_set(members: &[Member], context: Option<&Knowledge>, out: &mut Vec<u8>) {
    out.put_varint(members.len() as u64);
    members.iter().for_each(|member| member.emit(out));
    out.push(context.is_some().into());
    if let Some(context) = context {
        context.emit(out);
    }
}

/// The most bytes that a set takes of so many members, with knowledge of so many indexes.
pub(super) const fn set_len_bound(members: usize, context: Option<usize>) -> usize {
    const EACH: usize = Dot::LEN + 8 + 1 + 3 * 5 + 10 + 15 + 8;
    let context = match context {
        Some(ids) => Knowledge::len_bound(ids),
        None => 0,
    };
    2 + members * EACH + 1 + context
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::wire::file_time::FileTime;

    /// One of each kind.
    pub(crate) fn members() -> Vec<Member> {
        let mtime = FileTime { secs: -7, nanos: 999_999_999 };
        let whats = [
            What::File { size: i64::MAX as u64, mtime, digest: u64::MAX },
            What::Directory,
            What::Symlink { target: u64::MAX },
            What::Fifo,
            What::Char(1, 3),
            What::Block(u32::MAX, 0),
        ];
        let live = whats.map(|what| Some(Version { what, mode: 0o7777, uid: u32::MAX, gid: 0 }));
        let all = live.into_iter().chain([None]);
        let numbered = all.zip([u64::MAX, 1, 2, 300, 4, 5, 6]);
        numbered
            .map(|(version, seq)| Member {
                dot: Dot { by: IndexId(seq.wrapping_mul(7)), seq },
                stamp: Stamp::from_bits(!seq),
                version,
            })
            .collect()
    }

    /// Of so many indexes.
    pub(crate) fn knowledge(ids: u64) -> Knowledge {
        let mut knowledge = Knowledge::default();
        (0..ids).for_each(|n| knowledge.learn(IndexId(n << 32 | 7), u64::MAX - n));
        knowledge
    }

    fn emitted(members: &[Member], context: Option<&Knowledge>) -> Vec<u8> {
        let mut out = Vec::new();
        put_set(members, context, &mut out);
        out
    }

    fn parsed(bytes: &[u8]) -> Result<(Vec<Member>, Option<Knowledge>), Error> {
        let mut reader = Reader::new(bytes);
        let set = parse_set(&mut reader)?;
        reader.end()?;
        Ok(set)
    }

    #[test]
    fn what_is_written_is_read() {
        for context in [None, Some(Knowledge::default()), Some(knowledge(MAX_IDS as u64))] {
            let bytes = emitted(&members(), context.as_ref());
            let ids = context.as_ref().map(Knowledge::len);
            assert!(bytes.len() <= set_len_bound(members().len(), ids));
            assert_eq!(parsed(&bytes), Ok((members(), context)));
            let before = bytes.len().saturating_sub(400);
            (before..bytes.len()).for_each(|len| assert!(parsed(&bytes[..len]).is_err(), "{len}"));
        }
        let most: Vec<Member> = (0..MAX_MEMBERS as u64)
            .map(|n| Member { dot: Dot { by: IndexId(!n), seq: u64::MAX }, ..members()[0] })
            .collect();
        let bytes = emitted(&most, None);
        assert!(bytes.len() <= set_len_bound(MAX_MEMBERS, None));
        assert_eq!(parsed(&bytes), Ok((most, None)));
    }

    #[test]
    fn known_bytes() {
        let dot = Dot { by: IndexId(0x0102_0304_0506_0708), seq: 300 };
        let what = What::File { size: 5, mtime: FileTime { secs: 1, nanos: 2 }, digest: 6 };
        let version = Some(Version { what, mode: 0o644, uid: 0, gid: 3 });
        let members = [Member { dot, stamp: Stamp::from_bits(9), version }];
        let mut context = Knowledge::default();
        context.learn(IndexId(1), 2);
        let bytes = [
            &[1, 1, 2, 3, 4, 5, 6, 7, 8, 0xac, 2, 0, 0, 0, 0, 0, 0, 0, 9][..],
            &[1, 0xa4, 3, 0, 3, 5, 2, 2, 0, 0, 0, 0, 0, 0, 0, 6, 1],
            &[1, 0, 0, 0, 0, 0, 0, 0, 1, 2],
        ];
        assert_eq!(emitted(&members, Some(&context)), bytes.concat());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let one = members()[1];
        assert_eq!(parsed(&emitted(&[], None)), Err(Error::Invalid), "no member");
        assert_eq!(parsed(&emitted(&[one, one], None)), Err(Error::Invalid), "one dot twice");
        let many = vec![one; MAX_MEMBERS + 1];
        assert_eq!(parsed(&emitted(&many, None)), Err(Error::TooLarge));
        let zero = Member { dot: Dot { seq: 0, ..one.dot }, ..one };
        assert_eq!(parsed(&emitted(&[zero], None)), Err(Error::Invalid), "number 0");
        let of = |version| Member { version: Some(version), ..one };
        let version = Version { what: What::Directory, mode: 0o10000, uid: 0, gid: 0 };
        assert_eq!(parsed(&emitted(&[of(version)], None)), Err(Error::Invalid), "mode");
        for (size, digest, why) in [(1 << 63, 1, "size"), (1, UNREAD, "digest")] {
            let what = What::File { size, mtime: FileTime::default(), digest };
            let version = Version { what, mode: 0, uid: 0, gid: 0 };
            assert_eq!(parsed(&emitted(&[of(version)], None)), Err(Error::Invalid), "{why}");
        }
        let mut bytes = emitted(&[one], None);
        *bytes.last_mut().unwrap() = 2;
        assert_eq!(parsed(&bytes), Err(Error::Invalid), "neither knowledge nor none");
        bytes[18] = 7;
        assert_eq!(parsed(&bytes), Err(Error::Invalid), "of no kind");
        let mut bytes = emitted(&[one], Some(&knowledge(2)));
        let second = bytes.len() - 18;
        bytes[second..second + 8].fill(0);
        assert_eq!(parsed(&bytes), Err(Error::Invalid), "knowledge that does not ascend");
        let many = Knowledge(vec![(IndexId(1), 1); MAX_IDS + 1]);
        assert_eq!(parsed(&emitted(&[one], Some(&many))), Err(Error::TooLarge));
    }

    #[test]
    fn the_same_knowledge_has_the_same_hash_and_no_other() {
        let (mut a, mut b) = (Knowledge::default(), Knowledge::default());
        [(1, 2), (3, 4)].iter().for_each(|&(id, seq)| a.learn(IndexId(id), seq));
        [(3, 4), (1, 1), (1, 2)].iter().for_each(|&(id, seq)| b.learn(IndexId(id), seq));
        assert_eq!(a.hash(), b.hash());
        b.learn(IndexId(1), 3);
        assert_ne!(a.hash(), b.hash());
        assert_ne!(a.hash(), Knowledge::default().hash());
    }
}
