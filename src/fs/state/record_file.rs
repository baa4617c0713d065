//! A file of records, which is only appended to, until it is written anew with what is still of use.
//!
//! Whatever becomes of the process or the machine, the records that were synced are there at the next
//! start, and of all others a beginning in their order: a record that is incomplete or damaged ends the file.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};

use super::dir::StateDir;
use super::error::StateError;
use super::record::{self, EXTRA, FromPlace, Header, MAX_HEADER, NoHeader};
use crate::name::HostName;

/// How much is read or written at a time.
const CHUNK: usize = 64 << 10;

/// How large a file of records may become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The most bytes of the file.
    pub file: u64,
    /// The most bytes of a record's payload.
    pub record: u32,
}

/// What was there when a file of records was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// Nothing: the file is new.
    New,
    /// Records, all of them whole.
    Whole,
    /// Records, and after them this many bytes that are damaged, incomplete, or beyond the bound. They
    /// were cut off.
    Cut(u64),
    /// The file cannot be used here. It was set aside, in the place of any set aside before, and this one
    /// is new.
    SetAside(Aside),
}

/// Why a file was set aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Aside {
    /// It is that of a host of another name.
    OfHost(HostName),
    /// It is of this other version.
    Version(u16),
    /// Its beginning is damaged.
    Damaged,
}

/// An open file of records.
#[derive(Debug)]
pub struct RecordFile {
    dir: StateDir,
    name: Vec<u8>,
    limits: Limits,
    header: Header,
    file: File,
    /// Where the last whole record ends.
    len: u64,
    /// There may be something after it, of a record that could not be written.
    torn: bool,
    /// Whether its name was synced.
    is_name_synced: bool,
}

impl RecordFile {
    /// Opens the file `name` in `dir`, or makes it, for the host of this name. A new one is born at
    /// `birth`. Calls `each` with the place, the kind and the payload of each record.
    ///
    /// # Errors
    /// It cannot be read, written, or set aside.
    pub fn open(
        dir: &StateDir,
        name: &[u8],
        host: &HostName,
        birth: u64,
        limits: Limits,
        mut each: impl FnMut(u64, u8, &[u8]),
    ) -> Result<(Self, Found), StateError> {
        let whose = |theirs: &HostName| theirs == host;
        RecordFile::open_of(dir, name, host, birth, limits, whose, &mut each)
    }

    /// As [`RecordFile::open`], but takes up that of any host: see [`RecordFile::host`].
    ///
    /// # Errors
    /// As [`RecordFile::open`].
    pub fn open_of_any(
        dir: &StateDir,
        name: &[u8],
        host: &HostName,
        birth: u64,
        limits: Limits,
        mut each: impl FnMut(u64, u8, &[u8]),
    ) -> Result<(Self, Found), StateError> {
        RecordFile::open_of(dir, name, host, birth, limits, |_| true, &mut each)
    }

    fn open_of(
        dir: &StateDir,
        name: &[u8],
        host: &HostName,
        birth: u64,
        limits: Limits,
        is_fine: impl FnOnce(&HostName) -> bool,
        each: &mut dyn FnMut(u64, u8, &[u8]),
    ) -> Result<(Self, Found), StateError> {
        dir.check(name)?;
        let new = Header { birth, host: host.clone() };
        let Some(mut file) = dir.open_file(name, libc::O_RDWR)? else {
            return Ok((RecordFile::create(dir, name, new, limits)?, Found::New));
        };
        let mut start = Vec::new();
        let read = (&mut file).take(MAX_HEADER as u64).read_to_end(&mut start);
        read.map_err(dir.fail(name))?;
        let aside = match Header::parse(&start) {
            Ok((header, len)) if is_fine(&header.host) => {
                return RecordFile::read(dir, name, file, header, len as u64, limits, each);
            }
            Ok((header, _)) => Aside::OfHost(header.host),
            Err(NoHeader::Version(version)) => Aside::Version(version),
            Err(NoHeader::Damaged) => Aside::Damaged,
        };
        // An empty one is all that a power cut may leave of one just made.
        let found = if start.is_empty() { Found::New } else { Found::SetAside(aside) };
        if found != Found::New {
            dir.set_aside(name)?;
        }
        Ok((RecordFile::create(dir, name, new, limits)?, found))
    }

    fn create(
        dir: &StateDir,
        name: &[u8],
        header: Header,
        limits: Limits,
    ) -> Result<Self, StateError> {
        let mut file = dir.begin(name)?;
        let bytes = header.emit();
        let written = file.write_all(&bytes).map_err(dir.fail(name));
        written.and_then(|()| dir.complete(name)).inspect_err(|_| dir.abandon(name))?;
        let (dir, name, len) = (dir.clone(), name.to_vec(), bytes.len() as u64);
        Ok(RecordFile { dir, name, limits, header, file, len, torn: false, is_name_synced: false })
    }

    /// Reads the records of a file, which begin at byte `at`, and cuts off what follows the last whole
    /// one.
    fn read(
        dir: &StateDir,
        name: &[u8],
        mut file: File,
        header: Header,
        mut at: u64,
        limits: Limits,
        each: &mut dyn FnMut(u64, u8, &[u8]),
    ) -> Result<(Self, Found), StateError> {
        let fail = dir.fail(name);
        let size = file.metadata().map_err(&fail)?.len();
        let end = size.min(limits.file);
        file.seek(SeekFrom::Start(at)).map_err(&fail)?;
        let mut reader = BufReader::with_capacity(CHUNK, &file);
        let mut payload = Vec::new();
        loop {
            let left = end.saturating_sub(at);
            match record::next(&mut reader, header.birth, at, left, limits.record, &mut payload) {
                Ok(Some(kind)) => each(at, kind, &payload),
                Ok(None) => break,
                Err(e) => return Err(fail(e)),
            }
            at += (EXTRA + payload.len()) as u64;
        }
        let found = match size.saturating_sub(at) {
            0 => Found::Whole,
            more => {
                file.set_len(at).map_err(&fail)?;
                Found::Cut(more)
            }
        };
        let (dir, name) = (dir.clone(), name.to_vec());
        let is_name_synced = false;
        let len = at;
        Ok((
            RecordFile { dir, name, limits, header, file, len, torn: false, is_name_synced },
            found,
        ))
    }

    /// When it was born: what happened before that, it does not know.
    pub fn birth(&self) -> u64 {
        self.header.birth
    }

    /// The name of the host that it belongs to.
    pub fn host(&self) -> &HostName {
        &self.header.host
    }

    /// From when it is written anew on, it is that of the host of this name.
    pub fn set_host(&mut self, host: &HostName) {
        self.header.host = host.clone();
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.len
    }

    /// Appends a record; its place. It lasts if the process ends; for the end of the machine, see
    /// [`RecordFile::sync`].
    ///
    /// # Errors
    /// [`StateError::TooLarge`] if it would exceed the [`Limits`]; [`StateError::Gone`] if the file was
    /// removed; it cannot be written. Nothing was appended then.
    pub fn append(&mut self, kind: u8, payload: &[u8]) -> Result<u64, StateError> {
        fits(&self.dir, &self.name, self.limits, self.len, payload)?;
        let fail = self.dir.fail(&self.name);
        if self.file.metadata().map_err(&fail)?.nlink() == 0 {
            return Err(StateError::Gone(self.dir.join(&self.name)));
        }
        if self.torn {
            self.file.set_len(self.len).map_err(&fail)?;
            self.torn = false;
        }
        let mut bytes = Vec::with_capacity(EXTRA + payload.len());
        record::emit(self.header.birth, self.len, kind, payload, &mut bytes);
        self.file.write_all_at(&bytes, self.len).map_err(|error| {
            self.torn = self.file.set_len(self.len).is_err();
            fail(error)
        })?;
        let at = self.len;
        self.len += bytes.len() as u64;
        Ok(at)
    }

    /// Reads the record at a place that [`RecordFile::append`] or [`Rewriting::append`] gave for this
    /// file: its kind and its payload.
    ///
    /// # Errors
    /// It cannot be read; [`StateError::Damaged`] if there is none.
    pub fn read_at(&self, at: u64) -> Result<(u8, Vec<u8>), StateError> {
        let mut payload = Vec::new();
        let left = self.len.saturating_sub(at);
        let mut from = FromPlace { file: &self.file, at };
        let (birth, most) = (self.header.birth, self.limits.record);
        match record::next(&mut from, birth, at, left, most, &mut payload) {
            Ok(Some(kind)) => Ok((kind, payload)),
            Ok(None) => Err(StateError::Damaged(self.dir.join(&self.name), at)),
            Err(error) => Err(self.dir.fail(&self.name)(error)),
        }
    }

    /// Waits until all that was appended is on the disk.
    ///
    /// # Errors
    /// Those of fdatasync(2).
    pub fn sync(&mut self) -> Result<(), StateError> {
        self.file.sync_data().map_err(self.dir.fail(&self.name))?;
        if !self.is_name_synced {
            self.dir.sync()?;
            self.is_name_synced = true;
        }
        Ok(())
    }

    /// Puts a new file in the place of this one, with the records that `write` gives it, and waits until
    /// it is on the disk. Until that is done the old one stays as it is.
    ///
    /// # Errors
    /// Those of `write`; the new file cannot be written.
    pub fn rewrite(
        &mut self,
        write: impl FnOnce(&mut Rewriting<'_>) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let file = self.dir.begin(&self.name)?;
        let (file, len) = self.fill(file, write).inspect_err(|_| self.dir.abandon(&self.name))?;
        (self.file, self.len, self.torn, self.is_name_synced) = (file, len, false, false);
        self.dir.sync()?;
        self.is_name_synced = true;
        Ok(())
    }

    fn fill(
        &self,
        file: File,
        write: impl FnOnce(&mut Rewriting<'_>) -> Result<(), StateError>,
    ) -> Result<(File, u64), StateError> {
        let fail = self.dir.fail(&self.name);
        let header = self.header.emit();
        let mut out = BufWriter::with_capacity(CHUNK, file);
        out.write_all(&header).map_err(&fail)?;
        let buf = Vec::new();
        let mut new = Rewriting { old: self, out, len: header.len() as u64, buf };
        write(&mut new)?;
        let len = new.len;
        let file = new.out.into_inner().map_err(|e| fail(e.into_error()))?;
        file.sync_data().map_err(&fail)?;
        self.dir.complete(&self.name)?;
        Ok((file, len))
    }
}

/// The file that will be in the place of another.
#[derive(Debug)]
pub struct Rewriting<'a> {
    old: &'a RecordFile,
    out: BufWriter<File>,
    len: u64,
    buf: Vec<u8>,
}

impl Rewriting<'_> {
    /// Appends a record.
    ///
    /// # Errors
    /// As [`RecordFile::append`].
    pub fn append(&mut self, kind: u8, payload: &[u8]) -> Result<u64, StateError> {
        let RecordFile { dir, name, limits, header, .. } = self.old;
        fits(dir, name, *limits, self.len, payload)?;
        self.buf.clear();
        record::emit(header.birth, self.len, kind, payload, &mut self.buf);
        self.out.write_all(&self.buf).map_err(dir.fail(name))?;
        let at = self.len;
        self.len += self.buf.len() as u64;
        Ok(at)
    }

    /// Appends the record that the old file has at this place.
    ///
    /// # Errors
    /// As [`RecordFile::read_at`] and [`RecordFile::append`].
    pub fn copy(&mut self, at: u64) -> Result<u64, StateError> {
        let (kind, payload) = self.old.read_at(at)?;
        self.append(kind, &payload)
    }
}

/// Checks that a record has room at byte `at` of a file.
fn fits(
    dir: &StateDir,
    name: &[u8],
    limits: Limits,
    at: u64,
    payload: &[u8],
) -> Result<(), StateError> {
    let end = at + (EXTRA + payload.len()) as u64;
    match payload.len() as u64 <= u64::from(limits.record) && end <= limits.file {
        true => Ok(()),
        false => Err(StateError::TooLarge(dir.join(name))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::super::record::HEAD;
    use super::super::testing::dir;
    use super::*;
    use crate::engine::rng::Rng;
    use crate::fs::testing::TempDir;

    const LIMITS: Limits = Limits { file: 64 << 20, record: 4_096 };

    type Records = Vec<(u8, Vec<u8>)>;

    fn host(name: &str) -> HostName {
        HostName::parse(name.as_bytes()).unwrap()
    }

    fn path(temp: &TempDir) -> PathBuf {
        temp.join("journal/records")
    }

    fn open(dir: &StateDir, limits: Limits) -> (RecordFile, Found, Records) {
        let mut all = Records::new();
        let each = |_, kind, payload: &[u8]| all.push((kind, payload.to_vec()));
        let (file, found) = RecordFile::open(dir, b"records", &host("h"), 9, limits, each).unwrap();
        (file, found, all)
    }

    /// Puts a file with these bytes in the place of what is there. (To be replaced or truncated, a file
    /// may first be written to the disk, which takes its time.)
    fn put(temp: &TempDir, bytes: &[u8]) {
        let _ = std::fs::remove_file(temp.join("journal/records.aside"));
        std::fs::remove_file(path(temp)).unwrap();
        std::fs::write(path(temp), bytes).unwrap();
    }

    fn some(count: u32) -> Records {
        let mut rng = Rng::new(u64::from(count));
        (0..count).map(|n| (n as u8, vec![n as u8; rng.below(40) as usize])).collect()
    }

    fn append(file: &mut RecordFile, records: &Records) {
        for (kind, payload) in records {
            let at = file.append(*kind, payload).unwrap();
            assert_eq!(file.read_at(at).unwrap(), (*kind, payload.clone()));
        }
    }

    #[test]
    fn records_come_back_in_their_order_and_more_can_follow() {
        let temp = TempDir::new("records");
        let dir = dir(&temp);
        let (mut file, found, all) = open(&dir, LIMITS);
        assert_eq!((found, all.len(), file.birth()), (Found::New, 0, 9));
        append(&mut file, &some(10));
        file.sync().unwrap();
        drop(file);
        let (mut file, found, all) = open(&dir, LIMITS);
        assert_eq!((found, &all), (Found::Whole, &some(10)));
        append(&mut file, &some(3));
        assert_eq!(file.size(), path(&temp).metadata().unwrap().len());
        let (_, found, all) = open(&dir, LIMITS);
        assert_eq!((found, all), (Found::Whole, [some(10), some(3)].concat()));
    }

    #[test]
    fn one_cut_anywhere_keeps_what_was_whole_and_goes_on() {
        let temp = TempDir::new("records-cut");
        let dir = dir(&temp);
        let (mut file, ..) = open(&dir, LIMITS);
        let start = file.size() as usize;
        let mut ends = vec![start];
        for (kind, payload) in some(12) {
            file.append(kind, &payload).unwrap();
            ends.push(file.size() as usize);
        }
        let whole = std::fs::read(path(&temp)).unwrap();
        for cut in 0..whole.len() {
            put(&temp, &whole[..cut]);
            let (mut file, found, all) = open(&dir, LIMITS);
            let kept = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
            assert_eq!(all, some(12)[..kept], "{cut}");
            let want = match cut - ends[kept].min(cut) {
                _ if cut == 0 => Found::New,
                _ if cut < start => Found::SetAside(Aside::Damaged),
                0 => Found::Whole,
                more => Found::Cut(more as u64),
            };
            assert_eq!(found, want, "{cut}");
            file.append(77, b"next").unwrap();
            let (_, found, all) = open(&dir, LIMITS);
            assert_eq!((found, all.len()), (Found::Whole, kept + 1), "{cut}");
            assert_eq!(all[kept], (77, b"next".to_vec()));
        }
    }

    #[test]
    fn one_with_any_bit_flipped_keeps_what_is_before_and_says_what_it_gave_up() {
        let temp = TempDir::new("records-flip");
        let dir = dir(&temp);
        let (mut file, ..) = open(&dir, LIMITS);
        let start = file.size() as usize;
        append(&mut file, &some(8));
        let whole = std::fs::read(path(&temp)).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            put(&temp, &flipped);
            let (file, found, all) = open(&dir, LIMITS);
            assert_eq!(all, some(8)[..all.len()], "{bit}");
            if bit / 8 < start {
                assert!(all.is_empty() && matches!(found, Found::SetAside(_)), "{bit}: {found:?}");
                assert_eq!(std::fs::read(temp.join("journal/records.aside")).unwrap(), flipped);
                continue;
            }
            let Found::Cut(more) = found else { panic!("{bit}: {found:?}") };
            assert_eq!(file.size() + more, whole.len() as u64);
            assert!(file.size() as usize <= bit / 8, "{bit}");
            // Only what follows the flip is lost.
            let next = some(8)[all.len()].1.len() + EXTRA;
            assert!(file.size() as usize + next > bit / 8, "{bit}");
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic() {
        let temp = TempDir::new("records-any");
        let dir = dir(&temp);
        let (file, ..) = open(&dir, LIMITS);
        drop(file);
        let header = std::fs::read(path(&temp)).unwrap();
        let mut rng = Rng::new(5);
        for round in 0..500 {
            let mut bytes = if round % 3 == 0 { Vec::new() } else { header.clone() };
            bytes.extend(
                (0..rng.below(200)).map(|_| rng.below(256) as u8 * (rng.below(3) > 0) as u8),
            );
            put(&temp, &bytes);
            let (_, _, all) = open(&dir, LIMITS);
            assert!(all.is_empty());
        }
    }

    #[test]
    fn that_of_another_host_or_version_is_set_aside_and_a_new_one_begun() {
        let temp = TempDir::new("records-aside");
        let dir = dir(&temp);
        let (mut file, ..) = open(&dir, LIMITS);
        append(&mut file, &some(5));
        let whole = std::fs::read(path(&temp)).unwrap();
        let each = |_, _, _: &[u8]| panic!("a record of another host");
        let other = host("other");
        let (file, found) = RecordFile::open(&dir, b"records", &other, 11, LIMITS, each).unwrap();
        assert_eq!((found, file.birth()), (Found::SetAside(Aside::OfHost(host("h"))), 11));
        assert_eq!(std::fs::read(temp.join("journal/records.aside")).unwrap(), whole);
        assert_eq!(dir.names().unwrap(), [b"records"]);
        let mut later = whole.clone();
        later[9] = 2;
        put(&temp, &later);
        let (_, found, all) = open(&dir, LIMITS);
        assert_eq!((found, all.len()), (Found::SetAside(Aside::Version(2)), 0));
        assert_eq!(std::fs::read(temp.join("journal/records.aside")).unwrap(), later);
    }

    #[test]
    fn what_it_is_rewritten_with_takes_its_place_at_once_or_not_at_all() {
        let temp = TempDir::new("records-new");
        let dir = dir(&temp);
        let (mut file, ..) = open(&dir, LIMITS);
        append(&mut file, &some(20));
        let failed = file.rewrite(|new| {
            new.append(1, b"half")?;
            Err(StateError::Gone(PathBuf::new()))
        });
        assert!(failed.is_err());
        assert_eq!(open(&dir, LIMITS).2, some(20));
        assert!(!temp.join("journal/records.new").exists());
        let mut places = Vec::new();
        file.rewrite(|new| {
            for (kind, payload) in some(4) {
                places.push(new.append(kind, &payload)?);
            }
            Ok(())
        })
        .unwrap();
        for (at, record) in places.iter().zip(some(4)) {
            assert_eq!(file.read_at(*at).unwrap(), record);
            assert!(matches!(file.read_at(*at + 1), Err(StateError::Damaged(..))));
        }
        assert_eq!(file.size(), path(&temp).metadata().unwrap().len());
        append(&mut file, &some(2));
        let (file, found, all) = open(&dir, LIMITS);
        assert_eq!((found, all, file.birth()), (Found::Whole, [some(4), some(2)].concat(), 9));
    }

    #[test]
    fn no_record_and_no_file_exceeds_its_bound() {
        let temp = TempDir::new("records-bound");
        let dir = dir(&temp);
        let limits = Limits { file: 1_000, record: 100 };
        let (mut file, ..) = open(&dir, limits);
        assert!(matches!(file.append(0, &[0; 101]), Err(StateError::TooLarge(_))));
        let mut count = 0;
        while file.append(0, &[1; 100]).is_ok() {
            count += 1;
        }
        assert!(count > 3 && file.size() <= 1_000);
        let again = open(&dir, limits);
        assert_eq!((again.1, again.2.len()), (Found::Whole, count));
        // One that was written under other bounds.
        let less = Limits { file: file.size() - 1, record: 100 };
        let (_, found, all) = open(&dir, less);
        assert_eq!((found, all.len()), (Found::Cut(121), count - 1));
        let (_, found, all) = open(&dir, Limits { record: 99, ..limits });
        assert!(matches!(found, Found::Cut(_)) && all.is_empty());
    }

    #[test]
    fn one_that_was_removed_says_so_and_a_link_in_its_place_is_not_followed() {
        let temp = TempDir::new("records-gone");
        let dir = dir(&temp);
        let (mut file, ..) = open(&dir, LIMITS);
        std::fs::remove_file(path(&temp)).unwrap();
        assert!(matches!(file.append(0, b""), Err(StateError::Gone(at)) if at == path(&temp)));
        temp.write("elsewhere", "precious");
        symlink("../elsewhere", path(&temp)).unwrap();
        let opened = RecordFile::open(&dir, b"records", &host("h"), 9, LIMITS, |_, _, _| {});
        assert_eq!(opened.unwrap_err().errno(), Some(libc::ELOOP));
        assert_eq!(std::fs::read(temp.join("elsewhere")).unwrap(), b"precious");
    }

    #[test]
    fn what_a_record_was_chosen_to_hold_is_not_taken_for_records() {
        let temp = TempDir::new("records-chosen");
        let dir = dir(&temp);
        let (mut file, ..) = open(&dir, LIMITS);
        let mut inner = Vec::new();
        record::emit(0, 0, 66, b"forged", &mut inner);
        file.append(1, &inner).unwrap();
        let end = file.size() as usize;
        let mut bytes = std::fs::read(path(&temp)).unwrap();
        // Its head is lost, and what it holds moves to where a record begins.
        bytes.drain(end - inner.len() - EXTRA..end - inner.len() - EXTRA + HEAD);
        put(&temp, &bytes);
        let (_, found, all) = open(&dir, LIMITS);
        assert!(all.is_empty() && matches!(found, Found::Cut(_)), "{all:?}");
    }

    #[test]
    fn as_many_as_a_journal_may_have_are_written_anew_and_read() {
        let temp = TempDir::new("records-many");
        let dir = dir(&temp);
        let (mut file, ..) = open(&dir, LIMITS);
        let payload = [7; 150];
        file.rewrite(|new| (0..65_536).try_for_each(|n| new.append(n as u8, &payload).map(drop)))
            .unwrap();
        let mut count = 0;
        let each = |_, _, read: &[u8]| count += usize::from(read == payload);
        let (_, found) = RecordFile::open(&dir, b"records", &host("h"), 9, LIMITS, each).unwrap();
        assert_eq!((found, count), (Found::Whole, 65_536));
    }
}
