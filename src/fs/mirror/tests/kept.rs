//! Versions that do not have their name.

use std::os::unix::fs::symlink;

use super::*;
use crate::sys::fsat;

fn listed(ops: &mut Ops<'_>) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    assert!(ops.conflicts(|path, dot, _| all.push((path.to_string(), dot.seq))).unwrap());
    all.sort();
    all
}

#[test]
fn each_version_is_kept_by_its_dot_until_it_is_taken_or_dropped() {
    for temp in places("kept") {
        let mut disk = temp.disk();
        let mut ops = ops(&mut disk);
        assert_eq!(listed(&mut ops), []);
        // What could be taken for something else.
        let names = ["f", "f/g", "0000000000000abc-1", "0000000000000abc-1/f", "new\nline/ -"];
        let mut seq = 0;
        for name in names {
            for content in ["one", "two"] {
                seq += 1;
                let slot = slot_with(&mut ops, "x", content);
                ops.keep_conflict(&path(name), dot(seq), slot).unwrap();
                assert_eq!(ops.in_slot(slot).unwrap(), None);
            }
        }
        assert_eq!(listed(&mut ops).len(), 10);
        assert_eq!(ops.conflict(&path("f"), dot(3)).unwrap(), None, "that of another path");
        assert_eq!(ops.conflict(&path("f/g"), dot(1)).unwrap(), None);
        let open = |ops: &mut Ops<'_>, name: &str, seq| {
            let file = ops.open_conflict(&path(name), dot(seq)).unwrap();
            std::io::read_to_string(std::fs::File::from(file)).unwrap()
        };
        assert_eq!(open(&mut ops, "f", 1), "one");
        assert_eq!(open(&mut ops, "f", 2), "two");
        // Another one for the same dot takes its place.
        let slot = slot_with(&mut ops, "x", "again");
        ops.keep_conflict(&path("f"), dot(1), slot).unwrap();
        assert_eq!(open(&mut ops, "f", 1), "again");
        let slot = ops.take_conflict(&path("f"), dot(1)).unwrap();
        ops.place(&path("f"), slot).unwrap();
        assert_eq!(read(temp.join("f")), "again");
        assert_eq!(ops.conflict(&path("f"), dot(1)).unwrap(), None);
        assert!(ops.open_conflict(&path("f"), dot(1)).is_err());
        assert!(ops.take_conflict(&path("f"), dot(1)).is_err());
        ops.drop_conflict(&path("f"), dot(2)).unwrap();
        ops.drop_conflict(&path("f"), dot(2)).unwrap();
        assert_eq!(trashed(temp.path()), [("f".to_owned(), "two".to_owned())]);
        assert_eq!(listed(&mut ops).len(), 8);
        // What somebody has put there is left out.
        temp.write(".makuosan/conflicts/notes", "x");
        temp.write(".makuosan/conflicts/0000000000000ABC-9/f", "x");
        assert_eq!(listed(&mut ops).len(), 8);
        drop(disk);
        let mut disk = temp.disk();
        assert_eq!(listed(&mut super::ops(&mut disk)).len(), 8, "it outlasts the daemon");
        assert_eq!(mode(&temp.join(".makuosan/conflicts")), 0o700);
    }
}

#[test]
fn no_path_is_too_long_or_too_deep() {
    for temp in places("deep") {
        let deep = format!("{}x", "d/".repeat(300));
        let long = format!("{}{}", format!("{}/", "l".repeat(255)).repeat(15), "m".repeat(255));
        let mut disk = temp.disk();
        let mut ops = ops(&mut disk);
        for (at, name) in [deep, long].iter().enumerate() {
            let seq = at as u64;
            let slot = slot_with(&mut ops, "x", "1");
            ops.keep_conflict(&path(name), dot(seq), slot).unwrap();
            assert!(ops.conflict(&path(name), dot(seq)).unwrap().is_some());
            assert_eq!(listed(&mut ops), [(name.clone(), seq)]);
            let slot = ops.take_conflict(&path(name), dot(seq)).unwrap();
            ops.keep_conflict(&path(name), dot(seq), slot).unwrap();
            ops.drop_conflict(&path(name), dot(seq)).unwrap();
            assert_eq!(listed(&mut ops), []);
        }
        while disk.mirror(NOW + WEEK + 1).unwrap().tidy_trash() {}
        assert_eq!(std::fs::read_dir(temp.join(".makuosan/trash")).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(temp.join(".makuosan/conflicts")).unwrap().count(), 0);
    }
}

#[test]
fn what_is_no_file_is_kept_too_and_never_opened() {
    for temp in places("kinds") {
        let mut disk = temp.disk();
        let mut ops = ops(&mut disk);
        let link = slot_of(&mut ops, "x", |dir, name| fsat::symlink_at(b"/etc/passwd", dir, name));
        let fifo = slot_of(&mut ops, "x", |dir, name| {
            fsat::mknod_at(dir, name, fsat::FileType::Fifo, 0o600, (0, 0))
        });
        ops.sync_slots(&[link, fifo]).unwrap();
        ops.keep_conflict(&path("l"), dot(1), link).unwrap();
        ops.keep_conflict(&path("p"), dot(2), fifo).unwrap();
        assert_eq!(listed(&mut ops), [("l".to_owned(), 1), ("p".to_owned(), 2)]);
        let error = |ops: &mut Ops<'_>, name, seq| {
            ops.open_conflict(&path(name), dot(seq)).unwrap_err().raw_os_error()
        };
        assert_eq!(error(&mut ops, "l", 1), Some(libc::ELOOP));
        assert_eq!(error(&mut ops, "p", 2), Some(libc::ENXIO));
        let slot = ops.take_conflict(&path("l"), dot(1)).unwrap();
        ops.place(&path("l"), slot).unwrap();
        assert_eq!(std::fs::read_link(temp.join("l")).unwrap(), Path::new("/etc/passwd"));
    }
}

#[test]
fn what_is_kept_is_never_reached_through_a_link() {
    for temp in places("links") {
        let outside = TempDir::new("outside");
        let mut disk = temp.disk();
        let mut ops = ops(&mut disk);
        let slot = slot_with(&mut ops, "x", "1");
        symlink(outside.path(), temp.join(".makuosan/conflicts")).unwrap();
        assert!(ops.keep_conflict(&path("d/f"), dot(1), slot).is_err());
        std::fs::remove_file(temp.join(".makuosan/conflicts")).unwrap();
        temp.mkdir(".makuosan/conflicts");
        symlink(outside.path(), temp.join(".makuosan/conflicts/0000000000000abc-1")).unwrap();
        assert!(ops.keep_conflict(&path("d/f"), dot(1), slot).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(ops.in_slot(slot).unwrap().is_some());
    }
}

#[test]
fn a_daemon_makes_its_directory_again_if_that_was_removed() {
    let temp = TempDir::new("removed");
    let mut disk = temp.disk();
    temp.write("f", "1");
    std::fs::remove_dir_all(temp.join(".makuosan")).unwrap();
    let mut ops = ops(&mut disk);
    let found = super::here(&mut ops, "f");
    ops.remove(&path("f"), found).unwrap();
    assert_eq!(trashed(temp.path()), [("f".to_owned(), "1".to_owned())]);
    drop(disk);
    assert_eq!(staged(temp.path()), 0);
    let mut disk = temp.disk();
    assert!(super::ops(&mut disk).tidy_trash(), "there is something to be counted");
}
