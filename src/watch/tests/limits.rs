//! Where the kernel tells less than there is.

use std::fs;

use super::stage::{Stage, WATCH, config, temp_dir};
use crate::fs::testing;
use crate::sys::inotify::Inotify;
use crate::time::Span;
use crate::watch::types::{Command, Flush, Went};

/// Sets a limit of this user, in a namespace, to what is used now and so much more.
fn limit(more: usize) {
    let path = "/proc/sys/user/max_inotify_watches";
    fs::write(path, more.to_string()).unwrap();
}

#[test]
fn an_overflow_sends_all_and_deletes_what_went() {
    let mut stage = Stage::new("overflow");
    for n in 0..50 {
        stage.write(&format!("d/{n}"), "x");
    }
    stage.pass(3_000);
    stage.sent();
    // The queue holds 16,384 by default, and nobody reads.
    let most: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .map_or(16_384, |text| text.trim().parse().unwrap());
    for n in 0..most / 2 + 10 {
        let at = stage.join(&format!("d/{}", n % 2));
        fs::remove_file(&at).unwrap();
        fs::write(&at, n.to_string()).unwrap();
    }
    fs::remove_file(stage.join("d/7")).unwrap();
    stage.write("new/e/f", "y");
    stage.pass(15_000);
    stage.flushes.retain(|(_, flush)| matches!(flush, Flush::Tree { .. }));
    let sent = stage.sent();
    assert!(sent[0].starts_with("all: too many events at once"), "{sent:?}");
    assert!(sent[0].ends_with(", deletes"));
    stage.same();
    assert_eq!(stage.tree.numbers().directories, 4);
    stage.write("new/e/g", "z");
    stage.pass(1_000);
    stage.same();
}

#[test]
fn an_overflow_that_loops_is_answered_less_and_less() {
    let mut stage = Stage::new("loops");
    let mut sent = 0;
    for _ in 0..600 {
        stage.tree.overflow(stage.at.now);
        stage.pass(100);
        stage.at.now += Span::from_secs(1);
        sent += stage.sent().len();
    }
    assert!((5..8).contains(&sent), "{sent} times in 11 minutes");
}

#[test]
fn deletions_wait_for_the_end_of_a_rescan() {
    let mut stage = Stage::new("rescan-deletes");
    stage.write("f", "1");
    stage.write("g", "1");
    stage.pass(3_000);
    stage.tree.overflow(stage.at.now);
    stage.pass(100);
    stage.sent();
    stage.tree.overflow(stage.at.now);
    fs::remove_file(stage.join("f")).unwrap();
    stage.write("h", "1");
    stage.pass(5_000);
    assert_eq!(stage.sent(), ["h"], "the next rescan is 10 s away");
    stage.pass(8_000);
    let sent = stage.sent();
    assert!(sent[0].starts_with("all:"), "{sent:?}");
    stage.same();
}

#[test]
fn much_that_went_unseen_is_held() {
    let mut stage = Stage::new("unseen");
    for n in 0..300 {
        stage.write(&format!("d/{n}"), "x");
    }
    stage.pass(3_000);
    stage.sent();
    stage.tree.lose_events();
    fs::remove_dir_all(stage.join("d")).unwrap();
    stage.tree.lose_events();
    stage.tree.overflow(stage.at.now);
    stage.pass(15_000);
    assert_eq!(stage.sent().len(), 1);
    assert!(stage.target.join("d/7").exists());
    assert!(stage.tree.numbers().held > 100);
    stage.tree.command(stage.at, Command::Release(WATCH));
    stage.pass(3_000);
    assert_eq!(stage.sent(), ["all: deletions were released, deletes"]);
    stage.same();
}

#[test]
fn more_names_than_are_kept_send_all() {
    let mut stage = Stage::new("names");
    fs::create_dir(stage.join("d")).unwrap();
    stage.pass(2_000);
    stage.sent();
    let mut round = 0;
    while round < 67 {
        for n in 0..1_000 {
            fs::write(stage.join(&format!("d/f{}", round * 1_000 + n)), "").unwrap();
        }
        stage.tree.read(stage.at.now);
        round += 1;
        if round == 67 {
            stage.pass(15_000);
        }
    }
    stage.flushes.retain(|(_, flush)| matches!(flush, Flush::Tree { .. }));
    let sent = stage.sent();
    assert!(sent[0].starts_with("all: more than 65536 names"), "{:?}", sent.first());
    stage.same();
}

#[test]
fn too_few_watches_search_the_rest() {
    let test = "watch::tests::limits::too_few_watches_search_the_rest";
    if !testing::is_in_user_namespace(test) {
        return;
    }
    limit(4);
    let temp = temp_dir("few");
    for at in ["a/b/c", "a/d", "e/f/g", "h"] {
        temp.write(&format!("{at}/file"), "1");
    }
    let mut stage = Stage::of(temp, config(""));
    let numbers = stage.tree.numbers();
    assert_eq!((numbers.directories, numbers.unwatched), (4, 5));
    // The upper ones are watched.
    stage.write("a/now", "2");
    stage.pass(200);
    assert_eq!(stage.sent(), ["a/now"]);
    // The others are searched.
    std::thread::sleep(std::time::Duration::from_millis(20));
    stage.write("a/b/c/file", "2");
    fs::remove_file(stage.join("e/f/g/file")).unwrap();
    stage.write("e/f/new/file", "3");
    stage.pass(10_000);
    assert_eq!(stage.sent(), [""; 0]);
    stage.pass(60_000);
    stage.same();
    let sent = stage.sent();
    assert!(!sent.iter().any(|path| path.starts_with("all")), "{sent:?}");
    // Who waits does not wait for a minute.
    stage.write("a/b/c/file", "4");
    stage.tree.command(stage.at, Command::Reach { watch: WATCH, cookie: 5 });
    stage.pass(100);
    assert_eq!(stage.reached, [(5, 0)]);
    stage.same();
    // A new one is sent though it cannot be watched.
    stage.write("a/new/er/file", "5");
    stage.pass(1_000);
    stage.same();
    // With more watches, all are watched.
    limit(1_000);
    stage.pass(70_000);
    let numbers = stage.tree.numbers();
    assert_eq!((numbers.directories, numbers.unwatched), (12, 0));
    stage.same();
}

#[test]
fn no_watch_at_all_is_refused() {
    let test = "watch::tests::limits::no_watch_at_all_is_refused";
    if !testing::is_in_user_namespace(test) {
        return;
    }
    limit(0);
    let refused = Stage::begin(temp_dir("none"), config("")).err().unwrap().to_string();
    assert!(refused.contains("fs.inotify.max_user_watches"), "{refused}");
    fs::write("/proc/sys/user/max_inotify_instances", "0").unwrap();
    assert!(Inotify::new().is_err());
    let refused = Stage::begin(temp_dir("none"), config("")).err().unwrap().to_string();
    assert!(refused.contains("fs.inotify.max_user_instances"), "{refused}");
}

#[test]
fn what_is_no_directory_is_refused() {
    let temp = temp_dir("no-directory");
    temp.write("f", "");
    let refused = Stage::begin(temp, config("f")).err().unwrap().to_string();
    assert_eq!(refused, "Not a directory");
    let refused = Stage::begin(temp_dir("missing"), config("f")).err().unwrap().to_string();
    assert_eq!(refused, "No such file or directory");
}

#[test]
fn one_flush_is_under_way_and_what_failed_is_tried_again() {
    let mut stage = Stage::new("again");
    stage.answers = false;
    stage.write("f", "1");
    stage.pass(200);
    stage.write("g", "1");
    stage.pass(20_000);
    assert_eq!(stage.sent(), ["f"]);
    stage.done(Went::Sent { again: vec![super::stage::path("f")] });
    stage.pass(1_000);
    assert_eq!(stage.sent(), ["g"]);
    stage.done(Went::Sent { again: Vec::new() });
    stage.pass(8_500);
    assert_eq!(stage.sent(), [""; 0]);
    stage.pass(1_000);
    assert_eq!(stage.sent(), ["f"], "after 10 s");
    stage.done(Went::Sent { again: Vec::new() });
    stage.write("g", "2");
    stage.pass(1_000);
    assert_eq!(stage.sent(), ["g"]);
    stage.done(Went::NotSent);
    stage.pass(9_500);
    assert_eq!(stage.sent(), [""; 0]);
    stage.pass(1_000);
    assert_eq!(stage.sent(), ["g"]);
    stage.done(Went::NotSent);
    stage.pass(15_000);
    assert_eq!(stage.sent(), [""; 0], "longer each time");
    stage.pass(10_000);
    assert_eq!(stage.sent(), ["g"]);
    stage.done(Went::Sent { again: Vec::new() });
    // What fails for ever is tried when somebody asks for it.
    stage.write("bad", "1");
    let mut tries = 0;
    for _ in 0..2_000 {
        stage.pass(1_000);
        if !stage.sent().is_empty() {
            tries += 1;
            stage.done(Went::Sent { again: vec![super::stage::path("bad")] });
        }
    }
    assert_eq!((tries, stage.tree.numbers().pending), (7, 1));
    stage.tree.command(stage.at, Command::Reach { watch: WATCH, cookie: 1 });
    stage.pass(10);
    assert_eq!((stage.sent(), stage.reached.len()), (vec!["bad".to_owned()], 0));
    stage.done(Went::Sent { again: vec![super::stage::path("bad")] });
    stage.pass(10);
    assert_eq!((stage.sent(), stage.reached.len()), (Vec::new(), 1), "once for each who asks");
}

#[test]
fn who_waits_is_answered_when_all_before_is_sent() {
    let mut stage = Stage::new("cookie");
    stage.answers = false;
    let reach = |stage: &mut Stage, cookie| {
        stage.tree.command(stage.at, Command::Reach { watch: WATCH, cookie });
        stage.pass(50);
    };
    reach(&mut stage, 1);
    assert_eq!(stage.reached, [(1, 0)], "nothing has changed");
    stage.write("f", "1");
    stage.write("d/f", "1");
    reach(&mut stage, 2);
    assert_eq!(stage.sent(), ["d/", "f"], "at once");
    stage.write("g", "1");
    stage.pass(500);
    assert_eq!(stage.reached.len(), 1);
    stage.done(Went::Sent { again: Vec::new() });
    stage.pass(50);
    assert_eq!(stage.reached, [(1, 0), (2, 0)]);
    fs::remove_file(stage.join("f")).unwrap();
    reach(&mut stage, 3);
    stage.done(Went::Sent { again: Vec::new() });
    stage.pass(50);
    stage.done(Went::Sent { again: Vec::new() });
    stage.pass(50);
    assert!(stage.sent().contains(&"-f".to_owned()));
    assert_eq!(stage.reached.len(), 3);
    // All of it is to be sent again in a while: now.
    stage.tree.overflow(stage.at.now);
    stage.pass(50);
    stage.done(Went::Sent { again: Vec::new() });
    stage.tree.overflow(stage.at.now);
    stage.flushes.clear();
    reach(&mut stage, 4);
    assert!(matches!(stage.flushes[..], [(_, Flush::Tree { .. })]));
    assert_eq!(stage.reached.len(), 3);
    stage.done(Went::NotSent);
    stage.pass(50);
    assert_eq!(stage.flushes.len(), 1, "not in a loop");
    stage.pass(30_000);
    stage.done(Went::Sent { again: Vec::new() });
    stage.pass(50);
    assert_eq!(stage.reached.len(), 4);
}
