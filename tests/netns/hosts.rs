//! Hosts for tests: network namespaces, each with one veth to a bridge in a namespace of its own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What the machine lacks, if anything: tests are then skipped, and say so.
pub fn lacking() -> Option<&'static str> {
    if fs::metadata("/proc/self").map_or(1, |proc| proc.uid()) != 0 {
        return Some("needs root");
    }
    for (program, version) in [("ip", "-V"), ("tc", "-V"), ("iptables", "-V")] {
        let status = Command::new(program).arg(version).stdout(Stdio::null()).status();
        if !status.is_ok_and(|status| status.success()) {
            return Some("needs ip, tc and iptables");
        }
    }
    let probe = format!("mkt{}-probe", process::id());
    let made = Command::new("ip").args(["netns", "add", &probe]).stderr(Stdio::null()).status();
    if !made.is_ok_and(|status| status.success()) {
        return Some("may not make network namespaces");
    }
    run("ip", &["netns", "del", &probe]);
    None
}

/// Says something that is shown also when the test passes.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "netns: {line}");
}

/// The time, for measuring.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Instant {
    Instant::now()
}

/// A sender (host 0) and receivers (1 to N) on one bridge; host K has the address 10.77.0.(K+1) and
/// the base directory `dir/hK`.
///
/// All of it goes with the process: a guard, which is a shell that waits for the end of its standard
/// input, ends what runs in the namespaces and removes them, however the test ended.
pub struct Hosts {
    tag: String,
    /// On tmpfs.
    pub dir: PathBuf,
    daemons: Vec<Child>,
    guard: Child,
}

/// How a command of [`Hosts::msync`] ended.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Hosts {
    /// Makes the hosts, with nothing running.
    pub fn new(receivers: usize) -> Hosts {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let tag = format!("mkt{}x{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = Path::new("/dev/shm").join(&tag);
        // What is in the namespaces goes first; a killed process may take a moment to leave.
        let script = "cat >/dev/null
            for ns in $(ip netns list | cut -d' ' -f1 | grep -- \"^$0-\"); do
                pids=$(ip netns pids $ns); [ -z \"$pids\" ] || kill -9 $pids 2>/dev/null
                ip netns del $ns
            done
            rm -rf \"$1\"";
        let guard = Command::new("sh")
            .args(["-c", script, &tag])
            .arg(&dir)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("sh");
        fs::create_dir(&dir).expect("/dev/shm");
        let hosts = Hosts { tag, dir, daemons: Vec::new(), guard };
        let bridge = format!("{}-br", hosts.tag);
        run("ip", &["netns", "add", &bridge]);
        // Multicast is flooded (no snooping), and ports forward at once (no spanning tree).
        let make = ["link", "add", "br0", "type", "bridge", "mcast_snooping", "0"];
        run("ip", &[&["-n", &bridge][..], &make, &["stp_state", "0"]].concat());
        run("ip", &["-n", &bridge, "link", "set", "br0", "up"]);
        for host in 0..=receivers {
            run("ip", &["netns", "add", &hosts.namespace(host)]);
            hosts.connect(host);
            fs::create_dir(hosts.base(host)).unwrap();
        }
        hosts
    }

    /// Makes a host's interface, and connects it to the bridge.
    fn connect(&self, host: usize) {
        let (ns, port) = (self.namespace(host), format!("p{host}"));
        let bridge = format!("{}-br", self.tag);
        let near = ["link", "add", "name", "e0", "netns", &ns, "mtu", "1500", "type", "veth"];
        run("ip", &[&near[..], &["peer", "name", &port, "netns", &bridge]].concat());
        let far = ["-n", &bridge, "link", "set", &port, "mtu", "1500"];
        run("ip", &[&far[..], &["gso_max_segs", "1", "master", "br0", "up"]].concat());
        run("ip", &["-n", &ns, "link", "set", "lo", "up"]);
        let address = format!("{}/24", self.address(host));
        run("ip", &["-n", &ns, "addr", "add", &address, "dev", "e0"]);
        // One packet a frame: a rule or a queue else takes, or drops, 64 KiB at once.
        run("ip", &["-n", &ns, "link", "set", "e0", "gso_max_segs", "1", "up"]);
    }

    /// Takes a host's interface away.
    pub fn unplug(&self, host: usize) {
        run("ip", &["-n", &self.namespace(host), "link", "del", "e0"]);
    }

    /// Makes it again, with the same address: it is another interface.
    pub fn plug(&self, host: usize) {
        self.connect(host);
    }

    /// Runs `ip` in a host, with words separated by spaces.
    pub fn ip(&self, host: usize, words: &str) {
        let words: Vec<&str> = words.split_whitespace().collect();
        run("ip", &[&["-n", &self.namespace(host)][..], &words].concat());
    }

    /// Sets the MTU of a host's interface.
    pub fn set_mtu(&self, host: usize, mtu: u16) {
        run("ip", &["-n", &self.namespace(host), "link", "set", "e0", "mtu", &mtu.to_string()]);
    }

    /// Makes the bridge drop what is longer than this on its way to a host, and tell nobody.
    pub fn swallow_over(&self, host: usize, mtu: u16) {
        let (bridge, port) = (format!("{}-br", self.tag), format!("p{host}"));
        run("ip", &["-n", &bridge, "link", "set", &port, "mtu", &mtu.to_string()]);
    }

    /// A host's log.
    pub fn log(&self, host: usize) -> String {
        text(&fs::read(self.dir.join(format!("log{host}"))).unwrap_or_default())
    }

    fn namespace(&self, host: usize) -> String {
        format!("{}-{host}", self.tag)
    }

    pub fn address(&self, host: usize) -> String {
        format!("10.77.0.{}", host + 1)
    }

    /// A host's base directory.
    pub fn base(&self, host: usize) -> PathBuf {
        self.dir.join(format!("h{host}"))
    }

    fn receivers(&self) -> usize {
        self.daemons.len().saturating_sub(1)
    }

    /// A command in a host.
    pub fn command(&self, host: usize, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host)]).arg(program).stdin(Stdio::null());
        command
    }

    /// Starts a daemon on each host, with these options besides, and waits until the sender sees
    /// the others.
    pub fn start(&mut self, receivers: usize, options: &[&str]) {
        for host in 0..=receivers {
            let log = File::create(self.dir.join(format!("log{host}"))).unwrap();
            // `ip netns exec` becomes the daemon: the child's id is the daemon's.
            let daemon = self
                .command(host, env!("CARGO_BIN_EXE_makuosan"))
                .args(["-n", "-d", "6", "-N", &format!("h{host}"), "-i", &self.address(host)])
                .arg("-b")
                .arg(self.base(host))
                .args(options)
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            self.daemons.push(daemon);
        }
        let total = format!("Total: {receivers} member");
        // A key is stretched first, which takes seconds in a build for tests.
        let patience = if options.contains(&"-k") { 60 } else { 5 };
        let until = now() + Duration::from_secs(patience);
        while !self.msync(&["members"], Duration::from_secs(5)).stdout.contains(&total) {
            assert!(now() < until, "the daemons do not find each other\n{}", self.logs());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The process id of a host's daemon.
    pub fn pid(&self, host: usize) -> u32 {
        self.daemons[host].id()
    }

    /// Runs `msync` on the sender's host; a run longer than `limit` fails the test.
    pub fn msync(&self, args: &[&str], limit: Duration) -> Ended {
        let running = self.begin(args);
        self.finish(running, limit)
    }

    /// Starts `msync` on the sender's host, to be ended by [`finish`](Hosts::finish).
    pub fn begin(&self, args: &[&str]) -> (Child, Instant) {
        let mut command = self.command(0, env!("CARGO_BIN_EXE_msync"));
        let child = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        (child.unwrap(), now())
    }

    /// Waits for `msync`. It must not say more than a pipe holds, 64 KiB.
    pub fn finish(&self, (mut child, began): (Child, Instant), limit: Duration) -> Ended {
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > limit {
                let asked = self.command(0, env!("CARGO_BIN_EXE_msync")).arg("status").output();
                let shown = asked.map_or_else(|e| e.to_string(), |out| text(&out.stdout));
                let _ = child.kill();
                let _ = child.wait();
                panic!("msync is not done after {limit:?}\nstatus: {shown}\n{}", self.logs());
            }
            thread::sleep(Duration::from_millis(5));
        };
        let took = began.elapsed();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
        child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
        Ended { status, stdout: text(&stdout), stderr: text(&stderr), took }
    }

    /// Each receiver loses this share of the packets that reach it.
    pub fn lose(&self, percent: f64) {
        for host in 1..=self.receivers() {
            let chance = format!("{:.4}", percent / 100.0);
            let rule = ["-A", "INPUT", "-i", "e0", "-m", "statistic", "--mode", "random"];
            let mut command = self.command(host, "iptables");
            command.args(rule).args(["--probability", &chance, "-j", "DROP"]);
            assert!(command.status().unwrap().success());
        }
    }

    /// How many packets a receiver's rule has dropped, their bytes with IP headers, and how many
    /// have come in at all.
    pub fn lost(&self, host: usize) -> (f64, f64, f64) {
        let out = self.command(host, "iptables").args(["-nvxL", "INPUT"]).output().unwrap();
        let out = text(&out.stdout);
        let rule = out.lines().find(|line| line.contains("DROP")).expect("no rule");
        let mut numbers = rule.split_whitespace().filter_map(|word| word.parse().ok());
        let (packets, bytes) = (numbers.next().unwrap(), numbers.next().unwrap());
        (packets, bytes, self.counter(host, "rx_packets") as f64)
    }

    /// Limits what the sender's host sends, with a queue of 64 full packets before the limit.
    pub fn limit(&self, megabits: u32) {
        let rate = format!("{megabits}mbit");
        let qdisc = ["qdisc", "add", "dev", "e0", "root", "tbf", "rate", &rate];
        let ns = self.namespace(0);
        run("tc", &[&["-n", &ns][..], &qdisc, &["burst", "16kb", "limit", "96896"]].concat());
    }

    /// Limits what the bridge sends to a host, with a queue of 64 full packets before the limit.
    pub fn slow_port(&self, host: usize, megabits: u32) {
        let (rate, port) = (format!("{megabits}mbit"), format!("p{host}"));
        let ns = format!("{}-br", self.tag);
        let qdisc = ["qdisc", "add", "dev", &port, "root", "tbf", "rate", &rate];
        run("tc", &[&["-n", &ns][..], &qdisc, &["burst", "16kb", "limit", "96896"]].concat());
    }

    /// A counter of a host's interface, such as `tx_bytes`.
    pub fn counter(&self, host: usize, name: &str) -> u64 {
        let path = format!("/sys/class/net/e0/statistics/{name}");
        let out = self.command(host, "cat").arg(path).output().unwrap();
        text(&out.stdout).trim().parse().unwrap()
    }

    /// Takes a host off the network: nothing comes in or goes out, and nobody is told.
    pub fn silence(&self, host: usize) {
        run("ip", &["-n", &self.namespace(host), "link", "set", "e0", "down"]);
    }

    /// The ends of the daemons' logs.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        for host in 0..self.daemons.len() {
            let log = fs::read(self.dir.join(format!("log{host}"))).unwrap_or_default();
            let tail = &log[log.len().saturating_sub(4_000)..];
            all += &format!("--- log of host {host}\n{}", text(tail));
        }
        all
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        if thread::panicking() {
            say(&self.logs());
        }
        for daemon in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must work.
fn run(program: &str, args: &[&str]) {
    let out = Command::new(program).args(args).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", text(&out.stderr));
}
