//! A fleet of daemons on the loopback interface.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use super::place::{Addresses, TempDir};
use super::process::{self, Daemon, MAKUOSAN, MSYNC, Ran, Running, command};
use super::{Console, LONG, eventually};

/// Hosts `h0`, `h1`, …, each with a base directory, some with a daemon.
pub struct Fleet {
    // Dropped first: nobody writes to the directories any more when they are removed.
    daemons: Vec<Option<Daemon>>,
    addresses: Addresses,
    dir: TempDir,
}

impl Fleet {
    /// Hosts without daemons.
    pub fn idle(name: &str, hosts: usize) -> Fleet {
        let dir = TempDir::new(name);
        for at in 0..hosts {
            fs::create_dir(dir.path().join(format!("h{at}"))).unwrap();
        }
        let daemons = (0..hosts).map(|_| None).collect();
        Fleet { daemons, addresses: Addresses::new(), dir }
    }

    /// Hosts with daemons that all know each other.
    #[track_caller]
    pub fn new(name: &str, hosts: usize) -> Fleet {
        Fleet::with(name, &vec![&[][..]; hosts])
    }

    /// The same, each daemon with options of its own.
    #[track_caller]
    pub fn with(name: &str, options: &[&[&str]]) -> Fleet {
        let mut fleet = Fleet::idle(name, options.len());
        for (at, options) in options.iter().enumerate() {
            fleet.start(at, options);
        }
        fleet.wait_for_members();
        fleet
    }

    /// One host more, without a daemon.
    pub fn idle_host(&mut self) -> usize {
        let at = self.len();
        fs::create_dir(self.base(at)).unwrap();
        self.daemons.push(None);
        at
    }

    pub fn len(&self) -> usize {
        self.daemons.len()
    }

    /// The directory of the fleet, which holds the base directories.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The base directory of a host.
    pub fn base(&self, at: usize) -> PathBuf {
        self.dir.path().join(format!("h{at}"))
    }

    /// A path below it.
    pub fn path(&self, at: usize, below: impl AsRef<Path>) -> PathBuf {
        self.base(at).join(below)
    }

    pub fn ip(&self, at: usize) -> Ipv4Addr {
        self.addresses.host(at)
    }

    pub fn group(&self) -> Ipv4Addr {
        self.addresses.group()
    }

    /// Where the console of a host is; on UDP, where its packets go to.
    pub fn address(&self, at: usize) -> SocketAddr {
        (self.ip(at), self.addresses.port).into()
    }

    /// The same as `msync -c` wants it.
    pub fn target(&self, at: usize) -> String {
        format!("tcp:{}", self.address(at))
    }

    /// The options that every daemon of this fleet needs, in the background.
    pub fn options(&self, at: usize) -> Vec<String> {
        let base = self.base(at).to_str().unwrap().to_owned();
        let (group, ip) = (self.group().to_string(), self.ip(at).to_string());
        let (name, port) = (format!("h{at}"), self.addresses.port.to_string());
        let pairs = [("-b", base), ("-m", group), ("-p", port), ("-i", ip), ("-N", name)];
        pairs.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect()
    }

    /// The command that starts a daemon in the foreground.
    pub fn command(&self, at: usize, options: &[&str]) -> Command {
        self.command_by(command(MAKUOSAN), at, options)
    }

    fn command_by(&self, mut command: Command, at: usize, options: &[&str]) -> Command {
        command.args(["-n", "-d", "5"]).args(self.options(at)).args(options);
        command
    }

    /// Starts a daemon.
    #[track_caller]
    pub fn start(&mut self, at: usize, options: &[&str]) {
        let mut command = self.command(at, options);
        self.daemons[at] = Some(Daemon::start(&mut command));
    }

    /// Starts a daemon by a command that ends with the program's name.
    #[track_caller]
    pub fn start_by(&mut self, by: Command, at: usize, options: &[&str]) {
        let mut command = self.command_by(by, at, options);
        self.daemons[at] = Some(Daemon::start(&mut command));
    }

    #[track_caller]
    pub fn daemon(&mut self, at: usize) -> &mut Daemon {
        self.daemons[at].as_mut().unwrap()
    }

    /// Kills a daemon as a power cut would.
    #[track_caller]
    pub fn kill(&mut self, at: usize) {
        self.daemon(at).kill();
        self.daemons[at] = None;
    }

    /// Ends a daemon with SIGTERM.
    #[track_caller]
    pub fn stop(&mut self, at: usize) -> ExitStatus {
        self.daemon(at).signal("TERM");
        let status = self.daemon(at).wait(LONG);
        self.daemons[at] = None;
        status
    }

    /// The names in the `members` of a host, sorted.
    #[track_caller]
    pub fn members(&self, at: usize) -> Vec<String> {
        let answer = Console::open(self.address(at)).ask("members");
        let mut lines: Vec<&str> = answer.lines().collect();
        let total = lines.pop().unwrap_or_default().to_owned();
        assert_eq!(total, format!("Total: {} members", lines.len()), "{answer}");
        lines.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    }

    /// Waits until every daemon that runs has just the others as members.
    #[track_caller]
    pub fn wait_for_members(&self) {
        let running: Vec<usize> =
            (0..self.len()).filter(|&at| self.daemons[at].is_some()).collect();
        for &at in &running {
            let others = running.iter().filter(|&&other| other != at);
            let others: Vec<String> = others.map(|other| format!("h{other}")).collect();
            eventually(&format!("members of h{at}: {others:?}"), || self.members(at) == others);
        }
    }

    #[track_caller]
    pub fn console(&self, at: usize) -> Console {
        Console::open(self.address(at))
    }

    /// A `msync` that speaks with a host's daemon.
    pub fn msync_command<S: AsRef<OsStr>>(&self, at: usize, args: &[S]) -> Command {
        let mut command = command(MSYNC);
        command.arg("-c").arg(self.target(at)).args(args).current_dir("/");
        command
    }

    /// Runs `msync` to its end.
    #[track_caller]
    pub fn msync<S: AsRef<OsStr>>(&self, at: usize, args: &[S]) -> Ran {
        process::run(&mut self.msync_command(at, args))
    }

    /// Starts `msync`.
    pub fn msync_start<S: AsRef<OsStr>>(&self, at: usize, args: &[S]) -> Running {
        Running::spawn(&mut self.msync_command(at, args))
    }

    /// What a host has in staging; nothing if it has no staging directory.
    pub fn staged(&self, at: usize) -> Vec<String> {
        staged(&self.base(at))
    }

    /// Waits until a host has something in staging.
    #[track_caller]
    pub fn wait_until_staged(&self, at: usize) {
        eventually("something in staging", || !self.staged(at).is_empty());
    }

    /// Waits until no host has anything in staging.
    #[track_caller]
    pub fn wait_until_clean(&self, limit: Duration) {
        for at in 0..self.len() {
            super::within(limit, &format!("empty staging on h{at}"), || {
                self.staged(at).is_empty().then_some(())
            });
        }
    }
}

/// What is in the staging directory of a base directory.
pub fn staged(base: &Path) -> Vec<String> {
    let names = fs::read_dir(base.join(".makuosan/stage")).into_iter().flatten().flatten();
    names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
