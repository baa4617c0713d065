//! The console of a real daemon: what is said byte for byte, and clients that misbehave.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use makuosan::console::json::Value;

use crate::common::process::{self, ticks};
use crate::common::{Console, Fleet, eventually, now, tree};

/// Writes `bytes` at once, and gives everything that comes until the daemon closes.
#[track_caller]
fn talk(fleet: &Fleet, at: usize, bytes: &str) -> String {
    let mut console = Console::connect(fleet.address(at));
    console.write(bytes.as_bytes());
    String::from_utf8(console.rest()).unwrap()
}

#[test]
fn the_old_dialogue_byte_for_byte() {
    let fleet = Fleet::new("dialogue", 2);
    tree::write(fleet.path(0, "dir/file"), "x");
    // As telnet does it, line by line, with CRLF.
    let mut console = Console::connect(fleet.address(0));
    assert_eq!(console.answer(), "");
    console.write(b"send -r\r\n");
    assert_eq!(console.answer(), "");
    assert!(fleet.path(1, "dir/file").exists(), "the prompt came before the file");
    console.write(b"quit\r\n");
    assert_eq!(console.rest(), b"");

    // As a script does it, all at once. Lines that come early wait for their turn.
    tree::write(fleet.path(0, "dir/other"), "y");
    let lines = "loglevel 1\nsend -r\n\nsend -r\nloglevel 2\nsend -r\nquit\nsend -r\n";
    let skips = "skip   h1:dir\nskip   h1:dir/file\nskip   h1:dir/other\n";
    let want = format!("> > update h1:dir/other\n> > > > {skips}> ");
    assert_eq!(talk(&fleet, 0, lines), want);
}

#[test]
fn small_commands() {
    let fleet = Fleet::new("commands", 1);
    let mut console = fleet.console(0);
    for (line, want) in [
        ("", ""),
        ("   ", ""),
        ("nonsense", "mexec: command error 'nonsense'\n"),
        ("SEND -r", "mexec: command error 'SEND'\n"),
        ("alive", "alive off\n"),
        ("alive on", ""),
        ("alive", "alive on\n"),
        ("echo one  two", "one two\n"),
        ("echo \"> one\"", "\\076 one\n"),
        ("loglevel 2", ""),
        ("progress", "progress off\n"),
        ("members", "Total: 0 members\n"),
    ] {
        assert_eq!(console.ask(line), want, "{line}");
    }
    // A setting lasts as long as its connection.
    assert_eq!(fleet.console(0).ask("alive"), "alive off\n");
    for line in ["send -t", "send -x", "send a b \"", "loglevel x", "send \"a\\400\""] {
        let answer = console.ask(line);
        assert!(answer.starts_with("error: ") || answer.starts_with("usage: "), "{line}: {answer}");
    }
    for line in ["help", "send", "help send"] {
        assert!(console.ask(line).contains("send [-r]"), "{line}");
    }
    for end in ["quit", "exit", "bye"] {
        assert_eq!(talk(&fleet, 0, &format!("{end}\nmembers\n")), "> ");
    }
    // Clients compare two answers.
    assert_eq!(console.ask("status"), console.ask("status"));
    let status = console.ask("status");
    let keys: Vec<&str> = status.lines().map(|line| line.split_once(": ").unwrap().0).collect();
    let want = [
        "process ", "version ", "basedir ", "mfalloc ", "recvsize", "sendsize", "command ",
        "send op ", "recv op ", "confined",
    ];
    assert_eq!(keys, want);
    let json = console.ask("status json");
    assert!(json.starts_with('{') && json.ends_with("}\n") && json.lines().count() == 1, "{json}");
}

#[test]
fn status_tells_what_a_daemon_was_started_with_and_how_the_last_send_ended() {
    let mut fleet = Fleet::idle("status", 2);
    let socket = fleet.dir().join("socket");
    let tcp = fleet.address(0).to_string();
    fleet.start(0, &["-T", "1000", "-l", &tcp, "-U", socket.to_str().unwrap()]);
    let line = |fleet: &Fleet, key: &str| {
        let status = fleet.msync(0, &["-v", "status"]).ok().out;
        let found = status.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
        found.unwrap_or_else(|| panic!("{key}: {status}"))
    };
    let json =
        |fleet: &Fleet| Value::parse(&fleet.msync(0, &["--json", "status"]).ok().out).unwrap();
    assert_eq!(line(&fleet, "name    : "), "h0");
    let group = format!("{}:{}, interface {}", fleet.group(), fleet.address(0).port(), fleet.ip(0));
    assert_eq!(line(&fleet, "group   : "), group);
    let consoles = format!("tcp:{}, unix:{}", fleet.address(0), socket.display());
    assert_eq!(line(&fleet, "console : "), consoles);
    assert_eq!(
        (line(&fleet, "key     : "), line(&fleet, "last    : ")),
        ("none".into(), "none".into())
    );
    assert!(line(&fleet, "started : ").starts_with("20"));
    tree::write(fleet.path(0, "f"), vec![1; 3_000_000]);
    let written = u64::try_from(fs::metadata(fleet.path(0, "f")).unwrap().mtime()).unwrap();
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::number).unwrap();
    let started = number(&json(&fleet), "started");
    assert!((written - 60..=written).contains(&started), "{started} {written}");
    // Without any member, with one, and of what is not there.
    assert_eq!(fleet.msync(0, &["send", "-r"]).code, Some(2));
    assert!(line(&fleet, "last    : ").contains(", send -r: incomplete, hosts=0 "));
    fleet.start(1, &[]);
    fleet.wait_for_members();
    fleet.msync(0, &["send", "-r"]).ok();
    // What was sent until a moment ago is no difference between two answers.
    let mut console = fleet.console(0);
    assert_eq!(console.ask("status"), console.ask("status"));
    let last = line(&fleet, "last    : ");
    assert!(
        last.contains(", send -r: complete, hosts=1 failed=0 files=1 bytes=3000000 "),
        "{last}"
    );
    assert_eq!(fleet.msync(0, &["send", "-r", "f", "nowhere"]).code, Some(2));
    let status = json(&fleet);
    let last = status.get("last").unwrap();
    let text = |key| last.get(key).and_then(Value::text).unwrap();
    assert_eq!((text("command"), text("result")), ("send -r nowhere", "incomplete"));
    assert_eq!(number(last, "errors"), 1);
}

#[test]
fn lines_that_are_too_long_or_never_end() {
    let fleet = Fleet::new("long-lines", 1);
    let mut console = fleet.console(0);
    console.ask("echo the first line has to be a command");
    assert_eq!(console.ask(&"x".repeat(8_192)).len(), 8_192 + "mexec: command error ''\n".len());
    let error = "error: a line has at most 8192 bytes\n";
    assert_eq!(console.ask(&"x".repeat(8_193)), error);
    assert_eq!(console.ask(&"x".repeat(1 << 20)), error);
    assert_eq!(console.ask("members"), "Total: 0 members\n");
    // A line that is never ended is not obeyed, and its client no burden.
    let mut endless = Console::connect(fleet.address(0));
    endless.write(&vec![b'x'; 1 << 20]);
    drop(endless);
    // Any bytes are a line.
    let mut odd = fleet.console(0);
    odd.ask("echo the first line decides whether it is a browser");
    odd.write(b"\x00\x01\xff\xfe\x80\n");
    let answer = odd.answer();
    assert!(answer.starts_with("mexec: command error '") && answer.is_ascii(), "{answer}");
}

#[test]
fn a_browser_cannot_command() {
    let fleet = Fleet::new("http", 2);
    tree::write(fleet.path(0, "file"), "x");
    let long = format!("GET /{} HTTP/1.1", "x".repeat(10_000));
    for first in ["GET / HTTP/1.1", "POST /x HTTP/1.0", "OPTIONS * HTTP/1.1", long.as_str()] {
        let request = format!("{first}\r\nHost: 127.0.0.1\r\n\r\nsend -r\r\n");
        assert_eq!(talk(&fleet, 0, &request), "> ", "{first}");
    }
    assert_eq!(fleet.console(0).ask("members").lines().count(), 2);
    assert!(!fleet.path(1, "file").exists());
}

#[test]
fn sixty_four_clients_at_work_and_one_more() {
    let mut fleet = Fleet::with("clients", &[&["--timeout", "60"], &[]]);
    tree::write(fleet.path(0, "file"), "x");
    let mut clients: Vec<Console> = (0..64).map(|_| fleet.console(0)).collect();
    // All wait for a member that does not answer.
    fleet.daemon(1).signal("STOP");
    let (last, others) = clients.split_last_mut().unwrap();
    others.iter_mut().for_each(|client| client.write(b"send -r\n"));
    eventually("63 commands", || last.ask("status").contains("command : 63\n"));
    assert_eq!(last.ask("alive on"), "");
    last.write(b"send -r\n");
    for _ in 0..3 {
        let mut more = Console::connect(fleet.address(0));
        assert_eq!(more.rest(), b"error: too many clients\n");
    }
    let ran = fleet.msync(0, &["members"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    let refused = format!("msync: the daemon at {} refused\n", fleet.target(0));
    assert_eq!(ran.err, format!("error: too many clients\n{refused}"));
    // One that leaves makes room.
    drop(clients.pop());
    eventually("room", || fleet.msync(0, &["members"]).code == Some(0));
    fleet.daemon(1).signal("CONT");
    for client in &mut clients {
        assert_eq!(client.answer(), "");
        assert_eq!(client.ask("members").lines().last(), Some("Total: 1 members"));
    }
    assert!(fleet.path(1, "file").exists());
}

#[test]
fn signs_of_life_and_progress() {
    let fleet = Fleet::with("alive", &[&["-T", "16"], &[]]);
    tree::write(fleet.path(0, "big"), tree::bytes(5 << 20, 1));
    let mut console = fleet.console(0);
    assert_eq!((console.ask("alive on"), console.ask("progress on")), Default::default());
    let busy = fleet.console(0);
    let answer = console.ask("send -r");
    drop(busy);
    let lines: Vec<&str> = answer.lines().collect();
    assert!(lines.iter().filter(|line| **line == "alive").count() >= 1, "{answer}");
    let mut done = 0;
    let progress = lines.iter().filter(|line| line.starts_with("progress ")).count();
    assert!(progress >= 5, "{answer}");
    for line in &lines {
        use makuosan::console::reply::Progress;
        if let Some(progress) = Progress::parse(line.as_bytes()) {
            assert!(progress.bytes_done >= done, "{answer}");
            assert_eq!(progress.hosts, 1);
            done = progress.bytes_done;
        }
    }
    assert!(done > 1 << 20, "{answer}");
    assert!(lines.last().unwrap().starts_with("total hosts=1 failed=0 files=1 bytes=5242880 "));
}

/// With one batch at a time, little is said once a transfer pauses.
const ONE: &[&str] = &["-f", "1"];

/// A fleet whose sender has a Unix socket too, which holds little on the way; and `count` files with
/// long names.
fn fleet_for_the_deaf(name: &str, count: usize, options: &[&str]) -> (Fleet, PathBuf) {
    let mut fleet = Fleet::idle(name, 3);
    let socket = fleet.dir().join("console");
    let listen = fleet.address(0).to_string();
    let unix = ["-U", socket.to_str().unwrap(), "-l", &listen];
    fleet.start(0, &[options, &unix].concat());
    fleet.start(1, &[]);
    fleet.start(2, &[]);
    fleet.wait_for_members();
    for at in 0..count {
        let name = format!("many/{}{at:05}", "n".repeat(240));
        tree::write(fleet.path(0, name), tree::bytes(100, at as u64));
    }
    (fleet, socket)
}

/// Whether a host sends anything.
fn sends(fleet: &Fleet) -> bool {
    fleet.console(0).ask("status").contains("send op : 1\n")
}

/// Waits until no more files arrive at a host, though some are missing.
#[track_caller]
fn wait_for_a_pause(fleet: &Fleet, count: usize) {
    let arrived = || fs::read_dir(fleet.path(1, "many")).map_or(0, |names| names.count());
    let mut last = (0, now());
    eventually("a pause", || {
        let some = arrived();
        if some != last.0 {
            last = (some, now());
        }
        some > 0 && last.1.elapsed() > Duration::from_millis(300)
    });
    assert!(arrived() < count, "it was not held up at all: more lines are needed");
    assert!(sends(fleet));
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody_else() {
    let count = 4_000;
    let (mut fleet, socket) = fleet_for_the_deaf("deaf", count, ONE);
    let mut deaf = Console::open_unix(&socket);
    deaf.write(b"loglevel 1\nsend -r\n");
    wait_for_a_pause(&fleet, count);
    // Nobody has anything to do now.
    let pid = fleet.daemon(0).pid();
    let before = ticks(pid);
    thread::sleep(Duration::from_millis(500));
    let spent = ticks(pid) - before;
    assert!(spent < 25, "{spent} of 50 ticks while it waits for its client");
    // Somebody else is served as if nothing were.
    for at in 0..5 {
        let path = format!("other/{at}");
        tree::write(fleet.path(0, &path), "x");
        let began = now();
        fleet.msync(0, &["send", &path]).ok();
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert!(fleet.path(2, &path).exists());
    }
    assert!(sends(&fleet));
    // For whoever reads in the end, everything is there.
    assert_eq!(deaf.answer(), "");
    let answer = deaf.answer();
    let updates = answer.lines().filter(|line| line.starts_with("update h")).count();
    // The directory has a line, too, and one that others made on the way may have one.
    assert!((2 * count..=2 * (count + 3)).contains(&updates), "{updates}");
    eventually("the end", || !sends(&fleet));
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

/// Memory of a process that is not of files, in bytes.
fn memory(pid: u32) -> u64 {
    process::status_of(format!("/proc/{pid}"), "RssAnon:")[0].parse::<u64>().unwrap() << 10
}

#[test]
fn what_is_unread_takes_little_memory() {
    let count = 16_000;
    let mut fleet = Fleet::new("unread", 9);
    let name = "n".repeat(240);
    for at in 0..count {
        tree::write(fleet.path(0, format!("many/{name}-{at}")), "");
    }
    fleet.msync(0, &["send", "-r"]).ok();
    let pid = fleet.daemon(0).pid();
    let before = memory(pid);
    let mut deaf = Console::open(fleet.address(0));
    // A line for each file and host: 35 MB. The batches on their way take some 10.
    deaf.write(b"loglevel 2\nsend -r\n");
    let mut most = 0;
    for _ in 0..40 {
        thread::sleep(Duration::from_millis(50));
        most = most.max(memory(pid).saturating_sub(before));
    }
    assert!(sends(&fleet), "it was not held up at all");
    assert!(most < 16 << 20, "{most} bytes more");
    assert_eq!(deaf.answer(), "");
    let answer = deaf.answer();
    let skips = answer.lines().filter(|line| line.starts_with("skip")).count();
    assert!(skips >= 8 * count, "{skips}");
    eventually("the end", || !sends(&fleet));
}

#[test]
fn a_pause_within_a_file_takes_no_time() {
    let count = 3_000;
    let (mut fleet, socket) = fleet_for_the_deaf("pause-within", count, &["-T", "32"]);
    tree::write(fleet.path(0, "zz-big"), tree::bytes(5 << 20, 1));
    let mut deaf = Console::open_unix(&socket);
    deaf.write(b"loglevel 1\nsend -r\n");
    eventually("all small files", || {
        fs::read_dir(fleet.path(1, "many")).map_or(0, |names| names.count()) == count
    });
    // As long again as the big one takes without a pause.
    thread::sleep(Duration::from_millis(1_500));
    assert!(sends(&fleet) && !fleet.path(1, "zz-big").exists(), "it was not held up at all");
    let pid = fleet.daemon(0).pid();
    let before = ticks(pid);
    thread::sleep(Duration::from_millis(500));
    let spent = ticks(pid) - before;
    assert!(spent < 25, "{spent} of 50 ticks while it waits for its client");
    assert_eq!(deaf.answer(), "");
    assert_eq!(deaf.answer().lines().filter(|line| line.starts_with("error")).count(), 0);
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(2));
}

/// For how many seconds a host has heard nothing of `h0`.
fn silence(fleet: &Fleet, at: usize) -> u64 {
    let json = fleet.console(at).ask("members json");
    let member = json.split("{\"name\":\"h0\"").nth(1).unwrap();
    let seconds = member.split("\"last_heard_s\":").nth(1).unwrap();
    seconds.split(['}', ',']).next().unwrap().parse().unwrap()
}

#[test]
fn a_pause_of_any_length_is_no_end() {
    let count = 4_000;
    let (fleet, socket) = fleet_for_the_deaf("long-pause", count, ONE);
    let mut deaf = Console::open_unix(&socket);
    deaf.write(b"loglevel 1\nsend -r\n");
    wait_for_a_pause(&fleet, count);
    // The targets would end the transfer if they heard nothing for half a minute. They hear
    // something every second or two; at most one HELLO falls into this while.
    let deadline = now() + Duration::from_secs(7);
    while now() < deadline {
        for at in 1..3 {
            assert!(silence(&fleet, at) < 3, "h{at} hears nothing");
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(deaf.answer(), "");
    assert_eq!(deaf.answer().lines().filter(|line| line.starts_with("error")).count(), 0);
    for at in 1..3 {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
    }
}

#[test]
fn a_client_that_leaves_without_reading_ends_its_transfer() {
    let mut fleet = Fleet::idle("left", 2);
    let socket = fleet.dir().join("console");
    let listen = fleet.address(0).to_string();
    fleet.start(0, &["-T", "8", "-U", socket.to_str().unwrap(), "-l", &listen]);
    fleet.start(1, &[]);
    fleet.wait_for_members();
    tree::write(fleet.path(0, "big"), tree::bytes(5 << 20, 1));
    for unix in [true, false] {
        // Over TCP only who asked for signs of life is known to be gone and not just quiet.
        let mut console = match unix {
            true => Console::open_unix(&socket),
            false => fleet.console(0),
        };
        console.write(if unix { &b"send -r\n"[..] } else { b"alive on\nsend -r\n" });
        fleet.wait_until_staged(1);
        drop(console);
        fleet.wait_until_clean(Duration::from_secs(2));
        eventually("nothing is open", || !sends(&fleet));
        assert!(!fleet.path(1, "big").exists());
    }
}

#[test]
fn a_script_that_only_ends_its_input_gets_its_answer() {
    let mut fleet = Fleet::new("half-closed", 2);
    tree::write(fleet.path(0, "big"), tree::bytes(5 << 20, 1));
    let mut script = Console::connect(fleet.address(0));
    script.write(b"loglevel 1\nsend -r\nmembers");
    script.end_input();
    // A line without an end is none.
    assert_eq!(script.rest(), b"> > update h1:big\n> ");
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    let pid = fleet.daemon(0).pid();
    let before = ticks(pid);
    thread::sleep(Duration::from_millis(200));
    assert!(ticks(pid) - before < 10);
}
