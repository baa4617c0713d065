//! Files in a mirror are known by their contents, whatever their sizes and times say.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::mirroring::{
    MIRROR, alike, conflicts, mirroring, read, wait_a_while, wait_for_row, wait_until_settled,
};
use crate::common::{Fleet, eventually, tree};

const THEN: i64 = 1_500_000_000;

/// Writes five bytes that look like any other five.
fn write_as_before(fleet: &Fleet, at: usize, name: &str, content: &str) {
    assert_eq!(content.len(), 5);
    tree::write(fleet.path(at, name), content);
    tree::set_mtime(&fleet.path(at, name), THEN, 0);
}

#[track_caller]
fn all_have(fleet: &Fleet, name: &str, content: &str) {
    for at in 0..fleet.len() {
        eventually(&format!("{name} is {content:?} on h{at}"), || {
            read(fleet.path(at, name)).as_deref() == Some(content)
        });
    }
}

#[test]
fn two_edits_of_the_same_size_and_time_are_a_conflict_and_both_are_kept() {
    let mut fleet = mirroring("mirror-same-size", 2);
    write_as_before(&fleet, 0, "edited", "first");
    write_as_before(&fleet, 0, "equal", "first");
    all_have(&fleet, "edited", "first");
    all_have(&fleet, "equal", "first");
    fleet.kill(1);
    for (at, content) in [(0, "of h0"), (1, "of h1")] {
        write_as_before(&fleet, at, "edited", content);
        write_as_before(&fleet, at, "made", content);
        write_as_before(&fleet, at, "equal", "alike");
    }
    wait_a_while();
    fleet.start(1, MIRROR);
    for at in 0..2 {
        eventually("both are conflicts", || conflicts(&fleet, at).lines().count() == 2);
    }
    alike(&fleet, &[0, 1]);
    for at in 0..2 {
        for line in conflicts(&fleet, at).lines() {
            let kept = fleet.path(at, line.rsplit(": ").next().unwrap());
            let name = kept.file_name().unwrap().to_str().unwrap().to_owned();
            let shown = read(fleet.path(at, &name)).unwrap();
            let other = if shown == "of h0" { "of h1" } else { "of h0" };
            eventually("its bytes are kept", || read(&kept).as_deref() == Some(other));
        }
    }
    assert_eq!(read(fleet.path(0, "equal")).as_deref(), Some("alike"));
}

#[test]
fn an_edit_that_sets_size_and_time_back_reaches_the_others() {
    let mut fleet = mirroring("mirror-set-back", 2);
    write_as_before(&fleet, 0, "f", "first");
    write_as_before(&fleet, 0, "other", "other");
    all_have(&fleet, "f", "first");
    all_have(&fleet, "other", "other");
    let cp = |at: usize| {
        let paths = [fleet.path(at, "other"), fleet.path(at, "f")];
        assert!(Command::new("cp").arg("-p").args(paths).status().unwrap().success());
    };
    cp(1);
    all_have(&fleet, "f", "other");
    // What is written between an exchange and the look after it cannot be told by size and time.
    wait_a_while();
    write_as_before(&fleet, 0, "f", "again");
    all_have(&fleet, "f", "again");
    // It is found at a start as well.
    fleet.kill(0);
    write_as_before(&fleet, 0, "f", "apart");
    fleet.start(0, MIRROR);
    all_have(&fleet, "f", "apart");
    // What is only touched, or written anew as it was, is no change.
    let before = fs::metadata(fleet.path(0, "f")).unwrap();
    write_as_before(&fleet, 1, "f", "apart");
    fs::hard_link(fleet.path(1, "f"), fleet.dir().join("linked")).unwrap();
    wait_a_while();
    assert_eq!(ino(&before), ino(&fs::metadata(fleet.path(0, "f")).unwrap()));
    assert_eq!(conflicts(&fleet, 0), "");
}

fn ino(of: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(of)
}

#[test]
fn a_file_of_a_joining_host_that_only_looks_the_same_is_listed() {
    let mut fleet = mirroring("mirror-joins-alike", 2);
    write_as_before(&fleet, 0, "differs", "group");
    write_as_before(&fleet, 0, "equal", "equal");
    all_have(&fleet, "differs", "group");
    all_have(&fleet, "equal", "equal");
    let joins = fleet.idle_host();
    write_as_before(&fleet, joins, "differs", "joins");
    write_as_before(&fleet, joins, "equal", "equal");
    fleet.start(joins, MIRROR);
    wait_for_row(&fleet, joins, "1 listed");
    wait_until_settled(&fleet, joins);
    wait_a_while();
    assert_eq!(read(fleet.path(joins, "differs")).as_deref(), Some("joins"));
    assert_eq!(read(fleet.path(0, "differs")).as_deref(), Some("group"));
    // What is equal follows the others.
    write_as_before(&fleet, 1, "equal", "later");
    all_have(&fleet, "equal", "later");
    fleet.msync(joins, &["mirror", "adopt", "."]).ok();
    all_have(&fleet, "differs", "joins");
}

#[test]
fn other_attributes_need_no_bytes_unless_two_hosts_set_them() {
    let mut fleet = mirroring("mirror-attributes", 2);
    tree::write(fleet.path(0, "f"), tree::bytes(3_000_000, 7));
    tree::write(fleet.path(0, "apart"), "x");
    alike(&fleet, &[0, 1]);
    let before = fs::metadata(fleet.path(1, "f")).unwrap();
    tree::set_mode(&fleet.path(0, "f"), 0o600);
    alike(&fleet, &[0, 1]);
    tree::set_mtime(&fleet.path(0, "f"), THEN, 5);
    alike(&fleet, &[0, 1]);
    assert_eq!(ino(&before), ino(&fs::metadata(fleet.path(1, "f")).unwrap()));
    // It is known again: a change of it is one, and goes the other way.
    wait_a_while();
    tree::write(fleet.path(1, "f"), "short");
    all_have(&fleet, "f", "short");
    fleet.kill(1);
    tree::set_mode(&fleet.path(0, "apart"), 0o600);
    tree::set_mode(&fleet.path(1, "apart"), 0o640);
    wait_a_while();
    fleet.start(1, MIRROR);
    for at in 0..2 {
        eventually("it is a conflict", || conflicts(&fleet, at).lines().count() == 1);
    }
    alike(&fleet, &[0, 1]);
    for at in 0..2 {
        let listed = conflicts(&fleet, at);
        let kept = fleet.path(at, listed.trim_end().rsplit(": ").next().unwrap());
        eventually("it is kept", || read(&kept).as_deref() == Some("x"));
    }
}

#[test]
fn long_files_are_mirrored_and_nothing_waits_for_them() {
    let fleet = mirroring("mirror-long", 2);
    write_long(&fleet.path(0, "long"), 1);
    tree::write(fleet.path(0, "short"), "x");
    all_have(&fleet, "short", "x");
    alike(&fleet, &[0, 1]);
    // Its size and time say nothing of this.
    write_long(&fleet.path(1, "long"), 2);
    let same =
        || fs::read(fleet.path(0, "long")).unwrap() == fs::read(fleet.path(1, "long")).unwrap();
    eventually("it is the same again", same);
    let content = fs::read(fleet.path(0, "long")).unwrap();
    assert_eq!(content[content.len() / 2], 2);
    assert_eq!(conflicts(&fleet, 0), "");
}

/// A file with more than 64 MiB, most of them a hole.
fn write_long(path: &Path, byte: u8) {
    const SIZE: u64 = 80 << 20;
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).unwrap();
    file.set_len(SIZE).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[byte; 5_000], SIZE / 2).unwrap();
    drop(file);
    tree::set_mtime(path, THEN, 0);
}
