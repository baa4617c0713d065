//! The faults of makuosan 1.3.6, by their numbers, each shown not to be one of ours: 13 to 21.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::common::process::{self, MSYNC, command, ticks};
use crate::common::{Fleet, eventually, is_root, now, skip, tree};

#[test]
fn fault_13_the_exit_status_tells() {
    let mut fleet = Fleet::with("fault-13", &[&["--timeout", "1"], &[], &[]]);
    tree::write(fleet.path(0, "good"), "x");
    tree::write(fleet.path(0, "taken"), "a file");
    tree::write(fleet.path(1, "taken/here"), "in a directory");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["send", "good"], 0, ""),
        (&["check", "good"], 0, ""),
        (&["send", "missing"], 2, "error: No such file or directory missing"),
        (&["send", "-r", "missing"], 2, "error: No such file or directory missing"),
        (&["sync", "-r", "missing"], 2, "error: No such file or directory missing"),
        (&["check", "missing"], 2, "error: "),
        (&["send", "-t", "h9", "good"], 2, "error: h9 is not contained in members"),
        (&["check", "-t", "h9", "good"], 2, "error: h9 is not contained in members"),
        (&["send", "taken"], 2, "error: "),
        (&["send", "good", "missing"], 2, "error: No such file or directory missing"),
        (&["send", "--no-such-option"], 1, "msync: "),
        (&["send", "-g", "no-such-group", "good"], 2, "error: "),
        (&["send", "/etc/passwd"], 1, "msync: "),
    ];
    for (args, code, starts) in cases {
        let ran = fleet.msync(0, args);
        assert_eq!(ran.code, Some(*code), "{args:?}: {ran:?}");
        assert!(ran.err.starts_with(starts), "{args:?}: {ran:?}");
        assert_eq!(*code == 0, ran.err.is_empty(), "{args:?}: {ran:?}");
    }
    fs::write(fleet.path(1, "good"), "y").unwrap();
    let ran = fleet.msync(0, &["check", "good"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), "h1: NG good\n"), "{ran:?}");
    // One that has stopped answering, and then nobody at all.
    fleet.daemon(1).signal("STOP");
    let ran = fleet.msync(0, &["send", "-r"]);
    let line = format!("error: receive time out: {}(h1)", fleet.ip(1));
    assert_eq!((ran.code, ran.errors()), (Some(2), vec![line.as_str()]), "{ran:?}");
    fleet.kill(1);
    fleet.stop(2);
    eventually("nobody", || fleet.members(0).is_empty());
    let ran = fleet.msync(0, &["send", "-r"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(!ran.err.is_empty());
    fleet.stop(0);
    let ran = fleet.msync(0, &["send", "-r"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.starts_with("msync: "), "{ran:?}");
}

#[test]
fn fault_14_a_hung_member_costs_a_bounded_time_and_nobody_else() {
    let mut fleet = Fleet::with("fault-14", &[&["--timeout", "2"], &[], &[], &[]]);
    tree::write(fleet.path(0, "file"), "x");
    fleet.daemon(2).signal("STOP");
    let took = |began: std::time::Instant| {
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    };
    // To it alone: msync comes back, and nobody else is held to be gone.
    let began = now();
    let ran = fleet.msync(0, &["-t", "h2", "send", "file"]);
    took(began);
    let line = format!("error: receive time out: {}(h2)", fleet.ip(2));
    assert_eq!((ran.code, ran.errors()), (Some(2), vec![line.as_str()]), "{ran:?}");
    for at in [1, 3] {
        assert!(fleet.members(at).contains(&"h0".to_owned()));
        assert!(fleet.members(0).contains(&format!("h{at}")));
    }
    // Nobody waits for it any more.
    let began = now();
    fleet.msync(0, &["send", "file"]).ok();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(fleet.path(1, "file").exists() && fleet.path(3, "file").exists());
    fleet.daemon(2).signal("CONT");
    fleet.wait_for_members();
    fleet.msync(0, &["send", "file"]).ok();
    assert!(fleet.path(2, "file").exists());
    // One that is dead, to all of them.
    fleet.kill(2);
    tree::write(fleet.path(0, "next"), "x");
    let began = now();
    let ran = fleet.msync(0, &["send", "next"]);
    took(began);
    assert_eq!((ran.code, ran.errors()), (Some(2), vec![line.as_str()]), "{ran:?}");
    assert!(fleet.path(1, "next").exists() && fleet.path(3, "next").exists());
    assert_eq!(fleet.members(0), ["h1", "h3"]);
}

#[test]
fn fault_15_long_paths_and_names_arrive() {
    let fleet = Fleet::new("fault-15", 2);
    // 988 bytes of path and target; a path of over 1,000 bytes; a name of 255 bytes; all of them.
    let mut deep = fleet.base(0);
    for at in 0..15 {
        deep.push(format!("{at:02}{}", "d".repeat(245)));
        if at == 3 {
            tree::write(deep.join("over-1000"), "x");
            symlink("t".repeat(500), deep.join("link")).unwrap();
        }
    }
    tree::write(deep.join("end"), "far below");
    symlink("t".repeat(4_000), deep.join("link")).unwrap();
    tree::write(fleet.path(0, "n".repeat(255)), "x");
    tree::write(fleet.path(0, "\u{e4}".repeat(127)), "x");
    tree::write(fleet.path(0, "zz-after"), "x");
    fleet.msync(0, &["send", "-r"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    let untouched = tree::untouched(&fleet.base(1));
    fleet.msync(0, &["send", "-r"]).ok();
    assert_eq!(untouched, tree::untouched(&fleet.base(1)));
    // By its path alone, too.
    fs::remove_dir_all(
        fleet.path(1, deep.strip_prefix(fleet.base(0)).unwrap().iter().next().unwrap()),
    )
    .unwrap();
    let path = deep.join("end").strip_prefix(fleet.base(0)).unwrap().to_str().unwrap().to_owned();
    fleet.msync(0, &["send", &path]).ok();
    assert_eq!(fs::read(fleet.path(1, &path)).unwrap(), b"far below");
}

#[test]
fn fault_16_names_and_patterns_with_spaces_and_dashes() {
    let fleet = Fleet::new("fault-16", 2);
    let names = ["a b", "b", "trailing ", " leading", "-r", "--", "-x y", "a  b", "send", "c d"];
    for name in names {
        tree::write(fleet.path(0, name), name);
    }
    let have = || -> Vec<String> {
        let tree = tree::snapshot(&fleet.base(1)).into_keys();
        tree.map(|path| String::from_utf8(path).unwrap()).collect()
    };
    fleet.msync(0, &["a b"]).ok();
    assert_eq!(have(), ["a b"]);
    fleet.msync(0, &["send", "trailing ", " leading", "a  b"]).ok();
    assert_eq!(have(), [" leading", "a  b", "a b", "trailing "]);
    fleet.msync(0, &["send", "--", "-r", "--", "-x y"]).ok();
    fleet.msync(0, &["./send"]).ok();
    assert_eq!(have().len(), 8);
    // The console has words for all of them.
    assert_eq!(fleet.console(0).ask("send c\\ d"), "");
    assert!(have().contains(&"c d".to_owned()));
    let fleet = Fleet::new("fault-16-patterns", 2);
    for name in ["x y", "x", "y", "x y z/in", "x  y"] {
        tree::write(fleet.path(0, name), name);
    }
    fleet.msync(0, &["--exclude", "x y*", "-r"]).ok();
    assert_eq!(
        tree::snapshot(&fleet.base(1)).into_keys().collect::<Vec<_>>(),
        [&b"x"[..], b"x  y", b"y"]
    );
    let mut console = fleet.console(0);
    assert_eq!(console.ask("exclude add \"x  y\""), "");
    assert!(console.ask("exclude list").contains("x  y"));
    assert_eq!(console.ask("send -r"), "");
    assert!(fleet.path(1, "x y z/in").exists());
}

#[test]
fn fault_17_patterns_match_what_they_say() {
    let cases: &[(&str, &[&str])] = &[
        ("[ab]", &["a", "b", "d/a"]),
        ("*.tmp", &[".tmp", "x.tmp", "d/.tmp", "d/y.tmp", "d/deep.tmp"]),
        ("d/", &["d", "d/.tmp", "d/a", "d/c", "d/deep.tmp", "d/y.tmp"]),
        ("deep.tmp/", &[]),
        ("d/*", &["d/.tmp", "d/a", "d/c", "d/deep.tmp", "d/y.tmp"]),
        ("?.tmp", &["d/y.tmp", "x.tmp"]),
        ("[!a-c]", &["d", "d/.tmp", "d/a", "d/c", "d/deep.tmp", "d/y.tmp", "e/d"]),
    ];
    let fleet = Fleet::new("fault-17", 2);
    for name in
        ["a", "b", "c", ".tmp", "x.tmp", "d/a", "d/c", "d/.tmp", "d/y.tmp", "d/deep.tmp", "e/d"]
    {
        tree::write(fleet.path(0, name), name);
    }
    // The directory above what [!a-c] leaves out is called e.
    let all = tree::snapshot(&fleet.base(0));
    for (pattern, out) in cases {
        for name in fs::read_dir(fleet.base(1)).unwrap().flatten() {
            if name.file_name() != ".makuosan" {
                fs::remove_dir_all(name.path()).or_else(|_| fs::remove_file(name.path())).unwrap();
            }
        }
        fleet.msync(0, &["send", "-r", "--exclude", pattern]).ok();
        let got = tree::snapshot(&fleet.base(1));
        let missing: Vec<&str> = all
            .keys()
            .filter(|path| !got.contains_key(*path))
            .map(|path| std::str::from_utf8(path).unwrap())
            .filter(|path| *pattern != "[!a-c]" || *path != "e")
            .collect();
        let mut want = out.to_vec();
        want.sort_unstable();
        assert_eq!(missing, want, "{pattern}");
    }
}

#[test]
fn fault_18_nanoseconds_settle_it_and_fifos_are_sent_once() {
    let fleet = Fleet::new("fault-18", 2);
    let path = fleet.path(0, "file");
    tree::write(&path, "one");
    tree::set_mtime(&path, 1_700_000_000, 100);
    let fifo = Command::new("mkfifo").arg(fleet.path(0, "fifo")).status();
    assert!(fifo.unwrap().success());
    let device = Command::new("mknod").arg(fleet.path(0, "null")).args(["c", "1", "3"]).output();
    if !device.is_ok_and(|made| made.status.success()) {
        skip("devices", "mknod is not allowed");
    }
    fleet.msync(0, &["send", "-r"]).ok();
    let untouched = tree::untouched(&fleet.base(1));
    let ran = fleet.msync(0, &["-l", "2", "send", "-r"]).well();
    assert!(ran.out.lines().all(|line| line.starts_with("skip   h1:")), "{ran:?}");
    assert!(ran.out.contains("skip   h1:fifo\n"), "{ran:?}");
    assert_eq!(tree::untouched(&fleet.base(1)), untouched);
    fs::write(&path, "two").unwrap();
    tree::set_mtime(&path, 1_700_000_000, 200);
    let ran = fleet.msync(0, &["-l", "1", "send", "-r"]).well();
    assert_eq!(ran.out, "update h1:file\n");
    assert_eq!(fs::read(fleet.path(1, "file")).unwrap(), b"two");
}

#[test]
fn fault_19_many_small_files_take_few_packets_and_waiting_takes_no_time() {
    let mut fleet = Fleet::with("fault-19", &[&["-T", "16"], &[], &[]]);
    let count = 2_000;
    for at in 0..count {
        tree::write(fleet.path(0, format!("many/{at:04}")), format!("file {at}"));
    }
    let (lines, total) = fleet.console(0).send("send -r");
    assert_eq!((lines.len(), total.files, total.errors), (0, count, 0), "{total:?}");
    let (lines, total) = fleet.console(0).send("send -r");
    assert_eq!((lines.len(), total.files, total.unchanged), (0, 0, count), "{total:?}");
    // What differs from name to name, and next to nothing else: some 60 packets for 2,000 files.
    assert!(total.wire < 60 * count, "{} bytes for {count} files", total.wire);
    let pid = fleet.daemon(0).pid();
    let spent = |span: Duration| {
        let before = ticks(pid);
        thread::sleep(span);
        ticks(pid) - before
    };
    let mut console = fleet.console(0);
    let idle = spent(Duration::from_millis(500));
    assert!(idle < 5, "{idle} of 50 ticks with a client that says nothing");
    // While a command works, too, the loop waits: 2 MB a second are nothing.
    tree::write(fleet.path(0, "big"), tree::bytes(5 << 20, 1));
    console.write(b"send big\n");
    fleet.wait_until_staged(1);
    let busy = spent(Duration::from_millis(1_000));
    assert!(busy < 50, "{busy} of 100 ticks with a slow command");
    assert_eq!(console.answer(), "");
}

#[test]
fn fault_20_a_limited_rate_is_spread_and_holds_nobody_up() {
    // 3 MB a second.
    let rate = 3_000_000.0;
    let mut fleet = Fleet::with("fault-20", &[&["-T", "24"], &[]]);
    tree::write(fleet.path(0, "big"), tree::bytes(6_000_000, 1));
    let pid = fleet.daemon(1).pid();
    // Only what is written to files counts here, and it is written as it comes.
    let written = || -> u64 {
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap();
        line.parse().unwrap()
    };
    let mut msync = fleet.msync_start(0, &["send", "big"]);
    fleet.wait_until_staged(1);
    let (mut last, mut at) = (written(), now());
    let mut steps = 0;
    while msync.is_running() {
        thread::sleep(Duration::from_millis(100));
        let asked = now();
        let answer = fleet.console(0).ask("members");
        assert!(answer.ends_with("Total: 1 members\n"), "{answer}");
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        let bytes = written();
        let span = (now() - at).as_secs_f64();
        let moved = (bytes - last) as f64;
        // A burst of a second's worth would be ten times as much.
        assert!(moved <= rate * span * 1.5 + 600_000.0, "{moved} bytes in {span} s");
        steps += u32::from(moved > 50_000.0);
        (last, at) = (bytes, now());
    }
    msync.end().ok();
    assert!(steps >= 8, "it came in {steps} pieces");
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

#[test]
fn fault_21_half_an_hour_of_a_time_zone_is_kept() {
    let zone = Path::new("/usr/share/zoneinfo/Asia/Kolkata");
    // Without its file, the same zone in words (POSIX 8.3).
    let name = if zone.exists() { "Asia/Kolkata" } else { "IST-5:30" };
    let root = is_root();
    if !root {
        skip("the time zone under -c", "only root may change its root directory");
    }
    let mut fleet = Fleet::idle("fault-21", 1);
    let options: &[&str] = if root { &["-c"] } else { &[] };
    let minute = || {
        let date = Command::new("date").args(["-u", "-d", "+330 minutes", "+%F %H:%M"]).output();
        String::from_utf8(date.unwrap().stdout).unwrap().trim_end().to_owned()
    };
    let before = minute();
    let mut command = fleet.command(0, options);
    command.env("TZ", name);
    let mut daemon = process::Daemon::start(&mut command);
    daemon.signal("USR1");
    eventually("a line with a time", || daemon.log().contains(&before[..10]));
    let log = daemon.log();
    let after = minute();
    let stamped: Vec<&str> = log.lines().filter(|line| line.starts_with("20")).collect();
    assert!(!stamped.is_empty(), "{log}");
    for line in stamped {
        assert!(line.starts_with(&before) || line.starts_with(&after), "{before}: {line}");
    }
    daemon.kill();
    // A daemon that has left its old root lists its members as ever.
    fleet.start(0, options);
    let mut members = command_of(&fleet);
    assert_eq!(process::run(&mut members).code, Some(0));
}

fn command_of(fleet: &Fleet) -> Command {
    let mut msync = command(MSYNC);
    msync.arg("-c").arg(fleet.target(0)).arg("status");
    msync
}
