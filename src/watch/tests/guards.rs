//! Deletions that are not passed on at once.

use std::fs;

use super::stage::{Stage, WATCH, config, temp_dir};
use crate::fs::testing;
use crate::watch::mounts::Mounts;
use crate::watch::types::{Command, Held, Went};

#[test]
fn an_emptied_root_is_held_until_it_is_released() {
    let mut stage = Stage::new("emptied");
    stage.write("a", "1");
    stage.write("d/b", "2");
    stage.pass(3_000);
    stage.sent();
    fs::remove_file(stage.join("a")).unwrap();
    fs::remove_dir_all(stage.join("d")).unwrap();
    stage.pass(5_000);
    assert_eq!(stage.sent(), [""; 0]);
    let numbers = stage.tree.numbers();
    assert_eq!((numbers.held, numbers.held_why), (2, Some(Held::Emptied)));
    // Data flows.
    stage.write("new", "3");
    stage.pass(1_000);
    assert_eq!(stage.sent(), ["new"]);
    stage.tree.command(stage.at, Command::Release(WATCH));
    stage.pass(3_000);
    assert_eq!(stage.sent(), ["-a", "-d"]);
    assert_eq!(stage.tree.numbers().held, 0);
    stage.same();
}

#[test]
fn who_waits_when_deletions_are_released_waits_for_them() {
    let mut stage = Stage::new("released-meanwhile");
    stage.write("a", "1");
    stage.write("b", "2");
    stage.pass(3_000);
    stage.sent();
    fs::remove_file(stage.join("a")).unwrap();
    fs::remove_file(stage.join("b")).unwrap();
    stage.pass(5_000);
    stage.answers = false;
    stage.write("new", "3");
    stage.pass(1_000);
    assert_eq!(stage.sent(), ["new"]);
    stage.tree.command(stage.at, Command::Reach { watch: WATCH, cookie: 1 });
    stage.tree.command(stage.at, Command::Release(WATCH));
    stage.done(Went::Sent { again: Vec::new() });
    stage.pass(10);
    assert_eq!((stage.sent(), stage.reached.len()), (vec!["-a".to_owned(), "-b".to_owned()], 0));
    stage.done(Went::Sent { again: Vec::new() });
    stage.pass(10);
    assert_eq!(stage.reached, [(1, 0)]);
}

#[test]
fn deletions_that_are_many_are_held_until_the_files_are_back() {
    let mut stage = Stage::new("many");
    for n in 0..200 {
        stage.write(&format!("d{}/{n}", n % 4), "x");
    }
    stage.write("keep", "x");
    stage.pass(5_000);
    stage.sent();
    for at in ["d0", "d1", "d2"] {
        fs::remove_dir_all(stage.join(at)).unwrap();
    }
    stage.pass(10_000);
    assert_eq!(stage.sent(), [""; 0]);
    assert!(matches!(stage.tree.numbers().held_why, Some(Held::Many(153, 205))));
    for n in 0..200 {
        stage.write(&format!("d{}/{n}", n % 4), "x");
    }
    stage.pass(30_000);
    assert_eq!(stage.tree.numbers().held_why, None);
    stage.same();
    // What goes afterwards is judged anew.
    fs::remove_file(stage.join("keep")).unwrap();
    stage.pass(3_000);
    assert!(stage.sent().contains(&"-keep".to_owned()));
}

#[test]
fn a_directory_that_is_moved_out_counts_with_all_that_is_in_it() {
    let mut stage = Stage::new("moved-out");
    let outside = temp_dir("moved-out-to");
    for n in 0..200 {
        stage.write(&format!("d/{}/{n}", n % 4), "x");
    }
    stage.write("keep", "x");
    stage.pass(5_000);
    stage.sent();
    fs::rename(stage.join("d"), outside.join("d")).unwrap();
    stage.pass(5_000);
    assert_eq!(stage.sent(), [""; 0]);
    assert!(matches!(stage.tree.numbers().held_why, Some(Held::Many(205, _))));
    fs::rename(outside.join("d"), stage.join("d")).unwrap();
    stage.pass(10_000);
    assert_eq!(stage.tree.numbers().held_why, None);
    stage.same();
}

#[test]
fn much_that_goes_with_a_directory_that_is_replaced_is_held() {
    for moved in [false, true] {
        let mut stage = Stage::new("replaced-much");
        let outside = temp_dir("replaced-much-to");
        for n in 0..200 {
            stage.write(&format!("d/{}/{n}", n % 4), "x");
        }
        stage.write("keep", "x");
        stage.pass(5_000);
        stage.sent();
        match moved {
            true => fs::rename(stage.join("d"), outside.join("d")).unwrap(),
            false => fs::remove_dir_all(stage.join("d")).unwrap(),
        }
        stage.write("d/new", "2");
        stage.pass(5_000);
        assert_eq!(stage.sent(), ["d/+"]);
        assert!(matches!(stage.tree.numbers().held_why, Some(Held::Many(200.., _))), "{moved}");
        assert!(stage.target.join("d/1/1").exists() && stage.target.join("d/new").exists());
        stage.tree.command(stage.at, Command::Release(WATCH));
        stage.pass(15_000);
        stage.same();
        // One that has the same in it takes the place of another as if nothing had gone.
        for n in 0..200 {
            stage.write(&format!("d/{}/{n}", n % 4), "x");
            fs::create_dir_all(outside.join(&format!("e/{}", n % 4))).unwrap();
            fs::write(outside.join(&format!("e/{}/{n}", n % 4)), "y").unwrap();
        }
        stage.pass(5_000);
        fs::rename(stage.join("d"), outside.join("f")).unwrap();
        fs::rename(outside.join("e"), stage.join("d")).unwrap();
        stage.pass(5_000);
        assert_eq!(stage.tree.numbers().held_why, None);
        stage.same();
    }
}

#[test]
fn what_is_moved_within_the_tree_is_no_deletion() {
    let mut stage = Stage::new("moved-within");
    for n in 0..300 {
        stage.write(&format!("old/{n}"), "x");
    }
    fs::create_dir(stage.join("new")).unwrap();
    stage.pass(5_000);
    stage.sent();
    for n in 0..300 {
        fs::rename(stage.join(&format!("old/{n}")), stage.join(&format!("new/{n}"))).unwrap();
    }
    fs::rename(stage.join("new"), stage.join("newer")).unwrap();
    stage.pass(5_000);
    assert_eq!(stage.tree.numbers().held_why, None);
    stage.same();
}

#[test]
fn without_deletions_nothing_is_deleted() {
    let config = crate::watch::types::Config { deletes: false, ..config("") };
    let mut stage = Stage::of(temp_dir("no-deletions"), config);
    stage.write("f", "1");
    stage.write("d/f", "1");
    stage.pass(3_000);
    stage.sent();
    fs::remove_dir_all(stage.join("d")).unwrap();
    fs::remove_file(stage.join("f")).unwrap();
    stage.pass(5_000);
    assert_eq!(stage.sent(), [""; 0]);
    assert_eq!(stage.tree.numbers().pending, 0);
}

#[test]
fn a_root_that_is_replaced_stops_all_until_it_is_back_or_released() {
    let temp = temp_dir("root-replaced");
    temp.write("www/a", "1");
    temp.write("www/b", "1");
    let mut stage = Stage::of(temp, config("www"));
    fs::rename(stage.join("www"), stage.join("old")).unwrap();
    fs::create_dir(stage.join("www")).unwrap();
    stage.pass(1_000);
    stage.write("www/new", "2");
    stage.write("old/c", "2");
    stage.pass(20_000);
    assert_eq!(stage.sent(), [""; 0]);
    assert_eq!(stage.tree.numbers().held_why, Some(Held::Replaced));
    // Back: what has changed meanwhile is found.
    fs::rename(stage.join("www"), stage.join("other")).unwrap();
    fs::rename(stage.join("old"), stage.join("www")).unwrap();
    stage.pass(20_000);
    assert_eq!(stage.sent().len(), 1);
    stage.same();
    stage.write("www/d", "3");
    stage.pass(1_000);
    assert_eq!(stage.sent(), ["www/d"]);
    // Replaced once more, and meant.
    fs::remove_dir_all(stage.join("www")).unwrap();
    fs::rename(stage.join("other"), stage.join("www")).unwrap();
    stage.pass(10_000);
    assert_eq!(stage.sent(), [""; 0]);
    stage.tree.command(stage.at, Command::Release(WATCH));
    stage.pass(10_000);
    assert_eq!(stage.sent(), ["all: deletions were released, deletes"]);
    stage.same();
}

#[test]
fn an_unmounted_tree_deletes_nothing() {
    let test = "watch::tests::guards::an_unmounted_tree_deletes_nothing";
    if !testing::is_in_namespace(test) {
        return;
    }
    let temp = temp_dir("unmounted");
    temp.mkdir("m");
    let mounted = testing::mount_tmpfs(&temp.join("m"), "size=1m");
    for n in 0..20 {
        temp.write(&format!("m/d/{n}"), "x");
    }
    temp.write("f", "1");
    let mut stage = Stage::of(temp, config(""));
    stage.write("m/d/dirty", "x");
    drop(mounted);
    stage.pass(20_000);
    let sent = stage.sent();
    assert_eq!(sent, ["all: mounts have changed"], "{sent:?}");
    stage.write("m/under", "2");
    stage.pass(3_000);
    assert_eq!(stage.sent(), ["m/under"]);
    assert_eq!(stage.tree.numbers().directories, 2);
}

#[test]
fn an_unmounted_root_stops_all() {
    let test = "watch::tests::guards::an_unmounted_root_stops_all";
    if !testing::is_in_namespace(test) {
        return;
    }
    let temp = temp_dir("unmounted-root");
    temp.mkdir("m");
    let mounted = testing::mount_tmpfs(&temp.join("m"), "size=1m");
    temp.write("m/f", "x");
    let mut stage = Stage::of(temp, config("m"));
    drop(mounted);
    stage.pass(60_000);
    assert_eq!(stage.sent(), [""; 0]);
    assert_eq!(stage.tree.numbers().held_why, Some(Held::Replaced));
    assert!(stage.tree.next().is_some_and(|next| next > stage.at.now), "no busy loop");
}

#[test]
fn the_base_directory_opened_anew_is_no_news() {
    let temp = temp_dir("base-again");
    temp.write("www/a", "1");
    temp.write("www/b", "1");
    let mut stage = Stage::of(temp, config("www"));
    stage.tree.command(stage.at, Command::Base(stage.temp.root()));
    fs::remove_file(stage.join("www/a")).unwrap();
    stage.pass(2_000);
    assert_eq!(stage.sent(), ["-www/a"]);
    // Another one is, and the daemon is asked.
    assert_eq!(stage.looks, 0);
    let (base, aside) = (stage.join(""), stage.temp.path().with_extension("aside"));
    fs::rename(&base, &aside).unwrap();
    stage.pass(50);
    assert_eq!(stage.looks, 1);
    fs::rename(&aside, &base).unwrap();
    let other = temp_dir("base-other");
    other.write("www/c", "1");
    stage.tree.command(stage.at, Command::Base(other.root()));
    stage.write("www/d", "1");
    stage.pass(60_000);
    assert_eq!((stage.sent(), stage.tree.numbers().held_why), (vec![], Some(Held::Replaced)));
}

#[test]
fn what_is_mounted_over_a_tree_is_found_and_deletes_nothing() {
    let test = "watch::tests::guards::what_is_mounted_over_a_tree_is_found_and_deletes_nothing";
    if !testing::is_in_namespace(test) {
        return;
    }
    let temp = temp_dir("mounted-over");
    temp.write("d/a", "1");
    temp.write("d/b/c", "1");
    temp.write("e", "1");
    let mut stage = Stage::of(temp, config(""));
    let mounts = Mounts::open("/".into()).unwrap();
    stage.tree.mounted(stage.at.now, &mounts);
    stage.write("d/a", "2");
    let mounted = testing::mount_tmpfs(&stage.join("d"), "size=1m");
    stage.tree.mounted(stage.at.now, &mounts);
    stage.write("d/new", "3");
    stage.pass(20_000);
    let sent = stage.sent();
    assert!(sent.contains(&"all: mounts have changed".to_owned()), "{sent:?}");
    assert!(!sent.iter().any(|path| path.starts_with('-')), "{sent:?}");
    assert!(stage.target.join("d/b/c").exists() && stage.target.join("d/new").exists());
    stage.write("d/newer", "4");
    stage.pass(1_000);
    assert_eq!(stage.sent(), ["d/newer"]);
    drop(mounted);
    stage.tree.mounted(stage.at.now, &mounts);
    stage.pass(20_000);
    stage.sent();
    stage.write("d/b/new", "5");
    stage.pass(1_000);
    assert_eq!(stage.sent(), ["d/b/new"]);
    // Mounts elsewhere are no news.
    let elsewhere = temp_dir("mounted-elsewhere");
    let mounted = testing::mount_tmpfs(elsewhere.path(), "size=1m");
    stage.tree.mounted(stage.at.now, &mounts);
    stage.pass(20_000);
    assert_eq!(stage.sent(), [""; 0]);
    drop(mounted);
}
