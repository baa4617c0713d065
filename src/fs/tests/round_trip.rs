//! What arrives is what was sent.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::sync::Arc;

use super::super::disk::DiskConfig;
use super::super::root::Root;
use super::super::testing::*;
use crate::engine::disk_job::Mode;
use crate::name::RelPath;
use crate::sys::fsat;
use crate::wire::layout::STREAM_OVER;
use crate::wire::outcome::{Need, Outcome};

/// One of each kind, with what is easily lost.
fn fill(dir: &TempDir) {
    dir.write("a/small", b"content");
    dir.write("a/empty", b"");
    chmod(&dir.write("a/secret", b"s"), 0o400);
    set_mtime(&dir.write("a/old", b"o"), -86_400, 1);
    set_mtime(&dir.write("a/future", b"f"), 1 << 33, 999_999_999);
    dir.write("a/b/c/d/deep", vec![7; 70_000]);
    dir.write("exactly", vec![1; STREAM_OVER as usize]);
    dir.write("long", vec![2; STREAM_OVER as usize + 1]);
    for n in 0..500 {
        dir.write(&format!("many/{n}"), format!("{n}").repeat(n % 40));
    }
    symlink("nowhere/at all", dir.join("a/link")).unwrap();
    symlink("x".repeat(4_000), dir.join("a/long link")).unwrap();
    set_mtime(&dir.join("a/link"), 1_000, 5);
    let fd = std::fs::File::open(dir.path()).unwrap();
    let fd = std::os::fd::AsFd::as_fd(&fd);
    fsat::mknod_at(fd, b"fifo", fsat::FileType::Fifo, 0o600, (0, 0)).unwrap();
    chmod(&dir.join("fifo"), 0o642);
    set_mtime(&dir.join("fifo"), 77, 8);
    dir.mkdir("empty dir");
    chmod(&dir.join("empty dir"), 0o1777);
    chmod(&dir.join("a/b/c"), 0o555);
    if is_root() {
        chmod(&dir.write("a/none", b"s"), 0o000);
        fsat::mknod_at(fd, b"null", fsat::FileType::Char, 0o666, (1, 3)).unwrap();
        fsat::mknod_at(fd, b"disk", fsat::FileType::Block, 0o600, (259, 70_000)).unwrap();
        for (name, uid, gid) in [("a/small", 65_536, 70_000), ("a/link", 5, 6), ("null", 7, 8)] {
            std::os::unix::fs::lchown(dir.join(name), Some(uid), Some(gid)).unwrap();
        }
        std::os::unix::fs::lchown(dir.join("a/b"), Some(9), Some(9)).unwrap();
        chmod(&dir.join("a/small"), 0o6755);
    }
    set_mtime(&dir.join("a/b"), 1_234, 567_890_123);
    set_mtime(&dir.join("many"), 1_234, 1);
}

#[test]
fn everything_arrives_as_it_was_and_a_second_time_is_skipped() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    fill(&from);
    let lines = send(&from, &to);
    assert_same(&from, &to);
    assert!(lines.iter().all(|line| match line.0.starts_with('-') {
        true => line.1 == Need::Attributes && line.2 == Outcome::Skipped,
        false => line.1 == Need::All && line.2 == Outcome::Updated,
    }));
    let again = send(&from, &to);
    assert_eq!(again.len(), lines.len());
    for line in &again {
        assert_eq!((line.1, line.2), (Need::Skip, Outcome::Skipped), "{}", line.0);
    }
    assert_eq!(staged(to.path()), 0);
    assert_eq!(to.join(".makuosan").metadata().unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn it_is_the_same_without_openat2_and_with_fsync() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    fill(&from);
    let source = Arc::new(Root::open_by_steps(from.path()).unwrap());
    let target = Arc::new(Root::open_by_steps(to.path()).unwrap());
    let config = DiskConfig { fsync: true, ..DiskConfig::default() };
    let mut disk = disk_at(target, config);
    send_with(&source, &mut disk, &RelPath::base(), Mode::SEND);
    assert_same(&from, &to);
    chmod(&from.join("long"), 0o604);
    chmod(&from.join("a/b"), 0o700);
    let lines = send_with(&source, &mut disk, &RelPath::base(), Mode::SEND);
    assert_eq!(news(&lines), [("-a/b", Outcome::Updated), ("long", Outcome::Updated)]);
    assert_same(&from, &to);
}

#[test]
fn only_what_differs_is_brought_up_to_date() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    for name in ["a/same", "a/mode", "a/longer", "a/later", "b/same", "c/same"] {
        set_mtime(&from.write(name, b"1"), 1_000, 1);
    }
    symlink("one", from.join("c/link")).unwrap();
    send(&from, &to);
    chmod(&from.join("a/mode"), 0o600);
    set_mtime(&from.write("a/longer", b"22"), 1_000, 1);
    set_mtime(&from.write("a/later", b"2"), 1_000, 2);
    std::fs::remove_file(from.join("c/link")).unwrap();
    symlink("two", from.join("c/link")).unwrap();
    set_mtime(&from.join("c"), 5, 5);
    chmod(&from.join("b"), 0o711);
    let lines = send(&from, &to);
    let want = ["a/later", "a/longer", "a/mode", "-b", "c/link", "-c"];
    assert_eq!(news(&lines), want.map(|name| (name, Outcome::Updated)));
    assert_same(&from, &to);
    // Everything anew, if asked to; a directory whose mtime that changes has no line for it.
    let mode = Mode::Send { delete: false, ignore_times: true, dry_run: false };
    let lines = send_with(&from.root(), &mut to.disk(), &RelPath::base(), mode);
    let want = ["a/later", "a/longer", "a/mode", "a/same", "b/same", "c/same"];
    assert_eq!(news(&lines), want.map(|name| (name, Outcome::Updated)));
    assert_same(&from, &to);
}

#[test]
fn holes_stay_holes() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    let file = std::fs::File::create_new(from.join("sparse")).unwrap();
    file.set_len(1 << 30).unwrap();
    for at in [0, 100 << 20, (1 << 30) - 5_000] {
        file.write_all_at(&vec![3; 5_000], at).unwrap();
    }
    std::fs::File::create_new(from.join("all hole")).unwrap().set_len(200 << 20).unwrap();
    send(&from, &to);
    for name in ["sparse", "all hole"] {
        let (sent, got) = (from.join(name).metadata().unwrap(), to.join(name).metadata().unwrap());
        assert_eq!(sent.len(), got.len());
        assert!(got.blocks() <= sent.blocks() + 64, "{} > {}", got.blocks(), sent.blocks());
    }
    let got = std::fs::File::open(to.join("sparse")).unwrap();
    let mut bytes = vec![0; 5_001];
    got.read_exact_at(&mut bytes, (100 << 20) - 1).unwrap();
    assert!(bytes[0] == 0 && bytes[1..].iter().all(|&b| b == 3));
}

#[test]
fn odd_names_long_paths_and_deep_trees() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    let name = |bytes: &[u8]| from.path().join(std::ffi::OsStr::from_bytes(bytes));
    for odd in [&b"new\nline"[..], b"\xff\xfe\x01", b" ", b"-r", b"> prompt", &[b'n'; 255]] {
        std::fs::write(name(odd), odd).unwrap();
    }
    std::fs::create_dir(name(b"\n")).unwrap();
    std::fs::write(name(b"\n/\\"), b"x").unwrap();
    // A path of 3,000 bytes: made step by step, as it is near PATH_MAX with the base before it.
    let parts: Vec<String> = (0..12).map(|n| format!("{n:0>249}")).collect();
    std::fs::create_dir_all(from.join(&parts.join("/"))).unwrap();
    let long = parts.join("/");
    assert_eq!(long.len(), 12 * 250 - 1);
    std::fs::write(from.join(&long).join("f"), b"far").unwrap();
    // And 1,100 levels.
    let deep = vec!["d"; 1_100].join("/");
    std::fs::create_dir_all(from.join(&deep)).unwrap();
    std::fs::write(from.join(&deep).join("f"), b"deep").unwrap();
    let lines = send(&from, &to);
    assert!(lines.len() > 2_220);
    assert_same(&from, &to);
    assert_eq!(std::fs::read(to.join(&deep).join("f")).unwrap(), b"deep");
    assert!(news(&send(&from, &to)).is_empty());
}

#[test]
fn a_single_path_brings_the_directories_on_its_way() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("a/b/file", b"1");
    from.write("a/b/not this", b"2");
    chmod(&from.join("a"), 0o711);
    set_mtime(&from.join("a/b"), 9, 9);
    let lines = send_with(&from.root(), &mut to.disk(), &path("a/b/file"), Mode::SEND);
    let names: Vec<&str> = lines.iter().map(|line| line.0.as_str()).collect();
    assert_eq!(names, ["+a", "+a/b", "a/b/file", "-a/b", "-a"]);
    std::fs::remove_file(from.join("a/b/not this")).unwrap();
    set_mtime(&from.join("a/b"), 9, 9);
    assert_same(&from, &to);
}
