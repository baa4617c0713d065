//! Daemons that are played, and how a run of `msync` against one of them ends.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// No test comes near it; it only ends one that went wrong.
pub const LONG: Duration = Duration::from_secs(20);

/// What a played daemon is told, and what it then answers. What it says first is the prompt.
pub type Script = Vec<(String, String)>;

/// A played daemon on a socket of its own.
pub struct Daemon {
    pub target: String,
    thread: thread::JoinHandle<Vec<String>>,
    called: Arc<AtomicBool>,
    call: Box<dyn FnOnce()>,
}

pub trait Socket: Read + Write + Send {}
impl Socket for TcpStream {}
impl Socket for UnixStream {}

impl Daemon {
    /// A daemon whose side of the one connection it takes is `play`, on TCP.
    pub fn tcp(play: impl FnOnce(Box<dyn Socket>) -> Vec<String> + Send + 'static) -> Daemon {
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
    pub fn unix(
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
    pub fn script(greeting: &str, script: Script) -> Daemon {
        let greeting = greeting.to_owned();
        Daemon::tcp(move |stream| play(stream, &greeting, script))
    }

    /// What it was told. A daemon that nobody called is called now, so that it ends.
    pub fn told(self) -> Vec<String> {
        if !self.called.load(Ordering::SeqCst) {
            (self.call)();
        }
        self.thread.join().unwrap()
    }
}

/// Plays a script and returns all lines that came; stops answering at the first that is not in it.
pub fn play(stream: Box<dyn Socket>, greeting: &str, script: Script) -> Vec<String> {
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
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

pub fn ran(status: i32, out: &str, err: &str) -> Ran {
    Ran { status, out: out.to_owned(), err: err.to_owned() }
}

pub fn msync(target: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_msync"));
    command.env_remove("MSYNC_TARGET").current_dir("/").stdin(Stdio::null());
    if !target.is_empty() {
        command.args(["-c", target]);
    }
    command
}

pub fn finish(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs `msync` with `args` against a daemon that plays `script`; it must say just that, and quit.
pub fn against(script: Script, args: &[&str]) -> Ran {
    let mut expected: Vec<String> = script.iter().map(|(line, _)| line.clone()).collect();
    expected.push("quit".to_owned());
    let daemon = Daemon::script("> ", script);
    let ran = finish(msync(&daemon.target.clone()).args(args));
    assert_eq!(daemon.told(), expected, "{ran:?}");
    ran
}

pub fn script(steps: &[(&str, &str)]) -> Script {
    steps.iter().map(|&(line, answer)| (line.to_owned(), answer.to_owned())).collect()
}

/// How a new daemon answers until the first `send`.
pub fn new_daemon(level: u8, steps: &[(&str, &str)]) -> Script {
    let loglevel = format!("loglevel {level}");
    let start = [("alive on", "> "), (&loglevel, "> "), ("progress total", "> ")];
    // With a summary, hosts that are absent are asked for.
    let absent = [("report absent", "> ")];
    let absent = if level > 0 { &absent[..] } else { &[] };
    script(&[&start, absent, steps].concat())
}

/// How an old daemon answers until the first `send`.
pub fn old_daemon(level: u8, steps: &[(&str, &str)]) -> Script {
    let loglevel = format!("loglevel {level}");
    let unknown = "mexec: command error 'progress'\n> ";
    let start = [("alive on", "> "), (&loglevel, "> "), ("progress total", unknown)];
    script(&[&start, steps].concat())
}

pub const STATUS: &str =
    "process : 1\r\nversion : 1.3.6\r\nbasedir : /nowhere/base/\r\nmfalloc : 0\r\n> ";
pub const MEMBERS: &str = "web1 10.0.0.1 (Ver1.3.6)\r\nTotal: 1 members\r\n> ";

/// A directory of a test's own, removed at its end.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new(name: &str) -> Dir {
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
