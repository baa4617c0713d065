//! MIRROR: what hosts say to each other of a tree that is mirrored, and what HELLO says of each.
//!
//! | what | byte | then |
//! | --- | --- | --- |
//! | asking: I ask this node for what I lack; to the group | 1 | 8, the tree; 8, the node id; 8, a hash of my knowledge |
//! | ask: some bytes of a question | 2 | 8, the tree; 4, the question's number; 4, its length; 4, the offset; the bytes |
//! | answer | 3 | 8, the tree; 4, the question's number; a byte, and what it says |
//! | reach: have you all that I have, at a path and below it? | 4 | 8, the tree; 4, the number; 2, which part of what I know; |
//! | | | the path below the top, counted (empty: all of it); that part of my knowledge |
//! | reached: so this host stands | 5 | 8, the tree; 4, the number; 2, the part; as in HELLO from the index on; |
//! | | | flags (1): 0 it knows that part, and its index speaks of what is on its disk, 1 something is under way; |
//! | | | varints: paths that are not as they should be, deletions that it holds, paths that are listed |
//!
//! A tree is called by the hash of its path. An answer: 0 and 4, so many bytes of the question have come; 1, it is all
//! there, and a transfer follows; 2 and 8, there is nothing that the question lacks, by a hash of the knowledge here; 3,
//! not now.
//!
//! A question: the knowledge of who asks, and how many dots of which it lacks the bytes (varint), and these.
//!
//! In HELLO: how many trees (1), and for each the tree (8), the index (8), the height of its own dots (8), a hash of its
//! knowledge (8), flags (1): 0 it has compared with others since it started, 1 it holds deletions, 2 it has not looked at
//! all of the tree since it started, 3 the tree stands still, 4 it lacks something that it knows of, 5 it has parts of what
//! goes beyond its knowledge.

use super::Error;
use super::bytes::{Put, Reader};
use super::names::Hash;
use super::versions::{Dot, IndexId, Knowledge, MAX_IDS};
use crate::name::{NodeId, RelPath};

/// The most trees that a host mirrors.
pub const MAX_TREES: usize = 16;
/// The most dots of which a question lacks the bytes.
pub const MAX_NEEDED: usize = 1_024;
/// The longest question, in bytes.
pub const MAX_QUESTION: usize = Knowledge::len_bound(MAX_IDS) + Dot::LEN * MAX_NEEDED + 2;
/// The bytes before those of a part of a question.
pub const BEFORE_PART: usize = 1 + 8 + 4 + 4 + 4;
/// The longest path below the top of a tree that is asked about; for one that is longer, the whole tree is.
pub const MAX_WITHIN: usize = 255;
/// The bytes that HELLO takes for a tree.
pub const STANDING_LEN: usize = 4 * 8 + 1;

/// What HELLO says of a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Which tree: the hash of its path.
    pub tree: Hash,
    /// The index of the host.
    pub by: IndexId,
    /// The number of its own latest change.
    pub height: u64,
    /// The hash of what it knows.
    pub hash: u64,
    /// It has compared with others since it started.
    pub settled: bool,
    /// It holds deletions.
    pub held: bool,
    /// It has not looked at all of the tree since it started.
    pub looks: bool,
    /// The tree stands still.
    pub stopped: bool,
    /// It lacks something that it knows of.
    pub lacks: bool,
    /// It has parts of what goes beyond its knowledge: of a transfer that is not over, or has failed.
    pub in_part: bool,
}

impl Standing {
    /// Whether it gives and takes changes of the tree now.
    pub fn takes_part(&self) -> bool {
        !self.looks && !self.stopped
    }

    /// A host that has compared and holds nothing.
    #[cfg(test)]
    pub(crate) fn plain(tree: Hash, by: IndexId, height: u64, hash: u64) -> Self {
        let [held, looks, stopped, lacks, in_part] = [false; 5];
        Standing { tree, by, height, hash, settled: true, held, looks, stopped, lacks, in_part }
    }

    fn flags(&self) -> u8 {
        [self.settled, self.held, self.looks, self.stopped, self.lacks, self.in_part]
            .iter()
            .enumerate()
            .fold(0, |flags, (bit, set)| flags | u8::from(*set) << bit)
    }

    fn parse(tree: Hash, reader: &mut Reader<'_>) -> Result<Self, Error> {
        let (by, height, hash) = (IndexId(reader.u64()?), reader.u64()?, reader.u64()?);
        let flags = reader.u8()?;
        let has = |bit: u8| flags & 1 << bit != 0;
        let [settled, held, looks, stopped, lacks, in_part] = [0, 1, 2, 3, 4, 5].map(has);
        let standing =
            Standing { tree, by, height, hash, settled, held, looks, stopped, lacks, in_part };
        if standing.flags() == flags { Ok(standing) } else { Err(Error::Invalid) }
    }

    /// Without the tree.
    fn emit(&self, out: &mut Vec<u8>) {
        [self.by.0, self.height, self.hash].iter().for_each(|number| out.put_u64(*number));
        out.push(self.flags());
    }

    /// Reads all of them.
    pub(super) fn parse_all(reader: &mut Reader<'_>) -> Result<Vec<Self>, Error> {
        let count = usize::from(reader.u8()?);
        if count == 0 || count > MAX_TREES {
            return Err(Error::Invalid);
        }
        let mut all: Vec<Self> = Vec::new();
        for _ in 0..count {
            let standing = Standing::parse(Hash(reader.u64()?), reader)?;
            if all.iter().any(|other| other.tree == standing.tree) {
                return Err(Error::Invalid);
            }
            all.push(standing);
        }
        Ok(all)
    }

    /// Writes all of them.
    pub(super) fn emit_all(all: &[Self], out: &mut Vec<u8>) {
        out.push(all.len() as u8);
        for standing in all {
            out.put_u64(standing.tree.0);
            standing.emit(out);
        }
    }
}

/// The payload of MIRROR.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mirror {
    /// Who sent this asks a node for what it lacks: who knows the same needs not ask as well.
    Asking {
        /// Of which tree.
        tree: Hash,
        /// Whom it asks.
        of: NodeId,
        /// The hash of what it knows.
        hash: u64,
    },
    /// Some bytes of a question.
    Ask {
        /// About which tree.
        tree: Hash,
        /// The number of the question.
        number: u32,
        /// How long it is; [`MAX_QUESTION`] at most.
        len: u32,
        /// Where in it the bytes are.
        offset: u32,
        /// The bytes, one at least.
        bytes: Vec<u8>,
    },
    /// What became of a question.
    Answer {
        /// About which tree.
        tree: Hash,
        /// The number of the question.
        number: u32,
        /// What it says.
        answer: Answer,
    },
    /// Whether a host has all that the one has that asks, at a path and below it.
    Reach {
        /// In which tree.
        tree: Hash,
        /// The number of the question.
        number: u32,
        /// Which part of its knowledge it is about.
        part: u16,
        /// The path below the top of the tree.
        within: RelPath,
        /// That part.
        known: Knowledge,
    },
    /// How a host stands that was asked so.
    Reached {
        /// The number of the question.
        number: u32,
        /// Which part of its knowledge it is about.
        part: u16,
        /// How it stands with the tree.
        standing: Standing,
        /// What it says.
        reached: Reached,
    },
}

/// How a host stands that was asked whether it has all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reached {
    /// It knows what was asked about, and its index speaks of what is on its disk.
    pub covers: bool,
    /// Something is under way.
    pub busy: bool,
    /// What is not so there.
    pub left: Left,
}

/// What is not as it should be, at a path and below it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Left {
    /// How many paths are not yet as they should be.
    pub lacking: u64,
    /// How many deletions are held.
    pub held: u64,
    /// How many paths are listed.
    pub listed: u64,
}

/// What became of a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// So many of its bytes have come, from the first on.
    Part(u32),
    /// It is all there, and a transfer follows.
    Coming,
    /// There is nothing here that it lacks.
    Nothing {
        /// The hash of what is known here.
        hash: u64,
    },
    /// Not now.
    Later,
}

impl Mirror {
    /// Of which tree it is.
    pub fn tree(&self) -> Hash {
        match self {
            Mirror::Asking { tree, .. }
            | Mirror::Ask { tree, .. }
            | Mirror::Answer { tree, .. }
            | Mirror::Reach { tree, .. } => *tree,
            Mirror::Reached { standing, .. } => standing.tree,
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// An unknown byte, a part that is not within its question, the wrong length.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(payload);
        let (what, tree) = (reader.u8()?, Hash(reader.u64()?));
        let mirror = match what {
            1 => Mirror::Asking { tree, of: NodeId(reader.u64()?), hash: reader.u64()? },
            2 => {
                let (number, len, offset) = (reader.u32()?, reader.u32()?, reader.u32()?);
                let bytes = reader.take(reader.rest().len())?.to_vec();
                let end = offset as usize + bytes.len();
                if bytes.is_empty() || len as usize > MAX_QUESTION || end > len as usize {
                    return Err(Error::Invalid);
                }
                Mirror::Ask { tree, number, len, offset, bytes }
            }
            3 => {
                let number = reader.u32()?;
                let answer = match reader.u8()? {
                    0 => Answer::Part(reader.u32()?),
                    1 => Answer::Coming,
                    2 => Answer::Nothing { hash: reader.u64()? },
                    3 => Answer::Later,
                    _ => return Err(Error::Invalid),
                };
                Mirror::Answer { tree, number, answer }
            }
            4 => {
                let (number, part) = (reader.u32()?, reader.u16()?);
                let within = match reader.counted(MAX_WITHIN)? {
                    [] => RelPath::base(),
                    within => RelPath::parse(within).map_err(|_| Error::Invalid)?,
                };
                let known = Knowledge::parse(&mut reader)?;
                Mirror::Reach { tree, number, part, within, known }
            }
            5 => {
                let (number, part) = (reader.u32()?, reader.u16()?);
                let standing = Standing::parse(tree, &mut reader)?;
                let flags = reader.u8()?;
                if flags > 3 {
                    return Err(Error::Invalid);
                }
                let (lacking, held) = (reader.varint()?, reader.varint()?);
                let left = Left { lacking, held, listed: reader.varint()? };
                let reached = Reached { covers: flags & 1 != 0, busy: flags & 2 != 0, left };
                Mirror::Reached { number, part, standing, reached }
            }
            _ => return Err(Error::Invalid),
        };
        reader.end()?;
        Ok(mirror)
    }

    /// Writes it.
    pub fn emit(&self) -> Vec<u8> {
        let head = |what: u8| {
            let mut out = vec![what];
            out.put_u64(self.tree().0);
            out
        };
        match self {
            Mirror::Asking { of, hash, .. } => {
                let mut out = head(1);
                out.put_u64(of.0);
                out.put_u64(*hash);
                out
            }
            Mirror::Ask { number, len, offset, bytes, .. } => {
                let mut out = head(2);
                [number, len, offset].iter().for_each(|field| out.put_u32(**field));
                out.extend_from_slice(bytes);
                out
            }
            Mirror::Answer { number, answer, .. } => {
                let mut out = head(3);
                out.put_u32(*number);
                match answer {
                    Answer::Part(have) => {
                        out.push(0);
                        out.put_u32(*have);
                    }
                    Answer::Coming => out.push(1),
                    Answer::Nothing { hash } => {
                        out.push(2);
                        out.put_u64(*hash);
                    }
                    Answer::Later => out.push(3),
                }
                out
            }
            Mirror::Reach { number, part, within, known, .. } => {
                let mut out = head(4);
                out.put_u32(*number);
                out.put_u16(*part);
                out.put_counted(within.as_bytes());
                known.emit(&mut out);
                out
            }
            Mirror::Reached { number, part, standing, reached } => {
                let mut out = head(5);
                out.put_u32(*number);
                out.put_u16(*part);
                standing.emit(&mut out);
                out.push(u8::from(reached.covers) | u8::from(reached.busy) << 1);
                let Left { lacking, held, listed } = reached.left;
                [lacking, held, listed].iter().for_each(|count| out.put_varint(*count));
                out
            }
        }
    }
}

/// What a host knows that asks, and what it knows of and has not got.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Question {
    /// What it knows.
    pub knowledge: Knowledge,
    /// The dots of which it lacks the bytes, [`MAX_NEEDED`] at most.
    pub needed: Vec<Dot>,
}

impl Question {
    /// Reads it.
    ///
    /// # Errors
    /// It is too long; knowledge that does not ascend; a dot with the number 0; the wrong length.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_QUESTION {
            return Err(Error::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        let knowledge = Knowledge::parse(&mut reader)?;
        let count = reader.varint()?;
        if count > MAX_NEEDED as u64 {
            return Err(Error::TooLarge);
        }
        let mut needed = Vec::new();
        for _ in 0..count {
            needed.push(Dot::parse(&mut reader)?);
        }
        reader.end()?;
        Ok(Question { knowledge, needed })
    }

    /// Writes it.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.knowledge.emit(&mut out);
        out.put_varint(self.needed.len() as u64);
        self.needed.iter().for_each(|dot| dot.emit(&mut out));
        out
    }
}

/// The parts of a question from an offset on, each for a payload of `room` bytes.
pub fn parts(
    tree: Hash,
    number: u32,
    question: &[u8],
    from: usize,
    room: usize,
) -> impl Iterator<Item = Mirror> + '_ {
    let most = room.saturating_sub(BEFORE_PART).max(1);
    let (len, rest) = (question.len() as u32, question.get(from..).unwrap_or_default());
    rest.chunks(most).enumerate().map(move |(at, bytes)| {
        let offset = (from + at * most) as u32;
        Mirror::Ask { tree, number, len, offset, bytes: bytes.to_vec() }
    })
}

#[cfg(test)]
mod tests {
    use super::super::versions::tests::knowledge;
    use super::*;

    const TREE: Hash = Hash(0x0102_0304_0506_0708);

    fn standing(n: u64) -> Standing {
        let (settled, held, looks, stopped) = (n % 2 == 0, n % 3 == 0, n % 5 == 0, n % 7 == 0);
        let (tree, by, height, hash) = (Hash(n), IndexId(!n), n << 40, n.wrapping_mul(3));
        let (lacks, in_part) = (n % 11 == 0, n % 13 == 0);
        Standing { tree, by, height, hash, settled, held, looks, stopped, lacks, in_part }
    }

    fn samples() -> Vec<Mirror> {
        let mut all = vec![
            Mirror::Asking { tree: TREE, of: NodeId(5), hash: 9 },
            Mirror::Ask { tree: TREE, number: 3, len: 9, offset: 7, bytes: vec![1, 2] },
        ];
        let answers = [Answer::Part(7), Answer::Coming, Answer::Nothing { hash: 8 }, Answer::Later];
        all.extend(answers.map(|answer| Mirror::Answer { tree: TREE, number: 4, answer }));
        for path in [&b""[..], b"a/b", &[b'x'; MAX_WITHIN]] {
            let within = if path.is_empty() { Ok(RelPath::base()) } else { RelPath::parse(path) };
            let (within, known) = (within.unwrap(), knowledge(path.len() as u64));
            all.push(Mirror::Reach { tree: TREE, number: 8, part: 300, within, known });
            let left = Left { lacking: 300, held: 0, listed: u64::MAX };
            let reached = Reached { covers: path.is_empty(), busy: path.len() == 3, left };
            let standing = standing(TREE.0);
            all.push(Mirror::Reached { number: 8, part: 300, standing, reached });
        }
        all
    }

    #[test]
    fn what_is_written_is_read() {
        for mirror in samples() {
            let bytes = mirror.emit();
            assert_eq!(mirror.tree(), TREE);
            (0..bytes.len())
                .for_each(|len| assert_ne!(Mirror::parse(&bytes[..len]).as_ref(), Ok(&mirror)));
            assert_eq!(Mirror::parse(&bytes), Ok(mirror));
        }
        let dot = |n: u64| Dot { by: IndexId(n), seq: u64::MAX };
        for needed in [0, 1, MAX_NEEDED as u64] {
            let needed = (0..needed).map(dot).collect();
            let question = Question { knowledge: knowledge(MAX_IDS as u64), needed };
            let bytes = question.emit();
            assert!(bytes.len() <= MAX_QUESTION);
            for len in [0, 1, bytes.len() / 2, bytes.len() - 1] {
                assert!(Question::parse(&bytes[..len]).is_err(), "{len}");
            }
            assert_eq!(Question::parse(&bytes), Ok(question));
        }
        for count in [1, 2, MAX_TREES as u64] {
            let all: Vec<Standing> = (0..count).map(standing).collect();
            let mut out = Vec::new();
            Standing::emit_all(&all, &mut out);
            assert_eq!(out.len(), 1 + all.len() * STANDING_LEN);
            assert_eq!(Standing::parse_all(&mut Reader::new(&out)), Ok(all));
        }
    }

    #[test]
    fn known_bytes() {
        let asking = [&[1, 1, 2, 3, 4, 5, 6, 7, 8][..], &[0; 7], &[5], &[0; 7], &[9]].concat();
        assert_eq!(samples()[0].emit(), asking);
        let part = [3, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 4, 0, 0, 0, 0, 7];
        assert_eq!(samples()[2].emit(), part);
        let dot = Dot { by: IndexId(1), seq: 300 };
        let question = Question { knowledge: Knowledge::default(), needed: vec![dot] };
        assert_eq!(question.emit(), [0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xac, 2]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let bytes = MAX_QUESTION as u32 + 1;
        for (len, offset, bytes) in [(7, 6, 2), (bytes, 0, 1), (1, u32::MAX, 1), (7, 7, 0)] {
            let part = Mirror::Ask { tree: TREE, number: 1, len, offset, bytes: vec![0; bytes] };
            assert_eq!(Mirror::parse(&part.emit()), Err(Error::Invalid), "{part:?}");
        }
        assert_eq!(Mirror::parse(&[6; 9]), Err(Error::Invalid));
        for (path, error) in [("/a", Error::Invalid), ("a/../b", Error::Invalid)] {
            let mut reach = Vec::from([4; 15]);
            reach.put_counted(path.as_bytes());
            reach.push(0);
            assert_eq!(Mirror::parse(&reach), Err(error), "{path}");
        }
        let mut reached = samples().pop().unwrap().emit();
        reached[40] = 4;
        assert_eq!(Mirror::parse(&reached), Err(Error::Invalid), "an unknown flag");
        let mut answer = samples()[3].emit();
        answer[13] = 4;
        assert_eq!(Mirror::parse(&answer), Err(Error::Invalid));
        let needed = vec![Dot { by: IndexId(1), seq: 1 }; MAX_NEEDED + 1];
        let many = Question { knowledge: Knowledge::default(), needed }.emit();
        assert_eq!(Question::parse(&many), Err(Error::TooLarge));
        assert_eq!(Question::parse(&vec![0; MAX_QUESTION + 1]), Err(Error::TooLarge));
        let said = |all: &[Standing], flags: u8| {
            let mut out = Vec::new();
            Standing::emit_all(all, &mut out);
            *out.last_mut().unwrap() |= flags;
            Standing::parse_all(&mut Reader::new(&out))
        };
        assert_eq!(said(&[], 0), Err(Error::Invalid), "none");
        assert_eq!(said(&[standing(1); 2], 0), Err(Error::Invalid), "one tree twice");
        assert_eq!(said(&[standing(1)], 64), Err(Error::Invalid), "an unknown flag");
        let many: Vec<Standing> = (0..17).map(standing).collect();
        assert_eq!(said(&many, 0), Err(Error::Invalid), "too many");
    }

    #[test]
    fn a_question_comes_in_parts_from_anywhere_on() {
        let bytes: Vec<u8> = (0..2_000u32).map(|n| n as u8).collect();
        for from in [0, 1_377, 2_000] {
            let mut whole = bytes[..from].to_vec();
            for part in parts(TREE, 7, &bytes, from, 480) {
                assert!(part.emit().len() <= 480);
                let Mirror::Ask { len, offset, bytes, .. } = part else { panic!() };
                assert_eq!((len, offset as usize), (2_000, whole.len()));
                whole.extend(bytes);
            }
            assert_eq!(whole, bytes);
        }
    }
}
