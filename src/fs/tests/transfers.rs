//! Batches on their way, strikes, ends and leftovers.

use super::super::disk::{Disk, DiskConfig};
use super::super::testing::*;
use crate::engine::disk_job::{Body, DiskAnswer, DiskJob, Mode};
use crate::ids::BatchNo;
use crate::name::RelPath;
use crate::wire::outcome::{Need, Outcome, Reason};

#[test]
fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("new/sub/f", b"1");
    from.write("new/long", vec![1; 5 << 20]);
    from.write("old/f", b"1");
    from.write("blocked/f", b"1");
    set_mtime(&from.write("old/same", b"1"), 5, 5);
    to.write("old/f", b"22");
    set_mtime(&to.write("old/same", b"1"), 5, 5);
    to.write("blocked", b"a file");
    for dir in [&from, &to] {
        chmod(&dir.join("old/same"), 0o644);
        set_mtime(&dir.join("old"), 7, 7);
    }
    let mut disk = to.disk();
    let before = snapshot(to.path());
    let mode = Mode::SEND.dry();
    let lines = send_with(&from.root(), &mut disk, &RelPath::base(), mode);
    let needs: Vec<(&str, Need)> = lines.iter().map(|line| (line.0.as_str(), line.1)).collect();
    let want = [
        ("+blocked", Need::Failed(Reason::NotADirectoryInPlace)),
        ("blocked/f", Need::Silent),
        ("-blocked", Need::Silent),
        ("+new", Need::All),
        ("new/long", Need::All),
        ("+new/sub", Need::All),
        ("new/sub/f", Need::All),
        ("-new/sub", Need::Skip),
        ("-new", Need::Skip),
        ("+old", Need::Skip),
        ("old/f", Need::All),
        ("old/same", Need::Skip),
        ("-old", Need::Skip),
    ];
    assert_eq!(needs, want);
    assert_eq!(snapshot(to.path()), before);
    assert_eq!(staged(to.path()), 0);
}

#[test]
fn a_read_only_member_makes_not_even_its_staging() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("d/f", b"1");
    from.write("d/long", vec![1; 5 << 20]);
    set_mtime(&from.write("same", b"1"), 5, 5);
    set_mtime(&to.write("same", b"1"), 5, 5);
    to.mkdir(".makuosan/left over");
    let before = snapshot(to.path());
    let config = DiskConfig { readonly: true, ..DiskConfig::default() };
    let mut disk = to.disk_with(config);
    let lines = send_with(&from.root(), &mut disk, &RelPath::base(), Mode::SEND);
    let got: Vec<_> = lines.iter().map(|line| (line.0.as_str(), line.1, line.2)).collect();
    let want = [
        ("+d", Need::ReadOnly, Outcome::ReadOnly),
        ("d/f", Need::ReadOnly, Outcome::ReadOnly),
        ("d/long", Need::ReadOnly, Outcome::ReadOnly),
        ("-d", Need::Skip, Outcome::Skipped),
        ("same", Need::Skip, Outcome::Skipped),
    ];
    assert_eq!(got, want);
    assert_eq!(snapshot(to.path()), before);
    assert!(to.join(".makuosan/left over").exists());
}

#[test]
fn struck_entries_are_not_touched_and_can_come_again() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("d/f", b"new");
    from.write("d/g", b"new");
    to.write("d/g", b"old content");
    set_mtime(&from.join("d"), 5, 5);
    let root = from.root();
    let batch = one_batch(&root, &RelPath::base());
    let mut disk = to.disk();
    let mut transfer = Transfer::new(1, Mode::SEND);
    let (number, needs, file) = transfer.plan(&mut disk, &batch);
    transfer.stage(&mut disk, &root, &batch, (number, &needs, file));
    let outcomes = transfer.commit(&mut disk, number, &[2, 500]);
    let done = [Outcome::Skipped, Outcome::Updated, Outcome::Struck, Outcome::Updated];
    assert_eq!(outcomes, done);
    assert_eq!(std::fs::read(to.join("d/g")).unwrap(), b"old content");
    assert_eq!(staged(to.path()), 0);
    let lines = transfer.batch(&mut disk, &root, &batch);
    assert_eq!(news(&lines), [("d/g", Outcome::Updated)]);
    transfer.close(&mut disk, false);
    assert_same(&from, &to);
}

#[test]
fn batches_are_planned_and_staged_ahead_and_committed_in_order() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    for n in 0..400 {
        from.write(&format!("d/{}/f{n}", n % 3), format!("{n}"));
    }
    for n in 0..3 {
        set_mtime(&from.join(&format!("d/{n}")), 5, n);
    }
    set_mtime(&from.join("d"), 6, 6);
    let root = from.root();
    let batches = batches(found(&root, &RelPath::base()));
    assert_eq!(batches.len(), 3);
    let mut disk = to.disk();
    let mut transfer = Transfer::new(1, Mode::SEND);
    let planned: Vec<_> = batches.iter().map(|b| transfer.plan(&mut disk, b)).collect();
    for (batch, (number, needs, file)) in batches.iter().zip(planned) {
        transfer.stage(&mut disk, &root, batch, (number, &needs, file));
    }
    assert_eq!(staged(to.path()), 400);
    assert_eq!(snapshot(to.path()).len(), 0);
    for number in BatchNo::ZERO.onwards().take(3) {
        let outcomes = transfer.commit(&mut disk, number, &[]);
        assert!(!outcomes.iter().any(|o| matches!(o, Outcome::Failed(_) | Outcome::Silent)));
    }
    transfer.close(&mut disk, false);
    assert_same(&from, &to);
}

#[test]
fn a_directory_that_cannot_be_made_silences_later_batches_too() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    for n in 0..100 {
        from.write(&format!("d/f{n}"), b"1");
    }
    from.write("e/f", b"1");
    let root = from.root();
    let batches = batches(found(&root, &RelPath::base()));
    assert_eq!(batches.len(), 2);
    let mut disk = to.disk();
    let mut transfer = Transfer::new(1, Mode::SEND);
    let planned: Vec<_> = batches.iter().map(|b| transfer.plan(&mut disk, b)).collect();
    // After the plan, and so that it shows only at the commit.
    to.write("d", b"a file");
    let mut outcomes = Vec::new();
    for (batch, (number, needs, file)) in batches.iter().zip(planned) {
        transfer.stage(&mut disk, &root, batch, (number, &needs, file));
        outcomes.extend(transfer.commit(&mut disk, number, &[]));
    }
    assert_eq!(outcomes[0], Outcome::Failed(Reason::NotADirectoryInPlace));
    assert!(outcomes[1..102].iter().all(|outcome| *outcome == Outcome::Silent));
    assert_eq!(outcomes[102..], [Outcome::Updated, Outcome::Updated, Outcome::Skipped]);
    assert_eq!(staged(to.path()), 0);
}

#[test]
fn an_abort_discards_and_leaves_directories_as_they_were_or_were_to_be() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    for n in 0..100 {
        from.write(&format!("d/new/f{n}"), b"1");
    }
    chmod(&from.join("d"), 0o700);
    chmod(&from.join("d/new"), 0o751);
    set_mtime(&from.join("d/new"), 5, 5);
    chmod(&to.mkdir("d"), 0o711);
    let root = from.root();
    let batches = batches(found(&root, &RelPath::base()));
    let mut disk = to.disk();
    let mut transfer = Transfer::new(1, Mode::SEND);
    transfer.batch(&mut disk, &root, &batches[0]);
    assert_eq!(mode(&to.join("d/new")), 0o700);
    let (number, needs, file) = transfer.plan(&mut disk, &batches[1]);
    transfer.stage(&mut disk, &root, &batches[1], (number, &needs, file));
    assert_eq!(staged(to.path()), 38);
    transfer.close(&mut disk, true);
    assert_eq!(staged(to.path()), 0);
    assert_eq!((mode(&to.join("d")), mode(&to.join("d/new"))), (0o711, 0o751));
    assert_eq!(std::fs::read_dir(to.join("d/new")).unwrap().count(), 62);
    assert!(disk.transfers.is_empty());
}

#[test]
fn a_streamed_file_is_a_file_in_staging_until_its_commit() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("long", vec![3; 5 << 20]);
    to.write("long", b"old");
    let root = from.root();
    let batch = one_batch(&root, &RelPath::base());
    let mut disk = to.disk();
    let mut transfer = Transfer::new(1, Mode::SEND);
    let (number, needs, file) = transfer.plan(&mut disk, &batch);
    assert!(file.is_some());
    transfer.stage(&mut disk, &root, &batch, (number, &needs, file));
    assert_eq!(std::fs::read(to.join("long")).unwrap(), b"old");
    assert_eq!(transfer.commit(&mut disk, number, &[]), [Outcome::Updated]);
    assert_same(&from, &to);
    // The same, given up: nothing is left.
    from.write("long", vec![4; 6 << 20]);
    let batch = one_batch(&root, &RelPath::base());
    let (_, _, file) = transfer.plan(&mut disk, &batch);
    assert!(file.is_some());
    assert_eq!(staged(to.path()), 1);
    transfer.close(&mut disk, true);
    assert_eq!(staged(to.path()), 0);
}

#[test]
fn jobs_that_make_no_sense_are_refused() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("f", b"content");
    let root = from.root();
    let batch = one_batch(&root, &RelPath::base());
    let mut disk = to.disk();
    let mut transfer = Transfer::new(1, Mode::SEND);
    let key = transfer.key;
    let never = |answer| matches!(answer, DiskAnswer::Fatal { reason: Reason::Os(22), .. });
    assert!(never(transfer.try_commit(&mut disk, BatchNo::ZERO, &[])));
    assert!(never(
        disk.run(DiskJob::Stage { key, batch: BatchNo::ZERO, body: Body::None }).unwrap()
    ));
    // A body that is too short, and one that never came.
    let (number, _, _) = transfer.plan(&mut disk, &batch);
    let body = Body::Memory(b"cont".to_vec());
    let answer = disk.run(DiskJob::Stage { key, batch: number, body }).unwrap();
    assert!(matches!(answer, DiskAnswer::Staged { buffer: Some(_), .. }));
    let io_error = Outcome::Failed(Reason::Os(libc::EIO as u16));
    assert_eq!(transfer.commit(&mut disk, number, &[]), [io_error]);
    let (number, _, _) = transfer.plan(&mut disk, &batch);
    assert_eq!(transfer.commit(&mut disk, number, &[]), [io_error]);
    assert!(never(transfer.try_commit(&mut disk, number, &[])));
    // A streamed file whose bytes nobody said are there.
    from.write("f", vec![1; 5 << 20]);
    let batch = one_batch(&root, &RelPath::base());
    for body in [None, Some(Body::None)] {
        let (number, _, file) = transfer.plan(&mut disk, &batch);
        assert!(file.is_some());
        if let Some(body) = body {
            disk.run(DiskJob::Stage { key, batch: number, body }).unwrap();
        }
        assert_eq!(transfer.commit(&mut disk, number, &[]), [io_error]);
    }
    assert_eq!(staged(to.path()), 0);
    transfer.close(&mut disk, false);
    Transfer::new(2, Mode::SEND).close(&mut disk, true);
    assert!(!to.join("f").exists());
}

#[test]
fn staging_is_emptied_at_the_start_and_nobody_elses() {
    let to = TempDir::new("to");
    drop(to.disk());
    to.write(".makuosan/stage/5", b"left over");
    to.write(".makuosan/stage/dir/sub/f", b"left over");
    to.write(".makuosan/stage/mount-7", b"gone/away");
    chmod(&to.join(".makuosan"), 0o777);
    chmod(&to.join(".makuosan/stage"), 0o777);
    let disk = to.disk();
    assert_eq!(staged(to.path()), 0);
    assert_eq!(mode(&to.join(".makuosan")), 0o700);
    assert_eq!(mode(&to.join(".makuosan/stage")), 0o700);
    let second = Disk::new(to.root(), DiskConfig::default()).unwrap_err();
    assert_eq!(second.kind(), std::io::ErrorKind::WouldBlock);
    drop(disk);
    to.disk();
}

#[test]
fn staging_that_somebody_removes_is_made_again() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    from.write("f", b"1");
    let mut disk = to.disk();
    for (content, gone) in [("1", ".makuosan"), ("22", ".makuosan/stage"), ("333", ".makuosan")] {
        std::fs::remove_dir_all(to.join(gone)).unwrap();
        from.write("f", content);
        let lines = send_with(&from.root(), &mut disk, &RelPath::base(), Mode::SEND);
        assert_eq!(news(&lines), [("f", Outcome::Updated)]);
        assert_same(&from, &to);
        // Nobody else gets in.
        let second = Disk::new(to.root(), DiskConfig::default()).unwrap_err();
        assert_eq!(second.kind(), std::io::ErrorKind::WouldBlock);
    }
}
