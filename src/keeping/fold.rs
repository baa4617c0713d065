//! Several lists as one: what the latest of them says of each path.

use std::collections::BTreeMap;

use crate::fs::batch::{Batcher, SourceBatch};
use crate::fs::found::FoundEntry;
use crate::name::RelPath;
use crate::wire::manifest::{Entry, Kind, Manifest, Setup};
use crate::wire::names::Names;

/// What lists say of paths, by path in the order of a walk.
#[derive(Default)]
pub(super) struct Fold {
    paths: BTreeMap<Box<[u8]>, Entry>,
    setup: Option<Setup>,
}

/// A path in the order of a walk: a directory directly before what is in it.
fn key(path: &RelPath) -> Box<[u8]> {
    path.as_bytes().iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect()
}

impl Fold {
    /// Adds a list, later than those before; `deletes`: what it says is gone was deleted. None if it cannot be folded.
    pub(super) fn add(&mut self, list: Vec<Manifest>, deletes: bool) -> Option<()> {
        let mut setups = list.iter().filter_map(|manifest| manifest.setup.clone());
        self.setup = Some(setups.next().filter(|_| setups.next().is_none())?);
        let entries = || list.iter().flat_map(|manifest| &manifest.entries);
        if deletes {
            let clears =
                |entry: &&Entry| matches!(entry.kind, Kind::Gone | Kind::Close { listed: true });
            entries().filter(clears).for_each(|entry| self.clear_below(&entry.path));
        }
        for entry in entries() {
            match &entry.kind {
                Kind::Ahead { .. } | Kind::Set { .. } | Kind::Close { listed: false } => {}
                Kind::Gone | Kind::Close { listed: true } if !deletes => {}
                Kind::Close { listed: true } => {
                    if let Some(open) = self.paths.get_mut(&key(&entry.path)) {
                        open.kind = Kind::Close { listed: true };
                    }
                }
                Kind::Open => {
                    // That nothing else is in it was said before.
                    let was = self.paths.get(&key(&entry.path)).map(|was| &was.kind);
                    let listed = matches!(was, Some(Kind::Gone | Kind::Close { listed: true }));
                    let kind = Kind::Close { listed };
                    self.paths.insert(key(&entry.path), Entry { kind, ..entry.clone() });
                }
                // What was said of it before still is so.
                Kind::Keep => {
                    self.paths.entry(key(&entry.path)).or_insert_with(|| entry.clone());
                }
                _ => {
                    self.clear_below(&entry.path);
                    self.paths.insert(key(&entry.path), entry.clone());
                }
            }
        }
        Some(())
    }

    fn clear_below(&mut self, path: &RelPath) {
        let (mut from, mut to) = (key(path).into_vec(), key(path).into_vec());
        from.push(0);
        to.push(1);
        let below: Vec<_> =
            self.paths.range(Box::from(from)..Box::from(to)).map(|(key, _)| key.clone()).collect();
        below.iter().for_each(|key| drop(self.paths.remove(key)));
    }

    /// All of it as one list, and what that names.
    pub(super) fn finish(self) -> (Vec<SourceBatch>, Names) {
        let mut batcher = self.setup.map_or_else(Batcher::new, Batcher::with_setup);
        let (mut batches, mut names) = (Vec::new(), Names::default());
        let mut give = |entry: Entry| batches.extend(batcher.push(FoundEntry::bare(entry)));
        let (mut gone, mut open): (Vec<Entry>, Vec<Entry>) = Default::default();
        for entry in self.paths.into_values() {
            while open.last().is_some_and(|dir| !entry.path.is_under(&dir.path)) {
                open.pop().into_iter().for_each(&mut give);
            }
            match entry.kind {
                Kind::Gone => gone.push(entry),
                Kind::Close { .. } => {
                    give(Entry { kind: Kind::Open, ..entry.clone() });
                    open.push(entry);
                }
                _ => give(entry),
            }
        }
        open.into_iter().rev().chain(gone).for_each(give);
        batches.extend(batcher.finish());
        batches.iter().for_each(|batch| names.add_all(&batch.manifest));
        (batches, names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::manifest::tests::{entry, path};

    const FILE: Kind = Kind::File { size: 0, data: None };

    /// A list of these: `d/` is a directory in which nothing else is, `d+` one of which nothing is said, `!f` is gone.
    fn list(shown: &[&str]) -> Vec<Manifest> {
        let mut entries = Vec::new();
        let mut open: Vec<(&str, bool)> = Vec::new();
        for text in shown {
            let at = text.trim_matches(['/', '+', '!']);
            while open.last().is_some_and(|(dir, _)| !path(at).is_under(&path(dir))) {
                let (dir, listed) = open.pop().unwrap();
                entries.push(entry(dir, Kind::Close { listed }));
            }
            match text.ends_with(['/', '+']) {
                true => {
                    entries.push(entry(at, Kind::Open));
                    open.push((at, text.ends_with('/')));
                }
                false => {
                    entries.push(entry(at, if text.starts_with('!') { Kind::Gone } else { FILE }))
                }
            }
        }
        let rest = open.into_iter().rev();
        entries.extend(rest.map(|(dir, listed)| entry(dir, Kind::Close { listed })));
        vec![Manifest { setup: Some(Setup::default()), entries, ..Manifest::default() }]
    }

    fn shown(batches: &[SourceBatch]) -> Vec<String> {
        let entries = batches.iter().flat_map(|batch| &batch.manifest.entries);
        let text = |entry: &Entry| match entry.kind {
            Kind::Gone => Some(format!("!{}", entry.path)),
            Kind::Open => None,
            Kind::Close { listed } => {
                Some(format!("{}{}", entry.path, if listed { "/" } else { "+" }))
            }
            _ => Some(entry.path.to_string()),
        };
        entries.filter_map(text).collect()
    }

    fn folded(lists: &[&[&str]]) -> Vec<String> {
        let mut fold = Fold::default();
        lists.iter().for_each(|shown| fold.add(list(shown), true).unwrap());
        let (batches, names) = fold.finish();
        let mut again = Fold::default();
        lists.iter().for_each(|shown| again.add(list(shown), true).unwrap());
        again
            .add(batches.iter().map(|batch| Manifest::clone(&batch.manifest)).collect(), true)
            .unwrap();
        let (same, again) = again.finish();
        assert_eq!((shown(&same), again), (shown(&batches), names), "once more changes nothing");
        shown(&batches)
    }

    #[test]
    fn what_comes_later_is_what_is_there() {
        assert_eq!(folded(&[&["a", "b"], &["b", "c"]]), ["a", "b", "c"]);
        assert_eq!(folded(&[&["d+", "d/a"], &["d+", "d/b"]]), ["d/a", "d/b", "d+"]);
        assert_eq!(folded(&[&["a", "b"], &["!a"]]), ["b", "!a"]);
        assert_eq!(folded(&[&["!a"], &["a"]]), ["a"]);
        assert_eq!(folded(&[&["d+", "d/a", "d/e+", "d/e/f"], &["!d"]]), ["!d"]);
        assert_eq!(folded(&[&["d+", "d/a"], &["d"]]), ["d"]);
    }

    #[test]
    fn of_a_directory_stays_known_that_nothing_else_is_in_it() {
        assert_eq!(folded(&[&["d+", "d/a"], &["d/", "d/b"]]), ["d/b", "d/"]);
        assert_eq!(folded(&[&["d/", "d/b"], &["d+", "d/c"]]), ["d/b", "d/c", "d/"]);
        assert_eq!(folded(&[&["!d"], &["d+", "d/a"]]), ["d/a", "d/"]);
        assert_eq!(folded(&[&["d/", "d/b"], &["!d/b"]]), ["d/", "!d/b"]);
    }

    #[test]
    fn what_was_not_deleted_is_not_said_to_be_gone() {
        let mut fold = Fold::default();
        fold.add(list(&["d+", "d/a"]), true).unwrap();
        fold.add(list(&["d/", "d/b", "!c", "!d/a"]), false).unwrap();
        assert_eq!(shown(&fold.finish().0), ["d/a", "d/b", "d+"]);
    }
}
