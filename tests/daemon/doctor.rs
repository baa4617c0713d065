//! `doctor`: what keeps files from arriving.

use std::os::unix::fs::{PermissionsExt, chown};

use makuosan::console::json::Value;
use makuosan::ids::Ticket;
use makuosan::name::NodeId;
use makuosan::wire::header::{Header, PacketKind, Role};
use makuosan::wire::probe::{Probe, Report, Sample};

use crate::common::enemy::Enemy;
use crate::common::process::{MAKUOSAN, command};
use crate::common::{Fleet, eventually, is_root, mounts::inside, process::in_mounts, skip, tree};

/// The result of a point of a host.
#[track_caller]
fn result(out: &str, host: &str, check: &str) -> String {
    let start = format!(" {host} {check}: ");
    let found: Vec<&str> = out.lines().filter(|line| line[4..].starts_with(&start)).collect();
    let [one] = found[..] else { panic!("{start}: {out}") };
    one[..4].trim_end().to_owned()
}

/// All that is not `ok`.
fn faults(out: &str) -> Vec<&str> {
    out.lines().filter(|line| !line.starts_with("ok ")).collect()
}

#[test]
fn a_sound_host_has_no_fault_whatever_the_daemon_has_given_up() {
    let modes: [&[&str]; 4] = [&[], &["-u", "nobody"], &["-u", "nobody", "-c"], &["--readonly"]];
    for options in modes {
        if options.contains(&"-u") && !is_root() {
            skip("doctor of another user", "only root may become another user");
            continue;
        }
        let mut fleet = Fleet::idle("doctor-sound", 1);
        if options.contains(&"-u") {
            chown(fleet.base(0), Some(65_534), Some(65_534)).unwrap();
        }
        fleet.start(0, options);
        let out = fleet.msync(0, &["doctor"]).ok().out;
        assert_eq!(faults(&out), [""; 0], "{options:?}: {out}");
        for check in ["daemon", "base", "space", "inodes", "clock", "files", "buffer", "interface"]
        {
            assert_eq!(result(&out, "h0", check), "ok", "{options:?}: {out}");
        }
        for check in ["address", "mtu", "speed", "errors", "udp", "group", "rp_filter"] {
            assert_eq!(result(&out, "h0", check), "ok", "{options:?}: {out}");
        }
        let known = !out.contains("does not tell what") && !out.contains("is not known\n");
        assert!(known, "{options:?}: {out}");
        let json = fleet.msync(0, &["doctor", "--json"]).ok().out;
        assert_eq!(json.lines().count(), out.lines().count(), "{json}");
        for line in json.lines() {
            let value = Value::parse(line).unwrap();
            let text = |name: &str| value.get(name).and_then(Value::text).map(str::to_owned);
            assert!(text("check").is_some() && text("text").is_some(), "{line}");
            assert_eq!(
                (text("host").as_deref(), text("result").as_deref()),
                (Some("h0"), Some("ok"))
            );
            assert_eq!(value.get("advice"), Some(&Value::Null));
        }
    }
}

#[test]
fn without_a_daemon_that_is_what_fails() {
    let fleet = Fleet::idle("doctor-none", 1);
    let ran = fleet.msync(0, &["doctor"]);
    assert_eq!((ran.code, ran.out.lines().count()), (Some(2), 1), "{ran:?}");
    assert_eq!(result(&ran.out, &fleet.target(0), "daemon"), "fail");
    let ran = fleet.msync(0, &["doctor", "--json"]);
    let value = Value::parse(ran.out.trim_end()).unwrap();
    assert_eq!(value.get("result").and_then(Value::text), Some("fail"), "{ran:?}");
    assert_eq!(ran.code, Some(2));
}

#[test]
fn a_base_directory_that_was_replaced_or_cannot_be_written_to_fails() {
    let fleet = Fleet::new("doctor-base", 1);
    let moved = fleet.dir().join("moved");
    std::fs::rename(fleet.base(0), &moved).unwrap();
    std::fs::create_dir(fleet.base(0)).unwrap();
    let ran = fleet.msync(0, &["doctor"]);
    assert_eq!((ran.code, &*result(&ran.out, "h0", "base")), (Some(2), "fail"), "{ran:?}");
    assert!(ran.out.contains("base directory was replaced"), "{ran:?}");
    std::fs::remove_dir(fleet.base(0)).unwrap();
    let ran = fleet.msync(0, &["doctor"]);
    assert_eq!(result(&ran.out, "h0", "base"), "fail", "{ran:?}");
    std::fs::rename(&moved, fleet.base(0)).unwrap();
    let ran = fleet.msync(0, &["doctor"]);
    assert_eq!((ran.code, &*result(&ran.out, "h0", "base")), (Some(0), "ok"), "{ran:?}");
    if !is_root() {
        return skip("doctor of another user", "only root may become another user");
    }
    let mut fleet = Fleet::idle("doctor-permission", 1);
    chown(fleet.base(0), Some(65_534), Some(65_534)).unwrap();
    fleet.start(0, &["-u", "nobody"]);
    std::fs::set_permissions(fleet.base(0), PermissionsExt::from_mode(0o555)).unwrap();
    let ran = fleet.msync(0, &["doctor"]);
    assert_eq!(result(&ran.out, "h0", "base"), "fail", "{ran:?}");
    assert!(ran.out.contains("cannot be written to: Permission denied"), "{ran:?}");
}

#[test]
fn a_full_file_system_fails_by_space_or_by_inodes() {
    let mut fleet = Fleet::idle("doctor-full", 1);
    for (options, check, other) in
        [("size=3m", "space", "inodes"), ("size=40m,nr_inodes=40", "inodes", "space")]
    {
        let setup = format!("mount -t tmpfs -o {options},mode=755 tmpfs \"$1/h0\"");
        let what = "doctor of a full file system";
        let Some(by) = in_mounts(what, &setup, fleet.dir()) else { return };
        fleet.start_by(by, 0, &[]);
        let full = inside(&mut fleet, 0, "h0");
        assert_eq!(result(&fleet.msync(0, &["doctor"]).out, "h0", check), "ok");
        match check {
            "space" => tree::write(full.join("f"), vec![7; (3 << 20) - 600_000]),
            _ => (0..)
                .take_while(|n| std::fs::write(full.join(n.to_string()), "").is_ok())
                .for_each(drop),
        }
        let ran = fleet.msync(0, &["doctor"]);
        assert_eq!((ran.code, &*result(&ran.out, "h0", check)), (Some(2), "fail"), "{ran:?}");
        assert_eq!(result(&ran.out, "h0", other), "ok", "{ran:?}");
        fleet.stop(0);
    }
}

#[test]
fn limits_that_are_low_are_warnings() {
    let mut fleet = Fleet::idle("doctor-limits", 1);
    let mut shell = command("sh");
    shell.args(["-c", "ulimit -n 100; exec \"$@\"", "sh", MAKUOSAN]);
    fleet.start_by(shell, 0, &[]);
    let out = fleet.msync(0, &["doctor"]).ok().out;
    assert_eq!(result(&out, "h0", "files"), "warn", "{out}");
    assert!(out.contains("only 100 files may be open"), "{out}");
}

#[test]
fn what_a_watch_holds_back_is_a_warning() {
    let mut fleet = Fleet::idle("doctor-watch", 2);
    for n in 0..200 {
        tree::write(fleet.path(0, format!("d/{n}")), "x");
    }
    fleet.start(0, &["-w", "d", "--watch-delete"]);
    fleet.start(1, &[]);
    fleet.wait_for_members();
    eventually("it is there", || fleet.path(1, "d/199").exists());
    let watch = || result(&fleet.msync(0, &["doctor"]).out, "h0", "watch");
    eventually("it is watched", || watch() == "ok");
    for n in 0..180 {
        std::fs::remove_file(fleet.path(0, format!("d/{n}"))).unwrap();
    }
    eventually("deletions are held", || watch() == "warn");
    let out = fleet.msync(0, &["doctor"]).ok().out;
    assert!(out.contains("msync watch release d"), "{out}");
}

/// What is said of the group: without a probe, which would find enemies silent.
fn group(fleet: &Fleet, more: &[&str]) -> String {
    fleet.msync(0, &[&["doctor", "--no-probe"], more].concat()).out
}

#[test]
fn strangers_names_that_are_two_and_clocks_apart_are_named() {
    let mut fleet = Fleet::new("doctor-group", 2);
    assert_eq!(faults(&group(&fleet, &[])), [""; 0]);
    let [stranger, twin] = [0; 2].map(|_| fleet.idle_host());
    tree::write(fleet.dir().join("key"), "a secret that is long enough for everybody\n");
    let key = fleet.dir().join("key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    fleet.start(stranger, &["-k", key.to_str().unwrap()]);
    let address = fleet.ip(stranger).to_string();
    eventually("the stranger is named", || {
        group(&fleet, &[]).contains(&format!("fail {address} stranger: a daemon has a key"))
    });
    fleet.stop(stranger);
    fleet.start(twin, &["-N", "h1"]);
    eventually("two of one name", || {
        group(&fleet, &[]).contains("fail h1 name: h1 is the name of ")
    });
    let ran = fleet.msync(0, &["doctor", "-t", "h1", "--no-probe"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.out.lines().all(|line| line[5..].starts_with("h1 ")), "{ran:?}");
    fleet.stop(twin);
    let mut odd = Enemy::new(&fleet, 9, 0, NodeId(9));
    odd.ahead = 7_200;
    odd.join(&fleet, 0, true);
    eventually("a clock is odd", || group(&fleet, &[]).contains(" clocks: the clock of "));
    odd.leave();
}

#[test]
fn who_is_away_and_who_lacks_something_is_named() {
    let mut fleet = Fleet::new("doctor-behind", 3);
    tree::write(fleet.path(0, "f"), "1");
    fleet.msync(0, &["send", "f"]).ok();
    fleet.stop(2);
    eventually("it is away", || result(&group(&fleet, &["-t", "h2"]), "h2", "away") == "warn");
    let out = group(&fleet, &["-t", "h2"]);
    assert_eq!(result(&out, "h2", "behind"), "ok", "{out}");
    assert_eq!(result(&out, "h2", "members"), "fail", "{out}");
    tree::write(fleet.path(0, "f"), "22");
    fleet.msync(0, &["send", "f"]).ok();
    eventually("it lacks it", || result(&group(&fleet, &["-t", "h2"]), "h2", "behind") == "fail");
    let all = fleet.msync(0, &["doctor"]);
    assert_eq!(all.code, Some(2));
    assert!(
        all.out.contains("fail h2 behind: lacks 1 transfer since ")
            && all.out.contains("ok   h1 probe: "),
        "{all:?}"
    );
    // By its address, it is the same host.
    assert_eq!(fleet.msync(0, &["doctor", "-t", &fleet.ip(1).to_string()]).ok().code, Some(0));
    fleet.start(2, &[]);
    eventually("it is back", || fleet.msync(0, &["doctor"]).code == Some(0));
}

/// Says something of a probe, and returns what is answered.
fn say(enemy: &mut Enemy, probe: Probe) -> Vec<Probe> {
    let header = Header::new(PacketKind::Probe, enemy.node, Role::Control);
    let packet = enemy.seal(header, &probe.emit());
    enemy.send_raw(&packet);
    let answers = std::iter::from_fn(|| enemy.receive());
    let probes = answers.filter(|(header, _)| header.kind == PacketKind::Probe);
    probes.map(|(_, payload)| Probe::parse(&payload).unwrap()).collect()
}

#[test]
fn a_stranger_gets_no_answer_and_a_member_no_more_than_it_sends() {
    let fleet = Fleet::new("doctor-hostile", 1);
    let (one, two) = (Ticket::new(1), Ticket::new(2));
    let sample = Sample { large: true, train: 0, number: 0, len: 1_000 };
    let mut stranger = Enemy::new(&fleet, 7, 0, NodeId(7));
    for probe in [Probe::Begin(one), Probe::Request(one, sample), Probe::Ask(one)] {
        assert_eq!(say(&mut stranger, probe), []);
    }
    let mut member = Enemy::new(&fleet, 8, 0, NodeId(8));
    member.join(&fleet, 0, true);
    // What was not begun is not answered.
    assert_eq!(say(&mut member, Probe::Request(one, sample)), []);
    assert!(matches!(say(&mut member, Probe::Begin(one))[..], [Probe::Report(..)]));
    assert_eq!(say(&mut member, Probe::Request(one, sample)), [Probe::Echo(one, sample)]);
    assert_eq!(say(&mut member, Probe::Begin(two)), [Probe::Busy(two)]);
    // In the name of the member, from elsewhere.
    stranger.node = NodeId(8);
    assert_eq!(say(&mut stranger, Probe::Request(one, sample)), []);
    // Nor does it harm to say what nobody has asked for.
    for probe in [Probe::Echo(two, sample), Probe::Busy(two), Probe::Report(two, Report::default())]
    {
        assert_eq!(say(&mut member, probe), []);
    }
    let ran = fleet.msync(0, &["doctor"]);
    assert_eq!((ran.code, &*result(&ran.out, "evil", "answer")), (Some(2), "fail"), "{ran:?}");
    member.leave();
}
