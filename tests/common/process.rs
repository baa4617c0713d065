//! The two programs as processes.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{LONG, eventually, within};

pub const MAKUOSAN: &str = env!("CARGO_BIN_EXE_makuosan");
pub const MSYNC: &str = env!("CARGO_BIN_EXE_msync");

/// A command that knows nothing of the environment that the tests run in.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MAKUOSAN") || name == "MSYNC_TARGET" {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Sends a signal, by its name without SIG.
pub fn signal(pid: u32, name: &str) {
    let kill = format!("kill -{name} {pid}");
    let done = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(done.success(), "{kill}");
}

/// Whether a process is there and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    let state = |status: String| status.lines().any(|line| line.starts_with("State:\tZ"));
    std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| !state(status))
}

/// The words after `key` in the status of a process or thread, by its directory below `/proc`.
#[track_caller]
pub fn status_of(process: impl AsRef<std::path::Path>, key: &str) -> Vec<String> {
    let status = std::fs::read_to_string(process.as_ref().join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_ascii_whitespace().map(str::to_owned).collect()
}

/// The processor time that a process has used, in hundredths of a second.
pub fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, which may hold anything: state, …, utime and stime (proc_pid_stat(5)).
    let words: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    words[11].parse::<u64>().unwrap() + words[12].parse::<u64>().unwrap()
}

/// A daemon in the foreground. Dropping it kills it.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Starts what `command` says, keeps its standard error, and waits until it is ready.
    #[track_caller]
    pub fn start(command: &mut Command) -> Daemon {
        let mut daemon = Daemon::spawn(command);
        let ready = |daemon: &mut Daemon| {
            let ended = daemon.child.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended at its start: {}", daemon.log());
            daemon.log().contains("pid       : ").then_some(())
        };
        within(LONG, "the daemon's pid line", || ready(&mut daemon));
        daemon
    }

    /// Starts it, and does not wait.
    pub fn spawn(command: &mut Command) -> Daemon {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&log);
        let reader = thread::spawn(move || {
            let mut lines = BufReader::new(stderr);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|got| got > 0) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Daemon { child, log, reader: Some(reader) }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written on its standard error so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it has written this.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        eventually(&format!("{text:?} in the log"), || self.log().contains(text));
    }

    /// Sends it a signal, by its name without SIG.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for its end, at most `limit`.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let status = within(limit, "the daemon's end", || self.child.try_wait().unwrap());
        self.reader.take().into_iter().for_each(|reader| reader.join().unwrap());
        status
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.reader.take().into_iter().for_each(|reader| reader.join().unwrap());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = self.log();
            // The last lines say most.
            let from = log.len().saturating_sub(4_000);
            let from = (from..log.len()).find(|&at| log.is_char_boundary(at)).unwrap_or(0);
            eprintln!("--- log of process {}:\n{}---", self.pid(), &log[from..]);
        }
    }
}

/// What became of a program.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status; None if a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Its `error:` lines.
    pub fn errors(&self) -> Vec<&str> {
        self.err.lines().filter(|line| line.starts_with("error:")).collect()
    }

    /// Fails the test unless everything went well; there may be a summary on standard error.
    #[track_caller]
    pub fn well(self) -> Ran {
        assert_eq!((self.code, self.err.contains("error")), (Some(0), false), "{self:?}");
        self
    }

    /// Fails the test unless everything went well, without a word on standard error.
    #[track_caller]
    pub fn ok(self) -> Ran {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{self:?}");
        self
    }
}

/// A program that runs. Dropping it kills it.
pub struct Running {
    child: Child,
    out: Option<JoinHandle<Vec<u8>>>,
    err: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    pub fn spawn(command: &mut Command) -> Running {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        fn drain(mut pipe: impl Read + Send + 'static) -> Option<JoinHandle<Vec<u8>>> {
            Some(thread::spawn(move || {
                let mut all = Vec::new();
                let _ = pipe.read_to_end(&mut all);
                all
            }))
        }
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        Running { child, out: drain(out), err: drain(err) }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Kills it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Ran {
        // Longer than any limit of the programs themselves.
        let limit = LONG * 3;
        let status = within(limit, "a program's end", || self.child.try_wait().unwrap());
        let text = |pipe: Option<JoinHandle<Vec<u8>>>| {
            String::from_utf8_lossy(&pipe.unwrap().join().unwrap()).into_owned()
        };
        Ran { code: status.code(), out: text(self.out.take()), err: text(self.err.take()) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Ran {
    Running::spawn(command).end()
}

/// `makuosan` in mount and user namespaces of its own, if need be: `setup` is shell code that runs
/// there first, with `dir` as its only argument. None, said aloud, where no namespace is to be had.
pub fn in_mount_namespace(what: &str, setup: &str, dir: &Path) -> Option<Command> {
    // Without root a user namespace gives the right to mount; the user stays who it is, so that files
    // have the owners that they have everywhere.
    let options: &[&str] = match super::is_root() {
        true => &["-m"],
        false => &["-U", "-m", "--map-current-user", "--keep-caps"],
    };
    let probe = Command::new("unshare")
        .args(options)
        .args(["sh", "-c", "mount -t tmpfs tmpfs /mnt"])
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        super::skip(what, &format!("no tmpfs under unshare {}", options.join(" ")));
        return None;
    }
    let mut command = command("unshare");
    let script = format!("set -e; {setup}; shift; exec \"$@\"");
    command.args(options).args(["sh", "-c", &script, "sh"]).arg(dir).arg(MAKUOSAN);
    Some(command)
}

/// As [`in_mount_namespace`], for `setup` that may fail where a file system cannot be made: it is tried
/// first, in a namespace that ends with it. None, said aloud, if it fails.
pub fn in_mounts(what: &str, setup: &str, dir: &Path) -> Option<Command> {
    let command = in_mount_namespace(what, setup, dir)?;
    let args: Vec<_> = command.get_args().collect();
    // The last word is the daemon's name.
    let trial = Command::new("unshare").args(&args[..args.len() - 1]).arg("true").output().unwrap();
    if !trial.status.success() {
        let why = String::from_utf8_lossy(&trial.stderr);
        super::skip(what, why.lines().next().unwrap_or("it cannot be mounted"));
        return None;
    }
    Some(command)
}
