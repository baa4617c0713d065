//! Transfers of lists of paths: what there is of them, and what is gone.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::super::disk::Disk;
use super::super::found::WalkItem;
use super::super::path_list::{Listed, PathList};
use super::super::testing::*;
use crate::engine::disk_job::Mode;
use crate::name::RelPath;
use crate::wire::manifest::Kind;
use crate::wire::outcome::{Need, Outcome, SpoolCode};

const DELETE: Mode = Mode::Send { delete: true, ignore_times: false, dry_run: false };

fn exists(at: &Path) -> bool {
    at.symlink_metadata().is_ok()
}

/// What a walk of a list gives, each with a sign.
fn walked(from: &TempDir, keep: bool, paths: &[(&str, bool)]) -> Vec<String> {
    let listed =
        |&(at, whole): &(&str, bool)| Listed { path: path(at), whole, keeps: false, from: None };
    let list = PathList::new(paths.iter().map(listed).collect());
    let options =
        super::super::walk::WalkOptions { list: Some(std::sync::Arc::new(list)), keep, ..whole() };
    let shown = |item| match item {
        WalkItem::Found(found) => {
            let sign = match found.entry.kind {
                Kind::Open => "+",
                Kind::Close { listed: true } => "=",
                Kind::Close { listed: false } => "-",
                Kind::Gone => "!",
                Kind::Keep => "?",
                _ => "",
            };
            format!("{sign}{}", found.entry.path)
        }
        WalkItem::Failed { path, error } => {
            format!("{} {}", String::from_utf8_lossy(&path), error.raw_os_error().unwrap())
        }
        other => format!("{other:?}"),
    };
    walk(&from.root(), &RelPath::base(), options).into_iter().map(shown).collect()
}

#[test]
fn only_what_is_listed_is_walked_and_what_is_gone_comes_last() {
    let from = TempDir::new("from");
    for name in ["a/b/x", "a/b/y", "a/other", "d/e/f", "d/g", "z"] {
        from.write(name, "1");
    }
    let list = [("z", false), ("a/b/x", false), ("a/none", false), ("d", true), ("no/such", true)];
    let want =
        ["+a", "+a/b", "a/b/x", "-a/b", "-a", "+d", "+d/e", "d/e/f", "=d/e", "d/g", "=d", "z"];
    assert_eq!(walked(&from, true, &list), [&want[..], &["!a/none", "!no/such"]].concat());
    let errors = walked(&from, false, &list);
    assert!(errors.contains(&format!("a/none {}", libc::ENOENT)), "{errors:?}");
    assert!(errors.contains(&format!("no/such {}", libc::ENOENT)), "{errors:?}");
    // A directory without what is in it, and something in it.
    let list = [("a", false), ("a/other", false)];
    assert_eq!(walked(&from, true, &list), ["+a", "a/other", "-a"]);
}

#[test]
fn what_is_below_a_file_or_a_link_is_not_there() {
    let from = TempDir::new("from");
    from.write("file", "1");
    symlink("/", from.join("link")).unwrap();
    let both = [("file", false), ("file/x", false), ("link", false), ("link/etc", false)];
    assert_eq!(walked(&from, true, &both), ["file", "link"]);
    let errors = walked(&from, false, &both);
    assert_eq!(
        errors,
        [
            format!("file/x {}", libc::ENOTDIR),
            "file".into(),
            format!("link/etc {}", libc::ENOTDIR),
            "link".into()
        ]
    );
    // What leads there is not listed: a link is not followed, and says nothing of what is behind it.
    let below = [("file/x", false), ("link/etc", false)];
    let want = [format!("link/etc {}", libc::ELOOP), "?link/etc".into(), "!file/x".into()];
    assert_eq!(walked(&from, true, &below), want);
}

#[test]
fn what_is_listed_and_gone_is_deleted_and_nothing_else() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("a/new", "1");
    from.mkdir("d");
    for name in ["a/old", "a/other", "a/tree/x/y", "d/e/f", "d/other", "gone", "stays"] {
        to.write(name, "1");
    }
    symlink("/etc", to.join("gone-link")).unwrap();
    let paths = ["a/new", "a/old", "a/tree", "d/e/f", "gone", "gone-link", "none", "none/x"];
    for mode in [DELETE.dry(), DELETE] {
        let mut disk = to.disk();
        let run = Spooling::listed(&from.root(), &mut disk, mode, &[], &paths);
        run.tally(&mut disk);
        let want = ["a/old", "a/tree/x/y", "a/tree/x", "a/tree", "d/e/f", "gone", "gone-link"];
        assert_eq!(run.names(&mut disk), want);
        let deleted = if mode == DELETE { 7 } else { 0 };
        assert_eq!(run.delete(&mut disk), (deleted, 0));
        run.transfer.close(&mut disk, false);
        assert_eq!(exists(&to.join("gone")), mode != DELETE);
    }
    assert!(["a/new", "a/other", "d/e", "d/other", "stays"].iter().all(|at| exists(&to.join(at))));
    assert!(!exists(&to.join("a/tree")) && exists(Path::new("/etc")));
}

#[test]
fn a_whole_directory_is_all_that_is_left_there() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("top/d/new", "1");
    for name in ["top/d/old", "top/d/deep/old", "top/other", "other"] {
        to.write(name, "1");
    }
    let mut disk = to.disk();
    let run = Spooling::listed(&from.root(), &mut disk, DELETE, &[], &["top/d/"]);
    assert_eq!(run.tally(&mut disk).0, 3);
    assert_eq!(run.delete(&mut disk), (3, 0));
    run.transfer.close(&mut disk, false);
    assert!(["top/d/new", "top/other", "other"].iter().all(|at| exists(&to.join(at))));
}

#[test]
fn what_has_another_kind_takes_the_place() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("was-dir", "file");
    symlink("elsewhere", from.join("was-dir-too")).unwrap();
    from.write("was-file/in/it", "1");
    for name in ["was-dir/a/b", "was-dir-too/a", "was-file"] {
        to.write(name, "1");
    }
    let mut disk = to.disk();
    let paths =
        ["was-dir", "was-dir/a", "was-dir/a/b", "was-dir-too", "was-dir-too/a", "was-file/"];
    let run = Spooling::listed(&from.root(), &mut disk, DELETE, &[], &paths);
    assert_eq!(run.tally(&mut disk).0, 5);
    assert_eq!(run.delete(&mut disk), (5, 0));
    run.transfer.close(&mut disk, false);
    assert_same(&from, &to);
}

#[test]
fn what_is_excluded_stays_and_is_not_said_to_be_gone() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.mkdir("build");
    for name in ["build/x", "tree/keep.tmp", "tree/gone", "one.tmp", "two"] {
        to.write(name, "1");
    }
    let rules = ["- build/", "- *.tmp", "- out/"];
    let mut disk = to.disk();
    let paths = ["build/x", "tree", "one.tmp", "two", "out/x"];
    let run = Spooling::listed(&from.root(), &mut disk, DELETE, &rules, &paths);
    run.tally(&mut disk);
    assert_eq!(run.names(&mut disk), ["tree/gone", "two"]);
    run.delete(&mut disk);
    assert!(["build/x", "tree/keep.tmp", "one.tmp"].iter().all(|at| exists(&to.join(at))));
}

#[test]
fn what_came_back_is_not_deleted() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    for name in ["file", "tree/a", "tree/b", "gone"] {
        to.write(name, "1");
    }
    let mut disk = to.disk();
    let root = from.root();
    let mut run = Spooling::listed(&root, &mut disk, DELETE, &[], &["file", "gone", "tree"]);
    from.write("file", "2");
    from.write("tree/a", "2");
    let list = |at: &str| Listed { path: path(at), whole: true, keeps: false, from: None };
    let list = PathList::new(vec![list("file"), list("tree")]);
    for mut batch in listed_batches(&root, &RelPath::base(), DELETE, &[], Some(list)) {
        std::sync::Arc::make_mut(&mut batch.manifest).setup = None;
        run.lines.extend(run.transfer.batch(&mut disk, &root, &batch));
    }
    run.tally(&mut disk);
    assert_eq!(run.names(&mut disk), ["gone", "tree/b"]);
    assert_eq!(run.delete(&mut disk), (2, 0));
    run.transfer.close(&mut disk, false);
    assert!(exists(&to.join("tree/a")) && !exists(&to.join("tree/b")));
    assert_eq!(fs::read(to.join("file")).unwrap(), b"2");
}

#[test]
fn a_list_that_names_the_same_twice_deletes_it_once() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    to.write("tree/a", "1");
    to.write("b", "1");
    let mut disk = to.disk();
    let mut run = Spooling::listed(&from.root(), &mut disk, DELETE, &[], &["b"]);
    for at in ["b", "a", "tree", "tree/a", "tree", "..."] {
        let gone = super::super::found::FoundEntry::gone(path(at));
        let batch = batches(vec![gone]).remove(0);
        let lines = run.transfer.batch(&mut disk, &from.root(), &batch);
        assert_eq!(lines[0].2, Outcome::Skipped);
    }
    run.tally(&mut disk);
    assert_eq!(run.names(&mut disk), ["b", "tree/a", "tree"]);
    assert!(run.pages(&mut disk).iter().all(|(_, code)| *code == SpoolCode::Spooled));
    // A transfer of anything else cannot say so.
    let mut other = Transfer::new(79, DELETE);
    for batch in spooling_batches(&from.root(), &RelPath::base(), DELETE, &["- b", "- tree"]) {
        other.batch(&mut disk, &from.root(), &batch);
    }
    let gone = batches(vec![super::super::found::FoundEntry::gone(path("b"))]).remove(0);
    other.batch(&mut disk, &from.root(), &gone);
    let other = Spooling { transfer: other, lines: Vec::new() };
    other.tally(&mut disk);
    assert_eq!(other.names(&mut disk), [""; 0]);
    assert!(fs::metadata(to.join("b")).is_ok());
}

/// Sends `to` as what was moved from `from`; how many bytes the target asked for.
fn send_moved(base: &TempDir, disk: &mut Disk, moved: &[(&str, &str)]) -> (Spooling, u64) {
    let listed = moved.iter().flat_map(|&(from, to)| {
        let gone = Listed { path: path(from), whole: false, keeps: false, from: None };
        [Listed { path: path(to), whole: true, keeps: false, from: Some(path(from)) }, gone]
    });
    let (root, list) = (base.root(), PathList::new(listed.collect()));
    let mut transfer = Transfer::new(80, DELETE);
    let (mut lines, mut asked) = (Vec::new(), 0);
    for batch in listed_batches(&root, &RelPath::base(), DELETE, &[], Some(list)) {
        let done = transfer.batch(disk, &root, &batch);
        let needs = batch.manifest.entries.iter().zip(&done);
        asked += needs.filter(|(_, line)| line.1 == Need::All).map(|(e, _)| e.size()).sum::<u64>();
        lines.extend(done);
    }
    (Spooling { transfer, lines }, asked)
}

#[test]
fn what_was_moved_is_taken_from_where_it_was() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    let big =
        |seed: u8, len: usize| (0..len).map(|n| (n as u8).wrapping_mul(seed)).collect::<Vec<u8>>();
    from.write("old/d/one", big(3, 100_000));
    from.write("old/d/sub/long", big(5, 2 << 20));
    from.write("old/d/sub/short", "short");
    from.write("file", big(7, 70_000));
    from.write("stays", "1");
    send(&from, &to);
    fs::create_dir(from.join("new")).unwrap();
    fs::rename(from.join("old/d"), from.join("new/d2")).unwrap();
    fs::rename(from.join("file"), from.join("new/file")).unwrap();
    chmod(&from.join("new/file"), 0o600);
    let mut disk = to.disk();
    let (run, asked) = send_moved(&from, &mut disk, &[("old/d", "new/d2"), ("file", "new/file")]);
    assert_eq!(asked, 5, "{:?}", run.lines);
    assert!(run.lines.iter().any(|line| line.0 == "new/file" && line.2 == Outcome::Updated));
    run.tally(&mut disk);
    run.delete(&mut disk);
    run.transfer.close(&mut disk, false);
    assert_same(&from, &to);
    assert_eq!(staged(to.path()), 0);
}

#[test]
fn what_is_not_the_same_where_it_was_is_asked_for() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    let content = vec![7; 50_000];
    for at in ["same", "other-content", "other-time", "link", "gone"] {
        let path = from.write(at, &content);
        set_mtime(&path, 1_000_000_000, 5);
    }
    send(&from, &to);
    let mut other = content.clone();
    other[40_000] = 8;
    set_mtime(&to.write("other-content", &other), 1_000_000_000, 5);
    set_mtime(&to.join("other-time"), 1_000_000_001, 5);
    fs::rename(to.join("link"), to.join("elsewhere")).unwrap();
    symlink("elsewhere", to.join("link")).unwrap();
    fs::remove_file(to.join("gone")).unwrap();
    let all = ["same", "other-content", "other-time", "link", "gone"];
    for at in all {
        fs::rename(from.join(at), from.join(&format!("new-{at}"))).unwrap();
    }
    let names: Vec<String> = all.iter().map(|at| format!("new-{at}")).collect();
    let moved: Vec<(&str, &str)> =
        all.iter().zip(&names).map(|(from, to)| (*from, to.as_str())).collect();
    let mut disk = to.disk();
    let (run, asked) = send_moved(&from, &mut disk, &moved);
    assert_eq!(asked, 4 * 50_000, "{:?}", run.lines);
    run.transfer.close(&mut disk, false);
    for name in names {
        assert_eq!(fs::read(to.join(&name)).unwrap(), content, "{name}");
    }
}
