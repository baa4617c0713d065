//! What hosts that mirror a tree remember of each other: ids of indexes, and deletions.

use std::fs;
use std::process::Command;

use crate::common::{Fleet, LONG, tree, within};
use crate::mirroring::{MIRROR, alike, conflicts, mirroring, read, wait_until_settled};

/// How many indexes a host knows of.
fn indexes(fleet: &Fleet, at: usize) -> u64 {
    figure(fleet, at, "indexes")
}

fn figure(fleet: &Fleet, at: usize, name: &str) -> u64 {
    let json = fleet.msync(at, &["mirror", "--json"]).ok().out;
    let rest = json.split(&format!("\"{name}\":")).nth(1).unwrap_or_default();
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// Waits until these hosts say of each other that they know the same.
#[track_caller]
fn equal(fleet: &Fleet, hosts: &[usize]) {
    alike(fleet, hosts);
    within(LONG * 2, &format!("hosts {hosts:?} know the same"), || {
        let is_equal = |at: &usize| !fleet.msync(*at, &["mirror"]).out.contains("not equal");
        hosts.iter().all(is_equal).then_some(())
    });
}

#[test]
fn hosts_that_start_again_go_on_under_the_ids_of_their_indexes() {
    let mut fleet = mirroring("mirror-restarts", 2);
    for at in 0..2 {
        tree::write(fleet.path(at, format!("of {at}")), "0");
        alike(&fleet, &[0, 1]);
    }
    assert_eq!(indexes(&fleet, 0), 2);
    for round in 1..=5 {
        let (at, text) = (round % 2, "x".repeat(round));
        match round {
            3 => drop(fleet.stop(at)),
            _ => fleet.kill(at),
        }
        if round % 2 == 1 {
            // Also what was changed while it was away.
            tree::write(fleet.path(at, "away"), &text);
        }
        fleet.start(at, MIRROR);
        wait_until_settled(&fleet, at);
        alike(&fleet, &[0, 1]);
        tree::write(fleet.path(at, format!("of {at}")), &text);
        alike(&fleet, &[0, 1]);
        assert_eq!(read(fleet.path(1 - at, format!("of {at}"))), Some(text));
        assert_eq!(indexes(&fleet, 0), 2, "after {round} starts");
    }
    assert_eq!(conflicts(&fleet, 0), "");
}

/// A copy of all that a host has, or back again.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in fs::read_dir(to).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }
    let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_machine_that_is_set_back_goes_on_under_another_id_and_loses_nothing() {
    let mut fleet = mirroring("mirror-set-back", 2);
    let kept = crate::common::place::TempDir::new("mirror-set-back-kept");
    tree::write(fleet.path(1, "a"), "old");
    tree::write(fleet.path(1, "b"), "of the image");
    alike(&fleet, &[0, 1]);
    fleet.kill(1);
    copy(&fleet.base(1), kept.path());
    fleet.start(1, MIRROR);
    wait_until_settled(&fleet, 1);
    alike(&fleet, &[0, 1]);
    tree::write(fleet.path(1, "a"), "newer, and longer");
    tree::write(fleet.path(1, "after"), "written after the image");
    alike(&fleet, &[0, 1]);
    assert_eq!(indexes(&fleet, 0), 1);
    fleet.kill(1);
    copy(kept.path(), &fleet.base(1));
    tree::write(fleet.path(1, "b"), "edited since it is back");
    fleet.start(1, MIRROR);
    wait_until_settled(&fleet, 1);
    alike(&fleet, &[0, 1]);
    for at in 0..2 {
        assert_eq!(read(fleet.path(at, "a")).as_deref(), Some("newer, and longer"));
        assert_eq!(read(fleet.path(at, "after")).as_deref(), Some("written after the image"));
        assert_eq!(read(fleet.path(at, "b")).as_deref(), Some("edited since it is back"));
    }
    assert_eq!((indexes(&fleet, 0), conflicts(&fleet, 0)), (2, String::new()));
}

#[test]
fn deletions_are_forgotten_when_all_that_mirror_have_heard_of_them() {
    let mut fleet = mirroring("mirror-forgets", 3);
    let names = ["a", "b", "c"];
    names.iter().for_each(|name| tree::write(fleet.path(0, name), "x"));
    alike(&fleet, &[0, 1, 2]);
    let look = |fleet: &Fleet| {
        fleet.msync(0, &["send", "."]).ok();
        figure(fleet, 0, "entries")
    };
    let is_forgotten = |fleet: &Fleet| {
        within(LONG * 3, "the deletions are forgotten", || (look(fleet) == 1).then_some(()));
    };
    fs::remove_file(fleet.path(0, "a")).unwrap();
    fs::remove_file(fleet.path(1, "b")).unwrap();
    is_forgotten(&fleet);
    // One that is away is waited for, until somebody says that it does not come back.
    fleet.kill(2);
    within(LONG * 2, "h2 is away", || {
        (!fleet.msync(0, &["mirror"]).out.contains("h2")).then_some(())
    });
    tree::write(fleet.path(0, "d"), "x");
    fs::remove_file(fleet.path(0, "c")).unwrap();
    equal(&fleet, &[0, 1]);
    for _ in 0..3 {
        assert_eq!(look(&fleet), 2, "a path, and one that h2 knows nothing of");
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    fleet.msync(0, &["forget", "h2"]).ok();
    is_forgotten(&fleet);
    // It comes back all the same: it gets everything, and what was deleted is not back.
    fleet.start(2, MIRROR);
    wait_until_settled(&fleet, 2);
    alike(&fleet, &[0, 1, 2]);
    assert!(!fleet.path(2, "c").exists() && fleet.path(0, "d").exists());
}
