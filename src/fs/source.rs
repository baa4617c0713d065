//! The bytes of a batch, on the sender: read only while the files are still what the walk found.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::batch::Batch;
use super::root::{Dirs, Root, reason};
use super::walk::Identity;
use crate::ids::EntryNo;
use crate::name::RelPath;
use crate::sys::fsat::{self, FileType};
use crate::wire::layout::Layout;
use crate::wire::manifest::Manifest;
use crate::wire::outcome::Reason;

/// The most slices that one call of the system takes (`UIO_MAXIOV`).
const MOST_SLICES: usize = 1_024;

/// Reads the bytes of one batch.
#[derive(Debug)]
pub struct Source {
    dirs: Dirs,
    manifest: Arc<Manifest>,
    identities: Arc<Vec<Option<Identity>>>,
    layout: Arc<Layout>,
    /// The file of a streamed body, once it was opened.
    streamed: Option<OwnedFd>,
}

impl Source {
    /// Reads nothing yet. `layout` is that of the batch's manifest.
    pub fn new(root: Arc<Root>, batch: &Batch, layout: Arc<Layout>) -> Self {
        Source {
            dirs: Dirs::new(root),
            manifest: batch.manifest.clone(),
            identities: batch.identities.clone(),
            layout,
            streamed: None,
        }
    }

    /// The whole body, with the files that are `wanted` (by their entries) in it and zeros elsewhere;
    /// and the files that could not be read, or are no longer what they were.
    ///
    /// The body is put into `body`, whatever was in there: memory that is used again costs no page
    /// faults. Only for a body that does not stream: of one that does, nothing is read.
    pub fn load(
        &mut self,
        mut body: Vec<u8>,
        wanted: &dyn Fn(EntryNo) -> bool,
    ) -> (Vec<u8>, Vec<(EntryNo, Reason)>) {
        if self.layout.streams() || !self.layout.is_sound() {
            return (Vec::new(), Vec::new());
        }
        self.dirs.forget();
        let layout = self.layout.clone();
        body.resize(layout.len() as usize, 0);
        let mut failed = Vec::new();
        // The slots leave no gaps.
        for slot in layout.slots() {
            let range = slot.start as usize..(slot.start + slot.len) as usize;
            let Some(room) = body.get_mut(range) else { continue };
            if !wanted(slot.entry) {
                room.fill(0);
            } else if let Err(reason) = self.load_one(slot.entry, room) {
                room.fill(0);
                failed.push((slot.entry, reason));
            }
        }
        self.dirs.forget();
        (body, failed)
    }

    fn load_one(&mut self, entry: EntryNo, room: &mut [u8]) -> Result<(), Reason> {
        let (file, identity) = self.open(entry)?;
        fill(&File::from(file), &identity, room)
    }

    /// Fills `slices` with the bytes of a streamed body from `offset` on.
    ///
    /// # Errors
    /// [`Reason::Changed`] if the file is no longer what it was, an errno if it cannot be read, EINVAL
    /// if the body does not stream. The slices then hold anything.
    pub fn read_at(&mut self, offset: u64, slices: &mut [IoSliceMut<'_>]) -> Result<(), Reason> {
        let slot = match self.layout.slots() {
            [slot] if self.layout.streams() => slot.entry,
            _ => return Err(Reason::Os(libc::EINVAL as u16)),
        };
        let (file, identity) = match self.streamed.take() {
            Some(file) => (file, self.identity(slot)?),
            None => self.open(slot)?,
        };
        let mut at = offset;
        for some in slices.chunks_mut(MOST_SLICES) {
            let want: usize = some.iter().map(|slice| slice.len()).sum();
            let got = fsat::read_vectored_at(file.as_fd(), some, at);
            if got.map_err(|e| Reason::from_io(&e))? < want {
                return Err(Reason::Changed);
            }
            at = at.saturating_add(want as u64);
        }
        // After the read, so that no change before or during it is missed.
        still(&file, &identity)?;
        self.streamed = Some(file);
        Ok(())
    }

    /// The `wanted` regular files, empty ones too, that are no longer at their paths what they were.
    pub fn verify(&self, wanted: &dyn Fn(EntryNo) -> bool) -> Vec<(EntryNo, Reason)> {
        let mut dirs = Dirs::new(self.dirs.root().clone());
        let mut failed = Vec::new();
        for (entry, identity) in EntryNo::ZERO.onwards().zip(self.identities.iter()) {
            let (Some(identity), Some(path)) = (identity, self.path(entry)) else { continue };
            if !wanted(entry) {
                continue;
            }
            let stat = dirs.parent(path).and_then(|(dir, name)| fsat::stat_at(dir.as_fd(), name));
            match stat {
                Ok(stat) if stat.kind == FileType::File && Identity::of(&stat) == *identity => {}
                Ok(_) => failed.push((entry, Reason::Changed)),
                Err(e) => failed.push((entry, gone_or(&e))),
            }
        }
        failed
    }

    fn path(&self, entry: EntryNo) -> Option<&RelPath> {
        self.manifest.entries.get(entry.index()).map(|entry| &entry.path)
    }

    fn identity(&self, entry: EntryNo) -> Result<Identity, Reason> {
        let identity = self.identities.get(entry.index()).copied().flatten();
        identity.ok_or(Reason::Os(libc::EINVAL as u16))
    }

    fn open(&mut self, entry: EntryNo) -> Result<(OwnedFd, Identity), Reason> {
        let identity = self.identity(entry)?;
        let manifest = self.manifest.clone();
        let path = manifest.entries.get(entry.index()).map(|entry| &entry.path);
        let path = path.ok_or(Reason::Os(libc::EINVAL as u16))?;
        let (dir, name) = self.dirs.parent(path).map_err(|e| gone_or(&e))?;
        let file = open_to_read(dir.as_fd(), name);
        let file = file.map_err(|e| gone_or(&e))?;
        still(&file, &identity)?;
        Ok((file, identity))
    }
}

/// Opens what should be a regular file, and leaves its atime alone if this process may.
///
/// # Errors
/// Those of `openat`; ELOOP if it is a symbolic link.
pub(super) fn open_to_read(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    // A FIFO that took the file's place must not block.
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    fsat::open_at(dir, name, flags | libc::O_NOATIME, 0).or_else(|e| match e.raw_os_error() {
        // Only the owner may.
        Some(libc::EPERM) => fsat::open_at(dir, name, flags, 0),
        _ => Err(e),
    })
}

/// Reads the beginning of `file`, which must be what it was when that is done.
fn fill(file: &File, identity: &Identity, room: &mut [u8]) -> Result<(), Reason> {
    match file.read_exact_at(room, 0) {
        Ok(()) => still(file, identity),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(Reason::Changed),
        Err(e) => Err(Reason::from_io(&e)),
    }
}

/// Whether `file` is what `identity` says.
///
/// # Errors
/// [`Reason::Changed`] if not; an errno if nobody can tell.
pub(super) fn still(file: &impl AsFd, identity: &Identity) -> Result<(), Reason> {
    let stat = fsat::stat_fd(file.as_fd()).map_err(|e| Reason::from_io(&e))?;
    let same = stat.kind == FileType::File && Identity::of(&stat) == *identity;
    if same { Ok(()) } else { Err(Reason::Changed) }
}

/// What is gone, or no longer leads there, has changed since the walk; anything else is an error.
fn gone_or(error: &io::Error) -> Reason {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENXIO) => Reason::Changed,
        _ => reason(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_change_between_the_opening_and_the_end_of_a_read_shows() {
        let temp = TempDir::new("between");
        let path = temp.write("f", b"content");
        let root = temp.root();
        let batch = one_batch(&root, &RelPath::base());
        let layout = Arc::new(Layout::new(&batch.manifest, 1_424).unwrap());
        let mut source = Source::new(root, &batch, layout);
        let (file, identity) = source.open(EntryNo::ZERO).unwrap();
        let file = File::from(file);
        let mut room = [0; 7];
        assert_eq!((fill(&file, &identity, &mut room), &room), (Ok(()), b"content"));
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(&path, b"changed").unwrap();
        assert_eq!(fill(&file, &identity, &mut room), Err(Reason::Changed));
        std::fs::write(&path, b"").unwrap();
        assert_eq!(fill(&file, &identity, &mut room), Err(Reason::Changed));
    }
}
