//! `msync` against daemons that are played: an old one and a new one, byte for byte over TCP and
//! over a Unix socket, and the console of this package itself.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use makuosan::console::{self, Offer, Session};

/// No test comes near it; it only ends one that went wrong.
const LONG: Duration = Duration::from_secs(20);

/// What a played daemon is told, and what it then answers. What it says first is the prompt.
type Script = Vec<(String, String)>;

/// A played daemon on a socket of its own.
struct Daemon {
    target: String,
    thread: thread::JoinHandle<Vec<String>>,
    called: Arc<AtomicBool>,
    call: Box<dyn FnOnce()>,
}

trait Socket: Read + Write + Send {}
impl Socket for TcpStream {}
impl Socket for UnixStream {}

impl Daemon {
    /// A daemon whose side of the one connection it takes is `play`, on TCP.
    fn tcp(play: impl FnOnce(Box<dyn Socket>) -> Vec<String> + Send + 'static) -> Daemon {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let called = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&called);
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            told.store(true, Ordering::SeqCst);
            stream.set_read_timeout(Some(LONG)).unwrap();
            drop(listener);
            play(Box::new(stream))
        });
        let call = Box::new(move || drop(TcpStream::connect(address)));
        Daemon { target: format!("tcp:{address}"), thread, called, call }
    }

    /// The same on a Unix socket.
    fn unix(
        path: &Path,
        play: impl FnOnce(Box<dyn Socket>) -> Vec<String> + Send + 'static,
    ) -> Daemon {
        let listener = UnixListener::bind(path).unwrap();
        let called = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&called);
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            told.store(true, Ordering::SeqCst);
            stream.set_read_timeout(Some(LONG)).unwrap();
            drop(listener);
            play(Box::new(stream))
        });
        let place = path.to_owned();
        let call = Box::new(move || drop(UnixStream::connect(place)));
        Daemon { target: format!("unix:{}", path.display()), thread, called, call }
    }

    /// A daemon that plays a script: it greets, and gives each answer if it was told just that.
    fn script(greeting: &str, script: Script) -> Daemon {
        let greeting = greeting.to_owned();
        Daemon::tcp(move |stream| play(stream, &greeting, script))
    }

    /// What it was told. A daemon that nobody called is called now, so that it ends.
    fn told(self) -> Vec<String> {
        if !self.called.load(Ordering::SeqCst) {
            (self.call)();
        }
        self.thread.join().unwrap()
    }
}

/// Plays a script and returns all lines that came; stops answering at the first that is not in it.
fn play(stream: Box<dyn Socket>, greeting: &str, script: Script) -> Vec<String> {
    let mut stream = BufReader::new(stream);
    let mut told = Vec::new();
    let mut script = script.into_iter();
    let mut answer = greeting.to_owned();
    loop {
        if stream.get_mut().write_all(answer.as_bytes()).is_err() {
            return told;
        }
        let mut line = Vec::new();
        match stream.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return told,
            Ok(_) => {}
        }
        let line = String::from_utf8(line).unwrap().trim_end_matches('\n').to_owned();
        told.push(line.clone());
        match script.next() {
            Some((expected, next)) if expected == line => answer = next,
            _ => return told,
        }
    }
}

/// How a run of `msync` ended.
#[derive(PartialEq, Eq, Debug)]
struct Ran {
    status: i32,
    out: String,
    err: String,
}

fn ran(status: i32, out: &str, err: &str) -> Ran {
    Ran { status, out: out.to_owned(), err: err.to_owned() }
}

fn msync(target: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_msync"));
    command.env_remove("MSYNC_TARGET").current_dir("/").stdin(Stdio::null());
    if !target.is_empty() {
        command.args(["-c", target]);
    }
    command
}

fn finish(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs `msync` with `args` against a daemon that plays `script`; it must say just that, and quit.
fn against(script: Script, args: &[&str]) -> Ran {
    let mut expected: Vec<String> = script.iter().map(|(line, _)| line.clone()).collect();
    expected.push("quit".to_owned());
    let daemon = Daemon::script("> ", script);
    let ran = finish(msync(&daemon.target.clone()).args(args));
    assert_eq!(daemon.told(), expected, "{ran:?}");
    ran
}

fn script(steps: &[(&str, &str)]) -> Script {
    steps.iter().map(|&(line, answer)| (line.to_owned(), answer.to_owned())).collect()
}

/// How a new daemon answers until the first `send`.
fn new_daemon(level: u8, steps: &[(&str, &str)]) -> Script {
    let loglevel = format!("loglevel {level}");
    let start = [("alive on", "> "), (&loglevel, "> "), ("progress total", "> ")];
    script(&[&start, steps].concat())
}

/// How an old daemon answers until the first `send`.
fn old_daemon(level: u8, steps: &[(&str, &str)]) -> Script {
    let loglevel = format!("loglevel {level}");
    let unknown = "mexec: command error 'progress'\n> ";
    let start = [("alive on", "> "), (&loglevel, "> "), ("progress total", unknown)];
    script(&[&start, steps].concat())
}

const STATUS: &str =
    "process : 1\r\nversion : 1.3.6\r\nbasedir : /nowhere/base/\r\nmfalloc : 0\r\n> ";
const MEMBERS: &str = "web1 10.0.0.1 (Ver1.3.6)\r\nTotal: 1 members\r\n> ";

/// A directory of a test's own, removed at its end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let own = format!("msync-console-{}-{name}", std::process::id());
        let path = std::env::temp_dir().canonicalize().unwrap().join(own);
        fs::create_dir(&path).unwrap();
        Dir(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

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
    let unknown = ran(2, "", "error: y is not contained in members\n");
    assert_eq!(against(new_daemon(0, &[("send -t y -r", answer)]), &["-rt", "y"]), unknown);
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
    let expected = "msync: a\\012: this daemon is too old to be told such a name\n";
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
    let whole = "msync: .: the base directory itself is meant with -r alone\n";
    assert_eq!(against(new_daemon(0, &steps), &["."]), ran(1, "", whole));
}

#[test]
fn no_daemon_is_one_clear_line() {
    let refused = "msync: cannot reach the daemon at tcp:127.0.0.1:1: Connection refused\n";
    assert_eq!(finish(msync("tcp:127.0.0.1:1").arg("-r")), ran(1, "", refused));
    let missing = "msync: cannot reach the daemon at unix:/nowhere/s: No such file or directory\n";
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

/// This package's own console, which answers every `send` with one update.
fn own_console(mut stream: Box<dyn Socket>) -> Vec<String> {
    let mut session = Session::new(Offer { send: true, status: true, ..Offer::default() });
    let mut told = Vec::new();
    let mut piece = [0; 7];
    loop {
        while let Some(command) = session.next_command() {
            match command {
                console::Command::Send(send) => {
                    told.push(makuosan::name::Escaped(send.path.as_bytes()).to_string());
                    session.line(1, &format!("update host:{}", send.path));
                    let total = console::reply::Total { hosts: 1, ..Default::default() };
                    session.total(&total);
                }
                console::Command::Status { .. } => session.line(0, "basedir : /nowhere/"),
                other => told.push(format!("{other:?}")),
            }
            session.finish();
        }
        let count = session.output().len();
        if stream.write_all(session.output()).is_err() {
            return told;
        }
        session.consume(count);
        if session.is_closed() {
            return told;
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return told,
            Ok(count) => session.input(&piece[..count]),
        }
    }
}

#[test]
fn every_name_reaches_the_console_of_this_package() {
    let mut names: Vec<Vec<u8>> =
        (1..=255_u8).filter(|b| !b"./".contains(b)).map(|b| vec![b]).collect();
    names.extend([b"a b ".to_vec(), b"> x".to_vec(), b"\"q\" \\ ".to_vec(), b"\\".to_vec()]);
    names.extend([b"-r".to_vec(), b"--".to_vec(), b"\xff/\xfe\n".to_vec(), "日本".into()]);
    let daemon = Daemon::tcp(own_console);
    let target = daemon.target.clone();
    let done =
        finish(msync(&target).arg("-v").arg("--").args(names.iter().map(|n| OsStr::from_bytes(n))));
    let shown: Vec<String> =
        names.iter().map(|name| makuosan::name::Escaped(name).to_string()).collect();
    let mut expected = shown.clone();
    expected.push("Quit".to_owned());
    assert_eq!(daemon.told(), expected);
    let lines: String = shown.iter().map(|name| format!("update host:{name}\n")).collect();
    assert_eq!((done.status, done.out), (0, lines));
}
