//! Large trees.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use super::stage::{Stage, config, temp_dir};
use crate::fs::testing::TempDir;
use crate::watch::types::Flush;

/// A tree of so many directories, 100 in each above them.
fn directories(temp: &TempDir, count: usize) {
    for n in 0..count / 100 {
        for m in 0..99 {
            fs::create_dir_all(temp.join(&format!("directory-{n}/directory-{m}"))).unwrap();
        }
    }
}

#[test]
fn a_tree_of_thousands_of_directories_is_watched() {
    let temp = temp_dir("thousands");
    directories(&temp, 5_000);
    let mut stage = Stage::begin(temp, config("")).unwrap();
    stage.answers = true;
    stage.pass(50);
    let numbers = stage.tree.numbers();
    assert_eq!((numbers.directories, numbers.unwatched, numbers.entries), (5_001, 0, 5_000));
    assert!(stage.tree.memory() / 5_001 < 100, "{}", stage.tree.memory() / 5_001);
    stage.write("directory-7/directory-7/f", "x");
    stage.flushes.clear();
    stage.pass(200);
    assert_eq!(stage.sent(), ["directory-7/directory-7/f"]);
}

#[test]
#[ignore = "a minute; for its figures"]
fn a_hundred_thousand_directories() {
    let temp = temp_dir("hundred-thousand");
    directories(&temp, 100_000);
    let clock = std::process::Command::new("date").arg("+%s%N").output().unwrap();
    let nanos = |out: std::process::Output| -> u64 {
        String::from_utf8(out.stdout).unwrap().trim().parse().unwrap()
    };
    let began = nanos(clock);
    let mut stage = Stage::begin(temp, config("")).unwrap();
    while stage.tree.is_busy() || stage.tree.numbers().directories < 2 {
        stage.tree.begin_now(stage.at);
        stage.tree.step(stage.at);
    }
    let ended = nanos(std::process::Command::new("date").arg("+%s%N").output().unwrap());
    let numbers = stage.tree.numbers();
    eprintln!(
        "{} directories in {} ms, {} bytes each",
        numbers.directories,
        (ended - began) / 1_000_000,
        stage.tree.memory() as u64 / numbers.directories
    );
    assert_eq!(numbers.directories, 100_001);
}

#[test]
fn many_files_in_one_go_are_all_sent() {
    files_in_one_go(10_000);
}

#[test]
#[ignore = "a minute; for its figures"]
fn two_hundred_thousand_files_in_one_go() {
    files_in_one_go(200_000);
}

/// Files in a directory that is there already, while nobody waits.
fn files_in_one_go(count: usize) {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let mut stage = Stage::new("one-go");
    fs::create_dir(stage.join("d")).unwrap();
    stage.pass(2_000);
    stage.flushes.clear();
    let dir = stage.join("d");
    let maker = std::thread::spawn(move || {
        for n in 0..count {
            fs::write(dir.join(format!("f{n}")), "x").unwrap();
            MADE.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut most = 0;
    while !maker.is_finished() {
        stage.pass(10);
        most = most.max(stage.tree.numbers().pending);
    }
    maker.join().unwrap();
    stage.settle();
    let trees = stage.flushes.iter().filter(|(_, flush)| matches!(flush, Flush::Tree { .. }));
    eprintln!(
        "{count} files: {} flushes, {} of all, {most} pending",
        stage.flushes.len(),
        trees.count()
    );
    assert!(most <= 65_536);
    stage.same();
}
