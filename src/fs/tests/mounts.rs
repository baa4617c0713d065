//! Other mounts below the base directory.

use super::super::testing::*;
use crate::engine::disk_job::{Body, DiskJob, Mode};
use crate::ids::BatchNo;
use crate::name::RelPath;
use crate::wire::outcome::{Need, Outcome};

fn tree(long: bool) -> TempDir {
    let from = TempDir::new("from");
    from.write("f", b"home");
    from.write("m/f", b"abroad");
    from.write("m/new/dir/f", b"abroad");
    from.write("m/inner/f", b"further");
    if long {
        from.write("m/long", vec![1; 5 << 20]);
    }
    set_mtime(&from.join("m"), 5, 5);
    from
}

#[test]
fn what_lives_on_another_mount_is_staged_there_and_nothing_stays() {
    if !is_in_namespace(
        "fs::tests::mounts::what_lives_on_another_mount_is_staged_there_and_nothing_stays",
    ) {
        return;
    }
    let (from, to) = (tree(true), TempDir::new("to"));
    let _m = mount_tmpfs(&to.mkdir("m"), "size=20m");
    let _inner = mount_tmpfs(&to.mkdir("m/inner"), "size=1m");
    let mut disk = to.disk();
    let root = from.root();
    let mut transfer = Transfer::new(1, Mode::SEND);
    let mut lines = Vec::new();
    let all = batches(found(&root, &RelPath::base()));
    for batch in &all {
        lines.extend(transfer.batch(&mut disk, &root, batch));
    }
    assert!(lines.iter().all(|line| !matches!(line.2, Outcome::Failed(_) | Outcome::Silent)));
    assert!(to.join("m/.makuosan").exists() && to.join("m/inner/.makuosan").exists());
    assert_eq!(mode(&to.join("m/.makuosan")), 0o700);
    // Its mtime was set while that was there; it goes without changing it.
    transfer.close(&mut disk, false);
    assert_same(&from, &to);
    for place in ["", "m", "m/inner"] {
        assert_eq!(staged(&to.join(place)), 0);
        assert_eq!(to.join(place).join(".makuosan").exists(), place.is_empty());
    }
    assert!(news(&send_with(&root, &mut disk, &RelPath::base(), Mode::SEND)).is_empty());
}

#[test]
fn what_a_killed_daemon_left_on_another_mount_goes_at_the_next_start() {
    if !is_in_namespace(
        "fs::tests::mounts::what_a_killed_daemon_left_on_another_mount_goes_at_the_next_start",
    ) {
        return;
    }
    let (from, to) = (tree(false), TempDir::new("to"));
    let _m = mount_tmpfs(&to.mkdir("m"), "size=1m");
    let root = from.root();
    let batch = one_batch(&root, &RelPath::base());
    let mut disk = to.disk();
    let mut transfer = Transfer::new(1, Mode::SEND);
    let (number, needs, file) = transfer.plan(&mut disk, &batch);
    assert!(needs.contains(&Need::All));
    transfer.stage(&mut disk, &root, &batch, (number, &needs, file));
    assert_eq!((staged(to.path()), staged(&to.join("m"))), (2, 3));
    // Dropped without a close: as if it were killed.
    drop(disk);
    assert_eq!(staged(&to.join("m")), 3);
    let mut disk = to.disk();
    assert_eq!(staged(to.path()), 0);
    assert!(!to.join("m/.makuosan").exists());
    let lines = send_with(&root, &mut disk, &RelPath::base(), Mode::SEND);
    assert_eq!(lines.iter().filter(|line| line.2 == Outcome::Updated).count(), 8);
    assert_same(&from, &to);
}

#[test]
fn a_bind_mount_of_the_same_device_is_another_mount() {
    if !is_in_namespace("fs::tests::mounts::a_bind_mount_of_the_same_device_is_another_mount") {
        return;
    }
    let (from, to, other) = (tree(false), TempDir::new("to"), TempDir::new("other"));
    let bind = ["--bind", other.path().to_str().unwrap()];
    let _m = mount(&bind, &to.mkdir("m"));
    let mut disk = to.disk();
    let lines = send_with(&from.root(), &mut disk, &RelPath::base(), Mode::SEND);
    assert!(lines.iter().all(|line| !matches!(line.2, Outcome::Failed(_))), "{lines:?}");
    assert_same(&from, &to);
    assert_eq!(std::fs::read(other.join("f")).unwrap(), b"abroad");
    assert!(!other.join(".makuosan").exists());
    drop(disk);
    // Nothing can be renamed out of a staging directory that is a mount itself.
    let _staging = mount(&bind, &to.join(".makuosan"));
    let refused = super::super::disk::Disk::new(to.root(), Default::default()).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EXDEV));
}

#[test]
fn a_transfer_that_ends_early_tidies_other_mounts_too() {
    if !is_in_namespace("fs::tests::mounts::a_transfer_that_ends_early_tidies_other_mounts_too") {
        return;
    }
    let (from, to) = (tree(true), TempDir::new("to"));
    let _m = mount_tmpfs(&to.mkdir("m"), "size=20m");
    let root = from.root();
    let mut disk = to.disk();
    let mut transfer = Transfer::new(1, Mode::SEND);
    let key = transfer.key;
    for batch in &batches(found(&root, &RelPath::base())) {
        transfer.plan(&mut disk, batch);
    }
    assert!(to.join("m/.makuosan").exists());
    disk.run(DiskJob::Stage { key, batch: BatchNo::new(1), body: Body::File }).unwrap();
    transfer.close(&mut disk, true);
    assert!(!to.join("m/.makuosan").exists());
    assert_eq!(staged(to.path()), 0);
}
