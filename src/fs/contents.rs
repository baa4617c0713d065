//! What a sender takes for the content of a file: what is in it until all have it, so that it must not
//! change, or what was in it at one moment.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use super::copies::Copies;
use super::digest::Digester;
use super::extents;
use super::found::Content;
use super::identity::{Identity, open_to_read};
use super::moment::{Reader, Taken, Taker};
use crate::sys::fsat::{self, Stat};
use crate::wire::manifest::{Digest, Extent, FileTime};
use crate::wire::outcome::Reason;

/// What the content of regular files is.
#[derive(Clone, Debug)]
pub enum Contents {
    /// What is in them until they have arrived, so that they must not change.
    Unchanged,
    /// What was in them at one moment, if they hold still for that long, as is proven by digests.
    OfMoment,
    /// The same, as a private copy if one can be made.
    Copied(Arc<Copies>),
}

/// What was found out about a file.
pub(super) struct FileFound {
    /// What it was like.
    pub stat: Stat,
    pub digest: Option<Digest>,
    pub content: Content,
    /// Where it has data, if it has holes.
    pub data: Option<Vec<Extent>>,
}

impl Contents {
    /// The content of the file `name` in `dir` that was like `stat`, with its digest if there is a
    /// `digester`. `wait` and `cancelled` are as in [`Taker`].
    ///
    /// # Errors
    /// Its digest cannot be computed; [`Reason::Changed`] if it never held still for that.
    pub(super) fn find(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        stat: Stat,
        digester: Option<&mut Digester>,
        wait: &dyn Fn(FileTime) -> Option<Duration>,
        cancelled: &dyn Fn() -> bool,
    ) -> io::Result<FileFound> {
        let unchanged = |digest| {
            let content = Content::Unchanged(Identity::of(&stat));
            FileFound { stat, digest, content, data: data(dir, name, &stat) }
        };
        let is_digested = digester.is_some();
        let copies = match self {
            Contents::Copied(copies) => Some(copies),
            Contents::OfMoment => None,
            Contents::Unchanged => {
                let Some(digester) = digester else { return Ok(unchanged(None)) };
                let digest = digester.digest(dir, name, &Identity::of(&stat), cancelled)?;
                if digest.is_some() || cancelled() {
                    return Ok(unchanged(digest));
                }
                None
            }
        };
        let taker = Taker { wait, cancelled, copies };
        match take(&taker, dir, name, is_digested) {
            Ok(Some(found)) => Ok(found),
            Ok(None) if is_digested && !cancelled() => Err(io::Error::other(Reason::Changed)),
            Err(error) if is_digested => Err(error),
            // Reading it will show what is wrong.
            _ => Ok(unchanged(None)),
        }
    }
}

/// The file as it was at one moment; None if it never held still.
fn take(
    taker: &Taker<'_>,
    dir: BorrowedFd<'_>,
    name: &[u8],
    is_digested: bool,
) -> io::Result<Option<FileFound>> {
    let file = File::from(open_to_read(dir, name)?);
    let Some(Taken { stat, data, moment }) = taker.take(&file)? else { return Ok(None) };
    let moment = Arc::new(moment);
    let mut digest = None;
    if is_digested {
        let reader = Reader::new(Arc::clone(&moment), || Ok::<_, io::Error>(file))?;
        digest = match reader.digest(taker.cancelled) {
            Ok(Some(digest)) => Some(digest),
            Ok(None) | Err(Reason::Changed) => return Ok(None),
            Err(error) => return Err(io::Error::other(error)),
        };
    }
    Ok(Some(FileFound { stat, data, digest, content: Content::OfMoment(moment) }))
}

/// Where a long sparse file has data. If it cannot be opened, reading it will report that.
fn data(dir: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> Option<Vec<Extent>> {
    if !extents::is_sparse(stat) {
        return None;
    }
    let fd = fsat::open_regular_at(dir, name, libc::O_RDONLY).ok()?;
    extents::of_sparse(fd.as_fd(), 0, stat)
}
