//! `msync flush` of a mirror says that all is everywhere only if every host that mirrors it has it.

use std::fs;
use std::time::Duration;

use crate::common::process::{Ran, in_mounts};
use crate::common::{Fleet, eventually, now, tree, within};
use crate::mirroring::{MIRROR, mirroring, read, wait_for_row, wait_until_settled};

fn flush(fleet: &Fleet, at: usize, path: &str) -> Ran {
    fleet.msync(at, &["flush", path])
}

/// Flushes until that succeeds.
#[track_caller]
fn flushes(fleet: &Fleet, at: usize) {
    eventually("all is everywhere", || flush(fleet, at, ".").code == Some(0));
}

/// A flush of a path fails with these errors.
#[track_caller]
fn fails(fleet: &Fleet, at: usize, path: &str, errors: &[&str]) {
    let ran = flush(fleet, at, path);
    assert_eq!((ran.code, ran.errors()), (Some(2), errors.to_vec()), "{ran:?}");
}

#[test]
fn a_flush_of_a_mirror_takes_no_longer_than_its_change() {
    let fleet = mirroring("mirror-flush-fast", 4);
    flushes(&fleet, 0);
    let mut fastest = Duration::MAX;
    for n in 0..5 {
        tree::write(fleet.path(n % 4, "a"), format!("round {n}"));
        let then = now();
        flush(&fleet, n % 4, "a").ok();
        fastest = fastest.min(then.elapsed());
        for at in 0..4 {
            assert_eq!(read(fleet.path(at, "a")), Some(format!("round {n}")));
        }
    }
    assert!(fastest < Duration::from_millis(900), "{fastest:?}");
}

#[test]
fn a_flush_right_after_a_start_waits_until_the_hosts_have_compared() {
    let mut fleet = mirroring("mirror-flush-start", 3);
    tree::write(fleet.path(0, "a"), "1");
    flushes(&fleet, 0);
    (0..3).for_each(|at| fleet.kill(at));
    tree::write(fleet.path(0, "a"), "changed");
    tree::write(fleet.path(0, "b"), "new");
    for at in [1, 0, 2] {
        fleet.start(at, MIRROR);
    }
    fleet.wait_for_members();
    flush(&fleet, 0, ".").ok();
    for at in 1..3 {
        assert_eq!(read(fleet.path(at, "a")).as_deref(), Some("changed"));
        assert_eq!(read(fleet.path(at, "b")).as_deref(), Some("new"));
    }
}

#[test]
fn a_flush_names_a_host_that_has_no_room() {
    let mut fleet = Fleet::idle("mirror-flush-full", 3);
    let setup = "mount -t tmpfs -o size=2m tmpfs \"$1\"";
    let Some(by) = in_mounts("mirror-flush-full", setup, &fleet.base(1)) else { return };
    fleet.start(0, MIRROR);
    fleet.start_by(by, 1, MIRROR);
    fleet.start(2, MIRROR);
    (0..3).for_each(|at| wait_until_settled(&fleet, at));
    tree::write(fleet.path(0, "d/big"), tree::bytes(4_000_000, 1));
    tree::write(fleet.path(0, "e/small"), "x");
    let lacks = "error: lacks 1 path: see msync mirror h1:d";
    fails(&fleet, 0, "d", &[lacks]);
    // Whoever asks, and where it was not changed.
    fails(&fleet, 2, "d", &[lacks]);
    fails(&fleet, 1, ".", &["error: lacks 1 path: see msync mirror ."]);
    flush(&fleet, 0, "e").ok();
    flush(&fleet, 1, "e/small").ok();
    assert_eq!(fleet.msync(0, &["send", "-r", "d"]).errors(), [lacks]);
    assert_ne!(fleet.msync(0, &["send", "-r", "d"]).code, Some(0));
    fs::remove_file(fleet.path(2, "d/big")).unwrap();
    flushes(&fleet, 2);
    flushes(&fleet, 0);
}

#[test]
fn a_flush_names_hosts_that_hold_deletions_of_its_path() {
    let fleet = mirroring("mirror-flush-held", 3);
    for n in 0..200 {
        tree::write(fleet.path(0, format!("d/{n}")), "x");
    }
    tree::write(fleet.path(0, "e/stays"), "x");
    flushes(&fleet, 0);
    fs::remove_dir_all(fleet.path(0, "d")).unwrap();
    let ran = flush(&fleet, 0, "d");
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("deletions held back") && ran.err.lines().count() == 1, "{ran:?}");
    // Beside it, all is well.
    flush(&fleet, 0, "e").ok();
    fleet.msync(0, &["mirror", "release", "."]).ok();
    eventually("both hold them", || {
        let ran = flush(&fleet, 0, "d");
        let names = |host: &str| {
            let end = format!("deletions held back: see msync mirror {host}:d");
            ran.errors().iter().any(|line| line.ends_with(&end))
        };
        ran.code == Some(2) && ran.errors().len() == 2 && names("h1") && names("h2")
    });
    flush(&fleet, 1, "e").ok();
    for at in [1, 2] {
        fleet.msync(at, &["mirror", "release", "."]).ok();
    }
    flushes(&fleet, 0);
    assert!((0..3).all(|at| !fleet.path(at, "d").exists()));
}

#[test]
fn a_flush_names_a_host_whose_mirror_stands_still_and_one_that_lists_files() {
    let options: &[&str] = &["--mirror", "www"];
    let mut fleet = Fleet::with("mirror-flush-stopped", &[options, options, options, &[]]);
    (0..3).for_each(|at| wait_until_settled(&fleet, at));
    tree::write(fleet.path(0, "www/a"), "x");
    tree::write(fleet.path(0, "www/b"), "x");
    flushes(&fleet, 0);
    fs::rename(fleet.path(1, "www"), fleet.path(1, "away")).unwrap();
    fs::create_dir(fleet.path(1, "www")).unwrap();
    tree::write(fleet.path(1, "www/a"), "another one");
    wait_for_row(&fleet, 1, "held");
    tree::write(fleet.path(0, "www/b"), "changed");
    let stands = "the mirror stands still";
    fails(&fleet, 0, ".", &[&format!("error: {stands}: see msync mirror h1:www")]);
    fails(&fleet, 1, "www", &[&format!("error: {stands}: see msync mirror www")]);
    fleet.kill(1);
    fleet.start(1, options);
    fails(&fleet, 2, "www", &[&format!("error: {stands}: see msync mirror h1:www")]);
    fleet.msync(1, &["mirror", "release", "www"]).ok();
    eventually("b is there", || read(fleet.path(1, "www/b")).as_deref() == Some("changed"));
    flush(&fleet, 0, "www/b").ok();
    fails(&fleet, 2, "www/a", &["error: 1 path listed: see msync mirror h1:www/a"]);
    fails(&fleet, 1, "www/a", &["error: 1 path listed: see msync mirror www/a"]);
    fs::remove_file(fleet.path(1, "www/a")).unwrap();
    flushes(&fleet, 0);
    // Who mirrors nothing is not asked.
    assert!(!fleet.path(3, "www").exists());
}

#[test]
fn a_member_that_dies_holds_changes_up_for_a_moment_and_one_that_was_silent_gets_them() {
    let mut fleet = mirroring("mirror-flush-dies", 3);
    flushes(&fleet, 0);
    fleet.daemon(1).signal("STOP");
    let then = now();
    for (name, limit) in [("a", 4), ("b", 4), ("c", 2)] {
        tree::write(fleet.path(0, name), name);
        // What is changed meanwhile waits for what goes.
        std::thread::sleep(Duration::from_millis(300));
        let limit = Duration::from_secs(limit) + then.elapsed();
        within(limit, &format!("{name} is on h2"), || read(fleet.path(2, name)));
    }
    let took = then.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    fails(&fleet, 0, ".", &["error: does not say whether it has all h1:."]);
    fleet.daemon(1).signal("CONT");
    flushes(&fleet, 0);
    assert!(["a", "b", "c"].iter().all(|name| fleet.path(1, name).exists()));
    // One that is not there any more is not asked.
    fleet.stop(1);
    tree::write(fleet.path(0, "d"), "d");
    flush(&fleet, 0, "d").ok();
    assert!(fleet.path(2, "d").exists());
}

#[test]
fn what_a_host_without_the_mirror_sends_of_it_leaves_nobody_behind() {
    let mirror: &[&str] = &["--mirror", "www"];
    let mut fleet = Fleet::with("mirror-flush-behind", &[mirror, mirror, &[]]);
    (0..2).for_each(|at| wait_until_settled(&fleet, at));
    tree::write(fleet.path(2, "www/a"), "not of the mirror");
    tree::write(fleet.path(2, "plain"), "1");
    let sends = |fleet: &Fleet, args: &[&str]| {
        let ran = fleet.msync(2, &[&["send"], args].concat());
        assert!(ran.code != Some(0) && ran.err.contains("Mirrored there"), "{ran:?}");
    };
    let nobody = |fleet: &Fleet| {
        std::thread::sleep(Duration::from_secs(2));
        for at in 0..3 {
            let ran = fleet.msync(at, &["members", "--behind"]);
            assert_eq!((ran.code, &*ran.out), (Some(0), ""), "{ran:?}");
        }
    };
    sends(&fleet, &["-r"]);
    nobody(&fleet);
    sends(&fleet, &["-r", "--delete", "www"]);
    sends(&fleet, &["www/a"]);
    nobody(&fleet);
    // Nor one that was away, and asks for it.
    fleet.stop(1);
    tree::write(fleet.path(2, "plain"), "changed");
    tree::write(fleet.path(2, "www/b"), "not of the mirror");
    sends(&fleet, &["-r"]);
    fleet.start(1, mirror);
    eventually("it has what it missed", || {
        read(fleet.path(1, "plain")).as_deref() == Some("changed")
    });
    nobody(&fleet);
    assert!(!fleet.path(1, "www/a").exists() && !fleet.path(1, "www/b").exists());
}
