//! What has gone wrong with programs of this kind, by name.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};

use super::stage::{Stage, config, path, temp_dir, wall};
use crate::fs::testing::TempDir;
use crate::sys::mapped::Mapped;
use crate::time::Span;
use crate::watch::types::{Flush, Now, Why};

#[test]
fn one_file_is_sent_after_the_delay() {
    let mut stage = Stage::new("one");
    let before = stage.at.now;
    stage.write("f", "x");
    stage.pass(200);
    let sent = stage.flushes.first().unwrap().0;
    assert!(sent.since(before) <= Span::from_millis(120), "{}", sent.since(before));
    assert_eq!(stage.sent(), ["f"]);
    stage.same();
    stage.pass(20_000);
    assert_eq!(stage.sent(), [""; 0], "after quiet there is nothing");
}

#[test]
fn scan_before_watch() {
    // What comes into a tree while its directories are being watched is in the first flush or in the next.
    for turns in 0..6 {
        let temp = temp_dir("scan-before-watch");
        fs::create_dir_all(temp.join("a/b/c")).unwrap();
        let mut stage = Stage::begin(temp, config("")).unwrap();
        for step in 0..6 {
            if step == turns {
                stage.write("a/b/c/late", "x");
                fs::create_dir_all(stage.join("a/b/new/er")).unwrap();
                stage.write("a/b/new/er/f", "y");
            }
            if stage.tree.is_busy() {
                stage.tree.step(stage.at);
            } else {
                stage.turn();
            }
        }
        stage.pass(3_000);
        stage.same();
    }
}

#[test]
fn mkdir_and_file_at_once_three_thousand_times() {
    let mut stage = Stage::new("mkdir-race");
    let root = stage.join("");
    let maker = std::thread::spawn(move || {
        for n in 0..3_000 {
            let dir = root.join(format!("{}/{n}", n % 30));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("f"), format!("{n}")).unwrap();
        }
    });
    while !maker.is_finished() {
        stage.pass(10);
    }
    maker.join().unwrap();
    stage.pass(5_000);
    stage.same();
}

#[test]
fn an_editors_save_by_rename_is_one_file() {
    let mut stage = Stage::new("editor");
    stage.write("f", "old");
    stage.pass(2_000);
    stage.sent();
    // As vim does it.
    stage.write("4913", "");
    fs::remove_file(stage.join("4913")).unwrap();
    stage.write(".f.swp", "x");
    fs::rename(stage.join("f"), stage.join("f~")).unwrap();
    stage.write("f", "new");
    fs::remove_file(stage.join("f~")).unwrap();
    fs::remove_file(stage.join(".f.swp")).unwrap();
    stage.pass(5_000);
    assert_eq!(stage.sent(), ["f"]);
    // As many others do.
    stage.write(".f.new-123", "newer");
    fs::rename(stage.join(".f.new-123"), stage.join("f")).unwrap();
    stage.pass(5_000);
    assert_eq!(stage.sent(), ["f", "-.f.new-123"]);
    stage.same();
}

#[test]
fn deletion_before_creation() {
    let mut stage = Stage::new("deletion-first");
    stage.write("d/f", "old");
    stage.pass(2_000);
    stage.sent();
    for pause in [0, 50, 150, 900] {
        fs::remove_file(stage.join("d/f")).unwrap();
        stage.pass(pause);
        stage.write("d/f", &format!("new {pause}"));
        stage.pass(5_000);
        let sent = stage.sent();
        assert!(sent.iter().all(|path| path == "d/f"), "{pause}: {sent:?}");
        stage.same();
    }
}

#[test]
fn a_rename_is_a_copy_first_and_a_deletion_later() {
    let mut stage = Stage::new("rename");
    stage.write("a", "x");
    fs::create_dir_all(stage.join("d/e")).unwrap();
    stage.write("d/e/f", "y");
    stage.pass(3_000);
    stage.flushes.clear();
    fs::rename(stage.join("a"), stage.join("b")).unwrap();
    fs::rename(stage.join("d"), stage.join("moved")).unwrap();
    stage.pass(150);
    let [(_, Flush::Paths(first))] = &stage.flushes[..] else { panic!("{:?}", stage.flushes) };
    let shown: Vec<_> =
        first.iter().map(|one| (one.path.to_string(), one.now, one.from.clone())).collect();
    assert_eq!(
        shown,
        [
            ("b".to_owned(), Now::Itself, Some(path("a"))),
            ("moved".to_owned(), Now::Whole, Some(path("d")))
        ]
    );
    stage.flushes.clear();
    stage.pass(2_000);
    assert_eq!(stage.sent(), ["-a", "-d"]);
    stage.same();
}

#[test]
fn a_chain_of_renames_names_what_targets_have() {
    let mut stage = Stage::new("chain");
    stage.write("a", "x");
    stage.pass(3_000);
    stage.flushes.clear();
    fs::rename(stage.join("a"), stage.join("b")).unwrap();
    fs::rename(stage.join("b"), stage.join("c")).unwrap();
    stage.pass(150);
    let [(_, Flush::Paths(first))] = &stage.flushes[..] else { panic!("{:?}", stage.flushes) };
    assert_eq!((first[0].path.clone(), first[0].from.clone()), (path("c"), Some(path("a"))));
    stage.pass(3_000);
    stage.same();
}

#[test]
fn a_split_rename_loses_nothing() {
    // The two events of a rename are read apart, and what is moved comes from outside or leaves.
    let mut stage = Stage::new("split");
    let outside = temp_dir("split-outside");
    fs::create_dir_all(outside.join("d/e")).unwrap();
    fs::write(outside.join("d/e/f"), "x").unwrap();
    fs::rename(outside.join("d"), stage.join("in")).unwrap();
    stage.pass(3_000);
    stage.same();
    stage.write("in/e/g", "y");
    stage.pass(3_000);
    stage.same();
    fs::rename(stage.join("in"), outside.join("back")).unwrap();
    fs::write(outside.join("back/e/h"), "z").unwrap();
    stage.pass(3_000);
    stage.same();
    assert_eq!(stage.tree.numbers().directories, 1, "what left is watched no longer");
    fs::rename(outside.join("back"), stage.join("in")).unwrap();
    stage.pass(3_000);
    stage.same();
}

#[test]
fn stale_path_after_a_directorys_move() {
    let mut stage = Stage::new("stale");
    stage.write("a/b/c/f", "1");
    stage.pass(3_000);
    fs::rename(stage.join("a"), stage.join("z")).unwrap();
    stage.write("z/b/c/g", "2");
    stage.pass(3_000);
    stage.same();
    // Another one takes the name; both are told apart from then on.
    stage.write("a/b/c/f", "other");
    stage.pass(3_000);
    stage.write("z/b/c/f", "3");
    stage.write("a/b/c/f", "4");
    stage.sent();
    stage.pass(3_000);
    let mut sent = stage.sent();
    sent.sort();
    assert_eq!(sent, ["a/b/c/f", "z/b/c/f"]);
    fs::create_dir(stage.join("z/b/c/new")).unwrap();
    stage.write("z/b/c/new/h", "5");
    stage.pass(3_000);
    stage.same();
}

#[test]
fn a_directory_that_is_replaced_by_another_loses_what_it_had() {
    let mut stage = Stage::new("replaced");
    let outside = temp_dir("replaced-outside");
    stage.write("d/old", "1");
    stage.write("d/e/old", "1");
    stage.pass(3_000);
    fs::rename(stage.join("d"), outside.join("d")).unwrap();
    stage.write("d/new", "2");
    stage.pass(3_000);
    stage.same();
    fs::remove_dir_all(stage.join("d")).unwrap();
    stage.write("d/newer", "3");
    stage.pass(3_000);
    stage.same();
}

#[test]
fn a_directory_becomes_a_link_and_a_file_and_a_directory_again() {
    let mut stage = Stage::new("types");
    stage.write("d/f", "1");
    stage.write("other/f", "2");
    stage.pass(3_000);
    fs::remove_dir_all(stage.join("d")).unwrap();
    symlink("other", stage.join("d")).unwrap();
    stage.pass(5_000);
    stage.same();
    stage.write("other/f", "3");
    stage.sent();
    stage.pass(3_000);
    assert_eq!(stage.sent(), ["other/f"], "what is behind a link is not watched");
    fs::remove_file(stage.join("d")).unwrap();
    stage.write("d", "file");
    stage.pass(5_000);
    stage.same();
    fs::remove_file(stage.join("d")).unwrap();
    stage.write("d/f", "4");
    stage.pass(5_000);
    stage.same();
}

#[test]
fn a_tree_that_is_removed_is_one_deletion() {
    let mut stage = Stage::new("rm");
    stage.write("keep", "1");
    for n in 0..50 {
        stage.write(&format!("d/{}/{n}", n % 5), "x");
    }
    stage.pass(3_000);
    stage.sent();
    fs::remove_dir_all(stage.join("d")).unwrap();
    stage.pass(5_000);
    assert_eq!(stage.sent(), ["-d"]);
    stage.same();
}

#[test]
fn what_close_write_does_not_tell() {
    let mut stage = Stage::new("quiet-writes");
    for name in ["truncated", "appended", "linked", "mode"] {
        stage.write(name, "content");
    }
    stage.pass(3_000);
    stage.sent();
    truncate(&stage, "truncated");
    let mut appended = OpenOptions::new().append(true).open(stage.join("appended")).unwrap();
    appended.write_all(b"more").unwrap();
    fs::hard_link(stage.join("linked"), stage.join("link")).unwrap();
    symlink("x", stage.join("symlink")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(stage.join("mode"), mode).unwrap();
    stage.pass(150);
    let mut sent = stage.sent();
    sent.sort();
    assert_eq!(sent, ["link", "mode", "symlink"]);
    stage.pass(2_000);
    let mut sent = stage.sent();
    sent.sort();
    assert_eq!(sent, ["appended", "truncated"]);
    stage.same();
}

fn truncate(stage: &Stage, name: &str) {
    let file = OpenOptions::new().write(true).open(stage.join(name)).unwrap();
    file.set_len(3).unwrap();
    // Its descriptor stays open, so that nothing is told of its end.
    std::mem::forget(file);
}

#[test]
fn a_log_that_grows_for_ever_is_sent_every_ten_seconds_and_others_do_not_wait() {
    let mut stage = Stage::new("log");
    let mut log = File::create(stage.join("log")).unwrap();
    let mut others = 0;
    for round in 0..6_000 {
        log.write_all(b"line\n").unwrap();
        if round % 500 == 250 {
            stage.write("f", &round.to_string());
        }
        stage.pass(10);
        others += stage.sent().iter().filter(|path| *path == "f").count();
    }
    assert_eq!(others, 12);
    stage.flushes.clear();
    drop(log);
    stage.pass(2_000);
    stage.same();
}

#[test]
fn rsync_in_place_is_sent_once_it_is_through() {
    let mut stage = Stage::new("in-place");
    stage.write("f", &"x".repeat(10_000));
    stage.pass(3_000);
    stage.sent();
    let file = OpenOptions::new().write(true).open(stage.join("f")).unwrap();
    for at in 0..40 {
        file.write_all_at(b"yy", at * 200).unwrap();
        stage.pass(50);
    }
    assert_eq!(stage.sent(), [""; 0]);
    drop(file);
    stage.pass(200);
    assert_eq!(stage.sent(), ["f"]);
    stage.same();
}

#[test]
fn a_tree_that_is_unpacked_is_few_names() {
    let mut stage = Stage::new("tar");
    for n in 0..10_000 {
        let dir = stage.join(&format!("tree/{}/{}", n % 20, n % 100));
        if n < 100 {
            fs::create_dir_all(&dir).unwrap();
        }
        fs::write(dir.join(format!("f{n}")), "x").unwrap();
        if n % 500 == 0 {
            stage.pass(10);
            assert!(stage.tree.numbers().pending < 1_000);
        }
    }
    stage.pass(12_000);
    assert!(stage.flushes.iter().all(|(_, flush)| matches!(flush, Flush::Paths(..))));
    stage.same();
}

#[test]
fn slow_search_finds_what_was_written_through_a_map() {
    // On a disk: in memory, such stores change no times.
    let temp = TempDir::new("mmap");
    let mut stage = Stage::of(temp, config(""));
    stage.write("d/f", "old");
    stage.write("d/g", "old");
    let file = OpenOptions::new().read(true).write(true).open(stage.join("d/f")).unwrap();
    let mapped = Mapped::new(&file).unwrap();
    drop(file);
    stage.settle();
    // The time of a change has ticks.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let since = wall(&stage.temp);
    stage.sent();
    let changed = || fs::metadata(stage.join("d/f")).unwrap().ctime_nsec();
    let before = changed();
    mapped.store(b'n');
    if changed() == before {
        return eprintln!("SKIPPED: {} is in memory", stage.temp.path().display());
    }
    stage.pass(15_000);
    assert_eq!(stage.sent(), [""; 0], "no event tells of it");
    stage.at.wall = (since.0 + 4_500, 0);
    stage.at.now += Span::from_secs(4_500);
    stage.pass(2_000);
    assert!(stage.sent().contains(&"d/f".to_owned()));
    stage.same();
    drop(mapped);
}

#[test]
fn directories_that_are_left_out_are_not_watched() {
    let temp = temp_dir("left-out");
    temp.write("x~/f", "1");
    temp.write(".makuosan/stage/f", "1");
    temp.write("y/f", "1");
    let mut stage = Stage::of(temp, config(""));
    assert_eq!(stage.tree.numbers().directories, 2);
    stage.write("x~/g", "2");
    stage.write("x~/new/g", "2");
    stage.write(".makuosan/stage/g", "2");
    stage.write("y/.#lock", "2");
    stage.pass(3_000);
    assert_eq!(stage.sent(), [""; 0]);
    fs::rename(stage.join("x~"), stage.join("x")).unwrap();
    stage.pass(3_000);
    assert_eq!(stage.sent(), ["x/"]);
}

#[test]
fn the_tree_may_be_below_the_base() {
    let temp = temp_dir("below");
    temp.write("srv/www/f", "1");
    temp.write("srv/other/f", "1");
    let mut stage = Stage::of(temp, config("srv/www"));
    stage.write("srv/www/d/g", "2");
    stage.write("srv/other/g", "2");
    stage.pass(3_000);
    assert_eq!(stage.sent(), ["srv/www/d/"]);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    fs::set_permissions(stage.join("srv/www"), mode).unwrap();
    stage.pass(3_000);
    assert_eq!(stage.sent(), ["srv/www"]);
    assert_eq!(Why::Begun.to_string(), "start");
    stage.same();
}
