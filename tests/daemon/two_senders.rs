//! Two transfers at once, to the same paths.

use std::fs;
use std::time::Duration;

use crate::common::{Fleet, eventually, now, tree};

/// `h0` sends at so many Mbit/s, and has a file that is streamed.
fn slow(name: &str, rate: &str) -> Fleet {
    let fleet = Fleet::with(name, &[&["-T", rate], &["-T", rate], &[]]);
    tree::write(fleet.path(0, "big-0"), tree::bytes(5 << 20, 1));
    fleet
}

#[test]
fn two_plain_sends_both_complete_and_one_is_told() {
    let fleet = slow("two-plain", "24");
    tree::write(fleet.path(1, "big-1"), tree::bytes(5 << 20, 2));
    let first = fleet.msync_start(0, &["send", "-r"]);
    fleet.wait_until_staged(2);
    let second = fleet.msync(1, &["send", "-r"]);
    let first = first.end();
    assert_eq!([first.code, second.code], [Some(0); 2], "{first:?} {second:?}");
    assert!(first.errors().is_empty() && second.errors().is_empty(), "{first:?} {second:?}");
    let warning = format!("warning: {} is also sending to the base directory on h2\n", fleet.ip(0));
    let told = format!("{}{}", second.out, second.err);
    assert!(told.contains(&warning), "{second:?}");
    for at in 0..3 {
        for (from, name) in [(0, "big-0"), (1, "big-1")] {
            let same = fs::read(fleet.path(from, name)).unwrap()
                == fs::read(fleet.path(at, name)).unwrap();
            assert!(same, "{name} on h{at}");
        }
    }
    fleet.wait_until_clean(Duration::from_secs(2));
}

#[test]
fn who_wants_a_path_alone_waits_for_it() {
    let fleet = slow("exclusive", "24");
    for at in 0..3 {
        tree::write(fleet.path(at, "dir/file"), "x");
    }
    tree::write(fleet.path(2, "dir/extra"), "x");
    let mut first = fleet.msync_start(0, &["send", "-r"]);
    fleet.wait_until_staged(2);
    let second = fleet.msync(1, &["dsync", "-r", "dir"]).ok();
    assert!(!first.is_running(), "it did not wait");
    first.end().ok();
    assert_eq!(second.out, "delete h2:dir/extra\n");
    assert!(!fleet.path(2, "dir/extra").exists());
    tree::assert_equal_dirs(&fleet.path(0, "dir"), &fleet.path(2, "dir"));
    // What does not overlap does not wait.
    tree::write(fleet.path(0, "big-0"), tree::bytes(5 << 20, 3));
    tree::write(fleet.path(2, "dir/extra"), "x");
    let mut first = fleet.msync_start(0, &["send", "big-0"]);
    fleet.wait_until_staged(2);
    fleet.msync(1, &["dsync", "-r", "dir"]).ok();
    assert!(first.is_running(), "it waited");
    assert!(!fleet.path(2, "dir/extra").exists());
    first.end().ok();
}

#[test]
fn who_waits_in_vain_is_told_for_whom() {
    // Longer than anybody waits.
    let fleet = slow("in-vain", "1");
    tree::write(fleet.path(1, "dir/file"), "x");
    tree::write(fleet.path(2, "dir/file"), "x");
    tree::write(fleet.path(2, "dir/extra"), "x");
    let mut first = fleet.msync_start(0, &["send", "-r"]);
    fleet.wait_until_staged(2);
    let began = now();
    let ran = fleet.msync(1, &["dsync", "-r", "dir"]);
    let took = began.elapsed();
    assert!((25..40).contains(&took.as_secs()), "{took:?}");
    let line = format!("error: dir is in use by a transfer from {}", fleet.ip(0));
    assert_eq!((ran.code, ran.errors()), (Some(2), vec![line.as_str()]), "{ran:?}");
    assert!(fleet.path(2, "dir/extra").exists());
    // Who leaves lets go of it.
    assert!(first.is_running());
    first.kill();
    fleet.wait_until_clean(Duration::from_secs(3));
    fleet.msync(1, &["dsync", "-r", "dir"]).ok();
    assert!(!fleet.path(2, "dir/extra").exists());
}

#[test]
fn the_path_of_a_sender_that_has_died_is_free_within_its_timeout() {
    for (name, timeout, within) in [("dead-3", Some("3"), 6), ("dead-default", None, 14)] {
        let mut options = vec!["-T", "1"];
        options.extend(timeout.iter().flat_map(|secs| ["--timeout", secs]));
        let mut fleet = Fleet::with(name, &[&options, &[], &[]]);
        tree::write(fleet.path(0, "big-0"), tree::bytes(5 << 20, 1));
        tree::write(fleet.path(1, "dir/file"), "x");
        tree::write(fleet.path(2, "dir/extra"), "x");
        let _first = fleet.msync_start(0, &["send", "-r"]);
        fleet.wait_until_staged(2);
        fleet.kill(0);
        let began = now();
        fleet.msync(1, &["dsync", "-r", "-t", "h2", "dir"]).well();
        let took = began.elapsed();
        assert!(took < Duration::from_secs(within), "{took:?}");
        assert!(!fleet.path(2, "dir/extra").exists());
        // Not even what the dead one had under way is left there.
        eventually("empty staging", || fleet.staged(2).is_empty());
    }
}

#[test]
fn two_at_once_from_one_host() {
    let fleet = slow("one-host", "40");
    for at in 0..50 {
        tree::write(fleet.path(0, format!("a/{at}")), tree::bytes(20_000, at));
        tree::write(fleet.path(0, format!("b/{at}")), tree::bytes(20_000, 100 + at));
    }
    let all: Vec<_> =
        [&["send", "-r", "a"][..], &["send", "-r", "b"], &["send", "-r"], &["send", "-r"]]
            .iter()
            .map(|args| fleet.msync_start(0, args))
            .collect();
    eventually("more than one is open", || {
        let status = fleet.console(0).ask("status");
        ["2", "3", "4"].iter().any(|n| status.contains(&format!("send op : {n}\n")))
    });
    for msync in all {
        let ran = msync.end();
        assert_eq!((ran.code, ran.errors().len()), (Some(0), 0), "{ran:?}");
    }
    for at in 1..3 {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
        assert_eq!(fleet.staged(at), [""; 0]);
    }
}
