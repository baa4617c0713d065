//! Grouping the entries of a walk into batches.
//!
//! The limits are those of the protocol (makuosan-protocol(7)): entries and bytes per manifest, bytes
//! of contents per body, and a body of its own for every long file.

use std::sync::Arc;

use super::found::{Content, FoundEntry};
use crate::ids::EntryNo;
use crate::name::RelPath;
use crate::wire::layout::{MAX_BODY, STREAM_OVER};
use crate::wire::manifest::{
    DOT_LEN, Kind, MAX_ENTRIES, MAX_MANIFEST, Manifest, Setup, entry_len_bound, origin_len_bound,
};
use crate::wire::versions::Dot;

/// How many entries the first batches have: few, so that targets soon have something to do.
pub const FIRST: [usize; 2] = [64, 256];

/// A batch: entries that are sent, and committed, together.
#[derive(Clone, Debug)]
pub struct SourceBatch {
    /// The entries.
    pub manifest: Arc<Manifest>,
    /// For each entry that is a regular file: its content.
    pub contents: Arc<Vec<Option<Content>>>,
    /// The entries that cannot be given from here, ascending.
    pub declined: Vec<EntryNo>,
}

impl SourceBatch {
    /// The paths of its files that are not empty, and the batch without their contents: they are
    /// still named in it, so that no target deletes them.
    pub fn without_files(&self) -> (Vec<RelPath>, SourceBatch) {
        let (mut manifest, mut contents) = (Manifest::clone(&self.manifest), Vec::new());
        let mut files = Vec::new();
        for (entry, content) in manifest.entries.iter_mut().zip(self.contents.iter()) {
            let left_out = entry.size() > 0;
            if left_out {
                files.push(entry.path.clone());
                entry.kind = Kind::Keep;
            }
            contents.push(content.clone().filter(|_| !left_out));
        }
        let entries = &manifest.entries;
        let is_file =
            |at: EntryNo| entries.get(at.index()).is_some_and(|entry| entry.kind != Kind::Keep);
        manifest.digests.retain(|(at, _)| is_file(*at));
        manifest.ages.retain(|(at, _)| is_file(*at));
        manifest.origins.retain(|(at, _)| is_file(*at));
        manifest.dots.retain(|(at, _)| is_file(*at));
        let (manifest, contents) = (Arc::new(manifest), Arc::new(contents));
        (files, SourceBatch { manifest, contents, declined: self.declined.clone() })
    }
}

/// Groups entries in order: at most [`MAX_ENTRIES`], [`MAX_MANIFEST`] bytes of manifest and
/// [`MAX_BODY`] bytes of contents per batch. A file over [`STREAM_OVER`] has a body to itself.
#[derive(Debug, Default)]
pub struct Batcher {
    entries: Manifest,
    contents: Vec<Option<Content>>,
    manifest_len: usize,
    body_len: u64,
    /// The body is one long file.
    streams: bool,
    given: usize,
}

impl Batcher {
    /// An empty one.
    pub fn new() -> Self {
        Batcher::default()
    }

    /// One whose first batch carries `setup`, even if it has no entry.
    pub fn with_setup(setup: Setup) -> Self {
        let manifest_len = setup.len_bound();
        let entries = Manifest { setup: Some(setup), ..Manifest::default() };
        Batcher { entries, manifest_len, ..Batcher::default() }
    }

    /// Adds an entry; returns the batch that this completes, if it does.
    pub fn push(&mut self, found: FoundEntry) -> Option<SourceBatch> {
        self.push_version(found, None)
    }

    /// The same of an object of a mirrored path, which is the version with this dot.
    pub fn push_version(&mut self, found: FoundEntry, dot: Option<Dot>) -> Option<SourceBatch> {
        let origin = found.origin.as_ref().map_or(0, origin_len_bound);
        let len = entry_len_bound(&found.entry) + origin + dot.map_or(0, |_| DOT_LEN);
        let size = found.entry.size();
        let is_long = size > STREAM_OVER;
        let body_fits = size == 0
            || self.body_len == 0
            || !(is_long || self.streams || self.body_len + size > MAX_BODY);
        let fits = body_fits && self.manifest_len + len <= MAX_MANIFEST;
        // The longest entry and the longest setup fit into one manifest.
        let before = if fits || self.is_bare() { None } else { self.finish() };
        self.manifest_len += len;
        self.body_len += size;
        self.streams |= is_long;
        let at = EntryNo::of(self.entries.entries.len());
        if let Some(digest) = found.digest {
            self.entries.digests.push((at, digest));
            self.entries.origins.extend(found.origin.map(|from| (at, from)));
        } else if let Some(age) = found.age {
            self.entries.ages.push((at, age));
        }
        self.entries.dots.extend(dot.map(|dot| (at, dot)));
        let ahead = matches!(found.entry.kind, Kind::Ahead { .. });
        self.entries.entries.push(found.entry);
        self.contents.push(found.content);
        let most = FIRST.get(self.given).copied().unwrap_or(MAX_ENTRIES);
        // An announcement must arrive while the file is being read here, so it ends its batch.
        let ends = ahead || self.entries.entries.len() >= most;
        if before.is_none() && ends { self.finish() } else { before }
    }

    fn is_bare(&self) -> bool {
        self.entries.entries.is_empty()
    }

    /// The last batch, if anything is left for it.
    pub fn finish(&mut self) -> Option<SourceBatch> {
        if self.is_bare() && self.entries.setup.is_none() {
            return None;
        }
        self.given += 1;
        self.manifest_len = 0;
        self.body_len = 0;
        self.streams = false;
        Some(SourceBatch {
            manifest: Arc::new(std::mem::take(&mut self.entries)),
            contents: Arc::new(std::mem::take(&mut self.contents)),
            declined: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::RelPath;
    use crate::wire::layout::Layout;
    use crate::wire::manifest::{Entry, Extent, FileTime, Kind, MAX_EXTENTS, MAX_PATTERNS};

    fn found(kind: Kind) -> FoundEntry {
        let path = RelPath::parse(b"a/path").unwrap();
        let entry = Entry { path, kind, mode: 0o644, uid: 1, gid: 1, mtime: FileTime::default() };
        FoundEntry { entry, content: None, digest: None, age: None, origin: None }
    }

    fn group(all: Vec<FoundEntry>) -> Vec<SourceBatch> {
        let mut batcher = Batcher::new();
        let mut batches: Vec<SourceBatch> =
            all.into_iter().filter_map(|f| batcher.push(f)).collect();
        batches.extend(batcher.finish());
        assert!(batcher.finish().is_none());
        batches
    }

    fn file(size: u64) -> FoundEntry {
        found(Kind::File { size, data: None })
    }

    fn counts(batches: &[SourceBatch]) -> Vec<usize> {
        for batch in batches {
            assert_eq!(batch.manifest.entries.len(), batch.contents.len());
            assert!(batch.manifest.emit().len() <= MAX_MANIFEST);
            assert!(Layout::new(&batch.manifest, 1_424).unwrap().is_sound());
        }
        batches.iter().map(|batch| batch.manifest.entries.len()).collect()
    }

    #[test]
    fn the_first_batches_are_small() {
        let batches = group((0..3_000).map(|_| found(Kind::Fifo)).collect());
        assert_eq!(counts(&batches), [64, 256, 1_024, 1_024, 632]);
        assert!(group(Vec::new()).is_empty());
    }

    #[test]
    fn a_long_file_has_its_body_alone_but_not_its_manifest() {
        let long = STREAM_OVER + 1;
        let all = vec![
            found(Kind::Open),
            file(10),
            file(STREAM_OVER),
            file(STREAM_OVER + 1),
            found(Kind::Close { listed: false }),
            file(long),
            file(0),
            found(Kind::Close { listed: false }),
            file(long),
            file(1),
        ];
        assert_eq!(counts(&group(all)), [3, 2, 3, 1, 1]);
        assert_eq!(counts(&group(vec![found(Kind::Open), file(long)])), [2]);
        let fit = (MAX_BODY / STREAM_OVER) as usize;
        let all = (0..2 * fit + 1).map(|_| file(STREAM_OVER)).collect();
        assert_eq!(counts(&group(all)), [fit, fit, 1]);
    }

    #[test]
    fn the_setup_comes_first_and_only_once_with_or_without_entries() {
        let setup = || Setup { patterns: vec![b'x'; MAX_PATTERNS], ..Setup::default() };
        let extents = (0..MAX_EXTENTS as u64).map(|n| Extent { start: n * 9, end: n * 9 + 1 });
        let holey = found(Kind::File { size: 1 << 40, data: Some(extents.collect()) });
        let mut batcher = Batcher::with_setup(setup());
        let mut batches: Vec<SourceBatch> =
            [holey.clone(), holey, file(1)].into_iter().filter_map(|f| batcher.push(f)).collect();
        batches.extend(batcher.finish());
        assert_eq!(counts(&batches), [1, 1, 1]);
        let setups: Vec<bool> = batches.iter().map(|b| b.manifest.setup.is_some()).collect();
        assert_eq!(setups, [true, false, false]);
        let mut batcher = Batcher::with_setup(setup());
        assert_eq!(batcher.finish().unwrap().manifest.setup, Some(setup()));
        assert!(batcher.finish().is_none());
    }

    #[test]
    fn what_is_too_long_is_left_out_and_named() {
        let batches = group(vec![found(Kind::Open), file(0), file(1 << 50), found(Kind::Fifo)]);
        let (files, others) = batches[0].without_files();
        assert_eq!(files.len(), 1);
        let kinds: Vec<Kind> = others.manifest.entries.iter().map(|e| e.kind.clone()).collect();
        let empty = Kind::File { size: 0, data: None };
        assert_eq!(kinds, [Kind::Open, empty, Kind::Keep, Kind::Fifo]);
        assert_eq!(others.contents.len(), 4);
        assert!(others.without_files().0.is_empty());
    }

    #[test]
    fn a_manifest_stays_under_its_bound() {
        let extents = |n| (0..n).map(|n| Extent { start: n * 9, end: n * 9 + 1 }).collect();
        let holey = || found(Kind::File { size: 1 << 40, data: Some(extents(MAX_EXTENTS as u64)) });
        assert_eq!(counts(&group(vec![holey(), holey()])), [1, 1]);
        let links = (0..900).map(|_| found(Kind::Symlink(vec![b'x'; 4_095]))).collect();
        assert_eq!(counts(&group(links)), [64, 252, 252, 252, 80]);
    }
}
