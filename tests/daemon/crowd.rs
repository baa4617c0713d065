//! Many clients, rude ones, passwords, a root directory of one's own, and `--check-config`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::garbage::Random;
use crate::common::process::{self, MAKUOSAN, command, is_alive};
use crate::common::{Console, Fleet, LONG, eventually, is_root, now, skip, tree};

#[test]
fn a_hundred_clients_one_after_another_and_sixty_four_at_once() {
    let fleet = Fleet::new("crowd", 2);
    tree::write(fleet.path(0, "file"), "x");
    for at in 0..100 {
        let mut console = fleet.console(0);
        let line = ["members", "send -r", "status", "check -r", "echo x"][at % 5];
        assert!(!console.ask(line).starts_with("error"), "{line}");
        if at % 2 == 0 {
            console.write(b"quit\n");
            assert_eq!(console.rest(), b"");
        }
    }
    eventually("room for 64", || fleet.console(0).ask("status").contains("command : 0\n"));
    thread::scope(|scope| {
        let fleet = &fleet;
        for at in 0..64 {
            scope.spawn(move || {
                let mut console = fleet.console(0);
                let path = format!("from/{at}");
                tree::write(fleet.path(0, &path), path.as_bytes());
                assert_eq!(console.ask(&format!("send {path}")), "");
                assert_eq!(fs::read(fleet.path(1, &path)).unwrap(), path.as_bytes());
                let answer = console.ask("members");
                assert!(answer.ends_with("Total: 1 members\n"), "{answer}");
            });
        }
    });
    // The directory's own time is left to the last of them.
    fleet.msync(0, &["send", "-r"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

#[test]
fn a_client_may_vanish_in_any_state() {
    let mut fleet = Fleet::with("vanish", &[&["-T", "16"], &[]]);
    tree::write(fleet.path(0, "big"), tree::bytes(5 << 20, 1));
    let states: &[&[u8]] = &[
        b"",
        b"se",
        b"members",
        b"members\n",
        b"status\nstatus\nst",
        b"send -r\n",
        b"send -n -r\n",
        b"dsync -r\n",
        b"check -r\n",
        b"loglevel 2\nsend -r\nsend -r\n",
        b"alive on\nsend -r\n",
        b"exclude add \"a",
        b"\xff\x00\n",
        b"sync none\n",
        b"progress on\nsend -r",
    ];
    let mut random = Random(7);
    for round in 0..3_u64 {
        for state in states {
            let mut console = Console::connect(fleet.address(0));
            console.write(state);
            let pause = [0, 1, 30][(round % 3) as usize] + random.0 % 3;
            random.0 = random.0.rotate_left(7) ^ 0x9e37;
            thread::sleep(Duration::from_millis(pause));
            drop(console);
        }
        assert!(fleet.console(0).ask("members").ends_with("Total: 1 members\n"));
    }
    let pid = fleet.daemon(0).pid();
    assert!(is_alive(pid));
    // Killed clients proper, at any time.
    for wait in [1, 5, 20, 60] {
        let mut msync = fleet.msync_start(0, &["send", "-r", "-l", "2"]);
        thread::sleep(Duration::from_millis(wait));
        msync.kill();
    }
    tree::write(fleet.path(0, "last"), "x");
    fleet.msync(0, &["send", "last"]).ok();
    assert!(fleet.path(1, "last").exists());
}

#[test]
fn random_bytes_on_the_console_change_nothing() {
    let mut fleet = Fleet::new("console-noise", 2);
    tree::write(fleet.path(0, "file"), "x");
    tree::write(fleet.path(1, "own"), "stays");
    let pid = fleet.daemon(0).pid();
    let (mut seed, mut served) = (1, 0);
    let deadline = now() + Duration::from_secs(60);
    while now() < deadline {
        seed += 1;
        let mut bytes = tree::bytes(20_000, seed);
        if seed % 2 == 0 {
            // Lines of what lines are made of, but no word that is a command.
            let letters = b"\n\r \\\"-nrt>:./\x1b0\t\n#";
            bytes.iter_mut().for_each(|b| *b = letters[usize::from(*b) % letters.len()]);
        }
        let mut stream = TcpStream::connect(fleet.address(0)).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        // The daemon may well have had enough of it.
        let _ = stream.write_all(&bytes);
        let mut some = [0; 65_536];
        while stream.read(&mut some).is_ok_and(|got| got > 0) {}
        drop(stream);
        if seed % 8 == 0 {
            let asked = now();
            fleet.msync(0, &["send", "file"]).ok();
            assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
            served += 1;
        }
    }
    assert!(served > 0 && is_alive(pid));
    assert_eq!(fleet.daemon(0).pid(), pid);
    assert_eq!(fs::read(fleet.path(1, "own")).unwrap(), b"stays");
}

#[test]
fn a_password_lets_in_and_wrong_ones_slow_down() {
    let mut fleet = Fleet::idle("password", 2);
    let (right, wrong) = (fleet.dir().join("right"), fleet.dir().join("wrong"));
    fs::write(&right, "open sesame\n").unwrap();
    tree::set_mode(&right, 0o600);
    fs::write(&wrong, "open barley\n").unwrap();
    let right_name = right.to_str().unwrap().to_owned();
    fleet.start(0, &["-K", &right_name]);
    fleet.start(1, &[]);
    tree::write(fleet.path(0, "file"), "x");
    let members = || fleet.msync(0, &["-K", &right_name, "members"]).ok().out;
    eventually("a member", || members().ends_with("Total: 1 members\n"));
    fleet.msync(0, &["-K", &right_name, "send", "-r"]).ok();
    assert!(fleet.path(1, "file").exists());
    // Byte for byte, as of old.
    let mut console = Console::connect(fleet.address(0));
    console.write(b"open sesame\r\nquit\n");
    assert_eq!(console.rest(), b"password: \x1b]E\r> ");
    let try_one = |line: &[u8]| {
        let began = now();
        let mut console = Console::connect(fleet.address(0));
        console.write(line);
        assert_eq!(console.rest(), b"password: \x1b]E\rsorry.\n");
        began.elapsed()
    };
    for line in [&b"members\n"[..], b"\n", b"open sesame \n"] {
        assert!(try_one(line) < Duration::from_secs(1), "{line:?}");
    }
    // From now on each waits for the last, and nobody else waits for them.
    try_one(b"four\n");
    let took = try_one(b"five\n");
    assert!((1..LONG.as_secs()).contains(&took.as_secs()), "{took:?}");
    fleet.msync(1, &["members"]).ok();
    // msync without a password, or with a wrong one, does not hang.
    for args in [&["members"][..], &["-K", wrong.to_str().unwrap(), "members"]] {
        let ran = fleet.msync(0, args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
        assert!(!ran.err.is_empty());
    }
    fleet.msync(0, &["-K", &right_name, "members"]).ok();
    // Nothing to be had from a password file that has none.
    fs::write(&wrong, "\n").unwrap();
    let idle = Fleet::idle("no-password", 1);
    let ran = process::run(&mut idle.command(0, &["-K", wrong.to_str().unwrap()]));
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.starts_with("makuosan: -K "), "{ran:?}");
}

#[test]
fn a_root_directory_of_its_own() {
    if !is_root() {
        let fleet = Fleet::idle("no-chroot", 1);
        let ran = process::run(&mut fleet.command(0, &["-c"]));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        return skip("-c", "only root may change its root directory");
    }
    let fleet = Fleet::with("chroot", &[&["-c"], &["-c"], &[]]);
    tree::make_odd(&fleet.base(0));
    fleet.msync(0, &["send", "-r"]).ok();
    for at in 1..3 {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
    }
    tree::write(fleet.path(1, "extra"), "x");
    fleet.msync(2, &["--delete", "-r"]).ok();
    assert!(!fleet.path(1, "extra").exists());
    let status = fleet.console(1).ask("status");
    let line = format!("chroot  : {}", fleet.base(1).display());
    assert!(status.lines().any(|have| have.trim_end_matches('/') == line), "{line}: {status}");
    fleet.msync(0, &["check", "-r"]).ok();
}

#[test]
fn a_configuration_is_checked_and_nothing_started() {
    let fleet = Fleet::idle("check-config", 1);
    let mut asked = command(MAKUOSAN);
    asked.args(fleet.options(0)).args(["--check-config", "-T", "100"]);
    let ran = process::run(&mut asked).ok();
    for want in ["basedir", "group", "console", "sendrate: 100 Mbit/s", "name    : h0"] {
        assert!(ran.out.contains(want), "{want}: {ran:?}");
    }
    assert!(TcpStream::connect(fleet.address(0)).is_err());
    assert!(!fleet.path(0, ".makuosan").exists(), "it wrote something");
    for (options, word) in [
        (&["-b", "/no/such/directory"][..], "/no/such/directory"),
        (&["-T", "x"], "-T"),
        (&["-u", "no-such-user"], "no-such-user"),
        (&["-K", "/no/such/file"], "/no/such/file"),
        (&["-i", "192.0.2.1"], "192.0.2.1"),
    ] {
        let mut asked = command(MAKUOSAN);
        asked.args(fleet.options(0)).arg("--check-config").args(options);
        let ran = process::run(&mut asked);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{options:?}: {ran:?}");
        assert!(ran.err.contains(word) && ran.err.lines().count() == 1, "{ran:?}");
    }
}
