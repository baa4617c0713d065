//! What a manifest says of mirrored paths.

use super::super::batch::Batcher;
use super::super::testing::{TempDir, Transfer, found};
use crate::name::RelPath;
use crate::wire::manifest::{Entry, Kind};
use crate::wire::mode::Mode;
use crate::wire::outcome::{Need, Outcome};
use crate::wire::versions::tests::members;

#[test]
fn versions_are_remarks_and_their_objects_are_not_put_anywhere_by_themselves() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("a", "new");
    from.write("b", "other");
    to.write("a", "old, of another length");
    for mode in [Mode::SEND, Mode::Send { delete: true, ignore_times: true, dry_run: false }] {
        let mut all = found(&from.root(), &RelPath::base());
        let mut set = all[0].clone();
        (set.content, set.age) = (None, None);
        let kind = Kind::Set { members: members(), context: None };
        set.entry = Entry { kind, mode: 0, ..set.entry };
        let mut batcher = Batcher::new();
        assert!(batcher.push(set).is_none());
        assert!(batcher.push_version(all.remove(0), Some(members()[0].dot)).is_none());
        assert!(batcher.push(all.remove(0)).is_none());
        let batch = batcher.finish().unwrap();
        let (files, kept) = batch.without_files();
        assert_eq!((files.len(), kept.manifest.dots.len()), (2, 0), "what is kept is no version");
        let lines = Transfer::new(1, mode).batch(&mut to.disk(), &from.root(), &batch);
        let untouched = |path: &str| (path.to_owned(), Need::Skip, Outcome::Skipped);
        assert_eq!(lines[..2], [untouched("a"), untouched("a")]);
        assert_eq!(lines[2], ("b".to_owned(), Need::All, Outcome::Updated));
        let read = |name| std::fs::read_to_string(to.join(name)).unwrap();
        assert_eq!((read("a").len(), read("b").as_str()), (22, "other"));
    }
}
