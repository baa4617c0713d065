//! What a receiver's log says of how a transfer ended there.

use std::time::Duration;

use crate::common::process::signal;
use crate::common::{Fleet, eventually, now, tree};

/// The lines of a host's log on how transfers ended.
fn endings(fleet: &mut Fleet, at: usize) -> Vec<String> {
    let log = fleet.daemon(at).log();
    let words = [" complete", " incomplete", " aborted"];
    let ending = |line: &&str| line.contains("transfer ") && words.iter().any(|w| line.contains(w));
    log.lines().filter(ending).map(str::to_owned).collect()
}

#[track_caller]
fn last_ending(fleet: &mut Fleet, at: usize, count: usize) -> String {
    eventually("a transfer has ended", || endings(fleet, at).len() == count);
    endings(fleet, at).pop().unwrap()
}

#[test]
fn complete_incomplete_and_aborted_are_three_words_in_a_receivers_log() {
    let slow: &[&str] = &["-T", "8", "--timeout", "1"];
    let mut fleet = Fleet::with("three-words", &[slow, &["-d", "9"], &["-d", "9"]]);
    for at in 0..3 {
        tree::write(fleet.path(0, format!("a/{at}")), "first");
    }
    fleet.msync(0, &["send", "-r"]).well();
    for at in [1, 2] {
        let line = last_ending(&mut fleet, at, 1);
        assert!(line.ends_with(" complete"), "{line}");
    }
    // One stands still, and is dropped; what it hears when it goes on is that it is over.
    tree::write(fleet.path(0, "b-long"), tree::bytes(700_000, 1));
    for at in 0..20 {
        tree::write(fleet.path(0, format!("c/{at}")), tree::bytes(100, at));
    }
    let pid = fleet.daemon(2).pid();
    let sending = fleet.msync_start(0, &["send", "-r"]);
    fleet.wait_until_staged(2);
    signal(pid, "STOP");
    let ran = sending.end();
    assert_eq!(ran.code, Some(2), "{ran:?}");
    signal(pid, "CONT");
    let line = last_ending(&mut fleet, 2, 2);
    // Whether the first batch was put into place before it stood still is not known.
    let missing = [21, 24].map(|files| format!(" incomplete: {files} of 24 files are not as sent"));
    assert!(missing.iter().any(|ending| line.ends_with(ending.as_str())), "{line}");
    let line = last_ending(&mut fleet, 1, 2);
    assert!(line.ends_with(" complete"), "{line}");
    eventually("it is a member again", || fleet.members(0) == ["h1", "h2"]);
    // The client hangs up in the middle.
    tree::write(fleet.path(0, "b-long"), tree::bytes(3_000_000, 2));
    let mut sending = fleet.msync_start(0, &["send", "-r"]);
    fleet.wait_until_staged(1);
    assert!(sending.is_running());
    drop(sending);
    for at in [1, 2] {
        let line = last_ending(&mut fleet, at, 3);
        assert!(line.contains(" aborted: its sender called it off"), "{line}");
    }
    // A dry run, a check and a deletion are complete, too.
    let begun = now();
    fleet.msync(0, &["send", "-r", "-n"]).well();
    tree::write(fleet.path(1, "a/extra"), "x");
    fleet.msync(0, &["send", "-r", "-t", "h1", "--delete", "a"]).well();
    assert!(begun.elapsed() < Duration::from_secs(20));
    for count in [4, 5] {
        eventually("more endings", || endings(&mut fleet, 1).len() >= count);
    }
    let all = endings(&mut fleet, 1);
    assert!(all[3..].iter().all(|line| line.ends_with(" complete")), "{all:?}");
}
