//! What many flushes leave for those who are away is little, and all that they need.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Duration;

use crate::common::{Fleet, eventually, tree, within};
use crate::watching::watching;

fn flushes(fleet: &Fleet) -> u64 {
    let json = fleet.msync(0, &["status", "--json"]).ok().out;
    let rest = json.split("\"flushes\":").nth(1).unwrap();
    rest.split(',').next().unwrap().parse().unwrap()
}

fn records(fleet: &Fleet, at: usize) -> usize {
    fleet.msync(at, &["history", "--json"]).ok().out.lines().count()
}

/// Changes of all kinds, one after the other: a log that grows, files that are new, that change, that go. (Not so many
/// that they are held.)
fn change(fleet: &Fleet, deletes: bool) {
    let mut log = OpenOptions::new().create(true).append(true).open(fleet.path(0, "log")).unwrap();
    for n in 0..700 {
        writeln!(log, "line {n}").unwrap();
        tree::write(fleet.path(0, format!("d{}/f{n}", n % 7)), format!("{n}"));
        tree::write(fleet.path(0, format!("page{}", n % 20)), format!("{n} of many"));
        if deletes && n % 14 == 0 && n > 40 {
            let _ = fs::remove_file(fleet.path(0, format!("d{}/f{}", (n - 40) % 7, n - 40)));
        }
        if deletes && n == 200 {
            fs::remove_dir_all(fleet.path(0, "d3")).unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    fleet.msync(0, &["flush"]).ok();
}

fn away_and_back(name: &str, options: &[&str]) {
    let deletes = options.contains(&"--watch-delete");
    let mut fleet = watching(name, 3, options);
    for n in 0..200 {
        tree::write(fleet.path(0, format!("old/{n}")), "x");
    }
    fleet.msync(0, &["flush"]).ok();
    fleet.stop(2);
    if deletes {
        fs::remove_file(fleet.path(0, "old/7")).unwrap();
    }
    change(&fleet, deletes);
    let many = flushes(&fleet);
    assert!(many > 50, "{many} flushes");
    for at in [0, 1] {
        let few = records(&fleet, at);
        assert!(few <= 20, "{few} records of {many} flushes on h{at}");
    }
    fleet.start(2, &[]);
    let limit = Duration::from_secs(60);
    for at in [1, 2] {
        within(limit, "all are alike", || {
            let same = tree::snapshot(&fleet.base(0)) == tree::snapshot(&fleet.base(at));
            same.then_some(())
        });
    }
    let pulled = fleet.daemon(2).log().matches("caught up: ").count();
    assert!(pulled <= 20, "{pulled} transfers");
    eventually("nobody lacks anything", || {
        fleet.msync(0, &["members", "--behind"]).code == Some(0)
    });
}

#[test]
fn many_flushes_leave_few_records_and_who_was_away_gets_all_of_them() {
    away_and_back("watch-records", &["-w", ".", "--watch-delete", "--delay", "1"]);
}

#[test]
fn so_it_is_without_deletions() {
    away_and_back("watch-records-keep", &["-w", ".", "--delay", "1"]);
}
