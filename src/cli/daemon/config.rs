//! How the daemon is to run: every value checked as far as that needs no system call.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::cli::Filter;
use crate::name::{HostName, Interface, RelPath};
use crate::time::Span;

/// How the daemon is to run, by what each option concerns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The group on the network.
    pub network: Network,
    /// Where clients connect.
    pub console: Console,
    /// The base directory and the daemon's own files.
    pub files: Files,
    /// As whom the daemon runs, and what it gives up.
    pub privileges: Privileges,
    /// How much at once, how fast, how long.
    pub limits: Limits,
    /// What part this host takes in the group.
    pub roles: Roles,
    /// What is sent whenever it changes.
    pub watch: Watch,
    /// What is kept equal with other hosts.
    pub mirror: Mirror,
    /// `-n`: stay in the foreground.
    pub foreground: bool,
    /// `-d`: 0 to 9.
    pub loglevel: u8,
    /// `--genkey`: only write a new key to this file. [`Files::base`] may be empty then.
    pub genkey: Option<PathBuf>,
    /// `--check-config`: only say what would be done.
    pub check_config: bool,
}

/// The group on the network, and this host's name in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Network {
    /// `-m`: a multicast address.
    pub multicast: Ipv4Addr,
    /// `-p`: not 0.
    pub port: u16,
    /// `-i`: any leaves the choice to the system.
    pub interface: Interface,
    /// `--ttl`: 1 to 255.
    pub ttl: u8,
    /// `-R`: bytes; None for the daemon's choice.
    pub rcvbuf: Option<u32>,
    /// `-S`: bytes; None for the daemon's choice.
    pub sndbuf: Option<u32>,
    /// `-N`: None for the machine's name.
    pub name: Option<HostName>,
}

/// Where clients connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Console {
    /// `-l`: the address to listen at; None if there is a Unix socket alone.
    pub listen: Option<SocketAddr>,
    /// `-U`: the path of the Unix socket.
    pub unix: Option<PathBuf>,
    /// `-K`: the file with the password.
    pub password: Option<PathBuf>,
}

/// The base directory and the daemon's own files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files {
    /// `-b`: the base directory, as typed.
    pub base: PathBuf,
    /// `-k`: the files with the group's keys, two at most; the first seals.
    pub keys: Vec<PathBuf>,
    /// `--pidfile`: the file for the process id.
    pub pidfile: Option<PathBuf>,
    /// `--metrics-file`: the file for the figures.
    pub metrics: Option<PathBuf>,
    /// `--state`: the directory for what must outlive the daemon; None for that in the base directory.
    pub state: Option<PathBuf>,
    /// `--fsync`: a file counts as written only when it is on the disk.
    pub fsync: bool,
}

/// As whom the daemon runs, and what it gives up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Privileges {
    /// `-u`: name or number.
    pub user: Option<String>,
    /// `-g`: name or number.
    pub group: Option<String>,
    /// `-G`: names or numbers; None leaves them to what the user has.
    pub groups: Option<Vec<String>>,
    /// `-c`: the base directory becomes the root directory.
    pub chroot: bool,
    /// `-C`: a crash may leave a core dump.
    pub core_dumps: bool,
}

/// How much at once, how fast, how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// `-f`: batches in flight at once, 1 to 16.
    pub parallel: usize,
    /// `-T`: megabits a second, at least 1; None for no limit.
    pub rate: Option<u32>,
    /// `--timeout`: until a silent host is left behind, 1 s to 1 h.
    pub timeout: Span,
}

/// What part this host takes in the group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roles {
    /// `-r`: never written to.
    pub readonly: bool,
    /// `-s`: never sends.
    pub no_send: bool,
    /// `-o`: never receives.
    pub no_recv: bool,
    /// `-O`: sends only what its user owns.
    pub own_only: bool,
    /// `--no-devices`: takes no device nodes.
    pub no_devices: bool,
    /// What this host does about what it missed.
    pub catch_up: CatchUp,
}

/// What is sent whenever it changes, from the start on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watch {
    /// `-w`: the trees, none in another.
    pub paths: Vec<RelPath>,
    /// `--watch-delete`: what goes here is deleted there.
    pub delete: bool,
    /// `--delay`: how long a change waits for more, also in a mirror; None for the usual.
    pub delay: Option<Span>,
    /// What is left out, also of a mirror, in order. No [`Text::Input`](crate::cli::Text::Input).
    pub filters: Vec<Filter>,
}

/// What several hosts are equals for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mirror {
    /// `--mirror`: the trees, none in another, or in one that is watched.
    pub paths: Vec<RelPath>,
    /// `--first`: where no host has an index yet, this one's files are the origin.
    pub first: bool,
}

/// What a host does about what it missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CatchUp {
    /// `--no-catch-up`: nothing, and it keeps no records.
    Never,
    /// It gets what it knows that it lacks.
    Known,
    /// `--catch-up always`: that, and all there is if it has files and no records.
    Always,
}
