//! `msync flush` says that all is sent only if it is.

use std::fs;
use std::time::Duration;

use crate::common::process::Running;
use crate::common::{Fleet, eventually, tree, within};
use crate::watching::watching;

/// A fleet of two; a client of the first one watches `d`, of which a change cannot be sent, as the other host stands
/// still, and another one waits for that.
fn waiting(name: &str) -> (Fleet, Running, Running) {
    let mut fleet = Fleet::new(name, 2);
    tree::write(fleet.path(0, "d/a"), "1");
    let watch = fleet.msync_start(0, &["watch", "d"]);
    eventually("a is there", || fleet.path(1, "d/a").exists());
    fleet.msync(0, &["flush"]).ok();
    fleet.daemon(1).signal("STOP");
    tree::write(fleet.path(0, "d/b"), "2");
    let flush = fleet.msync_start(0, &["flush", "d"]);
    fleet.daemon(0).wait_for_log(": flush d\n");
    (fleet, watch, flush)
}

#[test]
fn a_flush_whose_watch_ends_fails() {
    let (mut fleet, mut watch, flush) = waiting("flush-ends");
    watch.kill();
    let said = flush.end();
    assert_eq!((said.code, &*said.err), (Some(2), "error: its watch has ended d\n"), "{said:?}");
    fleet.daemon(1).signal("CONT");
}

#[test]
fn a_flush_of_a_daemon_that_stops_fails() {
    let (mut fleet, watch, flush) = waiting("flush-stops");
    fleet.stop(0);
    for ended in [flush.end(), watch.end()] {
        assert!(!matches!(ended.code, None | Some(0)), "{ended:?}");
    }
    fleet.daemon(1).signal("CONT");
}

#[test]
fn a_flush_of_a_watch_that_another_host_forbids_fails() {
    let mut fleet = watching("flush-forbidden", 2, &["-w", "d"]);
    fleet.msync(0, &["flush"]).ok();
    fs::create_dir(fleet.path(1, "e")).unwrap();
    fleet.stop(1);
    fleet.start(1, &["-w", "d", "-w", "e"]);
    tree::write(fleet.path(1, "d/theirs"), "x");
    let said = fleet.msync(1, &["flush"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    // The other one alone is all well.
    fleet.msync(1, &["flush", "e"]).ok();
    let said = fleet.msync(1, &["flush", "."]);
    assert_eq!((said.code, said.err.contains("h0 watches d")), (Some(2), true), "{said:?}");
    assert!(!fleet.path(0, "d/theirs").exists());
}

#[test]
fn a_flush_fails_as_long_as_something_sent_before_is_not_on_a_host() {
    let fleet = watching("flush-lacks", 3, &["-w", "."]);
    fleet.msync(0, &["flush"]).ok();
    tree::write(fleet.path(1, "f/in the way"), "x");
    tree::write(fleet.path(0, "f"), "1");
    let flush = || fleet.msync(0, &["flush"]);
    assert_eq!(flush().code, Some(2));
    for n in 0..3 {
        tree::write(fleet.path(0, format!("g{n}")), "2");
        let said = flush();
        let why = "error: not all that was sent is on 1 host .\n";
        assert_eq!((said.code, &*said.err), (Some(2), why));
        assert!(fleet.path(1, format!("g{n}")).exists());
    }
    fs::remove_dir_all(fleet.path(1, "f")).unwrap();
    let limit = Duration::from_secs(120);
    within(limit, "it has caught up", || (flush().code == Some(0)).then_some(()));
    assert_eq!(fs::read(fleet.path(1, "f")).unwrap(), b"1");
}
