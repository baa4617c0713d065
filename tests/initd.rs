//! The init script with the real daemon, under each shell and with each kind of system that it knows.
//! Needs root and namespaces; skipped, aloud, without.

#[allow(unused_imports)]
mod common;

use std::path::PathBuf;
use std::process::Command;

use common::place::TempDir;
use common::process::{self, MAKUOSAN, MSYNC, Ran, command};
use common::sandbox::Sandbox;
use common::{eventually, skip};

/// Where the script looks for messages and for what starts a daemon, in a sandbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// `start-stop-daemon` and the functions of Debian, as this machine has them.
    Debian,
    /// The functions that LSB has, and nothing more.
    Lsb,
    /// `/etc/rc.d/init.d/functions`, and a directory for lock files.
    RedHat,
    /// None of these.
    Plain,
}

/// The functions of Red Hat that say how it went, in short; they are not for every shell.
const REDHAT: &str = "BOOTUP=color\n\
    success() { printf '[  OK  ]'; return 0; }\n\
    failure() { rc=$?; printf '[FAILED]'; return $rc; }\n\
    status() { echo 'not ours'; return 77; }\n\
    PATH=/nowhere\n";

const LSB: &str = "log_success_msg() { echo \"$* OK\"; }\n\
    log_failure_msg() { echo \"$* FAILED\"; }\n\
    log_warning_msg() { echo \"$* WARNING\"; }\n";

impl Kind {
    /// Shell code that makes a sandbox one of these; `$1` is its directory.
    fn setup(self) -> String {
        let hide = "hide() { ! p=$(command -v start-stop-daemon) || mount --bind /dev/null \"$p\"; }\n\
                    mkdir -p /lib/lsb\nmount -t tmpfs tmpfs /lib/lsb\nhide\n";
        match self {
            Kind::Debian => String::new(),
            Kind::Lsb => format!("{hide}cat >/lib/lsb/init-functions <<'END'\n{LSB}END\n"),
            Kind::RedHat => format!(
                "{hide}mkdir -p /etc/rc.d/init.d /run/lock/subsys\n\
                 cat >/etc/rc.d/init.d/functions <<'END'\n{REDHAT}END\n"
            ),
            Kind::Plain => hide.to_owned(),
        }
    }
}

const SHELLS: [&[&str]; 2] = [&["dash"], &["bash", "--posix"]];

fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("init.d/makuosan")
}

/// A system with the script.
struct System {
    sandbox: Sandbox,
    shell: &'static [&'static str],
    _dir: TempDir,
}

impl System {
    #[track_caller]
    fn new(kind: Kind, shell: &'static [&'static str]) -> Option<System> {
        if Command::new(shell[0]).args(["-c", ":"]).status().is_err() {
            skip("the init script", &format!("no {}", shell[0]));
            return None;
        }
        let dir = TempDir::new("initd");
        let sandbox = Sandbox::new("the init script", dir.path(), &kind.setup())?;
        Some(System { sandbox, shell, _dir: dir })
    }

    /// Writes the settings, for a base directory with a space.
    fn settings(&self, more: &str) {
        let text = format!(
            "DAEMON='{MAKUOSAN}'\nBASE_DIR='/srv/base dir'\nINTERFACE=127.0.0.2\n\
             IP_ADDRESS=127.0.0.2\n{more}\n"
        );
        self.sh(&format!(
            "mkdir -p '/srv/base dir' && cat >/etc/default/makuosan <<'END'\n{text}END"
        ));
    }

    #[track_caller]
    fn sh(&self, code: &str) -> String {
        self.sandbox.sh(code).ok().out
    }

    fn run(&self, action: &str) -> Ran {
        let mut call = self.sandbox.command(self.shell[0]);
        call.args(&self.shell[1..]).arg(script());
        // What is set by hand is not set at boot.
        call.env("BASE_DIR", "/nowhere").env("MAKUOSAN_BASE", "/nowhere").env("PATH", "/bin");
        process::run(call.args(action.split_ascii_whitespace()))
    }

    /// Runs the script, which is to end with `code`; what it says.
    #[track_caller]
    fn does(&self, action: &str, code: i32) -> Ran {
        let ran = self.run(action);
        assert_eq!(ran.code, Some(code), "{action}, {:?}: {ran:?}", self.shell);
        ran
    }

    /// The daemons that live, by number.
    fn daemons(&self) -> Vec<String> {
        let list = "for comm in /proc/[0-9]*/comm; do
                read -r name <$comm && [ \"$name\" = makuosan ] || continue
                pid=${comm%/comm}; grep -q '^State:.Z' $pid/status || echo ${pid#/proc/}
            done 2>/dev/null; true";
        self.sh(list).lines().map(str::to_owned).collect()
    }

    fn exists(&self, path: &str) -> bool {
        self.sandbox.sh(&format!("test -e {path}")).code == Some(0)
    }

    /// The one daemon, which answers and which the pid file names.
    #[track_caller]
    fn the_daemon(&self) -> String {
        let daemons = self.daemons();
        assert_eq!(daemons.len(), 1, "{daemons:?}");
        assert_eq!(self.sh("cat /run/makuosan.pid").trim_end(), daemons[0]);
        let status = self.sh(&format!("'{MSYNC}' -c tcp:127.0.0.2 status"));
        assert!(status.starts_with(&format!("process : {}\n", daemons[0])), "{status}");
        assert!(status.contains("basedir : /srv/base dir/\n"), "{status}");
        daemons[0].clone()
    }
}

/// All that a healthy service does.
fn life(kind: Kind) {
    for shell in SHELLS {
        let Some(system) = System::new(kind, shell) else { return };
        system.settings("");
        system.does("status", 3);
        let ran = system.does("start", 0);
        assert!(
            ran.out.contains("Starting") && ran.out.contains("makuosan") && ran.err.is_empty(),
            "{ran:?}"
        );
        let word = match kind {
            Kind::Debian => ".",
            Kind::Lsb | Kind::RedHat => "OK",
            Kind::Plain => "done.",
        };
        assert!(ran.out.contains(word), "{ran:?}");
        let first = system.the_daemon();
        assert_eq!(system.exists("/run/lock/subsys/makuosan"), kind == Kind::RedHat);
        let ran = system.does("status", 0);
        assert_eq!(ran.out, format!("makuosan is running, process {first}\n"));
        // Twice is no error, and no second daemon.
        system.does("start", 0);
        assert_eq!(system.the_daemon(), first);
        system.does("reload", 0);
        assert_eq!(system.the_daemon(), first);
        let mut last = first;
        for action in ["restart", "try-restart", "condrestart", "force-reload"] {
            system.does(action, 0);
            let now = system.the_daemon();
            assert_ne!(now, last, "{action}");
            last = now;
        }
        system.does("stop", 0);
        assert_eq!(system.daemons(), [""; 0]);
        for path in ["/run/makuosan.pid", "/run/lock/subsys/makuosan"] {
            assert!(!system.exists(path), "{path}");
        }
        system.does("stop", 0);
        for action in ["try-restart", "condrestart", "force-reload"] {
            system.does(action, 0);
            assert_eq!(system.daemons(), [""; 0]);
        }
        let ran = system.does("reload", 7);
        assert_eq!(ran.err, "makuosan: not running\n");
        system.does("status", 3);
        system.does("restart", 0);
        system.the_daemon();
    }
}

#[test]
fn with_what_debian_has() {
    life(Kind::Debian);
}

#[test]
fn with_what_lsb_has() {
    life(Kind::Lsb);
}

#[test]
fn with_what_red_hat_has() {
    life(Kind::RedHat);
}

#[test]
fn with_nothing_but_a_shell() {
    life(Kind::Plain);
}

#[test]
fn what_is_left_of_a_dead_daemon() {
    for (kind, shell) in [(Kind::Debian, SHELLS[0]), (Kind::RedHat, SHELLS[1])] {
        let Some(system) = System::new(kind, shell) else { return };
        system.settings("");
        system.does("start", 0);
        let pid = system.the_daemon();
        system.sh(&format!("kill -KILL {pid}"));
        eventually("its end", || system.daemons().is_empty());
        let ran = system.does("status", 1);
        assert_eq!(ran.out, "makuosan is dead, but its pid file exists\n");
        system.does("reload", 7);
        system.does("start", 0);
        assert_ne!(system.the_daemon(), pid);
        system.does("stop", 0);
        // The number belongs to another program now (1 is a shell here), or to nobody, or is none.
        for stale in ["1", "4194303", "", "none", "-1"] {
            system.sh(&format!("echo {stale} >/run/makuosan.pid"));
            system.does("status", 1);
            system.does("try-restart", 0);
            system.does("stop", 0);
            assert!(!system.exists("/run/makuosan.pid"), "{stale}");
            system.sh(&format!("echo {stale} >/run/makuosan.pid"));
            system.does("start", 0);
            system.the_daemon();
            system.does("stop", 0);
        }
        // Or to another daemon, which is left alone.
        let other = format!(
            "mkdir /srv/other; '{MAKUOSAN}' -b /srv/other -i 127.0.0.3 2>/run/said && \
             sed -n 's/^pid *: //p' /run/said"
        );
        let other = self::trimmed(&system.sh(&other));
        system.sh(&format!("echo {other} >/run/makuosan.pid"));
        system.does("status", 1);
        system.does("stop", 0);
        assert_eq!(system.daemons(), std::slice::from_ref(&other));
        system.sh(&format!("echo {other} >/run/makuosan.pid"));
        system.does("start", 0);
        assert_eq!(system.daemons().len(), 2);
        system.does("stop", 0);
        assert_eq!(system.daemons(), [other]);
        // Where a lock file alone is left, it says so.
        system.sh("mkdir -p /run/lock/subsys && : >/run/lock/subsys/makuosan");
        system.does("status", 2);
        system.does("stop", 0);
        system.does("status", 3);
    }
}

fn trimmed(text: &str) -> String {
    text.trim_end().to_owned()
}

#[test]
fn settings_that_will_not_do() {
    for shell in SHELLS {
        let Some(system) = System::new(Kind::Plain, shell) else { return };
        let refused = |action: &str, code: i32, words: &[&str]| {
            let ran = system.does(action, code);
            assert!(!ran.err.is_empty() && ran.err.lines().count() <= 2, "{ran:?}");
            for word in words {
                assert!(ran.err.contains(word), "{word:?} in {ran:?}");
            }
        };
        for action in ["", "nonsense", "start-now"] {
            refused(action, 2, &["Usage: ", "{start|stop|restart|"]);
        }
        // Without settings, and without the program.
        system.sh("rm -f /etc/default/makuosan");
        let installed = Command::new("test").args(["-x", "/usr/sbin/makuosan"]).status().unwrap();
        if !installed.success() {
            refused("start", 5, &["/usr/sbin/makuosan is not installed"]);
        }
        system.sh(&format!("echo \"DAEMON='{MAKUOSAN}'\" >/etc/default/makuosan"));
        refused("start", 6, &["no base directory configured: set BASE_DIR"]);
        refused("restart", 6, &["no base directory configured: set BASE_DIR"]);
        system.does("stop", 0);
        system.does("status", 3);
        system.settings("BASE_DIR=/srv/nowhere");
        refused("start", 6, &["/srv/nowhere does not exist", "/etc/default/makuosan"]);
        for (settings, words) in [
            ("LOGLEVEL=99", &["-d 99"][..]),
            ("PORT=70000", &["-p 70000"]),
            ("MCAST_ADDRESS=10.0.0.1", &["-m 10.0.0.1"]),
            ("IP_ADDRESS=192.0.2.1", &["192.0.2.1"]),
            ("MAKUOSAN_USER=no-such-user", &["-u no-such-user"]),
            ("MAKUOSAN_GROUP=no-such-group", &["-g no-such-group"]),
            ("MAKUOSAN_GROUPS=no-such-group", &["-G no-such-group"]),
            ("SOCKET=/nowhere/at/all", &["-U", "/nowhere/at/all"]),
            ("NAME='two words'", &["-N two words"]),
            ("PASSWORD_FILE=/nowhere/at/all", &["-K /nowhere/at/all"]),
            ("KEY_FILE=/nowhere/at/all", &["-k"]),
            ("STATE_DIR=/nowhere/at/all", &["--state /nowhere/at/all"]),
            ("METRICS_FILE=/nowhere/at/all", &["--metrics-file /nowhere/at/all"]),
            ("WATCH='. nowhere'", &["-w nowhere", "given already"]),
            ("WATCH=nowhere", &["-w nowhere"]),
            ("WATCH='*'", &["-w *"]),
            ("WATCH=.\nDELAY=soon", &["--delay soon"]),
            ("WATCH_DELETE=yes", &["--watch-delete"]),
            ("MIRROR='one one/two'", &["--mirror one/two", "given already"]),
            ("MIRROR='*/../x'", &["--mirror */../x"]),
            ("WATCH=one\nMIRROR=one/two", &["--mirror one/two", "one is watched"]),
            ("MIRROR=one\nOPTIONS=-r", &["--mirror", "-r"]),
            ("OPTIONS='--fsync --nonsense'", &["--nonsense"]),
        ] {
            system.settings(settings);
            refused("start", 1, words);
            system.does("status", 3);
        }
        for settings in ["WATCH_DELETE=Yes", "WATCH=.\nWATCH_DELETE='no '"] {
            system.settings(settings);
            refused("start", 6, &["WATCH_DELETE is yes or no", "/etc/default/makuosan"]);
            system.does("status", 3);
        }
        system.settings("if");
        refused("start", 6, &["/etc/default/makuosan"]);
        // A daemon that runs is not stopped for settings that it could not start with.
        system.settings("");
        system.does("start", 0);
        let pid = system.the_daemon();
        system.settings("LOGLEVEL=99");
        refused("restart", 6, &["-d 99", "not restarted"]);
        assert_eq!(system.the_daemon(), pid);
        system.does("stop", 0);
    }
}

#[test]
fn whatever_is_wrong_with_the_settings_a_daemon_can_be_stopped() {
    for (kind, shell) in [(Kind::Debian, SHELLS[0]), (Kind::Plain, SHELLS[1])] {
        let Some(system) = System::new(kind, shell) else { return };
        for wrong in
            ["if", "BASE_DIR='", "exit 3", "set -e; false", "set -u; echo $NONE", "nonsense"]
        {
            system.settings("");
            system.does("start", 0);
            let pid = system.the_daemon();
            system.settings(wrong);
            let status = system.does("status", 0);
            assert_eq!(status.out, format!("makuosan is running, process {pid}\n"), "{wrong}");
            system.does("reload", 0);
            system.does("stop", 0);
            assert_eq!(system.daemons(), [""; 0], "{wrong}");
            system.does("status", 3);
            system.does("try-restart", 0);
        }
        // What they say of stopping counts for stopping.
        system.settings("PIDFILE=/run/other.pid");
        system.does("start", 0);
        assert!(system.exists("/run/other.pid") && !system.exists("/run/makuosan.pid"));
        system.does("stop", 0);
        assert_eq!(system.daemons(), [""; 0]);
        // A daemon that runs is not stopped for settings that cannot be read.
        system.settings("");
        system.does("start", 0);
        let pid = system.the_daemon();
        system.settings("if");
        for action in ["restart", "try-restart", "force-reload"] {
            let ran = system.does(action, 6);
            assert!(ran.err.contains("/etc/default/makuosan"), "{ran:?}");
        }
        assert_eq!(system.the_daemon(), pid);
        system.does("stop", 0);
    }
}

#[test]
fn every_setting_is_an_option_of_the_daemon() {
    let Some(system) = System::new(Kind::Debian, SHELLS[0]) else { return };
    system.sh("mkdir -p /srv/base/one /srv/base/two && chown daemon /srv/base");
    system.sh("printf 'word\\n' >/srv/password && chmod 600 /srv/password");
    let settings = format!(
        "DAEMON='{MAKUOSAN}'\nMAKUOSAN_BASE=/srv/base\nMAKUOSAN_PORT=5001\n\
         SOCKET='/run/a socket'\nMCAST_ADDRESS=239.1.2.3\nIP_ADDRESS=127.0.0.9\n\
         INTERFACE=127.0.0.2\nLOGLEVEL=3\nNAME=named\nPASSWORD_FILE=/srv/password\n\
         MAKUOSAN_USER=daemon\nMAKUOSAN_GROUP=bin\nMAKUOSAN_GROUPS=adm,lp\n\
         WATCH=' one  two '\nWATCH_DELETE=yes\nMIRROR=' three  made/here '\nDELAY=250\n\
         OPTIONS='--timeout 77 -T *'\n"
    );
    // What the daemon makes of it, by its own word; a star is no pattern.
    system.sh("echo 5 >/srv/base/-T");
    system.sh(&format!("cat >/etc/default/makuosan <<'END'\n{settings}END"));
    let ran = system.does("start", 1);
    assert!(ran.err.contains("-T *"), "{ran:?}");
    system.sh("sed -i 's/-T ./-T 500/' /etc/default/makuosan");
    system.does("start", 0);
    let pid = system.sh("cat /run/makuosan.pid");
    let arguments = system.sh(&format!("tr '\\0' ' ' </proc/{}/cmdline", pid.trim_end()));
    let options = "-b /srv/base --pidfile /run/makuosan.pid -p 5001 -U /run/a socket -m 239.1.2.3 \
                   -i 127.0.0.2 -l 127.0.0.9 -d 3 -N named -K /srv/password -u daemon -g bin \
                   -G adm,lp -w one -w two --watch-delete --mirror three \
                   --mirror made/here --delay 250 --timeout 77 -T 500 ";
    assert_eq!(arguments, format!("{MAKUOSAN} {options}"));
    // It has given up root and so cannot remove its pid file; the script does.
    system.does("stop", 0);
    assert!(!system.exists("/run/makuosan.pid"));
    // Red Hat's place, where Debian's is empty.
    system.sh("mkdir -p /etc/sysconfig && mv /etc/default/makuosan /etc/sysconfig/makuosan");
    system.does("start", 0);
    system.does("stop", 0);
}

#[test]
fn a_daemon_that_does_not_end_is_killed() {
    let Some(system) = System::new(Kind::Debian, SHELLS[0]) else { return };
    system.settings("STOP_TIMEOUT=1");
    system.does("start", 0);
    let pid = system.the_daemon();
    system.sh(&format!("kill -STOP {pid}"));
    let ran = system.does("stop", 0);
    assert!(ran.err.contains(&format!("process {pid} has not ended after 1 s")), "{ran:?}");
    assert_eq!(system.daemons(), [""; 0]);
    assert!(!system.exists("/run/makuosan.pid"));
}

#[test]
fn only_root_may_change_anything() {
    let Some(system) = System::new(Kind::Plain, SHELLS[0]) else { return };
    system.settings("");
    system.does("start", 0);
    let pid = system.the_daemon();
    let as_user = |action: &str| {
        // The script itself may be below a directory that the user may not enter.
        let mut call = system.sandbox.command("setpriv");
        call.args(["--reuid", "nobody", "--clear-groups", "sh", "-s", action]);
        call.stdin(std::fs::File::open(script()).unwrap());
        process::run(&mut call)
    };
    for action in ["start", "stop", "restart", "reload"] {
        let ran = as_user(action);
        assert_eq!(
            (ran.code, ran.err),
            (Some(4), format!("makuosan: only root may {action} the daemon\n"))
        );
    }
    assert_eq!(as_user("status").code, Some(0));
    assert_eq!(system.the_daemon(), pid);
}

#[test]
fn it_is_clean_shell_code() {
    let settings = script().with_extension("settings");
    for shell in SHELLS {
        for file in [&script(), &settings] {
            let ran = command(shell[0]).args(&shell[1..]).arg("-n").arg(file).status();
            assert!(ran.is_ok_and(|status| status.success()), "{shell:?} {file:?}");
        }
    }
    if Command::new("shellcheck").arg("--version").output().is_err() {
        return skip("the init script's lint", "no shellcheck");
    }
    process::run(command("shellcheck").arg(script())).ok();
    process::run(command("shellcheck").args(["-s", "sh", "-e", "SC2034"]).arg(settings)).ok();
}
