//! A record as bytes: as hosts send it to each other, and as it is kept on disk.
//!
//! | field | size |
//! | --- | --- |
//! | stamp | 8 |
//! | sender's name, counted | 2–254 |
//! | flags: 0 recursive, 1 deletes, 2 gone, 3 forced, 4 patterns, 5 for named hosts alone, 6 listed, 7 folds | 1 |
//! | path, counted; empty for the base directory | 1– |
//! | hash of the patterns, if there are any | 8 |
//! | with flag 7: from which stamp on it has what its sender has sent | 8 |
//! | how many names, varint | 1–10 |
//! | the sum of their hashes | 8 |
//! | with flag 5: how many hosts, varint, and their names, counted, ascending | |

use std::sync::Arc;

use super::record::{Deed, Record, RecordId};
use crate::name::{HostName, MAX_HOST_NAME, MAX_PATH, RelPath};
use crate::stamp::Stamp;
use crate::wire::Error;
use crate::wire::audience::Audience;
use crate::wire::begin::MAX_TARGETS;
use crate::wire::bytes::{Put, Reader};
use crate::wire::names::{Hash, Names};

const RECURSIVE: u8 = 1;
const DELETES: u8 = 2;
const GONE: u8 = 4;
const FORCED: u8 = 8;
const PATTERNS: u8 = 16;
const NAMED: u8 = 32;
const LISTED: u8 = 64;
const FOLDS: u8 = 128;

impl Record {
    /// Reads it.
    ///
    /// # Errors
    /// Whatever [`Record::emit`] does not write.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let stamp = Stamp::from_bits(reader.u64()?);
        let host = Arc::new(host_name(&mut reader)?);
        if stamp == Stamp::ZERO {
            return Err(Error::Invalid);
        }
        let record = Record::parse_rest(RecordId { stamp, host }, true, &mut reader)?;
        reader.end()?;
        Ok(record)
    }

    /// Reads what follows the sender's name, with or without what it names.
    pub(super) fn parse_rest(
        id: RecordId,
        with_names: bool,
        reader: &mut Reader<'_>,
    ) -> Result<Self, Error> {
        let flags = reader.u8()?;
        let has = |flag: u8| flags & flag != 0;
        let path = RelPath::parse_or_base(reader.counted(MAX_PATH)?).map_err(|_| Error::Invalid)?;
        let patterns = has(PATTERNS).then(|| reader.u64().map(Hash)).transpose()?;
        let since = has(FOLDS).then(|| reader.u64().map(Stamp::from_bits)).transpose()?;
        let names = match with_names {
            true => Names { count: reader.varint()?, sum: reader.u64()? },
            false => Names::default(),
        };
        let audience = match has(NAMED) {
            false => Audience::All,
            true => Audience::Named(hosts(reader)?),
        };
        let deed = Deed {
            recursive: has(RECURSIVE),
            listed: has(LISTED),
            deletes: has(DELETES),
            gone: has(GONE),
            forced: has(FORCED),
            since,
        };
        Ok(Record { id, path, deed, audience, patterns, names })
    }

    /// Writes it.
    pub fn emit(&self) -> Vec<u8> {
        let (id, path) = (&self.id, &self.path);
        let mut out = Vec::with_capacity(40 + id.host.as_str().len() + path.as_bytes().len());
        out.put_u64(id.stamp.bits());
        out.put_counted(id.host.as_str().as_bytes());
        self.emit_rest(true, &mut out);
        out
    }

    /// Writes what follows the sender's name, with or without what it names.
    pub(super) fn emit_rest(&self, with_names: bool, out: &mut Vec<u8>) {
        let Record { id: _, path, deed, audience, patterns, names } = self;
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        out.push(
            flag(deed.recursive, RECURSIVE)
                | flag(deed.listed, LISTED)
                | flag(deed.deletes, DELETES)
                | flag(deed.gone, GONE)
                | flag(deed.forced, FORCED)
                | flag(patterns.is_some(), PATTERNS)
                | flag(*audience != Audience::All, NAMED)
                | flag(deed.since.is_some(), FOLDS),
        );
        out.put_counted(path.as_bytes());
        if let Some(Hash(hash)) = patterns {
            out.put_u64(*hash);
        }
        if let Some(since) = deed.since {
            out.put_u64(since.bits());
        }
        if with_names {
            out.put_varint(names.count);
            out.put_u64(names.sum);
        }
        if let Audience::Named(hosts) = audience {
            out.put_varint(hosts.len() as u64);
            hosts.iter().for_each(|host| out.put_counted(host.as_str().as_bytes()));
        }
    }
}

fn host_name(reader: &mut Reader<'_>) -> Result<HostName, Error> {
    HostName::parse(reader.counted(MAX_HOST_NAME)?).map_err(|_| Error::Invalid)
}

fn hosts(reader: &mut Reader<'_>) -> Result<Arc<[HostName]>, Error> {
    let count = reader.varint32()? as usize;
    if count > MAX_TARGETS {
        return Err(Error::TooLarge);
    }
    let hosts = (0..count).map(|_| host_name(reader)).collect::<Result<Vec<_>, _>>()?;
    match hosts.is_sorted_by(|a, b| a < b) {
        true => Ok(hosts.into()),
        false => Err(Error::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> HostName {
        HostName::parse(name.as_bytes()).unwrap()
    }

    fn samples() -> Vec<Record> {
        let plain = Record {
            id: RecordId { stamp: Stamp::at(1_795_804_200_000), host: Arc::new(name("web1")) },
            path: RelPath::base(),
            deed: Deed::default(),
            audience: Audience::All,
            patterns: None,
            names: Names { count: 1_000_000, sum: u64::MAX },
        };
        let deed = Deed {
            recursive: true,
            listed: true,
            deletes: true,
            gone: true,
            forced: true,
            since: Some(Stamp::at(7)),
        };
        let full = Record {
            path: RelPath::parse(b"a/b").unwrap(),
            deed,
            audience: Audience::named(vec![name("b"), name("a"), name("b")]),
            patterns: Some(Hash(7)),
            ..plain.clone()
        };
        let nobody = Record { audience: Audience::named(Vec::new()), ..plain.clone() };
        vec![plain, full, nobody]
    }

    #[test]
    fn what_is_written_is_read() {
        for record in samples() {
            assert_eq!(Record::parse(&record.emit()), Ok(record));
        }
    }

    #[test]
    fn nothing_else_is_read() {
        for record in samples() {
            let bytes = record.emit();
            for len in 0..bytes.len() {
                assert!(Record::parse(&bytes[..len]).is_err(), "{len} bytes");
            }
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut other = bytes.clone();
                    other[at] ^= 1 << bit;
                    if let Ok(read) = Record::parse(&other) {
                        assert!(read != record && read.emit() == other, "bit {bit} of {at}");
                    }
                }
            }
        }
        let two = samples()[1].emit();
        let end = two.len();
        let swapped = [&two[..end - 4], &two[end - 2..], &two[end - 4..end - 2]].concat();
        assert_eq!(Record::parse(&swapped), Err(Error::Invalid));
    }
}
