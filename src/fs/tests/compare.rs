//! Contents compared by their digests: `check`, and what `--checksum` sends.

use std::os::unix::fs::{FileExt, MetadataExt, symlink};

use super::super::disk::{Disk, DiskConfig};
use super::super::found::WalkItem;
use super::super::testing::*;
use super::super::walk::WalkOptions;
use crate::engine::disk_job::Mode;
use crate::name::RelPath;
use crate::wire::manifest::Kind;
use crate::wire::outcome::{Need, Outcome, Reason};

const MISSING: Need = Need::Failed(Reason::Os(2));

/// Sends with digests.
fn checksum(from: &TempDir, disk: &mut Disk, mode: Mode) -> Vec<Line> {
    let mut transfer = Transfer::new(1, mode);
    let all = digested(from);
    let lines = all.iter().flat_map(|batch| transfer.batch(disk, &from.root(), batch)).collect();
    transfer.close(disk, false);
    lines
}

fn needs(lines: &[Line]) -> Vec<(&str, Need)> {
    lines.iter().map(|line| (line.0.as_str(), line.1)).collect()
}

/// One file that differs in each way; the mtimes of "time" files are far apart.
fn files() -> (TempDir, TempDir) {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    for (name, here, there) in [
        ("1 same", "same", "same"),
        ("2 time", "same", "same"),
        ("3 content", "here", "ther"),
        ("4 size", "here", "here too"),
        ("5 mode", "same", "same"),
        ("6 empty", "", ""),
    ] {
        set_mtime(&from.write(name, here), 1_000, 5);
        set_mtime(&to.write(name, there), if name == "2 time" { 2_000 } else { 1_000 }, 5);
        chmod(&from.join(name), 0o644);
        chmod(&to.join(name), if name == "5 mode" { 0o600 } else { 0o644 });
    }
    (from, to)
}

#[test]
fn with_digests_content_decides_and_time_is_an_attribute() {
    let (from, to) = files();
    let before = to.join("2 time").metadata().unwrap().ino();
    let mut disk = to.disk();
    let lines = checksum(&from, &mut disk, Mode::SEND);
    let want = [
        ("1 same", Need::Skip),
        ("2 time", Need::Attributes),
        ("3 content", Need::All),
        ("4 size", Need::All),
        ("5 mode", Need::Attributes),
        ("6 empty", Need::Skip),
    ];
    assert_eq!(needs(&lines), want);
    assert!(lines.iter().all(|line| (line.2 == Outcome::Skipped) == (line.1 == Need::Skip)));
    assert_same(&from, &to);
    assert_eq!(to.join("2 time").metadata().unwrap().ino(), before);
    assert!(news(&checksum(&from, &mut disk, Mode::SEND)).is_empty());
    let again = Mode::Send { delete: false, ignore_times: true, dry_run: false };
    let all = checksum(&from, &mut disk, again);
    assert!(all.iter().all(|line| line.1 == Need::All));
}

#[test]
fn without_digests_the_same_size_and_time_are_the_same_content() {
    let (from, to) = files();
    let lines = send(&from, &to);
    assert_eq!(lines[2], ("3 content".into(), Need::Skip, Outcome::Skipped));
    assert_eq!(lines[1].1, Need::All);
}

#[test]
fn a_file_that_changes_after_it_was_compared_keeps_its_own_time() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    for name in ["changed", "replaced", "same"] {
        set_mtime(&from.write(name, "same"), 1_000, 5);
        to.write(name, "same");
    }
    let mut disk = to.disk();
    let mut transfer = Transfer::new(1, Mode::SEND);
    let batch = &digested(&from)[0];
    let (number, needs, file) = transfer.plan(&mut disk, batch);
    assert_eq!(needs, [Need::Attributes; 3]);
    transfer.stage(&mut disk, &from.root(), batch, (number, &needs, file));
    std::thread::sleep(std::time::Duration::from_millis(20));
    to.write("changed", "news");
    to.write("new", "same");
    std::fs::rename(to.join("new"), to.join("replaced")).unwrap();
    transfer.commit(&mut disk, number, &[]);
    let secs = |name: &str| to.join(name).metadata().unwrap().mtime();
    assert!(secs("changed") > 1_000 && secs("replaced") > 1_000);
    assert_eq!(secs("same"), 1_000);
}

/// One of each kind, in every state.
fn kinds() -> (TempDir, TempDir) {
    let (from, to) = files();
    for (name, here, there) in [("link", "x", "x"), ("other link", "x", "y")] {
        symlink(here, from.join(name)).unwrap();
        symlink(there, to.join(name)).unwrap();
        set_mtime(&from.join(name), 1_000, 5);
        set_mtime(&to.join(name), 1_000, 5);
    }
    for name in ["missing dir/sub/f", "no dir/f", "linked/f", "dir/f", "dir/missing", "full"] {
        set_mtime(&from.write(name, "1"), 1_000, 5);
    }
    to.write("no dir", "1");
    symlink("dir", to.join("linked")).unwrap();
    set_mtime(&to.write("dir/f", "1"), 1_000, 5);
    to.write("full/of/it", "1");
    set_mtime(&from.join("dir"), 1_000, 5);
    set_mtime(&to.join("dir"), 1_000, 5);
    (from, to)
}

#[test]
fn a_comparison_tells_what_differs_and_writes_nothing() {
    let (from, to) = kinds();
    for readonly in [false, true] {
        let before = snapshot(to.path());
        let config = DiskConfig { readonly, ..DiskConfig::default() };
        let mut disk = to.disk_with(config);
        let lines = checksum(&from, &mut disk, Mode::Check);
        let want = [
            ("1 same", Need::Skip),
            ("2 time", Need::Attributes),
            ("3 content", Need::All),
            ("4 size", Need::All),
            ("5 mode", Need::Attributes),
            ("6 empty", Need::Skip),
            ("+dir", Need::Skip),
            ("dir/f", Need::Skip),
            ("dir/missing", MISSING),
            ("-dir", Need::Skip),
            ("full", Need::All),
            ("link", Need::Skip),
            ("+linked", Need::Failed(Reason::LinkInPath)),
            ("linked/f", Need::Silent),
            ("-linked", Need::Silent),
            ("+missing dir", MISSING),
            ("+missing dir/sub", MISSING),
            ("missing dir/sub/f", MISSING),
            ("-missing dir/sub", Need::Silent),
            ("-missing dir", Need::Silent),
            ("+no dir", Need::Failed(Reason::NotADirectoryInPlace)),
            ("no dir/f", Need::Silent),
            ("-no dir", Need::Silent),
            ("other link", Need::All),
        ];
        assert_eq!(needs(&lines), want);
        assert!(!lines.iter().any(|line| line.2 == Outcome::Updated));
        assert_eq!(snapshot(to.path()), before);
        set_mtime(&to.join("dir"), 2_000, 5);
        let lines = checksum(&from, &mut disk, Mode::Check);
        assert_eq!(needs(&lines)[9], ("-dir", Need::Attributes));
        set_mtime(&to.join("dir"), 1_000, 5);
    }
}

#[test]
fn what_cannot_be_read_is_an_error_of_a_comparison_and_else_replaced() {
    let test =
        "fs::tests::compare::what_cannot_be_read_is_an_error_of_a_comparison_and_else_replaced";
    if !is_nobody(test) {
        return;
    }
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    for name in ["f", "shut/f"] {
        from.write(name, "1");
        to.write(name, "1");
    }
    chmod(&to.join("f"), 0o200);
    chmod(&to.join("shut"), 0o600);
    let mut disk = to.disk();
    let lines = checksum(&from, &mut disk, Mode::Check);
    let failed = Need::Failed(Reason::Os(13));
    assert_eq!(needs(&lines)[..3], [("f", failed), ("+shut", Need::Skip), ("shut/f", failed)]);
    assert_eq!(needs(&lines)[3], ("-shut", Need::Attributes));
    let lines = checksum(&from, &mut disk, Mode::SEND);
    assert_eq!(lines[0], ("f".into(), Need::All, Outcome::Updated));
    assert_same(&from, &to);
}

#[test]
fn long_files_are_compared_too() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    let content = vec![7; 9 << 20];
    for name in ["a", "b"] {
        set_mtime(&from.write(name, &content), 1_000, 5);
        set_mtime(&to.write(name, &content), 1_000, 5);
    }
    let file = std::fs::File::options().write(true).open(to.join("b")).unwrap();
    file.write_all_at(b"8", 8 << 20).unwrap();
    set_mtime(&to.join("b"), 1_000, 5);
    let mut disk = to.disk();
    for mode in [Mode::Check, Mode::SEND] {
        let lines = checksum(&from, &mut disk, mode);
        assert_eq!(needs(&lines), [("a", Need::Skip), ("b", Need::All)]);
    }
    assert_same(&from, &to);
}

#[test]
fn a_long_file_is_announced_and_digested_before_its_digest_comes() {
    let (from, to) = (TempDir::new("from"), TempDir::new("to"));
    for (name, here, there) in [("a same", "same", "same"), ("b other", "here", "ther")] {
        set_mtime(&from.write(name, here), 1_000, 5);
        set_mtime(&to.write(name, there), 1_000, 5);
    }
    let options = WalkOptions { digests: true, announced_over: 3, ..whole() };
    let found = walk(&from.root(), &RelPath::base(), options).into_iter();
    let found = found.map(|item| match item {
        WalkItem::Found(found) => found,
        other => panic!("{other:?}"),
    });
    let all = batches(found.collect());
    let sizes: Vec<usize> = all.iter().map(|batch| batch.manifest.entries.len()).collect();
    // The first file, announced; itself, and the second announced; the second.
    assert_eq!(sizes, [1, 2, 1]);
    assert!(matches!(all[0].manifest.entries[0].kind, Kind::Ahead { size: 4 }));
    let mut disk = to.disk();
    let mut transfer = Transfer::new(1, Mode::Check);
    let through = |disk: &mut Disk, bytes| {
        while disk.digested().all(|(_, passed)| passed < bytes) {
            assert!(disk.is_digesting());
            std::thread::yield_now();
        }
    };
    assert_eq!(transfer.plan(&mut disk, &all[0]).1, [Need::Skip]);
    through(&mut disk, 4);
    assert_eq!(transfer.plan(&mut disk, &all[1]).1, [Need::Skip, Need::Skip]);
    through(&mut disk, 8);
    assert_eq!(transfer.plan(&mut disk, &all[2]).1, [Need::All]);
    assert!(!disk.is_digesting());
    transfer.close(&mut disk, false);
}

#[test]
fn a_transfer_that_is_to_be_closed_digests_nothing_more() {
    let (from, to) = files();
    let mut disk = to.disk();
    let mut transfer = Transfer::new(1, Mode::Check);
    let batch = &digested(&from)[0];
    disk.closing().add(transfer.key);
    // What nobody wants to know is not looked at: all files but the empty one seem to differ.
    let mut needs = transfer.plan(&mut disk, batch).1;
    assert_eq!(needs.pop(), Some(Need::Skip));
    assert!(needs.iter().all(|need| *need == Need::All), "{needs:?}");
    transfer.close(&mut disk, true);
    // The next one is not concerned.
    let mut transfer = Transfer::new(1, Mode::Check);
    assert!(transfer.plan(&mut disk, batch).1.contains(&Need::Skip));
    transfer.close(&mut disk, false);
}
