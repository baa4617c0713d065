//! The list of what a transaction does, in the order in which it is done. It is written and read in pieces, so that
//! it takes the same memory however long it is.
//!
//! An operation is a byte that says which, what belongs to it, and its path: how many bytes that shares with the one
//! before (varint), and the rest (counted). Slots are in places, which are told once, before they are used.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use md5::{Digest as _, Md5};

use crate::fs::spool::{self, Record};
use crate::name::{MAX_PATH, RelPath};
use crate::wire::bytes::{Put, Reader};
use crate::wire::manifest::{Digest, Entry, FileTime, Kind};

/// How many bytes are written or read at a time.
const CHUNK: usize = 128 << 10;
/// No operation has more bytes.
const MOST: usize = 2 * MAX_PATH + 256;

const PLACE: u8 = 1;
const PUT: u8 = 2;
const ATTRIBUTES: u8 = 3;
const CLOSE: u8 = 4;
const DELETE: u8 = 5;
const MAKE: u8 = 6;

/// A slot: the number of its place in the list, and its own there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::fs) struct SlotAt {
    pub place: usize,
    pub number: u64,
}

/// Something to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::fs) enum Operation {
    /// What is in the slot, and has this inode number, gets the name.
    Put { slot: SlotAt, ino: u64, is_dir: bool, replaces: bool, path: RelPath },
    /// A directory is made; what is there and is none goes to the slot.
    Make { slot: SlotAt, path: RelPath },
    /// Something that is no directory gets other attributes, if it has not changed since `ctime`.
    Attributes { entry: Entry, ino: u64, ctime: FileTime, proven: bool },
    /// A directory gets its attributes, when all else is done. It is this one, or is made before.
    Close { entry: Entry, ino: Option<u64> },
    /// What has the name goes to the slot.
    Delete { slot: SlotAt, record: Record },
}

/// What a whole list is known by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ListId {
    /// Its length in bytes.
    pub len: u64,
    /// The MD5 digest of these.
    pub sum: Digest,
}

/// Writes a list.
#[derive(Debug)]
pub(super) struct ListWriter {
    file: File,
    unwritten: Vec<u8>,
    sum: Md5,
    len: u64,
    /// How many operations it has.
    pub count: u64,
    places: Vec<Vec<u8>>,
    path: Vec<u8>,
    /// Something could not be written.
    broken: bool,
}

impl Operation {
    /// What it is about.
    pub fn path(&self) -> &RelPath {
        match self {
            Operation::Put { path, .. } | Operation::Make { path, .. } => path,
            Operation::Attributes { entry, .. } | Operation::Close { entry, .. } => &entry.path,
            Operation::Delete { record, .. } => &record.path,
        }
    }

    /// Its slot, if it has one.
    pub fn slot(&self) -> Option<SlotAt> {
        match self {
            Operation::Put { slot, .. }
            | Operation::Make { slot, .. }
            | Operation::Delete { slot, .. } => Some(*slot),
            Operation::Attributes { .. } | Operation::Close { .. } => None,
        }
    }
}

impl ListWriter {
    /// An empty list in an empty file.
    pub fn new(file: File) -> Self {
        let (unwritten, places, path) = Default::default();
        ListWriter {
            file,
            unwritten,
            sum: Md5::new(),
            len: 0,
            count: 0,
            places,
            path,
            broken: false,
        }
    }

    /// The number of the place in the directory `path`.
    pub fn place(&mut self, path: &[u8]) -> usize {
        if let Some(at) = self.places.iter().position(|known| known == path) {
            return at;
        }
        self.unwritten.push(PLACE);
        self.unwritten.put_counted(path);
        self.places.push(path.to_vec());
        self.places.len() - 1
    }

    /// The directories of its places, by their numbers.
    pub fn places(&self) -> &[Vec<u8>] {
        &self.places
    }

    /// Adds an operation.
    ///
    /// # Errors
    /// The file cannot be written. Nothing can be added then any more.
    pub fn push(&mut self, operation: &Operation) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        emit(operation, &mut self.path, &mut self.unwritten);
        self.count += 1;
        if self.unwritten.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write_all_at(&self.unwritten, self.len);
        self.broken |= written.is_err();
        self.sum.update(&self.unwritten);
        self.len += self.unwritten.len() as u64;
        self.unwritten.clear();
        written
    }

    /// Writes the rest, and syncs it if `sync` says so: what it is known by.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(&mut self, sync: bool) -> io::Result<ListId> {
        self.flush()?;
        if self.broken {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        if sync {
            self.file.sync_all()?;
        }
        Ok(ListId { len: self.len, sum: self.sum.clone().finalize().into() })
    }

    /// The memory that it takes, in bytes.
    pub fn memory(&self) -> usize {
        self.unwritten.capacity() + self.places.iter().map(|path| 64 + path.len()).sum::<usize>()
    }
}

/// Reads a list.
#[derive(Debug)]
pub(super) struct ListReader {
    file: File,
    left: u64,
    at: u64,
    chunk: Vec<u8>,
    done: usize,
    path: Vec<u8>,
    /// The places that were told, by their numbers: the directory that each is in.
    pub places: Vec<Vec<u8>>,
}

impl ListReader {
    /// Reads the list in `file` from its beginning.
    pub fn new(file: File, id: ListId) -> Self {
        let (chunk, path, places) = Default::default();
        ListReader { file, left: id.len, at: 0, chunk, done: 0, path, places }
    }

    /// The next operation; none at the end.
    ///
    /// # Errors
    /// The file cannot be read, or is not what was written.
    pub fn next(&mut self) -> io::Result<Option<Operation>> {
        loop {
            let rest = self.chunk.get(self.done..).unwrap_or_default();
            if rest.len() < MOST && self.left > 0 {
                self.fill()?;
                continue;
            }
            if rest.is_empty() {
                return Ok(None);
            }
            let mut reader = Reader::new(rest);
            let read = parse(&mut reader, &mut self.path, &mut self.places);
            self.done += rest.len() - reader.rest().len();
            match read.ok_or_else(damaged)? {
                None => {}
                operation => return Ok(operation),
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.chunk.drain(..self.done);
        self.done = 0;
        let (had, more) = (self.chunk.len(), self.left.min(CHUNK as u64) as usize);
        self.chunk.resize(had + more, 0);
        self.file.read_exact_at(self.chunk.get_mut(had..).unwrap_or_default(), self.at)?;
        (self.at, self.left) = (self.at + more as u64, self.left - more as u64);
        Ok(())
    }
}

/// Checks that the list in `file` is all there.
///
/// # Errors
/// It cannot be read, or is not what was written.
pub(super) fn check(file: &File, id: ListId) -> io::Result<()> {
    let (mut at, mut sum, mut chunk) = (0, Md5::new(), vec![0; CHUNK]);
    while at < id.len {
        let want = (id.len - at).min(CHUNK as u64) as usize;
        let piece = chunk.get_mut(..want).unwrap_or_default();
        file.read_exact_at(piece, at)?;
        sum.update(piece);
        at += want as u64;
    }
    let found: Digest = sum.finalize().into();
    if found == id.sum { Ok(()) } else { Err(damaged()) }
}

fn damaged() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADMSG)
}

fn emit(operation: &Operation, last: &mut Vec<u8>, out: &mut Vec<u8>) {
    let put_slot = |slot: &SlotAt, out: &mut Vec<u8>| {
        out.put_varint(slot.place as u64);
        out.put_varint(slot.number);
    };
    let path = match operation {
        Operation::Put { slot, ino, is_dir, replaces, path } => {
            out.push(PUT);
            put_slot(slot, out);
            out.put_varint(*ino);
            out.push(u8::from(*is_dir) | u8::from(*replaces) << 1);
            path
        }
        Operation::Make { slot, path } => {
            out.push(MAKE);
            put_slot(slot, out);
            path
        }
        Operation::Attributes { entry, ino, ctime, proven } => {
            out.push(ATTRIBUTES);
            put_entry(entry, out);
            out.put_varint(*ino);
            put_time(*ctime, out);
            out.push(u8::from(*proven));
            &entry.path
        }
        Operation::Close { entry, ino } => {
            out.push(CLOSE);
            put_entry(entry, out);
            // There is no inode 0.
            out.put_varint(ino.unwrap_or(0));
            &entry.path
        }
        Operation::Delete { slot, record } => {
            out.push(DELETE);
            put_slot(slot, out);
            return spool::emit(record, out);
        }
    };
    let path = path.as_bytes();
    let shared = last.iter().zip(path).take_while(|(one, other)| one == other).count();
    out.put_varint(shared as u64);
    out.put_counted(path.get(shared..).unwrap_or_default());
    last.truncate(shared);
    last.extend_from_slice(path.get(shared..).unwrap_or_default());
}

/// The next operation, or None if that was a place. Nothing if it is damaged.
fn parse(
    reader: &mut Reader<'_>,
    last: &mut Vec<u8>,
    places: &mut Vec<Vec<u8>>,
) -> Option<Option<Operation>> {
    let slot = |reader: &mut Reader<'_>| {
        let place = usize::try_from(reader.varint().ok()?).ok()?;
        let number = reader.varint().ok()?;
        (place < places.len()).then_some(SlotAt { place, number })
    };
    let mut path = |reader: &mut Reader<'_>| {
        let shared = usize::try_from(reader.varint().ok()?).ok()?;
        let rest = reader.counted(MAX_PATH).ok()?;
        if shared > last.len() {
            return None;
        }
        last.truncate(shared);
        last.extend_from_slice(rest);
        RelPath::parse(last).ok()
    };
    let operation = match reader.u8().ok()? {
        PLACE => {
            places.push(reader.counted(MAX_PATH).ok()?.to_vec());
            return Some(None);
        }
        PUT => {
            let (slot, ino) = (slot(reader)?, reader.varint().ok()?);
            let flags = reader.u8().ok()?;
            let (is_dir, replaces) = (flags & 1 != 0, flags & 2 != 0);
            Operation::Put { slot, ino, is_dir, replaces, path: path(reader)? }
        }
        MAKE => Operation::Make { slot: slot(reader)?, path: path(reader)? },
        ATTRIBUTES => {
            let (entry, ino) = (entry(reader)?, reader.varint().ok()?);
            let (ctime, proven) = (time(reader)?, reader.u8().ok()? != 0);
            let entry = Entry { path: path(reader)?, ..entry };
            Operation::Attributes { entry, ino, ctime, proven }
        }
        CLOSE => {
            let (entry, ino) = (entry(reader)?, reader.varint().ok()?);
            let entry = Entry { path: path(reader)?, ..entry };
            Operation::Close { entry, ino: (ino != 0).then_some(ino) }
        }
        DELETE => {
            let slot = slot(reader)?;
            let (record, len) = spool::parse(reader.rest())?;
            reader.take(len).ok()?;
            Operation::Delete { slot, record }
        }
        _ => return None,
    };
    Some(Some(operation))
}

fn put_time(time: FileTime, out: &mut Vec<u8>) {
    out.put_u64(time.secs as u64);
    out.put_u32(time.nanos);
}

fn time(reader: &mut Reader<'_>) -> Option<FileTime> {
    Some(FileTime { secs: reader.u64().ok()? as i64, nanos: reader.u32().ok()? })
}

/// The kinds of what gets attributes; what else each has does not matter for that.
const KINDS: [Kind; 6] = [
    Kind::Open,
    Kind::File { size: 0, data: None },
    Kind::Symlink(Vec::new()),
    Kind::Fifo,
    Kind::Char(0, 0),
    Kind::Block(0, 0),
];

fn put_entry(entry: &Entry, out: &mut Vec<u8>) {
    let kind = match entry.kind {
        Kind::File { .. } => 1,
        Kind::Symlink(_) => 2,
        Kind::Fifo => 3,
        Kind::Char(..) => 4,
        Kind::Block(..) => 5,
        _ => 0,
    };
    out.push(kind);
    for number in [entry.mode, entry.uid, entry.gid] {
        out.put_varint(number.into());
    }
    put_time(entry.mtime, out);
}

/// An entry without its path.
fn entry(reader: &mut Reader<'_>) -> Option<Entry> {
    let kind = KINDS.get(usize::from(reader.u8().ok()?))?.clone();
    let mut number = || reader.varint32().ok();
    let (mode, uid, gid) = (number()?, number()?, number()?);
    Some(Entry { path: RelPath::base(), kind, mode, uid, gid, mtime: time(reader)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::identity::{ObjectId, Seen};
    use crate::fs::testing::*;
    use crate::wire::outcome::SpoolCode;

    fn entry(name: &str, kind: Kind) -> Entry {
        let mtime = FileTime { secs: -5, nanos: 999_999_999 };
        Entry { path: path(name), kind, mode: 0o7777, uid: u32::MAX, gid: 7, mtime }
    }

    #[test]
    fn operations_come_back_in_order_and_damage_is_found() {
        let temp = TempDir::new("list");
        temp.write("l", "");
        let open = || std::fs::OpenOptions::new().read(true).write(true).open(temp.join("l"));
        let mut writer = ListWriter::new(open().unwrap());
        let long = format!("{}x", format!("{}/", "l".repeat(255)).repeat(15));
        let mut all = Vec::new();
        for at in 0..3_000u64 {
            let name = if at % 500 == 7 { long.clone() } else { format!("d{}/{at}", at / 9) };
            let place = writer.place(format!("m{}", at % 3).as_bytes());
            let slot = SlotAt { place, number: at << 20 };
            let seen = Seen { is_dir: true, ino: at, ..Seen::default() };
            let (ctime, parent) = (FileTime { secs: 1 << 40, nanos: 1 }, ObjectId::default());
            let code = SpoolCode::Spooled;
            let (keeps_mtime, listed) = (true, 1);
            let of = |kind| entry(&name, kind);
            let operation = match at % 5 {
                0 => Operation::Put {
                    slot,
                    ino: u64::MAX - at,
                    is_dir: at % 8 == 0,
                    replaces: at % 3 == 0,
                    path: path(&name),
                },
                1 => Operation::Attributes {
                    entry: of(KINDS[at as usize % 6].clone()),
                    ino: at,
                    ctime,
                    proven: at % 3 == 0,
                },
                2 => Operation::Close { entry: of(Kind::Open), ino: (at % 3 == 0).then_some(at) },
                3 => Operation::Make { slot, path: path(&name) },
                _ => {
                    let path = path(&name);
                    let record = Record { path, seen, parent, keeps_mtime, listed, code };
                    Operation::Delete { slot, record }
                }
            };
            writer.push(&operation).unwrap();
            all.push(operation);
        }
        let id = writer.finish(true).unwrap();
        assert!(writer.memory() < 4 * CHUNK);
        check(&open().unwrap(), id).unwrap();
        let mut reader = ListReader::new(open().unwrap(), id);
        for operation in &all {
            assert_eq!(reader.next().unwrap().as_ref(), Some(operation));
        }
        assert_eq!(reader.next().unwrap(), None);
        assert_eq!(reader.places, [b"m0", b"m1", b"m2"]);
        open().unwrap().write_all_at(&[0xff], id.len / 2).unwrap();
        assert!(check(&open().unwrap(), id).is_err());
        open().unwrap().set_len(id.len - 1).unwrap();
        assert!(check(&open().unwrap(), id).is_err());
    }
}
