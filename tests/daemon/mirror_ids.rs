//! The ids of the indexes of hosts that mirror a tree: they stay over a start, unless nobody can be sure of them.

use std::fs;
use std::process::Command;

use crate::common::{Fleet, tree};
use crate::mirroring::{MIRROR, alike, conflicts, mirroring, read, wait_until_settled};

/// How many indexes a host knows of.
fn indexes(fleet: &Fleet, at: usize) -> u64 {
    let json = fleet.msync(at, &["mirror", "--json"]).ok().out;
    let rest = json.split("\"indexes\":").nth(1).unwrap_or_default();
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// Waits until these hosts have the same, and know it.
#[track_caller]
fn same(fleet: &Fleet, hosts: &[usize]) {
    hosts.iter().for_each(|&at| drop(fleet.msync(at, &["flush"]).ok()));
    alike(fleet, hosts);
}

#[test]
fn hosts_that_start_again_go_on_under_the_ids_of_their_indexes() {
    let mut fleet = mirroring("mirror-restarts", 2);
    for at in 0..2 {
        tree::write(fleet.path(at, format!("of {at}")), "0");
        same(&fleet, &[0, 1]);
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
        same(&fleet, &[0, 1]);
        tree::write(fleet.path(at, format!("of {at}")), &text);
        same(&fleet, &[0, 1]);
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
    same(&fleet, &[0, 1]);
    fleet.kill(1);
    copy(&fleet.base(1), kept.path());
    fleet.start(1, MIRROR);
    wait_until_settled(&fleet, 1);
    alike(&fleet, &[0, 1]);
    tree::write(fleet.path(1, "a"), "newer, and longer");
    tree::write(fleet.path(1, "after"), "written after the image");
    alike(&fleet, &[0, 1]);
    // At once: the other one need not have noticed yet that this was all.
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
    same(&fleet, &[0, 1]);
    assert_eq!((indexes(&fleet, 0), conflicts(&fleet, 0)), (2, String::new()));
}
