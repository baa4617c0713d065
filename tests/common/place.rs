//! Addresses and directories that no other test has.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The ports that are used: below those that the kernel gives to clients.
const PORTS: u32 = 20_000;
const FIRST_PORT: u32 = 10_000;

/// How many fleets share the third byte of their addresses.
const TESTS: u32 = 239;

/// The addresses of one fleet: `127.TEST.PROCESS.HOST`, and a port of this process.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    test: u8,
    process: u8,
    /// The UDP and TCP port of all hosts.
    pub port: u16,
}

impl Addresses {
    /// Addresses that nobody has had yet.
    pub fn new() -> Addresses {
        static FLEETS: AtomicU32 = AtomicU32::new(0);
        let fleet = FLEETS.fetch_add(1, Ordering::Relaxed);
        // The third byte and the port tell test programs apart that run at the same time.
        let process = std::process::id() / PORTS;
        let byte = |number: u32| (number % 256) as u8;
        let (test, more) = (byte(16 + fleet % TESTS), fleet / TESTS);
        Addresses { test, process: byte(process + more), port: port(byte(process)) }
    }

    /// The address of a host, counted from 0.
    pub fn host(&self, at: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, self.test, self.process, u8::try_from(at + 1).unwrap())
    }

    /// The multicast group.
    pub fn group(&self) -> Ipv4Addr {
        Ipv4Addr::new(239, self.test, self.process, 108)
    }
}

/// This process's port, one that no program has on all addresses.
fn port(process: u8) -> u16 {
    static PORT: OnceLock<u16> = OnceLock::new();
    *PORT.get_or_init(|| {
        let probe = Ipv4Addr::new(127, 15, process, 1);
        let free = |port: &u16| {
            UdpSocket::bind((probe, *port)).is_ok() && TcpListener::bind((probe, *port)).is_ok()
        };
        let first = std::process::id() % PORTS;
        let candidates = (0..50).map(|step| (FIRST_PORT + (first + step * 997) % PORTS) as u16);
        candidates.clone().find(free).expect("no free port")
    })
}

/// A directory that is removed with all that is in it.
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new directory, for everybody to enter.
    pub fn new(name: &str) -> TempDir {
        static DIRS: AtomicU32 = AtomicU32::new(0);
        let at = DIRS.fetch_add(1, Ordering::Relaxed);
        let own = format!("makuosan-{}-{at}-{name}", std::process::id());
        let path = std::env::temp_dir().canonicalize().unwrap().join(own);
        // What another process of this number left behind when it was killed.
        let _ = remove_tree(&path);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        TempDir(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}

/// Removes a tree in which directories may be closed to their owner.
fn remove_tree(path: &Path) -> std::io::Result<()> {
    if fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    open_up(path);
    fs::remove_dir_all(path)
}

fn open_up(path: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) {
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            open_up(&entry.path());
        }
    }
}
