//! What the programs say when somebody has mistyped something, or something is not there.

use std::io::Write;
use std::process::Stdio;

use crate::common::process::{MAKUOSAN, Ran, command, run};
use crate::common::{Fleet, tree};

/// Runs `msync` with this on its standard input.
pub fn fed(fleet: &Fleet, at: usize, args: &[&str], input: &str) -> Ran {
    let mut command = fleet.msync_command(at, args);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: out.status.code(), out: text(out.stdout), err: text(out.stderr) }
}

#[test]
fn a_mistyped_command_is_not_taken_for_a_file() {
    let fleet = Fleet::new("messages-commands", 2);
    tree::write(fleet.path(0, "d/f"), "x");
    for (typed, meant) in [
        ("sned", "send"),
        ("snyc", "sync"),
        ("chekc", "check"),
        ("member", "members"),
        ("statsu", "status"),
        ("help", "--help"),
        ("version", "--version"),
    ] {
        for rest in [&[][..], &["-r", "d"]] {
            let ran = fleet.msync(0, &[&[typed], rest].concat());
            let words = format!(
                "msync: {typed}: no such command, and no such file, did you mean {meant}?\n"
            );
            assert_eq!((ran.code, ran.err), (Some(1), words));
        }
    }
    assert!(!fleet.path(1, "d").exists(), "what was named besides was sent");
    let ran = fleet.msync(0, &["--json", "sned"]);
    assert!(ran.out.contains("\"code\":\"usage\""), "{ran:?}");
    // A file of such a name is a file, and so is what is said to be one.
    tree::write(fleet.path(0, "member"), "x");
    fleet.msync(0, &["member"]).ok();
    assert!(fleet.path(1, "member").exists());
    for args in [&["--", "sned"][..], &["send", "sned"], &["./sned"], &["htdocs"]] {
        let ran = fleet.msync(0, args);
        let name = args.last().unwrap().trim_start_matches("./");
        let words = format!("error: No such file or directory {name}\n");
        assert_eq!((ran.code, ran.err), (Some(2), words), "{args:?}");
    }
}

#[test]
fn a_mistyped_option_is_answered_with_what_may_be_meant() {
    let fleet = Fleet::idle("messages-options", 1);
    for (typed, why) in [
        ("--recursvie", "--recursvie: no such option, did you mean --recursive?"),
        ("--delte", "--delte: no such option, did you mean --delete?"),
        ("-delete", "-d: no such option, did you mean --delete?"),
        ("--xyz", "--xyz: no such option"),
        ("-Z", "-Z: no such option"),
    ] {
        let ran = fleet.msync(0, &[typed, "d"]);
        assert_eq!((ran.code, ran.err), (Some(1), format!("msync: {why}\n")));
        let ran = fleet.msync(0, &["--json", typed, "d"]);
        assert!(ran.out.contains(&format!("\"error\":\"{why}\"")), "{ran:?}");
    }
    for (typed, why) in [
        ("--bsae", "--bsae: no such option, did you mean --base?"),
        ("--readnoly", "--readnoly: no such option, did you mean --readonly?"),
    ] {
        let ran = run(command(MAKUOSAN).args(["-b", "/tmp", typed]));
        assert_eq!((ran.code, ran.err), (Some(1), format!("makuosan: {why}\n")));
    }
}

#[test]
fn a_script_is_named_with_the_line_that_is_wrong() {
    let fleet = Fleet::new("messages-script", 2);
    tree::write(fleet.path(0, "f"), "x");
    let script = fleet.dir().join("script");
    tree::write(&script, "# first\n\nsned f\nsend f\nxyzzy\n");
    let name = script.to_str().unwrap();
    let ran = fleet.msync(0, &["-f", name]);
    let words = format!(
        "msync: -f {name}: line 3: no such command: sned, did you mean send?\n\
         msync: -f {name}: line 5: no such command: xyzzy\n"
    );
    assert_eq!((ran.code, ran.err), (Some(2), words));
    assert!(fleet.path(1, "f").exists());
    let ran = fed(&fleet, 0, &["-f", "-"], "members\nexclude add [a\nsend f\n");
    assert_eq!(ran.code, Some(1));
    let last = ran.err.lines().last().unwrap();
    assert_eq!(last, "msync: -f -: line 2: stopped at a pattern that was refused");
    // On the console the words are those of old, to the letter.
    let mut console = fleet.console(0);
    assert_eq!(console.ask("echo"), "\n");
    assert_eq!(console.ask("sned f"), "mexec: command error 'sned'\n");
}

#[test]
fn an_unknown_host_is_answered_with_those_that_there_are() {
    let fleet = Fleet::new("messages-hosts", 3);
    tree::write(fleet.path(0, "f"), "x");
    for args in [&["-t", "web", "-t", "h9", "f"][..], &["check", "-t", "web", "-t", "h9", "f"]] {
        let ran = fleet.msync(0, args);
        let lines: Vec<&str> = ran.err.lines().collect();
        let (last, errors) = lines.split_last().unwrap();
        assert_eq!(*last, "msync: the members are h1, h2", "{ran:?}");
        let words = ["web", "h9"].map(|name| format!("error: {name} is not contained in members"));
        assert_eq!(errors, words, "{ran:?}");
        assert_eq!(ran.code, Some(2));
    }
    let ran = fleet.msync(0, &["--json", "-t", "web", "f"]);
    assert_eq!(ran.err, "error: web is not contained in members\n");
}

#[test]
fn nothing_is_told_twice_and_no_number_of_an_error_is_shown() {
    let mut fleet = Fleet::idle("messages-twice", 1);
    let base = fleet.base(0).to_str().unwrap().to_owned();
    let file = fleet.dir().join("file");
    tree::write(&file, "x");
    let below = file.join("x").to_str().unwrap().to_owned();
    for args in [
        &["-u", "no-such-user"][..],
        &["-g", "no-such-group"],
        &["-G", "root,no-such-group"],
        &["-U", &base],
        &["-U", &below],
        &["-k", &base],
        &["-k", "/nonexistent"],
        &["-K", &base],
        &["--pidfile", &base],
        &["--pidfile", &below],
        &["-b", &below],
        &["-l", "192.0.2.1"],
        &["--genkey", &below],
        &["--genkey", &base],
    ] {
        for check in [&["--check-config"][..], &[]] {
            let mut daemon = command(MAKUOSAN);
            let port = fleet.address(0).port().to_string();
            daemon.args(["-n", "-p", &port, "-i", &fleet.ip(0).to_string(), "-b", &base]);
            let ran = run(daemon.args(args).args(check));
            // What is only known once it is tried is not checked.
            if ran.code == Some(0) && !check.is_empty() {
                continue;
            }
            let said = format!("{}{}", ran.err, ran.out);
            assert_eq!(ran.code, Some(1), "{args:?} {ran:?}");
            assert!(!said.contains("os error"), "{args:?} {ran:?}");
            let words = said.lines().last().unwrap();
            let name = args[1].split(',').next_back().unwrap();
            assert_eq!(words.matches(name).count(), 1, "{args:?} {ran:?}");
        }
    }
    fleet.start(0, &[]);
    let ran = fleet.msync(0, &["-r", "--exclude", "a", "--exclude-from", "/nonexistent"]);
    assert_eq!(ran.err, "msync: --exclude-from /nonexistent: No such file or directory\n");
}
