//! Start and end of a daemon: its first words, the background, signals, rights, sockets.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::common::process::{self, MAKUOSAN, MSYNC, Ran, command, is_alive};
use crate::common::{Console, Daemon, Fleet, LONG, eventually, is_root, skip, tree, within};

/// A daemon in the background; dropping it kills it.
struct Background(u32);

impl Background {
    /// Of the process whose `pid` line this is.
    #[track_caller]
    fn of(ran: &Ran) -> Background {
        let line = ran.err.lines().find_map(|line| line.strip_prefix("pid       : "));
        let pid = line.and_then(|pid| pid.parse().ok());
        Background(pid.unwrap_or_else(|| panic!("no pid line: {ran:?}")))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if is_alive(self.0) {
            process::signal(self.0, "KILL");
        }
    }
}

/// The words after a key in `/proc/PID/status`.
fn status_of(pid: u32, key: &str) -> Vec<String> {
    process::status_of(format!("/proc/{pid}"), key)
}

/// Fails the test unless the daemon did not start, for a reason in one line with all of `words`.
#[track_caller]
fn assert_refused(ran: &Ran, words: &[&str]) {
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    assert!(ran.err.starts_with("makuosan: "), "{ran:?}");
    for word in words {
        assert!(ran.err.contains(word), "{word:?} in {ran:?}");
    }
}

#[test]
fn the_first_words_are_the_process_id() {
    let mut fleet = Fleet::new("pid-line", 1);
    let daemon = fleet.daemon(0);
    let pid = daemon.pid();
    assert!(daemon.log().starts_with(&format!("pid       : {pid}\n")), "{}", daemon.log());
    let status = fleet.console(0).ask("status");
    assert!(status.starts_with(&format!("process : {pid}\n")), "{status}");
}

#[test]
fn to_the_background_when_it_answers_and_not_before() {
    let fleet = Fleet::idle("background", 1);
    let ran = process::run(command(MAKUOSAN).args(fleet.options(0)));
    let daemon = Background::of(&ran);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{ran:?}");
    // No waiting: it answers.
    let status = fleet.console(0).ask("status");
    assert!(status.starts_with(&format!("process : {}\n", daemon.0)), "{status}");
    // A session of its own, of which it is not the leader.
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.0)).unwrap();
    let words: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    assert_ne!(words[3], daemon.0.to_string(), "{stat}");
    assert_eq!(words[4], "0", "a terminal: {stat}");
    for stream in 0..3 {
        let place = fs::read_link(format!("/proc/{}/fd/{stream}", daemon.0)).unwrap();
        assert_eq!(place, Path::new("/dev/null"));
    }
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", daemon.0)).unwrap(), Path::new("/"));
    process::signal(daemon.0, "TERM");
    eventually("its end", || !is_alive(daemon.0));
}

#[test]
fn a_relative_base_directory_stays_where_it_was() {
    let mut fleet = Fleet::idle("relative", 2);
    fs::create_dir(fleet.dir().join("sub")).unwrap();
    let mut start = command(MAKUOSAN);
    start.args(fleet.options(0)).args(["-b", "../h0", "-U", "console"]);
    let ran = process::run(start.current_dir(fleet.dir().join("sub")));
    let daemon = Background::of(&ran);
    let socket = fleet.dir().join("sub/console");
    let status = Console::open_unix(&socket).ask("status");
    let base = format!("basedir : {}/\n", fleet.base(0).display());
    assert!(status.contains(&base), "{status}");
    fleet.start(1, &[]);
    tree::write(fleet.path(1, "file"), "x");
    eventually("a member", || fleet.members(1) == ["h0"]);
    fleet.msync(1, &["send", "-r"]).ok();
    assert_eq!(fs::read(fleet.path(0, "file")).unwrap(), b"x");
    process::signal(daemon.0, "TERM");
    eventually("its end", || !is_alive(daemon.0));
    assert!(!socket.exists());
}

#[test]
fn what_is_no_staging_directory_of_ours_is_left_alone() {
    let mut fleet = Fleet::idle("staging", 1);
    let outside = fleet.dir().join("outside");
    tree::write(outside.join("precious"), "precious");
    let staging = fleet.path(0, ".makuosan");
    for kind in ["link", "file", "dangling"] {
        match kind {
            "link" => symlink(&outside, &staging).unwrap(),
            "file" => fs::write(&staging, "precious").unwrap(),
            _ => symlink("nowhere", &staging).unwrap(),
        }
        let before = fs::symlink_metadata(&staging).unwrap().ino();
        let ran = process::run(&mut fleet.command(0, &[]));
        assert_refused(&ran, &["-b", fleet.base(0).to_str().unwrap()]);
        assert_eq!(fs::symlink_metadata(&staging).unwrap().ino(), before);
        assert_eq!(fs::read(outside.join("precious")).unwrap(), b"precious");
        fs::remove_file(&staging).unwrap();
    }
    // What is staged in our own goes, whatever it is, but not what its links point to.
    fleet.start(0, &[]);
    fleet.stop(0);
    tree::write(staging.join("stage/sub/left"), "left behind");
    symlink(&outside, staging.join("stage/link")).unwrap();
    tree::set_mode(&staging, 0o755);
    fleet.start(0, &[]);
    assert_eq!(fleet.staged(0), [""; 0]);
    assert_eq!(fs::symlink_metadata(&staging).unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"precious");
}

#[test]
fn what_cannot_start_says_so_before_the_shell_goes_on() {
    let mut fleet = Fleet::idle("no-background", 2);
    fleet.start(0, &[]);
    let listen = fleet.address(0).to_string();
    let ran = process::run(command(MAKUOSAN).args(fleet.options(1)).args(["-l", &listen]));
    assert_refused(&ran, &["cannot listen on", &listen]);
    let nowhere = fleet.dir().join("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    let ran = process::run(command(MAKUOSAN).args(fleet.options(1)).args(["-b", nowhere]));
    assert_refused(&ran, &["-b", nowhere, "No such file or directory"]);
}

#[test]
fn one_daemon_for_an_address_and_one_for_a_directory() {
    let fleet = Fleet::new("twice", 1);
    let other = fleet.dir().join("other");
    fs::create_dir(&other).unwrap();
    let ran = process::run(&mut fleet.command(0, &["-b", other.to_str().unwrap()]));
    let (ip, port) = (fleet.ip(0).to_string(), fleet.address(0).port().to_string());
    assert_refused(&ran, &[&ip, &port, "is in use"]);
    assert!(!other.join(".makuosan").exists());
    let ran = process::run(&mut fleet.command(0, &["-i", &fleet.ip(1).to_string()]));
    assert_refused(&ran, &["another daemon has this base directory"]);
    // The one that is there has noticed nothing.
    assert_eq!(fleet.console(0).ask("members"), "Total: 0 members\n");
}

#[test]
fn a_bad_option_is_named() {
    let fleet = Fleet::idle("bad-options", 1);
    let good: Vec<String> = fleet.options(0);
    for (bad, words) in [
        (&["-d", "10"][..], &["-d", "10"][..]),
        (&["-p", "0"], &["-p 0"]),
        (&["-p", "70000"], &["-p 70000"]),
        (&["-m", "10.0.0.1"], &["-m 10.0.0.1", "multicast"]),
        (&["-i", "x"], &["-i x"]),
        (&["-l", "nowhere"], &["-l nowhere"]),
        (&["-f", "0"], &["-f 0"]),
        (&["-f", "17"], &["-f 17"]),
        (&["-T", "0"], &["-T 0"]),
        (&["-R", "many"], &["-R many"]),
        (&["-S", "-1"], &["-S -1"]),
        (&["-N", "two words"], &["-N two words"]),
        (&["-N", ""], &["-N"]),
        (&["--timeout", "0"], &["--timeout 0"]),
        (&["--ttl", "256"], &["--ttl 256"]),
        (&["-u", "no-such-user-at-all"], &["-u no-such-user-at-all"]),
        (&["-g", "no-such-group-at-all"], &["-g no-such-group-at-all"]),
        (&["-G", "no-such-group-at-all"], &["-G no-such-group-at-all"]),
        (&["-b", "/etc/hostname"], &["-b /etc/hostname", "Not a directory"]),
        (&["-U", "/nowhere/at/all"], &["-U", "/nowhere/at/all"]),
        (&["-Z"], &["-Z", "no such option"]),
        (&["--nonsense"], &["--nonsense", "no such option"]),
        (&["-d"], &["-d", "value is missing"]),
        (&["word"], &["word", "not an option"]),
    ] {
        let ran = process::run(command(MAKUOSAN).arg("-n").args(&good).args(bad));
        assert_refused(&ran, words);
    }
    let ran = process::run(command(MAKUOSAN).arg("-n"));
    assert_refused(&ran, &["-b"]);
    let ran = process::run(&mut command(MAKUOSAN));
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.starts_with("Usage: makuosan"), "{ran:?}");
    for program in [MAKUOSAN, MSYNC] {
        let name = program.rsplit('/').next().unwrap();
        let ran = process::run(command(program).arg("-V")).ok();
        assert_eq!(ran.out, format!("{name} {}\n", makuosan::VERSION));
        let ran = process::run(command(program).arg("-h")).ok();
        assert!(ran.out.starts_with(&format!("Usage: {name}")), "{ran:?}");
    }
}

#[test]
fn rights_are_dropped_for_good() {
    if !is_root() {
        return skip("-u", "only root can become somebody else");
    }
    let nobody = 65_534;
    for (options, uid, gid, groups) in [
        (&["-u", "nobody"][..], nobody, nobody, vec![nobody]),
        (&["-u", "12345", "-g", "23456"], 12_345, 23_456, vec![23_456]),
        (&["-u", "nobody", "-g", "5", "-G", "6,7"], nobody, 5, vec![6, 7]),
    ] {
        let mut fleet = Fleet::idle("rights", 2);
        std::os::unix::fs::chown(fleet.base(0), Some(uid), Some(gid)).unwrap();
        fleet.start(0, options);
        fleet.start(1, &[]);
        fleet.wait_for_members();
        let pid = fleet.daemon(0).pid();
        // Of every thread: rights belong to threads.
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        for task in tasks.map(|task| task.unwrap().file_name().into_string().unwrap()) {
            let task: u32 = task.parse().unwrap();
            assert_eq!(status_of(task, "Uid:"), vec![uid.to_string(); 4]);
            assert_eq!(status_of(task, "Gid:"), vec![gid.to_string(); 4]);
            let mut got: Vec<u32> =
                status_of(task, "Groups:").iter().map(|group| group.parse().unwrap()).collect();
            got.sort_unstable();
            assert_eq!(got, groups, "{options:?}");
            for caps in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
                assert_eq!(status_of(task, caps), ["0000000000000000"], "{caps}");
            }
        }
        // What it receives is its own.
        tree::write(fleet.path(1, "file"), "x");
        fleet.msync(1, &["send", "-r"]).ok();
        let meta = fs::metadata(fleet.path(0, "file")).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (uid, gid));
    }
}

#[test]
fn rights_that_cannot_be_dropped_are_no_start() {
    if !is_root() {
        let fleet = Fleet::idle("no-rights", 1);
        let ran = process::run(&mut fleet.command(0, &["-u", "0"]));
        assert_refused(&ran, &["cannot switch to user 0"]);
        return;
    }
    // A directory that the user may not write to.
    let fleet = Fleet::idle("no-rights", 1);
    let ran = process::run(&mut fleet.command(0, &["-u", "nobody"]));
    assert_refused(&ran, &["-b", "Permission denied"]);
}

#[test]
fn signals_change_the_log_level() {
    let mut fleet = Fleet::idle("signals", 1);
    // The last option wins.
    fleet.start(0, &["-d", "3"]);
    let daemon = fleet.daemon(0);
    for (signal, line) in [("USR1", "log level 4\n"), ("USR1", "log level 5\n")] {
        daemon.signal(signal);
        daemon.wait_for_log(line);
    }
    for line in ["log level 4\n", "log level 3\n", "log level 2\n"] {
        let before = daemon.log().len();
        daemon.signal("USR2");
        eventually(line, || daemon.log()[before..].contains(line));
    }
    // It does not end by one that means nothing to it.
    daemon.signal("HUP");
    assert_eq!(fleet.console(0).ask("members"), "Total: 0 members\n");
}

#[test]
fn the_console_on_a_unix_socket() {
    let mut fleet = Fleet::idle("unix", 2);
    let socket = fleet.dir().join("console");
    let path = socket.to_str().unwrap().to_owned();
    fleet.start(0, &["-U", &path]);
    fleet.start(1, &[]);
    let meta = fs::symlink_metadata(&socket).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o7777, 0o660);
    // No TCP, then.
    assert!(std::net::TcpStream::connect(fleet.address(0)).is_err());
    eventually("a member", || {
        let ran = process::run(command(MSYNC).args(["-c", &path, "members"])).ok();
        ran.out.ends_with("Total: 1 members\n")
    });
    tree::write(fleet.path(0, "file"), "through the socket");
    let ran = process::run(command(MSYNC).env("MSYNC_TARGET", format!("unix:{path}")).arg("file"));
    ran.ok();
    assert_eq!(fs::read(fleet.path(1, "file")).unwrap(), b"through the socket");
    // A second one does not take the socket away from the first.
    let ip = fleet.ip(5).to_string();
    let other = fleet.dir().to_str().unwrap().to_owned();
    let ran = process::run(&mut fleet.command(0, &["-i", &ip, "-b", &other, "-U", &path]));
    assert_refused(&ran, &["-U", &path, "is in use"]);
    assert_eq!(fleet.stop(0).code(), Some(0));
    assert!(!socket.exists());
    // One that was left behind by a daemon that was killed is replaced.
    fleet.start(0, &["-U", &path]);
    fleet.kill(0);
    assert!(socket.exists());
    fleet.start(0, &["-U", &path]);
    UnixStream::connect(&socket).unwrap();
    // What is no socket is left alone.
    let file = fleet.dir().join("file");
    tree::write(&file, "precious");
    let ip = fleet.ip(6).to_string();
    let path = file.to_str().unwrap();
    let ran = process::run(&mut fleet.command(0, &["-i", &ip, "-b", &other, "-U", path]));
    assert_refused(&ran, &["-U", path, "not a socket"]);
    assert_eq!(fs::read(&file).unwrap(), b"precious");
}

#[test]
fn both_consoles_at_once() {
    let mut fleet = Fleet::idle("both", 1);
    let socket = fleet.dir().join("console");
    let listen = fleet.address(0).to_string();
    fleet.start(0, &["-U", socket.to_str().unwrap(), "-l", &listen]);
    Console::open(fleet.address(0));
    UnixStream::connect(&socket).unwrap();
}

#[test]
fn an_end_in_mid_transfer_undoes_what_is_staged() {
    let mut fleet = Fleet::with("stopped", &[&["-T", "8"], &[], &[]]);
    tree::write(fleet.path(0, "big"), tree::bytes(8 << 20, 1));
    let msync = fleet.msync_start(0, &["send", "-r"]);
    fleet.wait_until_staged(1);
    fleet.wait_until_staged(2);
    // A target first: it leaves, the other goes on.
    assert_eq!(fleet.stop(1).code(), Some(0));
    assert_eq!(fleet.staged(1), [""; 0]);
    assert!(!fleet.staged(2).is_empty());
    // Then the sender.
    assert_eq!(fleet.stop(0).code(), Some(0));
    fleet.wait_until_clean(Duration::from_secs(2));
    for at in 1..3 {
        assert_eq!(tree::snapshot(&fleet.base(at)).len(), 0);
    }
    let ran = msync.end();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("lost the daemon"), "{ran:?}");
}

#[test]
fn the_environment_where_there_is_no_option() {
    let fleet = Fleet::idle("environment", 1);
    let mut plain = command(MAKUOSAN);
    plain.arg("-n").env("MAKUOSAN_BASE", fleet.base(0));
    plain.env("MAKUOSAN_PORT", fleet.address(0).port().to_string());
    plain.arg("-i").arg(fleet.ip(0).to_string()).args(["-m", &fleet.group().to_string()]);
    plain.args(["-N", "named"]);
    let mut daemon = Daemon::start(&mut plain);
    let status = fleet.console(0).ask("status");
    let base = format!("basedir : {}/\n", fleet.base(0).display());
    assert!(status.contains(&base), "{status}");
    daemon.signal("TERM");
    assert_eq!(daemon.wait(LONG).code(), Some(0));
}

#[test]
fn a_pid_file_from_before_the_shell_goes_on_until_the_end() {
    let fleet = Fleet::idle("pidfile", 2);
    let path = fleet.dir().join("pid");
    let start = |at: usize, more: &[&str]| {
        let mut start = command(MAKUOSAN);
        // Relative to where it is started.
        start.current_dir(fleet.dir()).args(fleet.options(at)).args(["--pidfile", "pid"]);
        process::run(start.args(more))
    };
    // Left behind by a dead daemon; its number belongs to a process that lives.
    fs::write(&path, format!("{}\n", std::process::id())).unwrap();
    let ran = start(0, &[]);
    let daemon = Background::of(&ran);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", daemon.0));
    let ran = start(1, &[]);
    assert_refused(&ran, &["--pidfile", "pid", &format!("process {}", daemon.0)]);
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", daemon.0));
    // Killed, it leaves it; the next one takes it, and a start that fails removes it.
    process::signal(daemon.0, "KILL");
    eventually("its end", || !is_alive(daemon.0));
    assert!(path.exists());
    // Its first thread is gone before the others, which have the file for a moment.
    let ran = within(LONG, "the end of its other threads", || {
        let ran = start(1, &["-l", "192.0.2.1"]);
        (!ran.err.contains("is held")).then_some(ran)
    });
    assert_refused(&ran, &["cannot listen"]);
    assert!(!path.exists());
    let daemon = Background::of(&start(1, &[]));
    assert!(path.exists());
    process::signal(daemon.0, "TERM");
    eventually("its end", || !is_alive(daemon.0));
    assert!(!path.exists());
    // Something else is left alone.
    fs::write(&path, "precious\n").unwrap();
    assert_refused(&start(0, &[]), &["--pidfile", "not a pid file"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious\n");
}

#[test]
fn what_is_not_needed_is_given_up() {
    let mut fleet = Fleet::idle("confined", 3);
    let (near, far) = (fleet.dir().join("keys"), fleet.dir().join("elsewhere"));
    for dir in [&near, &far] {
        fs::create_dir(dir).unwrap();
        fs::write(dir.join("key"), "a shared secret\n").unwrap();
        tree::set_mode(&dir.join("key"), 0o600);
    }
    let key = near.join("key");
    let keyed = ["-k", key.to_str().unwrap()];
    fleet.start(0, &keyed);
    fleet.start(1, &[&keyed[..], &["-r"]].concat());
    fleet.wait_for_members();
    for (at, most) in [(0, 0x0800_001f_u64), (1, 0x4)] {
        let pid = fleet.daemon(at).pid();
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        for task in tasks.map(|task| task.unwrap().file_name().into_string().unwrap()) {
            let task: u32 = task.parse().unwrap();
            assert_eq!(status_of(task, "NoNewPrivs:"), ["1"]);
            for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
                let held = u64::from_str_radix(&status_of(task, set)[0], 16).unwrap();
                // Others than root cannot change the bounding set, and gain nothing by it.
                assert!(held & !most == 0 || (set == "CapBnd:" && !is_root()), "{set} {held:x}");
            }
        }
        let status = fleet.console(at).ask("status");
        assert!(status.contains("\nconfined: no new privileges"), "{status}");
        if !status.contains("Landlock") {
            skip("files outside of what a daemon needs", "this kernel has no Landlock");
            continue;
        }
        // A file that the daemon's user may read, from inside the confined process.
        fs::remove_file(&key).unwrap();
        std::os::unix::fs::symlink("../elsewhere/key", &key).unwrap();
        fleet.daemon(at).signal("HUP");
        fleet.daemon(at).wait_for_log("Permission denied: the old keys stay in use");
    }
    // All that it is for goes on.
    tree::write(fleet.path(0, "dir/file"), "x");
    let ran = fleet.msync(0, &["send", "-r"]);
    assert!(ran.err.contains("Read-only") || ran.err.contains("read-only"), "{ran:?}");
}
