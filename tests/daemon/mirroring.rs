//! Hosts that mirror a tree are equals: what changes on any is on all, and nothing comes back from the dead.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use crate::common::process::{Ran, in_mounts};
use crate::common::{Fleet, LONG, eventually, tree, within};

pub(crate) const MIRROR: &[&str] = &["--mirror", "."];

/// Hosts that all mirror their base directories, and have heard of each other.
pub(crate) fn mirroring(name: &str, hosts: usize) -> Fleet {
    let mut fleet = Fleet::idle(name, hosts);
    (0..hosts).for_each(|at| fleet.start(at, MIRROR));
    (0..hosts).for_each(|at| wait_until_settled(&fleet, at));
    fleet
}

#[track_caller]
pub(crate) fn wait_until_settled(fleet: &Fleet, at: usize) {
    within(LONG * 2, &format!("h{at} has compared with the others"), || {
        fleet.msync(at, &["mirror"]).out.contains(": settled").then_some(())
    });
}

pub(crate) fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Waits until these hosts have the same files.
#[track_caller]
pub(crate) fn alike(fleet: &Fleet, hosts: &[usize]) {
    within(LONG * 2, &format!("hosts {hosts:?} have the same files"), || {
        let mut trees = hosts.iter().map(|&at| tree::look(&fleet.base(at)).ok().map(strip));
        let first = trees.next()??;
        trees.all(|one| one.as_ref() == Some(&first)).then_some(())
    });
}

/// A tree without what is not compared of directories.
fn strip(mut tree: tree::Tree) -> tree::Tree {
    for entry in tree.values_mut().filter(|entry| entry.mode & 0o170_000 == 0o040_000) {
        entry.mtime = (0, 0);
    }
    tree
}

/// Waits until a host shows this of its mirrors.
#[track_caller]
pub(crate) fn wait_for_row(fleet: &Fleet, at: usize, text: &str) {
    eventually(&format!("{text:?} on h{at}"), || fleet.msync(at, &["mirror"]).out.contains(text));
}

pub(crate) fn conflicts(fleet: &Fleet, at: usize) -> String {
    let Ran { out, .. } = fleet.msync(at, &["conflicts"]).ok();
    out
}

/// Time for a fleet to do what it should not.
pub(crate) fn wait_a_while() {
    std::thread::sleep(Duration::from_millis(2_500));
}

#[test]
fn a_change_on_any_host_is_on_all() {
    let fleet = mirroring("mirror-changes", 3);
    tree::write(fleet.path(0, "a"), "one");
    alike(&fleet, &[0, 1, 2]);
    fs::create_dir_all(fleet.path(1, "d/e")).unwrap();
    symlink("../a", fleet.path(1, "d/link")).unwrap();
    alike(&fleet, &[0, 1, 2]);
    tree::set_mode(&fleet.path(2, "d/e"), 0o700);
    fs::rename(fleet.path(2, "a"), fleet.path(2, "d/b")).unwrap();
    alike(&fleet, &[0, 1, 2]);
    tree::write(fleet.path(0, "d/b"), "one, and more");
    alike(&fleet, &[0, 1, 2]);
    assert_eq!(read(fleet.path(2, "d/b")).as_deref(), Some("one, and more"));
    // A copy of an old file, with its time.
    tree::write(fleet.path(1, "d/b"), "restored");
    tree::set_mtime(&fleet.path(1, "d/b"), 1_000_000_000, 0);
    alike(&fleet, &[0, 1, 2]);
    assert_eq!(read(fleet.path(0, "d/b")).as_deref(), Some("restored"));
    // A directory where a file was, and a file where a directory was.
    fs::remove_file(fleet.path(2, "d/b")).unwrap();
    tree::write(fleet.path(2, "d/b/in it"), "x");
    alike(&fleet, &[0, 1, 2]);
    fs::remove_dir_all(fleet.path(0, "d")).unwrap();
    tree::write(fleet.path(0, "d"), "a file");
    alike(&fleet, &[0, 1, 2]);
    assert_eq!(read(fleet.path(1, "d")).as_deref(), Some("a file"));
    fs::remove_file(fleet.path(1, "d")).unwrap();
    alike(&fleet, &[0, 1, 2]);
    assert!(tree::snapshot(&fleet.base(0)).is_empty());
    assert_eq!(conflicts(&fleet, 0), "");
}

#[test]
fn what_a_local_change_leaves_behind_goes_or_comes_back_as_on_all_hosts() {
    let mut fleet = mirroring("mirror-leaves", 2);
    for name in ["d/gone", "d/stays", "e/last", "both"] {
        tree::write(fleet.path(0, name), "base");
    }
    alike(&fleet, &[0, 1]);
    // The events of a directory that is moved away and back tell nothing of what went meanwhile.
    fs::rename(fleet.path(0, "d"), fleet.dir().join("away")).unwrap();
    fs::remove_file(fleet.dir().join("away/gone")).unwrap();
    fs::rename(fleet.dir().join("away"), fleet.path(0, "d")).unwrap();
    eventually("it is gone on both", || (0..2).all(|at| !fleet.path(at, "d/gone").exists()));
    assert!(fleet.path(1, "d/stays").exists());
    // A directory that one has removed while another has made a file in it is gone with that file; a version that
    // does not have its name has it when the other one is removed.
    fleet.kill(1);
    fs::remove_dir_all(fleet.path(0, "e")).unwrap();
    tree::write(fleet.path(1, "e/new"), "made");
    tree::write(fleet.path(0, "both"), "of h0");
    tree::write(fleet.path(1, "both"), "of host 1");
    wait_a_while();
    fleet.start(1, MIRROR);
    eventually("both have the new file", || (0..2).all(|at| fleet.path(at, "e/new").exists()));
    eventually("a conflict", || (0..2).all(|at| conflicts(&fleet, at).lines().count() == 1));
    let shown = read(fleet.path(1, "both")).unwrap();
    let other = if shown == "of h0" { "of host 1" } else { "of h0" };
    fs::remove_file(fleet.path(1, "e/new")).unwrap();
    fs::remove_file(fleet.path(1, "both")).unwrap();
    eventually("the directory is gone", || (0..2).all(|at| !fleet.path(at, "e").exists()));
    eventually("the other version is shown", || {
        (0..2).all(|at| read(fleet.path(at, "both")).as_deref() == Some(other))
    });
    (0..2).for_each(|at| assert_eq!(conflicts(&fleet, at), ""));
}

#[test]
fn what_was_written_while_a_host_was_dead_stays_when_it_returns() {
    let mut fleet = mirroring("mirror-written", 2);
    tree::write(fleet.path(0, "a"), "old");
    alike(&fleet, &[0, 1]);
    fleet.kill(1);
    tree::write(fleet.path(0, "a"), "changed");
    tree::write(fleet.path(0, "d/new"), "written");
    wait_a_while();
    fleet.start(1, MIRROR);
    alike(&fleet, &[0, 1]);
    wait_until_settled(&fleet, 1);
    wait_a_while();
    for at in 0..2 {
        assert_eq!(read(fleet.path(at, "a")).as_deref(), Some("changed"));
        assert_eq!(read(fleet.path(at, "d/new")).as_deref(), Some("written"));
    }
    assert_eq!(conflicts(&fleet, 0), "");
}

#[test]
fn what_was_deleted_while_a_host_was_dead_is_not_back_when_it_returns() {
    let mut fleet = mirroring("mirror-deleted", 2);
    tree::write(fleet.path(0, "a"), "1");
    tree::write(fleet.path(0, "d/b"), "2");
    tree::write(fleet.path(0, "stays"), "3");
    alike(&fleet, &[0, 1]);
    fleet.kill(0);
    fs::remove_file(fleet.path(1, "a")).unwrap();
    fs::remove_dir_all(fleet.path(1, "d")).unwrap();
    wait_a_while();
    fleet.start(0, MIRROR);
    alike(&fleet, &[0, 1]);
    wait_until_settled(&fleet, 0);
    wait_a_while();
    for at in 0..2 {
        assert!(!fleet.path(at, "a").exists() && !fleet.path(at, "d").exists());
        assert_eq!(read(fleet.path(at, "stays")).as_deref(), Some("3"));
    }
}

#[test]
fn two_edits_while_apart_are_on_all_hosts_and_one_is_taken() {
    let mut fleet = mirroring("mirror-apart", 3);
    for name in ["taken", "dropped"] {
        tree::write(fleet.path(0, name), "base");
    }
    alike(&fleet, &[0, 1, 2]);
    fleet.kill(1);
    for name in ["taken", "dropped"] {
        tree::write(fleet.path(1, name), "of host 1");
        tree::write(fleet.path(0, name), "of h0");
    }
    eventually("h2 has what h0 wrote", || {
        read(fleet.path(2, "dropped")).as_deref() == Some("of h0")
    });
    fleet.start(1, MIRROR);
    for at in 0..3 {
        eventually("both are conflicts", || conflicts(&fleet, at).lines().count() == 2);
    }
    alike(&fleet, &[0, 1, 2]);
    let shown = read(fleet.path(0, "taken")).unwrap();
    let other = if shown == "of h0" { "of host 1" } else { "of h0" };
    for at in 0..3 {
        let listed = conflicts(&fleet, at);
        assert_eq!(listed, conflicts(&fleet, 0));
        for line in listed.lines() {
            let kept = fleet.path(at, line.rsplit(": ").next().unwrap());
            eventually("its bytes are kept", || read(&kept).as_deref() == Some(other));
        }
    }
    fleet.msync(2, &["conflicts", "take", "taken"]).ok();
    fleet.msync(0, &["conflicts", "drop", "dropped"]).ok();
    for at in 0..3 {
        eventually("nothing is left to decide", || conflicts(&fleet, at).is_empty());
        eventually("the taken version is shown", || {
            read(fleet.path(at, "taken")).as_deref() == Some(other)
        });
        assert_eq!(read(fleet.path(at, "dropped")), Some(shown.clone()));
    }
    alike(&fleet, &[0, 1, 2]);
}

#[test]
fn a_file_that_is_removed_while_another_host_makes_a_directory_of_it_leaves_nothing_behind() {
    let mut fleet = mirroring("mirror-file-dir", 2);
    fleet.daemon(1).signal("STOP");
    tree::write(fleet.path(0, "p"), "a file");
    wait_for_row(&fleet, 0, "1 path");
    tree::write(fleet.path(1, "p/in it"), "x");
    fleet.daemon(1).signal("CONT");
    // A deletion is noticed last.
    fs::remove_file(fleet.path(0, "p")).unwrap();
    eventually("both have it", || (0..2).all(|at| read(fleet.path(at, "p/in it")).is_some()));
    for at in 0..2 {
        eventually("no conflict is left", || conflicts(&fleet, at).is_empty());
        assert!(!fleet.msync(at, &["mirror"]).out.contains("not here yet"));
    }
}

#[test]
fn hosts_that_all_start_again_bring_together_what_each_has() {
    let mut fleet = mirroring("mirror-restarted", 3);
    tree::write(fleet.path(0, "a"), "1");
    tree::write(fleet.path(0, "d/gone"), "1");
    alike(&fleet, &[0, 1, 2]);
    (0..3).for_each(|at| assert!(fleet.stop(at).success()));
    for at in 0..2 {
        tree::write(fleet.path(at, format!("of h{at}")), "made while down");
    }
    fs::remove_file(fleet.path(2, "d/gone")).unwrap();
    (0..3).for_each(|at| fleet.start(at, MIRROR));
    alike(&fleet, &[0, 1, 2]);
    eventually("the deletion is everywhere", || !fleet.path(0, "d/gone").exists());
    alike(&fleet, &[0, 1, 2]);
    assert!(fleet.path(2, "of h0").exists() && fleet.path(0, "of h1").exists());
}

#[test]
fn an_edit_and_a_deletion_while_apart_leave_the_edit() {
    let mut fleet = mirroring("mirror-edit-deleted", 2);
    tree::write(fleet.path(0, "a"), "base");
    tree::write(fleet.path(0, "d/old"), "base");
    alike(&fleet, &[0, 1]);
    fleet.kill(1);
    fs::remove_file(fleet.path(1, "a")).unwrap();
    tree::write(fleet.path(0, "a"), "edited");
    tree::write(fleet.path(1, "d/new"), "made");
    fs::remove_dir_all(fleet.path(0, "d")).unwrap();
    wait_a_while();
    fleet.start(1, MIRROR);
    eventually("both have the edits", || {
        let has = |at, name, text| read(fleet.path(at, name)).as_deref() == Some(text);
        (0..2).all(|at| has(at, "a", "edited") && has(at, "d/new", "made"))
    });
    alike(&fleet, &[0, 1]);
    assert!(!fleet.path(1, "d/old").exists());
}

#[test]
fn files_of_a_host_that_joins_are_listed_until_they_are_adopted() {
    let mut fleet = mirroring("mirror-joins", 2);
    let joins = fleet.idle_host();
    tree::write(fleet.path(0, "same name"), "of the group");
    tree::write(fleet.path(0, "fetched"), "of the group");
    tree::write(fleet.path(0, "d/a"), "of the group");
    alike(&fleet, &[0, 1]);
    tree::write(fleet.path(joins, "same name"), "of the new one");
    tree::write(fleet.path(joins, "fetched"), "of the new one");
    tree::write(fleet.path(joins, "only here"), "of the new one");
    fleet.start(joins, MIRROR);
    eventually("it gets what it lacks", || read(fleet.path(joins, "d/a")).is_some());
    wait_for_row(&fleet, joins, "listed");
    wait_until_settled(&fleet, joins);
    wait_a_while();
    assert_eq!(read(fleet.path(joins, "same name")).as_deref(), Some("of the new one"));
    assert_eq!(read(fleet.path(0, "same name")).as_deref(), Some("of the group"));
    assert!(!fleet.path(0, "only here").exists());
    // What is deleted of it comes from the others.
    fs::remove_file(fleet.path(joins, "fetched")).unwrap();
    eventually("the others' is there", || {
        read(fleet.path(joins, "fetched")).as_deref() == Some("of the group")
    });
    fleet.msync(joins, &["mirror", "adopt", "."]).ok();
    alike(&fleet, &[0, 1, joins]);
    assert_eq!(read(fleet.path(1, "same name")).as_deref(), Some("of the new one"));
    assert_eq!(read(fleet.path(1, "only here")).as_deref(), Some("of the new one"));
    assert_eq!(read(fleet.path(1, "fetched")).as_deref(), Some("of the group"));
}

#[test]
fn hosts_that_are_killed_while_files_go_around_come_to_the_same() {
    let mut fleet = mirroring("mirror-killed", 2);
    for (round, dead) in [(0, 0), (1, 1)] {
        for n in 0..200 {
            tree::write(fleet.path(0, format!("d{round}/{n}")), format!("{round} {n}"));
        }
        std::thread::sleep(Duration::from_millis(300));
        fleet.kill(dead);
        fleet.start(dead, MIRROR);
        alike(&fleet, &[0, 1]);
        assert_eq!(tree::snapshot(&fleet.path(1, format!("d{round}"))).len(), 200);
        assert_eq!(conflicts(&fleet, 0), "");
    }
}

#[test]
fn many_deletions_and_an_emptied_root_wait_until_they_are_released() {
    let fleet = mirroring("mirror-held", 2);
    for n in 0..200 {
        tree::write(fleet.path(0, format!("d/{n}")), "x");
    }
    tree::write(fleet.path(0, "stays"), "x");
    alike(&fleet, &[0, 1]);
    fs::remove_dir_all(fleet.path(0, "d")).unwrap();
    wait_for_row(&fleet, 0, "held deletions");
    tree::write(fleet.path(0, "other"), "data flows");
    eventually("data flows", || fleet.path(1, "other").exists());
    assert_eq!(tree::snapshot(&fleet.path(1, "d")).len(), 200);
    fleet.msync(0, &["mirror", "release", "."]).ok();
    wait_for_row(&fleet, 1, "held deletions");
    fleet.msync(1, &["mirror", "release", "."]).ok();
    alike(&fleet, &[0, 1]);
    assert!(!fleet.path(1, "d").exists());
    // What was released does not count against a small deletion.
    fs::remove_file(fleet.path(0, "other")).unwrap();
    alike(&fleet, &[0, 1]);
    for n in 0..5 {
        tree::write(fleet.path(1, format!("f{n}")), "x");
    }
    alike(&fleet, &[0, 1]);
    for name in tree::snapshot(&fleet.base(1)).keys() {
        fs::remove_file(fleet.path(1, String::from_utf8(name.clone()).unwrap())).unwrap();
    }
    wait_for_row(&fleet, 1, "held deletions");
    wait_a_while();
    assert_eq!(tree::snapshot(&fleet.base(0)).len(), 6);
}

#[test]
fn another_directory_in_the_place_of_a_mirror_spreads_nothing() {
    let options: &[&str] = &["--mirror", "www"];
    let mut fleet = Fleet::with("mirror-replaced", &[options, options]);
    (0..2).for_each(|at| wait_until_settled(&fleet, at));
    for n in 0..5 {
        tree::write(fleet.path(0, format!("www/{n}")), "x");
    }
    let both = |fleet: &Fleet, name: &str| (0..2).all(|at| fleet.path(at, name).exists());
    eventually("both have them", || (0..5).all(|n| both(&fleet, &format!("www/{n}"))));
    fs::rename(fleet.path(1, "www"), fleet.path(1, "away")).unwrap();
    fs::create_dir(fleet.path(1, "www")).unwrap();
    tree::write(fleet.path(1, "www/other"), "not of the mirror");
    wait_for_row(&fleet, 1, "held");
    tree::write(fleet.path(0, "www/new"), "x");
    wait_a_while();
    assert!(fleet.path(0, "www/0").exists() && !fleet.path(0, "www/other").exists());
    assert!(!fleet.path(1, "www/new").exists());
    // So it stays over a restart, until somebody says that it is meant.
    fleet.kill(1);
    fleet.start(1, options);
    wait_a_while();
    assert!(fleet.path(0, "www/0").exists() && !fleet.path(1, "www/0").exists());
    fleet.msync(1, &["mirror", "release", "www"]).ok();
    eventually("it is filled again", || (0..5).all(|n| both(&fleet, &format!("www/{n}"))));
    assert!(!fleet.path(0, "www/other").exists());
}

#[test]
fn ordinary_transfers_of_others_leave_a_mirror_alone() {
    let mirror: &[&str] = &["--mirror", "www"];
    let fleet = Fleet::with("mirror-ordinary", &[mirror, mirror, &[]]);
    (0..2).for_each(|at| wait_until_settled(&fleet, at));
    tree::write(fleet.path(0, "www/a"), "mirrored");
    eventually("h1 has it", || read(fleet.path(1, "www/a")).is_some());
    tree::write(fleet.path(2, "www/a"), "of another host");
    tree::write(fleet.path(2, "www/b"), "of another host");
    tree::write(fleet.path(2, "plain"), "sent");
    let ran = fleet.msync(2, &["send", "-r", "--delete"]);
    assert!(ran.code != Some(0) && ran.err.contains("Mirrored there"), "{ran:?}");
    for at in 0..2 {
        assert_eq!(read(fleet.path(at, "www/a")).as_deref(), Some("mirrored"));
        assert!(!fleet.path(at, "www/b").exists());
        assert_eq!(read(fleet.path(at, "plain")).as_deref(), Some("sent"));
    }
    let ran = fleet.msync(0, &["send", "-r"]);
    assert!(ran.out.contains("left out, since it is mirrored: www"), "{ran:?}");
    assert_eq!(read(fleet.path(2, "www/a")).as_deref(), Some("of another host"));
    // What only compares does compare.
    let ran = fleet.msync(0, &["check", "-r", "www"]);
    assert!(ran.code != Some(0) && !ran.err.contains("Mirrored there"), "{ran:?}");
}

#[test]
fn a_full_disk_is_no_change_and_heals() {
    let mut fleet = Fleet::idle("mirror-full", 2);
    let setup = "mount -t tmpfs -o size=2m tmpfs \"$1\"";
    let Some(by) = in_mounts("mirror-full", setup, &fleet.base(1)) else { return };
    fleet.start(0, MIRROR);
    fleet.start_by(by, 1, MIRROR);
    (0..2).for_each(|at| wait_until_settled(&fleet, at));
    tree::write(fleet.path(0, "big"), tree::bytes(4_000_000, 1));
    wait_for_row(&fleet, 1, "not here yet");
    tree::write(fleet.path(0, "small"), "x");
    let theirs = |fleet: &mut Fleet, name: &str| {
        format!("/proc/{}/root{}", fleet.daemon(1).pid(), fleet.path(1, name).display())
    };
    let small = theirs(&mut fleet, "small");
    eventually("what has room arrives", || read(&small).is_some());
    wait_a_while();
    assert_eq!(fs::metadata(fleet.path(0, "big")).unwrap().len(), 4_000_000);
    fs::remove_file(fleet.path(0, "big")).unwrap();
    eventually("nothing is lacking", || !fleet.msync(1, &["mirror"]).out.contains("not here yet"));
    tree::write(fleet.path(0, "big"), tree::bytes(1_000_000, 2));
    let big = theirs(&mut fleet, "big");
    eventually("what fits arrives", || fs::metadata(&big).is_ok_and(|it| it.len() == 1_000_000));
    assert_eq!(conflicts(&fleet, 0), "");
}
