//! Files that are moved at the sender while `send --delete` runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::{Fleet, eventually, tree};

/// Sends at a rate at which the walk of `m` takes a second or so.
const SLOWLY: &[&str] = &["-T", "100", "-f", "1"];

/// Two hosts that have the same: first `a`, then `m` with much in it, then `z`.
fn same_trees(name: &str) -> Fleet {
    let mut fleet = Fleet::idle(name, 2);
    for at in ["a/one", "z/moved", "z/stays", "z/tree/x", "z/tree/sub/y", "z/tree/sub/deep/w", "n"]
    {
        tree::write(fleet.path(0, at), format!("content of {at}"));
    }
    fleet.start(0, &[]);
    fleet.start(1, &[]);
    fleet.wait_for_members();
    fleet.msync(0, &["send", "-r"]).well();
    fleet.stop(0);
    fleet.start(0, SLOWLY);
    fleet.wait_for_members();
    for n in 0..6_000 {
        tree::write(fleet.path(0, format!("m/{n:04}")), vec![b'x'; 4_000]);
    }
    fleet
}

/// Sends with `--delete`, and does something when `a` has been listed and `z` has not.
#[track_caller]
fn send_and(fleet: &Fleet, args: &[&str], meanwhile: impl FnOnce()) -> crate::common::process::Ran {
    let sending = fleet.msync_start(0, &[&["send", "-r", "--delete"], args].concat());
    eventually("the first of many files", || fleet.path(1, "m/0100").exists());
    meanwhile();
    assert!(!fleet.path(1, "m/4999").exists(), "too late");
    sending.end()
}

#[test]
fn a_file_moved_to_where_the_walk_has_been_stays_everywhere() {
    let fleet = same_trees("moved-file");
    send_and(&fleet, &[], || {
        fs::rename(fleet.path(0, "z/moved"), fleet.path(0, "a/moved")).unwrap();
        fs::rename(fleet.path(0, "z/stays"), fleet.path(0, "0")).unwrap();
        // Over another file, whose name was seen.
        fs::rename(fleet.path(0, "z/tree/x"), fleet.path(0, "a/one")).unwrap();
    })
    .well();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

#[test]
fn a_tree_moved_to_where_the_walk_has_been_stays_everywhere() {
    let fleet = same_trees("moved-tree");
    tree::write(fleet.path(1, "a/tree/surplus"), "only there");
    tree::write(fleet.path(1, "a/tree/sub/y"), "an old one");
    send_and(&fleet, &["--force"], || {
        fs::rename(fleet.path(0, "z/tree"), fleet.path(0, "a/tree")).unwrap();
        fs::rename(fleet.path(0, "a"), fleet.path(0, "0")).unwrap();
    });
    fleet.msync(0, &["check", "-r", "0"]).well();
    assert!(!fleet.path(1, "z/tree").exists());
}

#[test]
fn what_comes_back_while_it_is_to_be_deleted_stays() {
    let fleet = same_trees("moved-back");
    // The same file, with its times, that only the target had when its directory was listed.
    fs::rename(fleet.path(0, "a/one"), fleet.path(0, "z/one")).unwrap();
    send_and(&fleet, &[], || {
        fs::rename(fleet.path(0, "z/one"), fleet.path(0, "a/one")).unwrap();
    })
    .well();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

#[test]
fn a_directory_that_never_rests_keeps_what_is_in_it_and_that_is_said() {
    let fleet = same_trees("restless");
    for at in ["hot/extra", "hot/calm/extra", "z/extra", "extra", "hot/old/extra"] {
        tree::write(fleet.path(1, at), "only there");
    }
    fs::create_dir_all(fleet.path(0, "hot/calm")).unwrap();
    // It has to be at rest when the transfer begins.
    thread::sleep(Duration::from_millis(3_100));
    let over = Arc::new(AtomicBool::new(false));
    let (stop, hot) = (Arc::clone(&over), fleet.path(0, "hot"));
    let busy = thread::spawn(move || {
        for n in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            fs::write(hot.join(format!("{n}")), "").unwrap();
            fs::remove_file(hot.join(format!("{n}"))).unwrap();
        }
    });
    let ran = fleet.msync(0, &["send", "-r", "--delete", "--force"]);
    over.store(true, Ordering::Relaxed);
    busy.join().unwrap();
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let errors = ran.errors();
    let kept = "Directory kept changing at the sender";
    assert!(errors.iter().all(|line| line.contains(kept)), "{ran:?}");
    assert!(errors.iter().any(|line| line.ends_with("h1:hot/extra")), "{ran:?}");
    for (at, stays) in [
        ("hot/extra", true),
        ("hot/old/extra", true),
        ("hot/calm/extra", false),
        ("z/extra", false),
        ("extra", false),
    ] {
        assert_eq!(fleet.path(1, at).exists(), stays, "{at}");
    }
    fleet.msync(0, &["send", "-r", "--delete"]).well();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

/// The contents of all files below `dir`.
fn contents(dir: &Path) -> BTreeSet<Vec<u8>> {
    let mut all = BTreeSet::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(at).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_name() == ".makuosan" {
                continue;
            }
            match entry.file_type().unwrap().is_dir() {
                true => todo.push(entry.path()),
                false => drop(all.insert(fs::read(entry.path()).unwrap())),
            }
        }
    }
    all
}

/// Moves files and directories below `base` at random, until told to stop.
fn move_about(base: PathBuf, seed: u64, over: &AtomicBool) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |end: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % end
    };
    let mut moves = BTreeMap::new();
    while !over.load(Ordering::Relaxed) {
        let dir = |n: u64| format!("d{n}");
        let (from, to) = (dir(below(6)), dir(below(6)));
        let sub = |n: u64| if n == 0 { String::new() } else { format!("/t{n}") };
        let (from, to) = match below(3) {
            0 => (format!("{from}/t{}", 1 + below(3)), format!("{to}/t{}", 1 + below(3))),
            _ => {
                let name = format!("f{}", below(200));
                let (a, b) = (sub(below(4)), sub(below(4)));
                (format!("{from}{a}/{name}"), format!("{to}{b}/{name}"))
            }
        };
        // Nothing is ever lost here: no name is taken that is in use.
        if !base.join(&to).exists() && fs::rename(base.join(&from), base.join(&to)).is_ok() {
            *moves.entry(to).or_insert(0) += 1;
        }
        thread::sleep(Duration::from_micros(below(3_000)));
    }
}

#[test]
fn whatever_is_moved_about_each_file_is_there_afterwards() {
    let fleet = Fleet::new("moved-about", 2);
    for n in 0..200 {
        let at = format!("d{}/t{}/f{n}", n % 6, 1 + n % 3);
        tree::write(fleet.path(0, at), format!("file {n}"));
    }
    for n in 0..1_500 {
        tree::write(fleet.path(0, format!("d2/m/{n}")), "much");
    }
    for seed in 0..25 {
        fleet.msync(0, &["send", "-r", "--delete", "--force"]).well();
        let over = Arc::new(AtomicBool::new(false));
        let (stop, base) = (Arc::clone(&over), fleet.base(0));
        let mover = thread::spawn(move || move_about(base, seed, &stop));
        thread::sleep(Duration::from_millis(5));
        let ran = fleet.msync(0, &["send", "-r", "--delete", "--force"]);
        over.store(true, Ordering::Relaxed);
        mover.join().unwrap();
        let lost: Vec<_> = contents(&fleet.base(0))
            .difference(&contents(&fleet.base(1)))
            .map(|content| String::from_utf8_lossy(content).into_owned())
            .collect();
        assert!(lost.is_empty(), "seed {seed}: {lost:?} {ran:?}");
    }
}
