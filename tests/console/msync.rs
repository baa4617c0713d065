//! `msync` against daemons that are played: an old one and a new one, byte for byte over TCP and
//! over a Unix socket.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use crate::played::*;

#[test]
fn a_tree_to_everybody_in_both_spellings() {
    for args in [&["send", "-r"][..], &["-r"], &["-r", "send"], &["-r", ""]] {
        let mut steps = vec![("send -r", "total hosts=3 files=2 bytes=10 micros=5\n> ")];
        if args == ["-r", ""] {
            steps.insert(0, ("status", STATUS));
        }
        assert_eq!(against(new_daemon(0, &steps), args), ran(0, "", ""));
    }
}

#[test]
fn lines_go_out_and_errors_go_to_standard_error() {
    let answer = "update web1:a\nalive\nerror: Permission denied web2:a\nskip   web3:a\n\
                  total hosts=3 failed=1 files=1 bytes=2000 unchanged=0 errors=1 micros=1000000\n> ";
    let steps = [("status", STATUS), ("send a", answer)];
    let err = "error: Permission denied web2:a\n\
               1 file, 2.00 kB to 3 hosts in 1.00 s (2.00 kB/s); 1 host failed; 1 error\n";
    let expected = ran(2, "update web1:a\nskip   web3:a\n", err);
    assert_eq!(against(new_daemon(2, &steps), &["-vv", "a"]), expected);
    let err = "error: Permission denied web2:a\n";
    assert_eq!(against(new_daemon(0, &steps), &["-qv", "a"]), ran(2, "", err));
}

#[test]
fn many_hosts_many_paths_and_a_dry_run() {
    let total = "total hosts=2 files=1 bytes=100 unchanged=1 micros=500000\n> ";
    let first = format!("(dryrun) [update:a]\n{total}");
    let steps = [
        ("status", STATUS),
        ("send -t x -t y -r -n a", first.as_str()),
        ("send -t x -t y -r -n \"b c\"", total),
        ("send -t x -t y -r -n -- \"-d\"", total),
    ];
    let args = ["-t", "x", "send", "-n", "-t", "y", "-r", "--progress", "--", "a", "b c", "-d"];
    let mut script = new_daemon(0, &steps);
    script[2].0 = "progress on".to_owned();
    script.insert(3, ("report absent".to_owned(), "> ".to_owned()));
    let err = "(dryrun) 3 files, 300 B to 2 hosts in 1.50 s (200 B/s); 3 unchanged\n";
    assert_eq!(against(script, &args), ran(0, "(dryrun) [update:a]\n", err));
}

#[test]
fn progress_is_drawn_where_wished() {
    let answer = "progress 500 1000 1 2 3 100\nupdate x:a\n\
                  total hosts=3 files=2 bytes=1000 micros=10000000\n> ";
    let mut script = new_daemon(1, &[("send -r", answer)]);
    script[2].0 = "progress on".to_owned();
    let drawn = " 50%  500 B/1.00 kB  1/2 files  100 B/s  0:05 left  3 hosts";
    let total = "2 files, 1.00 kB to 3 hosts in 10.0 s (100 B/s)";
    let err = format!("\r{drawn}\x1b[K\r\x1b[K{total}\n");
    assert_eq!(against(script, &["-rv", "--progress"]), ran(0, "update x:a\n", &err));
}

#[test]
fn nobody_to_send_to_is_no_success() {
    let alone = ran(2, "", "msync: no members to send to\n");
    let steps = [("send -r", "total hosts=0 failed=0 errors=0\n> ")];
    assert_eq!(against(new_daemon(0, &steps), &["-r"]), alone);
    let steps = [("members", "Total: 0 members\r\n> ")];
    assert_eq!(against(old_daemon(0, &steps), &["-r"]), alone);
    // Where an error has said more, that is enough.
    let answer = "error: y is not contained in members\ntotal hosts=0\n> ";
    let said = "error: y is not contained in members\nmsync: the members are web1\n";
    let steps = [("send -t y -r", answer), ("members", MEMBERS)];
    assert_eq!(against(new_daemon(0, &steps), &["-rt", "y"]), ran(2, "", said));
}

#[test]
fn failures_that_only_the_total_tells_count() {
    for total in ["total hosts=2 failed=1\n> ", "total hosts=2 errors=101\n> "] {
        assert_eq!(against(new_daemon(0, &[("send -r", total)]), &["-r"]).status, 2);
    }
}

#[test]
fn an_old_daemon_is_served_as_far_as_it_goes() {
    let answer = "update web1:a b\r\nalive\r\nprogress 1 2 3 4 5 6\r\n> ";
    let steps = [("status", STATUS), ("members", MEMBERS), (r"send -r a\ b", answer)];
    // To an old daemon a line like that can only be output.
    let expected = ran(0, "update web1:a b\nprogress 1 2 3 4 5 6\n", "");
    assert_eq!(against(old_daemon(1, &steps), &["-rv", "a b"]), expected);

    let missing = "error: No such file or directory x\r\n> ";
    let steps = [("status", STATUS), ("members", MEMBERS), ("send x", missing)];
    let expected = ran(2, "", "error: No such file or directory x\n");
    assert_eq!(against(old_daemon(0, &steps), &["x"]), expected);

    // One host at a time, and its words for one that it does not know are an error.
    let steps = [
        ("members", MEMBERS),
        ("send -t web1 -r", "> "),
        ("send -t web9 -r", "web9 is not contained in members\r\n> "),
    ];
    let expected = ran(2, "", "web9 is not contained in members\n");
    assert_eq!(against(old_daemon(0, &steps), &["-r", "-t", "web1", "-t", "web9"]), expected);

    let steps = [("status", STATUS)];
    let expected = "msync: a\\012: this daemon is too old for such a name\n";
    assert_eq!(against(old_daemon(0, &steps), &["a\n"]), ran(1, "", expected));
}

#[test]
fn a_daemon_without_alive_is_served_too() {
    let mut script = old_daemon(0, &[("members", MEMBERS), ("send -r", "> ")]);
    script[0].1 = "mexec: command error 'alive'\n> ".to_owned();
    assert_eq!(against(script, &["-r"]), ran(0, "", ""));
}

#[test]
fn members_and_status_over_tcp_and_unix() {
    let table = "web1 10.0.0.1 (Ver2.0.0)\r\nTotal: 1 members\r\n> ";
    let listed = ran(0, "web1 10.0.0.1 (Ver2.0.0)\nTotal: 1 members\n", "");
    let steps = [("alive on", "> "), ("members", table)];
    for args in ["members", "--members"] {
        assert_eq!(against(script(&steps), &[args]), listed);
    }
    let dir = Dir::new("unix");
    for (name, prefix) in [("a", "unix:"), ("b", "")] {
        let path = dir.0.join(name);
        let steps = script(&steps);
        let daemon = Daemon::unix(&path, move |stream| play(stream, "> ", steps));
        let target = format!("{prefix}{}", path.display());
        let ran = finish(msync("").env("MSYNC_TARGET", target).arg("members"));
        assert_eq!(daemon.told(), ["alive on", "members", "quit"]);
        assert_eq!(ran, listed);
    }
    let steps = [("alive on", "> "), ("status", "process : 1\nrecv op : 0\n> ")];
    let shown = ran(0, "process : 1\nrecv op : 0\n", "");
    assert_eq!(against(script(&steps), &["status"]), shown);
}

#[test]
fn paths_are_found_from_the_base_and_from_where_one_is() {
    let dir = Dir::new("paths");
    let base = dir.0.join("base\n");
    fs::create_dir_all(base.join("sub")).unwrap();
    for file in ["both", "sub/both", "sub/only"] {
        fs::write(base.join(file), "x").unwrap();
    }
    let shown = makuosan::name::Escaped(base.as_os_str().as_bytes()).to_string();
    let status = format!("version : 2.0.0\nbasedir : {shown}/\n> ");
    let run = |typed: &OsStr, told: &str| {
        let said = format!("send {told}");
        let script =
            new_daemon(0, &[("status", status.as_str()), (&said, "total hosts=1 files=1\n> ")]);
        let mut expected: Vec<String> = script.iter().map(|(line, _)| line.clone()).collect();
        expected.push("quit".to_owned());
        let daemon = Daemon::script("> ", script);
        let target = daemon.target.clone();
        let done = finish(msync(&target).current_dir(base.join("sub")).arg("--").arg(typed));
        assert_eq!(daemon.told(), expected, "{done:?}");
        assert_eq!(done, ran(0, "", ""));
    };
    run(OsStr::new("both"), "both");
    run(OsStr::new("only"), "sub/only");
    run(OsStr::new("./sub//only/"), "sub/only");
    run(OsStr::new("../both"), "both");
    run(OsStr::new("send"), "send");
    run(base.join("sub/only").as_os_str(), "sub/only");
    run(OsStr::new("new\nname"), r#""new\012name""#);

    let outside = format!("msync: /etc/motd: not below the base directory {shown}/\n");
    let steps = [("status", status.as_str())];
    assert_eq!(against(new_daemon(0, &steps), &["both", "/etc/motd"]), ran(1, "", &outside));
    let whole = "msync: .: the base directory itself needs -r\n";
    assert_eq!(against(new_daemon(0, &steps), &["."]), ran(1, "", whole));
}

#[test]
fn no_daemon_is_one_clear_line() {
    let refused = "msync: cannot reach the daemon at tcp:127.0.0.1:1: Connection refused: is makuosan running?\n";
    assert_eq!(finish(msync("tcp:127.0.0.1:1").arg("-r")), ran(1, "", refused));
    let missing = "msync: cannot reach the daemon at unix:/nowhere/s: No such file or directory: is makuosan running?\n";
    assert_eq!(finish(msync("/nowhere/s").arg("members")), ran(1, "", missing));
}

#[test]
fn a_daemon_that_goes_away_is_one_clear_line() {
    let lost = |greeting: &str, script: Script, args: &[&str]| {
        let daemon = Daemon::script(greeting, script);
        let target = daemon.target.clone();
        let ran = finish(msync(&target).args(args));
        daemon.told();
        (ran.status, ran.out, ran.err.replace(&target, "TARGET"))
    };
    // The script ends, and with it the connection, in the middle of a command.
    let script = new_daemon(1, &[]);
    let expected = "msync: lost the daemon at TARGET: it closed the connection\n";
    assert_eq!(lost("> ", script, &["-rv"]), (1, String::new(), expected.to_owned()));
    let (status, _, err) = lost("password: \x1b]E", vec![], &["-r"]);
    assert!(
        status == 1 && err == "msync: the daemon at TARGET wants a password (-K FILE)\n",
        "{err}"
    );

    let daemon = Daemon::tcp(|mut stream| {
        stream.write_all(b"error: too many clients\n").unwrap();
        vec![]
    });
    let target = daemon.target.clone();
    let done = finish(msync(&target).arg("-r"));
    daemon.told();
    let err = format!("error: too many clients\nmsync: the daemon at {target} refused\n");
    assert_eq!(done, ran(1, "", &err));
}

#[test]
fn a_closed_pipe_on_standard_output_stops_nothing() {
    let mut answer = "update web1:a-file-with-a-rather-long-name\n".repeat(20_000);
    answer.push_str("total hosts=1 files=20000\n> ");
    let script = new_daemon(1, &[("send -r", &answer)]);
    let daemon = Daemon::script("> ", script);
    let target = daemon.target.clone();
    let mut child = msync(&target)
        .args(["-rv", "--no-progress"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(daemon.told().last().map(String::as_str), Some("quit"));
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(err, "20,000 files, 0 B to 1 host in 0.00 s\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_full_disk_under_standard_output_is_told() {
    let script = new_daemon(1, &[("send -r", "update web1:a\ntotal hosts=1 files=1\n> ")]);
    let daemon = Daemon::script("> ", script);
    let target = daemon.target.clone();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = msync(&target).args(["-rv"]).stdout(full).output().unwrap();
    daemon.told();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.ends_with("msync: cannot write: No space left on device\n"), "{err}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn usage() {
    let help = finish(msync("").arg("--help"));
    assert_eq!((help.status, help.err.as_str()), (0, ""));
    assert_eq!(help.out, makuosan::cli::msync::help());
    let version = format!("msync {}\n", makuosan::VERSION);
    assert_eq!(finish(msync("").arg("-V")), ran(0, &version, ""));
    let nothing = finish(&mut msync(""));
    assert_eq!((nothing.status, nothing.out.as_str()), (1, ""));
    assert!(nothing.err.starts_with("Usage: msync"));
    assert_eq!(finish(msync("").arg("-Z")), ran(1, "", "msync: -Z: no such option\n"));
}
