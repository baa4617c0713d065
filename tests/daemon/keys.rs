//! Daemons with a key: who is let in, what can be read and replayed, and how a key is replaced.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::common::process::{self, MAKUOSAN, command, is_alive};
use crate::common::{Fleet, eventually, is_root, skip, tree};
use makuosan::console::json::Value;
use makuosan::name::NodeId;
use makuosan::net::{Net, NetConfig, RecvBatch, Which};
use makuosan::wire::header::{HEADER_LEN, Header, PacketKind, Role};

/// A file with a key that only its owner can read.
fn key(fleet: &Fleet, name: &str, text: &str) -> String {
    let path = fleet.dir().join(name);
    replace_key(&path, text);
    path.to_str().unwrap().to_owned()
}

fn replace_key(path: &Path, text: &str) {
    let new = path.with_extension("new");
    tree::write(&new, text);
    tree::set_mode(&new, 0o600);
    fs::rename(&new, path).unwrap();
}

/// A fleet whose daemons all have this key.
pub(super) fn keyed(name: &str, hosts: usize, text: &str) -> (Fleet, String) {
    let mut fleet = Fleet::idle(name, hosts);
    let key = key(&fleet, "key", text);
    (0..hosts).for_each(|at| fleet.start(at, &["-k", &key]));
    fleet.wait_for_members();
    (fleet, key)
}

/// What `status json` counts of dropped packets.
pub(super) fn dropped(fleet: &Fleet, at: usize, why: &str) -> u64 {
    let status = Value::parse(&fleet.console(at).ask("status json")).unwrap();
    status.get("dropped").and_then(|d| d.get(why)).and_then(Value::number).unwrap()
}

/// A packet, and where it came from.
type Heard = (SocketAddrV4, Vec<u8>);

/// Hears what goes to the group on the loopback interface, and keeps it.
pub(super) struct Tap {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Heard>>>,
}

impl Tap {
    pub(super) fn new(fleet: &Fleet) -> Tap {
        // The daemons' own way to open it: a port that they share.
        let net = Net::open(&NetConfig {
            group: fleet.group(),
            port: fleet.address(0).port(),
            interface: fleet.ip(9),
            ttl: 1,
            rcvbuf: Some(8 << 20),
            sndbuf: None,
        })
        .unwrap();
        net.join().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut packets, mut batch) = (Vec::new(), RecvBatch::new(&net));
            loop {
                let last = stopped.load(Ordering::Relaxed);
                if batch.recv(&net, Which::Group).unwrap() > 0 {
                    for (from, bytes, stride) in batch.packets() {
                        packets.extend(bytes.chunks(stride).map(|p| (from, p.to_vec())));
                    }
                } else if last {
                    return packets;
                } else {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        Tap { stop, thread: Some(thread) }
    }

    /// All that was heard.
    pub(super) fn packets(mut self) -> Vec<Heard> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

pub(super) fn kind(packet: &[u8]) -> Option<PacketKind> {
    Header::split(packet).and_then(|(head, ..)| Header::parse(head).ok()).map(|h| h.kind)
}

pub(super) fn holds(packet: &[u8], text: &[u8]) -> bool {
    packet.windows(text.len()).any(|window| window == text)
}

#[test]
fn a_keyed_fleet_sends_and_shows_neither_text_nor_path() {
    const TEXT: &[u8] = b"The quick brown fox jumps over the lazy dog. ";
    let secret = "correct horse battery staple";
    let send = |fleet: &Fleet| {
        tree::write(fleet.path(0, "a-known-name/fox"), TEXT.repeat(5_000));
        tree::write(fleet.path(0, "a-known-name/long"), TEXT.repeat(200_000));
        let tap = Tap::new(fleet);
        fleet.msync(0, &["send", "-r"]).well();
        for at in 1..3 {
            tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
        }
        tap.packets()
    };
    // First what the tap would see: it must be able to see it.
    let open = send(&Fleet::new("unkeyed-tap", 3));
    assert!(open.iter().any(|(_, packet)| holds(packet, TEXT)));
    assert!(open.iter().any(|(_, packet)| holds(packet, b"a-known-name")));
    let (mut fleet, key) = keyed("keyed-tap", 3, &format!("{secret}\n"));
    let sealed = send(&fleet);
    let data = sealed.iter().filter(|(_, packet)| kind(packet) == Some(PacketKind::Data));
    assert!(data.count() > 1_000, "the tap has hardly heard anything");
    for (_, packet) in &sealed {
        for text in [&TEXT[..12], b"known-name", b"lazy dog", secret.as_bytes()] {
            assert!(!holds(packet, text), "{:?}", kind(packet));
        }
    }
    for at in 0..3 {
        let log = fleet.daemon(at).log();
        assert!(!log.contains(secret) && !log.contains("ignoring"), "{log}");
        // Nothing of the key is where another process of its user could look.
        let pid = fleet.daemon(at).pid();
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
        let core = limits.lines().find(|line| line.starts_with("Max core file size"));
        assert!(core.is_none_or(|line| line.split_whitespace().nth(4) == Some("0")), "{limits}");
    }
    assert!(fleet.msync(1, &["check", "-r"]).ok().err.is_empty());
    assert_eq!(fs::read_to_string(key).unwrap(), format!("{secret}\n"));
}

#[test]
fn strangers_share_the_segment_and_are_named_once() {
    let mut fleet = Fleet::idle("strangers", 6);
    let keys = ["the first key", "the second key"].map(|text| key(&fleet, &text[4..8], text));
    for at in 0..2 {
        fleet.start(at, &[]);
        fleet.start(2 + at, &["-k", &keys[0]]);
        fleet.start(4 + at, &["-k", &keys[1]]);
    }
    let ip = |at: usize| fleet.ip(at);
    for (at, other) in [(0, 1), (2, 3), (4, 5)] {
        for (at, other) in [(at, other), (other, at)] {
            eventually("its own kind", || fleet.members(at) == [format!("h{other}")]);
        }
    }
    // Each sends to its own, at the same time.
    let sends: Vec<_> = [0, 2, 4]
        .into_iter()
        .map(|at| {
            tree::write(fleet.path(at, format!("of{at}")), tree::bytes(3 << 20, at as u64));
            fleet.msync_start(at, &["send", "-r"])
        })
        .collect();
    sends.into_iter().for_each(|send| drop(send.end().well()));
    for at in [0, 2, 4] {
        tree::assert_equal_dirs(&fleet.base(at), &fleet.base(at + 1));
        assert_eq!(fs::read_dir(fleet.base(at)).unwrap().count(), 2);
    }
    let has = |at: usize, other: usize| match (at / 2, other / 2) {
        (0, _) => "a key",
        (_, 0) => "no key",
        _ => "another key",
    };
    let lines = |at: usize| -> Vec<(Ipv4Addr, String)> {
        let others = (0..6).filter(move |other| other / 2 != at / 2);
        others
            .map(|other| {
                (
                    ip(other),
                    format!("ignoring the daemon at {}: it has {}", ip(other), has(at, other)),
                )
            })
            .collect()
    };
    let expected: Vec<Vec<(Ipv4Addr, String)>> = (0..6).map(lines).collect();
    for (at, expected) in expected.iter().enumerate() {
        for (_, line) in expected {
            fleet.daemon(at).wait_for_log(line);
        }
        let shown = fleet.msync(at, &["members", "-v"]).ok().out;
        let json = fleet.msync(at, &["members", "--json"]).ok().out;
        let json = Value::parse(json.trim_end()).unwrap();
        let strangers = json.get("strangers").unwrap().list();
        assert_eq!((strangers.len(), json.get("members").unwrap().list().len()), (4, 1));
        for (ip, _) in expected {
            let other = (0..6).find(|other| fleet.ip(*other) == *ip).unwrap();
            let line = format!("{ip} is a stranger: it has {}, heard ", has(at, other));
            assert!(shown.contains(&line), "{shown}");
            let named = strangers
                .iter()
                .find(|s| s.get("address").and_then(Value::text) == Some(&ip.to_string()));
            assert_eq!(named.unwrap().get("has").and_then(Value::text), Some(has(at, other)));
        }
        // `members` is as old clients know it.
        assert!(fleet.members(at).len() == 1);
        assert!(dropped(&fleet, at, "other_key") > 0);
    }
    for (at, expected) in expected.iter().enumerate() {
        let log = fleet.daemon(at).log();
        for (_, line) in expected {
            assert_eq!(log.matches(line.as_str()).count(), 1, "{log}");
        }
        assert_eq!(log.matches("ignoring the daemon").count(), 4);
    }
}

/// A copy of each kind of packet that was heard.
fn one_of_each(packets: &[Heard]) -> Vec<Vec<u8>> {
    let of = |kind_of: PacketKind| packets.iter().find(|(_, p)| kind(p) == Some(kind_of));
    PacketKind::ALL.into_iter().filter_map(of).map(|(_, packet)| packet.clone()).collect()
}

#[test]
fn every_flipped_bit_is_dropped_and_counted() {
    let (fleet, _) = keyed("flips", 3, "a key for flips\n");
    tree::write(fleet.path(0, "file"), "x");
    let tap = Tap::new(&fleet);
    fleet.msync(0, &["send", "-r"]).well();
    let mut heard = tap.packets();
    // A daemon drops what has its own node id without a look at the rest of it.
    heard.retain(|(from, _)| *from.ip() != fleet.ip(1));
    let packets = one_of_each(&heard);
    assert!(packets.len() >= 5, "only {} kinds go to the group", packets.len());
    let before = tree::snapshot(&fleet.base(1));
    let total = |why: &[&str]| why.iter().map(|why| dropped(&fleet, 1, why)).sum::<u64>();
    let all = ["invalid", "damaged", "other_version", "other_key", "replayed", "strangers"];
    let counted = total(&all);
    let socket = UdpSocket::bind((fleet.ip(7), 0)).unwrap();
    let mut sent = 0;
    for packet in &packets {
        for bit in 0..packet.len().min(300) * 8 {
            let mut changed = packet.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            socket.send_to(&changed, fleet.address(1)).unwrap();
            sent += 1;
            if sent % 50 == 0 {
                // Nothing is lost if the buffer is never full.
                eventually("it has read them", || total(&all) - counted >= sent);
            }
        }
    }
    eventually("it has counted them", || total(&all) - counted >= sent);
    assert!(total(&["damaged"]) > 1_000);
    assert_eq!(tree::snapshot(&fleet.base(1)), before);
    assert!(fleet.msync(1, &["status"]).ok().out.contains("\ndropped : "));
    fleet.wait_for_members();
}

#[test]
fn a_replayed_capture_changes_nothing() {
    let (mut fleet, key) = keyed("replays", 3, "a key for replays\n");
    tree::write(fleet.path(0, "file"), tree::bytes(200_000, 1));
    tree::write(fleet.path(0, "dir/other"), "first");
    let tap = Tap::new(&fleet);
    fleet.msync(0, &["send", "-r"]).well();
    // What was sent is changed and taken away since; a replay would bring it back.
    tree::write(fleet.path(0, "dir/other"), "second");
    fs::remove_file(fleet.path(0, "file")).unwrap();
    fleet.msync(0, &["send", "-r", "--delete", "--force"]).well();
    fleet.stop(0);
    let capture = tap.packets();
    assert!(capture.iter().any(|(_, packet)| kind(packet) == Some(PacketKind::Bye)));
    assert!(capture.iter().any(|(_, packet)| kind(packet) == Some(PacketKind::Commit)));
    // One receiver has gone on, one has started anew.
    fleet.stop(2);
    fleet.start(2, &["-k", &key]);
    eventually("the two know each other", || {
        fleet.members(1) == ["h2"] && fleet.members(2) == ["h1"]
    });
    let before = [1, 2].map(|at| tree::snapshot(&fleet.base(at)));
    let port = fleet.address(0).port();
    // From the sender's own address and port, which are free now, and from another's.
    let own = UdpSocket::bind((fleet.ip(0), port)).unwrap();
    let other = UdpSocket::bind((fleet.ip(8), port)).unwrap();
    for (_, packet) in &capture {
        for socket in [&own, &other] {
            for to in [fleet.address(1), fleet.address(2), (fleet.group(), port).into()] {
                // A full queue is no failure.
                let _ = socket.send_to(packet, to);
            }
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    // They are behind what is answered now.
    for at in [1, 2] {
        assert_eq!(tree::snapshot(&fleet.base(at)), before[at - 1]);
        assert_eq!(fleet.staged(at), [""; 0]);
        assert!(fleet.console(at).ask("status").contains("recv op : 0\n"));
        assert!(dropped(&fleet, at, "strangers") + dropped(&fleet, at, "replayed") > 0);
    }
    assert_eq!((fleet.members(1), fleet.members(2)), (vec!["h2".into()], vec!["h1".into()]));
}

#[test]
fn a_members_packets_are_taken_once() {
    let (mut fleet, _) = keyed("doubles", 3, "a key for doubles\n");
    tree::write(fleet.path(0, "file"), tree::bytes(600_000, 1));
    tree::write(fleet.path(0, "other"), "first");
    let tap = Tap::new(&fleet);
    fleet.msync(0, &["send", "-r"]).well();
    tree::write(fleet.path(0, "other"), "second");
    fleet.msync(0, &["send", "-r"]).well();
    // Killed, it is a member for a minute still, and its address and port can be had.
    fleet.kill(0);
    let capture = tap.packets();
    let socket = UdpSocket::bind(fleet.address(0)).unwrap();
    fs::remove_file(fleet.path(1, "file")).unwrap();
    let before = tree::snapshot(&fleet.base(1));
    let replayed = dropped(&fleet, 1, "replayed");
    let mut sent = 0;
    for (from, packet) in &capture {
        if *from.ip() == fleet.ip(0) {
            sent += 1;
            socket.send_to(packet, fleet.address(1)).unwrap();
            if sent % 20 == 0 {
                eventually("it has read them", || {
                    dropped(&fleet, 1, "replayed") >= replayed + sent
                });
            }
        }
    }
    assert!(sent > 40, "only {sent} packets were captured");
    eventually("each is counted", || dropped(&fleet, 1, "replayed") == replayed + sent);
    assert_eq!(tree::snapshot(&fleet.base(1)), before);
    assert_eq!(fleet.members(1), ["h0", "h2"]);
    tree::write(fleet.path(2, "more"), "x");
    // The one that is dead fails; nothing else does.
    fleet.msync(2, &["send", "-t", "h1", "-r"]).well();
}

#[test]
fn a_key_is_replaced_under_running_transfers() {
    const HOSTS: usize = 3;
    let mut fleet = Fleet::idle("rotation", HOSTS);
    let (old, new) = ("the old key of all\n", "the new key of all\n");
    let mut files: Vec<(PathBuf, PathBuf)> = Vec::new();
    for at in 0..HOSTS {
        let first = key(&fleet, &format!("first{at}"), old);
        let second = key(&fleet, &format!("second{at}"), old);
        fleet.start(at, &["-k", &first, "-k", &second]);
        files.push((first.into(), second.into()));
    }
    fleet.wait_for_members();
    tree::write(fleet.path(0, "big"), tree::bytes(4 << 20, 1));
    // All the time while the keys change, something is sent.
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicI64::new(0));
    let (stopped, base, target) = (Arc::clone(&stop), fleet.base(0), fleet.target(0));
    let ended = Arc::clone(&done);
    let sender = std::thread::spawn(move || {
        let mut sends = 0;
        while !stopped.load(Ordering::Relaxed) {
            tree::write(base.join(format!("small{sends}")), format!("{sends}"));
            tree::set_mtime(&base.join("big"), 1_000_000 + sends, 0);
            let mut msync = command(process::MSYNC);
            msync.args(["-c", &target, "send", "-r"]).current_dir("/");
            process::run(&mut msync).well();
            sends += 1;
            ended.store(sends, Ordering::Relaxed);
        }
    });
    let step = |fleet: &mut Fleet, texts: [&str; 2]| {
        for (at, (first, second)) in files.iter().enumerate() {
            let known = fleet.daemon(at).log().matches("key file reloaded: ").count();
            replace_key(first, texts[0]);
            replace_key(second, texts[1]);
            fleet.daemon(at).signal("HUP");
            eventually("the key is reloaded", || {
                fleet.daemon(at).log().matches("key file reloaded: ").count() > known
            });
        }
    };
    step(&mut fleet, [old, new]);
    step(&mut fleet, [new, old]);
    step(&mut fleet, [new, new]);
    // The one that runs, and one more with the new key alone.
    let before = done.load(Ordering::Relaxed);
    eventually("two transfers", || {
        done.load(Ordering::Relaxed) >= before + 2 || sender.is_finished()
    });
    stop.store(true, Ordering::Relaxed);
    sender.join().unwrap();
    fleet.msync(0, &["send", "-r"]).well();
    for at in 1..HOSTS {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
        assert_eq!(dropped(&fleet, at, "other_key"), 0);
    }
    fleet.wait_for_members();
    // The old key does not open anything any more.
    let late = fleet.idle_host();
    let old = key(&fleet, "late", old);
    fleet.start(late, &["-k", &old]);
    let line = format!("ignoring the daemon at {}: it has another key", fleet.ip(late));
    fleet.daemon(0).wait_for_log(&line);
    assert_eq!(fleet.members(late), [""; 0]);
}

#[test]
fn a_key_that_cannot_be_read_again_stays() {
    let (mut fleet, key) = keyed("hangup", 2, "a key that stays\n");
    let log = |fleet: &mut Fleet| fleet.daemon(0).log();
    fleet.daemon(0).signal("HUP");
    fleet.daemon(0).wait_for_log("key file reloaded: no change");
    replace_key(Path::new(&key), "short\n");
    fleet.daemon(0).signal("HUP");
    let line = format!(
        "key file not reloaded: -k {key}: the key in its first line has 5 characters, fewer than 8: \
         the old keys stay in use"
    );
    fleet.daemon(0).wait_for_log(&line);
    fs::remove_file(&key).unwrap();
    fleet.daemon(0).signal("HUP");
    fleet.daemon(0).wait_for_log("No such file or directory: the old keys stay in use");
    assert!(!log(&mut fleet).contains("short"));
    tree::write(fleet.path(0, "file"), "x");
    fleet.msync(0, &["send", "-r"]).well();
    // A daemon without a key goes on, too.
    let unkeyed = fleet.idle_host();
    fleet.start(unkeyed, &[]);
    fleet.daemon(unkeyed).signal("HUP");
    assert!(fleet.console(unkeyed).ask("status").starts_with("process : "));
    assert!(is_alive(fleet.daemon(unkeyed).pid()));
}

#[test]
fn under_chroot_or_as_another_user_the_key_stays() {
    if !is_root() {
        return skip("keys under -c and -u", "needs root");
    }
    let mut fleet = Fleet::idle("rooted", 2);
    let key = key(&fleet, "key", "a key of root's\n");
    tree::set_mode(&fleet.base(0), 0o777);
    tree::set_mode(&fleet.base(1), 0o777);
    fleet.start(0, &["-k", &key, "-c"]);
    fleet.start(1, &["-k", &key, "-u", "65534"]);
    fleet.wait_for_members();
    for at in 0..2 {
        fleet.daemon(at).signal("HUP");
    }
    fleet.daemon(0).wait_for_log("key file not reloaded: it is outside the chroot");
    fleet.daemon(1).wait_for_log(&format!("-k {key}: Permission denied: the old keys stay in use"));
    tree::write(fleet.path(0, "file"), "x");
    fleet.msync(0, &["send", "-r"]).well();
}

#[test]
fn a_bad_key_file_is_refused_in_one_line() {
    let mut fleet = Fleet::idle("refused", 1);
    let dir = fleet.dir().to_owned();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    tree::write(path("empty"), "");
    tree::write(path("late"), "\nafter an empty line\n");
    tree::write(path("short"), "1234567\n");
    tree::write(path("long"), "x".repeat(1_025));
    tree::write(path("open"), "a good key\n");
    for name in ["empty", "late", "short", "long"] {
        tree::set_mode(Path::new(&path(name)), 0o600);
    }
    tree::set_mode(Path::new(&path("open")), 0o644);
    tree::write(path("group"), "a good key\n");
    tree::set_mode(Path::new(&path("group")), 0o640);
    fs::create_dir(path("dir")).unwrap();
    let cases = [
        ("empty", "no key in its first line"),
        ("late", "no key in its first line"),
        ("short", "the key in its first line has 7 characters, fewer than 8"),
        ("long", "the key in its first line has more than 1024 characters"),
        ("open", "its group or others can read or write it (mode 0644): chmod 600"),
        ("group", "its group or others can read or write it (mode 0640): chmod 600"),
        ("missing", "No such file or directory"),
        ("dir", "is a directory"),
    ];
    for (name, why) in cases {
        for extra in [&[][..], &["--check-config"]] {
            let ran = process::run(&mut fleet.command(0, &[&["-k", &path(name)], extra].concat()));
            let line = format!("makuosan: -k {}: {why}\n", path(name));
            assert_eq!((ran.code, ran.err.as_str(), ran.out.as_str()), (Some(1), &*line, ""));
        }
    }
    // A good one beside a bad one does not help.
    let good = key(&fleet, "good", "12345678");
    let ran = process::run(&mut fleet.command(0, &["-k", &good, "-k", &path("short")]));
    assert_eq!(ran.code, Some(1));
    let most = key(&fleet, "most", &format!("{}\r\nmore\n", "x".repeat(1_024)));
    for good in [good, most] {
        fleet.start(0, &["-k", &good]);
        fleet.stop(0);
    }
}

#[test]
fn genkey_makes_a_good_key_and_overwrites_nothing() {
    let mut fleet = Fleet::idle("genkey", 1);
    let made = [0, 1].map(|at| fleet.dir().join(format!("key{at}")));
    for path in &made {
        let ran = process::run(command(MAKUOSAN).arg("--genkey").arg(path)).ok();
        assert_eq!(ran.out, "");
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o600);
        let text = fs::read_to_string(path).unwrap();
        assert_eq!((text.len(), text.lines().count()), (65, 1));
        assert!(text.trim_end().bytes().all(|b| b.is_ascii_hexdigit()));
        let again = process::run(command(MAKUOSAN).arg("--genkey").arg(path));
        let line = format!("makuosan: --genkey {}: File exists\n", path.display());
        assert_eq!((again.code, again.err), (Some(1), line));
        assert_eq!(fs::read_to_string(path).unwrap(), text);
    }
    assert_ne!(fs::read(&made[0]).unwrap(), fs::read(&made[1]).unwrap());
    let nowhere = process::run(command(MAKUOSAN).args(["--genkey", "/nowhere/key"]));
    assert_eq!(nowhere.err, "makuosan: --genkey /nowhere/key: No such file or directory\n");
    fleet.start(0, &["-k", made[0].to_str().unwrap()]);
}

#[test]
fn a_member_in_an_unkeyed_fleet_is_no_stranger() {
    // A damaged packet of a member, from its own address, names nobody.
    let fleet = Fleet::new("no-strangers", 2);
    let socket = UdpSocket::bind((fleet.ip(1), 0)).unwrap();
    let mut packet = vec![0; HEADER_LEN + 16];
    let header =
        Header { sealed: true, ..Header::new(PacketKind::Hello, NodeId(5), Role::Control) };
    packet[..HEADER_LEN].copy_from_slice(&header.emit());
    socket.send_to(&packet, fleet.address(0)).unwrap();
    eventually("it is counted", || dropped(&fleet, 0, "other_key") > 0);
    let json = fleet.console(0).ask("members json");
    assert!(json.contains("\"strangers\":[],"), "{json}");
    assert!(json.ends_with("\"warnings\":[]}\n"), "{json}");
}
