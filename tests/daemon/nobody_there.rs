//! What is sent while nobody is there is for those who come later.

use std::fs;

use crate::common::process::Ran;
use crate::common::{Fleet, eventually, tree};

const LATER: &str = "msync: no members to send to: hosts that come later get it\n";

#[track_caller]
fn becomes_like(fleet: &Fleet, host: usize, other: usize) {
    eventually("the hosts have the same files", || {
        tree::snapshot(&fleet.base(host)) == tree::snapshot(&fleet.base(other))
    });
}

/// What was asked for is not so, for this reason.
#[track_caller]
fn fails(ran: &Ran, why: &str) {
    assert_eq!((ran.code, ran.err.as_str()), (Some(2), why), "{ran:?}");
}

/// What `history` counts on a host.
#[track_caller]
fn remembered(fleet: &Fleet, at: usize) -> String {
    let out = fleet.msync(at, &["history"]).ok().out;
    out.lines().last().unwrap().to_owned()
}

#[test]
fn it_is_an_error_and_whoever_starts_afterwards_gets_it() {
    let mut fleet = Fleet::idle("nobody-new", 3);
    fleet.start(0, &[]);
    for n in 0..300 {
        tree::write(fleet.path(0, format!("d{}/f{n}", n % 7)), format!("{n}"));
    }
    fails(&fleet.msync(0, &["send", "-r"]), LATER);
    tree::write(fleet.path(0, "d1/f1"), "changed");
    fails(&fleet.msync(0, &["sync", "d1/f1"]), LATER);
    let ran = fleet.msync(0, &["--json", "send", "-r", "d2"]);
    fails(&ran, LATER);
    let [error, total] = &ran.out.lines().collect::<Vec<_>>()[..] else { panic!("{ran:?}") };
    assert!(error.contains("\"code\":\"no_members\""), "{error}");
    assert!(total.contains("\"unchanged\":0") && total.contains("\"recorded\":true"), "{total}");
    assert_eq!(remembered(&fleet, 0), "Total: 3 transfers");
    for at in [1, 2] {
        fleet.start(at, &[]);
        becomes_like(&fleet, at, 0);
        fleet.kill(0);
        fleet.start(0, &[]);
    }
}

#[test]
fn a_host_that_was_away_gets_deletions_too() {
    for (name, deletes) in [("nobody-delete", "--delete"), ("nobody-before", "--delete-before")] {
        let mut fleet = Fleet::new(name, 2);
        for name in ["d/a", "d/b", "d/c/x"] {
            tree::write(fleet.path(0, name), name);
        }
        tree::write(fleet.path(0, "one"), "1");
        fleet.msync(0, &["send", "-r"]).ok();
        fleet.stop(1);
        fs::remove_dir_all(fleet.path(0, "d/c")).unwrap();
        fs::remove_file(fleet.path(0, "d/b")).unwrap();
        tree::write(fleet.path(0, "d/new"), "new");
        fails(&fleet.msync(0, &["send", "-r", deletes, "--checksum", "d"]), LATER);
        fs::remove_file(fleet.path(0, "one")).unwrap();
        fails(&fleet.msync(0, &["sync", "one"]), LATER);
        fleet.start(1, &[]);
        becomes_like(&fleet, 1, 0);
        assert!(!fleet.path(1, "one").exists() && !fleet.path(1, "d/c").exists());
    }
}

#[test]
fn an_empty_directory_deletes_nothing_later_without_force() {
    let mut fleet = Fleet::new("nobody-empty", 2);
    tree::write(fleet.path(0, "d/a"), "a");
    fleet.msync(0, &["send", "-r"]).ok();
    fleet.stop(1);
    fs::remove_file(fleet.path(0, "d/a")).unwrap();
    fleet.msync(0, &["send", "-r", "--delete", "d"]);
    fleet.start(1, &[]);
    fleet.wait_for_members();
    tree::write(fleet.path(0, "z"), "z");
    fleet.msync(0, &["send", "z"]).ok();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(fleet.path(1, "d/a").exists());
}

#[test]
fn what_changes_nothing_or_cannot_be_kept_is_for_nobody() {
    let mut fleet = Fleet::idle("nobody-nothing", 1);
    let nobody = "msync: no members to send to\n";
    fleet.start(0, &[]);
    tree::write(fleet.path(0, "d/a"), "a");
    fails(&fleet.msync(0, &["send", "-r", "-n"]), nobody);
    fails(&fleet.msync(0, &["sync", "-n", "gone"]), nobody);
    fails(&fleet.msync(0, &["check", "-r"]), "msync: no members to compare with\n");
    fails(&fleet.msync(0, &["dsync", "-r"]), nobody);
    fails(&fleet.msync(0, &["send", "missing"]), "error: No such file or directory missing\n");
    assert_eq!(remembered(&fleet, 0), "Total: 0 transfers");
    for option in ["--no-catch-up", "--readonly"] {
        fleet.stop(0);
        fleet.start(0, &[option]);
        fails(&fleet.msync(0, &["send", "-r"]), nobody);
    }
}
