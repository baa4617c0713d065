//! The bytes of a file of records.
//!
//! It begins with a header: [`MAGIC`], the version of the format (2 bytes), when the file was born (8), the
//! length of the host's name (1) and that name, and the checksum of all that (16).
//!
//! A record is the length of its payload (4 bytes), its kind (1), its payload, and a checksum (16) over
//! these, the file's birth, and where in the file it is. So what is left of an earlier record, or was
//! written by a host that chooses a payload, is never taken for a record.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use crate::crypto::checksum;
use crate::name::{HostName, MAX_HOST_NAME};
use crate::wire::bytes::{Put, Reader};

const MAGIC: &[u8; 8] = b"makuorec";
const VERSION: u16 = 1;
/// The bytes of a header before the name.
const FIXED: usize = 8 + 2 + 8 + 1;
const SUM: usize = 16;
/// The longest header.
pub const MAX_HEADER: usize = FIXED + MAX_HOST_NAME + SUM;
/// The bytes of a record before its payload.
pub const HEAD: usize = 5;
/// The bytes of a record beside its payload.
pub const EXTRA: usize = HEAD + SUM;

/// Whose file of records it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// When it was born: what happened before that, it does not know.
    pub birth: u64,
    /// The name of the host that it belongs to.
    pub host: HostName,
}

/// Why the beginning of a file is no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoHeader {
    /// It is of this other version.
    Version(u16),
    /// It is damaged, incomplete, or something else.
    Damaged,
}

impl Header {
    /// Its bytes.
    pub fn emit(&self) -> Vec<u8> {
        let host = self.host.as_str().as_bytes();
        let mut bytes = MAGIC.to_vec();
        bytes.put_u16(VERSION);
        bytes.put_u64(self.birth);
        bytes.push(host.len() as u8);
        bytes.extend_from_slice(host);
        let sum = checksum(&bytes, &[]);
        bytes.extend_from_slice(&sum);
        bytes
    }

    /// The header that a file begins with, and its length.
    pub fn parse(bytes: &[u8]) -> Result<(Header, usize), NoHeader> {
        let mut reader = Reader::new(bytes);
        let mut parsed = || {
            if reader.array().ok()? != *MAGIC {
                return None;
            }
            let version = reader.u16().ok()?;
            if version != VERSION {
                return Some(Err(NoHeader::Version(version)));
            }
            let birth = reader.u64().ok()?;
            let len = usize::from(reader.u8().ok()?);
            let host = HostName::parse(reader.take(len).ok()?).ok()?;
            let sum = reader.array::<SUM>().ok()?;
            let whole = checksum(bytes.get(..FIXED + len)?, &[]) == sum;
            whole.then_some(Ok((Header { birth, host }, FIXED + len + SUM)))
        };
        parsed().unwrap_or(Err(NoHeader::Damaged))
    }
}

/// What a record begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// How long its payload is.
    pub len: u32,
    /// Its kind.
    pub kind: u8,
}

impl Head {
    /// From its bytes.
    pub fn parse(bytes: [u8; HEAD]) -> Self {
        let [len @ .., kind] = bytes;
        Head { len: u32::from_be_bytes(len), kind }
    }

    /// The checksum of a record with this payload, at byte `at` of a file that was born at `birth`.
    pub fn sum(self, birth: u64, at: u64, payload: &[u8]) -> [u8; SUM] {
        let mut head = Vec::with_capacity(32);
        head.put_u64(birth);
        head.put_u64(at);
        head.put_u32(self.len);
        head.push(self.kind);
        checksum(&head, payload)
    }
}

/// Appends a record to `out`, for byte `at` of a file that was born at `birth`.
pub fn emit(birth: u64, at: u64, kind: u8, payload: &[u8], out: &mut Vec<u8>) {
    let head = Head { len: payload.len() as u32, kind };
    out.put_u32(head.len);
    out.push(kind);
    out.extend_from_slice(payload);
    out.extend_from_slice(&head.sum(birth, at, payload));
}

/// Reads the next record, at byte `at`, of which no more than `left` bytes are there, into `payload`;
/// its kind. None if there is no whole one.
pub fn next(
    reader: &mut impl Read,
    birth: u64,
    at: u64,
    left: u64,
    most: u32,
    payload: &mut Vec<u8>,
) -> io::Result<Option<u8>> {
    if left < EXTRA as u64 {
        return Ok(None);
    }
    let (mut head, mut sum) = ([0; HEAD], [0; EXTRA - HEAD]);
    reader.read_exact(&mut head)?;
    let head = Head::parse(head);
    if head.len > most || u64::from(head.len) > left - EXTRA as u64 {
        return Ok(None);
    }
    payload.resize(head.len as usize, 0);
    reader.read_exact(payload)?;
    reader.read_exact(&mut sum)?;
    Ok((head.sum(birth, at, payload) == sum).then_some(head.kind))
}

/// Reads a file from a place on, whatever else is read of it.
pub struct FromPlace<'a> {
    /// The file.
    pub file: &'a File,
    /// The place.
    pub at: u64,
}

impl Read for FromPlace<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buf, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(host: &str) -> Header {
        Header { birth: 0x0123_4567_89ab_cdef, host: HostName::parse(host.as_bytes()).unwrap() }
    }

    #[test]
    fn a_header_comes_back_and_damage_shows() {
        for host in ["h", "web-1.example", &"x".repeat(MAX_HOST_NAME)] {
            let bytes = header(host).emit();
            assert!(bytes.len() <= MAX_HEADER);
            let more = [&bytes[..], b"more"].concat();
            assert_eq!(Header::parse(&more), Ok((header(host), bytes.len())));
            for cut in 0..bytes.len() {
                assert_eq!(Header::parse(&bytes[..cut]), Err(NoHeader::Damaged), "{cut}");
            }
            for bit in 0..bytes.len() * 8 {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(Header::parse(&bytes).is_err(), "{bit}");
            }
        }
    }

    #[test]
    fn another_version_is_known_as_such_whatever_follows() {
        let bytes = [&MAGIC[..], &[1, 2], b"who knows"].concat();
        assert_eq!(Header::parse(&bytes), Err(NoHeader::Version(0x0102)));
    }

    #[test]
    fn a_record_is_one_only_at_its_place_and_in_its_file() {
        let sum = |birth, at| Head { len: 3, kind: 7 }.sum(birth, at, b"abc");
        assert_eq!(sum(1, 2), sum(1, 2));
        assert_ne!(sum(1, 2), sum(1, 3));
        assert_ne!(sum(1, 2), sum(2, 2));
        let mut bytes = Vec::new();
        emit(1, 2, 7, b"abc", &mut bytes);
        assert_eq!(bytes.len(), EXTRA + 3);
        assert_eq!(bytes[HEAD + 3..], sum(1, 2));
    }
}
