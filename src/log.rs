//! The log: lines of a level from 0 to 9, to syslog or standard error or both, with a limit on the
//! lines that other hosts can cause.
//!
//! One log for the program, set up once by [`init`]; before that nothing is written. A call costs a
//! comparison when its level is not shown, and takes its text unformatted for that reason:
//!
//! ```
//! use makuosan::log;
//! log::notice(format_args!("{} is now a member", "web1"));
//! ```
#![forbid(unsafe_code)]

mod level;
mod limit;

use crate::sys::localtime;
use crate::sys::syslog::Syslog;
use crate::time::Time;
pub use level::Level;
use limit::{Key, Limiter};
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The most bytes of a line's text. A path in escapes can take twice as much; its beginning says
/// enough.
const MAX_LINE: usize = 8_192;
static LOG: OnceLock<Log> = OnceLock::new();

/// How the log tells the time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The time that only goes forward.
    pub now: fn() -> Time,
    /// Seconds since 1970-01-01 00:00 UTC, and nanoseconds.
    pub wall: fn() -> (i64, u32),
}

/// Where lines go at first, and which.
#[derive(Debug)]
pub struct Setup {
    /// The highest level that is shown.
    pub level: Level,
    /// Whether lines go to standard error.
    pub stderr: bool,
    /// Where the syslog daemon is, if lines go there.
    pub syslog: Option<Syslog>,
    /// The clocks.
    pub clock: Clock,
}

/// Sets the log up, and loads the local time zone: so call it before a chroot. Only the first call
/// counts.
pub fn init(setup: Setup) {
    localtime::load();
    LOG.get_or_init(|| Log::new(setup));
}

/// Ends the lines on standard error: it is not ours any more.
pub fn leave_stderr() {
    if let Some(log) = LOG.get() {
        log.stderr.store(false, Ordering::Relaxed);
    }
}

/// Lines go to the syslog daemon that is there now.
pub fn reconnect() {
    if let Some(syslog) = LOG.get().and_then(|log| log.syslog.as_ref()) {
        syslog.lock().unwrap_or_else(PoisonError::into_inner).reconnect();
    }
}

/// The highest level that is shown.
pub fn level() -> Level {
    LOG.get().map_or(Level::DEFAULT, Log::level)
}

/// Shows levels up to `level` from now on.
pub fn set_level(level: Level) {
    if let Some(log) = LOG.get() {
        log.level.store(level.number(), Ordering::Relaxed);
    }
}

/// Shows one level more, and gives the highest that is shown now.
pub fn more() -> Level {
    set_level(Level::new(level().number().saturating_add(1)));
    level()
}

/// Shows one level less, and gives the highest that is shown now.
pub fn less() -> Level {
    set_level(Level::new(level().number().saturating_sub(1)));
    level()
}

/// Whether lines of `level` are shown.
pub fn shows(level: Level) -> bool {
    LOG.get().is_some_and(|log| log.shows(level))
}

/// Writes a line. Control bytes in it become `\ooo`, so that nothing that came from outside can look
/// like a second line.
pub fn line(level: Level, text: fmt::Arguments<'_>) {
    if let Some(log) = LOG.get().filter(|log| log.shows(level)) {
        log.write(level, text);
    }
}

/// A line of [`Level::ERROR`].
pub fn error(text: fmt::Arguments<'_>) {
    line(Level::ERROR, text);
}

/// A line of [`Level::WARNING`].
pub fn warning(text: fmt::Arguments<'_>) {
    line(Level::WARNING, text);
}

/// A line of [`Level::NOTICE`].
pub fn notice(text: fmt::Arguments<'_>) {
    line(Level::NOTICE, text);
}

/// A line of [`Level::INFO`].
pub fn info(text: fmt::Arguments<'_>) {
    line(Level::INFO, text);
}

/// A line of [`Level::DEBUG`].
pub fn debug(text: fmt::Arguments<'_>) {
    line(Level::DEBUG, text);
}

/// A line that another host can cause as often as it likes. Of those with the same `site` (a few
/// words for what it is, shown when lines are left out) and `about` (the host, if it matters which)
/// 5 are shown in a minute; then, once the minute is over, how many were not.
pub fn limited(level: Level, site: &'static str, about: Option<IpAddr>, text: fmt::Arguments<'_>) {
    if let Some(log) = LOG.get().filter(|log| log.shows(level)) {
        log.limited(level, Key { site, about }, limit::LINES, text);
    }
}

/// A line that is worth reading each time, and that other hosts can cause all the same: as [`limited`],
/// but 2,000 are shown in a minute.
pub fn many(level: Level, site: &'static str, text: fmt::Arguments<'_>) {
    if let Some(log) = LOG.get().filter(|log| log.shows(level)) {
        log.limited(level, Key { site, about: None }, limit::MANY, text);
    }
}

/// Writes what [`limited`] has left out in minutes that are over. To be called about once a second.
pub fn tick() {
    if let Some(log) = LOG.get() {
        log.tick();
    }
}

/// From now on a panic in any thread is a line of [`Level::ERROR`], besides what Rust itself prints on
/// standard error, which a daemon does not have.
pub fn report_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        error(format_args!("bug: {}", panic.to_string().replace('\n', " ")));
        before(panic);
    }));
}

#[derive(Debug)]
struct Log {
    level: AtomicU8,
    stderr: AtomicBool,
    syslog: Option<Mutex<Syslog>>,
    clock: Clock,
    limiter: Mutex<Limiter>,
}

impl Log {
    fn new(setup: Setup) -> Log {
        Log {
            level: AtomicU8::new(setup.level.number()),
            stderr: AtomicBool::new(setup.stderr),
            syslog: setup.syslog.map(Mutex::new),
            clock: setup.clock,
            limiter: Mutex::default(),
        }
    }

    fn level(&self) -> Level {
        Level::new(self.level.load(Ordering::Relaxed))
    }

    fn shows(&self, level: Level) -> bool {
        level.number() <= self.level().number()
    }

    fn write(&self, level: Level, text: fmt::Arguments<'_>) {
        let text = one_line(text);
        let (secs, nanos) = (self.clock.wall)();
        if self.stderr.load(Ordering::Relaxed) {
            let time = localtime::local(secs);
            let stamped = format!("{time}.{:03} {text}\n", nanos / 1_000_000);
            // In one piece, so that threads do not mix. There is nobody to tell that it failed.
            let _ = io::stderr().write_all(stamped.as_bytes());
        }
        if let Some(syslog) = &self.syslog {
            locked(syslog).line(level.severity(), secs, &text);
        }
    }

    fn limited(&self, level: Level, key: Key, most: u64, text: fmt::Arguments<'_>) {
        self.tick();
        let admitted = locked(&self.limiter).admit((self.clock.now)(), level, key, most);
        if admitted {
            self.write(level, text);
        }
    }

    fn tick(&self) {
        let ended = locked(&self.limiter).ended((self.clock.now)());
        for (key, level, count) in ended {
            self.write(level, format_args!("{key}: {count} more in a minute, not shown"));
        }
    }
}

/// A thread that panicked while it wrote leaves nothing that could be wrong.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The text with its control characters escaped, cut after [`MAX_LINE`] bytes.
fn one_line(text: fmt::Arguments<'_>) -> String {
    let mut line = OneLine { text: String::new(), full: false };
    // A line that is full stops the formatting with an error; what it has is the line.
    let _ = line.write_fmt(text);
    if line.full {
        line.text.push('…');
    }
    line.text
}

/// Unlike [`Escaped`](crate::name::Escaped) this leaves a backslash alone: paths in a line are
/// escaped already, and not to be escaped twice.
struct OneLine {
    text: String,
    full: bool,
}

impl fmt::Write for OneLine {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        for c in more.chars() {
            // An escape takes twice four bytes at most.
            if self.full || self.text.len() + 8 > MAX_LINE {
                self.full = true;
                return Err(fmt::Error);
            }
            if c.is_control() {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    write!(self.text, "\\{byte:03o}")?;
                }
            } else {
                self.text.push(c);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::{Alone, Finished, TempDir};
    use std::os::unix::net::UnixDatagram;
    use std::sync::atomic::AtomicU64;

    fn seconds(n: u64) -> Time {
        Time::from_micros(n * 1_000_000)
    }

    /// A clock that stands still unless pushed.
    static SECONDS: AtomicU64 = AtomicU64::new(1);
    const STANDING: Clock = Clock {
        now: || seconds(SECONDS.load(Ordering::Relaxed)),
        wall: || (1_000_000_000, 5_999_999),
    };

    fn on_stderr(level: Level) -> Setup {
        Setup { level, stderr: true, syslog: None, clock: STANDING }
    }

    /// The log lines on standard error, without the time.
    fn lines(done: &Finished) -> Vec<String> {
        let stamp = "2001-09-09 01:46:40.005 ";
        done.stderr().lines().filter_map(|l| Some(l.strip_prefix(stamp)?.to_owned())).collect()
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(one_line(format_args!("a\nb\x1b[0m\x7f\u{85}\\012 日")), {
            "a\\012b\\033[0m\\177\\302\\205\\012 日"
        });
        let exact = "x".repeat(MAX_LINE - 7);
        assert_eq!(one_line(format_args!("{exact}")), exact);
        let cut = one_line(format_args!("{exact}y{}", "z".repeat(1_000_000)));
        assert_eq!(cut, format!("{exact}…"));
    }

    #[test]
    fn what_is_shown_follows_the_level() {
        let alone = Alone::new(module_path!(), "what_is_shown_follows_the_level").env("TZ", "UTC");
        let done = alone.run(|_| {
            error(format_args!("before"));
            assert!(!shows(Level::ERROR));
            init(on_stderr(Level::DEFAULT));
            init(on_stderr(Level::TRACE));
            error(format_args!("a {}", 1));
            notice(format_args!("b"));
            info(format_args!("c"));
            assert_eq!(more().number(), 2);
            info(format_args!("d"));
            debug(format_args!("e"));
            assert!(shows(Level::INFO) && !shows(Level::DEBUG));
            set_level(Level::new(200));
            assert_eq!(more(), Level::TRACE);
            line(Level::TRACE, format_args!("f"));
            set_level(Level::NOTICE);
            assert_eq!((less(), less()), (Level::ERROR, Level::ERROR));
            notice(format_args!("g"));
            error(format_args!("h\ni"));
            leave_stderr();
            error(format_args!("after"));
        });
        done.success();
        assert_eq!(lines(&done), ["a 1", "b", "d", "f", "h\\012i"]);
    }

    #[test]
    fn a_panic_is_a_line() {
        let alone = Alone::new(module_path!(), "a_panic_is_a_line").env("TZ", "UTC");
        let done = alone.run(|_| {
            init(on_stderr(Level::ERROR));
            report_panics();
            let _ = std::thread::spawn(|| panic!("of {}", "fear")).join();
        });
        done.success();
        let lines = lines(&done);
        assert!(lines[0].starts_with("bug: panicked at src/log.rs:"), "{lines:?}");
        assert!(lines[0].ends_with(": of fear"), "{lines:?}");
    }

    #[test]
    fn left_out_lines_are_counted_when_the_minute_is_over() {
        let alone =
            Alone::new(module_path!(), "left_out_lines_are_counted_when_the_minute_is_over");
        let done = alone.env("TZ", "UTC").run(|_| {
            init(on_stderr(Level::NOTICE));
            let about = Some([10, 0, 0, 1].into());
            let flood = |count| {
                for n in 0..count {
                    limited(Level::NOTICE, "strangers", about, format_args!("n{n}"));
                    limited(Level::INFO, "strangers", about, format_args!("hidden"));
                }
            };
            flood(10_000);
            SECONDS.store(60, Ordering::Relaxed);
            tick();
            SECONDS.store(61, Ordering::Relaxed);
            flood(7);
            SECONDS.store(121, Ordering::Relaxed);
            tick();
            tick();
        });
        done.success();
        let five = ["n0", "n1", "n2", "n3", "n4"];
        let left_out = |n| format!("strangers (10.0.0.1): {n} more in a minute, not shown");
        let lines = lines(&done);
        assert_eq!(lines.len(), 12);
        assert_eq!(lines[..5], five);
        assert_eq!(lines[5], left_out(9_995));
        assert_eq!(lines[6..11], five);
        assert_eq!(lines[11], left_out(2));
    }

    #[test]
    fn lines_go_to_syslog_with_their_severity() {
        let dir = TempDir::new("log");
        let path = dir.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        daemon.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let syslog = Some(Syslog::open_at(&path, "makuosan"));
        let log = Log::new(Setup { level: Level::TRACE, stderr: false, syslog, clock: STANDING });
        for (level, priority) in [(0, 27), (1, 29), (2, 30), (4, 30), (5, 31), (9, 31)] {
            log.write(Level::new(level), format_args!("x\ny %s"));
            let mut buffer = [0; 256];
            let length = daemon.recv(&mut buffer).unwrap();
            let line = String::from_utf8_lossy(&buffer[..length]);
            assert!(line.starts_with(&format!("<{priority}>Sep  ")), "{line}");
            assert!(line.ends_with("]: x\\012y %s"), "{line}");
        }
    }
}
