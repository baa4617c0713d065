//! A daemon without root's rights.

use super::super::disk::{Disk, DiskConfig};
use super::super::testing::*;
use crate::engine::disk_job::Mode;
use crate::ids::EntryNo;
use crate::name::RelPath;
use crate::wire::outcome::{Need, Outcome, Reason};

#[test]
fn directories_that_shut_their_owner_out_are_opened_for_a_while() {
    if !is_nobody("fs::tests::nobody::directories_that_shut_their_owner_out_are_opened_for_a_while")
    {
        return;
    }
    for shut in [0o555, 0o400, 0o000] {
        let (from, to) = (TempDir::new("from"), TempDir::new("to"));
        from.write("a/b/f", b"1");
        from.write("a/g", b"1");
        chmod(&from.join("a/b"), 0o555);
        to.write("a/b/f", b"old");
        chmod(&to.join("a/b"), shut);
        chmod(&to.join("a"), shut);
        chmod(&from.join("a"), 0o550);
        let lines = send(&from, &to);
        assert!(lines.iter().all(|line| !matches!(line.2, Outcome::Failed(_))), "{lines:?}");
        assert_same(&from, &to);
        assert_eq!(mode(&to.join("a")), 0o550);
        // Nothing to do: nothing is opened.
        let before = std::os::unix::fs::MetadataExt::ctime_nsec(&to.join("a").metadata().unwrap());
        assert!(news(&send(&from, &to)).is_empty());
        let after = std::os::unix::fs::MetadataExt::ctime_nsec(&to.join("a").metadata().unwrap());
        assert_eq!(before, after);
    }
}

#[test]
fn a_directory_that_is_closed_and_still_open_lets_in_what_comes_later() {
    if !is_nobody(
        "fs::tests::nobody::a_directory_that_is_closed_and_still_open_lets_in_what_comes_later",
    ) {
        return;
    }
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    for n in 0..100 {
        from.write(&format!("a/f{n:02}"), b"1");
    }
    chmod(&from.join("a"), 0o555);
    let root = from.root();
    let all = found(&root, &RelPath::base());
    // What changed while it was sent is offered again with its directory, here in between.
    let again = vec![all[0].clone(), all[5].clone(), all[101].clone()];
    let (first, rest) = all.split_at(50);
    let mut disk = to.disk();
    let mut transfer = Transfer::new(1, Mode::SEND);
    let mut lines = Vec::new();
    for batch in [first.to_vec(), again, rest.to_vec()] {
        lines.extend(transfer.batch(&mut disk, &root, &batches(batch)[0]));
    }
    assert!(lines.iter().all(|line| !matches!(line.2, Outcome::Failed(_))), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.0.ends_with('a')).count(), 4);
    let of_dir: Vec<_> = lines.iter().filter(|line| line.0.ends_with('a')).map(|l| l.2).collect();
    assert_eq!(of_dir[0], Outcome::Updated);
    assert_eq!(of_dir[1..], [Outcome::Skipped; 3]);
    transfer.close(&mut disk, false);
    assert_same(&from, &to);
}

#[test]
fn an_abort_shuts_them_again() {
    if !is_nobody("fs::tests::nobody::an_abort_shuts_them_again") {
        return;
    }
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    for n in 0..100 {
        from.write(&format!("a/f{n}"), b"1");
    }
    to.write("a/other", b"");
    chmod(&to.join("a"), 0o511);
    let root = from.root();
    let all = batches(found(&root, &RelPath::base()));
    let mut disk = to.disk();
    let mut transfer = Transfer::new(1, Mode::SEND);
    let lines = transfer.batch(&mut disk, &root, &all[0]);
    assert_eq!(lines[1].2, Outcome::Updated);
    assert_eq!(mode(&to.join("a")), 0o711);
    transfer.close(&mut disk, true);
    assert_eq!(mode(&to.join("a")), 0o511);
}

#[test]
fn what_cannot_be_set_is_not_compared_and_what_cannot_be_written_fails() {
    if !is_nobody(
        "fs::tests::nobody::what_cannot_be_set_is_not_compared_and_what_cannot_be_written_fails",
    ) {
        return;
    }
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("d/f", b"1");
    chmod(&from.join("d/f"), 0o4755);
    let root = from.root();
    // As if a host sent it where the daemon is root: owners that we may not give.
    let mut sent = found(&root, &RelPath::base());
    for found in &mut sent {
        (found.entry.uid, found.entry.gid) = (70_000, 70_001);
    }
    let batch = batches(sent).remove(0);
    let mut disk = to.disk();
    let mut transfer = Transfer::new(1, Mode::SEND);
    let lines = transfer.batch(&mut disk, &root, &batch);
    assert!(lines.iter().all(|line| !matches!(line.2, Outcome::Failed(_))), "{lines:?}");
    assert_eq!(mode(&to.join("d/f")), 0o755);
    let (number, needs, _) = transfer.plan(&mut disk, &batch);
    assert_eq!(needs, [Need::Skip; 3]);
    transfer.commit(&mut disk, number, &[]);
    // A base directory that is not ours to write in.
    drop(disk);
    chmod(to.path(), 0o555);
    from.write("new/f", b"1");
    let mut disk = to.disk();
    let lines = transfer.batch(&mut disk, &root, &one_batch(&root, &path("new")));
    let denied = Outcome::Failed(Reason::Os(libc::EACCES as u16));
    let got: Vec<Outcome> = lines.iter().map(|line| line.2).collect();
    assert_eq!(got, [denied, Outcome::Silent, Outcome::Silent]);
    drop(disk);
    chmod(to.path(), 0o755);
    std::fs::remove_dir_all(to.join(".makuosan")).unwrap();
    chmod(to.path(), 0o555);
    assert!(Disk::new(to.root(), DiskConfig::default()).is_err());
    chmod(to.path(), 0o755);
}

#[test]
fn with_fsync_what_nobody_may_read_is_synced_too() {
    if !is_nobody("fs::tests::nobody::with_fsync_what_nobody_may_read_is_synced_too") {
        return;
    }
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("d/f", b"1");
    from.write("d/g", b"1");
    let root = from.root();
    let mut sent = found(&root, &RelPath::base());
    for found in &mut sent {
        found.entry.mode = 0o200;
    }
    let batch = batches(sent).remove(0);
    let config = DiskConfig { fsync: true, ..DiskConfig::default() };
    let mut disk = to.disk_with(config);
    let mut transfer = Transfer::new(1, Mode::SEND);
    let lines = transfer.batch(&mut disk, &root, &batch);
    assert!(lines.iter().all(|line| !matches!(line.2, Outcome::Failed(_))), "{lines:?}");
    assert_eq!(mode(&to.join("d")), 0o200);
    chmod(&to.join("d"), 0o700);
    assert_eq!(mode(&to.join("d/f")), 0o200);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_of_its_own() {
    if !is_nobody("fs::tests::nobody::a_file_that_cannot_be_read_is_an_error_of_its_own") {
        return;
    }
    let from = TempDir::new("from");
    from.write("a", b"1");
    chmod(&from.write("b", b"2"), 0o000);
    let root = from.root();
    let batch = one_batch(&root, &RelPath::base());
    let layout = crate::wire::layout::Layout::new(&batch.manifest, 1_424).unwrap();
    let mut source = super::super::source::Source::new(root, &batch, layout.into());
    let (body, failed) = source.load(Vec::new(), &|_| true);
    assert_eq!(
        (&body[..], failed),
        (&b"1\0"[..], vec![(EntryNo::new(1), Reason::Os(libc::EACCES as u16))])
    );
}
