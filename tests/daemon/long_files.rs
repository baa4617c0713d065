//! Files that take long to compare, and sparse ones that do not.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use makuosan::console::reply::Progress;

use crate::common::process::ticks;
use crate::common::{Fleet, LONG, eventually, now, skip, tree, within};

/// To read so much would take an hour.
const SPARSE: u64 = 1 << 40;
/// Where there is something in it.
const FAR: u64 = 700 << 30;

/// A sparse file with `text` far inside. False where such files cannot be.
fn make_sparse(path: &Path, text: &[u8]) -> bool {
    tree::write(path, "");
    let file = File::options().write(true).open(path).unwrap();
    if let Err(error) = file.set_len(SPARSE) {
        skip("sparse files", &format!("no file of {SPARSE} bytes: {error}"));
        return false;
    }
    edit(path, FAR, text);
    file.metadata().unwrap().blocks() < 1_000_000
}

/// Writes into a file, which gets the same time in any case.
fn edit(path: &Path, at: u64, text: &[u8]) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(text, at).unwrap();
    tree::set_mode(path, 0o644);
    tree::set_mtime(path, 1_700_000_000, 0);
}

#[test]
fn holes_are_compared_without_being_read() {
    for (name, options) in [("sparse", vec![]), ("sparse-keyed", vec!["-k"])] {
        let mut fleet = Fleet::idle(name, 3);
        let key = fleet.dir().join("key");
        tree::write(&key, "a secret of the group");
        tree::set_mode(&key, 0o600);
        let options: Vec<&str> =
            options.into_iter().flat_map(|option| [option, key.to_str().unwrap()]).collect();
        (0..3).for_each(|at| fleet.start(at, &options));
        fleet.wait_for_members();
        if !(0..3).all(|at| make_sparse(&fleet.path(at, "d/sparse"), b"something")) {
            return;
        }
        for args in [&["check", "-r"][..], &["check", "d/sparse"], &["-n", "-r", "--checksum"]] {
            assert_eq!(fleet.msync(0, args).ok().out, "", "{args:?}");
        }
        // Zeros that are written are the same as a hole, wherever they are.
        for at in [0, 65_535, FAR - 100_000, FAR + 9, SPARSE - 1] {
            edit(&fleet.path(1, "d/sparse"), at, &[0]);
            edit(&fleet.path(0, "d/sparse"), at / 2, &[0; 100_000]);
        }
        let ran = fleet.msync(0, &["-l", "1", "check", "d/sparse"]).well();
        let same = ran.out.lines().filter(|line| line.ends_with(": OK d/sparse")).count();
        assert_eq!(same, 2, "{ran:?}");
        let (_, total) = fleet.console(0).send("send -r --checksum");
        assert_eq!((total.files, total.bytes, total.errors), (0, 0, 0), "{total:?}");
        // Anything else is not.
        for (at, text) in [(0, &b"x"[..]), (SPARSE - 1, b"\x01"), (FAR, b"somewhere")] {
            edit(&fleet.path(2, "d/sparse"), at, text);
            let ran = fleet.msync(0, &["check", "-r"]);
            assert_eq!((ran.code, ran.out.as_str()), (Some(2), "h2: NG d/sparse\n"), "{ran:?}");
            let ran = fleet.msync(0, &["-n", "-l", "1", "--checksum", "send", "-r"]).well();
            assert_eq!(ran.out, "(dryrun) update h2:d/sparse\n");
            edit(&fleet.path(2, "d/sparse"), at, &[0; 9][..text.len()]);
            edit(&fleet.path(2, "d/sparse"), FAR, b"something");
            fleet.msync(0, &["check", "-r"]).ok();
        }
        // The same bytes elsewhere are another content.
        edit(&fleet.path(2, "d/sparse"), FAR, &[0; 9]);
        edit(&fleet.path(2, "d/sparse"), FAR + (64 << 10), b"something");
        assert_eq!(fleet.msync(0, &["check", "-r"]).out, "h2: NG d/sparse\n");
        fleet.msync(0, &["send", "-r", "--checksum"]).ok();
        fleet.msync(0, &["check", "-r"]).ok();
    }
}

/// A command on the console, with progress: how many bytes were done, as far as it is neither none nor
/// all of `size`, and what else it said.
#[track_caller]
fn watched(fleet: &Fleet, command: &str, size: u64) -> (BTreeSet<u64>, String) {
    let mut console = fleet.console(0);
    assert_eq!(console.ask("progress on"), "");
    let answer = console.ask(command);
    let (mut done, mut before) = (BTreeSet::new(), 0);
    for progress in answer.lines().filter_map(|line| Progress::parse(line.as_bytes())) {
        let bytes = progress.bytes_done;
        assert!(before <= bytes && bytes <= size, "{answer}");
        assert!(progress.bytes_total.is_none_or(|total| total == size), "{answer}");
        assert_eq!(progress.hosts, 1, "{answer}");
        before = bytes;
        done.insert(bytes);
    }
    done.retain(|bytes| ![0, size].contains(bytes));
    (done, answer)
}

#[test]
fn progress_counts_what_all_hosts_have_compared() {
    // A host that is busy with that is not a silent one.
    let timeout = &["--timeout", "2"][..];
    let fleet = Fleet::with("long-progress", &[timeout, timeout]);
    let make = |at: usize, size: u64, is_long: bool| {
        let path = fleet.path(at, "d/long");
        match is_long {
            true => tree::write_scattered(&path, size),
            false => {
                tree::write(&path, "");
                File::options().write(true).open(&path).unwrap().set_len(size).unwrap();
            }
        }
        edit(&path, size - 1, b"");
    };
    // Larger and larger files, until one takes long enough to be watched.
    let mut size = 96 << 20;
    let mut steps = |command: &str, want: &str, make: &dyn Fn(u64)| {
        loop {
            make(size);
            let (done, answer) = watched(&fleet, command, size);
            assert!(answer.contains(want), "{command}: {answer}");
            if done.len() >= 2 {
                return;
            }
            assert!(size < 4 << 30, "{command}: {answer}");
            size *= 2;
        }
    };
    for (here, there) in [(true, true), (true, false), (false, true)] {
        let make = |size| {
            make(0, size, here);
            make(1, size, there);
        };
        let is_same = here == there;
        match is_same {
            true => steps("check -r", "total hosts=1 failed=0 ", &make),
            false => steps("check d/long", "h1: NG d/long", &make),
        }
        let files = format!(" files={} ", u8::from(!is_same));
        steps("send -r --checksum", &files, &make);
    }
    // Where there is nothing to compare, nobody waits for that.
    let one_lacks_it = |size| {
        make(0, size, true);
        let _ = fs::remove_file(fleet.path(1, "d/long"));
    };
    steps("check -r", "error: No such file or directory h1:d/long", &one_lacks_it);
}

#[test]
fn other_transfers_go_on_while_long_files_are_compared() {
    const FILES: usize = 6;
    let mut fleet = Fleet::new("long-others", 3);
    for (at, file) in (0..2).flat_map(|at| (0..FILES).map(move |file| (at, file))) {
        let path = fleet.path(at, format!("long/{file}"));
        tree::write_scattered(&path, 2 << 30);
        edit(&path, 0, b"x");
    }
    let check = |file: usize| {
        let mut console = fleet.console(0);
        assert_eq!(console.ask("progress on"), "");
        console.write(format!("check -t h1 long/{file}\n").as_bytes());
        console
    };
    let mut checks: Vec<_> = (0..FILES).map(check).collect();
    // All of them get on, with few threads, on both sides.
    for check in &mut checks {
        within(LONG * 3, "progress of each", || {
            let line = check.line();
            Progress::parse(line.as_bytes())
                .is_some_and(|progress| progress.bytes_done > 0)
                .then_some(())
        });
    }
    let pid = fleet.daemon(1).pid();
    let names = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let names = names.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    let count = names.filter(|name| name == "digest\n").count();
    assert!((1..=4).contains(&count), "{count} threads");
    // What others send, and this host too, does not wait for the end of that.
    for (from, name) in [(0, "small"), (2, "other")] {
        tree::write(fleet.path(from, name), "content");
        let began = now();
        fleet.msync(from, &["send", "-t", "h1", name]).ok();
        assert!(now() - began < Duration::from_secs(10));
        assert_eq!(fs::read(fleet.path(1, name)).unwrap(), b"content");
    }
    fleet.msync(2, &["check", "-t", "h1", "other"]).ok();
    assert_eq!(fleet.members(1), ["h0", "h2"]);
    let progress = checks.iter_mut().map(|check| Progress::parse(check.line().as_bytes()));
    assert!(progress.flatten().all(|progress| progress.bytes_done < 2 << 30), "they are not over");
    // Nor does it go on when nobody wants it any more.
    drop(checks);
    let pids = [0, 1].map(|at| fleet.daemon(at).pid());
    eventually("both have stopped", || {
        let before = pids.map(ticks);
        std::thread::sleep(Duration::from_millis(300));
        (0..2).all(|at| ticks(pids[at]) < before[at] + 5)
    });
}
