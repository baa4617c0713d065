//! Errors as programs read them from the client of a running daemon: each has an object with a code.

use makuosan::console::json::Value;

use crate::common::{Fleet, tree};

/// What a client says in JSON: the objects of one type.
fn objects(out: &str, kind: &str) -> Vec<Value> {
    let values = out.lines().map(|line| Value::parse(line).unwrap_or_else(|| panic!("{line}")));
    let is = |value: &Value| value.get("type").and_then(Value::text) == Some(kind);
    values.filter(is).collect()
}

/// An error's host, path and code.
fn told(error: &Value) -> [String; 3] {
    assert!(error.get("error").and_then(Value::text).is_some_and(|words| !words.is_empty()));
    ["host", "path", "code"].map(|name| error.get(name).unwrap().text().unwrap().to_owned())
}

#[track_caller]
fn assert_errors(fleet: &Fleet, args: &[&str], want: &[[&str; 3]]) {
    let ran = fleet.msync(0, &[&["--json"], args].concat());
    let errors: Vec<[String; 3]> = objects(&ran.out, "error").iter().map(told).collect();
    assert_eq!(errors, want, "{ran:?}");
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(objects(&ran.out, "total").len(), 1, "{ran:?}");
    assert_eq!(ran.err.lines().count(), want.len(), "{ran:?}");
}

#[test]
fn every_error_of_the_sending_side_has_a_code() {
    let fleet = Fleet::new("codes", 2);
    assert_errors(&fleet, &["missing"], &[["", "missing", "ENOENT"]]);
    assert_errors(&fleet, &["-t", "nobody", "-r"], &[["nobody", "", "unknown_host"]]);
    let both = [["x1", "", "unknown_host"], ["x2", "", "unknown_host"]];
    assert_errors(&fleet, &["-t", "x1", "-t", "x2", "-r"], &both);
    assert_errors(&fleet, &["-g", "no-such-group", "-r"], &[["", "", "unknown_group"]]);
    tree::write(fleet.path(1, "old"), "x");
    assert_errors(&fleet, &["send", "-r", "--delete"], &[["", ".", "empty_source"]]);
    assert!(fleet.path(1, "old").exists());
    // On the console the lines are the same for everybody, and who wants that gets the object too.
    let mut console = fleet.console(0);
    let plain = console.ask("send missing");
    assert_eq!(plain, "error: No such file or directory missing\n");
    assert_eq!(console.ask("report on"), "");
    let answer = console.ask("send missing");
    let lines: Vec<&str> = answer.lines().collect();
    assert_eq!(lines[0], plain.trim_end());
    let object = lines[1].strip_prefix("error ").and_then(Value::parse).unwrap();
    assert_eq!(told(&object), ["", "missing", "ENOENT"]);
    let answer = console.ask("nonsense");
    assert!(answer.starts_with("mexec: command error 'nonsense'\nerror {"), "{answer}");
    assert!(answer.contains("\"code\":\"unknown_command\""), "{answer}");
}

#[test]
fn every_error_of_a_host_has_a_code_in_its_object() {
    let fleet = Fleet::new("codes-host", 2);
    tree::write(fleet.path(0, "dir/f"), "x");
    tree::write(fleet.path(1, "f/in"), "in the way");
    tree::write(fleet.path(0, "f"), "x");
    for at in 0..5 {
        tree::write(fleet.path(1, format!("old{at}")), "x");
    }
    let host = |ran: &str| {
        assert_eq!(objects(ran, "error").len(), 0, "{ran}");
        let hosts = objects(ran, "host");
        assert_eq!(hosts.len(), 1, "{ran}");
        hosts[0].get("errors").unwrap().list().iter().map(told).collect::<Vec<_>>()
    };
    let ran = fleet.msync(0, &["--json", "send", "-r"]);
    assert_eq!(host(&ran.out), [["h1", "f", "directory_in_place"]], "{ran:?}");
    std::fs::remove_dir_all(fleet.path(1, "f")).unwrap();
    let ran = fleet.msync(0, &["--json", "send", "-r", "--delete", "--max-delete", "3"]);
    assert_eq!(host(&ran.out), [["h1", ".", "too_much_to_delete"]], "{ran:?}");
    assert!(ran.err.contains("5 entries would be deleted on h1, over the limit of 3"), "{ran:?}");
    assert_eq!(ran.code, Some(2));
}

#[test]
fn a_daemon_that_is_alone_says_so_in_json() {
    let fleet = Fleet::new("codes-alone", 1);
    tree::write(fleet.path(0, "f"), "x");
    assert_errors(&fleet, &["send", "-r"], &[["", "", "no_members"]]);
    assert_errors(&fleet, &["check", "-r"], &[["", "", "no_members"]]);
}
