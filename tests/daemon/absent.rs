//! Hosts that are known and not there: they are named, and get it later.

use std::fs;

use makuosan::console::json::Value;

use crate::common::process::Ran;
use crate::common::{Fleet, eventually, tree};

/// Waits until a host knows of another one that it is away.
#[track_caller]
fn away(fleet: &Fleet, at: usize, name: &str) {
    eventually(&format!("{name} is away"), || {
        let members = fleet.msync(at, &["members", "-v"]).out;
        members.lines().any(|line| line.starts_with(name) && line.contains(" is away"))
    });
}

/// Three hosts, the last of which is away.
fn with_one_away(name: &str) -> Fleet {
    let mut fleet = Fleet::new(name, 3);
    tree::write(fleet.path(0, "before"), "x");
    fleet.msync(0, &["send", "before"]).ok();
    fleet.stop(2);
    for at in 0..2 {
        away(&fleet, at, "h2");
    }
    fleet
}

#[track_caller]
fn has(fleet: &Fleet, at: usize, path: &str) {
    eventually(&format!("h{at} has {path}"), || fleet.path(at, path).exists());
}

#[track_caller]
fn fails(ran: &Ran, lines: &[&str]) {
    let said: Vec<&str> = ran.err.lines().collect();
    assert_eq!((ran.code, said.as_slice()), (Some(2), lines), "{ran:?}");
}

/// The objects of a kind that JSON has.
fn objects(ran: &Ran, kind: &str) -> Vec<Value> {
    let values = ran.out.lines().map(|line| Value::parse(line).unwrap());
    let is = |value: &Value| value.get("type").and_then(Value::text) == Some(kind);
    values.filter(is).collect()
}

#[test]
fn the_summary_says_who_is_away_and_gets_it_later() {
    let mut fleet = with_one_away("absent-summary");
    tree::write(fleet.path(0, "a"), "1");
    let err = fleet.msync(0, &["send", "-v", "a"]).well().err;
    assert!(err.contains(" to 1 of 2 hosts in "), "{err}");
    assert!(err.ends_with("away: h2: it gets this when it returns\n"), "{err}");
    for args in [&["check", "-v", "a"][..], &["send", "-n", "-v", "a"]] {
        let err = fleet.msync(0, args).well().err;
        assert!(
            err.ends_with(" s; 1 unchanged\naway: h2\n") || err.ends_with(" s\naway: h2\n"),
            "{err}"
        );
    }
    // Nobody has asked for it.
    fleet.msync(0, &["send", "a"]).ok();
    let json = fleet.msync(0, &["send", "--json", "a"]).ok();
    let [absent] = &objects(&json, "absent")[..] else { panic!("{json:?}") };
    let text = |name: &str| absent.get(name).and_then(Value::text);
    let address = fleet.ip(2).to_string();
    assert_eq!((text("name"), text("why")), (Some("h2"), Some("away")));
    assert_eq!((text("address"), absent.get("later")), (Some(&*address), Some(&Value::Bool(true))));
    let total = &objects(&json, "total")[0];
    let number = |name: &str| total.get(name).and_then(Value::number);
    assert_eq!((number("hosts"), number("known"), number("absent")), (Some(1), Some(2), Some(1)));
    fleet.start(2, &[]);
    has(&fleet, 2, "a");
    fleet.wait_for_members();
    let err = fleet.msync(0, &["send", "-v", "a"]).well().err;
    assert!(err.contains(" to 2 hosts in ") && !err.contains("away"), "{err}");
}

#[test]
fn old_clients_hear_nothing_of_it() {
    let fleet = with_one_away("absent-old");
    tree::write(fleet.path(0, "a"), "1");
    let mut console = fleet.console(0);
    assert_eq!(console.ask("send a"), "");
    assert_eq!(console.ask("send -n a"), "");
    console.ask("progress total");
    let total = console.ask("send a");
    assert!(total.starts_with("total hosts=1 ") && total.lines().count() == 1, "{total}");
}

#[test]
fn who_is_named_and_away_is_an_error_and_gets_it_later() {
    let mut fleet = with_one_away("absent-named");
    tree::write(fleet.path(0, "only-h2"), "1");
    tree::write(fleet.path(0, "both"), "2");
    let later = "error: h2 is away: it gets this when it returns";
    fails(&fleet.msync(0, &["-t", "h2", "send", "only-h2"]), &[later]);
    // By its address, too; who is there gets it now.
    let address = fleet.ip(2).to_string();
    fails(&fleet.msync(0, &["send", "-t", &address, "-t", "h1", "both"]), &[later]);
    assert!(fleet.path(1, "both").exists() && !fleet.path(1, "only-h2").exists());
    let json = fleet.msync(0, &["--json", "-t", "h2", "-r"]);
    let [error] = &objects(&json, "error")[..] else { panic!("{json:?}") };
    assert_eq!(error.get("code").and_then(Value::text), Some("away"));
    assert_eq!(error.get("host").and_then(Value::text), Some("h2"));
    // A name that nobody knows is owed nothing, and neither is anybody beside it.
    tree::write(fleet.path(0, "typo"), "3");
    let unknown = "error: h9 is not contained in members";
    fails(&fleet.msync(0, &["-t", "h9", "send", "typo"]), &[unknown, "msync: the members are h1"]);
    let ran = fleet.msync(0, &["-t", "h2", "-t", "h9", "send", "typo"]);
    fails(&ran, &[unknown, "msync: the members are h1"]);
    let history = fleet.msync(0, &["history"]).ok().out;
    assert!(!history.contains("typo"), "{history}");
    fleet.start(2, &[]);
    has(&fleet, 2, "only-h2");
    has(&fleet, 2, "both");
    let idle = fleet.idle_host();
    fleet.start(idle, &[]);
    has(&fleet, idle, "before");
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(!fleet.path(idle, "both").exists() && !fleet.path(1, "only-h2").exists());
}

#[test]
fn what_changes_nothing_or_cannot_be_caught_up_is_owed_to_nobody_that_is_named() {
    let mut fleet = with_one_away("absent-nothing");
    tree::write(fleet.path(0, "a"), "1");
    let plain = "error: h2 is away";
    fails(&fleet.msync(0, &["check", "-t", "h2", "a"]), &[plain]);
    fails(&fleet.msync(0, &["send", "-n", "-t", "h2", "a"]), &[plain]);
    fs::remove_file(fleet.path(0, "before")).unwrap();
    fails(&fleet.msync(0, &["sync", "-n", "-t", "h2", "before"]), &[plain]);
    // What is below a path is not deleted later; a path that is gone is.
    let never = "error: h2 is away: it does not get this later";
    fails(&fleet.msync(0, &["dsync", "-r", "-t", "h2"]), &[never]);
    let later = "error: h2 is away: it gets this when it returns";
    fails(&fleet.msync(0, &["sync", "-t", "h2", "before"]), &[later]);
    fleet.start(2, &[]);
    eventually("it is deleted", || !fleet.path(2, "before").exists());
    assert!(fleet.path(1, "before").exists() && !fleet.path(2, "a").exists());
    // One that keeps nothing asks for nothing.
    fleet.stop(2);
    fleet.start(2, &["--no-catch-up"]);
    fleet.wait_for_members();
    fleet.stop(2);
    away(&fleet, 0, "h2");
    fails(&fleet.msync(0, &["send", "-t", "h2", "a"]), &[never]);
    let err = fleet.msync(0, &["send", "-v", "a"]).well().err;
    assert!(err.ends_with("away: h2: it does not get this later\n"), "{err}");
}

#[test]
fn all_or_so_many_can_be_required() {
    let mut fleet = with_one_away("require");
    tree::write(fleet.path(0, "d/a"), "1");
    let all = "error: 1 of 2 hosts have everything, all are required: missing h2 (away)";
    for args in [
        &["send", "-r"][..],
        &["send", "-rn"],
        &["sync", "d/a"],
        &["check", "-r"],
        &["dsync", "-r"],
    ] {
        let args = |require| [args, &["--require", require]].concat();
        fails(&fleet.msync(0, &args("all")), &[all]);
        fails(&fleet.msync(0, &args("2")), &[&all.replace("all are", "2 are")]);
        fleet.msync(0, &args("1")).ok();
    }
    assert!(fleet.path(1, "d/a").exists(), "who is there gets it all the same");
    let json = fleet.msync(0, &["send", "-r", "--json", "--require", "all"]);
    assert_eq!(objects(&json, "error")[0].get("code").and_then(Value::text), Some("required"));
    // Of those that are named, all are there.
    fleet.msync(0, &["send", "-r", "-t", "h1", "--require", "all"]).ok();
    let named = fleet.msync(0, &["send", "-r", "-t", "h1", "-t", "h2", "--require", "all"]);
    fails(&named, &["error: h2 is away: it gets this when it returns", all]);
    // Who is there, but has not everything, is missing, too.
    fleet.start(2, &[]);
    fleet.wait_for_members();
    eventually("all have it", || {
        fleet.msync(0, &["send", "-r", "--require", "all"]).code == Some(0)
    });
    fs::create_dir_all(fleet.path(2, "new/in-the-way")).unwrap();
    tree::write(fleet.path(0, "new"), "a file");
    let ran = fleet.msync(0, &["send", "new", "--require", "all"]);
    let why = "error: 1 of 2 hosts have everything, all are required: missing h2 (failed)";
    assert!(ran.code == Some(2) && ran.err.lines().last() == Some(why), "{ran:?}");
    let ran = fleet.msync(0, &["check", "-r", "--require", "all"]);
    assert!(ran.code == Some(2) && ran.err.contains(why), "{ran:?}");
    for bad in ["0", "some"] {
        assert_eq!(fleet.msync(0, &["send", "-r", "--require", bad]).code, Some(1));
    }
    let answer = fleet.console(0).ask("send --require some d/a");
    assert_eq!(answer, "error: --require needs all, or a number from 1 on\n");
}

#[test]
fn with_nobody_there_it_is_said_who_is_missing() {
    let mut fleet = with_one_away("require-alone");
    fleet.stop(1);
    away(&fleet, 0, "h1");
    tree::write(fleet.path(0, "a"), "1");
    let ran = fleet.msync(0, &["send", "a", "--require", "all"]);
    let why = "error: 0 of 2 hosts have everything, all are required: missing h1 (away), h2 (away)";
    fails(&ran, &[why, "msync: no members to send to: hosts that come later get it"]);
    // Known hosts are known after a start, until they are forgotten.
    fleet.stop(0);
    fleet.start(0, &[]);
    let ran = fleet.msync(0, &["check", "a", "--require", "1"]);
    assert!(ran.code == Some(2) && ran.err.starts_with(&why.replace("all are", "1 is")), "{ran:?}");
}
