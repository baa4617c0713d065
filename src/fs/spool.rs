//! The list of what would be deleted, in an unlinked file in staging: paths, and the state of each
//! object when it was listed. Memory use does not depend on its length, unless the disk has no room.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::errors::{is_want_of_room, reason};
use super::identity::{ObjectId, Seen};
use crate::name::{MAX_PATH, RelPath};
use crate::sys::fsat;
use crate::wire::bytes::{Put, Reader};
use crate::wire::manifest::FileTime;
use crate::wire::outcome::{Code, SpoolCode};

/// The bytes of a record before its path. The length of the path comes first, the code at [`CODE`].
const FIXED: usize = 2 + 4 + 1 + 2 + 5 * 8 + 2 * 12;
const CODE: usize = 2;
/// How many bytes are written or read at a time.
const CHUNK: usize = 256 << 10;
/// The offset of one record in so many is kept in memory.
const MARK_EACH: u64 = 1_024;
/// The bytes that a name takes in an answer beside its own.
const NAME_EXTRA: usize = 6;

/// An object that would be deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub path: RelPath,
    pub seen: Seen,
    /// Device and inode number of its directory.
    pub parent: ObjectId,
    /// Its directory is one that the transfer sends, so its mtime must not change.
    pub keeps_mtime: bool,
    /// How many bytes of the path are the directory that was listed.
    pub listed: u16,
    /// What became of it; a failure from the start if it cannot be deleted.
    pub code: SpoolCode,
}

/// The list, in the order of deletion.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    /// Records that are not in the file yet.
    unwritten: Vec<u8>,
    /// The length of the file.
    len: u64,
    count: u64,
    /// The offset of every [`MARK_EACH`]th record.
    marks: Vec<u64>,
    /// The file takes memory, for want of room on the disk.
    in_memory: bool,
}

impl Spool {
    /// An empty list; `file` is empty, and open for reading and writing.
    pub fn new(file: File) -> Self {
        let (unwritten, marks) = (Vec::new(), Vec::new());
        Spool { file, unwritten, len: 0, count: 0, marks, in_memory: false }
    }

    /// The same where no file can be made: what goes may be what makes room.
    ///
    /// # Errors
    /// There are no files in memory.
    pub fn in_memory() -> io::Result<Self> {
        Ok(Spool { in_memory: true, ..Spool::new(fsat::in_memory(c"makuosan-spool")?) })
    }

    /// How many records there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The memory that it takes, in bytes.
    pub fn memory(&self) -> usize {
        let file = if self.in_memory { self.len as usize } else { 0 };
        self.unwritten.capacity() + size_of_val(self.marks.as_slice()) + file
    }

    /// Appends a record.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn push(&mut self, record: &Record) -> io::Result<()> {
        if self.count % MARK_EACH == 0 {
            self.marks.push(self.len + self.unwritten.len() as u64);
        }
        emit(record, &mut self.unwritten);
        self.count += 1;
        if self.unwritten.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.file.write_all_at(&self.unwritten, self.len) {
            Err(e) if !self.in_memory && is_want_of_room(reason(&e)) => {
                self.move_to_memory()?;
                self.file.write_all_at(&self.unwritten, self.len)?;
            }
            written => written?,
        }
        self.len += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }

    fn move_to_memory(&mut self) -> io::Result<()> {
        let file = fsat::in_memory(c"makuosan-spool")?;
        let (mut at, mut chunk) = (0, vec![0; CHUNK]);
        while at < self.len {
            let want = (self.len - at).min(CHUNK as u64) as usize;
            let chunk = chunk.get_mut(..want).unwrap_or_default();
            self.file.read_exact_at(chunk, at)?;
            file.write_all_at(chunk, at)?;
            at += want as u64;
        }
        (self.file, self.in_memory) = (file, true);
        Ok(())
    }

    /// Calls `what` with each record, and stores the code that it returns.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn each(&mut self, mut what: impl FnMut(&Record) -> SpoolCode) -> io::Result<()> {
        self.pass(0, |record| (what(record), true))
    }

    /// Names and codes from record `skip` on, as many as fit into `room` bytes, but at least one; none
    /// at the end of the list.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn page(&mut self, skip: u64, room: usize) -> io::Result<Vec<(SpoolCode, RelPath)>> {
        let mut names = Vec::new();
        if skip >= self.count {
            return Ok(names);
        }
        let at = (skip / MARK_EACH) as usize;
        let start = self.marks.get(at).copied().unwrap_or(0);
        let (mut passed, mut left) = (skip % MARK_EACH, room);
        self.pass(start, |record| {
            if passed > 0 {
                passed -= 1;
                return (record.code, true);
            }
            let len = record.path.as_bytes().len() + NAME_EXTRA;
            let fits = len <= left;
            if fits || names.is_empty() {
                names.push((record.code, record.path.clone()));
            }
            left = left.saturating_sub(len);
            (record.code, fits)
        })?;
        Ok(names)
    }

    /// Calls `what` with the records from offset `at` on. It returns the code to store, and whether to
    /// continue.
    fn pass(
        &mut self,
        mut at: u64,
        mut what: impl FnMut(&Record) -> (SpoolCode, bool),
    ) -> io::Result<()> {
        self.flush()?;
        let mut chunk = vec![0; CHUNK];
        let mut more = true;
        while more && at < self.len {
            let want = (self.len - at).min(CHUNK as u64) as usize;
            let chunk = chunk.get_mut(..want).unwrap_or_default();
            self.file.read_exact_at(chunk, at)?;
            let (mut done, mut changed) = (0, false);
            while more {
                let Some((record, len)) = parse(chunk.get(done..).unwrap_or(&[])) else { break };
                let (code, on) = what(&record);
                if code != record.code {
                    let room = chunk.get_mut(done + CODE..done + CODE + 4);
                    room.unwrap_or_default().copy_from_slice(&code.number().to_be_bytes());
                    changed = true;
                }
                (done, more) = (done + len, on);
            }
            if done == 0 {
                return Err(io::Error::from_raw_os_error(libc::EIO)); // the file was damaged
            }
            if changed {
                self.file.write_all_at(chunk.get(..done).unwrap_or(&[]), at)?;
            }
            at += done as u64;
        }
        Ok(())
    }
}

/// Appends the bytes of a record.
pub(super) fn emit(record: &Record, out: &mut Vec<u8>) {
    let Record { path, seen, parent, keeps_mtime, listed, code } = record;
    out.put_u16(path.as_bytes().len() as u16);
    out.put_u32(code.number());
    let flags = [seen.is_dir, seen.has_more_names, *keeps_mtime];
    out.push(flags.iter().rev().fold(0, |all, &flag| all << 1 | u8::from(flag)));
    out.put_u16(*listed);
    for number in [parent.dev, parent.ino, seen.dev, seen.ino, seen.size] {
        out.put_u64(number);
    }
    for stamp in [seen.mtime, seen.ctime] {
        out.put_u64(stamp.secs as u64);
        out.put_u32(stamp.nanos);
    }
    out.extend_from_slice(path.as_bytes());
}

/// The first record in `bytes`, and its length. None if it is incomplete or not valid.
pub(super) fn parse(bytes: &[u8]) -> Option<(Record, usize)> {
    let mut reader = Reader::new(bytes);
    let len = usize::from(reader.u16().ok()?);
    let code = SpoolCode::from_number(reader.u32().ok()?).ok()?;
    let flags = reader.u8().ok()?;
    let listed = reader.u16().ok()?;
    let parent = ObjectId { dev: reader.u64().ok()?, ino: reader.u64().ok()? };
    let (dev, ino, size) = (reader.u64().ok()?, reader.u64().ok()?, reader.u64().ok()?);
    let mut stamp =
        || Some(FileTime { secs: reader.u64().ok()? as i64, nanos: reader.u32().ok()? });
    let (mtime, ctime) = (stamp()?, stamp()?);
    let path = RelPath::parse_or_base(reader.take(len.min(MAX_PATH)).ok()?).ok()?;
    let flag = |bit: u8| flags >> bit & 1 != 0;
    let seen = Seen { is_dir: flag(0), has_more_names: flag(1), dev, ino, size, mtime, ctime };
    Some((Record { path, seen, parent, keeps_mtime: flag(2), listed, code }, FIXED + len))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::wire::outcome::Reason;

    fn record(number: u64, len: usize) -> Record {
        let name = format!("{number}-{}", "x".repeat(250));
        let name = vec![name.as_str(); len / name.len() + 1].join("/");
        let path = path(name[..len.max(8)].trim_end_matches('/'));
        let seen = Seen {
            is_dir: number % 2 == 0,
            has_more_names: number % 3 == 0,
            dev: number,
            ino: u64::MAX - number,
            size: number << 33,
            mtime: FileTime { secs: -(number as i64), nanos: 999_999_999 },
            ctime: FileTime { secs: i64::MAX, nanos: number as u32 },
        };
        let codes = [
            SpoolCode::Spooled,
            SpoolCode::Failed(Reason::Os(13)),
            SpoolCode::Failed(Reason::LinkInPath),
        ];
        Record {
            path,
            seen,
            parent: ObjectId { dev: number + 1, ino: number + 2 },
            keeps_mtime: number % 5 == 0,
            listed: number as u16,
            code: codes[number as usize % 3],
        }
    }

    fn spool(temp: &TempDir) -> Spool {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create_new(true);
        Spool::new(options.open(temp.join("spool")).unwrap())
    }

    #[test]
    fn records_come_back_in_order_and_keep_their_new_codes() {
        let temp = TempDir::new("spool");
        let mut spool = spool(&temp);
        let all: Vec<Record> =
            (0..5_000).map(|n| record(n, [20, 300, 4_095][n as usize % 97 % 3])).collect();
        for record in &all {
            spool.push(record).unwrap();
        }
        assert_eq!(spool.count(), 5_000);
        let mut seen = Vec::new();
        let changed = |record: &Record| match record.code {
            SpoolCode::Spooled if record.seen.dev % 7 == 0 => SpoolCode::Kept,
            code => code,
        };
        spool
            .each(|record| {
                seen.push(record.clone());
                changed(record)
            })
            .unwrap();
        assert!(seen == all);
        let mut paged = Vec::new();
        let mut room = 0;
        loop {
            room = (room + 997) % 20_000;
            let page = spool.page(paged.len() as u64, room).unwrap();
            if page.is_empty() {
                break;
            }
            let took: usize = page.iter().map(|(_, path)| path.as_bytes().len() + 6).sum();
            assert!(took <= room || page.len() == 1, "{took} {room}");
            // What fits is there.
            if let Some(next) = all.get(paged.len() + page.len()) {
                assert!(took + next.path.as_bytes().len() + 6 > room);
            }
            paged.extend(page);
        }
        let want: Vec<(SpoolCode, RelPath)> =
            all.iter().map(|record| (changed(record), record.path.clone())).collect();
        assert!(paged == want);
        assert!(spool.page(5_000, 9_999).unwrap().is_empty());
        assert!(spool.page(u64::MAX, 9_999).unwrap().is_empty());
    }

    #[test]
    fn an_empty_spool_has_nothing() {
        let temp = TempDir::new("empty");
        let mut spool = spool(&temp);
        spool.each(|_| panic!()).unwrap();
        assert!(spool.page(0, 9_999).unwrap().is_empty());
    }
}
