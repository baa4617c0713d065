//! Into the background, in such a way that the shell learns whether the daemon really runs.
//!
//! The process that was started waits until its child says that it is up, or why it failed, or dies;
//! only then does it end, with the exit status that fits.

use super::cvt::{cvt, cvt_r};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The byte that says "up" in the pipe to the waiting parent.
const UP: u8 = b'+';
/// The byte before the text of a failure.
const FAILED: u8 = b'-';
/// The most bytes of a failure's text that are shown.
const MAX_MESSAGE: u64 = 65_536;

/// How the daemon says that it is up, or that it failed to start. Dropping it says that it failed.
#[derive(Debug)]
#[must_use = "whoever started the daemon waits for it"]
pub struct Readiness(Option<Waiting>);

/// The parent that waits.
#[derive(Debug)]
struct Waiting {
    pipe: File,
    /// `/dev/null`, opened before a chroot could put it out of reach.
    null: File,
}

/// Goes on in a background process, in a session of its own, whose standard streams stay as they are
/// until [`Readiness::up`]. In the process that was started this does not return: it ends with
/// status 0 after `up`, else with 1 and a line on standard error.
///
/// It forks twice: a session's leader that opens a terminal device gets it as its controlling
/// terminal, with the signals of its keys, and this program opens what it finds in a tree. The second
/// process is no leader.
///
/// To be called before any thread exists, and before signals are blocked, so that the process that
/// waits can be ended by a key.
///
/// # Errors
/// There are other threads (`Other`); `/dev/null` cannot be opened; no pipe or no process is to be
/// had. Nothing has changed then.
pub fn detach() -> io::Result<Readiness> {
    if !single_threaded() {
        return Err(io::Error::other("cannot fork while other threads run"));
    }
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let (answer, pipe) = pipe()?;
    // What is buffered would be written by both.
    io::stdout().flush()?;
    match fork()? {
        Some(child) => {
            drop(pipe);
            reap(child);
            wait_until_up(answer)
        }
        None => {
            drop(answer);
            let ready = Readiness(Some(Waiting { pipe, null }));
            // SAFETY: takes nothing. It cannot fail: this process is new, so it leads no group.
            unsafe { libc::setsid() };
            match fork() {
                Ok(Some(_)) => exit_now(0),
                Ok(None) => Ok(ready),
                Err(why) => ready.failed(&format!("makuosan: cannot fork: {why}")),
            }
        }
    }
}

/// Whether this is the first process of its PID namespace: in a container, often.
pub fn is_first_process() -> bool {
    std::process::id() == 1
}

/// What a daemon that stays in the foreground has instead of [`detach`]: nobody waits.
pub fn foreground() -> Readiness {
    Readiness(None)
}

/// Leaves the directory that the daemon was started in, so that it can be unmounted. Only once every
/// relative path has been opened or made absolute.
///
/// # Errors
/// What chdir(2) says.
pub fn leave_directory() -> io::Result<()> {
    std::env::set_current_dir("/")
}

impl Readiness {
    /// The daemon is up: lets go of the standard streams (they become `/dev/null`), and the process
    /// that was started ends with status 0. In the foreground this does nothing.
    ///
    /// # Errors
    /// What dup2(2) says. That nobody waits any more is no error.
    pub fn up(self) -> io::Result<()> {
        let Some(Waiting { mut pipe, null }) = self.0 else { return Ok(()) };
        for stream in 0..=2 {
            // SAFETY: the numbers of the standard streams belong to no owner that could miss them.
            cvt(unsafe { libc::dup2(null.as_raw_fd(), stream) })?;
        }
        match pipe.write_all(&[UP]) {
            Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(why),
            _ => Ok(()),
        }
    }

    /// The daemon could not start: `message` goes to the standard error of the process that was
    /// started, which ends with status 1, as does this one.
    pub fn failed(self, message: &str) -> ! {
        let told = match self.0 {
            Some(Waiting { mut pipe, .. }) => {
                let mut answer = vec![FAILED];
                answer.extend_from_slice(message.as_bytes());
                pipe.write_all(&answer).is_ok()
            }
            None => false,
        };
        if !told {
            complain(message);
        }
        exit_now(1)
    }
}

/// Waits for what the child has to say, and ends as it wants.
fn wait_until_up(answer: File) -> ! {
    let mut said = Vec::new();
    // Not to the end of the pipe if the child is up: a descriptor may be kept longer.
    let mut first = [0];
    let mut answer = answer.take(MAX_MESSAGE);
    let message = match answer.read_exact(&mut first) {
        Ok(()) if first == [UP] => exit_now(0),
        Ok(()) => answer.read_to_end(&mut said).map(|_| String::from_utf8_lossy(&said)),
        Err(why) => Err(why),
    };
    match message {
        Ok(message) => complain(&message),
        Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => {
            complain("makuosan: the daemon ended before it was up");
        }
        Err(why) => complain(&format!("makuosan: no word from the daemon: {why}")),
    }
    exit_now(1)
}

/// A line on standard error. There is nobody to tell that it could not be written.
fn complain(message: &str) {
    let _ = io::stderr().write_all(format!("{message}\n").as_bytes());
}

/// Whether this thread is the only one; also true where `/proc` cannot be read.
pub(super) fn single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").map_or(true, |tasks| tasks.count() <= 1)
}

/// A pipe that no program started from here inherits: the end to read from, the end to write to.
pub(super) fn pipe() -> io::Result<(File, File)> {
    let mut ends = [-1; 2];
    // SAFETY: `ends` has room for two.
    cvt(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: both descriptors are new and nobody else's.
    let [read, write] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
    Ok((File::from(read), File::from(write)))
}

/// The child's id in the parent, none in the child.
pub(super) fn fork() -> io::Result<Option<libc::pid_t>> {
    // SAFETY: whoever calls this has made sure that there is one thread, so the child finds no lock held by
    // a thread that it does not have.
    let child = cvt(unsafe { libc::fork() })?;
    Ok((child != 0).then_some(child))
}

/// Waits for the end of a child that ends at once.
pub(super) fn reap(child: libc::pid_t) {
    // SAFETY: the status is not asked for. There is no error but that it is gone already.
    let _ = cvt_r(|| unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) });
}

/// Ends the process without running what was registered for its end, which after a fork is
/// somebody else's.
pub(super) fn exit_now(status: libc::c_int) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(status) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::{self, Alone};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::Path;
    use std::time::Duration;

    fn own_pid() -> libc::pid_t {
        // SAFETY: takes nothing.
        unsafe { libc::getpid() }
    }

    /// Tells the first to ask at `listener`.
    fn tell(listener: &UnixListener, report: &str) {
        listener.accept().unwrap().0.write_all(report.as_bytes()).unwrap();
    }

    fn ask(dir: &Path) -> String {
        let mut stream = UnixStream::connect(dir.join("report")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut report = String::new();
        stream.read_to_string(&mut report).unwrap();
        report
    }

    #[test]
    fn the_one_who_started_it_waits_until_it_is_up() {
        let alone = Alone::new(module_path!(), "the_one_who_started_it_waits_until_it_is_up");
        let done = alone.run(|dir| {
            let ready = detach().unwrap();
            alone::deadline();
            // Else the test would wait for the end of these streams anyhow.
            let null = File::options().write(true).open("/dev/null").unwrap();
            for stream in [1, 2] {
                // SAFETY: numbers only.
                cvt(unsafe { libc::dup2(null.as_raw_fd(), stream) }).unwrap();
            }
            std::thread::sleep(Duration::from_millis(200));
            std::fs::write(dir.join("nearly up"), "").unwrap();
            ready.up().unwrap();
        });
        done.success();
        assert!(done.dir().join("nearly up").exists());
    }

    #[test]
    fn it_lets_go_of_terminal_streams_and_session() {
        let alone = Alone::new(module_path!(), "it_lets_go_of_terminal_streams_and_session");
        let done = alone.run(|dir| {
            // SAFETY: 0 is this process.
            let old_session = unsafe { libc::getsid(0) };
            let ready = detach().unwrap();
            alone::deadline();
            leave_directory().unwrap();
            let listener = UnixListener::bind(dir.join("report")).unwrap();
            complain("still heard");
            ready.up().unwrap();
            complain("not heard");
            let link = |fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
            // SAFETY: takes nothing, or 0 for this process.
            let (session, group) = unsafe { (libc::getsid(0), libc::getpgrp()) };
            let report = format!(
                "{:?} {:?} {:?} {:?} own session {} own group {} leader {} terminal {}",
                link(0),
                link(1),
                link(2),
                std::env::current_dir().unwrap(),
                session != old_session,
                group == session,
                session == own_pid(),
                File::open("/dev/tty").is_ok(),
            );
            tell(&listener, &report);
        });
        // It is there, and still there: nothing was held that this waited for.
        done.success();
        assert_eq!(
            ask(done.dir()),
            "\"/dev/null\" \"/dev/null\" \"/dev/null\" \"/\" own session true own group true \
             leader false terminal false"
        );
        assert!(done.stderr().contains("still heard\n"));
        assert!(!done.stderr().contains("not heard"));
    }

    #[test]
    fn a_failure_is_told_where_it_was_started() {
        let alone = Alone::new(module_path!(), "a_failure_is_told_where_it_was_started");
        let done = alone.run(|_| {
            let ready = detach().unwrap();
            alone::deadline();
            ready.failed("makuosan: port 5000: Address already in use");
        });
        assert_eq!(done.status(), 1);
        assert_eq!(done.stderr().matches("port 5000: Address already in use\n").count(), 1);
    }

    #[test]
    fn a_death_without_a_word_is_a_failure() {
        let alone = Alone::new(module_path!(), "a_death_without_a_word_is_a_failure");
        let done = alone.run(|_| {
            let _ready = detach().unwrap();
            // SAFETY: numbers only.
            unsafe { libc::kill(own_pid(), libc::SIGKILL) };
        });
        assert_eq!(done.status(), 1);
        assert!(done.stderr().contains("makuosan: the daemon ended before it was up\n"));
    }

    #[test]
    fn a_readiness_forgotten_is_a_failure() {
        let alone = Alone::new(module_path!(), "a_readiness_forgotten_is_a_failure");
        let done = alone.run(|_| {
            drop(detach().unwrap());
            alone::deadline();
        });
        assert_eq!(done.status(), 1);
        assert!(done.stderr().contains("before it was up"));
    }

    #[test]
    fn it_goes_on_when_nobody_waits_any_more() {
        let alone = Alone::new(module_path!(), "it_goes_on_when_nobody_waits_any_more");
        let done = alone.run(|dir| {
            let started = own_pid();
            let ready = detach().unwrap();
            alone::deadline();
            let listener = UnixListener::bind(dir.join("report")).unwrap();
            // SAFETY: numbers only; gone at last is ESRCH.
            while unsafe { libc::kill(started, libc::SIGKILL) } == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
            let up = ready.up();
            tell(&listener, &format!("{up:?}"));
        });
        assert_eq!(done.status(), 128 + libc::SIGKILL);
        assert_eq!(ask(done.dir()), "Ok(())");
    }

    #[test]
    fn with_a_second_thread_it_refuses() {
        let alone = Alone::new(module_path!(), "with_a_second_thread_it_refuses");
        alone
            .run(|_| {
                let (go, wait) = std::sync::mpsc::channel::<()>();
                let thread = std::thread::spawn(move || wait.recv());
                assert!(detach().is_err());
                go.send(()).unwrap();
                thread.join().unwrap().unwrap();
            })
            .success();
    }

    #[test]
    fn in_the_foreground_all_is_told_directly() {
        let alone = Alone::new(module_path!(), "in_the_foreground_all_is_told_directly");
        let done = alone.run(|_| {
            foreground().up().unwrap();
            complain("still heard");
            foreground().failed("no such directory");
        });
        assert_eq!(done.status(), 1);
        assert!(done.stderr().contains("still heard\nno such directory\n"), "{}", done.stderr());
    }
}
