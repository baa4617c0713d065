//! MIRROR: what hosts say to each other of a tree that is mirrored, and what HELLO says of each.
//!
//! | what | byte | then |
//! | --- | --- | --- |
//! | asking: I ask this node for what I lack; to the group | 1 | 8, the tree; 8, the node id; 8, a hash of my knowledge |
//! | ask: some bytes of a question | 2 | 8, the tree; 4, the question's number; 4, its length; 4, the offset; the bytes |
//! | answer | 3 | 8, the tree; 4, the question's number; a byte, and what it says |
//!
//! A tree is called by the hash of its path. An answer: 0 and 4, so many bytes of the question have come; 1, it is all
//! there, and a transfer follows; 2 and 8, there is nothing that the question lacks, by a hash of the knowledge here; 3,
//! not now.
//!
//! A question: the knowledge of who asks, and how many dots of which it lacks the bytes (varint), and these.
//!
//! In HELLO: how many trees (1), and for each the tree (8), the index (8), the height of its own dots (8), a hash of its
//! knowledge (8), flags (1): 0 it has compared with others since it started, 1 it holds something back, 2 it has parts of
//! what goes beyond its knowledge.

use super::Error;
use super::bytes::{Put, Reader};
use super::names::Hash;
use super::versions::{Dot, IndexId, Knowledge, MAX_IDS};
use crate::name::NodeId;

/// The most trees that a host mirrors.
pub const MAX_TREES: usize = 16;
/// The most dots of which a question lacks the bytes.
pub const MAX_NEEDED: usize = 1_024;
/// The longest question, in bytes.
pub const MAX_QUESTION: usize = Knowledge::len_bound(MAX_IDS) + Dot::LEN * MAX_NEEDED + 2;
/// The bytes before those of a part of a question.
pub const BEFORE_PART: usize = 1 + 8 + 4 + 4 + 4;
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
    /// It holds something back: deletions, or the whole tree.
    pub held: bool,
    /// It has parts of what goes beyond its knowledge: of a transfer that is not over, or has failed.
    pub in_part: bool,
}

const SETTLED: u8 = 1;
const HELD: u8 = 2;
const IN_PART: u8 = 4;

impl Standing {
    /// Reads all of them.
    pub(super) fn parse_all(reader: &mut Reader<'_>) -> Result<Vec<Self>, Error> {
        let count = usize::from(reader.u8()?);
        if count == 0 || count > MAX_TREES {
            return Err(Error::Invalid);
        }
        let mut all: Vec<Self> = Vec::new();
        for _ in 0..count {
            let (tree, by) = (Hash(reader.u64()?), IndexId(reader.u64()?));
            let (height, hash, flags) = (reader.u64()?, reader.u64()?, reader.u8()?);
            if flags & !(SETTLED | HELD | IN_PART) != 0
                || all.iter().any(|other| other.tree == tree)
            {
                return Err(Error::Invalid);
            }
            let [settled, held, in_part] = [SETTLED, HELD, IN_PART].map(|flag| flags & flag != 0);
            all.push(Standing { tree, by, height, hash, settled, held, in_part });
        }
        Ok(all)
    }

    /// Writes all of them.
    pub(super) fn emit_all(all: &[Self], out: &mut Vec<u8>) {
        out.push(all.len() as u8);
        for standing in all {
            [standing.tree.0, standing.by.0, standing.height, standing.hash]
                .iter()
                .for_each(|number| out.put_u64(*number));
            let flag = |set: bool, bit: u8| if set { bit } else { 0 };
            let flags =
                [(standing.settled, SETTLED), (standing.held, HELD), (standing.in_part, IN_PART)];
            out.push(flags.into_iter().fold(0, |flags, (set, bit)| flags | flag(set, bit)));
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
            | Mirror::Answer { tree, .. } => *tree,
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
        let (settled, held, in_part) = (n % 2 == 0, n % 3 == 0, n % 5 == 0);
        Standing {
            tree: Hash(n),
            by: IndexId(!n),
            height: n << 40,
            hash: n * 3,
            settled,
            held,
            in_part,
        }
    }

    fn samples() -> Vec<Mirror> {
        let mut all = vec![
            Mirror::Asking { tree: TREE, of: NodeId(5), hash: 9 },
            Mirror::Ask { tree: TREE, number: 3, len: 9, offset: 7, bytes: vec![1, 2] },
        ];
        let answers = [Answer::Part(7), Answer::Coming, Answer::Nothing { hash: 8 }, Answer::Later];
        all.extend(answers.map(|answer| Mirror::Answer { tree: TREE, number: 4, answer }));
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
        assert_eq!(Mirror::parse(&[4; 9]), Err(Error::Invalid));
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
        assert_eq!(said(&[standing(1)], 4), Err(Error::Invalid), "an unknown flag");
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
