//! The password of the console: `msync` with one, and the real daemon that wants one.

use std::fs;
use std::time::Duration;

use crate::common::{Console, Fleet, now, tree};
use crate::played::*;

const ASK: &str = "password: \x1b]E";

#[test]
fn the_password_is_said_when_it_is_asked_for() {
    let dir = Dir::new("password");
    let file = dir.0.join("password");
    fs::write(&file, "open \\ sesame\r\nmore\n").unwrap();
    let with = |greeting: &str, script: Script, args: &[&str]| {
        let daemon = Daemon::script(greeting, script);
        let target = daemon.target.clone();
        let done = finish(msync(&target).args(args));
        let told = daemon.told();
        (told, ran(done.status, &done.out, &done.err.replace(&target, "TARGET")))
    };
    let file = file.to_str().unwrap();
    let password = "open \\ sesame";
    let steps = [(password, "\r> "), ("alive on", "> "), ("members", MEMBERS)];
    let (told, done) = with(ASK, script(&steps), &["members", "-K", file]);
    assert_eq!(told, [password, "alive on", "members", "quit"]);
    assert_eq!(done, ran(0, "web1 10.0.0.1 (Ver1.3.6)\nTotal: 1 members\n", ""));
    // A daemon that wants none is told none.
    let (told, done) = with("> ", script(&steps[1..]), &["members", "-K", file]);
    assert_eq!((told.len(), done.status), (3, 0));

    let wrong = "msync: the daemon at TARGET rejects the password of -K\n";
    for answer in ["\rsorry.\n", ASK] {
        let (told, done) = with(ASK, script(&[(password, answer)]), &["members", "-K", file]);
        assert_eq!((told, done), (vec![password.to_owned(), "quit".to_owned()], ran(1, "", wrong)));
    }
    let none = "msync: the daemon at TARGET wants a password (-K FILE)\n";
    let (told, done) = with(ASK, vec![], &["members"]);
    assert_eq!((told, done), (vec!["quit".to_owned()], ran(1, "", none)));
}

#[test]
fn a_password_file_that_has_none_is_one_clear_line() {
    let dir = Dir::new("no-password");
    let file = dir.0.join("empty");
    fs::write(&file, "\nlate\n").unwrap();
    let file = file.to_str().unwrap();
    let why = format!("msync: -K {file}: no password in its first line\n");
    assert_eq!(finish(msync("/nowhere/s").args(["-r", "-K", file])), ran(1, "", &why));
    let missing = "msync: -K /nowhere/x: No such file or directory\n";
    assert_eq!(finish(msync("/nowhere/s").args(["-r", "-K", "/nowhere/x"])), ran(1, "", missing));
}

#[test]
fn the_daemon_lets_in_who_knows_the_password() {
    let mut fleet = Fleet::idle("password", 1);
    let file = fleet.dir().join("password");
    fs::write(&file, "open sesame\n").unwrap();
    tree::set_mode(&file, 0o600);
    let file = file.to_str().unwrap().to_owned();
    fleet.start(0, &["-K", &file]);
    let address = fleet.address(0);
    // Whether or not the client waits to be asked.
    let mut right = Console::connect(address);
    right.write(b"open sesame\r\nalive on\r\necho x\r\nquit\r\n");
    assert_eq!(right.rest(), format!("{ASK}\r> > x\n> ").as_bytes());
    let done = finish(msync(&fleet.target(0)).args(["members", "-K", &file]));
    assert_eq!(done, ran(0, "Total: 0 members\n", ""));

    let sorry = format!("{ASK}\rsorry.\n");
    let guess = |password: &[u8]| {
        let began = now();
        let mut console = Console::connect(address);
        console.write(password);
        (console.rest(), now() - began)
    };
    for password in [&b"open sesam\n"[..], b"\n", b"GET / HTTP/1.1\r\n"] {
        assert_eq!(guess(password).0, sorry.as_bytes());
    }
    fleet.daemon(0).wait_for_log(": wrong password");
    // Three were wrong, so that two more from anywhere, at the same time, take their time; so does
    // the right one, which otherwise could be told by that.
    let mut both: Vec<Console> = (0..2).map(|_| Console::connect(address)).collect();
    let began = now();
    both.iter_mut().for_each(|console| console.write(b"sesame\n"));
    for console in &mut both {
        assert_eq!(console.rest(), sorry.as_bytes());
    }
    assert!(now() - began >= Duration::from_millis(3_500), "{:?}", now() - began);
    let (answer, took) = guess(b"open sesame\nquit\n");
    assert_eq!(answer, format!("{ASK}\r> ").as_bytes());
    assert!(took >= Duration::from_millis(1_500), "{took:?}");
}
