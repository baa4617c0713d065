//! MD5 digests of files, which `check` and `--checksum` compare.
//!
//! What is zero is left out, so that a hole need neither be read nor hashed, and counts as the zeros that
//! it reads as. What is hashed (makuosan-protocol(7)): for each [`BLOCK`] that is not all zeros, its offset
//! and its bytes; then the length of the file. Numbers take 8 bytes, the highest first.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use md5::{Digest as _, Md5};

use super::identity::{Identity, open_to_read};
use super::listings::still_young;
use crate::sys::fsat;
use crate::wire::manifest::{Digest, FileTime};

/// How much is read at a time: small enough to be still in the CPU cache when it is hashed.
const CHUNK: usize = 256 << 10;

/// What is left out if it is zero: so much, at a multiple of it; the last one of a file may be shorter.
const BLOCK: usize = 64 << 10;

/// So many readings of a file that is touched again and again must be the same: it may have been written
/// over and back, and look the same twice by chance.
const AGREED: usize = 3;
/// How often it is read in the hope of that.
const READINGS: usize = 5;

/// Computes digests with a buffer that is used again.
#[derive(Debug, Default)]
pub(super) struct Digester {
    buf: Vec<u8>,
    /// Where the bytes are counted of files over this size.
    counted: Option<(u64, Arc<AtomicU64>)>,
}

impl Digester {
    /// One that counts in `passed` the bytes that it is through with, of files with more than `over` bytes.
    pub fn counting(over: u64, passed: Arc<AtomicU64>) -> Self {
        Digester { buf: Vec::new(), counted: Some((over, passed)) }
    }

    /// The digest of the regular file `name` in `dir`. None if the file does not match `identity`
    /// before or after it was read, or as soon as `cancelled` returns true. If only its ctime has moved, it
    /// is read again.
    ///
    /// # Errors
    /// It cannot be opened or read.
    pub fn digest(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        identity: &Identity,
        cancelled: &dyn Fn() -> bool,
    ) -> io::Result<Option<Digest>> {
        let counted = self.counted.clone().filter(|(over, _)| identity.size > *over);
        let mut counted =
            Counted { left: identity.size, passed: counted.map(|(_, passed)| passed) };
        let mut pause = |at| {
            counted.pass(identity.size - at);
            cancelled()
        };
        match Begun::new(identity).go_on(self, dir, name, &mut pause)? {
            Step::Done(digest) => Ok(Some(digest)),
            Step::Paused | Step::Changed => Ok(None),
        }
    }
}

/// Counts the bytes of a file that its digest is through with: all of them, however that ends.
#[derive(Debug)]
pub(super) struct Counted {
    pub left: u64,
    pub passed: Option<Arc<AtomicU64>>,
}

impl Counted {
    /// So many bytes are left.
    pub fn pass(&mut self, left: u64) {
        let more = std::mem::replace(&mut self.left, left).saturating_sub(left);
        if let Some(passed) = &self.passed {
            passed.fetch_add(more, Ordering::Relaxed);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.pass(0);
    }
}

/// Makes the digest of a content that comes in pieces.
#[derive(Default, Debug)]
pub(super) struct Hash(Md5);

impl Hash {
    /// Takes in the piece at `at`. Pieces come in order, without those that are zero if they like, and
    /// begin at multiples of [`BLOCK`]: all but the last one of a file end there too.
    pub fn add(&mut self, mut at: u64, piece: &[u8]) {
        for block in piece.chunks(BLOCK) {
            if !is_zero(block) {
                self.0.update(at.to_be_bytes());
                self.0.update(block);
            }
            at += block.len() as u64;
        }
    }

    /// The digest of a content of this length.
    pub fn digest(mut self, len: u64) -> Digest {
        self.0.update(len.to_be_bytes());
        self.0.finalize().into()
    }
}

/// The digest of a file, as far as it is computed.
#[derive(Debug)]
pub(super) struct Begun {
    identity: Identity,
    hash: Hash,
    /// How far the file was taken in.
    at: u64,
    /// Up to where there are no holes, as far as that was looked at.
    data: u64,
    /// Its ctime when this reading began.
    ctime: FileTime,
    /// What the readings gave during which that moved.
    readings: Vec<Digest>,
}

/// How far a digest has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// It can go on.
    Paused,
    /// The file is not what it was.
    Changed,
    /// Here it is.
    Done(Digest),
}

impl Begun {
    /// That of a file that is read as long as it matches `identity`.
    pub fn new(identity: &Identity) -> Self {
        let (hash, ctime, readings) = (Hash::default(), identity.ctime, Vec::new());
        Begun { identity: *identity, hash, at: 0, data: 0, ctime, readings }
    }

    /// The size of the file.
    pub fn size(&self) -> u64 {
        self.identity.size
    }

    /// Goes on with the file, `name` in `dir`. Before each piece, `pause` is told how far it is; it pauses
    /// if that returns true.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn go_on(
        &mut self,
        Digester { buf, .. }: &mut Digester,
        dir: BorrowedFd<'_>,
        name: &[u8],
        pause: &mut dyn FnMut(u64) -> bool,
    ) -> io::Result<Step> {
        buf.resize(CHUNK, 0);
        let file = match open_to_read(dir, name).map_err(|e| (e.raw_os_error(), e)) {
            Ok(fd) => File::from(fd),
            // Something else has taken its place.
            Err((Some(libc::EISDIR | libc::ENXIO | libc::ESTALE), _)) => return Ok(Step::Changed),
            Err((_, e)) => return Err(e),
        };
        loop {
            if !self.identity.is_but_touched(&fsat::stat_fd(file.as_fd())?) {
                return Ok(Step::Changed);
            }
            let step = self.read(&file, buf, pause)?;
            let Step::Done(digest) = step else { return Ok(step) };
            let stat = fsat::stat_fd(file.as_fd())?;
            if !self.identity.is_but_touched(&stat) {
                return Ok(Step::Changed);
            }
            if let Some(step) = self.judge(digest, stat.ctime) {
                return Ok(step);
            }
        }
    }

    /// Goes on with one reading.
    fn read(
        &mut self,
        file: &File,
        buf: &mut [u8],
        pause: &mut dyn FnMut(u64) -> bool,
    ) -> io::Result<Step> {
        while self.at < self.identity.size {
            if pause(self.at) {
                return Ok(Step::Paused);
            }
            if self.at >= self.data {
                self.skip_hole(file);
                continue;
            }
            match self.take_in(file, buf) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(Step::Changed),
                Err(e) => return Err(e),
            }
        }
        (self.at, self.data) = (0, 0);
        Ok(Step::Done(std::mem::take(&mut self.hash).digest(self.identity.size)))
    }

    /// What comes of a reading at whose end the file had this ctime; None if it is to be read again. If only
    /// the ctime has moved, the content was there at one moment if [`AGREED`] readings are the same.
    fn judge(&mut self, digest: Digest, ctime: FileTime) -> Option<Step> {
        let is_still = std::mem::replace(&mut self.ctime, ctime) == ctime;
        self.readings.push(digest);
        let agreed = self.readings.iter().rev().take_while(|other| **other == digest).count();
        if is_still || agreed >= AGREED {
            return Some(Step::Done(digest));
        }
        if self.readings.len() >= READINGS {
            return Some(Step::Changed);
        }
        // By the time of that change, not by a clock: a whole tick is waited for.
        if let Some(wait) = still_young(ctime, (ctime.secs, ctime.nanos)) {
            std::thread::sleep(wait);
        }
        None
    }

    /// Goes to the next block with data, and finds out how far the data goes.
    fn skip_hole(&mut self, file: &File) {
        let size = self.identity.size;
        if size <= BLOCK as u64 {
            // To read it takes no longer than to ask.
            self.data = size;
            return;
        }
        let data = fsat::seek_data(file.as_fd(), self.at).and_then(|start| {
            let Some(start) = start.filter(|start| *start < size) else { return Ok((size, size)) };
            Ok((start, fsat::seek_hole(file.as_fd(), start)?))
        });
        match data {
            Ok((start, end)) => {
                self.at = self.at.max(start - start % BLOCK as u64);
                // Read in any case: a file that changes meanwhile may say anything.
                self.data = end.max(self.at.saturating_add(1)).min(size);
            }
            // The file system cannot tell, or reading will show what is wrong.
            Err(_) => self.data = size,
        }
    }

    /// Takes in the next piece, in which there is data.
    fn take_in(&mut self, file: &File, buf: &mut [u8]) -> io::Result<()> {
        let end = self.data.next_multiple_of(BLOCK as u64).min(self.identity.size);
        let len = buf.len().min(usize::try_from(end - self.at).unwrap_or(usize::MAX));
        let piece = buf.get_mut(..len).unwrap_or_default();
        file.read_exact_at(piece, self.at)?;
        self.hash.add(self.at, piece);
        self.at += len as u64;
        Ok(())
    }
}

/// Whether all bytes are zero. A block that is not shows in its first bytes, mostly; one that is, is gone
/// through as fast as memory is read.
fn is_zero(block: &[u8]) -> bool {
    block.chunks(256).all(|some| some.iter().fold(0, |any, byte| any | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    const FAR: u64 = 5 << 30;

    /// The digest of `f`, read in one go or in as many as possible.
    fn digest_of(temp: &TempDir, pauses: bool) -> Option<Digest> {
        let root = temp.root();
        let identity = Identity::of(&fsat::stat_at(root.as_fd(), b"f").unwrap());
        let (mut digester, mut begun) = (Digester::default(), Begun::new(&identity));
        if !pauses {
            return digester.digest(root.as_fd(), b"f", &identity, &|| false).unwrap();
        }
        loop {
            let (before, mut asked) = (begun.at, 0);
            let mut pause = |_| {
                asked += 1;
                asked > 1
            };
            match begun.go_on(&mut digester, root.as_fd(), b"f", &mut pause).unwrap() {
                Step::Paused => assert!(begun.at > before || begun.data > before),
                Step::Changed => return None,
                Step::Done(digest) => return Some(digest),
            }
        }
    }

    /// What is hashed of this content.
    fn hashed(content: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        for (n, block) in content.chunks(BLOCK).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                all.extend_from_slice(&((n * BLOCK) as u64).to_be_bytes());
                all.extend_from_slice(block);
            }
        }
        all.extend_from_slice(&(content.len() as u64).to_be_bytes());
        all
    }

    #[test]
    fn digests_are_as_the_manual_says_at_any_length() {
        let temp = TempDir::new("digest");
        let mut holey = vec![0; 9 * BLOCK + 5];
        for at in [BLOCK - 1, 4 * BLOCK, 6 * BLOCK + 7, 9 * BLOCK + 4] {
            holey[at] = 1;
        }
        let cases = [
            vec![],
            vec![0],
            b"abc".to_vec(),
            vec![0; BLOCK],
            vec![0; 3 * CHUNK + 17],
            vec![b'a'; BLOCK + 1],
            vec![b'a'; 3 * CHUNK + 17],
            holey,
        ];
        for content in cases {
            temp.write("f", &content);
            let want = Md5::digest(hashed(&content)).into();
            for pauses in [false, true] {
                assert_eq!(digest_of(&temp, pauses), Some(want), "{} bytes", content.len());
            }
        }
    }

    #[test]
    fn what_is_not_that_file_any_more_has_no_digest() {
        let temp = TempDir::new("digest-changed");
        temp.write("f", b"abc");
        temp.mkdir("d");
        std::os::unix::fs::symlink("f", temp.join("l")).unwrap();
        let root = temp.root();
        let identity = Identity::of(&fsat::stat_at(root.as_fd(), b"f").unwrap());
        let digest = |name: &[u8], identity: &Identity| {
            Digester::default().digest(root.as_fd(), name, identity, &|| false)
        };
        for other in [
            Identity { size: identity.size + 1, ..identity },
            Identity { ino: identity.ino + 1, ..identity },
        ] {
            assert_eq!(digest(b"f", &other).unwrap(), None);
        }
        assert_eq!(digest(b"d", &identity).unwrap(), None);
        assert!(digest(b"l", &identity).is_err());
        assert!(digest(b"none", &identity).is_err());
    }

    #[test]
    fn holes_are_not_read_and_count_as_zeros() {
        let temp = TempDir::new("digest-holes");
        let file = File::create_new(temp.join("f")).unwrap();
        file.set_len(2 * FAR).unwrap();
        file.write_all_at(b"x", FAR + 5).unwrap();
        let mut begun = {
            let root = temp.root();
            Begun::new(&Identity::of(&fsat::stat_at(root.as_fd(), b"f").unwrap()))
        };
        let mut pieces = 0;
        let mut pause = |_| {
            pieces += 1;
            false
        };
        let root = temp.root();
        let step = begun.go_on(&mut Digester::default(), root.as_fd(), b"f", &mut pause).unwrap();
        let mut block = vec![0; BLOCK];
        block[5] = b'x';
        let all = [&FAR.to_be_bytes()[..], &block, &(2 * FAR).to_be_bytes()].concat();
        assert_eq!(step, Step::Done(Md5::digest(all).into()));
        assert!(pieces < 10, "{pieces} pieces");
        // Zeros that are written change nothing.
        file.write_all_at(&vec![0; 3 * BLOCK + 1], FAR + BLOCK as u64).unwrap();
        file.write_all_at(&[0; 7], 3).unwrap();
        assert_eq!(digest_of(&temp, true).map(Step::Done), Some(step));
        // Where they are does, and how long the file is.
        file.set_len(2 * FAR + 1).unwrap();
        assert_ne!(digest_of(&temp, false).map(Step::Done), Some(step));
        file.set_len(2 * FAR).unwrap();
        file.write_all_at(&[0], FAR + 5).unwrap();
        file.write_all_at(b"x", FAR + 5 + BLOCK as u64).unwrap();
        assert_ne!(digest_of(&temp, false).map(Step::Done), Some(step));
    }

    #[test]
    fn one_byte_anywhere_makes_a_block_that_is_not_zero() {
        for len in [0, 1, 255, 256, 257, BLOCK] {
            let mut block = vec![0; len];
            assert!(is_zero(&block), "{len}");
            for at in [0, len / 2, len.saturating_sub(1)] {
                if let Some(byte) = block.get_mut(at) {
                    *byte = 0x80;
                    assert!(!is_zero(&block), "{at} of {len}");
                    block[at] = 0;
                }
            }
        }
    }

    #[test]
    fn what_is_only_touched_is_read_again_and_what_is_written_over_has_no_digest() {
        let temp = TempDir::new("touched");
        let path = temp.write("f", vec![7; 3 * CHUNK]);
        let root = temp.root();
        let identity = Identity::of(&fsat::stat_at(root.as_fd(), b"f").unwrap());
        let (want, asked) = (digest_of(&temp, false).unwrap(), std::cell::Cell::new(0));
        let digest = |touch: &dyn Fn(u32)| {
            let touching = || {
                std::thread::sleep(std::time::Duration::from_millis(10));
                touch(asked.replace(asked.get() + 1));
                false
            };
            Digester::default().digest(root.as_fd(), b"f", &identity, &touching).unwrap()
        };
        assert_eq!(digest(&|number| chmod(&path, 0o600 + number % 64)), Some(want));
        let file = File::options().write(true).open(&path).unwrap();
        let write = |number: u32| {
            file.write_all_at(&number.to_be_bytes(), 5).unwrap();
            set_mtime(&path, identity.mtime.secs, identity.mtime.nanos);
        };
        assert_eq!(digest(&write), None);
        assert_eq!(digest(&|_| file.write_all_at(b"x", 5).unwrap()), None);
    }
}
