//! Errors as programs read them: an object for each, with a code that never changes.

use std::io::{BufRead, BufReader, Write};

use super::files::reporting;
use super::played::*;

/// The line of JSON of an error.
fn object(host: &str, path: &str, error: &str, code: &str) -> String {
    format!(
        "{{\"type\":\"error\",\"path\":\"{path}\",\"error\":\"{error}\",\"host\":\"{host}\",\
         \"code\":\"{code}\"}}\n"
    )
}

fn total(hosts: u64, failed: u64, errors: u64) -> String {
    format!(
        "{{\"type\":\"total\",\"hosts\":{hosts},\"failed\":{failed},\"files\":0,\"bytes\":0,\
         \"unchanged\":0,\"deleted\":0,\"errors\":{errors},\"wire\":0,\"micros\":0,\"recorded\":false}}\n"
    )
}

#[test]
fn errors_of_the_sending_side_are_objects_of_their_own() {
    let line = "error: No such file or directory x";
    let missing = object("", "x", "No such file or directory", "ENOENT");
    // With the object of a daemon that says one, and without.
    for said in [format!("error {missing}"), String::new()] {
        let answer = format!("{line}\n{said}total hosts=2 errors=1\n> ");
        let steps = [("status", STATUS), ("send x", answer.as_str())];
        let expected = ran(2, &format!("{missing}{}", total(2, 0, 1)), &format!("{line}\n"));
        assert_eq!(against(reporting(&steps), &["x", "--json"]), expected);
    }
    // What the daemon says counts, also if it is from the future.
    let odd = object("", "", "the words", "new_code");
    let answer =
        format!("error: No such file or directory x\nerror {odd}total hosts=1 errors=1\n> ");
    let done = against(reporting(&[("send -r", &answer)]), &["-r", "--json"]);
    assert_eq!(done.out, format!("{odd}{}", total(1, 0, 1)));

    let line = "error: x is not contained in members";
    let unknown = object("x", "", "x is not contained in members", "unknown_host");
    let answer = format!("{line}\nerror {unknown}total hosts=1 failed=1 errors=1\n> ");
    let steps = [("send -t x -r", answer.as_str())];
    let expected = ran(2, &format!("{unknown}{}", total(1, 1, 1)), &format!("{line}\n"));
    assert_eq!(against(reporting(&steps), &["-r", "-t", "x", "--json"]), expected);
}

#[test]
fn errors_of_a_host_are_in_its_object_alone() {
    let error = "\"path\":\"f\",\"error\":\"Permission denied\",\"host\":\"a\",\"code\":\"EACCES\"";
    let host = format!(
        "{{\"type\":\"host\",\"name\":\"a\",\"address\":\"10.0.0.1\",\"status\":\"failed\",\"files\":0,\
         \"bytes\":0,\"unchanged\":0,\"deleted\":0,\"errors\":[{{{error}}}],\"more_errors\":0}}\n"
    );
    let line = "error: Permission denied a:f";
    let said = format!("error {{\"type\":\"error\",{error}}}\n");
    // A daemon of 2.0 says neither objects of errors nor codes.
    let before = host.replace(",\"host\":\"a\",\"code\":\"EACCES\"", "");
    for (said, host_line) in [(&said, &host), (&String::new(), &before)] {
        let answer = format!("{line}\n{said}host {host_line}total hosts=1 failed=1 errors=1\n> ");
        let done = against(reporting(&[("send -r", &answer)]), &["-r", "--json"]);
        assert_eq!(done, ran(2, &format!("{host}{}", total(1, 1, 1)), &format!("{line}\n")));
    }
}

#[test]
fn an_old_daemons_errors_are_read_by_their_words() {
    let said = "error: No such file or directory x\r\nweb9 is not contained in members\r\n> ";
    let steps = [("loglevel 2", "> "), ("status", STATUS), ("members", MEMBERS), ("send x", said)];
    let done = against(old_daemon(0, &steps), &["x", "--json"]);
    let errors = object("", "x", "No such file or directory", "ENOENT")
        + &object("web9", "", "web9 is not contained in members", "unknown_host");
    assert!(done.out.starts_with(&errors), "{done:?}");
    assert_eq!((done.status, done.out.lines().count()), (2, 4), "{done:?}");
}

#[test]
fn nobody_there_is_an_error_too() {
    let answer = "total hosts=0\n> ";
    let why = "no members to send to";
    let out = object("", "", why, "no_members") + &total(0, 0, 0);
    let done = against(reporting(&[("send -r", answer)]), &["-r", "--json"]);
    assert_eq!(done, ran(2, &out, &format!("msync: {why}\n")));
    let done = against(reporting(&[("check -r", answer)]), &["check", "-r", "--json"]);
    assert!(done.out.starts_with(&object("", "", "no members to compare with", "no_members")));
}

#[test]
fn what_ends_the_client_is_an_object_on_standard_output() {
    let fails = |target: &str, args: &[&str]| finish(msync(target).arg("--json").args(args));
    let alone = |done: Ran, path: &str, error: &str, code: &str| {
        let out = object("", path, error, code);
        assert_eq!(done, ran(1, &out, &format!("msync: {error}\n")));
    };
    alone(fails("", &["send", "--nope"]), "", "--nope: no such option", "usage");
    let why = "send: a PATH is missing (the whole base directory is -r)";
    alone(fails("", &["send"]), "", why, "usage");
    alone(
        fails("unix:/nowhere/socket", &["members"]),
        "",
        "cannot reach the daemon at unix:/nowhere/socket: No such file or directory: is makuosan running?",
        "ENOENT",
    );
    let why = "-K /nowhere/password: No such file or directory";
    alone(fails("", &["-K", "/nowhere/password", "-r"]), "", why, "ENOENT");
    // Without --json there is nothing on standard output.
    let done = finish(msync("unix:/nowhere/socket").arg("members"));
    assert_eq!((done.status, done.out.as_str()), (1, ""));

    let steps = [("status", STATUS)];
    let done = against(reporting(&steps), &["--json", "../x"]);
    assert_eq!(done.status, 1);
    assert!(
        done.out.contains("\"path\":\"../x\"") && done.out.contains("\"code\":\"invalid_path\"")
    );
    let done = against(reporting(&steps), &["--json", "."]);
    assert!(done.out.contains("\"path\":\".\"") && done.out.contains("\"code\":\"invalid_path\""));
}

#[test]
fn a_daemon_that_refuses_or_goes_away_is_an_error_with_what_is_known() {
    let refused = Daemon::tcp(|mut stream| {
        stream.write_all(b"error: too many clients\n").unwrap();
        vec![]
    });
    let done = finish(msync(&refused.target.clone()).args(["--json", "-r"]));
    let why = format!("the daemon at {} refused", refused.target);
    let err = format!("error: too many clients\nmsync: {why}\n");
    assert_eq!(done, ran(1, &object("", "", &why, "refused"), &err));

    // It goes in the middle of an answer.
    let denied = object("", "y", "Permission denied", "EACCES");
    let said = denied.clone();
    let daemon = Daemon::tcp(move |stream| {
        let mut stream = BufReader::new(stream);
        loop {
            stream.get_mut().write_all(b"> ").unwrap();
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            if line == "send -r\n" {
                let last = format!("error: Permission denied y\nerror {said}");
                stream.get_mut().write_all(last.as_bytes()).unwrap();
                return vec![];
            }
        }
    });
    let done = finish(msync(&daemon.target.clone()).args(["--json", "-r"]));
    let why = format!("lost the daemon at {}: it closed the connection", daemon.target);
    let err = format!("error: Permission denied y\nmsync: {why}\n");
    assert_eq!(done, ran(1, &(denied + &object("", "", &why, "lost")), &err));
}
