//! What a walk finds, and in which order.

use super::super::found::WalkItem;
use super::super::regroup::Regroup;
use super::super::testing::*;
use super::super::walk::{WalkOptions, Walker};
use crate::ids::EntryNo;
use crate::name::RelPath;
use crate::wire::manifest::{Kind, Manifest};

fn said(items: &[WalkItem]) -> Vec<String> {
    let said = items.iter().map(|item| match item {
        WalkItem::Found(found) => match found.entry.kind {
            Kind::Open => format!("+{}", found.entry.path),
            Kind::Close { listed: false } => format!("-{}", found.entry.path),
            Kind::Close { listed: true } => format!("={}", found.entry.path),
            Kind::Keep => format!("keep {}", found.entry.path),
            _ => found.entry.path.to_string(),
        },
        WalkItem::Failed { path, error } => {
            format!("{} {:?}", String::from_utf8_lossy(path), error.raw_os_error())
        }
        WalkItem::Missing(path, missing) => format!("missing {missing:?} {path}"),
        WalkItem::Socket(path) => format!("socket {path}"),
        WalkItem::OwnerUnmatch { path, uid, want } => format!("{path} {uid} != {want}"),
    });
    said.collect()
}

fn tree() -> TempDir {
    let dir = TempDir::new("walk");
    for name in ["b/x", "b/a/1", "b-/x", "a.txt", ".makuosan/x", "b/.makuosan/y", "b/z.tmp"] {
        dir.write(name, name);
    }
    drop(std::os::unix::net::UnixListener::bind(dir.join("b/sock")).unwrap());
    dir
}

#[test]
fn pre_order_children_by_name_without_our_own() {
    let (dir, base) = (tree(), RelPath::base());
    let items = walk(&dir.root(), &base, whole());
    let want = [
        "a.txt",
        "+b",
        "+b/a",
        "b/a/1",
        "-b/a",
        "socket b/sock",
        "b/x",
        "b/z.tmp",
        "-b",
        "+b-",
        "b-/x",
        "-b-",
    ];
    assert_eq!(said(&items), want);
}

#[test]
fn what_is_skipped_is_not_looked_into() {
    let (dir, base) = (tree(), RelPath::base());
    let skip = |path: &RelPath, is_dir: bool| {
        let path = path.as_bytes();
        path.ends_with(b".tmp") || (is_dir && path.ends_with(b"a")) || path == b"b-"
    };
    let options = || WalkOptions { skip: Some(Box::new(skip)), ..whole() };
    let want = ["a.txt", "+b", "socket b/sock", "b/x", "-b"];
    assert_eq!(said(&walk(&dir.root(), &base, options())), want);
    assert!(walk(&dir.root(), &path("b/z.tmp"), options()).is_empty());
    // A directory on the way is not asked about.
    assert_eq!(said(&walk(&dir.root(), &path("b-/x"), options())), ["+b-", "b-/x", "-b-"]);
}

#[test]
fn without_recursion_a_directory_comes_alone() {
    let (dir, base) = (tree(), RelPath::base());
    let options = || WalkOptions { recursive: false, ..whole() };
    assert_eq!(said(&walk(&dir.root(), &path("b"), options())), ["+b", "-b"]);
    assert_eq!(said(&walk(&dir.root(), &path("b/a"), options())), ["+b", "+b/a", "-b/a", "-b"]);
    assert_eq!(said(&walk(&dir.root(), &path("a.txt"), options())), ["a.txt"]);
    assert_eq!(said(&walk(&dir.root(), &path("b/sock"), options())), ["socket b/sock"]);
    assert!(walk(&dir.root(), &base, options()).is_empty());
}

#[test]
fn what_others_own_is_left_out_with_what_is_in_it() {
    if !is_root() {
        eprintln!("SKIPPED what_others_own_is_left_out_with_what_is_in_it: needs root");
        return;
    }
    let (dir, base) = (tree(), RelPath::base());
    let options = || WalkOptions { own_only: Some(0), ..whole() };
    for name in ["b/a", "b-/x"] {
        std::os::unix::fs::chown(dir.join(name), Some(7), None).unwrap();
    }
    let want = [
        "a.txt",
        "+b",
        "b/a 7 != 0",
        "socket b/sock",
        "b/x",
        "b/z.tmp",
        "-b",
        "+b-",
        "b-/x 7 != 0",
        "-b-",
    ];
    assert_eq!(said(&walk(&dir.root(), &base, options())), want);
    assert_eq!(said(&walk(&dir.root(), &path("b/a"), options())), ["b/a 7 != 0"]);
    // Passed through, but not sent.
    assert_eq!(said(&walk(&dir.root(), &path("b/a/1"), options())), ["+b", "b/a/1", "-b"]);
}

#[test]
fn an_unreadable_directory_is_said_and_sent_empty() {
    if !is_nobody("fs::tests::walks::an_unreadable_directory_is_said_and_sent_empty") {
        return;
    }
    let (dir, base) = (tree(), RelPath::base());
    chmod(&dir.join("b/a"), 0o300);
    let options =
        WalkOptions { skip: Some(Box::new(|path, _| path.as_bytes() == b"b-")), ..whole() };
    let items = walk(&dir.root(), &base, options);
    let want =
        ["a.txt", "+b", "+b/a", "b/a Some(13)", "-b/a", "socket b/sock", "b/x", "b/z.tmp", "-b"];
    assert_eq!(said(&items), want);
    chmod(&dir.join("b"), 0o600);
    assert_eq!(
        said(&walk(&dir.root(), &path("b"), whole())),
        ["+b", "b/a Some(13)", "b/sock Some(13)", "b/x Some(13)", "b/z.tmp Some(13)", "-b"]
    );
}

#[test]
fn a_path_too_long_to_send_is_said() {
    let dir = TempDir::new("long");
    // Built from the middle, as no call takes the whole path.
    let half = vec!["d".repeat(100); 20].join("/");
    dir.mkdir(&half);
    let other = TempDir::new("other");
    other.mkdir(&half);
    other.mkdir(&format!("{half}/{}", "e".repeat(200)));
    std::fs::rename(other.join(&"d".repeat(100)), dir.join(&half).join("d")).unwrap();
    let items = said(&walk(&dir.root(), &RelPath::base(), whole()));
    let failed: Vec<&String> = items.iter().filter(|said| said.contains("Some(36)")).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(items.len() - 1, items.iter().filter(|said| said.starts_with(['+', '-'])).count());
}

#[test]
fn with_keep_every_name_comes_and_complete_listings_say_so() {
    let (dir, base) = (tree(), RelPath::base());
    let skip = |path: &RelPath, is_dir: bool| {
        let path = path.as_bytes();
        path.ends_with(b".tmp") || (is_dir && path.ends_with(b"a")) || path == b"b-"
    };
    let options = || WalkOptions { skip: Some(Box::new(skip)), keep: true, ..whole() };
    let want = [
        "a.txt",
        "+b",
        "keep b/a",
        "socket b/sock",
        "keep b/sock",
        "b/x",
        "keep b/z.tmp",
        "=b",
        "keep b-",
    ];
    assert_eq!(said(&walk(&dir.root(), &base, options())), want);
    assert!(walk(&dir.root(), &path("b/z.tmp"), options()).is_empty());
    // What is only passed through, or not looked into, is not listed.
    assert_eq!(said(&walk(&dir.root(), &path("b/x"), options())), ["+b", "b/x", "-b"]);
    let alone = WalkOptions { recursive: false, ..options() };
    assert_eq!(said(&walk(&dir.root(), &path("b"), alone)), ["+b", "-b"]);
    let below = WalkOptions { keep: true, ..whole() };
    assert_eq!(
        said(&walk(&dir.root(), &path("b/a"), below)),
        ["+b", "+b/a", "b/a/1", "=b/a", "-b"]
    );
}

#[test]
fn with_names_only_all_but_directories_are_kept_without_a_word() {
    let (dir, base) = (tree(), RelPath::base());
    let options = || WalkOptions { names_only: true, keep: true, ..whole() };
    let want = [
        "keep a.txt",
        "+b",
        "+b/a",
        "keep b/a/1",
        "=b/a",
        "keep b/sock",
        "keep b/x",
        "keep b/z.tmp",
        "=b",
        "+b-",
        "keep b-/x",
        "=b-",
    ];
    assert_eq!(said(&walk(&dir.root(), &base, options())), want);
    assert_eq!(said(&walk(&dir.root(), &path("b/x"), options())), ["+b", "keep b/x", "-b"]);
}

#[test]
fn what_cannot_be_listed_or_looked_at_is_kept() {
    if !is_nobody("fs::tests::walks::what_cannot_be_listed_or_looked_at_is_kept") {
        return;
    }
    let (dir, base) = (tree(), RelPath::base());
    chmod(&dir.join("b/a"), 0o300);
    chmod(&dir.join("b-"), 0o600);
    for names_only in [false, true] {
        let options = WalkOptions {
            keep: true,
            names_only,
            skip: Some(Box::new(|path, _| {
                path.as_bytes().starts_with(b"b/") && path != &self::path("b/a")
            })),
            ..whole()
        };
        let mut want = vec!["a.txt", "+b", "+b/a", "b/a Some(13)", "-b/a"];
        want.extend(["keep b/sock", "keep b/x", "keep b/z.tmp", "=b", "+b-"]);
        want.extend(["b-/x Some(13)", "keep b-/x", "=b-"]);
        if names_only {
            want[0] = "keep a.txt";
            want.retain(|said| *said != "b-/x Some(13)");
        }
        assert_eq!(said(&walk(&dir.root(), &base, options)), want);
    }
}

#[test]
fn what_others_own_is_kept_with_what_is_in_it() {
    if !is_root() {
        eprintln!("SKIPPED what_others_own_is_kept_with_what_is_in_it: needs root");
        return;
    }
    let dir = tree();
    for name in ["b/a", "b/x"] {
        std::os::unix::fs::chown(dir.join(name), Some(7), None).unwrap();
    }
    for names_only in [false, true] {
        let options = WalkOptions { own_only: Some(0), keep: true, names_only, ..whole() };
        let mut want = vec!["+b", "b/a 7 != 0", "keep b/a", "socket b/sock", "keep b/sock"];
        want.extend(["b/x 7 != 0", "keep b/x", "b/z.tmp", "=b"]);
        if names_only {
            want.retain(|said| !["socket b/sock", "b/x 7 != 0"].contains(said));
            want[5] = "keep b/z.tmp";
        }
        assert_eq!(said(&walk(&dir.root(), &path("b"), options)), want);
    }
}

#[test]
fn what_vanishes_is_kept() {
    let dir = tree();
    let options = WalkOptions { keep: true, ..whole() };
    let mut walker = Walker::new(dir.root(), RelPath::base(), options).unwrap();
    let first = walker.by_ref().take(2).collect::<Vec<_>>();
    assert_eq!(said(&first), ["a.txt", "+b"]);
    std::fs::remove_file(dir.join("b/x")).unwrap();
    std::fs::remove_dir_all(dir.join("b/a")).unwrap();
    let rest: Vec<WalkItem> = walker.collect();
    assert_eq!(
        said(&rest)[..6],
        ["keep b/a", "socket b/sock", "keep b/sock", "keep b/x", "b/z.tmp", "=b"]
    );
}

#[test]
fn digests_come_with_regular_files_into_the_manifest() {
    let dir = TempDir::new("digests");
    dir.write("d/abc", "abc");
    dir.write("d/empty", "");
    std::os::unix::fs::symlink("abc", dir.join("d/link")).unwrap();
    let options = WalkOptions { digests: true, ..whole() };
    let items = walk(&dir.root(), &RelPath::base(), options).into_iter().map(|item| match item {
        WalkItem::Found(found) => found,
        other => panic!("{other:?}"),
    });
    let batches = batches(items.collect());
    assert_eq!(batches.len(), 1);
    let manifest = &batches[0].manifest;
    let names: Vec<EntryNo> = manifest.digests.iter().map(|(entry, _)| *entry).collect();
    assert_eq!(names, [1, 2].map(EntryNo::new));
    // Of the offset of the only block, its bytes, and the length.
    assert_eq!(manifest.digest(EntryNo::new(1)).unwrap()[..4], [0x1b, 0x19, 0xf6, 0xb5]);
    assert_eq!(Manifest::parse(&manifest.emit()).as_ref(), Ok(&**manifest));
}

#[test]
fn a_file_whose_digest_cannot_be_had_is_said_and_kept() {
    let test = "fs::tests::walks::a_file_whose_digest_cannot_be_had_is_said_and_kept";
    if !is_nobody(test) {
        return;
    }
    let dir = TempDir::new("unreadable");
    dir.write("a", "abc");
    chmod(&dir.join("a"), 0o200);
    let options = WalkOptions { digests: true, keep: true, ..whole() };
    let items = walk(&dir.root(), &RelPath::base(), options);
    assert_eq!(said(&items), ["a Some(13)", "keep a"]);
}

#[test]
fn the_group_of_what_is_sent_but_not_of_the_way_can_be_another() {
    let dir = tree();
    let gid = std::os::unix::fs::MetadataExt::gid(&std::fs::metadata(dir.path()).unwrap());
    let regroup = Some(Regroup { gid: 4_321, by: None });
    let options = WalkOptions { regroup, ..whole() };
    let groups: Vec<u32> = walk(&dir.root(), &path("b/a"), options)
        .into_iter()
        .filter_map(|item| match item {
            WalkItem::Found(found) => Some(found.entry.gid),
            _ => None,
        })
        .collect();
    assert_eq!(groups, [gid, 4_321, 4_321, 4_321, gid]);
}

#[test]
fn another_group_gets_no_set_id_bits_and_no_rights_that_its_user_cannot_give() {
    let dir = TempDir::new("regroup");
    for (name, mode) in [("a", 0o6755), ("b", 0o640), ("c", 0o4664)] {
        dir.write(name, "x");
        chmod(&dir.join(name), mode);
    }
    std::fs::create_dir(dir.join("d")).unwrap();
    chmod(&dir.join("d"), 0o2775);
    let own = std::fs::metadata(dir.join("b")).unwrap();
    let (uid, gid) = {
        use std::os::unix::fs::MetadataExt;
        (own.uid(), own.gid())
    };
    let modes = |by: Option<(u32, Vec<u32>)>| {
        let regroup = Some(Regroup { gid: 4_321, by });
        let items = walk(&dir.root(), &RelPath::base(), WalkOptions { regroup, ..whole() });
        let modes = items.into_iter().filter_map(|item| match item {
            WalkItem::Found(found) if !found.entry.path.is_base() => {
                Some((found.entry.path.to_string(), found.entry.mode))
            }
            _ => None,
        });
        modes.collect::<std::collections::BTreeMap<_, _>>().into_values().collect::<Vec<_>>()
    };
    let all = [0o755, 0o640, 0o664, 0o775];
    assert_eq!(modes(None), all);
    assert_eq!(modes(Some((uid, vec![4_321]))), all);
    assert_eq!(modes(Some((uid + 1, vec![gid, 4_321]))), all);
    assert_eq!(modes(Some((uid + 1, vec![4_321]))), [0o755, 0o600, 0o644, 0o755]);
}
