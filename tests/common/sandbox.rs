//! A system of a test's own, as far as starting services goes: mounts, network, processes, an `/etc`
//! and a `/run` that nobody else sees. Made of namespaces, with the machine's own programs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::process::{self, Ran, command};
use super::{is_root, skip};

/// What every sandbox begins with: a copy of `/etc`, an empty `/run` and `/srv`, the loopback
/// interface. `$1` is an empty directory.
const SETUP: &str = "set -e
mount -t tmpfs -o mode=755 tmpfs \"$1\"
cp -a /etc \"$1/etc\"
mount --bind \"$1/etc\" /etc
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lock
mount -t tmpfs -o mode=755 tmpfs /srv
ip link set lo up
";

/// A sandbox. Dropping it ends every process in it.
pub struct Sandbox {
    child: Child,
    /// The number, outside, of the first process in it.
    inner: String,
}

impl Sandbox {
    /// Makes one, then runs `setup`, shell code, in it; `dir` is an empty directory to mount on, which
    /// holds the sandbox's own `etc`. None, said aloud, where this cannot be had.
    #[track_caller]
    pub fn new(what: &str, dir: &Path, setup: &str) -> Option<Sandbox> {
        if !is_root() {
            skip(what, "only root can make namespaces to start services in");
            return None;
        }
        let options = ["-m", "-n", "-p", "-i", "-u", "--fork", "--kill-child", "--mount-proc"];
        let possible = Command::new("unshare")
            .args(options)
            .args(["sh", "-c", "mount -t tmpfs tmpfs /mnt && ip link set lo up"])
            .stderr(Stdio::null())
            .status();
        if !possible.is_ok_and(|status| status.success()) {
            skip(what, "no namespaces by unshare, or no ip");
            return None;
        }
        // It ends when its standard input does: with this process, however that ends.
        let script = format!("{SETUP}{setup}\necho ready\ncat >/dev/null");
        let mut unshare = command("unshare");
        unshare.args(options).args(["sh", "-c", &script, "sh"]).arg(dir);
        let mut child = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the sandbox was not made");
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let inner = fs::read_to_string(children).unwrap().trim().to_owned();
        Some(Sandbox { child, inner })
    }

    /// A command that runs in it.
    pub fn command(&self, program: &str) -> Command {
        let mut nsenter = command("nsenter");
        nsenter.args(["-t", &self.inner, "-m", "-n", "-p", "-i", "-u", "--", program]);
        nsenter
    }

    /// Runs shell code in it.
    #[track_caller]
    pub fn sh(&self, code: &str) -> Ran {
        process::run(self.command("sh").args(["-c", code]))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
