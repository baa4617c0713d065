//! Lines to the local syslog daemon.
//!
//! The datagrams that syslog(3) would send, over a socket of our own: libc's function waits without a
//! limit for a syslog daemon that is stuck, and reads the time zone anew after a chroot. Here a
//! daemon that is stuck costs a tenth of a second once; what it does not take is counted.

use super::localtime;
use std::fmt::Write;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the syslog daemon listens (`_PATH_LOG` in glibc's sys/syslog.h).
const SOCKET: &str = "/dev/log";
/// `LOG_DAEMON` of RFC 3164, section 4.1.1: the facility times eight.
const FACILITY: u8 = 3 << 3;
/// How long a full queue is waited for. The queue holds 10 lines by default
/// (`net.unix.max_dgram_qlen`), so a burst has to wait a little.
const PATIENCE: Duration = Duration::from_millis(100);
/// What is kept of a line that the socket does not take whole (RFC 3164, section 4.1).
const SHORT: usize = 1_024;

/// How grave a line is: the severities of RFC 3164, section 4.1.1, that are in use here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Something failed.
    Error = 3,
    /// Something is not as it should be.
    Warning = 4,
    /// Rare, and of interest to whoever runs the system.
    Notice = 5,
    /// Daily business.
    Info = 6,
    /// For whoever looks for a fault.
    Debug = 7,
}

/// The way to the local syslog daemon. It is opened again by itself after the syslog daemon was
/// restarted, if the socket is still in reach then.
#[derive(Debug)]
pub struct Syslog {
    path: PathBuf,
    tag: String,
    socket: Option<UnixDatagram>,
    /// Whether the last line found the queue full: the next does not wait.
    stuck: bool,
    /// Lines not taken since the last that was.
    lost: u64,
}

impl Syslog {
    /// Opens the way to `/dev/log`, for lines that begin with `name` and this process's id. That
    /// nobody listens there is no error, so that a machine without syslog can run the daemon; see
    /// [`Syslog::is_open`].
    pub fn open(name: &str) -> Syslog {
        Syslog::open_at(Path::new(SOCKET), name)
    }

    /// As [`Syslog::open`], at another path.
    pub fn open_at(path: &Path, name: &str) -> Syslog {
        let mut syslog = Syslog {
            path: path.to_owned(),
            tag: format!("{name}[{}]", std::process::id()),
            socket: None,
            stuck: false,
            lost: 0,
        };
        syslog.connect();
        syslog
    }

    /// Whether somebody listened when it was last tried.
    pub fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// Lets go of whoever listened, and looks who does now.
    pub fn reconnect(&mut self) {
        self.connect();
    }

    /// Sends a line, stamped with the local time `secs` seconds after 1970-01-01 00:00 UTC. `text`
    /// goes out as it is, so it should have no line breaks in it.
    pub fn line(&mut self, severity: Severity, secs: i64, text: &str) {
        if self.lost > 0 {
            let lost = format!("lines before this one that syslog did not take: {}", self.lost);
            if !self.send(&self.packet(Severity::Notice, secs, &lost)) {
                self.lost = self.lost.saturating_add(1);
                return;
            }
            self.lost = 0;
        }
        if !self.send(&self.packet(severity, secs, text)) {
            self.lost = 1;
        }
    }

    /// A line as RFC 3164, section 4.1, wants it, without the host's name, as all local senders do.
    fn packet(&self, severity: Severity, secs: i64, text: &str) -> String {
        let time = localtime::local(secs);
        let mut packet = String::with_capacity(text.len() + 64);
        // Writing into a String cannot fail.
        let _ = write!(
            packet,
            "<{}>{} {:2} {:02}:{:02}:{:02} {}: {text}",
            FACILITY | severity as u8,
            time.month_name(),
            time.day,
            time.hour,
            time.minute,
            time.second,
            self.tag,
        );
        packet
    }

    /// Whether the packet was taken.
    fn send(&mut self, packet: &str) -> bool {
        let mut packet = packet;
        // Once more for a new connection, once for a shorter line.
        for _ in 0..3 {
            if self.socket.is_none() {
                self.connect();
            }
            let Some(socket) = &self.socket else { return false };
            match socket.send(packet.as_bytes()) {
                Ok(_) => {
                    if self.stuck && socket.set_nonblocking(false).is_ok() {
                        self.stuck = false;
                    }
                    return true;
                }
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) if why.kind() == ErrorKind::WouldBlock => {
                    self.stuck = socket.set_nonblocking(true).is_ok();
                    return false;
                }
                Err(why) if why.raw_os_error() == Some(libc::EMSGSIZE) => {
                    packet = shortened(packet);
                }
                // The syslog daemon was restarted: its old socket is dead.
                Err(_) => self.socket = None,
            }
        }
        false
    }

    fn connect(&mut self) {
        self.socket = connected(&self.path).ok();
        self.stuck = false;
    }
}

fn connected(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.connect(path)?;
    Ok(socket)
}

/// At most [`SHORT`] bytes of `packet`, ending between two characters.
fn shortened(packet: &str) -> &str {
    let mut end = SHORT.min(packet.len());
    while !packet.is_char_boundary(end) {
        end -= 1;
    }
    packet.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::TempDir;

    /// The next line without the time, for which see `localtime`.
    fn next(daemon: &UnixDatagram) -> String {
        daemon.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut buffer = [0; 4_096];
        let length = daemon.recv(&mut buffer).unwrap();
        let line = String::from_utf8(buffer[..length].to_vec()).unwrap();
        let (priority, rest) = line.split_once('>').unwrap();
        assert!(rest.is_char_boundary(16) && rest.as_bytes()[15] == b' ', "{line}");
        format!("{priority}>{}", &rest[16..])
    }

    fn tag() -> String {
        format!("makuosan[{}]", std::process::id())
    }

    #[test]
    fn a_line_looks_as_syslog_daemons_expect() {
        let dir = TempDir::new("syslog");
        let path = dir.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::open_at(&path, "makuosan");
        assert!(syslog.is_open());
        syslog.line(Severity::Error, 0, "100%s");
        syslog.line(Severity::Notice, 0, "up");
        syslog.line(Severity::Debug, 0, "日本");
        assert_eq!(next(&daemon), format!("<27>{}: 100%s", tag()));
        assert_eq!(next(&daemon), format!("<29>{}: up", tag()));
        assert_eq!(next(&daemon), format!("<31>{}: 日本", tag()));
        // Noon in the middle of a month, so that the month is the same everywhere.
        let packet = syslog.packet(Severity::Info, 991_569_600, "x");
        let time = localtime::local(991_569_600);
        assert!(packet.starts_with("<30>Jun  3 "), "{packet}");
        assert_eq!(&packet[11..19], &time.to_string()[11..]);
    }

    #[test]
    fn a_stuck_syslog_costs_lines_and_no_time() {
        let dir = TempDir::new("syslog");
        let path = dir.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::open_at(&path, "makuosan");
        let mut taken = 0;
        while !syslog.stuck {
            syslog.line(Severity::Info, 0, &format!("line {taken}"));
            taken += 1;
            assert!(taken < 100_000, "a queue without end");
        }
        taken -= 1;
        // These do not wait, or the whole took more than an hour.
        for _ in 1..50_000 {
            syslog.line(Severity::Info, 0, "lost");
        }
        for n in 0..taken {
            assert_eq!(next(&daemon), format!("<30>{}: line {n}", tag()));
        }
        syslog.line(Severity::Info, 0, "again");
        let lost = "lines before this one that syslog did not take: 50000";
        assert_eq!(next(&daemon), format!("<29>{}: {lost}", tag()));
        assert_eq!(next(&daemon), format!("<30>{}: again", tag()));
        assert!(!syslog.stuck);
    }

    #[test]
    fn a_restarted_syslog_is_found_again() {
        let dir = TempDir::new("syslog");
        let path = dir.path().join("log");
        let mut syslog = Syslog::open_at(&path, "makuosan");
        assert!(!syslog.is_open());
        syslog.line(Severity::Info, 0, "nobody hears this");
        let first = UnixDatagram::bind(&path).unwrap();
        syslog.line(Severity::Info, 0, "heard");
        let lost = "lines before this one that syslog did not take: 1";
        assert_eq!(next(&first), format!("<29>{}: {lost}", tag()));
        assert_eq!(next(&first), format!("<30>{}: heard", tag()));
        drop(first);
        std::fs::remove_file(&path).unwrap();
        let second = UnixDatagram::bind(&path).unwrap();
        syslog.line(Severity::Info, 0, "heard again");
        assert_eq!(next(&second), format!("<30>{}: heard again", tag()));
    }

    #[test]
    fn a_line_too_long_for_the_socket_is_cut() {
        let dir = TempDir::new("syslog");
        let path = dir.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::open_at(&path, "makuosan");
        syslog.line(Severity::Info, 0, &"é".repeat(1_000_000));
        let line = next(&daemon);
        assert!(line.ends_with('é'));
        assert!((1_000..1_010).contains(&line.len()), "{}", line.len());
    }
}
