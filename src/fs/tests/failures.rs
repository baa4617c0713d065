//! Disks that are full or read-only.

use super::super::disk::{Disk, DiskConfig};
use super::super::testing::*;
use crate::engine::disk_job::Mode;
use crate::name::RelPath;
use crate::wire::outcome::{Outcome, Reason};

#[test]
fn what_does_not_fit_fails_alone_and_leaves_nothing_behind() {
    if !is_in_namespace(
        "fs::tests::failures::what_does_not_fit_fails_alone_and_leaves_nothing_behind",
    ) {
        return;
    }
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    let _m = mount_tmpfs(to.path(), "size=2m,nr_inodes=60");
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        from.write(name, vec![1; if name == "f" { 400_000 } else { 350_000 }]);
    }
    let root = from.root();
    let mut disk = to.disk();
    let full = Reason::Os(libc::ENOSPC as u16);
    // The bytes: what failed is to be offered again, and has its last word then.
    let mut transfer = Transfer::new(1, Mode::SEND);
    let batch = one_batch(&root, &RelPath::base());
    let outcomes = |lines: Vec<Line>| lines.into_iter().map(|line| line.2).collect::<Vec<_>>();
    let mut expected = vec![Outcome::Updated; 5];
    expected.extend([Outcome::Again, Outcome::Again]);
    assert_eq!(outcomes(transfer.batch(&mut disk, &root, &batch)), expected);
    assert_eq!(staged(to.path()), 0);
    let again = digested(&from);
    let mut expected = vec![Outcome::Skipped; 5];
    expected.extend([Outcome::Failed(full), Outcome::Failed(full)]);
    assert_eq!(outcomes(transfer.batch(&mut disk, &root, &again[0])), expected);
    transfer.close(&mut disk, false);
    assert_eq!(staged(to.path()), 0);
    // The inodes, when directories are made: after some refusals no more are tried.
    let from = TempDir::new("from");
    for n in 0..90 {
        from.mkdir(&format!("{n:02}"));
    }
    let root = from.root();
    let mut transfer = Transfer::new(2, Mode::SEND);
    let all = batches(found(&root, &RelPath::base()));
    let lines = all.iter().flat_map(|batch| transfer.batch(&mut disk, &root, batch));
    let opens = lines.filter(|line| line.0.starts_with('+'));
    let outcomes: Vec<Outcome> = opens.map(|line| line.2).collect();
    let count = |outcome| outcomes.iter().filter(|&&one| one == outcome).count();
    assert!(count(Outcome::Failed(full)) >= 16, "{outcomes:?}");
    assert!(count(Outcome::Failed(Reason::NotTried)) > 0, "{outcomes:?}");
    transfer.close(&mut disk, true);
    // There is room again.
    for n in 0..60 {
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
    let lines = Transfer::new(1, Mode::SEND).batch(&mut disk, &root, &batch);
    assert_eq!(lines[0].2, Outcome::Failed(Reason::Os(libc::EROFS as u16)), "{lines:?}");
}
