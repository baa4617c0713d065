//! What a walk finds, and in which order.

use super::super::testing::*;
use super::super::walk::{WalkItem, WalkOptions};
use crate::name::RelPath;
use crate::wire::manifest::Kind;

fn said(items: &[WalkItem]) -> Vec<String> {
    let said = items.iter().map(|item| match item {
        WalkItem::Found(found) => match found.entry.kind {
            Kind::Open => format!("+{}", found.entry.path),
            Kind::Close => format!("-{}", found.entry.path),
            _ => found.entry.path.to_string(),
        },
        WalkItem::Failed { path, error } => {
            format!("{} {:?}", String::from_utf8_lossy(path), error.raw_os_error())
        }
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
