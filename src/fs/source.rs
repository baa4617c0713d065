//! Reading the contents of a batch on the sender, and making sure that they are what the walk found.
//!
//! Each file is opened, read, and compared with its [`Identity`] through the same descriptor, so that no
//! change before or during the read goes unnoticed. Of a file that goes on changing, what is read is compared
//! with what it was at one moment.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::AsFd;
use std::sync::Arc;

use super::batch::SourceBatch;
use super::errors::reason;
use super::found::Content;
use super::identity::{Identity, open_to_read};
use super::mirror::giving::open_kept;
use super::moment::Reader;
use super::root::{Dirs, Root};
use crate::errno;
use crate::ids::EntryNo;
use crate::name::RelPath;
use crate::sys::{fsat, preadv};
use crate::wire::layout::Layout;
use crate::wire::manifest::Manifest;
use crate::wire::outcome::Reason;

/// The most slices that one preadv(2) takes (`UIO_MAXIOV`).
const MOST_SLICES: usize = 1_024;

/// Reads the contents of one batch.
#[derive(Debug)]
pub struct Source {
    dirs: Dirs,
    manifest: Arc<Manifest>,
    contents: Arc<Vec<Option<Content>>>,
    layout: Arc<Layout>,
    /// The file of a streamed body, once it is open.
    streamed: Option<Opened>,
}

impl Source {
    /// Opens nothing yet. `layout` is that of the batch's manifest.
    pub fn new(root: Arc<Root>, batch: &SourceBatch, layout: Arc<Layout>) -> Self {
        Source {
            dirs: Dirs::new(root),
            manifest: batch.manifest.clone(),
            contents: batch.contents.clone(),
            layout,
            streamed: None,
        }
    }

    /// The whole body, with the contents of the `wanted` entries and zeros elsewhere, and the entries
    /// whose files could not be read or have changed.
    ///
    /// `body` is the buffer to use, whatever it contains: reusing memory saves page faults. Reads
    /// nothing for a body that is streamed.
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
        self.open(entry)?.read(0, &mut [IoSliceMut::new(room)])
    }

    /// Fills `slices` with a streamed body from `offset` on.
    ///
    /// # Errors
    /// [`Reason::Changed`] if the file has changed, an errno if it cannot be read, EINVAL if the body
    /// is not streamed. The contents of the slices are then unspecified.
    pub fn read_at(&mut self, offset: u64, slices: &mut [IoSliceMut<'_>]) -> Result<(), Reason> {
        let slot = match self.layout.slots() {
            [slot] if self.layout.streams() => slot.entry,
            _ => return Err(Reason::Os(errno::EINVAL)),
        };
        let mut opened = match self.streamed.take() {
            Some(opened) => opened,
            None => self.open(slot)?,
        };
        opened.read(offset, slices)?;
        self.streamed = Some(opened);
        Ok(())
    }

    /// Those of the `wanted` regular files, including empty ones, that have changed or been replaced
    /// at their paths, unless they are sent as they were at one moment.
    pub fn verify(&self, wanted: &dyn Fn(EntryNo) -> bool) -> Vec<(EntryNo, Reason)> {
        let mut dirs = Dirs::new(self.dirs.root().clone());
        let mut failed = Vec::new();
        for (entry, content) in EntryNo::ZERO.onwards().zip(self.contents.iter()) {
            let Some(Content::Unchanged(identity)) = content else { continue };
            let Some(path) = self.path(entry) else { continue };
            if !wanted(entry) {
                continue;
            }
            let stat = dirs.parent(path).and_then(|(dir, name)| fsat::stat_at(dir.as_fd(), name));
            match stat {
                Ok(stat) if identity.is(&stat) => {}
                Ok(_) => failed.push((entry, Reason::Changed)),
                Err(e) => failed.push((entry, gone_or(&e))),
            }
        }
        failed
    }

    fn path(&self, entry: EntryNo) -> Option<&RelPath> {
        self.manifest.entries.get(entry.index()).map(|entry| &entry.path)
    }

    fn open(&mut self, entry: EntryNo) -> Result<Opened, Reason> {
        let content = self.contents.get(entry.index()).cloned().flatten();
        let manifest = Arc::clone(&self.manifest);
        let path = manifest.entries.get(entry.index()).map(|entry| &entry.path);
        let (content, path) = content.zip(path).ok_or(Reason::Os(errno::EINVAL))?;
        let mut open = || {
            let (dir, name) = self.dirs.parent(path)?;
            open_to_read(dir.as_fd(), name).map(File::from)
        };
        let opened = match content {
            // Whether it is still that file is looked at after each read, which shows a change before it
            // too.
            Content::Unchanged(identity) => open().map(|file| Opened::Unchanged(file, identity)),
            Content::OfMoment(moment) => Reader::new(moment, open).map(Opened::OfMoment),
            Content::Elsewhere(kept) => {
                let (path, dot, identity) = *kept;
                open_kept(self.dirs.root(), &path, dot)
                    .map(|file| Opened::Unchanged(file.into(), identity))
            }
        };
        opened.map_err(|e| gone_or(&e))
    }
}

/// An open file, and what is to be read in it.
#[derive(Debug)]
enum Opened {
    Unchanged(File, Identity),
    OfMoment(Reader),
}

impl Opened {
    fn read(&mut self, offset: u64, slices: &mut [IoSliceMut<'_>]) -> Result<(), Reason> {
        let (file, identity) = match self {
            Opened::Unchanged(file, identity) => (file, identity),
            Opened::OfMoment(reader) => return reader.read(offset, slices),
        };
        let mut at = offset;
        for some in slices.chunks_mut(MOST_SLICES) {
            let want: usize = some.iter().map(|slice| slice.len()).sum();
            let got = preadv(file.as_fd(), some, at);
            if got.map_err(|e| Reason::from_io(&e))? < want {
                return Err(Reason::Changed);
            }
            at = at.saturating_add(want as u64);
        }
        // Checked after the read, so that no change before or during it is missed.
        still(file, identity)
    }
}

/// Makes sure that `file` is what `identity` says.
///
/// # Errors
/// [`Reason::Changed`] if not; an errno if that cannot be found out.
fn still(file: &impl AsFd, identity: &Identity) -> Result<(), Reason> {
    match identity.is_still(file) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Reason::Changed),
        Err(e) => Err(Reason::from_io(&e)),
    }
}

/// A file that is gone, or whose path no longer leads to it, has changed since the walk; any other
/// error is reported as such.
fn gone_or(error: &io::Error) -> Reason {
    match error.raw_os_error() {
        Some(
            libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EISDIR | libc::ENXIO | libc::ESTALE,
        ) => Reason::Changed,
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
        let mut opened = source.open(EntryNo::ZERO).unwrap();
        let mut room = [0; 7];
        let mut fill = |room: &mut [u8]| opened.read(0, &mut [IoSliceMut::new(room)]);
        assert_eq!((fill(&mut room), &room), (Ok(()), b"content"));
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(&path, b"changed").unwrap();
        assert_eq!(fill(&mut room), Err(Reason::Changed));
        std::fs::write(&path, b"").unwrap();
        assert_eq!(fill(&mut room), Err(Reason::Changed));
    }
}
