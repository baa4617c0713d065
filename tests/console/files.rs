//! What `msync` says of deletion, comparison, patterns and scripts, to a new daemon and to an old
//! one, and what it makes of the answers.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::played::*;

const DONE: &str = "total hosts=2\n> ";

/// Runs a command with something on its standard input.
fn fed(command: &mut Command, input: &str) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Whoever does not read it is no failure of the test.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn deletion_comes_after_the_data_with_a_new_daemon_and_before_it_with_an_old_one() {
    let answer = "update web1:a\ndelete web1:b\ntotal hosts=2 files=1 deleted=1\n> ";
    let said = "update web1:a\ndelete web1:b\n";
    let new = new_daemon(1, &[("send -r --delete", answer)]);
    let summary = "1 file, 0 B to 2 hosts in 0.00 s; 1 deleted\n";
    assert_eq!(against(new, &["--delete", "-rv"]), ran(0, said, summary));
    let steps = [
        ("members", MEMBERS),
        ("dsync -r", "delete web1:b\r\n> "),
        ("send -r", "update web1:a\r\n> "),
    ];
    let old = old_daemon(1, &steps);
    assert_eq!(against(old, &["--delete", "-rv"]), ran(0, "delete web1:b\nupdate web1:a\n", ""));
    let steps = [
        ("status", STATUS),
        ("members", MEMBERS),
        ("dsync -t x -r -n d", "> "),
        ("send -t x -r -n -g www d", "> "),
        ("dsync -t y -r -n d", "> "),
        ("send -t y -r -n -g www d", "> "),
    ];
    let args = ["--delete", "--force", "-rn", "-g", "www", "-t", "x", "-t", "y", "d"];
    assert_eq!(against(old_daemon(0, &steps), &args), ran(0, "", ""));
    let steps = [("status", STATUS), ("send --delete d", DONE)];
    assert_eq!(against(new_daemon(0, &steps), &["--delete", "d"]), ran(0, "", ""));
}

#[test]
fn what_was_not_deleted_is_a_failure() {
    let answer = "delete error (Directory not empty) web1:d\n> ";
    let steps = [("members", MEMBERS), ("dsync -r", answer)];
    let err = "delete error (Directory not empty) web1:d\n";
    assert_eq!(against(old_daemon(0, &steps), &["dsync", "-r"]), ran(2, "", err));
    let answer = "delete web1:a\ntotal hosts=2 deleted=1 micros=1000000\n> ";
    let steps = [("dsync -r --force --max-delete 3", answer)];
    let args = ["dsync", "-rv", "--force", "--max-delete", "3"];
    let expected = ran(0, "delete web1:a\n", "1 deleted on 2 hosts in 1.00 s\n");
    assert_eq!(against(new_daemon(1, &steps), &args), expected);
}

#[test]
fn an_old_daemon_is_not_asked_for_what_it_cannot_do() {
    for (args, option) in [
        (&["-r", "--delete", "--max-delete", "1"][..], "--max-delete"),
        (&["-r", "-I"], "-I"),
        (&["-r", "--checksum"], "--checksum"),
        (&["-r", "--include", "a", "--exclude", "*"], "--include"),
    ] {
        let daemon = Daemon::script("> ", old_daemon(0, &[]));
        let target = daemon.target.clone();
        let done = finish(msync(&target).args(args));
        let err = format!("msync: the daemon at {target} is too old for {option}\n");
        assert_eq!(done, ran(1, "", &err));
        assert_eq!(daemon.told(), ["alive on", "loglevel 0", "progress total", "quit"]);
    }
}

#[test]
fn patterns_are_said_before_anything_is_sent() {
    let new = [
        ("exclude add *.tmp", "> "),
        ("include add \"a b\"", "> "),
        ("exclude add \"\\\\*\"", "> "),
        ("send -r", DONE),
    ];
    let args = ["-r", "--exclude=*.tmp", "--include", "a b", "--exclude", "\\*"];
    assert_eq!(against(new_daemon(0, &new), &args), ran(0, "", ""));
    let old = [
        ("exclude add *.tmp", "> "),
        (r"exclude add a\ b", "> "),
        ("members", MEMBERS),
        ("dsync -r", "> "),
        ("send -r", "> "),
    ];
    let args = ["-r", "--delete", "--exclude=*.tmp", "--exclude", "a b"];
    assert_eq!(against(old_daemon(0, &old), &args), ran(0, "", ""));
    // A pattern that is not heeded would have what it names sent, or deleted.
    for (answer, why) in [
        ("mexec: command error 'exclude'", "mexec: command error 'exclude'"),
        ("error: at most 256 patterns", "at most 256 patterns"),
        ("error: such a pattern x", "such a pattern"),
    ] {
        let daemon =
            Daemon::script("> ", new_daemon(0, &[("exclude add x", &format!("{answer}\n> "))]));
        let target = daemon.target.clone();
        let done = finish(msync(&target).args(["-r", "--exclude=x"]));
        let why = format!("rejects the pattern x: {why}\n");
        assert_eq!(done, ran(1, "", &format!("msync: the daemon at {target} {why}")));
        assert_eq!(daemon.told().last().map(String::as_str), Some("quit"));
    }
}

#[test]
fn patterns_come_from_files_and_standard_input() {
    let dir = Dir::new("patterns");
    let file = dir.0.join("list");
    fs::write(&file, "*.tmp\r\n\n\\ #x\\ \n").unwrap();
    let odd = ("exclude add \"\\\\ #x\\\\ \"", "> ");
    let steps = [("exclude add *.tmp", "> "), odd, ("check -r", DONE)];
    let from = format!("--exclude-from={}", file.display());
    assert_eq!(against(new_daemon(0, &steps), &["check", "-r", &from]), ran(0, "", ""));

    let daemon = Daemon::script("> ", new_daemon(0, &steps));
    let mut command = msync(&daemon.target.clone());
    let done = fed(command.args(["check", "-r", "--exclude-from=-"]), "*.tmp\n\\ #x\\ ");
    assert_eq!((done, daemon.told().len()), (ran(0, "", ""), 7));

    fs::write(&file, "a\nb\\\n").unwrap();
    let why = format!(
        "msync: --exclude-from {}: line 2: a pattern cannot end in a backslash\n",
        file.display()
    );
    assert_eq!(finish(msync("/nowhere").args(["-r", &from])), ran(1, "", &why));
    let missing = "msync: --exclude-from /nowhere/x: No such file or directory\n";
    let args = ["-r", "--exclude-from", "/nowhere/x"];
    assert_eq!(finish(msync("/nowhere").args(args)), ran(1, "", missing));
}

#[test]
fn a_check_that_finds_a_difference_is_no_success() {
    let answer = "web1: OK a\nweb1: NG b: NG\nweb2: extra c\nweb2: attr d\n\
                  web1: 1 OK, 1 NG, 0 extra, 0 attr, 0 errors\n\
                  total hosts=2 files=1 unchanged=1 failed=1\n> ";
    let said = answer.split("total").next().unwrap();
    let summary = "2 files compared on 2 hosts in 0.00 s; 1 differ; 1 host failed\n";
    let check = |level, args: &[&str]| against(new_daemon(level, &[("check -r", answer)]), args);
    assert_eq!(check(1, &["check", "-rv"]), ran(2, said, summary));
    assert_eq!(check(0, &["--check", "-r", "-q"]), ran(2, "web1: NG b: NG\n", ""));
    let steps = [("members", MEMBERS), ("check -r", "web1: NG b\r\n> ")];
    assert_eq!(against(old_daemon(0, &steps), &["md5", "-r"]), ran(2, "web1: NG b\n", ""));
    // Such a name is no difference, and what a send says is none either.
    let steps = [("check -r", "web1: OK a: NG b\ntotal hosts=1\n> ")];
    assert_eq!(against(new_daemon(1, &steps), &["check", "-r", "-l1", "--no-progress"]).status, 0);
    let steps = [("status", STATUS), ("send x", "web1: NG b\ntotal hosts=1\n> ")];
    assert_eq!(against(new_daemon(0, &steps), &["x"]).status, 0);
    let alone = ran(2, "", "msync: no members to compare with\n");
    assert_eq!(
        against(new_daemon(0, &[("check -r", "total hosts=0\n> ")]), &["check", "-r"]),
        alone
    );
}

#[test]
fn a_script_is_said_line_by_line() {
    let dir = Dir::new("script");
    let file = dir.0.join("script");
    let text = "# a comment\r\n\nexclude add *.tmp\r\nsend -r  a\ncheck -r a\nquit\nsend b\n";
    fs::write(&file, text).unwrap();
    let steps = [
        ("exclude add *.tmp", "> "),
        ("send -r  a", "update web1:a\ntotal hosts=1 files=1\n> "),
        ("check -r a", "web1: NG a\ntotal hosts=1\n> "),
    ];
    let said = "update web1:a\nweb1: NG a\n";
    let args = ["-f", file.to_str().unwrap(), "-l1", "--no-progress"];
    let done = against(new_daemon(1, &steps), &args);
    assert_eq!((done.status, done.out.as_str()), (2, said));

    for (answer, status) in [("Total: 0 members\n> ", 0), ("error: x\n> ", 2)] {
        let steps = [("help", "commands:\n> "), ("members", answer)];
        let daemon = Daemon::script("> ", old_daemon(0, &steps));
        let done = fed(msync(&daemon.target.clone()).args(["-f", "-"]), "help\nmembers");
        assert_eq!(done.status, status, "{done:?}");
        assert_eq!(daemon.told()[3..], ["help", "members", "quit"]);
    }
    let daemon = Daemon::script("> ", vec![("alive on".to_owned(), "> ".to_owned())]);
    let done = finish(msync(&daemon.target.clone()).args(["-f", "/nowhere/x"]));
    assert_eq!(done, ran(1, "", "msync: -f /nowhere/x: No such file or directory\n"));
    assert_eq!(daemon.told(), ["alive on", "quit"]);
}

/// How a new daemon answers a client that wants JSON.
pub fn reporting(steps: &[(&str, &str)]) -> Script {
    let mut script = new_daemon(0, &[&[("report on", "> ")], steps].concat());
    script[1].1 = "> ".to_owned();
    script
}

#[test]
fn json_has_a_line_for_each_host_and_one_for_all() {
    let host = |name: &str, end: &str| {
        format!("{{\"type\":\"host\",\"name\":\"{name}\",\"address\":\"10.0.0.1\",{end}}}\n")
    };
    let counts = |status: &str, files: u64| {
        format!(
            "\"status\":\"{status}\",\"files\":{files},\"bytes\":0,\"unchanged\":0,\
             \"deleted\":0,\"errors\":[],\"more_errors\":0"
        )
    };
    let answer = format!(
        "update a:x\nhost {}host {}total hosts=2 files=1 failed=1\n> ",
        host("b", &counts("timeout", 0)),
        host("a", &counts("ok", 1)),
    );
    let total = |hosts: u64, failed: u64, files: u64| {
        format!(
            "{{\"type\":\"total\",\"hosts\":{hosts},\"failed\":{failed},\"files\":{files},\
             \"bytes\":0,\"unchanged\":0,\"deleted\":0,\"errors\":0,\"wire\":0,\"micros\":0,\
             \"recorded\":false}}\n"
        )
    };
    let (a, b) = (host("a", &counts("ok", 1)), host("b", &counts("timeout", 0)));
    let expected = ran(2, &format!("{a}{b}{}", total(2, 1, 1)), "");
    assert_eq!(against(reporting(&[("send -r", &answer)]), &["-r", "--json"]), expected);

    // Two transfers are still one line for each host.
    let (one, two) = (answer.clone(), answer.replace("timeout", "ok").replace("failed=1", ""));
    let steps = [("status", STATUS), ("send a", one.as_str()), ("send b", &two)];
    let out = format!("{}{b}{}", host("a", &counts("ok", 2)), total(2, 1, 2));
    assert_eq!(against(reporting(&steps), &["a", "b", "--json"]), ran(2, &out, ""));

    // An old daemon's lines are all there is to tell by.
    let lines = "update web1:a\r\nskip   web1:b\r\nerror: Permission denied web1:c\r\n> ";
    let steps = [("loglevel 2", "> "), ("members", MEMBERS), ("send -r", lines)];
    let done = against(old_daemon(0, &steps), &["-r", "--json"]);
    let told = host(
        "web1",
        "\"status\":\"failed\",\"files\":1,\"bytes\":0,\"unchanged\":1,\"deleted\":0,\
         \"errors\":[{\"path\":\"c\",\"error\":\"Permission denied\",\"host\":\"web1\",\
         \"code\":\"EACCES\"}],\"more_errors\":0",
    );
    let sum = total(1, 1, 1).replace("\"unchanged\":0", "\"unchanged\":1");
    let sum = sum.replace("\"errors\":0", "\"errors\":1");
    assert_eq!(done, ran(2, &format!("{told}{sum}"), "error: Permission denied web1:c\n"));
}

#[test]
fn lists_in_json_and_in_full() {
    let start = [("alive on", "> "), ("progress total", "> ")];
    let unknown = "mexec: command error 'progress'\n> ";
    let old_start = [("alive on", "> "), ("progress total", unknown)];
    let steps = |start: &[(&str, &str)], line: &str, answer: &str| {
        let mut steps = script(start);
        steps.push((line.to_owned(), answer.to_owned()));
        steps
    };
    let new = |line: &str, answer: &str| steps(&start, line, answer);
    let old = |line: &str, answer: &str| steps(&old_start, line, answer);
    let json = "{\"members\":[]}\n";
    let answer = format!("{json}> ");
    assert_eq!(against(new("members json", &answer), &["members", "--json"]), ran(0, json, ""));
    assert_eq!(against(new("status json", "{}\n> "), &["status", "--json"]), ran(0, "{}\n", ""));
    let row = "web1 10.0.0.1 (Ver2.0.0) rtt 1 ms\nTotal: 1 members\n";
    let answer = format!("{row}> ");
    assert_eq!(against(new("members -v", &answer), &["members", "-v"]), ran(0, row, ""));
    let table = "web1 10.0.0.1 (Ver1.3.6)\nTotal: 1 members\n";
    assert_eq!(against(old("members", MEMBERS), &["members", "-v"]), ran(0, table, ""));
    let json =
        "{\"members\":[{\"name\":\"web1\",\"address\":\"10.0.0.1\",\"version\":\"1.3.6\"}]}\n";
    assert_eq!(against(old("members", MEMBERS), &["--members", "--json"]), ran(0, json, ""));
    let json =
        "{\"process\":1,\"version\":\"1.3.6\",\"basedir\":\"/nowhere/base/\",\"mfalloc\":0}\n";
    assert_eq!(against(old("status", STATUS), &["--status", "--json"]), ran(0, json, ""));
}
