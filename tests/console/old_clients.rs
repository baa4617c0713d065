//! What old clients say, byte for byte, to the real daemon, and what they make of its answers.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::common::{Console, Fleet, LONG, now, tree};

/// Says `line` and reads until the answer ends with the prompt, and nothing may come after that. As
/// all clients do, it drops the signs of life.
fn exchange(stream: &mut TcpStream, line: &str) -> String {
    stream.write_all(line.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4_096];
    while answer != b"> " && !answer.ends_with(b"\n> ") {
        let got = match stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.unwrap(),
        };
        assert!(got > 0, "closed after {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..got]);
    }
    let answer = String::from_utf8(answer).unwrap();
    answer.split_inclusive('\n').filter(|line| *line != "alive\n").collect()
}

#[test]
fn the_c_msync() {
    let fleet = Fleet::new("c-msync", 2);
    tree::write(fleet.path(0, "dir/a b"), b"1");
    tree::write(fleet.path(0, "dir/c"), b"2");
    let mut stream = TcpStream::connect(fleet.address(0)).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(exchange(&mut stream, ""), "> ");
    assert_eq!(exchange(&mut stream, "alive on\r\n"), "> ");
    assert_eq!(exchange(&mut stream, "loglevel 1\r\n"), "> ");
    let lines = exchange(&mut stream, "send -n -r dir\r\n");
    let lines: Vec<&str> = lines.lines().collect();
    let would = ["", "/a b", "/c"].map(|name| format!("(dryrun) update h1:dir{name}"));
    assert_eq!(lines, [&would[0], &would[1], &would[2], "> "]);
    let lines = exchange(&mut stream, "send -r  dir\r\n");
    let did = ["", "/a b", "/c"].map(|name| format!("update h1:dir{name}"));
    assert_eq!(lines.lines().collect::<Vec<_>>(), [&did[0], &did[1], &did[2], "> "]);
    // What is there already is not said at this level.
    assert_eq!(exchange(&mut stream, "send -r -t h1 dir/\r\n"), "> ");
    assert_eq!(exchange(&mut stream, "loglevel 2\r\n"), "> ");
    let lines = exchange(&mut stream, "send dir/a\\ b\r\n");
    assert!(lines.ends_with("skip   h1:dir/a b\n> "), "{lines}");
    let unknown = "error: h9 is not contained in members\n> ";
    assert_eq!(exchange(&mut stream, "send -t h9 dir\r\n"), unknown);
    let address = fleet.ip(1);
    let members = format!("h1 {address} (Ver{})\nTotal: 1 members\n> ", makuosan::VERSION);
    assert_eq!(exchange(&mut stream, "members\r\n"), members);
    stream.write_all(b"quit\r\n").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}

#[test]
fn the_php_extension() {
    let fleet = Fleet::new("php", 2);
    tree::write(fleet.path(0, "a"), b"1");
    let mut stream = TcpStream::connect(fleet.address(0)).unwrap();
    // It gives up after a second of silence.
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let began = now();
    assert_eq!(exchange(&mut stream, ""), "> ");
    assert_eq!(exchange(&mut stream, "alive on\r\n"), "> ");
    assert!(now() - began < Duration::from_secs(1));
    let missing = "error: No such file or directory gone\n> ";
    assert_eq!(exchange(&mut stream, "send -r -n gone\r\n"), missing);
    let would = exchange(&mut stream, "send -r -n \r\n");
    assert_eq!(would, "(dryrun) [update:a]\n> ");
    assert_eq!(exchange(&mut stream, "send -r -t h1 a\r\n"), "> ");
    assert_eq!(fs::read(fleet.path(1, "a")).unwrap(), b"1");
    let status = exchange(&mut stream, "status\r\n");
    assert_eq!(exchange(&mut stream, "status\r\n"), status);
    let keys: Vec<&str> = status.lines().filter_map(|l| l.split_once(": ")).map(|l| l.0).collect();
    let padded =
        ["process ", "version ", "basedir ", "mfalloc ", "recvsize", "sendsize", "command "];
    assert_eq!(keys[..7], padded);
    // Then what those clients do not know.
    assert_eq!(keys[7..], ["send op ", "recv op ", "confined"]);
    let members = exchange(&mut stream, "members\r\n");
    let second = members.lines().next().and_then(|line| line.split_whitespace().nth(1));
    assert_eq!(second, Some(fleet.ip(1).to_string().as_str()));
}

#[test]
fn telnet() {
    let fleet = Fleet::new("telnet", 1);
    let mut console = Console::connect(fleet.address(0));
    console.write(b"\r\nnonsense x\r\nalive\r\necho a\\ b  c\r\nloglevel 10\r\nbye\r\nechoes\r\n");
    let said = String::from_utf8(console.rest()).unwrap();
    let expected = "> > mexec: command error 'nonsense'\n> alive off\n> a b c\n> usage: loglevel ";
    assert!(said.starts_with(expected), "{said}");
    assert!(said.ends_with("\n> ") && !said.contains("echoes"), "{said}");
    for word in ["send", "members", "status", "quit"] {
        assert!(fleet.console(0).ask("help").contains(&format!("\n  {word}")), "{word}");
        assert!(
            fleet.console(0).ask(&format!("help {word}")).starts_with(&format!("usage: {word}"))
        );
    }
}
