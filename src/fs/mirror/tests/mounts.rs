//! Other mounts below the base directory have a `.makuosan` of their own.

use super::*;
use crate::fs::mirror::remove::Removed;

#[test]
fn what_is_kept_stays_on_its_mount_and_is_found_again() {
    if !is_in_namespace(
        "fs::mirror::tests::mounts::what_is_kept_stays_on_its_mount_and_is_found_again",
    ) {
        return;
    }
    let (temp, other) = (TempDir::new("mounts"), TempDir::new("other"));
    let bind = ["--bind", other.path().to_str().unwrap()];
    let mounted = mount(&bind, &temp.mkdir("m"));
    temp.write("m/f", "1");
    temp.write("m/d/g", "1");
    let mut disk = temp.disk();
    let mut ops = ops(&mut disk);
    let found = super::here(&mut ops, "m/f");
    let slot = slot_with(&mut ops, "m/f", "2");
    assert_eq!(ops.place(&path("m/f"), slot).unwrap().out, {
        let out = ops.in_slot(slot).unwrap();
        assert_eq!(out.unwrap().0, found.0);
        out
    });
    ops.keep_conflict(&path("m/f"), dot(1), slot).unwrap();
    let found = super::here(&mut ops, "m/d/g");
    assert_eq!(ops.remove(&path("m/d/g"), found).unwrap(), Removed::Done);
    let waits = slot_with(&mut ops, "m/f", "waits");
    assert_eq!(read(temp.join("m/.makuosan/conflicts/0000000000000abc-1/m/f")), "1");
    assert_eq!(trashed(&temp.join("m")), [("m/d/g".to_owned(), "1".to_owned())]);
    assert!(!temp.join(".makuosan/trash").exists());
    // As it is when no transfer is on any more, and after a start.
    ops.staging.tidy();
    assert!(ops.in_slot(waits).unwrap().is_some());
    ops.staging.tidy();
    assert!(ops.conflict(&path("m/f"), dot(1)).unwrap().is_some());
    ops.staging.tidy();
    drop(disk);
    let open = || Disk::sparing(temp.root(), Default::default(), [waits.0].into());
    let held = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    let mut disk = once_free(open, held);
    let mut ops = super::ops(&mut disk);
    assert!(ops.in_slot(waits).unwrap().is_some());
    let mut listed = Vec::new();
    assert!(ops.conflicts(|path, _, _| listed.push(path)).unwrap());
    assert_eq!(listed, [path("m/f")]);
    drop(disk);
    // While it is not mounted, nothing of it is found.
    drop(mounted);
    let mut disk = once_free(open, held);
    let mut ops = super::ops(&mut disk);
    assert_eq!(ops.in_slot(waits).unwrap(), None);
    assert!(!ops.conflicts(|_, _, _| ()).unwrap());
    assert!(!temp.join("m/.makuosan").exists(), "nothing is made where it was mounted");
    assert_eq!(ops.look(&path("m/f")).unwrap(), None);
    drop(disk);
    let _mounted = mount(&bind, &temp.join("m"));
    let mut disk = once_free(open, held);
    let mut ops = super::ops(&mut disk);
    ops.place(&path("m/f"), waits).unwrap();
    assert_eq!(read(temp.join("m/f")), "waits");
}

#[test]
fn a_place_of_which_nothing_is_left_goes() {
    if !is_in_namespace("fs::mirror::tests::mounts::a_place_of_which_nothing_is_left_goes") {
        return;
    }
    let temp = TempDir::new("goes");
    let _mounted = mount_tmpfs(&temp.mkdir("m"), "size=10m");
    let mut disk = temp.disk();
    let mut ops = ops(&mut disk);
    let slot = slot_with(&mut ops, "m/f", "1");
    ops.place(&path("m/f"), slot).unwrap();
    ops.empty_slot(slot).unwrap();
    ops.staging.tidy();
    assert!(!temp.join("m/.makuosan").exists());
    assert_eq!(staged(temp.path()), 0, "no record either");
    // What is moved to another mount by name is refused, and waits still.
    let slot = slot_with(&mut ops, "f", "1");
    let error = ops.place(&path("m/f"), slot).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EXDEV));
    assert!(ops.in_slot(slot).unwrap().is_some());
}
