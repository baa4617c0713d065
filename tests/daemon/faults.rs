//! The faults of makuosan 1.3.6, by their numbers, each shown not to be one of ours: 1 to 12.

use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::garbage::{self, Random};
use super::keys::{Tap, holds, keyed, kind};
use crate::common::process::is_alive;
use crate::common::{Fleet, LONG, eventually, is_root, now, skip, tree};
use makuosan::wire::header::PacketKind;

#[test]
fn fault_01_a_key_that_encrypts_nothing() {
    let (fleet, _) = keyed("fault-01", 3, "a secret of some length\n");
    tree::write(fleet.path(0, "file"), b"a text that is easy to find ".repeat(2_000));
    let tap = Tap::new(&fleet);
    fleet.msync(0, &["send", "-r"]).well();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(2));
    let packets = tap.packets();
    assert!(packets.iter().any(|(_, packet)| kind(packet) == Some(PacketKind::Data)));
    assert!(!packets.iter().any(|(_, packet)| holds(packet, b"easy to find")));
}

#[test]
fn fault_02_sizes_in_packets_that_are_not_true() {
    let mut fleet = Fleet::new("fault-02", 2);
    let nodes = garbage::nodes(&fleet);
    let noisy = UdpSocket::bind((fleet.ip(0), 0)).unwrap();
    let pids = [0, 1].map(|at| fleet.daemon(at).pid());
    let mut random = Random(42);
    for at in 0..2_000_u64 {
        let mut packet = garbage::packet(&mut random, &nodes);
        // Whatever might be a size: the largest, the smallest, one more than there is.
        let size = [u32::MAX, 0, packet.len() as u32 + 1, 1 << 31][at as usize % 4];
        let place = 4 * (at as usize / 4 % 16);
        if let Some(bytes) = packet.get_mut(place..place + 4) {
            bytes.copy_from_slice(&size.to_be_bytes());
        }
        let _ = noisy.send_to(&packet, fleet.address(1));
    }
    let content = tree::bytes(200_000, 1);
    tree::write(fleet.path(0, "file"), &content);
    fleet.msync(0, &["send", "-r"]).ok();
    assert!(fs::read(fleet.path(1, "file")).unwrap() == content);
    assert_eq!([0, 1].map(|at| fleet.daemon(at).pid()), pids);
    assert!(pids.into_iter().all(is_alive));
}

#[test]
fn fault_03_paths_that_lead_outside() {
    let fleet = Fleet::new("fault-03", 2);
    let outside = fleet.dir().join("outside");
    tree::write(outside.join("file"), "stays");
    tree::write(fleet.path(0, "dir/file"), "sent");
    tree::write(fleet.path(1, "own"), "stays");
    let absolute = fleet.path(1, "own").to_str().unwrap().to_owned();
    let before = tree::snapshot(fleet.dir());
    let paths = [
        "..",
        "../outside",
        "../outside/file",
        "../outside/none",
        "../h1/own",
        "../none",
        "dir/../../outside/file",
        "dir/../../none",
        "/etc/passwd",
        "/none",
        &absolute,
    ];
    for path in paths {
        for verb in ["send", "send -r", "sync", "sync -r", "dsync", "dsync -r", "check -r"] {
            let answer = fleet.console(0).ask(&format!("{verb} {path}"));
            let is_error = answer.starts_with("error: ") && answer.lines().count() == 1;
            assert!(is_error, "{verb} {path}: {answer}");
            let args: Vec<&str> = verb.split(' ').chain([path]).collect();
            let ran = fleet.msync(0, &args);
            assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{verb} {path}: {ran:?}");
            assert!(!ran.err.is_empty());
        }
    }
    tree::assert_same(&before, &tree::snapshot(fleet.dir()));
    // A link is no way out either: it is sent as one, and nothing is sent or deleted through it.
    symlink("../outside", fleet.path(0, "out")).unwrap();
    fleet.msync(0, &["send", "-r"]).ok();
    for line in ["send out/file", "sync out/none", "dsync -r out", "sync out/file"] {
        let answer = fleet.console(0).ask(line);
        assert!(line == "dsync -r out" || answer.starts_with("error: "), "{line}: {answer}");
    }
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"stays");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn fault_04_owners_of_16_bits_and_times_of_32() {
    let fleet = Fleet::new("fault-04", 2);
    let path = fleet.path(0, "file");
    tree::write(&path, "x");
    tree::set_mtime(&path, 5_000_000_000, 123_456_789);
    if is_root() {
        std::os::unix::fs::chown(&path, Some(65_536), Some(131_072)).unwrap();
        tree::set_mode(&path, 0o4755);
    } else {
        skip("owners over 16 bits", "only root gives files away");
    }
    fleet.msync(0, &["send", "-r"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    if is_root() {
        let meta = fs::metadata(fleet.path(1, "file")).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode()), (65_536, 131_072, 0o104_755));
    }
}

#[test]
fn fault_05_a_link_is_sent_and_its_target_left_alone() {
    let fleet = Fleet::new("fault-05", 2);
    let secret = fleet.dir().join("secret");
    for (path, mode) in [(fleet.path(0, "file"), 0o666), (fleet.path(1, "file"), 0o600)] {
        tree::write(&path, "x");
        tree::set_mode(&path, mode);
    }
    tree::write(&secret, "outside");
    tree::set_mode(&secret, 0o400);
    symlink("file", fleet.path(0, "link")).unwrap();
    symlink(&secret, fleet.path(0, "far")).unwrap();
    let look = |path: &std::path::Path| {
        let meta = fs::metadata(path).unwrap();
        (meta.mode(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
    };
    let before = (look(&fleet.path(1, "file")), look(&secret));
    for _ in 0..2 {
        fleet.msync(0, &["send", "link", "far"]).ok();
    }
    assert_eq!((look(&fleet.path(1, "file")), look(&secret)), before);
    assert_eq!(fs::read_link(fleet.path(1, "link")).unwrap().to_str(), Some("file"));
    assert_eq!(fs::read_link(fleet.path(1, "far")).unwrap(), secret);
}

#[test]
fn fault_06_rights_are_given_up_for_good() {
    if !is_root() {
        return skip("fault 6", "only root can become somebody else");
    }
    let mut fleet = Fleet::idle("fault-06", 1);
    std::os::unix::fs::chown(fleet.base(0), Some(65_534), Some(65_534)).unwrap();
    fleet.start(0, &["-c", "-u", "nobody"]);
    let pid = fleet.daemon(0).pid();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        // Real, effective, saved and file system's: none is root's, so none can be again.
        for want in ["\nUid:\t65534\t65534\t65534\t65534\n", "\nGid:\t65534\t65534\t65534\t65534\n"]
        {
            assert!(status.contains(want), "{status}");
        }
        for caps in ["\nCapPrm:\t", "\nCapEff:\t", "\nCapInh:\t"] {
            assert!(status.contains(&format!("{caps}0000000000000000\n")), "{status}");
        }
    }
    let root = fs::read_link(format!("/proc/{pid}/root")).unwrap();
    assert_eq!(root, fs::canonicalize(fleet.base(0)).unwrap());
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    assert!(cwd.starts_with(&root), "{}", cwd.display());
}

#[test]
fn fault_07_a_newline_in_a_name_ends_nothing() {
    let fleet = Fleet::new("fault-07", 2);
    for name in ["a", "b\n", "b\nquit\nsend x", "c\n/d\r\n/e", "f", "\n", "z\n> \n> /after"] {
        tree::write(fleet.path(0, name), name);
    }
    let ran = fleet.msync(0, &["-l", "1", "send", "-r"]).well();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    // Each entry has one line.
    let entries = tree::snapshot(&fleet.base(0)).len();
    assert_eq!(ran.out.lines().count(), entries, "{ran:?}");
    assert!(ran.out.lines().all(|line| line.starts_with("update h1:")), "{ran:?}");
}

#[test]
fn fault_08_the_numbers_of_a_sender_that_was_killed() {
    let mut fleet = Fleet::with("fault-08", &[&["-T", "16"], &[]]);
    tree::write(fleet.path(0, "first"), tree::bytes(5 << 20, 1));
    tree::write(fleet.path(1, "first"), "old");
    let next = tree::bytes(5 << 20, 2);
    let msync = fleet.msync_start(0, &["send", "first"]);
    fleet.wait_until_staged(1);
    fleet.kill(0);
    assert_eq!(msync.end().code, Some(1));
    fs::write(fleet.path(0, "next"), &next).unwrap();
    // At once, while the target still has the old transfer open.
    fleet.start(0, &[]);
    eventually("a member", || fleet.members(0) == ["h1"]);
    fleet.msync(0, &["send", "next"]).ok();
    assert!(fs::read(fleet.path(1, "next")).unwrap() == next);
    assert_eq!(fs::read(fleet.path(1, "first")).unwrap(), b"old");
    fleet.wait_until_clean(Duration::from_secs(2));
}

#[test]
fn fault_09_the_live_file_is_always_there_and_whole() {
    let fleet = Fleet::new("fault-09", 2);
    let live = fleet.path(1, "dir/live");
    let write = |version: u8| {
        // Of changing sizes, and all of one byte.
        let size = 1_000 + usize::from(version) * 3_001;
        tree::write(fleet.path(0, "dir/live"), vec![version; size]);
    };
    write(1);
    fleet.msync(0, &["send", "-r"]).ok();
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, path) = (Arc::clone(&stop), live.clone());
    let reader = thread::spawn(move || {
        let mut reads = 0;
        while !stopped.load(Ordering::Relaxed) {
            let content = fs::read(&path).unwrap_or_else(|error| panic!("the live file: {error}"));
            let first = content[0];
            assert!(content.iter().all(|&byte| byte == first), "two versions in one");
            assert_eq!(content.len(), 1_000 + usize::from(first) * 3_001);
            reads += 1;
        }
        reads
    });
    for version in 2..=25 {
        write(version);
        fleet.msync(0, &["send", "-r"]).ok();
    }
    stop.store(true, Ordering::Relaxed);
    let reads: u32 = reader.join().unwrap();
    assert!(reads > 25, "{reads}");
    // And nothing is left lying about.
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
    assert_eq!(fleet.staged(1), [""; 0]);
}

#[test]
fn fault_10_an_empty_base_directory_deletes_nothing() {
    let fleet = Fleet::new("fault-10", 3);
    for at in 1..3 {
        tree::write(fleet.path(at, "dir/file"), "stays");
        tree::write(fleet.path(at, "sub/file"), "stays");
    }
    fs::create_dir(fleet.path(0, "sub")).unwrap();
    tree::set_mtime(&fleet.path(1, "sub"), 1, 0);
    let before = [1, 2].map(|at| tree::snapshot(&fleet.base(at)));
    let in_sub: &[&[&str]] = &[&["dsync", "-r", "sub"], &["send", "-r", "--delete", "sub"]];
    for args in in_sub {
        let ran = fleet.msync(0, args);
        let line = "error: sub is empty here: nothing is deleted without --force";
        assert_eq!((ran.code, ran.errors()), (Some(2), vec![line]), "{args:?}: {ran:?}");
    }
    fs::remove_dir(fleet.path(0, "sub")).unwrap();
    let all: &[&[&str]] =
        &[&["--delete", "-r"], &["send", "-r", "--delete"], &["dsync", "-r"], &["dsync", "-rn"]];
    for args in all {
        let ran = fleet.msync(0, args);
        let line = "error: the base directory is empty here: nothing is deleted without --force";
        assert_eq!((ran.code, ran.errors()), (Some(2), vec![line]), "{args:?}: {ran:?}");
    }
    // As an old client says it.
    assert!(fleet.console(0).ask("dsync -r ").starts_with("error: "));
    for at in 1..3 {
        let got = tree::snapshot(&fleet.base(at));
        let files = |tree: &tree::Tree| {
            tree.iter().map(|(path, e)| (path.clone(), e.content.clone())).collect::<Vec<_>>()
        };
        assert_eq!(files(&before[at - 1]), files(&got));
    }
    fleet.msync(0, &["dsync", "-r", "--force"]);
    for at in 1..3 {
        assert!(tree::snapshot(&fleet.base(at)).is_empty());
    }
}

#[test]
fn fault_11_a_link_on_the_way_stays_one_and_nothing_is_written_through_it() {
    let fleet = Fleet::new("fault-11", 2);
    let elsewhere = fleet.dir().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, fleet.path(1, "dir")).unwrap();
    tree::write(fleet.path(0, "dir/file"), "x");
    tree::write(fleet.path(0, "other"), "y");
    let ran = fleet.msync(0, &["send", "dir/file"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.errors().iter().any(|line| line.contains(" h1:dir")), "{ran:?}");
    assert_eq!(fs::read_link(fleet.path(1, "dir")).unwrap(), elsewhere);
    // The directory itself takes its place.
    fleet.msync(0, &["send", "-r"]).ok();
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

#[test]
fn fault_12_a_file_that_grows_is_delivered_or_named() {
    let fleet = Fleet::new("fault-12", 2);
    let path = fleet.path(0, "log");
    tree::write(&path, "");
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, file) = (Arc::clone(&stop), path.clone());
    let writer = thread::spawn(move || {
        let mut file = fs::File::options().append(true).open(file).unwrap();
        for line in 0.. {
            file.write_all(format!("{line:09}\n").as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(4));
            if stopped.load(Ordering::Relaxed) {
                return;
            }
        }
    });
    let deadline = now() + Duration::from_millis(1_000);
    while now() < deadline {
        let began = now();
        let ran = fleet.msync(0, &["send", "log"]);
        assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
        match ran.code {
            Some(0) => assert!(fleet.path(1, "log").exists()),
            _ => {
                let line = "error: File changed while it was read log\n";
                assert_eq!((ran.code, ran.err.as_str()), (Some(2), line), "{ran:?}");
            }
        }
        // What is there was there at some time.
        let got = fs::read(fleet.path(1, "log")).unwrap_or_default();
        assert!(fs::read(&path).unwrap().starts_with(&got) && got.len() % 10 == 0);
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    fleet.msync(0, &["send", "log"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}
