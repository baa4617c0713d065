//! What a daemon does about the limits it was started with, and about signals that would end it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::common::process::{self, MAKUOSAN, command, is_alive};
use crate::common::{Fleet, LONG, eventually, is_root, skip, tree};

/// A command that ends with the daemon's program, with a limit as the shell sets it.
fn under(limit: &str) -> Command {
    let mut shell = command("sh");
    shell.args(["-c", &format!("ulimit {limit}; exec \"$@\""), "sh", MAKUOSAN]);
    shell
}

#[test]
fn a_file_above_the_limit_of_size_fails_alone_and_the_daemon_goes_on() {
    let mut fleet = Fleet::idle("limit-size", 3);
    fleet.start(0, &[]);
    // In units of 512 or of 1,024 bytes.
    fleet.start_by(under("-f 200"), 1, &[]);
    fleet.start(2, &[]);
    fleet.wait_for_members();
    tree::write(fleet.path(0, "large"), vec![7; 1_000_000]);
    for n in 0..50 {
        tree::write(fleet.path(0, format!("small{n}")), "small");
    }
    for round in ["first", "second"] {
        let sent = fleet.msync(0, &["send", "-r"]);
        assert_eq!(sent.code, Some(2), "{round}: {sent:?}");
        assert_eq!(sent.errors(), ["error: File too large h1:large"], "{round}: {sent:?}");
    }
    assert!((0..50).all(|n| fleet.path(1, format!("small{n}")).exists()));
    assert!(!fleet.path(1, "large").exists() && fleet.path(2, "large").exists());
    assert_eq!(fleet.members(1), ["h0", "h2"]);
    fleet.wait_until_clean(LONG);
}

#[test]
fn signals_that_something_sends_by_mistake_do_not_end_a_daemon() {
    let mut fleet = Fleet::new("limit-signals", 2);
    let names = ["PIPE", "XFSZ", "ALRM", "VTALRM", "PROF", "IO", "PWR", "16", "34", "50", "64"];
    for name in names {
        fleet.daemon(1).signal(name);
    }
    tree::write(fleet.path(0, "f"), "after all of them");
    fleet.msync(0, &["send", "-r"]).ok();
    assert!(fleet.path(1, "f").exists());
}

#[test]
fn a_daemon_that_is_told_to_quit_or_has_used_up_its_time_cleans_up() {
    for (name, said) in [("QUIT", "stopping"), ("XCPU", "the limit of CPU time (ulimit -t)")] {
        let mut fleet = Fleet::idle("limit-quit", 1);
        let (pidfile, socket) = (fleet.dir().join("pid"), fleet.dir().join("socket"));
        let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        fleet.start(0, &["--pidfile", &text(&pidfile), "-U", &text(&socket)]);
        eventually("the pid file", || pidfile.exists());
        fleet.daemon(0).signal(name);
        let status = fleet.daemon(0).wait(LONG);
        assert_eq!(status.code(), Some(0), "{name}");
        assert!(!pidfile.exists() && !socket.exists(), "{name}");
        assert!(fleet.daemon(0).log().contains(said), "{name}");
    }
}

#[test]
fn limits_that_are_too_low_are_warned_of() {
    let fleet = Fleet::idle("limit-warnings", 1);
    let checked = |limit: &str, user: &[&str]| {
        let mut check = under(limit);
        check.args(["--check-config", "-b", "/srv", "-i", "127.0.0.5"]).args(user);
        let text = process::run(&mut check).ok().out;
        let lines = text.lines().filter(|line| line.contains("warning"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let space = checked("-v 100000", &[]);
    assert_eq!(space.len(), 1, "{space:?}");
    assert!(space[0].contains("97 MiB of address space (ulimit -v)"), "{space:?}");
    assert_eq!(checked("-v 1000000", &[]), [""; 0]);
    drop(fleet);
    if is_root() {
        return skip("a limit of files", "root raises it");
    }
    let files = checked("-n 40", &[]);
    assert!(files.len() == 1 && files[0].contains("40 files"), "{files:?}");
}

/// The children of a process, with those that have ended and that nobody has waited for.
fn children(pid: &str) -> Vec<String> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    children.unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect()
}

#[test]
fn as_the_first_process_of_a_container_it_stays_and_no_zombies_do() {
    if !is_root() {
        return skip("a daemon as process 1", "only root makes PID namespaces");
    }
    let options = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    let possible = Command::new("unshare").args(options).arg("true").status();
    if !possible.is_ok_and(|status| status.success()) {
        return skip("a daemon as process 1", "no PID namespaces by unshare");
    }
    let fleet = Fleet::idle("limit-first", 1);
    // Without -n.
    let mut unshare = command("unshare");
    unshare.args(options).arg(MAKUOSAN).args(fleet.options(0));
    let daemon = process::Daemon::start(&mut unshare);
    daemon.wait_for_log("this is process 1, with which its container ends");
    let inner = children(&daemon.pid().to_string()).remove(0);
    assert!(is_alive(inner.parse().unwrap()));
    // A process in its namespace that loses its parent while it runs, as those of a shell in a container.
    let mut enter = command("nsenter");
    enter.args(["-t", &inner, "-p", "sh", "-c", "sleep 1 >/dev/null 2>&1 & echo"]);
    process::run(&mut enter).ok();
    eventually("the orphan", || !children(&inner).is_empty());
    eventually("the end of the orphan", || children(&inner).is_empty());
    let answer = crate::common::console::Console::open(fleet.address(0)).ask("status");
    assert!(!answer.is_empty());
    // A signal to it ends it, and the container with it.
    process::signal(inner.parse().unwrap(), "TERM");
    let mut daemon = daemon;
    assert_eq!(daemon.wait(Duration::from_secs(20)).code(), Some(0));
}
