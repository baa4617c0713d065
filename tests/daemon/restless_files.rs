//! Files that are never left alone arrive all the same: those of which only the ctime moves, and those that
//! go on changing, as they were at one moment.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::changing::{Changer, LINE, version, version_of};
use crate::common::process::command;
use crate::common::{Fleet, is_root, skip, tree};

/// Lines of a file that travels with others, and of one that travels alone.
const COUNTS: [usize; 2] = [2_000, 60_000];

type Toucher = (&'static str, fn(&Path));

/// What moves the ctime of a file, and nothing that is sent.
fn touchers() -> Vec<Toucher> {
    fn links(path: &Path) {
        // On the same file system, and outside of what is sent.
        let name = path.file_name().unwrap().to_str().unwrap();
        let link = path.parent().unwrap().with_extension(name);
        fs::hard_link(path, &link).unwrap();
        fs::remove_file(&link).unwrap();
    }
    fn modes(path: &Path) {
        tree::set_mode(path, 0o644);
    }
    fn owners(path: &Path) {
        let stat = path.metadata().unwrap();
        chown(path, Some(stat.uid()), Some(stat.gid())).unwrap();
    }
    fn times(path: &Path) {
        tree::set_mtime(path, 1_700_000_000, 5);
    }
    vec![("links", links), ("modes", modes), ("owners", owners), ("times", times)]
}

fn keep_doing(what: fn(&Path), path: PathBuf) -> Changer {
    Changer::start(move |number| {
        what(&path);
        if number % 16 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    })
}

#[test]
fn a_file_of_which_only_the_ctime_moves_is_delivered() {
    for (name, touch) in touchers() {
        let fleet = Fleet::new(&format!("touched-{name}"), 3);
        let mut changers = Vec::new();
        for count in COUNTS {
            let path = fleet.path(0, format!("file{count}"));
            fs::write(&path, version(1, count)).unwrap();
            touch(&path);
            changers.push(keep_doing(touch, path));
        }
        fs::write(fleet.path(0, "empty"), "").unwrap();
        changers.push(keep_doing(touch, fleet.path(0, "empty")));
        fleet.msync(0, &["send", "file2000"]).ok();
        fleet.msync(0, &["sync", "-r"]).ok();
        for at in 1..3 {
            tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
        }
        // Only the contents tell, while the ctime of what is at the targets moves too.
        for count in COUNTS {
            let path = fleet.path(1, format!("file{count}"));
            changers.push(keep_doing(touch, path));
        }
        fleet.msync(0, &["check", "-r"]).ok();
        fleet.msync(0, &["send", "-r", "--checksum"]).ok();
        fleet.msync(0, &["send", "-r", "-n"]).ok();
        for mut changer in changers {
            assert!(changer.stop() > 100, "{name}");
        }
        fleet.msync(0, &["send", "-r"]).ok();
        for at in 1..3 {
            tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
            assert_eq!(fleet.staged(at), [""; 0]);
        }
    }
}

#[test]
fn extended_attributes_that_come_and_go_do_not_keep_a_file_back() {
    let fleet = Fleet::new("xattrs", 2);
    let path = fleet.path(0, "file");
    fs::write(&path, version(1, 60_000)).unwrap();
    let code = "import os, sys
while True:
    os.setxattr(sys.argv[1], 'user.x', b'1')
    os.removexattr(sys.argv[1], 'user.x')";
    let mut python = command("python3");
    let Ok(mut python) = python.args(["-c", code]).arg(&path).spawn() else {
        return skip("extended attributes", "no python3");
    };
    let ctime = || path.metadata().map(|stat| (stat.ctime(), stat.ctime_nsec())).unwrap();
    let began = ctime();
    while ctime() == began {
        if python.try_wait().unwrap().is_some() {
            return skip("extended attributes", "none on this file system");
        }
        thread::sleep(Duration::from_millis(5));
    }
    let ran = fleet.msync(0, &["send", "file"]);
    let moved = ctime();
    thread::sleep(Duration::from_millis(100));
    assert_ne!(moved, ctime());
    python.kill().unwrap();
    python.wait().unwrap();
    ran.ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

#[test]
fn many_files_whose_modes_are_set_again_and_again_are_delivered() {
    let fleet = Fleet::new("modes-of-many", 2);
    let paths: Vec<PathBuf> =
        (0..300).map(|n| fleet.path(0, format!("dir{}/file{n}", n % 7))).collect();
    for path in &paths {
        tree::write(path, path.to_str().unwrap().repeat(50));
    }
    let mut changer = Changer::start(move |_| {
        paths.iter().for_each(|path| tree::set_mode(path, 0o640));
    });
    fleet.msync(0, &["send", "-r"]).ok();
    fleet.msync(0, &["send", "-r", "--checksum"]).ok();
    assert!(changer.stop() > 10);
    fleet.msync(0, &["send", "-r"]).ok();
    tree::assert_equal_dirs(&fleet.base(0), &fleet.base(1));
}

/// A log to which a line is added every other millisecond.
fn log(path: &Path, lines: usize) -> Changer {
    fs::write(path, version(7, lines)).unwrap();
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    let mut at = lines;
    Changer::start(move |_| {
        let line = format!("{:010} {at:09} {:010}\n", 7, 1);
        file.write_all(line.as_bytes()).unwrap();
        at += 1;
        thread::sleep(Duration::from_millis(2));
    })
}

/// Sends a log that grows, and looks at what arrives each time.
fn send_log(fleet: &Fleet, args: &[&str], lines: usize) {
    let path = fleet.path(0, "log");
    let mut changer = log(&path, lines);
    let mut last = 0;
    for _ in 0..3 {
        let least = fs::metadata(&path).unwrap().len();
        fleet.msync(0, args).ok();
        for at in 1..fleet.len() {
            let got = fs::read(fleet.path(at, "log")).unwrap();
            assert!(fs::read(&path).unwrap().starts_with(&got), "{args:?}");
            assert!(got.len() as u64 >= least && got.len() % LINE == 0, "{args:?}");
            assert!(got.len() > last, "{args:?}: nothing new");
        }
        last = least as usize;
    }
    assert!(changer.stop() > 20);
    fleet.msync(0, args).ok();
    for at in 1..fleet.len() {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
        assert_eq!(fleet.staged(at), [""; 0]);
    }
    assert_eq!(fleet.staged(0), [""; 0]);
    fs::remove_file(path).unwrap();
}

#[test]
fn a_log_that_is_added_to_all_the_time_arrives_as_it_was_at_one_moment() {
    let fleet = Fleet::with("log", &[&["-T", "100"], &[], &[]]);
    for lines in [1, 60_000] {
        for args in [
            &["send", "log"][..],
            &["send", "-r"],
            &["send", "--checksum", "log"],
            &["sync", "-r"],
            &["send", "-I", "-r"],
        ] {
            send_log(&fleet, args, lines);
        }
    }
    // What is compared is one moment, too: that of the sender has more in it.
    fleet.msync(0, &["sync", "-r"]).ok();
    let mut changer = log(&fleet.path(0, "log"), 60_000);
    fleet.msync(0, &["send", "log"]).ok();
    thread::sleep(Duration::from_millis(20));
    let ran = fleet.msync(0, &["check", "-r"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(2), ""), "{ran:?}");
    let mut lines: Vec<&str> = ran.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["h1: NG log", "h2: NG log"]);
    changer.stop();
}

#[test]
fn a_log_arrives_from_a_host_that_may_write_nothing() {
    for options in [&["--no-recv"][..], &["--readonly"]] {
        let fleet = Fleet::with(&format!("log{}", options[0]), &[options, &[]]);
        send_log(&fleet, &["send", "log"], 60_000);
        assert!(!fleet.path(0, ".makuosan").exists());
    }
}

#[test]
fn a_log_arrives_from_a_chroot() {
    if !is_root() {
        return skip("-c", "only root may change its root directory");
    }
    let fleet = Fleet::with("log-chroot", &[&["-c"], &[]]);
    send_log(&fleet, &["send", "log"], 60_000);
}

/// A file of which one version after the other takes the place of the one before, with `pause` between
/// them, is sent until it has arrived a few times: as one of them, and never with an error.
fn send_versions(
    fleet: &Fleet,
    count: usize,
    pause: Duration,
    mut put: impl FnMut(&[u8]) + Send + 'static,
) {
    put(&version(1, count));
    let mut changer = Changer::start(move |number| {
        put(&version(number, count));
        thread::sleep(pause);
    });
    let mut arrived = Vec::new();
    for _ in 0..3 {
        fleet.msync(0, &["send", "file"]).ok();
        let got = fs::read(fleet.path(1, "file")).unwrap();
        arrived.push(version_of(&got).unwrap());
    }
    assert!(arrived.is_sorted() && arrived[0] < arrived[2], "{arrived:?}");
    assert!(changer.stop() > 5);
    fleet.msync(0, &["send", "file"]).ok();
    for at in 1..fleet.len() {
        tree::assert_equal_dirs(&fleet.base(0), &fleet.base(at));
        assert_eq!(fleet.staged(at), [""; 0]);
    }
    assert_eq!(fleet.staged(0), [""; 0]);
}

#[test]
fn a_file_that_is_written_anew_faster_than_it_can_be_sent_arrives() {
    for count in [20_000, 60_000] {
        // To send it takes several times as long as it is left alone.
        let fleet = Fleet::with(&format!("anew-{count}"), &[&["-T", "5"], &[], &[]]);
        let file = File::create(fleet.path(0, "file")).unwrap();
        send_versions(&fleet, count, Duration::from_millis(120), move |content| {
            file.write_all_at(content, 0).unwrap();
        });
    }
}

#[test]
fn a_file_that_is_replaced_faster_than_it_can_be_sent_arrives() {
    let fleet = Fleet::with("replaced-fast", &[&["-T", "5"], &[], &[]]);
    let (path, aside) = (fleet.path(0, "file"), fleet.dir().join("aside"));
    send_versions(&fleet, 20_000, Duration::from_millis(10), move |content| {
        fs::write(&aside, content).unwrap();
        fs::rename(&aside, &path).unwrap();
    });
}
