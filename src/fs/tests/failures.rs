//! Disks that are full or read-only.

use super::super::disk::{Disk, DiskConfig};
use super::super::testing::*;
use crate::engine::disk_job::{DiskAnswer, Mode};
use crate::ids::{BatchNo, EntryNo};
use crate::name::RelPath;
use crate::wire::outcome::Reason;

#[test]
fn a_full_disk_ends_this_hosts_part_and_leaves_nothing_behind() {
    if !is_in_namespace(
        "fs::tests::failures::a_full_disk_ends_this_hosts_part_and_leaves_nothing_behind",
    ) {
        return;
    }
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    let _m = mount_tmpfs(to.path(), "size=2m,nr_inodes=40");
    for name in ["a", "b", "c", "d", "e", "f"] {
        from.write(name, vec![1; 400_000]);
    }
    let root = from.root();
    let mut disk = to.disk();
    let full = Reason::Os(libc::ENOSPC as u16);
    // The bytes.
    let mut transfer = Transfer::new(1, Mode::SEND);
    let batch = one_batch(&root, &RelPath::base());
    let (number, needs, file) = transfer.plan(&mut disk, &batch);
    let answer = transfer.stage(&mut disk, &root, &batch, (number, &needs, file));
    assert!(matches!(answer, DiskAnswer::Fatal { entry, reason, .. }
        if (entry, reason) == (EntryNo::new(5), full)));
    transfer.close(&mut disk, true);
    assert_eq!(staged(to.path()), 0);
    assert!(!to.join("a").exists());
    // The inodes, when directories are made.
    let from = TempDir::new("from");
    for n in 0..45 {
        from.mkdir(&format!("{n:02}"));
    }
    let root = from.root();
    let mut transfer = Transfer::new(2, Mode::SEND);
    let all = batches(found(&root, &RelPath::base()));
    let (first, _, _) = transfer.plan(&mut disk, &all[0]);
    transfer.plan(&mut disk, &all[1]);
    assert!(matches!(transfer.try_commit(&mut disk, first, &[]), DiskAnswer::Done { .. }));
    let answer = transfer.try_commit(&mut disk, BatchNo::new(1), &[]);
    assert!(matches!(answer, DiskAnswer::Fatal { reason, .. } if reason == full), "{answer:?}");
    transfer.close(&mut disk, true);
    // There is room again.
    for n in 0..40 {
        let _ = std::fs::remove_dir(to.join(&format!("{n:02}")));
    }
    let from = TempDir::new("from");
    from.write("small", b"1");
    send_with(&from.root(), &mut disk, &RelPath::base(), Mode::SEND);
    assert!(to.join("small").exists());
}

#[test]
fn a_read_only_file_system_is_said_at_the_start() {
    if !is_in_namespace("fs::tests::failures::a_read_only_file_system_is_said_at_the_start") {
        return;
    }
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    let read_only = mount_tmpfs(to.path(), "ro");
    let error = Disk::new(to.root(), DiskConfig::default()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EROFS));
    drop(read_only);
    // Or when it has become so.
    let _m = mount_tmpfs(to.path(), "size=1m");
    let mut disk = to.disk();
    let _again = mount(&["-o", "remount,bind,ro"], to.path());
    from.write("f", b"1");
    let root = from.root();
    let batch = one_batch(&root, &RelPath::base());
    let mut transfer = Transfer::new(1, Mode::SEND);
    let (number, needs, file) = transfer.plan(&mut disk, &batch);
    let answer = transfer.stage(&mut disk, &root, &batch, (number, &needs, file));
    assert!(
        matches!(answer, DiskAnswer::Fatal { entry: EntryNo::ZERO, reason: Reason::Os(30), .. }),
        "{answer:?}"
    );
}
