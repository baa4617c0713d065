//! For tests: a test's body in a process of its own with one thread, so that it may fork, change its
//! ids or its root, or redirect its standard streams.
//!
//! The test program is run again for this one test; there the body runs in a fork of the test's
//! thread, which is then the only thread.

use super::cvt::cvt_r;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Names the test that is to run alone.
const MARK: &str = "MAKUOSAN_TEST_ALONE";
/// Names the directory of that test.
const DIR: &str = "MAKUOSAN_TEST_DIR";
/// Seconds after which a body that hangs is killed.
const LIMIT: u32 = 30;

/// A test about to run in a process of its own.
pub struct Alone {
    name: String,
    env: Vec<(OsString, OsString)>,
}

impl Alone {
    /// For the test `name` in `module` (what `module_path!()` gives).
    pub fn new(module: &str, name: &str) -> Self {
        let inner = module.split_once("::").map_or(module, |(_crate, rest)| rest);
        Alone { name: format!("{inner}::{name}"), env: Vec::new() }
    }

    /// With one more environment variable.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.into(), value.as_ref().into()));
        self
    }

    /// Runs `body` there, with an empty directory of its own, and gives what came of it once its
    /// output is at its end. In the other process this does not return: its status is 0 if `body`
    /// came to its end, 101 if it panicked.
    pub fn run(self, body: impl FnOnce(&Path)) -> Finished {
        if std::env::var(MARK).as_deref() == Ok(self.name.as_str()) {
            let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
            run_here(|| body(&dir));
        }
        let dir = TempDir::new("alone");
        let output = Command::new(std::env::current_exe().unwrap())
            .args([self.name.as_str(), "--exact", "--nocapture", "--test-threads=1"])
            .env(MARK, &self.name)
            .env(DIR, dir.path())
            .envs(self.env)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Finished { output, dir }
    }
}

/// What came of a test that ran alone.
pub struct Finished {
    output: Output,
    dir: TempDir,
}

impl Finished {
    /// The exit status; a signal counts 128 more.
    pub fn status(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let status = self.output.status;
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }

    /// What it wrote on standard error.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// The directory it had, until this is dropped.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Asserts status 0.
    pub fn success(&self) {
        assert_eq!(self.status(), 0, "{}", self.stderr());
    }
}

fn run_here(body: impl FnOnce()) -> ! {
    // SAFETY: the child uses only memory and what libc makes good after a fork (its allocator); the
    // only other thread is the test harness's, waiting for this one with no lock held.
    let child = unsafe { libc::fork() };
    if child == 0 {
        deadline();
        let fine = catch_unwind(AssertUnwindSafe(body)).is_ok();
        exit_now(if fine { 0 } else { 101 });
    }
    exit_now(wait_for(child));
}

/// Waits for the child `pid`; its exit status, a signal counting 128 more.
fn wait_for(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is good for the call.
    cvt_r(|| unsafe { libc::waitpid(pid, &mut status, 0) }).unwrap();
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

/// Ends this process at once, without what is to run at exit.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: ends the process; nothing is used afterwards.
    unsafe { libc::_exit(status) }
}

/// Has this process killed when it takes too long. A fork has to say it anew.
pub fn deadline() {
    // SAFETY: a number goes in, a number comes out.
    unsafe { libc::alarm(LIMIT) };
}

/// Whether this is root.
pub fn is_root() -> bool {
    super::ids::effective().uid == 0
}

/// Says that a test was skipped, past the harness, which hides what a passing test prints.
pub fn skipped(why: &str) {
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    let _ = writeln!(io::stderr(), "skipped: {name}: {why}");
}

/// A directory of a test's own, removed when dropped. Others may enter it.
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes one; `label` tells whose it is.
    pub fn new(label: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("makuosan-{label}-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        TempDir(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
