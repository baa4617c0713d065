//! What hosts remember of what was sent and received.

use std::fs;
use std::os::unix::fs::symlink;

use makuosan::console::json::Value;

use crate::common::{Fleet, eventually, process, tree};

/// What `history` lists on a host, without the times and without who has it.
#[track_caller]
fn history(fleet: &Fleet, at: usize) -> Vec<String> {
    let out = fleet.msync(at, &["history"]).ok().out;
    let mut lines: Vec<String> = out.lines().map(str::to_owned).collect();
    let total = lines.pop().unwrap();
    let noun = if lines.len() == 1 { "transfer" } else { "transfers" };
    assert_eq!(total, format!("Total: {} {noun}", lines.len()));
    let stamp = "2026-11-27 18:30:00 ".len();
    let line = |line: &String| line[stamp..].split("; on ").next().unwrap().to_owned();
    lines.iter().map(line).collect()
}

/// Waits until a host lists just this: a target writes the end down shortly after it was said.
#[track_caller]
fn remembers(fleet: &Fleet, at: usize, want: &[&str]) {
    let mut got = Vec::new();
    let deadline = crate::common::now() + crate::common::LONG;
    while got != want {
        assert!(crate::common::now() < deadline, "h{at}: {got:#?}, not {want:#?}");
        std::thread::sleep(std::time::Duration::from_millis(10));
        got = history(fleet, at);
    }
}

#[test]
fn what_was_sent_is_remembered_by_all_and_after_a_restart() {
    let mut fleet = Fleet::new("history", 3);
    tree::write(fleet.path(0, "d/a"), "12345");
    tree::write(fleet.path(0, "d/sub/b"), "1234567");
    symlink("a", fleet.path(0, "d/l")).unwrap();
    fleet.msync(0, &["send", "-r", "d"]).ok();
    fleet.msync(0, &["send", "-t", "h2", "d/a"]).ok();
    tree::write(fleet.path(1, "one"), "x");
    fleet.msync(1, &["send", "one"]).ok();
    for _ in 0..2 {
        let sent = ["sent -r d: 5 entries, complete", "sent d/a to h2: 2 entries, complete"];
        remembers(&fleet, 0, &[sent[0], sent[1], "from h1 one: 1 entry, complete"]);
        remembers(&fleet, 1, &["from h0 -r d: 5 entries, complete", "sent one: 1 entry, complete"]);
        let got = ["from h0 -r d: 5 entries, complete", "from h0 d/a to h2: 2 entries, complete"];
        remembers(&fleet, 2, &[got[0], got[1], "from h1 one: 1 entry, complete"]);
        for at in 0..3 {
            fleet.kill(at);
            fleet.start(at, &[]);
        }
        fleet.wait_for_members();
    }
}

#[test]
fn what_changes_nothing_or_has_nobody_to_go_to_is_not_remembered() {
    let fleet = Fleet::new("history-nothing", 2);
    tree::write(fleet.path(0, "d/a"), "12345");
    fleet.msync(0, &["send", "-r", "-n", "d"]).ok();
    fleet.msync(0, &["check", "-r", "d"]);
    fleet.msync(0, &["send", "-t", "nobody", "-r", "d"]);
    fleet.msync(0, &["send", "missing"]);
    for at in 0..2 {
        remembers(&fleet, at, &[]);
    }
}

#[test]
fn a_file_that_is_sent_again_and_again_is_remembered_once() {
    let fleet = Fleet::new("history-again", 2);
    let mut console = fleet.console(0);
    for round in 0..20 {
        tree::write(fleet.path(0, "f"), format!("{round}"));
        tree::write(fleet.path(0, "g"), format!("{round}"));
        console.send("send f");
        console.send("send g");
    }
    for (at, who) in [(0, "sent"), (1, "from h0")] {
        let want = [format!("{who} f: 1 entry, complete"), format!("{who} g: 1 entry, complete")];
        remembers(&fleet, at, &[&want[0], &want[1]]);
    }
    // A send of all that is below covers them; one of a part does not cover the whole.
    console.send("send -r");
    console.send("send f");
    for (at, who) in [(0, "sent"), (1, "from h0")] {
        let want =
            [format!("{who} -r .: 2 entries, complete"), format!("{who} f: 1 entry, complete")];
        remembers(&fleet, at, &[&want[0], &want[1]]);
    }
}

#[test]
fn a_deletion_is_remembered_if_it_was_not_held_up() {
    let fleet = Fleet::new("history-delete", 2);
    for name in ["d/a", "d/b"] {
        tree::write(fleet.path(0, name), "12345");
    }
    fleet.msync(0, &["send", "-r", "d"]).ok();
    tree::write(fleet.path(1, "d/old"), "x");
    fleet.msync(0, &["send", "-r", "--delete", "--max-delete", "0", "d"]);
    let [sent, got] = ["sent", "from h0"];
    let plain = |who: &str| format!("{who} -r d: 3 entries, complete");
    // It is one that sends; what only the target has is still there.
    remembers(&fleet, 0, &[&plain(sent)]);
    remembers(&fleet, 1, &[&plain(got)]);
    fleet.msync(0, &["send", "-r", "--delete", "d"]).ok();
    let deletes = |who: &str| format!("{who} -r --delete d: 3 entries, complete");
    remembers(&fleet, 0, &[&deletes(sent)]);
    remembers(&fleet, 1, &[&deletes(got)]);
    fs::remove_dir_all(fleet.path(0, "d")).unwrap();
    fleet.msync(0, &["sync", "-n", "d"]).ok();
    remembers(&fleet, 0, &[&deletes(sent)]);
    fleet.msync(0, &["sync", "d"]).ok();
    remembers(&fleet, 0, &["sent d: deleted, complete"]);
    remembers(&fleet, 1, &["from h0 d: deleted, complete"]);
}

#[test]
fn a_host_on_which_something_failed_remembers_that_it_is_incomplete() {
    let fleet = Fleet::new("history-failed", 3);
    tree::write(fleet.path(0, "d/a"), "12345");
    tree::write(fleet.path(0, "d/b"), "12345");
    // A directory that is not empty is in the way.
    tree::write(fleet.path(1, "d/a/in/the/way"), "x");
    fleet.msync(0, &["send", "-r", "d"]);
    remembers(&fleet, 0, &["sent -r d: 3 entries, complete"]);
    remembers(&fleet, 1, &["from h0 -r d: 3 entries, incomplete here"]);
    remembers(&fleet, 2, &["from h0 -r d: 3 entries, complete"]);
    fs::remove_dir_all(fleet.path(1, "d/a")).unwrap();
    fleet.msync(0, &["send", "-r", "d"]).ok();
    remembers(&fleet, 1, &["from h0 -r d: 3 entries, complete"]);
}

#[test]
fn a_host_that_may_write_nothing_keeps_nothing_and_says_so() {
    let fleet = Fleet::with("history-readonly", &[&[], &["-r"]]);
    tree::write(fleet.path(0, "a"), "12345");
    fleet.msync(0, &["send", "a"]);
    let out = fleet.msync(1, &["history"]).ok().out;
    assert_eq!(out, "Nothing is kept here of what is sent.\n");
    remembers(&fleet, 0, &["sent a: 1 entry, complete"]);
    let json = Value::parse(fleet.msync(1, &["--json", "history"]).ok().out.trim_end());
    assert!(json.is_some(), "{json:?}");
}

#[test]
fn records_of_a_host_of_another_name_are_set_aside() {
    let mut fleet = Fleet::new("history-renamed", 2);
    tree::write(fleet.path(0, "a"), "12345");
    fleet.msync(0, &["send", "a"]).ok();
    remembers(&fleet, 1, &["from h0 a: 1 entry, complete"]);
    fleet.stop(1);
    fleet.start(1, &["-N", "clone"]);
    fleet.daemon(1).wait_for_log("the journal here is that of host h1");
    remembers(&fleet, 1, &[]);
}

#[test]
fn a_tree_of_thousands_of_files_has_a_list_of_its_own_that_goes_with_the_record() {
    let fleet = Fleet::new("history-list", 2);
    for at in 0..3_000 {
        tree::write(fleet.path(0, format!("d/{}/f{at}", at % 7)), "x");
    }
    fleet.msync(0, &["send", "-r", "d"]).ok();
    let lists = |at: usize| {
        let names = fs::read_dir(fleet.path(at, ".makuosan/journal")).unwrap();
        let names = names.map(|name| name.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("list-")).count()
    };
    remembers(&fleet, 0, &["sent -r d: 3008 entries, complete"]);
    remembers(&fleet, 1, &["from h0 -r d: 3008 entries, complete"]);
    assert_eq!([lists(0), lists(1)], [1, 1]);
    fs::remove_dir_all(fleet.path(0, "d")).unwrap();
    fleet.msync(0, &["sync", "d"]).ok();
    remembers(&fleet, 1, &["from h0 d: deleted, complete"]);
    assert_eq!([lists(0), lists(1)], [0, 0]);
}

#[test]
fn a_daemon_that_is_killed_while_it_receives_knows_that_it_is_not_finished() {
    let mut fleet = Fleet::new("history-killed", 3);
    for at in 0..400 {
        tree::write(fleet.path(0, format!("d/f{at}")), vec![7u8; 40_000]);
    }
    let running = fleet.msync_start(0, &["send", "-r", "d"]);
    eventually("some files", || fleet.path(1, "d/f1").exists());
    fleet.kill(1);
    drop(running);
    fleet.start(1, &[]);
    remembers(&fleet, 1, &["from h0 -r d: not finished"]);
}

#[test]
fn a_file_of_its_name_is_not_taken_for_the_command() {
    let fleet = Fleet::new("history-file", 2);
    tree::write(fleet.path(0, "history"), "12345");
    let called = |args: &[&str]| {
        let mut msync = fleet.msync_command(0, args);
        process::run(msync.current_dir(fleet.base(0)))
    };
    let ran = called(&["history"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.contains("./history is the file"), "{ran:?}");
    let json = called(&["--json", "history"]);
    assert!(json.code == Some(1) && json.out.contains("\"code\":\"usage\""), "{json:?}");
    // It is what was meant, if the options are those of a send.
    for args in [&["-r", "history"][..], &["--sync", "history"], &["history", "history"]] {
        let ran = called(args);
        assert!(ran.code == Some(1) && ran.err.contains("./history"), "{ran:?}");
    }
    assert!(!fleet.path(1, "history").exists());
    for args in [&["./history"][..], &["send", "history"], &["--", "history"]] {
        called(args).ok();
        assert_eq!(fs::read(fleet.path(1, "history")).unwrap(), b"12345");
        fs::remove_file(fleet.path(1, "history")).unwrap();
    }
    remembers(&fleet, 1, &["from h0 history: 1 entry, complete"]);
}

/// Who has what was sent last from a host, as `history` says in a line and in JSON.
fn who_has_the_last(fleet: &Fleet, at: usize) -> (String, Vec<String>) {
    let out = fleet.msync(at, &["history"]).ok().out;
    let line = out.lines().rfind(|line| line.contains(" sent ")).unwrap().to_owned();
    let json = fleet.msync(at, &["--json", "history"]).ok().out;
    let value = Value::parse(json.trim_end()).unwrap();
    let own = |row: &&Value| row.get("own") == Some(&Value::Bool(true));
    let row = value.get("transfers").unwrap().list().iter().rfind(own).unwrap();
    let have = row.get("have").unwrap().list().iter();
    (line, have.map(|host| host.text().unwrap().to_owned()).collect())
}

#[track_caller]
fn is_on(fleet: &Fleet, at: usize, who: &str) {
    let mut got = (String::new(), Vec::new());
    let deadline = crate::common::now() + crate::common::LONG;
    let is_so = |(line, have): &(String, Vec<String>)| match who {
        "no other host" => line.ends_with("; on no other host") && have.is_empty(),
        who => line.ends_with(&format!("; on {who}")) && have.join(", ") == who,
    };
    while !is_so(&got) {
        assert!(crate::common::now() < deadline, "{got:?}, not on {who}");
        std::thread::sleep(std::time::Duration::from_millis(20));
        got = who_has_the_last(fleet, at);
    }
}

#[test]
fn who_has_what_was_sent_from_here_is_known_at_its_end_and_when_others_have_caught_up() {
    let mut fleet = Fleet::new("history-who", 3);
    tree::write(fleet.path(0, "a"), "1");
    fleet.msync(0, &["send", "a"]).ok();
    is_on(&fleet, 0, "h1, h2");
    tree::write(fleet.path(0, "for-one"), "2");
    fleet.msync(0, &["send", "-t", "h2", "for-one"]).ok();
    is_on(&fleet, 0, "h2");
    // Others do not know it, as they have not sent it.
    let json = fleet.msync(1, &["--json", "history"]).ok().out;
    assert!(json.contains("\"have\":null") && !json.contains("\"have\":["), "{json}");
    fleet.stop(2);
    for name in ["b", "c"] {
        tree::write(fleet.path(0, name), "3");
        fleet.msync(0, &["send", name]).ok();
        is_on(&fleet, 0, "h1");
    }
    fleet.kill(0);
    fleet.start(0, &[]);
    is_on(&fleet, 0, "h1");
    fleet.start(2, &[]);
    is_on(&fleet, 0, "h1, h2");
    let rows = fleet.msync(0, &["history"]).ok().out;
    assert_eq!(rows.matches("; on h1, h2\n").count(), 3, "{rows}");
    // One that cannot write it has it when it could.
    fs::create_dir_all(fleet.path(2, "d/in-the-way")).unwrap();
    tree::write(fleet.path(0, "d"), "a file");
    assert_eq!(fleet.msync(0, &["send", "d"]).code, Some(2));
    is_on(&fleet, 0, "h1");
    fs::remove_dir_all(fleet.path(2, "d")).unwrap();
    fleet.daemon(2).signal("HUP");
    is_on(&fleet, 0, "h1, h2");
    for at in [1, 2] {
        fleet.stop(at);
    }
    fleet.wait_for_members();
    tree::write(fleet.path(0, "nobody"), "4");
    fleet.msync(0, &["send", "nobody"]);
    is_on(&fleet, 0, "no other host");
}
