//! One kind of thing in the place of another.

use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

use super::super::testing::*;
use crate::sys::fsat::{self, FileType};
use crate::wire::outcome::{Need, Outcome, Reason};

fn make(dir: &TempDir, kind: &str) {
    let fd = std::fs::File::open(dir.path()).unwrap();
    match kind {
        "file" => drop(dir.write("x", b"content")),
        "long file" => drop(dir.write("x", vec![1; 5 << 20])),
        "link" => symlink("content", dir.join("x")).unwrap(),
        "fifo" => fsat::mknod_at(fd.as_fd(), b"x", FileType::Fifo, 0o600, (0, 0)).unwrap(),
        "device" => fsat::mknod_at(fd.as_fd(), b"x", FileType::Char, 0o600, (1, 3)).unwrap(),
        "other device" => fsat::mknod_at(fd.as_fd(), b"x", FileType::Char, 0o600, (1, 5)).unwrap(),
        "socket" => drop(std::os::unix::net::UnixListener::bind(dir.join("x")).unwrap()),
        "empty dir" => drop(dir.mkdir("x")),
        "full dir" => drop(dir.write("x/child", b"")),
        _ => panic!("{kind}"),
    }
}

#[test]
fn anything_takes_the_place_of_anything_but_of_a_full_directory() {
    let sent = ["file", "long file", "link", "fifo", "empty dir", "device"];
    let there = [
        "file",
        "long file",
        "link",
        "fifo",
        "empty dir",
        "full dir",
        "socket",
        "device",
        "other device",
    ];
    let possible = |kind: &&&str| is_root() || !kind.contains("device");
    for sent in sent.iter().filter(possible) {
        for there in there.iter().filter(possible) {
            let (from, to) = (TempDir::new("from"), TempDir::new("to"));
            make(&from, sent);
            make(&to, there);
            set_mtime(&from.join("x"), 1_000, 1);
            let before = snapshot(to.path());
            let lines = send(&from, &to);
            let failed = match (*sent, *there) {
                ("empty dir", "empty dir" | "full dir") => None,
                ("empty dir", "link") => Some(Reason::LinkInPath),
                ("empty dir", _) => Some(Reason::NotADirectoryInPlace),
                (_, "full dir") => Some(Reason::DirectoryInPlace),
                _ => None,
            };
            match failed {
                Some(reason) => {
                    let failed = (Need::Failed(reason), Outcome::Failed(reason));
                    assert_eq!((lines[0].1, lines[0].2), failed, "{sent} for {there}");
                    assert_eq!(snapshot(to.path()), before);
                }
                None if *there == "full dir" => assert!(to.join("x/child").exists()),
                None => assert_same(&from, &to),
            }
            assert_eq!(staged(to.path()), 0);
        }
    }
}

#[test]
fn a_directory_that_fills_after_the_plan_stays() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("x", b"file");
    to.mkdir("x");
    let root = from.root();
    let batch = one_batch(&root, &path("x"));
    let mut disk = to.disk();
    let mut transfer = Transfer::new(1, Default::default());
    let (number, needs, file) = transfer.plan(&mut disk, &batch);
    transfer.stage(&mut disk, &root, &batch, (number, &needs, file));
    to.write("x/new", b"");
    let outcomes = transfer.commit(&mut disk, number, &[]);
    assert_eq!(outcomes, [Outcome::Failed(Reason::DirectoryInPlace)]);
    assert!(to.join("x/new").exists());
    assert_eq!(staged(to.path()), 0);
}
