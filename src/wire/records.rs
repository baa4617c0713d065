//! RECORDS: what hosts say to each other of the records that they keep.
//!
//! | what | byte | then |
//! | --- | --- | --- |
//! | compare: which records do you keep, before this stamp | 1 | 8, the stamp |
//! | keys: these, from the one stamp on, before the other | 2 | 8 and 8, the stamps; keys |
//! | ask: send these records | 3 | keys |
//! | part: some bytes of a record | 4 | its key; 4, its length; 4, the offset; the bytes |
//! | want: I lack what these are of; this node is to give it, or if it is 0, who can | 5 | 8, the node id; keys |
//! | have: I can give all of what these are of | 6 | keys |
//!
//! A key is 16 bytes: the stamp of a record, and a hash of it. Keys are as many as the payload has room for.

use super::Error;
use super::bytes::{Put, Reader};
use crate::name::NodeId;
use crate::stamp::Stamp;

/// The longest record, in bytes.
pub const MAX_RECORD: usize = 64 << 10;
/// The bytes of a key.
pub const KEY_LEN: usize = 16;
/// The most bytes before the keys of a payload.
pub const BEFORE_KEYS: usize = 17;
/// The bytes before those of a part of a record.
pub const BEFORE_PART: usize = 1 + KEY_LEN + 8;

/// What two hosts compare to find out whether they keep the same records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Records up to this stamp may be missing, because there were too many.
    pub horizon: Stamp,
    /// The records above it, all of them mixed.
    pub checksum: u64,
}

/// What a record is called on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// Its stamp.
    pub stamp: Stamp,
    /// A hash of its stamp and the name of its sender.
    pub hash: u64,
}

/// The payload of RECORDS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Records {
    /// Which records do you keep?
    Compare {
        /// Those before this stamp.
        below: Stamp,
    },
    /// The records that its sender keeps.
    Keys {
        /// From this stamp on; [`Stamp::ZERO`] if there are none before these.
        from: Stamp,
        /// Before this stamp.
        below: Stamp,
        /// All of those.
        keys: Vec<Key>,
    },
    /// Send these records.
    Ask {
        /// Which.
        keys: Vec<Key>,
    },
    /// Some bytes of a record.
    Part {
        /// Of which one.
        key: Key,
        /// How long it is; [`MAX_RECORD`] at most.
        len: u32,
        /// Where in it the bytes are.
        offset: u32,
        /// The bytes, one at least.
        bytes: Vec<u8>,
    },
    /// Its sender lacks what these records are of.
    Want {
        /// The node that is to give it; None asks who can.
        donor: Option<NodeId>,
        /// Which.
        keys: Vec<Key>,
    },
    /// Its sender can give what these records are of.
    Have {
        /// Which.
        keys: Vec<Key>,
    },
}

impl Records {
    /// How many keys fit into a payload of `room` bytes.
    pub fn keys_in(room: usize) -> usize {
        (room.saturating_sub(BEFORE_KEYS) / KEY_LEN).max(1)
    }

    /// Reads it.
    ///
    /// # Errors
    /// An unknown first byte, a part that is not within its record, the wrong length.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(payload);
        let what = reader.u8()?;
        let records = match what {
            1 => Records::Compare { below: stamp(&mut reader)? },
            2 => {
                let (from, below) = (stamp(&mut reader)?, stamp(&mut reader)?);
                let keys = keys(&mut reader)?;
                if keys.iter().any(|key| key.stamp < from || key.stamp >= below) {
                    return Err(Error::Invalid);
                }
                Records::Keys { from, below, keys }
            }
            3 => Records::Ask { keys: keys(&mut reader)? },
            4 => {
                let key = key(&mut reader)?;
                let (len, offset) = (reader.u32()?, reader.u32()?);
                let bytes = reader.take(reader.rest().len())?.to_vec();
                let end = offset as usize + bytes.len();
                if bytes.is_empty() || len as usize > MAX_RECORD || end > len as usize {
                    return Err(Error::Invalid);
                }
                Records::Part { key, len, offset, bytes }
            }
            5 => {
                let donor = Some(NodeId(reader.u64()?)).filter(|node| node.0 != 0);
                Records::Want { donor, keys: keys(&mut reader)? }
            }
            6 => Records::Have { keys: keys(&mut reader)? },
            _ => return Err(Error::Invalid),
        };
        reader.end()?;
        Ok(records)
    }

    /// Writes it.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let put_keys = |out: &mut Vec<u8>, keys: &[Key]| {
            keys.iter().for_each(|key| put_key(out, *key));
        };
        match self {
            Records::Compare { below } => {
                out.push(1);
                out.put_u64(below.bits());
            }
            Records::Keys { from, below, keys } => {
                out.push(2);
                out.put_u64(from.bits());
                out.put_u64(below.bits());
                put_keys(&mut out, keys);
            }
            Records::Ask { keys } => {
                out.push(3);
                put_keys(&mut out, keys);
            }
            Records::Part { key, len, offset, bytes } => {
                out.push(4);
                put_key(&mut out, *key);
                out.put_u32(*len);
                out.put_u32(*offset);
                out.extend_from_slice(bytes);
            }
            Records::Want { donor, keys } => {
                out.push(5);
                out.put_u64(donor.map_or(0, |node| node.0));
                put_keys(&mut out, keys);
            }
            Records::Have { keys } => {
                out.push(6);
                put_keys(&mut out, keys);
            }
        }
        out
    }
}

fn stamp(reader: &mut Reader<'_>) -> Result<Stamp, Error> {
    reader.u64().map(Stamp::from_bits)
}

fn key(reader: &mut Reader<'_>) -> Result<Key, Error> {
    Ok(Key { stamp: stamp(reader)?, hash: reader.u64()? })
}

fn put_key(out: &mut Vec<u8>, key: Key) {
    out.put_u64(key.stamp.bits());
    out.put_u64(key.hash);
}

/// All that are left.
fn keys(reader: &mut Reader<'_>) -> Result<Vec<Key>, Error> {
    let mut keys = Vec::new();
    while !reader.rest().is_empty() {
        keys.push(key(reader)?);
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(n: u64) -> Key {
        Key { stamp: Stamp::from_bits(n), hash: !n }
    }

    fn samples() -> Vec<Records> {
        let (from, below) = (Stamp::from_bits(5), Stamp::from_bits(9));
        vec![
            Records::Compare { below },
            Records::Keys { from, below, keys: vec![key_of(5), key_of(8), key_of(5)] },
            Records::Keys { from: Stamp::ZERO, below, keys: Vec::new() },
            Records::Ask { keys: vec![key_of(1)] },
            Records::Part { key: key_of(3), len: 7, offset: 5, bytes: vec![1, 2] },
            Records::Want { donor: None, keys: vec![key_of(1), key_of(2)] },
            Records::Want { donor: Some(NodeId(7)), keys: Vec::new() },
            Records::Have { keys: vec![key_of(1)] },
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for records in samples() {
            assert_eq!(Records::parse(&records.emit()), Ok(records));
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut keys = samples()[1].emit();
        keys[8] = 6;
        assert_eq!(Records::parse(&keys), Err(Error::Invalid), "a key before the first stamp");
        for (len, offset, bytes) in
            [(7, 6, 2), (MAX_RECORD as u32 + 1, 0, 1), (1, u32::MAX, 1), (7, 7, 0)]
        {
            let part = Records::Part { key: key_of(3), len, offset, bytes: vec![0; bytes] };
            assert_eq!(Records::parse(&part.emit()), Err(Error::Invalid), "{part:?}");
        }
        assert_eq!(Records::parse(&[7]), Err(Error::Invalid));
        for records in samples() {
            let bytes = records.emit();
            assert_ne!(Records::parse(&bytes[..bytes.len() - 1]), Ok(records));
        }
    }

    #[test]
    fn as_many_keys_as_fit() {
        for room in [17 + 16, 480, 1_424] {
            let keys = vec![key_of(1); Records::keys_in(room)];
            let (from, below) = (Stamp::ZERO, Stamp::from_bits(2));
            assert!(Records::Keys { from, below, keys }.emit().len() <= room);
        }
    }
}
