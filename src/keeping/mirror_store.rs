//! What is kept on disk of a mirrored tree: a snapshot of its index, and after it, in the same file, the log of what has
//! changed since. So a log never follows another snapshot than its own.
//!
//! A file is, after its header, either blocks of [`Packed`] and an end that counts their entries and has the head of the
//! index, and then the log; or, as long as no snapshot was written, the log alone.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::fs::state::dir::StateDir;
use crate::fs::state::error::StateError;
use crate::fs::state::record_file::{self, Aside, Limits, RecordFile};
use crate::fs::state::root_id::tree_name;
use crate::mirror::packed::Packed;
use crate::name::{HostName, RelPath};
use crate::wire::bytes::{Put, Reader};

/// What a file may become.
const LIMITS: Limits = Limits { file: 1 << 36, record: 8 << 20 };
/// How many bytes are appended to the log at once, about.
const PIECE: usize = 1 << 20;
/// The most bytes that wait to be written, of what could not be.
const MOST_PENDING: usize = 4 << 20;
/// The log is rolled into a new snapshot when it is larger than this and than half of the snapshot.
const LEAST: u64 = 16 << 20;

const BLOCK: u8 = 1;
const END: u8 = 2;
const LOG: u8 = 3;

/// The file of one tree.
#[derive(Debug)]
pub struct MirrorStore {
    file: RecordFile,
    path: PathBuf,
    /// It is rolled when it is larger.
    due: u64,
    /// What was to be appended and could not be.
    pending: Vec<u8>,
    /// The error after which the log has not all that was appended.
    broken: Option<i32>,
}

/// What there was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// Nothing was written. If there is a [`RootId`] of the tree, its index is missing.
    ///
    /// [`RootId`]: crate::fs::state::root_id::RootId
    New,
    /// All that was written.
    Whole,
    /// All that was written up to some moment, and after that so many bytes that are damaged or incomplete. They were
    /// cut off. What came after that moment may have left this host.
    Cut(u64),
    /// Something that cannot be used: it was set aside, and there is nothing now.
    Lost(Aside),
}

/// What is kept of a tree, as it was found.
#[derive(Debug)]
pub struct Opened {
    /// For what is to come.
    pub store: MirrorStore,
    /// What there was.
    pub found: Found,
    /// The host that it is of, if that is another one: this one was renamed, or its disk is a copy.
    pub other_host: Option<HostName>,
    /// The head of the snapshot; None if there is no snapshot.
    pub head: Option<Vec<u8>>,
    /// The entries of the snapshot.
    pub entries: Packed,
    /// The log: what was appended since the snapshot, in its order.
    pub records: Vec<Vec<u8>>,
}

/// What is read of a file.
#[derive(Default)]
struct Reading {
    head: Option<Vec<u8>>,
    entries: Packed,
    records: Vec<Vec<u8>>,
    snapshot: u64,
    has_log: bool,
    is_bad: bool,
}

impl Reading {
    fn record(&mut self, at: u64, kind: u8, payload: &[u8]) {
        let is_fine = match kind {
            BLOCK if self.head.is_none() && !self.has_log => {
                self.entries.push_block(payload).is_ok()
            }
            END if self.head.is_none() && !self.has_log => self.end(at, payload).is_some(),
            LOG if self.head.is_some() || self.entries.is_empty() => {
                self.has_log = true;
                self.log(payload).is_some()
            }
            _ => false,
        };
        self.is_bad |= !is_fine;
    }

    fn end(&mut self, at: u64, payload: &[u8]) -> Option<()> {
        let mut reader = Reader::new(payload);
        let is_all = reader.varint().ok()? == self.entries.len() as u64;
        (self.head, self.snapshot) = (Some(reader.rest().to_vec()), at);
        is_all.then_some(())
    }

    fn log(&mut self, payload: &[u8]) -> Option<()> {
        let mut reader = Reader::new(payload);
        while !reader.rest().is_empty() {
            self.records.push(reader.counted(payload.len()).ok()?.to_vec());
        }
        Some(())
    }

    /// What was found, if the file was found like this.
    fn found(&self, found: &record_file::Found) -> Found {
        let is_empty = self.head.is_none() && self.entries.is_empty() && !self.has_log;
        let is_whole = self.head.is_some() || self.entries.is_empty();
        match found {
            record_file::Found::SetAside(why) => Found::Lost(why.clone()),
            _ if self.is_bad || !is_whole => Found::Lost(Aside::Damaged),
            record_file::Found::New => Found::New,
            record_file::Found::Whole if is_empty => Found::New,
            record_file::Found::Whole => Found::Whole,
            // It may have been the snapshot.
            record_file::Found::Cut(_) if is_empty => Found::Lost(Aside::Damaged),
            record_file::Found::Cut(bytes) => Found::Cut(*bytes),
        }
    }
}

impl MirrorStore {
    /// Takes up what is in `dir` of a tree, for the host of this name. `id` is a number drawn at random, for one that is
    /// new.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn open(
        dir: &StateDir,
        tree: &RelPath,
        host: &HostName,
        id: u64,
    ) -> Result<Opened, StateError> {
        let name = tree_name(tree, ".index");
        let mut read = Reading::default();
        let each = |at, kind, payload: &[u8]| read.record(at, kind, payload);
        let (mut file, was) = RecordFile::open_of_any(dir, &name, host, id, LIMITS, each)?;
        let found = read.found(&was);
        if matches!(found, Found::Lost(_)) {
            read = Reading::default();
            if !matches!(was, record_file::Found::SetAside(_)) {
                dir.set_aside(&name)?;
                (file, _) = RecordFile::open(dir, &name, host, id, LIMITS, |_, _, _| {})?;
            }
        }
        let other_host = Some(file.host().clone()).filter(|theirs| theirs != host);
        file.set_host(host);
        let Reading { head, entries, records, snapshot, .. } = read;
        let due = if other_host.is_none() { due(snapshot) } else { 0 };
        let path = dir.path().join(OsStr::from_bytes(&name));
        let store = MirrorStore { file, path, due, pending: Vec::new(), broken: None };
        Ok(Opened { store, found, other_host, head, entries, records })
    }

    /// The number that it has as long as it is there.
    pub fn id(&self) -> u64 {
        self.file.birth()
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.file.size()
    }

    /// Appends records to the log. They last if the process ends; for the end of the machine, see
    /// [`MirrorStore::sync`].
    ///
    /// # Errors
    /// They cannot be written. They are written with the next ones, or when it is synced or rolled.
    pub fn append<T: AsRef<[u8]>>(
        &mut self,
        records: impl IntoIterator<Item = T>,
    ) -> Result<(), StateError> {
        let mut done = Ok(());
        for record in records {
            self.pending.put_counted(record.as_ref());
            if self.pending.len() >= PIECE && done.is_ok() {
                done = self.flush();
            }
        }
        done.and_then(|()| self.flush())
    }

    fn flush(&mut self) -> Result<(), StateError> {
        if let Some(errno) = self.broken {
            return Err(StateError::Io(self.path.clone(), io::Error::from_raw_os_error(errno)));
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.file.append(LOG, &self.pending) {
            if self.pending.len() > MOST_PENDING {
                self.give_up(&error);
            }
            return Err(error);
        }
        self.pending.clear();
        Ok(())
    }

    fn give_up(&mut self, error: &StateError) {
        self.pending = Vec::new();
        self.broken = Some(error.errno().unwrap_or(libc::EIO));
    }

    /// Waits until all that was appended is on the disk.
    ///
    /// # Errors
    /// It cannot be written, or those of fdatasync(2): some of it may be lost then though it can be read, and only
    /// [`MirrorStore::roll`] mends that.
    pub fn sync(&mut self) -> Result<(), StateError> {
        self.flush()?;
        let synced = self.file.sync();
        synced.inspect_err(|error| self.give_up(error))
    }

    /// Whether it should be rolled: the log is large, or cannot be mended otherwise, or the file is still that of a host
    /// of another name.
    pub fn is_due(&self) -> bool {
        self.file.size() > self.due || self.broken.is_some()
    }

    /// Writes all anew, as a snapshot without a log, and waits until it is on the disk. Until then what was there stays
    /// as it is. `head` and `entries` have all that was appended.
    ///
    /// # Errors
    /// It cannot be written; it is due again when the log has grown by as much as a log may have.
    pub fn roll(&mut self, head: &[u8], entries: &Packed) -> Result<(), StateError> {
        self.due = self.file.size() + LEAST;
        let mut snapshot = 0;
        self.file.rewrite(|new| {
            entries.blocks().try_for_each(|block| new.append(BLOCK, block).map(drop))?;
            let mut end = Vec::new();
            end.put_varint(entries.len() as u64);
            end.extend_from_slice(head);
            snapshot = new.append(END, &end)?;
            Ok(())
        })?;
        (self.due, self.broken) = (due(snapshot), None);
        self.pending.clear();
        Ok(())
    }
}

/// How large a file may become that has so many bytes of a snapshot.
fn due(snapshot: u64) -> u64 {
    snapshot + LEAST.max(snapshot / 2)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::engine::rng::Rng;
    use crate::fs::state::dir::Keeps;
    use crate::fs::state::testing::dir_that;
    use crate::fs::testing::{TempDir, is_in_namespace, mount_tmpfs, path};

    fn host(name: &str) -> HostName {
        HostName::parse(name.as_bytes()).unwrap()
    }

    fn open(dir: &StateDir) -> Opened {
        MirrorStore::open(dir, &path("srv/www"), &host("h"), 77).unwrap()
    }

    fn file(temp: &Path) -> PathBuf {
        let name = tree_name(&path("srv/www"), ".index");
        temp.join("mirror").join(OsStr::from_bytes(&name))
    }

    /// Puts a file with these bytes in the place of what is there.
    fn put(temp: &TempDir, bytes: &[u8]) {
        let _ = std::fs::remove_file(file(temp.path()));
        std::fs::write(file(temp.path()), bytes).unwrap();
    }

    fn records(from: u32, count: u32) -> Vec<Vec<u8>> {
        (from..from + count)
            .map(|n| format!("record {n}{}", "x".repeat(n as usize % 9)).into())
            .collect()
    }

    fn entries(count: u32) -> Packed {
        let mut packed = Packed::default();
        for n in 0..count {
            packed.insert(format!("dir-{}/file-{n:05}", n / 70).as_bytes(), &[n as u8; 40]);
        }
        packed
    }

    fn all(packed: &Packed) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut entries = packed.entries();
        let mut all = BTreeMap::new();
        while let Some((path, value)) = entries.next_entry() {
            all.insert(path.to_vec(), value.to_vec());
        }
        all
    }

    /// What is there: how it was found, the head, how many entries, and the log.
    fn gist(opened: &Opened) -> (Found, Option<&[u8]>, usize, &[Vec<u8>]) {
        (opened.found.clone(), opened.head.as_deref(), opened.entries.len(), &opened.records)
    }

    #[test]
    fn what_was_written_comes_back_in_its_order_and_more_can_follow() {
        let temp = TempDir::new("mirror-store");
        let dir = dir_that(Keeps::Mirror, &temp);
        let Opened { mut store, found, head, .. } = open(&dir);
        assert_eq!((found, head, store.id()), (Found::New, None, 77));
        assert_eq!(open(&dir).found, Found::New, "nothing was written yet");
        store.append(records(0, 10)).unwrap();
        store.append(records(10, 1)).unwrap();
        store.sync().unwrap();
        let opened = open(&dir);
        assert_eq!(gist(&opened), (Found::Whole, None, 0, &records(0, 11)[..]));
        store.roll(b"head", &entries(500)).unwrap();
        assert!(!store.is_due());
        let opened = open(&dir);
        assert_eq!(gist(&opened), (Found::Whole, Some(&b"head"[..]), 500, &[][..]));
        assert_eq!(all(&opened.entries), all(&entries(500)));
        store.append(records(0, 3)).unwrap();
        drop(store);
        let Opened { mut store, .. } = open(&dir);
        store.append(records(3, 2)).unwrap();
        let opened = open(&dir);
        assert_eq!(gist(&opened), (Found::Whole, Some(&b"head"[..]), 500, &records(0, 5)[..]));
        // Another tree has a file of its own; there is no head that is too short.
        let mut other = MirrorStore::open(&dir, &path("srv"), &host("h"), 5).unwrap();
        assert_eq!(other.found, Found::New);
        other.store.roll(b"", &Packed::default()).unwrap();
        let other = MirrorStore::open(&dir, &path("srv"), &host("h"), 6).unwrap();
        assert_eq!(gist(&other), (Found::Whole, Some(&b""[..]), 0, &[][..]));
        assert_eq!(other.store.id(), 5);
    }

    /// The bytes of a file with a snapshot and a log, where each record of that ends, and where the log begins.
    fn with_log(temp: &TempDir, dir: &StateDir, count: u32) -> (Vec<u8>, Vec<usize>) {
        let Opened { mut store, .. } = open(dir);
        if count > 0 {
            store.roll(b"head", &entries(count)).unwrap();
        }
        let mut ends = vec![store.size() as usize];
        for record in records(0, 6) {
            store.append([record]).unwrap();
            ends.push(store.size() as usize);
        }
        (std::fs::read(file(temp.path())).unwrap(), ends)
    }

    #[test]
    fn a_log_cut_at_any_byte_is_its_beginning_and_a_cut_snapshot_is_nothing() {
        let temp = TempDir::new("mirror-cut");
        let dir = dir_that(Keeps::Mirror, &temp);
        let header = open(&dir).store.size() as usize;
        for count in [0, 130] {
            let (whole, ends) = with_log(&temp, &dir, count);
            for cut in 0..whole.len() {
                put(&temp, &whole[..cut]);
                let mut opened = open(&dir);
                let (found, head, len, log) = gist(&opened);
                let kept = ends.iter().filter(|end| **end <= cut).count();
                if kept == 0 || kept == 1 && count == 0 {
                    let is_new = cut == 0 || cut == header;
                    let want = if is_new { Found::New } else { Found::Lost(Aside::Damaged) };
                    assert_eq!((found, head, len, log), (want, None, 0, &[][..]), "{cut}");
                    assert!(cut == 0 || opened.store.id() == 77);
                } else {
                    let more = cut - ends[kept - 1];
                    let want = if more == 0 { Found::Whole } else { Found::Cut(more as u64) };
                    assert_eq!((found, len), (want, count as usize), "{cut}");
                    assert_eq!(log, &records(0, kept as u32 - 1)[..], "{cut}");
                }
                opened.store.append([b"next"]).unwrap();
                let again = open(&dir);
                assert_eq!(again.found, Found::Whole);
                assert_eq!(again.records.last().unwrap(), b"next");
                assert_eq!(again.records.len(), opened.records.len() + 1);
            }
            std::fs::remove_file(file(temp.path())).unwrap();
        }
    }

    #[test]
    fn a_damaged_byte_is_never_a_wrong_index() {
        let temp = TempDir::new("mirror-damaged");
        let dir = dir_that(Keeps::Mirror, &temp);
        let (whole, ends) = with_log(&temp, &dir, 130);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            put(&temp, &bytes);
            let opened = open(&dir);
            let (found, head, len, log) = gist(&opened);
            if at < ends[0] {
                assert!(matches!(found, Found::Lost(_)), "{at}: {found:?}");
                assert_eq!((head, len, log), (None, 0, &[][..]), "{at}");
            } else {
                let kept = ends.iter().filter(|end| **end <= at).count() - 1;
                let cut = Found::Cut((whole.len() - ends[kept]) as u64);
                assert_eq!((found, head, len), (cut, Some(&b"head"[..]), 130), "{at}");
                assert_eq!(log, &records(0, kept as u32)[..], "{at}");
            }
        }
        // Records that are whole, but not as they are written.
        put(&temp, &whole);
        let name = tree_name(&path("srv/www"), ".index");
        for (kind, payload) in
            [(BLOCK, &b"\0\x01\0\x01az"[..]), (END, b"\0"), (LOG, b"\x09x"), (9, b"")]
        {
            put(&temp, &whole);
            let each = |_, _, _: &[u8]| {};
            let (mut file, _) =
                RecordFile::open(&dir, &name, &host("h"), 77, LIMITS, each).unwrap();
            file.append(kind, payload).unwrap();
            assert_eq!(open(&dir).found, Found::Lost(Aside::Damaged), "{kind}");
        }
    }

    #[test]
    fn a_kill_at_any_step_of_rolling_leaves_the_old_or_the_new() {
        let temp = TempDir::new("mirror-roll");
        let dir = dir_that(Keeps::Mirror, &temp);
        let (old, _) = with_log(&temp, &dir, 60);
        open(&dir).store.roll(b"newer", &entries(90)).unwrap();
        let new = std::fs::read(file(temp.path())).unwrap();
        drop(dir);
        let unfinished = [file(temp.path()).as_os_str().as_bytes(), b".new"].concat();
        let unfinished = PathBuf::from(OsStr::from_bytes(&unfinished));
        // While it is written or synced, and before it has its name.
        for cut in (0..new.len()).step_by(97).chain([new.len()]) {
            put(&temp, &old);
            std::fs::write(&unfinished, &new[..cut]).unwrap();
            let dir = dir_that(Keeps::Mirror, &temp);
            let opened = open(&dir);
            assert_eq!(gist(&opened), (Found::Whole, Some(&b"head"[..]), 60, &records(0, 6)[..]));
            assert!(!unfinished.exists());
        }
        // And afterwards, whether or not that is on the disk.
        put(&temp, &new);
        let opened = open(&dir_that(Keeps::Mirror, &temp));
        assert_eq!(gist(&opened), (Found::Whole, Some(&b"newer"[..]), 90, &[][..]));
    }

    #[test]
    fn that_of_another_host_is_taken_up_and_said_until_it_is_rolled() {
        let temp = TempDir::new("mirror-clone");
        let dir = dir_that(Keeps::Mirror, &temp);
        with_log(&temp, &dir, 60);
        let clone = || MirrorStore::open(&dir, &path("srv/www"), &host("clone"), 78).unwrap();
        for _ in 0..2 {
            let mut opened = clone();
            assert_eq!((opened.other_host, opened.store.id()), (Some(host("h")), 77));
            assert_eq!((opened.entries.len(), opened.records.len() >= 6), (60, true));
            assert!(opened.store.is_due());
            opened.store.append([b"more"]).unwrap();
        }
        clone().store.roll(b"of the clone", &entries(60)).unwrap();
        let opened = clone();
        assert_eq!((opened.other_host, opened.store.is_due()), (None, false));
        assert_eq!(open(&dir).other_host, Some(host("clone")));
    }

    #[test]
    fn a_log_is_rolled_when_it_is_large_and_larger_than_half_of_the_snapshot() {
        let temp = TempDir::new("mirror-due");
        let dir = dir_that(Keeps::Mirror, &temp);
        let Opened { mut store, .. } = open(&dir);
        let record = vec![7; 5 << 20];
        for count in 0..4 {
            assert_eq!(store.is_due(), count == 4);
            store.append([&record]).unwrap();
        }
        assert!(store.is_due());
        assert_eq!((due(0), due(40 << 20)), (16 << 20, 60 << 20));
        assert_eq!(due(30 << 20), 46 << 20);
        store.roll(b"head", &Packed::default()).unwrap();
        assert!(!store.is_due());
        // What does not fit into a record is an error until it is rolled.
        let error = store.append([&vec![7; 9 << 20]]).unwrap_err();
        assert!(matches!(error, StateError::TooLarge(_)), "{error}");
        assert!(store.is_due() && store.append([b"next"]).is_err() && store.sync().is_err());
        store.roll(b"head", &Packed::default()).unwrap();
        store.append([b"next"]).unwrap();
        assert_eq!(open(&dir).records, [b"next"]);
    }

    #[test]
    fn a_full_disk_is_an_error_that_loses_nothing() {
        const NAME: &str =
            "keeping::mirror_store::tests::a_full_disk_is_an_error_that_loses_nothing";
        if !is_in_namespace(NAME) {
            return;
        }
        let temp = TempDir::new("mirror-full");
        let _mounted = mount_tmpfs(&temp.mkdir("disk"), "size=256k");
        let disk = TempDir::under(&temp.join("disk"), "state");
        let dir = dir_that(Keeps::Mirror, &disk);
        let Opened { mut store, .. } = open(&dir);
        store.roll(b"head", &entries(500)).unwrap();
        store.append(records(0, 5)).unwrap();
        store.sync().unwrap();
        let filler = temp.join("disk/filler");
        let full = std::fs::write(&filler, vec![1; 1 << 20]).unwrap_err();
        assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
        let large = vec![b"y".repeat(6_000), b"z".to_vec()];
        for error in [
            store.append(&large).unwrap_err(),
            store.sync().unwrap_err(),
            store.roll(b"later", &entries(900)).unwrap_err(),
        ] {
            assert_eq!(error.errno(), Some(libc::ENOSPC), "{error}");
            assert!(error.path().starts_with(dir.path()), "{error}");
        }
        assert_eq!(gist(&open(&dir)), (Found::Whole, Some(&b"head"[..]), 500, &records(0, 5)[..]));
        std::fs::remove_file(filler).unwrap();
        // What could not be written is, before what comes later.
        store.append([b"last"]).unwrap();
        store.sync().unwrap();
        let opened = open(&dir);
        assert_eq!(opened.records[5..], [&large[..], &[b"last".to_vec()]].concat());
        store.roll(b"later", &entries(900)).unwrap();
        assert_eq!(gist(&open(&dir)), (Found::Whole, Some(&b"later"[..]), 900, &[][..]));
    }

    #[test]
    fn random_histories_with_crashes_are_always_a_beginning() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let temp = TempDir::new("mirror-random");
            let dir = dir_that(Keeps::Mirror, &temp);
            let mut store = open(&dir).store;
            // The map as it would be after each of the records since the last snapshot.
            let mut states = vec![entries(0)];
            for step in 0..60 {
                match rng.below(10) {
                    0 => {
                        let last = states.pop().unwrap();
                        store.roll(b"h", &last).unwrap();
                        states = vec![last];
                    }
                    1 => store.sync().unwrap(),
                    2 => {
                        // A power cut: of what was not synced, a beginning is there.
                        drop(store);
                        let mut bytes = std::fs::read(file(temp.path())).unwrap();
                        let lost = rng.below(200) as usize;
                        bytes.truncate(bytes.len().saturating_sub(lost));
                        put(&temp, &bytes);
                        let opened = open(&dir);
                        if matches!(opened.found, Found::Lost(_) | Found::New) {
                            states.truncate(1);
                            states[0] = entries(0);
                        }
                        let mut map = opened.entries;
                        for record in &opened.records {
                            apply(&mut map, record);
                        }
                        let at = opened.records.len();
                        assert!(lost > 0 || at + 1 == states.len(), "{seed} {step}");
                        assert_eq!(all(&map), all(&states[at]), "{seed} {step}");
                        states.truncate(at + 1);
                        store = opened.store;
                    }
                    _ => {
                        let mut next = states.last().unwrap().clone();
                        let record = [step as u8, rng.below(30) as u8];
                        apply(&mut next, &record);
                        store.append([record]).unwrap();
                        states.push(next);
                    }
                }
            }
        }
    }

    fn apply(map: &mut Packed, record: &[u8]) {
        let path = [b'a' + record[1] % 26];
        if record[0] % 4 == 0 {
            map.remove(&path)
        } else {
            map.insert(&path, record)
        };
    }
}
