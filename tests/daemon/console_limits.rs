//! Clients of the console that mean no good, or nothing: what they can take of the daemon.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::common::process::status_of;
use crate::common::{Console, Fleet, LONG, eventually, now, tree};

/// The resident memory of a daemon, in KiB.
fn resident(fleet: &mut Fleet, at: usize) -> u64 {
    let pid = fleet.daemon(at).pid();
    status_of(format!("/proc/{pid}"), "VmRSS:")[0].parse().unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, LONG).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

/// As many lines as would fill much more memory than a daemon may use for a client.
const MANY: usize = 40_000;

/// Says `text` again and again, as fast as it is taken, [`MANY`] times or until nothing was taken for half a
/// second; how often all of it went.
fn pour(stream: &mut (impl Write + Read), text: &[u8]) -> usize {
    let (mut sent, mut last) = (0, now());
    let end = now() + Duration::from_secs(8);
    while last.elapsed() < Duration::from_millis(500) && now() < end && sent < MANY * text.len() {
        match stream.write(&text[sent % text.len()..]) {
            Ok(wrote) => (sent, last) = (sent + wrote, now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
    sent / text.len()
}

/// Reads until there were so many prompts.
fn prompts(stream: &mut impl Read, want: usize) -> bool {
    let (mut got, mut buffer, mut tail) = (0, vec![0; 1 << 16], Vec::new());
    let end = now() + LONG;
    while got < want && now() < end {
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(some) => {
                tail.extend_from_slice(&buffer[..some]);
                got += tail.windows(2).filter(|two| two == b"> ").count();
                tail.drain(..tail.len() - 1);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
    got >= want
}

#[test]
fn answers_that_nobody_reads_take_no_memory_and_come_when_they_are_read() {
    let socket = "socket";
    let mut fleet = Fleet::idle("unread", 1);
    let path = fleet.dir().join(socket);
    let listen = fleet.address(0).to_string();
    fleet.start(0, &["-U", path.to_str().unwrap(), "-l", &listen]);
    let before = resident(&mut fleet, 0);
    for text in [&b"status\n"[..], b"help\n", b"nonsense\n", b"help send\n"] {
        let mut tcp = connect(fleet.address(0));
        tcp.write_all(b"echo\n").unwrap();
        tcp.set_nonblocking(true).unwrap();
        let poured = pour(&mut tcp, text);
        assert!(poured > 100, "{poured}");
        let after = resident(&mut fleet, 0);
        assert!(
            after < before + 4_096,
            "{before} KiB, then {after} KiB with {poured} lines unread"
        );
        // Nobody else notices.
        assert_eq!(fleet.console(0).ask("members"), "Total: 0 members\n");
        assert!(prompts(&mut tcp, poured + 2), "not all of {poured} lines were answered");
    }
    let mut unix = UnixStream::connect(&path).unwrap();
    unix.set_nonblocking(true).unwrap();
    let poured = pour(&mut unix, b"status\n");
    let after = resident(&mut fleet, 0);
    assert!(after < before + 4_096, "{before} KiB, then {after} KiB with {poured} lines unread");
    assert!(prompts(&mut unix, poured + 1), "not all of {poured} lines were answered");
}

/// What a connection gets until it is closed; None if it is not closed.
fn rest(mut stream: TcpStream, limit: Duration) -> Option<String> {
    stream.set_read_timeout(Some(limit)).unwrap();
    let mut text = Vec::new();
    let ended = stream.read_to_end(&mut text);
    let closed = ended.map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true);
    closed.then(|| String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn idle_connections_shut_nobody_out() {
    let mut fleet = Fleet::with("idle-clients", &[&["-T", "8"], &[]]);
    tree::write(fleet.path(0, "big"), tree::bytes(5 << 20, 1));
    // The oldest of all has a command at work, the next one works now and then.
    let mut busy = fleet.console(0);
    busy.write(b"send big\n");
    fleet.wait_until_staged(1);
    let mut used = fleet.console(0);
    let mut idle: Vec<TcpStream> = (0..62).map(|_| connect(fleet.address(0))).collect();
    for stream in &mut idle {
        stream.read_exact(&mut [0; 2]).unwrap();
    }
    assert_eq!(used.ask("echo x"), "x\n");
    // All places are taken.
    for _ in 0..3 {
        assert_eq!(fleet.msync(0, &["members"]).ok().out.lines().last(), Some("Total: 1 members"));
    }
    fleet.daemon(0).wait_for_log("idle the longest");
    // Who was first at the prompt has gone, and was told.
    let said = rest(idle.remove(0), LONG);
    assert_eq!(said.as_deref(), Some("error: too many clients\n"));
    assert_eq!(rest(idle.pop().unwrap(), Duration::from_millis(200)), None);
    assert_eq!(used.ask("echo x"), "x\n");
    assert_eq!(busy.answer(), "");
    assert_eq!(fleet.path(1, "big").metadata().unwrap().len(), 5 << 20);
}

#[test]
fn before_the_password_too_nobody_is_shut_out() {
    let mut fleet = Fleet::idle("idle-password", 1);
    let secret = fleet.dir().join("secret");
    tree::write(&secret, "open sesame\n");
    tree::set_mode(&secret, 0o600);
    let secret = secret.to_str().unwrap().to_owned();
    fleet.start(0, &["-K", &secret]);
    // Somebody who knows it waits at the prompt, longest of all.
    let mut known = Console::connect(fleet.address(0));
    known.write(b"open sesame\necho x\n");
    // The first prompt comes behind the password's, and not at the beginning of a line.
    assert_eq!(known.answer(), "password: \u{1b}]E\r> x\n");
    let idle: Vec<TcpStream> = (0..150).map(|_| connect(fleet.address(0))).collect();
    for _ in 0..3 {
        let ran = fleet.msync(0, &["-K", &secret, "members"]).ok();
        assert_eq!(ran.out, "Total: 0 members\n");
    }
    drop(idle);
    known.write(b"echo y\n");
    assert_eq!(known.answer(), "y\n");
}

#[test]
fn what_other_programs_say_first_closes_a_connection_over_tcp() {
    let mut fleet = Fleet::idle("first-words", 2);
    let socket = fleet.dir().join("socket");
    let listen = fleet.address(0).to_string();
    fleet.start(0, &["-U", socket.to_str().unwrap(), "-l", &listen]);
    fleet.start(1, &[]);
    fleet.wait_for_members();
    tree::write(fleet.path(0, "file"), "x");
    for first in [
        // dict://, ftp://, smtp://, imap://, ldap://, redis, memcached, gopher, ssh, rsync, a proxy
        "CLIENT libcurl 8.5.0",
        "USER anonymous",
        "EHLO example.org",
        "a1 CAPABILITY",
        "\x30\x0c\x02\x01\x01",
        "*1",
        "set x 0 0 1",
        "SSH-2.0-OpenSSH_9.2p1",
        "@RSYNCD: 31.0",
        "PROXY TCP4 127.0.0.1 127.0.0.1 1 2",
        "GET / HTTP/1.1",
        "SEND -r",
        "sends -r",
        "\"",
        "{\"jsonrpc\":\"2.0\"}",
    ] {
        let mut stream = connect(fleet.address(0));
        stream.write_all(format!("{first}\r\nsend -r\r\nstatus\r\n").as_bytes()).unwrap();
        let said = rest(stream, LONG).unwrap_or_else(|| panic!("{first:?}: not closed"));
        assert!(said.starts_with("> ") && !said.contains("process"), "{first:?}: {said}");
        assert!(said.lines().count() <= 2, "{first:?}: {said}");
    }
    assert!(!fleet.path(1, "file").exists(), "a line was obeyed");
    // Who types a wrong word later, or by hand on a Unix socket, is only told.
    let mut console = fleet.console(0);
    assert_eq!(console.ask("echo x"), "x\n");
    assert_eq!(console.ask("nonsense"), "mexec: command error 'nonsense'\n");
    assert_eq!(Console::open_unix(&socket).ask("nonsense"), "mexec: command error 'nonsense'\n");
    assert_eq!(console.ask("send -r"), "");
    assert!(fleet.path(1, "file").exists());
}

#[test]
fn who_says_nothing_at_first_is_closed_after_a_minute() {
    let mut fleet = Fleet::idle("first-line", 2);
    let secret = fleet.dir().join("secret");
    tree::write(&secret, "open sesame\n");
    tree::set_mode(&secret, 0o600);
    fleet.start(0, &[]);
    fleet.start(1, &["-K", secret.to_str().unwrap()]);
    let mut patient = fleet.console(0);
    assert_eq!(patient.ask("echo x"), "x\n");
    let began = now();
    let silent = connect(fleet.address(0));
    let mut slow = connect(fleet.address(0));
    slow.write_all(b"statu").unwrap();
    let locked = connect(fleet.address(1));
    let mut guess = connect(fleet.address(1));
    guess.write_all(b"open sesam").unwrap();
    let limit = Duration::from_secs(80);
    let said: Vec<Option<String>> =
        [silent, slow, locked, guess].into_iter().map(|stream| rest(stream, limit)).collect();
    let took = began.elapsed();
    let prompt = |text: &str| Some(text.to_owned());
    let password = "password: \u{1b}]E";
    assert_eq!(said, [prompt("> "), prompt("> "), prompt(password), prompt(password)]);
    assert!((50..80).contains(&took.as_secs()), "{took:?}");
    fleet.daemon(0).wait_for_log("closed: it sent no command");
    fleet.daemon(1).wait_for_log("closed: it gave no password");
    // At the prompt one may stay.
    assert_eq!(patient.ask("echo x"), "x\n");
}

#[test]
fn a_script_that_has_ended_its_input_gets_all_its_answers() {
    let fleet = Fleet::new("half-closed", 1);
    let mut stream = connect(fleet.address(0));
    let lines = 3_000;
    stream.write_all("help\n".repeat(lines).as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(prompts(&mut stream, lines + 1));
    eventually("its end", || stream.read(&mut [0; 100]).is_ok_and(|got| got == 0));
}
