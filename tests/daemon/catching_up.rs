//! A host that was away, or is new, gets what it lacks.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::common::{Fleet, eventually, now, tree};

/// Whether two hosts have the same files.
fn is_like(fleet: &Fleet, host: usize, other: usize) -> bool {
    tree::snapshot(&fleet.base(host)) == tree::snapshot(&fleet.base(other))
}

#[track_caller]
fn becomes_like(fleet: &Fleet, host: usize, other: usize) {
    eventually("the hosts have the same files", || is_like(fleet, host, other));
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Time for a fleet to do what it should not.
fn wait_a_while() {
    std::thread::sleep(Duration::from_secs(4));
}

#[test]
fn a_host_that_was_away_gets_what_was_sent_and_what_was_deleted() {
    let mut fleet = Fleet::new("returns", 3);
    for n in 0..50 {
        tree::write(fleet.path(0, format!("d/f{n}")), format!("{n}"));
    }
    fleet.msync(0, &["send", "-r"]).ok();
    fleet.stop(2);
    for n in 0..10 {
        fs::remove_file(fleet.path(0, format!("d/f{n}"))).unwrap();
        tree::write(fleet.path(0, format!("d/g{n}")), format!("new {n}"));
    }
    tree::write(fleet.path(0, "d/f20"), "changed");
    fleet.msync(0, &["send", "-r", "--delete"]).ok();
    tree::write(fleet.path(1, "by-another"), "x");
    fleet.msync(1, &["send", "by-another"]).ok();
    fleet.start(2, &[]);
    becomes_like(&fleet, 2, 1);
    assert!(is_like(&fleet, 2, 0));
}

#[test]
fn it_does_not_matter_who_is_there_to_give_it() {
    let mut fleet = Fleet::new("sender-gone", 3);
    fleet.stop(2);
    tree::write(fleet.path(0, "a"), "of a host that is gone");
    fleet.msync(0, &["send", "a"]).ok();
    fleet.stop(0);
    fleet.start(2, &[]);
    becomes_like(&fleet, 2, 1);
}

#[test]
fn a_new_host_with_an_empty_base_gets_everything() {
    let mut fleet = Fleet::new("new-host", 2);
    tree::write(fleet.path(0, "d/a"), "1");
    fleet.msync(0, &["send", "-r"]).ok();
    tree::write(fleet.path(0, "b"), "2");
    fleet.msync(0, &["send", "b"]).ok();
    let at = fleet.idle_host();
    fleet.start(at, &[]);
    becomes_like(&fleet, at, 0);
}

#[test]
fn a_new_host_that_has_files_keeps_them() {
    let mut fleet = Fleet::new("new-with-files", 2);
    tree::write(fleet.path(0, "a"), "sent before");
    fleet.msync(0, &["send", "a"]).ok();
    let at = fleet.idle_host();
    tree::write(fleet.path(at, "a"), "what it had");
    fleet.start(at, &[]);
    wait_a_while();
    assert_eq!(read(fleet.path(at, "a")).as_deref(), Some("what it had"));
    // What is sent from now on is for it, too, also when it is away.
    fleet.stop(at);
    tree::write(fleet.path(0, "b"), "sent later");
    fleet.msync(0, &["send", "b"]).ok();
    fleet.start(at, &[]);
    eventually("what was sent later is there", || {
        read(fleet.path(at, "b")).as_deref() == Some("sent later")
    });
    assert_eq!(read(fleet.path(at, "a")).as_deref(), Some("what it had"));
}

#[test]
fn a_host_that_returns_changes_nothing_on_the_others() {
    let mut fleet = Fleet::new("old-files", 3);
    tree::write(fleet.path(2, "a"), "old");
    fleet.msync(2, &["send", "a"]).ok();
    fleet.stop(2);
    tree::write(fleet.path(0, "a"), "new");
    fleet.msync(0, &["send", "a"]).ok();
    tree::write(fleet.path(2, "only-here"), "never sent");
    fleet.start(2, &[]);
    becomes_like_in(&fleet, "a", "new");
    wait_a_while();
    becomes_like_in(&fleet, "a", "new");
    assert!(read(fleet.path(0, "only-here")).is_none());
    assert_eq!(read(fleet.path(2, "only-here")).as_deref(), Some("never sent"));
}

#[track_caller]
fn becomes_like_in(fleet: &Fleet, path: &str, content: &str) {
    eventually("all have it", || {
        (0..fleet.len()).all(|at| read(fleet.path(at, path)).as_deref() == Some(content))
    });
}

#[test]
fn what_was_edited_after_it_was_sent_stays() {
    let mut fleet = Fleet::new("edited", 3);
    tree::write(fleet.path(0, "d/a"), "1");
    tree::write(fleet.path(0, "d/b"), "1");
    fleet.msync(0, &["send", "-r"]).ok();
    fleet.stop(2);
    tree::write(fleet.path(0, "d/a"), "22");
    tree::write(fleet.path(0, "d/b"), "22");
    fleet.msync(0, &["send", "-r", "--delete"]).ok();
    std::thread::sleep(Duration::from_millis(50));
    tree::write(fleet.path(2, "d/a"), "edited on the spot");
    tree::write(fleet.path(2, "d/new"), "made on the spot");
    fleet.start(2, &[]);
    eventually("the other file is there", || read(fleet.path(2, "d/b")).as_deref() == Some("22"));
    assert_eq!(read(fleet.path(2, "d/a")).as_deref(), Some("edited on the spot"));
    assert_eq!(read(fleet.path(2, "d/new")).as_deref(), Some("made on the spot"));
    assert_eq!(read(fleet.path(0, "d/a")).as_deref(), Some("22"));
}

#[test]
fn nobody_gives_what_was_never_sent() {
    let mut fleet = Fleet::new("unreleased", 3);
    tree::write(fleet.path(0, "d/a"), "released");
    tree::write(fleet.path(0, "d/b"), "released");
    fleet.stop(2);
    fleet.msync(0, &["send", "-r"]).ok();
    // Both hosts that could give it are edited; one has the file still.
    tree::write(fleet.path(0, "d/a"), "a draft");
    tree::write(fleet.path(0, "d/draft"), "a draft");
    tree::write(fleet.path(1, "d/b"), "another draft");
    fleet.start(2, &[]);
    eventually("what was released is there", || {
        ["d/a", "d/b"].iter().all(|path| read(fleet.path(2, path)).as_deref() == Some("released"))
    });
    wait_a_while();
    assert!(read(fleet.path(2, "d/draft")).is_none());
}

#[test]
fn what_was_for_one_host_is_owed_to_no_other() {
    let mut fleet = Fleet::new("for-one", 3);
    tree::write(fleet.path(0, "a"), "1");
    fleet.msync(0, &["send", "-t", "h1", "a"]).ok();
    assert!(read(fleet.path(1, "a")).is_some() && read(fleet.path(2, "a")).is_none());
    fleet.stop(2);
    fleet.start(2, &[]);
    wait_a_while();
    assert!(read(fleet.path(2, "a")).is_none());
}

#[test]
fn a_rack_that_comes_back_at_once_is_served_by_few_transfers() {
    let mut fleet = Fleet::new("rack", 8);
    for at in 2..8 {
        fleet.stop(at);
    }
    for n in 0..5 {
        tree::write(fleet.path(0, format!("f{n}")), format!("{n}"));
        fleet.msync(0, &["send", &format!("f{n}")]).ok();
    }
    let began = now();
    (2..8).for_each(|at| fleet.start(at, &[]));
    let took = began.elapsed();
    (2..8).for_each(|at| becomes_like(&fleet, at, 0));
    let mut replays = 0;
    eventually("the logs have all of them", || {
        let logs: String = (0..2).map(|at| fleet.daemon(at).log()).collect();
        replays = logs.matches("once more").count();
        replays >= 5
    });
    // Who comes a second later than the first is served by another one.
    let most = if took < Duration::from_millis(500) { 12 } else { 24 };
    assert!(replays <= most, "{replays} transfers for 5 records");
}

#[test]
fn a_host_that_is_killed_while_it_catches_up_goes_on_where_it_was() {
    let mut fleet = Fleet::new("killed", 3);
    fleet.stop(2);
    for n in 0..300 {
        tree::write(fleet.path(0, format!("d{}/f{n}", n % 7)), tree::bytes(20_000, n));
    }
    fleet.msync(0, &["send", "-r"]).ok();
    fleet.start(2, &[]);
    for round in 0..5 {
        let until = now() + Duration::from_millis(1_200 + 150 * round);
        while now() < until && !is_like(&fleet, 2, 0) {
            std::thread::sleep(Duration::from_millis(5));
        }
        fleet.kill(2);
        fleet.start(2, &[]);
    }
    becomes_like(&fleet, 2, 0);
}

#[test]
fn a_host_that_lacks_something_is_warned_before_it_sends_there() {
    let mut fleet = Fleet::new("lacks", 3);
    fleet.stop(2);
    tree::write(fleet.path(0, "d/a"), "a file");
    tree::write(fleet.path(0, "b"), "another");
    fleet.msync(0, &["send", "-r"]).ok();
    // What is there instead does not give way to a file.
    tree::write(fleet.path(2, "d/a/file"), "in the way");
    fleet.start(2, &[]);
    eventually("the rest has come", || read(fleet.path(2, "b")).is_some());
    eventually("it was tried", || fleet.daemon(2).log().contains("not caught up"));
    tree::write(fleet.path(2, "d/own"), "x");
    let warned = fleet.msync(2, &["send", "d/own"]).ok().out;
    assert!(
        warned.contains("warning: this host lacks what h0 has sent (the base directory)"),
        "{warned}"
    );
    fs::remove_dir_all(fleet.path(2, "d/a")).unwrap();
    fleet.daemon(2).signal("HUP");
    eventually("the file is there", || read(fleet.path(2, "d/a")).as_deref() == Some("a file"));
    eventually("nothing is lacking", || {
        !fleet.msync(2, &["send", "d/own"]).ok().out.contains("warning")
    });
}

#[test]
fn what_came_earlier_leaves_the_times_of_directories_as_they_came_later() {
    let mut fleet = Fleet::new("directory-times", 3);
    tree::write(fleet.path(0, "d/a"), "1");
    tree::write(fleet.path(0, "d/b"), "1");
    fleet.msync(0, &["send", "-r"]).ok();
    fleet.stop(2);
    // Neither makes the other unnecessary, and the later one is given first.
    let list = fleet.dir().join("list");
    let from = format!("--files-from={}", list.display());
    for (name, content, mtime) in [("d/a", "22", 1_600_000_000), ("d/b", "333", 1_700_000_000)] {
        tree::write(fleet.path(0, name), content);
        tree::set_mtime(&fleet.path(0, "d"), mtime, 0);
        fs::write(&list, name).unwrap();
        fleet.msync(0, &["send", &from]).ok();
    }
    becomes_like(&fleet, 1, 0);
    fleet.start(2, &[]);
    becomes_like(&fleet, 2, 0);
    wait_a_while();
    assert!(is_like(&fleet, 2, 0));
}
