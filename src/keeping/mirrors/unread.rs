//! What lstat cannot tell to be what was placed is read, while nobody waits for the tree, and then looked at again.

use super::all::Mirrors;
use super::looking::{Looking, Search, Seen};
use super::tree::{Tree, sync_paths};
use super::types::{MirrorError, TreeNo};
use crate::fs::long_digests::LONG;
use crate::fs::mirror::look::Here;
use crate::name::RelPath;
use crate::wire::versions::What;

/// How often a file that is written in is read before that is left for later.
const TRIES: usize = 3;
/// What changed this long ago has no page of memory any more that a process may write in without a trace.
const DIRTY_SECS: i64 = 120;

/// How large a file is.
pub(super) fn size_of(here: Here) -> u64 {
    match here.0.what {
        What::File { size, .. } => size,
        _ => 0,
    }
}

/// A file that was changed of late is written out: what is stored in its pages from then on shows in its times.
pub(super) fn is_recent(here: Here, now_millis: u64) -> bool {
    let now = i64::try_from(now_millis / 1_000).unwrap_or(i64::MAX);
    here.1.ctime.secs.saturating_add(DIRTY_SECS) >= now
}

impl Mirrors {
    /// Looks at files of any length that were left for later.
    ///
    /// # Errors
    /// As [`Mirrors::look`].
    pub fn look_at_long(
        &self,
        tree: TreeNo,
        how: &Looking,
        path: &RelPath,
    ) -> Result<Seen, MirrorError> {
        let mut search = self.search(tree, how);
        search.reads_long = true;
        self.with(tree, |tree| search.again(tree, path, None)).unwrap_or(Ok(()))?;
        self.read_unread(tree, &mut search)?;
        let last = self.with(tree, |tree| -> Result<(), MirrorError> {
            search.let_go(tree)?;
            let Some(within) = tree.within(path).map(Box::<[u8]>::from) else { return Ok(()) };
            // Whoever was told meanwhile of a change left that to this.
            search.again(tree, path, None)?;
            match search.unread.is_empty() {
                true => drop(tree.reading.remove(&within)),
                false => search.seen.later = vec![path.clone()],
            }
            search.write(tree)
        });
        last.unwrap_or(Ok(()))?;
        Ok(search.seen)
    }

    /// Reads what was found and is not known, and looks at it again. What takes long, or does not hold still, is left.
    pub(super) fn read_unread(
        &self,
        tree: TreeNo,
        search: &mut Search<'_>,
    ) -> Result<(), MirrorError> {
        for tries in 0.. {
            let unread = std::mem::take(&mut search.unread);
            if unread.is_empty() {
                break;
            }
            let (now, reads) = (self.with(tree, |tree| (tree.wall)()), tries < TRIES);
            let is_later = |(_, here): &(RelPath, Here)| !reads || search.leaves(*here);
            let (later, now_read): (Vec<_>, Vec<_>) = unread.into_iter().partition(is_later);
            let read = search.read(now_read, now.unwrap_or_default());
            let looked = self.with(tree, |tree| -> Result<(), MirrorError> {
                search.check(tree)?;
                tree.tell_time();
                for (path, here) in read {
                    search.again(tree, &path, here)?;
                }
                for (path, _) in later {
                    let Some(within) = tree.within(&path).map(Box::from) else { continue };
                    if tree.reading.insert(within) || search.reads_long {
                        search.seen.later.push(path);
                    }
                }
                search.write(tree)
            });
            looked.unwrap_or(Ok(()))?;
        }
        Ok(())
    }
}

impl Search<'_> {
    /// Whether reading it would hold up all that comes after it.
    fn leaves(&self, here: Here) -> bool {
        !self.reads_long && size_of(here) > LONG
    }

    fn read(&mut self, unread: Vec<(RelPath, Here)>, now: u64) -> Vec<(RelPath, Option<Here>)> {
        let recent = unread.iter().filter(|(_, here)| is_recent(*here, now));
        let recent: Vec<RelPath> = recent.map(|(path, _)| path.clone()).collect();
        self.dirs.forget();
        // What cannot be synced is not written down later.
        let _ = sync_paths(&mut self.dirs, &recent);
        let mut all = Vec::new();
        for (path, here) in unread {
            match self.reader.read(&mut self.dirs, &path, here) {
                Ok(read) => all.push((path, read)),
                Err(error) => self.seen.fail(&path, &error),
            }
        }
        all
    }

    /// Looks again at what was read.
    pub(super) fn again(
        &mut self,
        tree: &mut Tree,
        path: &RelPath,
        read: Option<Here>,
    ) -> Result<(), MirrorError> {
        let Some(mut found) = self.find(tree, path) else { return Ok(()) };
        let is_directory = found.is_some_and(|(version, _)| version.is_directory());
        if self.how.patterns.excludes(path, is_directory) {
            return Ok(());
        }
        if let Some(read) = read.filter(|read| found == Some((read.0.unread(), read.1))) {
            found = Some(read);
        }
        self.look(tree, path, found)
    }
}
