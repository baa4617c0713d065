//! What changes on a watched host is on all others in a moment.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use crate::common::{Fleet, eventually, now, tree};

/// A fleet whose first host watches its base directory, or something in it, from the start.
pub fn watching(name: &str, hosts: usize, options: &[&str]) -> Fleet {
    let mut fleet = Fleet::idle(name, hosts);
    let at = options.iter().position(|option| *option == "-w").unwrap();
    fs::create_dir_all(fleet.path(0, options[at + 1])).unwrap();
    fleet.start(0, options);
    (1..hosts).for_each(|at| fleet.start(at, &[]));
    fleet.wait_for_members();
    fleet
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Waits until all hosts have what the first one has below a path.
#[track_caller]
fn all_alike(fleet: &Fleet, below: &str) {
    for at in 1..fleet.len() {
        eventually(&format!("host {at} has the same files"), || {
            let (ours, theirs) = (fleet.path(0, below), fleet.path(at, below));
            tree::look(&theirs).is_ok_and(|theirs| theirs == tree::snapshot(&ours))
        });
    }
}

/// Time for a fleet to do what it should not.
fn wait_a_while() {
    std::thread::sleep(Duration::from_millis(2_500));
}

#[test]
fn what_changes_is_on_all_hosts_in_a_moment() {
    let fleet = watching("watch-changes", 3, &["-w", "."]);
    tree::write(fleet.path(0, "a"), "1");
    let began = now();
    all_alike(&fleet, "");
    let took = now().duration_since(began);
    assert!(took < Duration::from_secs(3), "{took:?}");
    fs::create_dir_all(fleet.path(0, "d/e/f")).unwrap();
    for n in 0..100 {
        tree::write(fleet.path(0, format!("d/e/f/{n}")), format!("{n}"));
    }
    symlink("e/f", fleet.path(0, "d/link")).unwrap();
    all_alike(&fleet, "");
    tree::write(fleet.path(0, "a"), "longer than it was");
    tree::set_mode(&fleet.path(0, "d/e"), 0o750);
    all_alike(&fleet, "");
}

#[test]
fn what_was_there_before_is_sent_at_the_start() {
    let mut fleet = Fleet::idle("watch-before", 2);
    tree::write(fleet.path(0, "htdocs/d/a"), "1");
    tree::write(fleet.path(0, "other"), "not watched");
    fleet.start(1, &[]);
    fleet.start(0, &["-w", "htdocs"]);
    all_alike(&fleet, "htdocs");
    tree::write(fleet.path(0, "other"), "not watched, changed");
    tree::write(fleet.path(0, "htdocs/b"), "2");
    all_alike(&fleet, "htdocs");
    wait_a_while();
    assert_eq!(read(fleet.path(1, "other")), None);
}

#[test]
fn deletions_and_moves_go_along_if_that_is_wanted() {
    let fleet = watching("watch-deletes", 3, &["-w", ".", "--watch-delete"]);
    for n in 0..20 {
        tree::write(fleet.path(0, format!("d/f{n}")), format!("{n}"));
    }
    all_alike(&fleet, "");
    fs::remove_file(fleet.path(0, "d/f3")).unwrap();
    fs::rename(fleet.path(0, "d/f4"), fleet.path(0, "moved")).unwrap();
    all_alike(&fleet, "");
    fs::rename(fleet.path(0, "d"), fleet.path(0, "e")).unwrap();
    all_alike(&fleet, "");
    fs::remove_dir_all(fleet.path(0, "e")).unwrap();
    symlink("moved", fleet.path(0, "e")).unwrap();
    all_alike(&fleet, "");
    // What only another host has is not touched.
    tree::write(fleet.path(1, "its own"), "x");
    tree::write(fleet.path(0, "moved"), "changed");
    eventually("the change is there", || {
        read(fleet.path(1, "moved")).as_deref() == Some("changed")
    });
    assert_eq!(read(fleet.path(1, "its own")).as_deref(), Some("x"));
}

#[test]
fn without_deletions_nothing_is_deleted() {
    let fleet = watching("watch-keeps", 2, &["-w", "."]);
    tree::write(fleet.path(0, "a"), "1");
    tree::write(fleet.path(0, "b"), "2");
    all_alike(&fleet, "");
    fs::remove_file(fleet.path(0, "a")).unwrap();
    fs::rename(fleet.path(0, "b"), fleet.path(0, "c")).unwrap();
    eventually("the new name is there", || read(fleet.path(1, "c")).as_deref() == Some("2"));
    wait_a_while();
    assert_eq!(read(fleet.path(1, "a")).as_deref(), Some("1"));
    assert_eq!(read(fleet.path(1, "b")).as_deref(), Some("2"));
}

#[test]
fn an_editor_that_saves_by_renaming_sends_one_file_and_no_temporary_one() {
    let fleet = watching("watch-editor", 2, &["-w", "."]);
    tree::write(fleet.path(0, "page.html"), "1");
    all_alike(&fleet, "");
    for n in 2..5 {
        tree::write(fleet.path(0, "4913"), "");
        fs::remove_file(fleet.path(0, "4913")).unwrap();
        tree::write(fleet.path(0, ".page.html.swp"), "swap");
        fs::rename(fleet.path(0, "page.html"), fleet.path(0, "page.html~")).unwrap();
        tree::write(fleet.path(0, "page.html"), format!("{n}"));
        let is = |content: &str| read(fleet.path(1, "page.html")).as_deref() == Some(content);
        eventually("the new page is there", || is(&n.to_string()));
    }
    let names = |at: usize| tree::snapshot(&fleet.base(at)).len();
    assert_eq!(names(1), 1, "{:?}", tree::snapshot(&fleet.base(1)));
}

#[test]
fn a_client_watches_until_it_is_ended() {
    let fleet = Fleet::new("watch-client", 2);
    tree::write(fleet.path(0, "d/a"), "1");
    let mut client = fleet.msync_start(0, &["watch", "-v", "--delete", "d"]);
    all_alike(&fleet, "d");
    tree::write(fleet.path(0, "d/b"), "2");
    fs::remove_file(fleet.path(0, "d/a")).unwrap();
    eventually("b is there", || read(fleet.path(1, "d/b")).is_some());
    eventually("a is gone", || read(fleet.path(1, "d/a")).is_none());
    fleet.msync(0, &["flush"]).ok();
    let status = fleet.msync(0, &["status"]).ok().out;
    assert!(status.contains("\nwatching: d, for client "), "{status}");
    assert!(client.is_running());
    client.kill();
    let said = client.end();
    for line in ["update h1:d/a", "update h1:d/b", "delete h1:d/a"] {
        assert!(said.out.contains(line), "{said:?}");
    }
    eventually("the watch has ended", || {
        !fleet.msync(0, &["status"]).ok().out.contains("\nwatching:")
    });
    tree::write(fleet.path(0, "d/c"), "3");
    wait_a_while();
    assert_eq!(read(fleet.path(1, "d/c")), None);
}

#[test]
fn a_client_gets_json_for_each_flush() {
    let fleet = Fleet::new("watch-json", 2);
    fs::create_dir(fleet.path(0, "d")).unwrap();
    let mut client = fleet.msync_start(0, &["watch", "--json", "d"]);
    eventually("it is watched", || fleet.msync(0, &["flush", "d"]).code == Some(0));
    tree::write(fleet.path(0, "d/b"), "2");
    fleet.msync(0, &["flush", "d"]).ok();
    assert_eq!(read(fleet.path(1, "d/b")).as_deref(), Some("2"));
    client.kill();
    let said = client.end();
    let totals = said.out.lines().filter(|line| line.contains("\"type\":\"total\"")).count();
    assert!(totals >= 2, "{said:?}");
    assert!(said.out.lines().all(|line| line.starts_with('{')), "{said:?}");
    assert!(said.out.contains("\"files\":1"), "{said:?}");
}

#[test]
fn a_flush_returns_when_all_have_what_was_changed_before() {
    let fleet = watching("watch-flush", 3, &["-w", ".", "--watch-delete"]);
    for round in 0..5 {
        for n in 0..15 {
            tree::write(fleet.path(0, format!("d{round}/{n}")), format!("{round} {n}"));
        }
        if round > 0 {
            fs::remove_dir_all(fleet.path(0, format!("d{}", round - 1))).unwrap();
        }
        fleet.msync(0, &["flush"]).ok();
        for at in 1..3 {
            tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
        }
    }
    let nothing = fleet.msync(1, &["flush"]);
    assert_eq!(
        (nothing.code, nothing.err.as_str()),
        (Some(1), "error: nothing is watched at .: see status\n")
    );
}

#[test]
fn a_host_that_was_away_gets_what_changed() {
    let mut fleet = watching("watch-away", 3, &["-w", ".", "--watch-delete"]);
    for n in 0..20 {
        tree::write(fleet.path(0, format!("d/f{n}")), format!("{n}"));
    }
    all_alike(&fleet, "");
    fleet.stop(2);
    for n in 0..10 {
        tree::write(fleet.path(0, format!("d/f{n}")), format!("changed {n}"));
        std::thread::sleep(Duration::from_millis(60));
    }
    fs::remove_file(fleet.path(0, "d/f15")).unwrap();
    tree::write(fleet.path(0, "d/new/g"), "new");
    fleet.msync(0, &["flush"]).ok();
    fleet.start(2, &[]);
    all_alike(&fleet, "");
}

#[test]
fn a_daemon_that_starts_again_sends_what_changed_meanwhile() {
    let mut fleet = watching("watch-restart", 2, &["-w", ".", "--watch-delete"]);
    tree::write(fleet.path(0, "a"), "1");
    tree::write(fleet.path(0, "b"), "1");
    all_alike(&fleet, "");
    fleet.kill(0);
    tree::write(fleet.path(0, "a"), "22");
    fs::remove_file(fleet.path(0, "b")).unwrap();
    tree::write(fleet.path(0, "c/d"), "3");
    fleet.start(0, &["-w", ".", "--watch-delete"]);
    all_alike(&fleet, "");
}

#[test]
fn what_cannot_be_watched_is_said() {
    let mut fleet = Fleet::new("watch-refused", 2);
    fs::create_dir_all(fleet.path(0, "d/e")).unwrap();
    tree::write(fleet.path(0, "f"), "a file");
    let refused = |args: &[&str]| {
        let ran = fleet.msync(0, args);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        ran.err
    };
    assert!(refused(&["watch", "nowhere"]).contains("No such file or directory"));
    assert!(refused(&["watch", "f"]).contains("Not a directory"));
    assert!(refused(&["watch", "/etc"]).contains("/etc"));
    assert!(refused(&["watch", "--delay", "x", "d"]).contains("--delay"));
    assert!(refused(&["watch", "release", "d"]).contains("nothing is watched at d"));
    let first = fleet.msync_start(0, &["watch", "d"]);
    eventually("it is watched", || fleet.msync(0, &["flush", "d"]).code == Some(0));
    assert!(refused(&["watch", "d/e"]).contains("d is watched already"));
    assert!(refused(&["watch"]).contains("d is watched already"));
    drop(first);
    fleet.stop(1);
    let start = |options: &[&str]| {
        let mut command = fleet.command(1, options);
        crate::common::process::run(&mut command)
    };
    for (options, text) in [
        (&["-w", "nowhere"][..], "-w nowhere: No such file or directory"),
        (&["-w", "../x"], "-w ../x: "),
        (&["-w", "/etc"], "-w /etc: "),
        (&["-w", ".", "-w", "x"], "-w x: . is given already"),
        (&["-w", ".", "-s"], "-w: cannot be used with -s"),
        (&["--watch-delete"], "--watch-delete: needs -w"),
        (&["-w", ".", "--delay", "60001"], "--delay 60001: "),
        (&["-w", ".", "--exclude-from", "/nonexistent"], "--exclude-from /nonexistent: "),
    ] {
        for more in [&[][..], &["--check-config"]] {
            let ran = start(&[options, more].concat());
            assert_eq!(ran.code, Some(1), "{ran:?}");
            assert!(ran.err.contains(text), "{text}: {ran:?}");
        }
    }
    let fine = start(&["-w", ".", "--watch-delete", "--check-config"]);
    assert!(fine.out.contains("watch   : ., with deletions\n"), "{fine:?}");
}

#[test]
fn a_second_host_that_watches_the_same_is_refused_by_name() {
    let mut fleet = watching("watch-two", 3, &["-w", "htdocs"]);
    tree::write(fleet.path(0, "htdocs/a"), "of the first");
    all_alike(&fleet, "");
    tree::write(fleet.path(1, "htdocs/a"), "of the second, which is longer");
    let ran = fleet.msync(1, &["watch", "--delete"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("h0 watches htdocs"), "{ran:?}");
    fleet.stop(1);
    fleet.start(1, &["-w", "."]);
    fleet.daemon(1).wait_for_log("h0 watches htdocs");
    wait_a_while();
    for at in [0, 2] {
        assert_eq!(read(fleet.path(at, "htdocs/a")).as_deref(), Some("of the first"));
    }
    let status = fleet.msync(1, &["status"]).ok().out;
    assert!(status.contains("watching: ., from start: not watched: h0 watches htdocs"), "{status}");
}

#[test]
fn an_emptied_tree_deletes_nothing_until_that_is_said() {
    let fleet = watching("watch-emptied", 2, &["-w", "d", "--watch-delete"]);
    for n in 0..10 {
        tree::write(fleet.path(0, format!("d/f{n}")), format!("{n}"));
    }
    fleet.msync(0, &["flush"]).ok();
    fs::read_dir(fleet.path(0, "d"))
        .unwrap()
        .for_each(|f| fs::remove_file(f.unwrap().path()).unwrap());
    let held = fleet.msync(0, &["flush"]);
    assert_eq!(held.code, Some(2), "{held:?}");
    assert!(held.err.contains("msync watch release d"), "{held:?}");
    wait_a_while();
    assert_eq!(fs::read_dir(fleet.path(1, "d")).unwrap().count(), 10);
    let status = fleet.msync(0, &["status"]).ok().out;
    assert!(status.contains("held back"), "{status}");
    // What is new goes on.
    tree::write(fleet.path(0, "d/new"), "x");
    eventually("what is new is there", || read(fleet.path(1, "d/new")).is_some());
    fleet.msync(0, &["watch", "release", "d"]).ok();
    all_alike(&fleet, "d");
    fleet.msync(0, &["flush"]).ok();
}

#[test]
fn much_that_goes_with_a_directory_that_is_replaced_is_held_and_what_is_new_is_sent() {
    let fleet = Fleet::new("watch-replaced", 2);
    let mut client = fleet.msync_start(0, &["watch", "--delete"]);
    eventually("it is watched", || fleet.msync(0, &["flush"]).code == Some(0));
    for n in 0..150 {
        tree::write(fleet.path(0, format!("d/e/f{n}")), "x");
    }
    tree::write(fleet.path(0, "keep"), "x");
    fleet.msync(0, &["flush"]).ok();
    fs::rename(fleet.path(0, "d"), fleet.dir().join("aside")).unwrap();
    tree::write(fleet.path(0, "d/e/new"), "x");
    let held = fleet.msync(0, &["flush"]);
    assert!(held.code == Some(2) && held.err.contains("msync watch release ."), "{held:?}");
    assert!(fleet.path(1, "d/e/new").exists() && fleet.path(1, "d/e/f7").exists());
    // Whoever watches is told once, and how to let it go.
    std::thread::sleep(Duration::from_millis(1_500));
    fleet.msync(0, &["watch", "release", "."]).ok();
    fleet.msync(0, &["flush"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    client.kill();
    let said = client.end();
    let lines = said.out.lines().filter(|line| line.starts_with("warning: "));
    let lines: Vec<&str> = lines.collect();
    assert!(matches!(lines[..], [one] if one.ends_with(": msync watch release .")), "{said:?}");
}

#[test]
fn patterns_leave_out_and_protect() {
    let fleet = watching(
        "watch-patterns",
        2,
        &["-w", ".", "--watch-delete", "--exclude", "*.log", "--exclude", "/cache/"],
    );
    tree::write(fleet.path(1, "cache/theirs"), "x");
    tree::write(fleet.path(1, "theirs.log"), "x");
    tree::write(fleet.path(0, "a"), "1");
    tree::write(fleet.path(0, "a.log"), "1");
    tree::write(fleet.path(0, "cache/c"), "1");
    fleet.msync(0, &["flush"]).ok();
    assert_eq!(read(fleet.path(1, "a")).as_deref(), Some("1"));
    fs::remove_file(fleet.path(0, "a.log")).unwrap();
    fs::remove_dir_all(fleet.path(0, "cache")).unwrap();
    fleet.msync(0, &["flush"]).ok();
    assert_eq!(read(fleet.path(1, "a.log")), None);
    assert_eq!(read(fleet.path(1, "cache/c")), None);
    assert_eq!(read(fleet.path(1, "cache/theirs")).as_deref(), Some("x"));
    assert_eq!(read(fleet.path(1, "theirs.log")).as_deref(), Some("x"));
}

#[test]
fn a_watch_that_has_nothing_to_do_does_nothing() {
    let mut fleet = watching("watch-quiet", 2, &["-w", "."]);
    for n in 0..200 {
        tree::write(fleet.path(0, format!("d{n}/f")), "x");
    }
    fleet.msync(0, &["flush"]).ok();
    wait_a_while();
    let pid = fleet.daemon(0).pid();
    let before = crate::common::process::ticks(pid);
    let flushes = |fleet: &Fleet| {
        let json = fleet.msync(0, &["status", "--json"]).ok().out;
        json.split("\"flushes\":").nth(1).unwrap().split(',').next().unwrap().to_owned()
    };
    let sent = flushes(&fleet);
    std::thread::sleep(Duration::from_secs(5));
    let used = crate::common::process::ticks(pid) - before;
    assert!(used <= 3, "{used} ticks");
    assert_eq!(flushes(&fleet), sent);
}
#[test]
fn a_directory_that_is_made_anew_is_emptied_on_all_hosts() {
    let fleet = watching("watch-anew", 2, &["-w", ".", "--watch-delete"]);
    for at in ["keep/a", "d/a", "d/e/b", "d/f/c"] {
        tree::write(fleet.path(0, at), at);
    }
    for round in 0..3 {
        fleet.msync(0, &["flush"]).ok();
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
        // Emptied; made anew, empty; and once more, after it has stayed so for a while.
        match round {
            0 => fs::remove_dir_all(fleet.path(0, "d/e")).unwrap(),
            _ => fs::remove_dir_all(fleet.path(0, "d")).unwrap(),
        }
        fs::create_dir_all(fleet.path(0, "d/e")).unwrap();
    }
    wait_a_while();
    fleet.msync(0, &["flush"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}
